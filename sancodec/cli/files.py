"""Inputs and outputs of the commands: recordings by name, files that appear whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError

if TYPE_CHECKING:
    from sancodec.codec.recording import Recording

STANDARD_STREAM = "-"
SAN_SUFFIX = ".san"
_ARRAY_SUFFIX = ".npy"
_LATER_SUFFIXES = {".edf": "EDF", ".bdf": "BDF", ".csv": "CSV", ".png": "image", ".pgm": "image"}


def read_recording(name: str, *, sampling_rate_hz: float | None) -> Recording:
    """A recording by its file name: WFDB record or NumPy array.

    Raises
    ------
    InvalidSignalError
        When it cannot be read.
    """
    path = Path(name)
    if path.suffix == SAN_SUFFIX:
        raise InvalidSignalError(f"{name}: it is compressed already; use decompress, info or verify")
    if path.suffix.lower() in _LATER_SUFFIXES:
        kind = _LATER_SUFFIXES[path.suffix.lower()]
        raise InvalidSignalError(
            f"{name}: {kind} input is not supported by this release; give a WFDB record or a .npy array"
        )
    if path.suffix == _ARRAY_SUFFIX:
        from sancodec.datasets.arrays import read_array

        return read_array(path, sampling_rate_hz=sampling_rate_hz)
    if sampling_rate_hz is not None:
        raise InvalidSignalError(f"{name}: --rate is for .npy arrays; a WFDB header states its own sampling rate")
    from sancodec.datasets.wfdb_record import read_wfdb

    return read_wfdb(path)


def input_bytes(name: str, recording: Recording) -> int:
    """Size of the files behind a recording."""
    path = Path(name)
    if recording.source != "wfdb":
        return path.stat().st_size
    from sancodec.datasets.wfdb_header import find_header, read_header

    header_path = find_header(path)
    names = {group.file_name for group in read_header(header_path).groups}
    return header_path.stat().st_size + sum((header_path.parent / each).stat().st_size for each in names)


def default_output(name: str) -> Path:
    """``file.san`` beside the input."""
    path = Path(name)
    return (
        path.with_suffix(SAN_SUFFIX)
        if path.suffix in (".dat", ".hea", ".npy", ".mat")
        else path.with_name(path.name + SAN_SUFFIX)
    )


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that appears under its name only when the block ends well; readable and writable inside.

    Raises
    ------
    OutputExistsError
        When the file exists and ``force`` is not given.
    """
    check_output(path, force=force)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not force:
            check_output(path, force=False)
        temporary.replace(path)
    except OSError as error:
        raise SancodecError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that exists, or whose folder does not."""
    if path.is_dir():
        raise OutputExistsError(f"{path}: is a directory; give a file name with -o")
    if not force and path.exists():
        raise OutputExistsError(f"{path}: exists already; give another name with -o, or --force to replace it")
    if not path.parent.is_dir():
        raise OutputExistsError(f"{path}: the folder {path.parent} does not exist; create it first")


@contextmanager
def open_container(name: str) -> Iterator[BinaryIO]:
    """A .san file, or standard input held in memory, as a seekable file."""
    if name == STANDARD_STREAM:
        yield io.BytesIO(sys.stdin.buffer.read())
        return
    path = Path(name)
    if path.is_dir():
        raise InvalidSignalError(f"{name}: is a directory; give a .san file")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InvalidSignalError(f"{name}: there is no such file") from None
    with file:
        yield file


def rate_text(rate_hz: Fraction) -> str:
    """A sampling rate without needless digits."""
    return f"{float(rate_hz):.10g} Hz"
