"""``sancodec verify``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from sancodec.cli import images, options
from sancodec.cli.files import open_container, shown
from sancodec.cli.progress import progress
from sancodec.cli.terminal import DamageError, counted, for_each, write_json
from sancodec.cli.times import clock
from sancodec.errors import FormatError

if TYPE_CHECKING:
    from sancodec.codec.decoder import RecordingReader


@dataclass(frozen=True, slots=True)
class DamagedChunk:
    """A chunk that cannot be decoded, the time that it holds, and why."""

    chunk: int
    start_s: float
    end_s: float
    error: str


@click.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...], model_names: tuple[str, ...], transform: options.Transform, quiet: bool, as_json: bool
) -> None:
    """Check every checksum and decode everything against its digests.

    Of a damaged file, every chunk that is hit is named with the time that it holds; the others can be restored.

    \b
    sancodec verify *.san
    """
    if inputs.count("-") > 1:
        raise click.UsageError("- is standard input, which can be read once only")

    engine, models = transform.engine(quiet=quiet), options.models_of(model_names)

    def one(name: str) -> None:
        with open_container(name) as file, progress(shown(name), quiet=quiet) as report:
            from sancodec.codec.decoder import RecordingReader

            if images.holds_images(file):
                images.verify_images(file, name, quiet=quiet, as_json=as_json)
                return
            reader = RecordingReader(file, engine=engine, models=models)
            damaged = damaged_chunks(reader, report)
            end_error = _end_error(reader)
            n_chunks = reader.header.n_chunks
        is_intact = not damaged and end_error is None
        if as_json:
            write_json(
                {
                    "input": shown(name),
                    "intact": is_intact,
                    "chunks": n_chunks,
                    "damaged": [asdict(each) for each in damaged],
                    "end_error": end_error,
                }
            )
        elif is_intact and not quiet:
            click.echo(f"{shown(name)}: intact, {counted(n_chunks, 'chunk')}")
        if not is_intact:
            raise DamageError(_lines(damaged, end_error, n_chunks))

    for_each(inputs, one)


def damaged_chunks(reader: RecordingReader, on_progress: Callable[[float], None]) -> list[DamagedChunk]:
    """Decode all chunks; those that cannot be are returned, in order."""
    header = reader.header
    damaged: list[DamagedChunk] = []
    index, is_single = 0, False
    while index < header.n_chunks:
        try:
            for done, _ in reader.chunks(index, index + 1 if is_single else header.n_chunks):
                index = done + 1
                on_progress(index / header.n_chunks)
        except FormatError as error:
            if is_single:
                start = index * header.chunk_frames / header.frame_rate_hz
                end = min((index + 1) * header.chunk_frames, header.n_frames) / header.frame_rate_hz
                damaged.append(DamagedChunk(index, float(start), float(end), str(error)))
                index += 1
            # Chunks are decoded in batches, so that the error may be that of a later one: from here one by one.
            is_single = True
    return damaged


def _end_error(reader: RecordingReader) -> str | None:
    try:
        reader.check_end()
    except FormatError as error:
        return str(error)
    return None


def _lines(damaged: Sequence[DamagedChunk], end_error: str | None, n_chunks: int) -> list[str]:
    lines = [_span_text(run) for run in _runs(damaged)]
    if damaged:
        lines.append(f"{len(damaged)} of {counted(n_chunks, 'chunk')} cannot be decoded; the others are intact")
        return lines[:-1] if len(damaged) == n_chunks or len(lines) == 2 else lines
    return [f"{end_error}; its {counted(n_chunks, 'chunk')} can be decoded"]


def _runs(damaged: Sequence[DamagedChunk]) -> list[list[DamagedChunk]]:
    """Neighbours that are missing for the same reason are told together."""
    runs: list[list[DamagedChunk]] = []
    for each in damaged:
        if runs and each.chunk == runs[-1][-1].chunk + 1 and each.error == runs[-1][0].error:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _span_text(run: Sequence[DamagedChunk]) -> str:
    first, last = run[0], run[-1]
    chunks = f"chunk {first.chunk}" if len(run) == 1 else f"chunks {first.chunk} to {last.chunk}"
    reason = first.error.removeprefix(f"chunk {first.chunk}: ")
    return f"{chunks}, {clock(first.start_s)} to {clock(last.end_s)}: {reason}"
