"""Expected magnitude of every coefficient, from what the decoder knows before it: the activity class.

Integer arithmetic only, the same in encoder and decoder (docs/format.md, "Activity classes"). A band is one
kernel of one group; bands run from coarse to fine, and a band's parents are the two bands before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.mixing_model import MixingModel

N_PHASES = 24
NO_PHASE = N_PHASES
PHASES_PER_KERNEL = 16
N_CLASSES = 28
N_SYMBOLS = 17
ESCAPE = N_SYMBOLS - 1
SCALE_OFFSET = 41
MAX_SCALE_CODE = 95
MAX_PHASE_CODE = 15
_MAX_EXPECTED = (1 << 14) - 1
MAX_MAGNITUDE = 63
_QUARTER_POWERS = np.array([65536, 77936, 92682, 110218], np.int64)  # round(2**(16 + k/4))


def _class_of_expected() -> NDArray[np.uint8]:
    expected = np.arange(_MAX_EXPECTED + 1, dtype=np.int64)
    exponent = np.maximum(np.frexp(expected.astype(np.float64))[1] - 1, 0)
    upper_half = expected * expected >= (np.int64(2) << (2 * exponent))
    classes: NDArray[np.uint8] = np.minimum(2 * exponent + upper_half, N_CLASSES - 1).astype(np.uint8)
    return classes


CLASS_OF_EXPECTED = _class_of_expected()
CLASS_SHIFT = np.maximum(0, np.arange(N_CLASSES) // 2 - 10)
_FIRST_SHIFTED_CLASS = 22


@dataclass(frozen=True, eq=False)
class ContextModel:
    """What a model ships for the class coder and for coder 2.

    Parameters
    ----------
    band_weights
        uint16, shape ``(set, band, 4)``, in 1/256: weight of the profile, of the parent at the same time, of its two
        neighbours, and of the grandparent with its neighbours (2, 1, 1). A channel uses one set: steady signals
        rely on the profile, bursty ones on the parents.
    phase_groups
        uint8, shape ``(band,)``: which row of the phase profile a band uses.
    frequencies
        uint16, shape ``(set, N_CLASSES, N_SYMBOLS)``; each row sums to 4096, the escape symbol is never 0.
    mixing
        Starting points of coder 2.
    """

    band_weights: NDArray[np.uint16]
    phase_groups: NDArray[np.uint8]
    frequencies: NDArray[np.uint16]
    mixing: MixingModel

    @property
    def n_weight_sets(self) -> int:
        return int(self.band_weights.shape[0])

    @property
    def n_phase_groups(self) -> int:
        return int(self.phase_groups.max()) + 1

    @cached_property
    def n_direct(self) -> NDArray[np.int32]:
        """How many symbols of each class stand for themselves; larger ones are escaped; ``(set, class)``."""
        unused = self.frequencies[:, :, :ESCAPE] == 0
        return np.where(unused.any(axis=2), unused.argmax(axis=2), ESCAPE).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Expected magnitudes of a channel, per band and beat phase, as stored in the file.

    Parameters
    ----------
    weight_set
        Which of the model's band weights the channel uses.
    scale_codes
        int64, shape ``(band,)``; 0: the band is all zero; otherwise quarter powers of 2, SCALE_OFFSET is 1.
    phase_codes
        int64, shape ``(phase group, N_PHASES + 1)``, half powers of 2, -MAX_PHASE_CODE to MAX_PHASE_CODE.
    """

    weight_set: int
    scale_codes: NDArray[np.int64]
    phase_codes: NDArray[np.int64]

    def with_all_bands(self) -> Profile:
        """The same with no band off: a band that is empty at one step may not be at the next."""
        return replace(self, scale_codes=np.maximum(self.scale_codes, 1))

    def expected(self, model: ContextModel) -> NDArray[np.int64]:
        """Expected magnitude in 1/256, shape ``(band, N_PHASES + 1)``."""
        quarter = self.scale_codes[:, None] - SCALE_OFFSET + 2 * self.phase_codes[model.phase_groups]
        shift = 8 - (quarter >> 2)  # 2**(q/4) * 2**8 = mantissa * 2**(q//4 - 8)
        mantissa = _QUARTER_POWERS[quarter & 3]
        expected = np.where(shift >= 0, mantissa >> np.clip(shift, 0, 62), mantissa << np.clip(-shift, 0, 16))
        capped: NDArray[np.int64] = np.minimum(expected, _MAX_EXPECTED)
        return capped

    def base(self, model: ContextModel) -> NDArray[np.int32]:
        """The profile's weighted share of the expected magnitude, in 1/256, shape ``(band, N_PHASES + 1)``."""
        weight = model.band_weights[self.weight_set, :, :1].astype(np.int64)
        base = (self.expected(model) * weight) >> 8
        base[self.scale_codes == 0] = 0
        return base.astype(np.int32)


