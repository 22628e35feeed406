"""Synthesis and mixed lead groups, as docs/format.md, section 10, says. Every *must* is checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_fields import demand


def component(c: SimpleNamespace, q: np.ndarray, circle: int, starts: np.ndarray, events: Any, n: int) -> np.ndarray:
    """10.1 to 10.3: Y of a channel's n samples."""
    cascade, model, total, at = c.cascade, c.cascade.model, np.zeros(circle), 0
    a = np.sign(q) * (128 * np.abs(q) - cascade.corrections[np.minimum(np.abs(q), 3)])  # 10.1
    demand(int(np.abs(a).max()) * model.peak_gain < 2**50, "amplitudes beyond the exact range")
    for stride, offset, weights in model.groups:  # 10.2, a stretch of a stride's length of every kernel at a time
        width = circle // stride
        bands = a[at : at + len(weights) * width].reshape(len(weights), width).T.astype(float)
        at += bands.size
        part = np.zeros((width, stride))
        for turn in range(weights.shape[1] // stride):
            stretch = weights[:, turn * stride : (turn + 1) * stride].astype(float)
            part += np.roll(bands @ stretch, turn, axis=0)
        total += np.roll(part.ravel(), offset)
    reduced = (total[:n].astype(np.int64) + 512 >> 10).astype(float)  # 10.3
    f = np.floor(reduced * cascade.mantissa * 2.0 ** (cascade.exponent - 3) + 0.5)
    demand((np.abs(f) < 2**52).all(), "samples beyond the exact range")
    beats = np.zeros(n, np.int64)
    for start, kernel, gain in zip(starts, *events, strict=False):
        span = slice(max(start, 0), max(min(start + cascade.kernels.shape[1], n), 0))
        beats[span] += gain * cascade.kernels[kernel][span.start - start : span.stop - start]
    return f.astype(np.int64) + (beats << cascade.kernel_exponent + 10)


def within(c: SimpleNamespace, rounded: np.ndarray) -> np.ndarray:
    """The last line of 10.3, and that of 10.5, less the channel's offset."""
    return np.clip(c.offset + rounded, c.minimum, c.maximum) - c.offset


def sums(mix: SimpleNamespace, components: list[np.ndarray]) -> np.ndarray:
    """10.5: sums of components, rounded, ``(member, sample)``."""
    largest = max(int(np.abs(y).max()) for y in components)
    demand(largest * max(sum(map(abs, row)) for row in mix.weights) < 2**52, "components beyond the exact range")
    return np.stack([sum(m * y for m, y in zip(row, components, strict=True)) + 2**22 >> 23 for row in mix.weights])
