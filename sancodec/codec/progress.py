"""How far a long piece of work has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]  # called with the fraction done


def share_of(report: Progress, start: float, end: float) -> Progress:
    """Progress of a part of the work, which begins and ends at these fractions of all."""
    return lambda fraction: report(start + fraction * (end - start))
