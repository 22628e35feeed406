"""Choose bank and beat layer of a channel by trial, on a sample of its chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import beats, quantiser
from sancodec.codec.beat_kernel_section import write_kernels
from sancodec.codec.beats import MAX_EXPONENT, Events
from sancodec.codec.bits import BitWriter
from sancodec.codec.channel import Cascade, ChannelJob, Choice
from sancodec.codec.chunks import Part, band_phases, bands_of, base_windows, bridged, phases_of_part
from sancodec.codec.coding_section import write_profile
from sancodec.codec.contexts import Profile
from sancodec.codec.detection import windows_at
from sancodec.codec.event_stream import write_events
from sancodec.codec.header import CODER_ZSTD
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Bands, Quantised
from sancodec.codec.synthesis import NO_KERNELS

MIN_STEP = 2.0**-7
TRIAL_SAMPLES = 132_000
_STEP_TRIAL_SAMPLES = 33_000
_PIECE_SAMPLES = 5500
STEP_PER_RMSE = 2.6
EVENT_BITS = 12.0
_POSITION_BITS = 5.0
_MIN_EVENTS = 8
_FINALISTS = 2
# What a bit is worth, in squared steps, when two ways of coding are compared at one step.
_STEP_SQUARES_PER_BIT = 0.12
# Optimised rounding loses a little more than the plain dead zone, and meets the target at a smaller step.
_ROUNDING_FACTOR = 0.96


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Bands and beat phases of some pieces, where those begin, and the factor from them to the whole channel."""

    bands: Bands
    phases: list[NDArray[np.int64]]
    factor: float
    starts: list[int]
    length: int


def part_phases(job: ChannelJob, model: Model, part: Part) -> list[NDArray[np.int64]]:
    """Beat phases per band of one part of a job's channel."""
    kernel_length = beats.kernel_geometry(job.group.sampling_rate_hz)[0]
    return phases_of_part(model, part, job.group.starts, kernel_length=kernel_length)


