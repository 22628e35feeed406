"""The residual layer: samples from an integer prediction and coded differences (docs/format.md, "Residual layer").

A channel's samples are predicted from its own samples before, from the approximation that its cascade gives, and from
channels decoded earlier. With the weight 1 on the approximation alone, this is the corrections layer of the cascade;
without a cascade it is linear prediction across lags and channels. All arithmetic is on integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.errors import CorruptError

MAX_BOUND = 1 << 20
MAX_OWN_LAGS = 64
MAX_LAG = 64
MAX_REFERENCES = 256
MAX_WEIGHTS = 2048
MAX_WEIGHT_SUM = 1 << 26
MAX_WEIGHT_SHIFT = 20
MAX_NEAR_LAGS, MAX_FAR_LAGS = 32, 256
_EXACT = 1 << 52


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Samples of a channel at consecutive lags, as a term of a prediction.

    Parameters
    ----------
    channel
        Where they come from.
    decoded
        True for the channel's decoded samples, False for the approximation of its cascade.
    first_lag
        Sample n takes part in the prediction of sample n + lag; negative lags look ahead.
    weights
        int64, one per lag.
    """

    channel: int
    decoded: bool
    first_lag: int
    weights: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ResidualCoding:
    """What the file says once about the residual layer of a channel.

    Parameters
    ----------
    bound
        Largest error of a sample, e; differences are coded in units of 2e + 1.
    restart
        A prediction from own samples starts anew every so many samples of a chunk.
    shift
        Weights are in 2**-shift.
    own
        int64, weights of the channel's own samples at lags 1, 2 …
    near_lags, far_lags
        Of the adaptive stages that the mixing coder has; 0 for none.
    """

    bound: int
    restart: int
    shift: int
    own: NDArray[np.int64]
    references: tuple[Reference, ...]
    near_lags: int = 0
    far_lags: int = 0

    @property
    def unit(self) -> int:
        return 2 * self.bound + 1

    @property
    def weight_sum(self) -> int:
        """Σ|weight|."""
        return int(np.abs(self.own).sum()) + sum(int(np.abs(each.weights).sum()) for each in self.references)


def corrections(channel: int, bound: int) -> ResidualCoding:
    """The layer that only corrects the approximation of the channel's own cascade."""
    own = Reference(channel, False, 0, np.ones(1, np.int64))
    return ResidualCoding(bound, 1, 0, np.zeros(0, np.int64), (own,))


def decoding_levels(codings: Mapping[int, ResidualCoding]) -> list[list[int]]:
    """Channels that can be decoded together, by number: each level needs the decoded samples of earlier ones only.

    Raises
    ------
    CorruptError
        When channels need each other.
    """
    needs = {
        index: {each.channel for each in coding.references if each.decoded and each.channel in codings}
        for index, coding in codings.items()
    }
    users: dict[int, list[int]] = {index: [] for index in needs}
    for index, needed in needs.items():
        for each in needed:
            users[each].append(index)
    n_missing = {index: len(needed) for index, needed in needs.items()}
    levels: list[list[int]] = []
    level = sorted(index for index, count in n_missing.items() if not count)
    while level:
        levels.append(level)
        following = []
        for index in level:
            for user in users[index]:
                n_missing[user] -= 1
                if not n_missing[user]:
                    following.append(user)
        level = sorted(following)
    if any(n_missing.values()):
        missing = sorted(index for index, count in n_missing.items() if count)
        raise CorruptError(f"channels {missing} are predicted from each other")
    return levels


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One channel over chunks of one length.

    Parameters
    ----------
    approximation
        int64 ``(chunk, sample)``, less the channel's offset.
    low, high
        Range of its samples, less the offset.
    """

    approximation: NDArray[np.int64]
    low: int
    high: int


def reference_sums(
    channel: int, coding: ResidualCoding, planes: Mapping[int, Plane], decoded: Mapping[int, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Σ weight · sample over all references, int64 ``(chunk, sample)``; beyond the ends of a chunk its end samples."""
    n_chunks, length = planes[channel].approximation.shape
    if native.core is not None:
        sums = np.zeros((n_chunks, length), np.int64)
        for each in coding.references:
            source = decoded[each.channel] if each.decoded else planes[each.channel].approximation
            samples, weights = np.ascontiguousarray(source, np.int64), np.ascontiguousarray(each.weights, np.int64)
            native.core.add_reference(samples, length, weights, each.first_lag, sums)
        return sums
    # float64 adds integers below 2**53 exactly, and faster.
    sources = [planes[each.channel] for each in coding.references]
    peak = max((max(abs(source.low), abs(source.high)) for source in sources), default=0)
    number = np.float64 if peak * coding.weight_sum < _EXACT else np.int64
    total: NDArray[Any] = np.zeros((n_chunks, length), number)
    for each in coding.references:
        source = decoded[each.channel] if each.decoded else planes[each.channel].approximation
        last_lag = each.first_lag + len(each.weights) - 1
        before, behind = max(last_lag, 0), max(-each.first_lag, 0)
        padded = np.pad(source.astype(number), ((0, 0), (before, behind)), mode="edge")
        for lag, weight in enumerate(each.weights.tolist(), each.first_lag):
            if weight:
                start = before - lag
                total += number(weight) * padded[:, start : start + length]
    return total.astype(np.int64)


