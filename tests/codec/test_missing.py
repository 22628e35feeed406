import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.missing import filled, mask_of, missing_runs, runs_within

INVALID = -32768
samples_with_gaps = st.lists(st.sampled_from([INVALID, 0, 5, 9]), min_size=1, max_size=60).map(
    lambda values: np.array(values, np.int32)
)


@given(samples_with_gaps)
def test_runs_mark_exactly_the_missing_samples(samples):
    runs = missing_runs(samples, INVALID)
    np.testing.assert_array_equal(mask_of(runs, len(samples)), samples == INVALID)
    assert np.all(runs[1:, 0] > runs[:-1].sum(axis=1)), "neighbouring runs are one run"
    assert np.all(runs[:, 1] > 0)


def test_a_format_without_a_missing_value_has_no_runs():
    assert missing_runs(np.array([INVALID, 0], np.int32), None).shape == (0, 2)


def test_gaps_are_bridged_by_straight_lines_and_ends_held():
    samples = np.array([INVALID, 10, INVALID, INVALID, 40, INVALID], np.int32)
    assert filled(samples, missing_runs(samples, INVALID)).tolist() == [10, 10, 20, 30, 40, 40]


def test_a_signal_without_gaps_stays_as_it_is():
    samples = np.array([3, -7, 2**23], np.int32)
    assert filled(samples, np.zeros((0, 2), np.int64)).tolist() == samples.tolist()


@given(samples_with_gaps, st.integers(1, 20))
def test_runs_cut_into_chunks_mark_the_same_samples(samples, length):
    runs = missing_runs(samples, INVALID)
    parts = [
        mask_of(runs_within(runs, first, len(samples[first : first + length])), len(samples[first : first + length]))
        for first in range(0, len(samples), length)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), samples == INVALID)


@pytest.mark.parametrize("first", [0, 3, 5, 8])
def test_runs_within_a_chunk_are_never_empty(first):
    runs = np.array([[1, 4], [8, 3]])
    assert np.all(runs_within(runs, first, 3)[:, 1] > 0)
