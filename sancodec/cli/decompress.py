"""``sancodec decompress``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sancodec.cli import images, options
from sancodec.cli.excerpt import Excerpt, excerpt_of, pieces_of
from sancodec.cli.files import (
    EDF_SUFFIXES,
    STANDARD_STREAM,
    open_container,
    refuse_terminal,
    shown,
    standard_output,
)
from sancodec.cli.progress import progress
from sancodec.cli.salvaged import report_salvage, salvage_json
from sancodec.cli.terminal import for_each, write_json
from sancodec.cli.times import parse_time
from sancodec.errors import CorruptError, InvalidSignalError, TruncatedError
from sancodec.new_files import new_file, new_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sancodec.codec.decoder import RecordingReader
    from sancodec.codec.kernels import Model
    from sancodec.codec.recording import RecordingDescription
    from sancodec.codec.salvage import SalvageReader
    from sancodec.codec.synthesis import Engine
    from sancodec.datasets.edf_restore import EdfBytes
    from sancodec.datasets.wfdb_new_record import Ranges

    Pieces = Iterator[list[NDArray[np.int32]]]

_SUFFIXES = {"npy": ".npy", "csv": ".csv"}
_EDF_KINDS = ("edf", "bdf")


@click.command("decompress")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE|-",
    help="Folder of the restored record or file, or the file itself; beside FILE by default.",
)
@click.option(
    "--to",
    "form",
    type=click.Choice(["wfdb", "edf", "bdf", "npy", "csv", "pgm", "png"]),
    help="What to write; as it came by default.",
)
@click.option("--start", "start_s", callback=parse_time, metavar="TIME", help="Where to begin: seconds, or H:MM:SS.")
@click.option("--end", "end_s", callback=parse_time, metavar="TIME", help="Where to end, not included.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="NAME|NUMBER",
    help="Channel to restore, by its exact name or its number from 0; may be repeated.",
)
@click.option(
    "--salvage", "is_salvage", is_flag=True, help="Restore what is left of damaged files; exit status 1 if any is lost."
)
@click.option("--image", type=click.IntRange(min=0), metavar="K", help="Restore image K alone, as PGM by default.")
@options.threads
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist; write to terminals.")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    form: str | None,
    start_s: Fraction | None,
    end_s: Fraction | None,
    channels: tuple[str, ...],
    is_salvage: bool,
    image: int | None,
    threads: int | None,
    force: bool,
    model_names: tuple[str, ...],
    transform: options.Transform,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore records from .san files; FILE may be - for standard input.

    A WFDB record comes back under its own file names, with every line of its header; the checksums and first
    values in it are those of the restored samples. An EDF or BDF file comes back under its own name, with its header
    and annotations. A part of them, chosen by --start, --end or --channel, is a new record in format 16, 24 or 32, or a
    new file without annotations whose last data record is filled up with its last samples, named after FILE. Nothing
    is written unless all that is restored is intact; with --salvage, chunks that are lost are filled with missing
    samples, or the smallest value where there are none, and named.

    Exact images come back byte for byte, IDX without gzip, of PNG the pixels. --image reads one chunk only.

    \b
    sancodec decompress 100.san -o restored
    sancodec decompress 100.san --start 0:10:00 --end 0:10:30 --channel MLII --to npy
    sancodec decompress 100.san --to csv -o - | head
    sancodec decompress sleep.san --start 1:00:00 --end 1:10:00 -o part.edf
    sancodec decompress --salvage damaged.san -o rescued
    sancodec decompress t10k-images-idx3-ubyte.san --image 42 -o 42.png
    """
    if len(inputs) > 1 and output is not None and not Path(output).is_dir():
        raise click.UsageError(f"{output} is not a directory; several inputs need one")
    if inputs.count(STANDARD_STREAM) > 1:
        raise click.UsageError("- is standard input, which can be read once only")
    if output == STANDARD_STREAM and as_json:
        raise click.UsageError("--json and -o - both write to standard output")
    if output == STANDARD_STREAM and form != "csv":
        refuse_terminal(force=force)
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise click.UsageError("--end is not after --start")

    engine, models = transform.engine(quiet=quiet), options.models_of(model_names)

    def one(name: str) -> None:
        with open_container(name) as file, _hint(file, is_salvage), progress(shown(name), quiet=quiet) as report:
            if images.holds_images(file):
                options_of_recordings = (start_s, end_s, channels or None, is_salvage or None)
                if any(each is not None for each in options_of_recordings):
                    raise InvalidSignalError("the file holds images; --start, --end, --channel and --salvage have none")
                images.restore_images(
                    file,
                    name,
                    output,
                    form=form,
                    image=image,
                    threads=threads,
                    force=force,
                    quiet=quiet,
                    as_json=as_json,
                )
                return
            if image is not None or form in ("pgm", "png"):
                raise InvalidSignalError("the file holds a recording; --image and image formats are for images")
            reader = _reader(file, engine, models, threads, is_salvage=is_salvage)
            excerpt = excerpt_of(reader.header, start_s=start_s, end_s=end_s, names=channels)
            options.tell_if_slow(excerpt, quiet=quiet)
            pieces = pieces_of(reader, excerpt, report)
            kind = form or _kind_of(reader.header)
            if output == STANDARD_STREAM:
                with standard_output() as stream:
                    _write_stream(excerpt, pieces, kind, stream, ranges=_ranges(reader, excerpt, kind))
                report_salvage(reader, name, quiet=quiet)
                return
            ranges = _ranges(reader, excerpt, kind)
            if kind == "wfdb":
                written = _write_record(excerpt, pieces, name, output, ranges=ranges, force=force)
            elif kind in _EDF_KINDS:
                written = _write_edf(excerpt, pieces, kind, name, output, ranges=ranges, force=force)
            else:
                target = _target(name, output, kind)
                with new_file(target, force=force) as opened:
                    _write_stream(excerpt, pieces, kind, opened, ranges=None)
                written = [target]
        if as_json:
            write_json({"input": shown(name), "outputs": [str(path) for path in written], **salvage_json(reader)})
        elif not quiet:
            click.echo(f"{shown(name)} -> {', '.join(str(path) for path in written)}")
        report_salvage(reader, name, quiet=quiet)

    for_each(inputs, one)


