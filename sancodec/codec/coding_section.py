"""The CODING section: how each channel is coded, once for all chunks (docs/format.md, section "CODING")."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from sancodec.codec.beat_kernel_section import read_kernels, write_kernels
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.header import CODER_CLASS, CODER_MIXED, CODER_ZSTD, CODERS, Header
from sancodec.codec.kernels import Model
from sancodec.codec.lattice import MAX_SHIFT as MAX_LATTICE_SHIFT
from sancodec.codec.lattice import Lattice
from sancodec.codec.mix import Mix, read_mix, write_mix
from sancodec.codec.quantiser import Step
from sancodec.codec.rans import TOTAL
from sancodec.codec.residual import (
    MAX_BOUND,
    MAX_FAR_LAGS,
    MAX_LAG,
    MAX_NEAR_LAGS,
    MAX_OWN_LAGS,
    MAX_REFERENCES,
    MAX_WEIGHT_SHIFT,
    MAX_WEIGHT_SUM,
    MAX_WEIGHTS,
    Reference,
    ResidualCoding,
    decoding_levels,
)
from sancodec.codec.residual_tables import MAX_BLOCK_EXPONENT, MAX_SHIFT, MAX_TABLES, N_SYMBOLS, ResidualTables
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError, FormatError, LimitExceededError, UnsupportedVersionError

MAX_BEAT_KERNEL_LENGTH = 8192
MAX_BANDS = 1 << 20
MAX_SEGMENT_REFERENCES = 1 << 17
_MIN_STEP_EXPONENT, _MAX_STEP_EXPONENT = -40, 32
_F32 = struct.Struct(">f")


@dataclass(frozen=True, slots=True)
class MeasuredQuality:
    """What the encoder measured on the decoded samples of a channel: PRDN in percent, largest error in stored units."""

    prdn: float
    max_error_adu: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentCoding:
    """Content of a CODING section.

    Parameters
    ----------
    first_chunk, n_chunks
        The chunks that follow it.
    coder
        Id of the entropy coder of coefficients and residuals.
    codings, measured
        Per channel.
    kernel_lengths
        Per lead group; 0 for a group without events.
    tables
        Of the residual streams; None where there are none, or zstd codes them.
    mixes
        Per lead group; None for one whose channels are their own components.
    """

    first_chunk: int
    n_chunks: int
    coder: int
    codings: list[ChannelCoding]
    measured: list[MeasuredQuality]
    kernel_lengths: list[int]
    tables: ResidualTables | None = None
    mixes: tuple[Mix | None, ...] = ()


def encode_coding(segment: SegmentCoding, *, models: tuple[Model, ...]) -> bytes:
    """The CODING payload: chunks, coder, kernel length of each lead group, every channel, residual tables."""
    writer = BitWriter()
    writer.rice(np.array([segment.first_chunk, segment.n_chunks, segment.coder], np.int64))
    writer.rice(np.array([len(segment.kernel_lengths)]))
    writer.rice(np.array(segment.kernel_lengths, np.int64))
    for coding, quality in zip(segment.codings, segment.measured, strict=True):
        writer.number(int.from_bytes(_F32.pack(quality.prdn), "big"), 32)
        writer.rice(zigzag(np.array([coding.offset, coding.minimum, coding.maximum], np.int64)))
        writer.rice(np.array([quality.max_error_adu, coding.lead_group], np.int64))
        writer.number(int(coding.lattice is not None), 1)
        if coding.lattice is not None:
            writer.rice(np.array([coding.lattice.numerator, 2 * coding.lattice.shift + coding.lattice.is_truncated]))
        writer.number(int(coding.model is not None), 1)
        if coding.model is not None:
            writer.rice(np.array([models.index(coding.model)]))
            writer.number(coding.step.mantissa, 12)
            writer.rice(zigzag(np.array([coding.step.exponent], np.int64)))
            for offset in coding.offsets:
                writer.number(offset, 6)
            write_kernels(writer, coding.kernels)
            if segment.coder != CODER_ZSTD:
                assert coding.profile is not None
                write_profile(writer, coding.profile)
        writer.number(int(coding.residual is not None), 1)
        if coding.residual is not None:
            write_residual_coding(writer, coding.residual, segment.coder)
    for mix in segment.mixes or (None,) * len(segment.kernel_lengths):
        write_mix(writer, mix)
    if segment.tables is not None:
        _write_tables(writer, segment.tables)
    return writer.tobytes()


def decode_coding(payload: bytes, header: Header, models: tuple[Model, ...]) -> SegmentCoding:
    """Inverse of ``encode_coding``.

    Raises
    ------
    FormatError
    """
    reader = BitReader.from_bytes(payload, "section CODING")
    first_chunk, n_chunks, coder = reader.rice(3).tolist()
    if coder not in CODERS:
        raise UnsupportedVersionError(
            f"section CODING, coder: {coder}; this release knows {', '.join(map(str, CODERS))}"
        )
    if not 1 <= n_chunks <= header.n_chunks - first_chunk:
        raise CorruptError(
            f"section CODING: {n_chunks} chunks from chunk {first_chunk} on; there are {header.n_chunks}"
        )
    n_groups = int(reader.rice(1)[0])
    if not 1 <= n_groups <= len(header.channels):
        raise LimitExceededError(f"section CODING: {n_groups} lead groups for {len(header.channels)} channels")
    kernel_lengths = reader.rice(n_groups).tolist()
    longest = max(kernel_lengths)
    if longest > MAX_BEAT_KERNEL_LENGTH:
        raise LimitExceededError(
            f"section CODING: beat kernels of {longest} samples; at most {MAX_BEAT_KERNEL_LENGTH} are allowed"
        )
    codings, measured, n_references = [], [], 0
    for index in range(len(header.channels)):
        try:
            coding, quality = _read_coding(reader, coder, models, kernel_lengths)
        except FormatError as error:
            raise type(error)(f"channel {index}: {error}") from None
        codings.append(coding)
        measured.append(quality)
        n_references += len(coding.residual.references) if coding.residual is not None else 0
        if n_references > MAX_SEGMENT_REFERENCES:
            raise LimitExceededError(f"section CODING: more than {MAX_SEGMENT_REFERENCES} references in all channels")
    mixes = tuple(_read_mix_of(reader, codings, group) for group in range(n_groups))
    for index, coding in enumerate(codings):
        if coding.is_constant and coding.minimum != coding.maximum:
            raise CorruptError(f"channel {index}: a constant channel has range {coding.minimum}…{coding.maximum}")
    has_residuals = any(coding.residual is not None for coding in codings)
    tables = _read_tables(reader) if has_residuals and coder == CODER_CLASS else None
    reader.finish()
    n_bands = sum(coding.model.n_bands for coding in codings if coding.model is not None)
    if n_bands > MAX_BANDS:
        raise LimitExceededError(f"section CODING: {n_bands} bands in all channels; at most {MAX_BANDS} are allowed")
    _check_groups(codings, header, n_groups)
    _check_references(codings, header, coder)
    return SegmentCoding(first_chunk, n_chunks, coder, codings, measured, kernel_lengths, tables, mixes)


def _read_mix_of(reader: BitReader, codings: list[ChannelCoding], group: int) -> Mix | None:
    """The mix of a lead group; its members' codings get their weights."""
    of_group = [index for index, coding in enumerate(codings) if coding.lead_group == group]
    members = [index for index in of_group if codings[index].minimum < codings[index].maximum]
    mix = read_mix(reader, len(members), sum(codings[index].model is not None for index in of_group))
    if mix is None:
        return None
    for index in of_group:
        coding = codings[index]
        if coding.residual is not None or coding.lattice is not None:
            raise CorruptError(f"channel {index}: it is mixed, and has a residual layer or a lattice")
        if coding.model is not None and index not in members:
            raise CorruptError(f"channel {index}: it is constant, and has a component")
    for index, row in zip(members, mix.rows, strict=True):
        codings[index] = replace(codings[index], row=row)
    return mix


