"""Rescaled recordings: stored values that are all the rounded multiples of some step, and are coded as multiples.

A converter's numbers that were scaled to other units and rounded again use only some of the integers. The multiple k
says as much as the value does, in fewer bits (docs/format.md, "Lattice").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.event_stream import Exceptions
from sancodec.codec.recording import Channel

MAX_SHIFT = 22
MIN_STEP, MAX_STEP = 1.4, 512.0
MAX_NUMERATOR = 1 << 32
_MAX_RANGE = 1 << 20
_MIN_VALUES = 16
_MAX_USED_SHARE = 0.85
_N_PEAKS = 4
_EXCEPTION_BITS = 30.0
_MAX_EXCEPTIONS = 0.002
_LEAST_SAVING_BITS = 400.0
_LIKELY_UNITS = (9, 12, 20, 100, 1000, 10_000, 256, 4096)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Values ``k · numerator · 2**-shift``, rounded half up, or truncated towards zero."""

    numerator: int
    shift: int
    is_truncated: bool

    @property
    def step(self) -> float:
        return self.numerator * 2.0**-self.shift

    def values(self, multiples: NDArray[np.integer]) -> NDArray[np.int64]:
        """Values of the multiples."""
        product = multiples.astype(np.int64) * np.int64(self.numerator)
        if self.is_truncated:
            truncated: NDArray[np.int64] = np.sign(product) * (np.abs(product) >> self.shift)
            return truncated
        return (product + ((1 << self.shift) >> 1)) >> self.shift

    def multiples(self, values: NDArray[np.integer]) -> NDArray[np.int64]:
        """The multiples whose values are nearest."""
        values = values.astype(np.int64)
        nearest = np.rint(values / self.step).astype(np.int64)
        if self.is_truncated:
            # A truncated multiple lies up to one below: try the next further from zero.
            further = nearest + np.sign(values)
            fits_further = (self.values(nearest) != values) & (self.values(further) == values)
            return np.where(fits_further, further, nearest)
        return nearest


def find_lattice(samples: NDArray[np.int32]) -> Lattice | None:
    """The lattice of a channel's valid samples, if coding them on it saves bits.

    The histogram of occurring values has a line at the frequency 1/step.
    """
    if not len(samples):
        return None
    low, high = int(samples.min()), int(samples.max())
    if not _MIN_VALUES < high - low < _MAX_RANGE:
        return None
    counts = np.bincount(samples.astype(np.int64) - low)
    used = np.flatnonzero(counts)
    if len(used) < _MIN_VALUES or len(used) > _MAX_USED_SHARE * len(counts):
        return None
    values, weights = used + low, counts[used]
    best, best_saving = None, _LEAST_SAVING_BITS
    for step in _candidate_steps(counts > 0):
        for lattice in _refined(values, step):
            wrong = int(weights[lattice.values(lattice.multiples(values)) != values].sum())
            saving = len(samples) * np.log2(lattice.step) - _EXCEPTION_BITS * wrong
            if wrong <= _MAX_EXCEPTIONS * len(samples) and saving > best_saving:
                best, best_saving = lattice, saving
    return best


def _candidate_steps(occurs: NDArray[np.bool_]) -> Iterator[float]:
    """Steps at the strongest lines of the histogram's spectrum."""
    length = 1 << int(np.ceil(np.log2(8 * len(occurs))))
    centred = occurs - occurs.mean()
    spectrum = np.abs(np.fft.rfft(centred * np.hanning(len(occurs)), length))
    spectrum[: max(2, length // int(2 * MAX_STEP))] = 0
    for _ in range(_N_PEAKS):
        peak = int(np.argmax(spectrum))
        frequency = peak / length
        # Steps below 2 show at the mirrored frequency.
        for candidate in (frequency, 1 - frequency):
            if candidate > 0 and MIN_STEP <= 1 / candidate <= MAX_STEP:
                yield 1 / candidate
        spectrum[max(0, peak - 24) : peak + 25] = 0


def _refined(values: NDArray[np.int64], step: float) -> Iterator[Lattice]:
    """Lattices near a step: least squares over values of growing magnitude, rounded or truncated."""
    order = np.argsort(np.abs(values), kind="stable")
    for is_truncated in (False, True):
        shift = values + 0.5 * np.sign(values) if is_truncated else values.astype(np.float64)
        fitted = step
        for count in sorted({min(len(values), 1 << power) for power in range(4, 22)}):
            near = order[:count]
            multiples = np.rint(shift[near] / fitted)
            energy = float(multiples @ multiples)
            if energy:
                fitted = float(shift[near] @ multiples) / energy
        # A step that someone chose is more likely than one that merely fits.
        chosen = {fitted, *(round(fitted * unit) / unit for unit in _LIKELY_UNITS)}
        for each in chosen:
            if MIN_STEP <= each <= MAX_STEP:
                yield Lattice(round(each * (1 << MAX_SHIFT)), MAX_SHIFT, is_truncated)


@dataclass(frozen=True, slots=True, eq=False)
class OnLattice:
    """A channel's samples as multiples of a step, int32 ``(sample,)``; missing ones are marked as before."""

    lattice: Lattice
    multiples: NDArray[np.int32]
    exceptions: Exceptions


def on_lattice(channel: Channel, samples: NDArray[np.int32], bound: int) -> OnLattice | None:
    """A channel's samples on their lattice, where they have one whose step is beyond the bound on the error."""
    valid = np.ones(len(samples), bool) if channel.invalid is None else samples != channel.invalid
    lattice = find_lattice(samples[valid])
    if lattice is None or lattice.step <= bound:
        return None
    multiples = lattice.multiples(samples)
    if multiples[valid].min() < channel.minimum or multiples[valid].max() > channel.maximum:
        return None
    difference = np.where(valid, samples - lattice.values(multiples), 0)
    positions = np.flatnonzero(difference)
    marked = multiples if channel.invalid is None else np.where(valid, multiples, channel.invalid)
    return OnLattice(lattice, marked.astype(np.int32), Exceptions(positions, difference[positions]))
