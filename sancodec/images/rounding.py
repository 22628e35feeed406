"""Levels of pixels weighed against their cost, and the kernels that turn levels into pixels again.

Only the encoder needs any of this: what it finds is stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.images.coding import MAX_WEIGHT, N_TAPS, REACH, WEIGHT_BITS

COST_BITS = 8
_SIDE = 2 * REACH + 1
_CENTRE = N_TAPS // 2
_STORED_BITS = 2  # of a weight after the point
_RIDGE_SHARE, _RIDGE = 1e-6, 1.0
_BACK_OFF = (0.5, 8.0, 16.0, 24.0)  # counts that the context with one neighbour less is worth


def fitted_kernels(
    pixels: NDArray[np.uint8], levels: NDArray[np.uint8], *, n_levels: int, background: int
) -> NDArray[np.int32]:
    """Kernels of least squared error: int32, shape ``(level, 25)``, in 2**-6, multiples of a quarter.

    Parameters
    ----------
    pixels, levels
        uint8, shape ``(image, row, column)``, both.
    """
    _, height, width = levels.shape
    around = ((0, 0), (REACH, REACH), (REACH, REACH))
    padded = np.pad(levels, around, constant_values=background).astype(np.int32)
    taps = [padded[:, r : r + height, c : c + width].reshape(-1) for r in range(_SIDE) for c in range(_SIDE)]
    wanted = pixels.reshape(-1).astype(np.float64)
    size = N_TAPS * n_levels
    products, sums = np.zeros((size, size)), np.zeros(size)
    for i, one in enumerate(taps):
        rows = slice(i * n_levels, (i + 1) * n_levels)
        sums[rows] = np.bincount(one, wanted, n_levels)
        scaled = one * n_levels
        for j in range(i, N_TAPS):
            columns = slice(j * n_levels, (j + 1) * n_levels)
            block = np.bincount(scaled + taps[j], minlength=n_levels**2).reshape(n_levels, n_levels)
            products[rows, columns], products[columns, rows] = block, block.T
    # At every tap one level is always on, so that the weights are known but for constants: the ridge settles them.
    products += np.eye(size) * (_RIDGE_SHARE * wanted.size + _RIDGE)
    weights = np.linalg.solve(products, sums).reshape(N_TAPS, n_levels).T
    of_background = weights[background].copy()
    weights = weights - of_background
    weights[:, _CENTRE] += of_background.sum()
    limit = MAX_WEIGHT >> WEIGHT_BITS
    stored = np.rint(np.clip(weights, -limit, limit) * (1 << _STORED_BITS)).astype(np.int32)
    return np.ascontiguousarray(stored << (WEIGHT_BITS - _STORED_BITS))


def level_costs(levels: NDArray[np.uint8], *, n_levels: int, background: int) -> tuple[NDArray[np.int32], float]:
    """What a level costs after its neighbours, and what all of these cost in bits.

    Returns
    -------
    costs
        int32, shape ``(west, north, north-east, north-west, level)``, in 2**-8 bits.
    total
        In bits.
    """
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 1)), constant_values=background).astype(np.int64)
    context = padded[:, 1:, :-2]
    for neighbour in (padded[:, :-1, 1:-1], padded[:, :-1, 2:], padded[:, :-1, :-2]):
        context = context * n_levels + neighbour
    counts = np.bincount((context * n_levels + levels).reshape(-1), minlength=n_levels**5)
    table = counts.reshape((n_levels,) * 5).astype(np.float64)
    chance: NDArray[np.float64] = np.full(n_levels, 1 / n_levels)
    for n_neighbours, trust in zip((0, 2, 3, 4), _BACK_OFF, strict=True):
        seen = table.sum(axis=tuple(range(n_neighbours, 4)))
        prior = chance if n_neighbours in (0, 2) else chance[..., None, :]
        chance = (seen + trust * n_levels * prior if n_neighbours == 0 else seen + trust * prior) / (
            seen.sum(axis=-1, keepdims=True) + (trust * n_levels if n_neighbours == 0 else trust)
        )
    bits = -np.log2(chance)
    return np.rint(bits * (1 << COST_BITS)).astype(np.int32), float((table * bits).sum())


def round_levels(
    pixels: NDArray[np.uint8],
    levels: NDArray[np.uint8],
    kernels: NDArray[np.int32],
    costs: NDArray[np.int32],
    *,
    price: float,
    background: int,
) -> NDArray[np.uint8]:
    """Levels of less squared error plus ``price`` times bits: every pixel is visited once.

    Without the native core they stay as they are.
    """
    result = np.ascontiguousarray(levels).copy()
    if native.core is not None:
        _, height, width = levels.shape
        flat = result.reshape(-1)
        in_units = round(price * (1 << (2 * WEIGHT_BITS - COST_BITS)))
        native.core.image_rounding(
            np.ascontiguousarray(pixels).reshape(-1),
            flat,
            height,
            width,
            kernels.reshape(-1),
            costs.reshape(-1),
            in_units,
            background,
        )
    return result
