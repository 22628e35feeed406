"""Writing WFDB records piece by piece, and comparing what would be written with files that are there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import RecordingDescription
from sancodec.datasets.wfdb_header import find_header
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.datasets.wfdb_restore import RecordBytes
from sancodec.datasets.wfdb_source import WfdbSource
from sancodec.errors import CorruptError, InvalidSignalError, OutputExistsError, SancodecError


class WfdbWriter:
    """A WFDB record being written; use as a context manager.

    Files appear under their names when ``finish`` returns, all of them or, after any error, none; a block left before
    that leaves the folder as it was.

    Parameters
    ----------
    description
        The recording: one that came from WFDB gets its files back in their formats and under their names, the header
        with every byte except initial values and checksums that no longer fit the samples.  Any other gets
        ``NAME.dat`` in format 16, 24 or 32 (the first that holds ``value_ranges``) and ``NAME.hea``.
    directory
        An existing folder.
    name
        Record name; needed for, and only for, a recording that does not come from WFDB.
    force
        Overwrite existing files.
    value_ranges
        (minimum, maximum) of each channel's samples that are not missing, for a recording that does not come from
        WFDB; the channels' declared ranges by default.

    Raises
    ------
    InvalidSignalError
        If the side files are damaged, the name is missing or not a record name, or no format holds the samples.
    OutputExistsError
        If a file exists and ``force`` is false.
    SancodecError
        If the folder is missing or cannot be written to.
    """

    def __init__(
        self,
        description: RecordingDescription,
        directory: str | Path,
        *,
        name: str | None = None,
        force: bool = False,
        value_ranges: Ranges | None = None,
    ) -> None:
        self._directory, self._force = Path(directory), force
        self._bytes = RecordBytes(description, name=name, value_ranges=value_ranges)
        self._token = secrets.token_hex(4)
        self._files = dict[str, BinaryIO]()
        self._is_published = False

    def __enter__(self) -> WfdbWriter:
        try:
            for name in self._bytes.file_names:
                _refuse_existing(self._directory / name, force=self._force)
            for name in self._bytes.file_names:
                self._files[name] = self._part(name).open("xb")
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError):
                raise self._cannot_be_written(error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._abandon()

    def write(self, samples: Sequence[NDArray[np.int32]]) -> None:
        """Append frames: one int32 array per channel, shape ``(n * samples_per_frame,)``, in stored units (adu).

        Raises
        ------
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the format, or a side file the samples.
        SancodecError
            If the disk is full.
        """
        try:
            for name, block in self._bytes.piece(samples):
                self._files[name].write(block)
        except OSError as error:
            raise self._cannot_be_written(error) from error

    def finish(self) -> list[Path]:
        """Publish all files under their names and return their paths, the header last.

        Raises
        ------
        InvalidSignalError
            If frames are missing, or a side file does not fit the samples.
        OutputExistsError
            If a file has appeared meanwhile and ``force`` is false.
        SancodecError
            If the folder cannot be written to.
        """
        try:
            for name, block in self._bytes.end():
                self._files[name].write(block)
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()
            self._publish()
        except OSError as error:
            raise self._cannot_be_written(error) from error
        return [self._directory / name for name in self._files]

    def _publish(self) -> None:
        """Rename all files; after an error the folder is as it was."""
        created, moved = list[Path](), list[tuple[Path, Path]]()
        try:
            for name in self._files:
                target = self._directory / name
                _refuse_existing(target, force=self._force)
                if target.exists():
                    backup = self._hidden(name, "old")
                    target.replace(backup)
                    moved.append((backup, target))
                self._part(name).replace(target)
                created.append(target)
        except BaseException:
            for path in created:
                path.unlink(missing_ok=True)
            for backup, target in moved:
                backup.replace(target)
            raise
        self._is_published = True
        for backup, _ in moved:
            backup.unlink()
        _sync_folder(self._directory)

    def _part(self, name: str) -> Path:
        return self._hidden(name, "part")

    def _hidden(self, name: str, suffix: str) -> Path:
        # A number tells names apart that are cut here: a name may be as long as the file system allows.
        number = self._bytes.file_names.index(name)
        return self._directory / f".{name[:40]}.{self._token}.{number}.{suffix}"

    def _abandon(self) -> None:
        self._bytes.close()
        for name, file in self._files.items():
            with suppress(OSError):  # what could not be written before cannot be written now
                file.close()
            if not self._is_published:
                self._part(name).unlink(missing_ok=True)

    def _cannot_be_written(self, error: OSError) -> SancodecError:
        return SancodecError(f"{self._directory}: cannot be written: {error.strerror}")


class WfdbComparison:
    """Compares the files that would be restored with the original ones, byte for byte; use as a context manager.

    Parameters
    ----------
    source
        The original record, as for ``open_wfdb``, or opened.
    description
        The recording from which the files would be restored; it came from WFDB.

    Raises
    ------
    InvalidSignalError
        If there is no such record, the description did not come from WFDB, or its side files are damaged.
    CorruptError
        If the restored record would have other files.
    """

    def __init__(self, source: str | Path | WfdbSource, description: RecordingDescription) -> None:
        if description.source != "wfdb":
            raise InvalidSignalError(f"the recording came from {description.source!r}, not from a WFDB record")
        self._bytes = RecordBytes(description)
        self._offsets = dict.fromkeys(self._bytes.file_names, 0)
        self._files = dict[str, BinaryIO]()
        self._closing = ExitStack()
        self._closing.callback(self._bytes.close)
        try:
            header_path = source.header_path if isinstance(source, WfdbSource) else find_header(Path(source))
            self._folder = header_path.parent
            if self._bytes.file_names[-1] != header_path.name:
                raise CorruptError(f"{header_path}: would be restored as {self._bytes.file_names[-1]!r}")
            for name in self._bytes.file_names:
                self._files[name] = self._closing.enter_context((self._folder / name).open("rb"))
        except OSError as error:
            self.close()
            raise CorruptError(f"{error.filename}: would be restored, but cannot be read: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WfdbComparison:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the original files."""
        self._closing.close()

    def write(self, samples: Sequence[NDArray[np.int32]]) -> None:
        """Compare the bytes of the next frames: one int32 array per channel, shape ``(n * samples_per_frame,)``.

        Raises
        ------
        CorruptError
            Naming the file and the offset of the first byte that would differ.
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the format, or a side file the samples.
        """
        for name, block in self._bytes.piece(samples):
            self._compare(name, block)

    def finish(self) -> None:
        """Compare what comes after the last frame, and the header; raises as ``write``."""
        for name, block in self._bytes.end():
            self._compare(name, block)
        for name, file in self._files.items():
            if file.read(1):
                raise CorruptError(f"{self._folder / name}: would be restored with only {self._offsets[name]} bytes")

    def _compare(self, name: str, restored: bytes) -> None:
        original = self._files[name].read(len(restored))
        if original != restored:
            n_both = min(len(original), len(restored))
            differs = np.frombuffer(original, np.uint8, n_both) != np.frombuffer(restored, np.uint8, n_both)
            offset = self._offsets[name] + (int(differs.argmax()) if differs.any() else n_both)
            raise CorruptError(f"{self._folder / name}: would be restored with another byte at offset {offset}")
        self._offsets[name] += len(restored)


def _sync_folder(directory: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse_existing(target: Path, *, force: bool) -> None:
    if target.is_dir() or (not force and (target.exists() or target.is_symlink())):
        raise OutputExistsError(f"{target}: exists already; choose another folder or overwrite it explicitly")
