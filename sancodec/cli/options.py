"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from sancodec.codec.given_kernels import GivenKernels
    from sancodec.codec.kernels import Model
    from sancodec.codec.recording import RecordingDescription
    from sancodec.codec.synthesis import Engine
    from sancodec.export.sessions import Device

Function = TypeVar("Function", bound=Callable[..., Any])


def common(function: Function) -> Function:
    """Add ``--quiet`` and ``--json``."""
    function = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object per input on standard output.")(
        function
    )


def engine(function: Function) -> Function:
    """Add ``--engine`` and ``--device``; the command gets both as ``transform``."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, engine_name: str | None, device: Device, **others: Any) -> Any:
        if engine_name == "numpy" and device != "cpu":
            raise click.UsageError(f"--engine numpy runs on the CPU; --device {device} needs onnx")
        return function(*arguments, transform=Transform(engine_name, device), **others)

    named = click.option(
        "--engine",
        "engine_name",
        type=click.Choice(["numpy", "onnx"]),
        help="What computes the transform: numpy by default on the CPU, onnx on others. All decode to the same bits.",
    )
    placed = click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="Where the transform runs; auto takes CUDA where it works.",
    )
    return cast(Function, named(placed(wrapped)))


@dataclass(frozen=True, slots=True)
class Transform:
    """What ``--engine`` and ``--device`` say."""

    engine_name: str | None
    device: Device

    def engine(self, *, quiet: bool) -> Engine:
        """The engine, the same for every input; that ``auto`` fell back to the CPU is said once on standard error."""
        return _opened(self, quiet)


@functools.cache
def _opened(transform: Transform, quiet: bool) -> Engine:
    from sancodec.api import default_engine

    if transform == Transform("numpy", "cpu") or transform == Transform(None, "cpu"):
        return default_engine()
    from sancodec.errors import MissingDependencyError
    from sancodec.export.engine import OnnxEngine

    found: Engine | None = None
    try:
        found = OnnxEngine(device=transform.device)
        obstacle = found.fallback
    except MissingDependencyError as error:
        if transform != Transform(None, "auto"):
            raise
        obstacle = str(error)
    if obstacle and not quiet:
        click.echo(f"sancodec: note: CUDA does not work here ({obstacle}); the CPU is used", err=True)
    return default_engine() if found is None or (obstacle and transform.engine_name is None) else found


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


def models_of(names: tuple[str, ...]) -> tuple[Model, ...]:
    """The models that ``--model`` names; none where it was not given."""
    from sancodec.codec.models import load_model

    for name in names:
        if is_network(name):
            raise click.UsageError(
                f"--model {name}: networks are for compressing; a file carries what it needs of them"
            )
    return tuple(load_model(name) for name in names)


def kernels_of(names: tuple[str, ...]) -> tuple[tuple[Model, ...], GivenKernels | None]:
    """The banks that ``--model`` names, none where it names none, and the beat kernels of a network among them.

    Raises
    ------
    InvalidSignalError, FormatError
    """
    networks = [name for name in names if is_network(name)]
    if not networks:
        return models_of(names), None
    if len(networks) > 1:
        raise click.UsageError(f"--model {networks[1]}: one network at a time gives the kernels of beats")
    from sancodec.errors import InvalidSignalError
    from sancodec.san.beat_kernels import beat_kernels
    from sancodec.san.model_file import load_san_model

    try:
        given = beat_kernels(load_san_model(networks[0]))
    except InvalidSignalError as error:
        raise InvalidSignalError(str(error) if networks[0] in str(error) else f"{networks[0]}: {error}") from None
    return models_of(tuple(name for name in names if name not in networks)), given


def is_network(name: str) -> bool:
    """Whether a file is that of a network, by its first bytes."""
    from sancodec.san.model_file import MAGIC

    try:
        with open(name, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def tell_if_slow(recording: RecordingDescription, *, quiet: bool) -> None:
    """Say once on standard error that the native core is missing, where that makes a difference."""
    from sancodec.codec import native

    native.announce = lambda text: None if quiet else click.echo(f"sancodec: note: {text}", err=True)
    native.warn_if_slow(recording.n_frames * sum(channel.samples_per_frame for channel in recording.channels))
