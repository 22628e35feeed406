from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutral_banks import LAPPED, SMALL, neutral_model, random_group

from sancodec.codec.chunks import bands_of
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, N_CLASSES, NO_PHASE, SCALE_OFFSET
from sancodec.codec.quantiser import (
    DEAD_ZONE_ROUNDING,
    Bands,
    ErrorSums,
    Quantised,
    Step,
    amplitudes_of,
    classified,
    coded_bits,
    magnitude_bits,
    profile_of,
    quantise,
    quantise_plain,
    rounding_of,
)

ONE_BAND = neutral_model("one band", [random_group(8, 1, 8, 0)])


@given(st.floats(2.0**-30, 2.0**40))
def test_a_step_is_rounded_to_12_bits(value):
    step = Step.nearest(value)
    assert 2048 <= step.mantissa < 4096
    assert abs(step.value - value) <= value * 2.0**-12
    assert Fraction(step.value) == step.mantissa * Fraction(2) ** step.exponent


def test_a_step_that_rounds_up_to_a_power_of_two_stays_normalised():
    assert Step.nearest(1 - 2.0**-20) == Step(2048, -11)


def test_the_length_of_a_magnitude_is_that_of_its_symbol_escape_low_bits_and_sign():
    bits = magnitude_bits(LAPPED.contexts, 1)
    frequencies = LAPPED.contexts.frequencies[1].astype(float)
    n_direct = LAPPED.contexts.n_direct[1]
    for activity in range(N_CLASSES):
        shift = int(CLASS_SHIFT[activity])
        for magnitude in range(24):
            high = magnitude >> shift
            if high < n_direct[activity]:
                expected = np.log2(4096 / frequencies[activity, high])
            else:
                golomb = 2 * int(high - n_direct[activity] + 1).bit_length() - 1
                expected = np.log2(4096 / frequencies[activity, ESCAPE]) + golomb
            assert bits[activity, magnitude] == pytest.approx(expected + shift + (magnitude > 0))


@pytest.mark.parametrize("multiplier", [0.0, 0.06, 0.1, 0.3])
def test_rounding_takes_the_cheaper_of_the_nearest_magnitude_and_the_one_below(multiplier):
    rng = np.random.default_rng(7)
    step, offsets = 3.0, (20, 9, 3)
    scaled = np.concatenate([rng.uniform(0, 4, 30_000), rng.uniform(0, 30, 5000)]).astype(np.float32)
    base = np.rint(2 ** rng.uniform(0, 14, len(scaled))).astype(np.int32)
    rounding = rounding_of(ONE_BAND.contexts, multiplier=multiplier, weight_set=0, offsets=offsets)
    bands = Bands.of([(scaled * np.float32(step))[None]])
    quantised, _ = quantise(bands, ONE_BAND, [base[None]], weight_set=0, step=step, rounding=rounding)
    bits = magnitude_bits(ONE_BAND.contexts, 0)[quantised.classes[0][0]]
    levels = np.arange(32) - np.array([0, *offsets[:2], *[offsets[2]] * 29]) / 128

    def cost(magnitude):
        capped = np.minimum(magnitude, 23)
        return (scaled - levels[magnitude]) ** 2 + multiplier * bits[np.arange(len(scaled)), capped]

    nearest = np.floor(scaled + 0.5).astype(int)
    below = np.maximum(nearest - 1, 0)
    gain = cost(nearest) - cost(below)
    expected = np.where((gain > 0) & (nearest < 24), below, nearest)
    clear = (np.abs(gain) > 1e-4) & (np.abs(scaled % 1 - 0.5) > 1e-4)
    found = quantised.magnitudes[0][0]
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.85
    if multiplier:
        assert (found < nearest).mean() > 0.02


def test_rounding_costs_little_more_than_the_best_magnitude_of_all():
    rng = np.random.default_rng(8)
    scaled = rng.laplace(0, 1.0, 20_000).astype(np.float32)
    base = np.rint(2 ** rng.uniform(4, 11, len(scaled))).astype(np.int32)
    rounding = rounding_of(ONE_BAND.contexts, multiplier=0.1, weight_set=0)
    quantised, _ = quantise(Bands.of([scaled[None]]), ONE_BAND, [base[None]], weight_set=0, step=1.0, rounding=rounding)
    bits = magnitude_bits(ONE_BAND.contexts, 0)[quantised.classes[0][0]]
    levels = np.arange(24) - np.array([0, 8, 4, *[2] * 21]) / 128
    costs = (np.abs(scaled)[:, None] - levels) ** 2 + 0.1 * bits
    found = costs[np.arange(len(scaled)), quantised.magnitudes[0][0]].sum()
    assert costs.min(axis=1).sum() <= found < 1.01 * costs.min(axis=1).sum()


