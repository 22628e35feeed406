"""Where the panels of a picture lie; one layout for all that draw it, with panels that share an axis in line."""

from __future__ import annotations

from dataclasses import dataclass

from sancodec.plot.panels import Heat, Panel, Picture, needs_x_axis

PAGE_WIDTH = 10.0
_TITLE, _PANEL_TITLE, _X_AXIS, _GAP, _BOTTOM = 0.30, 0.24, 0.36, 0.06, 0.05
_Y_AXIS, _IMAGE_Y_AXIS, _RIGHT, _COLOUR_BAR = 0.78, 0.40, 0.15, 0.80


@dataclass(frozen=True, slots=True, eq=False)
class PlacedPanel:
    """A panel and the rectangle that its axes enclose, in inches from the lower left corner of the page."""

    panel: Panel
    left: float
    bottom: float
    width: float
    height: float
    has_x_axis: bool


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """All panels of a picture; the height is in inches, as is `PAGE_WIDTH`."""

    title: str
    panels: tuple[PlacedPanel, ...]
    height: float


def page_of(picture: Picture) -> Page:
    """Lay out a picture."""
    last_margin = max(_right_margin(row.panels[-1]) for row in picture.rows)
    placed: list[tuple[Panel, float, float, float, float, bool]] = []
    depth = _TITLE  # from the upper edge of the page
    for number, row in enumerate(picture.rows):
        depth += _PANEL_TITLE + row.height
        labelled = [needs_x_axis(picture, number, index) for index in range(len(row.panels))]
        margins = [_column_margin(picture, len(row.panels), index) for index in range(len(row.panels) - 1)]
        margins.append(last_margin)
        axes = [_IMAGE_Y_AXIS if panel.is_image else _Y_AXIS for panel in row.panels]
        free = PAGE_WIDTH - sum(axes) - sum(margins)
        all_widths = sum(panel.width for panel in row.panels)
        left = 0.0
        for index, panel in enumerate(row.panels):
            left += axes[index]
            cell = free * panel.width / all_widths
            width, height = _fitted(panel, cell, row.height)
            placed.append((panel, left, depth, width, height, labelled[index]))
            left += cell + margins[index]
        depth += _X_AXIS if any(labelled) else _GAP
    height = depth + _BOTTOM
    return Page(
        picture.title,
        tuple(
            PlacedPanel(panel, left, height - lower, width, tall, has_x_axis)
            for panel, left, lower, width, tall, has_x_axis in placed
        ),
        height,
    )


def _fitted(panel: Panel, width: float, height: float) -> tuple[float, float]:
    """As much of a cell as a panel takes: all, but of an image what makes its pixels square."""
    images = [mark for mark in panel.marks if isinstance(mark, Heat)]
    if not panel.is_image or not images:
        return width, height
    n_rows, n_columns = images[0].values.shape
    pixel = min(width / n_columns, height / n_rows)
    return n_columns * pixel, n_rows * pixel


def _right_margin(panel: Panel) -> float:
    return _COLOUR_BAR if any(isinstance(mark, Heat) for mark in panel.marks) else _RIGHT


def _column_margin(picture: Picture, n_panels: int, index: int) -> float:
    """That of a column of rows with as many panels."""
    return max(_right_margin(row.panels[index]) for row in picture.rows if len(row.panels) == n_panels)
