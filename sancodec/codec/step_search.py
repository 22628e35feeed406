"""Search the largest quantiser step with which a channel's decoded integers keep the promise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import quantiser, trellis
from sancodec.codec.cascade_encoder import CascadeEncoder, quantise_parts
from sancodec.codec.channel import ChannelJob, Choice, EncodedChannel, is_storable
from sancodec.codec.contexts import MAX_SCALE_CODE, Profile
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.quantiser import Step
from sancodec.codec.trial import MIN_STEP, TRIAL_SAMPLES, Sample, sample_of, with_best_weights
from sancodec.errors import QualityError

_AIM = 0.9975
_SAMPLE_ROUNDS = 3
_MAX_ROUNDS = 24
_ENOUGH_ROUNDS = 8
_NARROW = 1.002
_TYPICAL_INVERSE_SLOPE = 1.1
_USELESS = 0.5
_FLAT_SLOPE = 1e-3
_MAX_STEP_LOG2 = 40
_TOO_STEEP = 4.0
_FIRST_OFFSETS = (8, 4, 2)
_FIRST_LEVEL_OFFSETS = (2, 28, 45)
# Levels of the finer step are larger by this many quarter powers of 2.
_CODES_OF_FINER_STEP = 2


class Bracket:
    """Root search on log step against log (error over target), which rises with the step."""

    def __init__(self, aim: float = _AIM) -> None:
        self._aim = aim
        self._low: tuple[float, float] | None = None
        self._high: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether nothing is left to gain between the largest good and the smallest bad step."""
        return self._low is not None and self._high is not None and self._high[0] / self._low[0] < _NARROW

    def next_step(self, step: float, ratio: float) -> float:
        """Take in a measurement and propose the next step, by secant or, where that leaves the bracket, by halving."""
        point = (step, max(ratio, 1e-6))
        if ratio <= 1:
            self._low = point if self._low is None else max(self._low, point)
        else:
            self._high = point if self._high is None else min(self._high, point)
        slope = 0.9
        if self._last is not None and abs(math.log(step / self._last[0])) > 1e-4:
            estimate = math.log(point[1] / self._last[1]) / math.log(step / self._last[0])
            if 0.2 < estimate < 8:
                slope = estimate
            elif estimate <= 0.2 and ratio > 1:
                # The error hardly moves with the step: leave for much smaller ones.
                slope = _FLAT_SLOPE
        self._last = point
        proposal = step * math.exp(min(max(math.log(self._aim / point[1]) / slope, -1.4), 1.4))
        if self._low is not None and self._high is not None:
            # A secant from where the error vanishes, as it can on integers, is worth nothing.
            steep = self._low[1] < _USELESS
            if steep or not self._low[0] < proposal < self._high[0]:
                proposal = math.sqrt(self._low[0] * self._high[0])
        return max(proposal, MIN_STEP)


def search(job: ChannelJob, choice: Choice, *, prdn: float) -> EncodedChannel:
    """Encode a channel.

    Parameters
    ----------
    job
        Its lead group holds the events that are stored; ``choice.cascade.events`` refers to them.
    prdn
        Percent that the decoded integers must not exceed; they come within half a percent of it where they can.

    Raises
    ------
    QualityError
        When no step reaches ``prdn``.
    """
    channel = job.channel
    target = (prdn / 100) ** 2 * channel.scaled_energy
    step, profile, offsets = start_of(job, *search_in_sample(job, choice, target))
    exact_ratio = _exact_ratio(job, target)
    aim = aim_of(job)
    cascade = CascadeEncoder(job, choice)
    bracket = Bracket(aim)
    best: EncodedChannel | None = None
    best_rank = (-math.inf, 0.0)
    reached = math.inf
    for round_index in range(_MAX_ROUNDS):
        rounded = Step.nearest(step)
        quantised, sums = cascade.quantise(rounded.value, profile, offsets)
        if round_index == 0:
            if job.settings.coder == CODER_MIXED:
                # Once only: a quantiser that followed its own profile would drift and never converge.
                profile, offsets = cascade.profile(quantised, profile.weight_set), sums.offsets()
            error = sums.squared_error(rounded.value, sums.offsets())
            estimate = math.sqrt(error * exact_ratio / target)
            if aim - job.settings.acceptance < abs(estimate - aim) < aim:
                step = max(rounded.value * (aim / estimate) ** _TYPICAL_INVERSE_SLOPE, MIN_STEP)
                continue
        encoded = cascade.encoded(rounded, quantised, sums.offsets())
        ratio = math.sqrt(_squared_error(job, encoded.decoded) / channel.energy) * 100 / prdn
        reached = min(reached, ratio * prdn)
        if not is_storable(job.channel.description, encoded.decoded):
            ratio = max(ratio, 1.0) * _TOO_STEEP
        # Nearest to the target, then the largest step: on short channels the error jumps about.
        if ratio <= 1 and (ratio, rounded.value) > best_rank:
            best_rank, best = (ratio, rounded.value), encoded
        if job.settings.acceptance <= ratio <= 1 or (rounded.value <= MIN_STEP and ratio > 1):
            break
        step = min(bracket.next_step(rounded.value, ratio), 2.0 ** (_MAX_STEP_LOG2 - channel.exponent))
        if best is not None and (round_index >= _ENOUGH_ROUNDS or bracket.is_narrow):
            break
    if best is None and reached <= prdn:
        raise QualityError(
            f"channel {channel.description.name!r}: its format stores differences of at most "
            f"{channel.description.max_difference} between samples, and its slopes are too close to that for "
            f"PRDN {prdn:g} %. Ask for a smaller PRDN, or convert the record to another format first"
        )
    if best is None:
        raise QualityError(
            f"channel {channel.description.name!r}: PRDN {prdn:g} % cannot be reached; "
            f"the best was {reached:.4g} %. Ask for a larger PRDN"
        )
    return best if not job.settings.multiplier else cascade.with_profile(best, weight_set=profile.weight_set)


