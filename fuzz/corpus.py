"""Small containers of every kind, made anew each time: seeds of the mutations and of the fuzzer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np

from sancodec.codec import encoder
from sancodec.codec.encoder import encode_recording
from sancodec.codec.kernels import Model
from sancodec.codec.promise import promises_for
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.training.lapped import SYM4, SYM8, dyadic_groups, mdct_kernels, split_lowest
from sancodec.training.statistics import neutral_contexts

ECG = Path(__file__).parents[1] / "tests" / "data" / "100_10s.hea"
ENGINE = NumpyEngine()


def _neutral(name: str, groups, **metadata) -> Model:
    return Model(tuple(groups), neutral_contexts(tuple(groups)), {"name": name, **metadata})


BANKS = (
    _neutral("lapped", split_lowest(mdct_kernels(16), stride=16, levels=2, scaling=SYM4), sampling_rate_hz=360),
    _neutral("dyadic", dyadic_groups(SYM8, levels=5)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """A container, and the recording that it decodes to."""

    name: str
    content: bytes
    recording: Recording


def encoded(
    name: str,
    recording: Recording,
    *,
    chunk_frames: int | None = None,
    segment_samples: int = 1 << 30,
    level: int = 5,
    embed_models: bool = False,
    **promise,
) -> Seed:
    """Compress with chunks as short as asked for."""
    file = io.BytesIO()
    chunk_s = None if chunk_frames is None else chunk_frames / float(recording.frame_rate_hz)
    with mock.patch.object(encoder, "MIN_CHUNK_SAMPLES", 16):
        encode_recording(
            recording,
            file,
            promises=promises_for(recording.channels, **promise),
            level=level,
            chunk_s=chunk_s,
            models=BANKS,
            embed_models=embed_models,
            engine=ENGINE,
            threads=1,
            segment_samples=segment_samples,
        )
    return Seed(name, file.getvalue(), decoded(file.getvalue()))


def decoded(content: bytes) -> Recording:
    from sancodec.codec.decoder import RecordingReader

    return RecordingReader(io.BytesIO(content), engine=ENGINE, models=BANKS).read()


def tiny() -> Iterator[Seed]:
    """Containers of a few hundred bytes, for changing each of their bytes."""
    rng = np.random.default_rng(3)
    n = 96
    wave = np.rint(60 * np.sin(np.arange(n) / 3)).astype(np.int32) + rng.integers(-3, 4, n, dtype=np.int32)
    plain = _array([wave])
    gaps = wave.copy()
    gaps[40:50] = -500
    two_rates = Recording(
        (Channel("II", "mV", minimum=-400, maximum=400, invalid=-500), Channel("ABP", "mmHg", samples_per_frame=2)),
        (gaps, np.repeat(wave, 2) + rng.integers(-1, 2, 2 * n, dtype=np.int32)),
        Fraction(360),
    )
    yield encoded("tokens", plain, level=1, prdn=40)
    yield encoded("classes", plain, level=5, prdn=40)
    yield encoded("tokens within 1", plain, level=1, chunk_frames=48, max_error_adu=1)
    yield encoded("classes within 1", plain, level=5, chunk_frames=48, max_error_adu=1)
    yield encoded("mixed", plain, level=9, prdn=40)
    yield encoded("mixed within 1", plain, level=9, chunk_frames=48, max_error_adu=1)
    yield encoded("lossless", plain, level=5, lossless=True)
    yield encoded("segments", plain, level=5, chunk_frames=32, segment_samples=64, prdn=40)
    yield encoded("two rates, missing samples", two_rates, level=5, chunk_frames=48, prdn=40)
    yield encoded("two rates, lossless tokens", two_rates, level=1, chunk_frames=48, lossless=True)


def larger() -> Iterator[Seed]:
    """A few seconds of an ECG at several settings, and 8 channels like an EEG."""
    ecg = read_wfdb(ECG)
    some = Recording(
        ecg.channels, tuple(each[:1440].copy() for each in ecg.samples), ecg.frame_rate_hz, "wfdb", ecg.side_files
    )
    repeated = Recording(
        ecg.channels, tuple(np.tile(each, 3) for each in ecg.samples), ecg.frame_rate_hz, "wfdb", ecg.side_files
    )
    yield encoded("ecg tokens", some, level=1, prdn=5)
    yield encoded("ecg classes", some, level=5, prdn=5)
    yield encoded("ecg beats", repeated, level=3, chunk_frames=3600, prdn=5)
    yield encoded("ecg beats, classes", repeated, level=5, chunk_frames=3600, segment_samples=16_000, prdn=5)
    yield encoded("ecg within 1", some, level=5, chunk_frames=512, max_error_adu=1)
    yield encoded("ecg tokens within 1", some, level=1, chunk_frames=512, max_error_adu=1)
    yield encoded("ecg lossless", some, level=5, chunk_frames=512, segment_samples=2048, lossless=True)
    yield encoded("ecg lossless tokens", some, level=1, chunk_frames=512, lossless=True)
    yield encoded("ecg mixed", some, level=9, chunk_frames=512, segment_samples=2048, prdn=5)
    yield encoded("ecg beats, mixed", repeated, level=7, chunk_frames=3600, segment_samples=16_000, prdn=5)
    yield encoded("ecg mixed within 1", some, level=9, chunk_frames=512, max_error_adu=1)
    yield encoded("ecg mixed within 9 and 5 %", some, level=9, chunk_frames=512, max_error_adu=9, prdn=5)
    yield encoded("ecg lossless mixed", some, level=9, chunk_frames=720, lossless=True)
    rng = np.random.default_rng(8)
    noise = np.cumsum(rng.normal(0, 20, (3, 768)), axis=1)
    eeg = np.rint(rng.normal(0, 1, (8, 3)) @ noise + rng.normal(0, 3, (8, 768))).astype(np.int32)
    eeg[7] = 5
    yield encoded("eeg", _array(list(eeg), 256), chunk_frames=256, prdn=10)
    yield encoded("eeg lossless", _array(list(eeg), 256), chunk_frames=256, lossless=True)
    yield encoded("eeg mixed, banks inside", _array(list(eeg), 256), level=9, prdn=10, embed_models=True)
    yield encoded("eeg lossless mixed", _array(list(eeg), 256), level=9, chunk_frames=256, lossless=True)
    yield encoded("eeg within 2, banks inside", _array(list(eeg), 256), level=3, max_error_adu=2, embed_models=True)
    gaps = tuple(each.copy() for each in some.samples)
    gaps[0][300:340], gaps[1][:17] = -2048, -2048
    missing = Recording(tuple(_with_invalid(each) for each in some.channels), gaps, some.frame_rate_hz)
    yield encoded("ecg with missing samples", missing, chunk_frames=400, segment_samples=1600, prdn=5)
    yield encoded("ecg with missing samples within 1", missing, chunk_frames=400, max_error_adu=1)
    faster = Channel("faster", minimum=-(2**15), maximum=2**15 - 1, samples_per_frame=2)
    two_rates = Recording((some.channels[0], faster), (some.samples[0][:720], some.samples[1]), some.frame_rate_hz)
    yield encoded("two rates, lossless mixed", two_rates, level=9, chunk_frames=240, lossless=True)
    yield encoded("ecg with missing samples, mixed", missing, level=9, chunk_frames=400, max_error_adu=2, prdn=5)


@lru_cache(maxsize=1)
def all_seeds() -> tuple[Seed, ...]:
    return (*tiny(), *larger())


def _with_invalid(channel: Channel) -> Channel:
    return Channel(channel.name, channel.unit, channel.gain, channel.baseline, 11, -2047, 2047, -2048)


def _array(rows: list[np.ndarray], rate_hz: int = 360) -> Recording:
    channels = tuple(Channel(f"channel {index}", minimum=-(2**15), maximum=2**15 - 1) for index in range(len(rows)))
    return Recording(channels, tuple(rows), Fraction(rate_hz), "array:i2:2")
