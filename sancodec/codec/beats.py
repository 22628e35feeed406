"""The beat layer: stride-1 kernels learned per file and the sparse events that use them.

Kernels come from gain-shape k-means on aligned waves; events from a closed-loop projection of the signal.
Everything the decoder sees is an integer; the arithmetic here may differ between machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.detection import windows_at
from sancodec.codec.kernel_wavelet import MAX_COEFFICIENT_STEP, KernelCoefficients, quantised, weights_of
from sancodec.errors import LimitExceededError

KERNEL_S = 256 / 360
BEFORE_S = 100 / 360
_TAPER_S = 24 / 360
_LLOYD_ROUNDS = 8
# Kernels are normalised and gains are small integers; this is the gain of a typical wave.
_GAINS_AT_MEDIAN = 32
# Quantiser step of a kernel's coefficients at the median gain, in steps of the bank's quantiser, were there one wave.
_COEFFICIENT_STEP = 1.0
# Weights are so much finer than coefficients, where they can be.
_WEIGHTS_IN_STEP = 48
_MAX_KERNEL_INTEGER = 30_000
MAX_GAIN = 127
FRACTION_BITS = 10
MAX_EXPONENT = 20
MAX_WEIGHT = (1 << 16) - 1


@dataclass(frozen=True, slots=True, eq=False)
class BeatKernels:
    """Kernels of one channel as they are stored.

    Parameters
    ----------
    weights
        int32, shape ``(kernel, position)``.
    exponent
        An event of gain g adds ``g · weights · 2**exponent`` stored units; at least -FRACTION_BITS.
    coefficients
        What the weights are computed from; None for kernels that are stored weight by weight.
    """

    weights: NDArray[np.int32]
    exponent: int
    coefficients: KernelCoefficients | None = None

    @classmethod
    def of(cls, coefficients: KernelCoefficients, exponent: int) -> BeatKernels:
        """Kernels that are stored as coefficients.

        Raises
        ------
        LimitExceededError
            When a weight or a coefficient is too large.
        """
        weights = weights_of(coefficients)
        if weights.size and np.abs(weights).max() > MAX_WEIGHT:
            raise LimitExceededError(f"a beat kernel weight of {np.abs(weights).max()}; it must be below 65536")
        return cls(weights.astype(np.int32), exponent, coefficients)

    @property
    def n_kernels(self) -> int:
        return int(self.weights.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Which kernel is added where, for one channel; positions are shared by the channels of a file.

    Parameters
    ----------
    kernel_ids, gains
        int32, shape ``(event,)``; gain 0 leaves the event out in this channel.
    """

    kernel_ids: NDArray[np.int32]
    gains: NDArray[np.int32]

    @classmethod
    def none(cls, n_events: int) -> Events:
        """None of so many."""
        return cls(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))


def kernel_geometry(sampling_rate_hz: float) -> tuple[int, int]:
    """Kernel length and the samples before its peak."""
    return max(4, round(KERNEL_S * sampling_rate_hz)), max(1, round(BEFORE_S * sampling_rate_hz))


def _tapered(kernels: NDArray[np.float32], sampling_rate_hz: float) -> NDArray[np.float32]:
    n_taper = max(1, round(_TAPER_S * sampling_rate_hz))
    ramp = np.sin(np.pi / 2 * (np.arange(n_taper) + 0.5) / n_taper) ** 2
    window = np.ones(kernels.shape[1])
    window[:n_taper] = ramp
    window[-n_taper:] = ramp[::-1]
    return (kernels * window).astype(np.float32)


