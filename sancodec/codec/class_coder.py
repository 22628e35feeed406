"""Coder 1: magnitudes by static rANS under activity classes, signs and low bits raw.

All streams of channels that share a bank are coded together, band after band, so that decoding is a few
thousand array operations whatever the number of channels and chunks (docs/format.md, section "Class coder").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.bits import BitReader, Bits, fields_to_bits
from sancodec.codec.class_symbols import STATE_BITS, symbols_of, to_steps
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, MAX_MAGNITUDE, N_CLASSES, BandParents
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream, StreamDecoder, encode_streams, groups_of_like_depth
from sancodec.errors import CorruptError

COEFFICIENTS_PER_LANE = 4096
MAX_LANES = 4096
_MAX_RAW_BITS = 64
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


def _from_steps(steps: NDArray[np.uint8], n_streams: int, n_lanes: int, n_windows: int) -> NDArray[np.uint8]:
    n_steps = steps.shape[0]
    ordered = steps.reshape(n_steps, n_streams, n_lanes).transpose(1, 0, 2).reshape(n_streams, n_steps * n_lanes)
    return ordered[:, :n_windows]


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


def encode_class_streams(parts: list[ChannelPart], model: Model) -> list[list[ClassStream]]:
    """Encode parts of channels that share a bank; for each part, a stream for every chunk."""
    prepared = [
        symbols_of(part.quantised, part.active, model, n_lanes=part.n_lanes, weight_set=part.weight_set)
        for part in parts
    ]
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

    @property
    def widest(self) -> int:
        """Windows of the largest band that is on."""
        is_on: list[bool] = np.atleast_1d(self.active.any(axis=0)).tolist()
        return max((int(base.shape[1]) for base, on in zip(self.base_at, is_on, strict=True) if on), default=0)

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
    steps = [-(-batch.widest // max(batch.n_lanes, 1)) for batch in batches]
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
    for band, stride in enumerate(model.band_strides):
        for batch, parent, of_batch in zip(batches, parents, classes, strict=True):
            of_batch.append(parent.classes(band, stride, batch.base_at[band]))
        activities = [of_batch[band] for of_batch in classes]
        if native.core is None:
            decoded = _decode_band(decoder, batches, activities, band, identity)
        else:
            decoded = _decode_band_natively(decoder, batches, activities, band)
        for index, (batch, activity, symbol) in enumerate(zip(batches, activities, decoded, strict=True)):
            known = None
            if any_active[band]:
                known = symbol_magnitude(symbol, activity, model.contexts.n_direct[batch.weight_set])
            parents[index].push(stride, known)
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
            head = fields_to_bits(payload.astype(np.int64), np.full(len(payload), STATE_BITS))
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


def _decode_band(
    decoder: StreamDecoder, batches: list[StreamBatch], activities: list[NDArray[np.uint8]], band: int, identity: int
) -> list[NDArray[np.uint8]]:
    """Symbols of a band, uint8 ``(stream, window)`` per batch; 0 where it is off."""
    if not any(batch.active[:, band].any() for batch in batches):
        return [np.zeros(activity.shape, np.uint8) for activity in activities]
    coded = [
        to_steps(batch.contexts_of(band, activity, identity), batch.n_lanes, identity)
        for batch, activity in zip(batches, activities, strict=True)
    ]
    n_steps = max(len(steps) for steps in coded)
    decoded = decoder.decode(np.concatenate([_lengthened(steps, n_steps, identity) for steps in coded], axis=1))
    pieces = np.split(decoded, np.cumsum([steps.shape[1] for steps in coded])[:-1], axis=1)
    return [
        _from_steps(piece[: len(steps)], len(batch.streams), batch.n_lanes, activity.shape[1])
        for piece, steps, batch, activity in zip(pieces, coded, batches, activities, strict=True)
    ]


def _decode_band_natively(
    decoder: StreamDecoder, batches: list[StreamBatch], activities: list[NDArray[np.uint8]], band: int
) -> list[NDArray[np.uint8]]:
    result, first_stream = [], 0
    for batch, activity in zip(batches, activities, strict=True):
        is_active = batch.active[:, band]
        symbol = np.zeros(activity.shape, np.uint8)
        if is_active.any():
            symbol = decoder.decode_band(first_stream, activity, is_active, batch.weight_set * N_CLASSES)
        result.append(symbol)
        first_stream += len(batch.streams)
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
    bands = [slice(first, last) for first, last in pairwise(accumulate(stream.widths, initial=0))]
    quantised = Quantised([magnitude[:, band] for band in bands], [negative[:, band] for band in bands], [])
    return quantised, max(0, reader.position - len(stream.head))


def symbol_magnitude(
    symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """Magnitude as far as the symbol tells: low bits 0, an escape as the smallest escaped value; capped."""
    if native.core is not None:
        known = np.empty(symbol.shape, np.uint8)
        native.core.known_of_symbols(symbol, activity, n_direct, known)
        return known
    high = np.where(symbol == ESCAPE, n_direct[activity], symbol)
    return np.minimum(high << CLASS_SHIFT[activity], MAX_MAGNITUDE).astype(np.uint8)


def _read_magnitudes(
    reader: BitReader, symbol: NDArray[np.uint8], activity: NDArray[np.uint8], n_direct: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    high = symbol.astype(np.int64)
    escaped = np.flatnonzero(symbol == ESCAPE)
    excess = reader.rice(len(escaped))
    if len(excess) and excess.max() > _MAX_EXCESS:
        raise CorruptError(f"coefficients: a magnitude of {excess.max()}; at most {_MAX_EXCESS} is allowed")
    if native.core is not None:
        magnitude, negative = np.empty(len(symbol), np.int32), np.empty(len(symbol), bool)
        n_read = native.core.read_magnitudes(symbol, activity, n_direct, excess, reader.rest, magnitude, negative)
        if n_read >= 0:
            reader.bits(n_read)
            return magnitude, negative
        # What is wrong is found below.
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
