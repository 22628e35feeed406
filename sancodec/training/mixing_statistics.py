"""Fit what the mixing coder begins with: weights of expected magnitude and prediction, prior probabilities, mixers.

The coder learns while it codes; it is run over the training set, and what it has learned becomes the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.kernels import Model
from sancodec.codec.level_arithmetic import LEVEL_CLIP
from sancodec.codec.level_coder import LevelUnit, core_channels, expected_of, others_of
from sancodec.codec.mixing_model import (
    MAX_TERM,
    N_INPUTS,
    N_KINDS,
    N_TAPS,
    N_TERMS,
    PRIOR_SIZE,
    MixingModel,
    stretched,
)
from sancodec.errors import MissingDependencyError
from sancodec.training.statistics import nonnegative_least_squares

_ROUNDS_AT_A_LEVEL = 2
_BYTES_PER_LEVEL = 40
_HALF_A_BIT = 0.4
_STRIDE_OF_FIT = 4
# A band must not be thought impossible where all around it is silent.
_MIN_PROFILE_TERM = 4
_LARGEST_WEIGHT = (1 << 19) - 1

Chunk = list[LevelUnit]


def fit_mixing(
    model: Model, encode: Callable[[Model], list[list[Chunk]]], *, n_rounds: int, on_message: Callable[[str], None]
) -> Model:
    """Alternate encoding the training set and fitting to what came out.

    Parameters
    ----------
    encode
        Returns the chunks of every kind of signal, all channels at every quality; all of one model.

    Raises
    ------
    MissingDependencyError
        Where the native core was not built: the Python coder would take days.
    """
    if native.core is None:
        raise MissingDependencyError("training the mixing coder needs the native core; install a C compiler first")
    for _ in range(n_rounds):
        kinds = encode(model)
        mixing = model.contexts.mixing
        terms = np.stack([_fitted_terms(chunks, mixing.terms[kind]) for kind, chunks in enumerate(kinds)])
        model = _with_mixing(model, replace(mixing, terms=terms))
        for _ in range(_ROUNDS_AT_A_LEVEL):
            traces = [_trace(model, chunks) for chunks in kinds]
            model = _with_mixing(model, _learned(model.contexts.mixing, traces))
            on_message(f"mixing coder: {sum(trace.n_bytes for trace in traces)} bytes")
    return model


def _with_mixing(model: Model, mixing: MixingModel) -> Model:
    return replace(model, contexts=replace(model.contexts, mixing=mixing), metadata_bytes=None)


@dataclass(slots=True, eq=False)
class _Trace:
    """What the coder met and learned in the chunks of one kind of signal."""

    counts: NDArray[np.int64]
    mixers: NDArray[np.int64]
    taps: NDArray[np.float64]
    n_taps: NDArray[np.int64]
    n_bytes: int = 0


def _trace(model: Model, chunks: list[Chunk]) -> _Trace:
    n_bands = model.n_bands
    trace = _Trace(
        np.zeros((PRIOR_SIZE, 2), np.int64),
        np.zeros((N_KINDS, N_INPUTS + 1), np.int64),
        np.zeros((2, n_bands, N_TAPS)),
        np.zeros((2, n_bands), np.int64),
    )
    assert native.core is not None
    for chunk in chunks:
        units = [replace(unit, model=model) for unit in chunk]
        content = np.empty(_BYTES_PER_LEVEL * sum(len(unit.levels) for unit in units) + 64, np.uint8)
        taps = np.zeros((len(units), n_bands, N_TAPS), np.int32)
        trace.n_bytes += native.core.code_levels(
            0, content, *core_channels(units), trace.counts.reshape(-1), trace.mixers.reshape(-1), taps.reshape(-1)
        )
        for unit, other, learned in zip(units, others_of(units), taps, strict=True):
            is_on = unit.profile.scale_codes > 0
            trace.taps[int(other >= 0)] += learned * is_on[:, None]
            trace.n_taps[int(other >= 0)] += is_on
    return trace


def _learned(mixing: MixingModel, traces: list[_Trace]) -> MixingModel:
    priors, mixers, taps = [], [], []
    for kind, trace in enumerate(traces):
        total = trace.counts.sum(axis=1)
        chance = (trace.counts[:, 1] + _HALF_A_BIT) / (total + 2 * _HALF_A_BIT)
        # What was never met keeps what it had.
        learned = np.array([stretched(each) for each in chance.tolist()], np.int8)
        priors.append(np.where(total > 0, learned, mixing.prior[kind]).astype(np.int8))
        uses = trace.mixers[:, N_INPUTS:]
        mean = trace.mixers[:, :N_INPUTS] // np.maximum(uses, 1)
        mixers.append(np.where(uses > 0, np.clip(mean, -_LARGEST_WEIGHT, _LARGEST_WEIGHT), mixing.mixer[kind]))
        mean_taps = np.rint(trace.taps / np.maximum(trace.n_taps, 1)[..., None])
        mean_taps = np.clip(mean_taps, -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        is_met = trace.n_taps[..., None] > 0
        alone = np.where(is_met[0], mean_taps[0], mixing.taps[kind, 0])
        taps.append(np.stack([alone, np.where(is_met[1], mean_taps[1], alone)]))
    # As a model file holds them.
    cut = ~np.int32(15)
    return replace(
        mixing,
        prior=np.stack(priors),
        mixer=np.stack(mixers).astype(np.int32) & cut,
        taps=np.stack(taps).astype(np.int32) & cut,
    )


def _fitted_terms(chunks: list[Chunk], before: NDArray[np.int32]) -> NDArray[np.int32]:
    """Weighted least squares of the magnitude on what is around it, per band, with weights that are not negative."""
    n_bands = before.shape[1]
    normal, moment = np.zeros((2, n_bands, N_TERMS, N_TERMS)), np.zeros((2, n_bands, N_TERMS))
    for chunk in chunks[::_STRIDE_OF_FIT]:
        for unit, other in zip(chunk, others_of(chunk), strict=True):
            beside = int(other >= 0)
            for band, (features, magnitude) in enumerate(_features(unit, chunk[other] if beside else None)):
                if unit.profile.scale_codes[band]:
                    # The likelihood of a magnitude spreads with its mean, so large ones count less.
                    weight = 1 / (features[:, 0] + 0.1 + 0.1 * features[:, 1:].sum(axis=1))
                    normal[beside, band] += features.T @ (features * weight[:, None])
                    moment[beside, band] += features.T @ (magnitude * weight)
    terms = before.copy()
    for band in range(n_bands):
        for beside in range(2):
            if moment[beside, band].any():
                weights = nonnegative_least_squares(normal[beside, band], moment[beside, band])
                terms[beside, band] = np.clip(np.rint(256 * weights), 0, MAX_TERM)
                terms[beside, band, 0] = max(terms[beside, band, 0], _MIN_PROFILE_TERM)
        if not moment[1, band].any():
            terms[1, band] = terms[0, band]
    return terms


def _features(unit: LevelUnit, other: LevelUnit | None) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Per band, float64 ``(window, term)`` and the magnitudes ``(window,)``."""
    edges = np.cumsum(unit.n_windows)[:-1]
    bands = [np.minimum(np.abs(band), LEVEL_CLIP).astype(np.float64) for band in np.split(unit.levels, edges)]
    others = [] if other is None else np.split(np.minimum(np.abs(other.levels), LEVEL_CLIP).astype(np.float64), edges)
    phases, expected = np.split(unit.phases, edges), expected_of(unit.profile, unit.model)
    result = []
    for band, magnitude in enumerate(bands):
        zero = np.zeros(len(magnitude))
        columns = [expected[band][phases[band] >> 1] / 256] + [zero] * (N_TERMS - 1)
        if band:
            ratio = len(magnitude) // len(bands[band - 1])
            columns[1:3] = [np.repeat(each, ratio) for each in (bands[band - 1], _beside(bands[band - 1]))]
        if band > 1:
            far = bands[band - 2]
            columns[3] = np.repeat(2 * far + _beside(far), len(magnitude) // len(far))
        columns[4], columns[5] = np.append(0, magnitude[:-1]), np.append([0, 0], magnitude)[: len(magnitude)]
        if len(others):
            columns[6], columns[7] = others[band], _beside(others[band])
        result.append((np.stack(columns, axis=1), magnitude))
    return result


def _beside(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of both neighbours in time."""
    total: NDArray[np.float64] = np.append(0, values[:-1]) + np.append(values[1:], 0)
    return total
