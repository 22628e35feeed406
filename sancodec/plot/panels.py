"""What a picture shows, whatever draws it: rows of panels with curves, stems and heat maps, and their units."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

# Colours of Okabe and Ito, of Tol where those run out; all can be told apart by colour-blind people.
KERNEL_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
SIGNAL, SUM, BANK, CORRECTIONS = "#8c8c8c", "#1a1a1a", "#2a788e", "#5f5f5f"
MAX_POINTS = 20_000
MAX_HEAT_COLUMNS = 4_000
# Corners of the colour map viridis (CC0), between which shades are straight lines.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def readable(text: str) -> str:
    """Text from a file without control characters, which neither XML nor HTML can hold."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def kernel_colour(index: int) -> str:
    """The colour of a kernel in all panels of a picture."""
    return KERNEL_COLOURS[index % len(KERNEL_COLOURS)]


def band_colour(place: float) -> str:
    """The colour of a band at a place from 0, dark for the lowest, to 1, light for the highest."""
    # The lightest eighth is too light for lines on white.
    corner = 0.875 * place * (len(_VIRIDIS) - 1)
    corners = np.array(_VIRIDIS, np.float64)
    red, green, blue = (int(np.interp(corner, range(len(_VIRIDIS)), corners[:, each])) for each in range(3))
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True, slots=True)
class Axis:
    """What numbers mean, and their unit; without a unit they are counts or ratios."""

    name: str
    unit: str = ""
    is_logarithmic: bool = False

    @property
    def text(self) -> str:
        """For the side of a panel."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points that lines connect, but not across NaN.

    Parameters
    ----------
    x, y
        float64, shape ``(point,)``.
    label
        For the legend; empty for none.
    is_faint
        Whether it is there for comparison only, behind the others.
    """

    x: Numbers
    y: Numbers
    colour: str
    label: str = ""
    is_faint: bool = False

    def __post_init__(self) -> None:
        assert self.x.shape == self.y.shape == (len(self.x),)


@dataclass(frozen=True, slots=True, eq=False)
class Stems:
    """Points with a line to zero: what is sparse; float64, shape ``(point,)`` both."""

    x: Numbers
    heights: Numbers
    colour: str
    label: str = ""

    def __post_init__(self) -> None:
        assert self.x.shape == self.heights.shape == (len(self.x),)


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Cells with a colour each.

    Parameters
    ----------
    x_edges, y_edges
        float64, increasing, one more than there are columns and rows.
    values
        float64, shape ``(row, column)``; NaN is left blank.
    meaning
        Of the values. With a logarithmic axis they are above 0; otherwise the middle of the colours is 0.
    """

    x_edges: Numbers
    y_edges: Numbers
    values: Numbers
    meaning: Axis

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.y_edges) - 1, len(self.x_edges) - 1)

    @property
    def limits(self) -> tuple[float, float]:
        """The values that the ends of the colour map stand for."""
        found = self.values[np.isfinite(self.values)]
        if self.meaning.is_logarithmic:
            found = found[found > 0]
            low, high = (float(found.min()), float(found.max())) if len(found) else (1.0, 10.0)
            return low, high if high > low else 10 * low
        most = float(np.abs(found).max(initial=0)) or 1.0
        return -most, most


Mark = Curve | Stems | Heat


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One pair of axes.

    Parameters
    ----------
    is_shared
        Whether its x axis is the one that the panels of the picture have in common.
    x_range, y_range
        As the data is where they are None.
    y_ticks
        Places and texts; numbers where they are None.
    is_image
        Whether cells are square and rows go downwards.
    width
        In proportion to the other panels of its row.
    """

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    _: KW_ONLY
    is_shared: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    y_ticks: tuple[tuple[float, str], ...] | None = None
    is_image: bool = False
    width: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Panels side by side; the height of their axes is in inches."""

    panels: tuple[Panel, ...]
    height: float = 1.05


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Rows of panels below each other, under a title; at least one."""

    title: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        assert self.rows
        assert all(row.panels for row in self.rows)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, row by row."""
        return tuple(panel for row in self.rows for panel in row.panels)


def needs_x_axis(picture: Picture, row: int, index: int) -> bool:
    """Whether a panel states its x axis: not if the one below it has the same."""
    panel = picture.rows[row].panels[index]
    if not panel.is_shared or row + 1 == len(picture.rows):
        return True
    below = picture.rows[row + 1].panels
    return len(below) != len(picture.rows[row].panels) or not below[index].is_shared


def range_of(*values: Numbers) -> tuple[float, float]:
    """Smallest and largest of all values that are no NaN, with a margin."""
    found = [each[np.isfinite(each)] for each in values]
    joined = np.concatenate([np.zeros(0), *found])
    low, high = (float(joined.min()), float(joined.max())) if len(joined) else (0.0, 0.0)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def below_legend(values: tuple[float, float]) -> tuple[float, float]:
    """A range with room for a legend above."""
    return values[0], values[1] + 0.3 * (values[1] - values[0])


def equally_high(ranges: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Ranges around the same middles, all as long as the longest, so that panels have one scale."""
    half = max(high - low for low, high in ranges) / 2
    return [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ranges]


def decades(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten within a range, or of a long one the powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high < 100 * low else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [each for each in ticks if low <= each <= high] or [low, high]


def thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """A curve of at most `MAX_POINTS` points: of every so many the smallest and the largest, in their order."""
    if len(x) <= MAX_POINTS:
        return x, y
    per_bin = -(-2 * len(x) // MAX_POINTS)
    n_bins = len(x) // per_bin
    bins = y[: n_bins * per_bin].reshape(n_bins, per_bin)
    # NaN loses against any number; a bin without numbers gives NaN twice.
    low = np.where(np.isnan(bins), np.inf, bins).argmin(axis=1)
    high = np.where(np.isnan(bins), -np.inf, bins).argmax(axis=1)
    chosen = np.sort(np.stack([low, high], axis=1), axis=1) + per_bin * np.arange(n_bins)[:, None]  # (bin, 2)
    kept = np.concatenate([chosen.ravel(), np.arange(n_bins * per_bin, len(x))])
    return x[kept], y[kept]


def thinned_heat(x_edges: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Edges and cells ``(row, column)`` of at most `MAX_HEAT_COLUMNS` columns: of every so many the largest."""
    n_columns = values.shape[1]
    per_bin = -(-n_columns // MAX_HEAT_COLUMNS)
    if per_bin == 1:
        return x_edges, values
    padded = np.pad(values, [(0, 0), (0, -n_columns % per_bin)])
    edges = np.append(x_edges[:-1][::per_bin], x_edges[-1])
    return edges, padded.reshape(len(values), -1, per_bin).max(axis=2)
