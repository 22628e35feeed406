import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import BANKS, LAPPED, SMALL

from sancodec.codec.beats import BeatKernels
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.coding_section import MeasuredQuality, decode_coding, encode_coding
from sancodec.codec.container import encode_varints, zstd_compress, zstd_decompress
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.header import (
    CODER_CLASS,
    CODER_ZSTD,
    PROMISE_PRDN,
    Header,
    decode_header,
    encode_header,
)
from sancodec.codec.quantiser import Step
from sancodec.codec.recording import Channel, SideFile
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
    UnsupportedVersionError,
)

CHANNELS = (
    Channel("MLII", "mV", 200.0, 1024, 11, -1023, 1023, -1024),
    Channel("µ é", "", -0.5, -(2**31), 32, -(2**31), 2**31 - 1, None, 7, 127),
)
HEADER = Header(
    "wfdb",
    Fraction(1000, 3),
    100_000,
    21_600,
    CHANNELS,
    CODER_CLASS,
    5,
    ((PROMISE_PRDN, 2.0),),
    (b"\1" * 32,),
    (SideFile("a.hea", b"x\n"),),
)


def test_a_header_comes_back():
    assert decode_header(encode_header(HEADER)) == HEADER


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def channels(draw):
    minimum, maximum = sorted([draw(int32), draw(int32)])
    return Channel(
        draw(names),
        draw(names),
        draw(st.floats(allow_nan=False, allow_infinity=False).filter(bool)),
        draw(int32),
        draw(st.integers(1, 32)),
        minimum,
        maximum,
        draw(st.none() | int32.filter(lambda value: not minimum <= value <= maximum)),
        draw(st.integers(1, 500)),
        draw(st.none() | st.integers(1, 2**32)),
    )


@given(
    st.builds(
        Header,
        st.sampled_from(["wfdb", "array", "array:i2:1", "array:u8:2"]),
        st.fractions(min_value=Fraction(1, 1000), max_value=10**6, max_denominator=10**9),
        st.integers(1, 10**6),
        st.integers(1, 10**5),
        st.lists(channels(), min_size=1, max_size=3).map(tuple),
        st.sampled_from([CODER_ZSTD, CODER_CLASS]),
        st.integers(1, 9),
        st.lists(st.tuples(st.integers(0, 9), st.floats(1e-6, 1e6)), max_size=3).map(tuple),
        st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
        st.lists(st.builds(SideFile, names, st.binary(max_size=50)), max_size=2).map(tuple),
    )
)
@settings(deadline=None)
def test_any_header_comes_back(header):
    assert decode_header(encode_header(header)) == header


def test_a_header_cut_anywhere_or_longer_is_refused():
    content = zstd_decompress(encode_header(HEADER), limit=10**6, where="header")
    for length in range(len(content)):
        with pytest.raises(FormatError):
            decode_header(zstd_compress(content[:length], 3))
    with pytest.raises(CorruptError, match="1 bytes follow"):
        decode_header(zstd_compress(content + b"\0", 3))


def test_every_altered_byte_gives_a_header_or_a_format_error():
    content = zstd_decompress(encode_header(HEADER), limit=10**6, where="header")
    for position in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            try:
                decode_header(zstd_compress(bytes(altered), 3))
            except FormatError:
                continue


@given(st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_format_error(content):
    for payload in (content, zstd_compress(content, 3)):
        with pytest.raises(FormatError):
            decode_header(payload)


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        (replace(HEADER, coder=2), UnsupportedVersionError, "coder"),
        (replace(HEADER, level=10), LimitExceededError, "level"),
        (replace(HEADER, n_frames=2**40 + 1), LimitExceededError, "frames"),
        (replace(HEADER, n_frames=2**31, chunk_frames=2**31), LimitExceededError, "samples in a chunk"),
        (replace(HEADER, n_frames=2**30, chunk_frames=1), LimitExceededError, "chunks"),
        (replace(HEADER, promises=((PROMISE_PRDN, float("nan")),)), CorruptError, "finite"),
        (replace(HEADER, promises=((PROMISE_PRDN, 1.0),) * 17), LimitExceededError, "promises"),
        (replace(HEADER, source="edf"), InvalidSignalError, "source"),
        (replace(HEADER, source="array:O:1"), InvalidSignalError, "source"),
        (replace(HEADER, model_digests=(b"\0" * 32,) * 17), LimitExceededError, "models"),
        (replace(HEADER, channels=()), LimitExceededError, "channels"),
    ],
)
def test_a_header_beyond_the_limits_is_refused(header, error, message):
    with pytest.raises(error, match=message):
        decode_header(encode_header(header))


