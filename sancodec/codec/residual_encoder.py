"""Decide and encode the residual layer of a segment's channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import residual
from sancodec.codec.channel import EncodedChannel, PreparedChannel
from sancodec.codec.chunks import Part
from sancodec.codec.coding_section import MAX_SEGMENT_REFERENCES
from sancodec.codec.residual import Plane, ResidualCoding, corrections
from sancodec.codec.residual_fit import (
    Fit,
    Key,
    Pieces,
    best_fit,
    channel_order,
    piece_starts,
    slope_correlation,
    solved,
)
from sancodec.codec.residual_mixing import MixedChannel, encode_chunk
from sancodec.codec.residual_stream import MAX_DIFFERENCE
from sancodec.codec.residual_tables import plan_tables
from sancodec.errors import CorruptError

RESTART_SAMPLES = 2048
_PIECE_SAMPLES = 4096
_N_PIECES = 16
_MAX_PIECE_SAMPLES = 1 << 24
_MAX_CHANNELS_REFERRED = 128
_OWN_LAGS = 24
_APPROXIMATION_LAGS = 12
_FEW_OWN_LAGS = 16
_PREDICTION_LIMIT = 2.5
_STANDING_SHARE = 0.2
_BLOCK_EXPONENTS = (5, 16)
_N_STAGE_CHUNKS = 3

_CodedChunk = tuple[bytes, list[NDArray[np.int64]]]


@dataclass(frozen=True, slots=True, eq=False)
class ResidualJob:
    """A channel that gets a residual layer.

    Parameters
    ----------
    target
        int64 ``(sample,)``: what is to be decoded, less the offset; missing samples bridged.
    approximation
        int64 ``(sample,)``, less the offset; None without a cascade.
    bound
        Largest error allowed.
    noise
        Root mean square of what a prediction leaves, in stored units.
    """

    channel: int
    target: NDArray[np.int64]
    approximation: NDArray[np.int64] | None
    low: int
    high: int
    bound: int
    noise: float
    chunk_length: int

    @property
    def may_predict(self) -> bool:
        """Whether a prediction from own samples can be worth its weights: errors far above the noise drown it."""
        return self.approximation is None or self.bound <= _PREDICTION_LIMIT * self.noise

    def mixed(self, coding: ResidualCoding, span: slice) -> MixedChannel:
        """A chunk of the channel for the mixing coder."""
        return MixedChannel.of(
            self.channel,
            coding,
            low=self.low,
            high=self.high,
            approximation=None if self.approximation is None else self.approximation[span],
            n_samples=len(self.target[span]),
        )

    @property
    def restart(self) -> int:
        """Without an approximation, predictions should start anew as rarely as they can."""
        return self.chunk_length if self.approximation is None else min(RESTART_SAMPLES, self.chunk_length)


def own_keys(job: ResidualJob, *, n_own: int = _OWN_LAGS) -> list[Key]:
    """The channel's own samples before, and its approximation around."""
    keys: list[Key] = [(job.channel, True, lag) for lag in range(1, n_own + 1)]
    if job.approximation is not None:
        keys += [(job.channel, False, lag) for lag in range(-_APPROXIMATION_LAGS, _APPROXIMATION_LAGS + 1)]
    return keys


