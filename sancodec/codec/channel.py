"""Encode one channel: choose beat kernels and bank by trial, search the step that meets the promise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import beats, contexts, quantiser
from sancodec.codec.beats import BeatKernels, Events
from sancodec.codec.chunks import Part, bands_of, bridged, groups_of, padded_length, parts_of
from sancodec.codec.detection import windows_at
from sancodec.codec.kernels import Model
from sancodec.codec.missing import filled, mask_of, missing_runs
from sancodec.codec.quantiser import Quantised, Step
from sancodec.codec.recording import Channel
from sancodec.codec.synthesis import ChannelCoding, Engine, check_amplitudes, reconstruct
from sancodec.errors import CorruptError, QualityError

_STEP_PER_RMSE = 2.6
_EVENT_BITS = 12.0
_KERNEL_SAMPLE_BITS = 4.0
_TRIAL_SAMPLES = 200_000
_MIN_EVENTS = 8
_AIM = 0.998
_ACCEPT = 0.99
_MAX_SEARCH_ROUNDS = 24
_MIN_STEP = 2.0**-7


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Effort of the encoder, by level.

    Parameters
    ----------
    coder
        Id of the entropy coder, ``payload.CODER_ZSTD`` or ``payload.CODER_CLASS``.
    zstd_level
        For everything that zstd codes.
    kernel_counts
        Numbers of beat kernels to try, 0 among them.
    multiplier
        Lagrange multiplier of the rounding, in squared steps a bit; 0 for the plain dead zone.
    """

    coder: int
    zstd_level: int
    kernel_counts: tuple[int, ...]
    multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class PreparedChannel:
    """A channel ready for trials.

    Parameters
    ----------
    samples
        int32, as given.
    signal
        float32, less ``offset``, missing samples bridged by straight lines.
    runs
        Missing runs, int64 ``(run, 2)``.
    energy
        Squared norm of the valid samples less their mean.
    """

    description: Channel
    samples: NDArray[np.int32]
    signal: NDArray[np.float32]
    runs: NDArray[np.int64]
    n_valid: int
    offset: int
    minimum: int
    maximum: int
    energy: float

    @property
    def is_constant(self) -> bool:
        return self.minimum == self.maximum


def prepare(description: Channel, samples: NDArray[np.int32]) -> PreparedChannel:
    """Separate missing samples and offset from the signal."""
    runs = missing_runs(samples, description.invalid)
    valid = samples[~mask_of(runs, len(samples))] if len(runs) else samples
    if not len(valid):
        return PreparedChannel(description, samples, np.zeros(0, np.float32), runs, 0, 0, 0, 0, 0.0)
    minimum, maximum = int(valid.min()), int(valid.max())
    mean = float(valid.mean(dtype=np.float64))
    offset = round(mean)
    deviation = valid.astype(np.float64) - mean
    energy = float(deviation @ deviation)
    if minimum == maximum:
        signal = np.zeros(0, np.float32)
    else:
        signal = filled(samples - np.int32(offset) if abs(offset) < 2**30 else samples - np.int64(offset), runs)
    return PreparedChannel(description, samples, signal, runs, len(valid), offset, minimum, maximum, energy)


@dataclass(frozen=True, slots=True, eq=False)
class LeadGroup:
    """Waves found in channels of one rate: first samples of their windows, and the high-passed channels."""

    starts: NDArray[np.int64]
    filtered: dict[int, NDArray[np.float32]]
    sampling_rate_hz: float


