"""The five activation functions of the published Sparsely Activated Networks, on NumPy arrays.

Section III-A of arXiv:1907.06592, after the code that its author published
(github.com/pbizopoulos/sparsely-activated-networks). Every function takes similarities and returns an activation map of
the same shape: most of it 0, the rest as it was. A map is the last axis, or the last two; all other axes are batches.
``sancodec.training.activations`` has the same functions for training; both give the same indices for the same
similarities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

IDENTITY, RELU, TOPK, POOL, EXTREMA = ("identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema")
# The sparsity density parameter that each activation needs.
SPARSITY: dict[str, str | None] = {
    IDENTITY: None,
    RELU: None,
    TOPK: "k",
    POOL: "pool_size",
    EXTREMA: "minimum_extrema_distance",
}


@dataclass(frozen=True, slots=True)
class Activation:
    """Which activation function, and how sparse: φ and d of eq. 8 of arXiv:1907.06592.

    Parameters
    ----------
    name
        ``identity``, ``relu``, ``topk_absolutes``, ``extrema_pool_indices`` or ``extrema``.
    k
        Of ``topk_absolutes`` only: how many elements of each map stay, from 1 to all.
    pool_size
        Of ``extrema_pool_indices`` only: samples of a pool along each axis, 1 or more.
    minimum_extrema_distance
        Of ``extrema`` only: samples, 1 or more.
    border_tolerance
        Of ``extrema`` only: by how many samples kept extrema may come closer to each other than that distance.

    Raises
    ------
    InvalidSignalError
        When the name is unknown, or its parameter is absent, of another activation, or out of range.
    """

    name: str
    _: KW_ONLY
    k: int | None = None
    pool_size: int | None = None
    minimum_extrema_distance: int | None = None
    border_tolerance: int = 0

    def __post_init__(self) -> None:
        if self.name not in SPARSITY:
            raise InvalidSignalError(f"activation {self.name!r} is unknown; known are {', '.join(SPARSITY)}")
        for parameter in filter(None, SPARSITY.values()):
            value, needed = getattr(self, parameter), parameter == SPARSITY[self.name]
            if needed and (not _is_integer(value) or value < 1):
                raise InvalidSignalError(f"{self.name} needs {parameter} of 1 or more, not {value!r}")
            if not needed and value is not None:
                raise InvalidSignalError(f"{self.name} takes no {parameter}, but {value!r} was given")
        if not _is_integer(self.border_tolerance) or self.border_tolerance < 0:
            raise InvalidSignalError(f"border_tolerance must be 0 or more, not {self.border_tolerance!r}")
        if self.border_tolerance and self.name != EXTREMA:
            raise InvalidSignalError(f"{self.name} takes no border_tolerance, but {self.border_tolerance!r} was given")
        for given in filter(None, (SPARSITY[self.name], "border_tolerance")):
            # Integers of NumPy would wrap around, and cannot be exported.
            object.__setattr__(self, given, int(getattr(self, given)))

    @property
    def sparsity(self) -> int:
        """The sparsity density parameter d; 0 where it does not apply."""
        parameter = SPARSITY[self.name]
        return 0 if parameter is None else int(getattr(self, parameter))

    @property
    def suppression_distance(self) -> int:
        """Of ``extrema``: how far a kept extremum removes others, ``max(1, distance - tolerance)`` samples."""
        return max(1, self.sparsity - self.border_tolerance)

    def parameters(self) -> dict[str, int]:
        """Those that the activation has, by name."""
        parameter = SPARSITY[self.name]
        found = {} if parameter is None else {parameter: self.sparsity}
        return {**found, "border_tolerance": self.border_tolerance} if self.name == EXTREMA else found

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse maps of a shape, without batch axes, that are too small for k or for one pool."""
        n_elements = int(np.prod(shape))
        if self.name == TOPK and self.sparsity > n_elements:
            raise InvalidSignalError(
                f"k is {self.sparsity}, but a map has {n_elements} elements; give a k of at most that"
            )
        if self.name == POOL and self.sparsity > min(shape):
            raise InvalidSignalError(
                f"pool_size is {self.sparsity}, but a map has {min(shape)} samples along an axis; "
                "give a pool_size of at most that"
            )

    def __call__(self, similarity: NDArray[Any], *, n_dims: int) -> NDArray[Any]:
        """The activation map of similarities."""
        if self.name == TOPK:
            return topk_absolutes(similarity, k=self.sparsity, n_dims=n_dims)
        if self.name == POOL:
            return extrema_pool_indices(similarity, pool_size=self.sparsity, n_dims=n_dims)
        if self.name == EXTREMA:
            return extrema(
                similarity,
                minimum_extrema_distance=self.sparsity,
                border_tolerance=self.border_tolerance,
                n_dims=n_dims,
            )
        return relu(similarity) if self.name == RELU else identity(similarity)


