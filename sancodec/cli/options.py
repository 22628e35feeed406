"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from sancodec.codec.kernels import Model
    from sancodec.codec.recording import RecordingDescription
    from sancodec.codec.synthesis import Engine

Function = TypeVar("Function", bound=Callable[..., Any])


def common(function: Function) -> Function:
    """Add ``--quiet`` and ``--json``."""
    function = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object per input on standard output.")(
        function
    )


def engine(function: Function) -> Function:
    """Add ``--engine``."""
    return click.option(
        "--engine",
        "engine_name",
        type=click.Choice(["numpy", "onnx"]),
        default="numpy",
        show_default=True,
        help="What computes the transform. Both decode to the same bits.",
    )(function)


def model(function: Function) -> Function:
    """Add ``--model``."""
    return click.option(
        "--model",
        "model_names",
        multiple=True,
        metavar="NAME|PATH",
        help="Kernel model to use; those that ship by default.",
    )(function)


def threads(function: Function) -> Function:
    """``-T/--threads``."""
    option = click.option("-T", "--threads", type=click.IntRange(min=1), help="Threads; one per processor by default.")
    return option(function)


def engine_of(name: str) -> Engine:
    """The engine that ``--engine`` names."""
    if name == "onnx":
        from sancodec.export.engine import OnnxEngine

        return OnnxEngine(device="cpu")
    from sancodec.api import default_engine

    return default_engine()


def models_of(names: tuple[str, ...]) -> tuple[Model, ...]:
    """The models that ``--model`` names; none where it was not given."""
    from sancodec.codec.models import load_model

    return tuple(load_model(name) for name in names)


def tell_if_slow(recording: RecordingDescription, *, quiet: bool) -> None:
    """Say once on standard error that the native core is missing, where that makes a difference."""
    from sancodec.codec import native

    native.announce = lambda text: None if quiet else click.echo(f"sancodec: note: {text}", err=True)
    native.warn_if_slow(recording.n_frames * sum(channel.samples_per_frame for channel in recording.channels))
