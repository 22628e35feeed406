"""What a codec is asked to keep, how it is measured, and the search for the coarsest setting that keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Kind = Literal["prdn", "max_error", "lossless"]


def prdn(x: IntArray, decoded: IntArray) -> float:
    """Normalised percentage root-mean-square difference, ``100 * ||x - decoded|| / ||x - mean(x)||``.

    A constant lead has no denominator: 0 if it came back exactly, infinity otherwise.
    """
    error = float(np.linalg.norm((x - decoded).astype(np.float64)))
    spread = float(np.linalg.norm(x - x.mean()))
    if spread == 0:
        return 0.0 if error == 0 else math.inf
    return 100 * error / spread


def max_error_adu(x: IntArray, decoded: IntArray) -> int:
    """Largest absolute difference in stored units."""
    return int(np.abs(x - decoded).max(initial=0))


@dataclass(frozen=True, slots=True)
class Target:
    """A promise on the decoded integers of each lead: PRDN in percent, error bound in stored units, or exactness."""

    kind: Kind
    value: float = 0.0

    def error(self, x: IntArray, decoded: IntArray) -> float:
        return prdn(x, decoded) if self.kind == "prdn" else float(max_error_adu(x, decoded))

    def allowed_rmse(self, x: IntArray) -> float:
        """Root-mean-square error to expect at this target: where searches start."""
        return max(self.value * float(x.std()) / 100 if self.kind == "prdn" else self.value / 4, 1e-3)


def coarsest_setting(
    error_at: Callable[[float], float], *, target: Target, start: float, precision: float = 5e-4, trials: int = 40
) -> float:
    """Return the coarsest setting (step, error bound) found whose error stays within the target.

    Bracketed secant on the logarithms, every third step a bisection. A PRDN within ``precision`` below the target ends
    the search; an error bound, being an integer, only ends it when the bracket has closed to half a percent.

    Raises
    ------
    ValueError
        No setting tried kept the target.
    """
    aim = target.value * (1 - precision / 2)
    good: tuple[float, float] | None = None
    bad: tuple[float, float] | None = None
    setting = start
    for trial in range(trials):
        error = error_at(setting)
        if error <= target.value:
            good = (setting, error)
            if target.kind == "prdn" and error >= target.value * (1 - precision):
                break
        else:
            bad = (setting, error)
        if good is not None and bad is not None:
            if bad[0] / good[0] < (1 + 1e-6 if target.kind == "prdn" else 1.005):
                break
            share = 0.5
            if trial % 3 != 2 and 0 < good[1] < aim:
                share = math.log(aim / good[1]) / math.log(bad[1] / good[1])
            setting = good[0] * (bad[0] / good[0]) ** min(max(share, 0.02), 0.98)
        elif setting > start * 1e9:
            break
        else:
            # the factor pushes past the target, so that a bracket forms even where the error hardly moves
            factor = aim / error if error > 0 else 4.0
            setting *= min(max(factor * (1.002 if good else 0.998), 0.2), 4.0)
    if good is None:
        raise ValueError(f"no setting from {start:.3g} on keeps {target.kind} {target.value:g}; last error {error:.3g}")
    return good[0]
