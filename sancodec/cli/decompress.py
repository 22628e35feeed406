"""``sancodec decompress``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sancodec.cli import options
from sancodec.cli.files import STANDARD_STREAM, check_output, new_file, open_container
from sancodec.cli.terminal import for_each, progress, write_json
from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    from sancodec.codec.recording import Recording

_SUFFIXES = {"npy": ".npy", "csv": ".csv"}


@click.command("decompress")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE|-",
    help="Folder of the restored record, or the array or table; beside FILE by default.",
)
@click.option("--to", "form", type=click.Choice(["wfdb", "npy", "csv"]), help="What to write; as it came by default.")
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    form: str | None,
    force: bool,
    model_names: tuple[str, ...],
    engine_name: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore records from .san files; FILE may be - for standard input.

    A WFDB record comes back under its own file names, with every line of its header; the checksums and first
    values in it are those of the restored samples. Nothing is written unless all of FILE is intact.

    \b
    sancodec decompress 100.san -o restored
    sancodec decompress 100.san --to csv -o - | head
    """
    if len(inputs) > 1 and output is not None and not Path(output).is_dir():
        raise click.UsageError(f"{output} is not a directory; several inputs need one")
    if output == STANDARD_STREAM and (form == "wfdb" or as_json):
        raise click.UsageError("-o - takes one stream: use --to npy or --to csv, without --json")

    def one(name: str) -> None:
        from sancodec.codec.decoder import RecordingReader

        with open_container(name) as file, progress(name, quiet=quiet or output == STANDARD_STREAM) as report:
            reader = RecordingReader(file, engine=options.engine_of(engine_name), models=options.models_of(model_names))
            recording = reader.read(report)
        written = _write(recording, name, output, form, force=force)
        if as_json:
            write_json({"input": name, "outputs": [str(path) for path in written]})
        elif not quiet and written:
            click.echo(f"{name} -> {', '.join(str(path) for path in written)}")

    for_each(inputs, one)


def _write(recording: Recording, name: str, output: str | None, form: str | None, *, force: bool) -> list[Path]:
    kind = form or ("wfdb" if recording.source == "wfdb" else "npy")
    stem = "standard-input" if name == STANDARD_STREAM else Path(name).stem
    if kind == "wfdb":
        from sancodec.datasets.wfdb_record import write_wfdb

        folder = _folder_of(name, output)
        return write_wfdb(recording, folder, name=None if recording.source == "wfdb" else stem, force=force)
    from sancodec.datasets.arrays import write_csv, write_npy

    write = write_npy if kind == "npy" else write_csv
    if output == STANDARD_STREAM:
        write(recording, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return []
    if output is not None and not Path(output).is_dir():
        target = Path(output)
    else:
        target = (
            Path(output) if output else Path() if name == STANDARD_STREAM else Path(name).parent
        ) / f"{stem}{_SUFFIXES[kind]}"
    check_output(target, force=force)
    with new_file(target, force=force) as file:
        write(recording, file)
    return [target]


def _folder_of(name: str, output: str | None) -> Path:
    """The folder of a restored record; made if it does not exist."""
    if output == STANDARD_STREAM:
        raise InvalidSignalError("a WFDB record is several files; use --to npy or --to csv to write to standard output")
    if output is None:
        return Path() if name == STANDARD_STREAM else Path(name).parent
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise InvalidSignalError(f"{output}: is a file; a WFDB record is several files and needs a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
