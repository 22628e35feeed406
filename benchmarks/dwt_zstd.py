"""The yardstick: 9/7 wavelet transform, one step for the lead, zstd -19 frames per band (design.md section 9).

A lead is coded as

    header (12 bytes) | band 0 (approximation) | band 1 (coarsest detail) | ... | band 7 (finest detail)

The header is mean (int16), step (float32), number of samples (uint32) and two bits per band:
0 all zero, no bytes follow; 1 zigzag bytes; 2 run/level tokens. Frames are magicless, without content size, checksum
and dictionary id; they end by themselves, so no lengths are stored.

Zigzag bytes: one byte per coefficient, 255 meaning "255 or more"; after them the excess of those over 255 in byte
planes.

Tokens: ``(zero run <= 14) << 4 | bit size of |q|``. A longer run is a token of size 0 whose high nibble is the bit
length of ``run - 14``. Sign, mantissa bits below the leading one and run bits below the leading one follow the frame,
packed raw. Zeros after the last token are not coded.

Where ``allow_joined`` is given, which the specification of the yardstick does not have, the bands may also share one
run of tokens and one frame, marked by a layout field of 3: on ten-second leads eight frames cost a tenth of the bytes.
"""

from __future__ import annotations

import struct

import numpy as np
import pywt
import zstandard
from numpy.typing import NDArray
from quality import IntArray, Target, coarsest_setting

WAVELET = pywt.Wavelet("bior4.4")
MODE = "periodization"
MAX_LEVELS = 7
ROUNDING = 0.35
RECONSTRUCTION_OFFSET = 0.03
HEADER = struct.Struct("<hfIH")

EMPTY, ZIGZAG, TOKENS = 0, 1, 2
JOINED = 3
LONGEST_SHORT_RUN = 14
LONGEST_RUN = LONGEST_SHORT_RUN + 2**15 - 1

FloatArray = NDArray[np.float64]


def band_lengths(n_samples: int) -> list[int]:
    """Coefficients per band, approximation first; periodization halves each level, rounding up."""
    lengths: list[int] = []
    remaining = n_samples
    for _ in range(min(MAX_LEVELS, pywt.dwt_max_level(n_samples, WAVELET))):
        remaining = (remaining + 1) // 2
        lengths.append(remaining)
    return [remaining, *reversed(lengths)]


def analyse(x: IntArray) -> tuple[int, FloatArray]:
    """Return the mean that is stored and the coefficients, approximation first, shape ``(n_coefficients,)``."""
    mean = int(np.clip(np.rint(x.mean()), -(2**15), 2**15 - 1))
    bands = pywt.wavedec((x - mean).astype(np.float64), WAVELET, mode=MODE, level=len(band_lengths(len(x))) - 1)
    return mean, np.concatenate(bands)


def quantise(coefficients: FloatArray, *, step: float) -> IntArray:
    magnitudes = np.floor(np.abs(coefficients) / step + ROUNDING).astype(np.int64)
    return np.where(coefficients < 0, -magnitudes, magnitudes)


def synthesise(q: IntArray, *, step: float, mean: int, n_samples: int) -> IntArray:
    """Return the decoded integers, shape ``(n_samples,)``."""
    values = (q - RECONSTRUCTION_OFFSET * np.sign(q)) * step
    bands = np.split(values, np.cumsum(band_lengths(n_samples))[:-1])
    return np.rint(pywt.waverec(bands, WAVELET, mode=MODE)[:n_samples]).astype(np.int64) + mean


def _zstd_frame(content: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(content),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def _read_zstd_frame(data: bytes) -> tuple[bytes, bytes]:
    """Return the content of the frame that ``data`` begins with, and what follows the frame."""
    reader = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS).decompressobj()
    content = reader.decompress(data)
    if not reader.eof:
        raise ValueError(f"zstd frame does not end within the {len(data)} bytes that are left")
    return content, reader.unused_data


def encode_zigzag(q: IntArray) -> bytes:
    zigzag = 2 * np.abs(q) - (q < 0)
    excess = zigzag[zigzag >= 255] - 255
    n_planes = (int(excess.max(initial=0)).bit_length() + 7) // 8 or 1
    planes = [(excess >> (8 * plane)).astype(np.uint8).tobytes() for plane in range(n_planes)]
    return _zstd_frame(np.minimum(zigzag, 255).astype(np.uint8).tobytes() + b"".join(planes))


def decode_zigzag(data: bytes, *, length: int) -> tuple[IntArray, bytes]:
    content, rest = _read_zstd_frame(data)
    symbols = np.frombuffer(content, dtype=np.uint8)
    zigzag = symbols[:length].astype(np.int64)
    escaped = np.flatnonzero(zigzag == 255)
    if len(escaped):
        planes = symbols[length:].reshape(-1, len(escaped)).astype(np.int64)
        zigzag[escaped] += (planes << (8 * np.arange(len(planes)))[:, np.newaxis]).sum(axis=0)
    return np.where(zigzag & 1, -((zigzag + 1) >> 1), zigzag >> 1), rest


