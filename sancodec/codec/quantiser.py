"""Uniform quantisation of a channel's coefficients, with rate-distortion optimised rounding.

Bands are coded from coarse to fine; each takes its rounding thresholds from the activity classes that the
decoder will derive, so the rates are those of the class coder's own tables. ``(band)`` lists hold arrays of
shape ``(chunk, window)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.band_rounding import N_EXACT, BandErrors, errors_of, plain_natively, round_band
from sancodec.codec.contexts import (
    CLASS_SHIFT,
    ESCAPE,
    MAX_PHASE_CODE,
    MAX_SCALE_CODE,
    N_CLASSES,
    N_PHASES,
    SCALE_OFFSET,
    BandParents,
    ContextModel,
    Profile,
    known_of,
)
from sancodec.codec.kernels import Model
from sancodec.codec.rans import PROBABILITY_BITS

OFFSET_UNIT = 128
DEAD_ZONE_ROUNDING = 0.38
_DEFAULT_OFFSETS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Step:
    """Quantiser step ``mantissa * 2**exponent`` in stored units; the mantissa has 12 bits."""

    mantissa: int
    exponent: int

    @property
    def value(self) -> float:
        return float(self.mantissa * 2.0**self.exponent)

    @classmethod
    def nearest(cls, value: float) -> Step:
        mantissa, exponent = np.frexp(value)
        rounded = int(np.rint(mantissa * 4096))
        return cls(2048, int(exponent) - 11) if rounded == 4096 else cls(rounded, int(exponent) - 12)


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Coefficients of one channel over chunks of one length, as magnitudes and signs.

    Parameters
    ----------
    absolute
        Per band, float32 ``(chunk, window)``, in stored units.
    negative
        Per band, bool ``(chunk, window)``.
    peaks
        Largest magnitude of each band.
    """

    absolute: list[NDArray[np.float32]]
    negative: list[NDArray[np.bool_]]
    peaks: list[float]

    @classmethod
    def of(cls, coefficients: list[NDArray[np.float32]]) -> Bands:
        absolute = [np.abs(band) for band in coefficients]
        return cls(absolute, [band < 0 for band in coefficients], [float(band.max(initial=0)) for band in absolute])


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """Coefficients of one channel over chunks of one length.

    Parameters
    ----------
    magnitudes
        Per band, int32 ``(chunk, window)``.
    negative
        Per band, bool ``(chunk, window)``; meaningful where the magnitude is not 0.
    classes
        Per band, uint8 ``(chunk, window)``.
    """

    magnitudes: list[NDArray[np.int32]]
    negative: list[NDArray[np.bool_]]
    classes: list[NDArray[np.uint8]]


@dataclass(slots=True)
class ErrorSums:
    """Sums of the error u − |q|, in steps, by |q| = 0, 1, 2 and ≥ 3: enough for centroids and distortion.

    Parameters
    ----------
    squares
        Σ(u − |q|)² over all coefficients.
    errors, counts
        Σ(u − |q|) and how many, shape ``(4,)``; kind 0 is not filled.
    """

    squares: float = 0.0
    errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))

    def add(self, scaled: NDArray[np.float32], used: NDArray[np.int64], values: NDArray[np.int32]) -> None:
        """Take in a band: u, where |q| is not 0, and |q| there. Overwrites ``scaled``."""
        self.add_parts(errors_of(scaled, used, values))

    def add_parts(self, parts: BandErrors) -> None:
        """Take in a band."""
        self.squares += float(np.vdot(parts.dropped, parts.dropped)) + float(np.vdot(parts.kept, parts.kept))
        self.errors += parts.sums
        self.counts += parts.counts

    def offsets(self) -> tuple[int, int, int]:
        """Centroids of |q| = 1, 2 and ≥ 3, as the distance below |q| in 1/128 steps."""
        mean = -self.errors / np.maximum(self.counts, 1) * OFFSET_UNIT
        first, second, third = (int(np.clip(np.rint(value), 0, 63)) for value in mean[1:])
        return first, second, third

    def squared_error(self, step: float, offsets: tuple[int, int, int]) -> float:
        """Squared error of the reconstruction, in squared stored units."""
        levels = np.array([0, *offsets]) / OFFSET_UNIT
        return max(float(self.squares + 2 * levels @ self.errors + levels**2 @ self.counts), 0.0) * step**2


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """Bits and rounding thresholds of every class, for one Lagrange multiplier.

    Parameters
    ----------
    bits
        float64, shape ``(class, magnitude)``, sign included, for magnitudes below 24.
    thresholds
        float32, flattened ``(class, magnitude)``: below it, magnitude + 1 is rounded down to magnitude.
    """

    bits: NDArray[np.float64]
    thresholds: NDArray[np.float32]