def identity(similarity: NDArray[Any]) -> NDArray[Any]:
    """The similarity itself: no sparsity, a baseline. Section III-A1 of arXiv:1907.06592."""
    return similarity


def relu(similarity: NDArray[Any]) -> NDArray[Any]:
    """``max(s, 0)``. Section III-A2 of arXiv:1907.06592."""
    rectified: NDArray[Any] = np.maximum(similarity, np.zeros((), similarity.dtype))
    return rectified


def topk_absolutes(similarity: NDArray[Any], *, k: int, n_dims: int) -> NDArray[Any]:
    """Keep the k elements of largest \\|s\\| of every map. Algorithm 1 of arXiv:1907.06592.

    Of equal \\|s\\| the lowest index comes first, row by row in two dimensions; the paper leaves it open.

    Parameters
    ----------
    similarity
        Floats, shape ``(…, sample)`` for ``n_dims`` 1, ``(…, row, column)`` for 2.
    k
        From 1 to the number of elements of a map.

    Raises
    ------
    InvalidSignalError
        When k is out of range, or the similarities are no floats or have too few axes.
    """
    _check_floats(similarity)
    Activation(TOPK, k=k).check(map_shape(similarity.shape, n_dims=n_dims))
    rows = _rows(similarity, n_dims)
    return _kept(similarity, _order(rows)[:, :k], rows)


def extrema_pool_indices(similarity: NDArray[Any], *, pool_size: int, n_dims: int) -> NDArray[Any]:
    """Keep the element of largest \\|s\\| of every pool. Algorithm 2 of arXiv:1907.06592.

    Pools lie side by side from the first sample on, ``pool_size`` samples long, in two dimensions as many wide. What
    remains at the end is no whole pool and is dropped, as by the published max-pooling. Of equal \\|s\\| the lowest
    index comes first, row by row. In two dimensions the published code keeps the element of the first pool only; here
    every pool keeps one, as Algorithm 2 says.

    Parameters
    ----------
    similarity
        Floats, shape ``(…, sample)`` for ``n_dims`` 1, ``(…, row, column)`` for 2.
    pool_size
        From 1 to the length of the shortest axis of a map.

    Raises
    ------
    InvalidSignalError
        When the pool is longer than the map, or the similarities are no floats or have too few axes.
    """
    _check_floats(similarity)
    shape = map_shape(similarity.shape, n_dims=n_dims)
    Activation(POOL, pool_size=pool_size).check(shape)
    rows = _rows(similarity, n_dims)
    places = _pools(np.arange(rows.shape[1]).reshape(1, *shape), pool_size)[0]  # (pool, element)
    in_pools = np.abs(_pools(rows.reshape(-1, *shape), pool_size))  # (map, pool, element)
    chosen = places[np.arange(len(places)), in_pools.argmax(axis=2)]  # (map, pool)
    return _kept(similarity, chosen, rows)