@dataclass(frozen=True, slots=True, eq=False)
class EncodedChannel:
    """Everything the payloads need of a channel; lists run over ``parts``."""

    coding: ChannelCoding
    events: Events
    parts: list[Part]
    quantised: list[Quantised]
    decoded: NDArray[np.int32]
    prdn: float


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """One choice of beat layer: what it takes from the signal and what it costs."""

    kernels: BeatKernels
    events: Events
    residual: NDArray[np.float32]
    side_bits: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Outcome of the trials."""

    model: Model
    cascade: Cascade


class ChannelEncoder:
    """Encodes one channel to a PRDN target."""

    def __init__(
        self,
        channel: PreparedChannel,
        group: LeadGroup,
        index: int,
        *,
        chunk_length: int,
        models: tuple[Model, ...],
        settings: EncoderSettings,
        engine: Engine,
    ) -> None:
        self._channel = channel
        self._group = group
        self._index = index
        self._chunk_length = chunk_length
        self._models = models
        self._settings = settings
        self._engine = engine
        self._parts = parts_of(len(channel.signal), chunk_length)

    def _first_step(self, prdn: float) -> float:
        target_rmse = prdn / 100 * math.sqrt(self._channel.energy / self._channel.n_valid)
        return max(_STEP_PER_RMSE * target_rmse, _MIN_STEP)


    def _cascade(self, kernels: NDArray[np.float32] | None, step: float) -> Cascade:
        n_events = len(self._group.starts)
        if kernels is None or not len(kernels):
            none = Events(np.zeros(n_events, np.int32), np.zeros(n_events, np.int32))
            empty = BeatKernels(np.zeros((0, beats.kernel_geometry(self._group.sampling_rate_hz)[0]), np.int32), 0)
            return Cascade(empty, none, self._channel.signal, 0.0)
        waves = windows_at(self._group.filtered[self._index], self._group.starts, kernels.shape[1])
        quantised = beats.quantise_kernels(kernels, (waves @ kernels.T).max(axis=1), step=step)
        penalty = _EVENT_BITS * max(self._settings.multiplier, 0.1) * step**2
        events, residual = beats.project(self._channel.signal, self._group.starts, quantised, penalty=penalty)
        used = events.gains > 0
        positions = _EVENT_BITS / 2 * len(used) / len(self._group.filtered)
        side_bits = _EVENT_BITS / 2 * float(used.sum()) + positions + _KERNEL_SAMPLE_BITS * kernels.size
        return Cascade(quantised, events, residual, side_bits)

    def _phases(self, model: Model, part: Part) -> list[NDArray[np.int64]]:
        length = beats.kernel_geometry(self._group.sampling_rate_hz)[0]
        return phases_of_part(model, part, self._group.starts, kernel_length=length)

    def choose(self, prdn: float) -> Choice:
        """Trial on evenly spaced chunks: first the bank, with the middle number of kernels, then that number."""
        step = self._first_step(prdn)
        group = self._group
        counts = [count for count in self._settings.kernel_counts if count]
        if len(group.starts) < _MIN_EVENTS:
            counts = []
        learnt: dict[int, NDArray[np.float32]] = {}
        for count in counts:
            learnt[count] = beats.learn_kernels(
                group.filtered[self._index], group.starts + beats.kernel_geometry(group.sampling_rate_hz)[1],
                n_kernels=count, sampling_rate_hz=group.sampling_rate_hz,
            )
        cascades = {0: self._cascade(None, step)}
        middle = counts[len(counts) // 2] if counts else 0
        if middle:
            cascades[middle] = self._cascade(learnt[middle], step)
        model, best = self._models[0], middle
        costs = {}
        if len(self._models) > 1:
            trials = [(self._trial_cost(each, cascades[middle], step), each) for each in self._models]
            costs[middle], model = min(trials, key=lambda trial: trial[0])
        else:
            costs[middle] = self._trial_cost(model, cascades[middle], step) if middle else 0.0
        for count in (0, *counts):
            if count not in cascades:
                cascades[count] = self._cascade(learnt[count], step)
            if count not in costs:
                costs[count] = self._trial_cost(model, cascades[count], step)
        best = min(costs, key=lambda count: (costs[count], count))
        return Choice(model, cascades[best])

    def _trial_cost(self, model: Model, cascade: Cascade, step: float) -> float:
        """Bits plus distortion at one step, on a sample of the chunks, scaled to the whole channel."""
        n_samples = len(self._channel.signal)
        part = self._parts[0]
        n_trial = max(1, min(part.n_chunks, _TRIAL_SAMPLES // part.length))
        if part.n_chunks == 1 and part.length > 2 * _TRIAL_SAMPLES:
            part = Part(0, 1, _TRIAL_SAMPLES, (n_samples - _TRIAL_SAMPLES) // 2)
        chosen = np.unique(np.linspace(0, part.n_chunks - 1, n_trial).astype(int))
        circles = bridged(cascade.residual, part, model)[chosen]
        bands = bands_of(self._engine.similarity(model, circles))
        phases = [phase[chosen] for phase in self._phases(model, part)]
        plain = quantiser.quantise_plain(bands, step=step)
        profile = quantiser.profile_of(model.contexts, [plain.magnitudes], [phases], with_phases=len(self._group.starts) > 0)
        rounding = quantiser.rounding_of(model.contexts, multiplier=max(self._settings.multiplier, 0.06))
        profile_at = profile_windows(model, _with_all_bands(profile), phases)
        quantised = quantiser.quantise(bands, model, profile_at, step=step, rounding=rounding)
        offsets = quantiser.reconstruction_offsets(bands, quantised, step=step)
        error = quantiser.squared_error(bands, quantised, step=step, offsets=offsets)
        bits = quantiser.coded_bits(quantised, rounding, active=[code > 0 for code in profile.scale_codes.tolist()])
        # At equal quality, 6.02 dB cost one bit for every significant coefficient: about 1/0.12 bits per squared step.
        cost = bits + error / step**2 / 0.12
        return cost * n_samples / (len(chosen) * part.length) + cascade.side_bits

    def search(self, choice: Choice, group: LeadGroup, *, prdn: float) -> EncodedChannel:
        """Search the largest step that keeps the promise.

        Parameters
        ----------
        group
            The lead group with the events that are stored; ``choice.cascade.events`` refers to them.

        Raises
        ------
        QualityError
            When no step reaches ``prdn``.
        """
        channel, model, cascade = self._channel, choice.model, choice.cascade
        self._group = group
        step = self._first_step(prdn)
        all_bands = [bands_of(self._engine.similarity(model, bridged(cascade.residual, part, model))) for part in self._parts]
        all_phases = [self._phases(model, part) for part in self._parts]
        target = (prdn / 100) ** 2 * channel.energy
        beat_sums = self._beat_sums(cascade)
        with_phases = len(group.starts) > 0
        profile = quantiser.profile_of(
            model.contexts,
            [quantiser.quantise_plain(bands, step=step).magnitudes for bands in all_bands],
            all_phases,
            with_phases=with_phases,
        )
        # Rounding to integers adds 1/12 on top of the bank's error, unless the error is small against 1.
        exact_ratio = 1.0
        history: list[tuple[float, float]] = []
        best: EncodedChannel | None = None
        reached = math.inf
        offsets = (8, 4, 2)
        for round_index in range(_MAX_SEARCH_ROUNDS):
            quantised_step = Step.nearest(step)
            value = quantised_step.value
            quantised = self._quantise(model, all_bands, all_phases, profile, value, offsets)
            profile = quantiser.profile_of(
                model.contexts, [part.magnitudes for part in quantised], all_phases, with_phases=with_phases
            )
            offsets = self._offsets(all_bands, quantised, value)
            error = sum(
                quantiser.squared_error(bands, each, step=value, offsets=offsets)
                for bands, each in zip(all_bands, quantised, strict=True)
            )
            near = abs(math.sqrt(error * exact_ratio / target) - _AIM) < 0.012
            if near or round_index >= 3:
                coding = ChannelCoding(
                    channel.offset, channel.minimum, channel.maximum, 0, model, quantised_step, offsets, cascade.kernels,
                    _without_empty_bands(profile, quantised),
                )
                decoded = self._decode(coding, quantised, beat_sums)
                true_error = self._true_error(decoded)
                reached = min(reached, 100 * math.sqrt(true_error / channel.energy))
                exact_ratio = true_error / error if error > 0 else 1.0
                ratio = math.sqrt(true_error / target)
                if ratio <= 1 and (best is None or true_error > self._true_error(best.decoded)):
                    best = EncodedChannel(
                        coding, cascade.events, self._parts, quantised, decoded, 100 * math.sqrt(true_error / channel.energy)
                    )
                if _ACCEPT <= ratio <= 1:
                    break
                error = true_error
            else:
                error = error * exact_ratio
                ratio = math.sqrt(error / target)
            if value <= _MIN_STEP and ratio > 1:
                break
            step = _next_step(history, value, ratio)
            if best is not None and round_index >= 9:
                break
        if best is None:
            raise QualityError(
                f"channel {channel.description.name!r}: PRDN {prdn:g} % cannot be reached; "
                f"the best was {reached:.4g} %. Ask for a larger PRDN"
            )
        assert best.coding.profile is not None
        classified = [
            quantiser.classified(each, model, profile_windows(model, best.coding.profile, phases))
            for each, phases in zip(best.quantised, all_phases, strict=True)
        ]
        return replace(best, quantised=classified)

    def _quantise(
        self,
        model: Model,
        all_bands: list[list[NDArray[np.float32]]],
        all_phases: list[list[NDArray[np.int64]]],
        profile: quantiser.Profile,
        step: float,
        offsets: tuple[int, int, int],
    ) -> list[Quantised]:
        if not self._settings.multiplier:
            return [quantiser.quantise_plain(bands, step=step) for bands in all_bands]
        rounding = quantiser.rounding_of(model.contexts, multiplier=self._settings.multiplier, offsets=offsets)
        profile = _with_all_bands(profile)
        return [
            quantiser.quantise(bands, model, profile_windows(model, profile, phases), step=step, rounding=rounding)
            for bands, phases in zip(all_bands, all_phases, strict=True)
        ]

    def _offsets(
        self, all_bands: list[list[NDArray[np.float32]]], quantised: list[Quantised], step: float
    ) -> tuple[int, int, int]:
        longest = max(range(len(self._parts)), key=lambda index: self._parts[index].n_chunks * self._parts[index].length)
        return quantiser.reconstruction_offsets(all_bands[longest], quantised[longest], step=step)

    def _beat_sums(self, cascade: Cascade) -> list[NDArray[np.int64]]:
        n_samples = len(self._channel.signal)
        if not cascade.kernels.n_kernels:
            return [np.zeros((part.n_chunks, part.length), np.int64) for part in self._parts]
        rendered = beats.render(self._group.starts, cascade.events, cascade.kernels, n_samples=n_samples)
        return [
            rendered[part.first_sample : part.first_sample + part.n_chunks * part.length].reshape(part.n_chunks, part.length)
            for part in self._parts
        ]

    def _decode(
        self, coding: ChannelCoding, quantised: list[Quantised], beat_sums: list[NDArray[np.int64]]
    ) -> NDArray[np.int32]:
        decoded = []
        assert coding.model is not None
        for part, each, beat_sum in zip(self._parts, quantised, beat_sums, strict=True):
            amplitudes = groups_of(quantiser.amplitudes_of(each, coding.offsets), coding.model)
            try:
                check_amplitudes(coding.model, amplitudes)
                bank_sum = self._engine.synthesise(coding.model, amplitudes)[:, : part.length]
                decoded.append(reconstruct(coding, bank_sum, beat_sum).ravel())
            except CorruptError as error:
                raise QualityError(
                    f"channel {self._channel.description.name!r}: this quality is beyond the exact range of the codec ({error}). "
                    "Ask for a larger PRDN"
                ) from None
        result = np.concatenate(decoded)
        if len(self._channel.runs):
            assert self._channel.description.invalid is not None
            result[mask_of(self._channel.runs, len(result))] = self._channel.description.invalid
        return result

    def _true_error(self, decoded: NDArray[np.int32]) -> float:
        difference = (decoded - self._channel.samples.astype(np.int64)).astype(np.float64)
        return float(difference @ difference)


def _next_step(history: list[tuple[float, float]], step: float, ratio: float) -> float:
    """Secant on log step against log PRDN, kept within a factor of 4 of the last step."""
    if ratio == 0:
        history.clear()
        return step * 2
    history.append((math.log(step), math.log(ratio)))
    slope = 0.9
    if len(history) >= 2:
        (x0, y0), (x1, y1) = history[-2:]
        if abs(x1 - x0) > 1e-4 and 0.2 < (y1 - y0) / (x1 - x0) < 3:
            slope = (y1 - y0) / (x1 - x0)
    change = (math.log(_AIM) - history[-1][1]) / slope
    if 0 < ratio - 1 < 0.002:
        change = min(change, -0.0015)
    return max(step * math.exp(min(max(change, -1.4), 1.4)), _MIN_STEP)


def _with_all_bands(profile: contexts.Profile) -> contexts.Profile:
    """Bands that were empty at one step may not be at the next."""
    return replace(profile, scale_codes=np.maximum(profile.scale_codes, 1))


def _without_empty_bands(profile: contexts.Profile, quantised: list[Quantised]) -> contexts.Profile:
    used = np.array([any(part.magnitudes[band].any() for part in quantised) for band in range(len(profile.scale_codes))])
    return replace(profile, scale_codes=np.where(used, np.maximum(profile.scale_codes, 1), 0))


def profile_windows(
    model: Model, profile: contexts.Profile, phases: list[NDArray[np.int64]]
) -> list[NDArray[np.int32]]:
    """The profile at every window, int32 ``(chunk, window)`` per band; zero in bands that are off."""
    expected = profile.expected(model.contexts).astype(np.int32)
    expected[profile.scale_codes == 0] = 0
    return [row[phase] for row, phase in zip(expected, phases, strict=True)]


def phases_of_part(
    model: Model, part: Part, starts: NDArray[np.int64], *, kernel_length: int
) -> list[NDArray[np.int64]]:
    """Beat phases at every window, int64 ``(chunk, window)`` per band; bands of one group share an array."""
    circle = padded_length(model, part.length)
    per_group = []
    for group in model.groups:
        n_windows = circle // group.stride
        phases = np.empty((part.n_chunks, n_windows), np.int64)
        for chunk in range(part.n_chunks):
            first = part.first_sample + chunk * part.length
            low = int(np.searchsorted(starts, first - kernel_length, side="right"))
            high = int(np.searchsorted(starts, first + part.length, side="left"))
            phases[chunk] = contexts.phase_of_windows(
                starts[low:high] - first, n_windows=n_windows, stride=group.stride, kernel_length=kernel_length
            )
        per_group.append(phases)
    return [phases for group, phases in zip(model.groups, per_group, strict=True) for _ in range(group.n_kernels)]
