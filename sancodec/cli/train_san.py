"""``sancodec train san``: one Sparsely Activated Network of the published form."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import options, san_options
from sancodec.cli.progress import progress
from sancodec.cli.terminal import write_json
from sancodec.new_files import new_file

if TYPE_CHECKING:
    from sancodec.san.metrics import Score
    from sancodec.san.model_file import SanModel
    from sancodec.training.san_config import TrainingConfig
    from sancodec.training.san_training import Epoch, TrainedSan
    from sancodec.training.windows import SplitWindows


@click.command("san")
@click.argument("source")
@click.option(
    "--activation",
    default="extrema",
    show_default=True,
    help="identity, relu, topk_absolutes, extrema_pool_indices or extrema.",
)
@click.option(
    "--kernel-size",
    "sizes",
    callback=san_options.sizes,
    metavar="SIZES",
    required=True,
    help="Samples of a kernel, along each axis; of several kernels one size, or as many with commas.",
)
@click.option(
    "--sparsity",
    type=int,
    metavar="D",
    help="k of topk_absolutes, pool size or minimum extrema distance; by default derived from the kernel size.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Network file, .sann."
)
@san_options.training
@san_options.windows
@san_options.outputs
@options.common
def command(
    source: str,
    activation: str,
    sizes: tuple[int, ...],
    sparsity: int | None,
    output: Path,
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
    """Train a Sparsely Activated Network (arXiv:1907.06592) and keep the epoch with the least mean phi of validation.

    SRC is a WFDB record, a folder of WFDB records, a .npy array (window, sample) or (window, row, column), a .csv table
    in the layout of UCI-epilepsy, or an IDX file as of MNIST. The same source, options and machine give the same file,
    bit for bit. --plot draws the loss curve.

    \b
    sancodec train san mitdb/100 --first 12000 --activation extrema --kernels 1 --kernel-size 229 -o 100.sann
    sancodec train san data.csv --kernels 2 --kernel-size 10,15 --normalise range --batch-size 64 -o eeg.sann
    """
    if len(sizes) not in (1, n_kernels):
        raise click.UsageError(
            f"--kernel-size has {len(sizes)} sizes; give one, or one for each of {n_kernels} kernels"
        )
    san_options.check_outputs(output, plot, tensorboard, force=force)
    from sancodec.training.san_config import TrainingConfig

    config = TrainingConfig(
        san_options.activation_name(activation),
        sizes if len(sizes) == n_kernels else sizes * n_kernels,
        sparsity=sparsity,
        border_tolerance=border_tolerance,
        initial=initial,
        competing=competing,
        loss=loss,
        learning_rate=learning_rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        seed=seed,
    )
    windows = san_options.read(source, window_options)
    config.activations(windows.window)
    san_options.require_torch()
    start = time.perf_counter()
    trained = _train(windows, config, device=device, tensorboard=tensorboard, quiet=quiet)
    seconds = time.perf_counter() - start
    from sancodec.training.san_training import san_model

    model = san_model(trained, windows, config)
    with new_file(output, force=force) as file:
        file.write(model.content)
    if plot is not None:
        _draw(trained, config, plot, force=force)
    if as_json:
        write_json(_report(source, output, model, trained, windows, config, seconds))
    elif not quiet:
        click.echo(f"validation  {score_text(trained.validation)}  (epoch {trained.best_epoch + 1})")
        click.echo(f"test        {score_text(trained.test)}")
        click.echo(f"{output}: {len(model.content)} bytes, SHA-256 {model.sha256.hex()}", err=True)


def score_text(score: Score) -> str:
    """One score, in the order of the paper's tables."""
    return f"CR⁻¹ {score.inverse_ratio:.3f}  L̃ {score.normalised_loss:.3f}  φ̄ {score.phi:.3f}"


def _train(
    windows: SplitWindows, config: TrainingConfig, *, device: str, tensorboard: Path | None, quiet: bool
) -> TrainedSan:
    from sancodec.training.san_training import train_san

    with ExitStack() as stack:
        report = stack.enter_context(progress("training", quiet=quiet))
        log = None
        if tensorboard is not None:
            from sancodec.training.tensorboard_log import EpochLog

            log = stack.enter_context(EpochLog(tensorboard))

        def on_epoch(epoch: Epoch) -> None:
            report((epoch.index + 1) / config.n_epochs)
            if log is not None:
                log(epoch)

        return train_san(windows, config, device=device, on_epoch=on_epoch)


def _draw(trained: TrainedSan, config: TrainingConfig, path: Path, *, force: bool) -> None:
    from sancodec.training.plots import draw_history, write_figure

    title = f"{config.activation}, kernel {'+'.join(map(str, config.kernel_sizes))}"
    figure = draw_history(trained.history, best_epoch=trained.best_epoch, title=title)
    with new_file(path, force=force) as file:
        write_figure(figure, file, suffix=path.suffix)


def _report(
    source: str,
    output: Path,
    model: SanModel,
    trained: TrainedSan,
    windows: SplitWindows,
    config: TrainingConfig,
    seconds: float,
) -> dict[str, Any]:
    return {
        "source": source,
        "output": str(output),
        "output_bytes": len(model.content),
        "sha256": model.sha256.hex(),
        "window": list(windows.window),
        "windows": [len(windows.train), len(windows.validation), len(windows.test)],
        "training": config.as_json(),
        "device": trained.device,
        "seconds": round(seconds, 3),
        "best_epoch": trained.best_epoch,
        "validation": asdict(trained.validation),
        "test": asdict(trained.test),
        "history": [{"train_loss": each.train_loss, **asdict(each.validation)} for each in trained.history],
    }
