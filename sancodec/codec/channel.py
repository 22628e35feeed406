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
from sancodec.codec.quantiser import Bands, ErrorSums, Quantised, Step
from sancodec.codec.recording import Channel
from sancodec.codec.synthesis import ChannelCoding, Engine, check_amplitudes, reconstruct
from sancodec.errors import CorruptError, QualityError

_STEP_PER_RMSE = 2.6
_EVENT_BITS = 12.0
_KERNEL_SAMPLE_BITS = 4.0
_TRIAL_SAMPLES = 110_000
_STEP_TRIAL_SAMPLES = 45_000
_MIN_EVENTS = 8
_AIM = 0.998
_ACCEPT = 0.995
_NEAR = 0.012
_SAMPLE_ROUNDS = 3
_ENOUGH_ROUNDS = 7
_MAX_SEARCH_ROUNDS = 30
_FIRST_OFFSETS = (8, 4, 2)
# Optimised rounding loses a little more than the plain dead zone, and meets the target at a smaller step.
_ROUNDING_FACTOR = 0.96
_MIN_STEP = 2.0**-7
# What a bit is worth, in squared steps, when two ways of coding are compared at one step.
_STEP_SQUARES_PER_BIT = 0.12


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
    step: float


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
        group, channel = self._group, self._channel
        counts = [count for count in self._settings.kernel_counts if count]
        learnt: dict[int, NDArray[np.float32]] = {}
        if counts and len(group.starts) >= _MIN_EVENTS:
            before = beats.kernel_geometry(group.sampling_rate_hz)[1]
            learnt = beats.learn_kernels(
                group.filtered[self._index], group.starts + before, counts=counts, sampling_rate_hz=group.sampling_rate_hz
            )
        options = [0, *learnt]
        middle = options[(len(options) + 1) // 2] if learnt else 0
        target_rmse = prdn / 100 * math.sqrt(channel.energy / channel.n_valid)
        rough = self._cascade(learnt.get(middle), max(_STEP_PER_RMSE * target_rmse, _MIN_STEP))
        step = _plain_step(self._trial_bands(self._models[0], rough, _STEP_TRIAL_SAMPLES)[0], target_rmse)
        cascades = {middle: self._cascade(learnt.get(middle), step)}
        model, costs = self._models[0], {middle: 0.0}
        if len(self._models) > 1:
            costs[middle], model = min(
                ((self._trial_cost(each, cascades[middle], step), each) for each in self._models), key=lambda trial: trial[0]
            )
        elif learnt:
            costs[middle] = self._trial_cost(model, cascades[middle], step)

        def cost_of(count: int) -> float:
            if count not in costs:
                cascades[count] = self._cascade(learnt.get(count), step)
                costs[count] = self._trial_cost(model, cascades[count], step)
            return costs[count]

        # Costs have one minimum over the number of kernels but for none at all, which is tried where one is near best.
        best = options.index(middle)
        while best + 1 < len(options) and cost_of(options[best + 1]) < cost_of(options[best]):
            best += 1
        if options[best] == middle:
            while best > 0 and cost_of(options[best - 1]) < cost_of(options[best]):
                best -= 1
        if 0 < best <= 2 and cost_of(0) < cost_of(options[best]):
            best = 0
        return Choice(model, cascades[options[best]], step)

    def _trial_bands(self, model: Model, cascade: Cascade, n_wanted: int) -> tuple[Bands, list[NDArray[np.int64]], float]:
        """Bands and phases of a sample of the chunks, and the factor from the sample to the whole channel."""
        n_samples = len(self._channel.signal)
        part = self._parts[0]
        n_trial = max(1, min(part.n_chunks, n_wanted // part.length))
        if part.length > 2 * n_wanted:
            part = Part(0, 1, n_wanted, (n_samples - n_wanted) // 2)
        chosen = np.unique(np.linspace(0, part.n_chunks - 1, n_trial).astype(int))
        pieces = [Part(0, 1, part.length, part.first_sample + int(index) * part.length) for index in chosen]
        circles = np.concatenate([bridged(cascade.residual, piece, model) for piece in pieces])
        bands = Bands.of(bands_of(self._engine.similarity(model, circles)))
        per_piece = [self._phases(model, piece) for piece in pieces]
        phases = [np.concatenate(rows) for rows in zip(*per_piece, strict=True)]
        return bands, phases, n_samples / (len(chosen) * part.length)

    def _trial_cost(self, model: Model, cascade: Cascade, step: float) -> float:
        """Bits plus distortion at one step, scaled to the whole channel."""
        bands, phases, factor = self._trial_bands(model, cascade, _TRIAL_SAMPLES)
        plain, _ = quantiser.quantise_plain(bands, step=step)
        profile = quantiser.profile_of(model.contexts, [plain.magnitudes], [phases], with_phases=len(self._group.starts) > 0)
        rounding = quantiser.rounding_of(model.contexts, multiplier=max(self._settings.multiplier, 0.06))
        quantised, sums = quantiser.quantise(
            bands, model, base_windows(model, _with_all_bands(profile), phases), step=step, rounding=rounding
        )
        error = sums.squared_error(step, sums.offsets())
        bits = quantiser.coded_bits(quantised, rounding, active=[code > 0 for code in profile.scale_codes.tolist()])
        return (bits + error / step**2 / _STEP_SQUARES_PER_BIT) * factor + cascade.side_bits

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
        target = (prdn / 100) ** 2 * channel.energy
        # True over coefficient-domain error: rounding to integers adds about 1/12 while the error is not small against 1.
        exact_ratio = 1 + min(channel.n_valid / 12 / target, 0.3)
        step, profile, offsets = self._search_in_sample(choice, target, exact_ratio)

        all_bands = [
            Bands.of(bands_of(self._engine.similarity(model, bridged(cascade.residual, part, model)))) for part in self._parts
        ]
        all_phases = [self._phases(model, part) for part in self._parts]
        base_at = self._base_at(model, profile, all_phases)
        beat_sums = self._beat_sums(cascade)
        history: list[tuple[float, float]] = []
        best: EncodedChannel | None = None
        reached = math.inf
        for round_index in range(_MAX_SEARCH_ROUNDS):
            quantised_step = Step.nearest(step)
            value = quantised_step.value
            quantised, sums = self._quantise(model, all_bands, base_at, value, offsets)
            fitted = sums.offsets()
            error = sums.squared_error(value, fitted)
            ratio = math.sqrt(error * exact_ratio / target)
            if abs(ratio - _AIM) < _NEAR or round_index >= 1:
                magnitudes = [part.magnitudes for part in quantised]
                measured = quantiser.profile_of(model.contexts, magnitudes, all_phases, with_phases=len(group.starts) > 0)
                coding = ChannelCoding(
                    channel.offset, channel.minimum, channel.maximum, 0, model, quantised_step, fitted, cascade.kernels,
                    _without_empty_bands(measured, quantised),
                )
                decoded = self._decode(coding, quantised, beat_sums)
                true_error = self._true_error(decoded)
                exact_ratio = true_error / error if error > 0 else 1.0
                ratio = math.sqrt(true_error / target)
                reached = min(reached, ratio * prdn)
                if ratio <= 1 and (best is None or ratio * prdn > best.prdn):
                    best = EncodedChannel(coding, cascade.events, self._parts, quantised, decoded, ratio * prdn)
                if _ACCEPT <= ratio <= 1 or (best is not None and round_index >= _ENOUGH_ROUNDS):
                    break
            if value <= _MIN_STEP and ratio > 1:
                break
            step = _next_step(history, value, ratio)
        if best is None:
            raise QualityError(
                f"channel {channel.description.name!r}: PRDN {prdn:g} % cannot be reached; "
                f"the best was {reached:.4g} %. Ask for a larger PRDN"
            )
        assert best.coding.profile is not None
        if not self._settings.multiplier:
            return best
        classified = [
            quantiser.classified(each, model, base_windows(model, best.coding.profile, phases))
            for each, phases in zip(best.quantised, all_phases, strict=True)
        ]
        return replace(best, quantised=classified)

    def _search_in_sample(
        self, choice: Choice, target: float, exact_ratio: float
    ) -> tuple[float, contexts.Profile, tuple[int, int, int]]:
        """A first step, with the profile and offsets that belong to it, from a sample of the chunks.

        They stay as they are afterwards: rounding that followed its own profile would drift and never converge.
        """
        bands, phases, factor = self._trial_bands(choice.model, choice.cascade, _TRIAL_SAMPLES)
        with_phases = len(self._group.starts) > 0
        step, offsets = choice.step, _FIRST_OFFSETS
        quantised, _ = quantiser.quantise_plain(bands, step=step)
        history: list[tuple[float, float]] = []
        for round_index in range(_SAMPLE_ROUNDS):
            profile = quantiser.profile_of(choice.model.contexts, [quantised.magnitudes], [phases], with_phases=with_phases)
            parts, sums = self._quantise(choice.model, [bands], self._base_at(choice.model, profile, [phases]), step, offsets)
            quantised, offsets = parts[0], sums.offsets()
            ratio = math.sqrt(sums.squared_error(step, offsets) * exact_ratio * factor / target)
            if round_index == 1:
                history.clear()
            step = _next_step(history, step, ratio)
        return step, profile, offsets

    @staticmethod
    def _base_at(
        model: Model, profile: contexts.Profile, all_phases: list[list[NDArray[np.int64]]]
    ) -> list[list[NDArray[np.int32]]]:
        return [base_windows(model, _with_all_bands(profile), phases) for phases in all_phases]

    def _quantise(
        self,
        model: Model,
        all_bands: list[Bands],
        base_at: list[list[NDArray[np.int32]]],
        step: float,
        offsets: tuple[int, int, int],
    ) -> tuple[list[Quantised], ErrorSums]:
        if self._settings.multiplier:
            rounding = quantiser.rounding_of(model.contexts, multiplier=self._settings.multiplier, offsets=offsets)
            results = [
                quantiser.quantise(bands, model, expected, step=step, rounding=rounding)
                for bands, expected in zip(all_bands, base_at, strict=True)
            ]
        else:
            results = [quantiser.quantise_plain(bands, step=step) for bands in all_bands]
        total = ErrorSums()
        for _, sums in results:
            total.squares += sums.squares
            total.errors += sums.errors
            total.counts += sums.counts
        return [quantised for quantised, _ in results], total

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


def _plain_step(bands: Bands, target_rmse: float) -> float:
    """The step at which dead-zone quantisation meets a root mean square error, by bisection."""
    count = sum(band.size for band in bands.absolute)
    low = math.log(max(_MIN_STEP, target_rmse * 1.5))
    high = math.log(max(_MIN_STEP * 2, target_rmse * 16))
    for _ in range(7):
        middle = (low + high) / 2
        step = math.exp(middle)
        _, sums = quantiser.quantise_plain(bands, step=step)
        error = sums.squared_error(step, sums.offsets())
        if error > target_rmse**2 * count:
            high = middle
        else:
            low = middle
    return max(_ROUNDING_FACTOR * math.exp((low + high) / 2), _MIN_STEP)


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


def base_windows(
    model: Model, profile: contexts.Profile, phases: list[NDArray[np.int64]]
) -> list[NDArray[np.int32]]:
    """The profile's share of the expected magnitude at every window, int32 ``(chunk, window)`` per band."""
    return [row[phase] for row, phase in zip(profile.base(model.contexts), phases, strict=True)]


def phases_of_part(
    model: Model, part: Part, starts: NDArray[np.int64], *, kernel_length: int
) -> list[NDArray[np.int64]]:
    """Beat phases at every window, int64 ``(chunk, window)`` per band; bands of one group share an array."""
    circle = padded_length(model, part.length)
    events = []
    for first in range(part.first_sample, part.first_sample + part.n_chunks * part.length, part.length):
        low = int(np.searchsorted(starts, first - kernel_length, side="right"))
        high = int(np.searchsorted(starts, first + part.length, side="left"))
        events.append(starts[low:high] - first)
    return band_phases(model, events, circle, kernel_length=kernel_length)


def band_phases(
    model: Model, event_starts: list[NDArray[np.int64]], circle: int, *, kernel_length: int
) -> list[NDArray[np.int64]]:
    """Beat phases per band, ``(chunk, window)``, for chunks of padded length ``circle``."""
    phases: list[NDArray[np.int64]] = []
    for group in model.groups:
        at_group = contexts.phases_of_windows(
            event_starts, n_windows=circle // group.stride, stride=group.stride, kernel_length=kernel_length
        )
        phases += [at_group] * group.n_kernels
    return phases
