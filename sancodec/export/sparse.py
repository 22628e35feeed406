"""Sparse streams of channels as the decoder graph takes them (docs/kit.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import FRACTION_BITS, Events
from sancodec.codec.chunks import padded_length
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.synthesis import ChannelCoding

_SCALE_BITS = 3  # 7 of the amplitude and 16 of the weights, less 10 of the sum and 10 of the fraction that is kept

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SparseSignal:
    """A channel of a chunk between entropy decoding and synthesis.

    One whose coding has a row of weights carries a component of a mixed lead group: the graph's output ``components``
    is for it, and `sancodec.codec.mix.mixed` makes samples of all of a group's components.

    Parameters
    ----------
    starts
        int64 ``(event,)``, of its lead group.
    quantised
        Bands of shape ``(1, window)``.
    """

    coding: ChannelCoding
    starts: NDArray[np.int64]
    events: Events
    quantised: Quantised


def sparse_signals(reader: RecordingReader, chunk: int) -> Iterator[tuple[Model, int, list[int], list[SparseSignal]]]:
    """What the decoder graph needs of a chunk.

    Yields
    ------
    For each bank and length: the bank, the number of samples, the channels, and their streams.

    Raises
    ------
    FormatError
    """
    segment, streams = reader.parse(chunk)
    decoder = reader.decoder(segment)
    units, all_quantised, _ = decoder.quantised([streams])
    found: dict[tuple[Model, int], tuple[list[int], list[SparseSignal]]] = {}
    for unit, quantised in zip(units, all_quantised, strict=True):
        coding = decoder.codings[unit.channel]
        assert coding.model is not None
        n_samples = streams.n_frames * reader.header.channels[unit.channel].samples_per_frame
        starts, events = streams.events.starts[coding.lead_group], streams.events.events[unit.channel]
        channels, signals = found.setdefault((coding.model, n_samples), ([], []))
        channels.append(unit.channel)
        signals.append(SparseSignal(coding, starts, events, quantised))
    for (model, n_samples), (channels, signals) in found.items():
        yield model, n_samples, channels, signals


def decoder_feeds(model: Model, signals: Sequence[SparseSignal], n_samples: int) -> Feeds:
    """Inputs of the decoder graph for signals of one bank and length, by name."""
    codings = [each.coding for each in signals]
    scales = [each.step.mantissa * 2.0 ** (each.step.exponent - _SCALE_BITS) for each in codings]
    return {
        "n_samples": np.array([n_samples], np.int64),
        **_levels(model, signals, padded_length(model, n_samples)),
        "reconstruction": np.array([coding.offsets for coding in codings], np.int32),
        "scale": np.array(scales, np.float64),
        "offset": np.array([coding.offset for coding in codings], np.int32),
        "minimum": np.array([coding.minimum for coding in codings], np.int32),
        "maximum": np.array([coding.maximum for coding in codings], np.int32),
        **_beats(signals),
    }


def _levels(model: Model, signals: Sequence[SparseSignal], circle: int) -> Feeds:
    feeds: Feeds = {}
    band = 0
    for index, group in enumerate(model.groups):
        n_windows = circle // group.stride
        places, levels = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for signal, each in enumerate(signals):
            for kernel in range(group.n_kernels):
                magnitude = each.quantised.magnitudes[band + kernel][0]
                windows = np.flatnonzero(magnitude)
                negative = each.quantised.negative[band + kernel][0, windows]
                places.append((signal * n_windows + windows) * group.n_kernels + kernel)
                levels.append(np.where(negative, -magnitude[windows], magnitude[windows]))
        feeds[f"level_index_{index}"] = np.concatenate(places)
        feeds[f"level_{index}"] = np.concatenate(levels).astype(np.int32)
        band += group.n_kernels
    return feeds


def _beats(signals: Sequence[SparseSignal]) -> Feeds:
    kernels = [each.coding.kernels for each in signals]
    length = max([each.weights.shape[1] for each in kernels if each.n_kernels], default=1)
    none = np.zeros(0, np.int64)
    rows, columns, n_rows = [np.zeros((0, length), np.int32)], [(none, none, none, none)], 0
    for signal, (each, beats) in enumerate(zip(signals, kernels, strict=True)):
        if beats.n_kernels:
            used = np.flatnonzero(each.events.gains)
            gains, ids = each.events.gains[used].astype(np.int64), each.events.kernel_ids[used].astype(np.int64)
            columns.append((np.full(len(used), signal), each.starts[used], ids + n_rows, gains))
            rows.append(np.pad(beats.weights, ((0, 0), (0, length - beats.weights.shape[1]))).astype(np.int32))
            n_rows += beats.n_kernels
    of_signal, starts, ids, gains = (np.concatenate(column) for column in zip(*columns, strict=True))
    scales = [1 << each.exponent + FRACTION_BITS if each.n_kernels else 1 for each in kernels]
    return {
        "event_signal": of_signal,
        "event_start": starts,
        "event_kernel": ids,
        "event_gain": gains.astype(np.int32),
        "beat_kernels": np.concatenate(rows),
        "beat_scale": np.array(scales, np.int64),
    }
