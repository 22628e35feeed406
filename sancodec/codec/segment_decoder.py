"""Decode the chunks of one segment: streams to coefficients, coefficients to approximations, those to samples."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import payload, residual
from sancodec.codec.beats import FRACTION_BITS, render
from sancodec.codec.bits import BitReader
from sancodec.codec.chunks import padded_length
from sancodec.codec.coding_section import decode_coding
from sancodec.codec.coefficients import ChunkStreams, CodedUnit, CoefficientDecoder
from sancodec.codec.header import CODER_CLASS, CODER_MIXED, CODER_ZSTD, Header
from sancodec.codec.kernels import Model
from sancodec.codec.missing import mask_of
from sancodec.codec.mix import WEIGHT_BITS, mixed
from sancodec.codec.parallel import Threads
from sancodec.codec.quantiser import Quantised, amplitudes_of
from sancodec.codec.residual_mixing import decode_chunk, mixed_channels
from sancodec.codec.residual_stream import CodedResidual, decode_residual_symbols, decode_zstd_residual, read_residual
from sancodec.codec.synthesis import Engine, check_amplitudes, clamped, component_of, values_of
from sancodec.errors import CorruptError, FormatError

_HALF = 1 << (FRACTION_BITS - 1)


class SegmentDecoder:
    """Decodes chunks under one CODING section.

    Raises
    ------
    FormatError
        When the section is damaged.
    """

    def __init__(
        self, content: bytes, header: Header, models: tuple[Model, ...], engine: Engine, threads: Threads | None = None
    ) -> None:
        self._threads = threads or Threads()
        self._header = header
        self._models = models
        self._engine = engine
        self.coding = decode_coding(content, header, models)
        self.codings = self.coding.codings
        self.coding_crc = zlib.crc32(content)
        self._cascaded = [index for index, coding in enumerate(self.codings) if coding.model is not None]
        self._residuals = {
            index: coding.residual for index, coding in enumerate(self.codings) if coding.residual is not None
        }
        self._levels = residual.decoding_levels(self._residuals)
        self._coefficients = CoefficientDecoder(self.coding, header, models, self._threads)

    def components(self, channel: int) -> list[tuple[int, float]]:
        """What the approximation of a channel is summed of: channels that have a cascade, and weights.

        In a mixed lead group all its components, also those with weight 0; elsewhere a channel with a cascade is its
        own component.
        """
        coding = self.codings[channel]
        if coding.row is None:
            return [] if coding.model is None else [(channel, 1.0)]
        carriers = [index for index in self._cascaded if self.codings[index].lead_group == coding.lead_group]
        return list(zip(carriers, (coding.row * 2.0**-WEIGHT_BITS).tolist(), strict=True))

    def value_ranges(self) -> list[tuple[int, int]]:
        """Range of the decoded values of each channel that are not missing."""
        return [values_of(coding, channel) for coding, channel in zip(self.codings, self._header.channels, strict=True)]

    def parse(self, index: int, content: bytes) -> ChunkStreams:
        """Take the payload of chunk ``index`` apart.

        Raises
        ------
        FormatError
        """
        where = f"chunk {index}"
        n_frames = self._header.chunk_length(index)
        fields = payload.split_fields(content, where, has_residuals=bool(self._residuals))
        n_samples = self._n_samples(n_frames)
        group_lengths = [0] * len(self.coding.kernel_lengths)
        for coding, length in zip(self.codings, n_samples, strict=True):
            group_lengths[coding.lead_group] = length
        is_mixed = self.coding.coder == CODER_MIXED
        lengths = (self.coding.kernel_lengths, group_lengths, n_samples)
        events = payload.decode_events(fields.events, fields.raw if is_mixed else None, self.codings, *lengths, where)
        bits = b"" if is_mixed else fields.raw
        if not self._cascaded and (fields.coefficients or (bits and not self._residuals)):
            raise CorruptError(f"{where}: it has coefficients, but no channel has a cascade")
        raw = np.unpackbits(np.frombuffer(bits, np.uint8))
        bare = ChunkStreams(index, n_frames, fields.digest, events, raw, [], [], b"", [], b"")
        with_streams = {
            CODER_ZSTD: self._with_zstd_streams,
            CODER_CLASS: self._with_class_streams,
            CODER_MIXED: self._with_mixed_streams,
        }
        return with_streams[self.coding.coder](bare, fields, where)

    def _with_zstd_streams(self, chunk: ChunkStreams, fields: payload.ChunkFields, where: str) -> ChunkStreams:
        n_samples = self._n_samples(chunk.n_frames)
        tokens: list[NDArray[np.uint8]] = []
        if self._cascaded:
            models = [self._model(channel) for channel in self._cascaded]
            limit = sum(
                2 * padded_length(model, n_samples[channel]) + model.n_bands
                for model, channel in zip(models, self._cascaded, strict=True)
            )
            tokens = payload.decode_zstd_coefficients(
                fields.coefficients, [model.n_bands for model in models], limit, where
            )
        residuals = b""
        if fields.residuals is not None:
            # A byte for the form and, at most, two tokens a sample and one at the end.
            limit = sum(2 * n_samples[channel] + 2 for channel in self._residuals)
            residuals = payload.decode_zstd_residuals(fields.residuals, len(self._residuals), limit, where)
        return replace(chunk, tokens=tokens, residual_content=residuals)

    def _with_class_streams(self, chunk: ChunkStreams, fields: payload.ChunkFields, where: str) -> ChunkStreams:
        streams = payload.decode_class_coefficients(fields.coefficients, len(self._cascaded), where)
        residuals: list[CodedResidual] = []
        if fields.residuals is not None:
            n_samples = self._n_samples(chunk.n_frames)
            assert self.coding.tables is not None
            residuals = payload.decode_class_residuals(
                fields.residuals, [n_samples[channel] for channel in self._residuals], self.coding.tables, where
            )
        return replace(chunk, class_streams=streams, residual_streams=residuals)

    def _with_mixed_streams(self, chunk: ChunkStreams, fields: payload.ChunkFields, where: str) -> ChunkStreams:
        return replace(chunk, mixed=fields.coefficients, residual_content=fields.residuals or b"")

    def decode(self, batch: Sequence[ChunkStreams]) -> list[list[NDArray[np.int32]]]:
        """Samples of every chunk, one int32 array per channel, checked against their digests.

        Raises
        ------
        FormatError
        """
        result = self.unchecked(batch)
        for chunk, channels in zip(batch, result, strict=True):
            if payload.digest_of(channels, chunk=chunk.index, coding_crc=self.coding_crc) != chunk.digest:
                raise CorruptError(
                    f"chunk {chunk.index}: its samples do not match their digest; "
                    "the file or this machine's arithmetic is at fault, and nothing of it is returned"
                )
        return result

    def unchecked(self, batch: Sequence[ChunkStreams]) -> list[list[NDArray[np.int32]]]:
        """Samples of every chunk before their digests are compared; for `decode` and for salvage.

        Raises
        ------
        FormatError
        """
        approximations, positions = self._approximations(batch)
        if self.coding.coder == CODER_MIXED:
            samples = self._with_mixed_residuals(batch, approximations)
        else:
            samples = self._with_residuals(batch, approximations, self._residual_codes(batch, positions))
        result: list[list[NDArray[np.int32]]] = []
        for number, chunk in enumerate(batch):
            channels: list[NDArray[np.int32]] = []
            for channel, description in enumerate(self._header.channels):
                length = chunk.n_frames * description.samples_per_frame
                decoded = samples.get((number, channel))
                if decoded is None:
                    decoded = np.full(length, self.codings[channel].minimum, np.int32)
                lattice = self.codings[channel].lattice
                if lattice is not None and not self.codings[channel].is_constant:
                    values = chunk.events.exceptions[channel].applied(lattice.values(decoded))
                    decoded = np.clip(values, description.minimum, description.maximum).astype(np.int32)
                runs = chunk.events.runs[channel]
                if len(runs):
                    if description.invalid is None:
                        raise CorruptError(
                            f"chunk {chunk.index}: channel {channel} has missing samples, but no value to mark them"
                        )
                    decoded[mask_of(runs, length)] = description.invalid
                channels.append(decoded)
            result.append(channels)
        return result

    def quantised(self, batch: Sequence[ChunkStreams]) -> tuple[list[CodedUnit], list[Quantised], dict[int, int]]:
        """The channels with a cascade of every chunk, their coefficients, and the raw bits read of each chunk.

        Raises
        ------
        FormatError
        """
        units = [CodedUnit(chunk, channel, slot) for chunk in batch for slot, channel in enumerate(self._cascaded)]
        return units, *self._coefficients.decode(units)

    def _approximations(
        self, batch: Sequence[ChunkStreams]
    ) -> tuple[dict[tuple[int, int], NDArray[np.int32]], dict[int, int]]:
        """What the cascades give, by position in the batch and channel; and the raw bits read of each chunk."""
        numbers = {chunk.index: number for number, chunk in enumerate(batch)}
        units, quantised, positions = self.quantised(batch)
        approximations: dict[tuple[int, int], NDArray[np.int32]] = {}
        by_shape: dict[tuple[int, int], list[int]] = {}
        for number, unit in enumerate(units):
            by_shape.setdefault((unit.channel, unit.chunk.n_frames), []).append(number)

        def rows_of(members: list[int]) -> list[NDArray[np.int64]]:
            channel = units[members[0]].channel
            return self._components(
                channel, [units[number] for number in members], [quantised[number] for number in members]
            )

        found = self._threads.map(rows_of, list(by_shape.values()))
        components: dict[tuple[int, int], NDArray[np.int64]] = {}
        for ((channel, _), members), rows in zip(by_shape.items(), found, strict=True):
            coding = self.codings[channel]
            for number, row in zip(members, rows, strict=True):
                at = numbers[units[number].chunk.index], channel
                if coding.row is None:
                    approximations[at] = clamped(coding, (row + _HALF) >> FRACTION_BITS)
                else:
                    components[at] = row
        for number in range(len(batch)) if components else ():
            approximations |= {
                (number, channel): row
                for channel, row in self._mixed(
                    {channel: row for (at, channel), row in components.items() if at == number}
                )
            }
        return approximations, positions

    def _mixed(self, components: dict[int, NDArray[np.int64]]) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Approximations of the members of all mixes, from the components of one chunk by the channel that has them."""
        for group, mix in enumerate(self.coding.mixes):
            if mix is None:
                continue
            members = [
                index
                for index, coding in enumerate(self.codings)
                if coding.lead_group == group and coding.row is not None
            ]
            carried = np.stack([components[index] for index in members if index in components])
            for index, row in zip(members, mixed(mix.rows, carried), strict=True):
                yield index, clamped(self.codings[index], row)

    def _residual_codes(
        self, batch: Sequence[ChunkStreams], positions: Mapping[int, int]
    ) -> dict[tuple[int, int], NDArray[np.int64]]:
        """Coded differences by position in the batch and channel."""
        codes: dict[tuple[int, int], NDArray[np.int64]] = {}
        symbols = None
        if self._residuals and self.coding.coder == CODER_CLASS:
            assert self.coding.tables is not None
            symbols = iter(
                decode_residual_symbols(
                    [stream for chunk in batch for stream in chunk.residual_streams], self.coding.tables
                )
            )
        for number, chunk in enumerate(batch):
            position, start = positions.get(chunk.index, 0), 0
            reader = BitReader(chunk.raw[position:], f"chunk {chunk.index}")
            for channel in self._residuals:
                if symbols is not None:
                    assert self.coding.tables is not None
                    values, used = read_residual(next(symbols), chunk.raw[position:], self.coding.tables)
                    position += used
                else:
                    length = chunk.n_frames * self._header.channels[channel].samples_per_frame
                    values, start = decode_zstd_residual(chunk.residual_content, start, length, reader)
                codes[number, channel] = values
            rest = chunk.raw[position if symbols is not None else position + reader.position :]
            if len(rest) > 7 or rest.any() or start != len(chunk.residual_content):
                raise CorruptError(f"chunk {chunk.index}: more follows its last coefficient or residual")
        return codes

    def _with_mixed_residuals(
        self, batch: Sequence[ChunkStreams], approximations: dict[tuple[int, int], NDArray[np.int32]]
    ) -> dict[tuple[int, int], NDArray[np.int32]]:
        """Samples before missing ones are marked, by position in the batch and channel."""
        samples = dict(approximations)
        order = [channel for level in self._levels for channel in level]
        offsets = [self.codings[index].offset for index in order]

        def decoded(number: int) -> list[NDArray[np.int64]]:
            chunk = batch[number]
            of_chunk = {channel: row for (at, channel), row in approximations.items() if at == number}
            channels, others = mixed_channels(self.codings, order, of_chunk, self._n_samples(chunk.n_frames))
            try:
                return decode_chunk(channels, chunk.residual_content, others)
            except FormatError as error:
                raise type(error)(f"chunk {chunk.index}: {error}") from None

        for number, rows in enumerate(self._threads.map(decoded, range(len(batch))) if order else ()):
            for index, offset, row in zip(order, offsets, rows, strict=True):
                samples[number, index] = (row + offset).astype(np.int32)
        return samples

    def _with_residuals(
        self,
        batch: Sequence[ChunkStreams],
        approximations: dict[tuple[int, int], NDArray[np.int32]],
        codes: Mapping[tuple[int, int], NDArray[np.int64]],
    ) -> dict[tuple[int, int], NDArray[np.int32]]:
        """Samples before missing ones are marked, by position in the batch and channel."""
        samples = dict(approximations)
        by_length: dict[int, list[int]] = {}
        for number, chunk in enumerate(batch):
            by_length.setdefault(chunk.n_frames, []).append(number)
        for n_frames, numbers in by_length.items() if self._residuals else ():
            planes: dict[int, residual.Plane] = {}
            decoded: dict[int, NDArray[np.int64]] = {}
            for channel, coding in enumerate(self.codings):
                if coding.is_constant:
                    continue
                length = n_frames * self._header.channels[channel].samples_per_frame
                rows = np.zeros((len(numbers), length), np.int64)
                if (numbers[0], channel) in approximations:
                    rows += np.stack([approximations[number, channel] for number in numbers]) - np.int64(coding.offset)
                planes[channel] = residual.Plane(rows, coding.minimum - coding.offset, coding.maximum - coding.offset)
                if coding.residual is None:
                    decoded[channel] = rows
            for level in self._levels:
                given = [np.stack([codes[number, channel] for number in numbers]) for channel in level]
                codings = [self._residuals[channel] for channel in level]
                sums = [
                    residual.reference_sums(channel, self._residuals[channel], planes, decoded) for channel in level
                ]
                rows_of = residual.decode_level(codings, [planes[channel] for channel in level], sums, given)
                for channel, rows in zip(level, rows_of, strict=True):
                    decoded[channel] = rows
                    found = (rows + self.codings[channel].offset).astype(np.int32)
                    for number, row in zip(numbers, found, strict=True):
                        samples[number, channel] = row
        return samples

    def _components(self, channel: int, units: list[CodedUnit], quantised: list[Quantised]) -> list[NDArray[np.int64]]:
        """What the cascade of a channel gives in each unit; all have one length."""
        coding, model = self.codings[channel], self._model(channel)
        length = self._length(units[0])
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
        return list(component_of(coding, bank_sum, beat_sum))

    def _n_samples(self, n_frames: int) -> list[int]:
        """Of every channel."""
        return [n_frames * channel.samples_per_frame for channel in self._header.channels]

    def _length(self, unit: CodedUnit) -> int:
        return unit.chunk.n_frames * self._header.channels[unit.channel].samples_per_frame

    def _model(self, channel: int) -> Model:
        model = self.codings[channel].model
        assert model is not None
        return model
