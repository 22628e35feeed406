"""Tasks on the machines of a Dask cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from sancodec.batch.processes import NextTask, Step
from sancodec.batch.tasks import Job, Outcome, Task, perform
from sancodec.errors import InvalidSignalError, MissingDependencyError, SancodecError

_ADDRESS = re.compile(r"(dask|tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^/:\s]+):(\d{1,5})/?")
_CONNECT_S = 15
_TASKS_PER_THREAD = 2  # one at work, one that waits for it


class DaskCluster:
    """An `Executor` on the workers of a Dask scheduler; use as a context manager.

    A task whose worker is lost is given to another by the scheduler; after a number of lost workers, set by its
    ``distributed.scheduler.allowed-failures``, it counts as failed.

    Parameters
    ----------
    address
        ``dask://HOST:PORT``, ``tcp://`` or ``tls://``.

    Raises
    ------
    MissingDependencyError
        Without distributed.
    InvalidSignalError
        When this is no address.
    SancodecError
        When no scheduler answers, or its workers lack this release.
    """

    def __init__(self, job: Job, address: str) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise InvalidSignalError(f"{address}: is no scheduler; dask://HOST:PORT is needed")
        try:
            import distributed
        except ImportError:
            raise MissingDependencyError(
                f"{address}: clusters need distributed; install it with pip install 'sancodec[batch]'"
            ) from None
        self._distributed: Any = distributed
        self._address = f"{match[1].replace('dask', 'tcp')}://{match[2]}:{match[3]}"
        self._job = job
        try:
            self._client: Any = self._distributed.Client(self._address, timeout=_CONNECT_S)
        except OSError as error:
            raise SancodecError(
                f"{address}: no scheduler answers there ({' '.join(str(error).split())}); start one with "
                "'dask scheduler', and workers with 'dask worker HOST:PORT'"
            ) from None
        try:
            self._check_workers()
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close(timeout=_CONNECT_S)

    def _check_workers(self) -> None:
        try:
            versions = self._client.run(release)
        except Exception as error:
            raise SancodecError(
                f"{self._address}: its workers cannot run sancodec ({' '.join(str(error).split())}); install the same "
                "release on all of them"
            ) from None
        mine = release()
        for worker, version in versions.items():
            if version != mine:
                raise SancodecError(f"{worker}: has sancodec {version}, this is {mine}; install the same release")

    def _room(self) -> int:
        threads: int = sum(self._client.nthreads().values())
        return max(1, threads) * _TASKS_PER_THREAD

    def run(self, next_task: NextTask) -> Iterator[Step | Outcome]:
        """See `Executor`; how far a task is cannot be told."""
        running: dict[Any, Task] = {}
        number = 0
        while True:
            room = self._room()
            while len(running) < room:
                task = next_task()
                if task is None:
                    break
                number += 1
                key = f"sancodec-{number}-{task.source}"
                running[self._client.submit(perform, task, self._job, key=key, pure=False)] = task
            if not running:
                return
            try:
                done, _ = self._distributed.wait(list(running), return_when="FIRST_COMPLETED")
            except (OSError, self._distributed.CancelledError) as error:
                raise SancodecError(
                    f"{self._address}: the scheduler is lost ({' '.join(str(error).split())}); what is finished is "
                    "noted, the same command goes on from there"
                ) from None
            for future in done:
                yield self._outcome(future, running.pop(future))

    def _outcome(self, future: Any, task: Task) -> Outcome:
        if future.status == "cancelled":
            raise SancodecError(
                f"{self._address}: the scheduler is lost; what is finished is noted, the same command goes on there"
            )
        error = future.exception()
        if error is None:
            outcome: Outcome = future.result()
            return outcome
        if isinstance(error, self._distributed.KilledWorker):
            return Outcome(task, error="the workers that had it were lost, one after the other; out of memory?")
        return Outcome(task, error=f"{type(error).__name__}: {' '.join(str(error).split())}", may_pass=True)


def release() -> str:
    """The release of sancodec, here or on a worker."""
    from importlib.metadata import version

    return version("sancodec")
