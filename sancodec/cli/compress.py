"""``sancodec compress``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from sancodec.cli import options
from sancodec.cli.files import (
    SAN_SUFFIX,
    STANDARD_STREAM,
    check_output,
    default_output,
    new_file,
    refuse_terminal,
    shown,
    standard_output,
)
from sancodec.cli.inputs import OpenInput, open_input
from sancodec.cli.progress import progress
from sancodec.cli.terminal import for_each, quality_cells, table, write_json
from sancodec.codec.promise import DEFAULT_PRESET, PRESETS, ErrorBound
from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    from sancodec.codec.encoder import Summary
    from sancodec.codec.promise import Promise
    from sancodec.codec.recording import FrameSource, RecordingDescription
    from sancodec.datasets.file_writer import FileComparison

_PRESET_HELP = "; ".join(f"{name}: {preset}" for name, preset in PRESETS.items())
_ENCODING_SHARE = 0.8  # of the time; the rest is the check of what was written


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


@click.command("compress")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to write; beside the input by default.")
@click.option("--prdn", type=click.FloatRange(min=0, min_open=True), help="Largest PRDN of any channel, in percent.")
@click.option("--snr", type=float, metavar="DB", help="Smallest signal-to-noise ratio of any channel, in dB.")
@click.option(
    "--max-error",
    metavar="E[uV|mV|adu]",
    callback=_max_error,
    help="Largest error of any sample, such as 20uV, 0.02mV or 4adu; adu, stored units, without a unit.",
)
@click.option("--lossless", is_flag=True, help="Every sample exact; WFDB, EDF and BDF files come back byte for byte.")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help=f"{_PRESET_HELP}. {DEFAULT_PRESET} is the default where no quality is asked for.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="1 fast (bank only, zstd -3), 3 beat layer and zstd -19, 5 class coder, 7 mixing coder, 9 smallest.",
)
@click.option(
    "--chunk",
    "chunk_s",
    default="auto",
    show_default=True,
    callback=_chunk,
    metavar="SECONDS|auto|file",
    help="Length of a chunk, the unit of damage and of random access.",
)
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HZ",
    help="Sampling rate of a .npy input.",
)
@click.option("--header", metavar="FILE.hea", help="WFDB header of the signal file on standard input.")
@click.option("--embed-model", is_flag=True, help="Carry the kernel models inside the file.")
@options.threads
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist; write to terminals.")
@options.model
@options.engine
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    prdn: float | None,
    snr: float | None,
    max_error: str | None,
    lossless: bool,
    preset: str | None,
    level: int,
    chunk_s: float | str | None,
    rate_hz: float | None,
    header: str | None,
    embed_model: bool,
    threads: int | None,
    force: bool,
    model_names: tuple[str, ...],
    transform: options.Transform,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress recordings to .san files.

    INPUT is a WFDB record (file.dat, file.hea, or its name), an EDF or BDF file (.edf, .bdf) or a .npy array of
    integers; - is such a file or array, or with --header the signal file of a WFDB record, on standard input, and goes
    to standard output by default. Of several
    quality options all hold. The file is read back and checked before it appears. Inputs are kept.

    \b
    sancodec compress 100.dat
    sancodec compress mitdb/*.hea --preset monitor -o compressed
    sancodec compress 100.dat --lossless
    sancodec compress sleep.edf --prdn 5
    sancodec compress - --rate 500 --max-error 4adu < ecg.npy > ecg.san
    """
    if output is None and inputs == (STANDARD_STREAM,):
        output = STANDARD_STREAM
    to_stream = output == STANDARD_STREAM
    folder = Path(output) if output and not to_stream and (len(inputs) > 1 or Path(output).is_dir()) else None
    if len(inputs) > 1 and to_stream:
        raise click.UsageError("several inputs do not fit into one stream")
    if inputs.count(STANDARD_STREAM) > 1:
        raise click.UsageError("- is standard input, which can be read once only")
    if folder is not None and not folder.is_dir():
        raise click.UsageError(f"{output} is not a directory; several inputs need one")
    if to_stream and as_json:
        raise click.UsageError("--json and -o - both write to standard output")
    if header is not None and STANDARD_STREAM not in inputs:
        raise click.UsageError("--header is for a signal file on standard input; other records have theirs beside them")
    if to_stream:
        refuse_terminal(force=force)

    engine = transform.engine(quiet=quiet)
    banks, given = options.kernels_of(model_names)

    def one(name: str) -> None:
        from sancodec.api import shipped_models
        from sancodec.cli import keep_freed_memory
        from sancodec.codec.encoder import encode_recording
        from sancodec.codec.promise import promises_for

        keep_freed_memory()

        start = time.perf_counter()
        target = None if to_stream else _target(name, output, folder)
        if target is not None:
            check_output(target, force=force)
        exact = lossless or (preset is not None and PRESETS[preset].is_lossless)
        with (
            open_input(name, sampling_rate_hz=rate_hz, header=header, exact=exact) as opened,
            progress(shown(name), quiet=quiet) as report,
            standard_output() if target is None else new_file(target, force=force) as file,
        ):
            options.tell_if_slow(opened.source, quiet=quiet)
            if not exact and opened.source.source == "wfdb":
                from sancodec.datasets.wfdb_segmented_source import refuse_rescaled

                refuse_rescaled(opened.source)
            promises = promises_for(
                opened.source.channels,
                prdn=prdn,
                snr_db=snr,
                max_error=max_error,
                lossless=lossless,
                preset=preset,
            )
            summary = encode_recording(
                opened.source,
                file,
                promises=promises,
                level=level,
                chunk_s=chunk_s,
                models=banks or shipped_models(),
                embed_models=embed_model or bool(banks),
                engine=engine,
                given=given,
                threads=threads,
                on_progress=lambda done: report(_ENCODING_SHARE * done),
            )
            check_written(
                file,
                opened,
                promises,
                summary,
                exact=exact,
                on_progress=lambda done: report(_ENCODING_SHARE + (1 - _ENCODING_SHARE) * done),
            )
        if target is None:
            return
        result = _result(name, target, opened, promises, summary, level=level, seconds=time.perf_counter() - start)
        if as_json:
            write_json(result)
        elif not quiet:
            click.echo(_text(result, promises))

    for_each(inputs, one)


