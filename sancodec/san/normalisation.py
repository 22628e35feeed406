"""How stored samples become what a network sees, and what the model file keeps of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

WINDOW, RANGE, PEAK, NONE = ("window", "range", "peak", "none")
KINDS = (WINDOW, RANGE, PEAK, NONE)
_BLOCK_WINDOWS = 4096


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``(x - offset) / scale``.

    Parameters
    ----------
    kind
        ``window``: every window to zero mean and unit variance (divisor n - 1), as section IV-A of arXiv:1907.06592 has
        it for PhysioNet; offset and scale are its own then. ``range``: the whole set to -1…1 (the published code for
        UCI-epilepsy). ``peak``: the whole set by its largest magnitude (the published code for MNIST, whose largest is
        255). ``none``: as it is.
    offset, scale
        In stored units; 0 and 1 for ``window`` and ``none``.

    Raises
    ------
    InvalidSignalError
        When the kind is unknown, or offset and scale are not what it allows.
    """

    kind: str = WINDOW
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidSignalError(f"normalisation {self.kind!r} is unknown; known are {', '.join(KINDS)}")
        is_finite = math.isfinite(self.offset) and math.isfinite(self.scale)
        if not is_finite or self.scale <= 0:
            raise InvalidSignalError(
                f"normalisation has offset {self.offset} and scale {self.scale}; scale must be > 0"
            )
        if (self.kind in (WINDOW, NONE) and (self.offset, self.scale) != (0, 1)) or (self.kind == PEAK and self.offset):
            raise InvalidSignalError(f"normalisation {self.kind} has no offset {self.offset} and scale {self.scale}")

    def __call__(self, windows: NDArray[Any]) -> NDArray[np.float32]:
        """Normalised windows, float32 of the same shape ``(window, …)``; computed as float64.

        Raises
        ------
        InvalidSignalError
            When the kind is ``window`` and one is constant.
        """
        result = np.empty(windows.shape, np.float32)
        for first in range(0, len(windows), _BLOCK_WINDOWS):
            values = windows[first : first + _BLOCK_WINDOWS].astype(np.float64)
            result[first : first + _BLOCK_WINDOWS] = (
                _standardised(values, first) if self.kind == WINDOW else (values - self.offset) / self.scale
            )
        return result


def fit_normalisation(kind: str, windows: NDArray[Any]) -> Normalisation:
    """The normalisation of a kind for a set of windows that are finite and not constant.

    Raises
    ------
    InvalidSignalError
        When the kind is unknown.
    """
    if kind not in (RANGE, PEAK):
        return Normalisation(kind)
    low, high = float(windows.min()), float(windows.max())
    if kind == PEAK:
        return Normalisation(kind, scale=max(abs(low), abs(high)))
    return Normalisation(kind, offset=(low + high) / 2, scale=(high - low) / 2)


def _standardised(values: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    axes = tuple(range(1, values.ndim))
    values = values - values.mean(axis=axes, keepdims=True)
    deviation = values.std(axis=axes, ddof=1, keepdims=True)
    if not (deviation > 0).all():
        index = first + int(np.flatnonzero(~(deviation.reshape(-1) > 0))[0])
        raise InvalidSignalError(f"window {index}, counted from 0, is constant; it cannot be scaled to unit variance")
    standardised: NDArray[np.float64] = values / deviation
    return standardised