def extrema(
    similarity: NDArray[Any], *, minimum_extrema_distance: int, border_tolerance: int = 0, n_dims: int
) -> NDArray[Any]:
    """Keep peaks and valleys with a minimum distance, the largest first. Algorithm 3 of arXiv:1907.06592.

    - A peak is a sample s > 0 that is larger than the one before and not smaller than the one after. A valley is a
      sample s < 0 that is not larger than the one before and smaller than the one after. So a plateau counts once: a
      high one at its first sample, a low one at its last. The level part of a rising slope counts likewise, that of a
      falling one does not. Beyond both ends the signal continues level: the last sample may be a peak and the first a
      valley, but not the other way round. Constant maps have no extrema. All this is as in the published code;
      Algorithm 3 as printed names peaks and valleys the other way round and has other plateaus.
    - In two dimensions a peak must be one along its row and along its column, and so must a valley.
    - Extrema are visited by falling \\|s\\|, of equal \\|s\\| the lowest index first, row by row (the paper leaves that
      open). One that is there is kept and removes all others at most ``max(1, minimum_extrema_distance -
      border_tolerance)`` samples away, in two dimensions along both axes (Chebyshev distance).

    The border tolerance lets a kernel be active at the border of an area where it is active already. It is not about
    the ends of the signal. The published experiments use 3, or 2, with a distance of the length of the kernel.

    Parameters
    ----------
    similarity
        Floats, shape ``(…, sample)`` for ``n_dims`` 1, ``(…, row, column)`` for 2.
    minimum_extrema_distance, border_tolerance
        Samples.

    Raises
    ------
    InvalidSignalError
        When the distance is below 1, the tolerance is negative, or the similarities are no floats or have too few axes.
    """
    _check_floats(similarity)
    activation = Activation(
        EXTREMA, minimum_extrema_distance=minimum_extrema_distance, border_tolerance=border_tolerance
    )
    shape, reach = map_shape(similarity.shape, n_dims=n_dims), activation.suppression_distance
    rows = _rows(similarity, n_dims)
    candidates = _candidates(rows.reshape(-1, *shape))
    (kept,) = _first_within(candidates[None], rows, [reach])
    return np.where(kept.reshape(similarity.shape), similarity, np.zeros((), similarity.dtype))


def competing_extrema(
    similarities: Sequence[NDArray[Any]],
    activations: Sequence[Activation],
    *,
    norms: Sequence[float],
    n_dims: int,
) -> tuple[NDArray[Any], ...]:
    """Extrema of several kernels, of which only one is active within reach: kernels compete for territory.

    Future work of arXiv:1907.06592 (section VI). Peaks and valleys are those of ``extrema``, map by map, but those of
    all kernels are visited together, by falling \\|s\\| / ‖w‖: what a kernel alone explains best comes first. Of equal
    ones the lower kernel comes first, then the lower index. One that is there is kept and removes those of all kernels
    within the suppression distance of its own activation.

    Parameters
    ----------
    similarities
        Of each kernel: floats, all of one shape ``(…, sample)`` for ``n_dims`` 1, ``(…, row, column)`` for 2.
    activations
        ``extrema`` of each kernel.
    norms
        ‖w‖₂ of each kernel.

    Raises
    ------
    InvalidSignalError
        When an activation is another, or the similarities are no floats or have too few axes.
    """
    check_competition(activations)
    for similarity in similarities:
        _check_floats(similarity)
    shape = map_shape(similarities[0].shape, n_dims=n_dims)
    candidates = np.stack([_candidates(each.reshape(-1, *shape)) for each in similarities])
    # Of a kernel without weights nothing is an extremum.
    rows = [
        _rows(each, n_dims).astype(np.float64) / (norm or 1.0) for each, norm in zip(similarities, norms, strict=True)
    ]
    kept = _first_within(candidates, np.concatenate(rows, axis=1), [each.suppression_distance for each in activations])
    return tuple(
        np.where(mine.reshape(each.shape), each, np.zeros((), each.dtype))
        for mine, each in zip(kept, similarities, strict=True)
    )


def check_competition(activations: Sequence[Activation]) -> None:
    """Refuse kernels that compete without being active at extrema."""
    for index, activation in enumerate(activations):
        if activation.name != EXTREMA:
            raise InvalidSignalError(f"kernel {index} has {activation.name}; only kernels of {EXTREMA} can compete")


def _check_floats(similarity: NDArray[Any]) -> None:
    if similarity.dtype.kind != "f":
        raise InvalidSignalError(f"similarities are {similarity.dtype}; floats are needed")


def map_shape(shape: tuple[int, ...], *, n_dims: int) -> tuple[int, ...]:
    """The axes of one map out of the shape of many.

    Raises
    ------
    InvalidSignalError
        When ``n_dims`` is neither 1 nor 2, or there are fewer axes, or maps without elements.
    """
    if n_dims not in (1, 2):
        raise InvalidSignalError(f"n_dims must be 1 or 2, not {n_dims!r}")
    if len(shape) < n_dims or 0 in shape[len(shape) - n_dims :]:
        raise InvalidSignalError(f"maps of {n_dims} dimensions cannot be taken from an array of shape {shape}")
    return shape[len(shape) - n_dims :]


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _rows(similarity: NDArray[Any], n_dims: int) -> NDArray[Any]:
    """All maps as rows, ``(map, element)``."""
    return similarity.reshape(-1, int(np.prod(similarity.shape[-n_dims:])))


