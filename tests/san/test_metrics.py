"""φ and what it is made of, by hand and against the definitions written out."""

import math

import numpy as np
import pytest

from sancodec.errors import InvalidSignalError
from sancodec.san import metrics
from sancodec.san.activations import Activation
from sancodec.san.network import SparselyActivatedNetwork

SIGNALS = np.array([[[1.0, -2.0, 3.0, -4.0]], [[2.0, 2.0, 2.0, 2.0]]], np.float32)
RECONSTRUCTION = np.array([[[1.0, -2.0, 3.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]], np.float32)


def test_mae_is_the_mean_of_absolute_errors_of_each_window():
    assert np.allclose(metrics.mae(RECONSTRUCTION, SIGNALS), [5 / 4, 2])


def test_mse_is_the_mean_of_squared_errors_of_each_window():
    assert np.allclose(metrics.mse(RECONSTRUCTION, SIGNALS), [25 / 4, 4])


def test_normalised_loss_is_relative_to_no_reconstruction():
    assert np.allclose(metrics.normalised_loss(RECONSTRUCTION, SIGNALS), [5 / 10, 1])
    assert np.allclose(metrics.normalised_loss(RECONSTRUCTION, SIGNALS, loss=metrics.mse), [25 / 30, 1])
    assert np.allclose(metrics.normalised_loss(SIGNALS, SIGNALS), 0)


def test_normalised_loss_of_a_window_of_zeros_is_refused():
    signals = np.concatenate([SIGNALS, np.zeros((1, 1, 4), np.float32)])
    with pytest.raises(InvalidSignalError, match="window 2, counted from 0, is 0 throughout"):
        metrics.normalised_loss(signals, signals)


def test_other_shapes_are_refused():
    with pytest.raises(InvalidSignalError, match=r"reconstruction of shape \(1, 1, 4\) for signals of \(2, 1, 4\)"):
        metrics.mae(RECONSTRUCTION[:1], SIGNALS)
    with pytest.raises(InvalidSignalError, match=r"shape \(4,\); \(window, 1, …\) is needed"):
        metrics.mse(SIGNALS[0, 0], SIGNALS[0, 0])


def test_weights_of_all_kernels_and_of_both_axes_count():
    assert metrics.n_weights([np.zeros(3), np.zeros(5)]) == 8
    assert metrics.n_weights([np.zeros((3, 3)), np.zeros((2, 2))]) == 13


def test_activations_are_counted_for_each_window_over_all_kernels():
    maps = np.zeros((2, 1, 4)), np.zeros((2, 1, 4))
    maps[0][0, 0, 1], maps[0][1, 0, :3], maps[1][1, 0, 3] = -0.5, 1e-30, 7
    assert metrics.n_activations(maps).tolist() == [1, 4]


@pytest.mark.parametrize(("n_dims", "expected"), [(1, 1000 / (229 + 2 * 4)), (2, 1000 / (229 + 3 * 4))])
def test_an_activation_costs_its_amplitude_and_an_index_for_each_dimension(n_dims, expected):
    ratio = metrics.compression_ratio(n_samples=1000, n_weights=229, n_activations=np.array([4]), n_dims=n_dims)
    assert ratio == pytest.approx([expected])


def test_phi_is_the_euclidean_norm_of_both():
    assert metrics.phi(np.array([1 / 3, 0.5]), np.array([4.0, 0.0])) == pytest.approx([5, 2])


def test_mean_phi_is_the_mean_of_phi_not_the_phi_of_means():
    found = metrics.score(RECONSTRUCTION, SIGNALS, n_weights=2, n_activations=np.array([3, 1]), loss=metrics.mae)
    inverse = np.array([(2 + 2 * 3) / 4, (2 + 2 * 1) / 4])
    losses = np.array([0.5, 1.0])
    assert found.inverse_ratio == pytest.approx(inverse.mean())
    assert found.normalised_loss == pytest.approx(losses.mean())
    assert found.phi == pytest.approx(np.sqrt(inverse**2 + losses**2).mean())
    assert found.phi != pytest.approx(math.hypot(found.inverse_ratio, found.normalised_loss), rel=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 40), (3, 1, 8, 9)])
def test_score_of_a_network_follows_its_maps(shape):
    signals = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    n_dims = signals.ndim - 2
    kernel = np.random.default_rng(1).normal(size=(3,) * n_dims).astype(np.float32)
    network = SparselyActivatedNetwork((kernel,), (Activation("topk_absolutes", k=5),))
    found = metrics.score_network(network, signals)
    assert found.inverse_ratio == pytest.approx((kernel.size + (n_dims + 1) * 5) / signals[0].size)
    reconstruction = network.decompose(signals).reconstruction
    assert found.normalised_loss == pytest.approx(metrics.normalised_loss(reconstruction, signals).mean())


def test_a_score_that_is_not_finite_says_so():
    assert metrics.Score(0.1, 0.2, 0.3).is_finite
    assert not metrics.Score(0.1, math.nan, math.nan).is_finite
    assert not metrics.Score(0.1, math.inf, math.inf).is_finite
