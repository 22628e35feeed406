"""``sancodec compress``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import encoding_options, images, options
from sancodec.cli.files import (
    SAN_SUFFIX,
    STANDARD_STREAM,
    default_output,
    refuse_terminal,
    shown,
    standard_output,
)
from sancodec.cli.inputs import open_input
from sancodec.cli.progress import progress
from sancodec.cli.terminal import for_each, quality_cells, table, write_json
from sancodec.errors import InvalidSignalError
from sancodec.new_files import check_output, new_file

if TYPE_CHECKING:
    from sancodec.batch.encoding import Encoded
    from sancodec.batch.settings import Settings
    from sancodec.codec.promise import Promise
    from sancodec.datasets.kinds import OpenInput


@click.command("compress")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to write; beside the input by default.")
@click.option(
    "--psnr", type=click.FloatRange(min=0, min_open=True), metavar="DB", help="Smallest PSNR of images, in dB."
)
@click.option("--header", metavar="FILE.hea", help="WFDB header of the signal file on standard input.")
@encoding_options.encoding
@options.threads
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist; write to terminals.")
@options.engine
@options.common
def command(
    inputs: tuple[str, ...],
    output: str | None,
    psnr: float | None,
    header: str | None,
    encoding: Callable[[], Settings],
    threads: int | None,
    force: bool,
    transform: options.Transform,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress recordings to .san files.

    INPUT is a WFDB record (file.dat, file.hea, or its name), an EDF or BDF file (.edf, .bdf) or a .npy array of
    integers; - is such a file or array, or with --header the signal file of a WFDB record, on standard input, and goes
    to standard output by default. Of several quality options all hold. The file is read back and checked before it
    appears. Inputs are kept.

    Grey images of 8 bits are INPUT too: IDX (.gz or not), a .npy array of uint8, PGM or PNG. Exact by default.

    \b
    sancodec compress 100.dat
    sancodec compress mitdb/*.hea --preset monitor -o compressed
    sancodec compress 100.dat --lossless
    sancodec compress sleep.edf --prdn 5
    sancodec compress - --rate 500 --max-error 4adu < ecg.npy > ecg.san
    sancodec compress t10k-images-idx3-ubyte.gz --psnr 30
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
    settings = encoding()

    def one(name: str) -> None:
        from sancodec.batch.encoding import encode_checked, keep_freed_memory

        keep_freed_memory()
        start = time.perf_counter()
        if images.is_image_input(name, has_rate=settings.sampling_rate_hz is not None):
            refused = {
                "--prdn": settings.prdn,
                "--snr": settings.snr_db,
                "--max-error": settings.max_error,
                "--preset": settings.preset,
                "--rate": settings.sampling_rate_hz,
                "--model": settings.given,
            }
            images.check_options(refused, psnr_db=psnr, lossless=settings.lossless)
            where = None if to_stream else _target(name, output, folder, images.image_target(name))
            images.compress_images(
                name,
                where,
                psnr_db=psnr,
                level=settings.level,
                chunk=settings.chunk_s,
                threads=threads,
                force=force,
                quiet=quiet,
                as_json=as_json,
            )
            return
        if psnr is not None:
            raise InvalidSignalError("--psnr is for images; a recording takes --snr, --prdn or --max-error")
        target = None if to_stream else _target(name, output, folder)
        if target is not None:
            check_output(target, force=force)
        with (
            open_input(
                name, sampling_rate_hz=settings.sampling_rate_hz, header=header, exact=settings.is_exact
            ) as opened,
            progress(shown(name), quiet=quiet) as report,
            standard_output() if target is None else new_file(target, force=force) as file,
        ):
            options.tell_if_slow(opened.source, quiet=quiet)
            encoded = encode_checked(opened.source, file, settings, engine=engine, threads=threads, on_progress=report)
        if target is None:
            return
        result = _result(name, target, opened, encoded, level=settings.level, seconds=time.perf_counter() - start)
        if as_json:
            write_json(result)
        elif not quiet:
            click.echo(_text(result, encoded.promises))

    for_each(inputs, one)


def _target(name: str, output: str | None, folder: Path | None, default: Path | None = None) -> Path:
    if output and folder is None:
        return Path(output)
    if default is None:
        default = Path(f"standard-input{SAN_SUFFIX}") if name == STANDARD_STREAM else default_output(name)
    return default if folder is None else folder / default.name


def _result(
    name: str, target: Path, opened: OpenInput, encoded: Encoded, *, level: int, seconds: float
) -> dict[str, Any]:
    source, summary, promises = opened.source, encoded.summary, encoded.promises
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
