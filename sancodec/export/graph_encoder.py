"""Files from the symbols that the encoder graph gives: search of the steps, and the container."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import quantiser
from sancodec.codec.beats import Events, kernel_geometry, render
from sancodec.codec.cascade_encoder import cascade_coding, without_empty_bands
from sancodec.codec.channel import ChannelJob, Choice, EncodedChannel, LeadGroup, prepare
from sancodec.codec.chunk_source import ChunkSource, StoredGroup
from sancodec.codec.chunks import band_phases, base_windows, padded_length, parts_of
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.contexts import Profile
from sancodec.codec.detection import detect_events
from sancodec.codec.encoder import settings_of, write_head
from sancodec.codec.header import CODER_CLASS
from sancodec.codec.kernels import Model
from sancodec.codec.promise import Promise
from sancodec.codec.quality import measure
from sancodec.codec.quantiser import ErrorSums, Quantised, Step
from sancodec.codec.recording import Recording
from sancodec.codec.step_search import Bracket, search_in_sample
from sancodec.codec.synthesis import ChannelCoding, Engine, NumpyEngine, check_amplitudes, reconstruct
from sancodec.codec.trial import EVENT_BITS, choose
from sancodec.errors import CorruptError, InvalidSignalError, QualityError
from sancodec.export.sparse import Feeds

_LEVEL = 5
_MAX_ROUNDS = 16

Runner = Callable[[Feeds], Feeds]


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """What the graph gave for a chunk: events of all leads, and coefficients and sums of errors of each."""

    starts: NDArray[np.int64]
    events: list[Events]
    quantised: list[Quantised]
    sums: list[ErrorSums]
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What keeps the promise: step, offsets, coefficients per window, and the samples decoded from them."""

    step: Step
    offsets: tuple[int, int, int]
    quantised: list[Quantised]
    decoded: NDArray[np.int32]


@dataclass(slots=True, eq=False)
class _Lead:
    """A channel during the search."""

    job: ChannelJob
    choice: Choice
    step: float
    profile: Profile
    offsets: tuple[int, int, int]
    bracket: Bracket
    best: _Found | None = None
    is_done: bool = False


def compress_with_graph(
    recording: Recording, run: Runner, model: Model, *, prdn: float, chunk_frames: int | None = None
) -> bytes:
    """A container whose events and coefficients the encoder graph found, under the class coder.

    Parameters
    ----------
    recording
        Leads of one rate, none constant or with missing samples.
    run
        Runs the graph: inputs by name, outputs by name.
    model
        Of the graph.
    chunk_frames
        Frames that the graph is given at a time; all at once by default.

    Raises
    ------
    InvalidSignalError, QualityError
    """
    length = recording.n_frames if chunk_frames is None else chunk_frames
    leads, group = _prepared(recording, model, prdn, length)
    bounds = [(first, min(first + length, recording.n_frames)) for first in range(0, recording.n_frames, length)]
    feeds = _fixed_feeds(leads, group)
    windows: list[_Window] = []
    for _ in range(_MAX_ROUNDS):
        asked = {**feeds, **_feeds_of_steps(leads)}
        windows = []
        for first, last in bounds:
            samples = np.stack([each[first:last] for each in recording.samples])
            windows.append(_window(run({**asked, "samples": samples}), model, last - first))
        for index, lead in enumerate(leads):
            if not lead.is_done:
                _take_in(lead, index, windows, recording, prdn)
        if all(lead.is_done for lead in leads):
            break
    for lead, channel in zip(leads, recording.channels, strict=True):
        if lead.best is None:
            raise QualityError(f"channel {channel.name!r}: PRDN {prdn:g} % cannot be reached. Ask for a larger PRDN")
    return _container(recording, model, leads, windows, bounds, Promise(prdn=prdn))


def _prepared(recording: Recording, model: Model, prdn: float, chunk_frames: int) -> tuple[list[_Lead], LeadGroup]:
    """Beat kernels, first step and profile of every lead, by the reference encoder's trials."""
    if len({channel.samples_per_frame for channel in recording.channels}) > 1:
        raise InvalidSignalError("channels of several rates; the encoder graph takes leads of one rate")
    prepared = [prepare(*each) for each in zip(recording.channels, recording.samples, strict=True)]
    if any(each.is_constant or len(each.runs) for each in prepared):
        raise InvalidSignalError("a channel is constant or has missing samples, which the encoder graph does not take")
    rate_hz = float(recording.frame_rate_hz * recording.channels[0].samples_per_frame)
    positions, filtered = detect_events(np.stack([each.signal for each in prepared]), sampling_rate_hz=rate_hz)
    starts = positions - kernel_geometry(rate_hz)[1]
    group = LeadGroup(starts, dict(enumerate(filtered)), rate_hz)
    settings, engine = settings_of(_LEVEL), NumpyEngine()
    leads = []
    for index, channel in enumerate(prepared):
        job = ChannelJob(channel, group, index, chunk_frames, (model,), settings, engine)
        choice = choose(job, prdn=prdn)
        target = (prdn / 100) ** 2 * channel.scaled_energy
        step, profile, offsets = search_in_sample(job, choice, target)
        leads.append(_Lead(job, choice, step, profile, offsets, Bracket()))
    return leads, group


