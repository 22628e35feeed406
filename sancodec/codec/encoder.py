"""Compress a recording: segment after segment, each with its own coding, and the container around them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from threadpoolctl import threadpool_limits

from sancodec.codec.channel import EncoderSettings, Hint
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.given_kernels import GivenKernels
from sancodec.codec.header import (
    CODER_CLASS,
    CODER_MIXED,
    CODER_ZSTD,
    MAX_CHANNELS,
    PROMISE_MAX_ERROR,
    PROMISE_PRDN,
    Header,
    check_chunk_size,
    encode_header,
)
from sancodec.codec.kernels import Model
from sancodec.codec.native import warn_if_slow
from sancodec.codec.progress import Progress, share_of
from sancodec.codec.promise import Promise
from sancodec.codec.quality import ChannelQuality, QualityTotals
from sancodec.codec.recording import FrameSource, Recording
from sancodec.codec.segment_body import smallest_segment
from sancodec.codec.segment_encoder import EncodedSegment, SegmentJob
from sancodec.codec.synthesis import Engine
from sancodec.errors import InvalidSignalError, QualityError

AUTO = "auto"
MIN_CHUNK_SAMPLES = 8192
SEGMENT_SAMPLES = 3_000_000
_LONG_CHUNK_S, _SHORT_CHUNK_S = 60.0, 25.0
_COARSE_PRDN = 4.0
_PASS_SAMPLES = 1_000_000
_SEGMENTS_PER_TRIAL = 12
_FAST = EncoderSettings(CODER_ZSTD, 3, (0,), 0.0, acceptance=0.985)
_TOKENS = EncoderSettings(CODER_ZSTD, 19, (0, 1, 2, 4, 8), 0.11)
_CLASSES = EncoderSettings(CODER_CLASS, 19, (0, 1, 2, 4, 8), 0.11)
_MIXED = EncoderSettings(CODER_MIXED, 19, (0, 1, 2, 4, 8), 0.11, stages=((0, 0), (32, 16)), rivals=(_CLASSES, _TOKENS))
_SMALLEST = replace(_MIXED, stages=((0, 0), (32, 16), (32, 256)))
_LEVELS = {1: _FAST, 2: _FAST, 3: _TOKENS, 4: _TOKENS, 5: _CLASSES, 6: _CLASSES, 9: _SMALLEST}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a compression did.

    Parameters
    ----------
    n_bytes
        Length of the container.
    promises, qualities, banks, kernel_counts
        Per channel; banks and numbers of beat kernels are those of the first segment.
    n_events
        Beats stored, over all lead groups.
    models
        The banks that the container names.
    """

    n_bytes: int
    promises: tuple[Promise, ...]
    qualities: tuple[ChannelQuality, ...]
    banks: tuple[str, ...]
    kernel_counts: tuple[int, ...]
    n_events: int
    models: tuple[Model, ...]


def settings_of(level: int) -> EncoderSettings:
    """Levels 1–2: bank only, zstd -3; 3–4: cascade, zstd -19; 5–6: cascade, class coder; 7–9: cascade, mixing coder."""
    if not 1 <= level <= 9:
        raise InvalidSignalError(f"level is {level}; it must be 1 to 9")
    return _LEVELS.get(level, _MIXED)


