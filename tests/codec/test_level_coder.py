import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from level_examples import MANY_BANDS, any_profile, any_unit, blank, with_any_statistics
from neutral_banks import DYADIC, LAPPED, SMALL, neutral_model, random_group

from sancodec.codec import level_coder, native
from sancodec.codec.chunks import Part, padded_length
from sancodec.codec.contexts import NO_PHASE, Profile, phases_of_windows
from sancodec.codec.level_coder import decode_levels, encode_levels, fine_phases, fine_phases_of_part
from sancodec.codec.models import shipped_model
from sancodec.codec.quantiser import Quantised
from sancodec.errors import CorruptError

needs_core = pytest.mark.skipif(native.core is None, reason=f"there is nothing to compare: {native.engine_name()}")
engines = pytest.mark.parametrize("core", [pytest.param(native.core, marks=needs_core), None], ids=["core", "Python"])
ONE_BAND = neutral_model("one band", [random_group(8, 1, 8, 0)])
MODELS = [*(shipped_model(name) for name in ("ecg360", "sym8", "haar", "mdct128")), LAPPED, DYADIC, SMALL, MANY_BANDS]
seeds = st.integers(0, 2**32 - 1)


def without_core():
    return patch.object(native, "core", None)


def decoded(units, content):
    """Levels of every channel, or None where the content is refused."""
    found = blank(units)
    try:
        decode_levels(found, content)
    except CorruptError:
        return None
    return [unit.levels.tolist() for unit in found]


def assert_come_back(units):
    """The same bytes from both engines, and the levels from either."""
    content = encode_levels(units)
    assert decoded(units, content) == [unit.levels.tolist() for unit in units]
    with without_core():
        assert encode_levels(units) == content
        assert decoded(units, content) == [unit.levels.tolist() for unit in units]


