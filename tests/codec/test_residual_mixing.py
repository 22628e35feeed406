from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec import residual_mixing
from sancodec.codec.native import core
from sancodec.codec.residual import Reference, ResidualCoding, corrections
from sancodec.codec.residual_arithmetic import MAX_SAMPLE, N_PRIOR
from sancodec.codec.residual_mixing import (
    MixedChannel,
    decode_chunk,
    encode_chunk,
    run_native,
    run_oracle,
    shipped_prior,
)
from sancodec.errors import CorruptError

needs_core = pytest.mark.skipif(not hasattr(core, "residual_mixing"), reason="the native core is not built")


def coding_of(bound, own, references=(), shift=8):
    return ResidualCoding(bound, 1, shift, np.array(own, np.int64), tuple(references))


def signals(seed, length, n_channels, scale):
    """Beats on a slow wave, with noise; the same in all channels but for a factor."""
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    common = 30 * np.sin(at / 40) + 100 * np.exp(-(((at % 97) - 30) ** 2) / 8)
    rows = [scale * (common * rng.uniform(0.3, 1.5) + rng.normal(0, 2, length)) for _ in range(n_channels)]
    return [np.rint(row).astype(np.int64) for row in rows]


def chunk_of(seed, *, length=300, bound=0, scale=1.0, near_lags=8, far_lags=4):
    """Channels of every kind: predicted, over a cascade, from others, and a cascade that is only corrected."""
    rows = signals(seed, length, 5, scale)
    low, high = min(row.min() for row in rows), max(row.max() for row in rows)
    rough = [row + np.rint(np.random.default_rng(index).normal(0, 2 * scale + 1, length)).astype(np.int64)
             for index, row in enumerate(rows)]  # fmt: skip
    flat = np.zeros(length, np.int64)
    told = [Reference(7, True, -2, np.array([1, 0, 2, 3])), Reference(2, True, 0, np.array([1]))]
    codings = [
        (7, coding_of(bound, [400, -150]), flat),
        (2, coding_of(bound, [200, -100, 5], [Reference(2, False, -1, np.array([20, 100, 30]))]), rough[1]),
        (5, coding_of(bound, [3], told, shift=2), flat),
        (0, corrections(0, bound), rough[3]),
    ]  # fmt: skip
    channels = [
        MixedChannel(index, replace(coding, near_lags=near_lags, far_lags=far_lags), int(low), int(high), approximation)
        for index, coding, approximation in codings
    ]
    last = coding_of(bound, [], [Reference(9, True, 0, np.array([130])), Reference(9, False, 3, np.array([126]))])
    channels.append(MixedChannel(4, last, int(low), int(high), flat))
    return channels, [rows[0], rows[1], rows[2], rows[3], np.clip(rough[4], low, high)], {9: rows[4]}


def flat_chunk(channels, samples, others):
    return residual_mixing._Chunk.of(channels, samples, others)


@pytest.mark.parametrize(("bound", "scale"), [(0, 1.0), (1, 1.0), (4, 1.0), (0, 300.0), (3, 1e6)])
def test_samples_come_back_within_the_bound(bound, scale):
    channels, targets, others = chunk_of(1, bound=bound, scale=scale)
    coded, decoded = encode_chunk(channels, targets, others)
    again = decode_chunk(channels, coded, others)
    for target, one, other in zip(targets, decoded, again, strict=True):
        assert np.abs(one - target).max() <= bound
        assert np.array_equal(one, other)


@needs_core
@pytest.mark.parametrize(("bound", "scale"), [(0, 1.0), (1, 1.0), (4, 0.2), (0, 300.0), (3, 1e6)])
def test_core_and_oracle_agree(bound, scale):
    channels, targets, others = chunk_of(2, bound=bound, scale=scale)
    one, other = (flat_chunk(channels, targets, others) for _ in range(2))
    coded = run_native(one, shipped_prior(), None)
    assert coded == run_oracle(other, shipped_prior(), None)
    assert np.array_equal(one.samples, other.samples)
    nothing = [np.zeros_like(target) for target in targets]
    decoders = [flat_chunk(channels, nothing, others) for _ in range(2)]
    run_native(decoders[0], shipped_prior(), coded)
    run_oracle(decoders[1], shipped_prior(), coded)
    assert np.array_equal(decoders[0].samples, one.samples)
    assert np.array_equal(decoders[1].samples, one.samples)


@needs_core
@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=60), st.integers(0, 3), st.sampled_from([1.0, 1e8]))
def test_core_and_oracle_agree_on_anything(coded, bound, scale):
    channels, targets, others = chunk_of(3, length=40, bound=bound, scale=scale)
    results = []
    for run in (run_native, run_oracle):
        chunk = flat_chunk(channels, [np.zeros_like(target) for target in targets], others)
        try:
            run(chunk, shipped_prior(), coded)
            results.append(chunk.samples.tolist())
        except CorruptError:
            results.append(None)
    assert results[0] == results[1]


@needs_core
def test_core_and_oracle_agree_at_the_ends_of_all_ranges():
    length, rng = 120, np.random.default_rng(4)
    low, high = 1 - (1 << 32), (1 << 32) - 1
    target = rng.choice(np.array([low, high, 0]), length)
    coding = ResidualCoding(0, 1, 0, np.full(64, 1 << 20, np.int64), ())
    channel = MixedChannel(0, replace(coding, near_lags=32, far_lags=256), low, high, np.zeros(length, np.int64))
    one, other = (flat_chunk([channel], [target], {}) for _ in range(2))
    coded = run_native(one, shipped_prior(), None)
    assert coded == run_oracle(other, shipped_prior(), None)
    assert np.array_equal(one.samples, target)


def test_steady_samples_take_next_to_nothing():
    flat = np.zeros(5000, np.int64)
    channel = MixedChannel(0, coding_of(0, [256]), -100, 100, flat)
    coded, _ = encode_chunk([channel], [flat + 42], {})
    assert len(coded) < 60


def test_an_early_end_is_refused():
    channels, targets, others = chunk_of(5)
    coded, _ = encode_chunk(channels, targets, others)
    with pytest.raises(CorruptError):
        decode_chunk(channels, coded[: len(coded) // 2], others)


@pytest.mark.parametrize(
    "change",
    [
        {"coding": replace(coding_of(0, [256]), near_lags=33)},
        {"coding": replace(coding_of(0, [256]), far_lags=257)},
        {"low": 5, "high": 4},
        {"high": MAX_SAMPLE + 1},
        {"coding": coding_of(0, [1 << 27])},
        {"coding": coding_of(-1, [256])},
        {"coding": coding_of(0, [256], shift=21)},
        {"coding": coding_of(0, [256], [Reference(0, True, 0, np.array([1]))])},
        {"coding": coding_of(0, [256], [Reference(0, False, 65, np.array([1]))])},
    ],
)
def test_what_is_out_of_range_is_refused(change):
    channel = MixedChannel(0, coding_of(0, [256]), -100, 100, np.zeros(50, np.int64))
    for run in (run_native, run_oracle) if hasattr(core, "residual_mixing") else (run_oracle,):
        chunk = flat_chunk([replace(channel, **change)], [np.zeros(50, np.int64)], {})
        with pytest.raises(CorruptError):
            run(chunk, shipped_prior(), None)


def test_the_prior_has_its_size():
    assert len(shipped_prior()) == N_PRIOR
