import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import SMALL

from sancodec.codec import payload
from sancodec.codec.beats import BeatKernels, Events
from sancodec.codec.container import encode_varints, zstd_compress
from sancodec.codec.event_stream import NO_EXCEPTIONS, ChunkEvents, Exceptions
from sancodec.codec.lattice import Lattice
from sancodec.codec.rans import EncodedStream
from sancodec.codec.residual_tables import ResidualTables
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError, FormatError, LimitExceededError, TruncatedError

TOKENS = [[b"\1\2\0", b"\0"], [b"\5\0", b"\3\3\0", b"\0"]]
BAND_COUNTS = [2, 3]


def test_the_digest_is_that_of_place_coding_and_samples():
    samples = [np.array([1, -2], np.int32), np.array([2**31 - 1], np.int32)]
    place = b"\5\0\0\0" + b"\1\2\3\4"
    expected = zlib.crc32(place + b"\1\0\0\0\xfe\xff\xff\xff\xff\xff\xff\x7f")
    assert payload.digest_of(samples, chunk=5, coding_crc=0x04030201) == expected
    assert payload.digest_of(samples, chunk=4, coding_crc=0x04030201) != expected


@given(
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.binary(max_size=50),
    st.none() | st.binary(max_size=50),
)
def test_the_fields_of_a_chunk_come_back(digest, events, raw, coefficients, residuals):
    fields = payload.ChunkFields(digest, events, raw, coefficients, residuals)
    content = payload.join_fields(fields)
    assert payload.split_fields(content, "chunk 0", has_residuals=residuals is not None) == fields


@pytest.mark.parametrize("residuals", [None, b""])
def test_fields_cut_within_events_raw_bits_or_coefficients_are_refused(residuals):
    coefficients = b"" if residuals is None else b"coefficients"
    content = payload.join_fields(payload.ChunkFields(1, b"events", b"raw", coefficients, residuals))
    for length in range(len(content)):
        with pytest.raises(TruncatedError, match="chunk 0"):
            payload.split_fields(content[:length], "chunk 0", has_residuals=residuals is not None)


def frames(layout, pieces):
    compressed = [zstd_compress(piece, 3) for piece in pieces]
    return bytes([layout]) + b"".join(encode_varints([len(frame)]) + frame for frame in compressed)


LAYOUTS = [
    frames(0, [b"".join(b"".join(bands) for bands in TOKENS)]),
    frames(1, [b"".join(bands) for bands in TOKENS]),
    frames(2, [band for bands in TOKENS for band in bands]),
]


@pytest.mark.parametrize("content", LAYOUTS, ids=["one frame", "a frame a channel", "a frame a band"])
def test_tokens_come_back_from_every_layout(content):
    after = payload.decode_zstd_coefficients(content, BAND_COUNTS, 100, "chunk 0")
    assert [tokens.tobytes() for tokens in after] == [b"".join(bands) for bands in TOKENS]


@pytest.mark.parametrize("level", [1, 3, 19])
def test_tokens_come_back_from_the_layout_that_the_encoder_takes(level):
    content = payload.encode_zstd_coefficients(TOKENS, level)
    after = payload.decode_zstd_coefficients(content, BAND_COUNTS, 100, "chunk 0")
    assert [tokens.tobytes() for tokens in after] == [b"".join(bands) for bands in TOKENS]


@pytest.mark.parametrize("content", LAYOUTS)
def test_frames_cut_anywhere_or_followed_by_bytes_are_refused(content):
    for length in range(len(content)):
        with pytest.raises(FormatError, match="chunk 0"):
            payload.decode_zstd_coefficients(content[:length], BAND_COUNTS, 100, "chunk 0")
    with pytest.raises(CorruptError, match="1 bytes follow"):
        payload.decode_zstd_coefficients(content + b"\0", BAND_COUNTS, 100, "chunk 0")


