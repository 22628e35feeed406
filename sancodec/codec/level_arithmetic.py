"""Levels of coefficients under coder 2, decision by decision (docs/format.md, "Coder 2").

The same as native/coefficient_mixing.c, which the tests compare it with. Plain integers: every decision waits for the
one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.mixing import (
    COUNT_BITS,
    RATE,
    SQUASH,
    STRETCH,
    STRETCH_LIMIT,
    WEIGHT_LIMIT,
    RangeCoder,
    limited,
    updated,
)
from sancodec.codec.mixing_model import (
    MAX_UNARY,
    N_ACTIVITIES,
    N_FINE_PHASES,
    N_INPUTS,
    N_KINDS,
    PRIOR_LENGTHS,
    SIGN_KIND,
    MixingModel,
    activity_shift,
    prior_start,
)
from sancodec.errors import CorruptError

TRELLIS = ((0, 1), (3, 2), (5, 4), (6, 7), (1, 0), (2, 3), (4, 5), (7, 6))
LEVEL_CLIP = 127
_MAX_OWN_BANDS = 64
_PRIOR_COUNTS = ((30, 10, 6, 3), (10, 3, 1, 2))
_COUNT_LIMIT = 255
_MIXER_RATE = 12
_MEAN_LIMIT = 32
_TAP_LIMIT = 1 << 18
_MAX_EXCESS_BITS = 28
_MAX_HIGH = 1 << 28
_PREDICTION_EDGES = (26, 51, 92, 154, 230, 358, 563, 870, 1331, 2048, 3584)
_NEAR_EDGES = (1, 2, 4, 7, 13, 23, 45)
_BY_ACTIVITY = 32


class MixingState:
    """What adapts while channels of one model and kind of signal are coded."""

    def __init__(self, mixing: MixingModel, weight_set: int, n_bands: int) -> None:
        n_bands = min(n_bands, _MAX_OWN_BANDS)
        prior = mixing.prior[weight_set].tolist()
        self.slots: list[list[list[int]]] = []
        for kind in range(N_KINDS):
            is_sign = kind == SIGN_KIND
            copies = (1, n_bands, n_bands * N_FINE_PHASES, n_bands) if is_sign else (1, 1, n_bands, n_bands * 49)
            of_kind = []
            for index, length in enumerate(PRIOR_LENGTHS[is_sign]):
                at, count = prior_start(kind, index), _PRIOR_COUNTS[is_sign][index]
                of_kind.append(
                    [SQUASH[2048 + 16 * each] << 16 | count for each in prior[at : at + length]] * copies[index]
                )
            self.slots.append(of_kind)
        weights = np.clip(mixing.mixer[weight_set], -WEIGHT_LIMIT, WEIGHT_LIMIT).tolist()
        self.by_group = [[list(weights[kind]) for _ in range(32)] for kind in range(N_KINDS)]
        self.by_activity = [[list(weights[kind]) for _ in range(N_ACTIVITIES)] for kind in range(N_KINDS)]


@dataclass(frozen=True, slots=True)
class LevelChannel:
    """One channel of one chunk, as plain lists; those over windows are ``[band][window]``."""

    strides: Sequence[int]
    groups: Sequence[int]
    is_on: Sequence[bool]
    expected: Sequence[Sequence[int]]
    phases: Sequence[Sequence[int]]
    terms: Sequence[Sequence[int]]
    taps: Sequence[Sequence[int]]
    other: Sequence[Sequence[int]] | None
    levels: list[list[int]]


def activity_of(expected: int) -> int:
    """Quarter octaves of an expected magnitude in 1/256."""
    if expected < 8:
        return max(expected, 0)
    shift = expected.bit_length() - 3
    return min(4 * shift + (expected >> shift), N_ACTIVITIES - 1)


@dataclass(slots=True)
class _Place:
    """What is known of a coefficient before it is coded."""

    band: int
    group: int
    phase: int = 0
    odd: int = 0
    activity: int = 0
    shift: int = 0
    near: int = 0
    prediction: int = 0
    x: list[int] = field(default_factory=list)


class LevelCoder:
    """Codes channel after channel with one range coder."""

    def __init__(self, coder: RangeCoder) -> None:
        self._coder = coder

    def channel(self, state: MixingState, channel: LevelChannel) -> None:
        """Code a channel; a decoder fills in its levels.

        Raises
        ------
        CorruptError
        """
        around: list[tuple[int, list[int]]] = []
        for band, stride in enumerate(channel.strides):
            if channel.is_on[band]:
                self._band(state, channel, band, around)
            elif self._coder.is_decoder:
                channel.levels[band][:] = [0] * len(channel.levels[band])
            around = [(stride, channel.levels[band]), *around[:1]]

    def _band(self, state: MixingState, channel: LevelChannel, band: int, around: list[tuple[int, list[int]]]) -> None:
        levels, phases = channel.levels[band], channel.phases[band]
        other = [] if channel.other is None else channel.other[band]
        terms, taps = channel.terms[band], list(channel.taps[band])
        means, met = [0] * N_FINE_PHASES, [0] * N_FINE_PHASES
        place = _Place(min(band, _MAX_OWN_BANDS - 1), channel.groups[band] % 16)
        trellis = 0
        for window in range(len(levels)):
            place.phase, place.odd = phases[window], trellis & 1
            seen = [_level(levels, window - 1 - lag) for lag in range(4)]
            for parent_stride, parent in (*around, *[(channel.strides[band], [])] * (2 - len(around))):
                above = window // (parent_stride // channel.strides[band])
                seen += [_level(parent, above + shift) for shift in (0, -1, 1)]
            seen += [_level(other, window + shift) for shift in (0, -1, 1)]
            place.x = [4 * each for each in seen] + [means[place.phase] >> 6]
            energy = sum(each * each for each in place.x)
            total = sum(tap * each for tap, each in zip(taps, place.x, strict=True))
            place.prediction = limited(total >> 10, LEVEL_CLIP << 8)
            m = [abs(each) for each in seen]
            expected = channel.expected[band][place.phase >> 1] * terms[0] >> 8
            expected += terms[1] * m[4] + terms[2] * (m[5] + m[6]) + terms[3] * (2 * m[7] + m[8] + m[9])
            expected += terms[4] * m[0] + terms[5] * m[1] + terms[6] * m[10] + terms[7] * (m[11] + m[12])
            place.activity, place.shift = activity_of(expected), activity_shift(expected)
            near = 2 * m[0] + m[1] + 2 * m[4] + m[5] + m[6] + m[7]
            place.near = sum(near >= edge for edge in _NEAR_EDGES)
            index = (abs(levels[window]) + place.odd) >> 1
            index, is_negative = self._index(state, place, index, levels[window] < 0)
            if self._coder.failed:
                raise CorruptError("coefficients: they end too early")
            if self._coder.is_decoder:
                level = 2 * index - place.odd if index else 0
                levels[window] = -level if is_negative else level
            trellis = TRELLIS[trellis][index & 1]
            target = limited(levels[window], LEVEL_CLIP)
            if energy:
                gain = _truncated((target * 256 - place.prediction) * 4096, energy + 64)
                taps = [
                    limited(tap + (gain * each * 41 >> 14), _TAP_LIMIT) for tap, each in zip(taps, place.x, strict=True)
                ]
            means[place.phase] += (target * 256 - means[place.phase]) * RATE[met[place.phase]] >> 16
            met[place.phase] = min(met[place.phase] + 1, _MEAN_LIMIT)

    def _index(self, state: MixingState, place: _Place, index: int, is_negative: bool) -> tuple[int, bool]:
        """The index of a level under the quantiser of a trellis state, and its sign."""
        odd, band, activity = place.odd, place.band, place.activity
        level_class = sum(abs(place.prediction) >= edge for edge in _PREDICTION_EDGES)
        is_down = place.prediction < 0
        contexts = [
            2 * activity + odd,
            (level_class * 16 + activity // 4) * 2 + odd,
            (band * 32 + activity // 2) * 2 + odd,
            ((band * N_FINE_PHASES + place.phase) * 8 + place.near) * 2 + odd,
        ]
        sets = 2 * place.group + odd, activity // 2 + _BY_ACTIVITY * odd
        wanted = index >> place.shift
        high = self._decide(state, 0, contexts, sets, int(wanted > 0))
        if high:
            signs = [(each > 0) + 2 * (each < 0) for each in place.x[:2]]
            by_sign = [
                (level_class * 2 + is_down) * 2 + odd,
                band * 9 + 3 * signs[0] + signs[1],
                band * N_FINE_PHASES + place.phase,
                band * 24 + level_class * 2 + is_down,
            ]
            is_negative = bool(self._decide(state, SIGN_KIND, by_sign, sets, int(is_negative)))
            if is_negative == is_down:
                contexts[1] += 12 * 16 * 2
            while high < MAX_UNARY and self._decide(state, 1 + min(high, 6), contexts, sets, int(wanted > high)):
                high += 1
            if high == MAX_UNARY:
                excess = self._excess(wanted - high)
                if excess > _MAX_HIGH >> place.shift:
                    raise CorruptError(f"coefficients: an index exceeds {MAX_UNARY} by {excess}")
                high += excess
        result = high
        for at in range(place.shift - 1, -1, -1):
            result = result << 1 | self._even(index >> at & 1)
        if result and not high:
            is_negative = bool(self._even(int(is_negative)))
        return result, is_negative

    def _even(self, bit: int) -> int:
        return self._coder.bit(bit, 1 << 15)

    def _excess(self, excess: int) -> int:
        """Exp-Golomb of order 0 in even odds."""
        value, n_bits, result = excess + 1, 0, 1
        wanted = 0 if self._coder.is_decoder else value.bit_length() - 1
        while self._even(int(n_bits < wanted)):
            n_bits += 1
            if n_bits > _MAX_EXCESS_BITS:
                raise CorruptError("coefficients: an index beyond all bounds")
        for at in range(n_bits - 1, -1, -1):
            result = result << 1 | self._even(value >> at & 1)
        return result - 1

    def _decide(self, state: MixingState, kind: int, contexts: list[int], sets: tuple[int, int], bit: int) -> int:
        """Code a bit by the mean of two mixings of its contexts, one weighted by phase group, one by activity."""
        slots = state.slots[kind]
        first, second = state.by_group[kind][sets[0]], state.by_activity[kind][sets[1]]
        stretches = [STRETCH[slots[i][contexts[i]] >> 10 + COUNT_BITS] for i in range(N_INPUTS)]
        sums = [sum(w * s for w, s in zip(weights, stretches, strict=True)) for weights in (first, second)]
        bit = self._coder.bit(bit, SQUASH[2048 + limited(sum(sums) >> 17, STRETCH_LIMIT)])
        for weights, total in zip((first, second), sums, strict=True):
            error = (bit << 16) - SQUASH[2048 + limited(total >> 16, STRETCH_LIMIT)]
            for i, stretch in enumerate(stretches):
                weights[i] = limited(weights[i] + (stretch * error * _MIXER_RATE + (1 << 17) >> 18), WEIGHT_LIMIT)
        for i, context in enumerate(contexts):
            slots[i][context] = updated(slots[i][context], bit, _COUNT_LIMIT)
        return bit


def _level(levels: Sequence[int], window: int) -> int:
    return limited(levels[window], LEVEL_CLIP) if 0 <= window < len(levels) else 0


def _truncated(dividend: int, divisor: int) -> int:
    """Quotient rounded towards 0."""
    return dividend // divisor if dividend >= 0 else -(-dividend // divisor)


def split_bands(values: NDArray[np.integer], n_windows: Sequence[int]) -> list[list[int]]:
    """``[band][window]`` from band after band."""
    return [part.tolist() for part in np.split(values, np.cumsum(n_windows)[:-1])]
