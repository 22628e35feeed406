"""Containers opened for reading parts of them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beat_times import beat_times
from sancodec.codec.beats import Events
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.codec.recording import Channel
from sancodec.codec.synthesis import Engine
from sancodec.errors import InvalidSignalError

ChannelKey = str | SupportsIndex
ChannelsKey = ChannelKey | slice | Sequence[ChannelKey]
SampleKey = SupportsIndex | slice


class OpenRecording:
    """A container opened for reading parts of it; use as a context manager. Made by `sancodec.open`.

    ``record[channel, first:last]`` gives stored integers; only the chunks that are needed are read and decoded.

    Parameters
    ----------
    file
        Seekable binary file.
    is_owner
        Whether ``close`` closes the file.
    """

    def __init__(self, file: BinaryIO, *, engine: Engine, models: tuple[Model, ...] = (), is_owner: bool) -> None:
        self._file, self._is_owner = file, is_owner
        self._reader = RecordingReader(file, engine=engine, models=models)

    def __enter__(self) -> OpenRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it was opened by the caller."""
        if self._is_owner:
            self._file.close()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What the integers of each channel mean."""
        return self._reader.header.channels

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, as the source wrote them."""
        return tuple(channel.name for channel in self.channels)

    @property
    def frame_rate_hz(self) -> Fraction:
        """Frames per second, exactly; the sampling rate of channels with one sample per frame."""
        return self._reader.header.frame_rate_hz

    @property
    def n_frames(self) -> int:
        return self._reader.header.n_frames

    @property
    def duration_s(self) -> float:
        return float(self.n_frames / self.frame_rate_hz)

    @property
    def chunk_s(self) -> float:
        """Seconds of a chunk, the least that is decoded."""
        return float(self._reader.header.chunk_frames / self.frame_rate_hz)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples per channel.

        Raises
        ------
        InvalidSignalError
            When channels have different sampling rates.
        """
        lengths = {self.n_samples(channel) for channel in range(len(self.channels))}
        if len(lengths) > 1:
            raise InvalidSignalError(
                "channels have different sampling rates and no common shape; use n_samples(channel)"
            )
        return len(self.channels), lengths.pop()

    def n_samples(self, channel: ChannelKey) -> int:
        """Samples of a channel."""
        return self.n_frames * self.channels[self._index(channel)].samples_per_frame

    def sampling_rate_hz(self, channel: ChannelKey) -> Fraction:
        """Samples per second of a channel, exactly."""
        return self.frame_rate_hz * self.channels[self._index(channel)].samples_per_frame

    def events(self, channel: ChannelKey) -> tuple[NDArray[np.int64], Events]:
        """Beat events of a channel without decoding its waveform.

        Returns
        -------
        First sample of each event's kernel window, and the events' kernel ids and gains. Where a lead group is mixed,
        ids count through the kernels of all its components, and an event is that of the one which adds the highest
        peak to this channel.
        """
        return self._reader.events(self._index(channel))

    def beats(self, channels: ChannelKey | Sequence[ChannelKey] | None = None) -> NDArray[np.int64]:
        """R peaks of beats, told from the events alone, without decoding the waveform.

        Parameters
        ----------
        channels
            One channel or several of one sampling rate; all by default. Leads together tell more than one.

        Returns
        -------
        int64 ``(beat,)``, increasing, in samples of these channels.

        Raises
        ------
        InvalidSignalError
            When the channels have different sampling rates, or none of them has beat kernels.
        """
        if channels is None:
            keys: Sequence[ChannelKey] = range(len(self.channels))
        else:
            keys = [channels] if isinstance(channels, (str, SupportsIndex)) else channels
        return beat_times(self._reader, [self._index(key) for key in keys])

    def __getitem__(self, key: ChannelsKey | tuple[ChannelsKey, SampleKey]) -> Any:
        """Samples in stored units; a missing sample is the channel's ``invalid``.

        Parameters
        ----------
        key
            Channel, or channel and sample: ``record[0, 100:200]``, ``record["MLII", -1]``, ``record[:, :3600]``,
            ``record[["V1", "V2"]]``. Channels are named by index or exact name; indices and slices mean what they
            mean in NumPy.

        Returns
        -------
        For one channel and a slice int32 ``(sample,)``, for one sample an int32; for several channels int32
        ``(channel, sample)``, or a list of ``(sample,)`` where their sampling rates differ.

        Raises
        ------
        IndexError
            When there is no such channel or sample.
        FormatError
            Naming the chunk, when one that is needed is damaged.
        """
        channels, span = key if isinstance(key, tuple) else (key, slice(None))
        return self._chosen(channels, span)

    def read(
        self, start_s: float = 0.0, end_s: float | None = None, *, channels: ChannelsKey = slice(None)
    ) -> NDArray[np.int32] | list[NDArray[np.int32]]:
        """Samples from ``start_s`` up to, not including, ``end_s``, in stored units.

        Parameters
        ----------
        start_s, end_s
            Seconds from the begin of the recording; None for its end.
        channels
            As in ``record[channels]``; all by default.

        Returns
        -------
        As ``record[channels, first:last]`` gives them.

        Raises
        ------
        IndexError
            When there is no such channel or time.
        FormatError
            Naming the chunk, when one that is needed is damaged.
        """
        end_s = self.duration_s if end_s is None else end_s
        if not 0 <= start_s <= end_s <= self.duration_s:
            raise IndexError(f"{start_s} s to {end_s} s; the recording has 0 s to {self.duration_s} s")
        last = self.n_frames if end_s == self.duration_s else self._frame_at(end_s)
        result: NDArray[np.int32] | list[NDArray[np.int32]] = self._chosen(
            channels, slice(self._frame_at(start_s), last), is_frames=True
        )
        return result

    def physical(self, channel: ChannelKey, first: int | None = None, last: int | None = None) -> NDArray[np.float64]:
        """Samples ``first:last`` of a channel in its physical unit, NaN where they are missing; ``(sample,)``."""
        description = self.channels[self._index(channel)]
        stored = self[channel, first:last]
        with np.errstate(over="ignore"):  # a gain may be as small as a float can be
            values = (stored.astype(np.float64) - description.baseline) / description.gain
        if description.invalid is not None:
            values[stored == description.invalid] = np.nan
        return np.asarray(values, np.float64)

    def time_s(self, channel: ChannelKey, first: int | None = None, last: int | None = None) -> NDArray[np.float64]:
        """Times of samples ``first:last`` of a channel, in s from the begin of the recording; ``(sample,)``."""
        rate = self.sampling_rate_hz(channel)
        indices = np.arange(*slice(first, last).indices(self.n_samples(channel)), dtype=np.float64)
        return indices * rate.denominator / rate.numerator

    def _frame_at(self, time_s: float) -> int:
        """The first frame at or after a time; a decimal number is taken as it is written."""
        return -(-Fraction(str(time_s)) * self.frame_rate_hz // 1) if np.isfinite(time_s) else 0

    def _index(self, channel: ChannelKey) -> int:
        listed = ", ".join(map(repr, self.names))
        if isinstance(channel, str):
            found = [index for index, name in enumerate(self.names) if name == channel]
            if len(found) != 1:
                raise IndexError(f"{len(found) or 'no'} channels are named {channel!r}; there are {listed}")
            return found[0]
        index = operator.index(channel)
        if not -len(self.channels) <= index < len(self.channels):
            raise IndexError(f"channel {index}; there are {len(self.channels)}: {listed}")
        return index % len(self.channels)

    def _chosen(self, key: ChannelsKey, span: SampleKey, *, is_frames: bool = False) -> Any:
        if isinstance(key, (str, SupportsIndex)):
            return self._samples([self._index(key)], span, is_frames=is_frames)[0]
        if isinstance(key, slice):
            channels = list(range(len(self.channels)))[key]
        else:
            channels = [self._index(channel) for channel in key]
        if not channels:
            raise IndexError("no channels were chosen")
        samples = self._samples(channels, span, is_frames=is_frames)
        is_even = len({self.channels[channel].samples_per_frame for channel in channels}) == 1
        return np.stack(samples) if is_even else samples

    def _samples(self, channels: list[int], span: SampleKey, *, is_frames: bool = False) -> list[Any]:
        """Samples of channels; ``span`` counts the samples of each, or frames of all of them."""
        spans = []
        for channel in channels:
            width = self.channels[channel].samples_per_frame
            if is_frames:
                assert isinstance(span, slice)
                spans.append(range(span.start * width, span.stop * width))
            else:
                spans.append(self._range(span, self.n_frames * width))
        chunk_frames = self._reader.header.chunk_frames
        bounds = [  # of each channel, the first and the last chunk that is needed
            [
                index // (chunk_frames * self.channels[channel].samples_per_frame)
                for index in sorted((each[0], each[-1]))
            ]
            for channel, each in zip(channels, spans, strict=True)
            if each
        ]
        first, last = (min(low for low, _ in bounds), max(high for _, high in bounds) + 1) if bounds else (0, 0)
        parts: list[list[NDArray[np.int32]]] = [[np.zeros(0, np.int32)] for _ in channels]
        for _, decoded in self._reader.chunks(first, last) if bounds else ():
            for part, channel in zip(parts, channels, strict=True):
                part.append(decoded[channel])
        result: list[Any] = []
        for part, channel, each in zip(parts, channels, spans, strict=True):
            offset = first * chunk_frames * self.channels[channel].samples_per_frame
            joined = np.concatenate(part)
            if not isinstance(span, slice):
                result.append(joined[each[0] - offset])
            elif not each:
                result.append(joined[:0])
            else:
                low, high = sorted((each[0] - offset, each[-1] - offset))
                # A copy of what was asked for; a view would keep whole chunks in memory.
                wanted = joined[low : high + 1]
                wanted = wanted[:: each.step] if each.step > 0 else wanted[::-1][:: -each.step]
                result.append(wanted.copy())
        return result

    @staticmethod
    def _range(span: SampleKey, n_samples: int) -> range:
        if isinstance(span, slice):
            return range(*span.indices(n_samples))
        index = operator.index(span)
        if not -n_samples <= index < n_samples:
            raise IndexError(f"sample {index}; the channel has {n_samples}")
        return range(index % n_samples, index % n_samples + 1)
