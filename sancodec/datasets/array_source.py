"""NumPy ``.npy`` files opened for reading range by range."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import INT32_MAX, INT32_MIN, Channel, Recording, SideFile
from sancodec.datasets.pieces import block_frames, frame_blocks
from sancodec.errors import InvalidSignalError

Ranges = Sequence[tuple[int, int]]


def check_form(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse arrays that are not integers of shape ``(channel, sample)`` or ``(sample,)``.

    Raises
    ------
    InvalidSignalError
        With dtype or shape.
    """
    if dtype.kind not in "iu" or len(shape) not in (1, 2):
        raise InvalidSignalError(
            f"samples are {dtype} of {len(shape)} dimensions; "
            "integers of shape (channel, sample) or (sample,) are needed"
        )
    if min(shape) < 1:
        raise InvalidSignalError(f"samples have shape {shape}; there is nothing to compress")


def check_values(ranges: Ranges) -> None:
    """Refuse values beyond 32 bits; ``ranges`` holds the (minimum, maximum) of each part of an array.

    Raises
    ------
    InvalidSignalError
        With the range of all values.
    """
    low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
    if low < INT32_MIN or high > INT32_MAX:
        raise InvalidSignalError(f"samples reach {low}…{high}; values must fit in 32 bits")


def described(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[tuple[Channel, ...], str]:
    """Return the channels and the source text of an array."""
    limits, bits = np.iinfo(dtype), 8 * dtype.itemsize
    low, high = max(int(limits.min), INT32_MIN), min(int(limits.max), INT32_MAX)
    channels = tuple(
        Channel(f"channel {index}", resolution_bits=min(bits, 32), minimum=low, maximum=high)
        for index in range(shape[0] if len(shape) == 2 else 1)
    )
    return channels, f"array:{dtype.kind}{dtype.itemsize}:{len(shape)}"


def rate_of(sampling_rate_hz: float | Fraction) -> Fraction:
    """A sampling rate as a fraction; a decimal number is taken as it is written.

    Raises
    ------
    InvalidSignalError
        When it is no number above 0.
    """
    if isinstance(sampling_rate_hz, Fraction):
        return sampling_rate_hz
    if not (np.isfinite(sampling_rate_hz) and sampling_rate_hz > 0):
        raise InvalidSignalError(f"sampling rate is {sampling_rate_hz} Hz; it must be a number above 0")
    return Fraction(str(sampling_rate_hz))


class ArraySource:
    """A ``.npy`` file whose samples are read range by range; a `FrameSource` and a context manager.

    The file is read, not mapped: mapped pages count as memory of the process, and a file that becomes shorter
    meanwhile would end it. Not for several threads at once.

    Parameters
    ----------
    file
        Seekable, at the start of the array; `close` closes it.
    sampling_rate_hz
        Samples per second and channel.

    Raises
    ------
    InvalidSignalError
        When it is not such an array, or values do not fit in 32 bits.
    """

    side_files: tuple[SideFile, ...] = ()

    def __init__(self, file: BinaryIO, *, sampling_rate_hz: float | Fraction) -> None:
        self._file = file
        try:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version[0]}.{version[1]} of the format is not that of integers")
            first = version == (1, 0)
            read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, self._is_fortran, self._dtype = read_header(file)
            self._offset = file.tell()
        except Exception as error:  # numpy's parser of headers names no list of its own
            raise InvalidSignalError(f"it is not a .npy array of numbers ({error})") from None
        check_form(self._dtype, shape)
        self.n_frames = int(shape[-1])
        self._n_channels = int(shape[0]) if len(shape) == 2 else 1
        n_bytes = self._n_channels * self.n_frames * self._dtype.itemsize
        if file.seek(0, os.SEEK_END) - self._offset < n_bytes:
            raise InvalidSignalError(
                f"it is not a .npy array of numbers (its {n_bytes} bytes of samples are cut short)"
            )
        self.frame_rate_hz = rate_of(sampling_rate_hz)
        self.channels, self.source = described(self._dtype, shape)
        # A recording without samples refuses what no recording may have.
        Recording(self.channels, tuple(np.zeros(0, np.int32) for _ in self.channels), self.frame_rate_hz)
        if not np.can_cast(self._dtype, np.int32):
            step = block_frames(self._n_channels)
            check_values([self._range(first, last) for first, last in frame_blocks(self.n_frames, step)])

    def __enter__(self) -> ArraySource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``; see `FrameSource`."""
        if not 0 <= first <= last <= self.n_frames:
            raise IndexError(f"frames {first} to {last}; the array has frames 0 to {self.n_frames}")
        return tuple(np.ascontiguousarray(row, np.int32) for row in self._rows(first, last))

    def _range(self, first: int, last: int) -> tuple[int, int]:
        rows = self._rows(first, last)
        return min(int(row.min()) for row in rows), max(int(row.max()) for row in rows)

    def _rows(self, first: int, last: int) -> list[NDArray[Any]]:
        """Samples ``first`` to ``last - 1`` of each channel in the dtype of the file."""
        count = last - first
        if self._is_fortran:  # one sample of each channel after the other
            block = self._values(first * self._n_channels, count * self._n_channels)
            return list(block.reshape(count, self._n_channels).T)
        return [self._values(index * self.n_frames + first, count) for index in range(self._n_channels)]

    def _values(self, first: int, count: int) -> NDArray[Any]:
        n_bytes = count * self._dtype.itemsize
        self._file.seek(self._offset + first * self._dtype.itemsize)
        data = self._file.read(n_bytes)
        if len(data) != n_bytes:
            raise InvalidSignalError("the array became shorter while it was read")
        return np.frombuffer(data, self._dtype)