def _order(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Indices by falling magnitude, equal ones by index, ``(map, element)``."""
    order: NDArray[np.int64] = np.argsort(-np.abs(rows), axis=1, kind="stable")
    return order


def _first_within(candidates: NDArray[np.bool_], priorities: NDArray[Any], reaches: Sequence[int]) -> NDArray[np.bool_]:
    """Which candidates the greedy order keeps: the first of them, each removing all others within the reach of its map.

    Parameters
    ----------
    candidates
        Shape ``(kernel, map, …)``.
    priorities
        Shape ``(map, element)``: the elements of a map of the first kernel, of the second, …
    reaches
        Of each kernel.
    """
    # Ranks make magnitude and its ties one number: the first to be visited has the largest, all but candidates have 0.
    ranks = np.empty(priorities.shape, np.int64)
    np.put_along_axis(ranks, _order(priorities), np.arange(priorities.shape[1], 0, -1)[None], axis=1)
    n_kernels, n_maps, *shape = candidates.shape
    by_kernel = np.moveaxis(ranks.reshape(n_maps, n_kernels, *shape), 1, 0)  # (kernel, map, …)
    remaining = np.where(candidates, by_kernel, 0)
    kept = np.zeros(remaining.shape, bool)
    while remaining.any():
        # Whoever ranks highest among those whose reach it is in is kept by the greedy order too, whatever happens
        # elsewhere. It removes those that come after it; a reach that is longer may have others in it.
        highest = (remaining > 0) & (remaining == _largest_of_all(remaining, reaches))
        kept |= highest
        remaining[remaining <= _largest_of_all(np.where(highest, remaining, 0), reaches)] = 0
    return kept


def _largest_of_all(maps: NDArray[Any], reaches: Sequence[int]) -> NDArray[Any]:
    """Largest rank within reach over all kernels, ``(map, …)``."""
    largest: NDArray[Any] = np.max(
        [_largest_within(each, reach) for each, reach in zip(maps, reaches, strict=True)], axis=0
    )
    return largest


def _kept(similarity: NDArray[Any], indices: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[Any]:
    kept = np.zeros_like(rows)
    np.put_along_axis(kept, indices, np.take_along_axis(rows, indices, axis=1), axis=1)
    return kept.reshape(similarity.shape)


def _pools(maps: NDArray[Any], size: int) -> NDArray[Any]:
    """Whole pools of maps ``(map, sample)`` or ``(map, row, column)``, as ``(map, pool, element)``."""
    n_maps = len(maps)
    if maps.ndim == 2:
        n_pools = maps.shape[1] // size
        return maps[:, : n_pools * size].reshape(n_maps, n_pools, size)
    high, wide = maps.shape[1] // size, maps.shape[2] // size
    pools = maps[:, : high * size, : wide * size].reshape(n_maps, high, size, wide, size)
    return pools.transpose(0, 1, 3, 2, 4).reshape(n_maps, high * wide, size * size)


def _candidates(maps: NDArray[Any]) -> NDArray[np.bool_]:
    """Peaks and valleys along all axes, ``(map, sample)`` or ``(map, row, column)``."""
    peaks, valleys = maps > 0, maps < 0
    for axis in range(1, maps.ndim):
        level = np.zeros_like(np.take(maps, [0], axis=axis), dtype=bool)
        rises = np.take(maps, range(1, maps.shape[axis]), axis=axis) > np.take(
            maps, range(maps.shape[axis] - 1), axis=axis
        )
        after, before = np.concatenate([rises, level], axis=axis), np.concatenate([level, rises], axis=axis)
        peaks &= before & ~after
        valleys &= after & ~before
    return peaks | valleys


def _largest_within(maps: NDArray[Any], reach: int) -> NDArray[Any]:
    """Running maximum over ``reach`` samples to both sides along all axes, by windows of doubled length."""
    for axis in range(1, maps.ndim):
        rows = np.moveaxis(maps, axis, -1)
        n_samples = rows.shape[-1]
        to_each_side = min(reach, n_samples - 1)
        window, length = np.pad(rows, [(0, 0)] * (maps.ndim - 1) + [(to_each_side, to_each_side)]), 1
        while 2 * length <= 2 * to_each_side + 1:
            window, length = np.maximum(window[..., :-length], window[..., length:]), 2 * length
        first, last = window[..., :n_samples], window[..., window.shape[-1] - n_samples :]
        maps = np.moveaxis(np.maximum(first, last), -1, axis)
    return maps
