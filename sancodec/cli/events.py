"""``sancodec events``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sancodec.cli import options
from sancodec.cli.excerpt import channel_indices
from sancodec.cli.files import (
    SAN_SUFFIX,
    STANDARD_STREAM,
    open_container,
    refuse_terminal,
    shown,
    standard_output,
)
from sancodec.cli.terminal import counted, for_each, printable, write_json
from sancodec.new_files import new_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sancodec.codec.header import Header

_ANNOTATOR_SUFFIX = ".qrs"


@click.command("events")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o", "--output", metavar="FILE|DIR", help="Annotation file, named RECORD.ANNOTATOR; FILE.qrs beside the input."
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="NAME|N",
    help="Channel whose events tell of beats; all ECG leads by default. May be repeated.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an output that exists.")
@options.model
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    channels: tuple[str, ...],
    force: bool,
    model_names: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the beats of .san files as WFDB annotation files, from the sparse event stream, without decoding.

    Events that are no beats, as their slope and distance to the beat before tell, are left out; each beat stands at
    the peak of its kernel.

    \b
    sancodec events 100.san -o 100.qrs
    """
    if len(inputs) > 1 and output is not None and not Path(output).is_dir():
        raise click.UsageError(f"{output} is not a directory; several inputs need one")
    if inputs.count(STANDARD_STREAM) > 1:
        raise click.UsageError("- is standard input, which can be read once only")
    if output == STANDARD_STREAM:
        if as_json:
            raise click.UsageError("--json and -o - both write to standard output")
        refuse_terminal(force=force)
    if output is None and STANDARD_STREAM in inputs:
        raise click.UsageError("standard input has no name to derive the output's from; give one with -o")
    models = options.models_of(model_names)

    def one(name: str) -> None:
        from sancodec.api import default_engine
        from sancodec.codec.beat_times import beat_times
        from sancodec.codec.decoder import RecordingReader
        from sancodec.datasets.wfdb_annotation import beats_content

        with open_container(name) as file:
            reader = RecordingReader(file, engine=default_engine(), models=models)
            header = reader.header
            chosen = _channels(header, channels)
            width = header.channels[chosen[0]].samples_per_frame
            frames = sorted({beat // width for beat in beat_times(reader, chosen).tolist()})
        content = beats_content(frames, sampling_rate_hz=header.frame_rate_hz)
        if output == STANDARD_STREAM:
            with standard_output() as stream:
                stream.write(content)
            return
        target = _target(name, output)
        with new_file(target, force=force) as opened:
            opened.write(content)
        names = [header.channels[index].name for index in chosen]
        if as_json:
            write_json({"input": shown(name), "output": str(target), "beats": len(frames), "channels": names})
        elif not quiet:
            told = printable(", ".join(names))
            click.echo(f"{shown(name)} -> {target}: {counted(len(frames), 'beat')} from the events of {told}")

    for_each(inputs, one)


def _channels(header: Header, names: Sequence[str]) -> tuple[int, ...]:
    """The channels chosen, else the ECG leads of the first one's rate, or all channels of the first one's."""
    from sancodec.codec.promise import is_ecg_lead

    if names:
        return channel_indices([channel.name for channel in header.channels], names)
    n_channels = len(header.channels)
    leads = [index for index, each in enumerate(header.channels) if is_ecg_lead(each, n_channels=n_channels)]
    leads = leads or list(range(n_channels))
    width = header.channels[leads[0]].samples_per_frame
    return tuple(index for index in leads if header.channels[index].samples_per_frame == width)


def _target(name: str, output: str | None) -> Path:
    if output is not None and not Path(output).is_dir():
        return Path(output)
    path = Path(name)
    beside = path.with_suffix(_ANNOTATOR_SUFFIX) if path.suffix == SAN_SUFFIX else Path(name + _ANNOTATOR_SUFFIX)
    return beside if output is None else Path(output) / beside.name