@lru_cache(maxsize=32)
def magnitude_bits(contexts: ContextModel, weight_set: int) -> NDArray[np.float64]:
    """Code length of magnitudes 0…23 in every class, sign included; float64 ``(class, magnitude)``."""
    with np.errstate(divide="ignore"):
        table = PROBABILITY_BITS - np.log2(contexts.frequencies[weight_set].astype(np.float64))  # (class, symbol)
    bits = np.zeros((N_CLASSES, N_EXACT))
    for activity in range(N_CLASSES):
        shift = int(CLASS_SHIFT[activity])
        n_direct = contexts.n_direct[weight_set, activity]
        for magnitude in range(N_EXACT):
            symbol = magnitude >> shift
            if symbol < n_direct:
                cost = table[activity, symbol]
            else:
                excess = symbol - n_direct + 1
                cost = table[activity, ESCAPE] + 2 * int(excess).bit_length() - 1
            bits[activity, magnitude] = cost + shift + (magnitude > 0)
    return bits


def rounding_of(
    contexts: ContextModel, *, multiplier: float, weight_set: int, offsets: tuple[int, int, int] = _DEFAULT_OFFSETS
) -> Rounding:
    """Thresholds that minimise (u - r)² + multiplier · bits, u and r in steps."""
    bits = magnitude_bits(contexts, weight_set)
    levels = np.arange(N_EXACT, dtype=np.float64)
    levels[1] -= offsets[0] / OFFSET_UNIT
    levels[2] -= offsets[1] / OFFSET_UNIT
    levels[3:] -= offsets[2] / OFFSET_UNIT
    gap = np.diff(levels)
    thresholds = (levels[1:] + levels[:-1]) / 2 + multiplier * np.diff(bits, axis=1) / (2 * gap)
    floor = np.arange(N_EXACT - 1) + 0.5
    thresholds = np.clip(thresholds, floor, floor + 1)
    return Rounding(bits, np.pad(thresholds, ((0, 0), (0, 1)), mode="edge").astype(np.float32).ravel())


def quantise(
    bands: Bands, model: Model, base_at: list[NDArray[np.int32]], *, weight_set: int, step: float, rounding: Rounding
) -> tuple[Quantised, ErrorSums]:
    """Quantise band after band. Bands without a coefficient get class 0 everywhere.

    Parameters
    ----------
    base_at
        Per band, int32 ``(chunk, window)``: the profile's share of the expected magnitude, in 1/256.
    """
    parents = BandParents(model.contexts, weight_set)
    magnitudes, classes = [], []
    n_direct = model.contexts.n_direct[weight_set]
    inverse = np.float32(1 / step)
    sums = ErrorSums()
    for band, (absolute, base) in enumerate(zip(bands.absolute, base_at, strict=True)):
        stride = model.band_strides[band]
        if bands.peaks[band] * inverse < 0.5:
            magnitude, activity = np.zeros(absolute.shape, np.int32), np.zeros(absolute.shape, np.uint8)
            parents.push(stride, None)
            sums.add(absolute * inverse, np.zeros(0, np.int64), np.zeros(0, np.int32))
        else:
            rounded = round_band(absolute, inverse, parents, (band, stride, base), rounding.thresholds, n_direct)
            magnitude, activity = rounded.magnitude, rounded.activity
            parents.push(stride, rounded.known)
            sums.add_parts(rounded.errors)
        magnitudes.append(magnitude)
        classes.append(activity)
    return Quantised(magnitudes, bands.negative, classes), sums


def classified(quantised: Quantised, model: Model, base_at: list[NDArray[np.int32]], *, weight_set: int) -> Quantised:
    """The same coefficients with the activity classes that a profile gives them."""
    parents = BandParents(model.contexts, weight_set)
    n_direct = model.contexts.n_direct[weight_set]
    classes = []
    for band, (magnitude, base) in enumerate(zip(quantised.magnitudes, base_at, strict=True)):
        activity = parents.classes(band, model.band_strides[band], base)
        parents.push(model.band_strides[band], known_of(magnitude, activity, n_direct))
        classes.append(activity)
    return Quantised(quantised.magnitudes, quantised.negative, classes)


def quantise_plain(bands: Bands, *, step: float) -> tuple[Quantised, ErrorSums]:
    """Dead-zone quantisation without classes: fast, and the start of the profile."""
    inverse = np.float32(1 / step)
    sums = ErrorSums()
    magnitudes = []
    for absolute in bands.absolute:
        if native.core is not None:
            magnitude, errors = plain_natively(absolute, inverse, DEAD_ZONE_ROUNDING)
            sums.add_parts(errors)
            magnitudes.append(magnitude)
            continue
        scaled = absolute * inverse
        magnitude = (scaled + np.float32(DEAD_ZONE_ROUNDING)).astype(np.int32)
        used = np.flatnonzero(magnitude)
        sums.add(scaled, used, magnitude.ravel()[used])
        magnitudes.append(magnitude)
    return Quantised(magnitudes, bands.negative, []), sums


