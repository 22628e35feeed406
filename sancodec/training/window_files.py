"""Files that hold windows rather than recordings: NumPy arrays, tables in the layout of UCI-epilepsy, IDX images."""

from __future__ import annotations

import csv
import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

MAX_SAMPLES = 1 << 30
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_COLUMN = re.compile(r"X[0-9]+")


def read_npy(path: Path) -> NDArray[Any]:
    """A ``.npy`` array of numbers: ``(window, sample)``, ``(window, row, column)``, or ``(sample,)`` of one signal.

    Raises
    ------
    InvalidSignalError
        When it cannot be read, holds anything but real numbers or has other dimensions.
    """
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidSignalError(f"{path}: cannot be read as a .npy array: {reason}") from None
    if not isinstance(values, np.ndarray):
        values.close()
        raise InvalidSignalError(f"{path}: is an archive of several arrays; give a .npy file with one")
    if values.dtype.kind not in "iuf" or values.ndim not in (1, 2, 3) or not values.size:
        raise InvalidSignalError(
            f"{path}: is {values.dtype} of shape {values.shape}; real numbers of shape (window, sample), "
            "(window, row, column) or (sample,) are needed"
        )
    return values


def read_csv(path: Path) -> NDArray[np.float64]:
    """A table in the layout of UCI-epilepsy: one window a row, its samples in the columns ``X1``, ``X2``, ….

    Other columns, such as the names of rows and the labels ``y``, are left out.

    Returns
    -------
    Shape ``(window, sample)``.

    Raises
    ------
    InvalidSignalError
        When it cannot be read or has another layout.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _table(path, csv.reader(file))
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidSignalError(f"{path}: is no table of text: {error}") from None


def _table(path: Path, rows: Iterable[list[str]]) -> NDArray[np.float64]:
    numbered = enumerate(rows, start=1)
    _, names = next(numbered, (1, list[str]()))
    columns = [index for index, name in enumerate(names) if _COLUMN.fullmatch(name.strip())]
    if not columns:
        raise InvalidSignalError(f"{path}: line 1 names no columns X1, X2, …; the layout of UCI-epilepsy is needed")
    windows = []
    for line, row in numbered:
        if not row:
            continue
        if len(row) != len(names):
            raise InvalidSignalError(f"{path}: line {line} has {len(row)} cells; line 1 has {len(names)}")
        try:
            windows.append(np.array([row[index] for index in columns], np.float64))
        except ValueError:
            raise InvalidSignalError(f"{path}: line {line} has a cell that is no number") from None
    if not windows:
        raise InvalidSignalError(f"{path}: has no windows below line 1")
    return np.stack(windows)


def is_idx(path: Path) -> bool:
    """Whether a file is IDX by its name: ``.idx``, or ``-ubyte`` at the end as of MNIST; both also with ``.gz``."""
    name = path.name.removesuffix(".gz")
    return name.endswith((".idx", "-ubyte"))


def read_idx(path: Path) -> NDArray[Any]:
    """An IDX file, gzipped or not, as of MNIST.

    Returns
    -------
    Shape ``(window, row, column)`` or ``(window, sample)``, of the type that the file states.

    Raises
    ------
    InvalidSignalError
        When it cannot be read, is not IDX, or holds labels.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            return _idx(path, cast(BinaryIO, file))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidSignalError(f"{path}: is damaged: {error}") from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from None


def _idx(path: Path, file: BinaryIO) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise InvalidSignalError(f"{path}: is no IDX file; its first four bytes are {magic.hex(' ')}")
    n_dims, dtype = magic[3], np.dtype(_IDX_TYPES[magic[2]])
    if n_dims not in (2, 3):
        kind = "labels" if n_dims == 1 else f"an array of {n_dims} dimensions"
        raise InvalidSignalError(f"{path}: holds {kind}; an IDX file of 2 or 3 dimensions is needed")
    lengths = file.read(4 * n_dims)
    if len(lengths) < 4 * n_dims:
        raise InvalidSignalError(f"{path}: ends within its head")
    shape = struct.unpack(f">{n_dims}I", lengths)
    if not 0 < math.prod(shape) <= MAX_SAMPLES:
        raise InvalidSignalError(f"{path}: states the shape {shape}; 1 to {MAX_SAMPLES} samples are read")
    n_bytes = math.prod(shape) * dtype.itemsize
    content = file.read(n_bytes)
    if len(content) < n_bytes or file.read(1):
        found = f"{len(content)}" if len(content) < n_bytes else f"more than {n_bytes}"
        raise InvalidSignalError(f"{path}: states the shape {shape}, which is {n_bytes} bytes, but has {found}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
