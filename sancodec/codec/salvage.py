"""Read what can be read of a damaged container (docs/format.md, "Damaged files").

Every chunk that is returned matches its digest; the others are filled and reported. Nothing else is guessed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.coefficients import ChunkStreams
from sancodec.codec.decoder import chunks_at_once
from sancodec.codec.kernels import Model
from sancodec.codec.parallel import Threads
from sancodec.codec.recording import Channel
from sancodec.codec.repair import chunk_of_digest
from sancodec.codec.salvage_plan import Place, plan_of
from sancodec.codec.section_scan import FoundSection
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.codec.synthesis import Engine
from sancodec.errors import FormatError, LimitExceededError

MAX_FILLED_SAMPLES = 1 << 32
MAX_TRIALS = 4096

Samples = list[NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Damage:
    """Consecutive chunks that were lost, repaired or found elsewhere.

    Parameters
    ----------
    reason
        For lost chunks why, for others what was done.
    """

    first_chunk: int
    last_chunk: int
    first_frame: int
    n_frames: int
    start_s: Fraction
    end_s: Fraction
    reason: str


class SalvageReader:
    """A damaged container, opened for reading what is left of it.

    Parameters
    ----------
    file
        Seekable binary file.
    models
        Models to look in before those that ship.

    Attributes
    ----------
    lost, repaired
        The chunks that were filled, and those that were repaired or moved, as far as they were read.
    notes
        What was found damaged beside chunks.

    Raises
    ------
    FormatError
        When nothing can be restored: HEADER is damaged beyond repair, or every CODING section.
    ModelMismatchError
        When a bank is not at hand.
    """

    def __init__(self, file: BinaryIO, *, engine: Engine, models: tuple[Model, ...] = ()) -> None:
        self._engine = engine
        self._threads = Threads()
        self._plan = plan_of(file, models)
        self.header = self._plan.header
        self.notes = self._plan.notes
        self.lost: list[Damage] = []
        self.repaired: list[Damage] = []
        self._decoders: dict[int, SegmentDecoder] = {}
        self._right: set[int] = set()  # chunks that were decoded from their places
        self._moved: dict[int, tuple[int, FoundSection]] = {}  # by chunk: segment and section
        self._others: set[int] = set()  # where sections of such chunks begin
        self._is_surveyed = [False, False]  # strays, all places
        self._n_trials = 0
        self._n_filled = 0

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, Samples]]:
        """Chunks ``first … last - 1`` in order, those that are lost filled (`fill_text`).

        Yields
        ------
        The chunk's number and its samples, one int32 array per channel.

        Raises
        ------
        LimitExceededError
            When so much is lost that the file is more likely to be a trap.
        """
        waiting: list[tuple[int, str]] = []
        per_frame = sum(channel.samples_per_frame for channel in self.header.channels)
        before: Samples | None = None
        for index, samples, reason in self._outcomes(first, last):
            if samples is None:
                waiting.append((index, reason))
                self._count_filled(self.header.chunk_length(index) * per_frame)
                continue
            yield from self._filled(waiting, before, samples)
            waiting, before = [], samples
            yield index, samples
        yield from self._filled(waiting, before, None)

    def check_end(self) -> None:
        """Nothing: the end of a damaged file may be missing."""

    def value_ranges(self) -> list[tuple[int, int]]:
        """Smallest and largest value of each channel that is not missing, fillings included.

        Raises
        ------
        FormatError
        """
        ranges = [
            (channel.minimum, channel.minimum) if channel.invalid is None and channel.max_difference is None else None
            for channel in self.header.channels
        ]
        for segment in range(len(self._plan.segments)):
            for channel, of_segment in enumerate(self._decoder(segment).value_ranges()):
                low, high = ranges[channel] or of_segment
                ranges[channel] = min(low, of_segment[0]), max(high, of_segment[1])
        return [each or (0, 0) for each in ranges]

    def fill_text(self) -> str:
        """What lost chunks are filled with, in words."""
        texts = []
        for channel in self.header.channels:
            if channel.invalid is not None:
                text = f"missing samples ({channel.invalid})"
            elif channel.max_difference is not None:
                text = "straight lines"
            else:
                text = f"the smallest value that can be stored, {channel.minimum}"
            if text not in texts:
                texts.append(text)
        return ", ".join(texts)

    def _decoder(self, segment: int) -> SegmentDecoder:
        if segment not in self._decoders:
            while len(self._decoders) >= 2:
                del self._decoders[next(iter(self._decoders))]
            content = self._plan.scanner.payload(self._plan.segments[segment].section)
            self._decoders[segment] = SegmentDecoder(
                content, self.header, self._plan.models, self._engine, self._threads
            )
        return self._decoders[segment]

    def _outcomes(self, first: int, last: int) -> Iterator[tuple[int, Samples | None, str]]:
        """Every chunk with its samples, or why it is lost."""
        size = chunks_at_once(self.header, self._plan.models)
        index = first
        while index < last:
            batch, segment = self._batch(index, min(last, index + size))
            for each, samples in self._decoded(batch, segment):
                self._right.add(each)
                yield each, samples, ""
                index = each + 1
            if index < last:
                samples_or_none, reason = self._single(index)
                yield index, samples_or_none, reason
                index += 1

    def _batch(self, first: int, last: int) -> tuple[list[tuple[int, FoundSection]], int]:
        """Consecutive chunks that seem to be intact, in one segment."""
        batch: list[tuple[int, FoundSection]] = []
        segment = -1
        for index in range(first, last):
            places = self._plan.places.get(index, [])
            readings = places[0].stretch.readings if places else ()
            if len(readings) != 1 or readings[0].repair or index in self._moved:
                break
            if batch and places[0].segment != segment:
                break
            assert places[0].segment is not None
            segment = places[0].segment
            batch.append((index, readings[0]))
        return batch, segment

    def _decoded(self, batch: list[tuple[int, FoundSection]], segment: int) -> Iterator[tuple[int, Samples]]:
        """Decode together, up to the first chunk that is wrong."""
        if not batch:
            return
        decoder = self._decoder(segment)
        try:
            streams = [decoder.parse(index, self._plan.scanner.payload(section)) for index, section in batch]
            decoded = decoder.decode(streams)
        except FormatError:
            if len(batch) > 1:
                for each in batch:
                    found = list(self._decoded([each], segment))
                    yield from found
                    if not found:
                        return
            return
        for (index, _), samples in zip(batch, decoded, strict=True):
            yield index, samples

    def _single(self, index: int) -> tuple[Samples | None, str]:
        """One chunk that needs a repair or has to be looked for, or why it is lost."""
        reason, is_suspicious = "its section is missing or damaged beyond recognition", False
        if not any(index in segment.chunks for segment in self._plan.segments):
            reason = "the CODING section of its segment is damaged or missing"
        for place in self._plan.places.get(index, []) if index not in self._moved else []:
            if not any(not reading.repair for reading in place.stretch.readings):
                reason = f"its section at byte {place.stretch.start} is damaged beyond repair"
            for reading in place.stretch.readings:
                assert place.segment is not None
                try:
                    samples = self._decode(index, reading, place.segment)
                except FormatError as error:
                    if not reading.repair:
                        reason, is_suspicious = str(error).removeprefix(f"chunk {index}: "), True
                    continue
                self._right.add(index)
                if reading.repair:
                    self._report(self.repaired, index, reading.repair)
                return samples, ""
        if index not in self._moved:
            self._survey(everything=is_suspicious)
        if index in self._moved:
            segment, section = self._moved[index]
            try:
                samples = self._decode(index, section, segment)
            except FormatError as error:
                return None, str(error)
            repair = f"; {section.repair}" if section.repair else ""
            self._report(self.repaired, index, f"found out of place at byte {section.offset}{repair}")
            return samples, ""
        places = self._plan.places.get(index, [])
        if places and all(place.stretch.start in self._others for place in places):
            reason = "its section is missing; another chunk's is in its place"
        return None, reason

    def _decode(self, index: int, section: FoundSection, segment: int) -> Samples:
        decoder = self._decoder(segment)
        return decoder.decode([decoder.parse(index, self._plan.scanner.payload(section))])[0]

    def _survey(self, *, everything: bool) -> None:
        """Find the numbers of chunks that are out of place, from their digests."""
        if self._is_surveyed[everything]:
            return
        self._is_surveyed[everything] = True
        pool: list[tuple[int | None, Place]] = [(None, place) for place in self._plan.strays]
        if everything:
            self._is_surveyed[False] = True
            for index, places in self._plan.places.items():
                pool += [(index, place) for place in places if index not in self._right]
        for expected, place in pool:
            self._identify(expected, place)

    def _identify(self, expected: int | None, place: Place) -> None:
        segments = self._plan.segments
        own = [] if place.segment is None else [place.segment]
        others = [
            index
            for index, segment in enumerate(segments)
            if index not in own and any(self._is_wanted(chunk) for chunk in segment.chunks)
        ]
        for index in own + others:
            for reading in place.stretch.readings:
                self._n_trials += index not in own
                if self._n_trials > MAX_TRIALS:
                    return
                number = self._number(reading, index)
                if number is not None:
                    if number != expected:
                        self._moved.setdefault(number, (index, reading))
                        self._others.add(place.stretch.start)
                    return

    def _is_wanted(self, chunk: int) -> bool:
        return chunk not in self._right and chunk not in self._moved

    def _number(self, section: FoundSection, segment: int) -> int | None:
        """The chunk that a section holds under the CODING section of a segment; None where it is of another."""
        numbers = self._plan.segments[segment].chunks
        # Chunks differ in length only in the last of the file.
        for index in dict.fromkeys((numbers[0], numbers[-1])):
            decoder = self._decoder(segment)
            try:
                streams = decoder.parse(index, self._plan.scanner.payload(section))
                samples = decoder.unchecked([streams])[0]
            except FormatError:
                continue
            number = _number_of(streams, samples, decoder.coding_crc)
            if (
                number in numbers
                and self._is_wanted(number)
                and self.header.chunk_length(number) == self.header.chunk_length(index)
            ):
                return number
        return None

    def _filled(
        self, waiting: Sequence[tuple[int, str]], before: Samples | None, after: Samples | None
    ) -> Iterator[tuple[int, Samples]]:
        """Fill consecutive lost chunks."""
        if not waiting:
            return
        n_frames = sum(self.header.chunk_length(index) for index, _ in waiting)
        done = 0
        for index, reason in waiting:
            self._report(self.lost, index, reason)
            count = self.header.chunk_length(index)
            samples = []
            for number, channel in enumerate(self.header.channels):
                ends = (
                    None if before is None else int(before[number][-1]),
                    None if after is None else int(after[number][0]),
                )
                width = channel.samples_per_frame
                samples.append(_fill(channel, ends, done * width, count * width, n_frames * width))
            done += count
            yield index, samples

    def _count_filled(self, n_samples: int) -> None:
        self._n_filled += n_samples
        if self._n_filled > MAX_FILLED_SAMPLES:
            raise LimitExceededError(
                f"more than {MAX_FILLED_SAMPLES} samples are lost; no more are filled. Restore a part of the recording"
            )

    def _report(self, entries: list[Damage], index: int, reason: str) -> None:
        """Note a chunk, joined to the one before where that suffered the same."""
        header, first = self.header, index
        if entries and entries[-1].last_chunk == index - 1 and entries[-1].reason == reason:
            first = entries.pop().first_chunk
        start = first * header.chunk_frames
        end = index * header.chunk_frames + header.chunk_length(index)
        rate = header.frame_rate_hz
        entries.append(Damage(first, index, start, end - start, start / rate, end / rate, reason))


def salvage(file: BinaryIO, *, engine: Engine, models: tuple[Model, ...] = ()) -> SalvageReader:
    """Open a damaged container; see `SalvageReader`."""
    return SalvageReader(file, engine=engine, models=models)


def _number_of(streams: ChunkStreams, samples: Samples, coding_crc: int) -> int:
    crc = 0
    for channel in samples:
        crc = zlib.crc32(np.ascontiguousarray(channel, "<i4").data, crc)
    n_bytes = 4 * sum(len(channel) for channel in samples)
    return chunk_of_digest(streams.digest, samples_crc=crc, n_bytes=n_bytes, coding_crc=coding_crc)


def _fill(
    channel: Channel, ends: tuple[int | None, int | None], first: int, count: int, total: int
) -> NDArray[np.int32]:
    """Samples ``first … first + count - 1`` of ``total`` lost ones between two known samples."""
    if channel.invalid is not None:
        return np.full(count, channel.invalid, np.int32)
    if channel.max_difference is None:
        return np.full(count, channel.minimum, np.int32)
    # A format of differences can hold no jump.
    known = [end for end in ends if end is not None]
    left, right = (known[0], known[-1]) if known else (channel.minimum, channel.minimum)
    places = np.arange(first + 1, first + count + 1, dtype=np.float64)
    line: NDArray[np.float64] = np.floor(left + (right - left) * places / (total + 1))
    return line.astype(np.int32)
