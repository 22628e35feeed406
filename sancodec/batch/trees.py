"""Whole trees: compressed into mirrors of themselves, and restored from them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sancodec.batch.finished import Finished
from sancodec.batch.journal import STATE_FOLDER, STATE_NAME, Journal, State
from sancodec.batch.places import LocalPlace, Place, check_apart, is_url, local_path, place_at
from sancodec.batch.plan import (
    Plan,
    Selection,
    count_inputs,
    files_of_others,
    listing_of,
    plan_compression,
    plan_restoring,
)
from sancodec.batch.processes import Executor, LocalProcesses
from sancodec.batch.report import write_reports
from sancodec.batch.run import Run, Tally, plan_verification
from sancodec.batch.tasks import Job, Outcome
from sancodec.errors import InvalidSignalError, SancodecError

_STATE_COPY_S = 300.0
_STATE_PATH = f"{STATE_FOLDER}/{STATE_NAME}"


class Watcher(Protocol):
    """Who is told how a batch goes on."""

    def line(self, text: str, is_error: bool) -> None:
        """A line worth saying."""

    def begin(self, tally: Tally, label: str) -> None:
        """A run begins; its tally changes as it goes on."""


ExecutorFor = Callable[[Job, int], AbstractContextManager[Executor]]


def executor_for(scheduler: str | None, n_workers: int) -> ExecutorFor:
    """Processes of this machine, or a Dask cluster, for a job of so many files.

    Processes that would have nothing to do become threads of the others.
    """

    def processes(job: Job, n_files: int) -> AbstractContextManager[Executor]:
        return LocalProcesses(replace(job, threads=max(1, n_workers // max(1, n_files))), n_workers)

    if scheduler is None:
        return processes
    address = scheduler

    def cluster(job: Job, n_files: int) -> AbstractContextManager[Executor]:
        from sancodec.batch.cluster import DaskCluster

        return DaskCluster(job, address)

    return cluster


def check_trees(source: str, target: str) -> None:
    """Refuse trees that are not there, are files, or lie in each other.

    Raises
    ------
    InvalidSignalError
    """
    if not is_url(source) and not local_path(source).is_dir():
        what = "is a file; sancodec compress takes single files" if local_path(source).exists() else "does not exist"
        raise InvalidSignalError(f"{source}: {what}; a folder is needed")
    if not is_url(target) and local_path(target).exists() and not local_path(target).is_dir():
        raise InvalidSignalError(f"{target}: is a file; the tree needs a folder")
    check_apart(source, target)


def state_folder(target: str) -> Path:
    """Where the state of a target is kept while a batch runs: in it, or for a URL in the state folder of the user."""
    if not is_url(target):
        return local_path(target).absolute() / STATE_FOLDER
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "sancodec" / f"batch-{hashlib.sha256(target.rstrip('/').encode()).hexdigest()[:16]}"


def read_state(place: Place) -> State:
    """What a tree's state file says; nothing where there is none. Raises SancodecError."""
    state = State()
    if place.stamp(_STATE_PATH) is not None:
        with place.local([_STATE_PATH]) as folder:
            state.read((folder / _STATE_PATH).read_bytes(), where=_STATE_PATH)
    return state


def plan_of(job: Job, selection: Selection, *, has_others: bool, is_restoring: bool) -> tuple[Plan, State]:
    """What a run would do; nothing is written. Raises SancodecError."""
    check_trees(job.source, job.target)
    source = place_at(job.source)
    if is_restoring:
        state = read_state(source)
        return plan_restoring(listing_of(source, is_mirror=True), state, selection), state
    listing = listing_of(source, is_mirror=False)
    state = read_state(LocalPlace(state_folder(job.target).parent) if not is_url(job.target) else place_at(job.target))
    exact = job.settings.is_exact
    return plan_compression(source, listing, state, selection, has_others=has_others, exact=exact), state


