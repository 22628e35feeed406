"""Missing samples: runs that are stored apart and never averaged into the signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def missing_runs(samples: NDArray[np.int32], invalid: int | None) -> NDArray[np.int64]:
    """Runs of the invalid value; int64, shape ``(run, 2)``: first sample and length."""
    if invalid is None:
        return np.zeros((0, 2), np.int64)
    edges = np.flatnonzero(np.diff((samples == invalid).astype(np.int8), prepend=0, append=0))
    return np.stack([edges[::2], edges[1::2] - edges[::2]], axis=1)


def filled(samples: NDArray[np.int32], runs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Samples as float32 with straight lines across the missing runs."""
    signal = samples.astype(np.float32)
    if len(runs):
        missing = mask_of(runs, len(samples))
        known = np.flatnonzero(~missing)
        if len(known):
            gaps = np.flatnonzero(missing)
            signal[gaps] = np.interp(gaps, known, signal[known])
    return signal


def filled_integers(samples: NDArray[np.int32], runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples as int64 with rounded straight lines across the missing runs."""
    signal = samples.astype(np.int64)
    if len(runs):
        missing = mask_of(runs, len(samples))
        known, gaps = np.flatnonzero(~missing), np.flatnonzero(missing)
        if len(known):
            signal[gaps] = np.rint(np.interp(gaps, known, signal[known])).astype(np.int64)
    return signal


def mask_of(runs: NDArray[np.int64], n_samples: int) -> NDArray[np.bool_]:
    """Which samples are missing, shape ``(n_samples,)``."""
    change = np.zeros(n_samples + 1, np.int64)
    np.add.at(change, runs[:, 0], 1)
    np.add.at(change, runs[:, 0] + runs[:, 1], -1)
    return np.cumsum(change[:-1]) > 0


def runs_within(runs: NDArray[np.int64], first: int, length: int) -> NDArray[np.int64]:
    """Runs clipped to ``first … first + length``, relative to ``first``."""
    starts = np.clip(runs[:, 0] - first, 0, length)
    ends = np.clip(runs[:, 0] + runs[:, 1] - first, 0, length)
    clipped = np.stack([starts, ends - starts], axis=1)
    return clipped[clipped[:, 1] > 0]
