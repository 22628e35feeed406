"""A stretch of one channel of a container, decoded layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.codec.layers import ChunkLayers, layers_of
from sancodec.codec.recording import Channel
from sancodec.plot.panels import Numbers

_MIN_GAIN, _MAX_GAIN = 1e-30, 1e30


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Consecutive samples of one channel, layer by layer, in its physical unit.

    ``beats + bank + offset + corrections`` are the samples, but for the rounding and clamping of docs/format.md,
    section 10.3.

    Parameters
    ----------
    times_s
        From the begin of the recording; float64, shape ``(sample,)``, like all that follow.
    offsets
        What is added to all other layers of each sample.
    samples
        NaN where they are missing, as in the corrections.
    """

    channel: Channel
    rate_hz: float
    chunks: tuple[ChunkLayers, ...]
    first_sample: int
    times_s: Numbers
    beats: Numbers
    bank: Numbers
    offsets: Numbers
    corrections: Numbers
    samples: Numbers

    @property
    def span_s(self) -> tuple[float, float]:
        """Begin and end in time."""
        return float(self.times_s[0]), float((self.first_sample + len(self.times_s)) / self.rate_hz)

    @property
    def has_corrections(self) -> bool:
        codings = [chunk.coding for chunk in self.chunks if not chunk.coding.is_constant]
        return any(coding.residual is not None or coding.lattice is not None for coding in codings)

    @property
    def models(self) -> tuple[Model, ...]:
        """Its banks: none, one, or several where segments differ."""
        return tuple(dict.fromkeys(model for chunk in self.chunks for model in chunk.coefficients))

    @property
    def is_mixed(self) -> bool:
        """Whether it is a weighted sum of components anywhere."""
        return any(chunk.coding.row is not None for chunk in self.chunks)


@dataclass(frozen=True, slots=True, eq=False)
class KernelUse:
    """A beat kernel and its events that reach into a stretch.

    Parameters
    ----------
    name
        ``kernel 0``, after a change of segment ``segment 1, kernel 0``, in a mix of components ``component 1,
        kernel 0``.
    weights
        What it adds to the channel, in physical units at a gain of 1; float64 ``(position,)``.
    peak
        Position of its largest magnitude, where its events are drawn.
    starts, gains
        Of its events, first samples in the recording; int64 and int32 ``(event,)``.
    first, last
        The samples of the stretch that are of the kernel's segment, the last not included.
    """

    name: str
    weights: Numbers
    peak: int
    starts: NDArray[np.int64]
    gains: NDArray[np.int32]
    first: int
    last: int

    @property
    def is_shown(self) -> NDArray[np.bool_]:
        """Which events have their peak within the stretch."""
        peaks = self.starts + self.peak
        return (peaks >= self.first) & (peaks < self.last)

    @property
    def n_shown(self) -> int:
        return int(np.count_nonzero(self.is_shown))


