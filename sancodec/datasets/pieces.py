"""Recordings in consecutive pieces of whole frames: cutting, checking and joining them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import FrameSource, Recording, RecordingDescription
from sancodec.errors import InvalidSignalError

BLOCK_SAMPLES = 1 << 19  # over all channels: with what unpacking needs on the way, some 20 MB


class PieceCount:
    """Checks that pieces are of the recording described, and counts their frames."""

    def __init__(self, description: RecordingDescription) -> None:
        self._widths = [channel.samples_per_frame for channel in description.channels]
        self._n_frames = description.n_frames
        self.n_done = 0

    def add(self, samples: Sequence[NDArray[np.int32]]) -> int:
        """Count a piece: one int32 array per channel, shape ``(n * samples_per_frame,)``; returns n.

        Raises
        ------
        InvalidSignalError
            When the arrays are not that, or more frames come than the recording has.
        """
        if len(samples) != len(self._widths):
            raise InvalidSignalError(f"{len(samples)} sample arrays for {len(self._widths)} channels")
        n_frames = len(samples[0]) // self._widths[0]
        for index, (values, width) in enumerate(zip(samples, self._widths, strict=True)):
            if values.dtype != np.int32 or values.shape != (n_frames * width,):
                raise InvalidSignalError(
                    f"channel {index}: samples are {values.dtype} of shape {values.shape}; int32 of shape "
                    f"({n_frames * width},), {n_frames} frames of {width}, is needed"
                )
        if self.n_done + n_frames > self._n_frames:
            raise InvalidSignalError(f"{self.n_done + n_frames} frames were given; the recording has {self._n_frames}")
        self.n_done += n_frames
        return n_frames

    def finish(self) -> None:
        """Refuse to end before all frames came.

        Raises
        ------
        InvalidSignalError
            With both numbers.
        """
        if self.n_done != self._n_frames:
            raise InvalidSignalError(f"{self.n_done} of the {self._n_frames} frames of the recording were given")


def block_frames(samples_per_frame: int, *, multiple: int = 1) -> int:
    """Return how many frames make a block of about ``BLOCK_SAMPLES`` samples: a multiple of ``multiple``."""
    return max(1, BLOCK_SAMPLES // (samples_per_frame * multiple)) * multiple


def frame_blocks(n_frames: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut frames 0 to ``n_frames - 1`` into ranges ``(first, last)`` of ``step`` frames; the last may be shorter."""
    for first in range(0, n_frames, step):
        yield first, min(first + step, n_frames)


def pieces_of(source: FrameSource) -> Iterator[tuple[NDArray[np.int32], ...]]:
    """Read a recording from front to back in blocks of bounded size."""
    step = block_frames(sum(channel.samples_per_frame for channel in source.channels))
    for first, last in frame_blocks(source.n_frames, step):
        yield source.frames(first, last)


def read_all(source: FrameSource) -> Recording:
    """Read all samples of a source into a `Recording`."""
    widths = [channel.samples_per_frame for channel in source.channels]
    samples = tuple(np.empty(source.n_frames * width, np.int32) for width in widths)
    done = 0
    for piece in pieces_of(source):
        for whole, part, width in zip(samples, piece, widths, strict=True):
            whole[done * width : done * width + len(part)] = part
        done += len(piece[0]) // widths[0]
    return Recording(source.channels, samples, source.frame_rate_hz, source.source, source.side_files)


def valid_ranges(recording: Recording) -> tuple[tuple[int, int], ...]:
    """Return the (minimum, maximum) of each channel over the samples that are not missing; (0, 0) without any."""
    ranges = []
    for channel, values in zip(recording.channels, recording.samples, strict=True):
        valid = values if channel.invalid is None else values[values != channel.invalid]
        ranges.append((int(valid.min()), int(valid.max())) if valid.size else (0, 0))
    return tuple(ranges)
