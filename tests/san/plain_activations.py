"""The activations once more, one map and one element at a time, as the algorithms of arXiv:1907.06592 run."""

import itertools

import numpy as np


def by_magnitude(similarity, places):
    """Places by falling magnitude; sorting is stable, so equal ones stay row by row."""
    return sorted(places, key=lambda place: -abs(similarity[place]))


def kept(similarity, places):
    result = np.zeros_like(similarity)
    for place in places:
        result[place] = similarity[place]
    return result


def plain_topk(similarity, k):
    return kept(similarity, by_magnitude(similarity, np.ndindex(similarity.shape))[:k])


def plain_pools(similarity, pool_size):
    grid = itertools.product(*(range(0, size - pool_size + 1, pool_size) for size in similarity.shape))
    inside = list(itertools.product(range(pool_size), repeat=similarity.ndim))
    pools = ([tuple(np.add(corner, step).tolist()) for step in inside] for corner in grid)
    return kept(similarity, [by_magnitude(similarity, pool)[0] for pool in pools])


def is_extremum(similarity, place):
    value, peak, valley = similarity[place], True, True
    for axis, size in enumerate(similarity.shape):
        step = np.eye(similarity.ndim, dtype=int)[axis]
        before = similarity[tuple(place - step)] if place[axis] > 0 else value
        after = similarity[tuple(place + step)] if place[axis] < size - 1 else value
        peak &= bool(value > 0 and before < value and after <= value)
        valley &= bool(value < 0 and before >= value and after > value)
    return peak or valley


def plain_extrema(similarity, distance):
    found = [place for place in np.ndindex(similarity.shape) if is_extremum(similarity, place)]
    primary = []
    for place in by_magnitude(similarity, found):
        if all(max(abs(np.subtract(place, other))) > distance for other in primary):
            primary.append(place)
    return kept(similarity, primary)
