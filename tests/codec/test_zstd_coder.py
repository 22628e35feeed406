import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.quantiser import Quantised
from sancodec.codec.zstd_coder import decode_tokens, encode_tokens
from sancodec.errors import CorruptError, FormatError, TruncatedError

magnitudes = st.one_of(st.just(0), st.just(0), st.integers(0, 4), st.integers(0, 2**31 - 1))
bands_of_values = st.lists(st.lists(st.tuples(magnitudes, st.booleans()), max_size=60), min_size=1, max_size=6)


def quantised(bands):
    """Bands of signed values as one chunk; the sign of a zero is dropped, as the coder may."""
    values = [np.array(band, np.int64)[None] for band in bands]
    return Quantised([np.abs(band).astype(np.int32) for band in values], [band < 0 for band in values], [])


def encoded(bands):
    writer = BitWriter()
    tokens = encode_tokens(quantised(bands), 0, writer)
    return tokens, writer


def decoded(tokens, lengths, bits):
    reader = BitReader(bits, "chunk")
    result = decode_tokens(np.frombuffer(b"".join(tokens), np.uint8), lengths, reader)
    assert reader.position == len(bits)
    return [
        np.where(negative, -magnitude.astype(np.int64), magnitude) for magnitude, negative in zip(*result, strict=True)
    ]


def assert_comes_back(bands):
    tokens, writer = encoded(bands)
    after = decoded(tokens, [len(band) for band in bands], writer.tobits())
    assert [band.tolist() for band in after] == [list(band) for band in bands]


@given(bands_of_values)
@settings(deadline=None)
def test_coefficients_come_back(bands):
    assert_comes_back([[-value if negative else value for value, negative in band] for band in bands])


@pytest.mark.parametrize("run", [0, 1, 13, 14, 15, 16, 29, 2**14 + 13, 2**14 + 14, 2**14 + 15, 40_000])
def test_runs_of_any_length_come_back(run):
    assert_comes_back([[0] * run + [-3] + [0] * run + [1], [0] * run, [5]])


@pytest.mark.parametrize("size", [1, 2, 13, 14, 15, 16, 30, 31])
def test_magnitudes_of_any_size_come_back(size):
    assert_comes_back([[2**size - 1, -(2 ** (size - 1))], [0, 0, -(2**size - 1)]])


def test_empty_bands_take_one_token_each_and_no_bits():
    tokens, writer = encoded([[0] * 500, [], [0]])
    assert tokens == [b"\0", b"\0", b"\0"]
    assert len(writer) == 0


def test_a_token_is_a_run_of_at_most_14_and_a_size():
    tokens, writer = encoded([[0, 0, -5, 1]])
    assert tokens == [bytes([2 << 4 | 3, 0 << 4 | 1, 0])]
    assert writer.tobits().tolist() == [0, 1, 1, 0]  # 5 without its leading bit, then the signs


def test_a_long_run_has_a_token_of_its_own():
    tokens, _ = encoded([[0] * 15 + [1]])
    assert tokens == [bytes([1 << 4, 1, 0])]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (b"", "0 bands"),
        (b"\x01", "0 bands"),
        (b"\0\0", "2 bands"),
        (b"\0\x01", "1 bands"),
        (b"\x10\0", "long run"),
        (b"\x10\x10\x01\0", "long run"),
        (b"\xf1\0", "long run"),
        (b"\x81\0", "leaves its band"),
        (b"\x01\x01\x01\x01\x01\x01\0", "leaves its band"),
    ],
)
def test_tokens_that_contradict_themselves_are_refused(tokens, message):
    with pytest.raises(CorruptError, match=message):
        decode_tokens(np.frombuffer(tokens, np.uint8), [5], BitReader(np.zeros(100, np.uint8), "chunk"))


def test_missing_mantissas_are_refused():
    tokens, writer = encoded([[100, 7, 0, 0, -1]])
    bits = writer.tobits()
    for length in range(len(bits)):
        with pytest.raises(TruncatedError):
            decoded(tokens, [5], bits[:length])


def test_a_magnitude_of_32_bits_is_refused():
    writer = BitWriter()
    writer.rice(np.array([2**31 - 2**14]))
    with pytest.raises(CorruptError, match="below 2"):
        decode_tokens(np.frombuffer(b"\x0f\0", np.uint8), [5], BitReader(writer.tobits(), "chunk"))


@given(
    st.lists(st.integers(0, 255), max_size=30).map(bytes),
    st.binary(max_size=60),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=300)
def test_any_tokens_give_coefficients_or_a_format_error(tokens, raw, lengths):
    tokens = np.frombuffer(tokens + b"\0", np.uint8)
    reader = BitReader.from_bytes(raw, "chunk")
    try:
        values, signs = decode_tokens(tokens, lengths, reader)
    except FormatError:
        return
    assert [len(band) for band in values] == lengths
    assert [len(band) for band in signs] == lengths
    assert all(band.min(initial=0) >= 0 for band in values)
