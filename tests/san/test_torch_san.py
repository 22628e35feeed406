import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training a network needs the train extra")

from sancodec.errors import InvalidSignalError  # noqa: E402
from sancodec.san.activations import Activation  # noqa: E402
from sancodec.training.san import SAN  # noqa: E402

IDENTITY = Activation("identity")
ALL = (
    IDENTITY,
    Activation("relu"),
    Activation("topk_absolutes", k=5),
    Activation("extrema_pool_indices", pool_size=4),
    Activation("extrema", minimum_extrema_distance=4, border_tolerance=1),
)
LENGTHS = {1: (60,), 2: (13, 17)}


def random_signals(n_dims, *, batch=3):
    return torch.randn(batch, 1, *LENGTHS[n_dims], generator=torch.Generator().manual_seed(n_dims))


@pytest.mark.parametrize("n_dims", [1, 2])
def test_torch_and_numpy_decompose_alike(n_dims):
    san = SAN([1, 2, 3, 6, 7], ALL, n_dims=n_dims, seed=3)
    signals = random_signals(n_dims)
    ours, numpys = san.decompose(signals), san.network().decompose(signals.numpy())
    assert torch.equal(san(signals), ours.reconstruction)
    for field in ("similarities", "activation_maps", "partial_reconstructions"):
        for one, other in zip(getattr(ours, field), getattr(numpys, field), strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-5, atol=1e-6)
    for one, other in zip(ours.activation_maps, numpys.activation_maps, strict=True):
        np.testing.assert_array_equal(one.detach().numpy() != 0, other != 0)
    np.testing.assert_allclose(ours.reconstruction.detach().numpy(), numpys.reconstruction, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_delta_at_the_centre_of_a_kernel_reconstructs_in_place(size, n_dims):
    san = SAN([size], [IDENTITY], n_dims=n_dims)
    with torch.no_grad():
        san.kernels[0].zero_()[((size - 1) // 2,) * n_dims] = 1
    signals = random_signals(n_dims)
    assert torch.equal(san(signals), signals)


def test_weights_start_at_a_tenth_without_a_seed():
    assert all(torch.equal(kernel, torch.full_like(kernel, 0.1)) for kernel in SAN([3, 4], ALL[:2], n_dims=2).kernels)


def test_a_seed_draws_the_same_weights_of_deviation_a_tenth():
    first, again, other = (SAN([5000, 3], ALL[:2], n_dims=1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.kernels[0], again.kernels[0])
    assert not torch.equal(first.kernels[0], other.kernels[0])
    weights = first.kernels[0].detach().numpy()
    assert weights.std() == pytest.approx(0.1, rel=0.05)
    assert weights.mean() == pytest.approx(0, abs=0.01)


def test_training_lowers_the_loss():
    san = SAN([9, 5], [ALL[4], ALL[2]], n_dims=1, seed=0)
    time = torch.arange(240.0)
    signals = torch.stack([torch.sin(time / 3), torch.sin(time / 3 + 1)])[:, None]
    optimiser = torch.optim.Adam(san.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = (san(signals) - signals).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("n_dims", [1, 2])
def test_gradients_of_kernels_are_those_of_finite_differences(n_dims):
    san = SAN([4, 3], [ALL[4], ALL[2]], n_dims=n_dims, seed=5).double()
    signals = random_signals(n_dims, batch=1).double()

    def reconstruct(*kernels):
        return torch.func.functional_call(san, {f"kernels.{i}": each for i, each in enumerate(kernels)}, signals)

    assert torch.autograd.gradcheck(reconstruct, tuple(san.kernels), atol=1e-7)


@pytest.mark.parametrize(
    ("shape", "n_dims", "message"),
    [
        ((2, 60), 1, r"signals have shape \(2, 60\); \(batch, 1, sample\) is needed"),
        ((2, 2, 60), 1, r"signals have shape \(2, 2, 60\); \(batch, 1, sample\) is needed"),
        ((2, 1, 60), 2, r"signals have shape \(2, 1, 60\); \(batch, 1, row, column\) is needed"),
        ((2, 1, 4), 1, "window of 4 samples is shorter than the kernel of 5 samples; take longer windows"),
        ((2, 1, 9, 4), 2, "window of 9 × 4 samples is shorter than the kernel of 5 × 5 samples"),
    ],
)
def test_signals_of_a_wrong_shape_are_refused(shape, n_dims, message):
    with pytest.raises(InvalidSignalError, match=message):
        SAN([5], [IDENTITY], n_dims=n_dims)(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_samples_that_are_not_finite_are_refused(value):
    signals = random_signals(1)
    signals[1, 0, 7] = value
    with pytest.raises(InvalidSignalError, match="signals have samples that are NaN or infinite; replace them first"):
        SAN([5], [IDENTITY], n_dims=1)(signals)


def test_signals_of_another_type_than_the_kernels_are_refused():
    with pytest.raises(InvalidSignalError, match=r"signals are torch.float64, but the kernels are torch.float32"):
        SAN([5], [IDENTITY], n_dims=1)(random_signals(1).double())


def test_more_activations_than_a_map_has_elements_are_refused():
    with pytest.raises(InvalidSignalError, match="k is 61, but a map has 60 elements; give a k of at most that"):
        SAN([5], [Activation("topk_absolutes", k=61)], n_dims=1)(random_signals(1))


@pytest.mark.parametrize(
    ("sizes", "activations", "n_dims", "message"),
    [
        ([], [], 1, "a network needs one kernel or more"),
        ([3], [IDENTITY] * 2, 1, "2 activations for 1 kernels; give one for each"),
        ([3, 0], [IDENTITY] * 2, 1, "kernel size 0 is below 1"),
        ([3], [IDENTITY], 3, "n_dims must be 1 or 2, not 3"),
    ],
)
def test_modules_that_make_no_sense_are_refused(sizes, activations, n_dims, message):
    with pytest.raises(InvalidSignalError, match=message):
        SAN(sizes, activations, n_dims=n_dims)


def test_a_compiled_network_refuses_what_it_always_refuses():
    compiled = torch.compile(SAN([5], [IDENTITY], n_dims=1), backend="eager")
    assert compiled(torch.ones(2, 1, 9)).shape == (2, 1, 9)
    with pytest.raises(InvalidSignalError, match="NaN or infinite"):
        compiled(torch.full((2, 1, 9), float("nan")))
    with pytest.raises(InvalidSignalError, match="shorter than the kernel"):
        compiled(torch.ones(2, 1, 3))


def test_a_network_of_bfloat16_has_a_twin():
    assert SAN([5], [IDENTITY], n_dims=1).to(torch.bfloat16).network().kernels[0].dtype == np.float32
