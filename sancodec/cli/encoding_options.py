"""The options that say how recordings are compressed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from sancodec.batch.settings import Settings
from sancodec.cli import options
from sancodec.codec.promise import DEFAULT_PRESET, PRESETS, ErrorBound
from sancodec.errors import InvalidSignalError

_PRESET_HELP = "; ".join(f"{name}: {preset}" for name, preset in PRESETS.items())

Function = TypeVar("Function", bound=Callable[..., Any])


def _chunk(ctx: click.Context, parameter: click.Parameter, value: str) -> float | str | None:
    if value == "file":
        return None
    if value == "auto":
        return value
    try:
        seconds = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number of seconds nor 'auto' nor 'file'") from None
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{value} s is not a length above 0; 'file' makes one chunk")
    return seconds


def _max_error(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            ErrorBound.parse(value)
        except InvalidSignalError as error:
            raise click.BadParameter(str(error)) from None
    return value


_ENCODING_OPTIONS = (
    click.option(
        "--prdn", type=click.FloatRange(min=0, min_open=True), help="Largest PRDN of any channel, in percent."
    ),
    click.option("--snr", type=float, metavar="DB", help="Smallest signal-to-noise ratio of any channel, in dB."),
    click.option(
        "--max-error",
        metavar="E[uV|mV|adu]",
        callback=_max_error,
        help="Largest error of any sample, such as 20uV, 0.02mV or 4adu; adu, stored units, without a unit.",
    ),
    click.option(
        "--lossless", is_flag=True, help="Every sample exact; WFDB, EDF and BDF files come back byte for byte."
    ),
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help=f"{_PRESET_HELP}. {DEFAULT_PRESET} is the default where no quality is asked for.",
    ),
    click.option(
        "--level",
        type=click.IntRange(1, 9),
        default=5,
        show_default=True,
        help="1 fast (bank only, zstd -3), 3 beat layer and zstd -19, 5 class coder, 7 mixing coder, 9 smallest.",
    ),
    click.option(
        "--chunk",
        "chunk_s",
        default="auto",
        show_default=True,
        callback=_chunk,
        metavar="SECONDS|auto|file",
        help="Length of a chunk, the unit of damage and of random access; of images their number.",
    ),
    click.option(
        "--rate",
        "rate_hz",
        type=click.FloatRange(min=0, min_open=True),
        metavar="HZ",
        help="Sampling rate of a .npy input.",
    ),
    click.option("--embed-model", is_flag=True, help="Carry the kernel models inside the file."),
)


def encoding(function: Function) -> Function:
    """Add the options; the command gets them as ``encoding``, a function that loads what they name."""

    @functools.wraps(function)
    def wrapped(
        *arguments: Any,
        prdn: float | None,
        snr: float | None,
        max_error: str | None,
        lossless: bool,
        preset: str | None,
        level: int,
        chunk_s: float | str | None,
        rate_hz: float | None,
        embed_model: bool,
        model_names: tuple[str, ...],
        **others: Any,
    ) -> Any:
        def settings() -> Settings:
            banks, given = options.kernels_of(model_names)
            return Settings(prdn, snr, max_error, lossless, preset, level, chunk_s, rate_hz, embed_model, banks, given)

        return function(*arguments, encoding=settings, **others)

    for option in reversed(_ENCODING_OPTIONS):
        wrapped = option(wrapped)
    return cast(Function, options.model(wrapped))