def encode_at(job: ChannelJob, choice: Choice, step: float) -> EncodedChannel:
    """Encode a channel at a given step.

    Parameters
    ----------
    step
        That of a plain quantiser, in stored units.

    Raises
    ------
    QualityError
        When the step is beyond the exact range of the codec.
    """
    plain = Step.nearest(max(step * 2.0**-job.channel.exponent, MIN_STEP)).value
    found = search_in_sample(job, replace(choice, step=plain), None)
    start, profile, offsets = start_of(job, *found)
    rounded = Step.nearest(start)
    cascade = CascadeEncoder(job, choice)
    quantised, sums = cascade.quantise(rounded.value, profile, offsets)
    if job.settings.coder == CODER_MIXED:
        profile = cascade.profile(quantised, profile.weight_set)
        quantised, sums = cascade.quantise(rounded.value, profile, sums.offsets())
    encoded = cascade.encoded(rounded, quantised, sums.offsets())
    return encoded if not job.settings.multiplier else cascade.with_profile(encoded, weight_set=profile.weight_set)


def start_of(
    job: ChannelJob, step: float, profile: Profile, offsets: tuple[int, int, int]
) -> tuple[float, Profile, tuple[int, int, int]]:
    """Step, profile and offsets to begin with, from those of a plain quantiser."""
    if job.settings.coder != CODER_MIXED:
        return step, profile, offsets
    used = profile.scale_codes > 0
    codes = np.where(used, np.minimum(profile.scale_codes + _CODES_OF_FINER_STEP, MAX_SCALE_CODE), 0)
    return max(step * trellis.STEP_OF_PLAIN, MIN_STEP), replace(profile, scale_codes=codes), _FIRST_LEVEL_OFFSETS


def aim_of(job: ChannelJob) -> float:
    """Share of the target to aim at: the middle of what is accepted."""
    return (1 + job.settings.acceptance) / 2


def _exact_ratio(job: ChannelJob, target: float) -> float:
    """Expected ratio of the integers' error to the coefficients': rounding adds 1/12 unless the error is below it."""
    return 1 + min(job.channel.n_valid * 4.0**-job.channel.exponent / 12 / target, 0.3)


def search_in_sample(
    job: ChannelJob, choice: Choice, target: float | None, sample: Sample | None = None
) -> tuple[float, Profile, tuple[int, int, int]]:
    """A first step, with the profile and offsets that belong to it, from a sample of the chunks.

    Without a target the step stays that of ``choice``. Profile and offsets stay as they are afterwards: rounding
    that followed its own profile would drift and never converge.
    """
    model = choice.model
    exact_ratio = 1.0 if target is None else _exact_ratio(job, target)
    aim = aim_of(job)
    if sample is None:
        sample = sample_of(job, model, choice.cascade.residual, TRIAL_SAMPLES)
    step, offsets, weight_set = choice.step, _FIRST_OFFSETS, 0
    quantised, _ = quantiser.quantise_plain(sample.bands, step=step)
    bracket = Bracket(aim)
    for round_index in range(_SAMPLE_ROUNDS):
        profile = quantiser.profile_of(
            model.contexts,
            [quantised.magnitudes],
            [sample.phases],
            with_phases=len(job.group.starts) > 0,
            weight_set=weight_set,
        )
        if round_index == 0 and job.settings.multiplier:
            profile = with_best_weights(model, profile, quantised, sample.phases)
            weight_set = profile.weight_set
        parts, sums = quantise_parts(job, model, [sample.bands], profile, [sample.phases], step, offsets)
        quantised, offsets = parts[0], sums.offsets()
        if target is None:
            continue
        ratio = math.sqrt(sums.squared_error(step, offsets) * exact_ratio * sample.factor / target)
        if round_index == 1:
            bracket = Bracket(aim)
        step = min(bracket.next_step(step, ratio), 2.0 ** (_MAX_STEP_LOG2 - job.channel.exponent))
    return step, profile, offsets


def _squared_error(job: ChannelJob, decoded: NDArray[np.int32]) -> float:
    difference = (decoded - job.channel.samples.astype(np.int64)).astype(np.float64)
    return float(difference @ difference)
