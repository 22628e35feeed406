"""``sancodec plot``."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sancodec.cli import options
from sancodec.cli.excerpt import channel_indices, excerpt_of
from sancodec.cli.files import STANDARD_STREAM, open_container, shown
from sancodec.cli.terminal import for_each, printable, write_json
from sancodec.cli.times import clock, parse_time
from sancodec.errors import InvalidSignalError
from sancodec.new_files import check_output, new_file

if TYPE_CHECKING:
    from sancodec.codec.kernels import Model
    from sancodec.plot.panels import Picture

_HTML = "html"
_FORMATS = ("png", "svg", "pdf", _HTML)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What of the input is drawn, as the options say."""

    channel: str | None
    start_s: Fraction | None
    end_s: Fraction | None
    signal: str | None

    def refuse(self, kind: str, **given: object) -> None:
        """Refuse options that mean nothing for a kind of input."""
        for name, value in given.items():
            if value is not None:
                raise click.UsageError(f"--{name} means nothing for {kind}")


@click.command("plot")
@click.argument("name", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Picture to write, .png, .svg, .pdf or .html; NAME.png beside INPUT by default.",
)
@click.option(
    "--channel", metavar="NAME|NUMBER", help="Channel, by its exact name or its number from 0; the first that varies."
)
@click.option("--start", "start_s", callback=parse_time, metavar="TIME", help="Where to begin: seconds, or H:MM:SS.")
@click.option(
    "--end", "end_s", callback=parse_time, metavar="TIME", help="Where to end, not included; 10 s later by default."
)
@click.option(
    "--signal", metavar="RECORD", help="What a network is applied to: a WFDB record or .npy; its kernels alone if none."
)
@click.option("-f", "--force", is_flag=True, help="Replace a picture that exists.")
@options.model
@options.common
def command(
    name: str,
    output: str | None,
    channel: str | None,
    start_s: Fraction | None,
    end_s: Fraction | None,
    signal: str | None,
    force: bool,
    model_names: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Draw what is inside a .san file, a kernel model or a network. Needs the plot extra.

    Of a .san file: beat kernels, their events, the coefficients of the bank, and what each layer adds to the signal. Of
    a kernel model, a file or the name of one that ships: kernels and frequency responses. Of a network (.sann):
    kernels, and with --signal similarity, activation map and partial reconstruction of each, and their sum, over one
    window of the network's length from --start on.

    A .html picture zooms, tells the values under the pointer, and needs no network connection.

    \b
    sancodec plot 100.san
    sancodec plot 100.san --start 0:10:00 --end 0:10:05 --channel MLII -o beats.html
    sancodec plot ecg360 -o bank.svg
    sancodec plot beats.sann --signal 100.hea --start 30 -o network.png
    """
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise click.UsageError("--end is not after --start")
    if name == STANDARD_STREAM and output is None:
        raise click.UsageError("a picture of standard input needs a name; give it with -o FILE")
    choice = _Choice(channel, start_s, end_s, signal)

    def one(name: str) -> None:
        target = Path(name).with_suffix(".png") if output is None else Path(output)
        is_bank_name = name != STANDARD_STREAM and not Path(name).exists() and _ships(name)
        if is_bank_name and output is None:
            target = Path(f"{name}.png")
        form = target.suffix.lower().removeprefix(".")
        if form not in _FORMATS:
            allowed = ", ".join(f".{each}" for each in _FORMATS)
            raise InvalidSignalError(f"{target}: suffix {target.suffix!r} is no kind of picture; {allowed} are")
        check_output(target, force=force)
        if not is_bank_name and name != STANDARD_STREAM and not Path(name).exists():
            raise InvalidSignalError(f"{name}: there is no such file, and no bank of that name ships")
        if is_bank_name:
            picture = _bank_picture(name.encode(), name, choice)
        else:
            with open_container(name) as file:
                picture = _picture(file, name, choice, options.models_of(model_names))
        with new_file(target, force=force) as opened:
            _write(picture, opened, form)
        if as_json:
            write_json({"input": shown(name), "output": str(target), "title": picture.title})
        elif not quiet:
            click.echo(f"{shown(name)} -> {target}")

    for_each([name], one)


def _ships(name: str) -> bool:
    from sancodec.codec.models import shipped_names

    return name in shipped_names()


def _picture(file: BinaryIO, name: str, choice: _Choice, models: tuple[Model, ...]) -> Picture:
    from sancodec.codec.kernels import MODEL_MAGIC
    from sancodec.san.model_file import MAGIC

    magic = file.read(4)
    file.seek(0)
    if magic == MODEL_MAGIC:
        return _bank_picture(file.read(), name, choice)
    if magic == MAGIC:
        return _network_picture(file.read(), name, choice)
    return _container_picture(file, name, choice, models)


def _container_picture(file: BinaryIO, name: str, choice: _Choice, models: tuple[Model, ...]) -> Picture:
    from sancodec.api import default_engine
    from sancodec.codec.decoder import RecordingReader
    from sancodec.plot.container_panels import DEFAULT_S, container_picture, first_varying_channel

    choice.refuse("a .san file", signal=choice.signal)
    reader = RecordingReader(file, engine=default_engine(), models=models)
    start_s, end_s = choice.start_s or Fraction(0), choice.end_s
    if end_s is None:
        end_s = min(start_s + DEFAULT_S, reader.header.n_frames / reader.header.frame_rate_hz)
    number = str(first_varying_channel(reader)) if choice.channel is None else choice.channel
    names = [channel.name for channel in reader.header.channels]
    index = int(number) if choice.channel is None else channel_indices(names, [number])[0]
    excerpt = excerpt_of(reader.header, start_s=start_s, end_s=end_s, names=())
    title = f"{Path(shown(name)).name}: channel {names[index] or index}, {clock(start_s)} to {clock(end_s)}"
    return container_picture(
        reader, channel=index, first_frame=excerpt.first_frame, n_frames=excerpt.n_frames, title=printable(title)
    )


def _bank_picture(content: bytes, name: str, choice: _Choice) -> Picture:
    from sancodec.codec.kernels import MODEL_MAGIC, decode_model
    from sancodec.codec.models import shipped_model
    from sancodec.plot.bank_panels import bank_picture

    choice.refuse(
        "a kernel model", signal=choice.signal, channel=choice.channel, start=choice.start_s, end=choice.end_s
    )
    model = decode_model(content) if content[:4] == MODEL_MAGIC else shipped_model(name)
    return bank_picture(model, title=printable(f"bank {model.name}"))


def _network_picture(content: bytes, name: str, choice: _Choice) -> Picture:
    from sancodec.cli.plot_window import read_window
    from sancodec.plot.network_panels import kernels_picture, network_picture
    from sancodec.plot.panels import Axis
    from sancodec.san.model_file import decode_san_model
    from sancodec.san.normalisation import NONE

    choice.refuse("a network", end=choice.end_s)
    model = decode_san_model(content)
    title = Path(shown(name)).name
    if choice.signal is None:
        choice.refuse("a network without --signal", channel=choice.channel, start=choice.start_s)
        return kernels_picture(model.network, title=printable(title))
    window = read_window(choice.signal, model, channel=choice.channel, start_s=choice.start_s)
    is_normalised = model.normalisation.kind != NONE
    return network_picture(
        model.network,
        model.normalisation(window.samples[None])[0],
        title=printable(f"{title} on {window.name}"),
        sampling_rate_hz=window.sampling_rate_hz,
        first_sample=window.first_sample,
        quantity=Axis("normalised signal" if is_normalised else "signal"),
    )


def _write(picture: Picture, file: BinaryIO, form: str) -> None:
    if form == _HTML:
        from sancodec.plot.interactive import write_interactive

        write_interactive(picture, file)
        return
    from sancodec.plot.static import write_static

    write_static(picture, file, form=form)
