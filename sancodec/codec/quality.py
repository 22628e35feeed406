"""Distortion measures, in stored integer units per channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ChannelQuality:
    """What was lost in one channel; missing samples count nowhere.

    Parameters
    ----------
    prdn
        100·‖x − x̂‖/‖x − mean(x)‖; 0 for an exact channel, infinite for a wrong constant one.
    prd
        100·‖x − x̂‖/‖x − baseline‖.
    rmse, max_error
        In physical units.
    max_error_adu
        Largest error in stored units.
    snr_db
        −20·log10(prdn/100); infinite for an exact channel.
    """

    prdn: float
    prd: float
    rmse: float
    max_error: float
    max_error_adu: int
    snr_db: float


def _percent(error_energy: float, signal_energy: float) -> float:
    if error_energy == 0:
        return 0.0
    return 100 * math.sqrt(error_energy / signal_energy) if signal_energy > 0 else math.inf


def measure(
    original: NDArray[np.int32], decoded: NDArray[np.int32], *, gain: float, baseline: int, invalid: int | None
) -> ChannelQuality:
    """Compare one channel with its decoded samples, both ``(sample,)`` in stored units."""
    if invalid is not None:
        valid = original != invalid
        if not valid.all():
            original, decoded = original[valid], decoded[valid]
    if not len(original):
        return ChannelQuality(0.0, 0.0, 0.0, 0.0, 0, math.inf)
    signal = original.astype(np.float64)
    error = decoded.astype(np.float64) - signal
    error_energy = float(error @ error)
    centred = signal - signal.mean()
    raw = signal - baseline
    prdn = _percent(error_energy, float(centred @ centred))
    max_error_adu = int(np.abs(error).max())
    snr_db = math.inf if prdn == 0 else -20 * math.log10(prdn / 100) if math.isfinite(prdn) else -math.inf
    return ChannelQuality(
        prdn,
        _percent(error_energy, float(raw @ raw)),
        math.sqrt(error_energy / len(signal)) / abs(gain),
        max_error_adu / abs(gain),
        max_error_adu,
        snr_db,
    )
