"""Events and missing runs of one chunk as a bit string (docs/format.md, section "Chunk")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import MAX_GAIN, Events
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.errors import CorruptError, LimitExceededError

MAX_OVERLAP = 16


def write_starts(writer: BitWriter, starts: NDArray[np.int64], kernel_length: int) -> None:
    """First samples of event windows, increasing, relative to the chunk; at least ``1 - kernel_length``."""
    if not len(starts):
        writer.rice(np.zeros(1, np.int64))
        return
    gaps = np.diff(starts)
    typical = int(np.median(gaps)) if len(gaps) else 0
    writer.rice(np.array([len(starts)], np.int64))
    writer.rice(np.array([starts[0] + kernel_length, typical], np.int64))
    writer.rice(zigzag(gaps - typical))


def read_starts(reader: BitReader, kernel_length: int, n_samples: int) -> NDArray[np.int64]:
    """Inverse of ``write_starts``; every window must reach into the chunk.

    Raises
    ------
    FormatError
    """
    count = _read_count(reader, kernel_length, n_samples)
    if not count:
        return np.zeros(0, np.int64)
    first, typical = reader.rice(2).tolist()
    gaps = unzigzag(reader.rice(count - 1)) + typical
    starts = np.cumsum(np.concatenate([[first - kernel_length], gaps]))
    check_starts(starts, kernel_length, n_samples)
    return starts


def write_first_start(writer: BitWriter, starts: NDArray[np.int64], kernel_length: int) -> None:
    """What the mixing coder must know of starts beforehand: how many there are, and the first."""
    writer.rice(np.array([len(starts)], np.int64))
    if len(starts):
        writer.rice(starts[:1] + kernel_length)


def read_first_start(reader: BitReader, kernel_length: int, n_samples: int, most: int) -> NDArray[np.int64]:
    """Inverse of ``write_first_start``: starts of which only the first is known yet, the others 0.

    Parameters
    ----------
    most
        More events than that cannot be in the stream.

    Raises
    ------
    FormatError
    """
    count = _read_count(reader, kernel_length, n_samples)
    if count > most:
        raise CorruptError(f"events: {count} in a stream that is too short for them")
    starts = np.zeros(count, np.int64)
    if len(starts):
        starts[0] = reader.rice(1)[0] - kernel_length
        check_starts(starts[:1], kernel_length, n_samples)
    return starts


def _read_count(reader: BitReader, kernel_length: int, n_samples: int) -> int:
    count = int(reader.rice(1)[0])
    # More would overlap too much; told before there is an array of them.
    if count > n_samples + kernel_length or count * kernel_length > MAX_OVERLAP * (n_samples + 2 * kernel_length):
        raise LimitExceededError(f"events: {count} in a chunk of {n_samples} samples")
    return count


def check_starts(starts: NDArray[np.int64], kernel_length: int, n_samples: int) -> None:
    """Refuse positions that do not increase, overlap too much or do not reach into the chunk.

    Raises
    ------
    FormatError
    """
    if not len(starts):
        return
    gaps = np.diff(starts)
    if len(gaps) and gaps.min() < 1:
        raise CorruptError(f"events: positions do not increase (gap {gaps.min()})")
    if len(starts) > MAX_OVERLAP and np.any(starts[MAX_OVERLAP:] - starts[:-MAX_OVERLAP] < kernel_length):
        raise LimitExceededError(f"events: a sample lies in more than {MAX_OVERLAP} windows of {kernel_length} samples")
    if starts[0] <= -kernel_length or starts[-1] >= n_samples:
        raise CorruptError(
            f"events: positions {starts[0]}…{starts[-1]} do not reach into the chunk of {n_samples} samples"
        )


def write_events(writer: BitWriter, events: Events, n_kernels: int) -> None:
    """Gains, as they are or as differences, then kernel ids of the events that have a gain."""
    if not len(events.gains):
        return
    gains = events.gains.astype(np.int64)
    typical = int(np.median(gains))
    use_differences = np.abs(np.diff(gains)).sum() < np.abs(gains - typical).sum()
    writer.number(int(use_differences), 1)
    if use_differences:
        writer.rice(gains[:1])
        writer.rice(zigzag(np.diff(gains)))
    else:
        writer.rice(np.array([typical], np.int64))
        writer.rice(zigzag(gains - typical))
    if n_kernels > 1:
        writer.rice(events.kernel_ids[gains > 0].astype(np.int64))


def read_events(reader: BitReader, n_events: int, n_kernels: int) -> Events:
    """Inverse of ``write_events``.

    Raises
    ------
    FormatError
    """
    ids, gains = np.zeros(n_events, np.int64), np.zeros(n_events, np.int64)
    if n_events:
        if reader.number(1):
            first = reader.rice(1)
            gains = np.cumsum(np.concatenate([first, unzigzag(reader.rice(n_events - 1))]))
        else:
            typical = reader.rice(1)[0]
            gains = typical + unzigzag(reader.rice(n_events))
        if gains.min() < 0 or gains.max() > MAX_GAIN:
            raise CorruptError(f"events: gains {gains.min()}…{gains.max()}; 0 to {MAX_GAIN} are allowed")
        if n_kernels > 1:
            used = np.flatnonzero(gains)
            ids[used] = reader.rice(len(used))
            if ids.max() >= n_kernels:
                raise CorruptError(f"events: kernel {ids.max()} of {n_kernels}")
    return Events(ids.astype(np.int32), gains.astype(np.int32))


def write_runs(writer: BitWriter, runs: NDArray[np.int64]) -> None:
    """Missing runs of a channel: how many, then gap and length of each."""
    writer.number(int(len(runs) > 0), 1)
    if len(runs):
        ends = np.concatenate([[0], runs[:-1].sum(axis=1)])
        writer.rice(np.array([len(runs)], np.int64))
        writer.rice(runs[:, 0] - ends)
        writer.rice(runs[:, 1])


def read_runs(reader: BitReader, n_samples: int) -> NDArray[np.int64]:
    """Inverse of ``write_runs``.

    Raises
    ------
    FormatError
    """
    if not reader.number(1):
        return np.zeros((0, 2), np.int64)
    count = int(reader.rice(1)[0])
    if count > n_samples:
        raise LimitExceededError(f"missing runs: {count} in a chunk of {n_samples} samples")
    gaps = reader.rice(count)
    lengths = reader.rice(count)
    if count and max(gaps.max(), lengths.max()) > n_samples:
        raise CorruptError(f"missing runs: a gap or length beyond the chunk of {n_samples} samples")
    ends = np.cumsum(gaps + lengths)
    if count and (ends[-1] > n_samples or lengths.min() < 1):
        raise CorruptError(f"missing runs: they reach sample {ends[-1]} of {n_samples}, or one is empty")
    return np.stack([ends - lengths, lengths], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Exceptions:
    """Samples that do not lie on their channel's lattice: where, increasing, and how far from its value; int64."""

    positions: NDArray[np.int64]
    differences: NDArray[np.int64]

    def applied(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The lattice's values with the exceptions corrected, in place."""
        values[self.positions] += self.differences
        return values

    def within(self, first: int, length: int) -> Exceptions:
        """Those in ``first … first + length``, relative to ``first``."""
        low, high = np.searchsorted(self.positions, [first, first + length])
        return Exceptions(self.positions[low:high] - first, self.differences[low:high])


NO_EXCEPTIONS = Exceptions(np.zeros(0, np.int64), np.zeros(0, np.int64))


def write_exceptions(writer: BitWriter, exceptions: Exceptions) -> None:
    """A flag, and where it is set their number, the gaps between them, and their differences."""
    writer.number(int(len(exceptions.positions) > 0), 1)
    if len(exceptions.positions):
        writer.rice(np.array([len(exceptions.positions)], np.int64))
        writer.rice(np.diff(exceptions.positions, prepend=-1) - 1)
        writer.rice(zigzag(exceptions.differences))


def read_exceptions(reader: BitReader, n_samples: int) -> Exceptions:
    """Inverse of ``write_exceptions``.

    Raises
    ------
    FormatError
    """
    if not reader.number(1):
        return NO_EXCEPTIONS
    count = int(reader.rice(1)[0])
    if count > n_samples:
        raise LimitExceededError(f"events: {count} exceptions in a chunk of {n_samples} samples")
    positions = np.cumsum(reader.rice(count) + 1) - 1
    if count and positions[-1] >= n_samples:
        raise CorruptError(f"events: an exception at sample {positions[-1]} of {n_samples}")
    return Exceptions(positions, unzigzag(reader.rice(count)))


@dataclass(frozen=True, slots=True, eq=False)
class ChunkEvents:
    """What the event bit string of one chunk holds.

    Parameters
    ----------
    starts
        Per lead group, int64 ``(event,)``.
    events
        Per channel.
    runs
        Per channel, int64 ``(run, 2)``.
    exceptions
        Per channel, samples off its lattice.
    """

    starts: list[NDArray[np.int64]]
    events: list[Events]
    runs: list[NDArray[np.int64]]
    exceptions: list[Exceptions]
