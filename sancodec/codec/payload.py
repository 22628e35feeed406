"""The CHUNK payload: digest, event bit string, raw bits, and the coefficients of every channel (docs/format.md)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.class_coder import MAX_LANES
from sancodec.codec.container import decode_varint, encode_varints, zstd_compress, zstd_decompress
from sancodec.codec.event_mixing import MixedEvents, most_events
from sancodec.codec.event_stream import (
    NO_EXCEPTIONS,
    ChunkEvents,
    Exceptions,
    check_starts,
    read_events,
    read_exceptions,
    read_first_start,
    read_runs,
    read_starts,
    write_events,
    write_exceptions,
    write_first_start,
    write_runs,
    write_starts,
)
from sancodec.codec.rans import EncodedStream
from sancodec.codec.residual_stream import CodedResidual, ResidualStream
from sancodec.codec.residual_tables import ResidualTables
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError

_DIGEST = struct.Struct("<I")
_PLACE = struct.Struct("<II")
_FRAME_FOR_ALL, _FRAME_PER_CHANNEL, _FRAME_PER_BAND = 0, 1, 2


def digest_of(samples: list[NDArray[np.int32]], *, chunk: int, coding_crc: int) -> int:
    """CRC-32 of chunk number, CRC-32 of the CODING payload, and the decoded samples, channel after channel.

    The first two bind a chunk to its place and its file; all numbers are little-endian, samples int32.
    """
    crc = zlib.crc32(_PLACE.pack(chunk, coding_crc))
    for channel in samples:
        crc = zlib.crc32(np.ascontiguousarray(channel, "<i4").data, crc)
    return crc


@dataclass(frozen=True, slots=True)
class ChunkFields:
    """The parts of a chunk's payload, still encoded.

    Parameters
    ----------
    raw
        Bits of the coded channels and of residuals; of the mixing coder the events.
    coefficients
        What follows the raw bits; its form depends on the coder.
    residuals
        Of the channels with a residual layer; None where the segment has none.
    """

    digest: int
    events: bytes
    raw: bytes
    coefficients: bytes
    residuals: bytes | None = None


def join_fields(fields: ChunkFields) -> bytes:
    """The CHUNK payload."""
    lengths = [len(fields.events), len(fields.raw)]
    if fields.residuals is not None:
        lengths.append(len(fields.coefficients))
    return b"".join(
        [
            _DIGEST.pack(fields.digest),
            encode_varints(lengths),
            fields.events,
            fields.raw,
            fields.coefficients,
            fields.residuals or b"",
        ]
    )


def split_fields(payload: bytes, where: str, *, has_residuals: bool) -> ChunkFields:
    """Inverse of ``join_fields``.

    Raises
    ------
    FormatError
    """
    if len(payload) < _DIGEST.size:
        raise TruncatedError(f"{where}: {len(payload)} bytes are too few")
    (digest,) = _DIGEST.unpack_from(payload)
    position = _DIGEST.size
    lengths = []
    for _ in range(3 if has_residuals else 2):
        length, position = decode_varint(payload, position, where)
        lengths.append(length)
    if position + sum(lengths) > len(payload):
        raise TruncatedError(
            f"{where}: {' + '.join(map(str, lengths))} bytes of events, raw bits and coefficients are promised, "
            f"{len(payload) - position} are left"
        )
    ends = [position := position + length for length in lengths]
    events, raw = payload[ends[0] - lengths[0] : ends[0]], payload[ends[0] : ends[1]]
    if has_residuals:
        return ChunkFields(digest, events, raw, payload[ends[1] : ends[2]], payload[ends[2] :])
    return ChunkFields(digest, events, raw, payload[ends[1] :])


def encode_events(chunk: ChunkEvents, codings: list[ChannelCoding], kernel_lengths: list[int]) -> bytes:
    """Event bit string: starts per lead group with events; per channel missing runs, exceptions, gains, kernel ids."""
    writer = BitWriter()
    for starts, length in zip(chunk.starts, kernel_lengths, strict=True):
        if length:
            write_starts(writer, starts, length)
    for coding, events, runs, exceptions in zip(codings, chunk.events, chunk.runs, chunk.exceptions, strict=True):
        _write_marks(writer, coding, runs, exceptions)
        if coding.kernels.n_kernels:
            write_events(writer, events, coding.kernels.n_kernels)
    return writer.tobytes()


def encode_mixed_events(
    chunk: ChunkEvents, codings: list[ChannelCoding], kernel_lengths: list[int], group_lengths: list[int]
) -> tuple[bytes, bytes]:
    """The same with the mixing coder: the bit string, and the events coded."""
    writer = BitWriter()
    for starts, length in zip(chunk.starts, kernel_lengths, strict=True):
        if length:
            write_first_start(writer, starts, length)
    for coding, runs, exceptions in zip(codings, chunk.runs, chunk.exceptions, strict=True):
        _write_marks(writer, coding, runs, exceptions)
    return writer.tobytes(), mixed_events(chunk, codings, group_lengths).run() if any(kernel_lengths) else b""


def mixed_events(chunk: ChunkEvents, codings: list[ChannelCoding], group_lengths: list[int]) -> MixedEvents:
    """Events of a chunk as the mixing coder takes them; ``group_lengths`` are samples of each lead group."""
    used = [index for index, coding in enumerate(codings) if coding.kernels.n_kernels]
    channels = [(codings[index].lead_group, codings[index].kernels.n_kernels) for index in used]
    return MixedEvents.of(chunk.starts, group_lengths, channels, [chunk.events[index] for index in used])


def _write_marks(writer: BitWriter, coding: ChannelCoding, runs: NDArray[np.int64], exceptions: Exceptions) -> None:
    write_runs(writer, runs)
    if coding.lattice is not None:
        write_exceptions(writer, exceptions)


def decode_events(
    content: bytes,
    mixed: bytes | None,
    codings: list[ChannelCoding],
    kernel_lengths: list[int],
    group_lengths: list[int],
    n_samples: list[int],
    where: str,
) -> ChunkEvents:
    """Inverse of ``encode_events``, or of ``encode_mixed_events`` where there is something ``mixed``.

    Parameters
    ----------
    group_lengths, n_samples
        Samples in this chunk of each lead group and of each channel.

    Raises
    ------
    FormatError
    """
    reader = BitReader.from_bytes(content, where)
    most = 0 if mixed is None else most_events(mixed)
    starts = [
        np.zeros(0, np.int64)
        if not length
        else read_starts(reader, length, group_length)
        if mixed is None
        else read_first_start(reader, length, group_length, most)
        for length, group_length in zip(kernel_lengths, group_lengths, strict=True)
    ]
    n_gains = sum(len(starts[coding.lead_group]) for coding in codings if coding.kernels.n_kernels)
    if mixed is not None and n_gains > most:
        raise CorruptError(f"{where}: {n_gains} gains in a stream that is too short for them")
    events, runs, exceptions = [], [], []
    for coding, length in zip(codings, n_samples, strict=True):
        runs.append(read_runs(reader, length))
        exceptions.append(NO_EXCEPTIONS if coding.lattice is None else read_exceptions(reader, length))
        n_events = len(starts[coding.lead_group]) if coding.kernels.n_kernels else 0
        n_kernels = coding.kernels.n_kernels
        events.append(read_events(reader, n_events, n_kernels) if mixed is None else Events.none(n_events))
    reader.finish()
    chunk = ChunkEvents(starts, events, runs, exceptions)
    return chunk if mixed is None else _with_mixed(chunk, mixed, codings, kernel_lengths, group_lengths, where)


def _with_mixed(
    chunk: ChunkEvents,
    mixed: bytes,
    codings: list[ChannelCoding],
    kernel_lengths: list[int],
    group_lengths: list[int],
    where: str,
) -> ChunkEvents:
    if not any(kernel_lengths):
        if mixed:
            raise CorruptError(f"{where}: it has events, but no channel has beat kernels")
        return chunk
    coded = mixed_events(chunk, codings, group_lengths)
    coded.run(mixed)
    starts = coded.starts_of_groups()
    for each, kernel_length, length in zip(starts, kernel_lengths, group_lengths, strict=True):
        check_starts(each, kernel_length, length)
    decoded = iter(coded.events_of_channels())
    events = [
        next(decoded) if coding.kernels.n_kernels else each for coding, each in zip(codings, chunk.events, strict=True)
    ]
    return replace(chunk, starts=starts, events=events)


def encode_class_coefficients(streams: list[EncodedStream]) -> bytes:
    """Per coded channel: lanes, words, then the states and words themselves."""
    parts = []
    for stream in streams:
        parts.append(encode_varints([len(stream.states), len(stream.words)]))
        parts.append(stream.states.astype("<u4").tobytes())
        parts.append(stream.words.astype("<u2").tobytes())
    return b"".join(parts)


def decode_class_coefficients(content: bytes, n_streams: int, where: str) -> list[EncodedStream]:
    """Inverse of ``encode_class_coefficients``.

    Raises
    ------
    FormatError
    """
    position, streams = 0, []
    for _ in range(n_streams):
        n_lanes, position = decode_varint(content, position, where)
        n_words, position = decode_varint(content, position, where)
        if n_lanes > MAX_LANES:
            raise LimitExceededError(f"{where}: {n_lanes} lanes; at most {MAX_LANES} are allowed")
        if position + 4 * n_lanes + 2 * n_words > len(content):
            raise TruncatedError(f"{where}: {n_words} words are promised, {len(content) - position} bytes are left")
        states = np.frombuffer(content, "<u4", n_lanes, position)
        words = np.frombuffer(content, "<u2", n_words, position + 4 * n_lanes)
        streams.append(EncodedStream(states, words))
        position += 4 * n_lanes + 2 * n_words
    if position != len(content):
        raise CorruptError(f"{where}: {len(content) - position} bytes follow the last stream")
    return streams


def encode_zstd_coefficients(tokens: list[list[bytes]], level: int) -> bytes:
    """Tokens ``[channel][band]`` in one frame, one per channel or one per band, whichever is smallest."""
    layouts = {_FRAME_FOR_ALL: [b"".join(b"".join(bands) for bands in tokens)]}
    if len(tokens) > 1:
        layouts[_FRAME_PER_CHANNEL] = [b"".join(bands) for bands in tokens]
    if level >= 10:
        layouts[_FRAME_PER_BAND] = [band for bands in tokens for band in bands]
    return _smallest_layout(layouts, level)


def encode_zstd_residuals(contents: list[bytes], level: int) -> bytes:
    """Contents of all channels with a residual layer in one frame, or one per channel, whichever is smaller."""
    layouts = {_FRAME_FOR_ALL: [b"".join(contents)]}
    if len(contents) > 1:
        layouts[_FRAME_PER_CHANNEL] = contents
    return _smallest_layout(layouts, level)


def decode_zstd_residuals(content: bytes, n_channels: int, limit: int, where: str) -> bytes:
    """The contents of all channels, joined.

    Raises
    ------
    FormatError
    """
    _, pieces = _read_frames(content, {_FRAME_FOR_ALL: 1, _FRAME_PER_CHANNEL: n_channels}, limit, where)
    return b"".join(pieces)


def encode_class_residuals(streams: list[ResidualStream], level: int) -> bytes:
    """Classes of all channels in one frame, then the lanes of each channel."""
    frame = zstd_compress(b"".join(stream.classes.tobytes() for stream in streams), level)
    return encode_varints([len(frame)]) + frame + encode_class_coefficients([stream.stream for stream in streams])


def decode_class_residuals(
    content: bytes, n_samples: list[int], tables: ResidualTables, where: str
) -> list[CodedResidual]:
    """Inverse of ``encode_class_residuals``.

    Parameters
    ----------
    n_samples
        In this chunk, of each channel with a residual layer.

    Raises
    ------
    FormatError
    """
    length, position = decode_varint(content, 0, where)
    if position + length > len(content):
        raise TruncatedError(
            f"{where}: {length} bytes of block classes are promised, {len(content) - position} are left"
        )
    counts = [-(-count // tables.block) for count in n_samples]
    frame = content[position : position + length]
    classes = np.frombuffer(zstd_decompress(frame, limit=sum(counts), where=where), np.uint8)
    if len(classes) != sum(counts) or classes.max() > len(tables.shifts):
        raise CorruptError(
            f"{where}: {len(classes)} block classes up to {classes.max()}; "
            f"{sum(counts)} up to {len(tables.shifts)} are expected"
        )
    streams = decode_class_coefficients(content[position + length :], len(n_samples), where)
    parts = np.split(classes, np.cumsum(counts)[:-1])
    return [CodedResidual(*each) for each in zip(parts, streams, n_samples, strict=True)]


def _smallest_layout(layouts: dict[int, list[bytes]], level: int) -> bytes:
    encoded = {}
    for layout, pieces in layouts.items():
        frames = [zstd_compress(piece, level) for piece in pieces]
        encoded[layout] = bytes([layout]) + b"".join(encode_varints([len(frame)]) + frame for frame in frames)
    return min(encoded.values(), key=len)


def decode_zstd_coefficients(content: bytes, band_counts: list[int], limit: int, where: str) -> list[NDArray[np.uint8]]:
    """Tokens of each channel.

    Parameters
    ----------
    band_counts
        Bands of each coded channel.
    limit
        Bytes of tokens that this chunk can hold at most.

    Raises
    ------
    FormatError
    """
    frame_counts = {_FRAME_FOR_ALL: 1, _FRAME_PER_CHANNEL: len(band_counts), _FRAME_PER_BAND: sum(band_counts)}
    layout, pieces = _read_frames(content, frame_counts, limit, where)
    expected = {_FRAME_FOR_ALL: [sum(band_counts)], _FRAME_PER_CHANNEL: band_counts}.get(layout, [1] * len(pieces))
    for piece, n_bands in zip(pieces, expected, strict=True):
        if piece.count(0) != n_bands or piece[-1] != 0:
            raise CorruptError(
                f"{where}: a zstd frame holds the tokens of {piece.count(0)} bands; {n_bands} are expected"
            )
    tokens = np.frombuffer(b"".join(pieces), np.uint8)
    last_bands = np.cumsum(band_counts) - 1
    return list(np.split(tokens, np.flatnonzero(tokens == 0)[last_bands][:-1] + 1))


def _read_frames(content: bytes, frame_counts: dict[int, int], limit: int, where: str) -> tuple[int, list[bytes]]:
    """The layout, and the contents of its zstd frames: as many as ``frame_counts`` says, ``limit`` bytes at most."""
    if not content:
        raise TruncatedError(f"{where}: its zstd frames are missing")
    layout = content[0]
    if layout not in frame_counts:
        raise CorruptError(f"{where}: layout {layout} of its zstd frames; 0 to {max(frame_counts)} is allowed")
    position, pieces, total = 1, [], 0
    for _ in range(frame_counts[layout]):
        length, position = decode_varint(content, position, where)
        if position + length > len(content):
            raise TruncatedError(
                f"{where}: a zstd frame of {length} bytes is promised, {len(content) - position} are left"
            )
        pieces.append(zstd_decompress(content[position : position + length], limit=limit, where=where))
        total += len(pieces[-1])
        position += length
        if total > limit:
            raise LimitExceededError(f"{where}: more than {limit} bytes in its zstd frames")
    if position != len(content):
        raise CorruptError(f"{where}: {len(content) - position} bytes follow the last zstd frame")
    return layout, pieces