def coded_bits(quantised: Quantised, rounding: Rounding, *, active: list[bool]) -> float:
    """Estimated size of the coefficients under the class coder, in bits."""
    total = 0.0
    for magnitude, activity, used in zip(quantised.magnitudes, quantised.classes, active, strict=True):
        if used:
            capped = np.minimum(magnitude, N_EXACT - 1)
            index = activity.astype(np.int32) * N_EXACT + capped
            total += float(rounding.bits.ravel()[index].sum())
            large = magnitude[magnitude >= N_EXACT]
            if len(large):
                total += float(2 * np.log2(large / (N_EXACT - 1)).sum())
    return total


def amplitudes_of(quantised: Quantised, offsets: tuple[int, int, int], model: Model) -> list[NDArray[np.float64]]:
    """Signed amplitudes in 1/128 steps, ±(128·|q| − offset): float64 holding integers, ``(chunk, window, kernel)``."""
    table = np.array([0, *offsets], np.float64)
    groups, band = [], 0
    for group in model.groups:
        n_chunks, n_windows = quantised.magnitudes[band].shape
        if native.core is not None:
            amplitudes = np.empty((n_chunks, n_windows, group.n_kernels))
            kernels = slice(band, band + group.n_kernels)
            native.core.amplitudes(
                native.contiguous(quantised.magnitudes[kernels]),
                native.contiguous(quantised.negative[kernels]),
                table,
                amplitudes,
            )
            groups.append(amplitudes)
            band += group.n_kernels
            continue
        amplitudes = np.zeros((n_chunks, n_windows, group.n_kernels))
        for kernel in range(group.n_kernels):
            magnitude = quantised.magnitudes[band].ravel()
            used = np.flatnonzero(magnitude)
            values = magnitude[used]
            amplitude = values * np.float64(OFFSET_UNIT) - table[np.minimum(values, 3)]
            np.negative(amplitude, out=amplitude, where=quantised.negative[band].ravel()[used])
            amplitudes.reshape(-1, group.n_kernels)[used, kernel] = amplitude
            band += 1
        groups.append(amplitudes)
    return groups


def profile_of(
    contexts: ContextModel,
    magnitudes: list[list[NDArray[np.int32]]],
    phases: list[list[NDArray[np.int64]]],
    *,
    with_phases: bool,
    weight_set: int = 0,
) -> Profile:
    """Mean magnitude per band, and its variation with the beat phase.

    Parameters
    ----------
    magnitudes, phases
        ``[part][band]`` arrays ``(chunk, window)``.
    with_phases
        False stores no phase profile.
    """
    n_bands = len(contexts.phase_groups)
    n_phases = N_PHASES + 1
    sums = np.zeros((n_bands, n_phases))
    counts = np.zeros((n_bands, n_phases))
    count = np.zeros(n_phases, np.int64)
    for part, part_phases in zip(magnitudes, phases, strict=True):
        for band in range(n_bands):
            phases_at = part_phases[band]
            if band == 0 or phases_at is not part_phases[band - 1]:
                count = np.bincount(phases_at.ravel(), minlength=n_phases)
            counts[band] += count
            if native.core is not None:
                of_band = np.empty(n_phases, np.int64)
                native.core.sums_by_phase(np.ascontiguousarray(part[band]), phases_at, of_band)
                sums[band] += of_band
                continue
            used = np.flatnonzero(part[band])
            if len(used):
                capped = np.minimum(part[band].ravel()[used], 4096)
                sums[band] += np.bincount(phases_at.ravel()[used], capped, n_phases)
    mean = sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    with np.errstate(divide="ignore"):
        codes = np.rint(4 * np.log2(mean)) + SCALE_OFFSET
    scale_codes = np.where(mean > 0, np.clip(codes, 1, MAX_SCALE_CODE), 0).astype(np.int64)
    phase_codes = np.zeros((contexts.n_phase_groups, n_phases), np.int64)
    if with_phases:
        for group in range(contexts.n_phase_groups):
            members = np.flatnonzero((contexts.phase_groups == group) & (mean > 0))
            if len(members):
                expected = (counts[members] * mean[members, None]).sum(axis=0)
                ratio = (sums[members].sum(axis=0) + 1) / (expected + 1)
                phase_codes[group] = np.clip(np.rint(2 * np.log2(ratio)), -MAX_PHASE_CODE, MAX_PHASE_CODE)
    return Profile(weight_set, scale_codes, phase_codes)
