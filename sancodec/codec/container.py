"""Framing of a ``.san`` file: signature, sections with checksums, index, trailer (docs/format.md, "Container").

Knows bytes, not mathematics. Written front to back; read from the front, or through the index by seeking.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

import zstandard

from sancodec.errors import CorruptError, FormatError, LimitExceededError, TruncatedError, UnsupportedVersionError

SIGNATURE = b"\x89SAN\r\n\x1a\n"
VERSION = 1
MAX_SECTION_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 26
MAX_CHUNKS = 1 << 24
MAX_LEADING_SECTIONS = 64
MAX_ZSTD_RATIO = 1 << 15  # a block of RFC 8878 has at most 2**17 bytes and takes at least 4
ANCILLARY = 0x80
END_MARK = b"SANe"

_SECTION_HEAD = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_TRAILER = struct.Struct("<Q4s")
_PREFIX = struct.Struct("<8sHH")
PREFIX_BYTES = _PREFIX.size
TRAILER_BYTES = _TRAILER.size


class SectionType(IntEnum):
    """Kinds of sections; ids never change. Kinds with bit 7 set are ancillary: who does not know them skips them."""

    HEADER = 1
    MODEL = 2
    CODING = 3
    CHUNK = 4
    INDEX = 5
    IMAGES = 6


@dataclass(frozen=True, slots=True)
class Section:
    """One section as read.

    Parameters
    ----------
    offset
        Of its first byte in the file.
    """

    kind: int
    offset: int
    payload: bytes


class ContainerWriter:
    """Writes sections in order; needs no seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._segments: list[SegmentLengths] = []
        self._first_coding = 0
        self._write(_PREFIX.pack(SIGNATURE, VERSION, 0))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._position += len(content)

    def section(self, kind: SectionType, payload: bytes) -> None:
        """Append a section."""
        start = self._position
        head = _SECTION_HEAD.pack(kind, len(payload))
        self._write(head + payload + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))))
        if kind == SectionType.CODING:
            if not self._segments:
                self._first_coding = start
            self._segments.append(SegmentLengths(self._position - start, []))
        elif kind == SectionType.CHUNK:
            self._segments[-1].chunks.append(self._position - start)

    def finish(self) -> int:
        """Append index and trailer; returns the file's length in bytes."""
        index_offset = self._position
        self.section(SectionType.INDEX, encode_index(self._first_coding, self._segments))
        self._write(_TRAILER.pack(index_offset, END_MARK))
        return self._position


@dataclass(frozen=True, slots=True)
class SegmentLengths:
    """Lengths in bytes of the sections of a segment: CODING, and every CHUNK that follows it."""

    coding: int
    chunks: list[int]


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """Where a segment is in the file: offset of its CODING section, and of each of its CHUNK sections."""

    coding: int
    first_chunk: int
    chunks: list[int]


def encode_index(first_coding: int, segments: list[SegmentLengths]) -> bytes:
    numbers = [first_coding, len(segments)]
    for segment in segments:
        numbers += [segment.coding, len(segment.chunks), *segment.chunks]
    return encode_varints(numbers)


def decode_index(payload: bytes, *, n_chunks: int) -> tuple[list[SegmentPlace], int]:
    """Places of all segments, and the offset of what follows the last.

    Raises
    ------
    FormatError
        When the index is not exactly one of ``n_chunks`` chunks.
    """
    offset, position = decode_varint(payload, 0, "index")
    n_segments, position = decode_varint(payload, position, "index")
    if not 1 <= n_segments <= n_chunks:
        raise CorruptError(f"index: it lists {n_segments} segments of {n_chunks} chunks")
    places: list[SegmentPlace] = []
    first_chunk = 0
    for _ in range(n_segments):
        coding = offset
        length, position = decode_varint(payload, position, "index")
        count, position = decode_varint(payload, position, "index")
        if not 1 <= count <= n_chunks - first_chunk:
            raise CorruptError(f"index: a segment of {count} chunks; {n_chunks - first_chunk} are left of {n_chunks}")
        offset += length
        chunks = []
        for _ in range(count):
            chunks.append(offset)
            length, position = decode_varint(payload, position, "index")
            offset += length
        places.append(SegmentPlace(coding, first_chunk, chunks))
        first_chunk += count
    if first_chunk != n_chunks:
        raise CorruptError(f"index: it lists {first_chunk} chunks; the header promises {n_chunks}")
    if position != len(payload):
        raise CorruptError(f"index: {len(payload) - position} bytes follow its last number")
    return places, offset


