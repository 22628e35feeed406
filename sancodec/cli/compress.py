"""``sancodec compress``."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import options
from sancodec.cli.files import STANDARD_STREAM, check_output, default_output, input_bytes, new_file, read_recording
from sancodec.cli.terminal import for_each, progress, quality_cells, table, write_json

if TYPE_CHECKING:
    from sancodec.codec.encoder import Summary
    from sancodec.codec.recording import Recording

_DEFAULT_PRDN = 2.0
_PRESETS = {"monitor": 5.0, "trend": 9.0}


def _chunk(ctx: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == "file":
        return None
    try:
        seconds = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number of seconds nor 'file'") from None
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{value} s is not a length above 0; 'file' makes one chunk")
    return seconds


@click.command("compress")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to write; beside the input by default.")
@click.option(
    "--prdn", type=click.FloatRange(min=0, min_open=True), help="Largest PRDN of any channel, in percent [default: 2]."
)
@click.option("--snr", type=float, metavar="DB", help="Smallest signal-to-noise ratio of any channel, in dB.")
@click.option("--preset", type=click.Choice(list(_PRESETS)), help="monitor: PRDN 5 %, trend: PRDN 9 %.")
@click.option(
    "--level",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="1 fast (bank only, zstd -3), 3 beat layer and zstd -19, 5 smallest so far (class coder).",
)
@click.option(
    "--chunk",
    "chunk_s",
    default="60",
    show_default=True,
    callback=_chunk,
    metavar="SECONDS|file",
    help="Length of a chunk, the unit of damage and of random access.",
)
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HZ",
    help="Sampling rate of a .npy input.",
)
@click.option("--embed-model", is_flag=True, help="Carry the kernel models inside the file.")
@click.option("-T", "--threads", type=click.IntRange(min=1), help="Threads; one per processor by default.")
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    prdn: float | None,
    snr: float | None,
    preset: str | None,
    level: int,
    chunk_s: float | None,
    rate_hz: float | None,
    embed_model: bool,
    threads: int | None,
    force: bool,
    model_names: tuple[str, ...],
    engine_name: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress recordings to .san files.

    INPUT is a WFDB record (file.dat, file.hea, or its name) or a .npy array of integers. Of several quality
    options all hold, checked on the decoded integers before the file appears. Inputs are kept.

    \b
    sancodec compress 100.dat
    sancodec compress mitdb/*.hea --preset monitor -o compressed
    sancodec compress ecg.npy --rate 500 --prdn 1 -o - > ecg.san
    """
    promised = min(
        [
            *([] if prdn is None else [prdn]),
            *([] if snr is None else [100 * 10 ** (-snr / 20)]),
            *([] if preset is None else [_PRESETS[preset]]),
        ],
        default=_DEFAULT_PRDN,
    )
    to_stream = output == STANDARD_STREAM
    folder = Path(output) if output and not to_stream and (len(inputs) > 1 or Path(output).is_dir()) else None
    if len(inputs) > 1 and to_stream:
        raise click.UsageError("several inputs do not fit into one stream")
    if folder is not None and not folder.is_dir():
        raise click.UsageError(f"{output} is not a directory; several inputs need one")
    if to_stream and as_json:
        raise click.UsageError("--json and -o - both write to standard output")

    def one(name: str) -> None:
        from sancodec.api import compress_to
        from sancodec.cli import keep_freed_memory

        keep_freed_memory()

        start = time.perf_counter()
        target = None if to_stream else Path(output) if output and not folder else default_output(name)
        if target is not None and folder is not None:
            target = folder / target.name
        if target is not None:
            check_output(target, force=force)
        recording = read_recording(name, sampling_rate_hz=rate_hz)
        settings: dict[str, Any] = {
            "prdn": promised,
            "level": level,
            "chunk_s": chunk_s,
            "models": options.models_of(model_names) or None,
            "embed_models": embed_model or bool(model_names),
            "engine": options.engine_of(engine_name),
            "threads": threads,
        }
        with progress(name, quiet=quiet or to_stream) as report:
            if target is None:
                summary = compress_to(recording, sys.stdout.buffer, on_progress=report, **settings)
                sys.stdout.buffer.flush()
            else:
                with new_file(target, force=force) as file:
                    summary = compress_to(recording, file, on_progress=report, **settings)
                    _check_written(file, recording, summary)
        seconds = time.perf_counter() - start
        result = _result(name, target, recording, summary, level=level, seconds=seconds)
        if as_json:
            write_json(result)
        elif not quiet and target is not None:
            click.echo(_text(result, promised))

    for_each(inputs, one)


def _check_written(file: Any, recording: Recording, summary: Summary) -> None:
    """Read back what was written: every checksum, and every digest of the decoded samples."""
    from sancodec.api import default_engine
    from sancodec.codec.decoder import RecordingReader
    from sancodec.errors import CorruptError

    file.flush()
    reader = RecordingReader(file, engine=default_engine(), models=summary.models)
    decoded = reader.read()
    if any(len(after) != len(before) for after, before in zip(decoded.samples, recording.samples, strict=True)):
        raise CorruptError("the file written does not decode to the length of the recording; please report this")


def _result(
    name: str, target: Path | None, recording: Recording, summary: Summary, *, level: int, seconds: float
) -> dict[str, Any]:
    n_samples = sum(len(samples) for samples in recording.samples)
    stored_bits = sum(
        len(samples) * channel.resolution_bits
        for samples, channel in zip(recording.samples, recording.channels, strict=True)
    )
    n_input = input_bytes(name, recording)
    return {
        "input": name,
        "output": None if target is None else str(target),
        "input_bytes": n_input,
        "output_bytes": summary.n_bytes,
        "bits_per_sample": 8 * summary.n_bytes / n_samples,
        "ratio": stored_bits / (8 * summary.n_bytes),
        "file_ratio": n_input / summary.n_bytes,
        "seconds": seconds,
        "level": level,
        "model": sorted(set(summary.banks)),
        "beats": summary.n_events,
        "channels": [
            {"name": channel.name, "unit": channel.unit, "bank": bank, "kernels": kernels, **asdict(quality)}
            for channel, bank, kernels, quality in zip(
                recording.channels, summary.banks, summary.kernel_counts, summary.qualities, strict=True
            )
        ],
    }


def _text(result: dict[str, Any], promised: float) -> str:
    rows = [
        [
            *quality_cells(channel),
            f"{channel['bank']}+{channel['kernels']}",
        ]
        for channel in result["channels"]
    ]
    head = (
        f"{result['input']} -> {result['output']}: {result['output_bytes']:,} bytes, "
        f"{result['ratio']:.2f}:1 of stored bits, "
        f"{result['file_ratio']:.2f}:1 of the input's {result['input_bytes']:,} bytes, "
        f"{result['bits_per_sample']:.3f} bit/sample, {result['beats']} beats, {result['seconds']:.2f} s"
    )
    headings = ["channel", f"PRDN % (≤ {promised:g})", "PRD %", "RMSE", "max error", "adu", "SNR dB", "bank+kernels"]
    return head + "\n" + table(headings, rows)
