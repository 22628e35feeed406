"""Read containers: all of a recording or some chunks of it, checked against their digests."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.beats import Events
from sancodec.codec.coding_section import MeasuredQuality
from sancodec.codec.coefficients import ChunkStreams
from sancodec.codec.container import ContainerReader, Section, SectionType, SegmentPlace, section_name
from sancodec.codec.header import MAX_MODELS, Header, decode_header
from sancodec.codec.kernels import Model, decode_model
from sancodec.codec.models import model_by_sha256
from sancodec.codec.parallel import Threads
from sancodec.codec.recording import Recording
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.errors import CorruptError, FormatError, InvalidSignalError, TruncatedError

_BATCH_SAMPLES = 2_000_000
_CHANNEL_OVERHEAD_SAMPLES = 128


def chunks_at_once(header: Header, models: tuple[Model, ...]) -> int:
    """How many chunks are decoded together: arrays should be long enough to be fast, and short enough for memory."""
    # Whatever the length of a chunk, each channel is padded to at least one period of its bank.
    padding = max((model.period for model in models), default=0) + _CHANNEL_OVERHEAD_SAMPLES
    n_samples = sum(channel.samples_per_frame * header.chunk_frames + padding for channel in header.channels)
    return max(1, _BATCH_SAMPLES // n_samples)


class RecordingReader:
    """An open container.

    Parameters
    ----------
    file
        Seekable binary file.
    models
        Models to look in before those that ship.
    threads
        For decoding; one per processor by default.

    Raises
    ------
    FormatError
        When the leading sections are damaged.
    ModelMismatchError
        When a bank is not at hand.
    """

    def __init__(
        self, file: BinaryIO, *, engine: Engine, models: tuple[Model, ...] = (), threads: int | None = None
    ) -> None:
        self._engine = engine
        self._threads = Threads(threads)
        self.container = ContainerReader(file)
        sections, _ = self.container.leading_sections()
        kinds = [section.kind for section in sections]
        if kinds[0] == SectionType.IMAGES:
            raise InvalidSignalError("the file holds images, no recording; sancodec.open_images reads them")
        if kinds[0] != SectionType.HEADER or SectionType.HEADER in kinds[1:] or len(kinds) > 2 + MAX_MODELS:
            found = ", ".join(map(section_name, kinds))
            raise CorruptError(
                f"{found} before the first chunk; HEADER, at most {MAX_MODELS} MODEL, CODING is expected"
            )
        self.header: Header = decode_header(sections[0].payload)
        embedded = tuple(decode_model(section.payload) for section in sections[1:-1])
        self.embedded_models = embedded
        self.models = tuple(model_by_sha256(digest, (*embedded, *models)) for digest in self.header.model_digests)
        self._first_coding = sections[-1].offset
        self._decoders: dict[int, SegmentDecoder] = {0: self._decoder_of(sections[-1], 0)}

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self.container.length

    @cached_property
    def segments(self) -> list[SegmentPlace]:
        """Where the segments are; fewer chunks than the header promises when the file was cut."""
        return self.container.segments(self._first_coding, self.header.n_chunks)

    @cached_property
    def _n_found(self) -> int:
        return sum(len(place.chunks) for place in self.segments)

    @property
    def codings(self) -> list[ChannelCoding]:
        """How the channels are coded in the first segment."""
        return self._decoders[0].codings if 0 in self._decoders else self.decoder(0).codings

    def measured(self) -> list[MeasuredQuality]:
        """What the encoder measured, per channel: of several segments the worst.

        Raises
        ------
        FormatError
        """
        per_segment = [self.decoder(index).coding.measured for index in range(len(self.segments))]
        return [
            MeasuredQuality(max(each.prdn for each in of_channel), max(each.max_error_adu for each in of_channel))
            for of_channel in zip(*per_segment, strict=True)
        ]

    def value_ranges(self) -> list[tuple[int, int]]:
        """Smallest and largest decoded value of each channel that is not missing.

        Raises
        ------
        FormatError
        """
        per_segment = [self.decoder(index).value_ranges() for index in range(len(self.segments))]
        return [
            (min(low for low, _ in of_channel), max(high for _, high in of_channel))
            for of_channel in zip(*per_segment, strict=True)
        ]

    def check_end(self) -> None:
        """Refuse a file whose index or trailer is damaged or missing, or which lacks chunks.

        Raises
        ------
        FormatError
        """
        self.container.check_end(self._first_coding, self.header.n_chunks)
        for index, place in enumerate(self.segments):
            promised = self.decoder(index).coding.n_chunks
            if promised != len(place.chunks):
                raise CorruptError(
                    f"segment {index}: its CODING is for {promised} chunks; {len(place.chunks)} follow it"
                )

    def decoder(self, segment: int) -> SegmentDecoder:
        """What decodes the chunks of a segment; the last few are kept.

        Raises
        ------
        FormatError
            When the segment's CODING section is damaged.
        """
        if segment not in self._decoders:
            place = self.segments[segment]
            try:
                section, _ = self.container.section_at(place.coding)
                if section.kind != SectionType.CODING:
                    raise CorruptError(f"there is a {section_name(section.kind)} at byte {place.coding}")
                decoder = self._decoder_of(section, place.first_chunk)
            except FormatError as error:
                raise type(error)(f"segment {segment}, chunks from {place.first_chunk} on: {error}") from None
            while len(self._decoders) >= 2:
                del self._decoders[next(iter(self._decoders))]
            self._decoders[segment] = decoder
        return self._decoders[segment]

    def _decoder_of(self, section: Section, first_chunk: int) -> SegmentDecoder:
        decoder = SegmentDecoder(section.payload, self.header, self.models, self._engine, self._threads)
        if decoder.coding.first_chunk != first_chunk:
            raise CorruptError(
                f"section CODING at byte {section.offset}: it says that it is for chunk {decoder.coding.first_chunk}; "
                f"chunk {first_chunk} is next"
            )
        return decoder

    def segment_of(self, chunk: int) -> int:
        """The segment that holds a chunk.

        Raises
        ------
        TruncatedError
            When the file was cut before it.
        """
        n_found = self._n_found
        if chunk >= n_found:
            raise TruncatedError(
                f"chunk {n_found} of {self.header.n_chunks} is missing: the file was cut short; "
                f"the {n_found} chunks before it are there"
            )
        return bisect_right(self.segments, chunk, key=lambda place: place.first_chunk) - 1

    def parse(self, index: int) -> tuple[int, ChunkStreams]:
        """The segment of a chunk, and the chunk taken apart."""
        segment = self.segment_of(index)
        place = self.segments[segment]
        decoder = self.decoder(segment)
        coding = decoder.coding
        if not coding.first_chunk <= index < coding.first_chunk + coding.n_chunks:
            raise CorruptError(f"chunk {index}: its segment says that it ends before it")
        where = f"chunk {index}"
        offset = place.chunks[index - place.first_chunk]
        try:
            section, _ = self.container.section_at(offset)
        except FormatError as error:
            raise type(error)(f"{where}: {error}") from None
        if section.kind != SectionType.CHUNK:
            raise CorruptError(f"{where}: there is a {section_name(section.kind)} at byte {offset}")
        return segment, decoder.parse(index, section.payload)

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, list[NDArray[np.int32]]]]:
        """Decode chunks ``first … last - 1``.

        Yields
        ------
        The chunk's index and its samples, one int32 array per channel.

        Raises
        ------
        FormatError
            Naming the first chunk that is missing or damaged.
        """
        batch_size = chunks_at_once(self.header, self.models)
        per_frame = sum(channel.samples_per_frame for channel in self.header.channels)
        native.warn_if_slow((last - first) * self.header.chunk_frames * per_frame)
        batch: list[ChunkStreams] = []
        batch_segment = 0
        for index in range(first, last):
            segment, chunk = self.parse(index)
            if batch and (segment != batch_segment or len(batch) == batch_size):
                yield from self._decoded(batch_segment, batch)
                batch = []
            batch.append(chunk)
            batch_segment = segment
        if batch:
            yield from self._decoded(batch_segment, batch)

    def _decoded(self, segment: int, batch: Sequence[ChunkStreams]) -> Iterator[tuple[int, list[NDArray[np.int32]]]]:
        decoder = self.decoder(segment)
        try:
            decoded = decoder.decode(batch)
        except FormatError as error:
            if len(batch) == 1:
                where = f"chunk {batch[0].index}"
                raise type(error)(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
            for chunk in batch:
                yield from self._decoded(segment, [chunk])
            return
        for chunk, samples in zip(batch, decoded, strict=True):
            yield chunk.index, samples

    def read(self, on_progress: Callable[[float], None] | None = None) -> Recording:
        """Decode everything."""
        parts: list[list[NDArray[np.int32]]] = []
        for index, samples in self.chunks(0, self.header.n_chunks):
            parts.append(samples)
            if on_progress is not None:
                on_progress((index + 1) / self.header.n_chunks)
        self.check_end()
        joined = tuple(np.concatenate(channel) for channel in zip(*parts, strict=True))
        return Recording(
            self.header.channels, joined, self.header.frame_rate_hz, self.header.source, self.header.side_files
        )

    def events(self, channel: int) -> tuple[NDArray[np.int64], Events]:
        """Beat events of a channel, without decoding its waveform.

        Kernel ids count within a segment. A channel of a mixed lead group has the events of all components that it is
        summed of: its ids count through the kernels of all components of the group, one component after the other, and
        of an event that several of them have it is that of the one which adds the highest peak to this channel.

        Returns
        -------
        First sample of each event's kernel window, increasing, and kernel ids and gains; events without a gain in
        this channel are left out.

        Raises
        ------
        FormatError
            Naming the chunk that is missing or damaged.
        """
        per_frame = self.header.channels[channel].samples_per_frame
        starts, ids, gains = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for index in range(self.header.n_chunks):
            segment, streams = self.parse(index)
            decoder = self.decoder(segment)
            at, events = (
                streams.events.starts[decoder.codings[channel].lead_group],
                _events_of(decoder, channel, streams),
            )
            used = events.gains > 0
            starts.append(at[used] + index * self.header.chunk_frames * per_frame)
            ids.append(events.kernel_ids[used])
            gains.append(events.gains[used])
        # An event across a border of chunks is stored in both.
        positions, first = np.unique(np.concatenate(starts), return_index=True)
        return positions, Events(np.concatenate(ids)[first], np.concatenate(gains)[first])


def _events_of(decoder: SegmentDecoder, channel: int, chunk: ChunkStreams) -> Events:
    """Events of a channel in a chunk, those of its lead group; of several components the one with the highest peak."""
    result = Events.none(len(chunk.events.starts[decoder.codings[channel].lead_group]))
    highest, first_kernel = np.zeros(len(result.gains)), 0
    for index, weight in decoder.components(channel):
        kernels, events = decoder.codings[index].kernels, chunk.events.events[index]
        if weight and kernels.n_kernels:
            peaks = np.abs(kernels.weights).max(axis=1) * (abs(weight) * 2.0**kernels.exponent)
            added = peaks[events.kernel_ids] * events.gains
            # A kernel of zeros has events, too.
            is_first = (events.gains > 0) & ((added > highest) | (result.gains == 0))
            result.kernel_ids[is_first] = events.kernel_ids[is_first] + first_kernel
            result.gains[is_first] = events.gains[is_first]
            highest[is_first] = added[is_first]
        first_kernel += kernels.n_kernels
    return result