def _reader(
    file: BinaryIO, engine: Engine, models: tuple[Model, ...], threads: int | None, *, is_salvage: bool
) -> RecordingReader | SalvageReader:
    if is_salvage:
        from sancodec.codec.salvage import salvage

        return salvage(file, engine=engine, models=models)
    from sancodec.codec.decoder import RecordingReader

    return RecordingReader(file, engine=engine, models=models, threads=threads)


@contextmanager
def _hint(file: BinaryIO, is_salvage: bool) -> Iterator[None]:
    """Say in the error of a damaged file that --salvage exists."""
    try:
        yield
    except (CorruptError, TruncatedError) as error:
        file.seek(0)
        if is_salvage or b"SAN" not in file.read(8):
            raise
        raise type(error)(f"{error}. --salvage restores what is left") from None


def _kind_of(header: RecordingDescription) -> str:
    """What a recording came as."""
    if header.source == "edf":
        from sancodec.datasets.edf_restore import is_bdf

        return "bdf" if is_bdf(header) else "edf"
    return "wfdb" if header.source == "wfdb" else "npy"


def _ranges(reader: RecordingReader | SalvageReader, excerpt: Excerpt, kind: str) -> Ranges | None:
    """What the samples of a new record or file reach, from which its format is chosen."""
    if kind not in ("wfdb", *_EDF_KINDS) or _kind_of(excerpt) == kind:
        return None
    ranges = reader.value_ranges()
    return [ranges[index] for index in excerpt.indices]


def _write_record(
    excerpt: Excerpt, pieces: Pieces, name: str, output: str | None, *, ranges: Ranges | None, force: bool
) -> list[Path]:
    from sancodec.datasets.wfdb_writer import WfdbWriter

    folder = _folder_beside(name) if output is None else Path(output)
    record_name = None if excerpt.source == "wfdb" else re.sub(r"[^A-Za-z0-9_-]", "_", _stem(name))
    with ExitStack() as closing:
        closing.enter_context(new_folder(folder))
        writer = closing.enter_context(WfdbWriter(excerpt, folder, name=record_name, force=force, value_ranges=ranges))
        for piece in pieces:
            writer.write(piece)
        return writer.finish()


def _write_edf(
    excerpt: Excerpt,
    pieces: Pieces,
    kind: str,
    name: str,
    output: str | None,
    *,
    ranges: Ranges | None,
    force: bool,
) -> list[Path]:
    from sancodec.datasets.file_writer import FileWriter

    folder, file_name = _folder_beside(name) if output is None else Path(output), None
    if folder.suffix.lower() in EDF_SUFFIXES and not folder.is_dir():
        folder, file_name = folder.parent, folder.name
    content = _edf_bytes(excerpt, kind, file_name, name, ranges=ranges)
    with ExitStack() as closing:
        closing.enter_context(new_folder(folder))
        writer = closing.enter_context(FileWriter(content, folder, force=force))
        for piece in pieces:
            writer.write(piece)
        return writer.finish()


def _edf_bytes(excerpt: Excerpt, kind: str, file_name: str | None, name: str, *, ranges: Ranges | None) -> EdfBytes:
    """The file from which a whole recording came, or a new one."""
    from sancodec.datasets.edf_restore import new_edf, restored_edf

    if ranges is None:
        return restored_edf(excerpt, file_name=file_name)
    file_name = file_name or f"{_stem(name)}.{kind}"
    return new_edf(excerpt, file_name=file_name, is_bdf=kind == "bdf", value_ranges=ranges)


def _write_stream(excerpt: Excerpt, pieces: Pieces, kind: str, file: BinaryIO, *, ranges: Ranges | None) -> None:
    if kind == "wfdb":
        from sancodec.datasets.wfdb_restore import signal_file_bytes

        stream = signal_file_bytes(excerpt, value_ranges=ranges)
        try:
            for piece in pieces:
                file.write(stream.piece(piece))
            for block in stream.end_blocks():
                file.write(block)
        finally:
            stream.close()
        return
    if kind in _EDF_KINDS:
        content = _edf_bytes(excerpt, kind, None, STANDARD_STREAM, ranges=ranges)
        for piece in pieces:
            for _, block in content.piece(piece):
                file.write(block)
        for _, block in content.end():
            file.write(block)
        return
    from sancodec.datasets.arrays import CsvWriter, NpyWriter

    writer = NpyWriter(excerpt, file) if kind == "npy" else CsvWriter(excerpt, file)
    for piece in pieces:
        writer.write(piece)
    writer.finish()


def _target(name: str, output: str | None, kind: str) -> Path:
    if output is not None and not Path(output).is_dir():
        return Path(output)
    folder = _folder_beside(name) if output is None else Path(output)
    return folder / f"{_stem(name)}{_SUFFIXES[kind]}"


def _stem(name: str) -> str:
    return "standard-input" if name == STANDARD_STREAM else Path(name).stem


def _folder_beside(name: str) -> Path:
    return Path() if name == STANDARD_STREAM else Path(name).parent
