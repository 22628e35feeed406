from fractions import Fraction

import numpy as np
import pytest
from round_trips import BANKS, compressed, prdn_of, recording, round_trip, sine

import sancodec
from sancodec.api import recording_of
from sancodec.codec.recording import Channel
from sancodec.errors import InvalidSignalError

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
GAPPED = Channel("a", minimum=-32767, invalid=-32768)


@pytest.mark.parametrize("shape", [(600,), (2, 600)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_integer_type_and_shape_comes_back(dtype, shape):
    signal = (sine(600) * np.linspace(1, 0.5, shape[0] if len(shape) > 1 else 1)[:, None] + 120 * ("u" in dtype)).clip(
        0 if "u" in dtype else -128, 127 if dtype == "int8" else 255
    )
    signal = signal.astype(dtype).reshape(shape)
    decoded = round_trip(signal, level=3)
    assert decoded.dtype == signal.dtype
    assert decoded.shape == shape
    assert np.all(prdn_of(signal, decoded) <= 2)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16"])
def test_samples_never_leave_the_range_of_what_was_given(dtype):
    limits = np.iinfo(dtype)
    signal = np.where(np.arange(3000) % 40 < 20, limits.min, limits.max).astype(dtype)
    assert prdn_of(signal, round_trip(signal, prdn=9)) <= 9


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 64, 256, 8193])
@pytest.mark.parametrize("level", [1, 5, 9])
def test_a_signal_of_any_length_comes_back(n_samples, level):
    signal = np.random.default_rng(n_samples).integers(-300, 300, (2, n_samples)).astype(np.int16)
    decoded = round_trip(signal, level=level, chunk_s=1)
    assert decoded.shape == signal.shape
    if n_samples > 1:
        assert np.all(prdn_of(signal, decoded) <= 2)
    else:
        np.testing.assert_array_equal(decoded, signal)


@pytest.mark.parametrize("level", [1, 3, 5, 9])
@pytest.mark.parametrize("value", [0, 7, -(2**31), 2**31 - 1])
def test_a_constant_channel_is_exact_and_small(value, level):
    signal = np.full((2, 5000), value, np.int32)
    content = compressed(signal, level=level)
    np.testing.assert_array_equal(sancodec.decompress(content), signal)
    assert len(content) < 250


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_constant_channels_beside_varying_ones_are_exact(long_ecg, level):
    signal = long_ecg[[0, 0, 1, 1], :9000].copy()
    signal[1], signal[3] = -5, 2**31 - 1
    decoded = round_trip(signal, level=level, prdn=5)
    np.testing.assert_array_equal(decoded[[1, 3]], signal[[1, 3]])
    assert np.all(prdn_of(signal[[0, 2]], decoded[[0, 2]]) <= 5)


@pytest.mark.parametrize("level", [1, 3, 5, 9])
@pytest.mark.parametrize("chunk_s", [None, 0.1, 1e9])
def test_chunks_of_any_length_give_the_promise(long_ecg, chunk_s, level):
    decoded = round_trip(long_ecg, chunk_s=chunk_s, prdn=5, level=level)
    assert np.all(prdn_of(long_ecg, decoded) <= 5)


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_channels_of_different_rates_come_back(long_ecg, level):
    fast, slow = long_ecg[0, :20_000], long_ecg[1, :20_000:4]
    before = recording(
        [slow, fast, np.full(5000, 3), long_ecg[1, :20_000]],
        [Channel("slow"), Channel("fast", samples_per_frame=4), Channel("flat"), Channel("b", samples_per_frame=4)],
        90,
    )
    content = sancodec.compress(before, models=BANKS, prdn=5, level=level, chunk_s=20)
    after = sancodec.decompress_recording(content, models=BANKS)
    assert after.channels == before.channels
    assert after.frame_rate_hz == 90
    for one, other in zip(before.samples, after.samples, strict=True):
        assert np.array_equal(one, other) or prdn_of(one, other) <= 5
    with pytest.raises(InvalidSignalError, match="different sampling rates"):
        sancodec.decompress(content, models=BANKS)


def test_an_array_becomes_a_recording_with_its_limits():
    wrapped = recording_of(np.array([[1, 2], [3, 4]], np.uint8), sampling_rate_hz=100.5)
    assert wrapped.frame_rate_hz == Fraction(201, 2)
    assert [(each.minimum, each.maximum, each.resolution_bits) for each in wrapped.channels] == [(0, 255, 8)] * 2
    assert wrapped.duration_s == pytest.approx(2 / 100.5)


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_missing_samples_come_back_and_do_not_count(long_ecg, level):
    samples = long_ecg[0].copy()
    for gap in (slice(0, 50), slice(4000, 9000), slice(21_500, 21_700), slice(28_799, None)):
        samples[gap] = -32768
    before = recording([samples, long_ecg[1]], [GAPPED, GAPPED])
    content = sancodec.compress(before, models=BANKS, prdn=5, level=level)
    after = sancodec.decompress_recording(content, models=BANKS).samples
    valid = samples != -32768
    np.testing.assert_array_equal(after[0] == -32768, ~valid)
    assert prdn_of(samples[valid], after[0][valid]) <= 5
    assert prdn_of(long_ecg[1], after[1]) <= 5


@pytest.mark.parametrize("level", [1, 5, 9])
def test_a_channel_without_a_valid_sample_comes_back(long_ecg, level):
    before = recording([np.full(3600, -32768), long_ecg[0, :3600]], [GAPPED, GAPPED])
    after = sancodec.decompress_recording(sancodec.compress(before, models=BANKS, level=level), models=BANKS)
    np.testing.assert_array_equal(after.samples[0], before.samples[0])
    alone = recording([np.full(10, -32768)], [GAPPED])
    np.testing.assert_array_equal(
        sancodec.decompress_recording(sancodec.compress(alone, models=BANKS)).samples[0], alone.samples[0]
    )


@pytest.mark.parametrize("seed", [31, 60])
def test_more_channels_than_samples_to_predict_them_by_come_back(seed):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((17, 9)) < 0.9, 1, rng.integers(0, 4, (17, 9))).astype(np.int8)
    assert np.array_equal(sancodec.decompress(sancodec.compress(x, sampling_rate_hz=360, lossless=True, level=1)), x)


def test_a_constant_channel_with_gaps_is_exact():
    samples = np.full(500, 9)
    samples[100:200] = -32768
    before = recording([samples], [GAPPED])
    after = sancodec.decompress_recording(sancodec.compress(before, models=BANKS), models=BANKS)
    np.testing.assert_array_equal(after.samples[0], samples)


@pytest.mark.parametrize("invalid", [-51, 51])
def test_no_valid_sample_becomes_a_missing_one(invalid):
    samples = np.random.default_rng(2).integers(-50, 51, 4000)
    samples[1000:1100] = invalid
    before = recording([samples], [Channel("a", minimum=-50, maximum=50, invalid=invalid)])
    after = sancodec.decompress_recording(sancodec.compress(before, models=BANKS, prdn=9), models=BANKS)
    np.testing.assert_array_equal(after.samples[0] == invalid, samples == invalid)
