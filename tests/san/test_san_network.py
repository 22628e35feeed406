import subprocess
import sys

import numpy as np
import pytest

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation
from sancodec.san.network import SparselyActivatedNetwork

IDENTITY = Activation("identity")


def network(*kernels, activations=None):
    kernels = tuple(np.asarray(kernel, np.float64) for kernel in kernels)
    return SparselyActivatedNetwork(kernels, activations or (IDENTITY,) * len(kernels))


def plain_correlation(signal, kernel):
    """s[t] = Σ_j w[j] · x[t + j − c], one product at a time."""
    result = np.zeros(signal.shape)
    centre = [(length - 1) // 2 for length in kernel.shape]
    for place in np.ndindex(signal.shape):
        for position in np.ndindex(kernel.shape):
            source = tuple(np.add(place, position) - centre)
            if all(0 <= index < size for index, size in zip(source, signal.shape, strict=True)):
                result[place] += kernel[position] * signal[source]
    return result


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (8,), (1, 1), (2, 2), (3, 3), (4, 2)])
def test_similarity_and_reconstruction_are_the_plain_sums(shape):
    rng = np.random.default_rng(0)
    kernel, signal = rng.normal(size=shape), rng.normal(size=(11, 12)[: len(shape)])
    parts = network(kernel).decompose(signal)
    similarity = plain_correlation(signal, kernel)
    np.testing.assert_allclose(parts.similarities[0], similarity, atol=1e-12)
    np.testing.assert_allclose(parts.reconstruction, plain_correlation(similarity, kernel), atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_delta_at_its_centre_reconstructs_in_place(length, n_dims):
    kernel = np.zeros((length,) * n_dims)
    kernel[((length - 1) // 2,) * n_dims] = 1
    signals = np.random.default_rng(1).normal(size=(3, 12, 13))
    np.testing.assert_array_equal(network(kernel).decompose(signals).reconstruction, signals)


def test_the_extra_zero_of_an_even_kernel_lies_at_the_end():
    parts = network([1.0, 10.0]).decompose(np.array([1.0, 2.0, 3.0]))
    assert parts.similarities[0].tolist() == [21, 32, 3]
    assert parts.partial_reconstructions[0].tolist() == [341, 62, 3]


def test_a_symmetric_even_kernel_moves_the_signal_one_sample_ahead():
    signal = np.zeros(9)
    signal[4] = 1
    assert network([0.5, 0.5]).decompose(signal).reconstruction.argmax() == 3


def test_the_reconstruction_is_the_sum_of_kernels_of_different_sizes():
    rng = np.random.default_rng(2)
    activations = (Activation("extrema", minimum_extrema_distance=3), Activation("topk_absolutes", k=4), IDENTITY)
    san = network(rng.normal(size=7), rng.normal(size=4), rng.normal(size=1), activations=activations)
    parts = san.decompose(rng.normal(size=(2, 5, 40)).astype(np.float32))
    assert parts.reconstruction.shape == (2, 5, 40)
    assert parts.reconstruction.dtype == np.float32
    np.testing.assert_allclose(parts.reconstruction, sum(parts.partial_reconstructions), rtol=1e-6)
    assert (np.count_nonzero(parts.activation_maps[1], axis=-1) == 4).all()
    np.testing.assert_array_equal(san.reconstruct(parts.activation_maps), parts.reconstruction)


def test_integers_are_decomposed_as_floats():
    parts = network([0.5]).decompose(np.array([1, 2, 4], np.int16))
    assert parts.reconstruction.tolist() == [0.25, 0.5, 1]


def test_the_digest_depends_on_weights_and_shapes():
    digests = {each.sha256 for each in (network([1, 2]), network([1], [2]), network([[1, 2]]), network([2, 1]))}
    assert len(digests) == 4
    assert network([1, 2]).sha256 == network(np.array([1, 2], np.float32)).sha256


@pytest.mark.parametrize(
    ("kernels", "activations", "message"),
    [
        ((), (), "a network needs one kernel or more"),
        ((np.ones(2),), (IDENTITY,) * 2, "2 activations for 1 kernels; give one for each"),
        ((np.ones(2), np.ones((2, 2))), (IDENTITY,) * 2, r"kernel 1 is float64 of shape \(2, 2\); kernels are floats"),
        ((np.ones(2, np.int64),), (IDENTITY,), r"kernel 0 is int64 of shape \(2,\); kernels are floats"),
        ((np.ones(0),), (IDENTITY,), r"kernel 0 is float64 of shape \(0,\)"),
        ((np.array([1, np.nan]),), (IDENTITY,), "kernel 0 has weights that are NaN or infinite"),
    ],
)
def test_networks_that_make_no_sense_are_refused(kernels, activations, message):
    with pytest.raises(InvalidSignalError, match=message):
        SparselyActivatedNetwork(kernels, activations)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value):
    with pytest.raises(InvalidSignalError, match="signals have samples that are NaN or infinite; replace them first"):
        network([1.0]).decompose(np.array([1.0, value]))


def test_windows_shorter_than_a_kernel_are_refused():
    with pytest.raises(InvalidSignalError, match="window of 4 samples is shorter than the kernel of 5 samples"):
        network(np.ones(5)).decompose(np.zeros((9, 4)))
    with pytest.raises(InvalidSignalError, match="window of 9 × 4 samples is shorter than the kernel of 5 × 5 samples"):
        network(np.ones((5, 5))).decompose(np.zeros((9, 4)))


def test_signals_with_too_few_dimensions_are_refused():
    with pytest.raises(InvalidSignalError, match=r"signals of shape \(9,\) have fewer than the 2 dimensions"):
        network(np.ones((5, 5))).decompose(np.zeros(9))


def test_activations_that_do_not_fit_the_window_are_refused():
    san = network([1.0], activations=(Activation("topk_absolutes", k=10),))
    with pytest.raises(InvalidSignalError, match="k is 10, but a map has 9 elements"):
        san.decompose(np.zeros(9))


def test_maps_of_other_kernels_are_refused():
    with pytest.raises(InvalidSignalError, match="2 activation maps for 1 kernels"):
        network([1.0]).reconstruct([np.zeros(3)] * 2)
    with pytest.raises(InvalidSignalError, match=r"activation maps have shapes \[\(1, 4\), \(3, 4\)\]"):
        network([1.0], [2.0]).reconstruct([np.zeros((1, 4)), np.zeros((3, 4))])


def test_maps_of_integers_are_taken_as_floats():
    san = network([0.5, 0.25, 0.5])
    assert san.reconstruct([np.array([0, 4, 0, 0], np.int16)]).tolist() == [2.0, 1.0, 2.0, 0.0]


def test_inference_loads_no_torch():
    script = "import sys, sancodec.san.network; assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-Werror", "-c", script], check=True)