def phases_of_windows(
    event_starts: list[NDArray[np.int64]], *, n_windows: int, stride: int, kernel_length: int
) -> NDArray[np.int64]:
    """Beat phase of each window's centre: time since the last event began, in 1/16 of a beat kernel.

    Parameters
    ----------
    event_starts
        Per chunk, int64, increasing, relative to the chunk.

    Returns
    -------
    int64, shape ``(chunk, window)``; NO_PHASE before the first event and long after the last.
    """
    counts = np.array([len(starts) for starts in event_starts])
    phases = np.full((len(event_starts), n_windows), NO_PHASE, np.int64)
    if not counts.sum():
        return phases
    if native.core is not None:
        joined = np.concatenate(event_starts)
        native.core.phases(joined, counts, n_windows, stride, kernel_length, phases)
        return phases
    centre = np.arange(n_windows, dtype=np.int64) * stride + stride // 2
    # All chunks in one search: each is moved beyond the reach of the one before.
    span = n_windows * stride + 2 * kernel_length
    shift = np.arange(len(event_starts), dtype=np.int64)[:, None] * span
    joined = np.concatenate([starts + offset for starts, offset in zip(event_starts, shift[:, 0], strict=True)])
    first = np.cumsum(counts) - counts
    last = np.searchsorted(joined, (centre + shift).ravel(), side="right").reshape(phases.shape) - 1
    since = centre + shift - joined[np.maximum(last, 0)]
    phase = since * PHASES_PER_KERNEL // kernel_length
    known = (last >= first[:, None]) & (phase < N_PHASES)
    phases[known] = phase[known]
    return phases


def with_neighbours(magnitude: NDArray[np.int32], centre_weight: int) -> NDArray[np.int32]:
    """``centre_weight`` times each magnitude plus both its neighbours in time, circular."""
    total = centre_weight * magnitude
    total[..., 1:] += magnitude[..., :-1]
    total[..., :1] += magnitude[..., -1:]
    total[..., :-1] += magnitude[..., 1:]
    total[..., -1:] += magnitude[..., :1]
    return total


def known_magnitude(
    magnitude: NDArray[np.int32], activity: NDArray[np.uint8], n_direct: NDArray[np.int32], used: NDArray[np.int64]
) -> NDArray[np.int32]:
    """A magnitude as far as its symbol tells: low bits 0, escaped ones as the smallest escaped value.

    Parameters
    ----------
    used
        Flat indices where the magnitude is not 0.
    """
    kind = activity.ravel()[used]
    values = magnitude.ravel()[used]
    if len(used) and kind.max() >= _FIRST_SHIFTED_CLASS:
        shift = CLASS_SHIFT[kind]
        values = np.minimum(values >> shift, n_direct[kind]) << shift
    else:
        values = np.minimum(values, n_direct[kind])
    known = np.zeros(magnitude.shape, np.int32)
    known.ravel()[used] = values
    return known


def known_of(
    magnitude: NDArray[np.int32], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
) -> NDArray[np.int32] | NDArray[np.uint8]:
    """The same for a whole band; the native core caps it as `BandParents.push` does."""
    if native.core is None:
        return known_magnitude(magnitude, activity, n_direct, np.flatnonzero(magnitude))
    known = np.empty(magnitude.shape, np.uint8)
    native.core.known(np.ascontiguousarray(magnitude), activity, n_direct, known)
    return known


class BandParents:
    """Magnitudes of the bands before the current one, ready to be read at its windows."""

    def __init__(self, model: ContextModel, weight_set: int) -> None:
        self._weights = model.band_weights[weight_set].astype(np.int32)
        self._previous: list[tuple[int, NDArray[np.uint8] | None]] = []

    def push(self, stride: int, magnitudes: NDArray[np.int32] | NDArray[np.uint8] | None) -> None:
        """Add the band just coded, ``(stream, window)``; None for one that is all zero."""
        capped = None if magnitudes is None else np.minimum(magnitudes, MAX_MAGNITUDE).astype(np.uint8, copy=False)
        self._previous = [(stride, capped), *self._previous[:1]]

    def of_band(
        self, band: int, stride: int, base_at: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], int, NDArray[np.uint8] | None, int, NDArray[np.uint8] | None, int, NDArray[np.int32]]:
        """What the native core needs to find the classes of a band."""
        mother, grandmother = [*self._previous, (stride, None), (stride, None)][:2]
        return (
            np.ascontiguousarray(base_at),
            base_at.shape[-1],
            mother[1],
            mother[0] // stride,
            grandmother[1],
            grandmother[0] // stride,
            self._weights[band],
        )

    def classes(self, band: int, stride: int, base_at: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Activity class at every window of ``band``; ``base_at`` is the profile's share there."""
        if native.core is not None:
            activity = np.empty(base_at.shape, np.uint8)
            native.core.activity(*self.of_band(band, stride, base_at), activity)
            return activity
        weights = self._weights[band]
        expected = base_at.copy()
        for generation, (parent_stride, capped) in enumerate(self._previous):
            if capped is None:
                continue
            magnitude = capped.astype(np.int32)
            if generation == 0:
                terms = weights[1] * magnitude
                if weights[2]:
                    terms += weights[2] * with_neighbours(magnitude, 0)
            elif weights[3]:
                terms = weights[3] * with_neighbours(magnitude, 2)
            else:
                continue
            ratio = parent_stride // stride
            expected += np.repeat(terms, ratio, axis=-1) if ratio > 1 else terms
        return CLASS_OF_EXPECTED[np.minimum(expected, _MAX_EXPECTED)]
