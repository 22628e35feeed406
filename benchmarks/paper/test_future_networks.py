"""The networks of the future work are what they are called: ``pytest benchmarks/paper/test_future_networks.py``."""

import math

import numpy as np
import pytest
import torch
from future_networks import Plain, Scaled, annealed_distance, evaluate, stretched, train

from sancodec.san.activations import Activation
from sancodec.san.metrics import score_network
from sancodec.san.normalisation import Normalisation
from sancodec.training.san_config import TrainingConfig
from sancodec.training.san_training import train_san
from sancodec.training.windows import SplitWindows


@pytest.fixture
def windows():
    noise = np.random.default_rng(0).normal(size=(12, 1, 120))
    values = Normalisation()(noise + 3 * np.sin(np.arange(120) / 4))
    return SplitWindows(values[:6], values[6:8], values[8:], Normalisation(), 100.0, "waves")


def plain(size):
    activations = TrainingConfig("extrema", (size,)).activations((120,))
    return Plain([size], activations, n_dims=1)


def test_the_network_of_the_package_is_trained_as_by_the_package(windows):
    ours = train(plain(9), windows, seed=3, n_epochs=4)
    other = train_san(windows, TrainingConfig("extrema", (9,), n_epochs=4, seed=3), device="cpu")
    assert ours.test.phi == pytest.approx(other.test.phi, rel=1e-6)
    np.testing.assert_allclose(ours.module.network().kernels[0], other.network.kernels[0], rtol=1e-5)


def test_phi_is_that_of_the_package_where_an_activation_is_two_numbers(windows):
    network = plain(9)
    found, _ = evaluate(network, torch.from_numpy(windows.test))
    assert found.phi == pytest.approx(score_network(network.network(), windows.test).phi, rel=1e-5)


def test_a_scale_costs_a_number_of_each_activation(windows):
    network = Scaled(8, (1.0, 2.0), learned=False, seed=0)
    found, counts = evaluate(network, torch.from_numpy(windows.test))
    assert found.inverse_ratio == pytest.approx((8 + 2 + 3 * sum(counts) / 4) / 120)
    assert Scaled(8, (1.0,), learned=False, seed=0).n_weights == 8
    assert Scaled(8, (1.0,), learned=True, seed=0).n_weights == 9


def test_a_shape_of_scale_1_stays_and_of_scale_2_is_twice_as_long():
    shape = torch.tensor([1.0, 2.0, 4.0, 2.0])
    assert torch.equal(stretched(shape, torch.tensor(1.0)), shape)
    twice = stretched(shape, torch.tensor(2.0))
    assert twice.tolist() == [0.75, 1.25, 1.75, 2.5, 3.5, 3.5, 2.5, 1.5]


def test_gradients_of_a_scale_are_those_of_finite_differences():
    shape = torch.randn(9, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    scale = torch.tensor(1.31, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stretched, (shape, scale), atol=1e-6)


def test_learned_scales_move_and_others_stay(windows):
    moved = train(Scaled(8, (0.5, 1.0), learned=True, seed=0), windows, seed=0, n_epochs=2).module
    fixed = train(Scaled(8, (0.5, 1.0), learned=False, seed=0), windows, seed=0, n_epochs=2).module
    assert not torch.allclose(moved.log_scales, torch.tensor([math.log(0.5), 0.0]))
    assert torch.equal(fixed.log_scales, torch.tensor([0.5, 1.0]).log())


def test_the_distance_falls_by_a_cosine_to_its_own_value():
    found = [annealed_distance(100, start=2.0, epoch=epoch, n_epochs=5) for epoch in range(5)]
    assert found == [200, 185, 150, 115, 100]
    assert annealed_distance(100, start=0.25, epoch=0, n_epochs=5) == 25


def test_an_annealed_network_is_measured_at_its_own_distance(windows):
    network = plain(9)
    trained = train(network, windows, seed=0, n_epochs=3, anneal_from=0.25)
    assert network.activations == (Activation("extrema", minimum_extrema_distance=9, border_tolerance=3),)
    assert trained.test.phi == pytest.approx(score_network(network.network(), windows.test).phi, rel=1e-5)