def encode_varints(values: list[int]) -> bytes:
    """Unsigned LEB128 numbers."""
    result = bytearray()
    for value in values:
        assert 0 <= value < 1 << 63
        rest = value
        while rest >= 0x80:
            result.append(rest & 0x7F | 0x80)
            rest >>= 7
        result.append(rest)
    return bytes(result)


def decode_varint(content: bytes, position: int, where: str) -> tuple[int, int]:
    """One unsigned LEB128 number of at most 9 bytes, and the position after it."""
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(content):
            raise TruncatedError(f"{where}: ends within a number")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CorruptError(f"{where}: a number is longer than 9 bytes")


class ContainerReader:
    """Reads sections from a seekable binary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, 2)
        file.seek(0)
        prefix = file.read(_PREFIX.size)
        if prefix[:8] != SIGNATURE[: len(prefix)] or not prefix:
            raise CorruptError(_signature_complaint(prefix[:8]))
        if len(prefix) < _PREFIX.size:
            raise TruncatedError(f"the file ends after {len(prefix)} bytes, within its signature")
        _, version, flags = _PREFIX.unpack(prefix)
        if version != VERSION or flags:
            raise UnsupportedVersionError(
                f"format version {version} with flags {flags:#x}; this release reads version {VERSION} without flags. "
                "Install a newer sancodec"
            )

    @property
    def length(self) -> int:
        return self._length

    def section_at(self, offset: int) -> tuple[Section, int]:
        """The section at an offset, and the offset after it.

        Raises
        ------
        FormatError
            Naming the section, when it is cut, too large, or its checksum is wrong.
        """
        self._file.seek(offset)
        head = self._file.read(_SECTION_HEAD.size)
        if len(head) < _SECTION_HEAD.size:
            raise TruncatedError(f"the file ends at byte {self._length}, where a section should begin at {offset}")
        kind, length = _SECTION_HEAD.unpack(head)
        name = section_name(kind)
        if length > MAX_SECTION_BYTES:
            raise LimitExceededError(
                f"{name} at byte {offset}: {length} bytes; at most {MAX_SECTION_BYTES} are allowed"
            )
        end = offset + _SECTION_HEAD.size + length + _CRC.size
        if end > self._length:
            raise TruncatedError(
                f"{name} at byte {offset}: the file ends at {self._length}, the section would end at {end}"
            )
        payload = self._file.read(length)
        (crc,) = _CRC.unpack(self._file.read(_CRC.size))
        if crc != zlib.crc32(payload, zlib.crc32(head)):
            raise CorruptError(f"{name} at byte {offset}: checksum mismatch, the section is damaged")
        return Section(kind, offset, payload), end

    def leading_sections(self) -> tuple[list[Section], int]:
        """Sections up to CODING, ancillary ones left out, and the offset of what follows.

        Raises
        ------
        FormatError
        """
        sections: list[Section] = []
        offset = _PREFIX.size
        for _ in range(MAX_LEADING_SECTIONS):
            section, offset = self.section_at(offset)
            if section.kind & ANCILLARY:
                continue
            is_first = not sections
            sections.append(section)
            if section.kind == SectionType.CODING:
                return sections, offset
            if section.kind not in (SectionType.HEADER, SectionType.MODEL) and not (
                is_first and section.kind == SectionType.IMAGES
            ):
                raise CorruptError(f"{section_name(section.kind)} at byte {section.offset}, before CODING")
        raise LimitExceededError(f"more than {MAX_LEADING_SECTIONS} sections come before the first chunk")

    def segments(self, first: int, n_chunks: int) -> list[SegmentPlace]:
        """The segments: by the index, or by walking from the CODING section at ``first`` where the index is unusable.

        They hold fewer than ``n_chunks`` when the file was cut.
        """
        try:
            return self._indexed(first, n_chunks)[0]
        except FormatError:
            return list(self._walked(first, n_chunks))

    def check_end(self, first: int, n_chunks: int) -> None:
        """Refuse a file whose index or trailer is missing, or does not fit its sections exactly.

        Raises
        ------
        FormatError
        """
        places, end, index_offset = self._indexed(first, n_chunks)
        self._check_lengths(places, end)
        self._check_ancillary(end, index_offset)

    def _indexed(self, first: int, n_chunks: int) -> tuple[list[SegmentPlace], int, int]:
        if self._length < _PREFIX.size + _TRAILER.size:
            raise TruncatedError("the file ends before its index")
        self._file.seek(self._length - _TRAILER.size)
        index_offset, mark = _TRAILER.unpack(self._file.read(_TRAILER.size))
        if mark != END_MARK:
            raise TruncatedError("the file does not end with its trailer; it was cut short or more was appended")
        if index_offset >= self._length:
            raise CorruptError(f"trailer: it places the index at byte {index_offset} of {self._length}")
        section, end = self.section_at(index_offset)
        if section.kind != SectionType.INDEX or end != self._length - _TRAILER.size:
            raise CorruptError(f"trailer: there is no index at byte {index_offset}")
        places, end = decode_index(section.payload, n_chunks=n_chunks)
        if places[0].coding != first:
            raise CorruptError(f"index: it places CODING at byte {places[0].coding}; it is at {first}")
        if end > index_offset:
            raise CorruptError(f"index: its chunks end at byte {end}, beyond the index at {index_offset}")
        return places, end, index_offset

    def _check_lengths(self, places: list[SegmentPlace], end: int) -> None:
        expected = []
        for place in places:
            expected.append((SectionType.CODING, place.coding))
            expected += [(SectionType.CHUNK, offset) for offset in place.chunks]
        ends = [*(offset for _, offset in expected[1:]), end]
        for (expected_kind, start), stop in zip(expected, ends, strict=True):
            self._file.seek(start)
            kind, length = _SECTION_HEAD.unpack(self._file.read(_SECTION_HEAD.size))
            if kind != expected_kind or start + section_bytes(length) != stop:
                raise CorruptError(
                    f"index: there is no {section_name(expected_kind)} of {stop - start} bytes at {start}"
                )

    def _check_ancillary(self, start: int, end: int) -> None:
        offset = start
        while offset < end:
            section, offset = self.section_at(offset)
            if not section.kind & ANCILLARY:
                raise CorruptError(
                    f"{section_name(section.kind)} at byte {section.offset}, between the last chunk and INDEX"
                )
        if offset != end:
            raise CorruptError(f"the sections before INDEX end at byte {offset}, INDEX begins at {end}")

    def section_head(self, offset: int) -> tuple[int, int] | None:
        """Type of the section at an offset and the offset after it; None where the file ends before."""
        self._file.seek(offset)
        head = self._file.read(_SECTION_HEAD.size)
        if len(head) < _SECTION_HEAD.size:
            return None
        kind, length = _SECTION_HEAD.unpack(head)
        end = offset + section_bytes(length)
        return None if end > self._length else (kind, end)

    def _walked(self, first: int, n_chunks: int) -> Iterator[SegmentPlace]:
        place: SegmentPlace | None = None
        offset, count = first, 0
        while count < n_chunks:
            head = self.section_head(offset)
            if head is None or head[0] == SectionType.INDEX:
                break
            if head[0] == SectionType.CODING:
                if place is not None:
                    yield place
                place = SegmentPlace(offset, count, [])
            elif place is not None:
                place.chunks.append(offset)
                count += 1
            offset = head[1]
        if place is not None:
            yield place


def section_bytes(payload_length: int) -> int:
    """Length of a section with its framing."""
    return _SECTION_HEAD.size + payload_length + _CRC.size


def section_name(kind: int) -> str:
    try:
        return f"section {SectionType(kind).name}"
    except ValueError:
        return f"section of unknown type {kind}"


def _signature_complaint(found: bytes) -> str:
    if not found:
        return "the file is empty; a .san file was expected"
    if found[1:4] == b"SAN":
        return "the signature is damaged, as by a transfer in text mode; transfer the file again in binary mode"
    return f"the file starts with {found!r}; it is not a .san file"


def zstd_compress(content: bytes, level: int) -> bytes:
    """One frame that states its content size, without checksum."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=max(len(content), 1), write_content_size=True, write_checksum=False, write_dict_id=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def zstd_decompress(frame: bytes, *, limit: int, where: str) -> bytes:
    """Inverse of ``zstd_compress``.

    Raises
    ------
    FormatError
        When the frame states no size or one above ``limit``, or is damaged, or more follows it.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if size <= 0:
            raise CorruptError(f"{where}: its zstd frame states no size, or 0")
        if size > limit:
            raise LimitExceededError(f"{where}: its zstd frame holds {size} bytes; at most {limit} are allowed")
        if size > len(frame) * MAX_ZSTD_RATIO:
            raise CorruptError(f"{where}: its zstd frame of {len(frame)} bytes says that it holds {size}")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptError(f"{where}: its zstd frame is damaged ({error})") from None
