"""Pictures of the report as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 460, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 22, 26
_N_BARS = 24
_N_TICKS = 4


def histogram(values: Sequence[float], label: str) -> str:
    """Bars of how many values lie where, between the smallest and the largest."""
    finite = np.array([each for each in values if math.isfinite(each)], np.float64)
    if not len(finite):
        return f"<p>{escape(label)}: no values</p>"
    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(finite, bins=_N_BARS, range=(low, high))
    parts = []
    for count, first, last in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x, y = _x(first, low, high), _y(count, 0, int(counts.max()))
        width, height = _x(last, low, high) - x - 1, _HEIGHT - _BOTTOM - y
        text = f"{first:.4g} to {last:.4g}: {count}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"><title>{text}</title></rect>'
        )
    parts += [_text(_LEFT - 6, _TOP + 10, str(counts.max()), "end"), _text(_LEFT - 6, _HEIGHT - _BOTTOM, "0", "end")]
    return _svg([*parts, *_axis(low, high)], label)


def traces(
    original: NDArray[np.float64], decoded: NDArray[np.float64], *, start_s: float, rate_hz: float, unit: str
) -> str:
    """A channel before and after, ``(sample,)`` each in physical units; missing samples are NaN."""
    both = np.concatenate([original, decoded])
    both = both[np.isfinite(both)]
    if not len(both):
        return "<p>every sample here is missing</p>"
    low, high = float(both.min()), float(both.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    end_s = start_s + (len(original) - 1) / rate_hz
    parts = [
        _line(samples, name, start_s, end_s, low, high)
        for name, samples in (("original", original), ("decoded", decoded))
    ]
    parts += [
        _text(_LEFT - 6, _TOP + 10, f"{high:.3g}", "end"),
        _text(_LEFT - 6, _HEIGHT - _BOTTOM, f"{low:.3g}", "end"),
    ]
    return _svg([*parts, *_axis(start_s, max(end_s, start_s + 1e-9))], f"time in s, amplitude in {unit}")


def _line(samples: NDArray[np.float64], name: str, start_s: float, end_s: float, low: float, high: float) -> str:
    times = np.linspace(start_s, end_s, len(samples))
    points, begins = [], True
    for time, value in zip(times.tolist(), samples.tolist(), strict=True):
        if math.isfinite(value):
            x, y = _x(time, start_s, max(end_s, start_s + 1e-9)), _y(value, low, high)
            points.append(f"{'M' if begins else 'L'}{x:.1f} {y:.1f}")
        begins = not math.isfinite(value)
    return f'<path class="{name}" d="{"".join(points)}"/>'


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / max(high - low, 1e-300) * (_HEIGHT - _BOTTOM - _TOP)


def _axis(low: float, high: float) -> list[str]:
    line = f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>'
    values = np.linspace(low, high, _N_TICKS + 1).tolist()
    n_decimals = max(0, 1 - math.floor(math.log10((high - low) / _N_TICKS)))
    texts = [_text(_x(each, low, high), _HEIGHT - _BOTTOM + 14, f"{each:.{n_decimals}f}", "middle") for each in values]
    return [line, *texts]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], label: str) -> str:
    caption = _text(_LEFT, _TOP - 8, label, "start")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}{caption}</svg>"
    )
