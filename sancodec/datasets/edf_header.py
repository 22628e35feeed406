"""EDF, EDF+, BDF and BDF+ headers, field by field as in the EDF+ specification (Kemp and Olivan 2003).

The header is read as bytes, and its bytes are kept. Real files break the specification in most of its fields, so that
only what the place of the samples depends on is insisted on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate

from sancodec.codec.recording import INT32_MAX, INT32_MIN, Channel
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.errors import InvalidSignalError

EDF_MAGIC = b"0       "
BDF_MAGIC = b"\xffBIOSEMI"
MAIN_BYTES = 256  # of the part for the whole file, and of that for each signal
MAX_SIGNALS = 9999  # what the field of four digits holds
DEFAULT_RECORD_S = Fraction(1)
NO_SCALE_UNIT = "adu"
# Widths of the fields of each signal, all signals' labels first: label, transducer, physical dimension, physical
# minimum and maximum, digital minimum and maximum, prefiltering, samples in each data record, reserved.
FIELD_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)

_LABEL, _UNIT, _PHYSICAL_MIN, _PHYSICAL_MAX, _DIGITAL_MIN, _DIGITAL_MAX, _N_SAMPLES = 0, 2, 3, 4, 5, 6, 8
_DURATION = slice(244, 252)
_N_SIGNALS = slice(252, 256)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_MAX_SAMPLES_PER_FRAME = 65535
_MAX_GAIN = Fraction(10) ** 300  # within what a float holds
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


@dataclass(frozen=True, slots=True)
class EdfSignal:
    """One signal of the header.

    Parameters
    ----------
    label, unit
        Without the spaces around them; UTF-8, or Latin-1 where it is not that.
    physical, digital
        (minimum, maximum), None where a field is no number.
    n_samples
        In each data record.
    """

    label: str
    unit: str
    physical: tuple[Fraction, Fraction] | None
    digital: tuple[Fraction, Fraction] | None
    n_samples: int

    @property
    def is_annotations(self) -> bool:
        return self.label in _ANNOTATIONS

    @property
    def digital_range(self) -> tuple[int, int]:
        """Digital minimum and maximum in order, rounded; (0, 0) where a field is no number."""
        first, second = self.digital or (Fraction(0), Fraction(0))
        return round(min(first, second)), round(max(first, second))

    @property
    def scale(self) -> tuple[float, int] | None:
        """Gain and baseline, the latter rounded; None where the ranges give none."""
        if self.physical is None or self.digital is None:
            return None
        (physical_min, physical_max), (digital_min, digital_max) = self.physical, self.digital
        if physical_min == physical_max or digital_min == digital_max:
            return None
        gain = (digital_max - digital_min) / (physical_max - physical_min)
        baseline = round(digital_min - physical_min * gain)
        is_scale = INT32_MIN <= baseline <= INT32_MAX and 1 / _MAX_GAIN <= abs(gain) <= _MAX_GAIN
        return (float(gain), baseline) if is_scale else None


@dataclass(frozen=True)
class EdfHeader:
    """A header; positions in a data record count samples.

    Parameters
    ----------
    content
        All bytes of the header.
    record_duration_s
        Of a data record: 1 s where the field is not a number above 0, as in files of annotations only.
    """

    content: bytes
    record_duration_s: Fraction
    signals: tuple[EdfSignal, ...]

    @property
    def format(self) -> SampleFormat:
        """The WFDB format whose samples have the same bytes: 16 for EDF, 24 for BDF."""
        return SAMPLE_FORMATS[24 if self.is_bdf else 16]

    @property
    def is_bdf(self) -> bool:
        return self.content.startswith(BDF_MAGIC[:1])

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Position of each signal in a data record."""
        return tuple(accumulate((signal.n_samples for signal in self.signals[:-1]), initial=0))

    @cached_property
    def record_bytes(self) -> int:
        return sum(signal.n_samples for signal in self.signals) * self.format.group_bytes

    @cached_property
    def ordinary(self) -> tuple[int, ...]:
        """Indices of the signals that have samples."""
        return tuple(
            index for index, signal in enumerate(self.signals) if signal.n_samples and not signal.is_annotations
        )

    @cached_property
    def annotations(self) -> tuple[int, ...]:
        """Indices of the signals that have annotations."""
        return tuple(index for index, signal in enumerate(self.signals) if signal.n_samples and signal.is_annotations)

    @cached_property
    def frames_per_record(self) -> int:
        """The most equal parts into which the samples of a data record can be cut; 1 where there are none."""
        return math.gcd(*(self.signals[index].n_samples for index in self.ordinary)) or 1

    @property
    def samples_per_frame(self) -> int:
        """Samples of all signals in a frame."""
        return sum(self.signals[index].n_samples for index in self.ordinary) // self.frames_per_record

    @property
    def frame_rate_hz(self) -> Fraction:
        return self.frames_per_record / self.record_duration_s

    def channels(self, value_ranges: Ranges) -> tuple[Channel, ...]:
        """One channel for each signal that has samples, or that of a file of annotations only: a constant 0.

        Parameters
        ----------
        value_ranges
            (minimum, maximum) of the samples of each of ``ordinary``. A signal that keeps its digital minimum and
            maximum has them as the range of its channel, any other all that its format stores.
        """
        if not self.ordinary:
            return (Channel(self.signals[self.annotations[0]].label, NO_SCALE_UNIT, minimum=0, maximum=0),)
        pairs = zip(self.ordinary, value_ranges, strict=True)
        return tuple(self._channel(self.signals[index], value_range) for index, value_range in pairs)

    def _channel(self, signal: EdfSignal, value_range: tuple[int, int]) -> Channel:
        scale = signal.scale
        gain, baseline = scale or (1.0, 0)
        row = self.format
        minimum, maximum = signal.digital_range
        if not row.lowest <= minimum <= value_range[0] <= value_range[1] <= maximum <= row.maximum:
            minimum, maximum = row.lowest, row.maximum
        return Channel(
            name=signal.label,
            unit=signal.unit if scale else NO_SCALE_UNIT,
            gain=gain,
            baseline=baseline,
            resolution_bits=row.bits,
            minimum=minimum,
            maximum=maximum,
            samples_per_frame=signal.n_samples // self.frames_per_record,
        )


