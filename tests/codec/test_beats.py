import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.beats import (
    FRACTION_BITS,
    MAX_EXPONENT,
    MAX_GAIN,
    BeatKernels,
    Events,
    kernel_geometry,
    learn_kernels,
    project,
    quantise_kernels,
    render,
)

LENGTH = 24


def random_kernels(rng, n_kernels=3, exponent=0):
    return BeatKernels(rng.integers(-200, 201, (n_kernels, LENGTH)).astype(np.int32), exponent)


def rendered_by_hand(starts, events, kernels, n_samples):
    result = [0] * n_samples
    length = kernels.weights.shape[1]
    for start, kernel, gain in zip(starts.tolist(), events.kernel_ids.tolist(), events.gains.tolist(), strict=True):
        for position in range(length):
            if 0 <= start + position < n_samples:
                result[start + position] += gain * int(kernels.weights[kernel, position])
    return result


@given(st.sets(st.integers(1 - LENGTH, 99)), st.integers(0, 2**32))
@settings(deadline=None)
def test_rendering_adds_every_event_even_where_windows_overlap_or_leave_the_signal(positions, seed):
    rng = np.random.default_rng(seed)
    starts = np.array(sorted(positions), np.int64)
    kernels = random_kernels(rng)
    events = Events(
        rng.integers(0, 3, len(starts)).astype(np.int32), rng.integers(0, MAX_GAIN + 1, len(starts)).astype(np.int32)
    )
    found = render(starts, events, kernels, n_samples=100)
    assert found.tolist() == rendered_by_hand(starts, events, kernels, 100)


def test_events_outside_the_signal_add_nothing():
    starts = np.array([-LENGTH - 5, -LENGTH, 100, 140])
    events = Events(np.zeros(4, np.int32), np.ones(4, np.int32))
    assert not render(starts, events, random_kernels(np.random.default_rng(0)), n_samples=100).any()


@given(st.sets(st.integers(1 - LENGTH, 199), max_size=30), st.integers(-3, 3), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_signal_is_its_residual_plus_what_the_events_render(positions, exponent, seed):
    rng = np.random.default_rng(seed)
    starts = np.array(sorted(positions), np.int64)
    kernels = random_kernels(rng, exponent=exponent)
    signal = rng.integers(-3000, 3000, 200).astype(np.float32)
    for start in starts.tolist():
        inside = slice(max(0, start), min(200, start + LENGTH))
        signal[inside] += 5 * kernels.weights[0, inside.start - start : inside.stop - start]
    events, residual = project(signal, starts, kernels, penalty=0.0)
    total = residual + render(starts, events, kernels, n_samples=200) * 2.0**exponent
    np.testing.assert_array_equal(total, signal)
    assert float(residual @ residual) <= float(signal @ signal)


def test_an_event_takes_the_kernel_and_gain_that_leave_least():
    rng = np.random.default_rng(1)
    kernels = random_kernels(rng)
    signal = np.zeros(300, np.float32)
    starts = np.array([10, 60, 110, 250])
    for start, kernel, gain in [(10, 2, 7), (60, 0, 1), (110, 1, MAX_GAIN)]:
        signal[start : start + LENGTH] += gain * kernels.weights[kernel]
    events, residual = project(signal, starts, kernels, penalty=1.0)
    assert events.kernel_ids[:3].tolist() == [2, 0, 1]
    assert events.gains.tolist() == [7, 1, MAX_GAIN, 0]
    assert not residual.any()


def test_an_event_that_saves_less_than_the_penalty_is_left_out():
    kernels = random_kernels(np.random.default_rng(2), n_kernels=1)
    signal = np.zeros(100, np.float32)
    signal[40 : 40 + LENGTH] = kernels.weights[0]
    energy = float(signal @ signal)
    for penalty, gain in [(0.99 * energy, 1), (1.01 * energy, 0)]:
        events, residual = project(signal, np.array([40]), kernels, penalty=penalty)
        assert events.gains.tolist() == [gain]
        assert residual.any() == (gain == 0)


def test_an_inverted_wave_is_left_to_the_bank():
    kernels = random_kernels(np.random.default_rng(3), n_kernels=1)
    signal = np.zeros(100, np.float32)
    signal[40 : 40 + LENGTH] = -5 * kernels.weights[0]
    events, residual = project(signal, np.array([40]), kernels, penalty=0.0)
    assert events.gains.tolist() == [0]
    np.testing.assert_array_equal(residual, signal)


def test_a_wave_cut_by_the_border_is_taken_in_part():
    kernels = random_kernels(np.random.default_rng(4), n_kernels=1)
    signal = np.zeros(60, np.float32)
    signal[: LENGTH - 10] = 9 * kernels.weights[0, 10:]
    signal[60 - 12 :] += 9 * kernels.weights[0, :12]
    starts = np.array([-10, 48])
    events, residual = project(signal, starts, kernels, penalty=0.0)
    total = residual + render(starts, events, kernels, n_samples=60)
    np.testing.assert_array_equal(total, signal)
    assert np.linalg.norm(residual) < np.linalg.norm(signal)


def test_no_events_leave_the_signal_alone():
    signal = np.arange(50, dtype=np.float32)
    kernels = random_kernels(np.random.default_rng(5))
    events, residual = project(signal, np.zeros(0, np.int64), kernels, penalty=0.0)
    assert len(events.gains) == 0
    np.testing.assert_array_equal(residual, signal)


def test_a_kernel_of_zeros_is_never_chosen():
    kernels = BeatKernels(np.zeros((1, LENGTH), np.int32), 0)
    events, _ = project(np.ones(100, np.float32), np.array([5, 50]), kernels, penalty=0.0)
    assert events.gains.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rate_hz", "length", "before"), [(360, 256, 100), (250, 178, 69), (1000, 711, 278), (1, 4, 1)]
)
def test_a_kernel_lasts_071_s_with_028_s_before_its_peak(rate_hz, length, before):
    assert kernel_geometry(rate_hz) == (length, before)


