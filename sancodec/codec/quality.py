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


class QualityTotals:
    """Distortion of one channel, added up over consecutive pieces of it.

    Parameters
    ----------
    gain, baseline, invalid
        Of the channel; missing samples count nowhere.
    """

    def __init__(self, *, gain: float, baseline: int, invalid: int | None) -> None:
        self._gain = gain
        self._baseline = baseline
        self._invalid = invalid
        self._count = 0
        self._mean = 0.0
        self._deviation_energy = 0.0
        self._raw_energy = 0.0
        self._error_energy = 0.0
        self._max_error_adu = 0

    @property
    def count(self) -> int:
        """Valid samples so far."""
        return self._count

    @property
    def sample_energy(self) -> float:
        """Mean squared deviation from the mean."""
        return self._deviation_energy / max(self._count, 1)

    def add(self, original: NDArray[np.int32], decoded: NDArray[np.int32]) -> None:
        """Take in a piece, ``(sample,)`` each, in stored units."""
        if self._invalid is not None:
            valid = original != self._invalid
            if not valid.all():
                original, decoded = original[valid], decoded[valid]
        if not len(original):
            return
        signal = original.astype(np.float64)
        mean = float(signal.mean())
        centred = signal - mean
        # Energies about two means combine exactly (Chan, Golub, LeVeque 1979).
        total = self._count + len(signal)
        shift = mean - self._mean
        self._deviation_energy += float(centred @ centred) + shift**2 * self._count * len(signal) / total
        self._mean += shift * len(signal) / total
        self._count = total
        raw = signal - self._baseline
        self._raw_energy += float(raw @ raw)
        if decoded is not original:
            error = decoded.astype(np.float64) - signal
            self._error_energy += float(error @ error)
            self._max_error_adu = max(self._max_error_adu, int(np.abs(error).max()))

    def result(self) -> ChannelQuality:
        """Of everything so far."""
        if not self._count:
            return ChannelQuality(0.0, 0.0, 0.0, 0.0, 0, math.inf)
        prdn = _percent(self._error_energy, self._deviation_energy)
        snr_db = math.inf if prdn == 0 else -20 * math.log10(prdn / 100) if math.isfinite(prdn) else -math.inf
        return ChannelQuality(
            prdn,
            _percent(self._error_energy, self._raw_energy),
            math.sqrt(self._error_energy / self._count) / abs(self._gain),
            self._max_error_adu / abs(self._gain),
            self._max_error_adu,
            snr_db,
        )


def measure(
    original: NDArray[np.int32], decoded: NDArray[np.int32], *, gain: float, baseline: int, invalid: int | None
) -> ChannelQuality:
    """Compare one channel with its decoded samples, both ``(sample,)`` in stored units."""
    totals = QualityTotals(gain=gain, baseline=baseline, invalid=invalid)
    totals.add(original, decoded)
    return totals.result()
