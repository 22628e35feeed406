"""What ``sancodec decompress --salvage`` says of the damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import click

from sancodec.cli.files import shown
from sancodec.cli.terminal import DamageError, printable
from sancodec.cli.times import clock

if TYPE_CHECKING:
    from sancodec.codec.decoder import RecordingReader
    from sancodec.codec.salvage import Damage, SalvageReader


def report_salvage(reader: RecordingReader | SalvageReader, name: str, *, quiet: bool) -> None:
    """One line for every span that was repaired or lost; nothing for a reader that refuses damage.

    Raises
    ------
    DamageError
        When something was lost.
    """
    if not _is_salvaged(reader):
        return
    if not quiet:
        for note in reader.notes:
            click.echo(printable(f"sancodec: {shown(name)}: {note}"), err=True)
        for each in reader.repaired:
            click.echo(printable(f"sancodec: {shown(name)}: {_span(each)} repaired: {each.reason}"), err=True)
    if reader.lost:
        filling = reader.fill_text()
        raise DamageError([f"{_span(each)} lost and filled with {filling}: {each.reason}" for each in reader.lost])


def salvage_json(reader: RecordingReader | SalvageReader) -> dict[str, Any]:
    """The same for ``--json``; empty for a reader that refuses damage."""
    if not _is_salvaged(reader):
        return {}
    return {
        "lost": [_described(each) for each in reader.lost],
        "repaired": [_described(each) for each in reader.repaired],
        "notes": reader.notes,
    }


def _is_salvaged(reader: RecordingReader | SalvageReader) -> TypeGuard[SalvageReader]:
    return hasattr(reader, "lost")


def _span(damage: Damage) -> str:
    chunks = f"chunk {damage.first_chunk}"
    if damage.last_chunk > damage.first_chunk:
        chunks = f"chunks {damage.first_chunk} to {damage.last_chunk}"
    return f"{chunks}, {clock(damage.start_s)} to {clock(damage.end_s)},"


def _described(damage: Damage) -> dict[str, Any]:
    return {
        "chunk": damage.first_chunk,
        "last_chunk": damage.last_chunk,
        "start_s": float(damage.start_s),
        "end_s": float(damage.end_s),
        "reason": damage.reason,
    }