def _target(name: str, output: str | None, folder: Path | None) -> Path:
    if output and folder is None:
        return Path(output)
    default = Path(f"standard-input{SAN_SUFFIX}") if name == STANDARD_STREAM else default_output(name)
    return default if folder is None else folder / default.name


def check_written(
    file: BinaryIO,
    opened: OpenInput,
    promises: tuple[Promise, ...],
    summary: Summary,
    *,
    exact: bool,
    on_progress: Callable[[float], None],
) -> None:
    """Read a container back, chunk by chunk, and refuse it unless it is what was promised.

    Checked are every checksum, every digest of the decoded samples, the largest error of every channel that has a
    bound, and where ``exact`` is true and the recording is no array, every byte of the files that would be restored.

    Raises
    ------
    FormatError
    """
    import numpy as np

    from sancodec.api import default_engine
    from sancodec.codec.decoder import RecordingReader
    from sancodec.errors import CorruptError

    file.flush()
    source = opened.source
    reader = RecordingReader(file, engine=default_engine(), models=summary.models)
    if reader.header.n_frames != source.n_frames:
        raise CorruptError("the file written does not have the length of the recording; please report this")
    bounded = [index for index, promise in enumerate(promises) if promise.max_error_adu is not None]
    with ExitStack() as closing:
        files = _comparison(source, reader.header) if exact else None
        if files is not None:
            closing.enter_context(files)
        first = 0
        for index, decoded in reader.chunks(0, reader.header.n_chunks):
            last = first + len(decoded[0]) // source.channels[0].samples_per_frame
            if files is not None:
                files.write(decoded)
            original = source.frames(first, last) if bounded else ()
            for channel in bounded:
                error = np.abs(decoded[channel].astype(np.int64) - original[channel]).max(initial=0)
                if error > (promises[channel].max_error_adu or 0):
                    raise CorruptError(
                        f"chunk {index}, channel {channel}: decodes with an error of {error} adu, {promises[channel]} "
                        "was promised; please report this"
                    )
            first = last
            on_progress(first / source.n_frames)
        if files is not None:
            files.finish()
    reader.check_end()


def _comparison(source: FrameSource, description: RecordingDescription) -> FileComparison | None:
    """The files of a recording beside those that would be restored; None for arrays, which are restored as arrays."""
    if source.source == "wfdb":
        from sancodec.datasets.wfdb_segmented_source import SegmentedSource
        from sancodec.datasets.wfdb_source import WfdbSource
        from sancodec.datasets.wfdb_writer import WfdbComparison

        return WfdbComparison(cast(WfdbSource | SegmentedSource, source), description)
    if source.source == "edf":
        from sancodec.datasets.edf_restore import EdfComparison
        from sancodec.datasets.edf_source import EdfSource

        return EdfComparison(cast(EdfSource, source), description)
    return None


def _result(
    name: str,
    target: Path,
    opened: OpenInput,
    promises: tuple[Promise, ...],
    summary: Summary,
    *,
    level: int,
    seconds: float,
) -> dict[str, Any]:
    source = opened.source
    n_samples = sum(source.n_frames * channel.samples_per_frame for channel in source.channels)
    stored_bits = sum(
        source.n_frames * channel.samples_per_frame * channel.resolution_bits for channel in source.channels
    )
    return {
        "input": shown(name),
        "output": str(target),
        "input_bytes": opened.n_bytes,
        "output_bytes": summary.n_bytes,
        "bits_per_sample": 8 * summary.n_bytes / n_samples,
        "ratio": stored_bits / (8 * summary.n_bytes),
        "file_ratio": opened.n_bytes / summary.n_bytes,
        "seconds": seconds,
        "level": level,
        "model": sorted(set(summary.banks)),
        "beats": summary.n_events,
        "channels": [
            {
                "name": channel.name,
                "unit": channel.unit,
                "promise": asdict(promise),
                "bank": bank,
                "kernels": kernels,
                **asdict(quality),
            }
            for channel, promise, bank, kernels, quality in zip(
                source.channels, promises, summary.banks, summary.kernel_counts, summary.qualities, strict=True
            )
        ],
    }


def _text(result: dict[str, Any], promises: tuple[Promise, ...]) -> str:
    rows = []
    for channel, promise in zip(result["channels"], promises, strict=True):
        name, *others = quality_cells(channel)
        rows.append([name, str(promise), *others, f"{channel['bank']}+{channel['kernels']}"])
    head = (
        f"{result['input']} -> {result['output']}: {result['output_bytes']:,} bytes, "
        f"{result['ratio']:.2f}:1 of stored bits, "
        f"{result['file_ratio']:.2f}:1 of the input's {result['input_bytes']:,} bytes, "
        f"{result['bits_per_sample']:.3f} bit/sample, {result['beats']} beats, {result['seconds']:.2f} s"
    )
    headings = ["channel", "promised", "PRDN %", "PRD %", "RMSE", "max error", "adu", "SNR dB", "bank+kernels"]
    return head + "\n" + table(headings, rows)
