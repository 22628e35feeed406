"""WFDB header files (``.hea``), field by field as in header(5) of the WFDB Applications Guide.

The header is read as bytes, and its bytes are kept: spans of the two fields that depend on the samples (initial value,
checksum) let ``updated_content`` change those fields and nothing else.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path, PurePosixPath, PureWindowsPath

from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.errors import InvalidSignalError

DEFAULT_FRAME_RATE_HZ = Fraction(250)
DEFAULT_GAIN = 200.0
DEFAULT_UNIT = "mV"
MAX_HEADER_BYTES = 1 << 22

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

    ``frame_rate_hz`` has the exact value as written; ``n_frames`` is None also where the line says 0 (unknown).
    """

    name: str
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


@dataclass(frozen=True, slots=True)
class SignalGroup:
    """The signals that one signal file interleaves: ``signals[start:stop]`` of the header."""

    file_name: str
    format: SampleFormat
    byte_offset: int
    start: int
    stop: int
    samples_per_frame: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WfdbHeader:
    record: RecordLine
    signals: tuple[SignalLine, ...]
    groups: tuple[SignalGroup, ...]
    content: bytes


def find_header(path: Path) -> Path:
    """Return the header file that ``path`` means: itself, ``path.hea``, or the header that names this signal file.

    Raises
    ------
    InvalidSignalError
        If there is none, or more than one header names the signal file and none has its name.
    OSError
        If the file system refuses.
    """
    beside = path.with_name(f"{path.name}.hea") if path.name else path
    if path.suffix == ".hea" and not path.is_dir():
        return path
    if not path.is_file():
        if beside.is_file():
            return beside
        if path.is_dir():
            raise InvalidSignalError(f"{path}: this is a folder; name one record in it, such as {path / 'NAME.hea'}")
        raise InvalidSignalError(f"{path}: no such record; neither {path.name!r} nor {beside.name!r} exists there")
    own = path.with_suffix(".hea")
    if own.is_file() and _names_file(read_header(own), path.name):
        return own
    naming = []
    for candidate in sorted(path.parent.glob("*.hea")):
        try:
            if os.fsencode(path.name) in candidate.read_bytes() and _names_file(read_header(candidate), path.name):
                naming.append(candidate)
        except InvalidSignalError:
            continue  # a header of something else
    if len(naming) == 1:
        return naming[0]
    if naming:
        listed = ", ".join(candidate.name for candidate in naming)
        raise InvalidSignalError(f"{path}: several headers name this signal file ({listed}); give the one to be read")
    raise InvalidSignalError(
        f"{path}: no WFDB header found; looked for {own.name!r} and for any other .hea file in {str(path.parent)!r} "
        f"that names {path.name!r}"
    )


def _names_file(header: WfdbHeader, file_name: str) -> bool:
    return any(group.file_name == file_name for group in header.groups)


