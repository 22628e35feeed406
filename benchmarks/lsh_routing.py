"""Sparse models routed by a hash on Lipschitz targets: after Baykal et al., NeurIPS 2022 (arXiv 2208.04461), section 5.

    python benchmarks/lsh_routing.py
    python benchmarks/lsh_routing.py --quick

All models are linear in what is fitted, so each is fitted exactly, by least squares with a ridge chosen on validation
points; the paper trains with gradients. ``active`` counts the units that contribute to one output, ``total`` all units.

- dense: random ReLU units, all active.
- LSH constants (the paper's LSH model): ``active`` tables, each with 2**m buckets of m random hyperplanes, and a
  constant in every bucket.
- LSH experts: one table of m hyperplanes routes a point to one of 2**m experts of ``active`` random ReLU units each.
- random experts: the same experts, but a hash of the point's bits routes.
- top-k (the paper's data-dependent sparse model): of ``total`` random ReLU units the ``active`` largest count.

Targets are the paper's random polynomials and random hypercube functions; also polynomials of points on a subspace of
3 dimensions in 32, the case of its Theorem 4.1. Errors are shares of the target's variance.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Target = Callable[[Floats], Floats]
RESULTS = environment.REPOSITORY / "benchmarks" / "results"
N_TRAINING, N_VALIDATION, N_TEST = 32_768, 4096, 4096
RIDGES = (1e-6, 1e-4, 1e-2, 1.0)
ACTIVE = (8, 16, 32, 64)
WIDE = (128, 256, 512, 1024)
EXPERT_PLANES = 4
TABLE_PLANES = 11
TOP_K_FACTOR = 4
N_SWEEPS = 10
N_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of target.

    Parameters
    ----------
    dimensions, ambient
        Points are uniform on a cube of ``dimensions``, turned into a random subspace of ``ambient`` dimensions.
    degree
        Of the polynomial; None for the hypercube function.
    """

    name: str
    dimensions: int
    ambient: int
    degree: int | None


TASKS = (
    Task("polynomial of degree 4, 3 dimensions", 3, 3, 4),
    Task("polynomial of degree 4, 3 of 32 dimensions", 3, 32, 4),
    Task("polynomial of degree 4, 8 dimensions", 8, 8, 4),
    Task("hypercube function, 3 dimensions", 3, 3, None),
    Task("hypercube function, 8 dimensions", 8, 8, None),
)


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Points ``(point, dimension)`` and standardised values ``(point,)``, training first, then validation and test."""

    points: Floats
    values: Floats


def drawn(task: Task, generator: np.random.Generator) -> Data:
    """A random target and points with its values."""
    points = generator.uniform(-1, 1, (N_TRAINING + N_VALIDATION + N_TEST, task.dimensions)).astype(np.float32)
    if task.degree is None:
        corners = np.array(list(itertools.product((-1, 1), repeat=task.dimensions)), np.float32)
        weights = np.prod((1 + points[:, None] * corners) / 2, axis=2)  # (point, corner)
        values = weights @ generator.choice((-1.0, 1.0), len(corners))
    else:
        factors = np.column_stack([np.ones(len(points)), points])
        monomials = list(itertools.combinations_with_replacement(range(task.dimensions + 1), task.degree))
        coefficients = generator.normal(size=len(monomials))
        columns = (factors[:, list(monomial)].prod(axis=1) for monomial in monomials)
        values = sum(
            coefficient * column
            for coefficient, column in zip(coefficients / np.abs(coefficients).sum(), columns, strict=True)
        )
    turn = np.linalg.qr(generator.normal(size=(task.ambient, task.dimensions)))[0]
    points = (points @ turn.T).astype(np.float32)
    return Data(points, ((values - values.mean()) / values.std()).astype(np.float32))


class Units:
    """Random ReLU units whose kinks lie among the points, and a constant."""

    def __init__(self, points: Floats, width: int, generator: np.random.Generator) -> None:
        normals = generator.normal(size=(points.shape[1], width)).astype(np.float32)
        self._normals = normals / np.linalg.norm(normals, axis=0)
        self._offsets = np.sum(points[generator.integers(len(points), size=width)] * self._normals.T, axis=1)

    def __call__(self, points: Floats) -> Floats:
        return np.maximum(points @ self._normals - self._offsets, 0)


def buckets(points: Floats, planes: int, generator: np.random.Generator) -> Integers:
    """Signs of random hyperplanes, as a number for each point; each plane goes through a point drawn by chance."""
    projected = points @ generator.normal(size=(points.shape[1], planes))
    through = projected[generator.integers(N_TRAINING, size=planes), np.arange(planes)]
    return (projected > through) @ (1 << np.arange(planes))


def random_buckets(points: Floats, planes: int) -> Integers:
    """A hash of the points' bits."""
    return np.array([zlib.crc32(point.tobytes()) % (1 << planes) for point in points])


def least_squares(features: Floats, data: Data, select: NDArray[np.bool_] | None = None) -> dict[float, Floats]:
    """Predictions of a linear model for each ridge, fitted to the training points (of those selected)."""
    is_training = np.arange(len(features)) < N_TRAINING
    fitted = is_training if select is None else is_training & select
    of_fit = np.column_stack([features[fitted], np.ones(np.count_nonzero(fitted), np.float32)])
    gram, moment = (of_fit.T @ of_fit).astype(np.float64), of_fit.T.astype(np.float64) @ data.values[fitted]
    scale = np.trace(gram) / len(gram) + 1e-12
    eigenvalues, vectors = np.linalg.eigh(gram)
    projected = vectors.T @ moment
    wanted = features if select is None else features[select]
    weights = {ridge: vectors @ (projected / (np.maximum(eigenvalues, 0) + ridge * scale)) for ridge in RIDGES}
    return {ridge: wanted @ weight[:-1] + weight[-1] for ridge, weight in weights.items()}


