"""What the commands show: errors in one line, tables, JSON, progress."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import click

from sancodec.cli.files import shown
from sancodec.errors import SancodecError


def printable(text: str) -> str:
    """Text from a file without control characters, which could steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def error_line(error: Exception) -> str:
    """One line for one error."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return printable(f"{name}{error.strerror}")
    if isinstance(error, MemoryError):
        return "not enough memory for this file"
    return printable(str(error))


class DamageError(SancodecError):
    """What is wrong with one input, one line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def for_each(inputs: Sequence[str], action: Callable[[str], None]) -> None:
    """Run an action on every input; report the failures, go on, and end with status 1 if there were any."""
    failed = False
    for item in inputs:
        try:
            action(item)
        except (SancodecError, OSError, MemoryError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            name = printable(shown(item))
            for text in error.lines if isinstance(error, DamageError) else [error_line(error)]:
                line = printable(text)
                prefix = "" if name in line else f"{name}: "
                click.echo(f"sancodec: error: {prefix}{line}", err=True)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)


def write_json(value: dict[str, Any]) -> None:
    """One object on one line of standard output; infinite numbers become null, bytes that are no text escapes."""
    click.echo(json.dumps(_sayable(value), ensure_ascii=False))


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def counted(count: int, noun: str) -> str:
    """A count and its noun, in the plural where it belongs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, the first to the left, the others to the right."""
    cells = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = []
    for row in cells:
        first, *others = row
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines)


def quantity(value: float, digits: int = 3) -> str:
    """A number for a table."""
    if math.isinf(value):
        return "exact" if value > 0 else "wrong"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def quality_cells(channel: dict[str, Any]) -> list[str]:
    """Name, PRDN, PRD, RMSE, largest error in both units, and SNR of a channel, for a table."""
    return [
        channel["name"],
        quantity(channel["prdn"], 4),
        quantity(channel["prd"]),
        f"{quantity(channel['rmse'])} {channel['unit']}",
        f"{quantity(channel['max_error'])} {channel['unit']}",
        str(channel["max_error_adu"]),
        quantity(channel["snr_db"]),
    ]
