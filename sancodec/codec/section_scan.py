"""Find the sections of a damaged file: walk, take boundaries from the index, look for the next one, repair.

docs/format.md, "Damaged files".
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import (
    ANCILLARY,
    END_MARK,
    MAX_SECTION_BYTES,
    TRAILER_BYTES,
    SectionType,
    section_bytes,
)
from sancodec.codec.repair import crc_of_end, one_byte_changes
from sancodec.errors import TruncatedError

MAX_REPAIR_BYTES = 1 << 26
MAX_SEARCHED_SECTION_BYTES = 1 << 26
SEARCH_BYTES = 1 << 30
_HEAD = struct.Struct("<BI")
_CRC_BYTES = 4
_FRAMING = section_bytes(0)
_BLOCK = 1 << 14
_TRY_BYTES = 1 << 12
_KINDS = tuple(SectionType)


@dataclass(frozen=True, slots=True)
class FoundSection:
    """A section whose checksum is right, as it is in the file or after a repair.

    Parameters
    ----------
    kind, offset, length
        Type, offset of the type byte in the file, length of the payload.
    change
        Offset in the file of a byte to change, and by what exclusive-or; None where none is changed in the payload.
    repair
        What was repaired, in words; empty for an undamaged section.
    """

    kind: int
    offset: int
    length: int
    change: tuple[int, int] | None = None
    repair: str = ""

    @property
    def end(self) -> int:
        return self.offset + section_bytes(self.length)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the file: a section, a damaged one, or bytes that no section can be told in.

    Parameters
    ----------
    kind
        Type of the section that it is, as far as it can be told; None where it may be any number of them.
    readings
        What it may be; several, when several repairs fit the checksum; none, when none does.
    """

    start: int
    end: int
    kind: int | None
    readings: tuple[FoundSection, ...] = ()


