"""Pictures beside the paper's tables; that of a sweep is the package's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from report import ACTIVATIONS

from sancodec.san.network import SparselyActivatedNetwork
from sancodec.training.plots import draw_sweep, require_matplotlib, write_figure
from sancodec.training.selection import ranked
from sancodec.training.selection_state import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = (8.0, 5.0)
_INCH_PER_PICTURE = 1.5


def sweep_picture(path: Path, runs: Sequence[FinishedRun], *, title: str) -> Path:
    """CR⁻¹ against L̃, one point per model."""
    return _written(path, draw_sweep(runs, best=ranked(runs)[0], title=title))


def accuracy_picture(path: Path, rows: Sequence[Mapping[str, Any]], raw: Mapping[str, float], *, title: str) -> Path:
    """Accuracy against CR⁻¹, one point per model, with one standard deviation over the seeds of the classifier."""
    figure = _figure(_INCHES)
    axes = figure.subplots()
    axes.axhline(raw["mean"], color="black", linewidth=1, label="raw data")
    axes.axhspan(raw["mean"] - raw["std"], raw["mean"] + raw["std"], color="black", alpha=0.1, linewidth=0)
    for index, (activation, name) in enumerate(ACTIVATIONS.items()):
        own = [row for row in rows if row["activation"] == activation]
        axes.errorbar(
            [row["test"]["inverse_ratio"] for row in own],
            [row["accuracy"]["mean"] for row in own],
            yerr=[row["accuracy"]["std"] for row in own],
            fmt="o",
            markersize=4,
            color=f"C{index}",
            label=name,
        )
    axes.set(xlabel="$CR^{-1}$", ylabel="accuracy on the test windows, %", title=title, xlim=(0, None))
    figure.legend(loc="outside right upper")
    return _written(path, figure)


def kernel_picture(
    path: Path, image: NDArray[np.float32], networks: Mapping[str, SparselyActivatedNetwork], *, title: str
) -> Path:
    """An image ``(row, column)``, and for every activation the kernels and what they make of it."""
    n_kernels = max(len(network.kernels) for network in networks.values())
    n_columns = n_kernels + 3
    figure = _figure((_INCH_PER_PICTURE * n_columns, _INCH_PER_PICTURE * len(networks)))
    grid = figure.subplots(len(networks), n_columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, (activation, network) in zip(grid, networks.items(), strict=True):
        found = network.decompose(image[None, None])
        row[0].set_ylabel(ACTIVATIONS[activation], fontsize=8)
        kernels = [np.flip(kernel) for kernel in network.kernels]  # as they stand in the reconstruction
        shown = [image, *kernels, sum(found.activation_maps)[0, 0], found.reconstruction[0, 0]]
        for axes, values in zip(row, shown, strict=True):
            largest = float(np.abs(values).max()) or 1.0
            axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    heads = ["image", *(f"kernel {index}" for index in range(n_kernels)), "activations of all", "reconstruction"]
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=8)
    figure.suptitle(title, fontsize=8)
    return _written(path, figure)


def _figure(inches: tuple[float, float]) -> Figure:
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=inches, layout="constrained")


def _written(path: Path, figure: Figure) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        write_figure(figure, file, suffix=path.suffix)
    partial.replace(path)
    return path
