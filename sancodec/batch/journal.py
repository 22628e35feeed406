"""The state of a batch: lines of JSON, one before a file is begun and one when it is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from sancodec.batch.finished import COPY, Finished
from sancodec.errors import CorruptError, SancodecError

STATE_FOLDER = "sancodec-batch"
STATE_NAME = "state.jsonl"
_VERSION = 1


class State:
    """What the lines say.

    Parameters
    ----------
    finished
        By source, the latest of each.
    targets
        Everything that was ever begun: what lies there was written by a batch.
    """

    def __init__(self) -> None:
        self.finished: dict[str, Finished] = {}
        self.targets: set[str] = set()

    def records(self) -> list[Finished]:
        """Everything that was compressed, by name."""
        found = [each for each in self.finished.values() if each.record is not None]
        return sorted(found, key=lambda each: each.source)

    def read(self, content: bytes, *, where: str) -> None:
        """Take in the lines of a state file; a last line that was cut is no line.

        Raises
        ------
        CorruptError
        """
        *lines, _ = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._take(json.loads(line)) if line else None
            except (ValueError, KeyError, TypeError, AttributeError):
                # A line that was cut by a kill and went on with the next run's first line break.
                if number < len(lines) and lines[number].startswith(b'{"version"'):
                    continue
                raise CorruptError(
                    f"{where}: line {number} is no line of a batch's state; remove the line and what it names is done "
                    "again"
                ) from None

    def _take(self, value: dict[str, Any]) -> None:
        if "version" in value:
            if value["version"] != _VERSION:
                raise SancodecError(f"the state of this batch has version {value['version']}; this release knows 1")
        elif "begin" in value:
            self.targets.add(value["begin"])
        else:
            finished = Finished.from_json(value)
            self.finished[finished.source] = finished
            self.targets.add(finished.target)


class Journal:
    """The state file of a batch that runs; use as a context manager. Only one run may have it.

    Parameters
    ----------
    folder
        Where the file lies; made with those above it.

    Raises
    ------
    SancodecError
        When it cannot be written, or another run has it.
    CorruptError
        When a line of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / STATE_NAME
        self.state = State()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("a+b")
        except OSError as error:
            raise SancodecError(f"{folder}: the state cannot be kept there: {error.strerror}") from error
        try:
            self._lock()
            self._file.seek(0)
            content = self._file.read()
            self.state.read(content, where=str(self.path))
            if content and not content.endswith(b"\n"):
                self._file.write(b"\n")
            self._append({"version": _VERSION})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def adopt(self, content: bytes, *, where: str) -> None:
        """Take over the lines of another state file; raises CorruptError."""
        self.state.read(content, where=where)
        for target in sorted(self.state.targets):
            self._append({"begin": target}, is_lasting=False)
        for finished in self.state.finished.values():
            self._append(finished.to_json(), is_lasting=False)

    def begin(self, target: str) -> None:
        """Note that a target is being written, so that what is found there after a kill is known as ours."""
        if target not in self.state.targets:
            self.state.targets.add(target)
            self._append({"begin": target}, is_lasting=False)

    def end(self, finished: Finished) -> None:
        """Note that a file is done."""
        self.state.finished[finished.source] = finished
        self._append(finished.to_json(), is_lasting=finished.action != COPY)

    def _append(self, value: dict[str, Any], *, is_lasting: bool = True) -> None:
        """A line outlives the process; where ``is_lasting`` is true, also a loss of power."""
        try:
            self._file.write(json.dumps(value).encode() + b"\n")
            self._file.flush()
            if is_lasting:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise SancodecError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SancodecError(
                f"{self.path}: another run is at work on this batch; wait until it ends, or stop it"
            ) from None