def routed(units: Floats, bucket: Integers, data: Data) -> dict[float, Floats]:
    """One linear model for each bucket, of the same units in all."""
    predictions = {ridge: np.zeros(len(data.values)) for ridge in RIDGES}
    for number in np.unique(bucket):
        select = bucket == number
        for ridge, values in least_squares(units, data, select).items():
            predictions[ridge][select] = values
    return predictions


def constants(tables: list[Integers], data: Data) -> dict[float, NDArray[np.float64]]:
    """A constant for each bucket of each table, fitted table after table to what the others leave."""
    predictions = {}
    for shrinkage in (0.1, 1.0, 10.0, 100.0):
        parts = np.zeros((len(tables), len(data.values)))
        total = parts.sum(axis=0)
        for _, (index, bucket) in itertools.product(range(N_SWEEPS), enumerate(tables)):
            total -= parts[index]
            left = (data.values - total)[:N_TRAINING]
            sums = np.bincount(bucket[:N_TRAINING], left, 1 << TABLE_PLANES)
            counts = np.bincount(bucket[:N_TRAINING], minlength=1 << TABLE_PLANES)
            parts[index] = (sums / (counts + shrinkage))[bucket]
            total += parts[index]
        predictions[shrinkage] = total
    return predictions


def error(predictions: dict[float, Any], data: Data) -> float:
    """Mean squared error on test points, under the ridge that is best on validation points."""
    squares = [(each - data.values)[N_TRAINING:] ** 2 for each in predictions.values()]
    best = min(squares, key=lambda each: float(each[:N_VALIDATION].mean()))
    return float(best[N_VALIDATION:].mean())


def errors_of(data: Data, generator: np.random.Generator, *, is_quick: bool) -> dict[tuple[str, int, int, int], float]:
    """Error of every model, by name, active units, total units, and multiplications for one output."""
    n_dimensions = data.points.shape[1]
    found = {}
    by_hash = random_buckets(data.points, EXPERT_PLANES)
    local = buckets(data.points, EXPERT_PLANES, generator)
    for active in ACTIVE[: 2 if is_quick else None]:
        units = Units(data.points, active, generator)(data.points)
        total, cost = active << EXPERT_PLANES, active * (n_dimensions + 1)
        found["dense", active, active, cost] = error(least_squares(units, data), data)
        found["random experts", active, total, cost] = error(routed(units, by_hash, data), data)
        cost += EXPERT_PLANES * n_dimensions
        found["LSH experts", active, total, cost] = error(routed(units, local, data), data)
        many = Units(data.points, TOP_K_FACTOR * active, generator)(data.points)
        least = np.partition(many, -active, axis=1)[:, -active, None]
        cost = many.shape[1] * n_dimensions + active
        top = error(least_squares(np.where(many >= least, many, 0), data), data)
        found["top-k", active, many.shape[1], cost] = top
        tables = [buckets(data.points, TABLE_PLANES, generator) for _ in range(active)]
        cost = active * TABLE_PLANES * n_dimensions
        found["LSH constants", active, active << TABLE_PLANES, cost] = error(constants(tables, data), data)
    for width in WIDE[: 1 if is_quick else None]:
        units = Units(data.points, width, generator)(data.points)
        found["dense", width, width, width * (n_dimensions + 1)] = error(least_squares(units, data), data)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and small models; no file is written")
    parser.add_argument("--output", type=Path, default=RESULTS / "lsh_routing.json")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    rows = []
    seeds = list(range(1 if arguments.quick else N_SEEDS))
    for task in TASKS:
        by_model: dict[tuple[str, int, int, int], list[float]] = {}
        for seed in seeds:
            generator = np.random.default_rng(seed)
            of_seed = errors_of(drawn(task, generator), generator, is_quick=arguments.quick)
            for model, value in of_seed.items():
                by_model.setdefault(model, []).append(value)
        dense = sorted(
            (np.log(np.mean(v)), np.log(active)) for (name, active, *_), v in by_model.items() if name == "dense"
        )
        for (name, active, total, cost), values in sorted(by_model.items()):
            mean, deviation = float(np.mean(values)), float(np.std(values))
            as_dense = float(np.exp(np.interp(np.log(mean), *zip(*dense, strict=True))))
            print(f"{task.name}: {name}, {active} of {total}: {mean:.5f} ± {deviation:.5f}, as dense of {as_dense:.0f}")
            row = {"target": task.name, "model": name, "active": active, "total": total, "multiplications": cost}
            rows.append({**row, "mse": mean, "deviation": deviation, "as_dense_of": as_dense})
        print(f"{task.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if not arguments.quick:
        content = {
            "benchmark": "lsh_routing",
            "environment": environment.describe(("numpy",)),
            "seeds": seeds,
            "points": {"training": N_TRAINING, "validation": N_VALIDATION, "test": N_TEST},
            "seconds": time.perf_counter() - start,
            "lsh_routing": rows,
        }
        environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
