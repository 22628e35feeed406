"""Choose how a channel whose samples are all bounded is coded: prediction alone, or over which cascade.

Every way is tried on the same pieces of the channel, cascade and residual layer together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import quantiser
from sancodec.codec.cascade_encoder import beat_sums_of, cascade_coding, quantise_parts
from sancodec.codec.channel import ChannelJob, Choice, PreparedChannel
from sancodec.codec.kernels import Model
from sancodec.codec.missing import filled_integers
from sancodec.codec.quantiser import Step
from sancodec.codec.residual import corrections
from sancodec.codec.residual_encoder import ResidualJob, expected_bits, own_keys
from sancodec.codec.residual_fit import Pieces, best_fit
from sancodec.codec.step_search import search_in_sample
from sancodec.codec.synthesis import check_amplitudes, reconstruct
from sancodec.codec.trial import MIN_STEP, STEP_PER_RMSE, sample_of
from sancodec.errors import CorruptError

# Steps that are tried where the error of every sample is bounded, in multiples of the bound …
_STEPS_OF_BOUND = {1: (2.6, 3.4, 4.4), 2: (2.0, 2.5, 3.1)}
# … and, over a prediction, root mean square errors of the cascade in multiples of the noise.
_CASCADE_NOISES = (0.7, 1.4, 2.8)
_NOISES_OF_BOUND = (1.4,)
_TRIAL_SAMPLES = 66_000


def target_of(channel: PreparedChannel) -> NDArray[np.int64]:
    """What the residual layer is to give, less the offset: missing samples lie on straight lines."""
    target = filled_integers(channel.samples, channel.runs)
    return np.clip(target, channel.minimum, channel.maximum) - channel.offset


def typical_step(bound: int, noise: float) -> float:
    """Middle of the steps that are tried, in stored units."""
    if not bound:
        return STEP_PER_RMSE * _CASCADE_NOISES[1] * noise
    shares = _STEPS_OF_BOUND[min(bound, max(_STEPS_OF_BOUND))]
    return shares[len(shares) // 2] * bound


def _steps(bound: int, noise: float) -> list[float]:
    if not bound:
        return [STEP_PER_RMSE * share * noise for share in _CASCADE_NOISES]
    steps = {share * bound for share in _STEPS_OF_BOUND[min(bound, max(_STEPS_OF_BOUND))]}
    return sorted(steps | {STEP_PER_RMSE * share * noise for share in _NOISES_OF_BOUND})


@dataclass(frozen=True, slots=True, eq=False)
class CascadeAt:
    """A choice of cascade, its step in stored units, and the bits that it takes with its residual layer, if known."""

    choice: Choice
    step: float
    bits: float


def choose_cascade(job: ChannelJob, choice: Choice, *, bound: int) -> CascadeAt | None:
    """The cheapest step, and there the cheapest bank, or None where prediction alone is cheaper."""
    target = target_of(job.channel)
    bare = sample_of(job, choice.model, choice.cascade.residual, _TRIAL_SAMPLES)
    at = np.array(bare.starts)[:, None] + np.arange(bare.length)
    pieces = Pieces({job.index: target[at].astype(np.float64)}, {}, len(target) / at.size)
    parts = [each.ravel() for each in beat_sums_of(job, choice.cascade) if each is not None]
    beat_sum = np.concatenate(parts)[at] if parts else None

    def tried(model: Model, step: float) -> CascadeAt:
        each = CascadeAt(replace(choice, model=model), step, np.inf)
        cascade = _cascade_at(job, each, beat_sum)
        if cascade is None:
            return each
        bits, rows = cascade
        with_rows = replace(pieces, approximations={job.index: rows.astype(np.float64)})
        return replace(each, bits=bits + residual_bits(job, with_rows, bound))

    best = min((tried(choice.model, step) for step in _steps(bound, job.noise)), key=lambda each: each.bits)
    others = [tried(model, best.step) for model in choice.others]
    best = min([best, *others], key=lambda each: each.bits)
    return best if best.bits < residual_bits(job, pieces, bound) else None


def residual_bits(job: ChannelJob, pieces: Pieces, bound: int) -> float:
    """What the residual layer takes, from the channel alone: the better of corrections and prediction."""
    channel = job.channel
    rows = pieces.approximations.get(job.index)
    each = ResidualJob(
        job.index,
        np.zeros(0, np.int64),
        None if rows is None else np.zeros(0, np.int64),
        channel.minimum - channel.offset,
        channel.maximum - channel.offset,
        bound,
        job.noise,
        min(job.chunk_length, len(channel.samples)),
    )
    plain = expected_bits(each, corrections(job.index, bound), pieces) if rows is not None and bound else np.inf
    if not each.may_predict:
        return plain
    fit = best_fit(pieces, job.index, [own_keys(each)], bound=bound, restart=each.restart)
    return min(plain, expected_bits(each, fit.coding, pieces))


def _cascade_at(
    job: ChannelJob, tried: CascadeAt, beat_sum: NDArray[np.int64] | None
) -> tuple[float, NDArray[np.int64]] | None:
    """Bits of a cascade in the whole channel, and its approximation of the pieces; int64 ``(piece, sample)``.

    ``beat_sum`` is what the beat layer adds to the pieces. None where a sum would leave the exact range.
    """
    channel, choice, model = job.channel, tried.choice, tried.choice.model
    rounded = Step.nearest(max(tried.step * 2.0**-channel.exponent, MIN_STEP))
    sample = sample_of(job, model, choice.cascade.residual, _TRIAL_SAMPLES)
    _, profile, offsets = search_in_sample(job, replace(choice, step=rounded.value), None, sample)
    parts, sums = quantise_parts(job, model, [sample.bands], profile, [sample.phases], rounded.value, offsets)
    coding = cascade_coding(job, choice, rounded, sums.offsets())
    amplitudes = quantiser.amplitudes_of(parts[0], coding.offsets, model)
    try:
        check_amplitudes(model, amplitudes)
        bank_sum = job.engine.synthesise(model, amplitudes)[:, : sample.length]
        rows = reconstruct(coding, bank_sum, beat_sum)
    except CorruptError:
        return None
    rounding = quantiser.rounding_of(model.contexts, multiplier=0.0, weight_set=profile.weight_set)
    active = (profile.scale_codes > 0).tolist()
    bits = quantiser.coded_bits(parts[0], rounding, active=active) * sample.factor + choice.cascade.side_bits
    return bits, rows.astype(np.int64) - channel.offset
