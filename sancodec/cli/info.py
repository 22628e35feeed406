"""``sancodec info``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import images, options
from sancodec.cli.files import open_container, rate_text, shown
from sancodec.cli.terminal import counted, for_each, printable, quantity, table, write_json

if TYPE_CHECKING:
    from sancodec.codec.decoder import RecordingReader
    from sancodec.codec.promise import Promise
    from sancodec.codec.synthesis import ChannelCoding

_CODERS = {0: "zstd tokens", 1: "class coder", 2: "mixing coder"}


@click.command("info")
@click.argument("inputs", nargs=-1, metavar="FILE...")
@click.option("--engine", "is_engine", is_flag=True, help="Tell what codes and decodes here instead.")
@options.model
@options.common
def command(inputs: tuple[str, ...], is_engine: bool, model_names: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Tell what is inside .san files, without decoding them.

    \b
    sancodec info 100.san
    sancodec info --engine
    """
    if is_engine:
        from sancodec.codec.native import engine_name

        if inputs:
            raise click.UsageError("--engine tells of the installation, not of files")
        if as_json:
            write_json({"engine": engine_name()})
        elif not quiet:
            click.echo(engine_name())
        return
    if not inputs:
        raise click.UsageError("Missing argument 'FILE...'.")

    models = options.models_of(model_names)

    def one(name: str) -> None:
        from sancodec.api import default_engine
        from sancodec.codec.decoder import RecordingReader

        with open_container(name) as file:
            if images.holds_images(file):
                images.info_of_images(file, name, quiet=quiet, as_json=as_json)
                return
            reader = RecordingReader(file, engine=default_engine(), models=models)
            content = describe(shown(name), reader)
        if as_json:
            write_json(content)
        elif not quiet:
            click.echo(_text(content))

    for_each(inputs, one)


def describe(name: str, reader: RecordingReader) -> dict[str, Any]:
    """What ``info`` tells, as one JSON object."""
    header = reader.header
    coders = sorted({reader.decoder(segment).coding.coder for segment in range(len(reader.segments))})
    n_samples = sum(header.n_frames * channel.samples_per_frame for channel in header.channels)
    stored_bits = sum(
        header.n_frames * channel.samples_per_frame * channel.resolution_bits for channel in header.channels
    )
    return {
        "input": name,
        "bytes": reader.n_bytes,
        "ratio": stored_bits / (8 * reader.n_bytes),
        "bits_per_sample": 8 * reader.n_bytes / n_samples,
        "source": header.source.partition(":")[0],
        "sampling_rate_hz": float(header.frame_rate_hz),
        "sampling_rate": rate_text(header.frame_rate_hz),
        "frames": header.n_frames,
        "duration_s": float(header.n_frames / header.frame_rate_hz),
        "chunks": header.n_chunks,
        "chunk_s": float(header.chunk_frames / header.frame_rate_hz),
        "level": header.level,
        "segments": len(reader.segments),
        "coder": ", ".join(_CODERS[coder] for coder in coders),
        "models": [
            {"name": model.name, "sha256": model.sha256.hex(), "embedded": model in reader.embedded_models}
            for model in reader.models
        ],
        "side_files": {side_file.name: len(side_file.content) for side_file in header.side_files},
        "channels": [
            {
                "name": channel.name,
                "unit": channel.unit,
                "gain": channel.gain,
                "baseline": channel.baseline,
                "resolution_bits": channel.resolution_bits,
                "samples_per_frame": channel.samples_per_frame,
                "promise": None if promise is None else asdict(promise),
                "prdn": quality.prdn,
                "max_error_adu": quality.max_error_adu,
                "bank": _bank_name(coding, components),
                "kernels": sum(reader.codings[index].kernels.n_kernels for index, weight in components if weight),
                "step": coding.step.value,
            }
            for channel, promise, coding, components, quality in zip(
                header.channels,
                map(_promise_of, header.promises),
                reader.codings,
                map(reader.decoder(0).components, range(len(header.channels))),
                reader.measured(),
                strict=True,
            )
        ],
    }


def _bank_name(coding: ChannelCoding, components: Sequence[tuple[int, float]]) -> str:
    if coding.row is not None:
        return f"mix of {sum(weight != 0 for _, weight in components)}"
    if coding.model is not None:
        return coding.model.name
    return "constant" if coding.is_constant else "prediction"


def _promise_of(pairs: tuple[tuple[int, float], ...]) -> Promise | None:
    """The promise that a header states for a channel; None where it states none that this release knows."""
    from sancodec.codec.header import PROMISE_MAX_ERROR, PROMISE_PRDN
    from sancodec.codec.promise import Promise
    from sancodec.errors import InvalidSignalError

    values = dict(pairs)
    bound = values.get(PROMISE_MAX_ERROR)
    try:
        return Promise(values.get(PROMISE_PRDN), None if bound is None else math.floor(bound))
    except (InvalidSignalError, ValueError, OverflowError):
        return None


def _promise_text(promise: dict[str, Any] | None) -> str:
    from sancodec.codec.promise import Promise

    return "none" if promise is None else str(Promise(**promise))


def _text(content: dict[str, Any]) -> str:
    models = ", ".join(
        f"{model['name']} ({model['sha256'][:12]}…{', embedded' if model['embedded'] else ''})"
        for model in content["models"]
    )
    side_files = ", ".join(f"{printable(name)} ({size} bytes)" for name, size in content["side_files"].items())
    lines = [
        f"{content['input']}: {content['bytes']:,} bytes, {content['ratio']:.2f}:1 of stored bits, "
        f"{content['bits_per_sample']:.3f} bit/sample",
        f"  {content['source']} recording, {counted(len(content['channels']), 'channel')}, {content['sampling_rate']}, "
        f"{content['frames']:,} frames, {content['duration_s']:.1f} s",
        f"  level {content['level']}, {content['coder']}, "
        f"{counted(content['chunks'], 'chunk')} of {content['chunk_s']:.4g} s "
        f"in {counted(content['segments'], 'segment')}",
        f"  models: {models or 'none'}",
        f"  side files: {side_files or 'none'}",
    ]
    rows = [
        [
            channel["name"],
            channel["unit"],
            quantity(channel["gain"], 6),
            str(channel["baseline"]),
            f"{channel['resolution_bits']} bit",
            _promise_text(channel["promise"]),
            quantity(channel["prdn"], 4),
            str(channel["max_error_adu"]),
            f"{channel['bank']}+{channel['kernels']}",
        ]
        for channel in content["channels"]
    ]
    headings = ["channel", "unit", "gain", "baseline", "stored", "promised", "PRDN %", "max error adu", "bank+kernels"]
    return "\n".join(lines) + "\n" + table(headings, rows)
