"""EDF and BDF headers for recordings that did not come from such a file."""

from __future__ import annotations

from fractions import Fraction

from sancodec.codec.recording import Channel, RecordingDescription
from sancodec.datasets.edf_header import BDF_MAGIC, EDF_MAGIC, FIELD_WIDTHS, MAIN_BYTES, MAX_SIGNALS, NO_SCALE_UNIT
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.errors import InvalidSignalError

_DURATIONS_S = tuple(
    scale * factor for factor in map(Fraction, (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 60)) for scale in (1, 1 / factor**2)
)
_MAX_RECORD_BYTES = 61440  # recommended by the specification of 1992
_MAX_RECORDS = 10**8 - 1  # eight digits
_NUMBER_CHARACTERS = 8
_MAX_PHYSICAL = Fraction(10) ** 99  # three characters of an exponent more would leave no room for digits
_NOBODY = b"X X X X"
_NO_RECORDING = b"Startdate X X X X"
_NO_DATE, _NO_TIME = b"01.01.85", b"00.00.00"  # the earliest that the specification knows


def new_header(description: RecordingDescription, *, is_bdf: bool, value_ranges: Ranges) -> bytes:
    """Return the header of a new file.

    Parameters
    ----------
    value_ranges
        (minimum, maximum) of each channel's samples that are not missing.

    Raises
    ------
    InvalidSignalError
        If the file cannot hold the samples.
    """
    channels = description.channels
    row = SAMPLE_FORMATS[24 if is_bdf else 16]
    form = "BDF" if is_bdf else "EDF"
    for channel, (low, high) in zip(channels, value_ranges, strict=True):
        if low < row.lowest or high > row.maximum:
            hint = "use --to wfdb" if is_bdf else "use --to bdf, or wfdb"
            raise InvalidSignalError(
                f"channel {channel.name!r}: samples {low}…{high} do not fit {form}, which stores {row.lowest} to "
                f"{row.maximum}; {hint}"
            )
    if len(channels) > MAX_SIGNALS:
        raise InvalidSignalError(f"{len(channels)} channels; {form} has at most {MAX_SIGNALS}")
    per_frame = sum(channel.samples_per_frame for channel in channels) * row.group_bytes
    n_frames, duration = _record(description, per_frame)
    n_records = -(-description.n_frames // n_frames)
    if n_records > _MAX_RECORDS:
        raise InvalidSignalError(f"{n_records} data records; {form} has at most {_MAX_RECORDS}")
    main = [
        (BDF_MAGIC if is_bdf else EDF_MAGIC, 8),
        (_NOBODY, 80),
        (_NO_RECORDING, 80),
        (_NO_DATE, 8),
        (_NO_TIME, 8),
        (str(MAIN_BYTES * (1 + len(channels))).encode(), 8),
        (b"24BIT" if is_bdf else b"", 44),
        (str(n_records).encode(), 8),
        (duration, 8),
        (str(len(channels)).encode(), 4),
    ]
    signals = [
        _fields(channel, _digital_range(channel, value_range, row), n_frames)
        for channel, value_range in zip(channels, value_ranges, strict=True)
    ]
    columns = [[(signal[field], width) for signal in signals] for field, width in enumerate(FIELD_WIDTHS)]
    return b"".join(
        text[:width].ljust(width) for text, width in [*main, *(each for column in columns for each in column)]
    )


def _digital_range(channel: Channel, value_range: tuple[int, int], row: SampleFormat) -> tuple[int, int]:
    """Digital minimum and maximum: as far from the baseline as each other, so that rounding does not move it."""
    reach = min(channel.baseline - row.lowest, row.maximum - channel.baseline)
    low, high = channel.baseline - reach, channel.baseline + reach
    return (low, high) if low < value_range[0] and value_range[1] <= high else (row.lowest, row.maximum)


def _fields(channel: Channel, digital: tuple[int, int], n_frames: int) -> tuple[bytes, ...]:
    """Fields of a signal in the order of ``FIELD_WIDTHS``."""
    unit = channel.unit
    ends = [Fraction(value - channel.baseline) / Fraction(channel.gain) for value in digital]
    physical = [_number(end) if abs(end) < _MAX_PHYSICAL else "0" for end in ends]
    if sum(digital) == 2 * channel.baseline:  # the same digits, although one has to do without the sign's place
        negative = min(physical, key=Fraction)
        physical = [text if text == negative else negative.removeprefix("-") for text in physical]
    if physical[0] == physical[1]:  # eight characters do not tell the ends apart
        unit, physical = NO_SCALE_UNIT, [_number(Fraction(value)) for value in digital]
    n_samples = str(n_frames * channel.samples_per_frame)
    numbers = [*physical, *map(str, digital)]
    return (
        # A signal of samples must not have the label of annotations.
        _text(channel.name.replace("Annotations", "annotations")),
        b"",
        _text(unit),
        *(number.encode() for number in numbers),
        b"",
        n_samples.encode(),
        b"",
    )


def _record(description: RecordingDescription, frame_bytes: int) -> tuple[int, bytes]:
    """Frames in a data record, and its duration: exact where eight characters can say it, and filled if possible."""
    rate_hz = description.frame_rate_hz
    found = []
    for duration_s in (*_DURATIONS_S, Fraction(rate_hz.denominator)):
        n_frames = duration_s * rate_hz
        is_usual = duration_s <= max(_DURATIONS_S)
        if is_usual and n_frames.denominator == 1 and Fraction(_number(duration_s)) == duration_s:
            is_filled = description.n_frames % int(n_frames) == 0
            is_small = n_frames * frame_bytes <= _MAX_RECORD_BYTES
            # Most programs show and cut files by seconds.
            found.append((not is_small, not is_filled, max(duration_s, 1 / duration_s), int(n_frames), duration_s))
    if not found:
        nearest = max(1, round(rate_hz))
        return nearest, _number(nearest / rate_hz).encode()
    *_, best, duration_s = min(found)
    return best, _number(duration_s).encode()


def _number(value: Fraction) -> str:
    """The number of at most eight characters that is nearest."""
    texts = [f"{float(value):.{digits}{kind}}" for kind in "fg" for digits in range(_NUMBER_CHARACTERS)]
    short = [text for text in texts if len(text) <= _NUMBER_CHARACTERS]
    return min(short, key=lambda text: (abs(Fraction(text) - value), len(text)))


def _text(text: str) -> bytes:
    """ASCII, as the specification asks for."""
    return text.replace("µ", "u").replace("μ", "u").encode("ascii", "replace")
