"""The HEADER section: what the recording is (docs/format.md, section "HEADER")."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from sancodec.codec.container import (
    MAX_CHUNKS,
    MAX_HEADER_BYTES,
    decode_varint,
    encode_varints,
    zstd_compress,
    zstd_decompress,
)
from sancodec.codec.recording import Channel, SideFile
from sancodec.errors import (
    CorruptError,
    InvalidSignalError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)

MAX_CHANNELS = 4096
MAX_FRAMES = 1 << 40
MAX_CHUNK_SAMPLES = 1 << 28
MAX_MODELS = 16
MAX_SIDE_FILES = 1024
MAX_PROMISES = 16
PROMISE_PRDN = 1
PROMISE_MAX_ERROR = 2
CODER_ZSTD = 0
CODER_CLASS = 1
CODER_MIXED = 2
CODERS = (CODER_ZSTD, CODER_CLASS, CODER_MIXED)
_ZSTD_LEVEL = 19
_MAX_TERM = 2**62 - 1
_SOURCE = re.compile(r"wfdb|edf|array(:[iu][1248]:[12])?")
_F64 = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Header:
    """Content of the HEADER section.

    Parameters
    ----------
    source
        Who restores the original files: ``"wfdb"``, ``"edf"`` or ``"array"``.
    chunk_frames
        Frames in every chunk but the last.
    promises
        Per channel, what it keeps: pairs of a kind and a value (PROMISE_PRDN: PRDN in percent at most this,
        PROMISE_MAX_ERROR: largest error in stored units at most this, 0 for an exact channel).
    model_digests
        SHA-256 of each bank in use.
    """

    source: str
    frame_rate_hz: Fraction
    n_frames: int
    chunk_frames: int
    channels: tuple[Channel, ...]
    level: int
    promises: tuple[tuple[tuple[int, float], ...], ...]
    model_digests: tuple[bytes, ...]
    side_files: tuple[SideFile, ...] = field(default=())

    @property
    def n_chunks(self) -> int:
        return -(-self.n_frames // self.chunk_frames)

    def chunk_length(self, chunk: int) -> int:
        """Frames in a chunk."""
        return min(self.chunk_frames, self.n_frames - chunk * self.chunk_frames)


def check_chunk_size(channels: tuple[Channel, ...], chunk_frames: int) -> None:
    """Refuse chunks that take too much memory to decode.

    Raises
    ------
    LimitExceededError
    """
    n_samples = sum(channel.samples_per_frame for channel in channels) * chunk_frames
    if n_samples > MAX_CHUNK_SAMPLES:
        raise LimitExceededError(f"header: {n_samples} samples in a chunk; at most {MAX_CHUNK_SAMPLES} are allowed")


def _signed(value: int) -> int:
    return -2 * value - 1 if value < 0 else 2 * value


def _unsigned(value: int) -> int:
    return -((value + 1) >> 1) if value & 1 else value >> 1


def _text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return encode_varints([len(content)]) + content


def encode_header(header: Header) -> bytes:
    """The HEADER payload: one zstd frame.

    Raises
    ------
    InvalidSignalError
        When a reader would refuse it.
    """
    if not _SOURCE.fullmatch(header.source):
        raise InvalidSignalError(f"source is {header.source!r}; it must be 'wfdb', 'edf' or 'array'")
    n_side_bytes = sum(len(side_file.content) for side_file in header.side_files)
    if len(header.side_files) > MAX_SIDE_FILES or n_side_bytes > MAX_HEADER_BYTES // 2:
        raise InvalidSignalError(
            f"{len(header.side_files)} side files of {n_side_bytes} bytes; "
            f"at most {MAX_SIDE_FILES} and {MAX_HEADER_BYTES // 2} are allowed"
        )
    if any("\ud800" <= character <= "\udfff" for side_file in header.side_files for character in side_file.name):
        raise InvalidSignalError("a side file's name holds half a surrogate pair")
    parts = [
        _text(header.source),
        encode_varints(
            [header.frame_rate_hz.numerator, header.frame_rate_hz.denominator, header.n_frames, header.chunk_frames]
        ),
        encode_varints([header.level]),
        encode_varints([len(header.model_digests)]),
        *header.model_digests,
        encode_varints([len(header.channels)]),
    ]
    for channel, promises in zip(header.channels, header.promises, strict=True):
        parts += [
            _text(channel.name),
            _text(channel.unit),
            _F64.pack(channel.gain),
            encode_varints([_signed(channel.baseline), channel.resolution_bits, channel.samples_per_frame]),
            encode_varints([_signed(channel.minimum), _signed(channel.maximum)]),
            encode_varints([0] if channel.invalid is None else [1, _signed(channel.invalid)]),
            encode_varints([channel.max_difference or 0]),
            encode_varints([len(promises)]),
            *(encode_varints([kind]) + _F64.pack(value) for kind, value in promises),
        ]
    parts.append(encode_varints([len(header.side_files)]))
    for side_file in header.side_files:
        parts += [_text(side_file.name), _text(side_file.content)]
    return zstd_compress(b"".join(parts), _ZSTD_LEVEL)


class _Fields:
    """Reads the header's fields one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def number(self, what: str, low: int, high: int) -> int:
        value, self._position = decode_varint(self._content, self._position, f"header, {what}")
        if not low <= value <= high:
            raise LimitExceededError(f"header, {what}: {value}; {low} to {high} is allowed")
        return value

    def signed(self, what: str) -> int:
        return _unsigned(self.number(what, 0, 2**32 - 1))

    def bytes(self, what: str, count: int) -> bytes:
        if self._position + count > len(self._content):
            raise TruncatedError(
                f"header, {what}: {count} bytes are promised, {len(self._content) - self._position} are left"
            )
        self._position += count
        return self._content[self._position - count : self._position]

    def text(self, what: str) -> str:
        try:
            return self.bytes(what, self.number(what, 0, MAX_HEADER_BYTES)).decode()
        except UnicodeDecodeError:
            raise CorruptError(f"header, {what}: it is not UTF-8") from None

    def real(self, what: str) -> float:
        value = float(_F64.unpack(self.bytes(what, _F64.size))[0])
        if not np.isfinite(value):
            raise CorruptError(f"header, {what}: {value}; a finite number is needed")
        return value

    def finish(self) -> None:
        if self._position != len(self._content):
            raise CorruptError(f"header: {len(self._content) - self._position} bytes follow its last field")


