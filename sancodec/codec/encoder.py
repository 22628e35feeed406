"""Compress a recording: trials and search per channel, then streams, sections, bytes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from sancodec.codec.beats import Events, kernel_geometry
from sancodec.codec.channel import (
    ChannelJob,
    Choice,
    EncodedChannel,
    EncoderSettings,
    LeadGroup,
    PreparedChannel,
    prepare,
)
from sancodec.codec.chunk_source import ChunkSource, StoredGroup
from sancodec.codec.chunks import parts_of
from sancodec.codec.coding_section import MeasuredQuality, encode_coding
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.detection import detect_events
from sancodec.codec.header import (
    CODER_CLASS,
    CODER_ZSTD,
    MAX_CHANNELS,
    PROMISE_PRDN,
    Header,
    check_chunk_size,
    encode_header,
)
from sancodec.codec.kernels import Model
from sancodec.codec.quality import ChannelQuality, measure
from sancodec.codec.recording import Recording
from sancodec.codec.step_search import search
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.codec.trial import choose
from sancodec.errors import InvalidSignalError

DEFAULT_CHUNK_S = 60.0
MIN_CHUNK_FRAMES = 8192
MIN_PRDN, MAX_PRDN = 1e-6, 1e6
_MIN_DETECTION_RATE_HZ, _MAX_DETECTION_RATE_HZ = 50.0, 2500.0
_FAST = EncoderSettings(CODER_ZSTD, 3, (0,), 0.0, acceptance=0.985)
_TOKENS = EncoderSettings(CODER_ZSTD, 19, (0, 1, 2, 4, 8), 0.11)
_CLASSES = EncoderSettings(CODER_CLASS, 19, (0, 1, 2, 4, 8), 0.11)
_LEVELS = {1: _FAST, 2: _FAST, 3: _TOKENS, 4: _TOKENS}

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a compression did.

    Parameters
    ----------
    n_bytes
        Length of the container.
    qualities, banks, kernel_counts
        Per channel.
    n_events
        Beats stored, over all lead groups.
    models
        The banks in use.
    """

    n_bytes: int
    qualities: tuple[ChannelQuality, ...]
    banks: tuple[str, ...]
    kernel_counts: tuple[int, ...]
    n_events: int
    models: tuple[Model, ...]


def settings_of(level: int) -> EncoderSettings:
    """Levels 1–2: bank only, zstd -3; 3–4: cascade, zstd -19; 5–9: cascade, class coder."""
    if not 1 <= level <= 9:
        raise InvalidSignalError(f"level is {level}; it must be 1 to 9")
    return _LEVELS.get(level, _CLASSES)


def chunk_frames_of(recording: Recording, chunk_s: float | None) -> int:
    """Frames per chunk: the time asked for, but at least 8192 frames; None for one chunk."""
    if chunk_s is None:
        return max(recording.n_frames, 1)
    if not (chunk_s > 0 and np.isfinite(chunk_s)):
        raise InvalidSignalError(f"chunk length is {chunk_s} s; it must be above 0, or the whole file")
    frames = max(round(chunk_s * float(recording.frame_rate_hz)), MIN_CHUNK_FRAMES)
    return min(frames, max(recording.n_frames, 1))


