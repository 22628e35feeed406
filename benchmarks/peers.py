"""Peer codecs, each really encoding to bytes and really decoding them again.

A lead peer codes one lead under a target; a record peer codes all leads of a record without loss. Both give the blobs
and the integers decoded from the blobs, so sizes and errors never come from an estimate.
"""

from __future__ import annotations

import bz2
import functools
import io
import lzma
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dwt_zstd
import numpy as np
import soundfile
import zfpy
import zstandard
from pysz import sz, szConfig, szErrorBoundMode
from quality import IntArray, Target, coarsest_setting

PEER_PACKAGES = ("numpy", "PyWavelets", "zstandard", "pysz", "zfpy", "soundfile", "wfdb")
FLAC_MAX_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class LeadPeer:
    """A lossy codec of one lead: ``encode(x, target) -> bytes`` and ``decode(blob, n_samples) -> integers``."""

    name: str
    encode: Callable[[IntArray, Target], bytes]
    decode: Callable[[bytes, int], IntArray]


@dataclass(frozen=True, slots=True)
class RecordPeer:
    """A lossless codec of all leads of a record, which may use several blobs; ``decode`` gives the leads."""

    name: str
    encode: Callable[[Sequence[IntArray], int], list[bytes]]
    decode: Callable[[list[bytes], Sequence[int]], list[IntArray]]


@dataclass(frozen=True, slots=True)
class Coded:
    n_bytes: int
    decoded: tuple[IntArray, ...]
    encode_s: float
    decode_s: float


def code_lead(peer: LeadPeer, x: IntArray, target: Target) -> Coded:
    """Encode, decode and check one lead.

    Raises
    ------
    ValueError
        The target cannot be met, or the decoded integers miss it.
    """
    start = time.perf_counter()
    blob = peer.encode(x, target)
    encoded = time.perf_counter()
    decoded = peer.decode(blob, len(x))
    finished = time.perf_counter()
    error = target.error(x, decoded)
    if error > target.value:
        raise ValueError(f"{peer.name}: {target.kind} is {error}; the target is {target.value:g}")
    return Coded(len(blob), (decoded,), encoded - start, finished - encoded)


def code_record(peer: RecordPeer, leads: Sequence[IntArray], *, sampling_rate_hz: int) -> Coded:
    """Encode, decode and compare all leads of one record.

    Raises
    ------
    ValueError
        A lead did not come back exactly.
    """
    start = time.perf_counter()
    blobs = peer.encode(leads, sampling_rate_hz)
    encoded = time.perf_counter()
    decoded = peer.decode(blobs, [len(x) for x in leads])
    finished = time.perf_counter()
    for index, (x, y) in enumerate(zip(leads, decoded, strict=True)):
        if not np.array_equal(x, y):
            raise ValueError(f"{peer.name}: lead {index} did not come back exactly")
    return Coded(sum(map(len, blobs)), tuple(decoded), encoded - start, finished - encoded)


def _encode_sz3_at(x: IntArray, bound: float) -> bytes:
    config = szConfig()
    config.errorBoundMode = szErrorBoundMode.ABS
    config.absErrorBound = bound
    compressed, _ratio = sz.compress(x.astype(np.float32), config)
    return compressed.tobytes()


def _encode_sz3_plain(x: IntArray, target: Target) -> bytes:
    """SZ3 with its absolute bound at the bound asked for, as its users set it.

    Raises
    ------
    ValueError
        The target is no bound on the error.
    """
    if target.kind != "max_error":
        raise ValueError(f"the plain bound of SZ3 promises no {target.kind}")
    return _encode_sz3_at(x, target.value)


def _decode_sz3(blob: bytes, n_samples: int) -> IntArray:
    values, _config = sz.decompress(np.frombuffer(blob, dtype=np.uint8), np.float32, (n_samples,))
    return np.rint(values).astype(np.int64)


def _encode_sz3(x: IntArray, target: Target) -> bytes:
    if target.kind == "max_error":
        # an integer at most e + 0.5 away rounds to one at most e away: the bound promised for the integers is kept
        for bound in (target.value + 0.499, target.value + 0.49, target.value):
            blob = _encode_sz3_at(x, bound)
            if target.error(x, _decode_sz3(blob, len(x))) <= target.value:
                return blob
        raise ValueError(f"SZ3 misses the bound {target.value:g}")

    def error_at(bound: float) -> float:
        return target.error(x, _decode_sz3(_encode_sz3_at(x, bound), len(x)))

    return _encode_sz3_at(x, coarsest_setting(error_at, target=target, start=2 * target.allowed_rmse(x)))


def _encode_zfp(x: IntArray, target: Target) -> bytes:
    """ZFP acts on the power of two below its tolerance, so all its settings are tried from the coarsest down."""
    values = x.astype(np.float32)
    for exponent in range(17, -8, -1):
        blob: bytes = zfpy.compress_numpy(values, tolerance=2.0**exponent)
        if target.error(x, _decode_zfp(blob, len(x))) <= target.value:
            return blob
    raise ValueError(f"ZFP misses {target.kind} {target.value:g} at the tolerance 2^-7")


def _decode_zfp(blob: bytes, _n_samples: int) -> IntArray:
    return np.rint(zfpy.decompress_numpy(blob)).astype(np.int64)