def header_bytes_of(main: bytes) -> int:
    """Length of a header, from its first 256 bytes.

    Raises
    ------
    InvalidSignalError
        When they are not those of an EDF or BDF file.
    """
    if not main.startswith((EDF_MAGIC, BDF_MAGIC)):
        raise InvalidSignalError("not an EDF or BDF file: it must begin with '0' and 7 spaces, or '\\xffBIOSEMI'")
    if len(main) < MAIN_BYTES:
        raise InvalidSignalError(f"it ends after {len(main)} bytes, within its header; get it again from its source")
    n_signals = _whole(main[_N_SIGNALS])
    if n_signals is None or not 1 <= n_signals <= MAX_SIGNALS:
        raise InvalidSignalError(
            f"number of signals is {_shown(main[_N_SIGNALS])}; 1 to {MAX_SIGNALS} is needed, else there is nothing "
            "to compress"
        )
    return MAIN_BYTES * (1 + n_signals)


def parse_header(content: bytes) -> EdfHeader:
    """Parse a whole header.

    Raises
    ------
    InvalidSignalError
        When the place of samples cannot be told from it, or there are none.
    """
    n_bytes = header_bytes_of(content[:MAIN_BYTES])
    if len(content) != n_bytes:
        raise InvalidSignalError(
            f"it ends after {len(content)} bytes, within its header of {n_bytes}; get it again from its source"
        )
    n_signals = n_bytes // MAIN_BYTES - 1
    duration_s = _number(content[_DURATION])
    header = EdfHeader(
        content,
        duration_s if duration_s is not None and duration_s > 0 else DEFAULT_RECORD_S,
        tuple(_signal(content, index, n_signals) for index in range(n_signals)),
    )
    if not header.record_bytes:
        raise InvalidSignalError("no signal has samples in its data records; there is nothing to compress")
    for index in header.ordinary:
        signal = header.signals[index]
        if signal.n_samples // header.frames_per_record > _MAX_SAMPLES_PER_FRAME:
            raise InvalidSignalError(
                f"signal {signal.label!r} has {signal.n_samples // header.frames_per_record} samples to each "
                f"{header.frames_per_record} of another; at most {_MAX_SAMPLES_PER_FRAME} are allowed"
            )
    return header


def field_of(content: bytes, field: int, index: int, n_signals: int) -> bytes:
    """The bytes of a field (position in ``FIELD_WIDTHS``) of signal ``index`` in a whole header."""
    width = FIELD_WIDTHS[field]
    start = MAIN_BYTES + n_signals * sum(FIELD_WIDTHS[:field]) + index * width
    return content[start : start + width]


def _signal(content: bytes, index: int, n_signals: int) -> EdfSignal:
    fields = [field_of(content, field, index, n_signals) for field in range(len(FIELD_WIDTHS))]
    label = _text(fields[_LABEL])
    n_samples = _whole(fields[_N_SAMPLES])
    if n_samples is None or n_samples < 0:
        raise InvalidSignalError(
            f"signal {index}, {label!r}: number of samples in a data record is {_shown(fields[_N_SAMPLES])}; "
            "a whole number is needed"
        )
    physical = _pair(fields[_PHYSICAL_MIN], fields[_PHYSICAL_MAX])
    return EdfSignal(
        label or f"signal {index}",
        _text(fields[_UNIT]),
        physical,
        _pair(fields[_DIGITAL_MIN], fields[_DIGITAL_MAX]),
        n_samples,
    )


def _pair(first: bytes, second: bytes) -> tuple[Fraction, Fraction] | None:
    low, high = _number(first), _number(second)
    return None if low is None or high is None else (low, high)


def _text(raw: bytes) -> str:
    raw = raw.strip(b" \0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _number(raw: bytes) -> Fraction | None:
    """A number, with a comma for the point as some programs write it; None where it is none."""
    text = _text(raw).replace(",", ".")
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def _whole(raw: bytes) -> int | None:
    value = _number(raw)
    return int(value) if value is not None and value.denominator == 1 else None


def _shown(raw: bytes) -> str:
    return repr(_text(raw))
