"""Fit what the class coder needs to a bank: weights of the expected magnitude, and symbol frequencies per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import contexts
from sancodec.codec.contexts import CLASS_SHIFT, ESCAPE, N_CLASSES, N_SYMBOLS, BandParents, ContextModel, known_magnitude
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.quantiser import Quantised, classified
from sancodec.codec.rans import TOTAL

_MIN_COUNT = 30.0
_MAX_WEIGHT = 1024


def phase_groups_of(groups: tuple[KernelGroup, ...]) -> NDArray[np.uint8]:
    """Bands that share a phase profile: about an octave each, at most six."""
    n_bands = sum(group.n_kernels for group in groups)
    if n_bands <= 8:
        return np.minimum(np.arange(n_bands) // 2, 5).astype(np.uint8)
    edges = np.array([3, 5, 7, 10, 16])
    return np.searchsorted(edges, np.arange(n_bands), side="right").astype(np.uint8)


def neutral_contexts(groups: tuple[KernelGroup, ...]) -> ContextModel:
    """A start before any data: the profile alone, geometric magnitudes of the class's mean."""
    n_bands = sum(group.n_kernels for group in groups)
    weights = np.zeros((n_bands, 4), np.uint16)
    weights[:, 0] = 256
    counts = np.zeros((N_CLASSES, N_SYMBOLS))
    for activity in range(N_CLASSES):
        mean = 2 ** (activity / 2 + 0.25) / 256 / (1 << int(CLASS_SHIFT[activity]))
        ratio = mean / (1 + mean)
        counts[activity] = 1e6 * (1 - ratio) * ratio ** np.arange(N_SYMBOLS)
        counts[activity, ESCAPE] = 1e6 * ratio**ESCAPE
    return ContextModel(weights, phase_groups_of(groups), frequencies_of(counts))


