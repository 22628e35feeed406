"""Decode the coefficients of the cascades of many channels and chunks together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import zstd_coder
from sancodec.codec.bits import BitReader, Bits
from sancodec.codec.chunks import band_phases, base_windows, padded_length
from sancodec.codec.class_coder import StreamBatch, StreamSymbols, decode_class_symbols, read_stream
from sancodec.codec.coding_section import SegmentCoding
from sancodec.codec.contexts import Profile
from sancodec.codec.event_stream import ChunkEvents
from sancodec.codec.header import CODER_CLASS, CODER_MIXED, Header
from sancodec.codec.kernels import Model
from sancodec.codec.level_coder import LevelUnit, as_quantised, decode_levels, fine_phases
from sancodec.codec.parallel import Threads
from sancodec.codec.quantiser import Quantised
from sancodec.codec.rans import EncodedStream
from sancodec.codec.residual_stream import CodedResidual
from sancodec.errors import CorruptError, FormatError


@dataclass(frozen=True, slots=True, eq=False)
class ChunkStreams:
    """One chunk, taken apart.

    Parameters
    ----------
    class_streams, tokens
        Per coded channel, under the class coder or zstd.
    mixed
        Of all coded channels, under the mixing coder.
    residual_streams
        Per channel with a residual layer, under the class coder.
    residual_content
        Of all those channels, under zstd or the mixing coder.
    """

    index: int
    n_frames: int
    digest: int
    events: ChunkEvents
    raw: Bits
    class_streams: list[EncodedStream]
    tokens: list[NDArray[np.uint8]]
    mixed: bytes
    residual_streams: list[CodedResidual]
    residual_content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class CodedUnit:
    """One channel with a cascade of one chunk; ``slot`` counts those of the chunk."""

    chunk: ChunkStreams
    channel: int
    slot: int


class CoefficientDecoder:
    """Decodes units under one CODING section."""

    def __init__(self, coding: SegmentCoding, header: Header, models: tuple[Model, ...], threads: Threads) -> None:
        self._threads = threads
        self._coding = coding
        self._header = header
        self._models = models

    def decode(self, units: list[CodedUnit]) -> tuple[list[Quantised], dict[int, int]]:
        """Coefficients of every unit, shape ``(1, window)`` per band, and the raw bits read of each chunk.

        Raises
        ------
        FormatError
        """
        if self._coding.coder == CODER_MIXED:
            return self._decode_mixed(units)
        return self._decode_classes(units) if self._coding.coder == CODER_CLASS else self._decode_tokens(units)

    def _base_at(self, units: list[CodedUnit], model: Model, circle: int) -> list[NDArray[np.int32]]:
        """Profiles of units of one bank and padded length, ``(unit, window)`` per band."""
        rows: list[list[NDArray[np.int32]]] = []
        by_channel: dict[int, list[int]] = {}
        for number, unit in enumerate(units):
            by_channel.setdefault(unit.channel, []).append(number)
        order = []
        for channel, numbers in by_channel.items():
            coding = self._coding.codings[channel]
            starts = [units[number].chunk.events.starts[coding.lead_group] for number in numbers]
            length = max(self._coding.kernel_lengths[coding.lead_group], 1)
            assert coding.profile is not None
            rows.append(base_windows(model, coding.profile, band_phases(model, starts, circle, kernel_length=length)))
            order += numbers
        back = np.argsort(order)
        return [np.concatenate(bands)[back] for bands in zip(*rows, strict=True)]

    def _decode_classes(self, units: list[CodedUnit]) -> tuple[list[Quantised], dict[int, int]]:
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
                self._models.index(self._model(unit.channel)),
                circle,
                n_lanes,
                self._profile(unit.channel).weight_set,
            )
            if n_lanes:
                batches.setdefault(key, []).append(number)
        symbols: dict[int, StreamSymbols] = {}
        for model_index, model in enumerate(self._models):
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
        return result, used_bits

    def _decode_mixed(self, units: list[CodedUnit]) -> tuple[list[Quantised], dict[int, int]]:
        by_chunk: dict[int, list[CodedUnit]] = {}
        for unit in units:
            by_chunk.setdefault(unit.chunk.index, []).append(unit)

        def levels_of(members: list[CodedUnit]) -> list[Quantised]:
            levels = [self._level_unit(unit) for unit in members]
            try:
                decode_levels(levels, members[0].chunk.mixed)
            except FormatError as error:
                raise type(error)(f"chunk {members[0].chunk.index}: {error}") from None
            return [as_quantised(each) for each in levels]

        # Units come chunk after chunk.
        found = self._threads.map(levels_of, list(by_chunk.values()))
        return [quantised for of_chunk in found for quantised in of_chunk], {}

    def _level_unit(self, unit: CodedUnit) -> LevelUnit:
        model, circle = self._model(unit.channel), padded_length(self._model(unit.channel), self._length(unit))
        group = self._coding.codings[unit.channel].lead_group
        length = max(self._coding.kernel_lengths[group], 1)
        phases = fine_phases(model, unit.chunk.events.starts[group], circle, kernel_length=length)
        return LevelUnit(model, self._profile(unit.channel), phases, np.zeros(len(phases), np.int32))

    def _silence(self, unit: CodedUnit) -> Quantised:
        """No coefficient in any band."""
        model = self._model(unit.channel)
        widths = [padded_length(model, self._length(unit)) // stride for stride in model.band_strides]
        return Quantised(
            [np.zeros((1, width), np.int32) for width in widths], [np.zeros((1, width), bool) for width in widths], []
        )

    def _length(self, unit: CodedUnit) -> int:
        return unit.chunk.n_frames * self._header.channels[unit.channel].samples_per_frame

    def _model(self, channel: int) -> Model:
        model = self._coding.codings[channel].model
        assert model is not None
        return model

    def _profile(self, channel: int) -> Profile:
        profile = self._coding.codings[channel].profile
        assert profile is not None
        return profile

    def _active(self, channel: int) -> NDArray[np.bool_]:
        return self._profile(channel).scale_codes > 0

    def _decode_tokens(self, units: list[CodedUnit]) -> tuple[list[Quantised], dict[int, int]]:
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
        return result, {index: reader.position for index, reader in readers.items()}
