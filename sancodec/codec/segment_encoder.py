"""Encode one segment of a recording: trials and search per channel, residual layer, streams, sections."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events, kernel_geometry
from sancodec.codec.bounded_search import CascadeAt, choose_cascade, target_of, typical_step
from sancodec.codec.channel import (
    ChannelJob,
    Choice,
    EncodedChannel,
    EncoderSettings,
    Hint,
    LeadGroup,
    PreparedChannel,
    is_storable,
    prepare,
)
from sancodec.codec.chunk_source import StoredGroup
from sancodec.codec.chunks import parts_of
from sancodec.codec.detection import detect_events
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.kernels import Model
from sancodec.codec.lattice import on_lattice
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Recording
from sancodec.codec.residual import ResidualCoding, corrections
from sancodec.codec.residual_encoder import (
    ResidualJob,
    encode_layer,
    encode_mixed_layer,
    noise_scale,
    plan_alone,
    plan_together,
    with_residual,
    with_stages,
)
from sancodec.codec.step_search import encode_at, search
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.codec.trellis import STEP_OF_PLAIN
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
    hints
        Per channel, how it was coded before; None where everything is to be tried.
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
    hints: tuple[Hint | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSegment:
    """Channels and lead groups of a segment.

    Parameters
    ----------
    mixed_residuals
        Residuals of every chunk under the mixing coder, where they are known already.
    """

    channels: list[EncodedChannel]
    groups: list[StoredGroup]
    mixed_residuals: list[bytes] | None = None

    def hints(self, settings: EncoderSettings) -> tuple[Hint | None, ...]:
        """For the segment that follows."""
        finer = STEP_OF_PLAIN if settings.coder == CODER_MIXED else 1.0
        return tuple(
            None
            if each.coding.is_constant
            else Hint(each.coding.model, each.coding.kernels.n_kernels, each.coding.step.value / finer)
            for each in self.channels
        )

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
    lattices = [
        None if promise.max_error_adu is None else on_lattice(channel, samples, promise.max_error_adu)
        for channel, samples, promise in zip(recording.channels, recording.samples, job.promises, strict=True)
    ]
    # Multiples of a step beyond the bound cannot be off by one: they are exact or wrong.
    exact = Promise(max_error_adu=0)
    job = replace(
        job,
        promises=tuple(
            promise if found is None else exact for promise, found in zip(job.promises, lattices, strict=True)
        ),
    )
    prepared = [
        prepare(channel, samples if found is None else found.multiples, sample_energy=energy)
        for channel, samples, found, energy in zip(
            recording.channels, recording.samples, lattices, job.energies, strict=True
        )
    ]
    rates = sorted({channel.samples_per_frame for channel in recording.channels})
    encoded: dict[int, EncodedChannel] = {}
    groups = []
    mixed: list[list[bytes] | None] = []
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
                job.hints[index],
                0.0 if job.promises[index].max_error_adu is None else noise_scale(target_of(prepared[index])),
            )
            for index in coded
        }
        done, share = len(encoded) / len(prepared), len(coded) / len(prepared)
        results, group, streams = _encode_group(
            job,
            jobs,
            group,
            lambda fraction, done=done, share=share: report(done + fraction * share),  # type: ignore[misc]
        )
        for index, result in results.items():
            encoded[index] = replace(result, coding=replace(result.coding, lead_group=group_index))
        for index in members:
            if index not in encoded:
                encoded[index] = _constant_channel(
                    prepared[index], group_index, job.chunk_frames * per_frame, len(group.starts)
                )
        groups.append(StoredGroup(group.starts, kernel_geometry(rate_hz)[0], per_frame))
        if any(each.coding.residual is not None for each in results.values()):
            mixed.append(streams)
    for index, found in enumerate(lattices):
        if found is not None and not encoded[index].coding.is_constant:
            encoded[index] = replace(
                encoded[index],
                coding=replace(encoded[index].coding, lattice=found.lattice),
                decoded=recording.samples[index],
                exceptions=found.exceptions,
            )
    # Channels of several rates share a stream, which is then still to be made.
    known = mixed[0] if len(mixed) == 1 else None
    return EncodedSegment([encoded[index] for index in range(len(prepared))], groups, known)


def _models_for(models: tuple[Model, ...], rate_hz: float) -> tuple[Model, ...]:
    """Of the banks that were trained at some sampling rate, only the nearest; all others."""
    trained = [model for model in models if "sampling_rate_hz" in model.metadata]
    nearest = min(trained, key=lambda model: abs(np.log(model.metadata["sampling_rate_hz"] / rate_hz)), default=None)
    return tuple(model for model in models if model not in trained or model is nearest)


def _encode_group(
    job: SegmentJob, jobs: dict[int, ChannelJob], group: LeadGroup, report: Progress
) -> tuple[dict[int, EncodedChannel], LeadGroup, list[bytes] | None]:
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
    results, streams = _with_residuals(
        job, {index: replace(each, group=group) for index, each in jobs.items()}, results, choices
    )
    report(1.0)
    return results, group, streams


def _aim_of(promise: Promise, job: ChannelJob) -> float | None:
    """PRDN at which the cascade is chosen; None for a channel that is not worth one."""
    bound = promise.max_error_adu
    if bound is None:
        return promise.prdn
    if (bound == 0 and not job.settings.multiplier) or (job.hint is not None and job.hint.model is None):
        return None
    channel = job.channel
    rmse = typical_step(bound, job.noise) / STEP_PER_RMSE
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
        job.noise,
        min(job.chunk_length, len(channel.samples)),
    )


def _encode_channel(job: ChannelJob, promise: Promise, choice: Choice | None) -> EncodedChannel:
    """The cascade of a channel, or none where prediction alone is smaller."""
    bound = promise.max_error_adu
    if bound is None:
        assert choice is not None
        assert promise.prdn is not None
        return search(job, choice, prdn=promise.prdn)
    bare = _without_cascade(job)
    if choice is None:
        return bare
    unit = 2.0**-job.channel.exponent
    best: CascadeAt | None
    if not job.settings.multiplier:
        best = CascadeAt(choice, _FAST_STEP_OF_BOUND * bound)
    elif job.hint is not None:
        best = CascadeAt(choice, job.hint.step)
    else:
        best = choose_cascade(job, choice, bound=bound)
    if best is None:
        return bare
    try:
        return encode_at(job, best.choice, best.step * unit)
    except QualityError:  # so fine a step is beyond the bank's exact range
        return bare


def _without_cascade(job: ChannelJob) -> EncodedChannel:
    channel = job.channel
    coding = ChannelCoding(channel.offset, channel.minimum, channel.maximum)
    n_events = len(job.group.starts)
    none = Events(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))
    flat = np.full(len(channel.samples), channel.offset, np.int32)
    return EncodedChannel(coding, none, job.parts, [], flat, flat)


def _with_residuals(
    job: SegmentJob, jobs: dict[int, ChannelJob], encoded: dict[int, EncodedChannel], choices: dict[int, Choice]
) -> tuple[dict[int, EncodedChannel], list[bytes] | None]:
    """Add the residual layer to the channels whose samples are bounded; also the mixed residuals of every chunk."""
    bounds = {index: job.promises[index].max_error_adu for index in jobs}
    layered = [residual_job(jobs[index], bound, encoded[index]) for index, bound in bounds.items() if bound is not None]
    if not layered:
        return encoded, None
    codings = {each.channel: plan_alone(each).coding for each in layered if each.bound and job.settings.multiplier}
    codings |= {
        each.channel: corrections(each.channel, each.bound)
        for each in layered
        if each.bound and each.channel not in codings
    }
    # A channel that may have to be coded again, for its PRDN or its slopes, can tell others nothing.
    settled = {
        index
        for index in jobs
        if job.promises[index].prdn is None and jobs[index].channel.description.max_difference is None
    }
    predicted = [
        each for each in layered if not each.bound or (each.channel in settled and len(codings[each.channel].own))
    ]
    codings |= plan_together(predicted) if predicted else {}
    results = dict(encoded)
    parts = jobs[layered[0].channel].parts
    streams: list[bytes] | None = None
    if job.settings.coder == CODER_MIXED:
        layers, streams = encode_mixed_layer(
            layered, with_stages(layered, codings, job.settings.stages), parts, job.pool.map
        )
    else:
        layers = encode_layer(layered, codings, parts)
    for each in layered:
        channel, promise = jobs[each.channel].channel, job.promises[each.channel]
        results[each.channel] = with_residual(encoded[each.channel], each, layers[each.channel], channel)
        if not _keeps(promise, channel, results[each.channel].decoded):
            results[each.channel] = _tightened(jobs[each.channel], promise, choices.get(each.channel))
            streams = None
    return results, streams


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
            coding = corrections(job.index, promise.max_error_adu)
            result = _layered(job, residual_job(job, promise.max_error_adu, encoded), coding, encoded)
            if _keeps(promise, job.channel, result.decoded):
                return result
    # What cannot be kept with an error is kept without one.
    each = residual_job(job, 0, None)
    return _layered(job, each, plan_alone(each).coding, _without_cascade(job))


def _layered(job: ChannelJob, each: ResidualJob, coding: ResidualCoding, encoded: EncodedChannel) -> EncodedChannel:
    """One channel with its residual layer."""
    codings = {job.index: coding}
    if job.settings.coder == CODER_MIXED:
        layers, _ = encode_mixed_layer([each], with_stages([each], codings, job.settings.stages), job.parts)
    else:
        layers = encode_layer([each], codings, job.parts)
    return with_residual(encoded, each, layers[job.index], job.channel)


def _find_waves(
    channels: list[PreparedChannel], indices: list[int], rate_hz: float, settings: EncoderSettings
) -> LeadGroup:
    """Candidate events of a lead group; none where the level or the rate asks for none."""
    none = LeadGroup(np.zeros(0, np.int64), {}, rate_hz)
    is_detectable = _MIN_DETECTION_RATE_HZ <= rate_hz <= _MAX_DETECTION_RATE_HZ
    if max(settings.kernel_counts) == 0 or not channels or not is_detectable:
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