def frequencies_of(counts: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Integer frequencies that sum to 4096; rare large symbols are left to the escape."""
    frequencies = np.zeros(counts.shape, np.uint16)
    for activity, row in enumerate(counts):
        row = row + 1e-3
        tail = np.cumsum(row[::-1])[::-1] / row.sum()
        n_direct = int(np.clip((tail[:ESCAPE] > 2 / TOTAL).sum(), 2, ESCAPE))
        kept = np.concatenate([row[:n_direct], [row[n_direct:].sum()]])
        exact = kept / kept.sum() * TOTAL
        whole = np.maximum(1, np.floor(exact)).astype(int)
        while whole.sum() != TOTAL:
            sign = 1 if whole.sum() < TOTAL else -1
            gain = exact / whole if sign > 0 else np.where(whole > 1, whole / exact, 0)
            whole[int(gain.argmax())] += sign
        frequencies[activity, :n_direct] = whole[:-1]
        frequencies[activity, ESCAPE] = whole[-1]
    return frequencies


@dataclass(slots=True)
class WeightFit:
    """Weighted least squares of the magnitude on the features, per band; non-negative by projection.

    Parameters
    ----------
    normal, moment
        Per band ``(4, 4)`` and ``(4,)``.
    """

    model: Model
    normal: NDArray[np.float64] = field(init=False)
    moment: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.normal = np.zeros((self.model.n_bands, 4, 4))
        self.moment = np.zeros((self.model.n_bands, 4))

    def add(self, quantised: Quantised, profile_at: list[NDArray[np.int32]]) -> None:
        """Take in one channel's coefficients."""
        probe = replace(self.model.contexts, band_weights=np.zeros_like(self.model.contexts.band_weights))
        n_direct = self.model.contexts.n_direct
        parents = FeatureParents(probe)
        for band, (magnitude, expected) in enumerate(zip(quantised.magnitudes, profile_at, strict=True)):
            stride = self.model.band_strides[band]
            features = parents.features(stride, expected)
            target = np.minimum(magnitude, 63).ravel() * 256.0
            weight = 1 / (features[:, 0] + 8 + 0.1 * features[:, 1:].sum(axis=1) * 256)
            self.normal[band] += features.T @ (features * weight[:, None])
            self.moment[band] += features.T @ (target * weight)
            used = np.flatnonzero(magnitude)
            parents.push(stride, known_magnitude(magnitude, quantised.classes[band], n_direct, used))

    def weights(self) -> NDArray[np.uint16]:
        """Integer weights, ``(band, 4)``."""
        result = np.zeros((self.model.n_bands, 4), np.uint16)
        # Column 0 is in 1/256 already, its weight too.
        unit = np.array([256.0, 1.0, 1.0, 1.0])
        for band in range(self.model.n_bands):
            solution = nonnegative_least_squares(self.normal[band], self.moment[band]) * unit
            result[band] = np.clip(np.rint(solution), 0, _MAX_WEIGHT)
        return result


class FeatureParents(BandParents):
    """The features behind the expected magnitude, one by one."""

    def features(self, stride: int, profile_at: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64 ``(coefficient, 4)``: profile, parent, its neighbours, grandparent with neighbours."""
        columns = [profile_at.astype(np.float64)]
        for generation in range(2):
            if generation < len(self._previous):
                parent_stride, magnitude = self._previous[generation]
                assert magnitude is not None
                centre_weights = (None, 0) if generation == 0 else (2,)
                for centre in centre_weights:
                    terms = magnitude if centre is None else contexts.with_neighbours(magnitude, centre)
                    columns.append(np.repeat(terms, parent_stride // stride, axis=-1).astype(np.float64))
            else:
                columns += [np.zeros(profile_at.shape)] * (2 if generation == 0 else 1)
        return np.stack([column.ravel() for column in columns], axis=1)


def nonnegative_least_squares(normal: NDArray[np.float64], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise ½wᵀNw − mᵀw over w ≥ 0 by coordinate descent; four unknowns need no more."""
    solution = np.zeros(len(moment))
    diagonal = np.maximum(np.diag(normal), 1e-12)
    for _ in range(500):
        for index in range(len(moment)):
            rest = moment[index] - normal[index] @ solution + normal[index, index] * solution[index]
            solution[index] = max(0.0, rest / diagonal[index])
    return solution


def symbol_counts(model: Model, quantised: Quantised, active: list[bool]) -> NDArray[np.float64]:
    """How often each symbol occurs in each class; ``(class, symbol)``."""
    counts = np.zeros((N_CLASSES, N_SYMBOLS))
    for magnitude, activity, used in zip(quantised.magnitudes, quantised.classes, active, strict=True):
        if used:
            symbol = np.minimum(magnitude >> CLASS_SHIFT[activity], ESCAPE)
            index = activity.astype(np.int64) * N_SYMBOLS + symbol
            counts += np.bincount(index.ravel(), minlength=counts.size).reshape(counts.shape)
    return counts


def smoothed(counts: NDArray[np.float64], prior: ContextModel) -> NDArray[np.float64]:
    """Counts plus a few pseudo-counts of the prior's frequencies, for classes that were seldom met."""
    return counts + _MIN_COUNT * prior.frequencies / TOTAL


def fit_contexts(
    model: Model,
    encode: Callable[[Model], list[tuple[Quantised, list[NDArray[np.int32]], list[bool]]]],
    *,
    n_rounds: int,
) -> Model:
    """Alternate encoding the training set and fitting weights and frequencies to what came out.

    Parameters
    ----------
    encode
        Returns, for every training channel and quality, coefficients, the profile at every window, and the bands
        that are on.
    """
    neutral = neutral_contexts(model.groups)
    for _ in range(n_rounds):
        encoded = encode(model)
        fit = WeightFit(model)
        for quantised, profile_at, _ in encoded:
            fit.add(quantised, profile_at)
        model = replace(model, contexts=replace(model.contexts, band_weights=fit.weights()))
        counts = np.zeros((N_CLASSES, N_SYMBOLS))
        for quantised, profile_at, active in encoded:
            counts += symbol_counts(model, classified(quantised, model, profile_at), active)
        model = replace(model, contexts=replace(model.contexts, frequencies=frequencies_of(smoothed(counts, neutral))))
    return model
