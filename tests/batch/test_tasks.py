"""Single tasks, and what a run makes of their outcomes."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sancodec.batch.encoding import WorstSeconds
from sancodec.batch.finished import COMPRESS, COPY, Finished, Stamp
from sancodec.batch.journal import Journal
from sancodec.batch.places import LocalPlace
from sancodec.batch.plan import Plan
from sancodec.batch.processes import Step
from sancodec.batch.run import Run
from sancodec.batch.settings import Settings
from sancodec.batch.tasks import Job, Outcome, Task, perform
from sancodec.codec.recording import Recording
from sancodec.datasets.arrays import recording_of
from sancodec.errors import SancodecError

SETTINGS = Settings(level=1, lossless=True, sampling_rate_hz=360.0)


def task_for(root: Path, action: str, *paths: str, target: str) -> Task:
    stamps = [LocalPlace(root).stamp(path) for path in paths]
    return Task(action, paths[0], target, tuple(stamp for stamp in stamps if stamp is not None))


def job_for(tree: Path) -> Job:
    return Job(str(tree), str(tree.parent / "out"), SETTINGS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("action", [COMPRESS, COPY])
def test_a_full_disk_is_known_and_nothing_is_left(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int, action: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("sancodec.new_files.os.fsync", full)
    outcome = perform(task_for(tree, action, "walk.npy", target="walk.out"), job_for(tree))
    assert outcome.is_full
    assert not outcome.may_pass
    assert os.strerror(number) in str(outcome.error)
    assert list((tree.parent / "out").iterdir()) == []


def test_other_errors_do_not_stop_a_run(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object, **others: object) -> None:
        raise MemoryError

    task = task_for(tree, COMPRESS, "walk.npy", target="walk.san")
    monkeypatch.setattr("sancodec.batch.tasks.encode_checked", no_memory)
    outcome = perform(task, job_for(tree))
    assert "not enough memory" in str(outcome.error)
    assert not outcome.is_full

    def a_bug(*arguments: object, **others: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("sancodec.batch.tasks.encode_checked", a_bug)
    assert perform(task, job_for(tree)).error == "ZeroDivisionError: division by zero; please report this"


def test_progress_of_a_task_grows_to_its_end(tree: Path) -> None:
    reported: list[float] = []
    perform(task_for(tree, COMPRESS, "walk.npy", target="walk.san"), job_for(tree), reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0


class Scripted:
    """Gives outcomes of tasks by their number."""

    def __init__(self, outcome_of: Callable[[Task, int], Outcome]) -> None:
        self._outcome_of = outcome_of
        self.given: list[str] = []

    def run(self, next_task: Callable[[], Task | None]) -> Iterator[Step | Outcome]:
        while (task := next_task()) is not None:
            self.given.append(task.source)
            yield Step(task, 0.5)
            yield self._outcome_of(task, self.given.count(task.source))


def plan_for(count: int) -> Plan:
    return Plan([Task(COMPRESS, f"{n}.npy", f"{n}.san", (Stamp(f"{n}.npy", 10, "0"),)) for n in range(count)])


def test_what_may_pass_is_tried_three_times_at_the_end(tmp_path: Path) -> None:
    executor = Scripted(
        lambda task, attempt: Outcome(task, error="lost", may_pass=True) if task.source != "1.npy" else Outcome(task)
    )
    lines: list[str] = []
    tally = Run(plan_for(3), None, on_line=lambda text, is_error: lines.append(text)).go(executor)
    assert executor.given == ["0.npy", "1.npy", "2.npy", "0.npy", "2.npy", "0.npy", "2.npy"]
    assert lines == ["0.npy: lost", "2.npy: lost"]
    assert (tally.n_done, len(tally.failures), tally.fraction) == (1, 2, 1.0)


def test_a_second_attempt_that_succeeds_is_no_failure(tmp_path: Path) -> None:
    executor = Scripted(
        lambda task, attempt: Outcome(task, error="lost", may_pass=True) if attempt == 1 else Outcome(task)
    )
    tally = Run(plan_for(2), None, on_line=lambda text, is_error: pytest.fail(text)).go(executor)
    assert (tally.n_done, tally.failures) == (2, [])


def test_after_a_full_disk_nothing_new_is_begun(tmp_path: Path) -> None:
    executor = Scripted(
        lambda task, attempt: Outcome(task, error="no space", is_full=True) if task.source == "1.npy" else Outcome(task)
    )
    with Journal(tmp_path) as journal:
        tally = Run(plan_for(5), journal, on_line=lambda text, is_error: None).go(executor)
        assert journal.state.targets == {"0.san", "1.san"}
    assert tally.is_full
    assert executor.given == ["0.npy", "1.npy"]


def test_a_state_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as journal:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("sancodec.batch.journal.os.fsync", full)
        stamps = (Stamp("0.npy", 10, "0"),)
        finished = Finished("0.npy", COMPRESS, "0.san", "", stamps, ("",), 1, "", 0.0)
        executor = Scripted(lambda task, attempt: Outcome(task, finished))
        with pytest.raises(SancodecError, match="No space left"):
            Run(plan_for(2), journal, on_line=lambda text, is_error: None).go(executor)
    assert executor.given == ["0.npy"]


def test_the_worst_second_is_found_over_pieces() -> None:
    samples = np.zeros((2, 1000), np.int32)
    recording = recording_of(samples, sampling_rate_hz=100)
    decoded = samples.copy()
    decoded[0, 750:760] = 5
    decoded[1, 20] = 9
    decoded[1, 300:400] = 1
    worst = WorstSeconds(recording)
    for first in range(0, 1000, 400):
        last = min(first + 400, 1000)
        worst.add(first, recording.frames(first, last), [row[first:last] for row in decoded])
    assert worst.first_frames == [700, 300]


def test_missing_samples_are_no_loss() -> None:
    recording = recording_of(np.zeros((1, 300), np.int16), sampling_rate_hz=100)
    channel = recording.channels[0].__class__("x", invalid=-32768, minimum=-32767)
    samples = np.zeros(300, np.int32)
    samples[:50] = -32768
    with_gap = Recording((channel,), (samples,), recording.frame_rate_hz)
    worst = WorstSeconds(with_gap)
    decoded = np.zeros(300, np.int32)
    decoded[250] = 1
    worst.add(0, with_gap.frames(0, 300), [decoded])
    assert worst.first_frames == [200]


def test_settings_that_give_other_files_have_other_digests() -> None:
    different = [
        Settings(),
        Settings(prdn=2.0),
        Settings(snr_db=2.0),
        Settings(max_error="2adu"),
        Settings(lossless=True),
        Settings(preset="archive"),
        Settings(level=3),
        Settings(chunk_s=None),
        Settings(chunk_s=30.0),
        Settings(sampling_rate_hz=360.0),
        Settings(embed_models=True),
    ]
    assert len({each.digest() for each in different}) == len(different)
    assert Settings().digest() == Settings().digest()
    assert [each.is_exact for each in different].count(True) == 2
