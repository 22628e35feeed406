import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import DYADIC, LAPPED, SMALL, neutral_model, random_group

from sancodec.codec.contexts import N_CLASSES, N_SYMBOLS
from sancodec.codec.kernels import KernelGroup, Model, centred_group, decode_model
from sancodec.errors import CorruptError, FormatError, LimitExceededError, TruncatedError, UnsupportedVersionError

HEAD_BYTES = 12
METADATA = json.dumps(SMALL.metadata, separators=(",", ":")).encode()
STATISTICS_BYTES = 2 * N_CLASSES * N_SYMBOLS * 2


def with_metadata(metadata):
    head = struct.pack("<4sHHI", b"SANM", 1, len(SMALL.groups), len(metadata))
    return head + metadata + SMALL.content[HEAD_BYTES + len(METADATA) :]


def assert_same(after, before):
    assert after.content == before.content
    assert after.sha256 == before.sha256
    assert after.metadata == before.metadata
    assert after.band_strides == before.band_strides
    for one, other in zip(after.groups, before.groups, strict=True):
        assert (one.stride, one.offset) == (other.stride, other.offset)
        np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(after.contexts.frequencies, before.contexts.frequencies)
    np.testing.assert_array_equal(after.contexts.band_weights, before.contexts.band_weights)


@pytest.mark.parametrize("model", [LAPPED, DYADIC, SMALL], ids=lambda model: model.name)
def test_a_model_comes_back(model):
    assert_same(decode_model(model.content), model)


def test_a_model_without_a_name_is_called_by_its_digest():
    nameless = Model(SMALL.groups, SMALL.contexts)
    assert nameless.name == nameless.sha256.hex()[:12]


def test_a_model_cut_anywhere_or_longer_is_refused():
    content = SMALL.content
    for length in [*range(len(content) - STATISTICS_BYTES), *range(len(content) - STATISTICS_BYTES, len(content), 97)]:
        with pytest.raises(FormatError):
            decode_model(content[:length])
    with pytest.raises(FormatError):
        decode_model(content + b"\0")


def test_every_altered_byte_gives_a_canonical_model_or_a_format_error():
    content = SMALL.content
    tables = len(content) - STATISTICS_BYTES
    for position in [*range(tables), *range(tables, len(content), 89)]:
        for change in (0x01, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            try:
                assert decode_model(bytes(altered)).content == bytes(altered)
            except FormatError:
                continue


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_any_bytes_after_the_magic_are_refused(content):
    for start in (b"", b"SANM", b"SANM\1\0\1\0"):
        with pytest.raises(FormatError):
            decode_model(start + content)


@pytest.mark.parametrize(
    "metadata",
    [
        b"[]",
        b'"small"',
        b"",
        b"{",
        b"\xff",
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=["list", "string", "nothing", "open", "not UTF-8", "long number", "deep"],
)
def test_metadata_that_is_not_a_json_object_is_refused(metadata):
    with pytest.raises(CorruptError):
        decode_model(with_metadata(metadata))


@pytest.mark.parametrize(
    "metadata", [b'{"name": "a"}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a":"\\ud800"}', b'{"a":NaN}']
)
def test_metadata_stay_as_they_were_read_byte_for_byte(metadata):
    content = with_metadata(metadata)
    assert decode_model(content).content == content


def test_another_kind_of_file_is_refused():
    with pytest.raises(CorruptError, match="not a sancodec model"):
        decode_model(b"\x89SAN\r\n\x1a\n" + bytes(100))


def test_a_newer_model_is_refused():
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        decode_model(b"SANM\2\0" + SMALL.content[6:])


def test_strides_that_do_not_divide_each_other_are_refused():
    model = neutral_model("odd", [random_group(8, 1, 8, 0), random_group(3, 1, 3, 0)])
    with pytest.raises(CorruptError, match="stride 3 of group 1 does not divide 8"):
        decode_model(model.content)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (KernelGroup(0, 0, np.ones((1, 4), np.int32)), "stride 0"),
        (KernelGroup(4097, 0, np.ones((1, 4), np.int32)), "stride 4097"),
        (KernelGroup(4, 65_537, np.ones((1, 4), np.int32)), "offset 65537"),
        (KernelGroup(4, -65_537, np.ones((1, 4), np.int32)), "offset -65537"),
        (KernelGroup(4, 0, np.ones((1, 0), np.int32)), "kernels of 0"),
    ],
)
def test_a_group_beyond_the_limits_is_refused(group, message):
    model = neutral_model("odd", [group])
    with pytest.raises(LimitExceededError, match=message):
        decode_model(model.content)


def with_contexts(**fields):
    return replace(SMALL, contexts=replace(SMALL.contexts, **fields)).content


def test_statistics_that_make_no_sense_are_refused():
    frequencies = SMALL.contexts.frequencies.copy()
    frequencies[1, 3, 0] -= 1
    with pytest.raises(CorruptError, match="do not sum to 4096"):
        decode_model(with_contexts(frequencies=frequencies))
    frequencies[1, 3, 0] += 1 + frequencies[1, 3, -1]
    frequencies[1, 3, -1] = 0
    with pytest.raises(CorruptError, match="escape symbol no frequency"):
        decode_model(with_contexts(frequencies=frequencies))
    with pytest.raises(LimitExceededError, match="phase group 16"):
        decode_model(with_contexts(phase_groups=np.array([0, 1, 16], np.uint8)))
    weights = SMALL.contexts.band_weights.copy()
    weights[0, 2, 3] = 4097
    with pytest.raises(LimitExceededError, match="band weight is 4097"):
        decode_model(with_contexts(band_weights=weights))


def test_a_model_without_its_statistics_is_refused():
    with pytest.raises(TruncatedError):
        decode_model(SMALL.content[: -STATISTICS_BYTES - 2 * 4 * 3 * 2 - 3 - 1])


def test_kernels_are_rounded_to_weights_and_centred():
    group = centred_group(np.array([[0.5, 2.0**-17, -1.0, 1.0, 0, 0]]), stride=2)
    assert group.offset == -2
    assert group.weights.tolist() == [[1 << 15, 0, -(1 << 16), 1 << 16, 0, 0]]


def test_the_peak_gain_bounds_what_can_meet_in_one_sample():
    expected = 0
    for group in SMALL.groups:
        sums = np.zeros(group.stride, int)
        for position in range(group.length):
            sums[position % group.stride] += int(np.abs(group.weights[:, position]).sum())
        expected += int(sums.max())
    assert SMALL.peak_gain == expected
