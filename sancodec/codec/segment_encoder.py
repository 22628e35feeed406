"""Encode one segment of a recording: trials and search per channel, residual layer, streams, sections."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events, kernel_geometry
from sancodec.codec.bounded_search import choose_cascade, target_of, typical_step
from sancodec.codec.channel import (
    ChannelJob,
    Choice,
    EncodedChannel,
    EncoderSettings,
    LeadGroup,
    PreparedChannel,
    is_storable,
    prepare,
)
from sancodec.codec.chunk_source import ChunkSource, StoredGroup, residual_plan
from sancodec.codec.chunks import parts_of
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.detection import detect_events
from sancodec.codec.header import CODER_CLASS, CODER_ZSTD
from sancodec.codec.kernels import Model
from sancodec.codec.promise import Promise
from sancodec.codec.quality import measure
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.residual import corrections
from sancodec.codec.residual_encoder import (
    ResidualJob,
    encode_layer,
    noise_scale,
    plan_alone,
    plan_together,
    with_residual,
)
from sancodec.codec.step_search import encode_at, search
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.codec.trial import STEP_PER_RMSE, choose
from sancodec.errors import QualityError

_MIN_DETECTION_RATE_HZ, _MAX_DETECTION_RATE_HZ = 50.0, 2500.0
_FAST_STEP_OF_BOUND = 2.6
_MAX_CASCADED_EXACT_CHANNELS = 2

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentJob:
    """What is common to all channels of a segment.

    Parameters
    ----------
    recording
        The frames of the segment.
    promises
        Per channel.
    energies
        Per channel, mean squared deviation of the whole recording's samples; None for those of the segment.
    """

    recording: Recording
    first_chunk: int
    chunk_frames: int
    promises: tuple[Promise, ...]
    energies: tuple[float | None, ...]
    models: tuple[Model, ...]
    settings: EncoderSettings
    engine: Engine
    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSegment:
    """Channels and lead groups of a segment."""

    channels: list[EncodedChannel]
    groups: list[StoredGroup]

    @property
    def models(self) -> set[Model]:
        return {each.coding.model for each in self.channels if each.coding.model is not None}


def encode_segment(job: SegmentJob, report: Progress) -> EncodedSegment:
    """Encode all channels, lead group after lead group.

    Raises
    ------
    QualityError
        When a promise cannot be kept.
    """
    recording = job.recording
    prepared = [
        prepare(channel, samples, sample_energy=energy)
        for channel, samples, energy in zip(recording.channels, recording.samples, job.energies, strict=True)
    ]
    rates = sorted({channel.samples_per_frame for channel in recording.channels})
    encoded: dict[int, EncodedChannel] = {}
    groups = []
    for group_index, per_frame in enumerate(rates):
        members = [index for index, channel in enumerate(recording.channels) if channel.samples_per_frame == per_frame]
        coded = [index for index in members if not prepared[index].is_constant]
        rate_hz = float(recording.frame_rate_hz * per_frame)
        group = _find_waves([prepared[index] for index in coded], coded, rate_hz, job.settings)
        jobs = {
            index: ChannelJob(
                prepared[index],
                group,
                index,
                job.chunk_frames * per_frame,
                _models_for(job.models, rate_hz),
                job.settings,
                job.engine,
            )
            for index in coded
        }
        results, group = _encode_group(job, jobs, group, lambda fraction: report((len(encoded) + fraction * len(coded)) / len(prepared)))
        for index, result in results.items():
            encoded[index] = replace(result, coding=replace(result.coding, lead_group=group_index))
        for index in members:
            if index not in encoded:
                encoded[index] = _constant_channel(
                    prepared[index], group_index, job.chunk_frames * per_frame, len(group.starts)
                )
        groups.append(StoredGroup(group.starts, kernel_geometry(rate_hz)[0], per_frame))
    return EncodedSegment([encoded[index] for index in range(len(prepared))], groups)


def _models_for(models: tuple[Model, ...], rate_hz: float) -> tuple[Model, ...]:
    """Of the banks that were trained at some sampling rate, only the nearest; all others."""
    trained = [model for model in models if "sampling_rate_hz" in model.metadata]
    nearest = min(trained, key=lambda model: abs(np.log(model.metadata["sampling_rate_hz"] / rate_hz)), default=None)
    return tuple(model for model in models if model not in trained or model is nearest)


def _encode_group(
    job: SegmentJob, jobs: dict[int, ChannelJob], group: LeadGroup, report: Progress
) -> tuple[dict[int, EncodedChannel], LeadGroup]:
    """Choices for all channels of a rate, then their cascades, then the residual layer."""
    exact = [index for index in jobs if job.promises[index].max_error_adu == 0]
    # Where several channels predict each other, a cascade for each says again what the others said.
    alone = len(exact) <= _MAX_CASCADED_EXACT_CHANNELS
    aims = {index: _aim_of(job.promises[index], each) for index, each in jobs.items() if alone or index not in exact}
    wanting = [index for index, aim in aims.items() if aim is not None]

    def choice_of(index: int) -> Choice:
        aim = aims[index]
        assert aim is not None
        return choose(jobs[index], prdn=aim)

    choices = dict(zip(wanting, job.pool.map(choice_of, wanting), strict=True))
    group, choices = _drop_unused(group, choices)
    report(0.3)
    done = 0

    def cascade_of(index: int) -> EncodedChannel:
        nonlocal done
        channel_job = replace(jobs[index], group=group)
        result = _encode_channel(channel_job, job.promises[index], choices.get(index))
        done += 1
        report(0.3 + 0.5 * done / len(jobs))
        return result

    results = dict(zip(jobs, job.pool.map(cascade_of, jobs), strict=True))
    results = _with_residuals(job, {index: replace(each, group=group) for index, each in jobs.items()}, results, choices)
    report(1.0)
    return results, group


def _aim_of(promise: Promise, job: ChannelJob) -> float | None:
    """PRDN at which the cascade is chosen; None for a channel that is not worth one."""
    bound = promise.max_error_adu
    if bound is None:
        return promise.prdn
    if bound == 0 and not job.settings.multiplier:
        return None
    channel = job.channel
    rmse = typical_step(bound, noise_scale(target_of(channel))) / STEP_PER_RMSE
    aim = 100 * rmse / math.sqrt(channel.energy / channel.n_valid)
    return aim if promise.prdn is None or bound == 0 else min(aim, promise.prdn)


def residual_job(job: ChannelJob, bound: int, encoded: EncodedChannel | None) -> ResidualJob:
    channel = job.channel
    approximation = None
    if encoded is not None and encoded.coding.model is not None:
        approximation = encoded.approximation.astype(np.int64) - channel.offset
    return ResidualJob(
        job.index,
        target_of(channel),
        approximation,
        channel.minimum - channel.offset,
        channel.maximum - channel.offset,
        bound,
        min(job.chunk_length, len(channel.samples)),
    )


def _encode_channel(job: ChannelJob, promise: Promise, choice: Choice | None) -> EncodedChannel:
    """The cascade of a channel, or none where prediction alone is smaller."""
    bound = promise.max_error_adu
    if bound is None:
        assert choice is not None and promise.prdn is not None
        return search(job, choice, prdn=promise.prdn)
    bare = _without_cascade(job)
    if choice is None:
        return bare
    unit = 2.0**-job.channel.exponent
    if not job.settings.multiplier:
        return encode_at(job, choice, _FAST_STEP_OF_BOUND * bound * unit)
    best = choose_cascade(job, choice, bound=bound, noise=noise_scale(target_of(job.channel)))
    return bare if best is None else encode_at(job, best.choice, best.step * unit)


def _without_cascade(job: ChannelJob) -> EncodedChannel:
    channel = job.channel
    coding = ChannelCoding(channel.offset, channel.minimum, channel.maximum)
    n_events = len(job.group.starts)
    none = Events(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))
    flat = np.full(len(channel.samples), channel.offset, np.int32)
    return EncodedChannel(coding, none, job.parts, [], flat, flat)


def _with_residuals(
    job: SegmentJob, jobs: dict[int, ChannelJob], encoded: dict[int, EncodedChannel], choices: dict[int, Choice]
) -> dict[int, EncodedChannel]:
    """Add the residual layer to the channels whose samples are bounded."""
    bounds = {index: job.promises[index].max_error_adu for index in jobs}
    layered = [
        residual_job(jobs[index], bound, encoded[index]) for index, bound in bounds.items() if bound is not None
    ]
    if not layered:
        return encoded
    codings = {each.channel: plan_alone(each).coding for each in layered if each.bound and job.settings.multiplier}
    codings |= {
        each.channel: corrections(each.channel, each.bound)
        for each in layered
        if each.bound and each.channel not in codings
    }
    predicted = [each for each in layered if not each.bound or len(codings[each.channel].own)]
    codings |= plan_together(predicted) if predicted else {}
    results = dict(encoded)
    for index, (rows, codes) in encode_layer(layered, codings, jobs[layered[0].channel].parts).items():
        channel = jobs[index].channel
        decoded = channel.marked((rows + channel.offset).astype(np.int32))
        results[index] = with_residual(encoded[index], codings[index], decoded, codes)
        if not _keeps(job.promises[index], channel, decoded):
            results[index] = _tightened(jobs[index], job.promises[index], choices.get(index))
    return results


def _keeps(promise: Promise, channel: PreparedChannel, decoded: NDArray[np.int32]) -> bool:
    error = (decoded - channel.samples.astype(np.int64)).astype(np.float64)
    prdn = 100 * math.sqrt(float(error @ error) / channel.energy) if channel.energy else 0.0
    return (promise.prdn is None or prdn <= promise.prdn) and is_storable(channel.description, decoded)


def _tightened(job: ChannelJob, promise: Promise, choice: Choice | None) -> EncodedChannel:
    """A channel whose PRDN asks for more than its bound: the cascade keeps the one, corrections the other."""
    assert promise.max_error_adu is not None
    if promise.prdn is not None and choice is not None:
        try:
            encoded = search(job, choice, prdn=promise.prdn)
        except QualityError:
            encoded = None
        if encoded is not None:
            each = residual_job(job, promise.max_error_adu, encoded)
            coding = corrections(job.index, promise.max_error_adu)
            rows, codes = encode_layer([each], {job.index: coding}, job.parts)[job.index]
            decoded = job.channel.marked((rows + job.channel.offset).astype(np.int32))
            if _keeps(promise, job.channel, decoded):
                return with_residual(encoded, coding, decoded, codes)
    # What cannot be kept with an error is kept without one.
    each = residual_job(job, 0, None)
    coding = plan_alone(each).coding
    rows, codes = encode_layer([each], {job.index: coding}, job.parts)[job.index]
    decoded = job.channel.marked((rows + job.channel.offset).astype(np.int32))
    return with_residual(_without_cascade(job), coding, decoded, codes)


def _find_waves(
    channels: list[PreparedChannel], indices: list[int], rate_hz: float, settings: EncoderSettings
) -> LeadGroup:
    """Candidate events of a lead group; none where the level or the rate asks for none."""
    none = LeadGroup(np.zeros(0, np.int64), {}, rate_hz)
    if (
        max(settings.kernel_counts) == 0
        or not channels
        or not _MIN_DETECTION_RATE_HZ <= rate_hz <= _MAX_DETECTION_RATE_HZ
    ):
        return none
    length, before = kernel_geometry(rate_hz)
    if len(channels[0].signal) < length:
        return none
    signals = np.stack([channel.signal for channel in channels])
    positions, filtered = detect_events(signals, sampling_rate_hz=rate_hz)
    starts = positions - before
    inside = (starts > -length) & (starts < signals.shape[1])
    return LeadGroup(starts[inside], dict(zip(indices, filtered, strict=True)), rate_hz)


def _drop_unused(group: LeadGroup, choices: dict[int, Choice]) -> tuple[LeadGroup, dict[int, Choice]]:
    """Keep the events that some channel uses."""
    used = np.zeros(len(group.starts), bool)
    for choice in choices.values():
        used |= choice.cascade.events.gains > 0
    kept = {
        index: replace(
            choice,
            cascade=replace(
                choice.cascade, events=Events(choice.cascade.events.kernel_ids[used], choice.cascade.events.gains[used])
            ),
        )
        for index, choice in choices.items()
    }
    return replace(group, starts=group.starts[used]), kept


def _constant_channel(channel: PreparedChannel, group_index: int, chunk_length: int, n_events: int) -> EncodedChannel:
    coding = ChannelCoding(channel.minimum, channel.minimum, channel.maximum, group_index)
    none = Events(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))
    samples = channel.samples
    return EncodedChannel(coding, none, parts_of(len(samples), chunk_length), [], samples, samples)


@dataclass(frozen=True, slots=True)
class SegmentBody:
    """Payloads of a segment's sections."""

    coding: bytes
    chunks: list[bytes]

    @property
    def n_bytes(self) -> int:
        return len(self.coding) + sum(map(len, self.chunks))


