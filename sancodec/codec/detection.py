"""Find recurring waves: extrema of the band-passed energy with a minimum distance, aligned with each other.

Serves the encoder only. Times are given in seconds, so that the same wave is found at any sampling rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native

MIN_DETECTION_RATE_HZ, MAX_DETECTION_RATE_HZ = 50.0, 2500.0
_HIGH_PASS_HZ = 0.5
_BLOCK_S = 0.05
SMOOTHING_S = 0.125
THRESHOLD_WINDOW_S = 10.0
MIN_DISTANCE_S = 0.25
_MIN_SEPARATION_S = 1 / 6
_FIRST_ALIGNMENT_S = 0.07
_ALIGNMENT_S = 1 / 30
_QRS_BEFORE_S, _QRS_AFTER_S = 1 / 9, 1 / 6
_ALIGNMENT_ROUNDS = 3


def high_pass(signals: NDArray[np.float32], *, sampling_rate_hz: float) -> NDArray[np.float32]:
    """Remove what lies below 0.5 Hz: zero-phase second-order Butterworth, forward and backward; ``(channel, sample)``.

    The low-pass complement is computed on means of 0.05 s and interpolated, which is far above its cut-off.
    """
    n_channels, n_samples = signals.shape
    block = max(1, min(round(_BLOCK_S * sampling_rate_hz), n_samples))
    n_blocks = n_samples // block
    means = signals[:, : n_blocks * block].reshape(n_channels, n_blocks, block).mean(axis=2)
    margin = min(n_blocks - 1, round(2 / _BLOCK_S))
    extended = np.pad(means, ((0, 0), (margin, margin)), mode="reflect" if margin else "edge")
    spectrum = np.fft.rfft(extended, axis=1)
    frequency = np.fft.rfftfreq(extended.shape[1], block / sampling_rate_hz)
    low_pass = _HIGH_PASS_HZ**4 / (frequency**4 + _HIGH_PASS_HZ**4)
    baseline = np.fft.irfft(spectrum * low_pass, extended.shape[1], axis=1)[:, margin : margin + n_blocks]
    centres = (np.arange(n_blocks) + 0.5) * block - 0.5
    positions = np.arange(n_samples)
    filtered = np.empty_like(signals)
    for channel in range(n_channels):
        filtered[channel] = signals[channel] - np.interp(positions, centres, baseline[channel])
    return filtered


def energy_ratio(filtered: NDArray[np.float32], *, sampling_rate_hz: float) -> NDArray[np.float32]:
    """Smoothed energy of the first difference over all channels, relative to a threshold every 10 s; ``(sample,)``."""
    difference = np.diff(filtered, axis=1, prepend=filtered[:, :1])
    energy = np.zeros(filtered.shape[1], np.float32)
    for squared in difference**2:
        scale = np.percentile(squared[:: max(1, len(squared) // 50_000)], 99)
        if scale > 0:
            energy += squared / scale
    smooth = _boxcar(
        _boxcar(energy, round(SMOOTHING_S / 2 * sampling_rate_hz)), round(SMOOTHING_S / 2 * sampling_rate_hz)
    )
    span = max(1, round(THRESHOLD_WINDOW_S * sampling_rate_hz))
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


def _boxcar(signal: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Centred moving average over an odd number of samples; two of them make a triangular window."""
    half = max(1, length // 2)
    total = np.cumsum(np.pad(signal, (half + 1, half)), dtype=np.float64)
    width = 2 * half + 1
    return ((total[width:] - total[:-width]) / width).astype(np.float32)


def extrema(ratio: NDArray[np.float32], *, threshold: float, min_distance: int) -> NDArray[np.int64]:
    """Extrema activation (arXiv:1911.00400): local maxima above a threshold, the larger ones first, kept apart."""
    inner = ratio[1:-1]
    peaks = 1 + np.flatnonzero((inner > threshold) & (inner >= ratio[:-2]) & (inner > ratio[2:]))
    kept = np.ones(len(peaks), bool)
    order = np.argsort(-ratio[peaks], kind="stable")
    if native.core is not None:
        native.core.keep_apart(peaks, order, min_distance, kept)
        return peaks[kept]
    for index in order:
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
    positions = extrema(ratio, threshold=0.2, min_distance=max(1, round(MIN_DISTANCE_S * sampling_rate_hz)))
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
