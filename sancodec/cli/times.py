"""Times on the command line and in messages."""

from __future__ import annotations

import re
from fractions import Fraction

import click

_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")


def parse_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Fraction | None:
    """Seconds with decimals, or H:MM:SS or M:SS with decimals, as an exact fraction; for an option."""
    if value is None:
        return None
    match = _CLOCK.fullmatch(value.strip())
    if match is None or (match[2] is not None and Fraction(match[3]) >= 60):
        raise click.BadParameter(f"{value!r} is no time; give seconds such as 90.5, or H:MM:SS such as 0:01:30.5")
    return 3600 * Fraction(match[1] or 0) + 60 * Fraction(match[2] or 0) + Fraction(match[3])


def clock(seconds: float | Fraction) -> str:
    """``h:mm:ss.s``, rounded."""
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def short_clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on, rounded."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes.removeprefix("0")
