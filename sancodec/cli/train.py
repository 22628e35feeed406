"""``sancodec train``: kernel models from recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sancodec.cli import train_san
from sancodec.cli.inputs import read_recording
from sancodec.errors import InvalidSignalError, MissingDependencyError, SancodecError
from sancodec.new_files import new_file

_TRAINED = "trained"
_KERNELS = {
    _TRAINED: "lapped 32 x 128, trained; lowest band split three times by sym4",
    "haar": "Haar wavelet, 7 levels",
    "sym8": "sym8 wavelet, 7 levels",
    "mdct128": "MDCT of 128 bands, sine window; lowest band split twice by sym4",
}


_bursty = click.option(
    "--bursty",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="Folder of signals of another kind, with bursts and jumps; they get a weight set of their own.",
)
_exclude = click.option(
    "--exclude", multiple=True, metavar="NAME", help="Record to leave out, such as one of the test split."
)


@click.group("train")
def command() -> None:
    """Train kernel models and networks (needs the train extra)."""


command.add_command(train_san.command)


@command.command("bank")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Model file to write."
)
@click.option("--name", help="Name of the model; the output's name by default.")
@click.option(
    "--kernels",
    type=click.Choice(list(_KERNELS)),
    default=_TRAINED,
    show_default=True,
    help="Train kernels, or take fixed ones and train statistics only.",
)
@_bursty
@_exclude
@click.option("--iterations", default=8000, show_default=True, help="Adam iterations of the kernels.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of the statistics.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--note", default="", help="Licence or origin of the data, kept in the model.")
@click.option("-f", "--force", is_flag=True, help="Replace the output.")
def bank(
    source: Path,
    output: Path,
    name: str | None,
    kernels: str,
    bursty: tuple[Path, ...],
    exclude: tuple[str, ...],
    iterations: int,
    rounds: int,
    seed: int,
    note: str,
    force: bool,
) -> None:
    """Train a bank of kernels on the WFDB records of a folder.

    \b
    sancodec train bank mitdb -o ecg360.sanm --exclude 100 --exclude 105
    """
    from sancodec.training.train import STATISTICS_PRDN, train_statistics

    kinds = _kinds(source, bursty, exclude)
    is_trained = kernels == _TRAINED
    groups = (
        _trained_groups(kinds[0], iterations=iterations, seed=seed, say=_say) if is_trained else _fixed_groups(kernels)
    )
    rate_hz = float(kinds[0][0].recording.frame_rate_hz)
    metadata: dict[str, Any] = {
        "name": name or output.stem,
        "kernels": _KERNELS[kernels],
        "records": [[each.name for each in kind] for kind in kinds],
        "excluded": sorted(exclude),
        "seed": seed,
        "iterations": iterations if is_trained else 0,
        "statistics_prdn": list(STATISTICS_PRDN),
        "note": note,
    }
    if is_trained:
        metadata["sampling_rate_hz"] = rate_hz
    model = train_statistics(groups, kinds, metadata=metadata, n_rounds=rounds, on_message=_say)
    _write(model, output, force=force)


@command.command("mixing")
@click.argument("model")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Model file to write."
)
@_bursty
@_exclude
@click.option("--rounds", default=2, show_default=True, help="Rounds of encoding and fitting.")
@click.option("-f", "--force", is_flag=True, help="Replace the output.")
def mixing(
    model: str,
    source: Path,
    output: Path,
    bursty: tuple[Path, ...],
    exclude: tuple[str, ...],
    rounds: int,
    force: bool,
) -> None:
    """Train what the mixing coder of levels 7 to 9 begins with, for the kernels of a model.

    MODEL is the name of a bank, or a model file; everything else of it stays as it is.

    \b
    sancodec train mixing ecg360 mitdb -o ecg360.sanm --exclude 100 --exclude 105
    """
    from sancodec.codec.models import load_model
    from sancodec.training.train import train_mixing

    trained = train_mixing(load_model(model), _kinds(source, bursty, exclude), n_rounds=rounds, on_message=_say)
    _write(trained, output, force=force)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _write(model: Any, output: Path, *, force: bool) -> None:
    with new_file(output, force=force) as file:
        file.write(model.content)
    _say(f"{output}: {len(model.content)} bytes, SHA-256 {model.sha256.hex()}")


def _kinds(source: Path, bursty: tuple[Path, ...], exclude: tuple[str, ...]) -> list[list[Any]]:
    """Recordings by kind of signal."""
    from sancodec.training.train import TrainingSource

    def sources_of(folder: Path) -> list[TrainingSource]:
        found = []
        for header in sorted(folder.glob("*.hea")):
            if header.stem not in exclude:
                try:
                    found.append(TrainingSource(header.stem, read_recording(str(header), sampling_rate_hz=None)))
                except SancodecError as error:
                    _say(f"left out: {error}")
        if not found:
            raise InvalidSignalError(f"{folder}: there is no WFDB record to train on")
        return found

    kinds = [sources_of(source)]
    if bursty:
        kinds.append([each for folder in bursty for each in sources_of(folder)])
    return kinds


def _fixed_groups(kernels: str) -> tuple[Any, ...]:
    from sancodec.training.lapped import HAAR, SYM4, SYM8, dyadic_groups, mdct_kernels, split_lowest

    if kernels == "mdct128":
        return tuple(split_lowest(mdct_kernels(128), stride=128, levels=2, scaling=SYM4))
    return tuple(dyadic_groups(HAAR if kernels == "haar" else SYM8, levels=7))


def _trained_groups(sources: list[Any], *, iterations: int, seed: int, say: Any) -> tuple[Any, ...]:
    try:
        from sancodec.training.bank import N_KERNELS, train_bank
    except ImportError as error:
        raise MissingDependencyError(f"training kernels needs torch ({error}); pip install 'sancodec[train]'") from None
    from sancodec.training.lapped import SYM4, split_lowest
    from sancodec.training.train import beat_residuals

    residuals = [pair for source in sources for pair in beat_residuals(source.recording)]
    if not residuals:
        raise InvalidSignalError("no channel is long enough to train kernels on")
    import numpy as np

    losses: list[float] = []

    def on_iteration(index: int, loss: float) -> None:
        losses.append(loss)
        if (index + 1) % 1000 == 0:
            say(f"iteration {index + 1}: {np.mean(losses[-1000:]):.4f} bit per coefficient")

    kernels = train_bank(
        [signal for signal, _ in residuals],
        [scale for _, scale in residuals],
        n_iterations=iterations,
        seed=seed,
        on_iteration=on_iteration,
    )
    return tuple(split_lowest(kernels, stride=N_KERNELS, levels=3, scaling=SYM4))
