import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.quality import measure

samples = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=30)


def quality(original, decoded, *, gain=1.0, baseline=0, invalid=None):
    return measure(
        np.array(original, np.int32), np.array(decoded, np.int32), gain=gain, baseline=baseline, invalid=invalid
    )


@given(samples, st.data())
def test_prdn_is_the_error_relative_to_the_signal_less_its_mean(original, data):
    decoded = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=len(original), max_size=len(original)))
    mean = sum(original) / len(original)
    error = sum((after - before) ** 2 for before, after in zip(original, decoded, strict=True))
    energy = sum((value - mean) ** 2 for value in original)
    expected = 0.0 if error == 0 else math.inf if energy == 0 else 100 * math.sqrt(error / energy)
    assert quality(original, decoded).prdn == pytest.approx(expected, rel=1e-9)


def test_prd_keeps_the_offset_from_the_baseline():
    result = quality([10, 14], [11, 14], baseline=6)
    assert result.prd == pytest.approx(100 * math.sqrt(1 / (16 + 64)))


def test_rmse_and_largest_error_are_physical():
    result = quality([0, 0, 0, 0], [0, 3, -5, 0], gain=-200.0)
    assert result.rmse == pytest.approx(math.sqrt(34 / 4) / 200)
    assert result.max_error == pytest.approx(5 / 200)
    assert result.max_error_adu == 5


def test_snr_is_prdn_in_decibels():
    result = quality([-10, 10], [-10, 11])
    assert result.snr_db == pytest.approx(10 * math.log10(200 / 1))


def test_an_exact_channel_has_no_error_and_infinite_snr():
    result = quality([1, 2, 3], [1, 2, 3])
    assert (result.prdn, result.rmse, result.max_error_adu, result.snr_db) == (0, 0, 0, math.inf)


def test_a_constant_channel_is_exact_or_infinitely_wrong():
    assert quality([7, 7, 7], [7, 7, 7]).prdn == 0
    wrong = quality([7, 7, 7], [7, 7, 8])
    assert (wrong.prdn, wrong.snr_db, wrong.max_error_adu) == (math.inf, -math.inf, 1)


def test_missing_samples_count_nowhere():
    with_gaps = quality([1, -99, 5, -99, 9], [2, 1000, 5, -99, 9], invalid=-99)
    assert with_gaps == quality([1, 5, 9], [2, 5, 9])


def test_a_channel_of_missing_samples_is_exact():
    result = quality([-99, -99], [0, 5], invalid=-99)
    assert (result.prdn, result.max_error_adu, result.snr_db) == (0, 0, math.inf)


def test_errors_of_33_bits_do_not_wrap():
    assert quality([-(2**31), 2**31 - 1], [2**31 - 1, -(2**31)]).max_error_adu == 2**32 - 1