def test_the_plain_dead_zone_rounds_up_from_062():
    step = 2.0
    scaled = np.array([0, 0.61, 0.63, 1.61, 1.63, -0.63, -5.9], np.float32)
    quantised, _ = quantise_plain(Bands.of([(scaled * step)[None]]), step=step)
    assert pytest.approx(0.38) == DEAD_ZONE_ROUNDING
    assert quantised.magnitudes[0][0].tolist() == [0, 0, 1, 1, 2, 1, 6]
    assert quantised.negative[0][0].tolist() == [False] * 5 + [True] * 2


def random_bands(model, rng, n_chunks=2, n_periods=4, spread=2.0):
    return Bands.of(
        [
            rng.laplace(0, spread, (n_chunks, n_periods * model.period // stride)).astype(np.float32)
            for stride in model.band_strides
        ]
    )


@pytest.mark.parametrize("plain", [True, False])
def test_error_sums_give_the_squared_error_of_the_reconstruction(plain):
    rng = np.random.default_rng(9)
    bands = random_bands(LAPPED, rng)
    step = 0.7
    if plain:
        quantised, sums = quantise_plain(bands, step=step)
    else:
        base = [np.full(band.shape, 200, np.int32) for band in bands.absolute]
        rounding = rounding_of(LAPPED.contexts, multiplier=0.1, weight_set=1)
        quantised, sums = quantise(bands, LAPPED, base, weight_set=1, step=step, rounding=rounding)
    for offsets in [(0, 0, 0), (8, 4, 2), (63, 1, 20), sums.offsets()]:
        amplitudes = bands_of(amplitudes_of(quantised, offsets, LAPPED))
        direct = sum(
            float(((np.where(negative, -absolute, absolute) - amplitude * step / 128) ** 2).sum())
            for absolute, negative, amplitude in zip(bands.absolute, bands.negative, amplitudes, strict=True)
        )
        assert sums.squared_error(step, offsets) == pytest.approx(direct, rel=1e-4)


def test_offsets_are_the_centroids_of_their_magnitudes():
    rng = np.random.default_rng(10)
    bands = random_bands(LAPPED, rng, n_periods=40)
    quantised, sums = quantise_plain(bands, step=1.0)
    scaled = np.concatenate([band.ravel() for band in bands.absolute])
    magnitude = np.concatenate([band.ravel() for band in quantised.magnitudes])
    for kind, offset in zip([magnitude == 1, magnitude == 2, magnitude >= 3], sums.offsets(), strict=True):
        centroid = float((magnitude[kind] - scaled[kind]).mean())
        assert offset == np.clip(np.rint(128 * centroid), 0, 63)
    best = sums.squared_error(1.0, sums.offsets())
    for change in [(3, 0, 0), (0, 3, 0), (0, 0, 3)]:
        changed = tuple(np.clip(np.add(sums.offsets(), change), 0, 63).tolist())
        assert changed == sums.offsets() or sums.squared_error(1.0, changed) > best


def test_offsets_stay_within_6_bits():
    sums = ErrorSums()
    sums.add(np.array([0.5, 1.9, 3.6], np.float32), np.arange(3), np.array([1, 2, 3], np.int32))
    assert sums.offsets() == (63, 13, 0)


def test_amplitudes_are_128ths_of_a_step_with_the_sign():
    magnitudes = [np.array([[0, 1, 2], [3, 1000, 2**31 - 1]], np.int32), np.zeros((2, 3), np.int32)]
    negative = [np.array([[True, False, True], [False, True, True]]), np.zeros((2, 3), bool)]
    magnitudes[1][1, 2] = 5
    two_bands = neutral_model("two bands", [random_group(8, 2, 8, 0)])
    (amplitudes,) = amplitudes_of(Quantised(magnitudes, negative, []), (20, 10, 5), two_bands)
    assert amplitudes.shape == (2, 3, 2)
    assert amplitudes[:, :, 0].tolist() == [[0, 108, -246], [379, -127_995, -(2**31 - 1) * 128 + 5]]
    assert amplitudes[:, :, 1].tolist() == [[0, 0, 0], [0, 0, 635]]


def test_a_profile_holds_the_mean_magnitude_of_each_band():
    shapes = [(2, 40), (2, 40), (2, 80)]
    magnitudes = [np.full(shapes[0], 4, np.int32), np.zeros(shapes[1], np.int32), np.zeros(shapes[2], np.int32)]
    magnitudes[2][:, ::4] = 1
    phases = [np.full(shape, NO_PHASE) for shape in shapes]
    profile = profile_of(SMALL.contexts, [magnitudes], [phases], with_phases=False)
    assert profile.scale_codes.tolist() == [SCALE_OFFSET + 8, 0, SCALE_OFFSET - 8]
    assert not profile.phase_codes.any()


def test_a_profile_weighs_parts_by_their_length():
    def part(n_windows, value):
        shapes = [(1, n_windows), (1, n_windows), (1, 2 * n_windows)]
        return [np.full(shape, value, np.int32) for shape in shapes], [np.full(shape, NO_PHASE) for shape in shapes]

    (long, long_phases), (short, short_phases) = part(300, 1), part(100, 5)
    profile = profile_of(SMALL.contexts, [long, short], [long_phases, short_phases], with_phases=False)
    assert profile.scale_codes.tolist() == [SCALE_OFFSET + 4] * 3  # the mean is 2


def test_a_profile_follows_the_beat_phase():
    shapes = [(1, 2000), (1, 2000), (1, 4000)]
    rng = np.random.default_rng(11)
    coarse, fine = rng.integers(0, 25, shapes[0]), rng.integers(0, 25, shapes[2])
    phases = [coarse, coarse, fine]
    magnitudes = [np.where(phase == 3, 16, 1).astype(np.int32) for phase in phases]
    profile = profile_of(SMALL.contexts, [magnitudes], [phases], with_phases=True)
    for codes in profile.phase_codes[np.unique(SMALL.contexts.phase_groups)]:
        assert codes[3] - np.median(codes) == pytest.approx(8, abs=1)  # 2**4 in half powers
        assert set(np.delete(codes, 3)) == {np.median(codes)}


def test_classified_gives_the_classes_under_which_the_rounding_was_done():
    rng = np.random.default_rng(12)
    bands = random_bands(LAPPED, rng, spread=5.0)
    base = [rng.integers(1, 3000, band.shape).astype(np.int32) for band in bands.absolute]
    rounding = rounding_of(LAPPED.contexts, multiplier=0.1, weight_set=1)
    quantised, _ = quantise(bands, LAPPED, base, weight_set=1, step=1.0, rounding=rounding)
    again = classified(Quantised(quantised.magnitudes, quantised.negative, []), LAPPED, base, weight_set=1)
    for before, after in zip(quantised.classes, again.classes, strict=True):
        np.testing.assert_array_equal(after, before)


def test_estimated_bits_are_the_code_lengths_of_the_magnitudes():
    magnitude = np.array([[0, 1, 5, 23, 100]], np.int32)
    activity = np.array([[0, 9, 14, 27, 27]], np.uint8)
    rounding = rounding_of(ONE_BAND.contexts, multiplier=0.1, weight_set=0)
    quantised = Quantised([magnitude], [magnitude < 0], [activity])
    bits = magnitude_bits(ONE_BAND.contexts, 0)
    exact = bits[0, 0] + bits[9, 1] + bits[14, 5] + 2 * bits[27, 23]
    assert coded_bits(quantised, rounding, active=[True]) == pytest.approx(exact + 2 * np.log2(100 / 23), rel=1e-6)
    assert coded_bits(quantised, rounding, active=[False]) == 0


def test_a_band_below_half_a_step_is_silent_for_its_children():
    rng = np.random.default_rng(13)
    bands = random_bands(SMALL, rng, spread=4.0)
    quiet = Bands.of([bands.absolute[0] * 0.01, bands.absolute[1], bands.absolute[2]])
    base = [np.full(band.shape, 100, np.int32) for band in bands.absolute]
    rounding = rounding_of(SMALL.contexts, multiplier=0.1, weight_set=1)
    quantised, _ = quantise(quiet, SMALL, base, weight_set=1, step=2.0, rounding=rounding)
    assert not quantised.magnitudes[0].any()
    again = classified(Quantised(quantised.magnitudes, quantised.negative, []), SMALL, base, weight_set=1)
    for band in (1, 2):
        np.testing.assert_array_equal(quantised.classes[band], again.classes[band])
