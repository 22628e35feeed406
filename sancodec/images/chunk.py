"""A CHUNK of images: a digest of the pixels, then the symbols (docs/format.md, "CHUNK of images")."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import zstd_compress, zstd_decompress
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError
from sancodec.images.coding import ZSTD, ImageCoding
from sancodec.images.mixing import decode_symbols, encode_symbols

PLAIN, DIFFERENCES = 0, 1
_MAX_PIXELS_PER_BYTE = 1 << 15  # what no stream of either coder exceeds
_SPARE_BYTES = 4
_DIGEST = struct.Struct("<I")
_ZSTD_LEVELS = {1: 3, 2: 9}  # of level; 19 from there on


def encode_chunk(
    index: int, symbols: NDArray[np.uint8], pixels: NDArray[np.uint8], coding: ImageCoding, coding_crc: int, level: int
) -> bytes:
    """The payload of a chunk whose decoded images are ``pixels``."""
    head = _DIGEST.pack(_digest(index, coding_crc, pixels))
    if coding.coder != ZSTD:
        return head + encode_symbols(symbols, coding.values, coding.background)
    frames = [
        bytes([form]) + zstd_compress(each.tobytes(), _ZSTD_LEVELS.get(level, 19))
        for form, each in ((PLAIN, symbols), (DIFFERENCES, _differences(symbols)))
    ]
    return head + min(frames, key=len)


def decode_chunk(
    index: int, payload: bytes, shape: tuple[int, int, int], coding: ImageCoding, coding_crc: int
) -> NDArray[np.uint8]:
    """The images of a chunk, uint8 of this shape.

    Raises
    ------
    FormatError
        When they are not what the digest says, or no images at all.
    """
    where = f"chunk {index}"
    stream = payload[_DIGEST.size :]
    if len(payload) < _DIGEST.size:
        raise TruncatedError(f"{where}: it has {len(payload)} bytes")
    n_pixels = shape[0] * shape[1] * shape[2]
    if n_pixels > _MAX_PIXELS_PER_BYTE * (len(stream) + _SPARE_BYTES):
        raise LimitExceededError(f"{where}: {n_pixels} pixels from {len(stream)} bytes; no stream holds so many")
    if coding.coder == ZSTD:
        symbols = _from_zstd(stream, shape, where)
        if symbols.max() >= len(coding.values):
            raise CorruptError(f"{where}: symbol {symbols.max()} of {len(coding.values)}")
    else:
        try:
            symbols = decode_symbols(stream, shape, coding.values, coding.background)
        except CorruptError as error:
            raise CorruptError(f"{where}: {error}") from None
    pixels = coding.pixels_of(symbols)
    if _DIGEST.unpack_from(payload)[0] != _digest(index, coding_crc, pixels):
        raise CorruptError(f"{where}: the decoded images do not have the digest that was stored")
    return pixels


def _digest(index: int, coding_crc: int, pixels: NDArray[np.uint8]) -> int:
    return zlib.crc32(pixels.tobytes(), zlib.crc32(struct.pack("<II", index, coding_crc)))


def _from_zstd(stream: bytes, shape: tuple[int, int, int], where: str) -> NDArray[np.uint8]:
    if not stream or stream[0] not in (PLAIN, DIFFERENCES):
        raise CorruptError(f"{where}: form {stream[:1]!r} of symbols; 0 or 1 is expected")
    n_pixels = shape[0] * shape[1] * shape[2]
    content = zstd_decompress(stream[1:], limit=n_pixels, where=where)
    if len(content) != n_pixels:
        raise CorruptError(f"{where}: {len(content)} symbols; {n_pixels} are expected")
    symbols = np.frombuffer(content, np.uint8).reshape(shape)
    if stream[0] == DIFFERENCES:
        symbols = np.cumsum(np.cumsum(symbols, axis=1, dtype=np.uint8), axis=2, dtype=np.uint8)
    return symbols


def _differences(symbols: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """To the left, then upwards, modulo 256; outside an image symbols are 0."""
    result = symbols.copy()
    result[:, :, 1:] -= symbols[:, :, :-1]
    above = result[:, :-1].copy()
    result[:, 1:] -= above
    return result
