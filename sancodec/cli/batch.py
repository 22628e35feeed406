"""``sancodec batch``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import encoding_options, options
from sancodec.cli.progress import Bar
from sancodec.cli.terminal import counted, printable, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from sancodec.batch.plan import Plan
    from sancodec.batch.run import Tally
    from sancodec.batch.settings import Settings


@click.command("batch")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--restore", "is_restoring", is_flag=True, help="The other way: SRC is what a batch made.")
@click.option("--dry-run", "is_dry", is_flag=True, help="List what would be done, and do nothing.")
@click.option("--include", multiple=True, metavar="GLOB", help="Take only what matches; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches; may be repeated.")
@click.option("--no-others", is_flag=True, help="Do not copy files that are no recordings.")
@click.option(
    "--delete-originals",
    "is_deleting",
    is_flag=True,
    help="When no file failed, check every output once more and remove the sources.",
)
@click.option("-j", "--workers", type=click.IntRange(min=1), help="Processes; one per processor by default.")
@click.option("--scheduler", metavar="dask://HOST:PORT", help="Run on this Dask cluster (needs the batch extra).")
@click.option("-f", "--force", is_flag=True, help="Replace files in DST that are of no batch.")
@encoding_options.encoding
@options.common
def command(
    source: str,
    target: str,
    is_restoring: bool,
    is_dry: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    no_others: bool,
    is_deleting: bool,
    workers: int | None,
    scheduler: str | None,
    force: bool,
    encoding: Callable[[], Settings],
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress a tree of recordings into a mirror of it, or restore one.

    Every recording below SRC (WFDB records, EDF and BDF files, .npy arrays with --rate) becomes one .san file at its
    place below DST; every other file is copied. SRC and DST are folders, or URLs such as s3://bucket/folder (needs the
    batch extra).
    The same command goes on where an interrupted one ended: what is done is known by its digest, in
    DST/sancodec-batch/state.jsonl, and the reports lie beside it. A file that fails is told and the others go on;
    the exit status is 1 then. Originals are kept unless --delete-originals is given.

    A GLOB with a / is for the path below SRC, any other for the name of a file.

    \b
    sancodec batch mitdb compressed --preset monitor
    sancodec batch mitdb compressed --lossless --exclude '*.qrs' --dry-run
    sancodec batch --restore compressed restored
    sancodec batch s3://in/ecg s3://out/ecg --scheduler dask://10.0.0.1:8786
    """
    if is_restoring and (no_others or is_deleting):
        raise click.UsageError("--no-others and --delete-originals are for compressing, not for --restore")
    if scheduler is not None and workers is not None:
        raise click.UsageError("--workers is for this machine; a cluster has the workers that it has")

    from sancodec.batch.plan import Selection
    from sancodec.batch.tasks import Job
    from sancodec.batch.trees import compress_tree, executor_for, plan_of, restore_tree

    selection = Selection(include, exclude)
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = workers or n_processors
    job = Job(source, target, encoding(), force=force)
    if is_dry:
        plan, _ = plan_of(job, selection, has_others=not no_others, is_restoring=is_restoring)
        _list(plan, as_json=as_json, quiet=quiet)
        return
    reports: list[Path] = []
    with ExitStack() as closing:
        watcher = closing.enter_context(_Watcher(quiet=quiet))
        executor = executor_for(scheduler, n_workers)
        try:
            if is_restoring:
                tally = restore_tree(job, selection, executor, watcher)
            else:
                tally, reports = compress_tree(
                    job, selection, executor, watcher, has_others=not no_others, is_deleting=is_deleting
                )
        except KeyboardInterrupt:
            watcher.tell_rest()
            raise
    if as_json:
        write_json(_summary(job.source, job.target, tally, reports))
    elif not quiet:
        click.echo(_text(job.source, job.target, tally, reports))
    if tally.is_full:
        click.echo(
            f"sancodec: error: {target}: there is no space left; the same command goes on when there is", err=True
        )
    if tally.failures:
        raise click.exceptions.Exit(1)