def test_an_unknown_layout_is_refused():
    with pytest.raises(CorruptError, match="layout 3"):
        payload.decode_zstd_coefficients(b"\3" + LAYOUTS[0][1:], BAND_COUNTS, 100, "chunk 0")


def test_more_tokens_than_a_chunk_can_hold_are_refused():
    for content in LAYOUTS:
        with pytest.raises(LimitExceededError):
            payload.decode_zstd_coefficients(content, BAND_COUNTS, 8, "chunk 0")


def test_tokens_of_too_many_or_too_few_bands_are_refused():
    for counts in ([2, 2], [3, 3], [5, 1]):
        with pytest.raises(CorruptError, match=r"tokens of 5 bands"):
            payload.decode_zstd_coefficients(LAYOUTS[0], counts, 100, "chunk 0")


STREAMS = [
    EncodedStream(np.array([2**16, 2**32 - 1], np.uint32), np.array([7, 8, 65535], np.uint16)),
    EncodedStream(np.array([2**20], np.uint32), np.zeros(0, np.uint16)),
]


def test_streams_come_back():
    content = payload.encode_class_coefficients(STREAMS)
    for before, after in zip(STREAMS, payload.decode_class_coefficients(content, 2, "chunk 0"), strict=True):
        np.testing.assert_array_equal(after.states, before.states)
        np.testing.assert_array_equal(after.words, before.words)


def test_streams_cut_anywhere_or_followed_by_bytes_are_refused():
    content = payload.encode_class_coefficients(STREAMS)
    for length in range(len(content)):
        with pytest.raises(TruncatedError):
            payload.decode_class_coefficients(content[:length], 2, "chunk 0")
    with pytest.raises(CorruptError, match="follow the last stream"):
        payload.decode_class_coefficients(content + b"\0", 2, "chunk 0")
    with pytest.raises(CorruptError, match="follow the last stream"):
        payload.decode_class_coefficients(content, 1, "chunk 0")


def test_too_many_lanes_are_refused():
    content = encode_varints([payload.MAX_LANES + 1, 0]) + bytes(4 * (payload.MAX_LANES + 1))
    with pytest.raises(LimitExceededError, match="4097 lanes"):
        payload.decode_class_coefficients(content, 1, "chunk 0")


CONTENTS = [b"\2abc", b"\xff\0"]


@pytest.mark.parametrize("layout", [0, 1])
def test_residuals_come_back_from_both_layouts(layout):
    content = frames(layout, [b"".join(CONTENTS)] if layout == 0 else CONTENTS)
    assert payload.decode_zstd_residuals(content, 2, 6, "chunk 0") == b"".join(CONTENTS)
    with pytest.raises(LimitExceededError):
        payload.decode_zstd_residuals(content, 2, 5, "chunk 0")
    with pytest.raises(CorruptError, match="1 bytes follow"):
        payload.decode_zstd_residuals(content + b"\0", 2, 6, "chunk 0")
    for length in range(len(content)):
        with pytest.raises(FormatError, match="chunk 0"):
            payload.decode_zstd_residuals(content[:length], 2, 6, "chunk 0")


def test_residuals_have_no_layout_of_a_frame_for_each_band():
    with pytest.raises(CorruptError, match="layout 2"):
        payload.decode_zstd_residuals(frames(2, CONTENTS), 2, 6, "chunk 0")


@pytest.mark.parametrize("level", [1, 3, 19])
def test_residuals_come_back_from_the_layout_that_the_encoder_takes(level):
    for contents in (CONTENTS, [bytes(500), b"\1" * 500]):
        encoded = payload.encode_zstd_residuals(contents, level)
        assert payload.decode_zstd_residuals(encoded, 2, 1000, "chunk 0") == b"".join(contents)


