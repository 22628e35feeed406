"""The five activation functions of the published Sparsely Activated Networks, on torch tensors.

The definitions are those of ``sancodec.san.activations``: same indices, ties and plateaus. Gradients pass through the
amplitudes that are kept; which ones are kept is constant (eq. 11 of arXiv:1907.06592 has no other derivative). All
functions can be exported to ONNX: Extrema with a loop that runs until no extremum is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from sancodec.san.activations import EXTREMA, POOL, RELU, TOPK, Activation, check_competition, map_shape


def activation_map(activation: Activation, similarity: torch.Tensor, *, n_dims: int) -> torch.Tensor:
    """The activation map of similarities ``(…, sample)`` or ``(…, row, column)``."""
    if activation.name == TOPK:
        return topk_absolutes(similarity, k=activation.sparsity, n_dims=n_dims)
    if activation.name == POOL:
        return extrema_pool_indices(similarity, pool_size=activation.sparsity, n_dims=n_dims)
    if activation.name == EXTREMA:
        return extrema(
            similarity,
            minimum_extrema_distance=activation.sparsity,
            border_tolerance=activation.border_tolerance,
            n_dims=n_dims,
        )
    return relu(similarity) if activation.name == RELU else identity(similarity)


def identity(similarity: torch.Tensor) -> torch.Tensor:
    """See ``sancodec.san.activations.identity``."""
    return similarity


def relu(similarity: torch.Tensor) -> torch.Tensor:
    """See ``sancodec.san.activations.relu``."""
    return torch.relu(similarity)


def topk_absolutes(similarity: torch.Tensor, *, k: int, n_dims: int) -> torch.Tensor:
    """See ``sancodec.san.activations.topk_absolutes``."""
    _check(Activation(TOPK, k=k), similarity, n_dims)
    rows = _maps(similarity, n_dims).flatten(start_dim=1)  # (map, element)
    kept = torch.zeros_like(rows, dtype=torch.bool).scatter(1, _order(rows)[:, :k], True)
    return _where(kept, similarity)


def extrema_pool_indices(similarity: torch.Tensor, *, pool_size: int, n_dims: int) -> torch.Tensor:
    """See ``sancodec.san.activations.extrema_pool_indices``."""
    _check(Activation(POOL, pool_size=pool_size), similarity, n_dims)
    maps = _maps(similarity, 2) if n_dims == 2 else _maps(similarity, 1).unsqueeze(1)  # (map, row, column)
    high = pool_size if n_dims == 2 else 1
    n_rows, n_columns = maps.shape[1] // high, maps.shape[2] // pool_size
    whole = maps[:, : n_rows * high, : n_columns * pool_size]
    pools = whole.reshape(-1, n_rows, high, n_columns, pool_size).transpose(2, 3)  # (map, row, column, …, …)
    chosen = pools.detach().abs().flatten(start_dim=3).argmax(dim=3, keepdim=True)  # the first of equal ones
    places = torch.arange(high * pool_size, device=maps.device)
    kept = torch.where((places == chosen).reshape(pools.shape), pools, torch.zeros_like(pools))
    rest = (0, maps.shape[2] - whole.shape[2], 0, maps.shape[1] - whole.shape[1])
    return functional.pad(kept.transpose(2, 3).reshape(whole.shape), rest).reshape(similarity.shape)


def extrema(
    similarity: torch.Tensor, *, minimum_extrema_distance: int, border_tolerance: int = 0, n_dims: int
) -> torch.Tensor:
    """See ``sancodec.san.activations.extrema``."""
    activation = Activation(
        EXTREMA, minimum_extrema_distance=minimum_extrema_distance, border_tolerance=border_tolerance
    )
    _check(activation, similarity, n_dims)
    maps = _maps(similarity.detach(), n_dims)
    candidates = _candidates(maps)[None]  # (kernel, map, …)
    return _where(_first_within(candidates, maps.flatten(start_dim=1), [activation.suppression_distance]), similarity)


def competing_extrema(
    similarities: Sequence[torch.Tensor],
    activations: Sequence[Activation],
    *,
    norms: Sequence[torch.Tensor],
    n_dims: int,
) -> tuple[torch.Tensor, ...]:
    """See ``sancodec.san.activations.competing_extrema``; norms are tensors of one float64 each."""
    check_competition(activations)
    for similarity, activation in zip(similarities, activations, strict=True):
        _check(activation, similarity, n_dims)
    maps = [_maps(each.detach(), n_dims) for each in similarities]
    candidates = torch.stack([_candidates(each) for each in maps])
    rows = [
        each.flatten(start_dim=1).double() / torch.where(norm > 0, norm, 1.0)
        for each, norm in zip(maps, norms, strict=True)
    ]
    kept = _first_within(candidates, torch.cat(rows, dim=1), [each.suppression_distance for each in activations])
    return tuple(_where(mine, each) for mine, each in zip(kept, similarities, strict=True))


def _check(activation: Activation, similarity: torch.Tensor, n_dims: int) -> None:
    # A graph that is being exported has no shape yet.
    if not torch.compiler.is_exporting():
        activation.check(map_shape(tuple(similarity.shape), n_dims=n_dims))


def _maps(similarity: torch.Tensor, n_dims: int) -> torch.Tensor:
    """All maps along the first axis."""
    return similarity.reshape(-1, *similarity.shape[similarity.ndim - n_dims :])


def _order(rows: torch.Tensor) -> torch.Tensor:
    """Indices by falling magnitude, equal ones by index, ``(map, element)``."""
    return torch.sort(rows.detach().abs(), dim=1, descending=True, stable=True).indices


def _where(kept: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
    return torch.where(kept.reshape(similarity.shape), similarity, torch.zeros_like(similarity))


def _candidates(maps: torch.Tensor) -> torch.Tensor:
    """Peaks and valleys along all axes, ``(map, sample)`` or ``(map, row, column)``."""
    peaks, valleys = maps > 0, maps < 0
    for axis in range(1, maps.ndim):
        level = torch.zeros_like(maps.narrow(axis, 0, 1), dtype=torch.bool)
        n_steps = maps.shape[axis] - 1
        rises = maps.narrow(axis, 1, n_steps) > maps.narrow(axis, 0, n_steps)
        after, before = torch.cat([rises, level], dim=axis), torch.cat([level, rises], dim=axis)
        peaks = peaks & before & ~after
        valleys = valleys & after & ~before
    return peaks | valleys


def _first_within(candidates: torch.Tensor, priorities: torch.Tensor, reaches: Sequence[int]) -> torch.Tensor:
    """See ``sancodec.san.activations._first_within``."""
    order = _order(priorities)
    # Ranks make magnitude and its ties one number: the first to be visited has the largest, all but candidates have 0.
    places = torch.arange(order.shape[1], 0, -1, device=order.device, dtype=torch.float64)
    ranks = torch.zeros_like(order, dtype=torch.float64).scatter(1, order, places.expand(order.shape))
    n_kernels, n_maps, *shape = candidates.shape
    by_kernel = ranks.reshape(n_maps, n_kernels, *shape).transpose(0, 1)  # (kernel, map, …)
    if not torch.compiler.is_exporting():
        reaches = [min(reach, max(shape)) for reach in reaches]

    def some_remain(remaining: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return (remaining > 0).sum() > 0  # not any(), which ONNX finds true of no elements

    def keep_highest(remaining: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Whoever ranks highest among those whose reach it is in is kept by the greedy order too, whatever happens
        # elsewhere. It removes those that come after it; a reach that is longer may have others in it.
        highest = (remaining > 0) & (remaining == _largest_of_all(remaining, reaches))
        removed = remaining <= _largest_of_all(torch.where(highest, remaining, 0.0), reaches)
        return torch.where(removed, 0.0, remaining), kept | highest

    remaining = torch.where(candidates, by_kernel, 0.0)
    state = remaining, torch.zeros_like(remaining, dtype=torch.bool)
    if torch.compiler.is_exporting():
        from torch._higher_order_ops import while_loop

        _, kept = while_loop(some_remain, keep_highest, state)  # type: ignore[no-untyped-call]
        assert isinstance(kept, torch.Tensor)
        return kept
    while some_remain(*state):
        state = keep_highest(*state)
    return state[1]


def _largest_of_all(maps: torch.Tensor, reaches: Sequence[int]) -> torch.Tensor:
    """Largest rank within reach over all kernels, ``(1, map, …)``."""
    within = [_largest_within(each, reach) for each, reach in zip(maps.unbind(), reaches, strict=True)]
    return torch.stack(within).amax(dim=0, keepdim=True)


def _largest_within(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """Running maximum over ``reach`` samples to both sides along all axes, by windows of doubled length."""
    # Not max-pooling: its time grows with the reach, and max_pool1d cannot be exported with a length that may change.
    for axis in range(1, maps.ndim):
        n_samples, length = maps.shape[axis], 1
        window = functional.pad(maps, [0, 0] * (maps.ndim - 1 - axis) + [reach, reach])
        while 2 * length <= 2 * reach + 1:
            n_windows = window.shape[axis] - length
            window = torch.maximum(window.narrow(axis, 0, n_windows), window.narrow(axis, length, n_windows))
            length *= 2
        last = window.narrow(axis, 2 * reach + 1 - length, n_samples)
        maps = torch.maximum(window.narrow(axis, 0, n_samples), last)
    return maps