def encode_recording(
    recording: Recording,
    file: BinaryIO,
    *,
    prdn: float,
    level: int,
    chunk_s: float | None,
    models: tuple[Model, ...],
    embed_models: bool,
    engine: Engine,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Summary:
    """Write a recording as a container.

    Parameters
    ----------
    prdn
        PRDN in percent that the decoded integers of no channel exceed.
    models
        Banks to choose from.
    on_progress
        Called with the fraction done.

    Raises
    ------
    InvalidSignalError, QualityError
    """
    if not MIN_PRDN <= prdn <= MAX_PRDN:
        raise InvalidSignalError(f"PRDN is {prdn} %; {MIN_PRDN} to {MAX_PRDN} is allowed")
    if not models:
        raise InvalidSignalError("there is no model to choose from")
    if len(recording.channels) > MAX_CHANNELS:
        raise InvalidSignalError(
            f"{len(recording.channels)} channels; at most {MAX_CHANNELS} are allowed. Is the array transposed? "
            "Its shape is (channel, sample)"
        )
    if not recording.n_frames:
        raise InvalidSignalError("the recording has no samples; there is nothing to compress")
    settings = settings_of(level)
    chunk_frames = chunk_frames_of(recording, chunk_s)
    check_chunk_size(recording.channels, chunk_frames)
    report = on_progress or (lambda fraction: None)
    # Channels run in threads of our own; BLAS threads beside them only get in each other's way.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        encoded, groups = _encode_channels(
            recording,
            prdn=prdn,
            chunk_frames=chunk_frames,
            models=models,
            settings=settings,
            engine=engine,
            pool=pool,
            report=lambda fraction: report(0.9 * fraction),
        )
        used = tuple(model for model in models if any(each.coding.model is model for each in encoded))
        qualities = _measure(recording, encoded)
        stored = [MeasuredQuality(quality.prdn, quality.max_error_adu) for quality in qualities]
        body = _smallest_body(recording, chunk_frames, encoded, groups, stored, used, settings, pool)
        header = Header(
            recording.source,
            recording.frame_rate_hz,
            recording.n_frames,
            chunk_frames,
            recording.channels,
            body.coder,
            level,
            ((PROMISE_PRDN, prdn),),
            tuple(model.sha256 for model in used),
            recording.side_files,
        )
        writer = ContainerWriter(file)
        writer.section(SectionType.HEADER, encode_header(header))
        if embed_models:
            for model in used:
                writer.section(SectionType.MODEL, model.content)
        writer.section(SectionType.CODING, body.coding)
        for content in body.chunks:
            writer.section(SectionType.CHUNK, content)
        report(1.0)
    n_events = sum(len(group.starts) for group in groups)
    return Summary(
        writer.finish(),
        tuple(qualities),
        tuple("constant" if each.coding.model is None else each.coding.model.name for each in encoded),
        tuple(each.coding.kernels.n_kernels for each in encoded),
        n_events,
        used,
    )


def _encode_channels(
    recording: Recording,
    *,
    prdn: float,
    chunk_frames: int,
    models: tuple[Model, ...],
    settings: EncoderSettings,
    engine: Engine,
    pool: ThreadPoolExecutor,
    report: Progress,
) -> tuple[list[EncodedChannel], list[StoredGroup]]:
    prepared = list(pool.map(prepare, recording.channels, recording.samples))
    rates = sorted({channel.samples_per_frame for channel in recording.channels})
    encoded: dict[int, EncodedChannel] = {}
    group_starts = []
    done = 0
    for group_index, per_frame in enumerate(rates):
        members = [index for index, channel in enumerate(recording.channels) if channel.samples_per_frame == per_frame]
        coded = [index for index in members if not prepared[index].is_constant]
        rate_hz = float(recording.frame_rate_hz * per_frame)
        group = _find_waves([prepared[index] for index in coded], coded, rate_hz, settings)
        jobs = {
            index: ChannelJob(
                prepared[index], group, index, chunk_frames * per_frame, _models_for(models, rate_hz), settings, engine
            )
            for index in coded
        }
        choices = dict(zip(coded, pool.map(lambda job: choose(job, prdn=prdn), jobs.values()), strict=True))
        group, choices = _drop_unused(group, choices)
        futures = {
            index: pool.submit(search, replace(jobs[index], group=group), choices[index], prdn=prdn) for index in coded
        }
        for index, future in futures.items():
            result = future.result()
            encoded[index] = replace(result, coding=replace(result.coding, lead_group=group_index))
            done += 1
            report(done / len(prepared))
        for index in members:
            if index not in encoded:
                encoded[index] = _constant_channel(
                    prepared[index], group_index, chunk_frames * per_frame, len(group.starts)
                )
        group_starts.append(StoredGroup(group.starts, kernel_geometry(rate_hz)[0], per_frame))
    return [encoded[index] for index in range(len(prepared))], group_starts


