"""What is compressed: integer samples per channel, and what is needed to read them as physical values."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_MAX_RATE_TERM = 1 << 62


@dataclass(frozen=True, slots=True)
class Channel:
    """How the integers of one channel are stored and what they mean.

    ``physical = (stored - baseline) / gain`` in ``unit``.

    Parameters
    ----------
    name, unit
        As the source wrote them.
    gain
        Stored units per physical unit; finite and not zero.
    baseline
        Stored value of 0 physical units.
    resolution_bits
        Bits per sample that compression ratios are counted against (mitdb: 11).
    minimum, maximum
        Inclusive range of valid stored values in the source's sample format.
    invalid
        Stored value that marks a missing sample, or None where the format has none.
    samples_per_frame
        Samples of this channel in each frame (1 for single-rate recordings).
    max_difference
        Largest difference between neighbouring samples that the source's format can store, or None; the smallest
        is one less than its negative (WFDB format 8: -128 to 127).
    """

    name: str
    unit: str = "adu"
    gain: float = 1.0
    baseline: int = 0
    resolution_bits: int = 16
    minimum: int = -(2**15)
    maximum: int = 2**15 - 1
    invalid: int | None = None
    samples_per_frame: int = 1
    max_difference: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and self.gain != 0):
            raise InvalidSignalError(f"channel {self.name!r}: gain is {self.gain}; it must be finite and not 0")
        if not INT32_MIN <= self.minimum <= self.maximum <= INT32_MAX:
            raise InvalidSignalError(
                f"channel {self.name!r}: value range {self.minimum}..{self.maximum} is not within 32 bits"
            )
        if self.invalid is not None and (
            self.minimum <= self.invalid <= self.maximum or not INT32_MIN <= self.invalid <= INT32_MAX
        ):
            raise InvalidSignalError(
                f"channel {self.name!r}: {self.invalid} marks missing samples; it must be a 32-bit value "
                f"outside {self.minimum}..{self.maximum}"
            )
        if self.max_difference is not None and not 1 <= self.max_difference <= 2**32:
            raise InvalidSignalError(
                f"channel {self.name!r}: largest difference {self.max_difference}; 1 to 2**32 is allowed"
            )
        for text in (self.name, self.unit):
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise InvalidSignalError(f"channel {self.name!r}: name or unit holds half a surrogate pair")
        if not INT32_MIN <= self.baseline <= INT32_MAX:
            raise InvalidSignalError(f"channel {self.name!r}: baseline {self.baseline} is not within 32 bits")
        if not 1 <= self.resolution_bits <= 32:
            raise InvalidSignalError(
                f"channel {self.name!r}: resolution is {self.resolution_bits} bits; it must be 1 to 32"
            )
        if not 1 <= self.samples_per_frame <= 65535:
            raise InvalidSignalError(
                f"channel {self.name!r}: {self.samples_per_frame} samples per frame; it must be 1 to 65535"
            )


@dataclass(frozen=True, slots=True)
class SideFile:
    """A file kept beside the samples byte for byte, such as the WFDB header."""

    name: str
    content: bytes


class RecordingDescription(Protocol):
    """What is known of a recording beside its samples: a `Recording`, an opened source or the header of a container."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """One description per channel."""

    @property
    def frame_rate_hz(self) -> Fraction:
        """Frames per second, exactly."""

    @property
    def n_frames(self) -> int:
        """Number of frames; channel c has ``n_frames * channels[c].samples_per_frame`` samples."""

    @property
    def source(self) -> str:
        """Who can restore the original files from ``side_files``; see `Recording`."""

    @property
    def side_files(self) -> tuple[SideFile, ...]:
        """Files kept beside the samples."""


class FrameSource(RecordingDescription, Protocol):
    """A recording whose samples are read range by range, so that it need not fit in memory."""

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``, where ``0 <= first <= last <= n_frames``.

        Returns
        -------
        One int32 array per channel, shape ``((last - first) * samples_per_frame,)``, in stored units.

        Raises
        ------
        InvalidSignalError
            When the samples cannot be read any more.
        """


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples and description of one recording.

    Parameters
    ----------
    channels
        One description per channel.
    samples
        One int32 array per channel, shape ``(n_frames * samples_per_frame,)``, in stored units,
        in the order of the source file (a WFDB skew is not undone); missing samples hold
        ``channel.invalid``.
    frame_rate_hz
        Frames per second, exactly.
    source
        ``"wfdb"``, ``"edf"`` or ``"array"``: who can restore the original files from ``side_files``.
    """

    channels: tuple[Channel, ...]
    samples: tuple[NDArray[np.int32], ...]
    frame_rate_hz: Fraction
    source: str = "array"
    side_files: tuple[SideFile, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.samples) or not self.channels:
            raise InvalidSignalError(
                f"{len(self.samples)} sample arrays for {len(self.channels)} channels; one array per channel is needed"
            )
        if self.frame_rate_hz <= 0:
            raise InvalidSignalError(f"sampling rate is {self.frame_rate_hz} Hz; it must be above 0")
        if max(self.frame_rate_hz.numerator, self.frame_rate_hz.denominator) >= _MAX_RATE_TERM:
            raise InvalidSignalError(f"sampling rate {self.frame_rate_hz} Hz is no ratio of numbers below 2**62")
        n_frames = self.n_frames
        for channel, samples in zip(self.channels, self.samples, strict=True):
            if samples.dtype != np.int32 or samples.ndim != 1:
                raise InvalidSignalError(
                    f"channel {channel.name!r}: samples are {samples.dtype} of {samples.ndim} dimensions; "
                    "one-dimensional int32 is needed"
                )
            if len(samples) != n_frames * channel.samples_per_frame:
                raise InvalidSignalError(
                    f"channel {channel.name!r}: {len(samples)} samples; "
                    f"{n_frames} frames of {channel.samples_per_frame} were expected"
                )

    @property
    def n_frames(self) -> int:
        return len(self.samples[0]) // self.channels[0].samples_per_frame

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``: views, one per channel (see `FrameSource`)."""
        return tuple(
            samples[first * channel.samples_per_frame : last * channel.samples_per_frame]
            for channel, samples in zip(self.channels, self.samples, strict=True)
        )

    def sampling_rate_hz(self, channel_index: int) -> Fraction:
        return self.frame_rate_hz * self.channels[channel_index].samples_per_frame

    @property
    def duration_s(self) -> float:
        return float(self.n_frames / self.frame_rate_hz)
