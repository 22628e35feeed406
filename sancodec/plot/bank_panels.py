"""The kernels of the codec's banks and their frequency responses."""

from __future__ import annotations

import numpy as np

from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, KernelGroup, Model
from sancodec.plot.panels import (
    Axis,
    Curve,
    Heat,
    Mark,
    Numbers,
    Panel,
    Picture,
    Row,
    band_colour,
    below_legend,
    range_of,
)

_MAX_CURVES = 8
_GROUPS_PER_ROW = 4
_FLOOR_DB, _BELOW_DB = -60.0, 20.0
_N_FREQUENCIES = 800
_TRANSFORM_SAMPLES = 1 << 16


def bank_picture(model: Model, *, title: str) -> Picture:
    """Kernels group by group, and the frequency responses of all."""
    rate_hz = model.metadata.get("sampling_rate_hz")
    small: list[Panel] = []
    large: list[Panel] = []
    first_band, colours = 0, band_colours(model)
    for group in model.groups:
        panel = _group_panel(group, first_band, colours)
        (small if group.n_kernels <= _MAX_CURVES else large).append(panel)
        first_band += group.n_kernels
    rows = [Row(tuple(small[first : first + _GROUPS_PER_ROW]), 1.8) for first in range(0, len(small), _GROUPS_PER_ROW)]
    rows += [Row((panel,), 3.4) for panel in large]
    known_rate_hz = float(rate_hz) if isinstance(rate_hz, int | float) and rate_hz > 0 else None
    responses = response_panel(model, sampling_rate_hz=known_rate_hz)
    return Picture(f"{title}: {model.n_bands} kernels in {len(model.groups)} groups", (*rows, Row((responses,), 2.6)))


def response_panel(model: Model, *, sampling_rate_hz: float | None, width: float = 1.0) -> Panel:
    """Frequency responses of all kernels: at 0 dB a sine comes through whole.

    Parameters
    ----------
    sampling_rate_hz
        Where it is None, frequencies are in cycles per sample.
    """
    lowest = 1 / (8 * model.band_strides[0])
    # Narrow bands are low ones where strides differ, and high ones on a logarithmic axis where they do not.
    frequencies = np.union1d(np.geomspace(lowest, 0.5, _N_FREQUENCIES), np.linspace(lowest, 0.5, _N_FREQUENCIES))
    colours = band_colours(model)
    marks: list[Mark] = []
    for group in model.groups:
        for response in group_responses(group, frequencies):
            # Points far below the panel are left out, one NaN in place of each run of them.
            is_far = response < _FLOOR_DB - _BELOW_DB
            kept = ~is_far | ~np.append(False, is_far[:-1])
            shown = np.where(is_far, np.nan, response)[kept]
            marks.append(Curve(frequencies[kept] * (sampling_rate_hz or 1.0), shown, colours[len(marks)]))
    name = Axis("frequency", "cycles/sample" if sampling_rate_hz is None else "Hz", is_logarithmic=True)
    title = f"frequency responses of the kernels of bank {model.name}"
    span = (lowest * (sampling_rate_hz or 1.0), 0.5 * (sampling_rate_hz or 1.0))
    return Panel(title, name, Axis("response", "dB"), tuple(marks), x_range=span, y_range=(_FLOOR_DB, 6.0), width=width)


def group_responses(group: KernelGroup, frequencies: Numbers) -> Numbers:
    """``20·log₁₀(|W| / √stride)`` of every kernel in dB; float64 ``(kernel, frequency)``.

    Parameters
    ----------
    frequencies
        In cycles per sample.
    """
    known = np.fft.rfftfreq(_TRANSFORM_SAMPLES)
    responses = np.empty((group.n_kernels, len(frequencies)))
    for response, kernel in zip(responses, group.weights * 2.0**-WEIGHT_FRACTION_BITS, strict=True):
        power = np.abs(np.fft.rfft(kernel, _TRANSFORM_SAMPLES)) ** 2 / group.stride
        response[:] = np.interp(frequencies, known, 10 * np.log10(np.maximum(power, 1e-30)))
    return responses


def band_frequencies(model: Model) -> Numbers:
    """Centre of gravity of every band's power over frequency, in cycles per sample; ``(band,)``."""
    centres = []
    for group in model.groups:
        power = np.abs(np.fft.rfft(group.weights.astype(np.float64), 2 * group.length, axis=1)) ** 2
        frequencies = np.arange(power.shape[1]) / (2 * group.length)
        centres.append(power @ frequencies / np.maximum(power.sum(axis=1), 1e-30))
    return np.concatenate(centres)


def band_colours(model: Model) -> tuple[str, ...]:
    """The colours of the bands, from dark to light by the logarithms of their centre frequencies."""
    centres = np.log(np.maximum(band_frequencies(model), 1e-6))
    low, high = float(centres.min()), float(centres.max())
    return tuple(band_colour((float(centre) - low) / ((high - low) or 1.0)) for centre in centres)


def _group_panel(group: KernelGroup, first_band: int, colours: tuple[str, ...]) -> Panel:
    weights = group.weights * 2.0**-WEIGHT_FRACTION_BITS
    position = np.arange(group.length, dtype=np.float64) + group.offset
    first, last = first_band, first_band + group.n_kernels - 1
    bands = f"band {first}" if first == last else f"bands {first} to {last}"
    title = f"{bands}, stride {group.stride}"
    x = Axis("position", "samples")
    if group.n_kernels > _MAX_CURVES:
        edges = np.arange(group.n_kernels + 1) + first_band - 0.5
        x_edges = np.append(position, position[-1] + 1) - 0.5
        return Panel(title, x, Axis("band"), (Heat(x_edges, edges, weights, Axis("weight")),))
    is_alone = group.n_kernels == 1
    curves = tuple(
        Curve(position, row, colours[first_band + index], "" if is_alone else f"band {first_band + index}")
        for index, row in enumerate(weights)
    )
    return Panel(title, x, Axis("weight"), curves, y_range=None if is_alone else below_legend(range_of(weights)))
