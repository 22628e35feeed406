"""Find recurring waves: extrema of the band-passed energy with a minimum distance, aligned with each other.

Serves the encoder only. Times are given in seconds, so that the same wave is found at any sampling rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HIGH_PASS_HZ = 0.5
_SMOOTHING_S = 0.125
_THRESHOLD_WINDOW_S = 10.0
_MIN_DISTANCE_S = 0.25
_MIN_SEPARATION_S = 1 / 6
_FIRST_ALIGNMENT_S = 0.07
_ALIGNMENT_S = 1 / 30
_QRS_BEFORE_S, _QRS_AFTER_S = 1 / 9, 1 / 6
_ALIGNMENT_ROUNDS = 3


def high_pass(signals: NDArray[np.float32], *, sampling_rate_hz: float) -> NDArray[np.float32]:
    """Zero-phase second-order Butterworth high-pass at 0.5 Hz, forward and backward, by FFT; ``(channel, sample)``."""
    n_samples = signals.shape[1]
    margin = min(n_samples - 1, int(2 * sampling_rate_hz))
    size = 1 << (n_samples + 2 * margin - 1).bit_length()
    if size > 1.5 * (n_samples + 2 * margin):
        size = 3 * size // 4
    size = max(size, n_samples + 2 * margin)
    extended = np.pad(signals, ((0, 0), (margin, margin)), mode="reflect" if margin else "edge")
    spectrum = np.fft.rfft(extended, size, axis=1)
    frequency = np.fft.rfftfreq(size, 1 / sampling_rate_hz)
    response = frequency**4 / (frequency**4 + _HIGH_PASS_HZ**4)
    filtered = np.fft.irfft(spectrum * response.astype(np.float32), size, axis=1)
    return filtered[:, margin : margin + n_samples].astype(np.float32, copy=False)


def energy_ratio(filtered: NDArray[np.float32], *, sampling_rate_hz: float) -> NDArray[np.float32]:
    """Smoothed energy of the first difference over all channels, relative to a threshold every 10 s; ``(sample,)``."""
    difference = np.diff(filtered, axis=1, prepend=filtered[:, :1])
    energy = np.zeros(filtered.shape[1], np.float32)
    for squared in difference**2:
        scale = np.percentile(squared[:: max(1, len(squared) // 50_000)], 99)
        if scale > 0:
            energy += squared / scale
    window = np.hanning(max(3, round(_SMOOTHING_S * sampling_rate_hz)) + 2).astype(np.float32)
    smooth = np.convolve(energy, window / window.sum(), mode="same").astype(np.float32, copy=False)
    span = max(1, round(_THRESHOLD_WINDOW_S * sampling_rate_hz))
    n_spans = max(1, len(smooth) // span)
    edges = np.linspace(0, len(smooth), n_spans + 1).astype(int)
    step = max(1, round(0.02 * sampling_rate_hz))
    shortest = int(np.diff(edges).min())
    spans = smooth[edges[:-1, None] + np.arange(0, shortest, step)]  # (span, position)
    highest: NDArray[np.float64] = np.percentile(spans, 98, axis=1)
    thresholds = np.minimum(highest, 4 * np.median(highest))
    floor = max(float(thresholds.max()) * 1e-6, float(np.finfo(np.float32).tiny))
    per_sample = np.repeat(np.maximum(thresholds, floor), np.diff(edges)).astype(np.float32)
    return np.divide(smooth, per_sample, dtype=np.float32)


def extrema(ratio: NDArray[np.float32], *, threshold: float, min_distance: int) -> NDArray[np.int64]:
    """Extrema activation (arXiv:1911.00400): local maxima above a threshold, the larger ones first, kept apart."""
    inner = ratio[1:-1]
    peaks = 1 + np.flatnonzero((inner > threshold) & (inner >= ratio[:-2]) & (inner > ratio[2:]))
    kept = np.ones(len(peaks), bool)
    for index in np.argsort(-ratio[peaks], kind="stable"):
        if not kept[index]:
            continue
        position = peaks[index]
        first, last = np.searchsorted(peaks, [position - min_distance + 1, position + min_distance])
        kept[first:last] = False
        kept[index] = True
    return peaks[kept]


def _keep_apart(positions: NDArray[np.int64], min_distance: int) -> NDArray[np.int64]:
    kept: list[int] = []
    for position in np.unique(positions).tolist():
        if not kept or position - kept[-1] > min_distance:
            kept.append(position)
    return np.array(kept, np.int64)


def windows_at(signal: NDArray[np.float32], starts: NDArray[np.int64], length: int) -> NDArray[np.float32]:
    """Windows ``(event, position)`` of a signal that is zero outside its bounds."""
    padded = np.zeros(len(signal) + 2 * length, np.float32)
    padded[length : length + len(signal)] = signal
    view = np.lib.stride_tricks.sliding_window_view(padded, length)
    return view[np.clip(starts + length, 0, len(signal) + length)]


def detect_events(
    signals: NDArray[np.float32], *, sampling_rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Aligned positions of recurring waves, common to all channels.

    Parameters
    ----------
    signals
        float32, shape ``(channel, sample)``, channels comparable in scale.
    sampling_rate_hz
        Samples per second.

    Returns
    -------
    positions
        int64, increasing.
    filtered
        The high-passed signals, shape ``(channel, sample)``.
    """
    filtered = high_pass(signals, sampling_rate_hz=sampling_rate_hz)
    ratio = energy_ratio(filtered, sampling_rate_hz=sampling_rate_hz)
    positions = extrema(ratio, threshold=0.2, min_distance=max(1, round(_MIN_DISTANCE_S * sampling_rate_hz)))
    if len(positions) < 2:
        return positions, filtered
    spread = filtered[:, :: max(1, filtered.shape[1] // 50_000)].std(axis=1)
    scale = 1 / np.maximum(spread, np.finfo(np.float32).tiny)
    deviation = (np.abs(filtered) * np.where(spread > 0, scale, 0)[:, None]).sum(axis=0)
    reach = round(_FIRST_ALIGNMENT_S * sampling_rate_hz)
    positions = positions - reach + windows_at(deviation, positions - reach, 2 * reach + 1).argmax(axis=1)

    before, after = round(_QRS_BEFORE_S * sampling_rate_hz), round(_QRS_AFTER_S * sampling_rate_hz)
    reach = max(1, round(_ALIGNMENT_S * sampling_rate_hz))
    length = before + after
    for _ in range(_ALIGNMENT_ROUNDS):
        positions = np.unique(positions)
        wide = [windows_at(lead, positions - before - reach, length + 2 * reach) for lead in filtered]
        n_shifts = 2 * reach + 1
        correlation = np.full((2, len(positions), n_shifts), -np.inf, np.float32)
        for which in range(2):
            total = np.zeros((len(positions), n_shifts), np.float32)
            for lead in wide:
                centre = lead[:, reach : reach + length]
                template = np.median(centre[:: max(1, len(centre) // 400)], axis=0)
                if which:
                    distance = ((centre - template) ** 2).sum(axis=1)
                    far = np.argsort(-distance)[: max(1, len(distance) // 20)]
                    template = np.median(centre[far], axis=0)
                norm = float(np.linalg.norm(template))
                if norm > 0:
                    shifted = np.stack(
                        [lead[:, shift : shift + length] @ template for shift in range(n_shifts)], axis=1
                    )
                    total += shifted / norm
            correlation[which] = total
        positions = positions - reach + correlation.max(axis=0).argmax(axis=1)
    return _keep_apart(positions, round(_MIN_SEPARATION_S * sampling_rate_hz)), filtered
