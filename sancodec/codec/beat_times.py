"""Beats from the event stream alone: which events are beats, and where their R peaks lie.

Events are recurring waves, T waves and artefacts among them. What an event adds to the signal is known from its
kernel and gain; its slope tells beats from the rest by the rules of Pan and Tompkins (IEEE Trans. Biomed. Eng. 32,
1985, 230): a refractory period, a threshold below what is usual nearby, and within 0.36 s half the slope of the beat
before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events, kernel_geometry
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.mix import WEIGHT_BITS
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import InvalidSignalError

_NEAR_PEAK_S = 0.1
_REFRACTORY_S = 0.2
_T_WAVE_S = 0.36
_T_WAVE_SLOPE = 0.5
_LEAST_SLOPE = 0.3
_NEIGHBOURS = 10


def beat_times(reader: RecordingReader, channels: Sequence[int]) -> NDArray[np.int64]:
    """R peaks of the beats that the events of some channels tell of.

    Parameters
    ----------
    channels
        Of one sampling rate, which share the positions of their events: leads that were compressed together do.

    Returns
    -------
    int64 ``(beat,)``, increasing, in samples of these channels.

    Raises
    ------
    InvalidSignalError
        When the channels have different sampling rates or do not share positions, or none of them has beat kernels.
    FormatError
        Naming the chunk that is missing or damaged.
    """
    header = reader.header
    widths = {header.channels[channel].samples_per_frame for channel in channels}
    if len(widths) != 1:
        raise InvalidSignalError(f"{len(channels)} channels of {len(widths)} sampling rates; take channels of one")
    width = widths.pop()
    rate_hz = float(header.frame_rate_hz * width)
    starts, slopes, offsets = [np.zeros(0, np.int64)], [np.zeros((len(channels), 0))], [np.zeros(0, np.int64)]
    has_kernels = False
    for index in range(header.n_chunks):
        segment, streams = reader.parse(index)
        codings = reader.decoder(segment).codings
        layers = [_beat_layers(codings, channel) for channel in channels]
        groups = {codings[index].lead_group for layer in layers for index in layer}
        if not groups:
            continue
        if len(groups) > 1:
            raise InvalidSignalError("the channels do not share the positions of their events; take one of them")
        has_kernels = True
        of_chunk = streams.events.starts[groups.pop()]
        slope = np.zeros((len(channels), len(of_chunk)))
        offset = np.zeros(len(of_chunk), np.int64)
        for row in reversed(range(len(channels))):  # the first channel that has an event says where its peak is
            if layers[row]:
                waves, low = _waves(codings, layers[row], streams.events.events, rate_hz)
                slope[row] = np.sqrt((np.diff(waves, axis=1) ** 2).sum(axis=1))
                offset = np.where(slope[row] > 0, low + np.abs(waves).argmax(axis=1), offset)
        starts.append(of_chunk + index * header.chunk_frames * width)
        slopes.append(slope)
        offsets.append(offset)
    if not has_kernels:
        raise InvalidSignalError(
            "there are no beats in the file: its channels are coded without beat kernels. They have some from level 3 "
            "on where beats make the file smaller; else decompress it and run a QRS detector"
        )
    # An event across a border of chunks is stored in both.
    joined, first = np.unique(np.concatenate(starts), return_index=True)
    peaks = joined + np.concatenate(offsets)[first]
    slope_of_event = _over_leads(np.concatenate(slopes, axis=1)[:, first])
    beats = peaks[beats_among(joined, slope_of_event, sampling_rate_hz=rate_hz)]
    n_samples = header.n_frames * width
    return np.unique(beats[(beats >= 0) & (beats < n_samples)])


def _beat_layers(codings: Sequence[ChannelCoding], channel: int) -> dict[int, float]:
    """Channels whose beat kernels a channel has, with their weights: its own, or those of the components of its mix."""
    own = codings[channel]
    if own.row is None:
        return {channel: 1.0} if own.kernels.n_kernels else {}
    carriers = [
        index for index, each in enumerate(codings) if each.lead_group == own.lead_group and each.model is not None
    ]
    weights = own.row * 2.0**-WEIGHT_BITS
    return {
        index: weight
        for index, weight in zip(carriers, weights.tolist(), strict=True)
        if codings[index].kernels.n_kernels and weight
    }


def _waves(
    codings: Sequence[ChannelCoding], layers: Mapping[int, float], all_events: Sequence[Events], rate_hz: float
) -> tuple[NDArray[np.float64], int]:
    """What each event adds to a channel near its peak, ``(event, position)``, and where in its kernel that begins."""
    length = codings[next(iter(layers))].kernels.weights.shape[1]
    _, before = kernel_geometry(rate_hz)
    near = max(1, round(_NEAR_PEAK_S * rate_hz))
    low, high = max(0, before - near), min(length, before + near + 1)
    if high - low < 2:  # no window of our own encoder
        low, high = 0, length
    waves = np.zeros((len(all_events[next(iter(layers))].gains), high - low))
    for index, weight in layers.items():
        coding, events = codings[index], all_events[index]
        unit = weight * 2.0**coding.kernels.exponent * (1.0 if coding.lattice is None else coding.lattice.step)
        waves += unit * events.gains[:, None] * coding.kernels.weights[events.kernel_ids, low:high]
    return waves, low


def _over_leads(slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of each event over all leads, each of them relative to its median; ``(event,)``."""
    total = np.zeros(slopes.shape[1])
    for of_lead in slopes:
        present = of_lead[of_lead > 0]
        if len(present):
            total += (of_lead / np.median(present)) ** 2
    slope: NDArray[np.float64] = np.sqrt(total)
    return slope


def beats_among(
    starts: NDArray[np.int64], slopes: NDArray[np.float64], *, sampling_rate_hz: float
) -> NDArray[np.int64]:
    """Indices of the events that are beats.

    Parameters
    ----------
    starts
        First samples of the events' kernels, increasing; ``(event,)``.
    slopes
        How steep each event is, in any unit; 0 for events that no channel has.

    Returns
    -------
    int64 ``(beat,)``, increasing.
    """
    present = np.flatnonzero(slopes > 0)
    if not len(present):
        return present
    around = np.pad(slopes[present], _NEIGHBOURS, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(around, 2 * _NEIGHBOURS + 1), axis=1)
    refractory, t_wave = _REFRACTORY_S * sampling_rate_hz, _T_WAVE_S * sampling_rate_hz
    beats: list[int] = []
    for event in present[slopes[present] >= _LEAST_SLOPE * usual].tolist():
        gap = starts[event] - starts[beats[-1]] if beats else np.inf
        if gap < refractory:
            if slopes[event] > slopes[beats[-1]]:
                beats[-1] = event
        elif gap >= t_wave or slopes[event] >= _T_WAVE_SLOPE * slopes[beats[-1]]:
            beats.append(event)
    return np.array(beats, np.int64)
