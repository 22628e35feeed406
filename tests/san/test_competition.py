"""Kernels that compete for territory: against plain loops, in NumPy and in torch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_activations import is_extremum

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation, competing_extrema, extrema
from sancodec.san.network import SparselyActivatedNetwork


def reach(distance, tolerance=0):
    return Activation("extrema", minimum_extrema_distance=distance, border_tolerance=tolerance)


def kept(similarities, activations, norms=None, *, n_dims=1):
    similarities = [np.array(each, np.float32) for each in similarities]
    return competing_extrema(similarities, activations, norms=norms or [1.0] * len(similarities), n_dims=n_dims)


def indices(maps):
    return [np.flatnonzero(each).tolist() for each in maps]


def plain_competition(similarities, activations, norms):
    """One extremum at a time, of all maps."""
    found = [
        (kernel, place)
        for kernel, similarity in enumerate(similarities)
        for place in np.ndindex(similarity.shape)
        if is_extremum(similarity, place)
    ]
    found.sort(key=lambda each: -abs(np.float64(similarities[each[0]][each[1]])) / norms[each[0]])
    result, primary = [np.zeros_like(each) for each in similarities], []
    for kernel, place in found:
        apart = (
            max(abs(np.subtract(place, other))) > activations[owner].suppression_distance for owner, other in primary
        )
        if all(apart):
            primary.append((kernel, place))
            result[kernel][place] = similarities[kernel][place]
    return result


@st.composite
def contests(draw):
    n_dims, n_kernels = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 30 if n_dims == 1 else 8)) for _ in range(n_dims))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    similarities = [rng.normal(size=shape).astype(np.float32) for _ in range(n_kernels)]
    if draw(st.booleans()):
        similarities = [np.rint(2 * each) for each in similarities]
    activations = [reach(draw(st.integers(1, 12)), draw(st.integers(0, 3))) for _ in range(n_kernels)]
    return similarities, activations, [draw(st.sampled_from([0.5, 1.0, 3.0])) for _ in range(n_kernels)]


@settings(max_examples=200)
@given(contests())
def test_competition_is_that_of_plain_loops(contest):
    similarities, activations, norms = contest
    found = competing_extrema(similarities, activations, norms=norms, n_dims=similarities[0].ndim)
    for one, other in zip(found, plain_competition(similarities, activations, norms), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32


@settings(max_examples=100)
@given(contests())
def test_torch_and_numpy_keep_the_same(contest):
    torch = pytest.importorskip("torch", reason="training a network needs the train extra")
    from sancodec.training.activations import competing_extrema as compete

    similarities, activations, norms = contest
    batches = [np.stack([each, -each[::-1]])[:, None] for each in similarities]  # (batch, 1, …)
    n_dims = similarities[0].ndim
    expected = competing_extrema(batches, activations, norms=norms, n_dims=n_dims)
    tensors = [torch.from_numpy(each) for each in batches]
    found = compete(
        tensors, activations, norms=[torch.tensor(each, dtype=torch.float64) for each in norms], n_dims=n_dims
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


def test_a_single_kernel_has_its_extrema():
    similarity = np.random.default_rng(0).normal(size=(3, 1, 90))
    (found,) = competing_extrema([similarity], [reach(7, 2)], norms=[2.0], n_dims=1)
    np.testing.assert_array_equal(found, extrema(similarity, minimum_extrema_distance=7, border_tolerance=2, n_dims=1))


def test_the_kernel_that_explains_more_takes_the_territory():
    peaks = [0, 0, 5, 0, 0, 0, 0, 0, 2, 0], [0, 0, 0, 4, 0, 0, 0, 3, 0, 0]
    assert indices(kept(peaks, [reach(2), reach(2)])) == [[2], [7]]
    assert indices(kept(peaks, [reach(2), reach(2)], [2.0, 1.0])) == [[], [3, 7]]


def test_every_kernel_removes_others_within_its_own_distance():
    peaks = [0, 5, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 4, 0, 0, 0]
    assert indices(kept(peaks, [reach(2), reach(7)])) == [[1], [4]]
    assert indices(kept(peaks, [reach(3), reach(1)])) == [[1], []]


def test_a_long_distance_removes_nothing_that_comes_before():
    # 4 falls to 5, so 3 stays; 2 does not remove it, though it is decided at once that 2 stays.
    peaks = [0, 5, 0, 4, 0, 3, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 2, 0]
    assert indices(kept(peaks, [reach(2), reach(8)])) == [[1, 5], [8]]


def test_of_equal_ones_the_first_kernel_is_active():
    assert indices(kept(([0, 3, 0], [0, -3, 0]), [reach(1), reach(1)])) == [[1], []]


def test_windows_do_not_compete_with_each_other():
    first, second = np.zeros((2, 2, 1, 9))
    first[0, 0, 4], second[1, 0, 4] = 2, 1
    assert [each.nonzero()[0].tolist() for each in kept((first, second), [reach(9), reach(9)])] == [[0], [1]]


def test_a_kernel_without_weights_is_never_active():
    network = SparselyActivatedNetwork((np.zeros(3), np.array([0.0, 2.0, 0.0])), (reach(2), reach(2)), competing=True)
    signals = np.random.default_rng(1).normal(size=(2, 1, 40))
    parts = network.decompose(signals)
    assert not parts.activation_maps[0].any()
    assert parts.activation_maps[1].any()


def test_torch_and_numpy_decompose_alike():
    torch = pytest.importorskip("torch", reason="training a network needs the train extra")
    from sancodec.training.san import SAN

    san = SAN([7, 4, 7], [reach(7, 3), reach(4), reach(5)], n_dims=1, seed=1, competing=True)
    signals = torch.randn(3, 1, 80, generator=torch.Generator().manual_seed(0))
    ours, numpys = san.decompose(signals), san.network().decompose(signals.numpy())
    for one, other in zip(ours.activation_maps, numpys.activation_maps, strict=True):
        np.testing.assert_array_equal(one.detach().numpy() != 0, other != 0)
    np.testing.assert_allclose(ours.reconstruction.detach().numpy(), numpys.reconstruction, rtol=1e-5, atol=1e-6)


def test_gradients_of_kernels_are_those_of_finite_differences():
    torch = pytest.importorskip("torch", reason="training a network needs the train extra")
    from sancodec.training.san import SAN

    san = SAN([4, 3], [reach(4), reach(3)], n_dims=1, seed=5, competing=True).double()
    signals = torch.randn(1, 1, 60, generator=torch.Generator().manual_seed(2)).double()

    def reconstruct(*kernels):
        return torch.func.functional_call(san, {f"kernels.{i}": each for i, each in enumerate(kernels)}, signals)

    assert torch.autograd.gradcheck(reconstruct, tuple(san.kernels), atol=1e-7)


def test_only_extrema_compete():
    message = "kernel 1 has relu; only kernels of extrema can compete"
    with pytest.raises(InvalidSignalError, match=message):
        SparselyActivatedNetwork((np.ones(3), np.ones(3)), (reach(2), Activation("relu")), competing=True)
    with pytest.raises(InvalidSignalError, match=message):
        kept(([0.0], [0.0]), [reach(2), Activation("relu")])
    pytest.importorskip("torch", reason="training a network needs the train extra")
    from sancodec.training.san import SAN

    with pytest.raises(InvalidSignalError, match=message):
        SAN([3, 3], [reach(2), Activation("relu")], n_dims=1, competing=True)