def _check_references(codings: list[ChannelCoding], header: Header, coder: int) -> None:
    """Refuse predictions from channels of other lengths, from constant ones, or from each other."""
    for index, coding in enumerate(codings):
        for each in coding.residual.references if coding.residual is not None else ():
            if each.channel >= len(codings) or codings[each.channel].is_constant:
                raise CorruptError(
                    f"channel {index}: predicted from channel {each.channel}, which has no samples to give"
                )
            if header.channels[each.channel].samples_per_frame != header.channels[index].samples_per_frame:
                raise CorruptError(f"channel {index}: predicted from channel {each.channel}, which has another rate")
        length = header.chunk_frames * header.channels[index].samples_per_frame
        if (
            coder != CODER_MIXED
            and coding.residual is not None
            and coding.residual.restart < min(len(coding.residual.own), length)
        ):
            raise LimitExceededError(
                f"channel {index}: its prediction from {len(coding.residual.own)} own samples starts anew after "
                f"{coding.residual.restart}; at least as many are needed"
            )
    decoding_levels({index: coding.residual for index, coding in enumerate(codings) if coding.residual is not None})


def _write_tables(writer: BitWriter, tables: ResidualTables) -> None:
    writer.rice(np.array([tables.block_exponent, len(tables.shifts)]))
    for shift, frequencies in zip(tables.shifts.tolist(), tables.frequencies.astype(np.int64), strict=True):
        writer.number(shift, 5)
        writer.rice(frequencies)


