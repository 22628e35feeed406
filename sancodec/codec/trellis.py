"""Dependent quantisation: the levels that cost least in distortion and bits, by the Viterbi algorithm.

Two quantisers take turns, one with the even multiples of the step and one with the odd ones and zero; the parities of
the indices say which comes next (docs/format.md, "Coder 2"). Two points at a step's distance are never both at hand,
so the step is finer for the same bits. Serves the encoder only. Source: the trellis-coded quantisation of Marcellin and
Fischer, IEEE Trans. Commun. 38 (1990).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.contexts import Profile
from sancodec.codec.kernels import Model
from sancodec.codec.level_arithmetic import LEVEL_CLIP, TRELLIS
from sancodec.codec.level_coder import LevelUnit, core_channels
from sancodec.codec.mixing_model import MAX_UNARY, N_ACTIVITIES, N_COSTS, activity_middle, activity_shift
from sancodec.codec.quantiser import OFFSET_UNIT, Bands, ErrorSums, Quantised

# The step, in steps of a plain quantiser that leaves the same error.
STEP_OF_PLAIN = 0.66
# What a bit is worth, in squared steps.
MULTIPLIER = 0.23
# Coefficients beyond it are taken for it: twice the largest index that can be coded.
_MAX_SCALED = float(1 << 29)
_EDGES = np.array([activity_middle(activity) for activity in range(N_ACTIVITIES)], np.int64)
_NEXT = np.array(TRELLIS)
_ODD = np.arange(len(TRELLIS)) & 1


def quantise_levels(
    bands: Bands,
    model: Model,
    profile: Profile,
    phases: list[NDArray[np.uint8]],
    *,
    step: float,
    offsets: tuple[int, int, int],
    costs: NDArray[np.float64],
    counts: NDArray[np.int64] | None = None,
) -> tuple[Quantised, ErrorSums]:
    """Levels of chunks of one length.

    Parameters
    ----------
    bands
        ``(chunk, window)`` per band.
    profile
        Of levels; bands that are off there stay empty.
    phases
        Fine phases of every chunk.
    costs
        Bits of indices, as ``index_costs`` gives them.
    counts
        As ``fitted_costs`` takes them; the decisions that are taken are added.
    """
    n_windows = [band.shape[1] for band in bands.absolute]
    edges = np.cumsum(n_windows)[:-1]
    rows, sums = [], ErrorSums()
    shares = np.array(offsets, np.float64) / OFFSET_UNIT
    for chunk, of_chunk in enumerate(phases):
        absolute = np.concatenate([band[chunk] for band in bands.absolute])
        unit = LevelUnit(model, profile, of_chunk, np.zeros(len(absolute), np.int32))
        found = np.zeros(9)
        if native.core is not None:
            channel = core_channels([unit])
            native.core.quantise_levels(
                *channel[:7], *channel[9:], absolute, 1 / step, MULTIPLIER, costs, shares, found, counts
            )
        else:
            _quantise_unit(unit, absolute.astype(np.float64) * (1 / step), costs, shares, found, counts)
        sums.squares += float(found[0])
        sums.errors += found[1:5]
        sums.counts += found[5:9]
        rows.append(unit.levels)
    magnitudes = [np.ascontiguousarray(band) for band in np.split(np.stack(rows), edges, axis=1)]
    return Quantised(magnitudes, bands.negative, []), sums


def _quantise_unit(
    unit: LevelUnit,
    scaled: NDArray[np.float64],
    costs: NDArray[np.float64],
    offsets: NDArray[np.float64],
    found: NDArray[np.float64],
    counts: NDArray[np.int64] | None,
) -> None:
    """One chunk: the same as native/trellis.c, a window of all states at a time."""
    model, terms = unit.model, unit.model.contexts.mixing.terms[unit.profile.weight_set, 0].astype(np.int64)
    expected = unit.profile.expected(model.contexts)
    levels: list[NDArray[np.int64]] = []
    position = 0
    for band, n_windows in enumerate(unit.n_windows):
        span = slice(position, position + n_windows)
        position += n_windows
        if unit.profile.scale_codes[band] == 0:
            levels.append(np.zeros(n_windows, np.int64))
            found[0] += sum(u * u for u in scaled[span].tolist())
            continue
        around = expected[band][unit.phases[span] >> 1] * terms[band, 0] >> 8
        for generation, weights in ((1, terms[band, [1, 2]]), (2, terms[band, [3, 3]])):
            if band >= generation:
                seen = np.minimum(levels[band - generation], LEVEL_CLIP)
                beside = np.concatenate([[0], seen[:-1]]) + np.concatenate([seen[1:], [0]])
                own = weights[0] * seen * (1 if generation == 1 else 2) + weights[1] * beside
                around = around + np.repeat(own, n_windows // len(seen))
        chosen, parities = _best_path(np.minimum(scaled[span], _MAX_SCALED), around, terms[band, 4:6], costs, offsets)
        levels.append(chosen)
        if counts is not None:
            _count_decisions(chosen, parities, around, terms[band, 4:6], counts)
        for u, level in zip(scaled[span].tolist(), chosen.tolist(), strict=True):
            kind, error = min(level, 3), u - level
            found[0] += error * error
            found[1 + kind] += error
            found[5 + kind] += 1
    unit.levels[:] = np.concatenate(levels)


def _best_path(
    scaled: NDArray[np.float64],
    around: NDArray[np.int64],
    own_terms: NDArray[np.int64],
    costs: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Levels of a band, and the parities of the states."""
    n_states = len(TRELLIS)
    total = np.full(n_states, np.inf)
    total[0] = 0.0
    own = np.zeros((n_states, 2), np.int64)
    came: NDArray[np.int8] = np.zeros((len(scaled), n_states), np.int8)
    kept = np.zeros((len(scaled), n_states), np.int64)
    states = np.arange(n_states)
    for window, (u, base) in enumerate(zip(scaled.tolist(), around.tolist(), strict=True)):
        activity = np.searchsorted(_EDGES, base + np.minimum(own, LEVEL_CLIP) @ own_terms, side="right") - 1
        bits = costs[_ODD, np.maximum(activity, 0)]  # (state, index)
        below = ((u + _ODD) / 2).astype(np.int64)
        indices = np.stack([np.zeros(n_states, np.int64), np.maximum(below, 1), below + 1])  # (candidate, state)
        levels = np.where(indices > 0, 2 * indices - _ODD, 0)
        shift = np.where(indices > 0, offsets[np.minimum(np.maximum(levels, 1), 3) - 1], 0.0)
        errors = u - (levels - shift)
        cost = total + errors * errors + MULTIPLIER * _bits_of(bits, states, indices)
        cost[1:, np.where(_ODD, u <= 0.5, u <= 1)] = np.inf  # any other level is further away
        cost[2, below == 0] = np.inf  # the same once more
        following = _NEXT[states, indices & 1]
        after = np.full(n_states, np.inf)
        next_own = np.zeros_like(own)
        for state in range(n_states):
            for candidate in range(3):
                target = following[candidate, state]
                if cost[candidate, state] < after[target]:
                    after[target] = cost[candidate, state]
                    came[window, target], kept[window, target] = state, indices[candidate, state]
                    next_own[target] = levels[candidate, state], own[state, 0]
        total, own = after, next_own
    result, parities = np.zeros(len(scaled), np.int64), np.zeros(len(scaled), np.int64)
    state = int(np.argmin(total))
    for window in range(len(scaled) - 1, -1, -1):
        index = int(kept[window, state])
        state = int(came[window, state])
        parities[window] = state & 1
        result[window] = 2 * index - (state & 1) if index else 0
    return result, parities


def _count_decisions(
    levels: NDArray[np.int64],
    parities: NDArray[np.int64],
    around: NDArray[np.int64],
    own_terms: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Which decisions about the indices of a band are taken at which activity."""
    own = np.concatenate([[0, 0], np.minimum(levels, LEVEL_CLIP)])
    expected = around + own_terms[0] * own[1:-1] + own_terms[1] * own[:-2]
    activities = np.maximum(np.searchsorted(_EDGES, expected, side="right") - 1, 0)
    rows = zip(levels.tolist(), parities.tolist(), expected.tolist(), activities.tolist(), strict=True)
    for level, parity, value, activity in rows:
        high = (level + parity) // 2 >> activity_shift(value)
        for step in range(min(high + 1, MAX_UNARY)):
            counts[min(step, len(counts) - 1), activity, parity, int(high > step)] += 1


def _bits_of(bits: NDArray[np.float64], states: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of ``(candidate, state)`` indices; those beyond the table by Exp-Golomb."""
    inside = bits[states, np.minimum(indices, N_COSTS - 1)]
    beyond = np.maximum(indices - N_COSTS + 2, 1)
    return np.where(indices < N_COSTS, inside, inside + 2 * np.floor(np.log2(beyond)) + 1)