def _measured(description: Channel, samples: NDArray[np.int32], encoded: EncodedChannel) -> MeasuredQuality:
    quality = measure(
        samples, encoded.decoded, gain=description.gain, baseline=description.baseline, invalid=description.invalid
    )
    return MeasuredQuality(quality.prdn, quality.max_error_adu)


def smallest_body(job: SegmentJob, encoded: EncodedSegment, models: Sequence[Model]) -> SegmentBody:
    """The class coder's statistics suit signals with beats; others try zstd as well."""
    channels = encoded.channels
    is_plain = not any(each.coding.kernels.n_kernels or each.codes is not None for each in channels)
    coders = [job.settings.coder] + ([CODER_ZSTD] if is_plain and job.settings.coder != CODER_ZSTD else [])
    measured = [
        _measured(description, samples, each)
        for description, samples, each in zip(job.recording.channels, job.recording.samples, channels, strict=True)
    ]
    bodies = []
    for coder in coders:
        plan = residual_plan(channels, job.chunk_frames, job.recording) if coder == CODER_CLASS else None
        segment = SegmentCoding(
            job.first_chunk,
            -(-job.recording.n_frames // job.chunk_frames),
            coder,
            [each.coding for each in channels],
            measured,
            [group.stored_kernel_length for group in encoded.groups],
            None if plan is None else plan.tables,
        )
        coding = encode_coding(segment, models=tuple(models))
        source = ChunkSource(
            job.recording,
            job.chunk_frames,
            channels,
            encoded.groups,
            coder=coder,
            zstd_level=job.settings.zstd_level,
            coding_crc=zlib.crc32(coding),
            first_chunk=job.first_chunk,
            plan=plan,
        )
        bodies.append(SegmentBody(coding, list(job.pool.map(source.payload, range(source.n_chunks)))))
    return min(bodies, key=lambda body: body.n_bytes)
