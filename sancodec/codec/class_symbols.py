"""Coder 1: from the magnitudes of a channel to what its lanes code, and to raw bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.bits import Bits, BitWriter, fields_to_bits
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, N_CLASSES
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised

STATE_BITS = 16
_SHIFTS = CLASS_SHIFT.astype(np.uint8)
_MAX_SHIFT = int(CLASS_SHIFT.max())


@dataclass(frozen=True, slots=True, eq=False)
class PartSymbols:
    """A part as the lanes see it, and the raw bits left over; axes ``(step, lane)``."""

    contexts: NDArray[np.uint8]
    symbols: NDArray[np.uint8]
    payload: NDArray[np.uint16]
    raws: list[Bits]


def to_steps(values: NDArray[np.uint8], n_lanes: int, fill: int) -> NDArray[np.uint8]:
    """``(stream, window)`` to ``(step, lane of all streams)``; window w is coded by lane w mod n_lanes."""
    n_streams, n_windows = values.shape
    n_steps = -(-n_windows // n_lanes)
    padded = np.full((n_streams, n_steps * n_lanes), fill, np.uint8)
    padded[:, :n_windows] = values
    return padded.reshape(n_streams, n_steps, n_lanes).transpose(1, 0, 2).reshape(n_steps, n_streams * n_lanes)


def symbols_of(
    quantised: Quantised, active: NDArray[np.bool_], model: Model, *, n_lanes: int, weight_set: int
) -> PartSymbols:
    """Chunks of one length of one channel, ready to be encoded."""
    n_chunks = len(quantised.magnitudes[0])
    bands = np.flatnonzero(active).tolist()
    widths = [quantised.magnitudes[band].shape[1] for band in bands]
    n_steps = sum(-(-width // max(n_lanes, 1)) for width in widths)
    contexts = np.full((n_steps, n_chunks * n_lanes), model.tables.identity_context, np.uint8)
    symbols = np.zeros(contexts.shape, np.uint8)
    chosen = Quantised(
        [quantised.magnitudes[band] for band in bands],
        [quantised.negative[band] for band in bands],
        [quantised.classes[band] for band in bands],
    )
    n_direct, first_context = model.contexts.n_direct[weight_set], weight_set * N_CLASSES
    if not bands:
        raw_parts = [(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.uint8))] * n_chunks
    elif native.core is None:
        raw_parts = _lay_out(chosen, n_direct, n_lanes, first_context, contexts, symbols)
    else:
        raw_parts = _lay_out_natively(chosen, n_direct, n_lanes, first_context, contexts, symbols)
    payload = np.zeros((n_chunks, n_lanes), np.uint16)
    raws = []
    for chunk, (excess, low, minus) in enumerate(raw_parts):
        writer = BitWriter()
        writer.rice(excess.astype(np.int64))
        writer.bits(low)
        writer.bits(minus)
        raw = writer.tobits()
        head = np.zeros(n_lanes * STATE_BITS, np.uint8)
        head[: len(raw)] = raw[: len(head)]
        payload[chunk] = np.packbits(head).view(">u2")
        raws.append(raw[len(head) :])
    return PartSymbols(contexts, symbols, payload.ravel(), raws)


RawParts = list[tuple[NDArray[np.int32], Bits, Bits]]


def _lay_out(
    quantised: Quantised,
    n_direct: NDArray[np.int32],
    n_lanes: int,
    first_context: int,
    contexts: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
) -> RawParts:
    """Fill in contexts, all the identity so far, and symbols; excesses, low bits and signs of every chunk."""
    excesses, shifts = [], []
    step, identity = 0, int(contexts[0, 0])
    for magnitude, activity in zip(quantised.magnitudes, quantised.classes, strict=True):
        symbol, excess = _split(magnitude, activity, n_direct)
        laned = to_steps(activity + np.uint8(first_context), n_lanes, identity)
        contexts[step : step + len(laned)] = laned
        symbols[step : step + len(laned)] = to_steps(symbol, n_lanes, 0)
        step += len(laned)
        excesses.append(excess)
        shifts.append(_SHIFTS[activity])
    excess_all, shift_all = np.concatenate(excesses, axis=1), np.concatenate(shifts, axis=1)
    magnitude_all, negative_all = (
        np.concatenate(quantised.magnitudes, axis=1),
        np.concatenate(quantised.negative, axis=1),
    )
    raw_parts = []
    for excess, shift, magnitude, negative in zip(excess_all, shift_all, magnitude_all, negative_all, strict=True):
        shifted = np.flatnonzero(shift)
        widths = shift[shifted].astype(np.int64)
        low = fields_to_bits(magnitude[shifted] & ((1 << widths) - 1), widths)
        raw_parts.append((excess[excess >= 0], low, negative[magnitude > 0].astype(np.uint8)))
    return raw_parts


def _split(
    magnitude: NDArray[np.int32], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Symbols, and how far a magnitude exceeds the direct symbols (-1 where it does not)."""
    symbol = np.zeros(magnitude.shape, np.uint8)
    excess = np.full(magnitude.shape, -1, np.int32)
    used = np.flatnonzero(magnitude)
    kind = activity.ravel()[used]
    high = magnitude.ravel()[used] >> CLASS_SHIFT[kind]
    limit = n_direct[kind]
    escaped = high >= limit
    symbol.ravel()[used] = np.where(escaped, ESCAPE, high)
    excess.ravel()[used[escaped]] = (high - limit)[escaped]
    return symbol, excess


def _lay_out_natively(
    quantised: Quantised,
    n_direct: NDArray[np.int32],
    n_lanes: int,
    first_context: int,
    contexts: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
) -> RawParts:
    assert native.core is not None
    n_chunks, size = len(quantised.magnitudes[0]), sum(band.size for band in quantised.magnitudes)
    excess, low, minus = np.empty(size, np.int32), np.empty(_MAX_SHIFT * size, np.uint8), np.empty(size, np.uint8)
    counts = np.empty((n_chunks, 3), np.int64)
    native.core.class_symbols(
        native.contiguous(quantised.magnitudes),
        native.contiguous(quantised.classes),
        native.contiguous(quantised.negative),
        n_direct,
        first_context,
        n_chunks,
        n_lanes,
        contexts,
        symbols,
        excess,
        low,
        minus,
        counts,
    )
    last = np.cumsum(counts, axis=0)
    return [
        (excess[begin[0] : end[0]], low[begin[1] : end[1]], minus[begin[2] : end[2]])
        for begin, end in zip((last - counts).tolist(), last.tolist(), strict=True)
    ]
