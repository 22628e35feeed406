"""Headers that claim more than there is: each is refused by the name of its field, in little memory and time."""

import struct

import numpy as np
import pytest
import zstandard
from hostile_parts import measured

from sancodec.codec.container import encode_varints, zstd_compress, zstd_decompress
from sancodec.codec.header import decode_header
from sancodec.errors import CorruptError, FormatError, LimitExceededError, TruncatedError


def frame_that_claims(size, content=b"x"):
    """A zstd frame whose header states another size."""
    block = struct.pack("<I", len(content) << 3 | 1)[:3] + content
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", size) + block


@pytest.mark.parametrize("size", [2**26 + 1, 2**40, 2**62, 2**64 - 3])
def test_frames_that_claim_much_are_refused_before_they_are_unpacked(size):
    with measured(1), pytest.raises(LimitExceededError, match=f"section HEADER: its zstd frame holds {size} bytes"):
        decode_header(frame_that_claims(size))


def test_frames_that_cannot_hold_what_they_claim_are_refused():
    with measured(1), pytest.raises(CorruptError, match="its zstd frame of 17 bytes says that it holds 67108864"):
        decode_header(frame_that_claims(2**26))
    dense = zstd_compress(bytes(2**26), 1)
    assert zstd_decompress(dense, limit=2**26, where="") == bytes(2**26)  # the densest that a frame can be


def test_frames_that_hold_more_than_they_claim_are_refused():
    bomb = zstandard.ZstdCompressor().compress(bytes(2**26))
    assert bomb[4] == 0x80  # after a byte for the window, the size is in 4 bytes
    lying = bomb[:6] + struct.pack("<I", 300) + bomb[10:]
    with measured(2), pytest.raises(CorruptError, match="section HEADER: its zstd frame is damaged"):
        decode_header(lying)


HEADER_FIELDS = [
    ("source", None),
    ("sampling rate", None),
    ("sampling rate denominator", None),
    ("frames", None),
    ("frames per chunk", None),
    ("level", None),
    ("models", None),
    ("channels", None),
    ("channel 0, name", None),
    ("channel 0, unit", None),
    ("channel 0, gain", struct.pack("<d", 200.0)),
    ("channel 0, baseline", None),
    ("channel 0, resolution", None),
    ("channel 0, samples per frame", None),
    ("channel 0, minimum", None),
    ("channel 0, maximum", None),
    ("channel 0, missing value", None),
    ("channel 0, largest difference", None),
    ("channel 0, promises", None),
    ("side files", None),
]
SMALL = [b"\x05array", 360, 1, 10, 10, 5, 0, 1, b"\x01I", b"\x02mV", None, 0, 11, 1, 3, 4, 0, 0, 0, 0]


def small_header(**changed):
    parts = []
    for (name, fixed), value in zip(HEADER_FIELDS, SMALL, strict=True):
        value = changed.get(name, value if fixed is None else fixed)
        parts.append(value if isinstance(value, bytes) else encode_varints([value]))
    return zstd_compress(b"".join(parts), 1)


def test_the_small_header_is_one():
    assert decode_header(small_header()).channels[0].name == "I"


@pytest.mark.parametrize("value", [2**32, 2**40 + 1, 2**62, 2**63 - 1])
@pytest.mark.parametrize("field", [name for name, fixed in HEADER_FIELDS if fixed is None])
def test_huge_numbers_in_every_field_of_the_header_are_refused_by_name(field, value):
    if (field, value) in (("sampling rate", 2**32), ("sampling rate", 2**40 + 1)):
        pytest.skip("such a rate is allowed")
    if field.startswith("sampling rate denominator") and value < 2**62:
        pytest.skip("such a rate is allowed")
    if field in ("frames per chunk",) and value <= 2**40:
        pytest.skip("such a chunk is as long as the recording")
    if field == "channel 0, largest difference" and value == 2**32:
        pytest.skip("such a difference is allowed")
    message = "header: |header, " + field if field in ("frames", "frames per chunk") else "header, " + field
    with measured(2), pytest.raises(FormatError, match=message):
        decode_header(small_header(**{field: value}))


@pytest.mark.parametrize("gain", [np.nan, np.inf, -np.inf, 0.0])
def test_gains_that_are_no_numbers_are_refused(gain):
    with pytest.raises(CorruptError, match=r"header, channel .*gain"):
        decode_header(small_header(**{"channel 0, gain": struct.pack("<d", gain)}))


def test_numbers_longer_than_nine_bytes_are_refused():
    with pytest.raises(CorruptError, match="header, frames: a number is longer than 9 bytes"):
        decode_header(small_header(frames=b"\xff" * 12))


def test_truncation_is_found_in_names():
    with pytest.raises(TruncatedError, match="header, channel 0, name: 67108864 bytes are promised"):
        decode_header(small_header(**{"channel 0, name": 2**26}))
