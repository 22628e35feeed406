from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec import residual_stream
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.rans import EncodedStream
from sancodec.codec.residual_stream import (
    MAX_DIFFERENCE,
    CodedResidual,
    decode_residual_symbols,
    decode_zstd_residual,
    encode_zstd_residual,
    read_residual,
)
from sancodec.codec.residual_tables import MAX_SHIFT, ResidualTables, plan_tables
from sancodec.errors import CorruptError, FormatError, TruncatedError

TOP = MAX_DIFFERENCE - 1


def dense(rng, length, scale):
    return np.clip(np.rint(rng.laplace(0, scale, length)), -TOP, TOP).astype(np.int64)


def bursts(rng, length):
    """Silence with stretches of all sizes."""
    codes = np.zeros(length, np.int64)
    for first in range(0, length, 97):
        codes[first : first + int(rng.integers(1, 60))] = dense(rng, 60, 2.0 ** rng.uniform(-3, 20))[: length - first][
            :1
        ]
    return codes


def streams_of(seed):
    rng = np.random.default_rng(seed)
    return [
        dense(rng, 3000, 5),
        np.zeros(700, np.int64),
        bursts(rng, 2500),
        np.array([TOP, -TOP, 0, 1, -1]),
        np.array([0]),
        np.array([-7]),
        dense(rng, 33, 2.0**32),
        np.where(rng.random(900) < 0.02, dense(rng, 900, 1000), 0),
    ]


def class_round_trip(streams, exponent):
    plan, _ = plan_tables(streams, exponent)
    assert plan.tables.shifts.max(initial=0) <= MAX_SHIFT
    encoded = residual_stream.encode_class_residuals(streams, plan)
    coded = [CodedResidual(each.classes, each.stream, len(codes)) for each, codes in zip(encoded, streams, strict=True)]
    # All raw bits of a chunk follow each other.
    raw = np.concatenate([each.raw for each in encoded])
    found, position = [], 0
    for symbols in decode_residual_symbols(coded, plan.tables):
        values, used = read_residual(symbols, raw[position:], plan.tables)
        position += used
        found.append(values)
    assert position == len(raw)
    return found


