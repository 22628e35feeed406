"""Nodes that find beat events in leads and take them out: the first half of the encoder graph.

Detection is that of ``sancodec.codec.detection``, extrema of the smoothed energy of the first difference (extrema
activation, arXiv:1911.00400) by max-pooling; each extremum is aligned to where the beat kernels explain most.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from sancodec.codec.beats import MAX_GAIN, kernel_geometry
from sancodec.codec.detection import MIN_DISTANCE_S, SMOOTHING_S, THRESHOLD_WINDOW_S
from sancodec.export.graph_nodes import TO_END, Nodes

_REACH_S = 0.1
_THRESHOLD = 0.1
_SIMILARITY_BLOCK = 64
_TINY = 1e-20


def event_places(nodes: Nodes, signals: str, padded: str, length: str, rate_hz: float) -> str:
    """Where windows of events start in the padded signal, which begins a kernel's length before the first sample."""
    return _aligned(nodes, _candidates(nodes, signals, rate_hz), _score(nodes, padded), length, rate_hz)


def _score(nodes: Nodes, padded: str) -> str:
    """Weighted energy that the best kernel of each lead would explain, by start from 1 - K on; float32 ``(start,)``.

    Similarity with all starts at once: frames of so many starts, times a matrix with the kernels at each of them.
    """
    # A kernel's mean would find the baseline.
    kernels = nodes.add("Sub", "beat_kernels", nodes.add("ReduceMean", "beat_kernels", axes=[2], keepdims=1))
    length, n_kernels, n_leads = (nodes.size("beat_kernels", axis) for axis in (2, 1, 0))
    n_starts = nodes.add("Sub", nodes.add("Sub", nodes.size(padded, 1), length), nodes.integers(1))
    block = nodes.integers(_SIMILARITY_BLOCK)
    n_blocks = nodes.add("Div", nodes.add("Add", n_starts, nodes.integers(_SIMILARITY_BLOCK - 1)), block)
    frame = nodes.add("Add", length, nodes.integers(_SIMILARITY_BLOCK - 1))
    steps, within = nodes.count(frame), nodes.constant(np.arange(_SIMILARITY_BLOCK, dtype=np.int64))
    firsts = nodes.add("Mul", nodes.count(n_blocks), block)
    at = nodes.add("Add", nodes.add("Add", nodes.reshape(firsts, -1, 1), steps), nodes.integers(1))
    behind = nodes.add("Concat", nodes.integers(0, 0, 0), frame, axis=0)
    frames = nodes.add("Gather", nodes.add("Pad", padded, behind, nodes.single(0)), at, axis=1)
    margin = nodes.integers(0, 0, _SIMILARITY_BLOCK - 1, 0, 0, _SIMILARITY_BLOCK - 1)
    wide = nodes.add("Pad", kernels, margin, nodes.single(0))
    shifts = nodes.add("Sub", nodes.reshape(steps, -1, 1), within)
    moved = nodes.add("Gather", wide, nodes.add("Add", shifts, nodes.integers(_SIMILARITY_BLOCK - 1)), axis=2)
    matrix = nodes.add("Transpose", moved, perm=[0, 2, 3, 1])  # (lead, place in frame, start in block, kernel)
    columns = nodes.add("Mul", n_kernels, block)
    products = nodes.add("MatMul", frames, nodes.add("Reshape", matrix, nodes.shape(n_leads, frame, columns)))
    similarity = nodes.add("Reshape", products, nodes.shape(n_leads, -1, n_kernels))
    positive = nodes.add("Relu", similarity)
    norms = nodes.add("ReduceSumSquare", kernels, axes=[2], keepdims=0)
    norms = nodes.add("Max", nodes.add("Unsqueeze", norms, nodes.integers(1)), nodes.single(_TINY))
    energy = nodes.add("Div", nodes.add("Mul", positive, positive), norms)
    best = nodes.slice(nodes.add("ReduceMax", energy, axes=[2], keepdims=0), 0, n_starts, 1)
    # Times the share that is explained: a kernel must fit, not only overlap with something large.
    share = nodes.add("Div", best, _window_energy(nodes, padded, length, n_starts))
    fitting = nodes.add("Mul", best, nodes.add("Mul", share, share))
    weighted = nodes.add("Mul", fitting, nodes.reshape("event_weight", -1, 1))
    return nodes.add("ReduceSum", weighted, nodes.integers(0), keepdims=0)


