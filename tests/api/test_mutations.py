"""No damage is silent: every bit of every byte of small containers of every kind."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

from check import decode_outcome, salvage_outcome
from corpus import tiny
from mutations import Mutated, container_of, sections_of

SEEDS = tuple(tiny())
# Every bit of every byte, and all bits of it; `fuzz/mutate.py --every-byte` tries all 255 changes.
CHANGES = (*(1 << bit for bit in range(8)), 0xFF)


@pytest.fixture(params=SEEDS, ids=lambda seed: seed.name)
def seed(request):
    return request.param


def changed(content, place, change):
    result = bytearray(content)
    result[place] ^= change
    return bytes(result)


def test_an_intact_container_is_right_also_when_framed_again(seed):
    assert decode_outcome(Mutated("none", seed.content), seed.recording) == "right"
    again = container_of(sections_of(seed.content))
    assert decode_outcome(Mutated("none", again), seed.recording) == "right"
    assert salvage_outcome(Mutated("none", again), seed.recording) == "right"


def test_every_changed_byte_is_refused(seed):
    for place in range(len(seed.content)):
        for change in CHANGES:
            outcome = decode_outcome(Mutated("byte", changed(seed.content, place, change)), seed.recording)
            assert outcome.startswith("refused"), (place, change)


def test_every_changed_byte_is_repaired(seed):
    for place in range(0, len(seed.content), 3):
        outcome = salvage_outcome(Mutated("byte", changed(seed.content, place, CHANGES[place % 9])), seed.recording)
        assert outcome in ("right", "repaired"), place


def test_every_changed_byte_under_fresh_checksums_is_refused_or_harmless(seed):
    sections = sections_of(seed.content)
    for index, (kind, payload) in enumerate(sections):
        for place in range(len(payload)):
            for change in (0x01, 0x10, 0x80):
                altered = [*sections[:index], (kind, changed(payload, place, change)), *sections[index + 1 :]]
                mutated = Mutated("byte", container_of(altered))
                decode_outcome(mutated, seed.recording)
                if change == 0x01:
                    salvage_outcome(mutated, seed.recording)


def test_a_container_cut_anywhere_is_refused(seed):
    for length in range(len(seed.content)):
        assert decode_outcome(Mutated("cut", seed.content[:length]), seed.recording).startswith("refused")
        salvage_outcome(Mutated("cut", seed.content[:length]), seed.recording)
