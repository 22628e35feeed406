"""Tasks in processes of this machine, each on one task at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Protocol

from sancodec.batch.encoding import keep_freed_memory
from sancodec.batch.tasks import Job, Outcome, Task, perform
from sancodec.codec import native

_STOP_S = 10.0
_MIN_PROGRESS = 0.01

NextTask = Callable[[], Task | None]


@dataclass(frozen=True, slots=True)
class Step:
    """A task goes on: the fraction of it that is done."""

    task: Task
    fraction: float


class Executor(Protocol):
    """What tasks run on."""

    def run(self, next_task: NextTask) -> Iterator[Step | Outcome]:
        """Take tasks as there is room for them, until there are none and all are done."""


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, job), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(_STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class LocalProcesses:
    """An `Executor` of processes on this machine; use as a context manager, whose end stops them.

    Parameters
    ----------
    n_workers
        Processes, started as tasks come.
    """

    def __init__(self, job: Job, n_workers: int) -> None:
        self._job, self._n_workers = job, n_workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def run(self, next_task: NextTask) -> Iterator[Step | Outcome]:
        """See `Executor`; a task whose process dies may be tried again."""
        while True:
            self._give_out(next_task)
            busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                assert worker.task is not None
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    task = worker.task
                    worker.process.join()
                    self._workers.remove(worker)
                    worker.connection.close()
                    yield Outcome(task, error=_death(worker.process.exitcode), may_pass=True)
                    continue
                if isinstance(message, float):
                    yield Step(worker.task, message)
                else:
                    worker.task = None
                    yield message

    def _give_out(self, next_task: NextTask) -> None:
        idle = [worker for worker in self._workers if worker.task is None]
        while idle or len(self._workers) < self._n_workers:
            task = next_task()
            if task is None:
                return
            if not idle:
                idle.append(_Worker(self._job))
                self._workers.append(idle[-1])
            worker = idle.pop()
            worker.task = task
            with suppress(OSError):  # a process that is dead is noticed when its answer is waited for
                worker.connection.send(task)


def _death(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "its process was killed; was there not enough memory? Fewer workers need less of it"
    return f"its process ended with status {exit_code}"


def _keep_quiet(text: str) -> None:
    """Say nothing."""


class _Stopped(SystemExit):
    """SIGTERM: what is half written is removed on the way out."""


def _serve(connection: Connection, job: Job) -> None:
    """What a process does: one task after the other, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one tells the others
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    native.announce = _keep_quiet  # the first process says it
    keep_freed_memory()
    last = 0.0

    def report(fraction: float) -> None:
        nonlocal last
        if fraction >= last + _MIN_PROGRESS:
            last = fraction
            connection.send(fraction)

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            last = 0.0
            connection.send(perform(task, job, report))


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped(128 + number)


def _end_with_parent() -> None:
    """End when the process that gives the tasks is gone: nobody would note what is done."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
