"""Recordings as inputs of the commands: WFDB records, EDF and BDF files, arrays, standard input."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sancodec.cli.files import (
    SAN_SUFFIX,
    STANDARD_INPUT,
    STANDARD_STREAM,
    copy_standard_input,
    standard_input,
)
from sancodec.errors import InvalidSignalError, SancodecError

if TYPE_CHECKING:
    from sancodec.codec.recording import Recording
    from sancodec.datasets.kinds import OpenInput

_ARRAY_MAGIC = b"\x93NUMPY"
_SAN_MAGIC = b"\x89SAN"
_MAGIC_BYTES = 8
_EDF_MAGICS = {b"0       ": ".edf", b"\xffBIOSEMI": ".bdf"}
_LATER_SUFFIXES = {".csv": "CSV"}


@contextmanager
def open_input(name: str, *, sampling_rate_hz: float | None, header: str | None, exact: bool) -> Iterator[OpenInput]:
    """Open a recording by its file name: a WFDB record, an EDF or BDF file, a ``.npy`` array, or standard input.

    Parameters
    ----------
    sampling_rate_hz
        For arrays, and only for them.
    header
        WFDB header of a signal file on standard input.
    exact
        Keep what is needed to restore all files byte for byte.

    Raises
    ------
    InvalidSignalError
        When it cannot be read.
    """
    if name == STANDARD_STREAM:
        if header is not None:
            from sancodec.datasets.kinds import refuse_rate

            refuse_rate(STANDARD_INPUT, sampling_rate_hz)
        standard = _standard_file(sampling_rate_hz) if header is None else _standard_record(header, exact=exact)
        with standard as opened:
            yield opened
        return
    path = Path(name)
    _check_suffix(path)
    from sancodec.datasets.kinds import open_file

    with open_file(path, sampling_rate_hz=sampling_rate_hz, exact=exact) as opened:
        yield opened


def read_recording(name: str, *, sampling_rate_hz: float | None) -> Recording:
    """Read a recording by its file name, all at once.

    Raises
    ------
    InvalidSignalError
        When it cannot be read.
    """
    from sancodec.datasets.pieces import read_all

    with open_input(name, sampling_rate_hz=sampling_rate_hz, header=None, exact=False) as opened:
        return read_all(opened.source)


def _check_suffix(path: Path) -> None:
    if path.suffix == SAN_SUFFIX:
        raise InvalidSignalError(f"{path}: it is compressed already; use decompress, info or verify")
    if path.suffix.lower() in _LATER_SUFFIXES:
        kind = _LATER_SUFFIXES[path.suffix.lower()]
        raise InvalidSignalError(
            f"{path}: {kind} input is not supported by this release; give a WFDB record, an EDF or BDF file, or a "
            ".npy array"
        )


@contextmanager
def _standard_file(sampling_rate_hz: float | None) -> Iterator[OpenInput]:
    """An array, an EDF or a BDF file, by its first bytes."""
    from sancodec.datasets.kinds import refuse_rate

    with standard_input() as file:
        head = file.read(_MAGIC_BYTES)
        file.seek(0)
        if head in _EDF_MAGICS:
            refuse_rate(STANDARD_INPUT, sampling_rate_hz)
            opening = _standard_edf(file, _EDF_MAGICS[head])
        else:
            opening = _standard_array(file, head, sampling_rate_hz)
        with opening as opened:
            yield opened


@contextmanager
def _standard_edf(file: BinaryIO, suffix: str) -> Iterator[OpenInput]:
    """Under a name of its own in a folder of its own: what is restored from it needs a name."""
    from sancodec.datasets.edf_source import open_edf
    from sancodec.datasets.kinds import OpenInput

    with tempfile.TemporaryDirectory(prefix="sancodec-") as folder:
        path = Path(folder) / f"standard-input{suffix}"
        with path.open("xb") as copied:
            shutil.copyfileobj(file, copied)
        with _named(folder), open_edf(path) as edf:
            yield OpenInput(edf, edf.n_bytes)


@contextmanager
def _standard_array(file: BinaryIO, head: bytes, sampling_rate_hz: float | None) -> Iterator[OpenInput]:
    from sancodec.datasets.array_source import ArraySource
    from sancodec.datasets.kinds import OpenInput

    magic = head[: len(_ARRAY_MAGIC)]
    if magic.startswith(_SAN_MAGIC):
        raise InvalidSignalError(f"{STANDARD_INPUT}: it is compressed already; use decompress, info or verify")
    if magic != _ARRAY_MAGIC:
        raise InvalidSignalError(
            f"{STANDARD_INPUT}: is neither a .npy array nor an EDF or BDF file; for a WFDB signal file name its header "
            "with --header FILE.hea"
        )
    if sampling_rate_hz is None:
        raise InvalidSignalError(
            f"{STANDARD_INPUT}: a .npy array does not state its sampling rate; give it with --rate HZ"
        )
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    with _named():
        source = ArraySource(file, sampling_rate_hz=sampling_rate_hz)
    yield OpenInput(source, n_bytes)


@contextmanager
def _standard_record(header: str, *, exact: bool) -> Iterator[OpenInput]:
    """The record of a header whose only signal file is standard input, in a folder of its own until the end."""
    from sancodec.datasets.kinds import OpenInput
    from sancodec.datasets.wfdb_header import read_header
    from sancodec.datasets.wfdb_lines import check_file_name
    from sancodec.datasets.wfdb_source import open_wfdb

    header_path = Path(header)
    if header_path.suffix != ".hea":
        raise InvalidSignalError(f"{header}: is no WFDB header; --header needs a FILE.hea")
    try:
        parsed = read_header(header_path)
    except OSError as error:
        raise InvalidSignalError(f"{header}: cannot be read: {error.strerror}") from None
    names = [group.file_name for group in parsed.groups]
    if len(names) != 1:
        raise InvalidSignalError(
            f"{header}: it names {len(names)} signal files ({', '.join(names)}); {STANDARD_INPUT} can be one only. "
            "Compress the record by its name"
        )
    check_file_name(names[0], where=header, kind="signal file")
    with tempfile.TemporaryDirectory(prefix="sancodec-") as folder:
        copied = Path(folder) / header_path.name
        copied.write_bytes(parsed.content)
        with (Path(folder) / names[0]).open("xb") as file:
            copy_standard_input(file)
        with _named(folder), open_wfdb(copied, exact=exact) as record:
            yield OpenInput(record, record.n_bytes)


@contextmanager
def _named(folder: str | None = None) -> Iterator[None]:
    """Let errors name standard input, not the file that it was copied to."""
    try:
        yield
    except SancodecError as error:
        text = str(error) if folder is None else str(error).replace(f"{folder}{os.sep}", "")
        raise type(error)(text if text.startswith(STANDARD_INPUT) else f"{STANDARD_INPUT}: {text}") from None
