from dataclasses import replace
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from level_examples import MANY_BANDS, any_profile, with_any_statistics
from neutral_banks import DYADIC, LAPPED, SMALL, neutral_model, random_group

from sancodec.codec import native
from sancodec.codec.contexts import Profile
from sancodec.codec.level_arithmetic import TRELLIS, activity_of
from sancodec.codec.level_coder import (
    LevelUnit,
    core_channels,
    decode_levels,
    encode_levels,
    expected_of,
    joined_levels,
)
from sancodec.codec.mixing_model import (
    N_ACTIVITIES,
    N_COSTS,
    N_FINE_PHASES,
    N_INPUTS,
    N_KINDS,
    N_TAPS,
    PRIOR_SIZE,
    SIGN_KIND,
    index_costs,
    prior_start,
)
from sancodec.codec.models import shipped_model
from sancodec.codec.quantiser import OFFSET_UNIT, Bands
from sancodec.codec.trellis import MULTIPLIER, quantise_levels

needs_core = pytest.mark.skipif(native.core is None, reason=f"there is nothing to compare: {native.engine_name()}")
ONE_BAND = neutral_model("one band", [random_group(8, 1, 8, 0)])
OFFSETS = (8, 4, 2)
MODELS = [*(shipped_model(name) for name in ("ecg360", "sym8", "haar", "mdct128")), LAPPED, DYADIC, SMALL, MANY_BANDS]
seeds = st.integers(0, 2**32 - 1)


def no_counts():
    return np.zeros((N_KINDS - 1, N_ACTIVITIES, 2, 2), np.int64)


def quantised(bands, model, profile, phases, *, step=1.0, offsets=OFFSETS, counts=None):
    costs = index_costs(model.contexts.mixing, profile.weight_set)
    return quantise_levels(bands, model, profile, phases, step=step, offsets=offsets, costs=costs, counts=counts)


