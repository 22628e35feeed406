"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that appears under its name only when the block ends well; readable and writable inside.

    Until then it is the hidden file ``.NAME.XXXXXXXX.tmp`` beside it. Such files of runs that were killed are removed
    when the new one has its name: their owners hold a lock on them as long as they live.

    Raises
    ------
    OutputExistsError
        When the file exists and ``force`` is not given.
    """
    check_output(path, force=force)
    temporary: Path | None = None
    try:
        is_locked = False
        while True:
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            with temporary.open("x+b") as file:
                is_locked = _locked(file, wait=True)
                if is_locked and not temporary.exists():
                    continue  # another run took it for one left behind, in the moment before it was locked
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not force:
                    check_output(path, force=False)
                if is_locked:
                    temporary.replace(path)
            if not is_locked:  # elsewhere than on POSIX open files cannot be renamed
                temporary.replace(path)
            break
        _remove_left_behind(path)
    except OSError as error:
        raise SancodecError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _locked(file: BinaryIO, *, wait: bool) -> bool:
    """Lock a file until it is closed; False where it is locked already, or locks are not to be had."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_left_behind(path: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if pattern.fullmatch(name):
                with suppress(OSError), path.with_name(name).open("rb") as file:
                    if _locked(file, wait=False):
                        path.with_name(name).unlink()


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that exists, or whose folder does not."""
    if path.is_dir():
        raise OutputExistsError(f"{path}: is a directory; give a file name with -o")
    if not force and path.exists():
        raise OutputExistsError(f"{path}: exists already; give another name with -o, or --force to replace it")
    if not path.parent.is_dir():
        raise OutputExistsError(f"{path}: the folder {path.parent} does not exist; create it first")


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a folder that does not exist, with those above it; after an error the empty ones are removed again.

    Raises
    ------
    InvalidSignalError
        When it is a file.
    """
    if path.exists() and not path.is_dir():
        raise InvalidSignalError(f"{path}: is a file; a folder is needed, or for EDF and BDF a name that ends so")
    made = [each for each in (path, *path.parents) if not each.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise
