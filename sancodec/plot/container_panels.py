"""A stretch of one channel of a container: its kernels, their events and coefficients, and what each layer adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.plot.bank_panels import band_frequencies, response_panel
from sancodec.plot.panels import (
    BANK,
    CORRECTIONS,
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
    thinned_heat,
)
from sancodec.plot.stretch import KernelUse, Stretch, kernel_uses, partial_of, read_stretch, similarity_to

DEFAULT_S = 10
_TIME = Axis("time", "s")
_MAX_LEGEND = 8
_N_TICKS = 6


def first_varying_channel(reader: RecordingReader) -> int:
    """The first channel that is not constant from the begin; the first of all where there is none."""
    return next((index for index, coding in enumerate(reader.codings) if not coding.is_constant), 0)


def container_picture(reader: RecordingReader, *, channel: int, first_frame: int, n_frames: int, title: str) -> Picture:
    """What the decoder adds up in some frames; only the chunks that hold them are decoded.

    Raises
    ------
    FormatError
        Naming the first chunk that is missing or damaged.
    """
    stretch = read_stretch(reader, channel, first_frame=first_frame, n_frames=n_frames)
    unit = stretch.channel.unit
    uses = kernel_uses(stretch)
    heights = equally_high(
        [range_of(stretch.beats), range_of(stretch.bank), range_of(stretch.samples, stretch.offsets)]
    )
    rows = [Row(kernels, 1.7)] if (kernels := _kernel_panels(stretch, uses)) else []
    if uses:
        rows.append(_events_row(stretch, uses))
        name = f"partial reconstruction of {'the beat kernel' if len(uses) == 1 else 'each beat kernel'}"
        rows.append(_row(stretch, name, Axis("beats", unit), _partials(stretch, uses), heights[0]))
    if stretch.models:
        rows += [Row((_coefficient_panel(stretch, model),), 1.7) for model in stretch.models]
        marks = (_curve(stretch, stretch.bank, BANK),)
        name = f"partial reconstruction of bank {', then '.join(model.name for model in stretch.models)}"
        rows.append(_row(stretch, name, Axis("bank", unit), marks, heights[1]))
    if stretch.has_corrections:
        marks = (_curve(stretch, stretch.corrections, CORRECTIONS),)
        most = float(np.nanmax(np.abs(np.append(stretch.corrections, 0.0))))
        name = f"corrections: the residual layer, at most {most:.3g} {unit} here"
        rows.append(_row(stretch, name, Axis("corrections", unit), marks, None))
    marks = (_curve(stretch, stretch.samples, SUM),)
    rows.append(
        _row(stretch, _sum_title(stretch, bool(uses)), Axis(stretch.channel.name or "signal", unit), marks, heights[2])
    )
    return Picture(title, tuple(rows))


def _row(stretch: Stretch, title: str, y: Axis, marks: tuple[Mark, ...], height: tuple[float, float] | None) -> Row:
    return Row((Panel(title, _TIME, y, marks, is_shared=True, x_range=stretch.span_s, y_range=height),))


def _curve(stretch: Stretch, values: Numbers, colour: str) -> Curve:
    return Curve(*thinned(stretch.times_s, values), colour)


def _kernel_panels(stretch: Stretch, uses: Sequence[KernelUse]) -> tuple[Panel, ...]:
    panels = []
    if uses:
        curves = []
        for index, use in enumerate(uses):
            gain = float(np.median(use.gains)) if len(use.gains) else 1.0
            label = use.name if index < _MAX_LEGEND and len(uses) > 1 else ""
            times = (np.arange(len(use.weights)) - use.peak) / stretch.rate_hz
            curves.append(Curve(times, use.weights * gain, kernel_colour(index), label))
        values = Axis("amplitude", stretch.channel.unit)
        title = "beat kernels, each at the median gain of its events"
        panels.append(Panel(title, Axis("time from its peak", "s"), values, tuple(curves)))
    panels += [response_panel(model, sampling_rate_hz=stretch.rate_hz) for model in stretch.models[:1]]
    return tuple(panels)


def _partials(stretch: Stretch, uses: Sequence[KernelUse]) -> tuple[Curve, ...]:
    curves = []
    for index, use in enumerate(uses):
        if len(use.starts):
            partial = partial_of(use, stretch)
            # Lines along zero would cover the other kernels.
            drawn = partial if len(uses) == 1 else np.where(partial == 0, np.nan, partial)
            curves.append(_curve(stretch, drawn, kernel_colour(index)))
    return tuple(curves)


def _events_row(stretch: Stretch, uses: Sequence[KernelUse]) -> Row:
    faint: list[Curve] = []
    stems: list[Stems] = []
    for index, use in enumerate(uses):
        if use.n_shown:
            faint.append(
                Curve(*thinned(stretch.times_s, similarity_to(use, stretch)), kernel_colour(index), is_faint=True)
            )
        label = f"{use.name}: {_counted(use.n_shown)}" if len(uses) > 1 and index < _MAX_LEGEND else ""
        times = (use.starts[use.is_shown] + use.peak) / stretch.rate_hz
        stems.append(Stems(times, use.gains[use.is_shown].astype(np.float64), kernel_colour(index), label))
    high = range_of(np.zeros(1), *(curve.y for curve in faint), *(each.heights for each in stems))
    title = (
        f"activation map of the beat kernels: {_counted(sum(use.n_shown for use in uses))}, at the peaks of their "
        "kernels; faint, the similarity of the decoded signal"
    )
    return _row(stretch, title, Axis("gain"), (*faint, *stems), high if len(uses) == 1 else below_legend(high))


def _counted(n_events: int) -> str:
    """A number of events in words."""
    return f"{n_events:,} event{'' if n_events == 1 else 's'}"


def _coefficient_panel(stretch: Stretch, model: Model) -> Panel:
    strides = model.band_strides
    cell = min(strides)
    first, last = stretch.first_sample, stretch.first_sample + len(stretch.times_s)
    edges, columns, n_active, n_all = [], [], 0, 0
    for chunk in stretch.chunks:
        begin, end = chunk.first_sample, chunk.first_sample + len(chunk.samples)
        if model not in chunk.coefficients:
            edges.append(np.array([begin]))
            columns.append(np.zeros((model.n_bands, 1)))
            continue
        n_cells = -(-len(chunk.samples) // cell)
        rows = chunk.coefficients[model]
        for row, stride in zip(rows, strides, strict=True):
            windows = row[max(first - begin, 0) // stride : -(-(min(last, end) - begin) // stride)]
            n_active += int(np.count_nonzero(windows))
            n_all += len(windows)
        repeated = [np.repeat(row, stride // cell)[:n_cells] for row, stride in zip(rows, strides, strict=True)]
        edges.append(begin + cell * np.arange(n_cells))
        columns.append(np.abs(np.stack(repeated)) / abs(stretch.channel.gain))
    bounds = np.append(np.concatenate(edges), stretch.chunks[-1].first_sample + len(stretch.chunks[-1].samples))
    shown = (bounds[1:] > first) & (bounds[:-1] < last)  # (cell,)
    bounds = np.append(bounds[:-1][shown], bounds[1:][shown][-1])
    x_edges, values = thinned_heat(bounds / stretch.rate_hz, np.concatenate(columns, axis=1)[:, shown])
    meaning = Axis("|coefficient|", stretch.channel.unit, is_logarithmic=True)
    heat = Heat(x_edges, np.arange(model.n_bands + 1) - 0.5, np.where(values > 0, values, np.nan), meaning)
    centres_hz = band_frequencies(model) * stretch.rate_hz
    of_mix = ", weighted sums of those of all components" if stretch.is_mixed else ""
    places = np.unique(np.linspace(0, model.n_bands - 1, _N_TICKS).round().astype(int))
    return Panel(
        f"coefficients of bank {model.name}{of_mix}: {n_active:,} of {n_all:,} are not 0",
        _TIME,
        Axis("band"),
        (heat,),
        is_shared=True,
        x_range=stretch.span_s,
        y_ticks=tuple((float(place), _frequency_text(centres_hz[place])) for place in places),
    )


def _frequency_text(hertz: float) -> str:
    return f"{hertz:.0f} Hz" if hertz >= 10 else f"{hertz:.2g} Hz"


def _sum_title(stretch: Stretch, has_beats: bool) -> str:
    """The equation that the last panel closes."""
    if stretch.chunks[0].coding.is_constant:
        return "decoded signal: constant"
    offset = f"{stretch.offsets[0]:.4g} {stretch.channel.unit}".rstrip()
    layers = {"beats": has_beats, "bank": bool(stretch.models), "corrections": stretch.has_corrections}
    terms = [f"offset of {offset}", *(name for name, is_there in layers.items() if is_there)]
    return f"decoded signal = {' + '.join(terms)}".replace("-", "−")