def example(model, rng, *, n_chunks=1, n_periods=2, scale=2.0, profile=None):
    """Coefficients of a channel, a profile, and phases."""
    widths = [n_periods * model.period // stride for stride in model.band_strides]
    shares = scale * rng.choice([0.05, 1, 8], len(widths))
    bands = Bands.of([
        rng.laplace(0, share, (n_chunks, width)).astype(np.float32) for share, width in zip(shares, widths, strict=True)
    ])  # fmt: skip
    phases = [rng.integers(0, N_FINE_PHASES, sum(widths)).astype(np.uint8) for _ in range(n_chunks)]
    return bands, any_profile(model, rng) if profile is None else profile, phases


def assert_core_agrees(model, bands, profile, phases, **options):
    counts, expected_counts = no_counts(), no_counts()
    found, sums = quantised(bands, model, profile, phases, **options, counts=counts)
    with patch.object(native, "core", None):
        expected, expected_sums = quantised(bands, model, profile, phases, **options, counts=expected_counts)
    np.testing.assert_array_equal(counts, expected_counts)
    for one, other in zip(found.magnitudes, expected.magnitudes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sums.squares == pytest.approx(expected_sums.squares, rel=1e-12)
    np.testing.assert_allclose(sums.errors, expected_sums.errors, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(sums.counts, expected_sums.counts)


@needs_core
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_core_and_python_find_the_same_levels(model):
    assert_core_agrees(model, *example(model, np.random.default_rng(3)), step=0.7)


@needs_core
@given(
    seed=seeds,
    scale=st.sampled_from([0.3, 5.0, 300.0, 1e5, 2.0**26, 2.0**40]),
    offsets=st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(0, 63)),
)
@settings(max_examples=40, deadline=None)
def test_core_and_python_find_the_same_levels_under_any_statistics(seed, scale, offsets):
    rng = np.random.default_rng(seed)
    for model in (with_any_statistics(SMALL, rng), SMALL):
        bands, profile, phases = example(model, rng, n_chunks=2, n_periods=3, scale=scale)
        assert_core_agrees(model, bands, profile, phases, offsets=offsets)


@needs_core
@pytest.mark.parametrize("scale", [0.5, 4, 3000])
def test_the_decisions_that_are_counted_are_those_that_are_coded(scale):
    model = shipped_model("sym8")
    bands, profile, phases = example(model, np.random.default_rng(8), scale=scale)
    profile = profile.with_all_bands()
    counts = no_counts()
    found, _ = quantised(bands, model, profile, phases, counts=counts)
    unit = LevelUnit(model, profile, phases[0], joined_levels(found, 0))
    met, mixers = np.zeros((PRIOR_SIZE, 2), np.int64), np.zeros(N_KINDS * (N_INPUTS + 1), np.int64)
    content, taps = np.zeros(40 * len(unit.levels), np.uint8), np.zeros(model.n_bands * N_TAPS, np.int32)
    native.core.code_levels(0, content, *core_channels([unit]), met.reshape(-1), mixers, taps)
    for row, kind in enumerate(kind for kind in range(N_KINDS) if kind != SIGN_KIND):
        first = prior_start(kind, 0)
        np.testing.assert_array_equal(met[first : first + 2 * N_ACTIVITIES].reshape(N_ACTIVITIES, 2, 2), counts[row])
    assert counts.sum() > len(unit.levels)


def states_of(magnitudes):
    """States of the trellis that a band runs through; an AssertionError where a level is not to be had."""
    state, states = 0, []
    for level in magnitudes.tolist():
        odd = state & 1
        assert level == 0 or (level + odd) % 2 == 0
        states.append(state)
        state = TRELLIS[state][(level + odd) // 2 & 1]
    return states


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("scale", [0.5, 4.0, 1e4])
def test_every_level_is_one_that_its_state_allows(model, scale):
    rng = np.random.default_rng(1)
    bands, profile, phases = example(model, rng, n_chunks=2, scale=scale)
    found, _ = quantised(bands, model, profile, phases)
    reached = {
        state
        for band in found.magnitudes
        for magnitudes in band
        for state in states_of(magnitudes)
        if band.shape[1] > 8
    }
    assert reached <= set(range(8))
    if scale > 1 and model in (LAPPED, DYADIC):
        assert reached == set(range(8))


def test_bands_that_are_off_have_no_levels_and_their_error_is_their_energy():
    rng = np.random.default_rng(2)
    off = replace(any_profile(SMALL, rng), scale_codes=np.zeros(SMALL.n_bands, np.int64))
    bands, profile, phases = example(SMALL, rng, profile=off)
    found, sums = quantised(bands, SMALL, profile, phases, step=0.5)
    assert not any(band.any() for band in found.magnitudes)
    energy = sum((band.astype(np.float64) ** 2).sum() for band in bands.absolute)
    assert sums.squares == pytest.approx(4 * energy)
    assert not sums.counts.any()


def test_the_sums_of_errors_are_those_of_the_levels():
    rng = np.random.default_rng(4)
    everywhere = any_profile(LAPPED, rng, off=0.0)
    bands, profile, phases = example(LAPPED, rng, n_chunks=3, profile=everywhere)
    found, sums = quantised(bands, LAPPED, profile, phases, step=0.4)
    levels = np.concatenate([band.ravel() for band in found.magnitudes])
    errors = np.concatenate([band.ravel() for band in bands.absolute]).astype(np.float64) / 0.4 - levels
    assert sums.squares == pytest.approx((errors**2).sum())
    for kind in range(4):
        of_kind = levels >= 3 if kind == 3 else levels == kind
        assert sums.counts[kind] == of_kind.sum()
        assert sums.errors[kind] == pytest.approx(errors[of_kind].sum(), abs=1e-6)


def test_chunks_are_quantised_alone():
    rng = np.random.default_rng(5)
    bands, profile, phases = example(LAPPED, rng, n_chunks=3)
    together, sums = quantised(bands, LAPPED, profile, phases)
    total = 0.0
    for chunk in range(3):
        one = Bands([each[chunk][None] for each in bands.absolute], [each[chunk][None] for each in bands.negative], [])
        alone, alone_sums = quantised(one, LAPPED, profile, [phases[chunk]])
        total += alone_sums.squares
        for all_chunks, single in zip(together.magnitudes, alone.magnitudes, strict=True):
            np.testing.assert_array_equal(all_chunks[chunk], single[0])
    assert sums.squares == pytest.approx(total)


# Against other ways through the trellis


def flat_profile(scale_code):
    return Profile(0, np.full(1, scale_code), np.zeros((1, 25), np.int64))


def index_bits(model, profile, phases):
    """Bits of indices ``(quantiser, window, index)`` where activity follows from the profile alone."""
    costs = index_costs(model.contexts.mixing, 0)
    expected = expected_of(profile, model)[0][phases >> 1]
    table = np.stack([costs[:, activity_of(int(each))] for each in expected], axis=1)
    beyond = [table[:, :, -1] + 2 * np.floor(np.log2(index - N_COSTS + 2)) + 1 for index in range(N_COSTS, 80)]
    return np.concatenate([table, np.stack(beyond, axis=2)], axis=2)


def cost_of_path(indices, scaled, bits, offsets):
    """Squared error and weighted bits of a band with these indices; infinite where a small coefficient is not 0."""
    state, cost = 0, 0.0
    for window, (index, u) in enumerate(zip(indices, scaled.tolist(), strict=True)):
        odd = state & 1
        if index and u <= (0.5 if odd else 1):
            return np.inf
        level = 2 * index - odd if index else 0
        shift = offsets[min(level, 3) - 1] / OFFSET_UNIT if level else 0
        cost += (u - (level - shift)) ** 2 + MULTIPLIER * bits[odd, window, index]
        state = TRELLIS[state][index & 1]
    return cost


def indices_of(magnitudes):
    return [(level + (state & 1)) // 2 for level, state in zip(magnitudes.tolist(), states_of(magnitudes), strict=True)]


def greedy_indices(scaled):
    """The nearest level that each state allows."""
    state, indices = 0, []
    for u in scaled.tolist():
        odd = state & 1
        index = min(range(int(u) + 2), key=lambda each: abs(u - (2 * each - odd if each else 0)))
        indices.append(index if u > (0.5 if odd else 1) else 0)
        state = TRELLIS[state][indices[-1] & 1]
    return indices


@pytest.mark.parametrize("scale_code", [25, 41, 52])
def test_no_other_path_through_five_windows_is_cheaper(scale_code):
    rng = np.random.default_rng(scale_code)
    profile = flat_profile(scale_code)
    for _ in range(12):
        coefficients = rng.laplace(0, rng.choice([1, 2.5]), (1, 5)).clip(-6, 6).astype(np.float32)
        phases = rng.integers(0, N_FINE_PHASES, 5).astype(np.uint8)
        found, _ = quantised(Bands.of([coefficients]), ONE_BAND, profile, [phases])
        scaled = np.abs(coefficients[0]).astype(np.float64)
        bits = index_bits(ONE_BAND, profile, phases)
        ours = cost_of_path(indices_of(found.magnitudes[0][0]), scaled, bits, OFFSETS)
        choices = [range(int(u / 2) + 3) for u in scaled]
        best = min(cost_of_path(path, scaled, bits, OFFSETS) for path in product(*choices))
        assert ours == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("scale_code", [20, 33, 41, 49, 60])
def test_the_nearest_levels_taken_greedily_never_cost_less(scale_code):
    rng = np.random.default_rng(scale_code)
    profile = flat_profile(scale_code)
    saved = []
    for _ in range(20):
        coefficients = rng.laplace(0, 2 ** ((scale_code - 41) / 4) + 0.2, (1, 64)).clip(-70, 70).astype(np.float32)
        phases = rng.integers(0, N_FINE_PHASES, 64).astype(np.uint8)
        found, _ = quantised(Bands.of([coefficients]), ONE_BAND, profile, [phases])
        scaled = np.abs(coefficients[0]).astype(np.float64)
        bits = index_bits(ONE_BAND, profile, phases)
        ours = cost_of_path(indices_of(found.magnitudes[0][0]), scaled, bits, OFFSETS)
        greedy = cost_of_path(greedy_indices(scaled), scaled, bits, OFFSETS)
        assert ours <= greedy * (1 + 1e-12)
        saved.append(1 - ours / greedy)
    assert np.mean(saved) > 0.03


def test_one_window_may_have_any_even_level():
    profile = flat_profile(41)
    for value in (0.0, 0.9, 2.2, 3.6, 5.0, 1001.3, 2.0**25):
        coefficients = np.full((1, 1), value, np.float32)
        found, _ = quantised(Bands.of([coefficients]), ONE_BAND, profile, [np.zeros(1, np.uint8)], offsets=(0, 0, 0))
        level = int(found.magnitudes[0][0, 0])
        assert level % 2 == 0
        assert abs(level - value) <= 2
        assert level <= value + 1


def test_coefficients_beyond_all_levels_are_coded_as_the_largest():
    profile = flat_profile(95)
    coefficients = np.array([[2.0**32, 2.0**60, 3e38, 1.0]], np.float32)
    phases = np.zeros(4, np.uint8)
    found, _ = quantised(Bands.of([coefficients]), ONE_BAND, profile, [phases])
    levels = found.magnitudes[0]
    assert np.all(abs(levels[0, :3] - 2**29) <= 2)
    units = [LevelUnit(ONE_BAND, profile, phases, each.astype(np.int32)) for each in (levels[0], 0 * levels[0])]
    decode_levels(units[1:], encode_levels(units[:1]))
    np.testing.assert_array_equal(units[1].levels, units[0].levels)


def test_levels_keep_the_signs_of_the_coefficients():
    rng = np.random.default_rng(6)
    bands, profile, phases = example(SMALL, rng)
    found, _ = quantised(bands, SMALL, profile, phases)
    for one, other in zip(found.negative, bands.negative, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all((band >= 0).all() for band in found.magnitudes)


def test_a_unit_of_quantised_levels_has_the_windows_of_its_bank():
    unit = LevelUnit(SMALL, any_profile(SMALL, np.random.default_rng(0)), np.zeros(0, np.uint8), np.zeros(16, np.int32))
    assert unit.n_windows == [4, 4, 8]
