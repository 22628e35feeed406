import numpy as np
import pytest
from neutral_banks import SMALL

from sancodec.codec.contexts import (
    CLASS_SHIFT,
    MAX_MAGNITUDE,
    N_CLASSES,
    SCALE_OFFSET,
    BandParents,
    Profile,
    known_magnitude,
    with_neighbours,
)


def class_by_hand(expected):
    """Half powers of 2 of the expected magnitude, in 1/256."""
    expected = min(int(expected), 2**14 - 1)
    if expected == 0:
        return 0
    exponent = expected.bit_length() - 1
    return min(2 * exponent + (expected**2 >= 2 * 4**exponent), N_CLASSES - 1)


def test_classes_are_half_powers_of_two_of_the_expected_magnitude():
    parents = BandParents(SMALL.contexts, 0)
    expected = np.arange(20_000, dtype=np.int32)[None]
    classes = parents.classes(0, 8, expected)
    assert classes[0].tolist() == [class_by_hand(value) for value in range(20_000)]
    assert np.all(np.diff(classes[0].astype(int)) >= 0)


def test_low_bits_are_raw_from_class_22_on():
    assert CLASS_SHIFT.tolist() == [0] * 22 + [1, 1, 2, 2, 3, 3]


def test_neighbours_are_added_around_the_circle():
    magnitude = np.array([[1, 10, 100], [2, 0, 0]], np.int32)
    assert with_neighbours(magnitude, 2).tolist() == [[112, 121, 211], [4, 2, 2]]
    assert with_neighbours(np.array([[5]], np.int32), 0).tolist() == [[10]]


@pytest.mark.parametrize("strides", [(8, 8, 4), (8, 4, 4), (16, 8, 4)])
def test_the_expected_magnitude_adds_profile_parent_and_grandparent(strides):
    rng = np.random.default_rng(1)
    grandparent = rng.integers(0, 90, (2, 64 // strides[0])).astype(np.int32)
    parent = rng.integers(0, 90, (2, 64 // strides[1])).astype(np.int32)
    base = rng.integers(0, 500, (2, 64 // strides[2])).astype(np.int32)
    parents = BandParents(SMALL.contexts, 1)
    parents.push(strides[0], rng.integers(0, 90, (2, 64 // strides[0])).astype(np.int32))  # forgotten by then
    parents.push(strides[0], grandparent)
    parents.push(strides[1], parent)
    classes = parents.classes(2, strides[2], base)
    weights = SMALL.contexts.band_weights[1, 2].tolist()
    capped, elder = np.minimum(parent, MAX_MAGNITUDE), np.minimum(grandparent, MAX_MAGNITUDE)
    for row in range(2):
        for window in range(64 // strides[2]):
            at = window * strides[2] // strides[1]
            above = window * strides[2] // strides[0]
            n, m = parent.shape[1], grandparent.shape[1]
            expected = (
                int(base[row, window])
                + weights[1] * int(capped[row, at])
                + weights[2] * int(capped[row, at - 1] + capped[row, (at + 1) % n])
                + weights[3] * int(2 * elder[row, above] + elder[row, above - 1] + elder[row, (above + 1) % m])
            )
            assert classes[row, window] == class_by_hand(expected)


def test_a_band_that_is_off_counts_as_zero_magnitudes():
    base = np.full((1, 16), 300, np.int32)
    silent, off = BandParents(SMALL.contexts, 1), BandParents(SMALL.contexts, 1)
    silent.push(8, np.zeros((1, 8), np.int32))
    off.push(8, None)
    np.testing.assert_array_equal(silent.classes(2, 4, base), off.classes(2, 4, base))


def test_a_known_magnitude_has_no_low_bits_and_stops_at_the_escape():
    activity = np.array([0, 22, 24, 27, 27], np.uint8)
    magnitude = np.array([9, 7, 7, 7, 1000], np.int32)
    n_direct = np.full(N_CLASSES, 5)
    known = known_magnitude(magnitude, activity, n_direct, np.flatnonzero(magnitude))
    assert known.tolist() == [5, 6, 4, 0, 40]


def test_expected_magnitudes_follow_their_codes():
    profile = Profile(0, np.array([SCALE_OFFSET, SCALE_OFFSET + 4, 1]), np.zeros((2, 25), np.int64))
    expected = profile.expected(SMALL.contexts)
    assert expected[0, 0] == 256
    assert expected[1, 0] == 512
    assert expected[2, 0] == 0  # 2**-10, less than 1/256
    loud = Profile(0, np.array([95, 95, 95]), np.full((2, 25), 15))
    assert loud.expected(SMALL.contexts).max() == 2**14 - 1


def test_with_all_bands_switches_every_band_on():
    profile = Profile(0, np.array([0, 50, 0]), np.zeros((2, 25), np.int64)).with_all_bands()
    assert profile.scale_codes.tolist() == [1, 50, 1]
