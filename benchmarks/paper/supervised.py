"""What UCI-epilepsy, MNIST and Fashion-MNIST share: networks of two kernels, then a classifier on reconstructions.

    windows ─ SAN ─ reconstructions ─ classifier ─ accuracy        A± = accuracy − accuracy on the raw windows
       └──────────────────────────────── classifier ─ accuracy

The published code (github.com/pbizopoulos/sparsely-activated-networks) differs in these points: both kernels start
with all weights at 0.1, and so stay equal (here they start from the normal distribution that section IV of the paper
names); it tests the last epoch, of networks and classifiers, where it means the best; its accuracy on raw data counts
the validation windows along with the test windows; of kernels of two dimensions it counts the rows only as weights
(equation 2 counts all of them, as is done here; φ̄ by either count is in the JSON); and its Extrema-Pool of two
dimensions keeps one element of the whole map, where Algorithm 2 keeps one of every pool. One classifier decides there;
here A± is the mean over several seeds of the classifier, whose spread is about as large as most A±; that of seed 0
alone stands beside it.

A rectifier whose kernels turn negative gives nothing (L̃ 1, CR⁻¹ near 0). Its φ̄ of 1 is less than that of one that
works (CR⁻¹ above 1), so that the choice by φ̄ prefers it, with the accuracy of a guess.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import environment
from classification import Classified, Task, classify_all, tasks
from classifiers import ClassifierConfig
from figures import accuracy_picture, kernel_picture, sweep_picture
from labelled import LabelledWindows
from report import ACCURACY_DIFFERENCE, ACTIVATIONS, KERNEL_SIZE, SCORES, SPARSE, Table, write_tables

from sancodec.errors import InvalidSignalError, SancodecError
from sancodec.training.plots import require_matplotlib
from sancodec.training.san_config import TrainingConfig
from sancodec.training.selection import grid, n_processors, sweep
from sancodec.training.selection_state import FinishedRun, RunStore

_N_KERNELS = 2
_BORDER_TOLERANCE = 2
_N_EPOCHS = 5
_BATCH_SIZE = 64
# The paper: accuracies are retained. Here, for one sparse activation and size at least, to within so many points.
_ALLOWED_LOSS = 1.0
_BUILD = environment.REPOSITORY / "build"
_RESULTS = environment.REPOSITORY / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One of the paper's experiments on classification.

    Parameters
    ----------
    name
        Of its files.
    title
        For people.
    folder
        Of the data, within the folder of all data.
    read, invent
        The windows of that folder; the few of ``--quick``, which needs no data.
    kernel_sizes, quick_sizes
        To sweep over.
    classifier
        The one that the paper takes.
    notes
        What a reader of the tables must know.
    pictured_size
        Kernel size of the picture of kernels; None for signals.
    source
        Whose images the picture shows.
    """

    name: str
    title: str
    folder: str
    read: Callable[[Path], LabelledWindows]
    invent: Callable[[], LabelledWindows]
    kernel_sizes: tuple[int, ...]
    quick_sizes: tuple[int, ...]
    classifier: ClassifierConfig
    notes: tuple[str, ...] = ()
    pictured_size: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one call of a script does."""

    experiment: Experiment
    configs: tuple[TrainingConfig, ...]
    classifier: ClassifierConfig
    state: Path
    output: Path
    n_jobs: int
    only_finished: bool
    is_quick: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=environment.REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--state", type=Path, help="folder that keeps finished runs; build/paper_… by default")
    parser.add_argument("--output", type=Path, help="JSON file; tables and pictures go beside it")
    parser.add_argument("--jobs", type=int, help="processes of one thread each; one per processor by default")
    parser.add_argument("--classifier-seeds", type=int, default=5, help="seeds of the classifier, from 0 on")
    parser.add_argument("--kernel-sizes", type=int, nargs="+", help="fewer than the paper's")
    parser.add_argument("--only-finished", action="store_true", help="train no network; report on those that are")
    parser.add_argument("--quick", action="store_true", help="a small sweep over invented windows, to see that it runs")


def run(experiment: Experiment, options: argparse.Namespace) -> int:
    """Measure and write; 1 when no sparse activation keeps the accuracy, or something is amiss."""
    try:
        require_matplotlib()
        plan = _planned(experiment, options)
        return _measured(plan, _windows(plan, options.data / experiment.folder))
    except SancodecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _planned(experiment: Experiment, options: argparse.Namespace) -> _Plan:
    quick = options.quick
    if quick:
        title, source = f"Invented windows instead of {experiment.title}", "Invented images"
        experiment = replace(experiment, title=title, source=source, notes=())
    if options.classifier_seeds < 1:
        raise InvalidSignalError(f"{options.classifier_seeds} classifier seeds were asked for; at least 1 is needed")
    name = f"paper_quick_{experiment.name}" if quick else f"paper_{experiment.name}"
    base = TrainingConfig(
        "extrema",
        (1,) * _N_KERNELS,
        border_tolerance=_BORDER_TOLERANCE,
        n_epochs=2 if quick else _N_EPOCHS,
        batch_size=_BATCH_SIZE,
    )
    sizes = options.kernel_sizes or (experiment.quick_sizes if quick else experiment.kernel_sizes)
    configs = grid(base, activations=tuple(ACTIVATIONS), kernel_sizes=sizes)
    return _Plan(
        experiment,
        # By size, so that the time left is told by slow and fast activations alike.
        tuple(sorted(configs, key=lambda config: config.kernel_sizes)),
        replace(experiment.classifier, seeds=tuple(range(2 if quick else options.classifier_seeds))),
        options.state or _BUILD / name,
        options.output or (_BUILD / name if quick else _RESULTS) / f"{name}.json",
        # What --quick trains takes less time than another process takes to begin.
        options.jobs or (1 if quick else n_processors()),
        options.only_finished,
        quick,
    )


def _windows(plan: _Plan, folder: Path) -> LabelledWindows:
    if plan.is_quick:
        return plan.experiment.invent()
    if not folder.is_dir():
        raise InvalidSignalError(f"{folder}: the data are not at hand; give the folder above it with --data")
    return plan.experiment.read(folder)


def _measured(plan: _Plan, data: LabelledWindows) -> int:
    start = time.perf_counter()
    runs = [run for run in _trained(plan, data) if run.failure is None]
    classified = _classified(plan, runs, data)
    raw = next(found for task, found in classified if task.run is None)
    order = {config: index for index, config in enumerate(plan.configs)}
    pairs = [(task.run, found) for task, found in classified if task.run is not None]
    rows = [_row(run, found, raw) for run, found in sorted(pairs, key=lambda pair: order[pair[0].config])]
    content = _content(plan, data, rows, raw, wall_s=time.perf_counter() - start)
    environment.write_json(plan.output, content)
    pictures = _pictures(plan, data, runs, content)
    found_tables = _tables(plan, content)
    write_tables(plan.output, found_tables, title=plan.experiment.title, pictures=pictures)
    for table in found_tables:
        print(table.markdown())
    if plan.is_quick or not content["complete"] or content["within_one_point"]:
        return 0
    print(f"{plan.experiment.name}: no sparse activation keeps the accuracy to within one point", file=sys.stderr)
    return 1


def _trained(plan: _Plan, data: LabelledWindows) -> list[FinishedRun]:
    if plan.only_finished:
        store, sha256 = RunStore(plan.state), data.windows.sha256
        kept = (store.load(config, config.sha256(data_sha256=sha256, device="cpu")) for config in plan.configs)
        return [run for run in kept if run is not None]
    label = f"{plan.experiment.name}: networks"
    with click.progressbar(length=len(plan.configs), label=label, show_pos=True, file=sys.stderr) as bar:
        return sweep(
            data.windows,
            plan.configs,
            state=plan.state,
            n_jobs=plan.n_jobs,
            device="cpu",
            on_run=lambda _run, _done, _all: bar.update(1),
        )


def _classified(plan: _Plan, runs: Sequence[FinishedRun], data: LabelledWindows) -> list[tuple[Task, Classified]]:
    waiting, found = tasks(runs, data, plan.classifier), []
    label = f"{plan.experiment.name}: classifiers"
    with click.progressbar(length=len(waiting), label=label, show_pos=True, file=sys.stderr) as bar:
        for pair in classify_all(waiting, data, plan.classifier, state=plan.state, n_jobs=plan.n_jobs):
            found.append(pair)
            bar.update(1)
    return found


def _row(run: FinishedRun, found: Classified, raw: Classified) -> dict[str, Any]:
    assert run.test is not None
    assert run.validation is not None
    assert found.published_count is not None
    return {
        "activation": run.config.activation,
        "kernel_size": run.config.kernel_sizes[0],
        "best_epoch": run.best_epoch,
        "validation": asdict(run.validation),
        "test": asdict(run.test),
        "test_phi_by_published_count": found.published_count.phi,
        "accuracy": _accuracy(found),
        "accuracy_difference": found.mean - raw.mean,
        "first_seed_accuracy_difference": found.accuracies[0].best - raw.accuracies[0].best,
        "last_epoch_accuracy_difference": found.last_epoch_mean - raw.last_epoch_mean,
        "training_s": round(run.seconds, 3),
        "classification_s": round(found.seconds, 3),
    }


def _accuracy(found: Classified) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "std": found.std,
        "by_seed": [each.best for each in found.accuracies],
        "last_epoch_mean": found.last_epoch_mean,
        "last_epoch_by_seed": [each.last for each in found.accuracies],
    }


def _content(
    plan: _Plan, data: LabelledWindows, rows: Sequence[dict[str, Any]], raw: Classified, *, wall_s: float
) -> dict[str, Any]:
    windows = data.windows
    expected = len(ACTIVATIONS) * len(plan.experiment.kernel_sizes)
    return {
        "environment": environment.describe(["numpy", "torch"]),
        "protocol": {
            "source": "section IV-B and IV-C of arXiv:1907.06592",
            "data": windows.source,
            "windows": [len(windows.train), len(windows.validation), len(windows.test)],
            "normalisation": asdict(windows.normalisation),
            "training": plan.configs[0].as_json(),
            "kernel_sizes": sorted({config.kernel_sizes[0] for config in plan.configs}),
            "classifier": asdict(plan.classifier),
            "jobs": plan.n_jobs,
            "wall_s_of_what_was_not_finished_before": wall_s,
            "wall_s_of_all_runs_added": sum(row["training_s"] + row["classification_s"] for row in rows) + raw.seconds,
        },
        "complete": len(rows) == expected and not plan.is_quick,
        "within_one_point": _kept(rows, "accuracy_difference"),
        "within_one_point_by_first_seed": _kept(rows, "first_seed_accuracy_difference"),
        "raw_accuracy": _accuracy(raw),
        "rows": list(rows),
    }


def _kept(rows: Sequence[dict[str, Any]], difference: str) -> list[str]:
    """Sparse activations, with the kernel size, that keep the accuracy with a description shorter than the window."""
    return [
        f"{row['activation']} {row['kernel_size']}"
        for row in rows
        # Of one pixel, top-k and Extrema-Pool keep everything.
        if row["activation"] in SPARSE and row["test"]["inverse_ratio"] < 1 and row[difference] >= -_ALLOWED_LOSS
    ]


def _tables(plan: _Plan, content: dict[str, Any]) -> list[Table]:
    experiment, rows, raw = plan.experiment, content["rows"], content["raw_accuracy"]
    n_seeds = len(plan.classifier.seeds)
    notes = [
        f"A± is the accuracy with reconstructions less that of the same classifier on the raw windows, "
        f"{raw['mean']:.2f} % (standard deviation {raw['std']:.2f} over {n_seeds} seeds); both are means over the "
        f"seeds. With reconstructions the standard deviation is {_range(rows)}.",
        "Sparse activations with CR⁻¹ below 1 and within one point of the raw windows, or above: "
        f"{', '.join(content['within_one_point']) or 'none'}. With one classifier, as in the paper (seed 0): "
        f"{', '.join(content['within_one_point_by_first_seed']) or 'none'}.",
        *experiment.notes,
    ]
    if not content["complete"]:
        notes.insert(0, f"Not complete: {len(rows)} networks.")
    tables = [
        _by_size(
            f"{experiment.title}.",
            rows,
            lambda row: (
                row["test"]["inverse_ratio"],
                row["test"]["normalised_loss"],
                row["test"]["phi"],
                row["accuracy_difference"],
            ),
            (*SCORES, ACCURACY_DIFFERENCE),
            tuple(notes),
        ),
        _by_size(
            "A± of the last epoch instead of the best, A± of seed 0 alone, standard deviation over the seeds.",
            rows,
            lambda row: (
                row["last_epoch_accuracy_difference"],
                row["first_seed_accuracy_difference"],
                row["accuracy"]["std"],
            ),
            (
                replace(ACCURACY_DIFFERENCE, markdown="A±% of the last epoch"),
                replace(ACCURACY_DIFFERENCE, markdown="A±% of seed 0"),
                replace(ACCURACY_DIFFERENCE, markdown="deviation", form=".1f"),
            ),
        ),
    ]
    if experiment.pictured_size is not None:
        counts = (SCORES[2], replace(SCORES[2], markdown="φ̄ as published"))
        tables.append(
            _by_size(
                "φ̄ with all weights counted (equation 2), and with the rows of kernels only (published code).",
                rows,
                lambda row: (row["test"]["phi"], row["test_phi_by_published_count"]),
                counts,
            )
        )
    return tables


def _by_size(
    caption: str,
    rows: Sequence[dict[str, Any]],
    values: Callable[[dict[str, Any]], tuple[float, ...]],
    figures: tuple[Any, ...],
    notes: tuple[str, ...] = (),
) -> Table:
    sizes = sorted({row["kernel_size"] for row in rows})
    lines = [
        (str(size), {row["activation"]: values(row) for row in rows if row["kernel_size"] == size}) for size in sizes
    ]
    return Table(caption, KERNEL_SIZE, figures, lines, notes)


def _range(rows: Sequence[dict[str, Any]]) -> str:
    found = [row["accuracy"]["std"] for row in rows]
    return f"{min(found):.2f} to {max(found):.2f}" if found else "not known"


def _pictures(plan: _Plan, data: LabelledWindows, runs: Sequence[FinishedRun], content: dict[str, Any]) -> list[Path]:
    if not runs:
        return []
    experiment, stem = plan.experiment, plan.output.with_suffix("")
    found = [
        sweep_picture(stem.with_name(f"{stem.name}_models.svg"), runs, title=experiment.title),
        accuracy_picture(
            stem.with_name(f"{stem.name}_accuracy.svg"),
            content["rows"],
            content["raw_accuracy"],
            title=experiment.title,
        ),
    ]
    networks = {
        run.config.activation: run.model.network
        for run in runs
        if run.model is not None and run.config.kernel_sizes[0] == experiment.pictured_size
    }
    if networks:
        ordered = {name: networks[name] for name in ACTIVATIONS if name in networks}
        path = stem.with_name(f"{stem.name}_kernels.png")
        title = f"{experiment.source}, test image 0; kernels of {experiment.pictured_size} × {experiment.pictured_size}"
        found.append(kernel_picture(path, data.windows.test[0, 0], ordered, title=title))
    return found
