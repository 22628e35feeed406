"""Payloads of an encoded segment's sections, under the coder that makes them smallest."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.channel import EncodedChannel
from sancodec.codec.chunk_source import ChunkSource, residual_plan
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.header import CODER_CLASS, CODER_ZSTD
from sancodec.codec.kernels import Model
from sancodec.codec.quality import measure
from sancodec.codec.recording import Channel
from sancodec.codec.segment_encoder import EncodedSegment, SegmentJob

_MAX_TRIED_SAMPLES = 2_000_000


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


def smallest_body(job: SegmentJob, encoded: EncodedSegment, models: Sequence[Model]) -> SegmentBody:
    """The class coder's statistics suit signals with beats; others try zstd as well."""
    channels = encoded.channels
    n_samples = sum(len(samples) for samples in job.recording.samples)
    is_plain = not any(each.coding.kernels.n_kernels for each in channels) and n_samples <= _MAX_TRIED_SAMPLES
    coders = [job.settings.coder] + ([CODER_ZSTD] if is_plain and job.settings.coder == CODER_CLASS else [])
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
            [group.stored_kernel_length for group in encoded.groups],
            None if plan is None else plan.tables,
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