def learn_kernels(
    filtered: NDArray[np.float32], positions: NDArray[np.int64], *, counts: list[int], sampling_rate_hz: float
) -> dict[int, NDArray[np.float32]]:
    """Gain-shape k-means on the waves at ``positions`` of one channel.

    Parameters
    ----------
    filtered
        High-passed samples, shape ``(sample,)``.
    counts
        Numbers of kernels wanted, increasing.

    Returns
    -------
    For each count that the waves support, float32 ``(kernel, position)``, unit norm, the most used first.
    """
    length, before = kernel_geometry(sampling_rate_hz)
    waves = _tapered(windows_at(filtered, positions - before, length), sampling_rate_hz)  # (event, position)
    first = np.median(waves[:: max(1, len(waves) // 500)], axis=0)
    norm = float(np.linalg.norm(first))
    if norm == 0:
        return {}
    centres = (first / norm)[None].astype(np.float32)
    energy = np.einsum("ij,ij->i", waves, waves)
    learnt = {}
    while True:
        centres, gains = _lloyd(waves, centres, _LLOYD_ROUNDS if len(centres) in counts else 2)
        if len(centres) in counts:
            usage = np.bincount(gains.argmax(axis=1), minlength=len(centres))
            learnt[len(centres)] = centres[np.argsort(-usage, kind="stable")]
        if len(centres) >= counts[-1]:
            return learnt
        residual = energy - np.maximum(gains.max(axis=1), 0) ** 2
        worst = waves[residual.argmax()]
        cosine = (waves @ worst) / np.maximum(np.sqrt(energy) * np.linalg.norm(worst), 1e-9)
        similar = np.flatnonzero(cosine > 0.5)
        if residual.max() <= 0 or not len(similar):
            return learnt
        seed = waves[similar[np.argsort(-residual[similar])[: max(8, len(similar) // 4)]]].mean(axis=0)
        norm = float(np.linalg.norm(seed))
        if norm == 0:
            return learnt
        centres = np.concatenate([centres, (seed / norm)[None]])


def _lloyd(
    waves: NDArray[np.float32], centres: NDArray[np.float32], n_rounds: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rounds of assignment by gain and of gain-weighted means; centres, and the last gains ``(event, kernel)``."""
    gains = waves @ centres.T
    for _ in range(n_rounds):
        assigned = gains.argmax(axis=1)
        best = np.maximum(gains[np.arange(len(waves)), assigned], 0)
        weights = np.zeros((len(centres), len(waves)), np.float32)
        weights[assigned, np.arange(len(waves))] = best
        sums = weights @ waves
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.where(norms > 0, norms, 1), centres).astype(np.float32)
        gains = waves @ centres.T
    return centres, gains


def quantise_kernels(
    kernels: NDArray[np.float32], gains: NDArray[np.float32], *, step: float, max_exponent: int
) -> BeatKernels:
    """Integers for unit-norm kernels, float32 ``(kernel, position)``: the finer, the more waves share an error.

    Parameters
    ----------
    gains
        Of every wave with its best kernel.
    step
        Of the quantiser of what the kernels leave.
    """
    positive = gains[gains > 0]
    median = float(np.median(positive)) if len(positive) else step
    gain_step = max(step, median / _GAINS_AT_MEDIAN)
    waves_per_kernel = max(1.0, len(positive) / len(kernels))
    coefficient_step = _COEFFICIENT_STEP * step / math.sqrt(waves_per_kernel) * gain_step / max(median, gain_step)
    peak = float(np.abs(kernels).max()) * gain_step
    exponent = math.floor(math.log2(max(coefficient_step / _WEIGHTS_IN_STEP, 2.0**-FRACTION_BITS)))
    exponent = max(exponent, math.ceil(math.log2(max(peak, 1e-12) / _MAX_KERNEL_INTEGER)), -FRACTION_BITS)
    exponent = min(exponent, max_exponent)
    limit = _MAX_KERNEL_INTEGER / max(float(np.abs(kernels).max()), 1e-12)
    weights = kernels.astype(np.float64) * min(gain_step / 2.0**exponent, limit)
    in_weights = round(min(max(coefficient_step / 2.0**exponent, 1), MAX_COEFFICIENT_STEP))
    return BeatKernels.of(quantised(weights, in_weights), exponent)


def _independent_sets(starts: NDArray[np.int64], length: int) -> list[NDArray[np.int64]]:
    """Split events (in time order) into sets whose windows do not overlap: every second, third, … event."""
    n_sets = 1
    while np.any(starts[n_sets:] - starts[:-n_sets] < length):
        n_sets += 1
    return [np.arange(first, len(starts), n_sets) for first in range(min(n_sets, len(starts)))]


def project(
    signal: NDArray[np.float32], starts: NDArray[np.int64], kernels: BeatKernels, *, penalty: float
) -> tuple[Events, NDArray[np.float32]]:
    """Closed-loop projection: each event takes the kernel and gain that leave least residual.

    Parameters
    ----------
    signal
        float32, shape ``(sample,)``.
    starts
        First sample of each event's window, increasing; windows may reach beyond the signal.
    penalty
        Squared error that an event must save to be worth its bytes.

    Returns
    -------
    The events and what is left of the signal.
    """
    length = kernels.weights.shape[1]
    n_samples = len(signal)
    padded = np.zeros(n_samples + 2 * length, np.float32)
    padded[length : length + n_samples] = signal
    view = np.lib.stride_tricks.sliding_window_view(padded, length, writeable=True)
    atoms = (kernels.weights * 2.0**kernels.exponent).astype(np.float32)  # (kernel, position)
    norms = np.einsum("ij,ij->i", atoms, atoms)
    norms[norms == 0] = np.inf
    ids = np.zeros(len(starts), np.int32)
    gains = np.zeros(len(starts), np.int32)
    inside = np.clip(starts + length, 0, n_samples + length)
    for members in _independent_sets(starts, length):
        windows = view[inside[members]]  # (event, position), a copy
        similarity = windows @ atoms.T  # (event, kernel)
        gain = np.clip(np.rint(similarity / norms), 0, MAX_GAIN)
        saved = gain * (2 * similarity - gain * np.where(np.isinf(norms), 0, norms))
        best = saved.argmax(axis=1)
        rows = np.arange(len(members))
        chosen = np.where(saved[rows, best] > penalty, gain[rows, best], 0).astype(np.int32)
        ids[members] = np.where(chosen > 0, best, 0)
        gains[members] = chosen
        view[inside[members]] = windows - chosen[:, None] * atoms[best]
    residual = padded[length : length + n_samples]
    return Events(ids, gains), residual


def render(starts: NDArray[np.int64], events: Events, kernels: BeatKernels, *, n_samples: int) -> NDArray[np.int64]:
    """Σ gain · kernel over the events, in units of ``2**exponent``; int64, shape ``(n_samples,)``."""
    length = kernels.weights.shape[1]
    padded = np.zeros(n_samples + 2 * length, np.int64)
    view = np.lib.stride_tricks.sliding_window_view(padded, length, writeable=True)
    active = np.flatnonzero((events.gains != 0) & (starts > -length) & (starts < n_samples))
    if len(active):
        inside = starts[active] + length
        for members in _independent_sets(inside, length):
            chosen = active[members]
            view[inside[members]] += (
                events.gains[chosen, None].astype(np.int64) * kernels.weights[events.kernel_ids[chosen]]
            )
    return padded[length : length + n_samples]
