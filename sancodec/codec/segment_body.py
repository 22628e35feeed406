"""Payloads of an encoded segment's sections, under the coder that makes them smallest."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.channel import EncodedChannel, EncoderSettings
from sancodec.codec.chunk_source import ChunkSource, residual_plan
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.header import CODER_CLASS, CODER_ZSTD
from sancodec.codec.kernels import Model
from sancodec.codec.progress import Progress, share_of
from sancodec.codec.quality import measure
from sancodec.codec.recording import Channel
from sancodec.codec.segment_encoder import EncodedSegment, SegmentJob, encode_segment
from sancodec.errors import QualityError

_MAX_TRIED_SAMPLES = 2_000_000
_SHORT_SAMPLES = 200_000


@dataclass(frozen=True, slots=True)
class SegmentBody:
    """Payloads of a segment's sections."""

    coding: bytes
    chunks: list[bytes]

    @property
    def n_bytes(self) -> int:
        return len(self.coding) + sum(map(len, self.chunks))


def _measured(description: Channel, samples: NDArray[np.int32], encoded: EncodedChannel) -> MeasuredQuality:
    quality = measure(
        samples, encoded.decoded, gain=description.gain, baseline=description.baseline, invalid=description.invalid
    )
    return MeasuredQuality(quality.prdn, quality.max_error_adu)


@dataclass(frozen=True, slots=True, eq=False)
class SmallestSegment:
    """A segment under the settings that make it smallest, and the banks that its coding counts in."""

    settings: EncoderSettings
    encoded: EncodedSegment
    body: SegmentBody
    models: tuple[Model, ...]


def smallest_segment(
    job: SegmentJob, models: tuple[Model, ...], *, is_alone: bool, report: Progress
) -> SmallestSegment:
    """Encode a segment.

    Parameters
    ----------
    models
        Banks that the file names.
    is_alone
        Whether there is no other segment, so that the file names only banks that this one uses.

    Raises
    ------
    QualityError
        When a promise cannot be kept.
    """
    found = [_under(job, models, is_alone=is_alone, report=share_of(report, 0, 1 if not job.settings.rivals else 0.6))]
    for settings in _rivals(job, found[0].encoded):
        try:
            found.append(
                _under(replace(job, settings=settings), models, is_alone=is_alone, report=lambda fraction: None)
            )
        except QualityError:  # others have kept the promise
            continue
    return min(found, key=lambda each: each.body.n_bytes)


def _under(job: SegmentJob, models: tuple[Model, ...], *, is_alone: bool, report: Progress) -> SmallestSegment:
    encoded = encode_segment(job, report)
    named = tuple(model for model in models if model in encoded.models) if is_alone else models
    return SmallestSegment(job.settings, encoded, smallest_body(job, encoded, named), named)


def _rivals(job: SegmentJob, encoded: EncodedSegment) -> tuple[EncoderSettings, ...]:
    """What to try beside the mixing coder: class coder and zstd without beats, or in what is short."""
    n_samples = sum(len(samples) for samples in job.recording.samples)
    return job.settings.rivals if n_samples <= (_MAX_TRIED_SAMPLES if _is_plain(encoded) else _SHORT_SAMPLES) else ()


def _is_plain(encoded: EncodedSegment) -> bool:
    return not any(each.coding.kernels.n_kernels for each in encoded.channels)


def smallest_body(job: SegmentJob, encoded: EncodedSegment, models: Sequence[Model]) -> SegmentBody:
    """The class coder's statistics suit signals with beats; others try zstd as well."""
    channels = encoded.channels
    n_samples = sum(len(samples) for samples in job.recording.samples)
    is_tried = _is_plain(encoded) and n_samples <= _MAX_TRIED_SAMPLES and job.settings.coder == CODER_CLASS
    coders = [job.settings.coder] + ([CODER_ZSTD] if is_tried else [])
    measured = [
        _measured(description, samples, each)
        for description, samples, each in zip(job.recording.channels, job.recording.samples, channels, strict=True)
    ]
    bodies = []
    for coder in coders:
        plan = residual_plan(channels, job.chunk_frames, job.recording) if coder == CODER_CLASS else None
        segment = SegmentCoding(
            job.first_chunk,
            -(-job.recording.n_frames // job.chunk_frames),
            coder,
            [each.coding for each in channels],
            measured,
            [group.kernel_length for group in encoded.groups],
            None if plan is None else plan.tables,
            encoded.mixes,
        )
        coding = encode_coding(segment, models=tuple(models))
        source = ChunkSource(
            job.recording,
            job.chunk_frames,
            channels,
            encoded.groups,
            coder=coder,
            zstd_level=job.settings.zstd_level,
            coding_crc=zlib.crc32(coding),
            first_chunk=job.first_chunk,
            plan=plan,
            mixed_residuals=encoded.mixed_residuals,
        )
        bodies.append(SegmentBody(coding, list(job.pool.map(source.payload, range(source.n_chunks)))))
    return min(bodies, key=lambda body: body.n_bytes)
