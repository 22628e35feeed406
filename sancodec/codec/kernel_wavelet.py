"""Beat kernels as coefficients of a wavelet, in integers: smooth shapes take a fraction of the bits of their samples.

The lifting steps are those of the biorthogonal 9/7 filters (Cohen, Daubechies, Feauveau 1992; Daubechies and Sweldens
1998), without their normalisation, which is in the scales of the bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import LimitExceededError

_Number = TypeVar("_Number", np.int64, np.float64)

MAX_COEFFICIENT_STEP = 4095
MAX_AMPLITUDE = (1 << 24) - 1
_MAX_HALVINGS = 8
_SHORTEST_LOW_BAND = 8
_SHIFT = 12
_HALF = 1 << (_SHIFT - 1)
# -1.586134342, -0.052980119, 0.882911076, 0.443506852
_ALPHA, _BETA, _GAMMA, _DELTA = -6497, -217, 3616, 1817
SCALE_BITS = 8
# 2**SCALE_BITS over the norm of what a coefficient adds: of the low band after so many halvings …
_LOW_SCALES = (256, 225, 191, 164, 142, 124, 108, 94, 81)
# … and of the high band that each halving leaves.
_HIGH_SCALES = (289, 260, 218, 187, 162, 140, 122, 106)
# Magnitudes below 1 - _ROUNDING steps become 0.
_ROUNDING = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class KernelCoefficients:
    """What a file stores of beat kernels.

    Parameters
    ----------
    step
        Of the quantiser, for a band of scale 1, in units of the weights; 1 to ``MAX_COEFFICIENT_STEP``.
    values
        Quantised coefficients, int64 ``(kernel, position)``, band after band as `band_lengths` has them.
    """

    step: int
    values: NDArray[np.int64]


def band_lengths(length: int) -> list[int]:
    """The low band, then the high bands from the last halving to the first."""
    low, high = length, list[int]()
    while low > _SHORTEST_LOW_BAND and len(high) < _MAX_HALVINGS:
        high.append(low // 2)
        low -= low // 2
    return [low, *reversed(high)]


def weights_of(coefficients: KernelCoefficients) -> NDArray[np.int64]:
    """Kernels that coefficients stand for, int64 ``(kernel, position)`` (docs/format.md, section "CODING").

    Raises
    ------
    LimitExceededError
    """
    amplitudes = coefficients.values * _band_steps(coefficients.step, coefficients.values.shape[1])
    if amplitudes.size and np.abs(amplitudes).max() > MAX_AMPLITUDE:
        raise LimitExceededError(
            f"a wavelet coefficient of {np.abs(amplitudes).max()} in a beat kernel; at most {MAX_AMPLITUDE} is allowed"
        )
    low, *high = _split(amplitudes)
    for each in high:
        low = _joined(low, each)
    return low


def quantised(weights: NDArray[np.float64], step: int) -> KernelCoefficients:
    """Coefficients of kernels ``(kernel, position)``, as near as a step allows."""
    low, high = weights, list[NDArray[np.float64]]()
    for _ in band_lengths(weights.shape[1])[1:]:
        low, each = _halved(low)
        high.append(each)
    found = np.concatenate([low, *reversed(high)], axis=1) / _band_steps(step, weights.shape[1])
    values = np.sign(found) * np.floor(np.abs(found) + _ROUNDING)
    return KernelCoefficients(step, values.astype(np.int64))


def _band_steps(step: int, length: int) -> NDArray[np.int64]:
    """What a coefficient of 1 stands for, at every position."""
    lengths = band_lengths(length)
    n_halvings = len(lengths) - 1
    scales = [_LOW_SCALES[n_halvings], *reversed(_HIGH_SCALES[:n_halvings])]
    steps = (step * np.array(scales) + (1 << (SCALE_BITS - 1))) >> SCALE_BITS
    return np.repeat(np.maximum(steps, 1), lengths)


def _split(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(rows, np.cumsum(band_lengths(rows.shape[1]))[:-1], axis=1)


def _around(high: NDArray[_Number], count: int) -> NDArray[_Number]:
    """Sum of what lies before and after each of so many low positions; the ends repeat."""
    wide = np.concatenate([high[:, :1], high, high[:, -1:]], axis=1)
    pairs: NDArray[_Number] = wide[:, :count] + wide[:, 1 : count + 1]
    return pairs


def _ahead(low: NDArray[_Number], count: int) -> NDArray[_Number]:
    """Sum of each low position and the next, for so many high positions; the end repeats."""
    wide = np.concatenate([low, low[:, -1:]], axis=1)
    pairs: NDArray[_Number] = wide[:, :count] + wide[:, 1 : count + 1]
    return pairs


def _joined(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    n_low, n_high = low.shape[1], high.shape[1]

    def scaled(factor: int, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        return (factor * sums + _HALF) >> _SHIFT

    low = low - scaled(_DELTA, _around(high, n_low))
    high = high - scaled(_GAMMA, _ahead(low, n_high))
    low = low - scaled(_BETA, _around(high, n_low))
    high = high - scaled(_ALPHA, _ahead(low, n_high))
    joined = np.empty((len(low), n_low + n_high), np.int64)
    joined[:, 0::2], joined[:, 1::2] = low, high
    return joined


def _halved(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = rows[:, 0::2], rows[:, 1::2]
    n_low, n_high = low.shape[1], high.shape[1]
    unit = 2.0**-_SHIFT
    high = high + _ALPHA * unit * _ahead(low, n_high)
    low = low + _BETA * unit * _around(high, n_low)
    high = high + _GAMMA * unit * _ahead(low, n_high)
    low = low + _DELTA * unit * _around(high, n_low)
    return low, high
