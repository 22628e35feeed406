"""Payloads of a recording's chunks, from its encoded channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import class_coder, payload, zstd_coder
from sancodec.codec.beats import Events
from sancodec.codec.bits import BitWriter
from sancodec.codec.channel import EncodedChannel
from sancodec.codec.chunks import events_by_chunk, padded_length
from sancodec.codec.event_stream import ChunkEvents
from sancodec.codec.header import CODER_CLASS, CODER_MIXED
from sancodec.codec.kernels import Model
from sancodec.codec.level_coder import LevelUnit, encode_levels, fine_phases, joined_levels
from sancodec.codec.missing import missing_runs, runs_within
from sancodec.codec.recording import Recording
from sancodec.codec.residual import decoding_levels
from sancodec.codec.residual_mixing import encode_chunk, mixed_channels
from sancodec.codec.residual_stream import ResidualStream, encode_class_residuals, encode_zstd_residual
from sancodec.codec.residual_tables import TablePlan, plan_tables

_BLOCK_EXPONENTS = (4, 5, 6, 8, 16)


@dataclass(frozen=True, slots=True, eq=False)
class StoredGroup:
    """Events of a lead group.

    Parameters
    ----------
    starts
        First samples of the event windows, int64, increasing.
    kernel_length
        As the file states it: 0 where it has no events.
    """

    starts: NDArray[np.int64]
    kernel_length: int
    samples_per_frame: int


class ChunkSource:
    """Gives the payload of any chunk under one coder."""

    def __init__(
        self,
        recording: Recording,
        chunk_frames: int,
        encoded: list[EncodedChannel],
        groups: list[StoredGroup],
        *,
        coder: int,
        zstd_level: int,
        coding_crc: int,
        first_chunk: int,
        plan: TablePlan | None,
        mixed_residuals: list[bytes] | None = None,
    ) -> None:
        self._recording = recording
        self._chunk_frames = chunk_frames
        self._encoded = encoded
        self._groups = groups
        self._coder = coder
        self._zstd_level = zstd_level
        self._coding_crc = coding_crc
        self._first_chunk = first_chunk
        self._has_residuals = any(each.coding.residual is not None for each in encoded)
        self._mixed_residuals = mixed_residuals
        self._runs = [
            missing_runs(samples, channel.invalid)
            for channel, samples in zip(recording.channels, recording.samples, strict=True)
        ]
        self._members = [
            list(
                events_by_chunk(
                    group.starts,
                    kernel_length=group.kernel_length,
                    n_samples=recording.n_frames * group.samples_per_frame,
                    chunk_length=chunk_frames * group.samples_per_frame,
                )
            )
            for group in groups
        ]
        self._streams = class_streams(encoded) if coder == CODER_CLASS else {}
        self._residual_streams: list[list[ResidualStream]] = []
        if plan is not None:
            codes = residual_codes(encoded, chunk_frames, recording)
            streams = iter(encode_class_residuals([each for chunk in codes for each in chunk], plan))
            self._residual_streams = [[next(streams) for _ in chunk] for chunk in codes]

    @property
    def n_chunks(self) -> int:
        return -(-self._recording.n_frames // self._chunk_frames)

    def payload(self, chunk: int) -> bytes:
        """The CHUNK payload (docs/format.md)."""
        first = chunk * self._chunk_frames
        last = min(first + self._chunk_frames, self._recording.n_frames)
        spans = [
            slice(first * channel.samples_per_frame, last * channel.samples_per_frame)
            for channel in self._recording.channels
        ]
        raw = BitWriter()
        coefficients = self._coefficients(chunk, first, raw)
        residuals = self._residuals(chunk, spans, raw) if self._has_residuals else None
        decoded = [each.decoded[span] for each, span in zip(self._encoded, spans, strict=True)]
        events, mixed = self._coded_events(self._events(chunk, first, spans), last - first)
        return payload.join_fields(
            payload.ChunkFields(
                payload.digest_of(decoded, chunk=self._first_chunk + chunk, coding_crc=self._coding_crc),
                events,
                mixed if self._coder == CODER_MIXED else raw.tobytes(),
                coefficients,
                residuals,
            )
        )

    def _coded_events(self, events: ChunkEvents, n_frames: int) -> tuple[bytes, bytes]:
        codings = [each.coding for each in self._encoded]
        kernel_lengths = [group.kernel_length for group in self._groups]
        if self._coder != CODER_MIXED:
            return payload.encode_events(events, codings, kernel_lengths), b""
        group_lengths = [n_frames * group.samples_per_frame for group in self._groups]
        return payload.encode_mixed_events(events, codings, kernel_lengths, group_lengths)

    def _events(self, chunk: int, first_frame: int, spans: list[slice]) -> ChunkEvents:
        starts = [
            group.starts[members[chunk]] - first_frame * group.samples_per_frame
            for group, members in zip(self._groups, self._members, strict=True)
        ]
        events = []
        for each in self._encoded:
            chosen = self._members[each.coding.lead_group][chunk]
            events.append(Events(each.events.kernel_ids[chosen], each.events.gains[chosen]))
        runs = [
            runs_within(of_channel, span.start, span.stop - span.start)
            for of_channel, span in zip(self._runs, spans, strict=True)
        ]
        exceptions = [
            each.exceptions.within(span.start, span.stop - span.start)
            for each, span in zip(self._encoded, spans, strict=True)
        ]
        return ChunkEvents(starts, events, runs, exceptions)

    def _coefficients(self, chunk: int, first_frame: int, raw: BitWriter) -> bytes:
        if self._coder == CODER_CLASS:
            return self._class_coefficients(chunk, raw)
        return self._mixed(chunk, first_frame) if self._coder == CODER_MIXED else self._tokens(chunk, raw)

    def _mixed(self, chunk: int, first_frame: int) -> bytes:
        units = []
        for each in self._encoded:
            group = self._groups[each.coding.lead_group]
            starts = group.starts[self._members[each.coding.lead_group][chunk]] - first_frame * group.samples_per_frame
            for part, quantised in zip(each.parts, each.quantised, strict=False):
                if part.first_chunk <= chunk < part.first_chunk + part.n_chunks:
                    model, profile = each.coding.model, each.coding.profile
                    assert model is not None
                    assert profile is not None
                    circle = padded_length(model, part.length)
                    phases = fine_phases(model, starts, circle, kernel_length=group.kernel_length)
                    units.append(LevelUnit(model, profile, phases, joined_levels(quantised, chunk - part.first_chunk)))
        return encode_levels(units) if units else b""

    def _class_coefficients(self, chunk: int, raw: BitWriter) -> bytes:
        coded = [streams[chunk] for _, streams in sorted(self._streams.items())]
        for stream in coded:
            raw.bits(stream.raw)
        return payload.encode_class_coefficients([stream.stream for stream in coded])

    def _residuals(self, chunk: int, spans: list[slice], raw: BitWriter) -> bytes:
        if self._coder == CODER_MIXED:
            if self._mixed_residuals is None:
                return mixed_residuals(self._encoded, spans)
            return self._mixed_residuals[chunk]
        if self._coder == CODER_CLASS:
            for stream in self._residual_streams[chunk]:
                raw.bits(stream.raw)
            return payload.encode_class_residuals(self._residual_streams[chunk], self._zstd_level)
        contents = [
            encode_zstd_residual(each.codes[span], raw)
            for each, span in zip(self._encoded, spans, strict=True)
            if each.codes is not None
        ]
        return payload.encode_zstd_residuals(contents, self._zstd_level)

    def _tokens(self, chunk: int, raw: BitWriter) -> bytes:
        tokens = []
        for each in self._encoded:
            for part, quantised in zip(each.parts, each.quantised, strict=False):
                if part.first_chunk <= chunk < part.first_chunk + part.n_chunks:
                    tokens.append(zstd_coder.encode_tokens(quantised, chunk - part.first_chunk, raw))
        return payload.encode_zstd_coefficients(tokens, self._zstd_level) if tokens else b""


def mixed_residuals(encoded: list[EncodedChannel], spans: list[slice]) -> bytes:
    """Residuals of a chunk under the mixing coder; ``spans`` are its samples in every channel."""
    codings = {index: each.coding.residual for index, each in enumerate(encoded) if each.coding.residual is not None}
    order = [index for level in decoding_levels(codings) for index in level]
    approximations = {
        index: each.approximation[span]
        for index, (each, span) in enumerate(zip(encoded, spans, strict=True))
        if each.coding.model is not None
    }
    n_samples = [span.stop - span.start for span in spans]
    channels, others = mixed_channels([each.coding for each in encoded], order, approximations, n_samples)
    targets = []
    for index in order:
        target = encoded[index].target
        assert target is not None
        targets.append(target[spans[index]])
    return encode_chunk(channels, targets, others)[0]


def residual_codes(
    encoded: list[EncodedChannel], chunk_frames: int, recording: Recording
) -> list[list[NDArray[np.integer]]]:
    """Codes of the residual layer, ``[chunk][channel]``, of the channels that have one."""
    chunks = []
    for first in range(0, recording.n_frames, chunk_frames):
        last = min(first + chunk_frames, recording.n_frames)
        chunks.append(
            [
                each.codes[first * channel.samples_per_frame : last * channel.samples_per_frame]
                for channel, each in zip(recording.channels, encoded, strict=True)
                if each.codes is not None
            ]
        )
    return chunks


def residual_plan(encoded: list[EncodedChannel], chunk_frames: int, recording: Recording) -> TablePlan | None:
    """Tables for the residual streams of a segment; None where it has none."""
    streams = [each for chunk in residual_codes(encoded, chunk_frames, recording) for each in chunk]
    if not streams:
        return None
    plans = [plan_tables(streams, exponent) for exponent in _BLOCK_EXPONENTS]
    return min(plans, key=lambda plan: plan[1])[0]


def class_streams(encoded: list[EncodedChannel]) -> dict[int, list[class_coder.ClassStream]]:
    """Per coded channel, a stream for every chunk; channels that share a bank are coded together."""
    by_model: dict[Model, list[int]] = {}
    for index, each in enumerate(encoded):
        if each.coding.model is not None:
            by_model.setdefault(each.coding.model, []).append(index)
    streams: dict[int, list[class_coder.ClassStream]] = {}
    for model, members in by_model.items():
        parts, owners = [], []
        for index in members:
            profile = encoded[index].coding.profile
            assert profile is not None
            active = profile.scale_codes > 0
            for part, quantised in zip(encoded[index].parts, encoded[index].quantised, strict=True):
                n_lanes = class_coder.lanes_for(model, padded_length(model, part.length), active)
                parts.append(class_coder.ChannelPart(quantised, active, n_lanes, profile.weight_set))
                owners.append(index)
        for index, of_part in zip(owners, class_coder.encode_class_streams(parts, model), strict=True):
            streams.setdefault(index, []).extend(of_part)
    return streams
