"""The side files of a WFDB record (table in ``wfdb_record``): what they may be called, what they may hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sancodec.codec.container import decode_varint, encode_varints
from sancodec.codec.recording import RecordingDescription, SideFile
from sancodec.datasets.wfdb_formats import has_unused_bits
from sancodec.datasets.wfdb_header import SignalGroup, WfdbHeader, parse_header
from sancodec.datasets.wfdb_lines import SignalLine, check_file_name
from sancodec.errors import FormatError, InvalidSignalError

MAX_SIDE_FILE_BYTES = (1 << 26) - (1 << 20)  # what the header of a container can hold
HEADER_SUFFIX = ".hea"
SEGMENTS_KIND = "segments"

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
    check_case(side_files.file_names)
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


def check_case(names: tuple[str, ...]) -> None:
    """Refuse names that are one file on systems that do not tell case or composed letters apart."""
    seen = dict[str, str]()
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise InvalidSignalError(f"side files: {other!r} and {name!r} differ only in case; they need two names")


def segments_of(description: RecordingDescription) -> tuple[SideFile, tuple[SideFile, ...]] | None:
    """The header of a multi-segment record and the side files of its segments; None for a record of one segment.

    Raises
    ------
    InvalidSignalError
        If side files are damaged, missing, or others than these.
    """
    joined = [each for each in description.side_files if each.name.endswith(f"{HEADER_SUFFIX}#{SEGMENTS_KIND}")]
    if not joined:
        return None
    header_name = joined[0].name.rpartition("#")[0]
    headers = [each for each in description.side_files if each.name == header_name]
    if len(headers) != 1 or len(description.side_files) != 2:
        names = [side_file.name for side_file in description.side_files]
        raise InvalidSignalError(f"side files {names}: those of a multi-segment record are its header and its segments")
    check_file_name(header_name, where=_WHERE, kind="header")
    return headers[0], _parted_side_files(joined[0])


def joined_side_files(side_files: Sequence[SideFile]) -> bytes:
    """Side files as one: of each a varint length and the name in UTF-8, a varint length and the content."""
    parts = []
    for side_file in side_files:
        for content in (side_file.name.encode(), side_file.content):
            parts += [encode_varints([len(content)]), content]
    return b"".join(parts)


def _parted_side_files(joined: SideFile) -> tuple[SideFile, ...]:
    """Inverse of `joined_side_files`."""
    fields, position = list[bytes](), 0
    try:
        while position < len(joined.content):
            n_bytes, position = decode_varint(joined.content, position, joined.name)
            fields.append(joined.content[position : position + n_bytes])
            position += n_bytes
        names = [name.decode() for name in fields[::2]]
    except (FormatError, UnicodeDecodeError) as error:
        raise InvalidSignalError(f"side file {joined.name!r} is damaged: {error}") from error
    if position != len(joined.content) or len(fields) % 2 or len(set(names)) < len(names):
        raise InvalidSignalError(f"side file {joined.name!r} is damaged: it must be pairs of a name and a content")
    return tuple(SideFile(*pair) for pair in zip(names, fields[1::2], strict=True))


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
