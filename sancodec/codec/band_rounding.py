"""Round the coefficients of one band by the thresholds of their activity classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.contexts import BandParents, known_magnitude

N_EXACT = 24


@dataclass(frozen=True, slots=True, eq=False)
class BandErrors:
    """Errors u − |q| of a band, in steps.

    Parameters
    ----------
    dropped
        u where |q| is 0, and zeros elsewhere; float32, flat.
    kept
        u − |q| where |q| is not 0; float32, one after the other.
    sums, counts
        Σ(u − |q|) and how many by |q| = 0, 1, 2 and ≥ 3; float64, kind 0 is not filled.
    """

    dropped: NDArray[np.float32]
    kept: NDArray[np.float32]
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RoundedBand:
    """A band, ``(chunk, window)`` each: magnitudes, classes, and what the bands after it know of the magnitudes."""

    magnitude: NDArray[np.int32]
    activity: NDArray[np.uint8]
    known: NDArray[np.int32] | NDArray[np.uint8]
    errors: BandErrors


def errors_of(scaled: NDArray[np.float32], used: NDArray[np.int64], values: NDArray[np.int32]) -> BandErrors:
    """From u, where |q| is not 0, and |q| there. Overwrites ``scaled``."""
    flat = scaled.ravel()
    kept = flat[used] - values.astype(np.float32)
    flat[used] = 0
    kind = np.minimum(values, 3)
    sums = np.asarray(np.bincount(kind, kept, 4), np.float64)
    return BandErrors(flat, kept, sums, np.bincount(kind, minlength=4).astype(np.float64))


def round_band(
    absolute: NDArray[np.float32],
    inverse: np.float32,
    parents: BandParents,
    place: tuple[int, int, NDArray[np.int32]],
    thresholds: NDArray[np.float32],
    n_direct: NDArray[np.int32],
) -> RoundedBand:
    """Round a band.

    Parameters
    ----------
    inverse
        One over the step.
    place
        The band, its stride, and the profile's share of the expected magnitude, as for `BandParents.classes`.
    thresholds
        Flattened ``(class, magnitude)``: below it, magnitude + 1 is rounded down to magnitude.
    """
    if native.core is not None:
        return _round_natively(absolute, inverse, parents, place, thresholds, n_direct)
    scaled = absolute * inverse
    magnitude = np.zeros(scaled.shape, np.int32)
    activity = parents.classes(*place)
    used = np.flatnonzero(scaled >= np.float32(0.5))
    wanted = scaled.ravel()[used]
    values = (wanted + np.float32(0.5)).astype(np.int32)
    row = activity.ravel()[used].astype(np.int32) * N_EXACT
    values -= wanted < thresholds[row + np.minimum(values - 1, N_EXACT - 1)]
    values[wanted < thresholds[row]] = 0
    used, values = used[values > 0], values[values > 0]
    magnitude.ravel()[used] = values
    known = known_magnitude(magnitude, activity, n_direct, used)
    return RoundedBand(magnitude, activity, known, errors_of(scaled, used, values))


def _round_natively(
    absolute: NDArray[np.float32],
    inverse: np.float32,
    parents: BandParents,
    place: tuple[int, int, NDArray[np.int32]],
    thresholds: NDArray[np.float32],
    n_direct: NDArray[np.int32],
) -> RoundedBand:
    assert native.core is not None
    magnitude, activity = np.empty(absolute.shape, np.int32), np.empty(absolute.shape, np.uint8)
    known, dropped, kept = (
        np.empty_like(activity),
        np.empty(absolute.size, np.float32),
        np.empty(absolute.size, np.float32),
    )
    by_kind = np.empty((2, 4))
    n_used = native.core.quantise(
        *parents.of_band(*place),
        absolute,
        thresholds,
        n_direct,
        inverse,
        activity,
        magnitude,
        known,
        dropped,
        kept,
        by_kind,
    )
    return RoundedBand(magnitude, activity, known, BandErrors(dropped, kept[:n_used], *by_kind))


def plain_natively(
    absolute: NDArray[np.float32], inverse: np.float32, raised: float
) -> tuple[NDArray[np.int32], BandErrors]:
    """With the native core: magnitudes ⌊u + raised⌋, and their errors."""
    assert native.core is not None
    magnitude, by_kind = np.empty(absolute.shape, np.int32), np.empty((2, 4))
    dropped, kept = np.empty(absolute.size, np.float32), np.empty(absolute.size, np.float32)
    n_used = native.core.quantise_plain(absolute, inverse, raised, magnitude, dropped, kept, by_kind)
    return magnitude, BandErrors(dropped, kept[:n_used], *by_kind)
