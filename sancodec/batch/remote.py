"""Trees behind URLs that fsspec knows: s3://, gs://, sftp:// and others."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sancodec.batch.finished import Stamp
from sancodec.batch.places import Listing, Place
from sancodec.errors import MissingDependencyError, OutputExistsError, SancodecError

_BLOCK_BYTES = 1 << 20
# Stores where a file appears when all of it is there; elsewhere it is written under another name and moved.
_ATOMIC_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
_VERSION_KEYS = ("ETag", "etag", "content_hash", "LastModified", "mtime", "modified", "created")


def remote_place(url: str) -> Place:
    """The tree at a URL.

    Raises
    ------
    MissingDependencyError
        Without fsspec, or what it needs for the protocol.
    SancodecError
        When the URL is of no known protocol.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingDependencyError(
            f"{url}: URLs need fsspec; install it with pip install 'sancodec[batch]'"
        ) from None
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(f"{url}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise SancodecError(f"{url}: {' '.join(str(error).split())}") from None
    return RemotePlace(url.rstrip("/"), system, root.rstrip("/"))


class RemotePlace:
    """A tree in a store.

    Parameters
    ----------
    url
        For messages.
    system
        An fsspec file system.
    root
        The tree's path in it.
    """

    is_remote = True

    def __init__(self, url: str, system: Any, root: str) -> None:
        self._url, self._system, self._root = url, system, root
        protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
        self._is_atomic = bool(_ATOMIC_STORES & set(protocols))

    def listing(self) -> Listing:
        """Everything below the URL; stores have no empty folders."""
        with self._told():
            self._system.invalidate_cache()
            if not self._system.exists(self._root):
                raise SancodecError(f"{self._url}: there is nothing")
            entries = self._system.find(self._root, detail=True)
        files = []
        for path, entry in sorted(entries.items()):
            relative = path[len(self._root) :].lstrip("/")
            if relative:
                files.append(self._stamp(relative, entry))
        folders = {str(parent) for each in files for parent in Path(each.path).parents} - {"."}
        return Listing(files, sorted(folders))

    def stamp(self, path: str) -> Stamp | None:
        with self._told():
            try:
                return self._stamp(path, self._system.info(self._at(path), refresh=True))
            except FileNotFoundError:
                return None
            except TypeError:  # file systems without a cache of listings know no refresh
                return self._stamp(path, self._system.info(self._at(path)))

    def digest(self, path: str) -> str | None:
        digest = hashlib.sha256()
        with self._told():
            try:
                with self._system.open(self._at(path), "rb") as file:
                    while block := file.read(_BLOCK_BYTES):
                        digest.update(block)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    @contextmanager
    def local(self, paths: Sequence[str]) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="sancodec-") as name:
            folder = Path(name)
            targets = [folder / path for path in paths]
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            if paths:
                with self._told():
                    self._system.get([self._at(path) for path in paths], [str(target) for target in targets])
            yield folder

    @contextmanager
    def new(self, path: str, *, replace: bool) -> Iterator[BinaryIO]:
        self._refuse_existing(path, replace=replace)
        with tempfile.NamedTemporaryFile(prefix="sancodec-") as file:
            yield file  # type: ignore[misc]
            file.flush()
            self._refuse_existing(path, replace=replace)
            self._put(Path(file.name), path)

    @contextmanager
    def receiving(self, folder: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="sancodec-") as name:
            yield Path(name)
            for local in sorted(Path(name).iterdir()):
                self._put(local, f"{folder}/{local.name}")

    def like(self, path: str, original: Path) -> None:
        """Stores keep neither times nor permissions."""

    def make_folder(self, path: str) -> None:
        """Stores have no folders."""

    def remove(self, path: str) -> None:
        with self._told():
            self._system.rm_file(self._at(path))

    def _put(self, local: Path, path: str) -> None:
        target = self._at(path)
        with self._told():
            if self._is_atomic:
                self._system.put_file(str(local), target)
                return
            parent, _, name = target.rpartition("/")
            temporary = f"{parent}/.{name}.{secrets.token_hex(4)}.tmp"
            self._system.makedirs(parent, exist_ok=True)
            try:
                self._system.put_file(str(local), temporary)
                self._system.mv(temporary, target)
            except BaseException:
                with suppress(Exception):
                    self._system.rm_file(temporary)
                raise

    def _refuse_existing(self, path: str, *, replace: bool) -> None:
        if not replace and self.stamp(path) is not None:
            raise OutputExistsError(
                f"{self._url}/{path}: exists already and is not of this batch; move it away, or --force to replace it"
            )

    def _at(self, path: str) -> str:
        return f"{self._root}/{path.removeprefix('./')}"

    @staticmethod
    def _stamp(path: str, entry: dict[str, Any]) -> Stamp:
        version = next((str(entry[key]) for key in _VERSION_KEYS if entry.get(key) is not None), "")
        return Stamp(path, int(entry["size"] or 0), version)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of a store's own library in one line that names the URL."""
        try:
            yield
        except (SancodecError, FileNotFoundError):
            raise
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            raise OSError(error.errno, reason, self._url) from error
        except Exception as error:
            # Libraries of stores have exceptions of their own, such as those of missing credentials.
            raise SancodecError(f"{self._url}: {' '.join(str(error).split())} ({type(error).__name__})") from error