def _read_tables(reader: BitReader) -> ResidualTables:
    exponent, count = reader.rice(2).tolist()
    if exponent > MAX_BLOCK_EXPONENT or count > MAX_TABLES:
        raise LimitExceededError(
            f"section CODING: {count} residual tables for blocks of 2**{exponent} samples; "
            f"at most {MAX_TABLES} and 2**{MAX_BLOCK_EXPONENT} are allowed"
        )
    shifts, frequencies = np.zeros(count, np.int64), np.zeros((count, N_SYMBOLS), np.uint16)
    for index in range(count):
        shifts[index] = reader.number(5)
        row = reader.rice(N_SYMBOLS)
        if shifts[index] > MAX_SHIFT or row.max() > TOTAL or row.sum() != TOTAL:
            raise CorruptError(
                f"section CODING: residual table {index} has shift {shifts[index]}, its frequencies sum to {row.sum()}"
            )
        frequencies[index] = row
    return ResidualTables(exponent, shifts, frequencies)


def _check_groups(codings: list[ChannelCoding], header: Header, n_groups: int) -> None:
    rates: dict[int, int] = {}
    for coding, channel in zip(codings, header.channels, strict=True):
        if rates.setdefault(coding.lead_group, channel.samples_per_frame) != channel.samples_per_frame:
            raise CorruptError(f"section CODING: lead group {coding.lead_group} has channels of two rates")
        if coding.is_constant or coding.lattice is not None:
            continue
        if not channel.minimum <= coding.minimum <= coding.maximum <= channel.maximum:
            raise CorruptError(f"section CODING: range {coding.minimum}…{coding.maximum} is not within the channel's")
    if len(rates) != n_groups:
        raise CorruptError(f"section CODING: {n_groups} lead groups, but channels in {len(rates)}")


