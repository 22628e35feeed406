"""A channel on its way to being encoded: what was given, what was found in it, what was decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import BeatKernels, Events
from sancodec.codec.chunks import Part, parts_of
from sancodec.codec.event_stream import NO_EXCEPTIONS, Exceptions
from sancodec.codec.given_kernels import GivenKernels
from sancodec.codec.kernels import Model
from sancodec.codec.missing import filled, mask_of, missing_runs
from sancodec.codec.quantiser import Quantised
from sancodec.codec.recording import Channel
from sancodec.codec.synthesis import ChannelCoding, Engine
from sancodec.errors import InvalidSignalError


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
    acceptance
        The search ends when the PRDN lies between this share of the target and the target.
    stages
        Lags of the residual layer's adaptive stages to choose from; for the mixing coder.
    rivals
        Other ways that are tried on segments where they may be smaller.
    """

    coder: int
    zstd_level: int
    kernel_counts: tuple[int, ...]
    multiplier: float
    acceptance: float = 0.995
    stages: tuple[tuple[int, int], ...] = ((0, 0),)
    rivals: tuple[EncoderSettings, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedChannel:
    """A channel ready for trials.

    Parameters
    ----------
    samples
        int32, as given.
    signal
        float32, less ``offset``, in ``2**exponent`` stored units, missing samples bridged by straight lines.
    runs
        Missing runs, int64 ``(run, 2)``.
    energy
        Squared norm that counts as 100 % PRDN: of the valid samples less their mean.
    """

    description: Channel
    samples: NDArray[np.int32]
    signal: NDArray[np.float32]
    runs: NDArray[np.int64]
    n_valid: int
    offset: int
    minimum: int
    maximum: int
    exponent: int
    energy: float

    @property
    def scaled_energy(self) -> float:
        """Squared norm in the units of ``signal``."""
        return self.energy * 4.0**-self.exponent

    @property
    def is_constant(self) -> bool:
        return self.minimum == self.maximum

    def marked(self, samples: NDArray[np.int32]) -> NDArray[np.int32]:
        """A copy with the missing samples marked."""
        result = samples.copy()
        if len(self.runs):
            assert self.description.invalid is not None
            result[mask_of(self.runs, len(result))] = self.description.invalid
        return result


def is_storable(description: Channel, decoded: NDArray[np.int32]) -> bool:
    """Whether the source's format can hold the differences between neighbouring samples."""
    limit = description.max_difference
    if limit is None or len(decoded) < 2:
        return True
    differences = np.diff(decoded.astype(np.int64))
    return bool(-limit - 1 <= differences.min() and differences.max() <= limit)


def prepare(description: Channel, samples: NDArray[np.int32], *, sample_energy: float | None = None) -> PreparedChannel:
    """Separate missing samples and offset from the signal.

    Parameters
    ----------
    sample_energy
        Mean squared deviation per valid sample that counts as 100 % PRDN; of these samples by default.
    """
    runs = missing_runs(samples, description.invalid)
    valid = samples[~mask_of(runs, len(samples))] if len(runs) else samples
    if not len(valid):
        return PreparedChannel(description, samples, np.zeros(0, np.float32), runs, 0, 0, 0, 0, 0, 0.0)
    minimum, maximum = int(valid.min()), int(valid.max())
    if minimum < description.minimum or maximum > description.maximum:
        raise InvalidSignalError(
            f"channel {description.name!r}: samples {minimum}…{maximum} leave the range "
            f"{description.minimum}…{description.maximum} of its format"
        )
    mean = float(valid.mean(dtype=np.float64))
    offset = round(mean)
    deviation = valid.astype(np.float64) - mean
    energy = float(deviation @ deviation) if sample_energy is None else sample_energy * len(valid)
    # float32 holds squares of 16-bit values with room to spare; larger ones are scaled down.
    exponent = max(0, (maximum - minimum).bit_length() - 16)
    if minimum == maximum:
        signal = np.zeros(0, np.float32)
    else:
        centred = samples - (
            np.int32(offset) if abs(offset) < 2**30 and max(-minimum, maximum) < 2**30 else np.int64(offset)
        )
        signal = filled(centred, runs)
        if exponent:
            signal *= np.float32(2.0**-exponent)
    return PreparedChannel(description, samples, signal, runs, len(valid), offset, minimum, maximum, exponent, energy)


@dataclass(frozen=True, slots=True, eq=False)
class LeadGroup:
    """Waves found in channels of one rate: first samples of their windows, and the high-passed channels."""

    starts: NDArray[np.int64]
    filtered: dict[int, NDArray[np.float32]]
    sampling_rate_hz: float


@dataclass(frozen=True, slots=True, eq=False)
class EncodedChannel:
    """Everything the payloads need of a channel; lists run over ``parts``.

    Parameters
    ----------
    approximation
        int32 ``(sample,)``: what the cascade gives everywhere, missing samples too.
    decoded
        int32 ``(sample,)``: what a decoder gives.
    codes
        Integers ``(sample,)`` of the residual layer, or None; the mixing coder has none.
    target
        int64 ``(sample,)``, less the offset: what the residual layer was given.
    exceptions
        Samples off the channel's lattice.
    """

    coding: ChannelCoding
    events: Events
    parts: list[Part]
    quantised: list[Quantised]
    approximation: NDArray[np.int32]
    decoded: NDArray[np.int32]
    codes: NDArray[np.integer] | None = None
    target: NDArray[np.int64] | None = None
    exceptions: Exceptions = NO_EXCEPTIONS


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """One choice of beat layer: what it takes from the signal and what it costs."""

    kernels: BeatKernels
    events: Events
    residual: NDArray[np.float32]
    side_bits: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Outcome of the trials: bank, beat layer and a first step; and banks that were nearly chosen."""

    model: Model
    cascade: Cascade
    step: float
    others: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Hint:
    """How a channel was coded in the segment before.

    Parameters
    ----------
    model
        Bank; None where prediction alone was best.
    step
        In stored units.
    """

    model: Model | None
    n_kernels: int
    step: float


@dataclass(frozen=True, slots=True, eq=False)
class ChannelJob:
    """Everything that trials and search of one channel need.

    Parameters
    ----------
    index
        Of the channel in the recording.
    chunk_length
        In samples of this channel.
    models
        Banks to choose from.
    hint
        Where it is given, nothing is tried again.
    noise
        Of a channel whose samples are bounded: root mean square of what a prediction leaves, in stored units.
    given
        Kernels of the beat layer; None where they are learned from the channel.
    """

    channel: PreparedChannel
    group: LeadGroup
    index: int
    chunk_length: int
    models: tuple[Model, ...]
    settings: EncoderSettings
    engine: Engine
    hint: Hint | None = None
    noise: float = 0.0
    given: GivenKernels | None = None

    @property
    def parts(self) -> list[Part]:
        return parts_of(len(self.channel.signal), self.chunk_length)
