"""What the fuzzer runs: its bytes choose a container of the corpus and say how its payloads are damaged.

Checksums and, if asked for, digests are made anew, so that the parsers behind them are reached.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from check import decode_outcome, header_outcome, salvage_outcome
from corpus import ECG, all_seeds
from mutations import Mutated, Sections, container_of, inside, sections_of, with_fresh_digests

_STEP = struct.Struct("<BBHBB")
_MAX_STEPS = 16


@lru_cache(maxsize=1)
def _corpus() -> list[Sections]:
    return [sections_of(seed.content) for seed in all_seeds()]


class _Choices:
    """The bytes of an input in the place of a random generator, for `mutations.inside`."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def _next(self) -> int:
        self._position += 1
        return self._content[self._position - 1] if self._position <= len(self._content) else 0

    def random(self) -> float:
        return self._next() / 256

    def choice(self, values):
        return values[self._next() % len(values)]


def run(data: bytes) -> None:
    """One input: kind, container, then steps of section, place, length of what is replaced, and replacement."""
    if len(data) < 2:
        return
    kind, number, data = data[0], data[1], data[2:]
    if kind & 7 == 7:
        header_outcome(_edited(ECG.read_bytes(), data))
        return
    seeds = all_seeds()
    seed, sections = seeds[number % len(seeds)], list(_corpus()[number % len(seeds)])
    if kind & 7 == 6:
        mutated = Mutated("bytes", _edited(seed.content, data))
    else:
        index = kind >> 3 & 15
        for _ in range(1 + (kind >> 7)):
            position = index % len(sections)
            choices = _Choices(data[:4])
            edits = data[4:]
            sections[position] = (
                sections[position][0],
                inside(*sections[position], lambda part, edits=edits: _edited(part, edits), choices),
            )
            index, data = index + 1, data[len(data) // 2 :]
        is_fresh = kind & 7 > 2
        mutated = Mutated("payload", container_of(with_fresh_digests(sections) if is_fresh else sections), is_fresh)
    decode_outcome(mutated, seed.recording)
    salvage_outcome(mutated, seed.recording)


def _edited(content: bytes, edits: bytes) -> bytes:
    """Apply edits: section of the place, place, bytes removed, bytes inserted, and those."""
    for _ in range(_MAX_STEPS):
        if len(edits) < _STEP.size:
            break
        what, place, where, n_removed, n_inserted = _STEP.unpack_from(edits)
        inserted = edits[_STEP.size : _STEP.size + n_inserted % 24]
        edits = edits[_STEP.size + len(inserted) :]
        start = (place << 16 | where) % (len(content) + 1)
        if what & 1:  # as many as there were
            n_removed = len(inserted)
        content = content[:start] + inserted + content[start + n_removed % 24 :]
    return content


def seed_inputs() -> list[bytes]:
    """A few inputs for every container and kind of damage."""
    return [
        bytes([kind | section << 3, number]) + bytes([40, 1, 1, 0, 1, 0, place, 0, 2, 2, 255, 255])
        for number in range(len(all_seeds()))
        for kind in (0, 3, 6)
        for section in (0, 1, 2)
        for place in (1, 9)
    ]