def _read_coding(
    reader: BitReader, coder: int, models: tuple[Model, ...], kernel_lengths: list[int]
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
    lattice = _read_lattice(reader) if reader.number(1) else None
    coding = ChannelCoding(offset, minimum, maximum, lead_group, lattice=lattice)
    if reader.number(1):
        coding = _read_cascade(reader, coder, models, coding, kernel_lengths[lead_group])
    if reader.number(1):
        coding = replace(coding, residual=read_residual_coding(reader, coder))
    return coding, MeasuredQuality(prdn, max_error)


def _read_lattice(reader: BitReader) -> Lattice:
    numerator, kind = reader.rice(2).tolist()
    if not numerator or kind >> 1 > MAX_LATTICE_SHIFT:
        raise LimitExceededError(
            f"lattice step {numerator}·2^-{kind >> 1}; it must be above 0 and its shift at most {MAX_LATTICE_SHIFT}"
        )
    return Lattice(numerator, kind >> 1, bool(kind & 1))


def _read_cascade(
    reader: BitReader, coder: int, models: tuple[Model, ...], coding: ChannelCoding, kernel_length: int
) -> ChannelCoding:
    model_index = int(reader.rice(1)[0])
    if model_index >= len(models):
        raise CorruptError(f"model {model_index} of {len(models)}")
    model = models[model_index]
    mantissa = reader.number(12)
    exponent = int(unzigzag(reader.rice(1))[0])
    if mantissa < 2048 or not _MIN_STEP_EXPONENT <= exponent <= _MAX_STEP_EXPONENT:
        raise CorruptError(f"step {mantissa}·2^{exponent} is not normalised or out of range")
    offsets = (reader.number(6), reader.number(6), reader.number(6))
    kernels = read_kernels(reader, kernel_length)
    profile = _read_profile(reader, model) if coder != CODER_ZSTD else None
    return replace(
        coding, model=model, step=Step(mantissa, exponent), offsets=offsets, kernels=kernels, profile=profile
    )


def write_residual_coding(writer: BitWriter, coding: ResidualCoding, coder: int) -> None:
    """Bound, restart, shift, weights of own samples, and the references; adaptive stages under the mixing coder."""
    writer.rice(np.array([coding.bound, coding.restart, coding.shift, len(coding.own), len(coding.references)]))
    writer.rice(zigzag(coding.own))
    for each in coding.references:
        writer.rice(np.array([2 * each.channel + each.decoded, len(each.weights)]))
        writer.rice(zigzag(np.array([each.first_lag])))
        writer.rice(zigzag(each.weights))
    if coder == CODER_MIXED:
        writer.rice(np.array([coding.near_lags, coding.far_lags]))


def read_residual_coding(reader: BitReader, coder: int) -> ResidualCoding:
    """Inverse of ``write_residual_coding``.

    Raises
    ------
    FormatError
    """
    bound, restart, shift, n_own, n_references = reader.rice(5).tolist()
    if bound > MAX_BOUND or not restart or shift > MAX_WEIGHT_SHIFT or n_own > MAX_OWN_LAGS:
        raise LimitExceededError(
            f"error bound {bound}, restart after {restart} samples, shift {shift}, {n_own} own lags; "
            f"at most {MAX_BOUND}, at least 1, at most {MAX_WEIGHT_SHIFT} and {MAX_OWN_LAGS} are allowed"
        )
    if n_references > MAX_REFERENCES:
        raise LimitExceededError(f"{n_references} references; at most {MAX_REFERENCES} are allowed")
    own = unzigzag(reader.rice(n_own))
    references, n_weights = [], n_own
    for _ in range(n_references):
        source, count = reader.rice(2).tolist()
        first_lag = int(unzigzag(reader.rice(1))[0])
        n_weights += count
        if not count or max(abs(first_lag), abs(first_lag + count - 1)) > MAX_LAG or n_weights > MAX_WEIGHTS:
            raise LimitExceededError(
                f"{count} lags from {first_lag} on; lags up to ±{MAX_LAG} and {MAX_WEIGHTS} weights are allowed"
            )
        references.append(Reference(source >> 1, bool(source & 1), first_lag, unzigzag(reader.rice(count))))
    near_lags, far_lags = reader.rice(2).tolist() if coder == CODER_MIXED else (0, 0)
    if near_lags > MAX_NEAR_LAGS or far_lags > MAX_FAR_LAGS:
        raise LimitExceededError(
            f"adaptive stages of {near_lags} and {far_lags} lags; "
            f"at most {MAX_NEAR_LAGS} and {MAX_FAR_LAGS} are allowed"
        )
    coding = ResidualCoding(bound, restart, shift, own, tuple(references), near_lags, far_lags)
    if coding.weight_sum > MAX_WEIGHT_SUM:
        raise LimitExceededError(f"prediction weights sum to {coding.weight_sum}; at most {MAX_WEIGHT_SUM} is allowed")
    return coding


def write_profile(writer: BitWriter, profile: Profile) -> None:
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
