"""A Sparsely Activated Network for inference: kernels, activations, maps and reconstruction, on NumPy arrays.

    s⁽ⁱ⁾ = x ∗ w⁽ⁱ⁾     α⁽ⁱ⁾ = φ⁽ⁱ⁾(s⁽ⁱ⁾)     r⁽ⁱ⁾ = α⁽ⁱ⁾ ∗ w⁽ⁱ⁾     x̂ = Σ r⁽ⁱ⁾

Equations 10 to 13 of arXiv:1907.06592. As in the code published with it, ∗ is cross-correlation both times, so that the
reconstruction shows every kernel reversed:

    s[t] = Σ_j w[j] · x[t + j − c]     r[t] = Σ_j w[j] · α[t + j − c]     c = ⌊(m − 1) / 2⌋

Signals are 0 beyond their ends: c zeros before the first sample and m − 1 − c after the last, so of an even kernel the
extra zero lies at the end, along both axes in two dimensions, for the similarity and for the reconstruction alike. A
kernel that is 1 at position c and 0 elsewhere gives back the signal in place. An even kernel that is symmetric gives
it back one sample earlier: each of the two passes moves it by half a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation, check_competition, competing_extrema

Array = TypeVar("Array")


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition(Generic[Array]):
    """What a network makes of signals: per kernel, three arrays of the shape of the signals; and their sum.

    Parameters
    ----------
    similarities
        s⁽ⁱ⁾, in units of the signal times those of the kernel.
    activation_maps
        α⁽ⁱ⁾, s⁽ⁱ⁾ where kernel i is active and 0 elsewhere.
    partial_reconstructions
        r⁽ⁱ⁾, in units of the signal.
    reconstruction
        x̂, their sum.
    """

    similarities: tuple[Array, ...]
    activation_maps: tuple[Array, ...]
    partial_reconstructions: tuple[Array, ...]
    reconstruction: Array


@dataclass(frozen=True, slots=True, eq=False)
class SparselyActivatedNetwork:
    """Kernels with an activation each.

    Parameters
    ----------
    kernels
        Floats, shape ``(position,)`` each, or ``(row, column)`` each; every one of its own size.
    activations
        As many.
    competing
        Whether kernels compete for territory: where one is active, no other is (``competing_extrema``).

    Raises
    ------
    InvalidSignalError
        When there is no kernel, one has no elements or not as many axes as the first, a weight is not finite, there
        are more or fewer activations, or one that competes is not ``extrema``.
    """

    kernels: tuple[NDArray[np.floating[Any]], ...]
    activations: tuple[Activation, ...]
    competing: bool = False

    def __post_init__(self) -> None:
        check_pairing(len(self.kernels), self.activations)
        if self.competing:
            check_competition(self.activations)
        for index, kernel in enumerate(self.kernels):
            if kernel.dtype.kind != "f" or kernel.ndim not in (1, 2) or kernel.ndim != self.n_dims or not kernel.size:
                raise InvalidSignalError(
                    f"kernel {index} is {kernel.dtype} of shape {kernel.shape}; kernels are floats of 1 or 2 "
                    "dimensions, all of as many"
                )
            if not np.isfinite(kernel).all():
                raise InvalidSignalError(f"kernel {index} has weights that are NaN or infinite")

    @property
    def n_dims(self) -> int:
        """1 for signals, 2 for images."""
        return self.kernels[0].ndim

    @property
    def sha256(self) -> bytes:
        """Digest of the kernels: for each its shape as text, then its weights as little-endian float64."""
        digest = hashlib.sha256()
        for kernel in self.kernels:
            digest.update("×".join(map(str, kernel.shape)).encode() + b"\n")
            digest.update(kernel.astype("<f8").tobytes())
        return digest.digest()

    def decompose(self, signals: NDArray[Any]) -> Decomposition[NDArray[Any]]:
        """Similarities, activation maps and reconstructions of signals.

        Parameters
        ----------
        signals
            Shape ``(…, sample)``, or ``(…, row, column)`` for kernels of two dimensions. float32 and float64 stay as
            they are, everything else is taken as float64; kernels are taken as the signals are.

        Raises
        ------
        InvalidSignalError
            When an axis is shorter than a kernel, samples are NaN or infinite, or an activation does not fit the shape.
        """
        if signals.dtype not in (np.float32, np.float64):
            signals = signals.astype(np.float64)
        check_signals(signals.shape, [kernel.shape for kernel in self.kernels], self.activations)
        if not np.isfinite(signals).all():
            raise InvalidSignalError(NOT_FINITE)
        weights = [kernel.astype(signals.dtype) for kernel in self.kernels]
        similarities = tuple(correlate(signals, each) for each in weights)
        maps = self._active(similarities)
        partials = tuple(correlate(each, kernel) for each, kernel in zip(maps, weights, strict=True))
        return Decomposition(similarities, maps, partials, _summed(partials))

    def _active(self, similarities: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], ...]:
        if self.competing:
            norms = [float(np.linalg.norm(kernel.astype(np.float64))) for kernel in self.kernels]
            return competing_extrema(similarities, self.activations, norms=norms, n_dims=self.n_dims)
        return tuple(
            activation(each, n_dims=self.n_dims)
            for activation, each in zip(self.activations, similarities, strict=True)
        )

    def reconstruct(self, activation_maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """x̂ from activation maps alone: what a decoder does. Equation 17 of arXiv:1907.06592.

        Raises
        ------
        InvalidSignalError
            When there are not as many maps as kernels, all of one shape that the kernels fit into.
        """
        if len(activation_maps) != len(self.kernels):
            raise InvalidSignalError(f"{len(activation_maps)} activation maps for {len(self.kernels)} kernels")
        shapes = {each.shape for each in activation_maps}
        if len(shapes) > 1:
            raise InvalidSignalError(f"activation maps have shapes {sorted(shapes)}; all need the same")
        maps = [each if each.dtype in (np.float32, np.float64) else each.astype(np.float64) for each in activation_maps]
        check_signals(maps[0].shape, [kernel.shape for kernel in self.kernels], self.activations)
        return _summed(
            [correlate(each, kernel.astype(each.dtype)) for each, kernel in zip(maps, self.kernels, strict=True)]
        )


NOT_FINITE = "signals have samples that are NaN or infinite; replace them first"


def zeros_around(length: int) -> tuple[int, int]:
    """Zeros before the first and after the last sample, for a kernel of a length."""
    before = (length - 1) // 2
    return before, length - 1 - before


def correlate(signals: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Cross-correlation over the last axis or the last two, as many as the kernel has; the shape stays."""
    batch = signals.ndim - kernel.ndim
    padded = np.pad(signals, [(0, 0)] * batch + [zeros_around(length) for length in kernel.shape])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=tuple(range(batch, signals.ndim)))
    result: NDArray[Any] = np.einsum("...j,j->..." if kernel.ndim == 1 else "...ij,ij->...", windows, kernel)
    return result


