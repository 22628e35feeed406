"""What trees of files hold, and batches of them without a command line."""

from pathlib import Path

from sancodec.batch.plan import Selection
from sancodec.batch.run import Tally
from sancodec.batch.settings import Settings
from sancodec.batch.tasks import Job
from sancodec.batch.trees import compress_tree, executor_for, restore_tree

SETTINGS = Settings(lossless=True, level=1, sampling_rate_hz=360.0)


class Lines:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def line(self, text: str, is_error: bool) -> None:
        self.told.append(text)

    def begin(self, tally: Tally, label: str) -> None:
        """Nothing to show."""


def compress(source: Path | str, target: Path | str, lines: Lines, scheduler: str | None = None) -> Tally:
    job = Job(str(source), str(target), SETTINGS)
    executor = executor_for(scheduler, 1)
    return compress_tree(job, Selection(), executor, lines, has_others=True, is_deleting=False)[0]


def restore(source: Path | str, target: Path | str, lines: Lines, scheduler: str | None = None) -> Tally:
    return restore_tree(Job(str(source), str(target), SETTINGS), Selection(), executor_for(scheduler, 1), lines)


def files_in(root: Path) -> dict[str, bytes]:
    """Content of every file by its path, without a batch's own folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "sancodec-batch"
    }


def folders_in(root: Path) -> set[str]:
    """Every folder, without a batch's own."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()} - {"sancodec-batch"}
