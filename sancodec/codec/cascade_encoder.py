"""A channel under one choice of bank and beat layer, at any step: quantise, decode, describe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import beats, quantiser, trellis
from sancodec.codec.channel import Cascade, ChannelJob, Choice, EncodedChannel
from sancodec.codec.chunks import bands_of, base_windows, bridged
from sancodec.codec.contexts import Profile
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.kernels import Model
from sancodec.codec.level_coder import fine_phases_of_part
from sancodec.codec.mixing_model import N_ACTIVITIES, N_KINDS, fitted_costs, index_costs
from sancodec.codec.quantiser import Bands, ErrorSums, Quantised, Step
from sancodec.codec.synthesis import ChannelCoding, check_amplitudes, component_of, reconstruct
from sancodec.codec.trial import part_phases
from sancodec.errors import CorruptError, QualityError


def cascade_coding(job: ChannelJob, choice: Choice, step: Step, offsets: tuple[int, int, int]) -> ChannelCoding:
    """What a file says of a cascade; ``step`` is in the units of the channel's signal."""
    channel, kernels = job.channel, choice.cascade.kernels
    return ChannelCoding(
        channel.offset,
        channel.minimum,
        channel.maximum,
        0,
        choice.model,
        replace(step, exponent=step.exponent + channel.exponent),
        offsets,
        replace(kernels, exponent=kernels.exponent + channel.exponent),
    )


class CascadeEncoder:
    """What all steps have in common is computed once."""

    def __init__(self, job: ChannelJob, choice: Choice) -> None:
        self._job, self._choice = job, choice
        model, residual = choice.model, choice.cascade.residual
        self._bands = [
            Bands.of(bands_of(job.engine.similarity(model, bridged(residual, part, model)))) for part in job.parts
        ]
        self._phases = [part_phases(job, model, part) for part in job.parts]
        self._beat_sums = beat_sums_of(job, choice.cascade)
        self._is_mixed = job.settings.coder == CODER_MIXED
        if self._is_mixed:
            length = beats.kernel_geometry(job.group.sampling_rate_hz)[0]
            self._costs: NDArray[np.float64] | None = None
            self._fine_phases = [
                fine_phases_of_part(model, part, job.group.starts, kernel_length=length) for part in job.parts
            ]

    def quantise(
        self, step: float, profile: Profile, offsets: tuple[int, int, int]
    ) -> tuple[list[Quantised], ErrorSums]:
        """Coefficients of every part, or levels under the mixing coder: then a first time teaches what indices cost."""
        if not self._is_mixed:
            return quantise_parts(self._job, self._choice.model, self._bands, profile, self._phases, step, offsets)
        model = self._choice.model
        everywhere, mixing = profile.with_all_bands(), model.contexts.mixing
        is_first = self._costs is None
        costs = index_costs(mixing, profile.weight_set) if self._costs is None else self._costs
        counts = np.zeros((N_KINDS - 1, N_ACTIVITIES, 2, 2), np.int64) if is_first else None
        results = [
            trellis.quantise_levels(
                bands, model, everywhere, phases, step=step, offsets=offsets, costs=costs, counts=counts
            )
            for bands, phases in zip(self._bands, self._fine_phases, strict=True)
        ]
        if counts is not None:
            self._costs = fitted_costs(mixing, profile.weight_set, counts)
        return [quantised for quantised, _ in results], added(sums for _, sums in results)

    def encoded(self, step: Step, quantised: list[Quantised], offsets: tuple[int, int, int]) -> EncodedChannel:
        """The channel as a decoder will see it.

        Raises
        ------
        QualityError
            When a sum leaves the exact range.
        """
        job = self._job
        coding = cascade_coding(job, self._choice, step, offsets)
        try:
            decoded = [reconstruct(coding, *sums).ravel() for sums in self._sums(coding, quantised)]
        except CorruptError as error:
            raise QualityError(
                f"channel {job.channel.description.name!r}: this quality is beyond the exact range of the codec "
                f"({error}). Ask for a larger PRDN"
            ) from None
        approximation = np.concatenate(decoded)
        events, marked = self._choice.cascade.events, job.channel.marked(approximation)
        return EncodedChannel(coding, events, job.parts, quantised, approximation, marked)

    def component(self, step: Step, quantised: list[Quantised], offsets: tuple[int, int, int]) -> NDArray[np.int64]:
        """What a decoder will have before it rounds, int64 ``(sample,)`` in ``2**-FRACTION_BITS`` stored units.

        Raises
        ------
        CorruptError
            When a sum leaves the exact range.
        """
        coding = cascade_coding(self._job, self._choice, step, offsets)
        return np.concatenate([component_of(coding, *sums).ravel() for sums in self._sums(coding, quantised)])

    def _sums(
        self, coding: ChannelCoding, quantised: list[Quantised]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64] | None]]:
        """Bank and beat sums of every part."""
        assert coding.model is not None
        for part, each, beat_sum in zip(self._job.parts, quantised, self._beat_sums, strict=True):
            amplitudes = quantiser.amplitudes_of(each, coding.offsets, coding.model)
            check_amplitudes(coding.model, amplitudes)
            yield self._job.engine.synthesise(coding.model, amplitudes)[:, : part.length], beat_sum

    def profile(self, quantised: list[Quantised], weight_set: int) -> Profile:
        """Mean magnitudes of what was quantised."""
        return quantiser.profile_of(
            self._choice.model.contexts,
            [part.magnitudes for part in quantised],
            self._phases,
            with_phases=len(self._job.group.starts) > 0,
            weight_set=weight_set,
        )

    def with_profile(self, encoded: EncodedChannel, *, weight_set: int) -> EncodedChannel:
        """The profile that is stored describes the final coefficients; their activity classes follow from it."""
        model = self._choice.model
        stored = without_empty_bands(self.profile(encoded.quantised, weight_set), encoded.quantised)
        coding = replace(encoded.coding, profile=stored)
        if self._is_mixed:
            return replace(encoded, coding=coding)
        classified = [
            quantiser.classified(each, model, base_windows(model, stored, phases), weight_set=weight_set)
            for each, phases in zip(encoded.quantised, self._phases, strict=True)
        ]
        return replace(encoded, coding=coding, quantised=classified)


