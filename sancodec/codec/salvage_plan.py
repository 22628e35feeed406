"""Which sections of a damaged file may hold which chunk (docs/format.md, "Damaged files")."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from sancodec.codec.coding_section import decode_coding
from sancodec.codec.container import (
    END_MARK,
    PREFIX_BYTES,
    TRAILER_BYTES,
    ContainerReader,
    SectionType,
    decode_index,
    section_name,
)
from sancodec.codec.header import Header, decode_header
from sancodec.codec.kernels import Model, decode_model
from sancodec.codec.models import model_by_sha256
from sancodec.codec.section_scan import FoundSection, SectionScanner, Stretch
from sancodec.errors import CorruptError, FormatError, ModelMismatchError

_TRAILER = struct.Struct("<Q4s")


@dataclass(frozen=True, slots=True)
class Segment:
    """A CODING section that can be read, and the chunks that it is for."""

    first_chunk: int
    n_chunks: int
    section: FoundSection

    @property
    def chunks(self) -> range:
        return range(self.first_chunk, self.first_chunk + self.n_chunks)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk may be: a stretch of the file, and the segment under which it stands, if that can be read."""

    stretch: Stretch
    segment: int | None


@dataclass(slots=True)
class Plan:
    """What was found.

    Parameters
    ----------
    places
        By chunk, where it should be; nearly always one place.
    strays
        Chunks that are somewhere else.
    notes
        What was repaired beside chunks.
    """

    header: Header
    models: tuple[Model, ...]
    segments: list[Segment]
    places: dict[int, list[Place]]
    strays: list[Place]
    scanner: SectionScanner
    notes: list[str] = field(default_factory=list)


def plan_of(file: BinaryIO, models: tuple[Model, ...]) -> Plan:
    """Find header, models, segments and the places of chunks.

    Raises
    ------
    FormatError
        When there is no HEADER, or no segment, that can be read or repaired.
    ModelMismatchError
        When a bank is neither at hand nor intact in the file.
    """
    notes: list[str] = []
    header = _find_header(file, notes)
    boundaries = _boundaries(file, header, notes)
    scanner = SectionScanner(file, boundaries=boundaries)
    stretches = list(scanner.stretches(PREFIX_BYTES))
    known = _models(scanner, stretches, header, models, notes)
    plan = Plan(header, known, [], {}, [], scanner, notes)
    items: list[Place | None] = []
    current: int | None = None
    for stretch in stretches:
        if stretch.kind == SectionType.CODING:
            _assign(plan, current, items)
            items, current = [], _add_segment(plan, stretch)
        elif stretch.kind == SectionType.CHUNK:
            items.append(Place(stretch, current))
        elif stretch.kind is None:
            items.append(None)
    _assign(plan, current, items)
    if not plan.segments:
        raise CorruptError("no CODING section can be read or repaired; nothing can be restored without")
    return plan


def _find_header(file: BinaryIO, notes: list[str]) -> Header:
    complaint: FormatError = CorruptError("section HEADER is damaged beyond repair; nothing can be restored without it")
    try:
        ContainerReader(file)
    except FormatError as error:
        complaint = error
        notes.append(f"the begin of the file was damaged: {error}")
    scanner = SectionScanner(file)
    for stretch in scanner.stretches(PREFIX_BYTES):
        for reading in stretch.readings:
            if reading.kind == SectionType.HEADER:
                try:
                    header = decode_header(scanner.payload(reading))
                except FormatError as error:
                    complaint = error
                    continue
                _note(notes, reading)
                return header
    raise complaint


def _boundaries(file: BinaryIO, header: Header, notes: list[str]) -> list[int]:
    """Where the index says that sections begin; nothing when it is damaged."""
    length = file.seek(0, 2)
    try:
        file.seek(max(0, length - TRAILER_BYTES))
        trailer = file.read(TRAILER_BYTES)
        if len(trailer) < TRAILER_BYTES or not trailer.endswith(END_MARK):
            raise CorruptError("the trailer is damaged or missing")
        offset, _ = _TRAILER.unpack(trailer)
        if offset >= length:
            raise CorruptError("the trailer is damaged")
        scanner = SectionScanner(file)
        section = scanner.intact(offset)
        if section is None or section.kind != SectionType.INDEX:
            raise CorruptError(f"there is no intact INDEX at byte {offset}, where the trailer says")
        places, end = decode_index(scanner.payload(section), n_chunks=header.n_chunks)
    except FormatError as error:
        notes.append(f"done without the index: {error}")
        return []
    return [*(offset for place in places for offset in (place.coding, *place.chunks)), end]


def _models(
    scanner: SectionScanner, stretches: list[Stretch], header: Header, models: tuple[Model, ...], notes: list[str]
) -> tuple[Model, ...]:
    embedded = []
    is_damaged = False
    for stretch in stretches:
        if stretch.kind != SectionType.MODEL:
            continue
        found = None
        for reading in stretch.readings:
            try:
                model = decode_model(scanner.payload(reading))
            except FormatError:
                continue
            if model.sha256 in header.model_digests:
                found = model
                _note(notes, reading)
        if found is None:
            is_damaged = True
        else:
            embedded.append(found)
    try:
        return tuple(model_by_sha256(digest, (*embedded, *models)) for digest in header.model_digests)
    except ModelMismatchError as error:
        if is_damaged:
            raise ModelMismatchError(f"a MODEL section is damaged beyond repair, and {error}") from None
        raise


def _add_segment(plan: Plan, stretch: Stretch) -> int | None:
    for reading in stretch.readings:
        try:
            coding = decode_coding(plan.scanner.payload(reading), plan.header, plan.models)
        except FormatError:
            continue
        _note(plan.notes, reading)
        plan.segments.append(Segment(coding.first_chunk, coding.n_chunks, reading))
        return len(plan.segments) - 1
    return None


def _assign(plan: Plan, current: int | None, items: list[Place | None]) -> None:
    """Number the chunks of a segment from its begin up to the first gap, and from its end back to the last one."""
    if current is None:
        plan.strays += [item for item in items if item is not None]
        return
    numbers = plan.segments[current].chunks
    gaps = [index for index, item in enumerate(items) if item is None]
    n_leading = gaps[0] if gaps else len(items)
    first_trailing = gaps[-1] + 1 if gaps else len(items)
    for index, item in enumerate(items):
        if item is None:
            continue
        number = None
        if index < min(n_leading, len(numbers)):
            number = numbers[index]
        elif index >= max(first_trailing, len(items) - len(numbers)):
            number = numbers[index - len(items)]
        if number is None:
            plan.strays.append(item)
        else:
            plan.places.setdefault(number, []).append(item)


def _note(notes: list[str], section: FoundSection) -> None:
    if section.repair:
        notes.append(f"{section_name(section.kind)} at byte {section.offset}: {section.repair}; repaired")
