"""The kinds of recordings that files hold: how each is known, read, and given back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import FrameSource, RecordingDescription
from sancodec.datasets.arrays import NpyWriter, open_array
from sancodec.datasets.edf_restore import EdfComparison, restored_edf
from sancodec.datasets.edf_source import EdfSource, open_edf
from sancodec.datasets.file_writer import FileBytes, FileComparison, FileWriter
from sancodec.datasets.wfdb_header import WfdbHeader, find_header, read_header
from sancodec.datasets.wfdb_lines import GAP, MAX_HEADER_BYTES
from sancodec.datasets.wfdb_segmented_restore import record_bytes
from sancodec.datasets.wfdb_segmented_source import (
    SegmentedSource,
    check_rescaled,
    header_beside,
    open_record,
    read_plan,
)
from sancodec.datasets.wfdb_segments import SegmentedHeader, read_segmented
from sancodec.datasets.wfdb_side_files import HEADER_SUFFIX
from sancodec.datasets.wfdb_source import WfdbSource
from sancodec.datasets.wfdb_writer import WfdbComparison
from sancodec.errors import InvalidSignalError, UnsupportedVersionError
from sancodec.new_files import new_file

Pieces = Iterable[list[NDArray[np.int32]]]

_FIRST_LINE = re.compile(rb"^[ \t]*([^\s#]\S*)[ \t]+(\d+)(?=\s|$)", re.MULTILINE)
_LAYOUT_LINE = re.compile(rb"^[ \t]*~[ \t]", re.MULTILINE)


class _Opener(Protocol):
    def __call__(
        self, path: Path, *, sampling_rate_hz: float | None, exact: bool
    ) -> AbstractContextManager[FrameSource]: ...


class _Files(Protocol):
    def __call__(self, path: Path, *, exact: bool) -> tuple[Path, ...]: ...


class _Writer(Protocol):
    def __call__(
        self, description: RecordingDescription, pieces: Pieces, folder: Path, stem: str, *, force: bool
    ) -> list[Path]: ...


@dataclass(frozen=True, slots=True)
class InputKind:
    """One kind of recording.

    Parameters
    ----------
    name
        What `Recording.source` begins with.
    suffixes
        Of the file that stands for a recording of this kind in a folder, in lower case; see `kind_by_suffix`.
    open
        Opens the recording of such a file; raises InvalidSignalError. ``exact`` keeps what is needed to restore all
        files byte for byte.
    headers
        The files that `files` reads, that one first; raises InvalidSignalError. None for a kind of one file.
    files
        The files that the recording consists of, that one first; raises InvalidSignalError, also where they can be one
        recording only if that is compressed losslessly, and ``exact`` is false.
    has_samples
        Whether such a file stands for a recording at all.
    takes_rate
        Whether the sampling rate must be told, since the files do not state it.
    keeps_names
        Whether the container holds the names of the files; else they follow from the stem and the first suffix.
    compare
        Compares an opened recording with the description from which it would be restored; None for a kind whose files
        may come back with other bytes though every sample is the same.
    restored_names
        Names of the files that `write` makes of a description and the stem of the ``.san`` file.
    write
        Writes a recording, whose decoded pieces come in order, into a folder under these names.
    """

    name: str
    suffixes: tuple[str, ...]
    open: _Opener
    headers: Callable[[Path], tuple[Path, ...]] | None
    files: _Files
    has_samples: Callable[[Path], bool]
    takes_rate: bool
    keeps_names: bool
    compare: Callable[[FrameSource, RecordingDescription], FileComparison] | None
    restored_names: Callable[[RecordingDescription, str], tuple[str, ...]]
    write: _Writer


@dataclass(frozen=True, slots=True, eq=False)
class OpenInput:
    """A recording opened for reading range by range.

    Parameters
    ----------
    n_bytes
        Size of the files behind it.
    """

    source: FrameSource
    n_bytes: int


def _restored_names(content: FileBytes) -> tuple[str, ...]:
    with closing(content):
        return content.file_names


def _write_files(content: FileBytes, pieces: Pieces, folder: Path, *, force: bool) -> list[Path]:
    with FileWriter(content, folder, force=force) as writer:
        for piece in pieces:
            writer.write(piece)
        return writer.finish()


def _open_record(path: Path, *, sampling_rate_hz: float | None, exact: bool) -> AbstractContextManager[FrameSource]:
    return open_record(path, exact=exact)


def _record_headers(path: Path) -> tuple[Path, ...]:
    """The header, and of a record of several segments those of its layout and its segments."""
    header_path, segmented = _header_of(path)
    if segmented is None:
        return (header_path,)
    names = [segmented.layout_name, *(each.name for each in segmented.segments if each.name != GAP)]
    return tuple(
        dict.fromkeys([header_path, *(header_beside(header_path, name) for name in names if name is not None)])
    )


def _record_files(path: Path, *, exact: bool) -> tuple[Path, ...]:
    header_path, segmented = _header_of(path)
    try:
        headers: list[WfdbHeader | None] = [read_header(header_path)] if segmented is None else []
    except OSError as error:
        raise InvalidSignalError(f"{header_path}: cannot be read: {error.strerror}") from error
    if segmented is not None:
        _, headers, plan = read_plan(header_path, segmented)
        if not exact:
            check_rescaled(header_path, plan.rescaled)
    groups = [group for header in headers if header is not None for group in header.groups]
    signal_files = [header_path.parent / group.file_name for group in groups]
    return tuple(dict.fromkeys([*_record_headers(header_path), *signal_files]))


def _header_of(path: Path) -> tuple[Path, SegmentedHeader | None]:
    try:
        header_path = find_header(path)
        return header_path, read_segmented(header_path)
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error


def _has_signals(path: Path) -> bool:
    """False for headers of the layout of several segments, and of annotations alone."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HEADER_BYTES)
    except OSError:
        return True  # reading it tells why
    line = _FIRST_LINE.search(content)
    if line is None:
        return True
    is_layout = b"/" not in line[1] and _LAYOUT_LINE.search(content) is not None  # of several segments it is a gap
    return line[2].strip(b"0") != b"" and not is_layout  # a number of any length


