"""Files written piece by piece from samples, and comparing what would be written with files that are there."""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import CorruptError, OutputExistsError, SancodecError

_MAX_OPEN = 64


class FileBytes(Protocol):
    """The bytes of all files of a recording, made of consecutive pieces of samples."""

    @property
    def file_names(self) -> tuple[str, ...]:
        """All files."""

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> Iterator[tuple[str, bytes]]:
        """Return the next bytes by file name, for the next frames: int32 per channel, ``(n * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the format, or a side file the samples.
        """

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Return the last bytes by file name; a name may come several times in a row.

        Raises
        ------
        InvalidSignalError
            If frames are missing, or a side file does not fit the samples.
        """

    def close(self) -> None:
        """Remove temporary files."""


class FileWriter:
    """The files of a recording being written; use as a context manager.

    Files appear under their names when ``finish`` returns, all of them or, after any error, none; a block left before
    that leaves the folder as it was.

    Parameters
    ----------
    content
        What to write.
    directory
        An existing folder.
    force
        Overwrite existing files.

    Raises
    ------
    OutputExistsError
        If a file exists and ``force`` is false.
    SancodecError
        If the folder is missing or cannot be written to.
    """

    def __init__(self, content: FileBytes, directory: str | Path, *, force: bool = False) -> None:
        self._directory, self._force = Path(directory), force
        self._bytes = content
        self._token = secrets.token_hex(4)
        self._made = list[str]()
        self._open = OrderedDict[str, BinaryIO]()
        self._is_published = False

    def __enter__(self) -> Self:
        try:
            for name in self._bytes.file_names:
                _refuse_existing(self._directory / name, force=self._force)
            for name in self._bytes.file_names:
                self._part(name).touch(exist_ok=False)
                self._made.append(name)
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
                self._file(name).write(block)
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
                self._file(name).write(block)
            while self._open:
                self._close_oldest()
            self._publish()
        except OSError as error:
            raise self._cannot_be_written(error) from error
        return [self._directory / name for name in self._made]

    def _file(self, name: str) -> BinaryIO:
        """A file, open at its end; a record may have more of them than may be open."""
        if name not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._close_oldest()
            self._open[name] = self._part(name).open("ab")
        return self._open[name]

    def _close_oldest(self) -> None:
        _, file = self._open.popitem(last=False)
        with file:
            file.flush()
            os.fsync(file.fileno())

    def _publish(self) -> None:
        """Rename all files; after an error the folder is as it was."""
        created, moved = list[Path](), list[tuple[Path, Path]]()
        try:
            for name in self._made:
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
        while self._open:
            with suppress(OSError):  # what could not be written before cannot be written now
                self._open.popitem()[1].close()
        for name in () if self._is_published else self._made:
            self._part(name).unlink(missing_ok=True)

    def _cannot_be_written(self, error: OSError) -> SancodecError:
        return SancodecError(f"{self._directory}: cannot be written: {error.strerror}")


class FileComparison:
    """Compares files that would be restored with the original ones, byte for byte; use as a context manager.

    Parameters
    ----------
    content
        What would be restored.
    folder
        Where the originals are.

    Raises
    ------
    CorruptError
        If an original cannot be read.
    """

    def __init__(self, content: FileBytes, folder: Path) -> None:
        self._bytes, self._folder = content, folder
        self._offsets = dict.fromkeys(self._bytes.file_names, 0)
        self._open = OrderedDict[str, BinaryIO]()
        try:
            for name in self._offsets:
                self._file(name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the original files."""
        self._bytes.close()
        while self._open:
            self._open.popitem()[1].close()

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
        for name, offset in self._offsets.items():
            if self._file(name).read(1):
                raise CorruptError(f"{self._folder / name}: would be restored with only {offset} bytes")

    def _file(self, name: str) -> BinaryIO:
        """A file, open where the comparison has come to; a record may have more of them than may be open."""
        if name not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            path = self._folder / name
            try:
                self._open[name] = path.open("rb")
            except OSError as error:
                raise CorruptError(f"{path}: would be restored, but cannot be read: {error.strerror}") from error
            self._open[name].seek(self._offsets[name])
        return self._open[name]

    def _compare(self, name: str, restored: bytes) -> None:
        original = self._file(name).read(len(restored))
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
