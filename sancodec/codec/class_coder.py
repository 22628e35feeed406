"""Coder 1: magnitudes by static rANS under activity classes, signs and low bits raw.

All streams of channels that share a bank are coded together, band after band, so that decoding is a few
thousand array operations whatever the number of channels and chunks (docs/format.md, section "Class coder").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.bits import Bits, BitReader, BitWriter, bits_to_fields, fields_to_bits
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, BandParents
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream, StreamDecoder, encode_streams
from sancodec.errors import CorruptError

COEFFICIENTS_PER_LANE = 4096
MAX_LANES = 4096
_PAYLOAD_BITS = 16
_MAX_EXCESS = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class ClassStream:
    """One channel of one chunk.

    Parameters
    ----------
    stream
        States and words of its lanes.
    raw
        Raw bits that did not fit into the lanes' initial states.
    """

    stream: EncodedStream
    raw: Bits


def lanes_for(model: Model, n_padded: int, active: NDArray[np.bool_]) -> int:
    """Lanes of a stream: one for every 4096 coefficients of the bands that are on."""
    n_coefficients = sum(
        n_padded // stride for stride, is_active in zip(model.band_strides, active.tolist(), strict=True) if is_active
    )
    return min(max(1, -(-n_coefficients // COEFFICIENTS_PER_LANE)), MAX_LANES)


def _to_steps(values: NDArray[np.uint8], n_lanes: int, fill: int) -> NDArray[np.uint8]:
    """``(stream, window)`` to ``(step, lane of all streams)``; window w is coded by lane w mod n_lanes."""
    n_streams, n_windows = values.shape
    n_steps = -(-n_windows // n_lanes)
    padded = np.full((n_streams, n_steps * n_lanes), fill, np.uint8)
    padded[:, :n_windows] = values
    return padded.reshape(n_streams, n_steps, n_lanes).transpose(1, 0, 2).reshape(n_steps, n_streams * n_lanes)


def _from_steps(steps: NDArray[np.uint8], n_streams: int, n_lanes: int, n_windows: int) -> NDArray[np.uint8]:
    n_steps = steps.shape[0]
    ordered = steps.reshape(n_steps, n_streams, n_lanes).transpose(1, 0, 2).reshape(n_streams, n_steps * n_lanes)
    return ordered[:, :n_windows]


def _split(
    magnitude: NDArray[np.int32], activity: NDArray[np.uint8], n_direct: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Symbols, and how far a magnitude exceeds the direct symbols (-1 where it does not)."""
    high = magnitude >> CLASS_SHIFT[activity]
    limit = n_direct[activity]
    excess = np.where(high >= limit, high - limit, -1)
    return np.where(excess >= 0, ESCAPE, high).astype(np.uint8), excess


