from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.container import encode_varints, zstd_compress, zstd_decompress
from sancodec.codec.header import (
    PROMISE_MAX_ERROR,
    PROMISE_PRDN,
    Header,
    decode_header,
    encode_header,
)
from sancodec.codec.recording import Channel, SideFile
from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
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
    5,
    (((PROMISE_PRDN, 2.0), (PROMISE_MAX_ERROR, 7.0)), ()),
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


promises = st.lists(st.tuples(st.integers(0, 2**32), st.floats(-1e300, 1e300)), max_size=16).map(tuple)
described = st.lists(st.tuples(channels(), promises), min_size=1, max_size=3)


@given(
    st.builds(
        lambda source, rate, n_frames, chunk_frames, channels, level, *rest: Header(
            source,
            rate,
            n_frames,
            chunk_frames,
            tuple(channel for channel, _ in channels),
            level,
            tuple(of_channel for _, of_channel in channels),
            *rest,
        ),
        st.sampled_from(["wfdb", "array", "array:i2:1", "array:u8:2"]),
        st.fractions(min_value=Fraction(1, 1000), max_value=10**6, max_denominator=10**9),
        st.integers(1, 10**6),
        st.integers(1, 10**5),
        described,
        st.integers(1, 9),
        st.lists(st.binary(min_size=32, max_size=32), max_size=3, unique=True).map(tuple),
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
        (replace(HEADER, level=10), LimitExceededError, "level"),
        (replace(HEADER, n_frames=2**40 + 1), LimitExceededError, "frames"),
        (replace(HEADER, n_frames=2**31, chunk_frames=2**31), LimitExceededError, "samples in a chunk"),
        (replace(HEADER, n_frames=2**30, chunk_frames=1), LimitExceededError, "chunks"),
        (replace(HEADER, promises=(((PROMISE_PRDN, float("nan")),), ())), CorruptError, "channel 0, promise.*finite"),
        (replace(HEADER, promises=((), ((PROMISE_PRDN, 1.0),) * 17)), LimitExceededError, "channel 1, promises"),
        (replace(HEADER, promises=(((2**32 + 1, 1.0),), ())), LimitExceededError, "channel 0, promise"),
        (replace(HEADER, source="mat"), InvalidSignalError, "source"),
        (replace(HEADER, source="array:O:1"), InvalidSignalError, "source"),
        (replace(HEADER, model_digests=(b"\0" * 32,) * 17), LimitExceededError, "models"),
        (replace(HEADER, channels=(), promises=()), LimitExceededError, "channels"),
    ],
)
def test_a_header_beyond_the_limits_is_refused(header, error, message):
    with pytest.raises(error, match=message):
        decode_header(encode_header(header))


def test_a_small_header_cannot_claim_more_samples_than_fit_in_memory():
    channel = Channel("a")
    header = replace(HEADER, n_frames=2**30, chunk_frames=2**30, channels=(channel,) * 4096, promises=((),) * 4096)
    with pytest.raises(LimitExceededError):
        decode_header(encode_header(header))


def test_a_model_that_is_named_twice_is_refused():
    with pytest.raises(CorruptError, match="named twice"):
        decode_header(encode_header(replace(HEADER, model_digests=(b"\1" * 32, b"\2" * 32, b"\1" * 32))))


def test_a_frame_rate_of_zero_is_refused():
    with pytest.raises(LimitExceededError, match="sampling rate"):
        decode_header(zstd_compress(encode_varints([4]) + b"wfdb" + encode_varints([0, 1]) + bytes(40), 3))
