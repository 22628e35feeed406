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
END_MARK = b"SANe"

_SECTION_HEAD = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_TRAILER = struct.Struct("<Q4s")
_PREFIX = struct.Struct("<8sHH")


class SectionType(IntEnum):
    """Kinds of sections; ids never change."""

    HEADER = 1
    MODEL = 2
    CODING = 3
    CHUNK = 4
    INDEX = 5


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
        self._chunk_lengths: list[int] = []
        self._first_chunk = 0
        self._write(_PREFIX.pack(SIGNATURE, VERSION, 0))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._position += len(content)

    def section(self, kind: SectionType, payload: bytes) -> None:
        """Append a section."""
        start = self._position
        head = _SECTION_HEAD.pack(kind, len(payload))
        self._write(head + payload + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))))
        if kind == SectionType.CHUNK:
            if not self._chunk_lengths:
                self._first_chunk = start
            self._chunk_lengths.append(self._position - start)

    def finish(self) -> int:
        """Append index and trailer; returns the file's length in bytes."""
        index_offset = self._position
        self.section(SectionType.INDEX, encode_index(self._first_chunk, self._chunk_lengths))
        self._write(_TRAILER.pack(index_offset, END_MARK))
        return self._position


def encode_index(first_chunk: int, lengths: list[int]) -> bytes:
    return encode_varints([first_chunk, len(lengths), *lengths])


def decode_index(payload: bytes) -> list[int]:
    """Offsets of the chunk sections."""
    position, values = 0, []
    while position < len(payload):
        value, position = decode_varint(payload, position, "index")
        values.append(value)
    if len(values) < 2 or len(values) - 2 != values[1]:
        raise CorruptError(f"index: {len(values)} numbers do not make an index")
    offsets, offset = [], values[0]
    for length in values[2:]:
        offsets.append(offset)
        offset += length
    return offsets


def encode_varints(values: list[int]) -> bytes:
    """Unsigned LEB128 numbers."""
    result = bytearray()
    for value in values:
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
        """Sections before the first chunk, and the offset of that chunk (or of the index)."""
        sections: list[Section] = []
        offset = _PREFIX.size
        while True:
            self._file.seek(offset)
            kind = self._file.read(1)
            if kind and kind[0] in (SectionType.CHUNK, SectionType.INDEX):
                return sections, offset
            section, offset = self.section_at(offset)
            sections.append(section)

    def chunk_offsets(self, first: int) -> list[int]:
        """Offsets of the chunk sections: by the index, or by walking from ``first`` where the index is unusable."""
        try:
            return self._indexed_offsets()
        except FormatError:
            return list(self._walked_offsets(first))

    def check_end(self) -> None:
        """Refuse a file whose index or trailer is missing or does not fit its sections.

        Raises
        ------
        FormatError
        """
        self._indexed_offsets()

    def _indexed_offsets(self) -> list[int]:
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
        offsets = decode_index(section.payload)
        if any(offset >= index_offset for offset in offsets):
            raise CorruptError("index: a chunk lies beyond the index")
        return offsets

    def _walked_offsets(self, first: int) -> Iterator[int]:
        offset = first
        while offset + _SECTION_HEAD.size + _CRC.size <= self._length:
            self._file.seek(offset)
            kind, length = _SECTION_HEAD.unpack(self._file.read(_SECTION_HEAD.size))
            if kind != SectionType.CHUNK:
                return
            yield offset
            offset += _SECTION_HEAD.size + length + _CRC.size


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
        if size < 0:
            raise CorruptError(f"{where}: its zstd frame does not state its size")
        if size > limit:
            raise LimitExceededError(f"{where}: its zstd frame holds {size} bytes; at most {limit} are allowed")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptError(f"{where}: its zstd frame is damaged ({error})") from None
