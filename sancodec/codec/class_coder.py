"""Coder 1: magnitudes by static rANS under activity classes, signs and low bits raw.

All streams of channels that share a bank are coded together, band after band, so that decoding is a few
thousand array operations whatever the number of channels and chunks (docs/format.md, section "Class coder").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.bits import BitReader, Bits, BitWriter, bits_to_fields, fields_to_bits
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, N_CLASSES, BandParents
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream, StreamDecoder, encode_streams, groups_of_like_depth
from sancodec.errors import CorruptError

COEFFICIENTS_PER_LANE = 4096
MAX_LANES = 4096
_PAYLOAD_BITS = 16
_MAX_RAW_BITS = 64
_SHIFTS = CLASS_SHIFT.astype(np.uint8)
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
    """Lanes of a stream: one for every 4096 coefficients of the bands that are on; none where all are off."""
    n_coefficients = sum(
        n_padded // stride for stride, is_active in zip(model.band_strides, active.tolist(), strict=True) if is_active
    )
    return min(-(-n_coefficients // COEFFICIENTS_PER_LANE), MAX_LANES)


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


@dataclass(frozen=True, slots=True, eq=False)
class ChannelPart:
    """Chunks of one length of one channel, to be encoded.

    Parameters
    ----------
    active
        bool, shape ``(band,)``: bands that are on.
    """

    quantised: Quantised
    active: NDArray[np.bool_]
    n_lanes: int
    weight_set: int

    @property
    def n_chunks(self) -> int:
        return int(self.quantised.magnitudes[0].shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Symbols:
    """A part as the lanes see it, and the raw bits left over; axes ``(step, lane)``."""

    contexts: NDArray[np.uint8]
    symbols: NDArray[np.uint8]
    payload: NDArray[np.uint16]
    raws: list[Bits]


def encode_class_streams(parts: list[ChannelPart], model: Model) -> list[list[ClassStream]]:
    """Encode parts of channels that share a bank; for each part, a stream for every chunk."""
    prepared = [_symbols_of(part, model) for part in parts]
    n_steps = max((len(part.contexts) for part in prepared), default=0)
    contexts = np.concatenate(
        [_lengthened(part.contexts, n_steps, model.tables.identity_context) for part in prepared], axis=1
    )
    symbols = np.concatenate([_lengthened(part.symbols, n_steps, 0) for part in prepared], axis=1)
    lanes = np.concatenate([np.full(part.n_chunks, part.n_lanes) for part in parts])
    payload = np.concatenate([part.payload for part in prepared])
    streams = iter(encode_streams(contexts, symbols, lanes, payload, model.tables))
    return [[ClassStream(next(streams), raw) for raw in part.raws] for part in prepared]


def _lengthened(steps: NDArray[np.uint8], n_steps: int, fill: int) -> NDArray[np.uint8]:
    result = np.full((n_steps, steps.shape[1]), fill, np.uint8)
    result[: len(steps)] = steps
    return result


def _symbols_of(part: ChannelPart, model: Model) -> _Symbols:
    n_direct = model.contexts.n_direct[part.weight_set]
    first_context = np.uint8(part.weight_set * N_CLASSES)
    n_chunks, n_lanes, quantised = part.n_chunks, part.n_lanes, part.quantised
    steps_contexts = [np.zeros((0, n_chunks * n_lanes), np.uint8)]
    steps_symbols = [np.zeros((0, n_chunks * n_lanes), np.uint8)]
    excesses, shifts, magnitudes, negatives = [], [], [], []
    for band in np.flatnonzero(part.active).tolist():
        magnitude, activity = quantised.magnitudes[band], quantised.classes[band]
        symbol, excess = _split(magnitude, activity, n_direct)
        steps_contexts.append(_to_steps(activity + first_context, n_lanes, model.tables.identity_context))
        steps_symbols.append(_to_steps(symbol, n_lanes, 0))
        excesses.append(excess)
        shifts.append(_SHIFTS[activity])
        magnitudes.append(magnitude)
        negatives.append(quantised.negative[band])
    payload = np.zeros((n_chunks, n_lanes), np.uint16)
    if not excesses:
        return _Symbols(steps_contexts[0], steps_symbols[0], payload.ravel(), [np.zeros(0, np.uint8)] * n_chunks)
    excess_all, shift_all = np.concatenate(excesses, axis=1), np.concatenate(shifts, axis=1)
    magnitude_all, negative_all = np.concatenate(magnitudes, axis=1), np.concatenate(negatives, axis=1)
    raws = []
    for chunk in range(n_chunks):
        writer = BitWriter()
        excess, shift, magnitude = excess_all[chunk], shift_all[chunk], magnitude_all[chunk]
        writer.rice(excess[excess >= 0].astype(np.int64))
        shifted = np.flatnonzero(shift)
        widths = shift[shifted].astype(np.int64)
        writer.bits(fields_to_bits(magnitude[shifted] & ((1 << widths) - 1), widths))
        writer.bits(negative_all[chunk][magnitude > 0].astype(np.uint8))
        raw = writer.tobits()
        head = np.zeros(n_lanes * _PAYLOAD_BITS, np.uint8)
        head[: len(raw)] = raw[: len(head)]
        payload[chunk] = bits_to_fields(head, np.full(n_lanes, _PAYLOAD_BITS)).astype(np.uint16)
        raws.append(raw[len(head) :])
    return _Symbols(np.concatenate(steps_contexts), np.concatenate(steps_symbols), payload.ravel(), raws)


@dataclass(frozen=True, slots=True, eq=False)
class StreamBatch:
    """Streams of one padded length, lane count and bank that are decoded together.

    Parameters
    ----------
    weight_set
        Which band weights its channels use.
    base_at
        Per band, int32 ``(stream, window)``.
    active
        bool, shape ``(stream, band)``: bands that are on.
    """

    streams: list[EncodedStream]
    n_lanes: int
    weight_set: int
    base_at: list[NDArray[np.int32]]
    active: NDArray[np.bool_]

    def contexts_of(self, band: int, activity: NDArray[np.uint8], identity: int) -> NDArray[np.uint8]:
        """Table row for every window of a band; the identity where the band is off."""
        return np.where(
            self.active[:, band, None], activity + np.uint8(self.weight_set * N_CLASSES), np.uint8(identity)
        )


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

    weight_set: int
    symbols: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    active: NDArray[np.bool_]
    widths: list[int]
    head: Bits


def decode_class_symbols(batches: list[StreamBatch], model: Model) -> list[list[StreamSymbols]]:
    """Decode the symbols of streams of several channels and chunks, as many together as memory allows.

    Raises
    ------
    FormatError
        When the streams contradict themselves, or a stream has so few lanes that decoding would take for ever.
    """
    widest = [max(base.shape[1] for base in batch.base_at) for batch in batches]
    steps = [-(-width // max(batch.n_lanes, 1)) for width, batch in zip(widest, batches, strict=True)]
    result: list[list[StreamSymbols]] = [[] for _ in batches]
    for group in groups_of_like_depth(steps, [len(batch.streams) * batch.n_lanes for batch in batches]):
        for index, streams in zip(group, _decode_together([batches[index] for index in group], model), strict=True):
            result[index] = streams
    return result


def _decode_together(batches: list[StreamBatch], model: Model) -> list[list[StreamSymbols]]:
    """Decode the symbols of streams of several channels and chunks together.

    Escaped values and low bits are raw bits, and where those begin is known only when all symbols are;
    so activity classes depend on magnitudes as far as the symbols tell.

    Raises
    ------
    FormatError
        When the streams contradict themselves.
    """
    identity = model.tables.identity_context
    decoder = StreamDecoder([stream for batch in batches for stream in batch.streams], model.tables)
    any_active = np.any([batch.active.any(axis=0) for batch in batches], axis=0)  # (band,)
    parents = [BandParents(model.contexts, batch.weight_set) for batch in batches]
    symbols: list[list[NDArray[np.uint8]]] = [[] for _ in batches]
    classes: list[list[NDArray[np.uint8]]] = [[] for _ in batches]
    lane_edges = np.cumsum([len(batch.streams) * batch.n_lanes for batch in batches])[:-1]
    for band, stride in enumerate(model.band_strides):
        for batch, parent, of_batch in zip(batches, parents, classes, strict=True):
            of_batch.append(parent.classes(band, stride, batch.base_at[band]))
        if any_active[band]:
            coded = [
                _to_steps(batch.contexts_of(band, of_batch[band], identity), batch.n_lanes, identity)
                for batch, of_batch in zip(batches, classes, strict=True)
            ]
            n_steps = max(len(steps) for steps in coded)
            decoded = decoder.decode(np.concatenate([_lengthened(steps, n_steps, identity) for steps in coded], axis=1))
            pieces = np.split(decoded, lane_edges, axis=1)
        for index, batch in enumerate(batches):
            activity = classes[index][band]
            if any_active[band]:
                n_steps = -(-activity.shape[1] // max(batch.n_lanes, 1))
                symbol = _from_steps(pieces[index][:n_steps], len(batch.streams), batch.n_lanes, activity.shape[1])
                n_direct = model.contexts.n_direct[batch.weight_set]
                parents[index].push(stride, symbol_magnitude(symbol, activity, n_direct))
            else:
                symbol = np.zeros(activity.shape, np.uint8)
                parents[index].push(stride, None)
            symbols[index].append(symbol)
    payloads = iter(decoder.finish())
    result = []
    for batch, of_batch, at in zip(batches, symbols, classes, strict=True):
        widths = [symbol.shape[1] for symbol in of_batch]
        symbol_all, class_all = np.concatenate(of_batch, axis=1), np.concatenate(at, axis=1)
        streams = []
        for index in range(len(batch.streams)):
            coded_here = np.repeat(batch.active[index], widths)
            payload = next(payloads)
            head = fields_to_bits(payload.astype(np.int64), np.full(len(payload), _PAYLOAD_BITS))
            streams.append(
                StreamSymbols(
                    batch.weight_set,
                    symbol_all[index, coded_here],
                    class_all[index, coded_here],
                    batch.active[index],
                    widths,
                    head,
                )
            )
        result.append(streams)
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
    # Signs, low bits and escapes of a stream take at most this many bits; the chunk's others stay where they are.
    limit = (len(stream.symbols) + 1) * _MAX_RAW_BITS
    reader = BitReader(np.concatenate([stream.head, raw[:limit]]), "coefficients")
    values, minus = _read_magnitudes(reader, stream.symbols, stream.classes, model.contexts.n_direct[stream.weight_set])
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
    symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Magnitude as far as the symbol tells: low bits 0, an escape as the smallest escaped value."""
    high = np.where(symbol == ESCAPE, n_direct[activity], symbol)
    return (high << CLASS_SHIFT[activity]).astype(np.int32)


def _read_magnitudes(
    reader: BitReader, symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
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
