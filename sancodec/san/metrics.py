"""The φ metric of arXiv:1907.06592, section II: how verbose and how inaccurate a network's description of signals is.

Arrays of signals are ``(window, 1, sample)`` or ``(window, 1, row, column)``; every function but the mean gives one
value per window, float64 of shape ``(window,)``. The published code differs in one point: of kernels of two dimensions
it counts the rows only, where equation 2 counts all samples, as is done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError
from sancodec.san.network import SparselyActivatedNetwork

PerWindow = NDArray[np.float64]
Loss = Callable[[NDArray[Any], NDArray[Any]], PerWindow]


@dataclass(frozen=True, slots=True)
class Score:
    """Means over a set of windows.

    Parameters
    ----------
    inverse_ratio
        CR⁻¹, eq. 4: numbers of the description per sample; below 1 it is shorter than the signal.
    normalised_loss
        L̃, eq. 5: 0 is exact, 1 as bad as no reconstruction.
    phi
        φ̄, eq. 7: the mean of φ, which is not the φ of the means.
    """

    inverse_ratio: float
    normalised_loss: float
    phi: float

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, (self.inverse_ratio, self.normalised_loss, self.phi)))


def mae(reconstruction: NDArray[Any], signals: NDArray[Any]) -> PerWindow:
    """Mean absolute error of each window, in units of the signals: L of equation 14 of arXiv:1907.06592."""
    return _per_window(np.abs(_difference(reconstruction, signals)))


def mse(reconstruction: NDArray[Any], signals: NDArray[Any]) -> PerWindow:
    """Mean square error of each window, in squared units: the other loss that the text after equation 14 names."""
    return _per_window(_difference(reconstruction, signals) ** 2)


def normalised_loss(reconstruction: NDArray[Any], signals: NDArray[Any], *, loss: Loss = mae) -> PerWindow:
    """L̃(x̂, x) = L(x̂, x) / L(0, x), without unit. Equation 5 of arXiv:1907.06592.

    Raises
    ------
    InvalidSignalError
        When the shapes differ, or a window is 0 throughout: no error can be relative to that.
    """
    of_nothing = loss(np.zeros_like(signals), signals)
    if not of_nothing.all():
        index = int(np.flatnonzero(of_nothing == 0)[0])
        raise InvalidSignalError(f"window {index}, counted from 0, is 0 throughout; its normalised loss is undefined")
    return loss(reconstruction, signals) / of_nothing


def n_weights(kernels: Sequence[NDArray[Any]]) -> int:
    """W, the samples of all kernels. Equation 2 of arXiv:1907.06592."""
    return sum(kernel.size for kernel in kernels)


def n_activations(activation_maps: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """A, the elements that are not 0 in all activation maps of each window. Equation 3 of arXiv:1907.06592."""
    counts = [np.count_nonzero(each.reshape(len(each), -1), axis=1) for each in activation_maps]
    total: NDArray[np.int64] = np.sum(counts, axis=0)
    return total


def compression_ratio(
    *, n_samples: int, n_weights: int, n_activations: NDArray[np.integer[Any]], n_dims: int
) -> PerWindow:
    """CR = n / (W + (dim(x) + 1) · A) of each window. Equation 4 of arXiv:1907.06592.

    An activation costs its amplitude and as many indices as the signal has dimensions.
    """
    return n_samples / (n_weights + (n_dims + 1.0) * np.asarray(n_activations, np.float64))


def phi(ratio: PerWindow, loss: PerWindow) -> PerWindow:
    """φ = ‖(CR⁻¹, L̃)‖₂ of each window: the smaller, the better. Equation 6 of arXiv:1907.06592.

    Parameters
    ----------
    ratio, loss
        What ``compression_ratio`` and ``normalised_loss`` give.
    """
    return np.hypot(1 / ratio, loss)


def mean_phi(values: PerWindow) -> float:
    """φ̄, the mean of φ over the windows of a set. Equation 7 of arXiv:1907.06592."""
    return float(np.mean(values))


def score(
    reconstruction: NDArray[Any],
    signals: NDArray[Any],
    *,
    n_weights: int,
    n_activations: NDArray[np.integer[Any]],
    loss: Loss = mae,
) -> Score:
    """Equations 4 to 7 over a set of windows, from its reconstruction and activations."""
    window = signals.shape[2:]
    ratio = compression_ratio(
        n_samples=math.prod(window), n_weights=n_weights, n_activations=n_activations, n_dims=len(window)
    )
    lost = normalised_loss(reconstruction, signals, loss=loss)
    return Score(float(np.mean(1 / ratio)), float(np.mean(lost)), mean_phi(phi(ratio, lost)))


def score_network(network: SparselyActivatedNetwork, signals: NDArray[Any], *, loss: Loss = mae) -> Score:
    """Equations 4 to 7 of what a network makes of a set of windows."""
    found = network.decompose(signals)
    return score(
        found.reconstruction,
        signals,
        n_weights=n_weights(network.kernels),
        n_activations=n_activations(found.activation_maps),
        loss=loss,
    )


LOSSES: dict[str, Loss] = {"mae": mae, "mse": mse}


def _difference(reconstruction: NDArray[Any], signals: NDArray[Any]) -> NDArray[np.float64]:
    if reconstruction.shape != signals.shape:
        raise InvalidSignalError(f"a reconstruction of shape {reconstruction.shape} for signals of {signals.shape}")
    if signals.ndim < 2 or not signals.size:
        raise InvalidSignalError(f"signals have shape {signals.shape}; (window, 1, …) is needed")
    return np.asarray(reconstruction, np.float64) - np.asarray(signals, np.float64)


def _per_window(errors: NDArray[np.float64]) -> PerWindow:
    means: PerWindow = errors.reshape(len(errors), -1).mean(axis=1)
    return means
