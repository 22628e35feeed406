"""The side files of a WFDB record (table in ``wfdb_record``): what they may be called, what they may hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from sancodec.codec.recording import RecordingDescription
from sancodec.datasets.wfdb_formats import has_unused_bits
from sancodec.datasets.wfdb_header import SignalGroup, SignalLine, WfdbHeader, check_file_name, parse_header
from sancodec.errors import InvalidSignalError

MAX_SIDE_FILE_BYTES = (1 << 26) - (1 << 20)  # what the header of a container can hold
HEADER_SUFFIX = ".hea"

_WHERE = "side files"
_FIELDS = re.compile(rb"(\d{1,9} -?\d{1,18} \d{1,5}\n)*")


@dataclass(frozen=True, slots=True)
class SideFiles:
    """The side files of one record, checked.

    Parameters
    ----------
    header, header_name
        The header and its file name.
    true_fields
        For signals whose header fields contradict the samples, by index: the initial value and checksum that were true.
    parts
        Content of ``y#kind`` by ``(y, kind)``.
    others
        Files to be restored as they are, by name.
    """

    header: WfdbHeader
    header_name: str
    true_fields: Mapping[int, tuple[int, int]]
    parts: Mapping[tuple[str, str], bytes]
    others: Mapping[str, bytes]

    def part(self, group: SignalGroup, kind: str) -> bytes:
        """Content of ``y#kind`` for the signal file of a group, empty where there is none."""
        return self.parts.get((group.file_name, kind), b"")

    @property
    def file_names(self) -> tuple[str, ...]:
        """All files of the record: signal files, others, the header."""
        return (*(group.file_name for group in self.header.groups), *self.others, self.header_name)


def checked_side_files(description: RecordingDescription) -> SideFiles:
    """Check the side files of a recording that came from WFDB; they may come from anywhere.

    Raises
    ------
    InvalidSignalError
        Naming the side file: if it is no plain name, one that meets another on some system, or of an unknown kind; if
        the header is missing, is not that of the recording, or does not fit what the others hold.
    """
    contents = {side_file.name: side_file.content for side_file in description.side_files}
    header_names = [name for name in contents if name.endswith(HEADER_SUFFIX)]
    if len(header_names) != 1 or len(contents) != len(description.side_files):
        raise InvalidSignalError(f"side files {list(contents)}: exactly one header and no name twice are needed")
    header_name = header_names[0]
    check_file_name(header_name, where=_WHERE, kind="header")
    header = parse_header(contents.pop(header_name), where=header_name)
    _check_header(header, header_name, description)
    fields = contents.pop(f"{header_name}#fields", b"")
    parts, others = dict[tuple[str, str], bytes](), dict[str, bytes]()
    groups = {group.file_name: group for group in header.groups}
    for name, content in contents.items():
        file_name, mark, kind = name.rpartition("#")
        if not mark:
            _check_other(name, groups)
            others[name] = content
        elif file_name in groups and kind in _kinds(groups[file_name], description.n_frames):
            parts[file_name, kind] = content
        else:
            raise InvalidSignalError(f"side file {name!r} is of no known kind for a signal file of {header_name!r}")
    side_files = SideFiles(header, header_name, _true_fields(fields, header, header_name), parts, others)
    for group in header.groups:
        _check_lengths(group, side_files)
    _check_case(side_files.file_names)
    return side_files


def _check_header(header: WfdbHeader, header_name: str, description: RecordingDescription) -> None:
    layout = [samples_per_frame for group in header.groups for samples_per_frame in group.samples_per_frame]
    if layout != [channel.samples_per_frame for channel in description.channels]:
        raise InvalidSignalError(f"{header_name}: its signals and samples per frame are not those of the recording")
    n_frames = description.n_frames
    if n_frames == 0 or n_frames != (header.record.n_frames or n_frames):
        raise InvalidSignalError(
            f"{header_name}: {header.record.n_frames} frames are in the header, {n_frames} in the recording"
        )


def _kinds(group: SignalGroup, n_frames: int) -> set[str]:
    if group.format.is_flac:
        return {"trailer", "original"}
    n_samples = n_frames * sum(group.samples_per_frame)
    return {"prologue", "trailer", "bits"} if has_unused_bits(group.format.code, n_samples) else {"prologue", "trailer"}


def _check_other(name: str, groups: Mapping[str, SignalGroup]) -> None:
    check_file_name(name, where=_WHERE, kind="side file")
    if name in groups:
        raise InvalidSignalError(f"side file {name!r} has the name of a signal file")


def _check_lengths(group: SignalGroup, side_files: SideFiles) -> None:
    name = group.file_name
    n_prologue = len(side_files.part(group, "prologue"))
    if n_prologue != group.byte_offset:
        raise InvalidSignalError(f"side file '{name}#prologue' must have {group.byte_offset} bytes, not {n_prologue}")
    if group.format.is_flac and len(side_files.part(group, "trailer")) % (4 * (group.stop - group.start)):
        raise InvalidSignalError(f"side file '{name}#trailer' is damaged; it ends within a row of samples")


def _check_case(names: tuple[str, ...]) -> None:
    """Refuse names that are one file on systems that do not tell case or composed letters apart."""
    seen = dict[str, str]()
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise InvalidSignalError(f"side files: {other!r} and {name!r} differ only in case; they need two names")


def true_fields_content(header: WfdbHeader, true_fields: Mapping[int, tuple[int, int]]) -> bytes:
    """Return ``x.hea#fields``: a line for each signal whose header fields are not the true initial value, checksum."""
    lines = []
    for index, (initial_value, checksum) in true_fields.items():
        signal = header.signals[index]
        wrong_checksum = signal.checksum is not None and (signal.checksum - checksum) % 65536 != 0
        if signal.initial_value not in (None, initial_value) or wrong_checksum:
            lines.append(f"{index} {initial_value} {checksum}\n")
    return "".join(lines).encode()


def _true_fields(content: bytes, header: WfdbHeader, header_name: str) -> dict[int, tuple[int, int]]:
    if not _FIELDS.fullmatch(content):
        raise InvalidSignalError(f"side file '{header_name}#fields' is damaged; lines of three numbers are needed")
    rows = [[int(number) for number in line.split()] for line in content.splitlines()]
    indices = [row[0] for row in rows]
    if len(set(indices)) < len(indices) or max(indices, default=0) >= len(header.signals):
        raise InvalidSignalError(
            f"side file '{header_name}#fields' is damaged; each line must be of another of the {len(header.signals)} "
            "signals"
        )
    return {index: (initial_value, checksum) for index, initial_value, checksum in rows}


def initial_value_of(signal: SignalLine, first: int) -> int:
    """Return the initial value that the header should have: the first sample.

    The differences of format 8 start from the initial value, so there it stays unless the first one would be too large.
    """
    start = signal.initial_value_or_default
    is_near = -128 <= (first - start + 2**31) % 2**32 - 2**31 <= 127
    return start if signal.format_code == 8 and (is_near or signal.initial_value is None) else first
