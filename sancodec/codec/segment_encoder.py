"""Encode one segment of a recording: trials and search per channel, residual layer, streams, sections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from sancodec.codec.beats import Events, kernel_geometry
from sancodec.codec.bounded_search import target_of
from sancodec.codec.channel import (
    ChannelJob,
    EncodedChannel,
    EncoderSettings,
    Hint,
    LeadGroup,
    PreparedChannel,
    prepare,
)
from sancodec.codec.chunk_source import StoredGroup
from sancodec.codec.chunks import parts_of
from sancodec.codec.detection import MAX_DETECTION_RATE_HZ, MIN_DETECTION_RATE_HZ, detect_events
from sancodec.codec.given_kernels import GivenKernels
from sancodec.codec.group_encoder import GroupJob, encode_group
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.kernels import Model
from sancodec.codec.lattice import on_lattice
from sancodec.codec.mix import Mix
from sancodec.codec.mixed_encoder import encode_mix
from sancodec.codec.progress import Progress, share_of
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Recording
from sancodec.codec.residual_encoder import noise_scale
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.codec.trellis import STEP_OF_PLAIN


@dataclass(frozen=True, slots=True, eq=False)
class SegmentJob:
    """What is common to all channels of a segment.

    Parameters
    ----------
    recording
        The frames of the segment.
    promises
        Per channel.
    energies
        Per channel, mean squared deviation of the whole recording's samples; None for those of the segment.
    hints
        Per channel, how it was coded before; None where everything is to be tried.
    given
        Kernels of the beat layer; None where they are learned from each channel.
    """

    recording: Recording
    first_chunk: int
    chunk_frames: int
    promises: tuple[Promise, ...]
    energies: tuple[float | None, ...]
    models: tuple[Model, ...]
    settings: EncoderSettings
    engine: Engine
    pool: ThreadPoolExecutor
    hints: tuple[Hint | None, ...]
    given: GivenKernels | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSegment:
    """Channels and lead groups of a segment.

    Parameters
    ----------
    mixes
        Of each lead group; None where its channels are coded one by one.
    mixed_residuals
        Residuals of every chunk under the mixing coder, where they are known already.
    """

    channels: list[EncodedChannel]
    groups: list[StoredGroup]
    mixes: tuple[Mix | None, ...] = ()
    mixed_residuals: list[bytes] | None = None

    def hints(self, settings: EncoderSettings) -> tuple[Hint | None, ...]:
        """For the segment that follows."""
        finer = STEP_OF_PLAIN if settings.coder == CODER_MIXED else 1.0
        return tuple(
            None
            if each.coding.is_constant or each.coding.row is not None
            else Hint(each.coding.model, each.coding.kernels.n_kernels, each.coding.step.value / finer)
            for each in self.channels
        )

    @property
    def models(self) -> set[Model]:
        return {each.coding.model for each in self.channels if each.coding.model is not None}


def encode_segment(job: SegmentJob, report: Progress) -> EncodedSegment:
    """Encode all channels, lead group after lead group.

    Raises
    ------
    QualityError
        When a promise cannot be kept.
    """
    recording = job.recording
    lattices = [
        None if promise.max_error_adu is None else on_lattice(channel, samples, promise.max_error_adu)
        for channel, samples, promise in zip(recording.channels, recording.samples, job.promises, strict=True)
    ]
    # Multiples of a step beyond the bound cannot be off by one: they are exact or wrong.
    exact = Promise(max_error_adu=0)
    job = replace(
        job,
        promises=tuple(
            promise if found is None else exact for promise, found in zip(job.promises, lattices, strict=True)
        ),
    )
    prepared = [
        prepare(channel, samples if found is None else found.multiples, sample_energy=energy)
        for channel, samples, found, energy in zip(
            recording.channels, recording.samples, lattices, job.energies, strict=True
        )
    ]
    rates = sorted({channel.samples_per_frame for channel in recording.channels})
    encoded: dict[int, EncodedChannel] = {}
    groups = []
    mixes = list[Mix | None]()
    mixed: list[list[bytes] | None] = []
    for group_index, per_frame in enumerate(rates):
        members = [index for index, channel in enumerate(recording.channels) if channel.samples_per_frame == per_frame]
        coded = [index for index in members if not prepared[index].is_constant]
        rate_hz = float(recording.frame_rate_hz * per_frame)
        waves = _find_waves([prepared[index] for index in coded], coded, rate_hz, job.settings)
        jobs = {
            index: ChannelJob(
                prepared[index],
                waves,
                index,
                job.chunk_frames * per_frame,
                _models_for(job.models, rate_hz),
                job.settings,
                job.engine,
                job.hints[index],
                0.0 if job.promises[index].max_error_adu is None else noise_scale(target_of(prepared[index])),
                job.given,
            )
            for index in coded
        }
        done, end = len(encoded) / len(prepared), (len(encoded) + len(coded)) / len(prepared)
        group_job = GroupJob(jobs, waves, job.promises, job.settings, job.pool)
        share = share_of(report, done, end)
        found_group = encode_mix(group_job, share) or encode_group(group_job, share)
        results, group = found_group.channels, found_group.group
        for index, result in results.items():
            encoded[index] = replace(result, coding=replace(result.coding, lead_group=group_index))
        for index in members:
            if index not in encoded:
                encoded[index] = _constant_channel(
                    prepared[index], group_index, job.chunk_frames * per_frame, len(group.starts)
                )
        kernel_length = kernel_geometry(rate_hz)[0] if len(group.starts) else 0
        groups.append(StoredGroup(group.starts, kernel_length, per_frame))
        mixes.append(found_group.mix)
        if any(each.coding.residual is not None for each in results.values()):
            mixed.append(found_group.mixed_residuals)
    for index, found in enumerate(lattices):
        if found is not None and not encoded[index].coding.is_constant:
            encoded[index] = replace(
                encoded[index],
                coding=replace(encoded[index].coding, lattice=found.lattice),
                decoded=recording.samples[index],
                exceptions=found.exceptions,
            )
    # Channels of several rates share a stream, which is then still to be made.
    known = mixed[0] if len(mixed) == 1 else None
    return EncodedSegment([encoded[index] for index in range(len(prepared))], groups, tuple(mixes), known)


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
    is_detectable = MIN_DETECTION_RATE_HZ <= rate_hz <= MAX_DETECTION_RATE_HZ
    if max(settings.kernel_counts) == 0 or not channels or not is_detectable:
        return none
    length, before = kernel_geometry(rate_hz)
    if len(channels[0].signal) < length:
        return none
    signals = np.stack([channel.signal for channel in channels])
    positions, filtered = detect_events(signals, sampling_rate_hz=rate_hz)
    starts = positions - before
    inside = (starts > -length) & (starts < signals.shape[1])
    return LeadGroup(starts[inside], dict(zip(indices, filtered, strict=True)), rate_hz)


def _constant_channel(channel: PreparedChannel, group_index: int, chunk_length: int, n_events: int) -> EncodedChannel:
    coding = ChannelCoding(channel.minimum, channel.minimum, channel.maximum, group_index)
    none = Events.none(n_events)
    samples = channel.samples
    return EncodedChannel(coding, none, parts_of(len(samples), chunk_length), [], samples, samples)
