"""The whole training of a shipped model: kernels on beat-layer residuals, then statistics on encoded records."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import beats
from sancodec.codec.channel import ChannelJob, EncodedChannel, EncoderSettings, LeadGroup, prepare
from sancodec.codec.chunks import phases_of_part
from sancodec.codec.contexts import Profile
from sancodec.codec.detection import detect_events, windows_at
from sancodec.codec.encoder import MIN_CHUNK_SAMPLES
from sancodec.codec.header import CODER_CLASS, CODER_MIXED
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.level_coder import LevelUnit, fine_phases_of_part, joined_levels
from sancodec.codec.recording import Recording
from sancodec.codec.step_search import search
from sancodec.codec.synthesis import NumpyEngine
from sancodec.codec.trial import choose
from sancodec.errors import InvalidSignalError
from sancodec.training.mixing_statistics import Chunk, fit_mixing
from sancodec.training.statistics import TrainingPart, fit_contexts, neutral_contexts

_BANK_KERNELS = 4
_STEP_PER_RMSE = 2.6
_RESIDUAL_PRDN = (2.0, 6.0)
STATISTICS_PRDN = (1.0, 2.0, 3.0, 5.0, 9.0)
_SEGMENT_S = 300.0
_SEGMENT_FRAMES = 120_000
_SEGMENT_CHANNELS = 6
_MIN_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """A named recording of the training split."""

    name: str
    recording: Recording


def _groups_with_waves(recording: Recording) -> list[tuple[int, NDArray[np.float32], LeadGroup]]:
    """Channels that vary, as float signals, with the waves found in all of them."""
    prepared = [
        prepare(channel, samples) for channel, samples in zip(recording.channels, recording.samples, strict=True)
    ]
    coded = [index for index, channel in enumerate(prepared) if not channel.is_constant]
    if not coded:
        return []
    rate_hz = float(recording.frame_rate_hz)
    length, before = beats.kernel_geometry(rate_hz)
    signals = np.stack([prepared[index].signal for index in coded])
    positions, filtered = detect_events(signals, sampling_rate_hz=rate_hz)
    starts = positions - before
    starts = starts[(starts > -length) & (starts < signals.shape[1])]
    group = LeadGroup(starts, dict(zip(coded, filtered, strict=True)), rate_hz)
    return [(index, prepared[index].signal, group) for index in coded]


def beat_residuals(recording: Recording) -> list[tuple[NDArray[np.float32], float]]:
    """What the beat layer leaves of each channel at two steps, and the channel's standard deviation."""
    residuals = []
    for index, signal, group in _groups_with_waves(recording):
        scale = float(signal.std())
        for prdn in _RESIDUAL_PRDN:
            step = _STEP_PER_RMSE * prdn / 100 * scale
            residual = signal
            if len(group.starts) >= 8:
                length, before = beats.kernel_geometry(group.sampling_rate_hz)
                kernels = beats.learn_kernels(
                    group.filtered[index],
                    group.starts + before,
                    counts=[_BANK_KERNELS],
                    sampling_rate_hz=group.sampling_rate_hz,
                ).get(_BANK_KERNELS)
                if kernels is None:
                    continue
                gains = (windows_at(group.filtered[index], group.starts, length) @ kernels.T).max(axis=1)
                quantised = beats.quantise_kernels(kernels, gains, step=step, max_exponent=beats.MAX_EXPONENT)
                _, residual = beats.project(signal, group.starts, quantised, penalty=1.2 * step**2)
            if len(residual) >= _MIN_WINDOW:
                residuals.append((residual - residual.mean(), scale))
    return residuals


def _segment(recording: Recording, index: int) -> Recording:
    """Some minutes of a recording; which ones depends on its place in the list."""
    longest_s = max(_SEGMENT_S, 2 * MIN_CHUNK_SAMPLES / float(recording.frame_rate_hz))
    n_frames = min(recording.n_frames, round(longest_s * float(recording.frame_rate_hz)), _SEGMENT_FRAMES)
    first = (recording.n_frames - n_frames) * (index % 5) // 4
    samples = tuple(channel[first : first + n_frames] for channel in recording.samples[:_SEGMENT_CHANNELS])
    return Recording(recording.channels[:_SEGMENT_CHANNELS], samples, recording.frame_rate_hz)