def chunk_frames_of(source: FrameSource, chunk_s: float | str | None, promises: Sequence[Promise]) -> int:
    """Frames per chunk: the time asked for, but at least 8192 samples of the fastest channel; None for one chunk.

    ``"auto"`` gives shorter chunks to the larger files of tighter promises: reading 10 s of half an hour should take
    less than a twentieth of the file either way, and short chunks cost most where few bits are spent.
    """
    if chunk_s is None:
        return max(source.n_frames, 1)
    if chunk_s == AUTO:
        is_coarse = all(each.max_error_adu is None and (each.prdn or 0) >= _COARSE_PRDN for each in promises)
        chunk_s = _LONG_CHUNK_S if is_coarse else _SHORT_CHUNK_S
    if isinstance(chunk_s, str) or not (chunk_s > 0 and np.isfinite(chunk_s)):
        raise InvalidSignalError(f"chunk length is {chunk_s} s; it must be above 0, 'auto', or the whole file")
    shortest = -(-MIN_CHUNK_SAMPLES // max(channel.samples_per_frame for channel in source.channels))
    frames = max(round(chunk_s * float(source.frame_rate_hz)), shortest)
    return min(frames, max(source.n_frames, 1))


def encode_recording(
    source: FrameSource,
    file: BinaryIO,
    *,
    promises: Sequence[Promise],
    level: int,
    chunk_s: float | str | None,
    models: tuple[Model, ...],
    embed_models: bool,
    engine: Engine,
    given: GivenKernels | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
    segment_samples: int = SEGMENT_SAMPLES,
) -> Summary:
    """Write a recording as a container, in memory that does not grow with its length.

    Parameters
    ----------
    promises
        Per channel, what the decoded integers keep.
    chunk_s
        Seconds per chunk; None for one chunk, ``"auto"`` to leave it to the encoder.
    models
        Banks to choose from.
    given
        Kernels of the beat layer, which are otherwise learned from each channel.
    on_progress
        Called with the fraction done.
    segment_samples
        About how many samples, over all channels, are encoded at a time.

    Raises
    ------
    InvalidSignalError, QualityError
    """
    if not models:
        raise InvalidSignalError("there is no model to choose from")
    if len(source.channels) > MAX_CHANNELS:
        raise InvalidSignalError(
            f"{len(source.channels)} channels; at most {MAX_CHANNELS} are allowed. Is the array transposed? "
            "Its shape is (channel, sample)"
        )
    if len(promises) != len(source.channels):
        raise InvalidSignalError(f"{len(promises)} promises for {len(source.channels)} channels")
    if not source.n_frames:
        raise InvalidSignalError("the recording has no samples; there is nothing to compress")
    settings = settings_of(level)
    warn_if_slow(source.n_frames * sum(channel.samples_per_frame for channel in source.channels))
    chunk_frames = chunk_frames_of(source, chunk_s, promises)
    check_chunk_size(source.channels, chunk_frames)
    spans = _segment_spans(source, chunk_frames, segment_samples)
    report = on_progress or (lambda fraction: None)
    energies: tuple[float | None, ...] = (None,) * len(source.channels)
    if len(spans) > 1:
        energies = _sample_energies(source)
    totals = [_totals_of(source, index) for index in range(len(source.channels))]
    writer = ContainerWriter(file)
    banks: tuple[str, ...] = ()
    kernel_counts: tuple[int, ...] = ()
    named: tuple[Model, ...] = models
    n_events = 0
    nothing_known: tuple[Hint | None, ...] = (None,) * len(source.channels)
    hints = nothing_known
    # Channels run in threads of our own; BLAS threads beside them only get in each other's way.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for number, (first, last) in enumerate(spans):
            part = Recording(
                source.channels, source.frames(first, last), source.frame_rate_hz, source.source, source.side_files
            )
            job = SegmentJob(
                part,
                first // chunk_frames,
                chunk_frames,
                tuple(promises),
                energies,
                models,
                settings,
                engine,
                pool,
                hints,
                given,
            )
            share = share_of(report, first / source.n_frames, (first + 0.9 * (last - first)) / source.n_frames)
            best = smallest_segment(job, models if len(spans) == 1 else named, is_alone=len(spans) == 1, report=share)
            encoded, body = best.encoded, best.body
            if number == 0:
                named = best.models
                banks, kernel_counts = _described(encoded)
                write_head(writer, source, promises, level, chunk_frames, named, embed_models=embed_models)
            hints = nothing_known if (number + 1) % _SEGMENTS_PER_TRIAL == 0 else encoded.hints(best.settings)
            writer.section(SectionType.CODING, body.coding)
            for content in body.chunks:
                writer.section(SectionType.CHUNK, content)
            for total, samples, each in zip(totals, part.samples, encoded.channels, strict=True):
                total.add(samples, each.decoded)
            n_events += sum(len(group.starts) for group in encoded.groups)
            report(last / source.n_frames)
    qualities = tuple(total.result() for total in totals)
    _check_promises(source, promises, qualities)
    return Summary(writer.finish(), tuple(promises), qualities, banks, kernel_counts, n_events, named)


def _segment_spans(source: FrameSource, chunk_frames: int, segment_samples: int) -> list[tuple[int, int]]:
    """Frames of each segment: whole chunks, about ``segment_samples`` samples; no short rest at the end."""
    per_frame = sum(channel.samples_per_frame for channel in source.channels)
    n_segments = max(1, round(source.n_frames * per_frame / segment_samples))
    n_chunks = -(-source.n_frames // chunk_frames)
    per_segment = -(-n_chunks // min(n_segments, n_chunks))
    step = per_segment * chunk_frames
    return [(first, min(first + step, source.n_frames)) for first in range(0, source.n_frames, step)]


def _totals_of(source: FrameSource, index: int) -> QualityTotals:
    channel = source.channels[index]
    return QualityTotals(gain=channel.gain, baseline=channel.baseline, invalid=channel.invalid)


def _pieces(source: FrameSource) -> Iterator[tuple[np.ndarray[tuple[int], np.dtype[np.int32]], ...]]:
    step = max(1, _PASS_SAMPLES // sum(channel.samples_per_frame for channel in source.channels))
    for first in range(0, source.n_frames, step):
        yield source.frames(first, min(first + step, source.n_frames))


def _sample_energies(source: FrameSource) -> tuple[float | None, ...]:
    """Mean squared deviation of each channel over the whole recording: a PRDN is promised of all of it."""
    totals = [_totals_of(source, index) for index in range(len(source.channels))]
    for piece in _pieces(source):
        for total, samples in zip(totals, piece, strict=True):
            total.add(samples, samples)
    return tuple(total.sample_energy for total in totals)


def _described(encoded: EncodedSegment) -> tuple[tuple[str, ...], tuple[int, ...]]:
    banks = []
    for each in encoded.channels:
        coding = each.coding
        without = "constant" if coding.is_constant else "prediction" if coding.row is None else "mixed"
        banks.append(without if coding.model is None else coding.model.name)
    return tuple(banks), tuple(each.coding.kernels.n_kernels for each in encoded.channels)


def write_head(
    writer: ContainerWriter,
    source: FrameSource,
    promises: Sequence[Promise],
    level: int,
    chunk_frames: int,
    models: tuple[Model, ...],
    *,
    embed_models: bool,
) -> None:
    header = Header(
        source.source,
        source.frame_rate_hz,
        source.n_frames,
        chunk_frames,
        source.channels,
        level,
        tuple(_stored_promises(promise) for promise in promises),
        tuple(model.sha256 for model in models),
        source.side_files,
    )
    writer.section(SectionType.HEADER, encode_header(header))
    for model in models if embed_models else ():
        writer.section(SectionType.MODEL, model.content)


def _stored_promises(promise: Promise) -> tuple[tuple[int, float], ...]:
    stored = [] if promise.prdn is None else [(PROMISE_PRDN, promise.prdn)]
    if promise.max_error_adu is not None:
        stored.append((PROMISE_MAX_ERROR, float(promise.max_error_adu)))
    return tuple(stored)


def _check_promises(source: FrameSource, promises: Sequence[Promise], qualities: Sequence[ChannelQuality]) -> None:
    """Refuse to finish a file that does not keep what it says."""
    for channel, promise, quality in zip(source.channels, promises, qualities, strict=True):
        if promise.prdn is not None and quality.prdn > promise.prdn * (1 + 1e-12):
            raise QualityError(
                f"channel {channel.name!r}: PRDN is {quality.prdn:.4g} %, not {promise.prdn:g} %. Ask for a larger PRDN"
            )
        if promise.max_error_adu is not None and quality.max_error_adu > promise.max_error_adu:
            raise QualityError(
                f"channel {channel.name!r}: the largest error is {quality.max_error_adu} adu, "
                f"not {promise.max_error_adu} adu; please report this"
            )
