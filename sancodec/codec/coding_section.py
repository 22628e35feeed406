"""The CODING section: how each channel is coded, once for all chunks (docs/format.md, section "CODING")."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from sancodec.codec.beats import FRACTION_BITS, MAX_EXPONENT, MAX_WEIGHT, BeatKernels
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.header import CODER_CLASS, Header
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Step
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError, FormatError, LimitExceededError

MAX_BEAT_KERNELS = 64
MAX_BEAT_KERNEL_LENGTH = 8192
_MIN_STEP_EXPONENT, _MAX_STEP_EXPONENT = -40, 32
_F32 = struct.Struct(">f")


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
    if not -FRACTION_BITS <= exponent <= MAX_EXPONENT:
        raise CorruptError(f"beat kernel exponent {exponent}; {-FRACTION_BITS} to {MAX_EXPONENT} is allowed")
    differences = np.stack([unzigzag(reader.rice(length)) for _ in range(n_kernels)])
    if np.abs(differences).max() >= 2**18:
        raise LimitExceededError(
            f"a second difference of {np.abs(differences).max()} in a beat kernel; it must be below 2**18"
        )
    weights = np.cumsum(np.cumsum(differences, axis=1), axis=1)
    if np.abs(weights).max() > MAX_WEIGHT:
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