TABLES = ResidualTables(5, np.zeros(2, np.int64), np.full((2, 17), 4096 // 17, np.uint16))


def class_residuals(classes):
    return frames(0, [classes])[1:] + payload.encode_class_coefficients(STREAMS)


def test_classes_and_lanes_of_residuals_come_back():
    first, second = payload.decode_class_residuals(class_residuals(b"\2\0\1"), [33, 32], TABLES, "chunk 0")
    assert (first.classes.tolist(), second.classes.tolist()) == ([2, 0], [1])
    assert (first.n_samples, second.n_samples) == (33, 32)
    for found, expected in zip((first, second), STREAMS, strict=True):
        np.testing.assert_array_equal(found.stream.states, expected.states)
        np.testing.assert_array_equal(found.stream.words, expected.words)


@pytest.mark.parametrize("classes", [b"\2\0", b"\2\0\1\0", b"\2\0\3"])
def test_classes_of_too_few_or_too_many_blocks_or_of_no_table_are_refused(classes):
    with pytest.raises(FormatError, match=r"chunk 0: (2 block classes|3 block classes up to 3|its zstd frame holds 4)"):
        payload.decode_class_residuals(class_residuals(classes), [33, 32], TABLES, "chunk 0")


def test_class_residuals_cut_anywhere_are_refused():
    content = class_residuals(b"\2\0\1")
    for length in range(len(content)):
        with pytest.raises(FormatError, match="chunk 0"):
            payload.decode_class_residuals(content[:length], [33, 32], TABLES, "chunk 0")


CODINGS = [
    ChannelCoding(0, -9, 9, 0, SMALL, kernels=BeatKernels(np.ones((2, 20), np.int32), 0)),
    ChannelCoding(0, 5, 5, 0),
    ChannelCoding(0, -9, 9, 1, SMALL, lattice=Lattice(3, 1, False)),
]
CHUNK = ChunkEvents(
    [np.array([-3, 40, 99]), np.zeros(0, np.int64)],
    [
        Events(np.array([1, 0, 0], np.int32), np.array([9, 0, 127], np.int32)),
        Events(np.zeros(3, np.int32), np.zeros(3, np.int32)),
        Events(np.zeros(0, np.int32), np.zeros(0, np.int32)),
    ],
    [np.array([[0, 3], [50, 50]]), np.zeros((0, 2), np.int64), np.array([[299, 1]])],
    [NO_EXCEPTIONS, NO_EXCEPTIONS, Exceptions(np.array([0, 1, 299]), np.array([-1, 2**31 - 1, -(2**31)]))],
)


def test_the_events_of_a_chunk_come_back():
    content = payload.encode_events(CHUNK, CODINGS, [20, 0])
    after = payload.decode_events(content, None, CODINGS, [20, 0], [100, 300], [100, 100, 300], "chunk 0")
    for before, found in zip(CHUNK.starts, after.starts, strict=True):
        np.testing.assert_array_equal(found, before)
    for before, found in zip(CHUNK.runs, after.runs, strict=True):
        np.testing.assert_array_equal(found, before)
    for before, found in zip(CHUNK.exceptions, after.exceptions, strict=True):
        np.testing.assert_array_equal(found.positions, before.positions)
        np.testing.assert_array_equal(found.differences, before.differences)
    np.testing.assert_array_equal(after.events[0].gains, CHUNK.events[0].gains)
    np.testing.assert_array_equal(after.events[0].kernel_ids, CHUNK.events[0].kernel_ids)


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_give_parts_of_a_chunk_or_a_format_error(content):
    attempts = [
        lambda: payload.split_fields(content, "chunk 0", has_residuals=False),
        lambda: payload.split_fields(content, "chunk 0", has_residuals=True),
        lambda: payload.decode_zstd_residuals(content, 2, 100, "chunk 0"),
        lambda: payload.decode_class_residuals(content, [100, 300], TABLES, "chunk 0"),
        lambda: payload.decode_events(content, None, CODINGS, [20, 0], [100, 300], [100, 100, 300], "chunk 0"),
        lambda: payload.decode_class_coefficients(content, 2, "chunk 0"),
        lambda: payload.decode_zstd_coefficients(content, BAND_COUNTS, 100, "chunk 0"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except FormatError:
            continue