def read_header(path: Path) -> WfdbHeader:
    """Read and parse a header file.

    Raises
    ------
    InvalidSignalError
        As ``parse_header``.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        return parse_header(file.read(MAX_HEADER_BYTES + 1), where=str(path))


def parse_header(content: bytes, *, where: str) -> WfdbHeader:
    """Parse the header of a single-segment record.

    Parameters
    ----------
    content
        The bytes of the ``.hea`` file.
    where
        Name or path of the file.

    Raises
    ------
    InvalidSignalError
        If this is not a WFDB header, or one that cannot be read: multi-segment, without signals, with an unknown
        format, or with signal files outside its own folder.
    """
    if not content.strip():
        raise InvalidSignalError(f"{where}: the header is empty")
    if len(content) > MAX_HEADER_BYTES or b"\0" in content:
        raise InvalidSignalError(f"{where}: not a WFDB header, but binary data or more than {MAX_HEADER_BYTES} bytes")
    lines = _field_lines(content)
    if not lines:
        raise InvalidSignalError(f"{where}: the header has comments only; a WFDB record line is missing")
    record = _parse_record_line(_Line(content, *lines[0], where=where))
    if record.n_signals == 0:
        raise InvalidSignalError(f"{where}: the record has 0 signals, so there is nothing to compress")
    if len(lines) - 1 < record.n_signals:
        raise InvalidSignalError(
            f"{where}: the record line promises {record.n_signals} signals, but {len(lines) - 1} signal lines follow"
        )
    signals = tuple(_parse_signal_line(_Line(content, *line, where=where)) for line in lines[1 : record.n_signals + 1])
    return WfdbHeader(record, signals, _signal_groups(signals, where), content)


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


def updated_content(header: WfdbHeader, fields: Mapping[int, tuple[int | None, int | None]]) -> bytes:
    """Return the header with new initial values and checksums, all other bytes unchanged.

    Parameters
    ----------
    header
        The header to update.
    fields
        New ``(initial value, checksum in 0..65535)`` by signal index; None leaves a field as it is. A field that is
        not in the header stays out, and one that has the new value already keeps its spelling.
    """
    unsigned = any(signal.checksum is not None and signal.checksum > 32767 for signal in header.signals)
    edits: list[tuple[int, int, int]] = []
    for index, (initial_value, checksum) in fields.items():
        signal = header.signals[index]
        if initial_value is not None and signal.initial_value_span and signal.initial_value != initial_value:
            edits.append((*signal.initial_value_span, initial_value))
        if checksum is not None and signal.checksum_span and signal.checksum is not None:
            line_unsigned = unsigned if 0 <= signal.checksum <= 32767 else signal.checksum > 0
            if (signal.checksum - checksum) % 65536:
                signed = checksum - 65536 if checksum > 32767 else checksum
                edits.append((*signal.checksum_span, checksum if line_unsigned else signed))
    content = header.content
    for start, stop, value in sorted(edits, reverse=True):
        content = content[:start] + str(value).encode() + content[stop:]
    return content


def _field_lines(content: bytes) -> list[tuple[int, int, int]]:
    """Return (line number, start, stop) of each line that is neither blank nor a comment."""
    lines = []
    start = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        first = line.strip()[:1]
        if first and first != b"#":
            lines.append((number, start, start + len(line)))
        start += len(line) + 1
    return lines


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class _Line:
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


def _parse_record_line(line: _Line) -> RecordLine:
    name, slash, n_segments = (line.text(0) or "").partition("/")
    n_signals = line.text(1)
    if not name.isprintable() or n_signals is None or not re.fullmatch(r"\d{1,9}", n_signals):
        raise line.error("not a WFDB header: the record line must read 'NAME NUMBER_OF_SIGNALS [RATE [SAMPLES ...]]'")
    if slash:
        segments = n_segments if n_segments.isdecimal() else repr(n_segments)
        raise line.error(
            f"{name!r} is a multi-segment record ({segments} segments), which is not supported yet; "
            "compress its segments one by one"
        )
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
        n_signals=int(n_signals),
        frame_rate_hz=Fraction(rate["frame"]) if rate["frame"] else None,
        counter_rate_hz=line.number(rate["counter"], "counter frequency"),
        base_counter=line.number(rate["base"], "base counter value"),
        n_frames=n_frames or None,
        base_time=line.text(4),
        base_date=line.text(5),
    )


def _parse_signal_line(line: _Line) -> SignalLine:
    file_name, format_field = line.text(0) or "", line.text(1) or ""
    if file_name == "~" or format_field == "0":
        raise line.error(
            "a signal without a file ('~' or format 0): this is the layout header of a multi-segment record and has "
            "no samples; compress the segments one by one"
        )
    check_file_name(file_name, where=line.where)
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


def _signal_groups(signals: tuple[SignalLine, ...], where: str) -> tuple[SignalGroup, ...]:
    groups: list[SignalGroup] = []
    seen: set[str] = set()
    for file_name, run in groupby(enumerate(signals), lambda indexed: indexed[1].file_name):
        members = list(run)
        if file_name.casefold() in seen:
            raise InvalidSignalError(f"{where}: the lines of signal file {file_name!r} must follow each other")
        seen.add(file_name.casefold())
        layouts = {(signal.format_code, signal.byte_offset or 0) for _, signal in members}
        if len(layouts) > 1:
            raise InvalidSignalError(
                f"{where}: signals of file {file_name!r} differ in format or byte offset; one file has one of each"
            )
        format_code, byte_offset = layouts.pop()
        samples_per_frame = tuple(
            1 if signal.samples_per_frame is None else signal.samples_per_frame for _, signal in members
        )
        if not 1 <= min(samples_per_frame) <= max(samples_per_frame) <= 65535:
            raise InvalidSignalError(f"{where}: samples per frame in file {file_name!r} must be 1 to 65535")
        sample_format = SAMPLE_FORMATS[format_code]
        if sample_format.is_flac and (byte_offset or len(set(samples_per_frame)) > 1):
            raise InvalidSignalError(
                f"{where}: FLAC signal file {file_name!r} has a byte offset or signals of different rates, which is "
                "not supported"
            )
        start = members[0][0]
        groups.append(
            SignalGroup(file_name, sample_format, byte_offset, start, start + len(members), samples_per_frame)
        )
    if Path(where).name.casefold() in seen:
        raise InvalidSignalError(f"{where}: the header names itself as a signal file")
    return tuple(groups)
