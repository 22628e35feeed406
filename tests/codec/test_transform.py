import numpy as np
import pytest
from neutral_banks import DYADIC, LAPPED, SMALL, neutral_model, random_group

from sancodec.codec import models
from sancodec.codec.kernels import WEIGHT_FRACTION_BITS
from sancodec.codec.transform import similarity, synthesise
from sancodec.errors import FormatError

LONG = neutral_model("long", [random_group(16, 2, 90, -500), random_group(4, 3, 7, 41), random_group(1, 1, 3, -1)])


def shipped_or_neutral():
    try:
        shipped = [models.shipped_model(name) for name in models.shipped_names()]
    except FormatError:
        shipped = []
    return shipped or [LAPPED, DYADIC]


def dense(group, length):
    """Every window's kernel around the circle as integers, ``(window, kernel, sample)``."""
    result = np.zeros((length // group.stride, group.n_kernels, length), np.int64)
    for window in range(length // group.stride):
        for kernel in range(group.n_kernels):
            for position in range(group.length):
                sample = (window * group.stride + group.offset + position) % length
                result[window, kernel, sample] += int(group.weights[kernel, position])
    return result


def random_amplitudes(model, length, n_signals, rng, peak=1 << 20):
    return [
        rng.integers(-peak, peak, (n_signals, length // group.stride, group.n_kernels)).astype(np.float64)
        for group in model.groups
    ]


@pytest.mark.parametrize("model", [SMALL, LONG], ids=lambda model: model.name)
@pytest.mark.parametrize("n_periods", [1, 2, 5])
def test_similarity_is_that_of_a_dense_loop(model, n_periods):
    length = n_periods * model.period
    signals = np.random.default_rng(n_periods).normal(0, 100, (3, length)).astype(np.float32)
    for group, found in zip(model.groups, similarity(model, signals), strict=True):
        expected = np.einsum("wkn,sn->swk", dense(group, length) * 2.0**-WEIGHT_FRACTION_BITS, signals.astype(float))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("model", [SMALL, LONG], ids=lambda model: model.name)
@pytest.mark.parametrize("n_periods", [1, 2, 5])
def test_synthesis_adds_the_integers_of_a_dense_loop(model, n_periods):
    length = n_periods * model.period
    amplitudes = random_amplitudes(model, length, 2, np.random.default_rng(n_periods))
    expected = sum(
        np.einsum("swk,wkn->sn", amplitude.astype(np.int64), dense(group, length))
        for group, amplitude in zip(model.groups, amplitudes, strict=True)
    )
    np.testing.assert_array_equal(synthesise(model, amplitudes), expected)


@pytest.mark.parametrize("model", shipped_or_neutral(), ids=lambda model: model.name)
def test_the_kernels_of_a_bank_are_orthonormal_around_the_circle(model):
    length = 3 * model.period
    impulses = np.eye(length, dtype=np.float32)
    matrix = np.concatenate([each.reshape(length, -1) for each in similarity(model, impulses)], axis=1)
    assert matrix.shape == (length, length), "as many coefficients as samples"
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(length), atol=3e-4)


@pytest.mark.parametrize("model", shipped_or_neutral(), ids=lambda model: model.name)
def test_a_bank_restores_a_signal_but_for_rounded_weights(model):
    signal = np.random.default_rng(2).normal(0, 1000, (2, 4 * model.period)).astype(np.float32)
    amplitudes = [np.rint(each.astype(np.float64) * 128) for each in similarity(model, signal)]
    restored = synthesise(model, amplitudes) * 2.0 ** -(WEIGHT_FRACTION_BITS + 7)
    np.testing.assert_allclose(restored, signal, atol=0.5)


@pytest.mark.parametrize("model", [SMALL, LONG, LAPPED, DYADIC], ids=lambda model: model.name)
def test_synthesis_is_the_adjoint_of_similarity(model):
    rng = np.random.default_rng(3)
    length = 2 * model.period
    signal = rng.integers(-100, 100, (1, length)).astype(np.float32)
    amplitudes = random_amplitudes(model, length, 1, rng, peak=100)
    left = sum(
        float((one.astype(np.float64) * other).sum())
        for one, other in zip(similarity(model, signal), amplitudes, strict=True)
    )
    right = float((signal * synthesise(model, amplitudes)).sum()) * 2.0**-WEIGHT_FRACTION_BITS
    scale = np.linalg.norm(signal) * np.sqrt(sum((each**2).sum() for each in amplitudes))
    assert abs(left - right) < 1e-4 * scale


@pytest.mark.parametrize("model", [SMALL, LONG, LAPPED, DYADIC], ids=lambda model: model.name)
def test_a_signal_moved_by_a_period_moves_its_windows(model):
    signal = np.random.default_rng(4).normal(0, 1, (1, 3 * model.period)).astype(np.float32)
    moved = similarity(model, np.roll(signal, model.period, axis=1))
    for group, before, after in zip(model.groups, similarity(model, signal), moved, strict=True):
        np.testing.assert_allclose(after, np.roll(before, model.period // group.stride, axis=1), atol=1e-4)


def test_no_signals_give_no_samples():
    amplitudes = [np.zeros((0, 4, group.n_kernels)) for group in SMALL.groups]
    assert synthesise(SMALL, amplitudes).shape == (0, 4 * SMALL.groups[0].stride)


def test_synthesis_near_the_bound_is_exact():
    peak = (1 << 50) // SMALL.peak_gain
    rng = np.random.default_rng(5)
    length = 4 * SMALL.period
    amplitudes = [
        rng.choice([-peak, peak - 1], (1, length // group.stride, group.n_kernels)).astype(np.float64)
        for group in SMALL.groups
    ]
    expected = sum(
        np.einsum("swk,wkn->sn", amplitude.astype(object), dense(group, length).astype(object))
        for group, amplitude in zip(SMALL.groups, amplitudes, strict=True)
    )
    assert synthesise(SMALL, amplitudes)[0].astype(np.int64).tolist() == [int(value) for value in expected[0]]