def three_channels(model, rng, **options):
    """Two of one bank, the second beside the first, and a longer one between them."""
    longer = any_unit(model, rng, n_periods=3, **options)
    return [any_unit(model, rng, **options), longer, any_unit(model, rng, **options)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_levels_come_back_and_core_and_python_write_the_same(model):
    assert_come_back(three_channels(model, np.random.default_rng(5), density=0.3, peak=6))


@given(
    seed=seeds,
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    peak=st.sampled_from([1, 3, 40, 1000, 1 << 25]),
    off=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_levels_of_any_size_come_back_under_any_statistics(seed, density, peak, off):
    rng = np.random.default_rng(seed)
    small, one = with_any_statistics(SMALL, rng), with_any_statistics(ONE_BAND, rng)
    assert_come_back(
        [
            any_unit(
                model, rng, n_periods=n_periods, density=density, peak=peak, profile=any_profile(model, rng, off=off)
            )
            for model, n_periods in ((small, 1), (one, 1), (small, 4), (SMALL, 4), (small, 4), (one, 9))
        ]
    )


@pytest.mark.parametrize("peak", [25, 1 << 20, 1 << 27])
def test_levels_that_the_statistics_hold_for_impossible_are_encoded_all_the_same(peak):
    for model in (MANY_BANDS, LAPPED):
        mixing = model.contexts.mixing
        sure = replace(
            mixing,
            terms=np.zeros_like(mixing.terms),
            prior=np.full_like(mixing.prior, -128),
            mixer=np.full_like(mixing.mixer, (1 << 19) - 16),
        )
        wrong = replace(model, contexts=replace(model.contexts, mixing=sure), metadata_bytes=None)
        profile = any_profile(wrong, np.random.default_rng(0), off=0.0, max_scale=1)
        assert_come_back(
            [any_unit(wrong, np.random.default_rng(1), n_periods=1, density=1, peak=peak, profile=profile)]
        )


@pytest.mark.parametrize("index", [19, 20, 21, 1000, 1 << 25, 1 << 28])
@pytest.mark.parametrize("scale", [1, 95])
def test_an_index_beyond_the_unary_ones_comes_back_where_little_or_much_is_expected(index, scale):
    rng = np.random.default_rng(2)
    for model in (ONE_BAND, SMALL, MANY_BANDS):
        flat = Profile(0, np.full(model.n_bands, scale), np.zeros((model.contexts.n_phase_groups, 25), np.int64))
        unit = any_unit(model, rng, n_periods=1, density=1, peak=1, profile=flat)
        for level in (2 * index, -2 * index):
            # The first window of a band is in an even state.
            firsts = np.cumsum([0, *unit.n_windows[:-1]])
            unit.levels[:] = 0
            unit.levels[firsts] = level
            assert_come_back([unit])


@given(seed=seeds, content=st.binary(max_size=120), peak=st.sampled_from([2, 1 << 20]), is_any=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_bytes_give_levels_or_an_error_and_the_same_in_both_engines(seed, content, peak, is_any):
    rng = np.random.default_rng(seed)
    model = with_any_statistics(SMALL, rng) if is_any else SMALL
    units = [any_unit(model, rng, n_periods=n_periods, peak=peak) for n_periods in (2, 1, 2)]
    right = encode_levels(units)
    damaged = right[: len(right) // 2] + content
    for given_bytes in (content, damaged):
        found = decoded(units, given_bytes)
        with without_core():
            assert decoded(units, given_bytes) == found


def streams_behind(prefix):
    """Continuations that lead a decoder to extremes."""
    return [prefix + rest for rest in (b"", bytes(4000), b"\xff" * 4000, b"\0\xff" * 2000, b"\x55" * 4000)]


@engines
def test_extreme_bytes_are_refused_or_give_levels_within_bounds(core):
    rng = np.random.default_rng(3)
    outcomes = []
    with patch.object(native, "core", core):
        for model in (SMALL, with_any_statistics(SMALL, rng), MANY_BANDS):
            units = [any_unit(model, rng, n_periods=1), any_unit(model, rng, n_periods=1)]
            for content in (each for prefix in (b"", b"\x80") for each in streams_behind(prefix)):
                found = decoded(units, content)
                outcomes.append(found is None)
                assert found is None or max(abs(level) for levels in found for level in levels) < 1 << 31
    assert any(outcomes)


@engines
def test_a_stream_that_is_shorter_or_longer_never_gives_the_levels(core):
    units = three_channels(SMALL, np.random.default_rng(8), peak=9)
    with patch.object(native, "core", core):
        content = encode_levels(units)
        right = decoded(units, content)
        outcomes = [decoded(units, content[:length]) for length in range(len(content))]
        outcomes += [decoded(units, content + rest) for rest in (b"\0", b"\x80", b"\xff", content)]
    assert right is not None
    assert all(outcome != right for outcome in outcomes)
    assert outcomes[-4:] == [None] * 4


@engines
def test_a_stream_of_even_odds_that_ends_long_before_its_levels_is_refused(core):
    rng = np.random.default_rng(9)
    flat = Profile(0, np.full(SMALL.n_bands, 95), np.zeros((SMALL.contexts.n_phase_groups, 25), np.int64))
    units = [any_unit(SMALL, rng, n_periods=9, density=1, peak=1 << 20, profile=flat)]
    with patch.object(native, "core", core):
        content = encode_levels(units)
        for length in range(0, len(content) - 90, 5):
            assert decoded(units, content[:length]) is None


@engines
def test_bands_that_are_off_take_nothing_and_decode_to_zeros(core):
    rng = np.random.default_rng(4)
    unit = any_unit(LAPPED, rng, profile=any_profile(LAPPED, rng, off=1.0))
    with patch.object(native, "core", core):
        assert encode_levels([unit]) == b""
        assert decoded([unit], b"") == [[0] * len(unit.levels)]
        assert decoded([unit], b"\0") is None


def test_a_channel_beside_one_that_is_like_it_takes_less():
    rng = np.random.default_rng(6)
    profile = any_profile(LAPPED, rng, off=0.0, max_scale=50)
    first = any_unit(LAPPED, rng, n_periods=6, density=0.3, peak=2, profile=profile)
    trained = shipped_model("ecg360")
    unit = any_unit(trained, rng, n_periods=6, density=0.3, peak=2)
    both, one = len(encode_levels([unit, unit])), len(encode_levels([unit]))
    assert both < 1.8 * one
    assert len(encode_levels([first, first])) < 2 * len(encode_levels([first]))


def test_a_channel_is_seen_beside_the_last_one_of_its_bank_and_length():
    rng = np.random.default_rng(1)
    models = [(SMALL, 2), (LAPPED, 1), (SMALL, 3), (SMALL, 2), (LAPPED, 1), (SMALL, 3), (SMALL, 2)]
    units = [any_unit(model, rng, n_periods=n_periods) for model, n_periods in models]
    assert level_coder.others_of(units) == [-1, -1, -1, 0, 1, 2, 3]


def test_channels_of_one_bank_and_weight_set_share_what_was_learned():
    rng = np.random.default_rng(7)
    profile = replace(any_profile(LAPPED, rng, off=0.0, max_scale=40), weight_set=0)
    units = [any_unit(LAPPED, rng, n_periods=n, density=0.9, peak=2, profile=profile) for n in (8, 7)]
    apart = [units[0], replace(units[1], profile=replace(profile, weight_set=1))]
    # Both sets are the same, but the second begins anew.
    assert LAPPED.contexts.mixing.prior[0].tobytes() == LAPPED.contexts.mixing.prior[1].tobytes()
    assert len(encode_levels(units)) < len(encode_levels(apart)) - 50


@needs_core
def test_a_large_chunk_of_anything_is_decoded_in_bounded_time():
    rng = np.random.default_rng(0)
    model = with_any_statistics(LAPPED, rng)
    units = [any_unit(model, rng, n_periods=400, peak=1, profile=any_profile(model, rng, off=0.0)) for _ in range(2)]
    n_levels = sum(len(unit.levels) for unit in units)
    start = time.process_time()
    for content in (b"", bytes(1 << 20), b"\xff" * (1 << 20), rng.bytes(1 << 20)):
        decoded(units, content)
    assert time.process_time() - start < 2 + 4 * 4e-6 * n_levels


# Units of quantised channels


def test_joined_levels_come_back_as_quantised():
    rng = np.random.default_rng(2)
    unit = any_unit(SMALL, rng, n_periods=3, peak=50)
    quantised = level_coder.as_quantised(unit)
    assert [band.shape for band in quantised.magnitudes] == [(1, count) for count in unit.n_windows]
    np.testing.assert_array_equal(level_coder.joined_levels(quantised, 0), unit.levels)
    twice = Quantised(
        [np.concatenate([0 * band, band]) for band in quantised.magnitudes],
        [np.concatenate([band, band]) for band in quantised.negative],
        [],
    )
    np.testing.assert_array_equal(level_coder.joined_levels(twice, 1), unit.levels)
    assert not level_coder.joined_levels(twice, 0).any()


@given(seed=seeds, kernel_length=st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_fine_phases_are_twice_as_fine_as_those_of_the_class_coder(seed, kernel_length):
    rng = np.random.default_rng(seed)
    circle = 2 * LAPPED.period
    starts = np.unique(rng.integers(-kernel_length + 1, circle, rng.integers(0, 9)))
    found = fine_phases(LAPPED, starts, circle, kernel_length=kernel_length)
    coarse = [
        phases_of_windows([starts], n_windows=circle // stride, stride=stride, kernel_length=kernel_length)[0]
        for stride in LAPPED.band_strides
    ]
    np.testing.assert_array_equal(found >> 1, np.concatenate(coarse))
    assert found.max() <= 2 * NO_PHASE


def test_fine_phases_count_from_the_last_beat_before_the_centre_of_a_window():
    # Windows of 8 samples, centres at 4, 12, 20, …; a kernel of 64 samples has 32 phases of 2.
    found = fine_phases(ONE_BAND, np.array([-10, 11, 28]), 48, kernel_length=64)
    np.testing.assert_array_equal(found, [7, 0, 4, 0, 4, 8])
    assert np.all(fine_phases(ONE_BAND, np.zeros(0, np.int64), 48, kernel_length=64) == 2 * NO_PHASE)
    late = fine_phases(ONE_BAND, np.array([0]), 400, kernel_length=64)
    np.testing.assert_array_equal(late, np.minimum((8 * np.arange(50) + 4) // 2, 2 * NO_PHASE))


def test_fine_phases_of_a_part_are_those_of_its_chunks():
    starts = np.sort(np.random.default_rng(3).choice(1000, 12, replace=False)).astype(np.int64)
    part = Part(2, 3, 200, 150)
    found = fine_phases_of_part(SMALL, part, starts, kernel_length=60)
    assert len(found) == 3
    for chunk, phases in enumerate(found):
        relative = starts - (150 + 200 * chunk)
        seen = relative[(relative > -60) & (relative < 200)]
        expected = fine_phases(SMALL, seen, padded_length(SMALL, 200), kernel_length=60)
        np.testing.assert_array_equal(phases, expected)