def _window_energy(nodes: Nodes, padded: str, length: str, n_starts: str) -> str:
    """Σ(x - mean)² of every window, by start from 1 - K on; float32 ``(lead, start)``, above 0."""
    exact = nodes.cast(padded, TensorProto.DOUBLE)

    def sums(values: str) -> str:
        total = nodes.add("CumSum", values, nodes.scalar(1))
        behind = nodes.slice(total, length, nodes.add("Add", length, n_starts), 1)
        return nodes.add("Sub", behind, nodes.slice(total, 0, n_starts, 1))

    of_values, of_squares = sums(exact), sums(nodes.add("Mul", exact, exact))
    of_mean = nodes.add("Div", nodes.add("Mul", of_values, of_values), nodes.cast(length, TensorProto.DOUBLE))
    energy = nodes.cast(nodes.add("Sub", of_squares, of_mean), TensorProto.FLOAT)
    return nodes.add("Max", energy, nodes.single(1))


def _candidates(nodes: Nodes, signals: str, rate_hz: float) -> str:
    """Extrema of the smoothed energy of the first difference, int64: as ``sancodec.codec.detection.energy_ratio``."""
    later, earlier = nodes.slice(signals, 1, TO_END, 1), nodes.slice(signals, 0, -1, 1)
    difference = nodes.add("Pad", nodes.add("Sub", later, earlier), nodes.integers(0, 1, 0, 0), nodes.single(0))
    squares = nodes.add("Mul", nodes.add("Mul", difference, difference), nodes.reshape("event_weight", -1, 1))
    smooth = nodes.reshape(nodes.add("ReduceSum", squares, nodes.integers(0), keepdims=0), 1, 1, -1)
    half = max(1, round(SMOOTHING_S / 2 * rate_hz) // 2)
    for _ in range(2):
        smooth = nodes.add(
            "AveragePool", smooth, kernel_shape=[2 * half + 1], pads=[half, half], strides=[1], count_include_pad=1
        )
    smooth = nodes.reshape(smooth, -1)
    return _peaks(nodes, smooth, _thresholds(nodes, smooth, rate_hz), max(1, round(MIN_DISTANCE_S * rate_hz)))


def _thresholds(nodes: Nodes, smooth: str, rate_hz: float) -> str:
    """A share of the largest in every 10 s, or of four times the middle one of these where that is less."""
    span, count = max(1, round(THRESHOLD_WINDOW_S * rate_hz)), nodes.size(smooth, 0)
    n_spans = nodes.add("Div", nodes.add("Add", count, nodes.integers(span - 1)), nodes.integers(span))
    missing = nodes.add("Sub", nodes.add("Mul", n_spans, nodes.integers(span)), count)
    filled = nodes.add("Pad", smooth, nodes.add("Concat", nodes.integers(0), missing, axis=0), nodes.single(0))
    highest = nodes.add("ReduceMax", nodes.reshape(filled, -1, span), axes=[1], keepdims=0)
    ranked = nodes.ranked(highest, n_spans)
    middle = nodes.add("Gather", ranked, nodes.add("Div", n_spans, nodes.integers(2)), axis=0)
    limited = nodes.add("Min", highest, nodes.add("Mul", middle, nodes.single(4)))
    each = nodes.add("Gather", limited, nodes.add("Div", nodes.count(count), nodes.integers(span)), axis=0)
    return nodes.add("Mul", each, nodes.single(_THRESHOLD))


def _peaks(nodes: Nodes, values: str, thresholds: str, distance: int) -> str:
    """Where a value exceeds its threshold and all within a distance before, and none behind exceeds it; int64."""
    count = nodes.size(values, 0)
    wide = nodes.add("Pad", values, nodes.integers(distance, distance), nodes.single(0))
    pooled = nodes.add("MaxPool", nodes.reshape(wide, 1, 1, -1), kernel_shape=[distance], strides=[1])
    highest = nodes.reshape(pooled, -1)
    before = nodes.slice(highest, 0, count, 0)
    behind = nodes.slice(highest, distance, nodes.add("Add", count, nodes.integers(distance)), 0)
    is_peak = nodes.add("And", nodes.add("Greater", values, before), nodes.add("GreaterOrEqual", values, behind))
    is_event = nodes.add("And", is_peak, nodes.add("Greater", values, thresholds))
    return nodes.reshape(nodes.add("NonZero", is_event), -1)


def _aligned(nodes: Nodes, peaks: str, score: str, length: str, rate_hz: float) -> str:
    """Places of starts, where 1 - K is 1: nearby where kernels explain most."""
    _, before = kernel_geometry(rate_hz)
    reach = max(1, round(_REACH_S * rate_hz))
    last = nodes.add("Sub", nodes.size(score, 0), nodes.integers(1))
    shifts = nodes.constant(np.arange(-reach, reach + 1) - before - 1)
    around = nodes.add("Add", nodes.reshape(nodes.add("Add", peaks, length), -1, 1), shifts)
    around = nodes.add("Max", nodes.add("Min", around, last), nodes.integers(0))
    best = nodes.add("ArgMax", nodes.add("Gather", score, around, axis=0), axis=1, keepdims=1)
    chosen = nodes.reshape(nodes.add("GatherElements", around, best, axis=1), -1)
    return nodes.add("Add", chosen, nodes.integers(1))


def taken_out(nodes: Nodes, padded: str, places: str) -> tuple[str, str, str]:
    """What events leave of the signal, and kernels and gains ``(lead, event)``; every second event at a time."""
    length, n_leads, row = nodes.size("beat_kernels", 2), nodes.size("beat_kernels", 0), nodes.size(padded, 1)
    norms = nodes.add("ReduceSumSquare", "beat_kernels", axes=[2], keepdims=0)
    norms = nodes.add("Unsqueeze", norms, nodes.integers(1))
    divisors = nodes.add("Max", norms, nodes.single(_TINY))
    atoms = nodes.add("Transpose", "beat_kernels", perm=[0, 2, 1])
    numbers = nodes.count(nodes.size("beat_kernels", 1))
    rows = nodes.reshape(nodes.add("Mul", nodes.count(n_leads), row), -1, 1, 1)
    cost = nodes.reshape("event_cost", -1, 1)
    left, taken = padded, []
    for first in (0, 1):
        chosen = nodes.slice(places, first, TO_END, 0, step=2)
        at = nodes.add("Add", nodes.reshape(chosen, -1, 1), nodes.count(length))
        windows = nodes.add("Gather", left, at, axis=1)  # (lead, event, position)
        similarity = nodes.add("MatMul", windows, atoms)
        gain = nodes.add("Round", nodes.add("Div", similarity, divisors))
        gain = nodes.add("Clip", gain, nodes.single(0), nodes.single(MAX_GAIN))
        twice = nodes.add("Mul", similarity, nodes.single(2))
        saved = nodes.add("Mul", gain, nodes.add("Sub", twice, nodes.add("Mul", gain, norms)))
        best = nodes.add("ArgMax", saved, axis=2, keepdims=0)
        enough = nodes.add("Greater", nodes.add("ReduceMax", saved, axes=[2], keepdims=0), cost)
        column = nodes.add("Unsqueeze", best, nodes.integers(2))
        of_best = nodes.add("Squeeze", nodes.add("GatherElements", gain, column, axis=2), nodes.integers(2))
        gains = nodes.add("Where", enough, of_best, nodes.single(0))
        is_best = nodes.cast(nodes.add("Equal", column, numbers), TensorProto.FLOAT)
        waves = nodes.add(
            "MatMul", nodes.add("Mul", is_best, nodes.add("Unsqueeze", gains, nodes.integers(2))), "beat_kernels"
        )
        flat = nodes.reshape(nodes.add("Add", rows, nodes.add("Unsqueeze", at, nodes.integers(0))), -1)
        minus = nodes.reshape(nodes.add("Neg", waves), -1)
        left = nodes.add("Reshape", nodes.scatter_add(nodes.reshape(left, -1), flat, minus), nodes.shape(n_leads, row))
        used = nodes.cast(nodes.add("Greater", gains, nodes.single(0)), TensorProto.INT64)
        taken.append((nodes.add("Mul", best, used), gains))
    # In order of time again.
    order = nodes.count(nodes.size(places, 0))
    n_even = nodes.size(taken[0][1], 1)
    odd = nodes.add("Mod", order, nodes.integers(2))
    order = nodes.add("Add", nodes.add("Div", order, nodes.integers(2)), nodes.add("Mul", odd, n_even))
    kernels, gains = (
        nodes.add("Gather", nodes.add("Concat", even, later, axis=1), order, axis=1)
        for even, later in zip(*taken, strict=True)
    )
    return left, kernels, gains