class _Watcher:
    """Shows the bar of a run on a terminal, and lines of its files on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None
        self._tally: Tally | None = None
        self._label = ""

    def __enter__(self) -> _Watcher:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def line(self, text: str, is_error: bool) -> None:
        """See `sancodec.batch.trees.Watcher`."""
        if is_error or not self._quiet:
            line = f"sancodec: {'error' if is_error else 'note'}: {printable(text)}"
            click.echo(line, err=True) if self._bar is None else self._bar.say(line)

    def begin(self, tally: Tally, label: str) -> None:
        """See `sancodec.batch.trees.Watcher`."""
        from sancodec.codec import native

        native.announce = lambda text: self.line(text, False)
        native.warn_if_slow(tally.n_bytes)
        self._close()
        self._tally, self._label = tally, label
        if not self._quiet and sys.stderr.isatty():
            self._bar = Bar(self._bar_label, sys.stderr)

    def tell_rest(self) -> None:
        """Say what an interrupted run has done."""
        self._close()
        if self._tally is not None and not self._quiet:
            done = f"{self._tally.n_done} of {counted(self._tally.n_files, 'file')}"
            click.echo(f"sancodec: note: {done} done; the same command goes on from there", err=True)

    def _bar_label(self) -> str:
        tally = self._tally
        assert tally is not None
        assert self._bar is not None
        self._bar.pace.report(tally.fraction)
        ratio = "" if tally.file_ratio is None else f", {tally.file_ratio:.1f}:1"
        return f"{self._label} {tally.n_done}/{tally.n_files} files, {tally.mb_per_s:.1f} MB/s{ratio}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _list(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    for path, reason in plan.failures:
        click.echo(f"sancodec: error: {printable(path)}: {printable(reason)}", err=True)
    for note in plan.notes if not quiet else ():
        click.echo(f"sancodec: note: {printable(note)}", err=True)
    tasks = sorted(plan.tasks, key=lambda task: task.source)
    counts = {
        action: sum(task.action == action for task in tasks) for action in dict.fromkeys(task.action for task in tasks)
    }
    n_bytes = sum(task.n_bytes for task in tasks)
    if as_json:
        files = [
            {
                "action": task.action,
                "inputs": [each.path for each in task.inputs],
                "output": task.target,
                "input_bytes": task.n_bytes,
            }
            for task in tasks
        ]
        write_json({"files": files, "input_bytes": n_bytes})
        return
    for task in tasks:
        inputs = " + ".join(each.path for each in task.inputs)
        known = ", done before" if task.before is not None else ""
        click.echo(printable(f"{task.action} {inputs} -> {task.target} ({task.n_bytes:,} bytes{known})"))
    if not quiet:
        parts = ", ".join(f"{count} to {action}" for action, count in counts.items())
        click.echo(f"{counted(len(tasks), 'task')}, {n_bytes:,} bytes: {parts or 'nothing to do'}")


def _summary(source: str, target: str, tally: Tally, reports: list[Path]) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "files": tally.n_files,
        "done": tally.n_new,
        "done_before": tally.n_kept,
        "failed": [{"file": path, "error": reason} for path, reason in tally.failures],
        "input_bytes": tally.n_bytes,
        "written_bytes": tally.written_bytes,
        "recording_bytes": tally.record_bytes,
        "container_bytes": tally.container_bytes,
        "ratio": tally.ratio,
        "file_ratio": tally.file_ratio,
        "seconds": tally.elapsed_s,
        "mb_per_s": tally.mb_per_s,
        "reports": [str(path) for path in reports],
    }


def _text(source: str, target: str, tally: Tally, reports: list[Path]) -> str:
    before = f", {tally.n_kept} done before" if tally.n_kept else ""
    failed = f", {len(tally.failures)} failed" if tally.failures else ""
    ratios = ""
    if tally.ratio is not None:
        ratios = f", {tally.ratio:.2f}:1 of stored bits, {tally.file_ratio:.2f}:1 of the recordings' files"
    text = (
        f"{source} -> {target}: {counted(tally.n_new, 'file')} done{before}{failed}{ratios}, "
        f"{tally.elapsed_s:.1f} s, {tally.mb_per_s:.2f} MB/s"
    )
    return "\n".join([printable(text), *(printable(f"  {path}") for path in reports)])