def _compare_record(source: FrameSource, description: RecordingDescription) -> FileComparison:
    return WfdbComparison(cast(WfdbSource | SegmentedSource, source), description)


def _record_names(description: RecordingDescription, stem: str) -> tuple[str, ...]:
    return _restored_names(record_bytes(description))


def _write_record(
    description: RecordingDescription, pieces: Pieces, folder: Path, stem: str, *, force: bool
) -> list[Path]:
    return _write_files(record_bytes(description), pieces, folder, force=force)


def _open_edf_file(path: Path, *, sampling_rate_hz: float | None, exact: bool) -> AbstractContextManager[FrameSource]:
    return open_edf(path)


def _compare_edf(source: FrameSource, description: RecordingDescription) -> FileComparison:
    return EdfComparison(cast(EdfSource, source), description)


def _edf_names(description: RecordingDescription, stem: str) -> tuple[str, ...]:
    return _restored_names(restored_edf(description))


def _write_edf(
    description: RecordingDescription, pieces: Pieces, folder: Path, stem: str, *, force: bool
) -> list[Path]:
    return _write_files(restored_edf(description), pieces, folder, force=force)


def _open_array_file(path: Path, *, sampling_rate_hz: float | None, exact: bool) -> AbstractContextManager[FrameSource]:
    return open_array(path, sampling_rate_hz=sampling_rate_hz)


def _array_names(description: RecordingDescription, stem: str) -> tuple[str, ...]:
    return (restored_name(stem, ARRAY),)


def _write_array(
    description: RecordingDescription, pieces: Pieces, folder: Path, stem: str, *, force: bool
) -> list[Path]:
    path = folder / _array_names(description, stem)[0]
    with new_file(path, force=force) as file:
        writer = NpyWriter(description, file)
        for piece in pieces:
            writer.write(piece)
        writer.finish()
    return [path]


def _alone(path: Path, *, exact: bool) -> tuple[Path, ...]:
    return (path,)


def _always(path: Path) -> bool:
    return True


WFDB = InputKind(
    "wfdb",
    (HEADER_SUFFIX,),
    open=_open_record,
    headers=_record_headers,
    files=_record_files,
    has_samples=_has_signals,
    takes_rate=False,
    keeps_names=True,
    compare=_compare_record,
    restored_names=_record_names,
    write=_write_record,
)
EDF = InputKind(
    "edf",
    (".edf", ".bdf"),
    open=_open_edf_file,
    headers=None,
    files=_alone,
    has_samples=_always,
    takes_rate=False,
    keeps_names=True,
    compare=_compare_edf,
    restored_names=_edf_names,
    write=_write_edf,
)
ARRAY = InputKind(
    "array",
    (".npy",),
    open=_open_array_file,
    headers=None,
    files=_alone,
    has_samples=_always,
    takes_rate=True,
    keeps_names=False,
    compare=None,
    restored_names=_array_names,
    write=_write_array,
)
KINDS = (WFDB, EDF, ARRAY)


def restored_name(stem: str, kind: InputKind) -> str:
    """What ``STEM.san`` is called when it comes back: ``STEM`` with the first suffix of its kind, where it has none."""
    return stem if stem.lower().endswith(kind.suffixes[0]) else f"{stem}{kind.suffixes[0]}"


def kind_by_suffix(path: PurePath) -> InputKind | None:
    """The kind of the recording that a file may stand for; upper case is one with lower case, but not for WFDB."""
    suffix = path.suffix if path.suffix.lower() in WFDB.suffixes else path.suffix.lower()
    return next((kind for kind in KINDS if suffix in kind.suffixes), None)


def kind_of(path: Path) -> InputKind | None:
    """The kind of the recording that a file in a folder stands for; None where it stands for none."""
    kind = kind_by_suffix(path)
    return kind if kind is not None and kind.has_samples(path) else None


def kind_of_source(source: str) -> InputKind:
    """The kind of a recording by its `Recording.source`.

    Raises
    ------
    UnsupportedVersionError
        When this release knows no such kind.
    """
    for kind in KINDS:
        if source == kind.name or source.startswith(f"{kind.name}:"):
            return kind
    raise UnsupportedVersionError(f"it came from {source!r}, which this release cannot write; decompress it with --to")


@contextmanager
def open_file(path: Path, *, sampling_rate_hz: float | None, exact: bool) -> Iterator[OpenInput]:
    """Open a recording by the name of a file: of its own kind by the suffix, a WFDB record otherwise.

    Parameters
    ----------
    sampling_rate_hz
        For arrays, and only for them.
    exact
        Keep what is needed to restore all files byte for byte.

    Raises
    ------
    InvalidSignalError
        When it cannot be read.
    """
    kind = kind_by_suffix(path) or WFDB
    if not kind.takes_rate:
        refuse_rate(str(path), sampling_rate_hz)
    with kind.open(path, sampling_rate_hz=sampling_rate_hz, exact=exact) as source:
        yield OpenInput(source, sum(each.stat().st_size for each in kind.files(path, exact=True)))


def refuse_rate(where: str, sampling_rate_hz: float | None) -> None:
    """Refuse a sampling rate for an input that states its own; raises InvalidSignalError."""
    if sampling_rate_hz is not None:
        raise InvalidSignalError(f"{where}: --rate is for .npy arrays; this input states its own sampling rate")
