"""A run over all files of a plan: what is given out, what is noted, what has become of it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sancodec.batch.finished import COMPRESS, COPY, VERIFY, Finished
from sancodec.batch.journal import Journal
from sancodec.batch.places import Place
from sancodec.batch.plan import Plan
from sancodec.batch.processes import Executor, Step
from sancodec.batch.tasks import Outcome, Task
from sancodec.errors import SancodecError

_MAX_ATTEMPTS = 3


@dataclass(slots=True)
class Tally:
    """Where a run stands.

    Parameters
    ----------
    n_files, n_bytes
        All that is to be done.
    n_new, n_kept
        Files done now, and found done already.
    new_bytes
        Input bytes of the files done now.
    record_bytes, container_bytes, stored_bits
        Of the recordings that are done: input files, containers, and bits of the samples at their resolution.
    running
        Bytes of the tasks at work that are done, by source.
    failures
        Path and reason.
    """

    n_files: int
    n_bytes: int
    n_new: int = 0
    n_kept: int = 0
    new_bytes: int = 0
    done_bytes: int = 0
    written_bytes: int = 0
    record_bytes: int = 0
    container_bytes: int = 0
    stored_bits: int = 0
    is_full: bool = False
    running: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    @property
    def n_done(self) -> int:
        return self.n_new + self.n_kept

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start

    @property
    def fraction(self) -> float:
        """Of the bytes; of the files where they have none."""
        done = self.done_bytes + sum(self.running.values())
        return done / self.n_bytes if self.n_bytes else self.n_done / max(self.n_files, 1)

    @property
    def mb_per_s(self) -> float:
        """Input bytes of this run in MB/s, those of tasks at work included."""
        return (self.new_bytes + sum(self.running.values())) / 1e6 / max(self.elapsed_s, 1e-9)

    @property
    def file_ratio(self) -> float | None:
        """Bytes of the recordings' files to those of the containers, of all that are done."""
        return self.record_bytes / self.container_bytes if self.container_bytes else None

    @property
    def ratio(self) -> float | None:
        """Bits of the samples to those of the containers."""
        return self.stored_bits / (8 * self.container_bytes) if self.container_bytes else None

    def add(self, outcome: Outcome) -> None:
        """Count a task that is over."""
        self.running.pop(outcome.task.source, None)
        self.done_bytes += outcome.task.n_bytes
        if outcome.error is not None:
            self.failures.append((outcome.task.source, outcome.error))
            self.is_full = self.is_full or outcome.is_full
            return
        self.written_bytes += outcome.written
        if outcome.is_new:
            self.n_new += 1
            self.new_bytes += outcome.task.n_bytes
        else:
            self.n_kept += 1
        finished = outcome.finished
        if finished is not None and finished.record is not None:
            self.record_bytes += finished.input_bytes
            self.container_bytes += finished.n_bytes
            self.stored_bits += finished.record.stored_bits


class Run:
    """Gives out the tasks of a plan, and keeps the state.

    Parameters
    ----------
    journal
        None for what leaves no state.
    target
        Where files lie that an earlier run wrote under another name.
    on_line
        Called with a line worth saying, and whether it is an error.
    on_done
        Called with every outcome that is noted.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal | None,
        *,
        target: Place | None = None,
        on_line: Callable[[str, bool], None],
        on_done: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._waiting = deque(plan.tasks)
        self._journal, self._target = journal, target
        self._on_line, self._on_done = on_line, on_done or (lambda outcome: None)
        self._attempts: Counter[str] = Counter()
        self._names = {task.target for task in plan.tasks}
        self.tally = Tally(len(plan.tasks), sum(task.n_bytes for task in plan.tasks))
        for line in plan.notes:
            on_line(line, False)
        for path, reason in plan.failures:
            self.tally.failures.append((path, reason))
            on_line(_named(path, reason), True)

    def go(self, executor: Executor) -> Tally:
        """Do everything that can be done.

        Raises
        ------
        SancodecError
            When the state cannot be kept, or the executor is lost.
        """
        for event in executor.run(self._next_task):
            if isinstance(event, Step):
                self.tally.running[event.task.source] = event.fraction * event.task.n_bytes
            else:
                self._take(event)
        return self.tally

    def _next_task(self) -> Task | None:
        if not self._waiting or self.tally.is_full:
            return None
        task = self._waiting.popleft()
        self._attempts[task.source] += 1
        if self._journal is not None and task.action == COMPRESS:
            self._journal.begin(task.target)
        return task

    def _take(self, outcome: Outcome) -> None:
        task = outcome.task
        if outcome.may_pass and self._attempts[task.source] < _MAX_ATTEMPTS:
            self.tally.running.pop(task.source, None)
            self._waiting.append(task)
            return
        if outcome.finished is not None and self._journal is not None:
            if outcome.is_new or outcome.finished != task.before:
                self._journal.end(outcome.finished)
            self._remove_former(task.before, outcome.finished)
        self.tally.add(outcome)
        if outcome.error is not None:
            self._on_line(_named(task.source, outcome.error), True)
        elif outcome.note is not None:
            self._on_line(_named(task.source, outcome.note), False)
        self._on_done(outcome)

    def _remove_former(self, before: Finished | None, finished: Finished) -> None:
        """Remove what an earlier run wrote under a name that nothing has any more."""
        if before is None or before.target == finished.target or before.target in self._names or self._target is None:
            return
        try:
            if self._target.digest(before.target) == before.sha256:
                self._target.remove(before.target)
        except (OSError, SancodecError):
            self._on_line(f"{before.target}: is left of an earlier run and cannot be removed", False)


def _named(path: str, text: str) -> str:
    return text if path in text else f"{path}: {text}"


def plan_verification(finished: Mapping[str, Finished], plan: Plan) -> Plan:
    """Tasks that check what a finished run has written against its sources."""
    tasks = [
        Task(VERIFY, task.source, before.target, before.inputs, before)
        for task in plan.tasks
        if (before := finished.get(task.source)) is not None and task.action in (COMPRESS, COPY)
    ]
    return Plan(tasks=tasks)
