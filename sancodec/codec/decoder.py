"""Read containers: all of a recording or some chunks of it, checked against their digests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import payload, zstd_coder
from sancodec.codec.beats import Events, render
from sancodec.codec.bits import BitReader, Bits
from sancodec.codec.chunks import band_phases, base_windows, padded_length
from sancodec.codec.class_coder import StreamBatch, StreamSymbols, decode_class_symbols, read_stream
from sancodec.codec.coding_section import MeasuredQuality, decode_coding
from sancodec.codec.container import ContainerReader, Section, SectionType, section_name
from sancodec.codec.contexts import Profile
from sancodec.codec.event_stream import ChunkEvents
from sancodec.codec.header import CODER_CLASS, MAX_MODELS, Header, decode_header
from sancodec.codec.kernels import Model, decode_model
from sancodec.codec.missing import mask_of
from sancodec.codec.models import model_by_sha256
from sancodec.codec.quantiser import Quantised, amplitudes_of
from sancodec.codec.rans import EncodedStream
from sancodec.codec.recording import Recording
from sancodec.codec.synthesis import ChannelCoding, Engine, check_amplitudes, reconstruct
from sancodec.errors import CorruptError, FormatError, TruncatedError

_BATCH_SAMPLES = 8_000_000


@dataclass(frozen=True, slots=True, eq=False)
class _ChunkStreams:
    """One chunk, taken apart."""

    index: int
    n_frames: int
    digest: int
    events: ChunkEvents
    raw: Bits
    class_streams: list[EncodedStream]
    tokens: list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """One coded channel of one chunk; ``slot`` counts the coded channels of the chunk."""

    chunk: _ChunkStreams
    channel: int
    slot: int


class RecordingReader:
    """An open container.

    Parameters
    ----------
    file
        Seekable binary file.
    models
        Models to look in before those that ship.

    Raises
    ------
    FormatError
        When the leading sections are damaged.
    ModelMismatchError
        When a bank is not at hand.
    """

    def __init__(self, file: BinaryIO, *, engine: Engine, models: tuple[Model, ...] = ()) -> None:
        self._engine = engine
        self._container = ContainerReader(file)
        sections, self._first_chunk = self._container.leading_sections()
        kinds = [section.kind for section in sections]
        if kinds[0] != SectionType.HEADER or SectionType.HEADER in kinds[1:] or len(kinds) > 2 + MAX_MODELS:
            found = ", ".join(map(section_name, kinds))
            raise CorruptError(
                f"{found} before the first chunk; HEADER, at most {MAX_MODELS} MODEL, CODING is expected"
            )
        self.header: Header = decode_header(sections[0].payload)
        embedded = tuple(decode_model(section.payload) for section in sections[1:-1])
        self.embedded_models = embedded
        self.models = tuple(model_by_sha256(digest, (*embedded, *models)) for digest in self.header.model_digests)
        self.codings: list[ChannelCoding]
        self.measured: list[MeasuredQuality]
        self.codings, self.measured, self._kernel_lengths = decode_coding(
            sections[-1].payload, self.header, self.models
        )
        self._coding_crc = zlib.crc32(sections[-1].payload)
        self._coded = [index for index, coding in enumerate(self.codings) if coding.model is not None]

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self._container.length

    def check_end(self) -> None:
        """Refuse a file whose index or trailer is damaged or missing, or which lacks chunks.

        Raises
        ------
        FormatError
        """
        self._container.check_end(self._first_chunk, self.header.n_chunks)

    def _offsets(self, last: int) -> list[int]:
        """Offsets of the chunks before ``last``."""
        offsets = self._container.chunk_offsets(self._first_chunk, self.header.n_chunks)
        if len(offsets) < last:
            raise TruncatedError(
                f"chunk {len(offsets)} of {self.header.n_chunks} is missing: the file was cut short; "
                f"the {len(offsets)} chunks before it are there"
            )
        return offsets[:last]

    def _parse(self, index: int, offset: int) -> _ChunkStreams:
        where = f"chunk {index}"
        try:
            section, _ = self._container.section_at(offset)
        except FormatError as error:
            raise type(error)(f"{where}: {error}") from None
        if section.kind != SectionType.CHUNK:
            raise CorruptError(f"{where}: there is a {section_name(section.kind)} at byte {offset}")
        return self._parse_payload(index, section, where)

    def _parse_payload(self, index: int, section: Section, where: str) -> _ChunkStreams:
        header = self.header
        n_frames = header.chunk_length(index)
        fields = payload.split_fields(section.payload, where)
        n_samples = [n_frames * channel.samples_per_frame for channel in header.channels]
        group_lengths = [0] * len(self._kernel_lengths)
        for coding, length in zip(self.codings, n_samples, strict=True):
            group_lengths[coding.lead_group] = length
        events = payload.decode_events(
            fields.events, self.codings, self._kernel_lengths, group_lengths, n_samples, where
        )
        raw = np.unpackbits(np.frombuffer(fields.raw, np.uint8))
        if not self._coded and (fields.raw or fields.coefficients):
            raise CorruptError(f"{where}: it has coefficients, but no channel is coded")
        class_streams: list[EncodedStream] = []
        tokens: list[NDArray[np.uint8]] = []
        if header.coder == CODER_CLASS:
            class_streams = payload.decode_class_coefficients(fields.coefficients, len(self._coded), where)
        elif self._coded:
            models = [self._model(channel) for channel in self._coded]
            limit = sum(
                2 * padded_length(model, n_samples[channel]) + model.n_bands
                for model, channel in zip(models, self._coded, strict=True)
            )
            tokens = payload.decode_zstd_coefficients(
                fields.coefficients, [model.n_bands for model in models], limit, where
            )
        return _ChunkStreams(index, n_frames, fields.digest, events, raw, class_streams, tokens)

    def _model(self, channel: int) -> Model:
        model = self.codings[channel].model
        assert model is not None
        return model

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
        offsets = self._offsets(last)
        per_chunk = max(
            1, sum(channel.samples_per_frame for channel in self.header.channels) * self.header.chunk_frames
        )
        batch_size = max(1, _BATCH_SAMPLES // per_chunk)
        for start in range(first, last, batch_size):
            batch = [self._parse(index, offsets[index]) for index in range(start, min(start + batch_size, last))]
            decoded = self._decode_batch(batch)
            for chunk, samples in zip(batch, decoded, strict=True):
                if payload.digest_of(samples, chunk=chunk.index, coding_crc=self._coding_crc) != chunk.digest:
                    raise CorruptError(
                        f"chunk {chunk.index}: its samples do not match their digest; "
                        "the file or this machine's arithmetic is at fault, and nothing of it is returned"
                    )
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

        Returns
        -------
        First sample of each event's kernel window, increasing, and kernel ids and gains; events without a gain in
        this channel are left out.

        Raises
        ------
        FormatError
            Naming the chunk that is missing or damaged.
        """
        coding = self.codings[channel]
        per_frame = self.header.channels[channel].samples_per_frame
        starts, ids, gains = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for index, offset in enumerate(self._offsets(self.header.n_chunks)):
            chunk = self._parse(index, offset).events
            if coding.kernels.n_kernels:
                used = chunk.events[channel].gains > 0
                starts.append(chunk.starts[coding.lead_group][used] + index * self.header.chunk_frames * per_frame)
                ids.append(chunk.events[channel].kernel_ids[used])
                gains.append(chunk.events[channel].gains[used])
        # An event across a border of chunks is stored in both.
        positions, first = np.unique(np.concatenate(starts), return_index=True)
        return positions, Events(np.concatenate(ids)[first], np.concatenate(gains)[first])

    def _decode_batch(self, batch: Sequence[_ChunkStreams]) -> list[list[NDArray[np.int32]]]:
        units = [_Unit(chunk, channel, slot) for chunk in batch for slot, channel in enumerate(self._coded)]
        decode = self._decode_classes if self.header.coder == CODER_CLASS else self._decode_tokens
        quantised = decode(units)
        samples: dict[tuple[int, int], NDArray[np.int32]] = {}
        by_shape: dict[tuple[int, int], list[int]] = {}
        for number, unit in enumerate(units):
            by_shape.setdefault((unit.channel, unit.chunk.n_frames), []).append(number)
        for (channel, _), numbers in by_shape.items():
            decoded = self._synthesise(
                channel, [units[number] for number in numbers], [quantised[number] for number in numbers]
            )
            for number, row in zip(numbers, decoded, strict=True):
                samples[units[number].chunk.index, channel] = row
        result: list[list[NDArray[np.int32]]] = []
        for chunk in batch:
            channels: list[NDArray[np.int32]] = []
            for channel, description in enumerate(self.header.channels):
                length = chunk.n_frames * description.samples_per_frame
                decoded_channel = samples.get((chunk.index, channel))
                if decoded_channel is None:
                    decoded_channel = np.full(length, self.codings[channel].minimum, np.int32)
                runs = chunk.events.runs[channel]
                if len(runs):
                    if description.invalid is None:
                        raise CorruptError(
                            f"chunk {chunk.index}: channel {channel} has missing samples, but no value to mark them"
                        )
                    decoded_channel[mask_of(runs, length)] = description.invalid
                channels.append(decoded_channel)
            result.append(channels)
        return result

    def _synthesise(self, channel: int, units: list[_Unit], quantised: list[Quantised]) -> list[NDArray[np.int32]]:
        coding, model = self.codings[channel], self._model(channel)
        length = units[0].chunk.n_frames * self.header.channels[channel].samples_per_frame
        stacked = Quantised(
            [np.concatenate(bands) for bands in zip(*(each.magnitudes for each in quantised), strict=True)],
            [np.concatenate(bands) for bands in zip(*(each.negative for each in quantised), strict=True)],
            [],
        )
        amplitudes = amplitudes_of(stacked, coding.offsets, model)
        check_amplitudes(model, amplitudes)
        bank_sum = self._engine.synthesise(model, amplitudes)[:, :length]
        beat_sum = None
        if coding.kernels.n_kernels:
            beat_sum = np.zeros(bank_sum.shape, np.int64)
            for row, unit in zip(beat_sum, units, strict=True):
                events = unit.chunk.events
                row[:] = render(
                    events.starts[coding.lead_group], events.events[channel], coding.kernels, n_samples=length
                )
        return list(reconstruct(coding, bank_sum, beat_sum))

    def _base_at(self, units: list[_Unit], model: Model, circle: int) -> list[NDArray[np.int32]]:
        """Profiles of units of one bank and padded length, ``(unit, window)`` per band."""
        rows: list[list[NDArray[np.int32]]] = []
        by_channel: dict[int, list[int]] = {}
        for number, unit in enumerate(units):
            by_channel.setdefault(unit.channel, []).append(number)
        order = []
        for channel, numbers in by_channel.items():
            coding = self.codings[channel]
            starts = [units[number].chunk.events.starts[coding.lead_group] for number in numbers]
            length = max(self._kernel_lengths[coding.lead_group], 1)
            assert coding.profile is not None
            rows.append(base_windows(model, coding.profile, band_phases(model, starts, circle, kernel_length=length)))
            order += numbers
        back = np.argsort(order)
        return [np.concatenate(bands)[back] for bands in zip(*rows, strict=True)]

    def _decode_classes(self, units: list[_Unit]) -> list[Quantised]:
        batches: dict[tuple[int, int, int, int], list[int]] = {}
        for number, unit in enumerate(units):
            circle = padded_length(self._model(unit.channel), self._length(unit))
            n_lanes = len(unit.chunk.class_streams[unit.slot].states)
            n_words = len(unit.chunk.class_streams[unit.slot].words)
            if (n_lanes > 0) != self._active(unit.channel).any() or (n_words and not n_lanes):
                raise CorruptError(
                    f"chunk {unit.chunk.index}: channel {unit.channel} has {n_lanes} lanes and {n_words} words"
                )
            key = (
                self.models.index(self._model(unit.channel)),
                circle,
                n_lanes,
                self._profile(unit.channel).weight_set,
            )
            if n_lanes:
                batches.setdefault(key, []).append(number)
        symbols: dict[int, StreamSymbols] = {}
        for model_index, model in enumerate(self.models):
            keys = [key for key in batches if key[0] == model_index]
            of_model = []
            for key in keys:
                members = [units[number] for number in batches[key]]
                of_model.append(
                    StreamBatch(
                        [unit.chunk.class_streams[unit.slot] for unit in members],
                        key[2],
                        key[3],
                        self._base_at(members, model, key[1]),
                        np.stack([self._active(unit.channel) for unit in members]),
                    )
                )
            if keys:
                for key, decoded in zip(keys, decode_class_symbols(of_model, model), strict=True):
                    symbols.update(zip(batches[key], decoded, strict=True))
        used_bits: dict[int, int] = {}
        result = []
        for number, unit in enumerate(units):
            position = used_bits.setdefault(unit.chunk.index, 0)
            if number not in symbols:
                result.append(self._silence(unit))
                continue
            quantised, used = read_stream(symbols[number], unit.chunk.raw[position:], self._model(unit.channel))
            used_bits[unit.chunk.index] = position + used
            result.append(quantised)
        for unit in units:
            rest = unit.chunk.raw[used_bits[unit.chunk.index] :]
            if len(rest) > 7 or rest.any():
                raise CorruptError(f"chunk {unit.chunk.index}: {len(rest)} bits follow its last coefficient")
        return result

    def _silence(self, unit: _Unit) -> Quantised:
        """No coefficient in any band."""
        model = self._model(unit.channel)
        widths = [padded_length(model, self._length(unit)) // stride for stride in model.band_strides]
        return Quantised(
            [np.zeros((1, width), np.int32) for width in widths], [np.zeros((1, width), bool) for width in widths], []
        )

    def _length(self, unit: _Unit) -> int:
        return unit.chunk.n_frames * self.header.channels[unit.channel].samples_per_frame

    def _profile(self, channel: int) -> Profile:
        profile = self.codings[channel].profile
        assert profile is not None
        return profile

    def _active(self, channel: int) -> NDArray[np.bool_]:
        return self._profile(channel).scale_codes > 0

    def _decode_tokens(self, units: list[_Unit]) -> list[Quantised]:
        readers: dict[int, BitReader] = {}
        result = []
        for unit in units:
            chunk, model = unit.chunk, self._model(unit.channel)
            reader = readers.setdefault(chunk.index, BitReader(chunk.raw, f"chunk {chunk.index}"))
            circle = padded_length(model, self._length(unit))
            magnitudes, negative = zstd_coder.decode_tokens(
                chunk.tokens[unit.slot], [circle // stride for stride in model.band_strides], reader
            )
            result.append(Quantised([row[None] for row in magnitudes], [row[None] for row in negative], []))
        for reader in readers.values():
            reader.finish()
        return result