def read_stretch(reader: RecordingReader, channel: int, *, first_frame: int, n_frames: int) -> Stretch:
    """Decode some frames of a channel, layer by layer.

    Raises
    ------
    FormatError
        Naming the first chunk that is missing or damaged.
    """
    header = reader.header
    description = _drawable(header.channels[channel])
    per_chunk = header.chunk_frames
    last_frame = first_frame + n_frames
    chunks = tuple(layers_of(reader, channel, first_frame // per_chunk, -(-last_frame // per_chunk)))
    first, last = first_frame * description.samples_per_frame, last_frame * description.samples_per_frame
    low = first - chunks[0].first_sample
    within = slice(low, low + last - first)

    def joined(part: Callable[[ChunkLayers], Numbers]) -> Numbers:
        found: Numbers = np.concatenate([part(chunk) for chunk in chunks])[within] / description.gain
        return found

    rate = header.frame_rate_hz * description.samples_per_frame
    return Stretch(
        description,
        float(rate),
        chunks,
        first,
        np.arange(first, last) * rate.denominator / rate.numerator,
        joined(lambda chunk: chunk.beats),
        joined(lambda chunk: chunk.bank),
        joined(lambda chunk: np.full(len(chunk.samples), chunk.offset - description.baseline)),
        joined(lambda chunk: chunk.corrections),
        joined(lambda chunk: np.where(chunk.is_missing, np.nan, chunk.samples.astype(float) - description.baseline)),
    )


def _drawable(channel: Channel) -> Channel:
    """A channel in its physical unit, or in stored ones where its gain makes numbers that cannot be drawn."""
    if _MIN_GAIN <= abs(channel.gain) <= _MAX_GAIN:
        return channel
    return replace(channel, gain=1.0, baseline=0, unit="adu")


def kernel_uses(stretch: Stretch) -> tuple[KernelUse, ...]:
    """The beat kernels of a stretch and their events, those without events included."""
    segments = sorted({chunk.segment for chunk in stretch.chunks})
    uses = []
    for segment in segments:
        of_segment = [chunk for chunk in stretch.chunks if chunk.segment == segment]
        first = max(stretch.first_sample, of_segment[0].first_sample)
        last = min(
            stretch.first_sample + len(stretch.times_s), of_segment[-1].first_sample + len(of_segment[-1].samples)
        )
        coding = of_segment[0].coding
        lattice = 1.0 if coding.lattice is None else coding.lattice.step
        prefix = "" if len(segments) == 1 else f"segment {segment}, "
        for waves in zip(*(chunk.waves for chunk in of_segment), strict=True):
            kernels, length = waves[0].kernels, waves[0].kernels.weights.shape[1]
            # An event across a border of chunks is stored in both.
            starts, kept = np.unique(np.concatenate([each.starts for each in waves]), return_index=True)
            ids = np.concatenate([each.events.kernel_ids for each in waves])[kept]
            gains = np.concatenate([each.events.gains for each in waves])[kept]
            scale = waves[0].weight * 2.0**kernels.exponent * lattice / stretch.channel.gain
            of_mix = "" if coding.row is None else f"component {waves[0].component}, "
            for index, kernel in enumerate(kernels.weights):
                here = (ids == index) & (starts + length > first) & (starts < last)
                name = f"{prefix}{of_mix}kernel {index}"
                peak = int(np.abs(kernel).argmax())
                uses.append(KernelUse(name, kernel * scale, peak, starts[here], gains[here], first, last))
    return tuple(uses)


def partial_of(use: KernelUse, stretch: Stretch) -> Numbers:
    """What the events of one kernel add to a stretch; float64 ``(sample,)``. All kernels together add its beats."""
    length = len(use.weights)
    padded = np.zeros(use.last - use.first + 2 * length)
    for start, gain in zip(use.starts - use.first + length, use.gains, strict=True):
        padded[start : start + length] += gain * use.weights
    total = np.zeros(len(stretch.times_s))
    total[use.first - stretch.first_sample : use.last - stretch.first_sample] = padded[length:-length]
    return total


def similarity_to(use: KernelUse, stretch: Stretch) -> Numbers:
    """The gain with which a kernel fits the decoded samples best, at each place of its peak; ``(sample,)``.

    ``Σ x·h / Σ h²``: the similarity of equation 10 of arXiv:1907.06592 in units of the activation map. Missing samples
    and those beyond the decoded chunks count as 0, which shows within a kernel's length of them.
    """
    chunks, channel = stretch.chunks, stretch.channel
    signal = np.concatenate(
        [np.where(chunk.is_missing, 0.0, (chunk.samples - chunk.offset) / channel.gain) for chunk in chunks]
    )
    energy = float(use.weights @ use.weights)
    if not energy:
        return np.zeros(len(stretch.times_s))
    length = len(use.weights)
    padded = np.pad(signal, (use.peak, length - 1 - use.peak))
    fitted = np.correlate(padded, use.weights, "valid") / energy  # (sample of the chunks,)
    low = stretch.first_sample - chunks[0].first_sample
    return fitted[low : low + len(stretch.times_s)]
