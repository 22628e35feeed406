from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks, resample_poly

from sancodec.codec.detection import detect_events, extrema, high_pass, windows_at
from sancodec.datasets.wfdb_record import read_wfdb

RATES_HZ = [100, 250, 360, 500, 1000]


@pytest.fixture(scope="module")
def record():
    """Two leads of mitdb 100, 10 s at 360 Hz, float ``(channel, sample)``."""
    return np.stack(read_wfdb(Path(__file__).parents[1] / "data" / "100_10s.hea").samples).astype(float)


@pytest.fixture(scope="module")
def peaks_s(record):
    """R peaks in seconds, by another method: prominent maxima of the first lead."""
    lead = record[0] - np.median(record[0])
    peaks = find_peaks(lead, height=100, distance=150)[0]
    assert len(peaks) == 13
    return peaks / 360


def at_rate(record, rate_hz):
    ratio = Fraction(rate_hz, 360)
    centred = record - record.mean(axis=1, keepdims=True)
    return resample_poly(centred, ratio.numerator, ratio.denominator, axis=1, padtype="line").astype(np.float32)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_beat_is_found_once_at_any_sampling_rate(record, peaks_s, rate_hz):
    positions, filtered = detect_events(at_rate(record, rate_hz), sampling_rate_hz=rate_hz)
    assert filtered.dtype == np.float32
    assert len(positions) == len(peaks_s)
    np.testing.assert_allclose(positions / rate_hz, peaks_s, atol=0.02)


@pytest.mark.parametrize(
    "change", [lambda x: -x, lambda x: 100 * x, lambda x: 0.01 * x, lambda x: x[:1], lambda x: x[1:]]
)
def test_beats_are_found_whatever_polarity_gain_and_number_of_leads(record, peaks_s, change):
    signals = change(record - record.mean(axis=1, keepdims=True)).astype(np.float32)
    positions, _ = detect_events(signals, sampling_rate_hz=360)
    assert len(positions) == len(peaks_s)
    np.testing.assert_allclose(positions / 360, peaks_s, atol=0.05)


def test_a_flat_lead_beside_a_good_one_does_not_matter(record, peaks_s):
    signals = np.concatenate([record, np.full((1, record.shape[1]), 7)]).astype(np.float32)
    positions, _ = detect_events(signals - signals.mean(axis=1, keepdims=True), sampling_rate_hz=360)
    assert len(positions) == len(peaks_s)


@pytest.mark.parametrize("level", [0, 7, -30_000])
def test_flat_lines_have_no_events(level):
    positions, filtered = detect_events(np.full((2, 3600), level, np.float32), sampling_rate_hz=360)
    assert len(positions) == 0
    np.testing.assert_allclose(filtered, 0, atol=0.05)


@pytest.mark.parametrize("n_samples", [300, 3600, 36_000])
def test_events_in_white_noise_are_increasing_and_apart(n_samples):
    noise = np.random.default_rng(n_samples).normal(0, 1, (2, n_samples)).astype(np.float32)
    positions, _ = detect_events(noise, sampling_rate_hz=360)
    assert np.all(np.diff(positions) > 360 // 6)
    assert len(positions) <= n_samples / 360 * 4


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 10, 30, 100, 256])
@pytest.mark.parametrize("rate_hz", [50, 360, 2500])
def test_signals_of_any_length_are_searched(n_samples, rate_hz):
    signals = np.random.default_rng(n_samples).normal(0, 1, (2, n_samples)).astype(np.float32)
    positions, filtered = detect_events(signals, sampling_rate_hz=rate_hz)
    assert filtered.shape == signals.shape
    assert np.all(np.diff(positions) > 0)


def test_a_ramp_and_an_impulse_are_survived():
    for signal in (np.arange(3600.0), np.eye(1, 3600, 1800)[0], np.eye(1, 3600, 0)[0], np.sign(np.arange(3600) - 99)):
        positions, _ = detect_events(signal[None].astype(np.float32), sampling_rate_hz=360)
        assert len(positions) < 20


@pytest.mark.parametrize("rate_hz", [100, 360, 1000])
def test_the_high_pass_removes_wander_and_keeps_waves(rate_hz):
    time = np.arange(20 * rate_hz) / rate_hz
    wander = 100 * np.sin(2 * np.pi * 0.1 * time) + 1000
    waves = np.sin(2 * np.pi * 8 * time)
    filtered = high_pass(np.stack([wander, waves]).astype(np.float32), sampling_rate_hz=rate_hz)
    middle = slice(3 * rate_hz, -3 * rate_hz)
    assert np.abs(filtered[0, middle]).max() < 3
    np.testing.assert_allclose(filtered[1, middle], waves[middle], atol=0.1)


def test_extrema_keep_the_larger_of_two_that_are_too_close():
    ratio = np.zeros(40, np.float32)
    ratio[[5, 9, 20, 24, 28, 35]] = [1, 2, 3, 2, 2.5, 0.1]
    assert extrema(ratio, threshold=0.2, min_distance=6).tolist() == [9, 20, 28]
    assert extrema(ratio, threshold=0.2, min_distance=1).tolist() == [5, 9, 20, 24, 28]


def test_windows_beyond_the_signal_are_zero():
    windows = windows_at(np.arange(1, 6, dtype=np.float32), np.array([-10, -2, 0, 3, 5, 90]), 3)
    assert windows.tolist() == [[0, 0, 0], [0, 0, 1], [1, 2, 3], [4, 5, 0], [0, 0, 0], [0, 0, 0]]