def _fixed_feeds(leads: Sequence[_Lead], group: LeadGroup) -> Feeds:
    """Inputs that are the same in every round."""
    n_kernels = max(1, *(lead.choice.cascade.kernels.n_kernels for lead in leads))
    length = kernel_geometry(group.sampling_rate_hz)[0]
    kernels = np.zeros((len(leads), n_kernels, length), np.float32)
    weights, costs = np.zeros(len(leads), np.float32), np.zeros(len(leads), np.float32)
    for index, lead in enumerate(leads):
        beats, unit = lead.choice.cascade.kernels, 2.0**lead.job.channel.exponent
        if not beats.n_kernels:
            continue
        waves = (beats.weights * 2.0**beats.exponent * unit).astype(np.float32)
        kernels[index, : beats.n_kernels] = waves
        large = _large_square(lead.job.channel.signal) * unit**2
        weights[index] = 1 / large if large else 0
        costs[index] = EVENT_BITS * lead.job.settings.multiplier * (lead.choice.step * unit) ** 2
    contexts, sets = leads[0].choice.model.contexts, [lead.profile.weight_set for lead in leads]
    return {
        "offset": np.array([lead.job.channel.offset for lead in leads], np.int32),
        "beat_kernels": kernels,
        "event_weight": weights,
        "event_cost": costs,
        "expected": np.stack([lead.profile.with_all_bands().base(contexts) for lead in leads]),
        "band_weights": contexts.band_weights[sets].astype(np.int32),
        "n_direct": contexts.n_direct[sets],
    }


def _large_square(signal: NDArray[np.float32]) -> float:
    """Of a lead's differences from sample to sample, squared, all but a hundredth are smaller."""
    return float(np.percentile(np.diff(signal) ** 2, 99))


def _feeds_of_steps(leads: Sequence[_Lead]) -> Feeds:
    thresholds, inverse = [], []
    for lead in leads:
        rounding = quantiser.rounding_of(
            lead.choice.model.contexts,
            multiplier=lead.job.settings.multiplier,
            weight_set=lead.profile.weight_set,
            offsets=lead.offsets,
        )
        thresholds.append(rounding.thresholds)
        inverse.append(1 / (_step_of(lead).value * 2.0**lead.job.channel.exponent))
    return {"thresholds": np.stack(thresholds), "inverse_step": np.array(inverse, np.float32)}


def _step_of(lead: _Lead) -> Step:
    return lead.best.step if lead.is_done and lead.best is not None else Step.nearest(lead.step)