def added(all_sums: Iterable[ErrorSums]) -> ErrorSums:
    """Sums of parts as one."""
    total = ErrorSums()
    for sums in all_sums:
        total.squares += sums.squares
        total.errors += sums.errors
        total.counts += sums.counts
    return total


def quantise_parts(
    job: ChannelJob,
    model: Model,
    all_bands: list[Bands],
    profile: Profile,
    all_phases: list[list[NDArray[np.int64]]],
    step: float,
    offsets: tuple[int, int, int],
) -> tuple[list[Quantised], ErrorSums]:
    """Coefficients of every part under a plain quantiser, with the classes that a profile gives them."""
    if job.settings.multiplier:
        rounding = quantiser.rounding_of(
            model.contexts, multiplier=job.settings.multiplier, weight_set=profile.weight_set, offsets=offsets
        )
        everywhere = profile.with_all_bands()
        results = [
            quantiser.quantise(
                bands,
                model,
                base_windows(model, everywhere, phases),
                weight_set=profile.weight_set,
                step=step,
                rounding=rounding,
            )
            for bands, phases in zip(all_bands, all_phases, strict=True)
        ]
    else:
        results = [quantiser.quantise_plain(bands, step=step) for bands in all_bands]
    return [quantised for quantised, _ in results], added(sums for _, sums in results)


def beat_sums_of(job: ChannelJob, cascade: Cascade) -> list[NDArray[np.int64] | None]:
    """What the beat layer adds, int64 ``(chunk, sample)`` per part; None without beats."""
    if not cascade.kernels.n_kernels:
        return [None for _ in job.parts]
    n_samples = len(job.channel.signal)
    rendered = beats.render(job.group.starts, cascade.events, cascade.kernels, n_samples=n_samples)
    return [
        rendered[part.first_sample : part.first_sample + part.n_chunks * part.length].reshape(-1, part.length)
        for part in job.parts
    ]


def without_empty_bands(profile: Profile, quantised: list[Quantised]) -> Profile:
    """Switch off the bands that hold no coefficient, and no other."""
    n_bands = len(profile.scale_codes)
    used = np.array([any(part.magnitudes[band].any() for part in quantised) for band in range(n_bands)])
    return replace(profile, scale_codes=np.where(used, np.maximum(profile.scale_codes, 1), 0))
