"""Coder 2: the levels of all coefficients of a chunk in one mixed stream (docs/format.md, "Coder 2").

Levels are multiples of the step. Under dependent quantisation a trellis says which of them may follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.chunks import Part, events_of_part, padded_length
from sancodec.codec.contexts import NO_PHASE, PHASES_PER_KERNEL, Profile
from sancodec.codec.kernels import Model
from sancodec.codec.level_arithmetic import LevelChannel, LevelCoder, MixingState, split_bands
from sancodec.codec.mixing import RangeCoder
from sancodec.codec.mixing_model import MixingModel
from sancodec.codec.quantiser import Quantised
from sancodec.errors import CorruptError

_NO_FINE_PHASE = 2 * NO_PHASE
# 21 decisions of at most 11.6 bits, 57 bits of an excess, and 16 low bits; a model of one's own may know no better.
_BYTES_PER_LEVEL = 40


@dataclass(frozen=True, slots=True, eq=False)
class LevelUnit:
    """One channel of one chunk.

    Parameters
    ----------
    phases
        uint8, fine phases of all windows, band after band.
    levels
        int32, as ``phases``; filled in by a decoder.
    """

    model: Model
    profile: Profile
    phases: NDArray[np.uint8]
    levels: NDArray[np.int32]

    @property
    def n_windows(self) -> list[int]:
        """Windows of each band."""
        per_period = [self.model.period // stride for stride in self.model.band_strides]
        n_periods = len(self.levels) // sum(per_period)
        return [n_periods * count for count in per_period]


def fine_phases(model: Model, starts: NDArray[np.int64], circle: int, *, kernel_length: int) -> NDArray[np.uint8]:
    """Beat phases in 1/32 of a beat kernel of all windows of a chunk, band after band; uint8 ``(window,)``."""
    per_group = []
    for group in model.groups:
        centre = np.arange(circle // group.stride, dtype=np.int64) * group.stride + group.stride // 2
        phase = np.full(len(centre), _NO_FINE_PHASE, np.int64)
        if len(starts):
            last = np.searchsorted(starts, centre, side="right") - 1
            since = (centre - starts[np.maximum(last, 0)]) * (2 * PHASES_PER_KERNEL) // kernel_length
            phase = np.where(last >= 0, np.minimum(since, _NO_FINE_PHASE), _NO_FINE_PHASE)
        per_group += [phase.astype(np.uint8)] * group.n_kernels
    return np.concatenate(per_group)


def fine_phases_of_part(
    model: Model, part: Part, starts: NDArray[np.int64], *, kernel_length: int
) -> list[NDArray[np.uint8]]:
    """Fine phases of every chunk of a part."""
    circle = padded_length(model, part.length)
    return [
        fine_phases(model, events, circle, kernel_length=kernel_length)
        for events in events_of_part(part, starts, kernel_length=kernel_length)
    ]


def joined_levels(quantised: Quantised, chunk: int) -> NDArray[np.int32]:
    """Signed levels of one chunk, band after band."""
    pairs = zip(quantised.magnitudes, quantised.negative, strict=True)
    return np.concatenate(
        [np.where(negative[chunk], -magnitude[chunk], magnitude[chunk]) for magnitude, negative in pairs]
    )


def as_quantised(unit: LevelUnit) -> Quantised:
    """Levels of a unit, shape ``(1, window)`` per band."""
    bands = np.split(unit.levels, np.cumsum(unit.n_windows)[:-1])
    return Quantised([np.abs(band)[None] for band in bands], [band[None] < 0 for band in bands], [])


def encode_levels(units: Sequence[LevelUnit]) -> bytes:
    """The levels of a chunk's coded channels, in order."""
    if native.core is None:
        return _in_python(units, None)
    content = np.empty(_BYTES_PER_LEVEL * sum(len(unit.levels) for unit in units) + 64, np.uint8)
    length = native.core.code_levels(0, content, *core_channels(units), None, None, None)
    assert length >= 0
    return content[:length].tobytes()


def decode_levels(units: Sequence[LevelUnit], content: bytes) -> None:
    """Fill in the levels of a chunk's coded channels.

    Raises
    ------
    CorruptError
    """
    if native.core is None:
        _in_python(units, content)
    elif native.core.code_levels(
        1, np.frombuffer(bytearray(content), np.uint8), *core_channels(units), None, None, None
    ):
        raise CorruptError("coefficients: the mixed stream contradicts itself")


