"""Outputs of the commands, which appear whole or not at all, and containers as inputs."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import click

from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError

STANDARD_STREAM = "-"
STANDARD_INPUT = "standard input"
SAN_SUFFIX = ".san"
EDF_SUFFIXES = (".edf", ".bdf")
_COPY_BYTES = 1 << 20


def default_output(name: str) -> Path:
    """``file.san`` beside the input."""
    path = Path(name)
    return (
        path.with_suffix(SAN_SUFFIX)
        if path.suffix in (".dat", ".hea", ".npy", ".mat") or path.suffix.lower() in EDF_SUFFIXES
        else path.with_name(path.name + SAN_SUFFIX)
    )


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


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """A file that goes to standard output only when the block ends well; readable, writable and seekable inside."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer, _COPY_BYTES)
        sys.stdout.buffer.flush()


def refuse_terminal(*, force: bool) -> None:
    """Refuse to write binary data to a terminal."""
    if not force and sys.stdout.isatty():
        raise click.UsageError(
            "standard output is a terminal, which binary data would only upset; "
            "give a name with -o FILE, pipe it on, or insist with --force"
        )


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """Standard input as a seekable file: an unnamed copy on disk, whatever its length."""
    with tempfile.TemporaryFile() as file:
        copy_standard_input(file)
        yield file


def copy_standard_input(file: BinaryIO) -> None:
    """Copy standard input to a file and go to its start.

    Raises
    ------
    InvalidSignalError
        When it is a terminal, or empty.
    """
    if sys.stdin.isatty():
        raise InvalidSignalError(f"{STANDARD_INPUT}: is a terminal; pipe a file into the command, or name one")
    shutil.copyfileobj(sys.stdin.buffer, file, _COPY_BYTES)
    if not file.tell():
        raise InvalidSignalError(f"{STANDARD_INPUT}: is empty; did the command before it fail?")
    file.seek(0)


@contextmanager
def open_container(name: str) -> Iterator[BinaryIO]:
    """A .san file, or a copy of standard input, as a seekable file."""
    if name == STANDARD_STREAM:
        with standard_input() as file:
            yield file
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


def shown(name: str) -> str:
    """An input's name for messages."""
    return STANDARD_INPUT if name == STANDARD_STREAM else name


def rate_text(rate_hz: Fraction) -> str:
    """A sampling rate without needless digits."""
    return f"{float(rate_hz):.10g} Hz"
