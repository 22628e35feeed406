"""The residual layer under the mixing coder: all channels of a chunk as one stream (docs/format.md, "Coder 2").

``residual_arithmetic`` says what is done sample by sample; the native core does the same, many times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.mixing import RangeCoder
from sancodec.codec.residual import (
    MAX_BOUND,
    MAX_FAR_LAGS,
    MAX_NEAR_LAGS,
    MAX_OWN_LAGS,
    MAX_WEIGHT_SHIFT,
    MAX_WEIGHT_SUM,
    ResidualCoding,
)
from sancodec.codec.residual_arithmetic import (
    MAX_SAMPLE,
    N_PRIOR,
    ChannelRun,
    DifferenceCoder,
)
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError

_MAX_REFERENCE_LAG = 64
_CORRUPT, _FULL = -3, -4


@dataclass(frozen=True, slots=True, eq=False)
class MixedChannel:
    """A channel of a chunk.

    Parameters
    ----------
    index
        By which the references of others name it.
    low, high
        Range of its samples, less the offset.
    approximation
        int64 ``(sample,)``, less the offset; zeros without a cascade.
    """

    index: int
    coding: ResidualCoding
    low: int
    high: int
    approximation: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        index: int,
        coding: ResidualCoding,
        *,
        low: int,
        high: int,
        approximation: NDArray[np.int64] | None,
        n_samples: int,
    ) -> MixedChannel:
        """A channel with a cascade, or with None for its approximation."""
        return cls(index, coding, low, high, np.zeros(n_samples, np.int64) if approximation is None else approximation)


def mixed_channels(
    codings: Sequence[ChannelCoding],
    order: Sequence[int],
    approximations: Mapping[int, NDArray[np.int32]],
    n_samples: Sequence[int],
) -> tuple[list[MixedChannel], dict[int, NDArray[np.int64]]]:
    """Channels with a residual layer, and what all others with a cascade decode to, as a chunk is coded from them.

    Parameters
    ----------
    codings, n_samples
        Of all channels.
    order
        Those with a residual layer, as they are decoded.
    approximations
        In stored units, ``(sample,)``; of all channels with a cascade, by number.
    """
    rows = {index: approximation - np.int64(codings[index].offset) for index, approximation in approximations.items()}
    channels = []
    for index in order:
        coding = codings[index]
        assert coding.residual is not None
        low, high = coding.minimum - coding.offset, coding.maximum - coding.offset
        channels.append(
            MixedChannel.of(
                index, coding.residual, low=low, high=high, approximation=rows.get(index), n_samples=n_samples[index]
            )
        )
    return channels, {index: each for index, each in rows.items() if codings[index].residual is None}


@lru_cache(maxsize=1)
def shipped_prior() -> NDArray[np.uint16]:
    """What chunks begin with: slots, then weights, of all nodes."""
    content = (resources.files("sancodec") / "models" / "residual.prior").read_bytes()
    prior = np.frombuffer(content, "<u2").astype(np.uint16)
    assert len(prior) == N_PRIOR
    return prior


def encode_chunk(
    channels: Sequence[MixedChannel],
    targets: Sequence[NDArray[np.int64]],
    others: Mapping[int, NDArray[np.int64]],
) -> tuple[bytes, list[NDArray[np.int64]]]:
    """Code samples, less the offsets; returns what was coded, and the samples that will be decoded.

    Parameters
    ----------
    channels
        In decoding order: each after those whose decoded samples it refers to.
    others
        What coded channels without a residual layer decode to, less their offsets, by index.
    """
    chunk = _Chunk.of(channels, targets, others)
    return chunk.run(None), chunk.parts(len(channels))


def decode_chunk(
    channels: Sequence[MixedChannel], coded: bytes, others: Mapping[int, NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Inverse of ``encode_chunk``.

    Raises
    ------
    CorruptError
        When a difference is too large, or the input ends too early.
    """
    chunk = _Chunk.of(channels, [np.zeros_like(each.approximation) for each in channels], others)
    chunk.run(coded)
    return chunk.parts(len(channels))


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """A chunk in flat arrays, as the native core takes it.

    Planes are first those of the channels, then those of others. Rows of ``channels``: length, low, high, bound, shift,
    own lags, references, near and far lags. Rows of ``references``: plane, 1 for decoded samples, first lag, lags.
    """

    channels: NDArray[np.int64]
    plane_lengths: NDArray[np.int64]
    references: NDArray[np.int64]
    weights: NDArray[np.int64]
    approximations: NDArray[np.int64]
    samples: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        channels: Sequence[MixedChannel],
        samples: Sequence[NDArray[np.int64]],
        others: Mapping[int, NDArray[np.int64]],
    ) -> _Chunk:
        named = [each.index for each in channels] + list(others)
        planes = {index: plane for plane, index in enumerate(named)}
        given = list(others.values())
        rows, references, weights = [], [], [np.zeros(0, np.int64)]
        for each in channels:
            coding = each.coding
            sizes = (coding.bound, coding.shift, len(coding.own), len(coding.references))
            rows.append((len(each.approximation), each.low, each.high, *sizes, coding.near_lags, coding.far_lags))
            weights.append(coding.own)
            for reference in coding.references:
                references.append(
                    (planes[reference.channel], reference.decoded, reference.first_lag, len(reference.weights))
                )
                weights.append(reference.weights)
        approximations = [each.approximation for each in channels] + given
        return cls(
            np.array(rows, np.int64).reshape(-1, 9),
            np.array([len(each) for each in approximations], np.int64),
            np.array(references, np.int64).reshape(-1, 4),
            np.concatenate(weights).astype(np.int64),
            np.concatenate([np.zeros(0, np.int64), *approximations]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int64), *samples, *given]).astype(np.int64),
        )

    def parts(self, count: int) -> list[NDArray[np.int64]]:
        """The samples of each channel."""
        return np.split(self.samples, np.cumsum(self.plane_lengths))[:count]

    def run(self, coded: bytes | None) -> bytes:
        """Encode, or decode where there is something to decode; ``samples`` become what is decoded."""
        prior = shipped_prior()
        if native.core is None:
            return run_oracle(self, prior, coded)
        return run_native(self, prior, coded)