@pytest.mark.parametrize("exponent", [0, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_class_streams_come_back_together(seed, exponent):
    streams = streams_of(seed)
    for found, expected in zip(class_round_trip(streams, exponent), streams, strict=True):
        np.testing.assert_array_equal(found, expected)


@given(st.lists(st.lists(st.integers(-TOP, TOP), min_size=1, max_size=70), min_size=1, max_size=3))
@settings(deadline=None)
def test_any_differences_come_back_under_classes(streams):
    streams = [np.array(codes, np.int64) for codes in streams]
    for found, expected in zip(class_round_trip(streams, 3), streams, strict=True):
        assert found.tolist() == expected.tolist()


def test_streams_of_zeros_have_no_tables_and_no_lanes():
    streams = [np.zeros(100, np.int64), np.zeros(1, np.int64)]
    plan, bits = plan_tables(streams, 5)
    assert len(plan.tables.shifts) == 0
    encoded = residual_stream.encode_class_residuals(streams, plan)
    assert [len(each.stream.states) for each in encoded] == [0, 0]
    assert bits < 50
    assert all(not found.any() for found in class_round_trip(streams, 5))


def test_tables_are_valid_and_their_bits_are_about_those_that_are_written():
    rng = np.random.default_rng(0)
    streams = [dense(rng, 20_000, scale) for scale in (0.3, 4, 300)]
    plan, bits = plan_tables(streams, 5)
    assert (plan.tables.frequencies.sum(axis=1) == 4096).all()
    assert plan.tables.shifts.max() > 0
    encoded = residual_stream.encode_class_residuals(streams, plan)
    # States hold raw bits, so only the words and what is raw beside them count, and the classes.
    written = sum(16 * len(each.stream.words) + len(each.raw) + 32 * len(each.stream.states) for each in encoded)
    assert written < bits < 1.1 * written


def one_stream(codes, exponent=5):
    plan, _ = plan_tables([codes], exponent)
    (encoded,) = residual_stream.encode_class_residuals([codes], plan)
    return CodedResidual(encoded.classes, encoded.stream, len(codes)), encoded.raw, plan.tables


def test_lanes_without_samples_and_samples_without_lanes_are_refused():
    codes = np.arange(-40, 40)
    coded, _, tables = one_stream(codes)
    none = EncodedStream(np.zeros(0, np.uint32), np.zeros(0, np.uint16))
    words = EncodedStream(np.zeros(0, np.uint32), np.ones(1, np.uint16))
    silent = np.zeros_like(coded.classes)
    for broken in (replace(coded, stream=none), replace(coded, classes=silent), CodedResidual(silent, words, 80)):
        with pytest.raises(CorruptError, match="lanes and"):
            decode_residual_symbols([broken], tables)


def test_words_too_few_or_too_many_are_refused():
    coded, _, tables = one_stream(np.arange(-400, 400))
    words = coded.stream.words
    for changed in (words[:-1], np.append(words, words[:1])):
        with pytest.raises(FormatError):
            decode_residual_symbols([replace(coded, stream=EncodedStream(coded.stream.states, changed))], tables)


def test_raw_bits_too_few_are_refused():
    coded, raw, tables = one_stream(np.arange(-4000, 4000))
    (symbols,) = decode_residual_symbols([coded], tables)
    assert read_residual(symbols, raw, tables)[1] == len(raw)
    with pytest.raises(TruncatedError):
        read_residual(symbols, raw[:-1], tables)


def raw_of(excess, low, shift, sign=0):
    writer = BitWriter()
    writer.rice(np.array([excess]))
    writer.number(low, shift)
    writer.number(sign, 1)
    return writer.tobits()


@pytest.mark.parametrize(
    ("excess", "low", "shift", "message"),
    [
        (2**30, 0, 0, None),
        (2**30 + 1, 0, 0, "an escape of"),
        (48, 2**27 - 1, 27, "a difference of"),
        (47, 2**27 - 1, 27, None),
    ],
)
def test_escapes_and_differences_have_a_limit(excess, low, shift, message):
    tables = ResidualTables(0, np.array([shift]), np.array([[*[0] * 16, 4096]], np.uint16))
    symbols = residual_stream.ResidualSymbols(
        np.ones(1, bool), np.zeros(1, np.int64), np.array([16], np.uint8), np.zeros(0, np.uint8)
    )
    raw = raw_of(excess, low, shift, 1)
    if message is None:
        assert read_residual(symbols, raw, tables)[0].tolist() == [-(16 + excess << shift | low)]
    else:
        with pytest.raises(CorruptError, match=message):
            read_residual(symbols, raw, tables)


def test_bits_left_in_the_states_are_refused():
    tables = ResidualTables(0, np.array([0]), np.array([[0, 4096, *[0] * 15]], np.uint16))
    coded, _, _ = one_stream(np.array([1]), 0)
    (symbols,) = decode_residual_symbols([coded], tables)
    assert read_residual(symbols, np.zeros(0, np.uint8), tables)[0].tolist() == [1]
    head = symbols.head.copy()
    head[-1] = 1
    with pytest.raises(CorruptError, match="bits follow the last sign"):
        read_residual(replace(symbols, head=head), np.zeros(0, np.uint8), tables)


def zstd_round_trip(streams):
    writer = BitWriter()
    content = b"".join(encode_zstd_residual(codes, writer) for codes in streams)
    reader, start, found = BitReader(writer.tobits(), "residuals"), 0, []
    for codes in streams:
        values, start = decode_zstd_residual(content, start, len(codes), reader)
        found.append(values)
    assert start == len(content)
    assert reader.position == len(writer)
    return content, found


@pytest.mark.parametrize("seed", range(3))
def test_zstd_streams_come_back_one_after_the_other(seed):
    streams = streams_of(seed)
    _, found = zstd_round_trip(streams)
    for values, expected in zip(found, streams, strict=True):
        np.testing.assert_array_equal(values, expected)


@given(st.lists(st.lists(st.integers(-TOP, TOP), min_size=1, max_size=70), min_size=1, max_size=3))
@settings(deadline=None)
def test_any_differences_come_back_from_zstd(streams):
    streams = [np.array(codes, np.int64) for codes in streams]
    for found, expected in zip(zstd_round_trip(streams)[1], streams, strict=True):
        assert found.tolist() == expected.tolist()


def test_forms_follow_the_differences():
    rng = np.random.default_rng(0)
    assert zstd_round_trip([np.zeros(90, np.int64)])[0] == b"\xff\0"
    assert zstd_round_trip([np.array([3, -3, 3])])[0] == b"\0\6\5\6"
    assert zstd_round_trip([dense(rng, 900, 2.0**20)])[0][0] > 10
    assert zstd_round_trip([np.array([TOP, 0, 0, 0])])[0][0] != 255


def decoded_bytes(form, high, raw, n_samples=1):
    reader = BitReader(np.array(list(raw), np.uint8), "residuals")
    return decode_zstd_residual(bytes([form, *high]), 0, n_samples, reader)[0].tolist()


def test_the_largest_difference_in_bytes_is_that_of_the_classes():
    def raw(z):
        writer = BitWriter()
        writer.rice(np.array([(z >> 24) - 255]))
        writer.number(z & (2**24 - 1), 24)
        return writer.tobits()

    assert decoded_bytes(24, [255], raw(2**34 - 2)) == [2**33 - 1]
    assert decoded_bytes(24, [255], raw(2**34 - 3)) == [-(2**33) + 1]
    for z in (2**34 - 1, 2**34):
        with pytest.raises(CorruptError, match="coded difference"):
            decoded_bytes(24, [255], raw(z))


@pytest.mark.parametrize("form", [25, 128, 254])
def test_unknown_forms_are_refused(form):
    with pytest.raises(CorruptError, match=f"form {form}"):
        decoded_bytes(form, [0], [0] * 40)


def test_channels_without_content_or_end_are_refused():
    reader = BitReader(np.zeros(0, np.uint8), "residuals")
    for content, start, message in [
        (b"", 0, "a channel is missing"),
        (b"\0\0\0", 3, "a channel is missing"),
        (b"\0\0", 0, "2 bytes are needed, 1 are left"),
        (b"\xff\1\1", 0, "have no end"),
    ]:
        with pytest.raises(TruncatedError, match=message):
            decode_zstd_residual(content, start, 2, reader)


@given(st.binary(max_size=40), st.binary(max_size=20), st.integers(1, 30))
@settings(deadline=None)
def test_any_bytes_give_differences_or_a_format_error(content, raw, n_samples):
    try:
        values, _ = decode_zstd_residual(content, 0, n_samples, BitReader.from_bytes(raw, "residuals"))
    except FormatError:
        return
    assert len(values) == n_samples
    assert np.abs(values).max() < MAX_DIFFERENCE
