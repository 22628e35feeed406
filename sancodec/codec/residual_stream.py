"""Streams of the residual layer: differences of every sample, in zstd frames or under block classes by static rANS.

docs/format.md, "Residual streams". A block is a run of samples of one channel; its class says which table of
frequencies its magnitudes follow, and how many low bits are raw. The tables are fitted to the file and stored in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import rans, zstd_coder
from sancodec.codec.bits import BitReader, Bits, BitWriter, bits_to_fields, fields_to_bits, unzigzag, zigzag
from sancodec.codec.class_coder import MAX_LANES
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream, StreamDecoder, encode_streams
from sancodec.codec.residual_tables import ESCAPE, ResidualTables, TablePlan, block_rows, fine_classes
from sancodec.errors import CorruptError, TruncatedError

MAX_DIFFERENCE = 1 << 33
TOKENS_FORM = 255
MAX_BYTES_SHIFT = 24
_SAMPLES_PER_LANE = 1024
_STATE_BITS = 16
_MAX_EXCESS = 1 << 30
_BYTE_ESCAPE = 255
_MAX_SAMPLE_BITS = 96


@dataclass(frozen=True, slots=True, eq=False)
class ResidualStream:
    """One channel of one chunk under block classes.

    Parameters
    ----------
    classes
        uint8, one for each block.
    raw
        Raw bits that did not fit into the lanes' initial states.
    """

    classes: NDArray[np.uint8]
    stream: EncodedStream
    raw: Bits


def encode_class_residuals(streams: list[NDArray[np.integer]], plan: TablePlan) -> list[ResidualStream]:
    """Encode all streams together; integers ``(sample,)`` each."""
    tables = plan.tables
    contexts, symbols, lanes, payloads, classes_of, raws = [], [], [], [], [], []
    for codes in streams:
        rows = block_rows(codes, tables.block)
        classes = plan.class_of[fine_classes(rows)]
        used = np.repeat(classes, tables.block)[: len(codes)]
        coded = used > 0
        table = used[coded].astype(np.int64) - 1
        values = codes[coded].astype(np.int64)
        magnitude = np.abs(values)
        shift = tables.shifts[table] if len(tables.shifts) else table
        high = magnitude >> shift
        writer = BitWriter()
        writer.rice(high[high >= ESCAPE] - ESCAPE)
        shifted = shift > 0
        writer.bits(fields_to_bits(magnitude[shifted] & ((1 << shift[shifted]) - 1), shift[shifted]))
        writer.bits((values[magnitude > 0] < 0).astype(np.uint8))
        raw = writer.tobits()
        n_lanes = min(-(-len(values) // _SAMPLES_PER_LANE), MAX_LANES)
        head = np.zeros(n_lanes * _STATE_BITS, np.uint8)
        head[: len(raw)] = raw[: len(head)]
        contexts.append(_laned(table.astype(np.uint8), n_lanes, tables.symbols.identity_context))
        symbols.append(_laned(np.minimum(high, ESCAPE).astype(np.uint8), n_lanes, 0))
        lanes.append(n_lanes)
        payloads.append(bits_to_fields(head, np.full(n_lanes, _STATE_BITS)).astype(np.uint16))
        classes_of.append(classes)
        raws.append(raw[len(head) :])
    n_steps = max((len(each) for each in contexts), default=0)
    encoded = encode_streams(
        np.concatenate([_deepened(each, n_steps, tables.symbols.identity_context) for each in contexts], axis=1),
        np.concatenate([_deepened(each, n_steps, 0) for each in symbols], axis=1),
        np.array(lanes, np.int64),
        np.concatenate(payloads),
        tables.symbols,
    )
    return [ResidualStream(*each) for each in zip(classes_of, encoded, raws, strict=True)]


def _laned(values: NDArray[np.uint8], n_lanes: int, fill: int) -> NDArray[np.uint8]:
    """``(symbol,)`` to ``(step, lane)``; symbol i is coded by lane i mod n_lanes."""
    n_steps = -(-len(values) // max(n_lanes, 1))
    padded = np.full(n_steps * n_lanes, fill, np.uint8)
    padded[: len(values)] = values
    return padded.reshape(n_steps, n_lanes)


def _deepened(steps: NDArray[np.uint8], n_steps: int, fill: int) -> NDArray[np.uint8]:
    result = np.full((n_steps, steps.shape[1]), fill, np.uint8)
    result[: len(steps)] = steps
    return result


@dataclass(frozen=True, slots=True, eq=False)
class CodedResidual:
    """One channel of one chunk, still encoded: classes of its blocks, its lanes, and its length in samples."""

    classes: NDArray[np.uint8]
    stream: EncodedStream
    n_samples: int


@dataclass(frozen=True, slots=True, eq=False)
class ResidualSymbols:
    """Symbols and tables of the samples in blocks that are not all zero, and the raw bits from the lanes' states."""

    coded: NDArray[np.bool_]
    table: NDArray[np.int64]
    symbols: NDArray[np.uint8]
    head: Bits


