"""Coder 0: run/level tokens in zstd frames, signs and mantissas raw (docs/format.md, section "zstd coder")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.bits import BitReader, BitWriter, bit_length, fields_to_bits
from sancodec.codec.quantiser import Quantised
from sancodec.errors import CorruptError

_MAX_RUN = 14
_LARGE = 15
_LARGE_FLOOR = 1 << 14


def encode_tokens(quantised: Quantised, chunk: int, writer: BitWriter) -> list[bytes]:
    """Tokens of each band of one chunk, each ended by a 0; run extensions, mantissas and signs go to ``writer``.

    A token is ``run << 4 | size``: ``run`` zeros (at most 14), then a coefficient of ``size`` bits. A longer run
    is preceded by a token of size 0 whose high nibble is the bit length of ``run - 14``.
    """
    lengths = np.array([band.shape[1] for band in quantised.magnitudes])
    first = np.cumsum(lengths) - lengths
    magnitude = np.concatenate([band[chunk] for band in quantised.magnitudes])
    negative = np.concatenate([band[chunk] for band in quantised.negative])
    used = np.flatnonzero(magnitude)
    values = magnitude[used].astype(np.int64)
    counts = np.diff(np.searchsorted(used, np.append(first, len(magnitude))))  # (band,)
    band = np.repeat(np.arange(len(lengths)), counts)
    previous = np.maximum(np.concatenate([[-1], used[:-1]]), first[band] - 1)
    runs = used - previous - 1
    beyond = np.maximum(runs - _MAX_RUN, 0)
    is_long = beyond > 0
    # Every band ends with a token of its own, so an entry of band b has b of them before it.
    last = np.cumsum(1 + is_long) - 1 + band
    stream = np.zeros(len(used) + int(is_long.sum()) + len(lengths), np.uint8)
    stream[last] = (np.where(is_long, 0, runs) << 4) | np.minimum(bit_length(values), _LARGE)
    stream[last[is_long] - 1] = np.minimum(bit_length(beyond[is_long]), _LARGE) << 4
    _write_sized(writer, beyond[is_long])
    _write_sized(writer, values)
    writer.bits(negative[used].astype(np.uint8))
    ends = np.cumsum(counts + np.bincount(band, is_long, len(lengths)).astype(np.int64) + 1)
    content = stream.tobytes()
    return [content[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def _write_sized(writer: BitWriter, values: NDArray[np.int64]) -> None:
    """Bits below the leading one of each value; values of 15 bits and more as a Rice list."""
    writer.rice(values[values >= _LARGE_FLOOR] - _LARGE_FLOOR)
    small = values[values < _LARGE_FLOOR]
    widths = np.maximum(bit_length(small) - 1, 0)
    writer.bits(fields_to_bits(small & ((np.int64(1) << widths) - 1), widths))


def decode_tokens(
    tokens: NDArray[np.uint8], band_lengths: list[int], reader: BitReader
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    """Magnitudes and signs of the bands of one chunk, one-dimensional.

    Parameters
    ----------
    tokens
        uint8; those of all bands, each band ended by a token of value 0.

    Raises
    ------
    FormatError
        When runs leave a band or tokens are missing.
    """
    ends = np.flatnonzero(tokens == 0)
    if len(ends) != len(band_lengths) or (len(tokens) and ends[-1] != len(tokens) - 1):
        raise CorruptError(f"zstd coder: tokens of {len(ends)} bands; {len(band_lengths)} are expected")
    band_of_token = np.searchsorted(ends, np.arange(len(tokens)))
    size, high = tokens & 15, tokens >> 4
    is_value = size > 0
    is_extension = (size == 0) & (high > 0)
    if np.any(is_extension[:-1] & ~is_value[1:]) or np.any(is_value & (high > _MAX_RUN)):
        raise CorruptError("zstd coder: a long run is not followed by a coefficient")
    widths = size[is_value].astype(np.int64)
    extension = _read_sized(reader, high[is_extension].astype(np.int64))
    values = _read_sized(reader, widths)
    signs = reader.bits(len(values)).astype(bool)
    run = np.zeros(len(tokens), np.int64)
    run[is_value] = high[is_value]
    run[np.flatnonzero(is_extension) + 1] += extension + _MAX_RUN
    advance = np.where(is_value, run + 1, 0)
    reached = np.cumsum(advance)
    start = np.concatenate([[0], reached[ends]])
    band = band_of_token[is_value]
    position = reached[is_value] - 1 - start[band]
    lengths = np.array(band_lengths)
    if np.any(position >= lengths[band]):
        raise CorruptError("zstd coder: a run leaves its band")
    flat_start = np.cumsum(lengths) - lengths
    magnitude = np.zeros(int(lengths.sum()), np.int32)
    negative = np.zeros(len(magnitude), bool)
    magnitude[flat_start[band] + position] = values
    negative[flat_start[band] + position] = signs
    edges = np.cumsum(lengths)[:-1]
    return list(np.split(magnitude, edges)), list(np.split(negative, edges))


def _read_sized(reader: BitReader, widths: NDArray[np.int64]) -> NDArray[np.int64]:
    values = np.zeros(len(widths), np.int64)
    large, small = widths == _LARGE, widths < _LARGE
    excess = reader.rice(int(large.sum()))
    if len(excess) and excess.max() >= 2**31 - _LARGE_FLOOR:
        raise CorruptError(f"zstd coder: a value of {excess.max()}; it must be below 2**31")
    values[large] = excess + _LARGE_FLOOR
    low_bits = np.maximum(widths[small] - 1, 0)
    values[small] = np.where(widths[small] > 0, (np.int64(1) << low_bits) | reader.fields(low_bits), 0)
    return values
