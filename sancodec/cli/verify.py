"""``sancodec verify``."""

from __future__ import annotations

import click

from sancodec.cli import options
from sancodec.cli.files import open_container
from sancodec.cli.terminal import counted, for_each, progress, write_json


@click.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...], model_names: tuple[str, ...], engine_name: str, quiet: bool, as_json: bool
) -> None:
    """Check every checksum and decode everything against its digests.

    \b
    sancodec verify *.san
    """

    def one(name: str) -> None:
        from sancodec.codec.decoder import RecordingReader

        with open_container(name) as file, progress(name, quiet=quiet) as report:
            reader = RecordingReader(file, engine=options.engine_of(engine_name), models=options.models_of(model_names))
            reader.check_end()
            for index, _ in reader.chunks(0, reader.header.n_chunks):
                report((index + 1) / reader.header.n_chunks)
        if as_json:
            write_json({"input": name, "intact": True, "chunks": reader.header.n_chunks})
        elif not quiet:
            click.echo(f"{name}: intact, {counted(reader.header.n_chunks, 'chunk')}")

    for_each(inputs, one)
