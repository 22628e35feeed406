"""What is promised of each channel: options and presets turned into bounds on PRDN and on the single sample."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    from sancodec.codec.recording import Channel

MIN_PRDN, MAX_PRDN = 1e-6, 1e6
MAX_ERROR_ADU = 1 << 20
_ADU = "adu"
_EXPONENTS = {"v": 0, "mv": -3, "uv": -6, "\u03bcv": -6, "nv": -9}  # str.casefold turns U+00B5 into U+03BC
_BOUND = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)\s*([^\W\d_]*)\s*", re.IGNORECASE)
_CODES_UNIT = "boolean"  # a trigger code that is off by one is another code
_BINARY_TOLERANCE = Fraction(1, 10**9)  # a gain of 0.1 per adu is no exact binary fraction

_LEAD = (
    r"i{1,3}|av[rlf]|v|v[1-9]r?|v[xyz]|v[1-6]-v[1-6]"  # standard, posterior, right-sided, Frank
    r"|ml(?:i{1,3}|[1-3])|mv[1-9]?|mcl[1-6]?"  # modified
    r"|c[mc][1-7]|cs\d{1,2}|cb[1-7]|cr[1-7]"  # bipolar chest leads
    r"|[ae]-[is]"  # EASI
)
_ECG_NAME = re.compile(
    rf"(?:lead|mod\.?)?[ _.-]*(?:{_LEAD})\+?"
    rf"|e[ck]g(?:[ _.:-]*(?:lead|ch(?:annel)?|mod\.?))?(?:[ _.:-]*(?:\d{{1,2}}|\(?(?:{_LEAD})\)?))?"
    r"|e[ck]g\d?-e[ck]g\d?"
)
_HOLTER_NAME = re.compile("d[34]")  # leads of two-channel records; caps of 128 electrodes have a D3 as well
_MAX_HOLTER_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Promise:
    """What one channel keeps; at least one bound is given, and all given hold.

    Parameters
    ----------
    prdn
        Largest PRDN in percent, 1e-6 to 1e6.
    max_error_adu
        Largest error of any sample in stored units, 0 (exact) to 2**20.

    Raises
    ------
    InvalidSignalError
        When a bound is out of range, or none is given.
    """

    prdn: float | None = None
    max_error_adu: int | None = None

    def __post_init__(self) -> None:
        if self.prdn is None and self.max_error_adu is None:
            raise InvalidSignalError("nothing is promised; give a PRDN, a largest error, or lossless")
        if self.prdn is not None and not MIN_PRDN <= self.prdn <= MAX_PRDN:
            raise InvalidSignalError(
                f"PRDN {self.prdn} %: {MIN_PRDN:g} to {MAX_PRDN:g} is allowed; for no loss at all ask for lossless"
            )
        if self.max_error_adu is not None and not 0 <= self.max_error_adu <= MAX_ERROR_ADU:
            raise InvalidSignalError(f"largest error {self.max_error_adu} adu: 0 to {MAX_ERROR_ADU} is allowed")

    @property
    def is_exact(self) -> bool:
        return self.max_error_adu == 0

    def __str__(self) -> str:
        if self.is_exact:
            return "exact"
        parts = [] if self.prdn is None else [f"≤ {self.prdn:.4g} %"]
        return ", ".join(parts if self.max_error_adu is None else [*parts, f"≤ {self.max_error_adu} adu"])


@dataclass(frozen=True, slots=True)
class ErrorBound:
    """Largest error of a sample as it was asked for: a number of stored units, or of volts.

    Parameters
    ----------
    text
        As written, for messages.
    value
        In stored units, or in volts.
    is_physical
        Whether ``value`` is in volts.
    """

    text: str
    value: Fraction
    is_physical: bool

    @classmethod
    def parse(cls, text: str) -> ErrorBound:
        """Read ``4adu``, ``20uV``, ``20 µV``, ``0.02mV``, ``1e-5V``, or a plain number of stored units.

        Raises
        ------
        InvalidSignalError
            When it is none of them, or negative.
        """
        match = _BOUND.fullmatch(text)
        unit = match[2].casefold() if match else ""
        if match is None or unit not in ("", _ADU, *_EXPONENTS):
            raise InvalidSignalError(
                f"largest error {text!r}: a number with adu, V, mV, uV or nV is needed, such as 20uV or 4adu"
            )
        value = Fraction(match[1])
        if value < 0:
            raise InvalidSignalError(f"largest error {text!r}: is negative; 0 or more is needed")
        if unit in _EXPONENTS:
            return cls(text, value * Fraction(10) ** _EXPONENTS[unit], is_physical=True)
        if value > MAX_ERROR_ADU:
            raise InvalidSignalError(f"largest error {text!r}: at most {MAX_ERROR_ADU} adu is allowed")
        return cls(text, value, is_physical=False)

    def in_adu(self, channel: Channel) -> int:
        """The bound in whole stored units of a channel, rounded down.

        Raises
        ------
        InvalidSignalError
            When the bound is in volts and the channel is not.
        """
        if not self.is_physical:
            return math.floor(self.value)
        exponent = _exponent_of(channel)
        if exponent is None:
            raise InvalidSignalError(
                f"channel {channel.name!r} is in {channel.unit!r}, so that {self.text} means nothing there; "
                "give the largest error in stored units, such as --max-error 4adu"
            )
        adu = self.value * Fraction(abs(channel.gain)) / Fraction(10) ** exponent
        return min(math.floor(adu * (1 + _BINARY_TOLERANCE)), MAX_ERROR_ADU)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named promise.

    Parameters
    ----------
    use
        What it is for, in a few words.
    prdn
        Largest PRDN in percent, of the channels that ``ecg_max_error`` does not bound.
    ecg_max_error
        Largest error of a sample of ECG leads.
    is_lossless
        Whether every sample is kept.
    """

    use: str
    prdn: float | None = None
    ecg_max_error: ErrorBound | None = None
    is_lossless: bool = False

    def __str__(self) -> str:
        if self.is_lossless:
            return "every sample exact"
        if self.ecg_max_error is None:
            return f"PRDN at most {self.prdn:g} %"
        return f"ECG leads: error of any sample at most {self.ecg_max_error.text}; other channels: PRDN {self.prdn:g} %"


