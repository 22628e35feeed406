"""Fit what the class coder needs to a bank: weights of the expected magnitude, and symbol frequencies per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.contexts import (
    CLASS_SHIFT,
    ESCAPE,
    MAX_MAGNITUDE,
    N_CLASSES,
    N_SYMBOLS,
    ContextModel,
    Profile,
    known_magnitude,
    with_neighbours,
)
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.mixing_model import neutral_mixing
from sancodec.codec.quantiser import Quantised, classified
from sancodec.codec.rans import TOTAL

_MIN_COUNT = 30.0
_MAX_WEIGHT = 1024


def phase_groups_of(groups: tuple[KernelGroup, ...]) -> NDArray[np.uint8]:
    """Bands that share a phase profile: about an octave each, at most six."""
    n_bands = sum(group.n_kernels for group in groups)
    if n_bands <= 8:
        return np.minimum(np.arange(n_bands) // 2, 5).astype(np.uint8)
    edges = np.array([3, 5, 7, 10, 16]) * (4 if n_bands > 64 else 1)
    return np.searchsorted(edges, np.arange(n_bands), side="right").astype(np.uint8)


def neutral_contexts(groups: tuple[KernelGroup, ...], n_sets: int = 1) -> ContextModel:
    """A start before any data: the profile alone, geometric magnitudes of the class's mean."""
    n_bands = sum(group.n_kernels for group in groups)
    weights = np.zeros((n_sets, n_bands, 4), np.uint16)
    weights[:, :, 0] = 256
    counts = np.zeros((N_CLASSES, N_SYMBOLS))
    for activity in range(N_CLASSES):
        mean = 2 ** (activity / 2 + 0.25) / 256 / (1 << int(CLASS_SHIFT[activity]))
        ratio = mean / (1 + mean)
        counts[activity] = 1e6 * (1 - ratio) * ratio ** np.arange(N_SYMBOLS)
        counts[activity, ESCAPE] = 1e6 * ratio**ESCAPE
    frequencies = np.repeat(frequencies_of(counts)[None], n_sets, axis=0)
    return ContextModel(weights, phase_groups_of(groups), frequencies, neutral_mixing(n_bands, n_sets))


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


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPart:
    """Encoded coefficients of one training channel.

    Parameters
    ----------
    kind
        Index of the weight set that this kind of signal is for.
    weight_set
        The one it was encoded with, to which its classes belong.
    expected_at
        Per band, int32 ``(chunk, window)``: the profile itself, in 1/256.
    active
        Bands that are on.
    """

    kind: int
    weight_set: int
    quantised: Quantised
    expected_at: list[NDArray[np.int32]]
    active: list[bool]


@dataclass(slots=True)
class WeightFit:
    """Weighted least squares of the magnitude on the features, per band, with non-negative weights.

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

    def add(self, part: TrainingPart) -> None:
        """Take in one channel's coefficients."""
        n_direct = self.model.contexts.n_direct[part.weight_set]
        parents: list[tuple[int, NDArray[np.int32]]] = []
        quantised = part.quantised
        for band, (magnitude, expected) in enumerate(zip(quantised.magnitudes, part.expected_at, strict=True)):
            stride = self.model.band_strides[band]
            features = _features(parents, stride, expected)
            target = np.minimum(magnitude, MAX_MAGNITUDE).ravel() * 256.0
            # The likelihood of a magnitude spreads with its mean, so large ones count less.
            weight = 1 / (features[:, 0] + 8 + 0.1 * features[:, 1:].sum(axis=1) * 256)
            self.normal[band] += features.T @ (features * weight[:, None])
            self.moment[band] += features.T @ (target * weight)
            known = known_magnitude(magnitude, quantised.classes[band], n_direct, np.flatnonzero(magnitude))
            parents = [(stride, np.minimum(known, MAX_MAGNITUDE)), *parents[:1]]

    def weights(self) -> NDArray[np.uint16]:
        """Integer weights, ``(band, 4)``."""
        result = np.zeros((self.model.n_bands, 4), np.uint16)
        # Column 0 is in 1/256 already, and so is its weight.
        unit = np.array([256.0, 1.0, 1.0, 1.0])
        for band in range(self.model.n_bands):
            solution = nonnegative_least_squares(self.normal[band], self.moment[band]) * unit
            result[band] = np.clip(np.rint(solution), 0, _MAX_WEIGHT)
        # A band must not be thought impossible where its parents are silent.
        result[:, 0] = np.maximum(result[:, 0], 4)
        return result


def _features(
    parents: list[tuple[int, NDArray[np.int32]]], stride: int, expected: NDArray[np.int32]
) -> NDArray[np.float64]:
    """float64 ``(coefficient, 4)``: profile, parent, its neighbours, grandparent with neighbours."""
    columns = [expected.astype(np.float64)] + [np.zeros(expected.shape) for _ in range(3)]
    for generation, (parent_stride, magnitude) in enumerate(parents):
        terms = [magnitude, with_neighbours(magnitude, 0)] if generation == 0 else [with_neighbours(magnitude, 2)]
        for column, term in enumerate(terms, start=1 if generation == 0 else 3):
            columns[column] = np.repeat(term, parent_stride // stride, axis=-1).astype(np.float64)
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
    result: NDArray[np.float64] = counts + _MIN_COUNT * prior.frequencies[0] / TOTAL
    return result


def fit_contexts(
    model: Model,
    encode: Callable[[Model], list[tuple[TrainingPart, Profile, list[NDArray[np.int64]]]]],
    *,
    n_kinds: int,
    n_rounds: int,
) -> Model:
    """Alternate encoding the training set and fitting weights and frequencies to what came out.

    Parameters
    ----------
    encode
        Returns every training channel at every quality, with its profile and beat phases.
    n_kinds
        Kinds of signals, each of which gets a weight set.
    """
    neutral = neutral_contexts(model.groups)
    for _ in range(n_rounds):
        encoded = encode(model)
        fits = [WeightFit(model) for _ in range(n_kinds)]
        for part, _, _ in encoded:
            fits[part.kind].add(part)
        weights = np.stack([fit.weights() for fit in fits])
        model = replace(model, contexts=replace(model.contexts, band_weights=weights))
        counts = np.zeros((n_kinds, N_CLASSES, N_SYMBOLS))
        for part, profile, phases in encoded:
            base = replace(profile, weight_set=part.kind).base(model.contexts)
            base_at = [row[phase] for row, phase in zip(base, phases, strict=True)]
            each = classified(part.quantised, model, base_at, weight_set=part.kind)
            counts[part.kind] += symbol_counts(model, each, part.active)
        frequencies = np.stack([frequencies_of(smoothed(of_kind, neutral)) for of_kind in counts])
        model = replace(model, contexts=replace(model.contexts, frequencies=frequencies))
    return model