def decode_level(
    codings: Sequence[ResidualCoding],
    planes: Sequence[Plane],
    sums: Sequence[NDArray[np.int64]],
    codes: Sequence[NDArray[np.integer]],
) -> list[NDArray[np.int64]]:
    """Samples less the offset of channels that do not need each other, int64 ``(chunk, sample)`` each.

    Parameters
    ----------
    sums
        From ``reference_sums``; zeros where there are no references.
    codes
        Coded differences, in units of 2e + 1, integers ``(chunk, sample)``.
    """
    return _run(codings, planes, sums, codes, None)[0]


def encode_level(
    codings: Sequence[ResidualCoding],
    planes: Sequence[Plane],
    sums: Sequence[NDArray[np.int64]],
    samples: Sequence[NDArray[np.int64]],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Decoded samples and the codes that lead to them, for samples less the offset."""
    return _run(codings, planes, sums, None, samples)


def _run(
    codings: Sequence[ResidualCoding],
    planes: Sequence[Plane],
    sums: Sequence[NDArray[np.int64]],
    codes: Sequence[NDArray[np.integer]] | None,
    samples: Sequence[NDArray[np.int64]] | None,
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Decode where ``codes`` are given, encode where ``samples`` are."""
    results: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(codings)
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(codings)
    recursive: dict[tuple[int, int], list[int]] = {}
    for index, (coding, plane) in enumerate(zip(codings, planes, strict=True)):
        if len(coding.own) and native.core is not None:
            given = samples[index] if samples is not None else (codes or [])[index]
            results[index], found[index] = _run_natively(
                coding, plane, sums[index], given, is_encoding=samples is not None
            )
            continue
        if len(coding.own) and samples is not None and coding.unit == 1:
            # Nothing is lost, so what will be decoded is known, and no sample has to wait for the one before.
            results[index] = samples[index]
            found[index] = samples[index] - _predicted_from(coding, plane, sums[index], samples[index])
            continue
        if len(coding.own):
            restart = min(coding.restart, plane.approximation.shape[1])
            recursive.setdefault((restart, plane.approximation.shape[1]), []).append(index)
            continue
        half = (1 << coding.shift) >> 1
        predicted = (sums[index] + half) >> coding.shift
        if samples is not None:
            found[index] = _nearest(samples[index] - predicted, coding.unit)
            code = found[index]
        else:
            assert codes is not None
            code = codes[index].astype(np.int64)
        results[index] = np.clip(predicted + coding.unit * code, plane.low, plane.high)
    for (restart, _), members in recursive.items():
        part = _run_recursive(
            [codings[index] for index in members],
            [planes[index] for index in members],
            [sums[index] for index in members],
            None if codes is None else [codes[index] for index in members],
            None if samples is None else [samples[index] for index in members],
            restart,
        )
        for index, result, code in zip(members, *part, strict=True):
            results[index], found[index] = result, code
    return results, found


def _nearest(difference: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """Difference over an odd unit, rounded; there are no ties."""
    return difference if unit == 1 else (difference + unit // 2) // unit


def _blocks(rows: NDArray[np.int64], restart: int) -> NDArray[np.int64]:
    """``(chunk, sample)`` to ``(position in block, block)``, the last block filled up with zeros."""
    n_chunks, length = rows.shape
    n_blocks = -(-length // restart)
    padded = np.zeros((n_chunks, n_blocks * restart), np.int64)
    padded[:, :length] = rows
    return padded.reshape(n_chunks * n_blocks, restart).T


def _unblocked(lanes: NDArray[np.int64], n_chunks: int, length: int) -> NDArray[np.int64]:
    return lanes.T.reshape(n_chunks, -1)[:, :length]


def _run_recursive(
    codings: Sequence[ResidualCoding],
    planes: Sequence[Plane],
    sums: Sequence[NDArray[np.int64]],
    codes: Sequence[NDArray[np.integer]] | None,
    samples: Sequence[NDArray[np.int64]] | None,
    restart: int,
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    n_lags = max(len(coding.own) for coding in codings)
    n_chunks, length = planes[0].approximation.shape
    n_blocks = n_chunks * -(-length // restart)
    peak = max(max(abs(plane.low), abs(plane.high)) for plane in planes)
    given = codes if samples is None else samples
    assert given is not None
    lanes_in = np.concatenate([_blocks(np.asarray(each, np.int64), restart) for each in given], axis=1)
    # float64 adds integers below 2**53 exactly, and faster; what it cannot hold is left to int64.
    largest = max(coding.unit for coding in codings) * int(np.abs(lanes_in).max(initial=0))
    exact = largest < _EXACT and all(3 * peak * coding.weight_sum < _EXACT for coding in codings)
    number = np.float64 if exact else np.int64
    history = np.zeros((n_lags + restart, n_blocks * len(codings)), number)
    weights = np.zeros((n_lags, history.shape[1]), number)
    per_lane = np.empty((4, history.shape[1]), np.int64)
    for index, (coding, plane) in enumerate(zip(codings, planes, strict=True)):
        lanes = slice(index * n_blocks, (index + 1) * n_blocks)
        history[:n_lags, lanes] = _prehistory(plane.approximation, restart, n_lags)
        weights[n_lags - len(coding.own) :, lanes] = coding.own[::-1, None]
        per_lane[:, lanes] = np.array([[coding.shift], [coding.unit], [plane.low], [plane.high]])
    shift = per_lane[0]
    unit, low, high = per_lane[1:].astype(number)
    scale = 2.0**-shift
    half = (np.int64(1) << shift) >> 1
    totals = (np.concatenate([_blocks(each, restart) for each in sums], axis=1) + half).astype(number)
    start = np.concatenate([_block_starts(plane.approximation, restart) for plane in planes])
    steps = lanes_in.astype(number) if samples is not None else lanes_in.astype(number) * unit
    found = np.zeros(lanes_in.shape if samples is not None else (0, 0), np.int64)
    alike = np.ascontiguousarray(weights[:, 0]) if len(codings) == 1 else None
    for position in range(restart):
        before = history[position : position + n_lags]
        value = alike @ before if alike is not None else np.einsum("ij,ij->j", before, weights)
        value += totals[position]
        if exact:
            value *= scale
            np.floor(value, out=value)
        else:
            value >>= shift
        if samples is None:
            value += steps[position]
        else:
            code = (steps[position] - value + unit // 2) // unit
            found[position] = code
            value += unit * code
        np.maximum(value, low, out=value)
        np.minimum(value, high, out=value)
        history[position + n_lags] = value
        if position == 0:
            history[:n_lags] += value - start
    decoded = history[n_lags:].astype(np.int64, copy=False)
    split = range(n_blocks, n_blocks * len(codings), n_blocks)
    results = [_unblocked(each, n_chunks, length) for each in np.split(decoded, split, axis=1)]
    if samples is None:
        return results, [np.zeros(0, np.int64) for _ in codings]
    return results, [_unblocked(each, n_chunks, length) for each in np.split(found, split, axis=1)]


def _run_natively(
    coding: ResidualCoding, plane: Plane, sums: NDArray[np.int64], given: NDArray[np.integer], *, is_encoding: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    assert native.core is not None
    decoded = np.empty(sums.shape, np.int64)
    codes = np.empty(sums.shape if is_encoding else 0, np.int64)
    native.core.residual(
        np.ascontiguousarray(coding.own, np.int64),
        coding.shift,
        coding.unit,
        plane.low,
        plane.high,
        coding.restart,
        sums.shape[1],
        np.ascontiguousarray(plane.approximation),
        np.ascontiguousarray(sums),
        np.ascontiguousarray(given, np.int64),
        is_encoding,
        decoded,
        codes,
    )
    return decoded, codes


def _predicted_from(
    coding: ResidualCoding, plane: Plane, sums: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The prediction of every sample when all samples are known, int64 ``(chunk, sample)``."""
    n_chunks, length = samples.shape
    restart, n_lags = min(coding.restart, length), len(coding.own)
    blocks = _blocks(samples, restart)
    before = _prehistory(plane.approximation, restart, n_lags)
    start = _block_starts(plane.approximation, restart)
    first = coding.own[::-1] @ before
    peak = max(abs(plane.low), abs(plane.high))
    number = np.float64 if 3 * peak * coding.weight_sum < _EXACT else np.int64
    history = np.concatenate([before + (blocks[0] - start), blocks]).astype(number)
    total: NDArray[Any] = np.zeros(blocks.shape, number)
    for lag, weight in enumerate(coding.own.tolist(), 1):
        if weight:
            total += number(weight) * history[n_lags - lag : n_lags - lag + restart]
    total[0] = first
    half = (1 << coding.shift) >> 1
    return (_unblocked(total.astype(np.int64), n_chunks, length) + sums + half) >> coding.shift


def _block_starts(approximation: NDArray[np.int64], restart: int) -> NDArray[np.int64]:
    return approximation[:, ::restart].ravel()


def _prehistory(approximation: NDArray[np.int64], restart: int, n_lags: int) -> NDArray[np.int64]:
    """The approximation before every block, ``(lag, block)``, the oldest first; before the chunk its first value."""
    length = approximation.shape[1]
    at = np.arange(0, length, restart)[None, :] + np.arange(-n_lags, 0)[:, None]
    return approximation[:, np.maximum(at, 0)].transpose(1, 0, 2).reshape(n_lags, -1)
