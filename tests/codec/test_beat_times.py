"""Beats told from the event stream: where they stand, what is left out, and how many are right on real records."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sancodec
from sancodec.codec.beat_matching import score_beats
from sancodec.codec.beat_times import beat_times, beats_among
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.open_recording import OpenRecording
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine
from sancodec.datasets.wfdb_annotation import read_reference
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import InvalidSignalError

RATE_HZ = 250
HALF = RATE_HZ // 4
# Of the training records, 101 has T waves as events, 102 paced beats, 106 ventricular ones, 104 noise.
RECORDS = ("101", "102", "104", "106")


def pulse(width_s: float, height: float) -> np.ndarray:
    time_s = np.arange(-HALF, HALF + 1) / RATE_HZ
    return height * np.exp(-((time_s / width_s) ** 2))


def ecg(*, polarity: int = 1, n_beats: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A lead with T waves nearly as high as the R peaks, now sooner and now later; and the R peaks."""
    rng = np.random.default_rng(0)
    peaks = RATE_HZ + np.cumsum(rng.integers(180, 230, n_beats))
    signal = rng.normal(0, 3, peaks[-1] + 2 * RATE_HZ)
    for peak in peaks.tolist():
        for place, wave in ((peak, pulse(0.015, 900)), (peak + int(rng.integers(55, 80)), pulse(0.04, 700))):
            signal[place - HALF : place + HALF + 1] += polarity * wave
    return np.rint(signal).astype(np.int16), peaks


def opened(signal: np.ndarray | Recording, **settings: object) -> OpenRecording:
    rate = {} if isinstance(signal, Recording) else {"sampling_rate_hz": RATE_HZ}
    return sancodec.open(io.BytesIO(sancodec.compress(signal, **rate, **settings)))


@pytest.mark.parametrize("polarity", [1, -1])
def test_beats_stand_at_the_r_peaks(polarity: int) -> None:
    signal, peaks = ecg(polarity=polarity)
    beats = opened(signal, prdn=5.0).beats()
    assert len(beats) == len(peaks)
    assert np.abs(beats - peaks).max() <= 2


@pytest.mark.parametrize(
    ("events", "beats"),
    [
        # (begin in samples, slope); at 100 Hz refractory are 20 samples, T waves come within 36
        ([(0, 10), (100, 10), (200, 10)], [0, 1, 2]),
        ([(0, 10), (30, 4), (100, 10), (130, 4), (200, 10)], [0, 2, 4]),  # T waves
        ([(0, 10), (30, 6), (100, 10)], [0, 1, 2]),  # an early beat
        ([(0, 10), (40, 4), (100, 10)], [0, 1, 2]),  # a late one is held to what is usual only
        ([(0, 10), (50, 2), (100, 10), (200, 10)], [0, 2, 3]),
        ([(0, 10), (15, 12), (100, 10)], [1, 2]),  # of two within the refractory period the steeper one
        ([(0, 12), (15, 10), (100, 10)], [0, 2]),
        ([(0, 10), (50, 0), (100, 10)], [0, 2]),
        ([(0, 10)], [0]),
        ([], []),
    ],
)
def test_events_are_beats_by_slope_and_distance(events: list[tuple[int, int]], beats: list[int]) -> None:
    starts = np.array([start for start, _ in events], np.int64)
    slopes = np.array([slope for _, slope in events], np.float64)
    assert beats_among(starts, slopes, sampling_rate_hz=100).tolist() == beats


def test_what_is_usual_changes_along_a_recording() -> None:
    slopes = np.repeat([10.0, 1.0], 100)
    assert len(beats_among(np.arange(200) * 100, slopes, sampling_rate_hz=100)) >= 190


def test_beats_do_not_depend_on_where_chunks_begin() -> None:
    signal, peaks = ecg()
    whole = opened(signal, prdn=5.0, chunk_s=None).beats()
    assert np.array_equal(opened(signal, prdn=5.0, chunk_s=40.0).beats(), whole)
    assert len(whole) == len(peaks)