DWT_ZSTD = LeadPeer("dwt_zstd", dwt_zstd.encode, lambda blob, _n_samples: dwt_zstd.decode(blob))
DWT_ZSTD_JOINED = LeadPeer(
    "dwt_zstd_joined",
    functools.partial(dwt_zstd.encode, allow_joined=True),
    lambda blob, _n_samples: dwt_zstd.decode(blob),
)
SZ3 = LeadPeer("sz3", _encode_sz3, _decode_sz3)
SZ3_PLAIN = LeadPeer("sz3 at e", _encode_sz3_plain, _decode_sz3)
ZFP = LeadPeer("zfp", _encode_zfp, _decode_zfp)
LEAD_PEERS = (DWT_ZSTD, DWT_ZSTD_JOINED, SZ3, ZFP)
BOUND_PEERS = (*LEAD_PEERS, SZ3_PLAIN)


def planar_bytes(leads: Sequence[IntArray]) -> bytes:
    """All leads one after the other as little-endian int16, or int32 where int16 does not hold the values."""
    return b"".join(x.astype("<i2" if _fit(leads, n_bits=16) else "<i4").tobytes() for x in leads)


def _fit(leads: Sequence[IntArray], *, n_bits: int) -> bool:
    bound = 1 << (n_bits - 1)
    return all(x.min() >= -bound and x.max() < bound for x in leads)


def _split_planar(content: bytes, lengths: Sequence[int]) -> list[IntArray]:
    item_bytes = len(content) // sum(lengths)
    values = np.frombuffer(content, dtype=f"<i{item_bytes}").astype(np.int64)
    return np.split(values, np.cumsum(lengths)[:-1])


def _planar_peer(name: str, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> RecordPeer:
    return RecordPeer(
        name,
        lambda leads, _rate: [compress(planar_bytes(leads))],
        lambda blobs, lengths: _split_planar(decompress(blobs[0]), lengths),
    )


def _flac_stream(samples: IntArray, sampling_rate_hz: int, *, depth_bits: int) -> bytes:
    """One FLAC -8 stream of samples, shape ``(n_samples, n_channels)``, through libFLAC as libsndfile carries it."""
    stream = io.BytesIO()
    # libsndfile takes the upper bits of the integers it is given, and level 8 is its compression level 1
    aligned = samples.astype(np.int16) if depth_bits == 16 else samples.astype(np.int32) << 8
    soundfile.write(
        stream, aligned, sampling_rate_hz, format="FLAC", subtype=f"PCM_{depth_bits}", compression_level=1.0
    )
    return stream.getvalue()


def _encode_flac(
    leads: Sequence[IntArray], sampling_rate_hz: int, *, widths: Sequence[int] = (1, 2, FLAC_MAX_CHANNELS)
) -> list[bytes]:
    """Best of each lead alone, neighbouring leads as stereo, and all leads in streams of up to eight channels.

    Each lead's mean is subtracted, and charged with four bytes ahead of the streams (two where it fits them).

    Raises
    ------
    ValueError
        The values need more than the 24 bits that FLAC carries in common tools.
    """
    means = [int(np.rint(x.mean())) for x in leads]
    centred = [x - mean for x, mean in zip(leads, means, strict=True)]
    if not _fit(centred, n_bits=24):
        raise ValueError(
            f"values reach {max(int(np.abs(x).max()) for x in centred)} about the mean; FLAC takes 24 bits"
        )
    depth_bits = 16 if _fit(centred, n_bits=16) else 24
    layouts: list[list[bytes]] = []
    for width in widths:
        groups = [centred[first : first + width] for first in range(0, len(centred), width)]
        if all(len({len(x) for x in group}) == 1 for group in groups):
            layouts.append(
                [_flac_stream(np.stack(group, axis=1), sampling_rate_hz, depth_bits=depth_bits) for group in groups]
            )
    best = min(layouts, key=lambda streams: sum(map(len, streams)))
    return [np.array(means, dtype="<i2" if _fit(leads, n_bits=16) else "<i4").tobytes(), *best]


def _decode_flac(blobs: list[bytes], lengths: Sequence[int]) -> list[IntArray]:
    means = np.frombuffer(blobs[0], dtype=f"<i{len(blobs[0]) // len(lengths)}").astype(np.int64)
    leads: list[IntArray] = []
    for blob in blobs[1:]:
        depth_bits = 16 if soundfile.info(io.BytesIO(blob)).subtype == "PCM_16" else 24
        samples, _rate = soundfile.read(
            io.BytesIO(blob), dtype="int16" if depth_bits == 16 else "int32", always_2d=True
        )
        leads += list(samples.T.astype(np.int64) >> (0 if depth_bits == 16 else 8))
    return [x + mean for x, mean in zip(leads, means, strict=True)]


FLAC = RecordPeer("flac -8", _encode_flac, _decode_flac)
FLAC_MONO = RecordPeer("flac -8 mono", functools.partial(_encode_flac, widths=(1,)), _decode_flac)
XZ = _planar_peer("xz -9", lambda content: lzma.compress(content, preset=9), lzma.decompress)
BZ2 = _planar_peer("bz2 -9", lambda content: bz2.compress(content, 9), bz2.decompress)
ZSTD = _planar_peer("zstd -19", zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress)
RECORD_PEERS = (FLAC, FLAC_MONO, XZ, BZ2, ZSTD)
