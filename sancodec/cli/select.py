"""``sancodec select``: the best Sparsely Activated Network over activations and kernel sizes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import options, san_options
from sancodec.cli.progress import progress
from sancodec.cli.terminal import counted, table, write_json
from sancodec.errors import InvalidSignalError
from sancodec.new_files import new_file

if TYPE_CHECKING:
    from sancodec.training.selection_state import FinishedRun

_ALL = "all"


@click.command("select")
@click.argument("source")
@click.option(
    "--kernel-size",
    "sizes",
    callback=san_options.sizes,
    metavar="SIZES",
    required=True,
    help="Sizes to try: numbers and ranges from:to:step with commas between them.",
)
@click.option(
    "--activation",
    "activations",
    default=_ALL,
    show_default=True,
    help="all, or names with commas: identity, relu, topk_absolutes, extrema_pool_indices, extrema.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Network file of the best, .sann; by default named after the source, in the working directory.",
)
@click.option(
    "--by",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Windows whose mean phi decides; test, as the published code does, flatters the winner.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that keeps finished runs, which are not repeated; by default beside the output.",
)
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Runs at a time; one per processor by default.")
@san_options.training
@san_options.windows
@san_options.outputs
@options.common
def command(
    source: str,
    sizes: tuple[int, ...],
    activations: str,
    output: Path | None,
    by: str,
    state: Path | None,
    jobs: int | None,
    n_kernels: int,
    border_tolerance: int | None,
    initial: str | None,
    competing: bool,
    loss: str,
    learning_rate: float,
    n_epochs: int,
    batch_size: int,
    seed: int,
    device: str,
    plot: Path | None,
    tensorboard: Path | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **window_options: Any,
) -> None:
    """Train a network for every activation and kernel size, and keep the one with the least mean phi.

    SRC is what it is for "train san". Prints a table, the best first. A sweep that was interrupted goes on where it
    stood when the same command is given again. --plot draws CR^-1 against the normalised loss, one point per network.

    \b
    sancodec select mitdb/100 --first 12000 --kernel-size 8:250:8 --activation all -o best.sann --plot best.png
    sancodec select data.csv --kernel-size 8:15 --activation extrema,relu --normalise range -o eeg.sann
    """
    output = Path(f"{Path(source).name.split('.')[0] or 'best'}.sann") if output is None else output
    state = output.with_suffix(".runs") if state is None else state
    san_options.check_outputs(output, plot, tensorboard, force=force)
    san_options.require_torch()
    from sancodec.san.activations import SPARSITY
    from sancodec.training.san_config import TrainingConfig
    from sancodec.training.selection import grid, ranked, sweep

    names = tuple(SPARSITY) if activations == _ALL else tuple(map(san_options.activation_name, activations.split(",")))
    base = TrainingConfig(
        "extrema",
        sizes[:1] * n_kernels,
        border_tolerance=border_tolerance,
        initial=initial,
        competing=competing,
        loss=loss,
        learning_rate=learning_rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        seed=seed,
    )
    configs = grid(base, activations=names, kernel_sizes=sizes)
    windows = san_options.read(source, window_options)
    with progress("training", quiet=quiet) as report:

        def on_run(run: FinishedRun, n_finished: int, n_runs: int) -> None:
            report(n_finished / n_runs)

        runs = sweep(windows, configs, state=state, n_jobs=jobs, device=device, on_run=on_run)
    runs = ranked(runs, by=by)
    best = runs[0]
    if best.model is None:
        raise InvalidSignalError(f"{source}: no network could be trained; {best.failure}")
    with new_file(output, force=force) as file:
        file.write(best.model.content)
    if plot is not None:
        _draw(runs, best, plot, title=windows.source, force=force)
    if tensorboard is not None:
        _log(runs, tensorboard)
    if as_json:
        write_json(_report(source, output, state, runs, by=by))
    elif not quiet:
        click.echo(_table(runs))
        click.echo(f"{output}: {len(best.model.content)} bytes, the best by {by}", err=True)
        _tell_failures(runs)


def _table(runs: list[FinishedRun]) -> str:
    rows = [
        [
            run.config.activation,
            "+".join(map(str, run.config.kernel_sizes)),
            f"{run.test.phi:.3f}",
            f"{run.test.inverse_ratio:.3f}",
            f"{run.test.normalised_loss:.3f}",
            f"{run.validation.phi:.3f}",
            str(run.best_epoch + 1),
        ]
        for run in runs
        if run.test is not None and run.validation is not None
    ]
    return table(["activation", "kernel", "test φ̄", "CR⁻¹", "L̃", "validation φ̄", "epoch"], rows)


def _tell_failures(runs: list[FinishedRun]) -> None:
    failed = [run for run in runs if run.failure is not None]
    if failed:
        click.echo(f"sancodec: note: {counted(len(failed), 'run')} failed; the first: {failed[0].failure}", err=True)


def _draw(runs: list[FinishedRun], best: FinishedRun, path: Path, *, title: str, force: bool) -> None:
    from sancodec.training.plots import draw_sweep, write_figure

    figure = draw_sweep(runs, best=best, title=title)
    with new_file(path, force=force) as file:
        write_figure(figure, file, suffix=path.suffix)


def _log(runs: list[FinishedRun], folder: Path) -> None:
    from sancodec.training.tensorboard_log import EpochLog

    for run in runs:
        with EpochLog(folder / f"{run.config.activation}-{'+'.join(map(str, run.config.kernel_sizes))}") as log:
            for epoch in run.history:
                log(epoch)


def _report(source: str, output: Path, state: Path, runs: list[FinishedRun], *, by: str) -> dict[str, Any]:
    best = runs[0]
    assert best.model is not None
    return {
        "source": source,
        "output": str(output),
        "output_bytes": len(best.model.content),
        "sha256": best.model.sha256.hex(),
        "state": str(state),
        "chosen_by": by,
        "best": _summary(best),
        "runs": [_summary(run) for run in runs],
    }


def _summary(run: FinishedRun) -> dict[str, Any]:
    return {
        "activation": run.config.activation,
        "kernel_sizes": list(run.config.kernel_sizes),
        "best_epoch": run.best_epoch,
        "validation": None if run.validation is None else asdict(run.validation),
        "test": None if run.test is None else asdict(run.test),
        "seconds": round(run.seconds, 3),
        "failure": run.failure,
    }
