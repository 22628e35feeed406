"""Options that ``train san`` and ``select`` share, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sancodec.errors import MissingDependencyError
from sancodec.new_files import check_output

if TYPE_CHECKING:
    from sancodec.training.windows import SplitWindows

Function = TypeVar("Function", bound=Callable[..., Any])
PLOT_SUFFIXES = (".png", ".svg", ".pdf")
_MAX_SIZES = 10_000


def shares(ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Numbers with slashes between them."""
    try:
        return tuple(float(part) for part in text.split("/"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not of the form 6/2/4", ctx, parameter) from None


def sizes(ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Numbers and ranges ``from:to`` or ``from:to:step`` with commas between them; ``to`` belongs to the range."""
    found = list[int]()
    for part in text.split(","):
        try:
            numbers = [int(number) for number in part.split(":")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3 or min(numbers) < 1:
            raise click.BadParameter(
                f"{part!r} is neither a number from 1 on nor a range such as 8:250:8", ctx, parameter
            )
        first, last, step = (*numbers, *([numbers[0], 1] if len(numbers) == 1 else [1]))[:3]
        several = range(first, last + 1, step)
        if not several or len(found) + len(several) > _MAX_SIZES:
            raise click.BadParameter(
                f"{part!r} has {len(several)} sizes; 1 to {_MAX_SIZES} are allowed", ctx, parameter
            )
        found.extend(several)
    return tuple(found)


_WINDOWS = (
    click.option("--window", "length", type=int, metavar="N", help="Samples of a window of recordings; default 1000."),
    click.option("--channel", default="0", show_default=True, metavar="NAME|INDEX", help="Channel of recordings."),
    click.option("--first", type=int, metavar="N", help="First N samples of each recording, or N windows, only."),
    click.option("--exclude", multiple=True, metavar="NAME", help="Record of a folder to leave out; repeatable."),
    click.option(
        "--split",
        callback=shares,
        default="6/2/4",
        show_default=True,
        metavar="A/B/C",
        help="Shares of training, validation and test.",
    ),
    click.option(
        "--normalise",
        "normalisation",
        type=click.Choice(["window", "range", "peak", "none"]),
        default="window",
        show_default=True,
        help="Each window to zero mean and unit variance; or all of them to -1...1; or by the largest; or not at all.",
    ),
    click.option("--skip-unusable", is_flag=True, help="Leave out windows that are constant or have missing samples."),
)
_TRAINING = (
    click.option(
        "--kernels", "n_kernels", type=click.IntRange(1, 1024), default=1, show_default=True, help="How many."
    ),
    click.option("--border-tolerance", type=int, metavar="N", help="Of extrema; default 3, of images 2."),
    click.option(
        "--initial",
        type=click.Choice(["constant", "normal"]),
        help="Weights at the start: 0.1, or drawn; default constant, for kernels of one size normal.",
    ),
    click.option(
        "--compete",
        "competing",
        is_flag=True,
        help="Kernels of extrema compete: where one is active, no other is.",
    ),
    click.option("--loss", type=click.Choice(["mae", "mse"]), default="mae", show_default=True, help="To minimise."),
    click.option("--learning-rate", type=float, default=0.01, show_default=True, help="Of Adam."),
    click.option("--epochs", "n_epochs", type=int, default=30, show_default=True, help="Passes over the windows."),
    click.option("--batch-size", type=int, default=2, show_default=True, help="Windows of a step."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where training runs; auto takes CUDA where torch finds it.",
    ),
)


def windows(function: Function) -> Function:
    """What to take from the source; the command gets it as keywords of ``WindowOptions``."""
    return _decorated(function, _WINDOWS)


def training(function: Function) -> Function:
    """How to train; the command gets ``n_kernels``, ``device`` and keywords of ``TrainingConfig``."""
    return _decorated(function, _TRAINING)


def outputs(function: Function) -> Function:
    """``--plot`` and ``--tensorboard``, ``--force``."""
    added = (
        click.option(
            "--plot",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Picture to draw (.png, .svg, .pdf; needs the plot extra).",
        ),
        click.option(
            "--tensorboard",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Folder for logs of TensorBoard (needs tensorboard).",
        ),
        click.option("-f", "--force", is_flag=True, help="Replace outputs."),
    )
    return _decorated(function, added)


def _decorated(function: Function, options: tuple[Callable[[Function], Function], ...]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def activation_name(text: str) -> str:
    """``topk-absolutes`` is ``topk_absolutes``."""
    return text.strip().replace("-", "_")


def check_outputs(output: Path, plot: Path | None, tensorboard: Path | None, *, force: bool) -> None:
    """Refuse what could not be written, before anything is computed."""
    if output.suffix == ".sanm":
        raise click.UsageError(f"{output}: .sanm is a kernel bank of the codec; a network is .sann")
    check_output(output, force=force)
    if plot is not None:
        from sancodec.training.plots import require_matplotlib

        if plot.suffix.lower() not in PLOT_SUFFIXES:
            raise click.UsageError(f"{plot}: a picture is one of {', '.join(PLOT_SUFFIXES)}")
        check_output(plot, force=force)
        require_matplotlib()
    if tensorboard is not None:
        require_torch()
        from sancodec.training.tensorboard_log import require_tensorboard

        require_tensorboard()


def require_torch() -> None:
    """Refuse to go on without torch.

    Raises
    ------
    MissingDependencyError
        With what installs it.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"training needs torch ({error}); pip install 'sancodec[train]'") from None


def read(source: str, options: dict[str, Any]) -> SplitWindows:
    """The windows of a source, by the values of the options of ``windows``."""
    from sancodec.training.windows import WindowOptions, read_windows

    return read_windows(source, WindowOptions(**options))