def run_native(chunk: _Chunk, prior: NDArray[np.uint16], coded: bytes | None) -> bytes:
    given = (chunk.channels, chunk.plane_lengths, chunk.references, chunk.weights, chunk.approximations)
    assert native.core is not None
    n_samples = len(chunk.samples)
    # Real signals take less than 8 bytes a sample, none more than 64.
    for room in (0,) if coded is not None else (8 * n_samples + 1024, 64 * n_samples + 1024):
        samples, written = chunk.samples.copy(), np.zeros(room, np.uint8)
        used = native.core.residual_mixing(prior, *given, coded, samples, written)
        if used != _FULL:
            break
    if used == _CORRUPT:
        raise CorruptError("residuals: a difference is too large, or the stream ends too early")
    if used < 0:
        raise CorruptError("residuals: the prediction of a channel is out of range")
    chunk.samples[:] = samples
    return coded if coded is not None else written[:used].tobytes()


def run_oracle(chunk: _Chunk, prior: NDArray[np.uint16], coded: bytes | None) -> bytes:
    """The same in Python."""
    _check(chunk)
    coder = DifferenceCoder(RangeCoder(coded), prior.tolist())
    starts = [0, *np.cumsum(chunk.plane_lengths).tolist()]
    approximations = [part.tolist() for part in np.split(chunk.approximations, starts[1:-1])]
    samples = [part.tolist() for part in np.split(chunk.samples, starts[1:-1])]
    references, weights = chunk.references.tolist(), chunk.weights.tolist()
    errors: list[list[int]] = []
    for position, row in enumerate(chunk.channels.tolist()):
        length, n_own, n_references = row[0], row[5], row[6]
        own, weights = weights[:n_own], weights[n_own:]
        sums, neighbours = [0] * length, []
        for plane, is_decoded, first_lag, count in references[:n_references]:
            source = (samples if is_decoded else approximations)[plane]
            for lag, weight in enumerate(weights[:count], first_lag):
                for n in range(length):
                    sums[n] += weight * source[min(max(n - lag, 0), length - 1)]
            weights = weights[count:]
            if is_decoded and plane < len(chunk.channels):
                neighbours.append(errors[plane])
        references = references[n_references:]
        if not neighbours:
            neighbours = [found for found in errors if len(found) == length][-1:]
        found = ChannelRun(coder, row, own, sums, approximations[position], samples[position], neighbours).run()
        errors.append(found)
    chunk.samples[:] = np.array([value for part in samples for value in part], np.int64)
    if coded is None:
        return coder.coder.finish()
    if not coder.coder.is_read_up:
        raise CorruptError("residuals: bytes follow the last difference, or are missing")
    return coded


def _check(chunk: _Chunk) -> None:
    references, weights = chunk.references.tolist(), np.abs(chunk.weights).tolist()
    is_valid = np.abs(np.concatenate([chunk.samples, chunk.approximations])).max(initial=0) <= MAX_SAMPLE
    for position, row in enumerate(chunk.channels.tolist()):
        length, low, high, bound, shift, n_own, n_references, near_lags, far_lags = row
        n_weights = n_own + sum(count for *_, count in references[:n_references])
        is_valid = (
            is_valid
            and length >= 1
            and -MAX_SAMPLE <= low <= high <= MAX_SAMPLE
            and 0 <= bound <= MAX_BOUND
            and 0 <= shift <= MAX_WEIGHT_SHIFT
            and 0 <= n_own <= MAX_OWN_LAGS
            and 0 <= near_lags <= MAX_NEAR_LAGS
            and 0 <= far_lags <= MAX_FAR_LAGS
            and sum(weights[:n_weights]) <= MAX_WEIGHT_SUM
        )
        for plane, is_decoded, first_lag, count in references[:n_references]:
            is_valid = (
                is_valid
                and abs(first_lag) <= _MAX_REFERENCE_LAG
                and 1 <= count <= 2 * _MAX_REFERENCE_LAG + 1
                and chunk.plane_lengths[plane] == length
                and not (is_decoded and position <= plane < len(chunk.channels))
            )
        references, weights = references[n_references:], weights[n_weights:]
    if not is_valid:
        raise CorruptError("residuals: the prediction of a channel is out of range")
