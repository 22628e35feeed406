"""Channels that are coded as a mix of components: promises, odd channels, parts of a file."""

import io

import numpy as np
import pytest

import sancodec
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine

RATE_HZ = 250
MISSING = -32768


def sources(n_samples: int, n_sources: int, seed: int = 0) -> np.ndarray:
    """Rhythms of different frequencies that come and go, (source, sample)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / RATE_HZ
    rows = []
    for index in range(n_sources):
        envelope = 1 + np.sin(2 * np.pi * 0.1 * (index + 1) * time_s + rng.uniform(0, 6))
        rows.append(envelope * np.sin(2 * np.pi * (3 + 4 * index) * time_s + rng.uniform(0, 6)))
    return 300 * np.array(rows)


def correlated(n_channels: int, *, n_samples: int = 20_000, n_sources: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(0, 1, (n_channels, n_sources))
    noise = rng.normal(0, 2, (n_channels, n_samples))
    return np.rint(mixing @ sources(n_samples, n_sources, seed) + noise).astype(np.int16)


def leads(n_samples: int = 10_000) -> np.ndarray:
    """Twelve leads; four follow from the first two by Einthoven's and Goldberger's rules."""
    mixing = np.random.default_rng(3).normal(0, 1, (8, 4))
    first, second, *chest = mixing @ sources(n_samples, 4)
    limbs = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.rint(np.array([*limbs, *chest]) + np.random.default_rng(0).normal(0, 0.2, (12, n_samples))).astype(
        np.int16
    )


def prdn(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    error = np.linalg.norm(x - y.astype(np.float64), axis=-1)
    deviation = np.linalg.norm(x - x.mean(axis=-1, keepdims=True), axis=-1)
    return 100 * error / np.maximum(deviation, 1e-9)


def reader_of(blob: bytes) -> RecordingReader:
    return RecordingReader(io.BytesIO(blob), engine=NumpyEngine())


def is_mixed(blob: bytes) -> bool:
    return any(coding.row is not None for coding in reader_of(blob).codings)


@pytest.mark.parametrize("level", [3, 5, 7, 9])
@pytest.mark.parametrize("target", [2.0, 10.0, 30.0])
def test_every_channel_keeps_its_promise(level: int, target: float) -> None:
    x = correlated(6, n_samples=9000)
    blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=target, level=level)
    assert is_mixed(blob)
    assert prdn(x, sancodec.decompress(blob)).max() <= target


def test_a_mix_takes_far_fewer_bytes_than_channels_alone() -> None:
    x = correlated(8)
    together = len(sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0))
    alone = sum(len(sancodec.compress(row, sampling_rate_hz=RATE_HZ, prdn=5.0)) for row in x)
    assert together < 0.7 * alone


def test_leads_that_follow_from_others_have_no_weights_of_their_own() -> None:
    x = leads()
    blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0)
    reader = reader_of(blob)
    mix = reader.decoder(0).coding.mixes[0]
    assert mix is not None
    assert [rule is not None for rule in mix.derived] == [False, False, True, True, True, True] + [False] * 6
    assert prdn(x, sancodec.decompress(blob)).max() <= 5.0


def test_channels_that_have_nothing_in_common_are_coded_one_by_one() -> None:
    rng = np.random.default_rng(0)
    x = np.rint(rng.normal(0, 100, (4, 9000))).astype(np.int16)
    blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=10.0)
    assert not is_mixed(blob)


def test_bounded_and_exact_channels_are_coded_one_by_one() -> None:
    x = correlated(4, n_samples=6000)
    for settings in ({"lossless": True}, {"max_error": "3adu"}, {"max_error": "9adu", "prdn": 5.0}):
        blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, **settings)
        assert not is_mixed(blob)


def test_constant_channels_and_missing_samples() -> None:
    x = correlated(5, n_samples=9000).astype(np.int32)
    x[2] = 17
    x[0, 1000:1500] = MISSING
    x[4, :200] = MISSING
    channels = tuple(Channel(f"c{index}", minimum=-32767, maximum=32767, invalid=MISSING) for index in range(5))
    blob = sancodec.compress(Recording(channels, tuple(x), RATE_HZ), prdn=5.0)
    assert is_mixed(blob)
    with sancodec.open(io.BytesIO(blob)) as record:
        y = record[:, :]
    assert (y[2] == 17).all()
    assert ((y == MISSING) == (x == MISSING)).all()
    for before, after in zip(x, y, strict=True):
        valid = before != MISSING
        if before.min() < before[valid].max():
            assert prdn(before[valid], after[valid]) <= 5.0


def test_chunks_and_channels_of_a_mix_are_decoded_for_themselves() -> None:
    x = correlated(6, n_samples=60_000)
    blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0, chunk_s=60)
    assert is_mixed(blob)
    y = sancodec.decompress(blob)
    with sancodec.open(io.BytesIO(blob)) as record:
        np.testing.assert_array_equal(record[3, 20_000:31_000], y[3, 20_000:31_000])


def test_channels_of_two_rates_are_two_mixes() -> None:
    fast, slow = correlated(4, n_samples=16_000), correlated(4, n_samples=8000, seed=1)
    channels = tuple(Channel(f"c{index}", samples_per_frame=2 if index < 4 else 1) for index in range(8))
    rows = tuple(each.astype(np.int32) for each in (*fast, *slow))
    blob = sancodec.compress(Recording(channels, rows, RATE_HZ), prdn=5.0)
    mixes = reader_of(blob).decoder(0).coding.mixes
    assert len(mixes) == 2
    assert all(mix is not None for mix in mixes)
    with sancodec.open(io.BytesIO(blob)) as record:
        for index, row in enumerate(rows):
            assert prdn(row, record[index, :]) <= 5.0


def test_channels_of_different_scales() -> None:
    x = correlated(4, n_samples=9000, n_sources=2).astype(np.int32) * np.array([[1], [30], [20], [7]])
    blob = sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0)
    assert is_mixed(blob)
    assert prdn(x, sancodec.decompress(blob)).max() <= 5.0
    x[2] *= 1000  # weights of so many scales at once are beyond the format: its channels are coded one by one
    assert prdn(x, sancodec.decompress(sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0))).max() <= 5.0


@pytest.mark.parametrize("n_samples", [1, 2, 3, 17, 300])
def test_short_recordings(n_samples: int) -> None:
    x = correlated(6, n_samples=n_samples)
    y = sancodec.decompress(sancodec.compress(x, sampling_rate_hz=RATE_HZ, prdn=5.0))
    assert prdn(x, y).max() <= 5.0


def test_copies_of_one_channel_cost_next_to_nothing() -> None:
    row = correlated(1)[0]
    one = len(sancodec.compress(row, sampling_rate_hz=RATE_HZ, prdn=5.0))
    many = sancodec.compress(np.stack([row] * 8), sampling_rate_hz=RATE_HZ, prdn=5.0)
    assert len(many) < 1.3 * one + 400
    assert prdn(np.stack([row] * 8), sancodec.decompress(many)).max() <= 5.0
