"""How the images of a file are coded: values or kernels of the symbols (docs/format.md, "CODING of images")."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import decode_varint, encode_varints, zstd_compress, zstd_decompress
from sancodec.errors import CorruptError, TruncatedError, UnsupportedVersionError

ZSTD, MIXING = 0, 1
REACH, N_TAPS = 2, 25
WEIGHT_BITS = 6
MAX_LEVELS = 16
MAX_WEIGHT = 1 << 20
_MAX_CONTENT = 1 << 14
_F64 = struct.Struct("<d")
_WHERE = "section CODING"


@dataclass(frozen=True, eq=False)
class ImageCoding:
    """Symbols and what becomes of them.

    Parameters
    ----------
    coder
        `ZSTD` or `MIXING`.
    background
        The symbol around every image.
    values
        uint8, shape ``(symbol,)``, rising: a pixel's value, or where there are kernels one that is like it.
    kernels
        int32, shape ``(level, 25)``, in 2**-6: the sum of those of the 5 x 5 symbols around it is a pixel. None: pixels
        are the values.
    psnr_db
        What was measured; infinite where pixels are exact.

    Raises
    ------
    CorruptError, UnsupportedVersionError
        When they contradict each other.
    """

    coder: int
    background: int
    values: NDArray[np.uint8]
    kernels: NDArray[np.int32] | None
    psnr_db: float

    def __post_init__(self) -> None:
        if self.coder not in (ZSTD, MIXING):
            raise UnsupportedVersionError(f"{_WHERE}: coder {self.coder} of images; this release knows 0 and 1")
        n_symbols = len(self.values)
        if not 1 <= n_symbols <= 256 or np.any(np.diff(self.values.astype(np.int64)) <= 0):
            raise CorruptError(f"{_WHERE}: the values of {n_symbols} symbols do not rise")
        if not 0 <= self.background < n_symbols:
            raise CorruptError(f"{_WHERE}: background {self.background} of {n_symbols} symbols")
        if self.kernels is not None:
            if n_symbols > MAX_LEVELS or self.kernels.shape != (n_symbols, N_TAPS):
                raise CorruptError(f"{_WHERE}: kernels of {n_symbols} levels; at most {MAX_LEVELS} are allowed")
            if np.abs(self.kernels).max() > MAX_WEIGHT:
                raise CorruptError(f"{_WHERE}: a weight beyond {MAX_WEIGHT}")

    def pixels_of(self, symbols: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Decode symbols: uint8, shape ``(image, row, column)``, both."""
        if self.kernels is None:
            pixels: NDArray[np.uint8] = self.values[symbols]
            return pixels
        _, height, width = symbols.shape
        around = ((0, 0), (REACH, REACH), (REACH, REACH))
        padded = np.pad(symbols, around, constant_values=self.background)
        total = np.full(symbols.shape, 1 << (WEIGHT_BITS - 1), np.int32)
        side = 2 * REACH + 1
        for tap in range(N_TAPS):
            row, column = divmod(tap, side)
            total += self.kernels[:, tap][padded[:, row : row + height, column : column + width]]
        decoded: NDArray[np.uint8] = np.clip(total >> WEIGHT_BITS, 0, 255).astype(np.uint8)
        return decoded

    def content(self) -> bytes:
        """The section's payload."""
        numbers = [self.coder, self.background, len(self.values), int(self.kernels is not None)]
        parts = [_F64.pack(self.psnr_db), encode_varints(numbers), self.values.tobytes()]
        if self.kernels is not None:
            shift = _common_shift(self.kernels)
            weights = (self.kernels.reshape(-1) >> shift).tolist()
            parts.append(encode_varints([shift, *(2 * each if each >= 0 else -2 * each - 1 for each in weights)]))
        return zstd_compress(b"".join(parts), 19)


def _common_shift(kernels: NDArray[np.int32]) -> int:
    """Low bits that no weight has."""
    used = int(np.bitwise_or.reduce(np.abs(kernels), axis=None)) | 1 << WEIGHT_BITS
    return (used & -used).bit_length() - 1


def decode_image_coding(payload: bytes) -> ImageCoding:
    """Inverse of ``ImageCoding.content``.

    Raises
    ------
    FormatError
    """
    content = zstd_decompress(payload, limit=_MAX_CONTENT, where=_WHERE)
    if len(content) < _F64.size:
        raise TruncatedError(f"{_WHERE}: it has {len(content)} bytes")
    (psnr_db,) = _F64.unpack_from(content)
    if not psnr_db >= 0:
        raise CorruptError(f"{_WHERE}: a measured PSNR of {psnr_db} dB")
    position = _F64.size

    def number() -> int:
        nonlocal position
        value, position = decode_varint(content, position, _WHERE)
        return value

    coder, background, n_symbols, has_kernels = (number() for _ in range(4))
    if n_symbols > 256 or has_kernels > 1:
        raise CorruptError(f"{_WHERE}: {n_symbols} symbols; at most 256 are allowed")
    values = np.frombuffer(content[position : position + n_symbols], np.uint8)
    position += n_symbols
    kernels = None
    if has_kernels:
        shift = number()
        if shift > WEIGHT_BITS:
            raise CorruptError(f"{_WHERE}: weights shifted by {shift}; at most {WEIGHT_BITS} is allowed")
        folded = [number() for _ in range(min(n_symbols, MAX_LEVELS) * N_TAPS)]
        if max(folded, default=0) > 2 * MAX_WEIGHT:
            raise CorruptError(f"{_WHERE}: a weight of {max(folded)}; at most {2 * MAX_WEIGHT} is allowed")
        weights = [each >> 1 if each % 2 == 0 else -(each + 1 >> 1) for each in folded]
        kernels = np.array(weights, np.int32).reshape(-1, N_TAPS) << shift
    if position != len(content):
        raise CorruptError(f"{_WHERE}: {len(content) - position} bytes follow its last number, or are missing")
    return ImageCoding(coder, background, values, kernels, psnr_db)