class SectionScanner:
    """Walks over a file that may be damaged anywhere.

    Parameters
    ----------
    boundaries
        Offsets at which sections begin, increasing, and the end of the last: from the index, when that is intact.
    """

    def __init__(self, file: BinaryIO, *, boundaries: Sequence[int] = ()) -> None:
        self._file = file
        self._length = file.seek(0, 2)
        self._boundaries = boundaries
        self._checksums: list[int] = [0]  # CRC-32 of the first n blocks of the file
        # What the search may read, so that a file made to mislead it takes no more than some seconds.
        self._search_bytes = 4 * self._length + SEARCH_BYTES

    def stretches(self, start: int) -> Iterator[Stretch]:
        """All of the file from ``start`` on."""
        offset = start
        while offset < self._length and not self._is_trailer(offset):
            section = self.intact(offset)
            if section is not None:
                yield Stretch(offset, section.end, section.kind, (section,))
                offset = section.end
                continue
            end = self._next_boundary(offset)
            yield from self._damaged(offset, end)
            offset = end

    def payload(self, section: FoundSection) -> bytes:
        """The payload of a section, repaired."""
        start = section.offset + _HEAD.size
        content = self._read(start, section.length)
        if len(content) < section.length:
            raise TruncatedError(f"the file ends within the section at byte {section.offset}")
        if section.change is None:
            return content
        place, change = section.change
        altered = bytearray(content)
        altered[place - start] ^= change
        return bytes(altered)

    def _read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)

    def _is_trailer(self, offset: int) -> bool:
        return self._length - offset == TRAILER_BYTES and self._read(offset, TRAILER_BYTES).endswith(END_MARK)

    def _head(self, offset: int) -> tuple[int, int] | None:
        """Type and length of a section that may begin at an offset."""
        content = self._read(offset, _HEAD.size)
        if len(content) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack(content)
        is_known = kind in _KINDS or kind & ANCILLARY
        if not is_known or length > MAX_SECTION_BYTES or offset + section_bytes(length) > self._length:
            return None
        return kind, length

    def intact(self, offset: int) -> FoundSection | None:
        """The section at an offset, when its checksum is right."""
        head = self._head(offset)
        if head is None:
            return None
        if self._following(offset) not in (None, offset + section_bytes(head[1])):
            # Either of them may be wrong, but an index of lies must not have the file read again and again.
            self._search_bytes -= head[1]
            if self._search_bytes <= 0:
                return None
        crc = self._crc(offset, offset + _HEAD.size + head[1])
        if self._file.read(_CRC_BYTES) != crc.to_bytes(_CRC_BYTES, "little"):
            return None
        return FoundSection(head[0], offset, head[1])

    def _next_boundary(self, offset: int) -> int:
        """Where the sections can be told again after a damaged one at ``offset``."""
        following = self._following(offset)
        if following is not None:
            if following == self._boundaries[-1] or self.intact(following) is not None:
                return following
            return min(following, self._searched(offset + 1))
        head = self._head(offset)
        if head is not None:
            end = offset + section_bytes(head[1])
            if end == self._length or self._is_trailer(end) or self.intact(end) is not None:
                return end
        return self._searched(offset + 1)

    def _searched(self, start: int) -> int:
        """Offset of the next section whose checksum is right; else of the trailer, or the end of the file."""
        offset = start
        while offset < self._length and self._search_bytes > 0:
            block = np.frombuffer(self._read(offset, _BLOCK + _HEAD.size), np.uint8)
            for place in _possible_heads(block[: _BLOCK + _HEAD.size - 1], self._length - offset).tolist():
                if self._is_section(offset + place):
                    return int(offset + place)
                if self._search_bytes <= 0:
                    break
            offset += _BLOCK
        end = self._length - TRAILER_BYTES
        return end if end >= start and self._is_trailer(end) else self._length

    def _is_section(self, offset: int) -> bool:
        """Whether the checksum of a section at an offset is right, without reading all of it."""
        head = self._head(offset)
        self._search_bytes -= _TRY_BYTES + (min(head[1], _BLOCK) if head is not None else 0)
        if head is None:
            return False
        if head[1] <= _BLOCK:
            return self.intact(offset) is not None
        end = offset + _HEAD.size + head[1]
        expected = crc_of_end(self._crc_up_to(offset), self._crc_up_to(end), end - offset)
        return self._read(end, _CRC_BYTES) == expected.to_bytes(_CRC_BYTES, "little")

    def _crc_up_to(self, offset: int) -> int:
        """CRC-32 of everything before an offset; every block of the file is read once."""
        n_blocks, rest = divmod(offset, _BLOCK)
        while len(self._checksums) <= n_blocks:
            done = len(self._checksums) - 1
            self._checksums.append(zlib.crc32(self._read(done * _BLOCK, _BLOCK), self._checksums[-1]))
        return zlib.crc32(self._read(n_blocks * _BLOCK, rest), self._checksums[n_blocks])

    def _damaged(self, start: int, end: int) -> Iterator[Stretch]:
        """The damaged sections in a stretch: as many as their heads tell, or one whose length is damaged."""
        chain = []
        offset = start
        while offset < end:
            head = self._head(offset)
            if head is None or offset + section_bytes(head[1]) > end:
                break
            chain.append((head[0], offset, offset + section_bytes(head[1])))
            offset = chain[-1][2]
        if offset == end:
            for kind, first, last in chain:
                readings = self._repaired(first, last)
                yield Stretch(first, last, readings[0].kind if readings else kind, readings)
            return
        readings = self._repaired(start, end)
        if readings or self._is_one(start, end):
            yield Stretch(start, end, readings[0].kind if readings else self._kind_at(start), readings)
            return
        if chain:
            _, first, last = chain[0]
            readings = self._repaired(first, last)
            if readings:
                yield Stretch(first, last, readings[0].kind, readings)
                start = last
        if start < end:
            yield Stretch(start, end, None)

    def _is_one(self, start: int, end: int) -> bool:
        """Whether the index says that a stretch is one section."""
        return self._following(start) == end

    def _following(self, offset: int) -> int | None:
        """Where the index says that the section at an offset ends; None where it says nothing."""
        index = bisect_right(self._boundaries, offset)
        if 0 < index < len(self._boundaries) and self._boundaries[index - 1] == offset:
            return self._boundaries[index]
        return None

    def _kind_at(self, start: int) -> int | None:
        kind = self._read(start, 1)[0]
        return kind if kind in _KINDS else None

    def _repaired(self, start: int, end: int) -> tuple[FoundSection, ...]:
        """What a damaged section was before one of its bytes, or its length, was changed."""
        if not _FRAMING <= end - start <= MAX_REPAIR_BYTES:
            return ()
        head = self._read(start, _HEAD.size)
        kind, length = _HEAD.unpack(head)
        right_length, body = end - start - _FRAMING, start + _HEAD.size
        stored = int.from_bytes(self._read(end - _CRC_BYTES, _CRC_BYTES), "little")
        if length != right_length:
            for each in [kind] if kind in _KINDS else _KINDS:
                if self._crc(body, end - _CRC_BYTES, zlib.crc32(_HEAD.pack(each, right_length))) == stored:
                    return (FoundSection(each, start, right_length, repair="its length was damaged"),)
            return ()
        difference = self._crc(body, end - _CRC_BYTES, zlib.crc32(head)) ^ stored
        if sum(byte != 0 for byte in difference.to_bytes(_CRC_BYTES, "little")) == 1 and (
            kind in _KINDS or kind & ANCILLARY
        ):
            return (FoundSection(kind, start, length, repair="its checksum was damaged"),)
        found = []
        for position, change in one_byte_changes(difference, end - start - _CRC_BYTES):
            if position == 0 and kind ^ change in _KINDS:
                found.append(FoundSection(kind ^ change, start, length, repair="its type was damaged"))
            elif position >= _HEAD.size and kind in _KINDS:
                place = start + position
                before = self._read(place, 1)[0]
                words = f"byte {place} of the file changed from {before:#04x} to {before ^ change:#04x}"
                found.append(FoundSection(kind, start, length, (place, change), words))
        return tuple(found)

    def _crc(self, start: int, end: int, crc: int = 0) -> int:
        """CRC-32 of a stretch, after what ``crc`` is of."""
        self._file.seek(start)
        for position in range(start, end, _BLOCK):
            crc = zlib.crc32(self._file.read(min(_BLOCK, end - position)), crc)
        return crc


def _possible_heads(content: NDArray[np.uint8], n_left: int) -> NDArray[np.int64]:
    """Positions at which a section of a known type that fits in ``n_left`` bytes may begin; increasing."""
    if len(content) < _HEAD.size:
        return np.zeros(0, np.int64)
    kinds = content[: len(content) - _HEAD.size + 1]
    places = np.flatnonzero((kinds >= min(_KINDS)) & (kinds <= max(_KINDS)))
    length = np.zeros(len(places), np.int64)
    for index in range(4):
        length |= content[places + 1 + index].astype(np.int64) << (8 * index)
    return places[(length <= MAX_SEARCHED_SECTION_BYTES) & (places + section_bytes(0) + length <= n_left)]
