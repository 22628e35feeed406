"""NumPy ``.npy`` files as recordings, and recordings as ``.npy`` and CSV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import INT32_MAX, INT32_MIN, Channel, Recording
from sancodec.errors import InvalidSignalError

_INTEGER_TYPES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


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
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise InvalidSignalError(
            f"samples are {array.dtype} of {array.ndim} dimensions; "
            "integers of shape (channel, sample) or (sample,) are needed"
        )
    if array.size and (int(array.min()) < INT32_MIN or int(array.max()) > INT32_MAX):
        raise InvalidSignalError(f"samples reach {int(array.min())}…{int(array.max())}; values must fit in 32 bits")
    rows = np.atleast_2d(array)
    if not rows.size:
        raise InvalidSignalError(f"samples have shape {array.shape}; there is nothing to compress")
    bits = 8 * array.dtype.itemsize
    limits = np.iinfo(array.dtype)
    low, high = max(int(limits.min), INT32_MIN), min(int(limits.max), INT32_MAX)
    channels = tuple(
        Channel(f"channel {index}", resolution_bits=min(bits, 32), minimum=low, maximum=high)
        for index in range(len(rows))
    )
    rate = sampling_rate_hz if isinstance(sampling_rate_hz, Fraction) else _rate(sampling_rate_hz)
    source = f"array:{array.dtype.kind}{array.dtype.itemsize}:{array.ndim}"
    return Recording(channels, tuple(np.ascontiguousarray(row, np.int32) for row in rows), rate, source)


def _rate(sampling_rate_hz: float) -> Fraction:
    if not (np.isfinite(sampling_rate_hz) and sampling_rate_hz > 0):
        raise InvalidSignalError(f"sampling rate is {sampling_rate_hz} Hz; it must be a number above 0")
    return Fraction(str(sampling_rate_hz))


def read_array(path: Path, *, sampling_rate_hz: float | None) -> Recording:
    """Read integers of shape ``(channel, sample)`` or ``(sample,)``.

    Raises
    ------
    InvalidSignalError
        When the file is not such an array, or the sampling rate is missing.
    """
    if sampling_rate_hz is None:
        raise InvalidSignalError(f"{path}: a .npy array does not state its sampling rate; give it with --rate HZ")
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InvalidSignalError(f"{path}: there is no such file") from None
    except (ValueError, EOFError) as error:
        raise InvalidSignalError(f"{path}: it is not a .npy array of numbers ({error})") from None
    try:
        return recording_of(array, sampling_rate_hz=sampling_rate_hz)
    except InvalidSignalError as error:
        raise InvalidSignalError(f"{path}: {error}") from None


def write_npy(recording: Recording, file: BinaryIO) -> None:
    """Write samples in stored units, shape ``(channel, sample)``, or ``(sample,)`` as they came.

    Raises
    ------
    InvalidSignalError
        When channels have different sampling rates.
    """
    np.save(file, stacked(recording), allow_pickle=False)


def stacked(recording: Recording) -> np.ndarray[tuple[int, ...], np.dtype[np.integer]]:
    """All samples as one array; arrays come back in the dtype and shape in which they were given."""
    if len({len(channel) for channel in recording.samples}) > 1:
        raise InvalidSignalError("channels have different sampling rates; they do not fit in one array. Use --to wfdb")
    rows = np.stack(recording.samples)
    kind, _, form = recording.source.partition(":")
    dtype, _, n_dimensions = form.partition(":")
    if kind != "array" or dtype not in _INTEGER_TYPES:
        return rows
    limits = np.iinfo(dtype)
    if (n_dimensions == "1" and len(rows) > 1) or rows.min() < limits.min or rows.max() > limits.max:
        return rows
    return (rows[0] if n_dimensions == "1" else rows).astype(dtype)


def write_csv(recording: Recording, file: BinaryIO) -> None:
    """Write one row per sample: time in s, then every channel in its physical unit; missing samples stay empty."""
    if len({len(channel) for channel in recording.samples}) > 1:
        raise InvalidSignalError("channels have different sampling rates; they do not fit in one table. Use --to wfdb")
    rate_hz = float(recording.sampling_rate_hz(0))
    names = [f"{channel.name} ({channel.unit})".replace(",", " ").replace("\n", " ") for channel in recording.channels]
    file.write((",".join(["time (s)", *names]) + "\n").encode())
    block = 100_000
    for first in range(0, len(recording.samples[0]), block):
        columns = [[f"{index / rate_hz:.6f}" for index in range(first, min(first + block, len(recording.samples[0])))]]
        for channel, samples in zip(recording.channels, recording.samples, strict=True):
            part = samples[first : first + block]
            physical = (part.astype(np.float64) - channel.baseline) / channel.gain
            text = [f"{value:.9g}" for value in physical.tolist()]
            if channel.invalid is not None:
                for index in np.flatnonzero(part == channel.invalid):
                    text[index] = ""
            columns.append(text)
        file.write(("\n".join(",".join(row) for row in zip(*columns, strict=True)) + "\n").encode())
