"""Similarity and synthesis of a bank: strided tied convolution, circular over a padded chunk.

Both run as a few dense products of blocks (polyphase form). Synthesis adds integers held in float64;
the container bounds every partial sum below 2**53, so any order of addition gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, KernelGroup, Model

_MAX_BLOCK = 64
_MAX_LAGGED = 1 << 25


@dataclass(frozen=True, eq=False)
class BlockedGroup:
    """A group rewritten for blocks of ``block`` samples: ``parts[j]`` is (sample of block, kernel) for block lag j.

    Small strides are gathered into blocks of up to 64 samples, so that the products are large enough to be fast.
    """

    block: int
    first_lag: int
    parts: NDArray[np.float64]


def _blocked(group: KernelGroup, period: int) -> BlockedGroup:
    per_block = max(n for n in range(1, max(1, _MAX_BLOCK // group.stride) + 1) if period % (n * group.stride) == 0)
    block = per_block * group.stride
    first_lag = group.offset // block
    shift = group.offset - first_lag * block
    span = shift + (per_block - 1) * group.stride + group.length
    n_lags = -(-span // block)
    dense = np.zeros((n_lags * block, per_block, group.n_kernels))
    for index in range(per_block):
        start = shift + index * group.stride
        dense[start : start + group.length, index] = group.weights.T
    return BlockedGroup(block, first_lag, dense.reshape(n_lags, block, per_block * group.n_kernels))


@lru_cache(maxsize=8)
def blocked_groups(model: Model, dtype: str) -> tuple[BlockedGroup, ...]:
    """The groups of a model in polyphase form."""
    blocked = (_blocked(group, model.period) for group in model.groups)
    return tuple(BlockedGroup(group.block, group.first_lag, group.parts.astype(dtype)) for group in blocked)


@lru_cache(maxsize=32)
def _float_weights(model: Model) -> tuple[NDArray[np.float64], ...]:
    return tuple(group.weights.astype(np.float64) for group in model.groups)


def similarity(model: Model, signals: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Correlate signals with every kernel (eq. 1 of arXiv:1907.06592).

    Parameters
    ----------
    signals
        float32, shape ``(signal, padded sample)``; the length is a multiple of ``model.period``.

    Returns
    -------
    list of float32 arrays, one per group, shape ``(signal, window, kernel)``.
    """
    n_signals, length = signals.shape
    similarities = []
    for group, blocked in zip(model.groups, blocked_groups(model, "float32"), strict=True):
        blocks = signals.reshape(n_signals, length // blocked.block, blocked.block)
        total: NDArray[np.float32] | None = None
        for lag, part in enumerate(blocked.parts):
            product = np.roll(blocks @ part, -(blocked.first_lag + lag), axis=1)
            total = product if total is None else np.add(total, product, out=total)
        assert total is not None
        scaled = total * np.float32(2.0**-WEIGHT_FRACTION_BITS)
        similarities.append(scaled.reshape(n_signals, length // group.stride, group.n_kernels))
    return similarities


def synthesise(model: Model, amplitudes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Σ α ∗ w over all groups (eq. 3 of arXiv:1907.06592), exact for integer amplitudes within the bound.

    Parameters
    ----------
    amplitudes
        One array per group, float64 holding integers, shape ``(signal, window, kernel)``.

    Returns
    -------
    float64 holding integers, shape ``(signal, padded sample)``.
    """
    n_signals, n_windows, _ = amplitudes[0].shape
    length = n_windows * model.groups[0].stride
    output = np.zeros((n_signals, length))
    if not output.size:
        return output
    if native.core is not None:
        for group, weights, amplitude in zip(model.groups, _float_weights(model), amplitudes, strict=True):
            native.core.synthesise(
                weights, np.ascontiguousarray(amplitude), group.n_kernels, group.stride, group.offset, n_signals, output
            )
        return output
    for blocked, amplitude in zip(blocked_groups(model, "float64"), amplitudes, strict=True):
        n_blocks = length // blocked.block
        n_lags, block, n_maps = blocked.parts.shape
        maps = amplitude.reshape(n_signals, n_blocks, n_maps)
        # Lagged maps side by side make one product of each group, or a few where they would take too much memory.
        at_once = max(1, _MAX_LAGGED // max(maps.size, 1))
        for first in range(0, n_lags, at_once):
            parts = blocked.parts[first : first + at_once]
            lagged = np.empty((n_signals, n_blocks, len(parts) * n_maps))
            for lag in range(len(parts)):
                lagged[:, :, lag * n_maps : (lag + 1) * n_maps] = np.roll(maps, blocked.first_lag + first + lag, axis=1)
            kernels = parts.transpose(0, 2, 1).reshape(len(parts) * n_maps, block)
            output += (lagged.reshape(-1, len(parts) * n_maps) @ kernels).reshape(n_signals, length)
    return output