def test_leads_tell_more_together() -> None:
    signal, peaks = ecg()
    other = signal.copy()
    signal[: len(signal) // 2] = signal[len(signal) // 2]  # the electrode of one lead came late
    record = opened(np.stack([signal, other]), prdn=5.0)
    assert len(record.beats()) == len(record.beats(1)) == len(peaks)
    assert len(record.beats("channel 0")) < len(peaks) * 0.7
    assert np.array_equal(record.beats([1, 0]), record.beats())


def test_waveforms_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    from sancodec.codec.segment_decoder import SegmentDecoder

    signal, peaks = ecg()
    record = opened(signal, prdn=5.0)

    def refuse(*_: object) -> None:
        raise AssertionError("the waveform was decoded")

    monkeypatch.setattr(SegmentDecoder, "decode", refuse)
    assert len(record.beats()) == len(peaks)


def test_rates_of_their_own_are_not_mixed() -> None:
    signal, peaks = ecg()
    n_frames = len(signal) // 2
    channels = (Channel("slow"), Channel("fast", samples_per_frame=2))
    samples = (signal[: 2 * n_frames : 2].astype(np.int32), signal[: 2 * n_frames].astype(np.int32))
    record = opened(Recording(channels, samples, frame_rate_hz=RATE_HZ // 2), prdn=5.0)
    with pytest.raises(InvalidSignalError, match="2 sampling rates"):
        record.beats()
    assert np.abs(record.beats("fast") - peaks).max() <= 2
    assert np.abs(record.beats("slow") - peaks / 2).max() <= 2


def test_channels_with_positions_of_their_own_are_not_mixed() -> None:
    signal, peaks = ecg()
    blob = sancodec.compress(np.stack([signal, signal]), sampling_rate_hz=RATE_HZ, max_error_adu=30)
    reader = RecordingReader(io.BytesIO(blob), engine=NumpyEngine())
    first, second = reader.codings
    assert first.row is None
    apart = SimpleNamespace(codings=[first, replace(second, lead_group=1)])
    changed = SimpleNamespace(header=reader.header, parse=reader.parse, decoder=lambda _: apart)
    with pytest.raises(InvalidSignalError, match="do not share the positions"):
        beat_times(changed, [0, 1])  # type: ignore[arg-type]
    assert len(beat_times(changed, [0])) == len(peaks)  # type: ignore[arg-type]


def test_leads_that_are_mixed_have_the_beats_of_their_components() -> None:
    signal, peaks = ecg()
    leads = np.stack([signal, -signal, signal // 2])
    reader = RecordingReader(
        io.BytesIO(sancodec.compress(leads, sampling_rate_hz=RATE_HZ, prdn=5.0)), engine=NumpyEngine()
    )
    assert all(coding.row is not None for coding in reader.codings)
    for channels in ([0], [1], [2], [0, 1, 2]):
        beats = beat_times(reader, channels)
        assert len(beats) == len(peaks)
        assert np.abs(beats - peaks).max() <= 2


def test_a_lattice_changes_nothing() -> None:
    signal, peaks = ecg()
    beats = opened(signal.astype(np.int32) * 40, max_error_adu=10).beats()
    assert len(beats) == len(peaks)


@pytest.mark.parametrize("settings", [{"level": 1, "prdn": 5.0}, {"level": 5, "prdn": 5.0}])
def test_a_file_without_beat_kernels_says_so(settings: dict[str, object]) -> None:
    noise = np.random.default_rng(0).normal(0, 50, 3000)
    signal = ecg()[0] if settings["level"] == 1 else noise.astype(np.int16)
    with pytest.raises(InvalidSignalError, match=r"no beats in the file.*QRS detector"):
        opened(signal, **settings).beats()


@pytest.mark.parametrize("name", RECORDS)
def test_beats_of_training_records_are_right(shared_data: Path, name: str) -> None:
    recording = read_wfdb(shared_data / "mitdb" / name)
    reference = read_reference(
        shared_data / "mitdb" / f"{name}.atr",
        frame_rate_hz=360.0,
        sampling_rate_hz=360.0,
        n_samples=len(recording.samples[0]),
    )
    record = sancodec.open(io.BytesIO(sancodec.compress(recording, preset="monitor", level=3)))
    beats = record.beats()
    if name == "101":
        assert len(record.events(0)[0]) > 1.3 * len(beats)
    score = score_beats(reference, beats, sampling_rate_hz=360)
    assert score.sensitivity is not None
    assert score.sensitivity > 98
    assert score.positive_predictivity is not None
    assert score.positive_predictivity > 97