def test_a_small_header_cannot_claim_more_samples_than_fit_in_memory():
    channel = Channel("a")
    header = replace(HEADER, n_frames=2**30, chunk_frames=2**30, channels=(channel,) * 4096)
    with pytest.raises(LimitExceededError):
        decode_header(encode_header(header))


def test_a_frame_rate_of_zero_is_refused():
    with pytest.raises(LimitExceededError, match="sampling rate"):
        decode_header(zstd_compress(encode_varints([4]) + b"wfdb" + encode_varints([0, 1]) + bytes(40), 3))


def profile(model, rng):
    return Profile(
        1,
        rng.integers(0, MAX_SCALE_CODE + 1, model.n_bands),
        rng.integers(-MAX_PHASE_CODE, MAX_PHASE_CODE + 1, (model.contexts.n_phase_groups, N_PHASES + 1)),
    )


def codings(rng, coder):
    kernels = BeatKernels(rng.integers(-2047, 2048, (3, 40)).astype(np.int32), -4)
    none = BeatKernels(np.zeros((0, 40), np.int32), 0)
    shapes = {"profile": profile(LAPPED, rng)} if coder == CODER_CLASS else {}
    flat = {"profile": replace(profile(LAPPED, rng), phase_codes=np.zeros((6, 25), np.int64))} if shapes else {}
    return [
        ChannelCoding(-5, -(2**31), 2**31 - 1, 0, LAPPED, Step(2048, -40), (0, 63, 7), kernels, **shapes),
        ChannelCoding(7, 7, 7, 0),
        ChannelCoding(0, -3, 3, 1, LAPPED, Step(4095, 32), (8, 4, 2), none, **flat),
    ]


WIDE = Channel("wide", minimum=-(2**31), maximum=2**31 - 1)
THREE = replace(HEADER, channels=(WIDE,) * 3)
QUALITIES = [MeasuredQuality(1.5, 3), MeasuredQuality(0.0, 0), MeasuredQuality(float("inf"), 2**32 - 1)]


def encoded_coding(coder):
    return encode_coding(
        codings(np.random.default_rng(0), coder),
        QUALITIES,
        models=(SMALL, LAPPED),
        kernel_lengths=[40, 0],
        coder=coder,
    )


@pytest.mark.parametrize("coder", [CODER_ZSTD, CODER_CLASS])
def test_the_coding_of_channels_comes_back(coder):
    after, qualities, kernel_lengths = decode_coding(
        encoded_coding(coder), replace(THREE, coder=coder), (SMALL, LAPPED)
    )
    assert kernel_lengths == [40, 0]
    assert qualities == QUALITIES
    for expected, found in zip(codings(np.random.default_rng(0), coder), after, strict=True):
        for name in ("offset", "minimum", "maximum", "lead_group", "model", "step", "offsets"):
            assert getattr(found, name) == getattr(expected, name)
        np.testing.assert_array_equal(found.kernels.weights.ravel(), expected.kernels.weights.ravel())
        assert found.kernels.exponent == expected.kernels.exponent
        assert (found.profile is None) == (expected.profile is None)
        if found.profile is not None:
            np.testing.assert_array_equal(found.profile.scale_codes, expected.profile.scale_codes)
            np.testing.assert_array_equal(found.profile.phase_codes, expected.profile.phase_codes)
            assert found.profile.weight_set == expected.profile.weight_set


