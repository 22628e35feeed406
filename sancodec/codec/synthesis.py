"""From integers of the streams to integers of the signal: the arithmetic that every decoder repeats exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import transform
from sancodec.codec.beats import FRACTION_BITS, BeatKernels
from sancodec.codec.contexts import Profile
from sancodec.codec.kernels import Model
from sancodec.codec.lattice import Lattice
from sancodec.codec.quantiser import Step
from sancodec.codec.recording import INT32_MIN, Channel
from sancodec.codec.residual import ResidualCoding
from sancodec.errors import CorruptError

MAX_BANK_SUM = 1 << 50
_REDUCTION_BITS = 10
_STEP_FRACTION_BITS = 13  # 7 of the amplitude and 16 of the weights, less _REDUCTION_BITS
_MAX_SUM = 1 << 52
UNIT_STEP = Step(2048, -11)
NO_KERNELS = BeatKernels(np.zeros((0, 1), np.int32), 0)


class Engine(Protocol):
    """What computes similarity and synthesis: NumPy here, onnxruntime in ``sancodec.export``."""

    @property
    def name(self) -> str: ...

    def similarity(self, model: Model, signals: NDArray[np.float32]) -> list[NDArray[np.float32]]: ...

    def synthesise(self, model: Model, amplitudes: list[NDArray[np.float64]]) -> NDArray[np.float64]: ...


class NumpyEngine:
    """The reference."""

    name = "numpy"

    def similarity(self, model: Model, signals: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return transform.similarity(model, signals)

    def synthesise(self, model: Model, amplitudes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return transform.synthesise(model, amplitudes)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelCoding:
    """What the file says once about a channel.

    Parameters
    ----------
    offset, minimum, maximum
        In stored units: added to every sample; decoded samples are kept within the last two.
    lead_group
        Channels of one lead group share event positions.
    model
        Bank; None for a channel without a cascade, whose approximation is ``offset`` everywhere.
    step, offsets
        Quantiser step, and reconstruction offsets of magnitudes 1, 2 and more, in 1/128 steps.
    kernels
        Beat kernels; may be none.
    profile
        Expected magnitudes for the class coder; None under other coders.
    residual
        How samples follow from the cascade's approximation; None where that is what is decoded.
    lattice
        Where it is given, everything above speaks of multiples of its step instead of values.
    row
        Weights of the lead group's components, whose sum the channel is, int64 ``(component,)`` in
        ``2**-mix.WEIGHT_BITS``; None for a channel that is its own component.
    """

    offset: int
    minimum: int
    maximum: int
    lead_group: int = 0
    model: Model | None = None
    step: Step = UNIT_STEP
    offsets: tuple[int, int, int] = (0, 0, 0)
    kernels: BeatKernels = NO_KERNELS
    profile: Profile | None = None
    residual: ResidualCoding | None = None
    lattice: Lattice | None = None
    row: NDArray[np.int64] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether every sample is ``minimum``."""
        return self.model is None and self.residual is None and self.row is None


def values_of(coding: ChannelCoding, channel: Channel) -> tuple[int, int]:
    """Range of the values that a channel decodes to.

    That of multiples is not known before their exceptions are: the channel's own, without -2**31, which few hold.
    """
    if coding.lattice is None or coding.is_constant:
        return coding.minimum, coding.maximum
    return max(channel.minimum, INT32_MIN + 1), channel.maximum


def check_amplitudes(model: Model, amplitudes: list[NDArray[np.float64]]) -> None:
    """Refuse amplitudes whose sums could leave the exact range.

    Raises
    ------
    CorruptError
    """
    peak = max((float(np.abs(amplitude).max(initial=0)) for amplitude in amplitudes), default=0.0)
    if peak * model.peak_gain >= MAX_BANK_SUM:
        raise CorruptError(f"an amplitude of {peak:.0f} is too large for exact synthesis with model {model.name!r}")


def bank_part(step: Step, bank_sum: NDArray[np.float64]) -> NDArray[np.float64]:
    """F of section 10.3: what the bank adds to samples, in ``2**-FRACTION_BITS`` stored units.

    Parameters
    ----------
    bank_sum
        As `component_of` takes it.

    Returns
    -------
    float64 holding integers, of the same shape.
    """
    fixed = bank_sum + 2.0 ** (_REDUCTION_BITS - 1)
    fixed *= 2.0**-_REDUCTION_BITS
    np.floor(fixed, out=fixed)
    fixed *= step.mantissa
    fixed *= 2.0 ** (step.exponent - _STEP_FRACTION_BITS + FRACTION_BITS)
    fixed += 0.5
    np.floor(fixed, out=fixed)
    if fixed.size and max(fixed.max(), -fixed.min()) >= _MAX_SUM:
        raise CorruptError("a decoded sample lies beyond the exact range")
    return fixed


def component_of(
    coding: ChannelCoding, bank_sum: NDArray[np.float64], beat_sum: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """What a cascade gives, in ``2**-FRACTION_BITS`` stored units: Y of docs/format.md, section "Synthesis".

    Parameters
    ----------
    bank_sum
        float64 holding integers, shape ``(chunk, sample)``, in ``step · 2**-23``.
    beat_sum
        int64, same shape, in ``2**kernels.exponent`` stored units; None without beats.
    """
    total = bank_part(coding.step, bank_sum).astype(np.int64)
    if beat_sum is not None:
        total += beat_sum << (coding.kernels.exponent + FRACTION_BITS)
    return total


def reconstruct(
    coding: ChannelCoding, bank_sum: NDArray[np.float64], beat_sum: NDArray[np.int64] | None
) -> NDArray[np.int32]:
    """Samples in stored units of a channel that is its own component; parameters as of `component_of`."""
    total = component_of(coding, bank_sum, beat_sum)
    total += 1 << (FRACTION_BITS - 1)
    total >>= FRACTION_BITS
    return clamped(coding, total)


def clamped(coding: ChannelCoding, values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Add the offset and keep within the channel's range, in place."""
    values += coding.offset
    return np.clip(values, coding.minimum, coding.maximum, out=values).astype(np.int32)