def _models_for(models: tuple[Model, ...], rate_hz: float) -> tuple[Model, ...]:
    """Of the banks that were trained at some sampling rate, only the nearest; all others."""
    trained = [model for model in models if "sampling_rate_hz" in model.metadata]
    nearest = min(trained, key=lambda model: abs(np.log(model.metadata["sampling_rate_hz"] / rate_hz)), default=None)
    return tuple(model for model in models if model not in trained or model is nearest)


def _find_waves(
    channels: list[PreparedChannel], indices: list[int], rate_hz: float, settings: EncoderSettings
) -> LeadGroup:
    """Candidate events of a lead group; none where the level or the rate asks for none."""
    none = LeadGroup(np.zeros(0, np.int64), {}, rate_hz)
    if (
        max(settings.kernel_counts) == 0
        or not channels
        or not _MIN_DETECTION_RATE_HZ <= rate_hz <= _MAX_DETECTION_RATE_HZ
    ):
        return none
    length, before = kernel_geometry(rate_hz)
    if len(channels[0].signal) < length:
        return none
    signals = np.stack([channel.signal for channel in channels])
    positions, filtered = detect_events(signals, sampling_rate_hz=rate_hz)
    starts = positions - before
    inside = (starts > -length) & (starts < signals.shape[1])
    return LeadGroup(starts[inside], dict(zip(indices, filtered, strict=True)), rate_hz)


def _drop_unused(group: LeadGroup, choices: dict[int, Choice]) -> tuple[LeadGroup, dict[int, Choice]]:
    """Keep the events that some channel uses."""
    used = np.zeros(len(group.starts), bool)
    for choice in choices.values():
        used |= choice.cascade.events.gains > 0
    kept = {
        index: replace(
            choice,
            cascade=replace(
                choice.cascade, events=Events(choice.cascade.events.kernel_ids[used], choice.cascade.events.gains[used])
            ),
        )
        for index, choice in choices.items()
    }
    return replace(group, starts=group.starts[used]), kept


def _constant_channel(channel: PreparedChannel, group_index: int, chunk_length: int, n_events: int) -> EncodedChannel:
    coding = ChannelCoding(channel.minimum, channel.minimum, channel.maximum, group_index)
    none = Events(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))
    return EncodedChannel(coding, none, parts_of(len(channel.samples), chunk_length), [], channel.samples, 0.0)


def _measure(recording: Recording, encoded: list[EncodedChannel]) -> list[ChannelQuality]:
    qualities = []
    for channel, samples, each in zip(recording.channels, recording.samples, encoded, strict=True):
        qualities.append(
            measure(samples, each.decoded, gain=channel.gain, baseline=channel.baseline, invalid=channel.invalid)
        )
    return qualities


@dataclass(frozen=True, slots=True)
class _Body:
    """Payloads of the sections that depend on the coder."""

    coder: int
    coding: bytes
    chunks: list[bytes]

    @property
    def n_bytes(self) -> int:
        return len(self.coding) + sum(map(len, self.chunks))


def _smallest_body(
    recording: Recording,
    chunk_frames: int,
    encoded: list[EncodedChannel],
    groups: list[StoredGroup],
    stored: list[MeasuredQuality],
    used: tuple[Model, ...],
    settings: EncoderSettings,
    pool: ThreadPoolExecutor,
) -> _Body:
    """The class coder's statistics suit signals with beats; others try zstd as well."""
    has_beats = any(each.coding.kernels.n_kernels for each in encoded)
    coders = [settings.coder] if has_beats or settings.coder == CODER_ZSTD else [settings.coder, CODER_ZSTD]
    bodies = []
    for coder in coders:
        coding = encode_coding(
            [each.coding for each in encoded],
            stored,
            models=used,
            kernel_lengths=[group.stored_kernel_length for group in groups],
            coder=coder,
        )
        source = ChunkSource(
            recording,
            chunk_frames,
            encoded,
            groups,
            coder=coder,
            zstd_level=settings.zstd_level,
            coding_crc=zlib.crc32(coding),
        )
        bodies.append(_Body(coder, coding, list(pool.map(source.payload, range(source.n_chunks)))))
    return min(bodies, key=lambda body: body.n_bytes)
