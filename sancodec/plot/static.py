"""Pictures as PNG, SVG or PDF, by matplotlib."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

from sancodec.errors import MissingDependencyError
from sancodec.plot.layout import PAGE_WIDTH, PlacedPanel, page_of
from sancodec.plot.panels import Curve, Heat, Picture, Stems, decades, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
_LABEL_INCHES = 0.60
_PNG_DPI = 150
_TITLE_POINTS, _TEXT_POINTS, _SMALL_POINTS = 10, 8.5, 7.5
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "sancodec",
    "font.size": _SMALL_POINTS,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "text.parse_math": False,  # names of channels may hold dollar signs
}
_ZERO_LINE = "#bbbbbb"


def write_static(picture: Picture, file: BinaryIO, *, form: str) -> None:
    """Draw a picture; the same picture gives the same bytes with one version of matplotlib.

    Parameters
    ----------
    form
        ``png``, ``svg`` or ``pdf``.

    Raises
    ------
    MissingDependencyError
        When there is no matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f"pictures as {form.upper()} need matplotlib ({error}); pip install 'sancodec[plot]'"
        ) from None
    dates = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    settings: Any = {**mpl.rcParamsDefault, **_SETTINGS}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # names in scripts that the font lacks
        page = page_of(picture)
        figure = Figure(figsize=(PAGE_WIDTH, page.height))
        FigureCanvasAgg(figure)
        figure.text(0.12 / PAGE_WIDTH, 1 - 0.09 / page.height, readable(page.title), va="top", fontsize=_TITLE_POINTS)
        shared: Axes | None = None
        for placed in page.panels:
            box = (
                placed.left / PAGE_WIDTH,
                placed.bottom / page.height,
                placed.width / PAGE_WIDTH,
                placed.height / page.height,
            )
            axes = figure.add_axes(box, sharex=shared if placed.panel.is_shared else None)
            shared = axes if placed.panel.is_shared and shared is None else shared
            _draw(axes, placed)
        figure.savefig(file, format=form, dpi=_PNG_DPI, metadata=dates[form])


def _draw(axes: Axes, placed: PlacedPanel) -> None:
    panel = placed.panel
    axes.set_title(readable(panel.title), loc="left", fontsize=_TEXT_POINTS, pad=3)
    for mark in panel.marks:
        if isinstance(mark, Curve):
            _draw_curve(axes, mark)
        elif isinstance(mark, Stems):
            _draw_stems(axes, mark)
        else:
            _draw_heat(axes, mark, width=placed.width)
    has_heat = any(isinstance(mark, Heat) for mark in panel.marks)
    if panel.x.is_logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0)
    if panel.x_range is not None:
        axes.set_xlim(panel.x_range)
    if panel.y_range is not None:
        axes.set_ylim(panel.y_range)
    if panel.is_image:
        axes.invert_yaxis()
        axes.locator_params(integer=True, nbins=4)
    if panel.y_ticks is not None:
        axes.set_yticks([place for place, _ in panel.y_ticks], [text for _, text in panel.y_ticks])
    if not panel.is_image:
        axes.set_ylabel(readable(panel.y.text))
        axes.yaxis.set_label_coords(-_LABEL_INCHES / placed.width, 0.5)
    if placed.has_x_axis and not panel.is_image:
        axes.set_xlabel(readable(panel.x.text), labelpad=1)
    axes.tick_params(labelbottom=placed.has_x_axis, length=2.5, width=0.6, pad=2)
    if not has_heat:
        axes.spines[["top", "right"]].set_visible(False)
    if any(not isinstance(mark, Heat) and mark.label for mark in panel.marks):
        axes.legend(loc="upper right", fontsize=_SMALL_POINTS - 0.5, framealpha=0.8, borderpad=0.3, ncols=3)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=curve.colour,
        lw=1.6 if curve.is_faint else 0.9,
        alpha=0.45 if curve.is_faint else 1.0,
        label=readable(curve.label) or "_",
        zorder=2 if curve.is_faint else 3,
    )


def _draw_stems(axes: Axes, stems: Stems) -> None:
    axes.axhline(0, color=_ZERO_LINE, lw=0.5, zorder=1)
    axes.vlines(stems.x, 0, stems.heights, color=stems.colour, lw=1.0, zorder=4)
    axes.plot(stems.x, stems.heights, "o", color=stems.colour, ms=3.2, label=readable(stems.label) or "_", zorder=5)


def _draw_heat(axes: Axes, heat: Heat, *, width: float) -> None:
    from matplotlib.colors import LogNorm, Normalize

    low, high = heat.limits
    norm: Any = LogNorm(low, high) if heat.meaning.is_logarithmic else Normalize(low, high)
    mesh = axes.pcolormesh(
        heat.x_edges,
        heat.y_edges,
        heat.values,
        norm=norm,
        cmap="viridis" if heat.meaning.is_logarithmic else "RdBu_r",
        rasterized=True,
    )
    beside = axes.inset_axes((1 + 0.08 / width, 0.0, 0.11 / width, 1.0))
    bar = axes.figure.colorbar(mesh, cax=beside)
    bar.set_label(readable(heat.meaning.text), fontsize=_SMALL_POINTS - 0.5)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=_SMALL_POINTS - 1, length=2, width=0.5, pad=1.5)
    if heat.meaning.is_logarithmic:
        ticks = decades(low, high)
        bar.set_ticks(ticks, labels=[f"{each:g}" for each in ticks])
        bar.minorticks_off()
