"""The whole training of a shipped model: kernels on beat-layer residuals, then statistics on encoded records."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import beats
from sancodec.codec.channel import ChannelEncoder, EncoderSettings, LeadGroup, phases_of_part, prepare, base_windows
from sancodec.codec.detection import detect_events, windows_at
from sancodec.codec.encoder import MIN_CHUNK_FRAMES
from sancodec.codec.header import CODER_CLASS
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.quantiser import Quantised
from sancodec.codec.recording import Recording
from sancodec.codec.synthesis import NumpyEngine
from sancodec.errors import InvalidSignalError
from sancodec.training.statistics import fit_contexts, neutral_contexts

_BANK_KERNELS = 4
_STEP_PER_RMSE = 2.6
_RESIDUAL_PRDN = (2.0, 6.0)
STATISTICS_PRDN = (1.0, 2.0, 3.0, 5.0, 9.0)
_SEGMENT_S = 300.0
_MIN_WINDOW = 8192


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """A named recording of the training split."""

    name: str
    recording: Recording


def _groups_with_waves(recording: Recording) -> list[tuple[int, NDArray[np.float32], LeadGroup]]:
    """Channels that vary, as float signals, with the waves found in all of them."""
    prepared = [prepare(channel, samples) for channel, samples in zip(recording.channels, recording.samples, strict=True)]
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
                    group.filtered[index], group.starts + before, n_kernels=_BANK_KERNELS, sampling_rate_hz=group.sampling_rate_hz
                )
                gains = (windows_at(group.filtered[index], group.starts, length) @ kernels.T).max(axis=1)
                quantised = beats.quantise_kernels(kernels, gains, step=step)
                _, residual = beats.project(signal, group.starts, quantised, penalty=1.2 * step**2)
            if len(residual) >= _MIN_WINDOW:
                residuals.append((residual - residual.mean(), scale))
    return residuals


def _segment(recording: Recording, index: int) -> Recording:
    """Some minutes of a recording; which ones depends on its place in the list."""
    n_frames = min(recording.n_frames, round(_SEGMENT_S * float(recording.frame_rate_hz)))
    first = (recording.n_frames - n_frames) * (index % 5) // 4
    samples = tuple(channel[first : first + n_frames] for channel in recording.samples)
    return Recording(recording.channels, samples, recording.frame_rate_hz)


def train_statistics(model: Model, sources: list[TrainingSource], *, n_rounds: int, on_round: Callable[[str], None]) -> Model:
    """Fit the class coder's statistics to a model on five minutes of each recording."""
    segments = [_segment(source.recording, index) for index, source in enumerate(sources)]
    settings = EncoderSettings(CODER_CLASS, 19, (0, 2, 4), 0.1)
    engine = NumpyEngine()

    def encode_one(job: tuple[Model, Recording, float]) -> list[tuple[Quantised, list[NDArray[np.int32]], list[bool]]]:
        current, recording, prdn = job
        chunk_length = max(round(60 * float(recording.frame_rate_hz)), MIN_CHUNK_FRAMES)
        length = beats.kernel_geometry(float(recording.frame_rate_hz))[0]
        result = []
        for index, _, group in _groups_with_waves(recording):
            channel = prepare(recording.channels[index], recording.samples[index])
            encoder = ChannelEncoder(
                channel, group, index, chunk_length=chunk_length, models=(current,), settings=settings, engine=engine
            )
            encoded = encoder.search(encoder.choose(prdn), group, prdn=prdn)
            profile = encoded.coding.profile
            assert profile is not None
            for part, quantised in zip(encoded.parts, encoded.quantised, strict=True):
                phases = phases_of_part(current, part, group.starts, kernel_length=length)
                active = [code > 0 for code in profile.scale_codes.tolist()]
                result.append((quantised, base_windows(current, profile, phases), active))
        return result

    def encode(current: Model) -> list[tuple[Quantised, list[NDArray[np.int32]], list[bool]]]:
        jobs = [(current, segment, prdn) for segment in segments for prdn in STATISTICS_PRDN]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            encoded = [each for result in pool.map(encode_one, jobs) for each in result]
        on_round(f"statistics: {len(encoded)} parts encoded")
        return encoded

    return fit_contexts(model, encode, n_rounds=n_rounds)


def finish_model(groups: tuple[KernelGroup, ...], sources: list[TrainingSource], *, metadata: dict[str, Any], n_rounds: int,
                 on_round: Callable[[str], None]) -> Model:
    """A model of given kernels with statistics fitted to the sources."""
    if not sources:
        raise InvalidSignalError("there is no recording to train on")
    return train_statistics(Model(groups, neutral_contexts(groups), metadata), sources, n_rounds=n_rounds, on_round=on_round)