def decode_header(payload: bytes) -> Header:
    """Inverse of ``encode_header``.

    Raises
    ------
    FormatError
        Naming the field and the values allowed.
    """
    fields = _Fields(zstd_decompress(payload, limit=MAX_HEADER_BYTES, where="section HEADER"))
    source = fields.text("source")
    if not _SOURCE.fullmatch(source):
        raise UnsupportedVersionError(f"header, source: {source!r}; this release knows 'wfdb', 'edf' and 'array'")
    numerator = fields.number("sampling rate", 1, _MAX_TERM)
    rate = Fraction(numerator, fields.number("sampling rate denominator", 1, _MAX_TERM))
    n_frames = fields.number("frames", 1, MAX_FRAMES)
    chunk_frames = fields.number("frames per chunk", 1, MAX_FRAMES)
    if -(-n_frames // chunk_frames) > MAX_CHUNKS:
        raise LimitExceededError(f"header: {-(-n_frames // chunk_frames)} chunks; at most {MAX_CHUNKS} are allowed")
    level = fields.number("level", 1, 9)
    digests = tuple(fields.bytes("model", 32) for _ in range(fields.number("models", 0, MAX_MODELS)))
    if len(set(digests)) < len(digests):
        raise CorruptError("header: a model is named twice")
    described = [_decode_channel(fields, index) for index in range(fields.number("channels", 1, MAX_CHANNELS))]
    channels = tuple(channel for channel, _ in described)
    check_chunk_size(channels, min(chunk_frames, n_frames))
    side_files = []
    for _ in range(fields.number("side files", 0, MAX_SIDE_FILES)):
        name = fields.text("side file")
        side_files.append(
            SideFile(name, fields.bytes(f"side file {name!r}", fields.number("side file", 0, MAX_HEADER_BYTES)))
        )
    fields.finish()
    promises = tuple(of_channel for _, of_channel in described)
    return Header(source, rate, n_frames, chunk_frames, channels, level, promises, digests, tuple(side_files))


def _decode_channel(fields: _Fields, index: int) -> tuple[Channel, tuple[tuple[int, float], ...]]:
    where = f"channel {index}"
    name, unit = fields.text(f"{where}, name"), fields.text(f"{where}, unit")
    gain = fields.real(f"{where}, gain")
    baseline = fields.signed(f"{where}, baseline")
    resolution = fields.number(f"{where}, resolution", 1, 32)
    per_frame = fields.number(f"{where}, samples per frame", 1, 65535)
    minimum, maximum = fields.signed(f"{where}, minimum"), fields.signed(f"{where}, maximum")
    invalid = fields.signed(f"{where}, missing value") if fields.number(f"{where}, missing value", 0, 1) else None
    difference = fields.number(f"{where}, largest difference", 0, 2**32) or None
    promises = tuple(
        (fields.number(f"{where}, promise", 0, 2**32), fields.real(f"{where}, promise"))
        for _ in range(fields.number(f"{where}, promises", 0, MAX_PROMISES))
    )
    try:
        channel = Channel(name, unit, gain, baseline, resolution, minimum, maximum, invalid, per_frame, difference)
        return channel, promises
    except InvalidSignalError as error:
        raise CorruptError(f"header, {error}") from None