def _window(found: Feeds, model: Model, length: int) -> _Window:
    n_leads = len(found["event_gain"])
    circle = padded_length(model, length)
    quantised = [Quantised([], [], []) for _ in range(n_leads)]
    for index, group in enumerate(model.groups):
        dense = np.zeros((n_leads, circle // group.stride, group.n_kernels), np.int32)
        dense.reshape(-1)[found[f"level_index_{index}"]] = found[f"level_{index}"]
        for levels, each in zip(dense, quantised, strict=True):
            bands = [np.ascontiguousarray(band)[None] for band in levels.T]
            each.magnitudes.extend(np.abs(band) for band in bands)
            each.negative.extend(band < 0 for band in bands)
    events = [Events(*each) for each in zip(found["event_kernel"], found["event_gain"], strict=True)]
    sums = [
        ErrorSums(float(squares), errors, counts)
        for squares, errors, counts in zip(found["squares"], found["errors"], found["counts"], strict=True)
    ]
    return _Window(found["event_start"], events, quantised, sums, length)


def _take_in(lead: _Lead, index: int, windows: Sequence[_Window], recording: Recording, prdn: float) -> None:
    """Judge what a step gave, and choose the next."""
    sums = ErrorSums()
    for window in windows:
        sums.squares += window.sums[index].squares
        sums.errors += window.sums[index].errors
        sums.counts += window.sums[index].counts
    step, offsets = Step.nearest(lead.step), sums.offsets()
    coding = cascade_coding(lead.job, lead.choice, step, offsets)
    decoded = np.concatenate([_decoded(coding, window, index, lead.job.engine) for window in windows])
    difference = (decoded - recording.samples[index].astype(np.int64)).astype(np.float64)
    ratio = math.sqrt(float(difference @ difference) / lead.job.channel.energy) * 100 / prdn
    if ratio <= 1 and (lead.best is None or step.value > lead.best.step.value):
        lead.best = _Found(step, offsets, [window.quantised[index] for window in windows], decoded)
    is_close = lead.job.settings.acceptance <= ratio <= 1 or lead.bracket.is_narrow
    lead.is_done = lead.best is not None and is_close
    lead.step = lead.bracket.next_step(step.value, ratio)


def _decoded(coding: ChannelCoding, window: _Window, index: int, engine: Engine) -> NDArray[np.int32]:
    """A lead of a window as a decoder will give it."""
    assert coding.model is not None
    amplitudes = quantiser.amplitudes_of(window.quantised[index], coding.offsets, coding.model)
    try:
        check_amplitudes(coding.model, amplitudes)
        bank_sum = engine.synthesise(coding.model, amplitudes)[:, : window.length]
        beat_sum = None
        if coding.kernels.n_kernels:
            beat_sum = render(window.starts, window.events[index], coding.kernels, n_samples=window.length)[None]
        samples: NDArray[np.int32] = reconstruct(coding, bank_sum, beat_sum)[0]
        return samples
    except CorruptError as error:
        raise QualityError(f"this quality is beyond the exact range of the codec ({error})") from None


def _container(
    recording: Recording,
    model: Model,
    leads: Sequence[_Lead],
    windows: Sequence[_Window],
    bounds: Sequence[tuple[int, int]],
    promise: Promise,
) -> bytes:
    has_events = any(len(window.starts) for window in windows)
    kernel_length = kernel_geometry(leads[0].job.group.sampling_rate_hz)[0] if has_events else 0
    phases = [
        band_phases(model, [window.starts], padded_length(model, window.length), kernel_length=max(kernel_length, 1))
        for window in windows
    ]
    coded = [_coded_lead(lead, phases, with_phases=has_events) for lead in leads]
    measured = []
    for channel, samples, lead in zip(recording.channels, recording.samples, leads, strict=True):
        assert lead.best is not None
        quality = measure(
            samples, lead.best.decoded, gain=channel.gain, baseline=channel.baseline, invalid=channel.invalid
        )
        measured.append(MeasuredQuality(quality.prdn, quality.max_error_adu))
    codings = [coding for coding, _ in coded]
    segment = SegmentCoding(0, len(windows), CODER_CLASS, codings, measured, [kernel_length], None)
    file = io.BytesIO()
    writer = ContainerWriter(file)
    chunk_frames = bounds[0][1] - bounds[0][0]
    promises = [promise] * len(leads)
    write_head(writer, recording, promises, _LEVEL, chunk_frames, (model,), embed_models=False)
    content = encode_coding(segment, models=(model,))
    writer.section(SectionType.CODING, content)
    for number, (window, (first, last)) in enumerate(zip(windows, bounds, strict=True)):
        channels = []
        for lead, events, (coding, classified) in zip(leads, window.events, coded, strict=True):
            assert lead.best is not None
            parts, decoded = parts_of(window.length, window.length), lead.best.decoded[first:last]
            channels.append(EncodedChannel(coding, events, parts, [classified[number]], decoded, decoded))
        source = ChunkSource(
            replace(recording, samples=tuple(each[first:last] for each in recording.samples)),
            last - first,
            channels,
            [StoredGroup(window.starts, kernel_length, 1)],
            coder=CODER_CLASS,
            zstd_level=leads[0].job.settings.zstd_level,
            coding_crc=zlib.crc32(content),
            first_chunk=number,
            plan=None,
        )
        writer.section(SectionType.CHUNK, source.payload(0))
    writer.finish()
    return file.getvalue()


def _coded_lead(
    lead: _Lead, phases: Sequence[list[NDArray[np.int64]]], *, with_phases: bool
) -> tuple[ChannelCoding, list[Quantised]]:
    """What the file says of a lead, and its coefficients with their classes, per window."""
    assert lead.best is not None
    model, found, weight_set = lead.choice.model, lead.best, lead.profile.weight_set
    magnitudes = [each.magnitudes for each in found.quantised]
    profile = quantiser.profile_of(
        model.contexts, magnitudes, list(phases), with_phases=with_phases, weight_set=weight_set
    )
    stored = without_empty_bands(profile, found.quantised)
    classified = [
        quantiser.classified(each, model, base_windows(model, stored, at), weight_set=weight_set)
        for each, at in zip(found.quantised, phases, strict=True)
    ]
    return replace(cascade_coding(lead.job, lead.choice, found.step, found.offsets), profile=stored), classified