def sample_of(job: ChannelJob, model: Model, residual: NDArray[np.float32], n_wanted: int) -> Sample:
    """Evenly spaced pieces of about ``n_wanted`` samples in all; many short ones, since a record has its moods."""
    n_samples = len(job.channel.signal)
    length = min(n_samples, _PIECE_SAMPLES)
    n_pieces = max(1, min(n_samples // length, n_wanted // length))
    starts = np.unique(np.linspace(0, n_samples - length, n_pieces).astype(int)).tolist()
    pieces = np.concatenate([residual[start : start + length] for start in starts])
    circles = bridged(pieces, Part(0, len(starts), length, 0), model)
    bands = Bands.of(bands_of(job.engine.similarity(model, circles)))
    kernel_length = beats.kernel_geometry(job.group.sampling_rate_hz)[0]
    edges = np.searchsorted(job.group.starts, np.add.outer(starts, [1 - kernel_length, length]))
    events = [job.group.starts[first:last] - start for (first, last), start in zip(edges.tolist(), starts, strict=True)]
    phases = band_phases(model, events, circles.shape[1], kernel_length=kernel_length)
    return Sample(bands, phases, n_samples / (len(starts) * length), starts, length)


def choose(job: ChannelJob, *, prdn: float = math.nan, step: float | None = None) -> Choice:
    """First the bank, with the middle number of kernels, then that number.

    Parameters
    ----------
    prdn
        The target: what is best depends on it.
    step
        In units of the channel's signal; given instead of a target.
    """
    group, channel, hint = job.group, job.channel, job.hint
    counts = [count for count in job.settings.kernel_counts if count]
    if hint is not None:
        counts = [hint.n_kernels] if hint.n_kernels else []
    learnt: dict[int, NDArray[np.float32]] = {}
    if job.given is not None:
        if counts and len(group.starts):
            kernels = job.given.fitted(group.filtered[job.index], group.starts, sampling_rate_hz=group.sampling_rate_hz)
            learnt[len(kernels)] = kernels
    elif counts and len(group.starts) >= _MIN_EVENTS:
        before = beats.kernel_geometry(group.sampling_rate_hz)[1]
        learnt = beats.learn_kernels(
            group.filtered[job.index], group.starts + before, counts=counts, sampling_rate_hz=group.sampling_rate_hz
        )
    if hint is not None and hint.model is not None:
        step = max(hint.step * 2.0**-channel.exponent, MIN_STEP)
        return Choice(hint.model, cascade_of(job, learnt.get(hint.n_kernels), step), step)
    options = [0, *learnt]
    middle = options[(len(options) + 1) // 2] if learnt else 0
    if step is None:
        target_rmse = prdn / 100 * math.sqrt(channel.scaled_energy / channel.n_valid)
        rough = cascade_of(job, learnt.get(middle), max(STEP_PER_RMSE * target_rmse, MIN_STEP))
        step = plain_step(sample_of(job, job.models[0], rough.residual, _STEP_TRIAL_SAMPLES).bands, target_rmse)
    cascades = {middle: cascade_of(job, learnt.get(middle), step)}
    model, costs = job.models[0], {middle: 0.0}
    likely = [model]
    if len(job.models) > 1:
        likely = sorted(job.models, key=lambda each: rough_bits(job, each, cascades[middle].residual, step))
        if not job.settings.multiplier:
            return Choice(likely[0], cascades[middle], step)
        # On short channels all take no time; the trial's bits say little of those that zstd needs.
        if len(channel.signal) > _STEP_TRIAL_SAMPLES or job.settings.coder == CODER_ZSTD:
            likely = likely[:_FINALISTS]
        trials = [(_trial_cost(job, each, cascades[middle], step), each) for each in likely]
        costs[middle], model = min(trials, key=lambda trial: trial[0])
    elif learnt:
        costs[middle] = _trial_cost(job, model, cascades[middle], step)

    # Costs are no smooth function of the number of kernels: each is tried; none at all where few are best, or where the
    # kernels were not learned for these waves.
    for count in [*learnt, 0]:
        best = min(costs, key=lambda tried: (costs[tried], tried))
        if learnt and count not in costs and (count or best <= 2 or job.given is not None):
            cascades[count] = cascade_of(job, learnt.get(count), step)
            costs[count] = _trial_cost(job, model, cascades[count], step)
    best = min(costs, key=lambda tried: (costs[tried], tried))
    return Choice(model, cascades[best], step, tuple(each for each in likely if each is not model))


def cascade_of(job: ChannelJob, kernels: NDArray[np.float32] | None, step: float) -> Cascade:
    """Take the beat layer out of the signal; ``kernels`` is float32 ``(kernel, position)`` of unit norm, or None."""
    group, channel = job.group, job.channel
    n_events = len(group.starts)
    if kernels is None or not len(kernels):
        none = Events.none(n_events)
        return Cascade(NO_KERNELS, none, channel.signal, 0.0)
    waves = windows_at(group.filtered[job.index], group.starts, kernels.shape[1])
    quantised = beats.quantise_kernels(
        kernels, (waves @ kernels.T).max(axis=1), step=step, max_exponent=MAX_EXPONENT - channel.exponent
    )
    penalty = EVENT_BITS * max(job.settings.multiplier, 0.1) * step**2
    events, residual = beats.project(channel.signal, group.starts, quantised, penalty=penalty)
    if not events.gains.any():
        return Cascade(NO_KERNELS, Events.none(n_events), channel.signal, 0.0)
    writer = BitWriter()
    write_events(writer, events, quantised.n_kernels)
    write_kernels(writer, quantised)
    # Positions are shared by the channels of the group.
    side_bits = len(writer) + _POSITION_BITS * n_events / len(group.filtered)
    return Cascade(quantised, events, residual, side_bits)


def rough_bits(job: ChannelJob, model: Model, residual: NDArray[np.float32], step: float) -> float:
    """Σ ½·log2(1 + 4·(a/Δ)²) over a small sample: enough to tell which banks are worth a real trial."""
    sample = sample_of(job, model, residual, _STEP_TRIAL_SAMPLES)
    factor = np.float32(4 / step**2)
    bits = sum(float(np.log2(1 + factor * band**2).sum()) for band in sample.bands.absolute) / 2
    return bits * sample.factor


def _trial_cost(job: ChannelJob, model: Model, cascade: Cascade, step: float) -> float:
    """Bits plus distortion at one step, scaled to the whole channel."""
    sample = sample_of(job, model, cascade.residual, TRIAL_SAMPLES)
    plain, _ = quantiser.quantise_plain(sample.bands, step=step)
    profile = quantiser.profile_of(
        model.contexts, [plain.magnitudes], [sample.phases], with_phases=len(job.group.starts) > 0
    )
    if not len(job.group.starts):
        profile = with_best_weights(model, profile, plain, sample.phases)
    rounding = quantiser.rounding_of(
        model.contexts, multiplier=max(job.settings.multiplier, 0.06), weight_set=profile.weight_set
    )
    quantised, sums = quantiser.quantise(
        sample.bands,
        model,
        base_windows(model, profile.with_all_bands(), sample.phases),
        weight_set=profile.weight_set,
        step=step,
        rounding=rounding,
    )
    error = sums.squared_error(step, sums.offsets())
    bits = quantiser.coded_bits(quantised, rounding, active=(profile.scale_codes > 0).tolist())
    side_bits = cascade.side_bits
    if job.settings.coder != CODER_ZSTD:
        stored = quantiser.profile_of(
            model.contexts,
            [quantised.magnitudes],
            [sample.phases],
            with_phases=len(job.group.starts) > 0,
            weight_set=profile.weight_set,
        )
        writer = BitWriter()
        write_profile(writer, stored)
        side_bits += len(writer)
    return (bits + error / step**2 / _STEP_SQUARES_PER_BIT) * sample.factor + side_bits


def with_best_weights(model: Model, profile: Profile, quantised: Quantised, phases: list[NDArray[np.int64]]) -> Profile:
    """The profile with the set of band weights under which the coefficients take the fewest bits."""
    if model.contexts.n_weight_sets == 1:
        return profile
    active = (profile.scale_codes > 0).tolist()

    def bits(candidate: Profile) -> float:
        rounding = quantiser.rounding_of(model.contexts, multiplier=0.0, weight_set=candidate.weight_set)
        base_at = base_windows(model, candidate, phases)
        each = quantiser.classified(quantised, model, base_at, weight_set=candidate.weight_set)
        return quantiser.coded_bits(each, rounding, active=active)

    return min((replace(profile, weight_set=index) for index in range(model.contexts.n_weight_sets)), key=bits)


def plain_step(bands: Bands, target_rmse: float) -> float:
    """The step at which dead-zone quantisation meets a root mean square error, by bisection."""
    count = sum(band.size for band in bands.absolute)
    low = math.log(max(MIN_STEP, target_rmse * 1.5))
    high = math.log(max(MIN_STEP * 2, target_rmse * 16))
    for _ in range(7):
        middle = (low + high) / 2
        step = math.exp(middle)
        _, sums = quantiser.quantise_plain(bands, step=step)
        if sums.squared_error(step, sums.offsets()) > target_rmse**2 * count:
            high = middle
        else:
            low = middle
    return max(_ROUNDING_FACTOR * math.exp((low + high) / 2), MIN_STEP)