PRESETS = {
    "archive": Preset("keeping the original", is_lossless=True),
    "clinical": Preset("reading the waveform", prdn=2.0, ecg_max_error=ErrorBound.parse("20 µV")),
    "monitor": Preset("rhythm and morphology on a screen", prdn=5.0),
    "trend": Preset("heart rate and trends", prdn=9.0),
}
DEFAULT_PRESET = "clinical"


def is_ecg_lead(channel: Channel, *, n_channels: int) -> bool:
    """Whether a channel in volts is named as ECG leads are; ``n_channels`` is how many its recording has."""
    name = " ".join(channel.name.split()).casefold()
    if _exponent_of(channel) is None:
        return False
    if _HOLTER_NAME.fullmatch(name):
        return n_channels <= _MAX_HOLTER_CHANNELS
    return _ECG_NAME.fullmatch(name) is not None


def promises_for(
    channels: Sequence[Channel],
    *,
    prdn: float | None = None,
    snr_db: float | None = None,
    max_error: str | None = None,
    max_error_adu: int | None = None,
    lossless: bool = False,
    preset: str | None = None,
) -> tuple[Promise, ...]:
    """What each channel keeps when all options given hold; the default preset when none is.

    Trigger codes, channels whose unit is ``Boolean`` as in BDF files, are exact whatever is asked for.

    Parameters
    ----------
    channels
        Names, units and gains decide what a preset and a bound in volts mean.
    prdn
        Largest PRDN in percent.
    snr_db
        Smallest signal-to-noise ratio in dB: a PRDN of 100·10^(-dB/20) percent.
    max_error
        Largest error of any sample, as `ErrorBound.parse` reads it.
    max_error_adu
        Largest error of any sample in stored units.
    lossless
        Every sample exact.
    preset
        A name in `PRESETS`.

    Raises
    ------
    InvalidSignalError
        When an option is out of range, or means nothing for a channel.
    """
    if not lossless and all(option is None for option in (prdn, snr_db, max_error, max_error_adu, preset)):
        preset = DEFAULT_PRESET
    if preset is not None and preset not in PRESETS:
        raise InvalidSignalError(f"preset {preset!r}: one of {', '.join(PRESETS)} is needed")
    chosen = Preset("") if preset is None else PRESETS[preset]
    percents = [] if prdn is None else [prdn]
    if snr_db is not None:
        percents.append(_prdn_of_snr(snr_db))
    for percent in percents:
        Promise(prdn=percent)  # refuses each: the smallest of a number and NaN is anything
    bound = None if max_error is None else ErrorBound.parse(max_error)
    common = [0] if lossless or chosen.is_lossless else []
    if max_error_adu is not None:
        common.append(max_error_adu)
        Promise(max_error_adu=max_error_adu)
    promises = []
    for channel in channels:
        if channel.unit.strip().casefold() == _CODES_UNIT:
            promises.append(Promise(max_error_adu=0))
            continue
        channel_percents, bounds = list(percents), list(common)
        if bound is not None:
            bounds.append(bound.in_adu(channel))
        if chosen.ecg_max_error is not None and is_ecg_lead(channel, n_channels=len(channels)):
            bounds.append(chosen.ecg_max_error.in_adu(channel))
        elif chosen.prdn is not None:
            channel_percents.append(chosen.prdn)
        promises.append(
            Promise(prdn=min(channel_percents, default=None), max_error_adu=min(bounds, default=None)),
        )
    return tuple(promises)


def _prdn_of_snr(snr_db: float) -> float:
    if not -80 <= snr_db <= 160:
        raise InvalidSignalError(f"signal-to-noise ratio {snr_db} dB: -80 to 160 is allowed")
    return min(max(100 * math.pow(10, -snr_db / 20), MIN_PRDN), MAX_PRDN)


def _exponent_of(channel: Channel) -> int | None:
    """Power of ten of a channel's unit in volts; None where the unit is another."""
    return _EXPONENTS.get(channel.unit.strip().casefold())
