import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training a network needs the train extra")

from sancodec.errors import InvalidSignalError  # noqa: E402
from sancodec.san.activations import Activation  # noqa: E402
from sancodec.training.activations import activation_map, extrema, extrema_pool_indices, topk_absolutes  # noqa: E402

LENGTHS = {1: (41,), 2: (9, 14)}


def activations_of(data, n_elements, shortest):
    return data.draw(
        st.one_of(
            st.just(Activation("identity")),
            st.just(Activation("relu")),
            st.integers(1, n_elements).map(lambda k: Activation("topk_absolutes", k=k)),
            st.integers(1, shortest).map(lambda size: Activation("extrema_pool_indices", pool_size=size)),
            st.tuples(st.integers(1, 60), st.integers(0, 3)).map(
                lambda each: Activation("extrema", minimum_extrema_distance=each[0], border_tolerance=each[1])
            ),
        )
    )


@settings(max_examples=150)
@given(st.data(), st.integers(0, 2**32 - 1), st.sampled_from([1, 2]), st.booleans())
def test_torch_and_numpy_keep_the_same(data, seed, n_dims, coarse):
    rng = np.random.default_rng(seed)
    shape = (2, 1, *(data.draw(st.integers(1, 20 if n_dims == 1 else 8)) for _ in range(n_dims)))
    similarity = rng.normal(size=shape).astype(np.float32)
    if coarse:
        similarity = np.rint(similarity)
    activation = activations_of(data, int(np.prod(shape[2:])), min(shape[2:]))
    found = activation_map(activation, torch.from_numpy(similarity), n_dims=n_dims).numpy()
    np.testing.assert_array_equal(found, activation(similarity, n_dims=n_dims))


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("level", [0.0, 2.0, -2.0])
def test_constant_windows_have_no_extrema(n_dims, level):
    similarity = torch.full((2, 1, *LENGTHS[n_dims]), level)
    assert not extrema(similarity, minimum_extrema_distance=3, n_dims=n_dims).any()


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize(
    "activation",
    [
        Activation("identity"),
        Activation("relu"),
        Activation("topk_absolutes", k=6),
        Activation("extrema_pool_indices", pool_size=4),
        Activation("extrema", minimum_extrema_distance=3, border_tolerance=1),
    ],
    ids=lambda activation: activation.name,
)
def test_gradients_are_those_of_finite_differences(activation, n_dims):
    # A permutation of whole numbers: nothing switches within the step of the differences.
    generator = torch.Generator().manual_seed(n_dims)
    shape = (2, 1, *LENGTHS[n_dims])
    similarity = torch.randperm(int(np.prod(shape)), generator=generator).double().reshape(shape) - 60.5
    similarity.requires_grad_()
    assert torch.autograd.gradcheck(lambda each: activation_map(activation, each, n_dims=n_dims), similarity)


def test_gradients_pass_through_kept_amplitudes_only():
    similarity = torch.tensor([0.0, 3.0, 0.0, 2.0, 0.0, -4.0, 0.0], requires_grad=True)
    extrema(similarity, minimum_extrema_distance=2, n_dims=1).sum().backward()
    assert similarity.grad.tolist() == [0, 1, 0, 0, 0, 1, 0]


def test_a_chain_of_falling_peaks_is_followed_to_its_end():
    similarity = torch.zeros(1, 1, 801)
    similarity[..., 1::2] = torch.linspace(3, 1, 400)
    kept = extrema(similarity, minimum_extrema_distance=2, n_dims=1)
    assert torch.nonzero(kept[0, 0]).flatten().tolist() == list(range(1, 801, 4))


def test_what_does_not_fit_is_refused():
    similarity = torch.zeros(3, 1, 5)
    with pytest.raises(InvalidSignalError, match="k is 6, but a map has 5 elements"):
        topk_absolutes(similarity, k=6, n_dims=1)
    with pytest.raises(InvalidSignalError, match="pool_size is 6, but a map has 5 samples along an axis"):
        extrema_pool_indices(similarity, pool_size=6, n_dims=1)
    with pytest.raises(InvalidSignalError, match="extrema needs minimum_extrema_distance of 1 or more, not 0"):
        extrema(similarity, minimum_extrema_distance=0, n_dims=1)
    with pytest.raises(InvalidSignalError, match="n_dims must be 1 or 2, not 3"):
        extrema(similarity, minimum_extrema_distance=1, n_dims=3)
