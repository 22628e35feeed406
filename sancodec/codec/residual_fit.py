"""Fit the integer predictions of the residual layer by least squares, on pieces of a segment.

Serves the encoder only; a decoder takes the weights from the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.residual import MAX_WEIGHT_SHIFT, MAX_WEIGHT_SUM, Reference, ResidualCoding

_EDGE = 32
_FIT_SAMPLES = 33_000
_MAX_ORDERED_CHANNELS = 512
_NOTHING_LEFT = 1e-6
_LOCAL_SAMPLES = 12
_WEIGHT_FLOOR = 0.3
_RIDGE = 1e-10
_NOISE_SHARE = 0.004
_MIN_SHIFT = 3
_WEIGHT_BITS = 2.0
_REFERENCE_BITS = 20.0

Key = tuple[int, bool, int]  # channel, decoded samples or approximation, lag


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Parts of a segment side by side, as if they were chunks.

    Parameters
    ----------
    samples, approximations
        Per channel less its offset, float64 ``(piece, sample)``.
    factor
        From the pieces to the whole segment.
    """

    samples: dict[int, NDArray[np.float64]]
    approximations: dict[int, NDArray[np.float64]]
    factor: float

    def column(self, key: Key) -> NDArray[np.float64]:
        """A regressor at all inner samples of all pieces, flat."""
        return self._inner(key).ravel()

    def rows(self, keys: Sequence[Key]) -> NDArray[np.float64]:
        """The columns of regressors, ``(regressor, sample)``."""
        return np.stack([self._inner(key) for key in keys]).reshape(len(keys), -1)

    def _inner(self, key: Key) -> NDArray[np.float64]:
        channel, decoded, lag = key
        source = self.samples[channel] if decoded else self.approximations[channel]
        length = source.shape[1]
        edge = min(_EDGE, length // 4)
        every = max(1, source.size // _FIT_SAMPLES)
        if abs(lag) <= edge:
            return source[::every, edge - lag : length - edge - lag]
        return source[::every, np.clip(np.arange(edge, length - edge) - lag, 0, length - 1)]


def piece_starts(n_samples: int, length: int, count: int) -> list[int]:
    """Where evenly spaced pieces begin."""
    count = max(1, min(count, n_samples // length))
    starts: list[int] = np.unique(np.linspace(0, n_samples - length, count).astype(int)).tolist()
    return starts


def slope_correlation(pieces: Pieces, channels: Sequence[int]) -> NDArray[np.float64]:
    """Correlation of the channels' first differences, ``(channel, channel)``."""
    slopes = np.stack([np.diff(pieces.samples[channel], axis=1).ravel() for channel in channels])
    scale = np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-9)
    slopes /= scale
    return slopes @ slopes.T


def channel_order(correlation: NDArray[np.float64]) -> list[int]:
    """Positions of the channels by how much they tell of the others: a pivoted Cholesky factorisation."""
    if len(correlation) > _MAX_ORDERED_CHANNELS:
        return list(range(len(correlation)))
    rest = correlation.copy()
    left, order = list(range(len(rest))), []
    while left:
        energy = (rest[np.ix_(left, left)] ** 2).sum(axis=1)
        own = np.maximum(rest[left, left], 0)
        told = np.where(own > _NOTHING_LEFT, energy / np.maximum(own, _NOTHING_LEFT), 0)
        pivot = left.pop(int(np.argmax(told)))
        order.append(pivot)
        if rest[pivot, pivot] > _NOTHING_LEFT:
            rest -= np.outer(rest[:, pivot], rest[pivot]) / rest[pivot, pivot]
    return order


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A prediction and what it is expected to cost in the whole segment, in bits, weights included."""

    coding: ResidualCoding
    bits: float


def best_fit(pieces: Pieces, channel: int, sets: Sequence[Sequence[Key]], *, bound: int, restart: int) -> Fit:
    """The set of regressors that codes the channel in the fewest bits.

    Parameters
    ----------
    sets
        Regressors to choose from; the channel's own samples at lags 1, 2 … without gaps, and any references.
    """
    keys = list(dict.fromkeys(key for each in sets for key in each))
    rows = pieces.rows(keys)
    plain = target = pieces.column((channel, True, 0))
    source = pieces.samples[channel]
    n_pieces = len(range(0, source.shape[0], max(1, source.size // _FIT_SAMPLES)))
    positions = [[keys.index(key) for key in each] for each in (sets[0], max(sets, key=len), keys)]
    at, chosen = positions[0], _rows_at(rows, positions[0])
    gram, moments = rows @ rows.T, rows @ target
    room = np.empty_like(rows)  # fresh memory for every product would take longer than the product
    # The first set finds the weights of the samples, the largest refines them, and all are fitted under those.
    for following in (positions[0], positions[0], positions[1], positions[2]):
        error = plain - chosen.T @ solved(gram[np.ix_(at, at)], moments[at])
        weights = _sample_weights(error, n_pieces, _WEIGHT_FLOOR * (2 * bound + 1))
        at, chosen = following, _rows_at(rows, following)
        weighted, target = np.multiply(chosen, weights, out=room[: len(at)]), plain * weights
        gram[np.ix_(at, at)], moments[at] = weighted @ weighted.T, weighted @ target
    energy = float(target @ target)
    fits = []
    for each in sets:
        at = [keys.index(key) for key in each]
        sub, moment = gram[np.ix_(at, at)], moments[at]
        solution = solved(sub, moment)
        left = max(energy - 2 * float(solution @ moment) + float(solution @ sub @ solution), 0.0)
        coding, noise, weight_bits = _quantised(channel, each, solution, sub, left, bound=bound, restart=restart)
        variance = (left + noise) / len(target)
        n_samples = pieces.samples[channel].size * pieces.factor
        bits = n_samples * 0.5 * np.log2(2 * np.pi * np.e * (variance / (2 * bound + 1) ** 2 + 1 / 12))
        # A few samples can be met exactly by weights that no decoder accepts.
        if coding.weight_sum <= MAX_WEIGHT_SUM:
            fits.append(Fit(coding, float(bits) + weight_bits))
    previous = ResidualCoding(bound, restart, 0, np.ones(1, np.int64), ())
    return min(fits, key=lambda fit: fit.bits, default=Fit(previous, 0.0))


def _rows_at(rows: NDArray[np.float64], at: list[int]) -> NDArray[np.float64]:
    """Rows by number; a view where they are the first ones in order."""
    return rows[: len(at)] if at == list(range(len(at))) else rows[at]


def _sample_weights(error: NDArray[np.float64], n_rows: int, floor: float) -> NDArray[np.float64]:
    """1 / local size of the error, its geometric mean 1: what is quiet gains most from a prediction that suits it."""
    size = np.abs(error).reshape(n_rows, -1)
    padded = np.pad(size, ((0, 0), (_LOCAL_SAMPLES + 1, _LOCAL_SAMPLES)), mode="edge")
    sums = np.cumsum(padded, axis=1)
    width = 2 * _LOCAL_SAMPLES + 1
    weights = 1 / ((sums[:, width:] - sums[:, :-width]) / width + floor)
    result: NDArray[np.float64] = (weights / np.exp(np.log(weights).mean())).ravel()
    return result


def solved(gram: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9)
    return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), moments), np.float64)


def _quantised(
    channel: int,
    keys: Sequence[Key],
    weights: NDArray[np.float64],
    gram: NDArray[np.float64],
    error_energy: float,
    *,
    bound: int,
    restart: int,
) -> tuple[ResidualCoding, float, float]:
    """Integer weights: the rounding of each is made up for by those after it; also what it adds, and its bits."""
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9)
    # Upper triangular root of the inverse: row i says how later weights make up for an error of weight i. It is the
    # inverse of the matrix's own root, taken from its last row on; an inverse in between need not be definite.
    reversed_root = np.linalg.cholesky((gram + ridge * np.eye(len(gram)))[::-1, ::-1])
    root = np.linalg.inv(reversed_root[::-1, ::-1])
    integers = np.zeros(len(weights), np.int64)
    noise = 0.0
    for shift in range(_MIN_SHIFT, MAX_WEIGHT_SHIFT + 1):
        scaled = weights * 2.0**shift
        for index in range(len(weights)):
            integers[index] = round(float(scaled[index]))
            error = (scaled[index] - integers[index]) / root[index, index]
            scaled[index:] -= error * root[index, index:]
        difference = integers * 2.0**-shift - weights
        noise = max(float(difference @ gram @ difference), 0.0)
        if noise <= _NOISE_SHARE * error_energy:
            break
    coding = _coding_of(channel, keys, integers, shift, bound=bound, restart=restart)
    bits = float(np.sum(_WEIGHT_BITS + np.log2(1 + np.abs(integers)))) + _REFERENCE_BITS * len(coding.references)
    return coding, noise, bits


def _coding_of(
    channel: int, keys: Sequence[Key], integers: NDArray[np.int64], shift: int, *, bound: int, restart: int
) -> ResidualCoding:
    by_key = dict(zip(keys, integers.tolist(), strict=True))
    own_lags = sorted(lag for source, decoded, lag in keys if source == channel and decoded)
    own = np.array([by_key[channel, True, lag] for lag in own_lags], np.int64)
    references = []
    for source, decoded in dict.fromkeys((source, decoded) for source, decoded, _ in keys):
        if source == channel and decoded:
            continue
        lags = sorted(lag for other, is_decoded, lag in keys if (other, is_decoded) == (source, decoded))
        values = np.array([by_key[source, decoded, lag] for lag in lags], np.int64)
        if values.any():
            references.append(Reference(source, decoded, lags[0], values))
    return ResidualCoding(bound, restart, shift, own, tuple(references))
