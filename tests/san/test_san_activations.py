import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from plain_activations import plain_extrema, plain_pools, plain_topk

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation, extrema, extrema_pool_indices, identity, relu, topk_absolutes

# Few values: ties and plateaus are everywhere.
LEVELS = st.integers(-3, 3).map(float) | st.floats(-4, 4, width=32)
SIGNALS = arrays.arrays(np.float32, st.tuples(st.integers(1, 40)), elements=LEVELS)
IMAGES = arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=LEVELS)
MAPS = st.one_of(SIGNALS, IMAGES)


def peaks_of(*values, distance=1, **options):
    """Indices that Extrema keeps of a signal."""
    kept = extrema(np.array(values, np.float32), minimum_extrema_distance=distance, n_dims=1, **options)
    return np.flatnonzero(kept).tolist()


@given(SIGNALS)
def test_identity_and_relu_are_what_they_are_called(similarity):
    np.testing.assert_array_equal(identity(similarity), similarity)
    np.testing.assert_array_equal(relu(similarity), np.where(similarity > 0, similarity, 0))
    assert relu(similarity).dtype == similarity.dtype


@given(MAPS, st.data())
def test_topk_keeps_what_the_plain_algorithm_keeps(similarity, data):
    k = data.draw(st.integers(1, similarity.size))
    found = topk_absolutes(similarity, k=k, n_dims=similarity.ndim)
    np.testing.assert_array_equal(found, plain_topk(similarity, k))


@given(MAPS, st.data())
def test_pools_keep_what_the_plain_algorithm_keeps(similarity, data):
    size = data.draw(st.integers(1, min(similarity.shape)))
    found = extrema_pool_indices(similarity, pool_size=size, n_dims=similarity.ndim)
    np.testing.assert_array_equal(found, plain_pools(similarity, size))


@given(MAPS, st.integers(1, 50), st.integers(0, 4))
def test_extrema_are_those_of_the_plain_greedy_loop(similarity, distance, tolerance):
    found = extrema(similarity, minimum_extrema_distance=distance, border_tolerance=tolerance, n_dims=similarity.ndim)
    np.testing.assert_array_equal(found, plain_extrema(similarity, max(1, distance - tolerance)))


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("name", ["topk_absolutes", "extrema_pool_indices", "extrema"])
def test_every_map_of_a_batch_is_treated_alone(name, n_dims):
    parameter = {"topk_absolutes": "k", "extrema_pool_indices": "pool_size", "extrema": "minimum_extrema_distance"}
    activation = Activation(name, **{parameter[name]: 3})
    similarity = np.random.default_rng(0).normal(size=(3, 2, 8, 9)).astype(np.float32)
    found = activation(similarity, n_dims=n_dims)
    for index in np.ndindex(similarity.shape[: similarity.ndim - n_dims]):
        np.testing.assert_array_equal(found[index], activation(similarity[index], n_dims=n_dims))


def test_ties_of_topk_keep_the_first_index():
    similarity = np.array([1, -2, 2, -2, 0], np.float32)
    assert topk_absolutes(similarity, k=2, n_dims=1).tolist() == [0, -2, 2, 0, 0]


def test_ties_of_a_pool_keep_the_first_index():
    similarity = np.array([0, -3, 3, 1, 1, 1], np.float32)
    assert extrema_pool_indices(similarity, pool_size=3, n_dims=1).tolist() == [0, -3, 0, 1, 0, 0]


def test_what_is_no_whole_pool_is_dropped():
    similarity = np.array([1, 2, 3, 4, 9, 9], np.float32)
    assert extrema_pool_indices(similarity, pool_size=4, n_dims=1).tolist() == [0, 0, 0, 4, 0, 0]


def test_every_pool_of_an_image_keeps_one():
    image = np.arange(1, 26, dtype=np.float32).reshape(5, 5)
    rows, columns = np.nonzero(extrema_pool_indices(image, pool_size=2, n_dims=2))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 1), (1, 3), (3, 1), (3, 3)]


def test_ties_of_extrema_keep_the_first_index():
    assert peaks_of(0, 2, 0, 2, 0, 2, 0, distance=2) == [1, 5]
    assert peaks_of(0, 2, 0, -2, 0, distance=2) == [1]


def test_peaks_below_and_valleys_above_zero_are_no_extrema():
    assert peaks_of(-3, -1, -2, -1, -3) == [0, 2]
    assert peaks_of(3, 1, 2, 1, 3) == [2, 4]


def test_a_high_plateau_counts_at_its_first_and_a_low_one_at_its_last_sample():
    assert peaks_of(0, 2, 2, 2, 0) == [1]
    assert peaks_of(0, -2, -2, -2, 0) == [3]


def test_the_level_part_of_a_rising_slope_counts_and_that_of_a_falling_one_does_not():
    assert peaks_of(0, 1, 1, 2, 0) == [1, 3]
    assert peaks_of(0, 2, 1, 1, 0) == [1]
    assert peaks_of(-2, -1, -1, 0) == [0, 2]
    assert peaks_of(0, -1, -1, -2, 0) == [3]