def wave_train(rng, n_events=80, rate_hz=360):
    """Two shapes of waves with varying gain on little noise."""
    length, before = kernel_geometry(rate_hz)
    time = (np.arange(length) - before) / rate_hz
    narrow, wide = np.exp(-((time / 0.02) ** 2)), -time * np.exp(-((time / 0.06) ** 2)) * 30
    positions = before + np.arange(n_events) * 320
    signal = rng.normal(0, 1, positions[-1] + 400).astype(np.float32)
    for index, position in enumerate(positions):
        shape = wide if index % 4 == 3 else narrow
        signal[position - before : position - before + length] += 500 * rng.uniform(0.8, 1.2) * shape
    return signal, positions, narrow / np.linalg.norm(narrow), wide / np.linalg.norm(wide)


def test_learning_finds_the_shapes_of_the_waves_the_most_used_first():
    signal, positions, narrow, wide = wave_train(np.random.default_rng(6))
    learnt = learn_kernels(signal, positions, counts=[1, 2], sampling_rate_hz=360)
    assert sorted(learnt) == [1, 2]
    np.testing.assert_allclose(np.linalg.norm(learnt[2], axis=1), 1, rtol=1e-5)
    assert learnt[2][0] @ narrow > 0.98
    assert learnt[2][1] @ wide > 0.98


def test_learning_on_silence_gives_no_kernels():
    positions = np.arange(100, 2000, 300)
    assert learn_kernels(np.zeros(2500, np.float32), positions, counts=[1, 2], sampling_rate_hz=360) == {}


def test_equal_waves_do_not_support_many_kernels():
    signal = np.zeros(3000, np.float32)
    positions = np.arange(200, 2800, 300)
    signal[positions] = 100
    learnt = learn_kernels(signal, positions, counts=[1, 2, 4], sampling_rate_hz=360)
    assert 1 in learnt
    for kernels in learnt.values():
        assert np.all(np.isfinite(kernels))


def stored_in_units(kernels, gains, step, max_exponent=MAX_EXPONENT):
    """Kernels, what a coefficient's step and a weight stand for, and the error of all weights, at a gain of 1."""
    stored = quantise_kernels(kernels, gains, step=step, max_exponent=max_exponent)
    unit = 2.0**stored.exponent
    gain_step = max(step, float(np.median(gains)) / 32)
    return stored, stored.coefficients.step * unit, unit, stored.weights * unit - kernels * gain_step


@pytest.mark.parametrize("waves", [1, 16, 256])
@pytest.mark.parametrize("step", [2.0**-7, 0.5, 3.0, 100.0])
def test_stored_kernels_are_the_finer_the_more_waves_share_their_error(step, waves):
    rng = np.random.default_rng(7)
    kernels = rng.normal(size=(3, LENGTH)).astype(np.float32)
    kernels /= np.linalg.norm(kernels, axis=1, keepdims=True)
    gains = rng.uniform(500, 1500, 3 * waves).astype(np.float32)
    stored, coefficient_step, unit, error = stored_in_units(kernels, gains, step)
    assert np.abs(stored.weights).max() < 2**15
    assert stored.exponent >= -FRACTION_BITS
    typical_gain = max(1.0, float(np.median(gains)) / max(step, float(np.median(gains)) / 32))
    shared = step / np.sqrt(waves) / typical_gain
    largest = np.abs(kernels).max() * max(step, float(np.median(gains)) / 32)
    assert coefficient_step == pytest.approx(shared, abs=unit / 2) or coefficient_step == unit
    assert unit <= max(shared / 48, 2.0**-FRACTION_BITS, 2 * largest / 30_000)
    assert np.sqrt((error**2).mean()) < 0.6 * coefficient_step + unit


def test_waves_of_one_shape_take_fewer_coefficients_the_coarser_the_step():
    length, before = kernel_geometry(360)
    time = (np.arange(length) - before) / 360
    shape = np.exp(-((time / 0.02) ** 2)) + 0.2 * np.exp(-(((time - 0.25) / 0.06) ** 2))
    kernels, gains = (shape / np.linalg.norm(shape))[None].astype(np.float32), np.full(80, 900, np.float32)
    counts = []
    for step in (1.0, 8.0, 64.0):
        stored, coefficient_step, unit, error = stored_in_units(kernels, gains, step)
        assert np.abs(error).max() < 2 * coefficient_step + unit
        counts.append(np.count_nonzero(stored.coefficients.values))
    assert length / 2 > counts[0] > counts[1] > counts[2] > 0


def test_exponent_is_at_most_what_the_step_allows():
    kernels, gains = np.eye(1, LENGTH, 5, dtype=np.float32), np.full(9, 2.0**40, np.float32)
    stored = quantise_kernels(kernels, gains, step=2.0**30, max_exponent=4)
    assert stored.exponent == 4
    assert 0 < np.abs(stored.weights).max() < 2**15