def _bit_size(values: IntArray) -> IntArray:
    """Position of the leading one, counted from 1; 0 for 0. Exact below 2^53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _pack_bits(codes: IntArray, n_bits: IntArray) -> bytes:
    owner = np.repeat(np.arange(len(codes)), n_bits)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(n_bits) - n_bits, n_bits)
    bits = (codes[owner] >> (n_bits[owner] - 1 - place)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def _unpack_bits(data: bytes, n_bits: IntArray) -> tuple[IntArray, int]:
    """Return one code per entry of ``n_bits`` and how many bytes they took."""
    n_bytes = (int(n_bits.sum()) + 7) // 8
    if n_bytes > len(data):
        raise ValueError(f"raw bits take {n_bytes} bytes; {len(data)} are left")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8, count=n_bytes)).astype(np.int64)
    ends = np.cumsum(n_bits)
    codes = np.zeros(len(n_bits), dtype=np.int64)
    for place in range(int(n_bits.max(initial=0))):
        has = n_bits > place
        codes[has] |= bits[ends[has] - 1 - place] << place
    return codes, n_bytes


def encode_tokens(q: IntArray) -> bytes | None:
    """Return the tokens' frame and the raw bits, or None where a value is beyond the 15 bits of a token."""
    positions = np.flatnonzero(q)
    runs = np.diff(positions, prepend=-1) - 1
    values = q[positions]
    sizes = _bit_size(np.abs(values))
    if sizes.max(initial=0) > 15:
        return None
    n_full, short_runs = np.divmod(runs, LONGEST_RUN)
    is_long = short_runs > LONGEST_SHORT_RUN
    level_place = np.arange(len(values)) + np.cumsum(n_full + is_long)
    run_place = level_place[is_long] - 1
    # every place that is neither a level nor the end of a long run is a run token of the longest kind
    n_tokens = len(values) + int((n_full + is_long).sum())
    tokens = np.full(n_tokens, 15 << 4, dtype=np.int64)
    codes = np.full(n_tokens, 2**14 - 1, dtype=np.int64)
    n_bits = np.full(n_tokens, 14, dtype=np.int64)

    tokens[level_place] = np.where(is_long, 0, short_runs) << 4 | sizes
    mantissas = np.abs(values) - (1 << (sizes - 1))
    codes[level_place] = (values < 0) << (sizes - 1) | mantissas
    n_bits[level_place] = sizes

    excess = short_runs[is_long] - LONGEST_SHORT_RUN
    excess_sizes = _bit_size(excess)
    tokens[run_place] = excess_sizes << 4
    codes[run_place] = excess - (1 << (excess_sizes - 1))
    n_bits[run_place] = excess_sizes - 1
    return _zstd_frame(tokens.astype(np.uint8).tobytes()) + _pack_bits(codes, n_bits)


def decode_tokens(data: bytes, *, length: int) -> tuple[IntArray, bytes]:
    content, rest = _read_zstd_frame(data)
    tokens = np.frombuffer(content, dtype=np.uint8).astype(np.int64)
    high, sizes = tokens >> 4, tokens & 15
    is_level = sizes > 0
    codes, n_bytes = _unpack_bits(rest, np.where(is_level, sizes, high - 1))
    runs = np.where(is_level, high, LONGEST_SHORT_RUN + codes + (1 << np.maximum(high - 1, 0)))
    ends = np.cumsum(runs + is_level)
    leading = 1 << (sizes[is_level] - 1)
    magnitudes = leading + (codes[is_level] & (leading - 1))
    q = np.zeros(length, dtype=np.int64)
    q[ends[is_level] - 1] = np.where(codes[is_level] & leading, -magnitudes, magnitudes)
    return q, rest[n_bytes:]


def encode_at_step(
    x: IntArray, *, step: float, mean: int, coefficients: FloatArray, allow_joined: bool = False
) -> bytes:
    q = quantise(coefficients, step=step)
    layouts = 0
    payload = b""
    for index, band in enumerate(np.split(q, np.cumsum(band_lengths(len(x)))[:-1])):
        if not band.any():
            continue
        layout, coded = ZIGZAG, encode_zigzag(band)
        tokens = encode_tokens(band)
        if tokens is not None and len(tokens) < len(coded):
            layout, coded = TOKENS, tokens
        layouts |= layout << (2 * index)
        payload += coded
    if allow_joined:
        joined = encode_tokens(q)
        if joined is not None and len(joined) < len(payload):
            layouts, payload = JOINED, joined
    return HEADER.pack(mean, step, len(x), layouts) + payload


def encode(x: IntArray, target: Target, *, allow_joined: bool = False) -> bytes:
    """Code one lead with the largest step whose decoded integers keep the target."""
    mean, coefficients = analyse(x)

    def error_at(step: float) -> float:
        step = float(np.float32(step))
        q = quantise(coefficients, step=step)
        return target.error(x, synthesise(q, step=step, mean=mean, n_samples=len(x)))

    step = float(np.float32(coarsest_setting(error_at, target=target, start=2.6 * target.allowed_rmse(x))))
    return encode_at_step(x, step=step, mean=mean, coefficients=coefficients, allow_joined=allow_joined)


def decode(blob: bytes) -> IntArray:
    mean, step, n_samples, layouts = HEADER.unpack_from(blob)
    rest = blob[HEADER.size :]
    lengths = band_lengths(n_samples)
    bands: list[IntArray] = []
    if layouts == JOINED:
        lengths = [sum(lengths)]
        layouts = TOKENS
    for index, length in enumerate(lengths):
        layout = layouts >> (2 * index) & 3
        if layout == EMPTY:
            band = np.zeros(length, dtype=np.int64)
        elif layout == ZIGZAG:
            band, rest = decode_zigzag(rest, length=length)
        else:
            band, rest = decode_tokens(rest, length=length)
        bands.append(band)
    if rest:
        raise ValueError(f"{len(rest)} bytes follow the last band; none are expected")
    return synthesise(np.concatenate(bands), step=step, mean=mean, n_samples=n_samples)