def compress_tree(
    job: Job,
    selection: Selection,
    executor_for_job: ExecutorFor,
    watcher: Watcher,
    *,
    has_others: bool,
    is_deleting: bool,
) -> tuple[Tally, list[Path]]:
    """Compress every recording of a tree, and copy every other file; returns the paths of the reports too.

    Parameters
    ----------
    has_others
        Whether files that are no recordings are copied.
    is_deleting
        Remove the originals of all files when nothing failed and all are verified.

    Raises
    ------
    SancodecError
        When a tree cannot be read or written at all, or the executor is lost.
    """
    check_trees(job.source, job.target)
    source, target = place_at(job.source), place_at(job.target)
    folder = state_folder(job.target)
    listing = listing_of(source, is_mirror=False)
    with executor_for_job(job, count_inputs(listing)) as executor, Journal(folder) as journal:
        if target.is_remote and not journal.state.targets and target.stamp(_STATE_PATH) is not None:
            with target.local([_STATE_PATH]) as fetched:
                journal.adopt((fetched / _STATE_PATH).read_bytes(), where=f"{job.target}/{_STATE_PATH}")
        exact = job.settings.is_exact
        plan = plan_compression(source, listing, journal.state, selection, has_others=has_others, exact=exact)
        _tell_changes(plan, job, watcher)
        for path in plan.folders:
            target.make_folder(path)
        keeper = _StateKeeper(target, folder)
        run = Run(plan, journal, target=target, on_line=watcher.line, on_done=keeper.after)
        watcher.begin(run.tally, "compressing")
        try:
            run.go(executor)
        except BaseException:
            with suppress(SancodecError, OSError):
                keeper.copy([])
            raise
        reports = write_reports(folder, journal.state, run.tally, job)
        keeper.copy(reports)
        if is_deleting:
            kept = files_of_others(source, listing, plan, exact=exact)
            _delete_originals(plan, journal.state.finished, kept, source, executor, watcher, run.tally)
    return run.tally, reports


def restore_tree(job: Job, selection: Selection, executor_for_job: ExecutorFor, watcher: Watcher) -> Tally:
    """Restore every container that a batch made of a tree, and copy every other file.

    Raises
    ------
    SancodecError
        As for `compress_tree`.
    """
    plan, _ = plan_of(job, selection, has_others=True, is_restoring=True)
    target = place_at(job.target)
    with executor_for_job(job, len(plan.tasks)) as executor:
        for path in plan.folders:
            target.make_folder(path)
        run = Run(plan, None, on_line=watcher.line)
        watcher.begin(run.tally, "restoring")
        return run.go(executor)


class _StateKeeper:
    """Copies the state into a target that cannot be appended to, now and then."""

    def __init__(self, target: Place, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._next = time.monotonic() + _STATE_COPY_S

    def after(self, outcome: Outcome) -> None:
        if self._target.is_remote and time.monotonic() >= self._next:
            with suppress(SancodecError, OSError):  # the next copy may pass; the last one must
                self.copy([])
            self._next = time.monotonic() + _STATE_COPY_S

    def copy(self, reports: list[Path]) -> None:
        if self._target.is_remote:
            for path in (self._folder / STATE_NAME, *reports):
                with self._target.new(f"{STATE_FOLDER}/{path.name}", replace=True) as file, path.open("rb") as local:
                    shutil.copyfileobj(local, file)


def _tell_changes(plan: Plan, job: Job, watcher: Watcher) -> None:
    digest = job.settings.digest()
    count = sum(1 for task in plan.tasks if task.before is not None and task.before.options not in ("", digest))
    if count:
        watcher.line(f"{count} recordings were compressed with other options; they are done again", False)


def _delete_originals(
    plan: Plan,
    finished: dict[str, Finished],
    kept: set[str],
    source: Place,
    executor: Executor,
    watcher: Watcher,
    tally: Tally,
) -> None:
    """Remove the sources of a run in which nothing failed, after a second check of everything that it wrote.

    Raises
    ------
    SancodecError
        When something failed; then nothing is removed.
    """
    if tally.failures or tally.is_full:
        raise SancodecError("originals are kept, all of them: some files failed")
    checks = plan_verification(finished, plan)
    run = Run(checks, None, on_line=watcher.line)
    watcher.begin(run.tally, "verifying")
    if run.go(executor).failures:
        raise SancodecError("originals are kept, all of them: some outputs are not what they should be")
    stamps = {stamp.path: stamp for task in checks.tasks for stamp in task.inputs}
    removed = 0
    for path, stamp in sorted(stamps.items()):
        if path in kept:
            watcher.line(f"{path}: belongs to a recording that was left out; kept", False)
            continue
        if source.stamp(path) != stamp:
            watcher.line(f"{path}: has changed meanwhile; kept", True)
            tally.failures.append((path, "has changed meanwhile"))
            continue
        source.remove(path)
        removed += 1
    watcher.line(f"{removed} originals removed, after each was checked against the target", False)
