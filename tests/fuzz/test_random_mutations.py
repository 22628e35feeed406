"""Some hundred mutations of larger containers; `fuzz/mutate.py` tries as many as one likes."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

from check import decode_outcome, header_outcome, salvage_outcome
from corpus import ECG, larger
from mutations import BYTE_MUTATIONS, mutated, sections_of


@pytest.fixture(scope="module")
def seeds():
    return [(seed, sections_of(seed.content)) for seed in larger()]


@pytest.mark.parametrize("number", range(8))
def test_random_damage_is_noticed_or_harmless(seeds, number):
    rng = random.Random(number)
    for _ in range(50):
        seed, sections = rng.choice(seeds)
        damaged = mutated(seed.content, sections, rng)
        decode_outcome(damaged, seed.recording)
        salvage_outcome(damaged, seed.recording)


def test_damaged_wfdb_headers_are_parsed_or_refused():
    rng = random.Random(0)
    for _ in range(500):
        _, change = rng.choice(BYTE_MUTATIONS[:-1])
        header_outcome(change(ECG.read_bytes(), rng))