def test_a_peak_may_lie_at_the_last_and_a_valley_at_the_first_sample_only():
    assert peaks_of(3, 0, 3) == [2]
    assert peaks_of(-3, 0, -3) == [0]


@pytest.mark.parametrize("value", [0.0, 1.5, -1.5])
def test_constant_windows_have_no_extrema(value):
    assert peaks_of(*[value] * 12) == []
    assert not extrema(np.full((4, 5), value), minimum_extrema_distance=1, n_dims=2).any()


def test_the_distance_itself_is_still_too_near():
    assert peaks_of(0, 3, 0, 2, 0, distance=1) == [1, 3]
    assert peaks_of(0, 3, 0, 2, 0, distance=2) == [1]


def test_a_removed_extremum_removes_no_other():
    assert peaks_of(0, 4, 0, 3, 0, 2, 0, distance=2) == [1, 5]


def test_the_border_tolerance_lets_extrema_come_nearer():
    signal = (0, 4, 0, 3, 0, 2, 0)
    assert peaks_of(*signal, distance=3, border_tolerance=0) == [1, 5]
    assert peaks_of(*signal, distance=3, border_tolerance=2) == [1, 3, 5]
    assert peaks_of(*signal, distance=3, border_tolerance=9) == [1, 3, 5]


def test_distances_in_images_count_along_both_axes():
    image = np.zeros((7, 9), np.float32)
    image[1, 1], image[3, 3], image[1, 5] = 5, 4, 3
    kept = extrema(image, minimum_extrema_distance=2, n_dims=2)
    assert np.argwhere(kept).tolist() == [[1, 1], [1, 5]]


def test_an_extremum_of_an_image_is_one_along_both_axes():
    saddle = np.array([[0, 3, 0], [1, 2, 1], [0, 3, 0]], np.float32)
    kept = extrema(saddle, minimum_extrema_distance=1, n_dims=2)
    assert np.argwhere(kept).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("maximum", {}, "activation 'maximum' is unknown; known are identity, relu, topk_absolutes"),
        ("topk_absolutes", {}, "topk_absolutes needs k of 1 or more, not None"),
        ("topk_absolutes", {"k": 0}, "topk_absolutes needs k of 1 or more, not 0"),
        ("extrema_pool_indices", {"pool_size": 2.0}, "extrema_pool_indices needs pool_size of 1 or more, not 2.0"),
        (
            "extrema",
            {"minimum_extrema_distance": True},
            "extrema needs minimum_extrema_distance of 1 or more, not True",
        ),
        ("relu", {"k": 3}, "relu takes no k, but 3 was given"),
        ("relu", {"border_tolerance": 3}, "relu takes no border_tolerance, but 3 was given"),
        (
            "extrema",
            {"minimum_extrema_distance": 2, "border_tolerance": -1},
            "border_tolerance must be 0 or more, not -1",
        ),
    ],
)
def test_wrong_parameters_are_refused(name, parameters, message):
    with pytest.raises(InvalidSignalError, match=f"^{message}"):
        Activation(name, **parameters)


def test_more_elements_than_a_map_has_are_refused():
    with pytest.raises(InvalidSignalError, match="k is 7, but a map has 6 elements; give a k of at most that"):
        topk_absolutes(np.zeros((4, 2, 3)), k=7, n_dims=2)


def test_a_pool_longer_than_the_map_is_refused():
    with pytest.raises(InvalidSignalError, match="pool_size is 3, but a map has 2 samples along an axis"):
        extrema_pool_indices(np.zeros((5, 2)), pool_size=3, n_dims=2)


@pytest.mark.parametrize(
    ("shape", "n_dims", "message"),
    [
        ((4,), 2, r"maps of 2 dimensions cannot be taken from an array of shape \(4,\)"),
        ((4, 0), 1, r"maps of 1 dimensions cannot be taken from an array of shape \(4, 0\)"),
        ((4, 4), 3, "n_dims must be 1 or 2, not 3"),
    ],
)
def test_arrays_without_maps_are_refused(shape, n_dims, message):
    with pytest.raises(InvalidSignalError, match=message):
        extrema(np.zeros(shape), minimum_extrema_distance=1, n_dims=n_dims)


@pytest.mark.parametrize("kind", ["u1", "i1", "i8", "?"])
def test_similarities_that_are_no_floats_are_refused(kind):
    for function, parameters in (
        (topk_absolutes, {"k": 1}),
        (extrema_pool_indices, {"pool_size": 1}),
        (extrema, {"minimum_extrema_distance": 1}),
    ):
        with pytest.raises(InvalidSignalError, match=r"similarities are .*; floats are needed"):
            function(np.zeros(9, kind), n_dims=1, **parameters)


def test_integers_of_numpy_are_taken_as_integers():
    activation = Activation("extrema", minimum_extrema_distance=np.uint8(2), border_tolerance=np.uint8(3))
    assert activation.suppression_distance == 1
    assert activation == Activation("extrema", minimum_extrema_distance=2, border_tolerance=3)
    assert all(type(value) is int for value in activation.parameters().values())
