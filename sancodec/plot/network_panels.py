"""A Sparsely Activated Network at work on one window, as in figure 4 of arXiv:1907.06592; or its kernels alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError
from sancodec.plot.panels import (
    SIGNAL,
    SUM,
    Axis,
    Curve,
    Heat,
    Mark,
    Numbers,
    Panel,
    Picture,
    Row,
    Stems,
    below_legend,
    equally_high,
    kernel_colour,
    range_of,
    thinned,
)
from sancodec.san.metrics import normalised_loss
from sancodec.san.network import Decomposition, SparselyActivatedNetwork

MAX_KERNELS = 16
_KERNELS_PER_ROW = 4
_POSITION, _ROW, _COLUMN = Axis("position", "samples"), Axis("row"), Axis("column")
_WEIGHT = Axis("weight")
_KERNEL_WIDTH = 0.55


def kernels_picture(network: SparselyActivatedNetwork, *, title: str) -> Picture:
    """The kernels of a network."""
    panels = [
        _kernel_panel(kernel, index, f"kernel {index}: {_size(kernel)}, {network.activations[index].name}")
        for index, kernel in enumerate(network.kernels[:MAX_KERNELS])
    ]
    rows = [tuple(panels[first : first + _KERNELS_PER_ROW]) for first in range(0, len(panels), _KERNELS_PER_ROW)]
    return Picture(_title(title, network), tuple(Row(row, 1.7) for row in rows))


def network_picture(
    network: SparselyActivatedNetwork,
    window: NDArray[Any],
    *,
    title: str,
    sampling_rate_hz: float | None = None,
    first_sample: int = 0,
    quantity: Axis,
) -> Picture:
    """Each kernel, its similarity to a window, its activation map and partial reconstruction; and their sum.

    Parameters
    ----------
    window
        Input of the network: ``(sample,)``, or ``(row, column)`` for kernels of two dimensions.
    sampling_rate_hz
        Where it is given, times are in seconds.
    first_sample
        Of the window, in the signal it is from.
    quantity
        What the values of the window are.

    Raises
    ------
    InvalidSignalError
        When the window does not have the dimensions of the kernels, or is not fit for them.
    """
    if window.ndim != network.n_dims:
        raise InvalidSignalError(f"a window of {window.ndim} dimensions; the kernels have {network.n_dims}")
    window = window.astype(np.float64)
    parts = network.decompose(window)
    heading = f"{_title(title, network)}, {_loss_text(window, parts)}"
    if network.n_dims == 2:
        return Picture(heading, (*_image_rows(network, parts, quantity), _image_sum(window, parts, quantity)))
    time = Axis("sample") if sampling_rate_hz is None else Axis("time", "s")
    x = (first_sample + np.arange(len(window))) / (sampling_rate_hz or 1.0)
    span = (float(x[0]), float(x[-1] + (x[-1] - x[0]) / max(len(x) - 1, 1)))
    rows = _signal_rows(network, window, parts, x, time, span, quantity)
    total = Panel(
        "signal x (grey) and its reconstruction, the sum of the partial ones",
        time,
        quantity,
        (
            Curve(*thinned(x, window), SIGNAL, "signal", is_faint=True),
            Curve(*thinned(x, parts.reconstruction), SUM, "reconstruction"),
        ),
        is_shared=True,
        x_range=span,
        y_range=below_legend(range_of(window, parts.reconstruction)),
    )
    return Picture(heading, (*rows, Row((total,), 1.5)))


def _signal_rows(
    network: SparselyActivatedNetwork,
    window: Numbers,
    parts: Decomposition[Numbers],
    x: Numbers,
    time: Axis,
    span: tuple[float, float],
    quantity: Axis,
) -> list[Row]:
    shown = range(min(len(network.kernels), MAX_KERNELS))
    similarity_range = range_of(*(parts.similarities[index] for index in shown))
    partial_range = range_of(window, *(parts.partial_reconstructions[index] for index in shown))
    kernel_ranges = equally_high([range_of(network.kernels[index].astype(np.float64)) for index in shown])
    rows = []
    for index in shown:
        colour, similarity = kernel_colour(index), parts.similarities[index]
        active = np.flatnonzero(parts.activation_maps[index])
        kernel = _kernel_panel(network.kernels[index], index, f"kernel {index}: {_size(network.kernels[index])}")
        faint = Curve(*thinned(x, similarity), colour, is_faint=True)
        kernel = Panel(
            kernel.title, kernel.x, kernel.y, kernel.marks, y_range=kernel_ranges[index], width=_KERNEL_WIDTH
        )
        maps = (faint, Stems(x[active], parts.activation_maps[index][active], colour))
        columns: list[tuple[str, Axis, tuple[Mark, ...], tuple[float, float]]] = [
            ("similarity", Axis("similarity"), (Curve(*thinned(x, similarity), colour),), similarity_range),
            (
                f"activation map: {len(active)} of {len(x)}",
                Axis("activation"),
                maps,
                similarity_range,
            ),
            (
                "partial reconstruction",
                quantity,
                (Curve(*thinned(x, parts.partial_reconstructions[index]), colour),),
                partial_range,
            ),
        ]
        panels = [
            Panel(name, time, axis, marks, is_shared=True, x_range=span, y_range=height)
            for name, axis, marks, height in columns
        ]
        rows.append(Row((kernel, *panels), 1.2))
    return rows


def _image_rows(network: SparselyActivatedNetwork, parts: Decomposition[Numbers], quantity: Axis) -> list[Row]:
    rows = []
    for index, kernel in enumerate(network.kernels[:MAX_KERNELS]):
        active = np.where(parts.activation_maps[index] == 0, np.nan, parts.activation_maps[index])
        n_active = int(np.isfinite(active).sum())
        images = [
            ("similarity", parts.similarities[index], Axis("similarity")),
            (f"activation map: {n_active} of {active.size}", active, Axis("activation")),
            ("partial reconstruction", parts.partial_reconstructions[index], quantity),
        ]
        first = _kernel_panel(kernel, index, f"kernel {index}: {_size(kernel)}")
        rows.append(Row((first, *(_image(name, image, axis) for name, image, axis in images)), 1.25))
    return rows


def _image_sum(window: Numbers, parts: Decomposition[Numbers], quantity: Axis) -> Row:
    images = [
        ("image", window),
        ("reconstruction: the sum", parts.reconstruction),
        ("image − reconstruction", window - parts.reconstruction),
    ]
    return Row(tuple(_image(name, image, quantity) for name, image in images), 2.1)


def _kernel_panel(kernel: NDArray[Any], index: int, title: str) -> Panel:
    weights = kernel.astype(np.float64)
    if kernel.ndim == 2:
        return _image(title, weights, _WEIGHT)
    position = np.arange(len(weights), dtype=np.float64)
    if len(weights) == 1:  # a line needs two points
        return Panel(title, _POSITION, _WEIGHT, (Stems(position, weights, kernel_colour(index)),), x_range=(-1, 1))
    return Panel(title, _POSITION, _WEIGHT, (Curve(position, weights, kernel_colour(index)),))


def _image(title: str, image: Numbers, meaning: Axis) -> Panel:
    y_edges, x_edges = (np.arange(length + 1) - 0.5 for length in image.shape)
    return Panel(title, _COLUMN, _ROW, (Heat(x_edges, y_edges, image, meaning),), is_image=True)


def _title(title: str, network: SparselyActivatedNetwork) -> str:
    n_kernels = len(network.kernels)
    if n_kernels > MAX_KERNELS:
        return f"{title}: the first {MAX_KERNELS} of {n_kernels} kernels"
    return f"{title}: {n_kernels} kernel{'s' if n_kernels > 1 else ''}"


def _loss_text(window: Numbers, parts: Decomposition[Numbers]) -> str:
    active = sum(int(np.count_nonzero(each)) for each in parts.activation_maps)
    if not window.any():
        return f"{active} active of {window.size} samples"
    loss = float(normalised_loss(parts.reconstruction[None], window[None])[0])
    return f"{active} active of {window.size} samples, normalised loss {loss:.2f}"


def _size(kernel: NDArray[Any]) -> str:
    return " × ".join(map(str, kernel.shape)) + (" samples" if kernel.ndim == 1 else "")