def encode_class_streams(quantised: Quantised, active: NDArray[np.bool_], model: Model, n_lanes: int) -> list[ClassStream]:
    """Encode chunks of one length of one channel, a stream each.

    Parameters
    ----------
    active
        bool, shape ``(band,)``: bands that are on.
    """
    n_direct = model.contexts.n_direct
    n_chunks = quantised.magnitudes[0].shape[0]
    steps_contexts, steps_symbols = [], []
    excesses, shifts, magnitudes, negatives = [], [], [], []
    for band in np.flatnonzero(active).tolist():
        magnitude, activity = quantised.magnitudes[band], quantised.classes[band]
        symbol, excess = _split(magnitude, activity, n_direct)
        steps_contexts.append(_to_steps(activity, n_lanes, model.tables.identity_context))
        steps_symbols.append(_to_steps(symbol, n_lanes, 0))
        excesses.append(excess)
        shifts.append(CLASS_SHIFT[activity])
        magnitudes.append(magnitude)
        negatives.append(quantised.negative[band])
    if not excesses:
        empty = EncodedStream(np.zeros(0, np.uint32), np.zeros(0, np.uint16))
        return [ClassStream(empty, np.zeros(0, np.uint8)) for _ in range(n_chunks)]
    excess_all, shift_all = np.concatenate(excesses, axis=1), np.concatenate(shifts, axis=1)
    magnitude_all, negative_all = np.concatenate(magnitudes, axis=1), np.concatenate(negatives, axis=1)
    payload = np.zeros((n_chunks, n_lanes), np.uint16)
    raws = []
    for chunk in range(n_chunks):
        writer = BitWriter()
        excess, shift, magnitude = excess_all[chunk], shift_all[chunk], magnitude_all[chunk]
        writer.rice(excess[excess >= 0].astype(np.int64))
        shifted = np.flatnonzero(shift)
        writer.bits(fields_to_bits(magnitude[shifted] & ((1 << shift[shifted]) - 1), shift[shifted]))
        writer.bits(negative_all[chunk][magnitude > 0].astype(np.uint8))
        raw = writer.tobits()
        head = np.zeros(n_lanes * _PAYLOAD_BITS, np.uint8)
        head[: len(raw)] = raw[: len(head)]
        payload[chunk] = bits_to_fields(head, np.full(n_lanes, _PAYLOAD_BITS)).astype(np.uint16)
        raws.append(raw[len(head) :])
    streams = encode_streams(
        np.concatenate(steps_contexts), np.concatenate(steps_symbols), np.full(n_chunks, n_lanes), payload.ravel(), model.tables
    )
    return [ClassStream(stream, raw) for stream, raw in zip(streams, raws, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class StreamBatch:
    """Streams of one padded length, lane count and bank that are decoded together.

    Parameters
    ----------
    profile_at
        Per band, int32 ``(stream, window)``.
    active
        bool, shape ``(stream, band)``: bands that are on.
    """

    streams: list[EncodedStream]
    n_lanes: int
    profile_at: list[NDArray[np.int32]]
    active: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class StreamSymbols:
    """One stream with its symbols decoded and its raw bits still to be read.

    Parameters
    ----------
    symbols, classes
        uint8, all bands that are on, one after the other.
    active
        bool, shape ``(band,)``.
    widths
        Windows of each band.
    head
        Raw bits that rode in the lanes' initial states.
    """

    symbols: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    active: NDArray[np.bool_]
    widths: list[int]
    head: Bits


def decode_class_symbols(batch: StreamBatch, model: Model) -> list[StreamSymbols]:
    """Decode the symbols of streams of several channels and chunks together.

    Escaped values and low bits are raw bits, and where those begin is known only when all symbols are;
    so activity classes depend on magnitudes as far as the symbols tell.

    Raises
    ------
    FormatError
        When the streams contradict themselves.
    """
    n_streams = len(batch.streams)
    n_direct = model.contexts.n_direct
    identity = model.tables.identity_context
    any_active = batch.active.any(axis=0)  # (band,)
    decoder = StreamDecoder(batch.streams, model.tables) if any_active.any() else None
    parents = BandParents(model.contexts)
    symbols, classes = [], []
    for band, expected in enumerate(batch.profile_at):
        stride = model.band_strides[band]
        activity = parents.classes(band, stride, expected)
        symbol = np.zeros(activity.shape, np.uint8)
        if decoder is not None and any_active[band]:
            coded = np.where(batch.active[:, band, None], activity, np.uint8(identity))
            steps = decoder.decode(_to_steps(coded, batch.n_lanes, identity))
            symbol = _from_steps(steps, n_streams, batch.n_lanes, activity.shape[1])
        parents.push(stride, symbol_magnitude(symbol, activity, n_direct))
        symbols.append(symbol)
        classes.append(activity)
    payloads = decoder.finish() if decoder is not None else [np.zeros(0, np.uint16)] * n_streams
    widths = [symbol.shape[1] for symbol in symbols]
    symbol_all, class_all = np.concatenate(symbols, axis=1), np.concatenate(classes, axis=1)
    result = []
    for index in range(n_streams):
        coded = np.repeat(batch.active[index], widths)
        head = fields_to_bits(payloads[index].astype(np.int64), np.full(len(payloads[index]), _PAYLOAD_BITS))
        result.append(StreamSymbols(symbol_all[index, coded], class_all[index, coded], batch.active[index], widths, head))
    return result


def read_stream(stream: StreamSymbols, raw: Bits, model: Model) -> tuple[Quantised, int]:
    """Complete a stream with its raw bits.

    Parameters
    ----------
    raw
        The chunk's raw bits from where this stream's begin; more may follow.

    Returns
    -------
    The coefficients, shape ``(1, window)`` per band, and how many bits of ``raw`` were used.

    Raises
    ------
    FormatError
    """
    reader = BitReader(np.concatenate([stream.head, raw]), "coefficients")
    values, minus = _read_magnitudes(reader, stream.symbols, stream.classes, model.contexts.n_direct)
    if reader.position < len(stream.head) and stream.head[reader.position :].any():
        raise CorruptError("coefficients: bits follow the last sign within the initial states")
    n_windows = sum(stream.widths)
    magnitude, negative = np.zeros((1, n_windows), np.int32), np.zeros((1, n_windows), bool)
    coded = np.repeat(stream.active, stream.widths)
    magnitude[0, coded], negative[0, coded] = values, minus
    edges = np.cumsum(stream.widths)[:-1]
    quantised = Quantised(np.split(magnitude, edges, axis=1), np.split(negative, edges, axis=1), [])
    return quantised, max(0, reader.position - len(stream.head))


def symbol_magnitude(
    symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Magnitude as far as the symbol tells: low bits 0, an escape as the smallest escaped value."""
    high = np.where(symbol == ESCAPE, n_direct[activity], symbol)
    return (high << CLASS_SHIFT[activity]).astype(np.int32)


def _read_magnitudes(
    reader: BitReader, symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    high = symbol.astype(np.int64)
    escaped = np.flatnonzero(symbol == ESCAPE)
    excess = reader.rice(len(escaped))
    if len(excess) and excess.max() > _MAX_EXCESS:
        raise CorruptError(f"coefficients: a magnitude of {excess.max()}; at most {_MAX_EXCESS} is allowed")
    high[escaped] = n_direct[activity[escaped]] + excess
    shift = CLASS_SHIFT[activity]
    shifted = np.flatnonzero(shift)
    magnitude = high << shift
    magnitude[shifted] |= reader.fields(shift[shifted])
    if len(magnitude) and magnitude.max() >= 2**31:
        raise CorruptError(f"coefficients: a magnitude of {magnitude.max()}; it must be below 2**31")
    nonzero = np.flatnonzero(magnitude)
    negative = np.zeros(len(magnitude), bool)
    negative[nonzero] = reader.bits(len(nonzero)).astype(bool)
    return magnitude.astype(np.int32), negative