def pieces_of(jobs: Sequence[ResidualJob]) -> Pieces:
    """Evenly spaced parts of all channels, which have one rate."""
    n_samples = len(jobs[0].target)
    length = min(_PIECE_SAMPLES, n_samples)
    n_pieces = max(1, min(_N_PIECES, _MAX_PIECE_SAMPLES // (length * len(jobs))))
    starts = piece_starts(n_samples, length, n_pieces)
    at = np.array(starts)[:, None] + np.arange(length)
    samples = {job.channel: job.target[at].astype(np.float64) for job in jobs}
    approximations = {
        job.channel: job.approximation[at].astype(np.float64) for job in jobs if job.approximation is not None
    }
    return Pieces(samples, approximations, n_samples / (len(starts) * length))


def expected_bits(job: ResidualJob, coding: ResidualCoding, pieces: Pieces) -> float:
    """Bits of the codes in the whole segment, from really encoding the pieces; own references only."""
    samples = pieces.samples[job.channel].astype(np.int64)
    approximation = pieces.approximations.get(job.channel)
    rows = np.zeros(samples.shape, np.int64) if approximation is None else approximation.astype(np.int64)
    plane = Plane(rows, job.low, job.high)
    sums = residual.reference_sums(job.channel, coding, {job.channel: plane}, {})
    _, codes = residual.encode_level([coding], [plane], [sums], [samples])
    return min(plan_tables(list(codes[0]), exponent)[1] for exponent in _BLOCK_EXPONENTS) * pieces.factor


def plan_alone(job: ResidualJob) -> Fit:
    """The better of plain corrections and prediction, from the channel itself only."""
    pieces = pieces_of([job])
    options = []
    if job.approximation is not None and job.bound:
        plain = corrections(job.channel, job.bound)
        options.append(Fit(plain, expected_bits(job, plain, pieces)))
    if job.may_predict:
        sets = [own_keys(job), own_keys(job, n_own=_FEW_OWN_LAGS)]
        fit = best_fit(pieces, job.channel, sets, bound=job.bound, restart=job.restart)
        held = _held(job)
        options += [Fit(each, expected_bits(job, each, pieces)) for each in (fit.coding, held)]
    return min(options, key=lambda option: option.bits)


def _held(job: ResidualJob) -> ResidualCoding:
    """The value before is the prediction: for signals that stand still and jump."""
    return ResidualCoding(job.bound, job.restart, 0, np.ones(1, np.int64), ())


def plan_together(jobs: Sequence[ResidualJob]) -> dict[int, Fit]:
    """Predictions of channels of one rate from themselves and from each other."""
    pieces = pieces_of(jobs)
    correlation = slope_correlation(pieces, [job.channel for job in jobs])
    n_references = min(_MAX_CHANNELS_REFERRED, MAX_SEGMENT_REFERENCES // len(jobs) - 2)
    planned: dict[int, Fit] = {}
    known: list[int] = []
    for position in channel_order(correlation):
        job = jobs[position]
        channel = job.channel
        sets = [own_keys(job), own_keys(job, n_own=_FEW_OWN_LAGS), own_keys(job, n_own=8)]
        if known:
            told = np.argsort(-np.abs(correlation[position, known]), kind="stable")[:n_references]
            sets += _with_channels(job, [jobs[known[index]].channel for index in told])
        known.append(position)
        fit = best_fit(pieces, channel, sets, bound=job.bound, restart=job.restart)
        planned[channel] = fit
        if job.approximation is None and _stands_still(pieces.samples[channel]):
            alone = best_fit(pieces, channel, sets[:1], bound=job.bound, restart=job.restart)
            # What a normal distribution says of both tells what the others add to what was really coded.
            fitted_bits = expected_bits(job, alone.coding, pieces) - (alone.bits - fit.bits)
            held_bits = expected_bits(job, _held(job), pieces)
            if held_bits < fitted_bits:
                planned[channel] = Fit(_held(job), held_bits)
    return planned


def _stands_still(samples: NDArray[np.float64]) -> bool:
    """Whether a good part of all samples equals the one before."""
    return bool(np.mean(np.diff(samples, axis=1) == 0) > _STANDING_SHARE)


def _with_channels(job: ResidualJob, nearest: Sequence[int]) -> list[list[Key]]:
    """Sets of regressors from channels decoded before: a few lags of few, many lags of some, and all at lag 0."""

    def lags(channels: Sequence[int], first: int, last: int) -> list[Key]:
        return [(channel, True, lag) for channel in channels for lag in range(first, last + 1)]

    few, some = nearest[:2], nearest[:4]
    rest = list(nearest[4:])
    short = own_keys(job, n_own=_FEW_OWN_LAGS)
    sets = [
        own_keys(job, n_own=8) + lags(nearest[:3], 0, 1),
        short + lags(few, -1, 2),
        short + lags(some, -2, 4) + lags(rest, 0, 0),
        short + lags(some, 0, 12) + lags(rest, 0, 0),
        own_keys(job) + lags(nearest[:1], -12, 12),
    ]
    if len(nearest) > 4:
        sets.append(short + lags(nearest[:8], -4, 8) + lags(nearest[8:], 0, 0))
    return sets


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The residual layer of a channel: decoded samples, less the offset, and codes; int64 ``(sample,)`` each.

    The mixing coder has no codes: prediction and coding go hand in hand.
    """

    coding: ResidualCoding
    decoded: NDArray[np.int64]
    codes: NDArray[np.int64] | None


def encode_layer(
    jobs: Sequence[ResidualJob], codings: Mapping[int, ResidualCoding], parts: Sequence[Part]
) -> dict[int, Layer]:
    """Encode all channels; one whose codes are beyond what a file holds is predicted from the sample before.

    Parameters
    ----------
    parts
        Chunks of the channels, all of one rate.
    """
    layers = _encoded_layers(jobs, codings, parts)
    beyond = {job.channel: _held(job) for job in jobs if _peak(layers[job.channel]) >= MAX_DIFFERENCE}
    return _encoded_layers(jobs, {**codings, **beyond}, parts) if beyond else layers


def _peak(layer: Layer) -> int:
    return 0 if layer.codes is None else int(np.abs(layer.codes).max(initial=0))


def _encoded_layers(
    jobs: Sequence[ResidualJob], codings: Mapping[int, ResidualCoding], parts: Sequence[Part]
) -> dict[int, Layer]:
    by_channel = {job.channel: job for job in jobs}
    pieces: dict[int, tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]] = {job.channel: ([], []) for job in jobs}
    levels = residual.decoding_levels(codings)
    for part in parts:
        span = slice(part.first_sample, part.first_sample + part.n_chunks * part.length)
        planes: dict[int, Plane] = {}
        decoded: dict[int, NDArray[np.int64]] = {}
        for job in jobs:
            rows = np.zeros((part.n_chunks, part.length), np.int64)
            if job.approximation is not None:
                rows += job.approximation[span].reshape(rows.shape)
            planes[job.channel] = Plane(rows, job.low, job.high)
        for level in levels:
            sums = [residual.reference_sums(channel, codings[channel], planes, decoded) for channel in level]
            targets = [by_channel[channel].target[span].reshape(part.n_chunks, part.length) for channel in level]
            results = residual.encode_level(
                [codings[channel] for channel in level], [planes[channel] for channel in level], sums, targets
            )
            for channel, rows, codes in zip(level, *results, strict=True):
                decoded[channel] = rows
                pieces[channel][0].append(rows.ravel())
                pieces[channel][1].append(codes.ravel())
    return {
        channel: Layer(codings[channel], np.concatenate(rows), np.concatenate(codes))
        for channel, (rows, codes) in pieces.items()
    }


def encode_mixed_layer(
    jobs: Sequence[ResidualJob],
    codings: Mapping[int, ResidualCoding],
    parts: Sequence[Part],
    run: Callable[[Callable[[slice], _CodedChunk], Sequence[slice]], Iterable[_CodedChunk]] = map,
) -> tuple[dict[int, Layer], list[bytes]]:
    """Encode all channels under the mixing coder; also the residuals of every chunk, if these are all there are.

    Parameters
    ----------
    run
        Applies a function to every chunk, as ``map`` does.
    """
    order = [channel for level in residual.decoding_levels(codings) for channel in level]
    by_channel = {job.channel: job for job in jobs}
    spans = [
        slice(part.first_sample + number * part.length, part.first_sample + (number + 1) * part.length)
        for part in parts
        for number in range(part.n_chunks)
    ]

    def encoded(span: slice) -> _CodedChunk:
        channels = [by_channel[channel].mixed(codings[channel], span) for channel in order]
        return encode_chunk(channels, [by_channel[channel].target[span] for channel in order], {})

    try:
        chunks = list(run(encoded, spans))
    except CorruptError:  # a difference beyond what a file holds
        return encode_mixed_layer(jobs, {job.channel: _held(job) for job in jobs}, parts, run)
    layers = {
        channel: Layer(codings[channel], np.concatenate([rows[index] for _, rows in chunks]), None)
        for index, channel in enumerate(order)
    }
    return layers, [coded for coded, _ in chunks]


def with_stages(
    jobs: Sequence[ResidualJob], codings: Mapping[int, ResidualCoding], stages: Sequence[tuple[int, int]]
) -> dict[int, ResidualCoding]:
    """The codings with those adaptive stages that code some chunks in the fewest bytes, channel by channel."""
    by_channel = {job.channel: job for job in jobs}
    result = {}
    for channel, coding in codings.items():
        job = by_channel[channel]
        plain = replace(coding, restart=1)
        options = [plain]
        if len(coding.own) > 1:
            options = [replace(plain, near_lags=near, far_lags=far) for near, far in stages]
        sizes = [0] * len(options)
        length = min(job.chunk_length, len(job.target))
        starts = piece_starts(len(job.target), length, _N_STAGE_CHUNKS) if len(options) > 1 else []
        for start in starts:
            span = slice(start, start + length)
            known = {each.channel: by_channel[each.channel].target[span] for each in coding.references if each.decoded}
            for index, option in enumerate(options):
                sizes[index] += len(encode_chunk([job.mixed(option, span)], [job.target[span]], known)[0])
        result[channel] = options[sizes.index(min(sizes))]
    return result


def noise_scale(target: NDArray[np.int64], channel: int = 0) -> float:
    """Root mean square of what a prediction from own samples leaves, in stored units."""
    job = ResidualJob(channel, target, None, 0, 0, 0, 0.0, len(target))
    pieces = pieces_of([job])
    keys = own_keys(job, n_own=_FEW_OWN_LAGS)
    columns = pieces.rows(keys).T
    wanted = pieces.column((channel, True, 0))
    error = np.abs(wanted - columns @ solved(columns.T @ columns, columns.T @ wanted))
    # The median is that of a normal distribution; beats and jumps count little.
    return max(1.4826 * float(np.median(error)), math.sqrt(1 / 12))


def with_residual(encoded: EncodedChannel, job: ResidualJob, layer: Layer, channel: PreparedChannel) -> EncodedChannel:
    """The same channel with a residual layer."""
    stored: NDArray[np.integer] | None = layer.codes
    if stored is not None and _peak(layer) < 2**31:
        stored = stored.astype(np.int32)
    decoded = channel.marked((layer.decoded + channel.offset).astype(np.int32))
    coding = replace(encoded.coding, residual=layer.coding)
    return replace(encoded, coding=coding, decoded=decoded, codes=stored, target=job.target)
