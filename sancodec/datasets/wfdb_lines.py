"""Lines of WFDB header files (``.hea``), field by field as in header(5) of the WFDB Applications Guide."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath, PureWindowsPath

from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.errors import InvalidSignalError

MAX_HEADER_BYTES = 1 << 22
GAP = "~"  # in the place of a file or a segment

_FIELD = re.compile(rb"[^ \t\r\f\v]+")
_NUMBER = re.compile(r"[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,2})?")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_RATE = re.compile(r"(?P<frame>[^/]*)(?:/(?P<counter>[^(]*)(?:\((?P<base>[^)]*)\)?)?)?")
_FORMAT = re.compile(r"(?P<code>\d{1,9})(?:x(?P<spf>\d{1,9}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,18}))?")
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]", re.IGNORECASE)
_GAIN = re.compile(r"(?P<gain>[^(/]*)(?:\((?P<baseline>[^)]*)\))?(?:/(?P<unit>.*))?")


@dataclass(frozen=True, slots=True)
class RecordLine:
    """The record line; None stands for a field that is not there.

    ``n_segments`` is None for a record of one segment, which has signal lines; ``frame_rate_hz`` has the exact value as
    written; ``n_frames`` is None also where the line says 0 (unknown).
    """

    name: str
    n_segments: int | None
    n_signals: int
    frame_rate_hz: Fraction | None
    counter_rate_hz: float | None
    base_counter: float | None
    n_frames: int | None
    base_time: str | None
    base_date: str | None


@dataclass(frozen=True, slots=True)
class SignalLine:
    """One signal line; None stands for a field that is not there.

    ``initial_value_span`` and ``checksum_span`` are the byte positions of these fields in the header file.
    """

    file_name: str
    format_code: int
    samples_per_frame: int | None
    skew: int | None
    byte_offset: int | None
    gain: float | None
    baseline: int | None
    unit: str | None
    adc_resolution_bits: int | None
    adc_zero: int | None
    initial_value: int | None
    checksum: int | None
    block_size: int | None
    description: str | None
    initial_value_span: tuple[int, int] | None
    checksum_span: tuple[int, int] | None

    @property
    def format(self) -> SampleFormat:
        return SAMPLE_FORMATS[self.format_code]

    @property
    def adc_zero_or_default(self) -> int:
        return 0 if self.adc_zero is None else self.adc_zero

    @property
    def initial_value_or_default(self) -> int:
        """The initial value, which is the ADC zero where the line does not give one."""
        return self.adc_zero_or_default if self.initial_value is None else self.initial_value


def check_file_name(file_name: str, *, where: str, kind: str = "signal file") -> None:
    """Refuse a name that is not that of a file in the folder at hand, on any system (path traversal, devices).

    Raises
    ------
    InvalidSignalError
        If the name is empty, ``-``, ``~``, has a folder, a drive, a ``:``, control characters, a dot or space at its
        end, or is one that Windows keeps for devices, such as ``CON`` or ``nul.dat``.
    """
    is_plain = file_name == PurePosixPath(file_name).name == PureWindowsPath(file_name).name and ":" not in file_name
    if not is_plain or file_name in ("", ".", "..", "-", "~") or not file_name.isprintable():
        raise InvalidSignalError(
            f"{where}: {kind} {file_name!r} is not a plain file name; it must lie in the same folder as the header"
        )
    if file_name[-1] in ". " or _DEVICE.fullmatch(file_name.partition(".")[0].rstrip()):
        raise InvalidSignalError(f"{where}: {kind} {file_name!r} has a name that Windows keeps for itself; rename it")


def header_lines(content: bytes, *, where: str) -> list[tuple[int, int, int]]:
    """Return (line number, start, stop) of each line that is neither blank nor a comment.

    Raises
    ------
    InvalidSignalError
        If there are none, or this is no header.
    """
    if not content.strip():
        raise InvalidSignalError(f"{where}: the header is empty")
    if len(content) > MAX_HEADER_BYTES or b"\0" in content:
        raise InvalidSignalError(f"{where}: not a WFDB header, but binary data or more than {MAX_HEADER_BYTES} bytes")
    lines = []
    start = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        first = line.strip()[:1]
        if first and first != b"#":
            lines.append((number, start, start + len(line)))
        start += len(line) + 1
    if not lines:
        raise InvalidSignalError(f"{where}: the header has comments only; a WFDB record line is missing")
    return lines


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class Line:
    """The fields of one line, with their positions in the file."""

    def __init__(self, content: bytes, number: int, start: int, stop: int, *, where: str) -> None:
        self.where = f"{where}, line {number}"
        self._content, self._stop = content, stop
        self._spans = [match.span() for match in _FIELD.finditer(content, start, stop)]

    def span(self, index: int) -> tuple[int, int] | None:
        return self._spans[index] if index < len(self._spans) else None

    def text(self, index: int) -> str | None:
        span = self.span(index)
        return None if span is None else _text(self._content[slice(*span)])

    def rest(self, index: int) -> str | None:
        span = self.span(index)
        return None if span is None else _text(self._content[span[0] : self._stop]).strip()

    def error(self, what: str) -> InvalidSignalError:
        return InvalidSignalError(f"{self.where}: {what}")

    def whole(self, text: str | None, field: str) -> int | None:
        if text is not None and not _WHOLE.fullmatch(text):
            raise self.error(f"{field} is {text[:40]!r}; a whole number is needed")
        return None if text is None else int(text)

    def number(self, text: str | None, field: str) -> float | None:
        if not text:
            return None
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise self.error(f"{field} is {text[:40]!r}; a finite number is needed")
        return float(text)


def parse_record_line(line: Line) -> RecordLine:
    name, slash, n_segments = (line.text(0) or "").partition("/")
    n_signals = line.text(1)
    if not name.isprintable() or n_signals is None or not re.fullmatch(r"\d{1,9}", n_signals):
        raise line.error("not a WFDB header: the record line must read 'NAME NUMBER_OF_SIGNALS [RATE [SAMPLES ...]]'")
    if slash and not re.fullmatch(r"[1-9]\d{0,8}", n_segments):
        raise line.error(f"number of segments is {n_segments[:40]!r}; a whole number above 0 is needed")
    rate = _RATE.fullmatch(line.text(2) or "")
    if rate is None:
        raise line.error(f"sampling frequency is {line.text(2)!r}; a number is needed")
    frame_rate = line.number(rate["frame"], "sampling frequency")
    if line.text(2) is not None and (frame_rate is None or frame_rate <= 0):
        raise line.error(f"sampling frequency is {line.text(2)!r}; a number above 0 is needed")
    n_frames = line.whole(line.text(3), "number of samples per signal")
    if n_frames is not None and n_frames < 0:
        raise line.error(f"number of samples per signal is {n_frames}; it must not be negative")
    return RecordLine(
        name=name,
        n_segments=int(n_segments) if slash else None,
        n_signals=int(n_signals),
        frame_rate_hz=Fraction(rate["frame"]) if rate["frame"] else None,
        counter_rate_hz=line.number(rate["counter"], "counter frequency"),
        base_counter=line.number(rate["base"], "base counter value"),
        n_frames=n_frames or None,
        base_time=line.text(4),
        base_date=line.text(5),
    )


def parse_signal_line(line: Line) -> SignalLine:
    file_name, format_field = line.text(0) or "", line.text(1) or ""
    if file_name == GAP or format_field == "0":
        raise line.error(
            "a signal without a file ('~' or format 0): this is the layout header of a multi-segment record and has "
            "no samples; give the header of the record"
        )
    check_file_name(file_name, where=line.where)
    return _signal(line, file_name, format_field)


def parse_layout_line(line: Line) -> SignalLine:
    """Parse a line of a layout header: a signal without a file, taken to be of format 16."""
    return _signal(line, GAP, f"16x{(line.text(1) or '').partition('x')[2] or 1}")


def _signal(line: Line, file_name: str, format_field: str) -> SignalLine:
    layout = _FORMAT.fullmatch(format_field)
    if layout is None or int(layout["code"]) not in SAMPLE_FORMATS:
        known = ", ".join(str(code) for code in SAMPLE_FORMATS)
        raise line.error(f"format of signal file {file_name!r} is {format_field[:40]!r}; known formats are {known}")
    gain = _GAIN.fullmatch(line.text(2) or "")
    if gain is None:
        raise line.error(f"gain is {line.text(2)!r}; GAIN, GAIN(BASELINE) or GAIN(BASELINE)/UNIT is needed")
    return SignalLine(
        file_name=file_name,
        format_code=int(layout["code"]),
        samples_per_frame=line.whole(layout["spf"], "number of samples per frame"),
        skew=line.whole(layout["skew"], "skew"),
        byte_offset=line.whole(layout["offset"], "byte offset"),
        gain=line.number(gain["gain"], "gain"),
        baseline=line.whole(gain["baseline"], "baseline"),
        unit=gain["unit"] or None,
        adc_resolution_bits=line.whole(line.text(3), "ADC resolution"),
        adc_zero=line.whole(line.text(4), "ADC zero"),
        initial_value=line.whole(line.text(5), "initial value"),
        checksum=line.whole(line.text(6), "checksum"),
        block_size=line.whole(line.text(7), "block size"),
        description=line.rest(8),
        initial_value_span=line.span(5),
        checksum_span=line.span(6),
    )
