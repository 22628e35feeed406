"""Arrays and ``.npy`` files as recordings, and recordings as ``.npy`` and CSV, in one go or piece by piece."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import Channel, Recording, RecordingDescription
from sancodec.datasets.array_source import ArraySource, Ranges, check_form, check_values, described, rate_of
from sancodec.datasets.pieces import PieceCount, read_all
from sancodec.errors import InvalidSignalError

_INTEGER_TYPES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
_CSV_BLOCK_ROWS = 100_000


def recording_of(samples: NDArray[Any], *, sampling_rate_hz: float | Fraction) -> Recording:
    """Wrap an integer array.

    Parameters
    ----------
    samples
        Integers of at most 32 bits, shape ``(channel, sample)`` or ``(sample,)``.
    sampling_rate_hz
        Samples per second and channel.

    Raises
    ------
    InvalidSignalError
        When the array is not such an array.
    """
    array = np.asarray(samples)
    check_form(array.dtype, array.shape)
    if array.size:
        check_values([(int(array.min()), int(array.max()))])
    rate_hz = rate_of(sampling_rate_hz)
    channels, source = described(array.dtype, array.shape)
    rows = np.atleast_2d(array)
    return Recording(channels, tuple(np.ascontiguousarray(row, np.int32) for row in rows), rate_hz, source)


def open_array(path: Path, *, sampling_rate_hz: float | Fraction | None) -> ArraySource:
    """Open a ``.npy`` file of integers, shape ``(channel, sample)`` or ``(sample,)``, in C or Fortran order.

    Raises
    ------
    InvalidSignalError
        When the file is not such an array, values do not fit in 32 bits, or the sampling rate is missing.
    """
    if sampling_rate_hz is None:
        raise InvalidSignalError(f"{path}: a .npy array does not state its sampling rate; give it with --rate HZ")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InvalidSignalError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return ArraySource(file, sampling_rate_hz=sampling_rate_hz)
    except BaseException as error:
        file.close()
        if isinstance(error, InvalidSignalError):
            raise InvalidSignalError(f"{path}: {error}") from None
        raise


def read_array(path: Path, *, sampling_rate_hz: float | None) -> Recording:
    """Read integers of shape ``(channel, sample)`` or ``(sample,)``; raises as `open_array`."""
    with open_array(path, sampling_rate_hz=sampling_rate_hz) as source:
        return read_all(source)


class NpyWriter:
    """An array being written: the file that ``np.save`` of all samples would give.

    Parameters
    ----------
    description
        The recording.
    file
        Seekable, unless one piece brings all samples; the array is written where it stands.
    value_ranges
        (minimum, maximum) of all samples of each channel, which decide whether an array keeps its dtype; the channels'
        declared ranges and missing values by default.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """

    def __init__(self, description: RecordingDescription, file: BinaryIO, value_ranges: Ranges | None = None) -> None:
        self._width = _common_width(description, "array")
        self._file = file
        self._count = PieceCount(description)
        self._dtype, n_dimensions = _array_form(description, value_ranges or _declared_ranges(description))
        self._n_channels, self._n_samples = len(description.channels), description.n_frames * self._width
        shape = (self._n_channels, self._n_samples)[2 - n_dimensions :]
        form = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, form)
        self._position = 0  # in the file after the header, in bytes

    def write(self, samples: Sequence[NDArray[np.int32]]) -> None:
        """Append frames: one int32 array per channel, shape ``(n * samples_per_frame,)``, in stored units.

        Raises
        ------
        InvalidSignalError
            When the arrays are not such frames, or values are outside the ranges given.
        """
        limits = np.iinfo(self._dtype)
        first = self._count.n_done * self._width
        self._count.add(samples)
        for index, values in enumerate(samples):
            if len(values) and (int(values.min()) < limits.min or int(values.max()) > limits.max):
                raise InvalidSignalError(
                    f"channel {index}: samples of {int(values.min())} to {int(values.max())} do not fit {self._dtype}, "
                    "which was chosen from their value ranges"
                )
            self._seek((index * self._n_samples + first) * self._dtype.itemsize)
            self._file.write(values.astype(self._dtype).tobytes())
            self._position += len(values) * self._dtype.itemsize

    def finish(self) -> None:
        """End the array and stand behind it.

        Raises
        ------
        InvalidSignalError
            When frames are missing.
        """
        self._count.finish()
        self._seek(self._n_channels * self._n_samples * self._dtype.itemsize)

    def _seek(self, position: int) -> None:
        if position != self._position:
            self._file.seek(position - self._position, os.SEEK_CUR)
            self._position = position


class CsvWriter:
    """A table being written, one row per sample: time in s, then every channel in its physical unit.

    Missing samples stay empty.

    Parameters
    ----------
    description
        The recording.
    file
        Written from where it stands, without seeking.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """

    def __init__(self, description: RecordingDescription, file: BinaryIO) -> None:
        self._width = _common_width(description, "table")
        self._file, self._channels = file, description.channels
        self._rate_hz = float(description.frame_rate_hz * self._width)
        self._count = PieceCount(description)
        names = [_column_name(channel) for channel in self._channels]
        file.write((",".join(["time (s)", *names]) + "\n").encode())

    def write(self, samples: Sequence[NDArray[np.int32]]) -> None:
        """Append frames: one int32 array per channel, shape ``(n * samples_per_frame,)``, in stored units.

        Raises
        ------
        InvalidSignalError
            When the arrays are not such frames.
        """
        first = self._count.n_done * self._width
        self._count.add(samples)
        for start in range(0, len(samples[0]), _CSV_BLOCK_ROWS):
            self._write_rows(first + start, [values[start : start + _CSV_BLOCK_ROWS] for values in samples])

    def _write_rows(self, first: int, parts: list[NDArray[np.int32]]) -> None:
        columns = [[f"{index / self._rate_hz:.6f}" for index in range(first, first + len(parts[0]))]]
        for channel, part in zip(self._channels, parts, strict=True):
            with np.errstate(over="ignore"):  # a gain may be as small as a float can be
                physical = (part.astype(np.float64) - channel.baseline) / channel.gain
            text = [f"{value:.9g}" for value in physical.tolist()]
            if channel.invalid is not None:
                for index in np.flatnonzero(part == channel.invalid):
                    text[index] = ""
            columns.append(text)
        self._file.write(("\n".join(",".join(row) for row in zip(*columns, strict=True)) + "\n").encode())

    def finish(self) -> None:
        """End the table.

        Raises
        ------
        InvalidSignalError
            When frames are missing.
        """
        self._count.finish()


def write_npy(recording: Recording, file: BinaryIO) -> None:
    """Write samples in stored units, shape ``(channel, sample)``, or ``(sample,)`` as they came.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """
    writer = NpyWriter(recording, file, _ranges(recording))
    writer.write(recording.samples)
    writer.finish()


def write_csv(recording: Recording, file: BinaryIO) -> None:
    """Write one row per sample: time in s, then every channel in its physical unit; missing samples stay empty.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """
    writer = CsvWriter(recording, file)
    writer.write(recording.samples)
    writer.finish()


def stacked(recording: Recording) -> np.ndarray[tuple[int, ...], np.dtype[np.integer]]:
    """All samples as one array; arrays come back in the dtype and shape in which they were given.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """
    _common_width(recording, "array")
    dtype, n_dimensions = _array_form(recording, _ranges(recording))
    if n_dimensions == 1:
        return recording.samples[0].astype(dtype)
    return np.stack(recording.samples).astype(dtype, copy=False)


def _column_name(channel: Channel) -> str:
    """Name and unit without commas and line ends, nor what could steer a terminal."""
    text = f"{channel.name} ({channel.unit})"
    return "".join(character if character.isprintable() and character != "," else " " for character in text)


def _common_width(description: RecordingDescription, what: str) -> int:
    widths = {channel.samples_per_frame for channel in description.channels}
    if len(widths) > 1:
        raise InvalidSignalError(
            f"channels have different sampling rates; they do not fit in one {what}. Use --to wfdb"
        )
    return widths.pop()


def _ranges(recording: Recording) -> list[tuple[int, int]]:
    return [(int(values.min()), int(values.max())) if len(values) else (0, 0) for values in recording.samples]


def _declared_ranges(description: RecordingDescription) -> list[tuple[int, int]]:
    ends = [
        [channel.minimum, channel.maximum, *([] if channel.invalid is None else [channel.invalid])]
        for channel in description.channels
    ]
    return [(min(values), max(values)) for values in ends]


def _array_form(description: RecordingDescription, value_ranges: Ranges) -> tuple[np.dtype[Any], int]:
    """Return dtype and number of dimensions: those of the array from which a recording came if they hold its values."""
    kind, _, form = description.source.partition(":")
    dtype, _, n_dimensions = form.partition(":")
    if kind != "array" or dtype not in _INTEGER_TYPES or (n_dimensions == "1" and len(description.channels) > 1):
        return np.dtype(np.int32), 2
    limits = np.iinfo(dtype)
    if any(low < limits.min or high > limits.max for low, high in value_ranges):
        return np.dtype(np.int32), 2
    return np.dtype(dtype), 1 if n_dimensions == "1" else 2
