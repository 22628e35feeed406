"""Outputs on standard output, and containers as inputs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import click

from sancodec.errors import InvalidSignalError

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
