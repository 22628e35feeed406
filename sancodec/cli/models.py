"""``sancodec models``."""

from __future__ import annotations

import click

from sancodec.cli.terminal import table, write_json


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per model on standard output.")
def command(as_json: bool) -> None:
    """List the kernel models that ship, with what they were trained on.

    \b
    sancodec models
    """
    from sancodec.api import shipped_models

    rows = []
    for model in shipped_models():
        strides = [f"{group.n_kernels}x{group.length}/{group.stride}" for group in model.groups]
        if as_json:
            write_json({**model.metadata, "sha256": model.sha256.hex(), "bytes": len(model.content), "groups": strides})
        rows.append([model.name, str(model.n_bands), model.sha256.hex()[:12], str(model.metadata.get("kernels", ""))])
    if not as_json:
        click.echo(table(["model", "bands", "SHA-256", "kernels"], rows))
