"""Reference vectors of a kit: inputs and outputs of both graphs on signals with and without beats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import quantiser
from sancodec.codec.beats import kernel_geometry
from sancodec.codec.contexts import N_PHASES, Profile
from sancodec.codec.kernels import Model
from sancodec.export.sessions import SessionMaker
from sancodec.export.sparse import Feeds

_MULTIPLIER = 0.11
_OFFSETS = (8, 4, 2)
_SCALE_CODE = 44
_SEED = 20191100

Vector = dict[str, NDArray[Any]]


def reference_vectors(model: Model, encoder: bytes, decoder: bytes, sampling_rate_hz: float) -> dict[str, Vector]:
    """Arrays by name: ``encoder.INPUT``, ``encoder.OUTPUT`` and so on, of every vector."""
    sessions = SessionMaker(device="cpu")
    encode, decode = sessions(encoder), sessions(decoder)
    vectors = {}
    for name, n_leads, seconds, has_beats in (("beats", 2, 10, True), ("noise", 1, 3, False)):
        rng = np.random.default_rng(_SEED + n_leads)
        samples, kernels = _signal(rng, n_leads, round(seconds * sampling_rate_hz), sampling_rate_hz, has_beats)
        feeds = _encoder_feeds(model, samples, kernels)
        symbols = run(encode, feeds)
        decoder_feeds = _decoder_feeds(model, feeds, symbols)
        decoded = run(decode, decoder_feeds)
        parts = {"encoder": {**feeds, **symbols}, "decoder": {**decoder_feeds, **decoded}}
        vectors[name] = {f"{graph}.{key}": value for graph, arrays in parts.items() for key, value in arrays.items()}
    return vectors


def run(session: Any, feeds: Feeds) -> Feeds:
    """Outputs of a graph by name."""
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _signal(
    rng: np.random.Generator, n_leads: int, n_samples: int, rate_hz: float, has_beats: bool
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Leads on a wandering baseline, with two kinds of beats, and the kernels of these."""
    length, before = kernel_geometry(rate_hz)
    time = (np.arange(length) - before) / rate_hz
    narrow, wide = (np.exp(-((time / width) ** 2)) for width in (0.018, 0.05))
    late = np.exp(-(((time - 0.25) / 0.06) ** 2))
    kernels = np.rint(20 * np.stack([narrow + 0.3 * late, wide - 0.4 * late])).astype(np.float32)
    drift = np.cumsum(rng.normal(0, 0.7, (n_leads, n_samples)), axis=1)
    signals = drift + rng.normal(0, 1.5, (n_leads, n_samples))
    start = 0.1 * rate_hz
    while has_beats and start < n_samples:
        which, gain = int(rng.random() < 0.2), rng.uniform(20, 40)
        first = round(start) - before
        inside = slice(max(first, 0), min(first + length, n_samples))
        for lead in range(n_leads):
            wave = (1 - 0.4 * lead) * gain * kernels[which]
            signals[lead, inside] += wave[inside.start - first : inside.stop - first]
        start += rng.uniform(0.7, 0.9) * rate_hz
    shown = kernels if has_beats else np.zeros_like(kernels)
    return np.rint(signals).astype(np.int32), np.tile(shown[None], (n_leads, 1, 1))


def _encoder_feeds(model: Model, samples: NDArray[np.int32], kernels: NDArray[np.float32]) -> Feeds:
    n_leads, contexts = len(samples), model.contexts
    large = np.percentile(np.diff(samples, axis=1) ** 2, 99, axis=1)
    steps = np.linspace(4, 9, n_leads)
    phases = np.zeros((contexts.n_phase_groups, N_PHASES + 1), np.int64)
    profile = Profile(0, np.full(model.n_bands, _SCALE_CODE), phases)
    rounding = quantiser.rounding_of(contexts, multiplier=_MULTIPLIER, weight_set=0, offsets=_OFFSETS)

    def of_leads(row: NDArray[Any]) -> NDArray[Any]:
        return np.stack([row] * n_leads)

    return {
        "samples": samples,
        "offset": np.rint(samples.mean(axis=1)).astype(np.int32),
        "beat_kernels": kernels,
        "event_weight": (1 / large).astype(np.float32),
        "event_cost": (steps**2).astype(np.float32),
        "inverse_step": (1 / steps).astype(np.float32),
        "expected": of_leads(profile.base(contexts)),
        "band_weights": of_leads(contexts.band_weights[0].astype(np.int32)),
        "thresholds": of_leads(rounding.thresholds),
        "n_direct": of_leads(contexts.n_direct[0]),
    }


def _decoder_feeds(model: Model, feeds: Feeds, symbols: Feeds) -> Feeds:
    """What a decoder gets of these symbols; kernels of whole numbers need no exponent but 0."""
    n_leads, n_samples = feeds["samples"].shape
    n_kernels = feeds["beat_kernels"].shape[1]
    leads, events = np.nonzero(symbols["event_gain"])
    limit = np.full(n_leads, 1 << 15, np.int32)
    levels = {name: value for name, value in symbols.items() if name.startswith("level_")}
    return {
        "n_samples": np.array([n_samples], np.int64),
        **levels,
        "reconstruction": np.tile(np.array(_OFFSETS, np.int32), (n_leads, 1)),
        # Of a step: amplitudes have 7 bits of fraction, weights 16, of which the sum drops 10; samples keep 10.
        "scale": np.ldexp(1 / feeds["inverse_step"].astype(np.float64), 10 - 13),
        "offset": feeds["offset"],
        "minimum": -limit,
        "maximum": limit,
        "event_signal": leads.astype(np.int64),
        "event_start": symbols["event_start"][events],
        "event_kernel": leads * np.int64(n_kernels) + symbols["event_kernel"][leads, events],
        "event_gain": symbols["event_gain"][leads, events],
        "beat_kernels": feeds["beat_kernels"].reshape(n_leads * n_kernels, -1).astype(np.int32),
        "beat_scale": np.full(n_leads, 1 << 10, np.int64),
    }
