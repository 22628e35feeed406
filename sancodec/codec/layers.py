"""The layers of a decoded channel apart: what beats, bank and corrections each add to its samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import transform
from sancodec.codec.beats import FRACTION_BITS, Events, render
from sancodec.codec.coefficients import ChunkStreams
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.missing import mask_of
from sancodec.codec.quantiser import OFFSET_UNIT, amplitudes_of
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.codec.synthesis import ChannelCoding, bank_part, reconstruct


@dataclass(frozen=True, slots=True, eq=False)
class ChunkLayers:
    """One channel of one chunk as a sum (docs/format.md, sections 10 and 11).

    ``beats + bank + offset`` rounded and clamped is ``approximation``, and ``approximation + corrections`` are the
    samples. All are in stored units; of a channel on a lattice, where sums are those of multiples, times its step.

    Parameters
    ----------
    segment
        That the chunk belongs to; kernels are numbered within it.
    first_sample
        Of the chunk, in the recording.
    offset
        Of a constant channel its value.
    beats, bank, approximation
        float64, shape ``(sample,)``.
    samples
        What the decoder gives, int32 ``(sample,)``.
    is_missing
        Which of the samples are missing, and hold what the channel marks them with.
    coefficients
        Per band, float64 ``(window,)``, also of the windows beyond the end of the chunk; empty without a bank.
    starts, events
        First samples of the beat kernels' windows, in the recording, increasing; those with a gain only.
    """

    coding: ChannelCoding
    segment: int
    first_sample: int
    offset: float
    beats: NDArray[np.float64]
    bank: NDArray[np.float64]
    approximation: NDArray[np.float64]
    samples: NDArray[np.int32]
    is_missing: NDArray[np.bool_]
    coefficients: tuple[NDArray[np.float64], ...]
    starts: NDArray[np.int64]
    events: Events

    @property
    def corrections(self) -> NDArray[np.float64]:
        """What the residual layer, and exceptions of a lattice, add; NaN where samples are missing."""
        return np.where(self.is_missing, np.nan, self.samples - self.approximation)


def layers_of(reader: RecordingReader, channel: int, first: int, last: int) -> Iterator[ChunkLayers]:
    """Decode chunks ``first … last - 1`` and take one channel of them apart.

    Raises
    ------
    FormatError
        Naming the first chunk that is missing or damaged.
    """
    width = reader.header.channels[channel].samples_per_frame
    for index, samples in reader.chunks(first, last):
        segment, chunk = reader.parse(index)
        first_sample = index * reader.header.chunk_frames * width
        yield _layers(reader.decoder(segment), segment, chunk, channel, samples[channel], first_sample)


def _layers(
    decoder: SegmentDecoder,
    segment: int,
    chunk: ChunkStreams,
    channel: int,
    samples: NDArray[np.int32],
    first_sample: int,
) -> ChunkLayers:
    coding = decoder.codings[channel]
    starts, events = np.zeros(0, np.int64), Events.none(0)
    if coding.kernels.n_kernels:
        starts, events = chunk.events.starts[coding.lead_group], chunk.events.events[channel]
    scale = 1.0 if coding.lattice is None or coding.is_constant else coding.lattice.step
    offset = coding.minimum if coding.is_constant else coding.offset
    beats, bank = np.zeros(len(samples)), np.zeros(len(samples))
    approximation, coefficients = np.full(len(samples), float(offset)), []
    if coding.model is not None:
        units, quantised, _ = decoder.quantised([chunk])
        of_channel = quantised[[unit.channel for unit in units].index(channel)]
        amplitudes = amplitudes_of(of_channel, coding.offsets, coding.model)  # (1, window, kernel) each
        bank_sum = transform.synthesise(coding.model, amplitudes)[:, : len(samples)]
        bank = bank_part(coding.step, bank_sum)[0] * 2.0**-FRACTION_BITS
        beat_sum = None
        if coding.kernels.n_kernels:
            beat_sum = render(starts, events, coding.kernels, n_samples=len(samples))[None]
            beats = beat_sum[0] * 2.0**coding.kernels.exponent
        approximation = reconstruct(coding, bank_sum, beat_sum)[0].astype(np.float64)
        unit = coding.step.value / OFFSET_UNIT * scale
        coefficients = [row * unit for group in amplitudes for row in group[0].T]
    used = events.gains > 0
    return ChunkLayers(
        coding,
        segment,
        first_sample,
        offset * scale,
        beats * scale,
        bank * scale,
        approximation * scale,
        samples,
        mask_of(chunk.events.runs[channel], len(samples)),
        tuple(coefficients),
        starts[used] + first_sample,
        Events(events.kernel_ids[used], events.gains[used]),
    )
