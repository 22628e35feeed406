"""Pictures as one HTML file that zooms and tells values under the pointer, by plotly; it needs no network."""

from __future__ import annotations

import html
import math
from typing import Any, BinaryIO

import numpy as np

from sancodec.errors import MissingDependencyError
from sancodec.plot.layout import PAGE_WIDTH, Page, PlacedPanel, page_of
from sancodec.plot.panels import Axis, Curve, Heat, Mark, Panel, Picture, Stems, decades, readable

_PIXELS_PER_INCH = 110
_TITLE_PIXELS, _TEXT_PIXELS, _SMALL_PIXELS = 16, 13, 11
_DOCUMENT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title></head>
<body>{drawing}</body>
</html>
"""
_AXIS = {
    "showline": True,
    "linecolor": "#444444",
    "ticks": "outside",
    "ticklen": 3,
    "showgrid": False,
    "zeroline": False,
}
# Signals of patients: the buttons are named, since from release 7 on the default ones include one that uploads the
# picture, and the page is not allowed to load from or connect to anywhere.
_CONFIG = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    "showSendToCloud": False,
}
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def write_interactive(picture: Picture, file: BinaryIO) -> None:
    """Write a page that works offline; panels with a shared axis zoom together.

    Raises
    ------
    MissingDependencyError
        When there is no plotly.
    """
    try:
        import plotly.graph_objects as go
        from plotly.io import to_html
    except ImportError as error:
        raise MissingDependencyError(f"pictures as HTML need plotly ({error}); pip install 'sancodec[plot]'") from None
    page = page_of(picture)
    layout: dict[str, Any] = {
        "width": PAGE_WIDTH * _PIXELS_PER_INCH,
        "height": page.height * _PIXELS_PER_INCH,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "plot_bgcolor": "white",
        "font": {"size": _SMALL_PIXELS, "color": "#1a1a1a"},
        "showlegend": False,
        "dragmode": "zoom",
        "annotations": [_text(page.title, 0.12 / PAGE_WIDTH, 1 - 0.06 / page.height, _TITLE_PIXELS, "top")],
    }
    figure = go.Figure()
    shared: str | None = None
    for number, placed in enumerate(page.panels, start=1):
        suffix = "" if number == 1 else str(number)
        matches = shared if placed.panel.is_shared else None
        shared = f"x{suffix}" if placed.panel.is_shared and shared is None else shared
        layout[f"xaxis{suffix}"], layout[f"yaxis{suffix}"] = _axes(placed, page, suffix, matches)
        layout["annotations"] += [_panel_title(placed, page), *_legend(placed, page)]
        for mark in placed.panel.marks:
            trace = _trace(mark, placed, page)
            figure.add_trace({**trace, "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
    figure.update_layout(layout)
    drawing = to_html(figure, include_plotlyjs=True, full_html=False, div_id="picture", config={**_CONFIG})
    title = html.escape(readable(picture.title))
    file.write(_DOCUMENT.format(policy=_POLICY, title=title, drawing=drawing).encode())


def _axes(placed: PlacedPanel, page: Page, suffix: str, matches: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    panel = placed.panel
    x: dict[str, Any] = {
        **_AXIS,
        "domain": [placed.left / PAGE_WIDTH, (placed.left + placed.width) / PAGE_WIDTH],
        "anchor": f"y{suffix}",
        "showticklabels": placed.has_x_axis,
    }
    y: dict[str, Any] = {
        **_AXIS,
        "domain": [placed.bottom / page.height, (placed.bottom + placed.height) / page.height],
        "anchor": f"x{suffix}",
    }
    if not panel.is_image:
        y["title"] = {"text": _plain(panel.y.text), "font": {"size": _SMALL_PIXELS}, "standoff": 4}
    if placed.has_x_axis and not panel.is_image:
        x["title"] = {"text": _plain(panel.x.text), "font": {"size": _SMALL_PIXELS}, "standoff": 2}
    if matches is not None:
        x["matches"] = matches
    if panel.x.is_logarithmic:
        x |= {"type": "log", "dtick": 1}
    if panel.x_range is not None:
        x["range"] = [math.log10(each) for each in panel.x_range] if panel.x.is_logarithmic else list(panel.x_range)
    if panel.y_range is not None:
        y["range"] = list(panel.y_range)
    if panel.y_ticks is not None:
        y |= {
            "tickvals": [place for place, _ in panel.y_ticks],
            "ticktext": [_plain(text) for _, text in panel.y_ticks],
        }
    if panel.is_image:
        y |= {"scaleanchor": f"x{suffix}", "autorange": "reversed", "constrain": "domain"}
        x["constrain"] = "domain"
    return x, y


def _trace(mark: Mark, placed: PlacedPanel, page: Page) -> dict[str, Any]:
    if isinstance(mark, Curve):
        return {
            "type": "scatter",
            "mode": "lines",
            "x": mark.x,
            "y": mark.y.astype(np.float32),
            "line": {"color": mark.colour, "width": 3 if mark.is_faint else 1.3},
            "opacity": 0.45 if mark.is_faint else 1.0,
            "hovertemplate": _hover(placed.panel, mark.label),
        }
    if isinstance(mark, Stems):
        # From zero to each height, with a gap before the next.
        x = np.repeat(mark.x, 3)
        y = np.stack([np.zeros_like(mark.heights), mark.heights, np.full_like(mark.heights, np.nan)], axis=1).ravel()
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "x": x,
            "y": y,
            "line": {"color": mark.colour, "width": 1.5},
            "marker": {"color": mark.colour, "size": np.tile([0.0, 6.0, 0.0], len(mark.x))},
            "hovertemplate": _hover(placed.panel, mark.label),
        }
    return _heat_trace(mark, placed, page)


def _heat_trace(heat: Heat, placed: PlacedPanel, page: Page) -> dict[str, Any]:
    low, high = heat.limits
    meaning = heat.meaning
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(heat.values) if meaning.is_logarithmic else heat.values
    bar: dict[str, Any] = {
        "x": (placed.left + placed.width + 0.08) / PAGE_WIDTH,
        "y": (placed.bottom + placed.height / 2) / page.height,
        "len": placed.height / page.height,
        "lenmode": "fraction",
        "thickness": 11,
        "xpad": 0,
        "ypad": 0,
        "outlinewidth": 0,
        "title": {"text": _plain(meaning.text), "side": "right", "font": {"size": _SMALL_PIXELS}},
    }
    if meaning.is_logarithmic:
        ticks = decades(low, high)
        bar |= {"tickvals": [math.log10(each) for each in ticks], "ticktext": [f"{each:g}" for each in ticks]}
        low, high = math.log10(low), math.log10(high)
    return {
        "type": "heatmap",
        "x": heat.x_edges,
        "y": heat.y_edges,
        "z": shown.astype(np.float32),
        "customdata": heat.values.astype(np.float32),
        "zmin": low,
        "zmax": high,
        "colorscale": "Viridis" if meaning.is_logarithmic else "RdBu",
        "reversescale": not meaning.is_logarithmic,
        "colorbar": bar,
        "hoverongaps": False,
        "hovertemplate": _hover(placed.panel, "", third=meaning),
    }


def _hover(panel: Panel, label: str, *, third: Axis | None = None) -> str:
    lines = [_value(panel.x, "x:.5f" if panel.x.unit == "s" else "x:.5g"), _value(panel.y, "y:.5g")]
    if third is not None:
        lines.append(_value(third, "customdata:.4g"))
    name = f"{_plain(label)}<br>" if label else ""
    return f"{name}{'<br>'.join(lines)}<extra></extra>"


def _value(axis: Axis, place: str) -> str:
    return f"{_plain(axis.name)} %{{{place}}} {_plain(axis.unit)}".rstrip()


def _panel_title(placed: PlacedPanel, page: Page) -> dict[str, Any]:
    above = placed.bottom + placed.height + 0.02
    return _text(placed.panel.title, placed.left / PAGE_WIDTH, above / page.height, _TEXT_PIXELS, "bottom")


def _legend(placed: PlacedPanel, page: Page) -> list[dict[str, Any]]:
    """The labels of a panel, coloured, in its upper right corner."""
    marks = [mark for mark in placed.panel.marks if not isinstance(mark, Heat) and mark.label]
    if not marks:
        return []
    parts = [f'<span style="color:{mark.colour}">{_plain(mark.label)}</span>' for mark in marks]
    right, top = (placed.left + placed.width) / PAGE_WIDTH, (placed.bottom + placed.height) / page.height
    legend = _text("", right, top, _SMALL_PIXELS, "top")
    return [{**legend, "text": " &nbsp; ".join(parts), "xanchor": "right", "bgcolor": "rgba(255,255,255,0.8)"}]


def _text(text: str, x: float, y: float, pixels: int, anchor: str) -> dict[str, Any]:
    return {
        "text": _plain(text),
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": anchor,
        "showarrow": False,
        "font": {"size": pixels},
    }


def _plain(text: str) -> str:
    """Text as it is: plotly takes some HTML for markup, and %{…} for a value."""
    return html.escape(readable(text), quote=False).replace("%{", "%\u200b{")
