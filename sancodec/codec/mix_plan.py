"""Which components to code instead of channels: a Karhunen-Loève transform of what the promises allow.

Channels that are sums of two others, as six of the twelve standard leads are, need no weights of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.mix import FACTORS, MAX_SHIFT, WEIGHT_BITS, Derived, Mix

Matrix = NDArray[np.float64]
# A channel counts as derived when its rule misses it by less than this share of the error that it may have.
_RULE_ERROR = 0.6
_WEIGHT_ROUNDS = 10
_STEP_ROUNDS = 12
# A coefficient below this share of the step becomes 0.
_DEAD_ZONE = 0.62
# A component with fewer coefficients than these in the sample is not worth its weights …
_FEWEST = 3
# … unless some channel would lose more than this share of the error that it may have.
_LARGEST_LEAK = 0.3
# Coefficients of all channels together below so many allowed errors are 0 in any components.
_QUIET = 1.5
_LOUD_COLUMNS = 4096
_TINY = 1e-6
_MIN_SHIFT = 4
# Bits of a weight beyond those that tell the component's amplitude in allowed errors.
_SPARE_BITS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class MixPlan:
    """Components of some channels.

    Parameters
    ----------
    mix
        As the file states it.
    analysis
        float64 ``(component, channel)``: components of the channels less their offsets, in stored units.
    steps
        float64 ``(component,)``: quantiser steps at which all channels are expected to keep what they promise.
    """

    mix: Mix
    analysis: Matrix
    steps: NDArray[np.float64]

    def only(self, kept: list[int]) -> Mix:
        """The mix of some of the components."""
        return Mix(self.mix.shifts[kept], self.mix.weights[:, kept], self.mix.derived)


def plan_mix(coefficients: Matrix, allowed: NDArray[np.float64]) -> MixPlan | None:
    """Components in the order of their energy; None where there are none, or their weights cannot be stored.

    Of all error covariances that keep every channel within what it may err, the one with the largest determinant takes
    the fewest bits: that of white noise in channels with weights, which follow from the errors by multiplication.

    Parameters
    ----------
    coefficients
        Of an orthonormal transform of each channel, a sample of them, ``(channel, coefficient)``, in stored units.
    allowed
        Root mean square error of each channel, in stored units.
    """
    sample = _Sample.of(coefficients, allowed)
    derived, missed = _rules(sample.covariance, allowed)
    direct = [channel for channel, rule in enumerate(derived) if rule is None]
    base = _base(derived, direct)
    weights, step = 1 / allowed, 1.0
    for round_index in range(_WEIGHT_ROUNDS):
        basis, analysis = _components(sample.covariance[np.ix_(direct, direct)], base, weights)
        values = analysis @ sample.columns[direct]
        step = _step(sample, basis, values, allowed**2 - missed, near=step if round_index else None)
        errors = (_errors(sample, basis, values, step) + missed) / allowed**2
        if round_index < _WEIGHT_ROUNDS - 1:
            weights *= np.sqrt(np.maximum(errors, _TINY))
    found = (np.abs(values) > _DEAD_ZONE * step) @ sample.shares * coefficients.shape[1]
    used = np.flatnonzero(found >= _FEWEST)
    energies = np.einsum("ij,jk,ik->i", analysis, sample.covariance[np.ix_(direct, direct)], analysis)
    if not len(used):
        return None
    left_out = basis**2 @ np.where(found >= _FEWEST, 0.0, energies)
    if (left_out > _LARGEST_LEAK * allowed**2).any():
        used = np.arange(len(energies))
    scales = np.abs(basis[direct][:, used]).max(axis=0)
    shifts = [_shift(math.sqrt(max(energies[number], 0.0))) for number in used]
    stored = np.zeros((len(allowed), len(used)), np.int64)
    stored[direct] = np.rint(basis[direct][:, used] / scales * 2.0 ** np.array(shifts))
    mix = Mix(np.array(shifts, np.int64), stored, derived)
    rows = weights[:, None] * mix.rows * 2.0**-WEIGHT_BITS
    if np.linalg.matrix_rank(rows) < len(used):
        return None  # the weights of so many scales at once cannot be stated
    solved = (np.linalg.pinv(rows) * weights).astype(np.float64)
    return MixPlan(mix, solved, (step * scales).astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Coefficients of all channels, most of which need not be looked at one by one.

    Parameters
    ----------
    covariance
        Of all of them, ``(channel, channel)``.
    quiet
        The same of those that are 0 in any components, over the number of all.
    columns, shares
        Some of the others, float64 ``(channel, column)``, and what share of all each stands for.
    """

    covariance: Matrix
    quiet: Matrix
    columns: Matrix
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, coefficients: Matrix, allowed: NDArray[np.float64]) -> _Sample:
        count = coefficients.shape[1]
        norms = np.square(coefficients / allowed[:, None]).sum(axis=0)
        order = np.argsort(-norms, kind="stable")
        n_loud = int((norms >= _QUIET**2).sum())
        quiet = coefficients[:, order[n_loud:]]
        every = min(n_loud, _LOUD_COLUMNS // 2)
        rest = order[every:n_loud]
        if len(rest) > _LOUD_COLUMNS // 2:
            rest = np.random.default_rng(0).choice(rest, _LOUD_COLUMNS // 2, replace=False)
        shares = np.full(every + len(rest), 1 / count)
        shares[every:] *= (n_loud - every) / max(len(rest), 1)
        return cls(
            coefficients @ coefficients.T / count,
            quiet @ quiet.T / count,
            coefficients[:, np.concatenate([order[:every], rest])],
            shares,
        )


def _shift(amplitude: float) -> int:
    return min(max(math.ceil(math.log2(max(amplitude, _TINY)) + _SPARE_BITS), _MIN_SHIFT), MAX_SHIFT)


def _rules(covariance: Matrix, allowed: NDArray[np.float64]) -> tuple[tuple[Derived | None, ...], NDArray[np.float64]]:
    """For each channel the sum of two channels before it that it is, and the squared error of that."""
    derived, missed = list[Derived | None](), np.zeros(len(allowed))
    for channel in range(len(allowed)):
        direct = [index for index, rule in enumerate(derived) if rule is None]
        rule, error = _rule(covariance, channel, direct, (_RULE_ERROR * allowed[channel]) ** 2)
        derived.append(rule)
        missed[channel] = error
    return tuple(derived), missed


def _rule(covariance: Matrix, channel: int, direct: list[int], allowed: float) -> tuple[Derived | None, float]:
    if len(direct) < 2:
        return None, 0.0
    own, power = covariance[channel, direct], np.diag(covariance)[direct]
    crossed = covariance[np.ix_(direct, direct)]
    best, found = allowed, None
    for code, a in enumerate(FACTORS):
        for other, b in enumerate(FACTORS):
            first = a * a * power - 2 * a * own
            second = b * b * power - 2 * b * own
            errors = covariance[channel, channel] + first[:, None] + second + 2 * a * b * crossed
            errors[np.tril_indices(len(direct))] = np.inf
            row, column = np.unravel_index(int(errors.argmin()), errors.shape)
            if errors[row, column] < best:
                best, found = (
                    max(float(errors[row, column]), 0.0),
                    Derived((direct[row], direct[column]), (code, other)),
                )
    return found, best if found is not None else 0.0


def _base(derived: tuple[Derived | None, ...], direct: list[int]) -> Matrix:
    """Channels from direct channels, ``(channel, direct)``."""
    base = np.zeros((len(derived), len(direct)))
    base[direct] = np.eye(len(direct))
    for channel, rule in enumerate(derived):
        if rule is not None:
            base[channel] = sum(
                FACTORS[code] * base[member] for member, code in zip(rule.members, rule.codes, strict=True)
            )
    return base


def _components(covariance: Matrix, base: Matrix, weights: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """Channels from components, the strongest first, ``(channel, component)``; components from direct channels."""
    root = np.linalg.cholesky(base.T @ (weights[:, None] ** 2 * base))
    vectors = np.linalg.eigh(root.T @ covariance @ root)[1][:, ::-1]
    return base @ np.linalg.solve(root.T, vectors), vectors.T @ root.T


def _step(sample: _Sample, basis: Matrix, values: Matrix, allowed: NDArray[np.float64], near: float | None) -> float:
    """The largest step, of all components, at which every channel keeps its squared error."""
    low, high = (1e-2, 1e3) if near is None else (near / 2, near * 2)
    for _ in range(_STEP_ROUNDS if near is not None else 2 * _STEP_ROUNDS):
        middle = math.sqrt(low * high)
        if (_errors(sample, basis, values, middle) <= allowed).all():
            low = middle
        else:
            high = middle
    return low


def _errors(sample: _Sample, basis: Matrix, values: Matrix, step: float) -> NDArray[np.float64]:
    """Mean squared error of each channel under a quantiser with a dead zone; what falls into it stays correlated."""
    is_dead = np.abs(values) < _DEAD_ZONE * step
    dead = basis @ np.where(is_dead, values, 0.0)
    quiet = np.diag(sample.quiet)
    errors: NDArray[np.float64] = quiet + dead**2 @ sample.shares + basis**2 @ (~is_dead @ sample.shares) * step**2 / 12
    return errors
