from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import LAPPED, SMALL

from sancodec.codec.beats import BeatKernels
from sancodec.codec.quantiser import Step
from sancodec.codec.synthesis import (
    MAX_BANK_SUM,
    ChannelCoding,
    NumpyEngine,
    check_amplitudes,
    reconstruct,
)
from sancodec.errors import CorruptError

INT32 = (-(2**31), 2**31 - 1)


def sample_by_hand(bank_sum, beat_sum, step, exponent, offset, minimum, maximum):
    """The specification with exact numbers: 1/1024 steps of the sum, 1/1024 units of the sample."""
    reduced = (bank_sum + 512) >> 10
    fixed = floor(reduced * step.mantissa * Fraction(2) ** (step.exponent - 3) + Fraction(1, 2))
    if abs(fixed) >= 2**52:
        return None
    total = fixed + (beat_sum << (exponent + 10))
    return min(max(offset + ((total + 512) >> 10), minimum), maximum)


def coding_of(step, exponent, offset=0, bounds=INT32):
    return ChannelCoding(offset, *bounds, 0, SMALL, step, (8, 4, 2), BeatKernels(np.zeros((1, 4), np.int32), exponent))


@given(
    sums=st.lists(st.tuples(st.integers(1 - 2**50, 2**50 - 1), st.integers(-(2**31), 2**31)), min_size=1, max_size=20),
    mantissa=st.integers(2048, 4095),
    step_exponent=st.integers(-40, 4),
    exponent=st.integers(-10, 20),
    offset=st.integers(*INT32),
    bounds=st.tuples(st.integers(*INT32), st.integers(*INT32)).map(sorted),
)
@settings(max_examples=300, deadline=None)
def test_samples_are_those_of_exact_arithmetic(sums, mantissa, step_exponent, exponent, offset, bounds):
    step = Step(mantissa, step_exponent)
    expected = [sample_by_hand(bank, beat, step, exponent, offset, *bounds) for bank, beat in sums]
    bank_sum = np.array([[float(bank) for bank, _ in sums]])
    beat_sum = np.array([[beat for _, beat in sums]], np.int64)
    coding = coding_of(step, exponent, offset, bounds)
    if None in expected:
        with pytest.raises(CorruptError, match="exact range"):
            reconstruct(coding, bank_sum, beat_sum)
    else:
        assert reconstruct(coding, bank_sum, beat_sum)[0].tolist() == expected


@pytest.mark.parametrize("exponent", range(-40, 5))
def test_ties_are_rounded_up_at_every_exponent(exponent):
    step = Step(2049, exponent)
    banks = [(value << 10) + shift for value in (-3, -1, 0, 1, 5, 2**20) for shift in (-513, -512, -511, 511, 512)]
    found = reconstruct(coding_of(step, 0), np.array([banks], np.float64), np.zeros((1, len(banks)), np.int64))
    assert found[0].tolist() == [sample_by_hand(bank, 0, step, 0, 0, *INT32) for bank in banks]


def test_samples_stay_within_the_bounds_of_the_channel():
    coding = coding_of(Step(2048, 0), 0, offset=100, bounds=(90, 110))
    bank = np.array([[-1e12, 0, 1e12]])
    assert reconstruct(coding, bank, np.zeros((1, 3), np.int64))[0].tolist() == [90, 100, 110]


def test_a_sample_beyond_the_exact_range_is_refused():
    with pytest.raises(CorruptError, match="exact range"):
        reconstruct(coding_of(Step(4095, 32), 0), np.array([[2.0**49]]), np.zeros((1, 1), np.int64))


def test_beats_are_added_in_their_own_unit():
    coding = coding_of(Step(2048, -11), -3, offset=7)
    beats = np.array([[8, 80, -8, 4, 3, -4, -5]])
    found = reconstruct(coding, np.zeros((1, 7)), beats)
    assert found[0].tolist() == [8, 17, 6, 8, 7, 7, 6]


def test_no_beats_are_beats_of_zero():
    bank = np.random.default_rng(1).integers(-(2**30), 2**30, (2, 50)).astype(np.float64)
    coding = coding_of(Step(3000, -9), 5)
    none, zeros = reconstruct(coding, bank.copy(), None), reconstruct(coding, bank.copy(), np.zeros((2, 50), np.int64))
    np.testing.assert_array_equal(none, zeros)


def test_amplitudes_are_refused_from_the_bound_on():
    peak = -(-MAX_BANK_SUM // SMALL.peak_gain)
    shape = [(1, 4, group.n_kernels) for group in SMALL.groups]
    amplitudes = [np.zeros(each) for each in shape]
    check_amplitudes(SMALL, amplitudes)
    amplitudes[1][0, 2, 0] = 1 - peak
    check_amplitudes(SMALL, amplitudes)
    amplitudes[1][0, 2, 0] = -peak
    with pytest.raises(CorruptError, match="too large for exact synthesis with model 'small'"):
        check_amplitudes(SMALL, amplitudes)


def test_two_orders_of_addition_give_the_same_bits():
    rng = np.random.default_rng(0)
    peak = MAX_BANK_SUM // LAPPED.peak_gain - 1
    n_windows = [4 * LAPPED.period // group.stride for group in LAPPED.groups]
    amplitudes = [
        rng.integers(-peak, peak, (2, count, group.n_kernels)).astype(np.float64)
        for count, group in zip(n_windows, LAPPED.groups, strict=True)
    ]
    check_amplitudes(LAPPED, amplitudes)
    engine = NumpyEngine()
    at_once = engine.synthesise(LAPPED, amplitudes)
    one_by_one = np.zeros_like(at_once)
    for index in rng.permutation(len(amplitudes)):
        alone = [each if at == index else np.zeros_like(each) for at, each in enumerate(amplitudes)]
        one_by_one += engine.synthesise(LAPPED, alone)
    np.testing.assert_array_equal(at_once, one_by_one)
    assert np.abs(at_once).max() < 2**53
    integers = at_once.astype(np.int64)
    np.testing.assert_array_equal(integers, at_once)