def _searched(
    model: Model, recording: Recording, prdn: float, settings: EncoderSettings
) -> list[tuple[LeadGroup, EncodedChannel]]:
    """Every channel that varies, under one bank, with the events that it uses."""
    rate_hz = float(recording.frame_rate_hz)
    chunk_length = max(round(60 * rate_hz), MIN_CHUNK_SAMPLES)
    result = []
    for index, _, group in _groups_with_waves(recording):
        channel = prepare(recording.channels[index], recording.samples[index])
        job = ChannelJob(channel, group, index, chunk_length, (model,), settings, NumpyEngine())
        choice = choose(job, prdn=prdn)
        if not choice.cascade.kernels.n_kernels:
            none = np.zeros(0, np.int32)
            choice = replace(choice, cascade=replace(choice.cascade, events=beats.Events(none, none)))
            group = replace(group, starts=np.zeros(0, np.int64))
        result.append((group, search(replace(job, group=group), choice, prdn=prdn)))
    return result


def _encode_part(
    model: Model, recording: Recording, prdn: float, kind: int
) -> list[tuple[TrainingPart, Profile, list[NDArray[np.int64]]]]:
    length = beats.kernel_geometry(float(recording.frame_rate_hz))[0]
    result = []
    for group, encoded in _searched(model, recording, prdn, EncoderSettings(CODER_CLASS, 19, (0, 2, 4), 0.1)):
        profile = encoded.coding.profile
        assert profile is not None
        expected = profile.expected(model.contexts).astype(np.int32)
        for part, quantised in zip(encoded.parts, encoded.quantised, strict=True):
            phases = phases_of_part(model, part, group.starts, kernel_length=length)
            expected_at = [row[phase] for row, phase in zip(expected, phases, strict=True)]
            active = [code > 0 for code in profile.scale_codes.tolist()]
            result.append((TrainingPart(kind, profile.weight_set, quantised, expected_at, active), profile, phases))
    return result


def _encode_chunks(model: Model, recording: Recording, prdn: float, kind: int) -> list[Chunk]:
    """Levels of every chunk, all channels beside each other."""
    length = beats.kernel_geometry(float(recording.frame_rate_hz))[0]
    chunks: dict[int, Chunk] = {}
    for group, encoded in _searched(model, recording, prdn, EncoderSettings(CODER_MIXED, 19, (0, 2, 4), 0.1)):
        assert encoded.coding.profile is not None
        profile = replace(encoded.coding.profile, weight_set=kind)
        for part, quantised in zip(encoded.parts, encoded.quantised, strict=True):
            of_part = fine_phases_of_part(model, part, group.starts, kernel_length=length)
            for number, phases in enumerate(of_part):
                unit = LevelUnit(model, profile, phases, joined_levels(quantised, number))
                chunks.setdefault(part.first_chunk + number, []).append(unit)
    return [chunk for _, chunk in sorted(chunks.items())]


def train_mixing(
    model: Model, kinds: list[list[TrainingSource]], *, n_rounds: int, on_message: Callable[[str], None]
) -> Model:
    """A model with statistics of the mixing coder fitted to some minutes of each recording.

    Parameters
    ----------
    kinds
        Recordings by kind of signal, as many as the model has weight sets.
    """
    if len(kinds) != model.contexts.n_weight_sets:
        raise InvalidSignalError(f"{len(kinds)} kinds of recordings for {model.contexts.n_weight_sets} weight sets")

    def encode(current: Model) -> list[list[Chunk]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [
                [
                    chunk
                    for chunks in pool.map(lambda job: _encode_chunks(current, *job), _jobs_of(sources, kind))
                    for chunk in chunks
                ]
                for kind, sources in enumerate(kinds)
            ]

    return fit_mixing(model, encode, n_rounds=n_rounds, on_message=on_message)


def _jobs_of(sources: list[TrainingSource], kind: int) -> list[tuple[Recording, float, int]]:
    return [
        (_segment(source.recording, index), prdn, kind)
        for index, source in enumerate(sources)
        for prdn in STATISTICS_PRDN
    ]


def train_statistics(
    groups: tuple[KernelGroup, ...],
    kinds: list[list[TrainingSource]],
    *,
    metadata: dict[str, Any],
    n_rounds: int,
    on_message: Callable[[str], None],
) -> Model:
    """A model of given kernels, with statistics fitted to some minutes of each recording.

    Parameters
    ----------
    kinds
        Recordings by kind of signal; each kind gets a weight set of its own.
    """
    if not kinds or not all(kinds):
        raise InvalidSignalError("there is no recording to train on")
    jobs = [job for kind, sources in enumerate(kinds) for job in _jobs_of(sources, kind)]

    def encode(model: Model) -> list[tuple[TrainingPart, Profile, list[NDArray[np.int64]]]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(lambda job: _encode_part(model, *job), jobs))
        on_message(f"statistics: {len(jobs)} encodings")
        return [each for result in results for each in result]

    model = fit_contexts(
        Model(groups, neutral_contexts(groups, len(kinds)), metadata), encode, n_kinds=len(kinds), n_rounds=n_rounds
    )
    return train_mixing(model, kinds, n_rounds=n_rounds, on_message=on_message)
