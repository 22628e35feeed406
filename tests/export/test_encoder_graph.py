from functools import cache

import numpy as np
import pytest

from sancodec.codec import quantiser, transform
from sancodec.codec.beats import BeatKernels, kernel_geometry, project
from sancodec.codec.chunks import Part, band_phases, bands_of, base_windows, bridged
from sancodec.codec.contexts import Profile
from sancodec.codec.models import shipped_model
from sancodec.codec.quantiser import Bands

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from sancodec.export.encoder_graph import encoder_graph  # noqa: E402
from sancodec.export.vectors import run  # noqa: E402

RATE = 120
DISTANCE = 30
STEP = 6.0


@cache
def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = encoder_graph(model, sampling_rate_hz=RATE).SerializeToString(deterministic=True)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def beats(rng, n_samples, *, n_leads=2, length=41, gap=70):
    """Leads with beats of two shapes on a wandering baseline, and the shapes."""
    window = np.hanning(length)
    shapes = np.stack([window * np.sin(np.arange(length) * each) for each in (0.6, 0.25)])  # (shape, position)
    shapes = np.rint(90 * shapes).astype(np.int32)
    signals = np.cumsum(rng.normal(0, 1.5, (n_leads, n_samples)), axis=1) + rng.normal(0, 2, (n_leads, n_samples))
    starts = np.cumsum(gap + rng.integers(-15, 15, n_samples // gap)) - length
    for start in starts[starts < n_samples].tolist():
        which, gain = rng.integers(0, 2), rng.uniform(2, 6)
        first, last = max(start, 0), min(start + length, n_samples)
        for lead in range(n_leads):
            signals[lead, first:last] += (1 - 0.4 * lead) * gain * shapes[which, first - start : last - start]
    return np.rint(signals).astype(np.int32), shapes


def feeds_of(model, samples, kernels, profile, rounding, *, cost=50.0, weight=1e-4):
    n_leads = len(samples)
    contexts = model.contexts
    tile = lambda row: np.tile(row[None], (n_leads, *[1] * row.ndim))  # noqa: E731
    return {
        "samples": samples,
        "offset": samples.mean(axis=1).astype(np.int32),
        "beat_kernels": tile(kernels.astype(np.float32)),
        "event_weight": np.full(n_leads, weight, np.float32),
        "event_cost": np.full(n_leads, cost, np.float32),
        "inverse_step": np.full(n_leads, 1 / STEP, np.float32),
        "expected": tile(profile.base(contexts)),
        "band_weights": tile(contexts.band_weights[profile.weight_set].astype(np.int32)),
        "thresholds": tile(rounding.thresholds),
        "n_direct": tile(contexts.n_direct[profile.weight_set]),
    }


def flat_profile(model, code=44):
    phases = np.zeros((model.contexts.n_phase_groups, 25), np.int64)
    phases[:, :6] = 3
    return Profile(0, np.full(model.n_bands, code), phases)


def expected_starts(feeds):
    """Detection and alignment once more, sample by sample."""
    samples = (feeds["samples"] - feeds["offset"][:, None]).astype(float)
    n_samples, length = samples.shape[1], feeds["beat_kernels"].shape[2]
    energy = np.zeros(n_samples)
    energy[1:] = (feeds["event_weight"][:, None] * np.diff(samples, axis=1) ** 2).sum(axis=0)
    for _ in range(2):  # 1/16 s of 120 Hz: 7 samples
        energy = np.convolve(energy, np.ones(7) / 7, "same")
    highest = [energy[first : first + 10 * RATE].max() for first in range(0, n_samples, 10 * RATE)]
    middle = sorted(highest, reverse=True)[len(highest) // 2]
    thresholds = 0.1 * np.repeat(np.minimum(highest, 4 * middle), 10 * RATE)[:n_samples]
    score = np.zeros(n_samples + length - 1)  # by start from 1 - length on
    for signal, kernels, weight in zip(
        samples, feeds["beat_kernels"].astype(float), feeds["event_weight"], strict=True
    ):
        level = kernels - kernels.mean(axis=1, keepdims=True)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(signal, length - 1), length)
        explained = (np.maximum(windows @ level.T, 0) ** 2 / (level**2).sum(axis=1)).max(axis=1)
        share = explained / np.maximum(windows.var(axis=1) * length, 1)
        score += weight * explained * share**2
    before, reach = kernel_geometry(RATE)[1], 12
    found = []
    for peak in np.flatnonzero(energy > thresholds):
        earlier, later = energy[max(peak - DISTANCE, 0) : peak], energy[peak : peak + DISTANCE]
        if (energy[peak] > earlier).all() and (energy[peak] >= later).all():
            places = np.clip(peak - before + length - 1 + np.arange(-reach, reach + 1), 0, len(score) - 1)
            found.append(places[score[places].argmax()] - length + 1)
    return np.array(found)


@pytest.mark.parametrize("name", ["sym8", "ecg360", "haar"])
def test_events_and_levels_are_those_of_the_reference_encoder(name):
    model, rng = shipped_model(name), np.random.default_rng(5)
    samples, shapes = beats(rng, 3000)
    profile = flat_profile(model)
    rounding = quantiser.rounding_of(model.contexts, multiplier=0.11, weight_set=0)
    feeds = feeds_of(model, samples, shapes, profile, rounding)
    found = run(session(model), feeds)

    starts = expected_starts(feeds)
    assert len(starts) > 20
    np.testing.assert_array_equal(found["event_start"], starts)
    circles = []
    for lead, signal in enumerate(samples):
        centred = (signal - feeds["offset"][lead]).astype(np.float32)
        events, residual = project(centred, starts, BeatKernels(shapes, 0), penalty=50.0)
        np.testing.assert_array_equal(found["event_kernel"][lead], events.kernel_ids)
        np.testing.assert_array_equal(found["event_gain"][lead], events.gains)
        assert np.count_nonzero(events.gains) > 20
        circles.append(bridged(residual, Part(0, 1, len(signal), 0), model)[0])
    bands = Bands.of(bands_of(transform.similarity(model, np.stack(circles))))
    phases = band_phases(model, [starts, starts], len(circles[0]), kernel_length=shapes.shape[1])
    base = base_windows(model, profile, phases)
    expected, sums = quantiser.quantise(bands, model, base, weight_set=0, step=STEP, rounding=rounding)
    band = n_levels = n_same = 0
    for index, group in enumerate(model.groups):
        dense = np.zeros((2, len(circles[0]) // group.stride, group.n_kernels), np.int32)
        dense.reshape(-1)[found[f"level_index_{index}"]] = found[f"level_{index}"]
        for kernel in range(group.n_kernels):
            sign = np.where(expected.negative[band], -1, 1)
            wanted = expected.magnitudes[band] * sign
            n_levels += np.count_nonzero(wanted)
            n_same += np.count_nonzero((dense[:, :, kernel] == wanted) & (wanted != 0))
            assert np.count_nonzero(dense[:, :, kernel] != wanted) <= 2  # sums are rounded in another order
            band += 1
    assert n_levels > 300
    assert n_same >= 0.995 * n_levels
    assert found["squares"].sum() == pytest.approx(sums.squares, rel=1e-3)
    np.testing.assert_allclose(found["errors"].sum(axis=0)[1:], sums.errors[1:], rtol=0.01, atol=2)
    np.testing.assert_allclose(found["counts"].sum(axis=0)[1:], sums.counts[1:], atol=3)
