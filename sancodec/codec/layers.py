"""The layers of a decoded channel apart: what beats, bank and corrections each add to its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import transform
from sancodec.codec.beats import FRACTION_BITS, BeatKernels, Events, render
from sancodec.codec.coefficients import ChunkStreams
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.codec.missing import mask_of
from sancodec.codec.mix import mixed
from sancodec.codec.quantiser import OFFSET_UNIT, Quantised, amplitudes_of
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.codec.synthesis import ChannelCoding, bank_part, clamped, component_of

_HALF = 1 << (FRACTION_BITS - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """Beats of one component of a channel in one chunk.

    Parameters
    ----------
    component
        Its number in a mixed lead group.
    weight
        Of the component in the channel.
    starts, events
        First samples of the kernels' windows, in the recording, increasing; those with a gain only.
    """

    component: int
    weight: float
    kernels: BeatKernels
    starts: NDArray[np.int64]
    events: Events


@dataclass(frozen=True, slots=True, eq=False)
class ChunkLayers:
    """One channel of one chunk as a sum (docs/format.md, sections 10 and 11).

    In a mixed lead group beats, bank and coefficients are the weighted sums of those of its components.
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
        Of each bank, float64 ``(window,)`` per band, also of the windows beyond the end of the chunk.
    waves
        Per component that has beat kernels.
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
    coefficients: Mapping[Model, tuple[NDArray[np.float64], ...]]
    waves: tuple[Waves, ...]

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


@dataclass(slots=True, eq=False)
class _Sums:
    """What the components of a channel add up to."""

    beats: NDArray[np.float64]
    bank: NDArray[np.float64]
    components: list[NDArray[np.int64]] = field(default_factory=list)
    coefficients: dict[Model, tuple[NDArray[np.float64], ...]] = field(default_factory=dict)
    waves: list[Waves] = field(default_factory=list)

    def add(
        self,
        number: int,
        coding: ChannelCoding,
        weight: float,
        quantised: Quantised,
        starts: NDArray[np.int64],
        events: Events,
        first_sample: int,
    ) -> None:
        """One component more; ``starts`` are within the chunk, which begins at a sample of the recording."""
        assert coding.model is not None
        amplitudes = amplitudes_of(quantised, coding.offsets, coding.model)  # (1, window, kernel) each
        bank_sum = transform.synthesise(coding.model, amplitudes)[:, : len(self.bank)]
        self.bank += weight * 2.0**-FRACTION_BITS * bank_part(coding.step, bank_sum)[0]
        beat_sum = None
        if coding.kernels.n_kernels:
            beat_sum = render(starts, events, coding.kernels, n_samples=len(self.beats))[None]
            self.beats += weight * 2.0**coding.kernels.exponent * beat_sum[0]
            used = events.gains > 0
            played = Events(events.kernel_ids[used], events.gains[used])
            self.waves.append(Waves(number, weight, coding.kernels, starts[used] + first_sample, played))
        self.components.append(component_of(coding, bank_sum, beat_sum)[0])
        unit = weight * coding.step.value / OFFSET_UNIT
        rows = [row * unit for group in amplitudes for row in group[0].T]
        before = self.coefficients.get(coding.model)
        if before is not None:
            rows = [row + other for row, other in zip(rows, before, strict=True)]
        self.coefficients[coding.model] = tuple(rows)


def _layers(
    decoder: SegmentDecoder,
    segment: int,
    chunk: ChunkStreams,
    channel: int,
    samples: NDArray[np.int32],
    first_sample: int,
) -> ChunkLayers:
    coding = decoder.codings[channel]
    scale = 1.0 if coding.lattice is None or coding.is_constant else coding.lattice.step
    offset = coding.minimum if coding.is_constant else coding.offset
    sums = _Sums(np.zeros(len(samples)), np.zeros(len(samples)))
    parts = [(number, *each) for number, each in enumerate(decoder.components(channel)) if each[1]]
    units, quantised, _ = decoder.quantised([chunk]) if parts else ([], [], {})
    of_channels = {unit.channel: each for unit, each in zip(units, quantised, strict=True)}
    starts = chunk.events.starts[coding.lead_group]
    for number, index, weight in parts:
        events = chunk.events.events[index]
        sums.add(number, decoder.codings[index], weight, of_channels[index], starts, events, first_sample)
    approximation = np.full(len(samples), offset)
    if coding.row is not None:
        used = coding.row[coding.row != 0][None]
        stacked = np.stack(sums.components) if parts else np.zeros((0, len(samples)), np.int64)
        approximation = clamped(coding, mixed(used, stacked)[0])
    elif parts:
        approximation = clamped(coding, (sums.components[0] + _HALF) >> FRACTION_BITS)
    return ChunkLayers(
        coding,
        segment,
        first_sample,
        offset * scale,
        sums.beats * scale,
        sums.bank * scale,
        approximation * scale,
        samples,
        mask_of(chunk.events.runs[channel], len(samples)),
        {model: tuple(row * scale for row in rows) for model, rows in sums.coefficients.items()},
        tuple(sums.waves),
    )
