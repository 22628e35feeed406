"""Trees of files: on this machine, or behind a URL that fsspec knows."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from sancodec.batch.finished import Stamp
from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError
from sancodec.new_files import new_file

_BLOCK_BYTES = 1 << 20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(slots=True)
class Listing:
    """What is in a tree.

    Parameters
    ----------
    files
        In the order of their paths.
    folders
        Relative, those without files too.
    notes
        What was left out on purpose.
    failures
        Path and reason of what cannot be read.
    """

    files: list[Stamp] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


class Place(Protocol):
    """A tree of files; paths are relative and have ``/``."""

    @property
    def is_remote(self) -> bool:
        """Whether files must be fetched before they can be read."""

    def listing(self) -> Listing:
        """Everything in the tree."""

    def stamp(self, path: str) -> Stamp | None:
        """A file as it is now; None where there is none."""

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file, hexadecimal; None where there is none."""

    def local(self, paths: Sequence[str]) -> AbstractContextManager[Path]:
        """A folder on this machine with these files at their paths, as long as the block lasts."""

    def new(self, path: str, *, replace: bool) -> AbstractContextManager[BinaryIO]:
        """A file that appears when the block ends well; readable, writable and seekable inside."""

    def receiving(self, folder: str) -> AbstractContextManager[Path]:
        """A folder on this machine for new files of a folder of the tree."""

    def like(self, path: str, original: Path) -> None:
        """Give a file the times and permissions of another, where the tree has such."""

    def make_folder(self, path: str) -> None:
        """Make a folder, where the tree has such."""

    def remove(self, path: str) -> None:
        """Remove a file."""


def digest_of(file: BinaryIO) -> str:
    """SHA-256 of a file from where it stands, hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder of this machine."""

    root: Path
    is_remote = False

    def listing(self) -> Listing:
        """Links are followed, except to a folder that the link lies in."""
        found = Listing()
        self._walk(self.root, "", (), found)
        return found

    def _walk(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...], found: Listing) -> None:
        try:
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in above:
                found.notes.append(f"{prefix.rstrip('/')}: is a link to a folder above it; not followed")
                return
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.failures.append((prefix.rstrip("/") or ".", f"cannot be read: {error.strerror}"))
            return
        if prefix:
            found.folders.append(prefix.rstrip("/"))
        for entry in entries:
            path = f"{prefix}{entry.name}"
            try:
                status = entry.stat()
                if entry.is_dir():
                    self._walk(Path(entry.path), f"{path}/", (*above, here), found)
                elif entry.is_file():
                    found.files.append(Stamp(path, status.st_size, str(status.st_mtime_ns)))
                else:
                    found.notes.append(f"{path}: is neither a file nor a folder; left out")
            except OSError as error:
                found.failures.append((path, f"cannot be read: {error.strerror}"))

    def stamp(self, path: str) -> Stamp | None:
        try:
            status = (self.root / path).stat()
        except FileNotFoundError:
            return None
        return Stamp(path, status.st_size, str(status.st_mtime_ns))

    def digest(self, path: str) -> str | None:
        try:
            with (self.root / path).open("rb") as file:
                return digest_of(file)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    @contextmanager
    def local(self, paths: Sequence[str]) -> Iterator[Path]:
        yield self.root

    @contextmanager
    def new(self, path: str, *, replace: bool) -> Iterator[BinaryIO]:
        target = self.root / path
        _make_folders(target.parent)
        if not replace and target.exists():
            raise OutputExistsError(
                f"{target}: exists already and is not of this batch; move it away, or --force to replace it"
            )
        with new_file(target, force=replace) as file:
            yield file

    @contextmanager
    def receiving(self, folder: str) -> Iterator[Path]:
        path = self.root / folder
        _make_folders(path)
        yield path

    def like(self, path: str, original: Path) -> None:
        shutil.copystat(original, self.root / path)

    def make_folder(self, path: str) -> None:
        _make_folders(self.root / path)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()


def _make_folders(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SancodecError(f"{path}: cannot be made: {error.strerror}") from error


def is_url(name: str) -> bool:
    """Whether a name is one for fsspec."""
    return _URL.match(name) is not None and not name.startswith("file://")


def local_path(name: str) -> Path:
    """The path of a plain name or of a ``file://`` URL."""
    return Path(unquote(urlsplit(name).path)) if name.startswith("file://") else Path(name)


@functools.cache
def place_at(name: str) -> Place:
    """The tree that a path or URL names.

    Raises
    ------
    MissingDependencyError
        For a URL, without fsspec or what it needs for its protocol.
    """
    if is_url(name):
        from sancodec.batch.remote import remote_place

        return remote_place(name)
    return LocalPlace(local_path(name).absolute())


def check_apart(source: str, target: str) -> None:
    """Refuse a tree inside the other.

    Raises
    ------
    InvalidSignalError
    """
    if is_url(source) != is_url(target):
        return
    if is_url(source):
        paths = [PurePosixPath(name.rstrip("/")) for name in (source, target)]
    else:
        paths = [PurePosixPath(os.path.realpath(local_path(name))) for name in (source, target)]
    if paths[0] == paths[1]:
        raise InvalidSignalError(f"{target}: is the source itself; give another folder")
    if paths[0] in paths[1].parents:
        raise InvalidSignalError(f"{target}: lies inside the source {source}; give a folder outside of it")
    if paths[1] in paths[0].parents:
        raise InvalidSignalError(f"{source}: lies inside the target {target}; give a target outside of it")
