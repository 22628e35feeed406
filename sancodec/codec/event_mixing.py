"""Beat events under the mixing coder: positions of every lead group, then kernels and gains of every channel.

docs/format.md, "Events of coder 2". ``EventCoder`` is the specification of the native core, and runs where that was not
built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from operator import mul

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.beats import MAX_GAIN, Events
from sancodec.codec.mixing import (
    SPARE_BYTES,
    SQUASH,
    STRETCH,
    STRETCH_LIMIT,
    WEIGHT_LIMIT,
    RangeCoder,
    limited,
    updated,
)
from sancodec.codec.residual_arithmetic import level_of
from sancodec.errors import CorruptError

N_NUMBER_NODES, N_CHOICE_NODES, N_INPUTS = 28, 12, 3
N_GAP_SLOTS, N_GAIN_SLOTS, N_CHOICE_SLOTS = 234, 282, 123
N_PRIOR = N_NUMBER_NODES * (N_GAP_SLOTS + N_GAIN_SLOTS) + N_CHOICE_NODES * N_CHOICE_SLOTS
_SIGN_NODE, _LENGTH_NODE, _FIRST_BIT_NODE, _SECOND_BIT_NODE = 1, 2, 12, 18
_LAST_LENGTH_NODE, _N_BIT_LENGTHS, _MAX_LENGTH, _TREE_LEVELS = 11, 6, 33, 3
_LEARNING_RATE, _FIRST_WEIGHT, _SLOT_LIMIT = 20, 7 << 12, 255
_BYTES_PER_EVENT = 24
# A decision takes at least log2(65536 / 65514) bits, and an event at least one decision in each of its channels.
_DECISIONS_PER_BYTE = 16600


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _length(value: int) -> int:
    return min(abs(value).bit_length(), 7)


def _size(scale: int) -> int:
    """Two levels an octave of a scale in 2^-8."""
    return min(level_of(scale >> 4) >> 1, 19)


class Kind:
    """Slots and weights of the decisions about gaps, gains or choices."""

    def __init__(self, prior: list[int], n_nodes: int) -> None:
        self.n_slots = len(prior) // n_nodes
        self.slots = [(each >> 4) << 20 | 1 << 19 | (each & 15) << 2 for each in prior]
        self.weights = [[_FIRST_WEIGHT] * N_INPUTS for _ in range(n_nodes)]


@dataclass(slots=True)
class Beside:
    """What was coded of an event, for the channel that follows.

    Attributes
    ----------
    rhythm
        Whether it came early or late, -3 to 3.
    choice
        0 where the channel before has no gain here, else 1 + its kernel.
    deviation
        Of that gain from its prediction.
    """

    rhythm: int = 0
    choice: int = 0
    deviation: int = 0


class EventCoder:
    """Codes the events of a chunk, decision by decision."""

    def __init__(self, coder: RangeCoder, prior: list[int]) -> None:
        self._coder = coder
        n_gaps, n_gains = N_NUMBER_NODES * N_GAP_SLOTS, N_NUMBER_NODES * N_GAIN_SLOTS
        self.gap = Kind(prior[:n_gaps], N_NUMBER_NODES)
        self.gain = Kind(prior[n_gaps : n_gaps + n_gains], N_NUMBER_NODES)
        self.choice = Kind(prior[n_gaps + n_gains :], N_CHOICE_NODES)

    def node(self, kind: Kind, node: int, contexts: Sequence[int], bit: bool | int) -> int:
        """A decision."""
        at = [node * kind.n_slots + context for context in contexts]
        inputs = [STRETCH[kind.slots[each] >> 20] for each in at]
        weights = kind.weights[node]
        p = SQUASH[2048 + limited(sum(map(mul, weights, inputs)) >> 16, STRETCH_LIMIT)]
        bit = self._coder.bit(int(bit), p)
        error = ((bit << 16) - p) * _LEARNING_RATE
        kind.weights[node] = [
            limited(weight + (value * error + (1 << 17) >> 18), WEIGHT_LIMIT)
            for weight, value in zip(weights, inputs, strict=True)
        ]
        for each in at:
            kind.slots[each] = updated(kind.slots[each], bit, _SLOT_LIMIT)
        return bit

    def _number(self, kind: Kind, contexts: list[int], sign_context: int, number: int) -> int:
        """A number in three contexts, the first another for its sign."""
        size = abs(number)
        if not self.node(kind, 0, contexts, size != 0):
            return 0
        is_negative = self.node(kind, _SIGN_NODE, [sign_context, *contexts[1:]], number < 0)
        length = 0
        while self.node(kind, min(_LENGTH_NODE + length, _LAST_LENGTH_NODE), contexts, size.bit_length() > length + 1):
            length += 1
            if length > _MAX_LENGTH:
                raise CorruptError("events: a number is too large")
        result, shared = 1, min(length, _N_BIT_LENGTHS)
        for left in reversed(range(length)):
            bit = size >> left & 1
            if left == length - 1:
                bit = self.node(kind, _FIRST_BIT_NODE + shared - 1, contexts, bit)
            elif left == length - 2:
                bit = self.node(kind, _SECOND_BIT_NODE + 2 * (shared - 2) + (result & 1), contexts, bit)
            else:
                bit = self._coder.bit(bit, 32768)
            result = result << 1 | bit
        return -result if is_negative else result

    def starts(self, starts: list[int], n_samples: int, beside: list[Beside]) -> None:
        """Positions of a lead group that has events, from one gap to the next; a decoder is given the first."""
        last = last_but_one = 0
        mean = max(256 * (n_samples - starts[0]) // len(starts), 256)  # gap, in 2^-8
        scale = mean // 24  # mean absolute deviation from it, in 2^-8
        for i in range(1, len(starts)):
            size = _size(scale)
            contexts = [
                size,
                20 + 10 * (_sign(last) * _length(last) + 7) + (size >> 1),
                170 + 8 * _length(last) + _length(last_but_one),
            ]
            expected = mean + 128 >> 8
            sign_context = 3 * (_sign(last) + 1) + _sign(last_but_one) + 1
            deviation = self._number(self.gap, contexts, sign_context, starts[i] - starts[i - 1] - expected)
            gap = expected + deviation
            if not 1 <= gap < n_samples - starts[i - 1]:
                raise CorruptError(f"events: a gap of {gap} samples")
            starts[i] = starts[i - 1] + gap
            beside[i].rhythm = sum(4096 * deviation >= (2 * step - 1) * mean for step in range(-2, 4)) - 3
            mean += (256 * gap - mean) * 3 >> 3
            scale += (256 * abs(deviation) - scale) * 3 >> 4
            last, last_but_one = deviation, last

    def _kernel(self, n_kernels: int, contexts: list[int], number: int) -> int:
        """The kernel of an event: the first bits of its number by a tree."""
        n_bits = (n_kernels - 1).bit_length()
        depth = min(n_bits, _TREE_LEVELS)
        first, result = (1 << depth) - 1 - depth, 1  # smaller trees lie before
        for left in reversed(range(n_bits)):
            bit = number >> left & 1
            if n_bits - left <= _TREE_LEVELS:
                bit = self.node(self.choice, first + result, contexts, bit)
            else:
                bit = self._coder.bit(bit, 32768)
            result = result << 1 | bit
        return result - (1 << n_bits)

    def gains(
        self, n_kernels: int, is_further: bool, beside: list[Beside], gains: list[int], kernels: list[int]
    ) -> None:
        """What a channel has of the events of its lead group; further, where a channel before it has kernels too."""
        expected: dict[int, int] = {}  # by kernel; gains in 2^-8
        deviations: dict[int, int] = {}
        before, last, scale, kernel_before, had_gain = -1, 0, 512, 0, 1
        for i, here in enumerate(beside):
            behind = limited(beside[i + 1].rhythm, 2) if i + 1 < len(beside) else 0
            contexts = [
                2 * had_gain + is_further,
                16 + 8 * here.choice + kernel_before,
                88 + 5 * (here.rhythm + 3) + behind + 2,
            ]
            had_gain = self.node(self.choice, 0, contexts, gains[i] > 0)
            if not had_gain:
                gains[i] = kernels[i] = here.choice = here.deviation = 0
                continue
            contexts[0] = 2 * kernel_before + is_further
            kernel = self._kernel(n_kernels, contexts, kernels[i])
            if kernel >= n_kernels:
                raise CorruptError(f"events: kernel {kernel} of {n_kernels}")
            kernel_before = min(kernel, 7)
            novelty = 0 if kernel in expected else 1 if before >= 0 else 2
            whole = expected.get(kernel, before if before >= 0 else 32 << 8) + 128 >> 8
            of_kernel = deviations.get(kernel, 0)
            contexts = [
                3 * _size(scale) + novelty,
                60 + 3 * (8 * _length(of_kernel) + _length(last)) + novelty,
                252 + 2 * (_sign(here.deviation) * _length(here.deviation) + 7) + is_further,
            ]
            sign_context = 3 * (3 * (_sign(of_kernel) + 1) + _sign(last) + 1) + novelty
            deviation = self._number(self.gain, contexts, sign_context, gains[i] - whole)
            gain = whole + deviation
            if not 1 <= gain <= MAX_GAIN:
                raise CorruptError(f"events: a gain of {gain}; 1 to {MAX_GAIN} are allowed")
            gains[i], kernels[i] = gain, kernel
            before = 256 * gain
            expected[kernel] = expected[kernel] + (before - expected[kernel] >> 2) if kernel in expected else before
            scale += (256 * abs(deviation) - scale) * 3 >> 4
            deviations[kernel] = last = deviation
            here.choice, here.deviation = 1 + kernel_before, deviation


@dataclass(frozen=True, slots=True, eq=False)
class MixedEvents:
    """Events of a chunk in flat arrays, as the native core takes them.

    Parameters
    ----------
    groups
        int64 ``(group, 2)``: events and samples of each lead group.
    channels
        int64 ``(channel, 2)``: lead group and number of kernels, of the channels that have kernels.
    starts
        int64, group after group; a decoder is given the first of each.
    gains, kernels
        int64, channel after channel.
    """

    groups: NDArray[np.int64]
    channels: NDArray[np.int64]
    starts: NDArray[np.int64]
    gains: NDArray[np.int64]
    kernels: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        starts: Sequence[NDArray[np.int64]],
        n_samples: Sequence[int],
        channels: Sequence[tuple[int, int]],
        events: Sequence[Events],
    ) -> MixedEvents:
        """From starts and samples of every lead group, and lead group, number of kernels and events of channels."""
        none = np.zeros(0, np.int64)
        groups = [(len(each), length) for each, length in zip(starts, n_samples, strict=True)]
        return cls(
            np.array(groups, np.int64).reshape(-1, 2),
            np.array(channels, np.int64).reshape(-1, 2),
            np.concatenate([none, *starts]),
            np.concatenate([none, *(each.gains for each in events)]),
            np.concatenate([none, *(each.kernel_ids for each in events)]),
        )

    def starts_of_groups(self) -> list[NDArray[np.int64]]:
        return np.split(self.starts, np.cumsum(self.groups[:, 0]))[:-1]

    def events_of_channels(self) -> list[Events]:
        ends = np.cumsum(self.groups[self.channels[:, 0], 0])
        parts = zip(np.split(self.kernels, ends)[:-1], np.split(self.gains, ends)[:-1], strict=True)
        return [Events(kernels.astype(np.int32), gains.astype(np.int32)) for kernels, gains in parts]

    def run(self, coded: bytes | None = None) -> bytes:
        """Encode, or decode where there is something to decode: then starts, gains and kernels are filled.

        Raises
        ------
        CorruptError
        """
        return run_oracle(self, coded) if native.core is None else run_native(self, coded)


def most_events(coded: bytes) -> int:
    """More than so many events, over all lead groups and channels, cannot be in a stream."""
    return _DECISIONS_PER_BYTE * (len(coded) + SPARE_BYTES) + 1


@lru_cache(maxsize=1)
def shipped_prior() -> NDArray[np.uint16]:
    """What chunks begin with: slots of gaps, gains and choices, node after node."""
    content = (resources.files("sancodec") / "models" / "events.prior").read_bytes()
    prior = np.frombuffer(content, "<u2").astype(np.uint16)
    assert len(prior) == N_PRIOR
    return prior


def run_native(events: MixedEvents, coded: bytes | None) -> bytes:
    assert native.core is not None
    given = (shipped_prior(), events.groups.reshape(-1), events.channels.reshape(-1))
    room = 0 if coded is not None else _BYTES_PER_EVENT * (len(events.starts) + len(events.gains)) + 16
    written = np.zeros(room, np.uint8)
    used = native.core.event_mixing(*given, events.starts, events.gains, events.kernels, coded, written)
    if used < 0:
        raise CorruptError("events: a number is out of range, or the stream ends too early")
    return coded if coded is not None else written[:used].tobytes()


def run_oracle(events: MixedEvents, coded: bytes | None, coder_of: type[EventCoder] = EventCoder) -> bytes:
    """The same in Python."""
    range_coder = RangeCoder(coded)
    coder = coder_of(range_coder, shipped_prior().tolist())
    beside = []
    for (_, n_samples), starts in zip(events.groups.tolist(), events.starts_of_groups(), strict=True):
        beside.append([Beside() for _ in starts])
        if len(starts):
            found = starts.tolist()
            coder.starts(found, n_samples, beside[-1])
            starts[:] = found
    met: set[int] = set()
    first = 0
    for group, n_kernels in events.channels.tolist():
        of_channel = slice(first, first + len(beside[group]))
        gains, kernels = events.gains[of_channel].tolist(), events.kernels[of_channel].tolist()
        coder.gains(n_kernels, group in met, beside[group], gains, kernels)
        events.gains[of_channel], events.kernels[of_channel] = gains, kernels
        first = of_channel.stop
        met.add(group)
    if coded is None:
        return range_coder.finish()
    if not range_coder.is_read_up:
        raise CorruptError("events: bytes follow the last event, or are missing")
    return coded