@pytest.mark.parametrize("coder", [CODER_ZSTD, CODER_CLASS])
def test_a_coding_section_cut_anywhere_or_longer_is_refused(coder):
    content = encoded_coding(coder)
    header = replace(THREE, coder=coder)
    for length in range(len(content)):
        with pytest.raises(FormatError):
            decode_coding(content[:length], header, (SMALL, LAPPED))
    with pytest.raises(CorruptError, match="follow its last field"):
        decode_coding(content + b"\0", header, (SMALL, LAPPED))


def test_every_altered_byte_of_a_coding_section_gives_codings_or_a_format_error():
    content = encoded_coding(CODER_CLASS)
    for position in range(len(content)):
        for change in (0x01, 0x10, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            try:
                decode_coding(bytes(altered), THREE, (SMALL, LAPPED))
            except FormatError:
                continue


@given(st.binary(max_size=150), st.sampled_from([CODER_ZSTD, CODER_CLASS]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_codings_or_a_format_error(content, coder):
    try:
        decode_coding(content, replace(THREE, coder=coder), BANKS)
    except FormatError:
        return


def changed(**fields):
    """The coding section of one channel with some fields changed."""
    coding = replace(codings(np.random.default_rng(0), CODER_ZSTD)[0], **fields)
    return encode_coding([coding], QUALITIES[:1], models=(SMALL, LAPPED), kernel_lengths=[40], coder=CODER_ZSTD)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minimum": 5, "maximum": 4}, "in order"),
        ({"maximum": 2**31}, "(32-bit|Rice)"),
        ({"offset": -(2**31) - 1}, "(32-bit|Rice)"),
        ({"lead_group": 1}, "lead group 1 of 1"),
        ({"step": Step(2047, 0)}, "step 2047"),
        ({"step": Step(2048, 33)}, "step 2048"),
        ({"step": Step(2048, -41)}, "step 2048"),
        ({"model": None}, "constant channel has range"),
        ({"kernels": BeatKernels(np.zeros((1, 40), np.int32), 21)}, "exponent 21"),
        ({"kernels": BeatKernels(np.zeros((1, 40), np.int32), -11)}, "exponent -11"),
        ({"kernels": BeatKernels(np.full((1, 40), 65536, np.int32), 0)}, "weight of 65536"),
        ({"kernels": BeatKernels(np.zeros((65, 40), np.int32), 0)}, "65 beat kernels"),
    ],
)
def test_a_field_out_of_range_is_refused_with_its_channel(fields, message):
    header = replace(HEADER, channels=(WIDE,), coder=CODER_ZSTD)
    with pytest.raises(FormatError, match=f"channel 0: .*{message}"):
        decode_coding(changed(**fields), header, (SMALL, LAPPED))


def test_a_range_beyond_the_channel_is_refused():
    header = replace(HEADER, channels=CHANNELS[:1], coder=CODER_ZSTD)
    with pytest.raises(CorruptError, match="not within the channel"):
        decode_coding(changed(), header, (SMALL, LAPPED))


def test_channels_of_two_rates_do_not_share_a_lead_group():
    header = replace(THREE, channels=(WIDE, replace(WIDE, samples_per_frame=2), WIDE), coder=CODER_ZSTD)
    with pytest.raises(CorruptError, match="lead group 0 has channels of two rates"):
        decode_coding(encoded_coding(CODER_ZSTD), header, (SMALL, LAPPED))


def test_an_unknown_model_is_refused():
    header = replace(HEADER, channels=(WIDE,), coder=CODER_ZSTD)
    with pytest.raises(CorruptError, match="model 1 of 1"):
        decode_coding(changed(), header, (SMALL,))


def test_a_measured_prdn_is_stored_as_a_big_endian_float32():
    writer = BitWriter()
    content = changed()
    reader = BitReader.from_bytes(content, "coding")
    reader.rice(1), reader.rice(1)
    assert np.packbits(reader.bits(32)).tobytes() == struct.pack(">f", 1.5)
    assert not len(writer)
