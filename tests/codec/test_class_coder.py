from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import DYADIC, LAPPED, SMALL

from sancodec.codec import quantiser, rans
from sancodec.codec.chunks import base_windows
from sancodec.codec.class_coder import (
    COEFFICIENTS_PER_LANE,
    MAX_LANES,
    ChannelPart,
    StreamBatch,
    StreamSymbols,
    decode_class_symbols,
    encode_class_streams,
    lanes_for,
    read_stream,
)
from sancodec.codec.contexts import NO_PHASE, Profile
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream
from sancodec.errors import CorruptError, FormatError, TruncatedError


@dataclass
class Example:
    """A part to be encoded and what a decoder knows of it."""

    part: ChannelPart
    profile: Profile
    base_at: list[np.ndarray]
    model: Model


def example(model, rng, *, n_chunks=2, n_periods=2, density=0.1, peak=6, weight_set=0, n_lanes=None, off=()):
    circle = n_periods * model.period
    shapes = [(n_chunks, circle // stride) for stride in model.band_strides]
    magnitudes = [
        np.where(rng.random(shape) < density, rng.geometric(min(1.0, 1.5 / peak), shape), 0).astype(np.int32)
        for shape in shapes
    ]
    for band in off:
        magnitudes[band][:] = 0
    negative = [(rng.random(shape) < 0.5) & (band > 0) for shape, band in zip(shapes, magnitudes, strict=True)]
    phases = [np.full(shape, NO_PHASE) for shape in shapes]
    profile = quantiser.profile_of(model.contexts, [magnitudes], [phases], with_phases=False, weight_set=weight_set)
    used = np.array([band.any() for band in magnitudes])
    profile = replace(profile, scale_codes=np.where(used, np.maximum(profile.scale_codes, 1), 0))
    base_at = base_windows(model, profile, phases)
    classified = quantiser.classified(Quantised(magnitudes, negative, []), model, base_at, weight_set=weight_set)
    n_lanes = lanes_for(model, circle, used) if n_lanes is None else n_lanes
    return Example(ChannelPart(classified, used, n_lanes, weight_set), profile, base_at, model)


def batch_of(each, streams):
    active = np.tile(each.part.active, (each.part.n_chunks, 1))
    return StreamBatch(
        [stream.stream for stream in streams], each.part.n_lanes, each.part.weight_set, each.base_at, active
    )


def assert_come_back(examples):
    model = examples[0].model
    encoded = encode_class_streams([each.part for each in examples], model)
    batches = [batch_of(each, streams) for each, streams in zip(examples, encoded, strict=True)]
    decoded = decode_class_symbols(batches, model)
    for each, streams, symbols in zip(examples, encoded, decoded, strict=True):
        for chunk, (stream, symbol) in enumerate(zip(streams, symbols, strict=True)):
            trailing = np.array([1, 0, 1], np.uint8)
            after, n_used = read_stream(symbol, np.concatenate([stream.raw, trailing]), model)
            assert n_used == len(stream.raw)
            for band in range(model.n_bands):
                np.testing.assert_array_equal(after.magnitudes[band][0], each.part.quantised.magnitudes[band][chunk])
                np.testing.assert_array_equal(after.negative[band][0], each.part.quantised.negative[band][chunk])


@pytest.mark.parametrize("model", [LAPPED, DYADIC, SMALL], ids=lambda model: model.name)
@pytest.mark.parametrize("weight_set", [0, 1])
@pytest.mark.parametrize(("density", "peak"), [(0.01, 1), (0.2, 6), (0.9, 400), (0.5, 1_000_000)])
def test_sparse_and_dense_coefficients_come_back(model, weight_set, density, peak):
    rng = np.random.default_rng([weight_set, peak])
    assert_come_back([example(model, rng, density=density, peak=peak, weight_set=weight_set)])


@given(seed=st.integers(0, 2**32), n_parts=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_parts_of_several_lengths_lanes_and_weight_sets_come_back_together(seed, n_parts):
    rng = np.random.default_rng(seed)
    examples = [
        example(
            SMALL,
            rng,
            n_chunks=int(rng.integers(1, 4)),
            n_periods=int(rng.integers(1, 9)),
            density=float(rng.choice([0.05, 0.5, 1.0])),
            peak=int(rng.choice([2, 100])),
            weight_set=int(rng.integers(0, 2)),
            n_lanes=int(rng.integers(1, 6)),
            off=[band for band in range(SMALL.n_bands - 1) if rng.random() < 0.3],
        )
        for _ in range(n_parts)
    ]
    if any(not each.part.active.any() for each in examples):
        return
    assert_come_back(examples)


@pytest.mark.parametrize("off", [[0], [1], [2], [0, 1], [1, 2], [0, 2]])
def test_bands_that_are_off_take_no_symbols(off):
    rng = np.random.default_rng(5)
    quiet = example(SMALL, rng, density=0.5, off=off)
    loud = example(SMALL, rng, density=0.5)
    assert quiet.part.active.tolist() == [band not in off for band in range(3)]
    assert_come_back([quiet, loud])


def test_a_wide_band_that_is_off_does_not_count_as_work(monkeypatch):
    each = example(SMALL, np.random.default_rng(5), n_periods=8, density=0.5, off=[2])
    monkeypatch.setattr(rans, "MAX_STEPS", batch_of(each, encode_class_streams([each.part], SMALL)[0]).widest)
    assert_come_back([each])


def test_a_magnitude_of_31_bits_comes_back():
    rng = np.random.default_rng(6)
    each = example(SMALL, rng, density=0.2)
    each.part.quantised.magnitudes[1][0, 1] = 2**30
    classified = quantiser.classified(each.part.quantised, SMALL, each.base_at, weight_set=0)
    assert_come_back([replace(each, part=replace(each.part, quantised=classified))])


def test_a_lane_codes_at_most_4096_coefficients():
    everything = np.ones(DYADIC.n_bands, bool)
    for n_periods, expected in [(1, 1), (32, 1), (33, 2), (64, 2), (10**9, MAX_LANES)]:
        assert lanes_for(DYADIC, n_periods * DYADIC.period, everything) == expected
    assert 32 * DYADIC.period == COEFFICIENTS_PER_LANE


def encoded_small(density=0.5, peak=200):
    each = example(SMALL, np.random.default_rng(9), n_chunks=1, n_periods=20, density=density, peak=peak, n_lanes=2)
    ((stream,),) = encode_class_streams([each.part], SMALL)
    return each, stream


def complete(each, stream, raw):
    (symbols,) = decode_class_symbols([batch_of(each, [stream])], SMALL)[0]
    return read_stream(symbols, raw, SMALL)


def test_missing_raw_bits_are_refused():
    each, stream = encoded_small()
    assert len(stream.raw) > 10
    for length in range(0, len(stream.raw), 7):
        with pytest.raises(TruncatedError):
            complete(each, stream, stream.raw[:length])


def test_bits_after_the_last_sign_in_the_initial_states_are_refused():
    widths = [10, 10, 20]
    nothing = np.zeros(sum(widths), np.uint8)
    head = np.zeros(32, np.uint8)
    symbols = StreamSymbols(0, nothing, nothing, np.ones(3, bool), widths, head)
    quantised, n_used = read_stream(symbols, np.zeros(0, np.uint8), SMALL)
    assert (n_used, sum(band.sum() for band in quantised.magnitudes)) == (0, 0)
    head[31] = 1
    with pytest.raises(CorruptError, match="last sign"):
        read_stream(symbols, np.zeros(0, np.uint8), SMALL)


@given(
    states=st.lists(st.integers(2**16, 2**32 - 1), min_size=2, max_size=2),
    words=st.binary(max_size=120),
    raw=st.binary(max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_any_stream_gives_coefficients_or_a_format_error(states, words, raw):
    each, stream = encoded_small()
    words = np.frombuffer(words[: len(words) // 2 * 2], "<u2")
    altered = replace(stream, stream=EncodedStream(np.array(states, np.uint32), words))
    try:
        quantised, _ = complete(each, altered, np.unpackbits(np.frombuffer(raw, np.uint8)))
    except FormatError:
        return
    assert [band.shape for band in quantised.magnitudes] == [band.shape for band in each.part.quantised.magnitudes]


@given(flip=st.integers(0, 10**6), value=st.integers(1, 2**16 - 1))
@settings(max_examples=60, deadline=None)
def test_an_altered_word_gives_coefficients_or_a_format_error(flip, value):
    each, stream = encoded_small()
    words = stream.stream.words.copy()
    words[flip % len(words)] ^= np.uint16(value)
    try:
        complete(each, replace(stream, stream=EncodedStream(stream.stream.states, words)), stream.raw)
    except FormatError:
        return
