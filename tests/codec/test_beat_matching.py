"""Detections against reference beats: who is paired with whom, and what is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.beat_matching import ReferenceBeats, match_beats, score_beats

RATE_HZ = 100  # a window of 15 samples
POSITIONS = st.lists(st.integers(0, 400), max_size=25, unique=True).map(
    lambda values: np.array(sorted(values), np.int64)
)


def pairs(reference: list[int], found: list[int]) -> list[tuple[int, int]]:
    matched = match_beats(np.array(reference, np.int64), np.array(found, np.int64), sampling_rate_hz=RATE_HZ)
    return [(reference[row], found[column]) for row, column in matched.tolist()]


def truth(positions: list[int], *, normal: list[bool] | None = None, uncounted: tuple = ()) -> ReferenceBeats:
    marks = [True] * len(positions) if normal is None else normal
    return ReferenceBeats(np.array(positions, np.int64), np.array(marks, bool), uncounted)


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([100], [115], [(100, 115)]),
        ([100], [116], []),
        ([100], [85], [(100, 85)]),
        ([100], [90, 105], [(100, 105)]),
        ([100, 110], [104], [(100, 104)]),
        ([100, 110], [107], [(110, 107)]),
        ([100, 200], [100, 150, 200], [(100, 100), (200, 200)]),
        ([], [10], []),
        ([10], [], []),
    ],
)
def test_a_beat_is_paired_with_the_nearest_detection_within_150_ms(
    reference: list[int], found: list[int], expected: list[tuple[int, int]]
) -> None:
    assert pairs(reference, found) == expected


@given(POSITIONS, POSITIONS)
def test_pairs_are_near_and_everyone_is_in_one_at_most(reference: np.ndarray, found: np.ndarray) -> None:
    matched = match_beats(reference, found, sampling_rate_hz=RATE_HZ)
    assert (np.diff(matched, axis=0) > 0).all()
    assert (np.abs(reference[matched[:, 0]] - found[matched[:, 1]]) <= 15).all()
    # Two that are each other's nearest, strictly, are a pair.
    for row, beat in enumerate(reference.tolist()):
        distances = np.abs(found - beat)
        if not len(found) or distances.min() > 15 or (distances == distances.min()).sum() > 1:
            continue
        column = int(distances.argmin())
        others = np.abs(np.delete(reference, row) - found[column])
        if not len(others) or others.min() > distances[column]:
            assert [row, column] in matched.tolist()


@given(POSITIONS, POSITIONS)
def test_everything_is_counted_once(reference: np.ndarray, found: np.ndarray) -> None:
    score = score_beats(ReferenceBeats(reference, np.ones(len(reference), bool)), found, sampling_rate_hz=RATE_HZ)
    assert score.n_matched + score.n_missed == len(reference)
    assert score.n_matched + score.n_extra == len(found)


def test_wfdb_counts_the_same_where_beats_are_apart() -> None:
    from wfdb.processing import compare_annotations

    rng = np.random.default_rng(0)
    reference = np.cumsum(rng.integers(60, 120, 300))
    found = np.sort(
        np.concatenate([(reference + rng.integers(-12, 13, 300))[rng.random(300) < 0.9], reference[::9] + 30])
    )
    score = score_beats(truth(reference.tolist()), found, sampling_rate_hz=RATE_HZ)
    theirs = compare_annotations(reference, found, 15)
    assert (score.n_matched, score.n_missed, score.n_extra) == (theirs.tp, theirs.fn, theirs.fp)
    assert score.sensitivity == pytest.approx(100 * theirs.sensitivity)
    assert score.positive_predictivity == pytest.approx(100 * theirs.positive_predictivity)


def test_what_is_before_the_first_sample_and_in_flutter_counts_nowhere() -> None:
    reference = truth([100, 200, 300, 900], uncounted=((400, 800),))
    score = score_beats(
        reference, np.array([50, 100, 150, 310, 500, 850, 895]), sampling_rate_hz=RATE_HZ, first_sample=180
    )
    assert (score.n_matched, score.n_missed, score.n_extra) == (2, 1, 1)


def test_a_detection_after_the_first_sample_may_belong_to_a_beat_before_it() -> None:
    score = score_beats(truth([95, 200]), np.array([101, 200]), sampling_rate_hz=RATE_HZ, first_sample=100)
    assert (score.n_matched, score.n_missed, score.n_extra) == (1, 0, 0)


def test_intervals_are_those_whose_ends_follow_each_other() -> None:
    # Errors of 2 and -4 samples in the first two intervals; 300 to 500 is broken by a detection too many.
    score = score_beats(truth([100, 200, 300, 500]), np.array([100, 202, 298, 400, 500]), sampling_rate_hz=RATE_HZ)
    assert score.rr_error_ms == pytest.approx(10 * np.sqrt((2**2 + 4**2) / 2))
    assert score.reference_sdnn_ms == pytest.approx(0)
    assert score.sdnn_error_ms == pytest.approx(10 * np.std([102, 96], ddof=1))


def test_sdnn_is_of_intervals_between_normal_beats() -> None:
    beats = [0, 100, 190, 310, 410, 500]
    score = score_beats(
        truth(beats, normal=[True, True, False, True, True, True]), np.array(beats), sampling_rate_hz=RATE_HZ
    )
    assert score.sdnn_ms == score.reference_sdnn_ms == pytest.approx(10 * np.std([100, 100, 90], ddof=1))
    assert score.rr_error_ms == 0


def test_without_beats_there_are_no_figures() -> None:
    score = score_beats(truth([]), np.zeros(0, np.int64), sampling_rate_hz=RATE_HZ)
    assert [score.sensitivity, score.positive_predictivity, score.rr_error_ms, score.sdnn_error_ms] == [None] * 4
