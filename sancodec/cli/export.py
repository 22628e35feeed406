"""``sancodec export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sancodec.cli import options

_DEFAULT_RATE_HZ = 360.0


@click.command("export")
@click.argument("model", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write; of a network the .onnx file.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HZ",
    help="Sampling rate that the encoder is for; that of the model's training by default, or 360.",
)
@click.option("--check", "checked", type=click.Path(path_type=Path), metavar="DIR", help="Check a kit instead.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the graphs of a check run; auto takes CUDA where it works.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a kit that is there.")
def command(
    model: str | None, output: Path | None, rate: float | None, checked: Path | None, device: Any, force: bool
) -> None:
    """Write a deployment kit of a model: ONNX graphs of encoder and decoder, their description, vectors, checksums.

    MODEL is the name of a bank, or a model file. Needs the train extra; a kit needs onnxruntime only. A network (.sann)
    becomes one graph, from signals to reconstruction and activation maps.

    \b
    sancodec export ecg360 -o kit
    sancodec export --check kit
    sancodec export beats.sann -o beats.onnx
    """
    if checked is not None:
        if model is not None or output is not None or rate is not None or force:
            raise click.UsageError("--check takes no model, and of the options --device alone")
        _check(checked, device)
        return
    if model is None or output is None:
        raise click.UsageError("a model and -o DIR are needed, or --check DIR")
    if device != "auto":
        raise click.UsageError("--device is for --check")
    if options.is_network(model):
        if rate is not None:
            raise click.UsageError("--rate is for banks; a network has its own")
        _write_network(model, output, force=force)
        return
    from sancodec.codec.models import load_model
    from sancodec.export.kit import write_kit

    loaded = load_model(model)
    rate_hz = rate or float(loaded.metadata.get("sampling_rate_hz", _DEFAULT_RATE_HZ))
    names = write_kit(loaded, output, sampling_rate_hz=rate_hz, force=force)
    click.echo(f"{output}: {', '.join(names)}", err=True)


def _write_network(model: str, output: Path, *, force: bool) -> None:
    from sancodec.cli.san_options import require_torch
    from sancodec.new_files import check_output, new_file
    from sancodec.san.model_file import load_san_model

    if output.is_dir():
        raise click.UsageError(f"{output} is a folder; a network becomes one file, such as {Path(model).stem}.onnx")
    loaded = load_san_model(model)
    check_output(output, force=force)
    require_torch()
    from sancodec.training.san import SAN
    from sancodec.training.san_onnx import san_graph

    content = san_graph(SAN.of(loaded.network))
    with new_file(output, force=force) as file:
        file.write(content)
    click.echo(f"{output}: {len(content)} bytes", err=True)


def _check(folder: Path, device: Any) -> None:
    from sancodec.export.check import check_kit

    for line in check_kit(folder, device=device):
        click.echo(f"{folder}: {line}")
