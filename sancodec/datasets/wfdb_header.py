"""WFDB header files (``.hea``), field by field as in header(5) of the WFDB Applications Guide.

The header is read as bytes, and its bytes are kept: spans of the two fields that depend on the samples (initial value,
checksum) let ``updated_content`` change those fields and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from sancodec.codec.recording import Channel
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.datasets.wfdb_lines import (
    MAX_HEADER_BYTES,
    Line,
    RecordLine,
    SignalLine,
    header_lines,
    parse_record_line,
    parse_signal_line,
)
from sancodec.errors import InvalidSignalError

DEFAULT_FRAME_RATE_HZ = Fraction(250)
DEFAULT_GAIN = 200.0
DEFAULT_UNIT = "mV"


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
    lines = header_lines(content, where=where)
    record = parse_record_line(Line(content, *lines[0], where=where))
    if record.n_segments is not None:
        raise InvalidSignalError(
            f"{where}: {record.name!r} is a multi-segment record ({record.n_segments} segments), which has no signal "
            "files of its own; give its header itself"
        )
    if record.n_signals == 0:
        raise InvalidSignalError(f"{where}: the record has 0 signals, so there is nothing to compress")
    if len(lines) - 1 < record.n_signals:
        raise InvalidSignalError(
            f"{where}: the record line promises {record.n_signals} signals, but {len(lines) - 1} signal lines follow"
        )
    signals = tuple(parse_signal_line(Line(content, *line, where=where)) for line in lines[1 : record.n_signals + 1])
    return WfdbHeader(record, signals, _signal_groups(signals, where), content)


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


def channel_of(index: int, signal: SignalLine) -> Channel:
    """The channel of signal ``index`` of a record."""
    sample_format = signal.format
    resolution_bits = signal.adc_resolution_bits
    return Channel(
        name=signal.description or f"signal {index}",
        unit=signal.unit or DEFAULT_UNIT,
        gain=signal.gain or DEFAULT_GAIN,
        baseline=signal.adc_zero_or_default if signal.baseline is None else signal.baseline,
        resolution_bits=resolution_bits if resolution_bits and resolution_bits > 0 else sample_format.bits,
        minimum=sample_format.minimum,
        maximum=sample_format.maximum,
        invalid=sample_format.invalid,
        samples_per_frame=1 if signal.samples_per_frame is None else signal.samples_per_frame,
        max_difference=127 if sample_format.code == 8 else None,
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
