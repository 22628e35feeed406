import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.level_arithmetic import activity_of
from sancodec.codec.mixing import SQUASH
from sancodec.codec.mixing_model import (
    N_ACTIVITIES,
    N_COSTS,
    N_INPUTS,
    N_KINDS,
    N_TAPS,
    N_TERMS,
    PRIOR_LENGTHS,
    PRIOR_SIZE,
    SIGN_KIND,
    MixingModel,
    activity_middle,
    activity_shift,
    content_length,
    fitted_costs,
    from_content,
    index_costs,
    neutral_mixing,
    prior_start,
    stretched,
)

MAGNITUDES = [kind for kind in range(N_KINDS) if kind != SIGN_KIND]


def any_mixing(seed, n_sets=1, n_bands=3):
    content = np.random.default_rng(seed).bytes(content_length(n_sets, n_bands))
    return from_content(content, n_sets, n_bands)


def chance(mixing, kind, context):
    """Prior probability of a 1 in a context of input 0."""
    prior = int(mixing.prior[0, prior_start(kind, 0) + context])
    return SQUASH[2048 + 16 * prior] / 65536


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_any_content_is_that_of_one_model(seed, n_sets, n_bands):
    content = np.random.default_rng(seed).bytes(content_length(n_sets, n_bands))
    mixing = from_content(content, n_sets, n_bands)
    assert mixing.content() == content
    assert mixing.n_sets == n_sets
    assert mixing.terms.shape == (n_sets, 2, n_bands, N_TERMS)
    assert mixing.taps.shape == (n_sets, 2, n_bands, N_TAPS)
    assert mixing.prior.shape == (n_sets, PRIOR_SIZE)
    assert mixing.mixer.shape == (n_sets, N_KINDS, N_INPUTS)


def test_values_at_the_ends_of_their_ranges_come_back():
    before = MixingModel(
        np.full((1, 2, 1, N_TERMS), 65535, np.int32),
        np.full((1, 2, 1, N_TAPS), -(1 << 19), np.int32),
        np.full((1, PRIOR_SIZE), -128, np.int8),
        np.full((1, N_KINDS, N_INPUTS), (1 << 19) - 16, np.int32),
    )
    after = from_content(before.content(), 1, 1)
    for name in ("terms", "taps", "prior", "mixer"):
        assert getattr(after, name).dtype == getattr(before, name).dtype
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_the_priors_of_all_inputs_lie_beside_each_other():
    spans = []
    for kind in range(N_KINDS):
        for index, length in enumerate(PRIOR_LENGTHS[kind == SIGN_KIND]):
            spans.append((prior_start(kind, index), prior_start(kind, index) + length))
    spans.sort()
    assert spans[0][0] == 0
    assert spans[-1][1] == PRIOR_SIZE
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_the_middle_of_an_activity_is_the_smallest_expected_magnitude_that_has_it():
    for activity in range(1, N_ACTIVITIES):
        assert activity_of(activity_middle(activity)) == activity
        assert activity_of(activity_middle(activity) - 1) == activity - 1
    assert activity_of(-5) == activity_of(0) == 0
    assert activity_of(1 << 40) == N_ACTIVITIES - 1


@pytest.mark.parametrize(("expected", "shift"), [(0, 0), (1, 0), (4095, 0), (4096, 1), (8191, 1), (8192, 2)])
def test_low_bits_are_not_modelled_from_sixteen_steps_on(expected, shift):
    assert activity_shift(expected) == shift


def test_the_neutral_prior_goes_on_the_more_the_more_is_expected():
    mixing = neutral_mixing(3)
    for kind in MAGNITUDES:
        chances = [chance(mixing, kind, 2 * activity) for activity in range(N_ACTIVITIES)]
        assert chances[0] < 0.05
        assert max(chances) > 0.85
        shifts = [activity_shift(activity_middle(activity)) for activity in range(N_ACTIVITIES)]
        for activity in range(1, N_ACTIVITIES):
            if shifts[activity] == shifts[activity - 1]:
                assert chances[activity] >= chances[activity - 1]


