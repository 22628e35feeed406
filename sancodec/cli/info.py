"""``sancodec info``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import options
from sancodec.cli.files import open_container, rate_text
from sancodec.cli.terminal import counted, for_each, printable, quantity, table, write_json

if TYPE_CHECKING:
    from sancodec.codec.decoder import RecordingReader

_CODERS = {0: "zstd tokens", 1: "class coder"}


@click.command("info")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.model
@options.common
def command(inputs: tuple[str, ...], model_names: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Tell what is inside .san files, without decoding them.

    \b
    sancodec info 100.san
    """

    def one(name: str) -> None:
        from sancodec.api import default_engine
        from sancodec.codec.decoder import RecordingReader

        with open_container(name) as file:
            reader = RecordingReader(file, engine=default_engine(), models=options.models_of(model_names))
            content = describe(name, reader)
        if as_json:
            write_json(content)
        elif not quiet:
            click.echo(_text(content))

    for_each(inputs, one)


def describe(name: str, reader: RecordingReader) -> dict[str, Any]:
    """What ``info`` tells, as one JSON object."""
    from sancodec.codec.header import PROMISE_PRDN

    header = reader.header
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
        "coder": _CODERS[header.coder],
        "promised_prdn": next((value for kind, value in header.promises if kind == PROMISE_PRDN), None),
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
                "prdn": quality.prdn,
                "max_error_adu": quality.max_error_adu,
                "bank": "constant" if coding.model is None else coding.model.name,
                "kernels": coding.kernels.n_kernels,
                "step": coding.step.value,
            }
            for channel, coding, quality in zip(header.channels, reader.codings, reader.measured, strict=True)
        ],
    }


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
        f"  level {content['level']}, {content['coder']}, PRDN at most {content['promised_prdn'] or float('inf'):g} %, "
        f"{counted(content['chunks'], 'chunk')} of {content['chunk_s']:.4g} s",
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
            quantity(channel["prdn"], 4),
            str(channel["max_error_adu"]),
            f"{channel['bank']}+{channel['kernels']}",
        ]
        for channel in content["channels"]
    ]
    headings = ["channel", "unit", "gain", "baseline", "stored", "PRDN %", "max error adu", "bank+kernels"]
    return "\n".join(lines) + "\n" + table(headings, rows)
