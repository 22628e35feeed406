"""Encode the channels of one rate: choices, cascades, residual layer."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events
from sancodec.codec.bounded_search import CascadeAt, choose_cascade, target_of, typical_step
from sancodec.codec.channel import (
    ChannelJob,
    Choice,
    EncodedChannel,
    EncoderSettings,
    LeadGroup,
    PreparedChannel,
    is_storable,
)
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.mix import Mix
from sancodec.codec.progress import Progress
from sancodec.codec.promise import Promise
from sancodec.codec.residual import ResidualCoding, corrections
from sancodec.codec.residual_encoder import (
    ResidualJob,
    encode_layer,
    encode_mixed_layer,
    plan_alone,
    plan_together,
    with_residual,
    with_stages,
)
from sancodec.codec.step_search import encode_at, search
from sancodec.codec.synthesis import ChannelCoding
from sancodec.codec.trial import STEP_PER_RMSE, choose
from sancodec.errors import QualityError

_FAST_STEP_OF_BOUND = 2.6
_MAX_CASCADED_CHANNELS = 2
# Errors far above the noise drown a prediction.
_PREDICTION_LIMIT = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class GroupJob:
    """Channels of one rate that are not constant, by number, and what they promise.

    Parameters
    ----------
    promises
        Of all channels of the recording.
    """

    jobs: dict[int, ChannelJob]
    group: LeadGroup
    promises: tuple[Promise, ...]
    settings: EncoderSettings
    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True, eq=False)
class EncodedGroup:
    """Channels by number, and what they share.

    Parameters
    ----------
    group
        The events that they use.
    mixed_residuals
        Of every chunk, under the mixing coder.
    mix
        How they follow from components; None for channels that are coded one by one.
    """

    channels: dict[int, EncodedChannel]
    group: LeadGroup
    mixed_residuals: list[bytes] | None
    mix: Mix | None = None


def encode_group(job: GroupJob, report: Progress) -> EncodedGroup:
    """Choices for all channels, then their cascades, then the residual layer.

    Raises
    ------
    QualityError
        When a promise cannot be kept.
    """
    jobs, promises = job.jobs, job.promises
    exact = [index for index in jobs if promises[index].max_error_adu == 0]
    # Where several channels predict each other, a cascade for each says again what the others said.
    alone = len(exact) <= _MAX_CASCADED_CHANNELS
    aims = {index: _aim_of(promises[index], each) for index, each in jobs.items() if alone or index not in exact}
    wanting = [index for index, aim in aims.items() if aim is not None]

    def choice_of(index: int) -> Choice:
        aim = aims[index]
        assert aim is not None
        return choose(jobs[index], prdn=aim)

    choices = dict(zip(wanting, job.pool.map(choice_of, wanting), strict=True))
    group, choices = drop_unused(job.group, choices)
    jobs = {index: replace(each, group=group) for index, each in jobs.items()}
    report(0.3)
    bounded = [index for index in choices if promises[index].max_error_adu is not None]

    def step_of(index: int) -> CascadeAt | None:
        return _step_of(jobs[index], promises[index], choices[index])

    found = dict(zip(bounded, job.pool.map(step_of, bounded), strict=True))
    if _are_better_together(job, jobs, found):
        choices = {index: choice for index, choice in choices.items() if index not in found}
        found = {}
        group, choices = drop_unused(group, choices)
        jobs = {index: replace(each, group=group) for index, each in jobs.items()}
    report(0.5)
    done = 0

    def cascade_of(index: int) -> EncodedChannel:
        nonlocal done
        if promises[index].max_error_adu is None:
            prdn = promises[index].prdn
            assert prdn is not None
            result = search(jobs[index], choices[index], prdn=prdn)
        else:
            result = _bounded_cascade(jobs[index], found.get(index))
        done += 1
        report(0.5 + 0.3 * done / len(jobs))
        return result

    results = dict(zip(jobs, job.pool.map(cascade_of, jobs), strict=True))
    results, streams = _with_residuals(job, jobs, results, choices)
    report(1.0)
    return EncodedGroup(results, group, streams)


def _step_of(job: ChannelJob, promise: Promise, choice: Choice) -> CascadeAt | None:
    """Cascade and step of a bounded channel; None where prediction alone is smaller."""
    bound = promise.max_error_adu
    assert bound is not None
    if not job.settings.multiplier:
        return CascadeAt(choice, _FAST_STEP_OF_BOUND * bound, 0.0)
    if job.hint is not None:
        return CascadeAt(choice, job.hint.step, 0.0)
    return choose_cascade(job, choice, bound=bound)


def _are_better_together(job: GroupJob, jobs: dict[int, ChannelJob], found: dict[int, CascadeAt | None]) -> bool:
    """Whether bounded channels take fewer bits where they are predicted from each other than with their cascades."""
    bounds = {index: job.promises[index].max_error_adu or 0 for index in found}
    tried = [index for index, each in found.items() if each is None or (each.bits and bounds[index])]
    if len(tried) <= _MAX_CASCADED_CHANNELS or not all(_is_settled(job, index) for index in tried):
        return False
    bare = [residual_job(jobs[index], bounds[index], None) for index in tried]
    if not all(each.bound <= _PREDICTION_LIMIT * each.noise for each in bare):
        return False
    cascaded = sum(each.bits for each in found.values() if each is not None)
    planned = plan_together(bare)
    together = sum(planned[index].bits for index in tried if found[index] is not None)
    return together < cascaded


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


def _bounded_cascade(job: ChannelJob, found: CascadeAt | None) -> EncodedChannel:
    """The cascade of a bounded channel, or none."""
    if found is None:
        return _without_cascade(job)
    try:
        return encode_at(job, found.choice, found.step)
    except QualityError:  # so fine a step is beyond the bank's exact range
        return _without_cascade(job)


def _without_cascade(job: ChannelJob) -> EncodedChannel:
    channel = job.channel
    coding = ChannelCoding(channel.offset, channel.minimum, channel.maximum)
    n_events = len(job.group.starts)
    none = Events.none(n_events)
    flat = np.full(len(channel.samples), channel.offset, np.int32)
    return EncodedChannel(coding, none, job.parts, [], flat, flat)


def _with_residuals(
    job: GroupJob, jobs: dict[int, ChannelJob], encoded: dict[int, EncodedChannel], choices: dict[int, Choice]
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
    settled = {index for index in jobs if _is_settled(job, index)}
    predicted = [
        each for each in layered if not each.bound or (each.channel in settled and len(codings[each.channel].own))
    ]
    codings |= {channel: fit.coding for channel, fit in plan_together(predicted).items()} if predicted else {}
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


def _is_settled(job: GroupJob, index: int) -> bool:
    return job.promises[index].prdn is None and job.jobs[index].channel.description.max_difference is None


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


def drop_unused(group: LeadGroup, choices: dict[int, Choice]) -> tuple[LeadGroup, dict[int, Choice]]:
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
