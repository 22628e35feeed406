"""The HEADER and CODING sections: what the recording is, and how its channels are coded (docs/format.md)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from sancodec.codec.beats import FRACTION_BITS, BeatKernels
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.codec.container import (
    MAX_CHUNKS,
    MAX_HEADER_BYTES,
    decode_varint,
    encode_varints,
    zstd_compress,
    zstd_decompress,
)
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Step
from sancodec.codec.recording import Channel, SideFile
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)

MAX_CHANNELS = 4096
MAX_FRAMES = 1 << 40
MAX_CHUNK_SAMPLES = 1 << 28
MAX_MODELS = 16
MAX_BEAT_KERNELS = 64
MAX_BEAT_KERNEL_LENGTH = 8192
MAX_SIDE_FILES = 1024
MAX_PROMISES = 16
PROMISE_PRDN = 1
CODER_ZSTD = 0
CODER_CLASS = 1
_ZSTD_LEVEL = 19
_SOURCE = re.compile(r"wfdb|array(:[iu][1248]:[12])?")
_MIN_STEP_EXPONENT, _MAX_STEP_EXPONENT = -40, 32
_MAX_BEAT_EXPONENT = 20
_F64 = struct.Struct("<d")
_F32 = struct.Struct(">f")


@dataclass(frozen=True, slots=True)
class Header:
    """Content of the HEADER section.

    Parameters
    ----------
    source
        Who restores the original files: ``"wfdb"`` or ``"array"``.
    chunk_frames
        Frames in every chunk but the last.
    coder
        Id of the entropy coder of the coefficients.
    promises
        What every channel keeps: pairs of a kind (PROMISE_PRDN: PRDN in percent at most this) and a value.
    model_digests
        SHA-256 of each bank in use.
    """

    source: str
    frame_rate_hz: Fraction
    n_frames: int
    chunk_frames: int
    channels: tuple[Channel, ...]
    coder: int
    level: int
    promises: tuple[tuple[int, float], ...]
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
    """The HEADER payload: one zstd frame."""
    parts = [
        _text(header.source),
        encode_varints(
            [header.frame_rate_hz.numerator, header.frame_rate_hz.denominator, header.n_frames, header.chunk_frames]
        ),
        encode_varints([header.coder, header.level]),
        encode_varints([len(header.promises)]),
        *(encode_varints([kind]) + _F64.pack(value) for kind, value in header.promises),
        encode_varints([len(header.model_digests)]),
        *header.model_digests,
        encode_varints([len(header.channels)]),
    ]
    for channel in header.channels:
        parts += [
            _text(channel.name),
            _text(channel.unit),
            _F64.pack(channel.gain),
            encode_varints([_signed(channel.baseline), channel.resolution_bits, channel.samples_per_frame]),
            encode_varints([_signed(channel.minimum), _signed(channel.maximum)]),
            encode_varints([0] if channel.invalid is None else [1, _signed(channel.invalid)]),
            encode_varints([channel.max_difference or 0]),
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
        raise UnsupportedVersionError(f"header, source: {source!r}; this release knows 'wfdb' and 'array'")
    rate = Fraction(fields.number("sampling rate", 1, 2**62), fields.number("sampling rate denominator", 1, 2**62))
    n_frames = fields.number("frames", 1, MAX_FRAMES)
    chunk_frames = fields.number("frames per chunk", 1, MAX_FRAMES)
    if -(-n_frames // chunk_frames) > MAX_CHUNKS:
        raise LimitExceededError(f"header: {-(-n_frames // chunk_frames)} chunks; at most {MAX_CHUNKS} are allowed")
    coder = fields.number("coder", 0, 2**32)
    if coder not in (CODER_ZSTD, CODER_CLASS):
        raise UnsupportedVersionError(f"header, coder: {coder}; this release knows {CODER_ZSTD} and {CODER_CLASS}")
    level = fields.number("level", 1, 9)
    promises = tuple(
        (fields.number("promise", 0, 2**32), fields.real("promise"))
        for _ in range(fields.number("promises", 0, MAX_PROMISES))
    )
    digests = tuple(fields.bytes("model", 32) for _ in range(fields.number("models", 0, MAX_MODELS)))
    channels = tuple(_decode_channel(fields, index) for index in range(fields.number("channels", 1, MAX_CHANNELS)))
    check_chunk_size(channels, min(chunk_frames, n_frames))
    side_files = []
    for _ in range(fields.number("side files", 0, MAX_SIDE_FILES)):
        name = fields.text("side file")
        side_files.append(
            SideFile(name, fields.bytes(f"side file {name!r}", fields.number("side file", 0, MAX_HEADER_BYTES)))
        )
    fields.finish()
    return Header(source, rate, n_frames, chunk_frames, channels, coder, level, promises, digests, tuple(side_files))


def _decode_channel(fields: _Fields, index: int) -> Channel:
    where = f"channel {index}"
    name, unit = fields.text(f"{where}, name"), fields.text(f"{where}, unit")
    gain = fields.real(f"{where}, gain")
    baseline = fields.signed(f"{where}, baseline")
    resolution = fields.number(f"{where}, resolution", 1, 32)
    per_frame = fields.number(f"{where}, samples per frame", 1, 65535)
    minimum, maximum = fields.signed(f"{where}, minimum"), fields.signed(f"{where}, maximum")
    invalid = fields.signed(f"{where}, missing value") if fields.number(f"{where}, missing value", 0, 1) else None
    difference = fields.number(f"{where}, largest difference", 0, 2**32) or None
    try:
        return Channel(name, unit, gain, baseline, resolution, minimum, maximum, invalid, per_frame, difference)
    except InvalidSignalError as error:
        raise CorruptError(f"header, {error}") from None


@dataclass(frozen=True, slots=True)
class MeasuredQuality:
    """What the encoder measured on the decoded samples of a channel: PRDN in percent, largest error in stored units."""

    prdn: float
    max_error_adu: int


def encode_coding(
    codings: list[ChannelCoding],
    measured: list[MeasuredQuality],
    *,
    models: tuple[Model, ...],
    kernel_lengths: list[int],
    coder: int,
) -> bytes:
    """The CODING payload: kernel length of each lead group, then every channel.

    Parameters
    ----------
    kernel_lengths
        Per lead group; 0 for a group without events.
    """
    writer = BitWriter()
    writer.rice(np.array([len(kernel_lengths)]))
    writer.rice(np.array(kernel_lengths, np.int64))
    for coding, quality in zip(codings, measured, strict=True):
        writer.number(int.from_bytes(_F32.pack(quality.prdn), "big"), 32)
        writer.rice(zigzag(np.array([coding.offset, coding.minimum, coding.maximum], np.int64)))
        writer.rice(np.array([quality.max_error_adu, coding.lead_group], np.int64))
        writer.number(int(coding.model is not None), 1)
        if coding.model is None:
            continue
        writer.rice(np.array([models.index(coding.model)]))
        writer.number(coding.step.mantissa, 12)
        writer.rice(zigzag(np.array([coding.step.exponent], np.int64)))
        for offset in coding.offsets:
            writer.number(offset, 6)
        write_kernels(writer, coding.kernels)
        if coder == CODER_CLASS:
            assert coding.profile is not None
            _write_profile(writer, coding.profile)
    return writer.tobytes()


def decode_coding(
    payload: bytes, header: Header, models: tuple[Model, ...]
) -> tuple[list[ChannelCoding], list[MeasuredQuality], list[int]]:
    """Inverse of ``encode_coding``: codings, measured qualities, kernel length of each lead group.

    Raises
    ------
    FormatError
    """
    reader = BitReader.from_bytes(payload, "section CODING")
    n_groups = int(reader.rice(1)[0])
    if not 1 <= n_groups <= len(header.channels):
        raise LimitExceededError(f"section CODING: {n_groups} lead groups for {len(header.channels)} channels")
    kernel_lengths = reader.rice(n_groups).tolist()
    longest = max(kernel_lengths)
    if longest > MAX_BEAT_KERNEL_LENGTH:
        raise LimitExceededError(
            f"section CODING: beat kernels of {longest} samples; at most {MAX_BEAT_KERNEL_LENGTH} are allowed"
        )
    codings, measured = [], []
    for index in range(len(header.channels)):
        try:
            coding, quality = _read_coding(reader, header, models, kernel_lengths)
        except FormatError as error:
            raise type(error)(f"channel {index}: {error}") from None
        codings.append(coding)
        measured.append(quality)
    reader.finish()
    _check_groups(codings, header, n_groups)
    return codings, measured, kernel_lengths


def _check_groups(codings: list[ChannelCoding], header: Header, n_groups: int) -> None:
    rates: dict[int, int] = {}
    for coding, channel in zip(codings, header.channels, strict=True):
        if rates.setdefault(coding.lead_group, channel.samples_per_frame) != channel.samples_per_frame:
            raise CorruptError(f"section CODING: lead group {coding.lead_group} has channels of two rates")
        if coding.model is not None and not channel.minimum <= coding.minimum <= coding.maximum <= channel.maximum:
            raise CorruptError(f"section CODING: range {coding.minimum}…{coding.maximum} is not within the channel's")
    if len(rates) != n_groups:
        raise CorruptError(f"section CODING: {n_groups} lead groups, but channels in {len(rates)}")


def _read_coding(
    reader: BitReader, header: Header, models: tuple[Model, ...], kernel_lengths: list[int]
) -> tuple[ChannelCoding, MeasuredQuality]:
    prdn = float(_F32.unpack(reader.number(32).to_bytes(4, "big"))[0])
    offset, minimum, maximum = unzigzag(reader.rice(3)).tolist()
    max_error, lead_group = reader.rice(2).tolist()
    if minimum > maximum or min(offset, minimum) < -(2**31) or max(offset, maximum) >= 2**31:
        raise CorruptError(f"offset {offset} and range {minimum}…{maximum} are not 32-bit values in order")
    if not prdn >= 0:
        raise CorruptError(f"a measured PRDN of {prdn}")
    if lead_group >= len(kernel_lengths):
        raise CorruptError(f"lead group {lead_group} of {len(kernel_lengths)}")
    quality = MeasuredQuality(prdn, max_error)
    if not reader.number(1):
        if minimum != maximum:
            raise CorruptError(f"a constant channel has range {minimum}…{maximum}")
        return ChannelCoding(offset, minimum, maximum, lead_group), quality
    model_index = int(reader.rice(1)[0])
    if model_index >= len(models):
        raise CorruptError(f"model {model_index} of {len(models)}")
    model = models[model_index]
    mantissa = reader.number(12)
    exponent = int(unzigzag(reader.rice(1))[0])
    if mantissa < 2048 or not _MIN_STEP_EXPONENT <= exponent <= _MAX_STEP_EXPONENT:
        raise CorruptError(f"step {mantissa}·2^{exponent} is not normalised or out of range")
    offsets = (reader.number(6), reader.number(6), reader.number(6))
    kernels = _read_kernels(reader, kernel_lengths[lead_group])
    profile = _read_profile(reader, model) if header.coder == CODER_CLASS else None
    step = Step(mantissa, exponent)
    return ChannelCoding(offset, minimum, maximum, lead_group, model, step, offsets, kernels, profile), quality


def write_kernels(writer: BitWriter, kernels: BeatKernels) -> None:
    """Number of kernels, exponent, and second differences of the weights."""
    writer.rice(np.array([kernels.n_kernels]))
    if kernels.n_kernels:
        writer.rice(zigzag(np.array([kernels.exponent], np.int64)))
        for weights in kernels.weights.astype(np.int64):
            writer.rice(zigzag(np.diff(weights, n=2, prepend=[0, 0])))


def _read_kernels(reader: BitReader, length: int) -> BeatKernels:
    n_kernels = int(reader.rice(1)[0])
    if n_kernels > MAX_BEAT_KERNELS or (n_kernels and not length):
        raise LimitExceededError(
            f"{n_kernels} beat kernels of {length} samples; at most {MAX_BEAT_KERNELS} are allowed"
        )
    if not n_kernels:
        return BeatKernels(np.zeros((0, length), np.int32), 0)
    exponent = int(unzigzag(reader.rice(1))[0])
    if not -FRACTION_BITS <= exponent <= _MAX_BEAT_EXPONENT:
        raise CorruptError(f"beat kernel exponent {exponent}; {-FRACTION_BITS} to {_MAX_BEAT_EXPONENT} is allowed")
    differences = np.stack([unzigzag(reader.rice(length)) for _ in range(n_kernels)])
    if np.abs(differences).max() >= 2**18:
        raise LimitExceededError(
            f"a second difference of {np.abs(differences).max()} in a beat kernel; it must be below 2**18"
        )
    weights = np.cumsum(np.cumsum(differences, axis=1), axis=1)
    if np.abs(weights).max() >= 2**16:
        raise LimitExceededError(f"a beat kernel weight of {np.abs(weights).max()}; it must be below 65536")
    return BeatKernels(weights.astype(np.int32), exponent)


def _write_profile(writer: BitWriter, profile: Profile) -> None:
    writer.number(profile.weight_set, 3)
    writer.rice(zigzag(np.diff(profile.scale_codes, prepend=0)))
    has_phases = bool(profile.phase_codes.any())
    writer.number(int(has_phases), 1)
    if has_phases:
        for codes in profile.phase_codes:
            writer.rice(zigzag(codes))


def _read_profile(reader: BitReader, model: Model) -> Profile:
    weight_set = reader.number(3)
    if weight_set >= model.contexts.n_weight_sets:
        raise CorruptError(f"weight set {weight_set} of {model.contexts.n_weight_sets}")
    scale_codes = np.cumsum(unzigzag(reader.rice(model.n_bands)))
    if scale_codes.min() < 0 or scale_codes.max() > MAX_SCALE_CODE:
        raise CorruptError(f"scale codes {scale_codes.min()}…{scale_codes.max()}; 0 to {MAX_SCALE_CODE} is allowed")
    phase_codes = np.zeros((model.contexts.n_phase_groups, N_PHASES + 1), np.int64)
    if reader.number(1):
        phase_codes = np.stack([unzigzag(reader.rice(N_PHASES + 1)) for _ in phase_codes])
        if np.abs(phase_codes).max() > MAX_PHASE_CODE:
            raise CorruptError(f"phase codes up to {np.abs(phase_codes).max()}; at most {MAX_PHASE_CODE} is allowed")
    return Profile(weight_set, scale_codes, phase_codes)