def _summed(partials: Sequence[NDArray[Any]]) -> NDArray[Any]:
    total = partials[0].copy()
    for partial in partials[1:]:
        total = total + partial
    return total


def check_pairing(n_kernels: int, activations: Sequence[Activation]) -> None:
    """Refuse a network without kernels, or whose kernels do not have an activation each."""
    if not n_kernels:
        raise InvalidSignalError("a network needs one kernel or more")
    if len(activations) != n_kernels:
        raise InvalidSignalError(f"{len(activations)} activations for {n_kernels} kernels; give one for each")


def check_signals(
    shape: tuple[int, ...], kernel_shapes: Sequence[tuple[int, ...]], activations: Sequence[Activation]
) -> None:
    """Refuse shapes of signals that are too small for a kernel or its activation."""
    n_dims = len(kernel_shapes[0])
    if len(shape) < n_dims:
        raise InvalidSignalError(f"signals of shape {shape} have fewer than the {n_dims} dimensions of the kernels")
    window = shape[len(shape) - n_dims :]
    for kernel, activation in zip(kernel_shapes, activations, strict=True):
        if any(length > n_samples for length, n_samples in zip(kernel, window, strict=True)):
            raise InvalidSignalError(
                f"window of {_size(window)} is shorter than the kernel of {_size(kernel)}; take longer windows"
            )
        activation.check(window)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) + " samples"