def others_of(units: Sequence[LevelUnit]) -> list[int]:
    """Which earlier channel each is seen beside: the last one with the same bank and length; -1 where there is none."""
    last: dict[tuple[bytes, int], int] = {}
    others = []
    for index, unit in enumerate(units):
        key = (unit.model.sha256, len(unit.levels))
        others.append(last.get(key, -1))
        last[key] = index
    return others


def _kinds_of(units: Sequence[LevelUnit]) -> tuple[list[int], list[tuple[Model, int]]]:
    """Which adaptive state each channel shares: that of its bank and weight set; and those pairs."""
    found: dict[tuple[bytes, int], int] = {}
    kinds: list[tuple[Model, int]] = []
    indices = []
    for unit in units:
        key = (unit.model.sha256, unit.profile.weight_set)
        if key not in found:
            found[key] = len(kinds)
            kinds.append((unit.model, unit.profile.weight_set))
        indices.append(found[key])
    return indices, kinds


@lru_cache(maxsize=64)
def expected_of(profile: Profile, model: Model) -> NDArray[np.int32]:
    """Expected level in 1/256, 0 for bands that are off; int32 ``(band, phase)``."""
    expected = profile.expected(model.contexts).astype(np.int32)
    expected[profile.scale_codes == 0] = 0
    expected.flags.writeable = False
    return expected


def core_channels(units: Sequence[LevelUnit]) -> list[Any]:
    """Channels and statistics as the native core takes them."""
    kinds, statistics = _kinds_of(units)
    mixings: list[tuple[MixingModel, int]] = [(model.contexts.mixing, weight_set) for model, weight_set in statistics]
    return [
        [np.array(unit.model.band_strides, np.int32) for unit in units],
        [np.array(unit.n_windows, np.int32) for unit in units],
        [unit.model.contexts.phase_groups.astype(np.uint8) for unit in units],
        [(unit.profile.scale_codes > 0).astype(np.uint8) for unit in units],
        [expected_of(unit.profile, unit.model) for unit in units],
        [unit.phases for unit in units],
        [unit.levels for unit in units],
        np.array(others_of(units), np.int32),
        np.array(kinds, np.int32),
        [np.ascontiguousarray(mixing.terms[weight_set]) for mixing, weight_set in mixings],
        [np.ascontiguousarray(mixing.taps[weight_set]) for mixing, weight_set in mixings],
        [np.ascontiguousarray(mixing.prior[weight_set]) for mixing, weight_set in mixings],
        [np.ascontiguousarray(mixing.mixer[weight_set]) for mixing, weight_set in mixings],
    ]


def _in_python(units: Sequence[LevelUnit], content: bytes | None) -> bytes:
    """Encode, or decode where there is content."""
    native.warn_if_slow(32 * sum(len(unit.levels) for unit in units))
    coder = RangeCoder(content)
    kinds, statistics = _kinds_of(units)
    states = [MixingState(model.contexts.mixing, weight_set, model.n_bands) for model, weight_set in statistics]
    levels: list[list[list[int]]] = []
    for unit, other, kind in zip(units, others_of(units), kinds, strict=True):
        mixing, weight_set = unit.model.contexts.mixing, unit.profile.weight_set
        levels.append(split_bands(unit.levels, unit.n_windows))
        channel = LevelChannel(
            unit.model.band_strides,
            unit.model.contexts.phase_groups.tolist(),
            (unit.profile.scale_codes > 0).tolist(),
            expected_of(unit.profile, unit.model).tolist(),
            split_bands(unit.phases, unit.n_windows),
            mixing.terms[weight_set, int(other >= 0)].tolist(),
            mixing.taps[weight_set, int(other >= 0)].tolist(),
            levels[other] if other >= 0 else None,
            levels[-1],
        )
        LevelCoder(coder).channel(states[kind], channel)
        if content is not None:
            unit.levels[:] = np.concatenate([np.array(band, np.int32) for band in levels[-1]])
    if content is None:
        return coder.finish()
    if not coder.is_read_up:
        raise CorruptError("coefficients: the mixed stream contradicts itself")
    return b""