def decode_residual_symbols(streams: list[CodedResidual], tables: ResidualTables) -> list[ResidualSymbols]:
    """Decode the symbols of all streams together.

    Raises
    ------
    FormatError
        When the streams contradict themselves.
    """
    identity = tables.symbols.identity_context
    used = [np.repeat(each.classes, min(tables.block, each.n_samples))[: each.n_samples] for each in streams]
    coded = [each > 0 for each in used]
    table = [each[where] - np.uint8(1) for each, where in zip(used, coded, strict=True)]
    for each, row in zip(streams, table, strict=True):
        n_lanes = len(each.stream.states)
        if (n_lanes > 0) != (len(row) > 0) or (len(each.stream.words) and not n_lanes):
            raise CorruptError(f"residuals: {n_lanes} lanes and {len(each.stream.words)} words for {len(row)} symbols")
    busy = [index for index, row in enumerate(table) if len(row)]
    lanes = [len(streams[index].stream.states) for index in busy]
    steps = [-(-len(table[index]) // n_lanes) for index, n_lanes in zip(busy, lanes, strict=True)]
    symbols = [np.zeros(0, np.uint8) for _ in streams]
    heads = [np.zeros(0, np.uint8) for _ in streams]
    for group in rans.groups_of_like_depth(steps, lanes):
        members, n_steps = [busy[each] for each in group], max(steps[each] for each in group)
        decoder = StreamDecoder([streams[index].stream for index in members], tables.symbols)
        laned = [_laned(table[index], len(streams[index].stream.states), identity) for index in members]
        decoded = decoder.decode(np.concatenate([_deepened(each, n_steps, identity) for each in laned], axis=1))
        edges = np.cumsum([each.shape[1] for each in laned])[:-1]
        for index, part, payload in zip(members, np.split(decoded, edges, axis=1), decoder.finish(), strict=True):
            symbols[index] = part.ravel()[: len(table[index])]
            heads[index] = fields_to_bits(payload.astype(np.int64), np.full(len(payload), _STATE_BITS))
    return [
        ResidualSymbols(where, row.astype(np.int64), symbol, head)
        for where, row, symbol, head in zip(coded, table, symbols, heads, strict=True)
    ]


def read_residual(symbols: ResidualSymbols, raw: Bits, tables: ResidualTables) -> tuple[NDArray[np.int64], int]:
    """Complete a stream with its raw bits.

    Parameters
    ----------
    raw
        The chunk's raw bits from where this stream's begin; more may follow.

    Returns
    -------
    Differences, int64 ``(sample,)``, and how many bits of ``raw`` were used.

    Raises
    ------
    FormatError
    """
    values = np.zeros(len(symbols.coded), np.int64)
    if not len(symbols.symbols):
        return values, 0
    # No sample takes more bits than an escape, its low bits and its sign.
    limit = (len(symbols.symbols) + 1) * _MAX_SAMPLE_BITS
    reader = BitReader(np.concatenate([symbols.head, raw[:limit]]), "residuals")
    high = symbols.symbols.astype(np.int64)
    escaped = high == ESCAPE
    excess = reader.rice(int(escaped.sum()))
    if len(excess) and excess.max() > _MAX_EXCESS:
        raise CorruptError(f"residuals: an escape of {excess.max()}; at most {_MAX_EXCESS} is allowed")
    high[escaped] += excess
    shift = tables.shifts[symbols.table]
    magnitude = high << shift
    shifted = shift > 0
    magnitude[shifted] |= reader.fields(shift[shifted])
    if magnitude.max() >= MAX_DIFFERENCE:
        raise CorruptError(f"residuals: a difference of {magnitude.max()}; it must be below 2**33")
    nonzero = magnitude > 0
    magnitude[nonzero] *= 1 - 2 * reader.bits(int(nonzero.sum())).astype(np.int64)
    if reader.position < len(symbols.head) and symbols.head[reader.position :].any():
        raise CorruptError("residuals: bits follow the last sign within the initial states")
    values[symbols.coded] = magnitude
    return values, max(0, reader.position - len(symbols.head))


def encode_zstd_residual(codes: NDArray[np.integer], writer: BitWriter) -> bytes:
    """One channel of one chunk for a zstd frame; what is raw goes to ``writer``.

    Sparse differences as run/level tokens, dense ones as a byte each.
    """
    magnitude = np.abs(codes.astype(np.int64))
    if 3 * np.count_nonzero(codes) < len(codes) and magnitude.max() < 2**31:
        quantised = Quantised([magnitude[None].astype(np.int32)], [codes[None] < 0], [])
        tokens = zstd_coder.encode_tokens(quantised, 0, writer)
        return b"".join([bytes([TOKENS_FORM]), tokens[0]])
    values = zigzag(codes.astype(np.int64))
    # Bytes of which the largest are escapes: what zstd cannot use goes raw.
    typical = float(values.mean())
    # A Rice list holds numbers below 2**32.
    least = max(0, int(values.max()).bit_length() - 32)
    shift = min(max(least, int(np.ceil(np.log2(max(typical, 1) / 32)))), MAX_BYTES_SHIFT)
    high = values >> shift
    writer.rice(high[high >= _BYTE_ESCAPE] - _BYTE_ESCAPE)
    if shift:
        writer.bits(fields_to_bits(values & ((1 << shift) - 1), np.full(len(values), shift)))
    return b"".join([bytes([shift]), np.minimum(high, _BYTE_ESCAPE).astype(np.uint8).tobytes()])


def decode_zstd_residual(
    content: bytes, start: int, n_samples: int, reader: BitReader
) -> tuple[NDArray[np.int64], int]:
    """Inverse of ``encode_zstd_residual``, from ``start`` on; also returns where the next channel's content begins.

    Raises
    ------
    FormatError
    """
    if start >= len(content):
        raise TruncatedError("residuals: a channel is missing")
    form = content[start]
    if form == TOKENS_FORM:
        end = content.find(b"\0", start + 1)
        if end < 0:
            raise TruncatedError("residuals: the tokens of a channel have no end")
        tokens = np.frombuffer(content, np.uint8, end - start, start + 1)
        magnitudes, negative = zstd_coder.decode_tokens(tokens, [n_samples], reader)
        magnitude = magnitudes[0].astype(np.int64)
        return np.where(negative[0], -magnitude, magnitude), end + 1
    if form > MAX_BYTES_SHIFT:
        raise CorruptError(f"residuals: form {form}; 0 to {MAX_BYTES_SHIFT} and {TOKENS_FORM} are allowed")
    end = start + 1 + n_samples
    if end > len(content):
        raise TruncatedError(f"residuals: {n_samples} bytes are needed, {len(content) - start - 1} are left")
    high = np.frombuffer(content, np.uint8, n_samples, start + 1).astype(np.int64)
    escaped = high == _BYTE_ESCAPE
    high[escaped] += reader.rice(int(escaped.sum()))
    values = high << form
    if form:
        values |= reader.fields(np.full(n_samples, form))
    # The largest zigzag value stands for -2**33, which the classes cannot say.
    if len(values) and values.max() >= 2 * MAX_DIFFERENCE - 1:
        raise CorruptError(f"residuals: a coded difference of {values.max()}; it must be below 2**34 - 1")
    return unzigzag(values), end
