"""Kernels of a trained network in the place of kernels learned from the channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import kernel_geometry
from sancodec.codec.detection import windows_at
from sancodec.errors import InvalidSignalError

_MAX_WAVES = 500


@dataclass(frozen=True, slots=True, eq=False)
class GivenKernels:
    """Shapes that events may have, whatever the channel.

    Parameters
    ----------
    shapes
        What an event of gain 1 adds, float, ``(position,)`` each; scale and sign do not matter.
    sampling_rate_hz
        At which the shapes are sampled.

    Raises
    ------
    InvalidSignalError
        When there is no shape, one has a single position or is 0 everywhere, or the rate is not above 0.
    """

    shapes: tuple[NDArray[np.float64], ...]
    sampling_rate_hz: float

    def __post_init__(self) -> None:
        if not self.shapes:
            raise InvalidSignalError("there are no kernels to compress with")
        if not 0 < self.sampling_rate_hz < float("inf"):
            raise InvalidSignalError(
                f"sampling_rate_hz of the kernels is {self.sampling_rate_hz!r}; it must be above 0"
            )
        for index, shape in enumerate(self.shapes):
            if shape.ndim != 1 or len(shape) < 2 or not np.isfinite(shape).all() or not shape.any():
                raise InvalidSignalError(
                    f"kernel {index} of shape {shape.shape} cannot be a beat: two or more finite positions are "
                    "needed, and not all of them 0"
                )

    def fitted(
        self, filtered: NDArray[np.float32], starts: NDArray[np.int64], *, sampling_rate_hz: float
    ) -> NDArray[np.float32]:
        """The shapes at another rate, each moved to where it matches the channel's median wave best, with that sign.

        What a shape has beyond the window of an event is cut off.

        Parameters
        ----------
        filtered
            High-passed samples of the channel, shape ``(sample,)``.
        starts
            First samples of the events' windows.
        sampling_rate_hz
            Of the channel.

        Returns
        -------
        float32 ``(kernel, position)``, unit norm.
        """
        length = kernel_geometry(sampling_rate_hz)[0]
        chosen = starts[:: max(1, len(starts) // _MAX_WAVES)]
        wave = np.median(windows_at(filtered, chosen, length), axis=0).astype(np.float64)
        return np.stack([_placed(self._at_rate(shape, sampling_rate_hz), wave) for shape in self.shapes])

    def _at_rate(self, shape: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.float64]:
        ratio = sampling_rate_hz / self.sampling_rate_hz
        if ratio == 1:
            return shape
        n_positions = max(2, round(len(shape) * ratio))
        at = np.linspace(0, len(shape) - 1, n_positions)
        return np.interp(at, np.arange(len(shape)), shape)


def _placed(shape: NDArray[np.float64], wave: NDArray[np.float64]) -> NDArray[np.float32]:
    """A shape in the window of a wave, where their normalised correlation is largest in magnitude."""
    length, n_positions = len(wave), len(shape)
    # At place p the shape begins at position p - (n_positions - 1) of the window.
    similarity = np.correlate(wave, shape, mode="full")
    energy = np.convolve(np.ones(length), shape[::-1] ** 2, mode="full")  # of what lies inside the window
    # Places at which little of the shape is left would match anything.
    is_inside = energy >= energy.max() / 2
    match = np.where(is_inside, np.abs(similarity) / np.sqrt(np.maximum(energy, np.finfo(float).tiny)), -1.0)
    place = int(match.argmax())
    window = np.zeros(length)
    first = place - (n_positions - 1)
    low, high = max(first, 0), min(first + n_positions, length)
    window[low:high] = shape[low - first : high - first]
    sign = -1.0 if similarity[place] < 0 else 1.0
    placed: NDArray[np.float32] = (sign * window / np.linalg.norm(window)).astype(np.float32)
    return placed