def test_the_neutral_prior_is_even_of_signs_and_of_both_quantisers():
    mixing = neutral_mixing(3)
    assert not mixing.prior[0, prior_start(SIGN_KIND, 0) :].any()
    for kind in MAGNITUDES:
        table = mixing.prior[0, prior_start(kind, 0) :][: 2 * N_ACTIVITIES].reshape(N_ACTIVITIES, 2)
        np.testing.assert_array_equal(table[:, 0], table[:, 1])


def test_the_neutral_model_expects_what_the_profile_does_and_predicts_nothing():
    mixing = neutral_mixing(4, 3)
    assert mixing.n_sets == 3
    assert np.all(mixing.terms[..., 0] == 256)
    assert not mixing.terms[..., 1:].any()
    assert not mixing.taps.any()
    assert np.all(mixing.mixer > 0)
    assert from_content(mixing.content(), 3, 4).content() == mixing.content()


def test_the_neutral_mean_of_an_index_is_half_the_expected_level():
    mixing = neutral_mixing(1)
    for activity in range(20, N_ACTIVITIES):
        expected = activity_middle(activity)
        p = chance(mixing, 0, 2 * activity)
        mean = p / (1 - p) * (1 << activity_shift(expected))
        if 0.2 < mean < 500:
            assert mean == pytest.approx(expected / 512, rel=0.15, abs=0.08)


@pytest.mark.parametrize("probability", [1e-6, 0.001, 0.1, 0.5, 0.8, 0.999, 1 - 1e-9])
def test_a_stretched_probability_is_that_probability_as_far_as_it_goes(probability):
    limited = min(max(probability, 0.0004), 0.9996)
    assert SQUASH[2048 + 16 * stretched(probability)] / 65536 == pytest.approx(limited, rel=0.05, abs=2e-4)


def summed_bits(mixing, odd, activity, index):
    """Bits of an index, decision after decision, as section 18.5 has them."""
    shift = activity_shift(activity_middle(activity))
    high = index >> shift
    context = 2 * activity + odd
    bits = -np.log2(chance(mixing, 0, context) if high else 1 - chance(mixing, 0, context))
    bits += 1 if index else 0  # the sign
    if high:
        step = 1
        while step < 20:
            p = chance(mixing, 1 + min(step, 6), context)
            bits -= np.log2(p if high > step else 1 - p)
            if high == step:
                break
            step += 1
        if high >= 20:
            bits += 2 * (high - 19).bit_length() - 1
    return bits + shift


@pytest.mark.parametrize("mixing", [neutral_mixing(2), any_mixing(1), any_mixing(2)], ids=["neutral", "any", "other"])
def test_the_cost_of_an_index_is_the_sum_over_its_decisions(mixing):
    costs = index_costs(mixing, 0)
    assert costs.shape == (2, N_ACTIVITIES, N_COSTS)
    for odd in range(2):
        for activity in range(N_ACTIVITIES):
            for index in range(N_COSTS):
                assert costs[odd, activity, index] == pytest.approx(summed_bits(mixing, odd, activity, index))


def test_costs_follow_what_was_counted_and_without_counts_the_prior():
    mixing = any_mixing(2)
    counts = np.zeros((N_KINDS - 1, N_ACTIVITIES, 2, 2), np.int64)
    np.testing.assert_allclose(fitted_costs(mixing, 0, counts), index_costs(mixing, 0), rtol=1e-12)
    counts[0, 5, 1] = 10**9, 3 * 10**9  # at activity 5, the odd quantiser: three of four indices are above 0
    fitted = fitted_costs(mixing, 0, counts)
    assert fitted[1, 5, 0] == pytest.approx(2, abs=1e-6)
    others = np.ones((2, N_ACTIVITIES), bool)
    others[1, 5] = False
    np.testing.assert_allclose(fitted[others], index_costs(mixing, 0)[others], rtol=1e-12)


def test_each_weight_set_has_costs_of_its_own():
    mixing = any_mixing(3, n_sets=2)
    first, second = index_costs(mixing, 0), index_costs(mixing, 1)
    assert not np.allclose(first, second)
    alone = MixingModel(mixing.terms[1:], mixing.taps[1:], mixing.prior[1:], mixing.mixer[1:])
    np.testing.assert_array_equal(second, index_costs(alone, 0))
