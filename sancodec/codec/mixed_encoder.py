"""Encode channels of one rate as a mix of components, where that takes fewer bits than each channel alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events
from sancodec.codec.cascade_encoder import CascadeEncoder, cascade_coding
from sancodec.codec.channel import ChannelJob, Choice, EncodedChannel, PreparedChannel
from sancodec.codec.contexts import Profile
from sancodec.codec.group_encoder import EncodedGroup, GroupJob, drop_unused
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.missing import mask_of
from sancodec.codec.mix import mixed
from sancodec.codec.mix_plan import MixPlan, plan_mix
from sancodec.codec.progress import Progress
from sancodec.codec.quantiser import Quantised, Step
from sancodec.codec.recording import INT32_MAX, INT32_MIN, Channel
from sancodec.codec.step_search import Bracket, aim_of, search_in_sample, start_of
from sancodec.codec.synthesis import ChannelCoding, clamped
from sancodec.codec.trial import MIN_STEP, choose, plain_step, rough_bits, sample_of
from sancodec.errors import CorruptError

_MAX_RANGE_BITS = 24
_SIGNAL_BITS = 15
_MAX_ROUNDS = 12
# A mix is taken where coefficients of one bank, without beats, are expected to take less than this share of the bits.
# Of 0.92 to 0.98, records of two leads kept 0.97 to 1.11; of 0.42 to 0.74, records of twelve kept 0.67 to 0.86.
_WORTHWHILE = 0.85
# Bits of a stored weight, about.
_WEIGHT_BITS = 6
_PLAN_SAMPLES = 33_000


def encode_mix(job: GroupJob, report: Progress) -> EncodedGroup | None:
    """A group as a mix of components; None where its channels are better coded one by one, or cannot be otherwise."""
    if not is_mixable(job):
        return None
    order = list(job.jobs)
    allowed = np.array([_allowed_rmse(job, index) for index in order])
    try:
        plan = plan_mix(_sampled(job), allowed)
    except np.linalg.LinAlgError:  # channels so alike, or so different, that there is no such plan
        return None
    if plan is None:
        return None
    components = _component_jobs(job, plan)
    steps = [
        max(step * 2.0**-each.channel.exponent, MIN_STEP)
        for each, step in zip(components, plan.steps.tolist(), strict=True)
    ]
    if not _is_worthwhile(job, allowed, plan, components, steps):
        return None
    report(0.1)
    found = job.pool.map(lambda each, step: choose(each, step=step), components, steps)
    group, choices = drop_unused(components[0].group, dict(enumerate(found)))
    report(0.4)
    encoder = _MixEncoder([replace(each, group=group) for each in components], choices, plan, job, order, allowed)
    try:
        return encoder.search(report)
    except CorruptError:  # this quality is beyond the exact range
        return None


def is_mixable(job: GroupJob) -> bool:
    """Whether components could stand for these channels: no sample of theirs is bounded, and none is very large."""
    return len(job.jobs) > 1 and all(
        job.promises[index].max_error_adu is None
        and each.settings.multiplier > 0
        and each.given is None
        and each.channel.description.max_difference is None
        and (each.channel.maximum - each.channel.minimum) >> _MAX_RANGE_BITS == 0
        for index, each in job.jobs.items()
    )


def _allowed_rmse(job: GroupJob, index: int) -> float:
    prdn, channel = job.promises[index].prdn, job.jobs[index].channel
    assert prdn is not None
    return prdn / 100 * math.sqrt(channel.energy / channel.n_valid)


def _sampled(job: GroupJob) -> NDArray[np.float64]:
    """Coefficients of all channels under the first bank, ``(channel, coefficient)``, in stored units."""
    rows = []
    for each in job.jobs.values():
        bands = sample_of(each, each.models[0], each.channel.signal, _PLAN_SAMPLES).bands
        row = np.concatenate(
            [
                np.where(negative, -absolute, absolute).ravel()
                for absolute, negative in zip(bands.absolute, bands.negative, strict=True)
            ]
        )
        rows.append(row.astype(np.float64) * 2.0**each.channel.exponent)
    return np.stack(rows)


def _component_jobs(job: GroupJob, plan: MixPlan) -> list[ChannelJob]:
    """Components as channels, in the places of the first channels."""
    order = list(job.jobs)
    channels = [each.channel for each in job.jobs.values()]
    signals = np.stack([channel.signal * np.float32(2.0**channel.exponent) for channel in channels])
    analysis = plan.analysis.astype(np.float32)
    rows = analysis @ signals
    exponents = [_exponent_of(row) for row in rows]
    rows *= np.float32(2.0) ** -np.array(exponents, np.float32)[:, None]
    filtered: dict[int, NDArray[np.float32]] = {}
    if len(job.group.starts):
        units = np.array([2.0**channel.exponent for channel in channels])
        scaled = analysis * units.astype(np.float32)
        found = scaled @ np.stack([job.group.filtered[index] for index in order])
        found *= np.float32(2.0) ** -np.array(exponents, np.float32)[:, None]
        filtered = dict(zip(order, found, strict=False))
    group = replace(job.group, filtered=filtered)
    return [
        replace(job.jobs[index], channel=_as_channel(number, row, exponent), group=group, hint=None, noise=0.0)
        for number, (index, row, exponent) in enumerate(zip(order, rows, exponents, strict=False))
    ]


def _exponent_of(row: NDArray[np.float32]) -> int:
    """float32 holds squares of so many bits with room to spare."""
    return max(0, math.frexp(float(np.abs(row).max()))[1] - _SIGNAL_BITS)


def _as_channel(number: int, signal: NDArray[np.float32], exponent: int) -> PreparedChannel:
    energy = float(np.square(signal, dtype=np.float64).sum()) * 4.0**exponent
    description = Channel(f"component {number}", minimum=INT32_MIN + 1, maximum=INT32_MAX)
    nothing, no_runs = np.zeros(0, np.int32), np.zeros((0, 2), np.int64)
    return PreparedChannel(
        description, nothing, signal, no_runs, len(signal), 0, INT32_MIN + 1, INT32_MAX, exponent, max(energy, 1e-30)
    )


def _is_worthwhile(
    job: GroupJob, allowed: NDArray[np.float64], plan: MixPlan, components: list[ChannelJob], steps: list[float]
) -> bool:
    """By what coefficients of the first bank would take."""

    def alone(each: ChannelJob, rmse: float) -> float:
        signal, rmse = each.channel.signal, rmse * 2.0**-each.channel.exponent
        step = plain_step(sample_of(each, each.models[0], signal, _PLAN_SAMPLES).bands, rmse)
        return rough_bits(each, each.models[0], signal, step)

    def together(each: ChannelJob, step: float) -> float:
        return rough_bits(each, each.models[0], each.channel.signal, step)

    weights = plan.mix.weights[[rule is None for rule in plan.mix.derived]].size
    bits = sum(job.pool.map(together, components, steps)) + _WEIGHT_BITS * weights
    return bits < _WORTHWHILE * sum(job.pool.map(alone, job.jobs.values(), allowed.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class _AtStep:
    """All components at one factor of their first steps."""

    steps: list[Step]
    quantised: list[list[Quantised]]
    offsets: list[tuple[int, int, int]]
    samples: NDArray[np.int32]
    ratio: float


class _MixEncoder:
    """Components under their choices, at steps that all are raised and lowered together."""

    def __init__(
        self,
        components: list[ChannelJob],
        choices: dict[int, Choice],
        plan: MixPlan,
        job: GroupJob,
        order: list[int],
        allowed: NDArray[np.float64],
    ) -> None:
        self._components = components
        self._choices = [choices[number] for number in range(len(components))]
        self._plan = plan
        self._job = job
        self._order = order
        self._channels = [job.jobs[index].channel for index in order]
        self._allowed = allowed
        self._cascades = list(job.pool.map(CascadeEncoder, components, self._choices))
        self._starts = list(job.pool.map(_start, components, self._choices))

    def search(self, report: Progress) -> EncodedGroup | None:
        """The largest steps at which every channel keeps its PRDN; None where there are none.

        Raises
        ------
        CorruptError
            When a sum leaves the exact range.
        """
        settings = self._job.settings
        aim = aim_of(self._components[0])
        bracket = Bracket(aim)
        factor, best = 1.0, None
        for round_index in range(_MAX_ROUNDS):
            found = self._at(factor, is_first=round_index == 0)
            report(0.4 + 0.5 * (round_index + 1) / _MAX_ROUNDS)
            if found.ratio <= 1 and (best is None or found.ratio > best.ratio):
                best = found
            if settings.acceptance <= found.ratio <= 1:
                break
            factor = bracket.next_step(factor, found.ratio)
            if best is not None and bracket.is_narrow:
                break
        return None if best is None else self._finished(best)

    def _at(self, factor: float, *, is_first: bool) -> _AtStep:
        steps = [Step.nearest(max(start * factor, MIN_STEP)) for start, _, _ in self._starts]

        def one(number: int) -> tuple[list[Quantised], tuple[int, int, int], NDArray[np.int64]]:
            _, profile, offsets = self._starts[number]
            cascade = self._cascades[number]
            quantised, sums = cascade.quantise(steps[number].value, profile, offsets)
            if is_first and self._job.settings.coder == CODER_MIXED:
                # Once only, as in a search of one channel.
                profile = cascade.profile(quantised, profile.weight_set)
                self._starts[number] = self._starts[number][0], profile, sums.offsets()
            return quantised, sums.offsets(), cascade.component(steps[number], quantised, sums.offsets())

        quantised, offsets, components = zip(*self._job.pool.map(one, range(len(steps))), strict=True)
        sums = mixed(self._plan.mix.rows, np.stack(components))
        samples = np.stack(
            [clamped(self._coding(channel), row) for channel, row in zip(self._channels, sums, strict=True)]
        )
        ratio = (np.array(list(map(_rmse, self._channels, samples))) / self._allowed).max()
        return _AtStep(steps, list(quantised), list(offsets), samples, float(ratio))

    @staticmethod
    def _coding(channel: PreparedChannel) -> ChannelCoding:
        return ChannelCoding(channel.offset, channel.minimum, channel.maximum)

    def _finished(self, found: _AtStep) -> EncodedGroup | None:
        kept = [
            number
            for number, choice in enumerate(self._choices)
            if choice.cascade.events.gains.any()
            or any(band.any() for part in found.quantised[number] for band in part.magnitudes)
        ]
        if not kept:
            return None
        mix = self._plan.only(kept)
        rows = mix.rows
        described = self._job.pool.map(lambda number: self._described(number, found), kept)
        results: dict[int, EncodedChannel] = {}
        for place, (index, channel) in enumerate(zip(self._order, self._channels, strict=True)):
            own = replace(self._coding(channel), row=rows[place])
            none = Events.none(len(self._components[0].group.starts))
            parts, samples = self._components[0].parts, found.samples[place]
            each = EncodedChannel(own, none, parts, [], samples, channel.marked(samples))
            results[index] = each
        for index, component in zip(self._order, described, strict=False):
            own = results[index].coding
            coding = replace(component.coding, offset=own.offset, minimum=own.minimum, maximum=own.maximum, row=own.row)
            results[index] = replace(
                results[index], coding=coding, events=component.events, quantised=component.quantised
            )
        return EncodedGroup(results, self._components[0].group, None, mix)

    def _described(self, number: int, found: _AtStep) -> EncodedChannel:
        """A component with the profile that is stored; its samples are none."""
        component, choice = self._components[number], self._choices[number]
        coding = cascade_coding(component, choice, found.steps[number], found.offsets[number])
        nothing = component.channel.samples
        bare = EncodedChannel(coding, choice.cascade.events, component.parts, found.quantised[number], nothing, nothing)
        return self._cascades[number].with_profile(bare, weight_set=self._starts[number][1].weight_set)


def _start(component: ChannelJob, choice: Choice) -> tuple[float, Profile, tuple[int, int, int]]:
    return start_of(component, *search_in_sample(component, choice, None))


def _rmse(channel: PreparedChannel, samples: NDArray[np.int32]) -> float:
    """Of the valid samples, in stored units."""
    error = (samples - channel.samples.astype(np.int64)).astype(np.float64)
    if len(channel.runs):
        error = error[~mask_of(channel.runs, len(error))]
    return math.sqrt(float(error @ error) / channel.n_valid)
