import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec import mixing
from sancodec.codec.mixing import COUNT_BITS, MAX_COUNT, RATE, SPARE_BYTES, SQUASH, STRETCH, RangeCoder, updated

FORMAT = Path(__file__).parents[2] / "docs" / "format.md"
decisions = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 65535)), max_size=300)


def documented_knots():
    """The table of section 18.1."""
    (table,) = re.findall(r"### 18\.1 .*?```\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    return tuple(int(number) for number in table.split())


def coded(bits_and_chances):
    coder = RangeCoder()
    for bit, p in bits_and_chances:
        coder.bit(bit, p)
    return coder.finish()


def decoded(content, chances):
    coder = RangeCoder(content)
    bits = [coder.bit(0, p) for p in chances]
    return bits, coder.is_read_up


# Tables


def test_the_knots_of_squash_are_those_of_the_document_and_of_the_logistic_function():
    knots = documented_knots()
    assert knots == tuple(round(65536 / (1 + np.exp(-(i - 32) / 4))) for i in range(65))
    assert knots == mixing._KNOTS


def test_squash_goes_from_knot_to_knot_in_straight_lines():
    knots = documented_knots()
    assert len(SQUASH) == 4096
    for y, probability in enumerate(SQUASH):
        i, t = divmod(y, 64)
        assert probability == (knots[i] * (64 - t) + knots[i + 1] * t + 32) >> 6
    assert all(low <= high for low, high in pairwise(SQUASH))
    assert 1 <= SQUASH[0] <= SQUASH[-1] <= 65535


def test_stretch_is_the_smallest_argument_whose_squash_is_not_below_the_middle():
    for q in range(0, 4096, 7):
        wanted = (x for x in range(-2047, 2048) if SQUASH[2048 + x] >= 16 * q + 8)
        assert STRETCH[q] == next(wanted, 2047)


def test_stretch_and_squash_undo_each_other_but_for_rounding():
    for x in range(-1800, 1801, 9):
        slope = SQUASH[2048 + x + 1] - SQUASH[2048 + x - 1]
        assert abs(STRETCH[SQUASH[2048 + x] >> 4] - x) <= 2 + 32 // max(slope, 1)


def test_the_rate_of_a_slot_is_one_over_the_times_it_was_met_and_a_half_more():
    assert [(131072 + n) // (2 * n + 3) for n in range(1024)] == RATE
    assert all(abs(rate - 65536 / (n + 1.5)) < 1 for n, rate in enumerate(RATE))


# Slots


@given(st.integers(0, 2**32 - 1), st.integers(0, 1), st.integers(0, MAX_COUNT))
def test_a_slot_moves_towards_its_bit_and_stays_32_bits(slot, bit, limit):
    after = updated(slot, bit, limit)
    assert 0 <= after < 1 << 32
    before_p, after_p = slot >> COUNT_BITS, after >> COUNT_BITS
    assert before_p <= after_p <= (1 << 22) - 1 if bit else after_p <= before_p
    count = slot & MAX_COUNT
    assert after & MAX_COUNT == (count + 1 if count < limit else count)


def test_a_slot_learns_how_often_a_bit_is_set():
    rng = np.random.default_rng(0)
    slot = 1 << 31
    for bit in (rng.random(4000) < 0.2).tolist():
        slot = updated(slot, int(bit), 1023)
    assert (slot >> COUNT_BITS) / (1 << 22) == pytest.approx(0.2, abs=0.03)


# Range coder


@given(decisions)
@settings(deadline=None)
def test_decisions_come_back_and_the_decoder_knows_that_it_has_read_up(bits_and_chances):
    content = coded(bits_and_chances)
    bits, is_read_up = decoded(content, [p for _, p in bits_and_chances])
    assert bits == [bit for bit, _ in bits_and_chances]
    assert is_read_up


@pytest.mark.parametrize("p", [1, 22, 32768, 65514, 65535])
@pytest.mark.parametrize("bit", [0, 1])
def test_a_long_run_of_one_bit_comes_back(bit, p):
    content = coded([(bit, p)] * 5000)
    bits, is_read_up = decoded(content, [p] * 5000)
    assert bits == [bit] * 5000
    assert is_read_up


def test_decisions_take_the_bits_that_their_probabilities_say():
    rng = np.random.default_rng(1)
    chances = rng.integers(600, 65000, 20_000)
    bits = (rng.random(20_000) < chances / 65536).astype(int)
    entropy = -np.log2(np.where(bits, chances, 65536 - chances) / 65536).sum()
    assert entropy <= 8 * len(coded(zip(bits.tolist(), chances.tolist(), strict=True))) <= 1.0005 * entropy + 16


@given(decisions, st.binary(min_size=1, max_size=6))
@settings(deadline=None)
def test_no_input_with_bytes_behind_the_last_gives_the_same_decisions_and_is_read_up(bits_and_chances, rest):
    bits, is_read_up = decoded(coded(bits_and_chances) + rest, [p for _, p in bits_and_chances])
    assert not is_read_up or bits != [bit for bit, _ in bits_and_chances]


@given(decisions.filter(lambda each: len(coded(each)) > 0), st.data())
@settings(deadline=None)
def test_no_input_that_ends_early_gives_the_same_decisions_and_is_read_up(bits_and_chances, data):
    content = coded(bits_and_chances)
    length = data.draw(st.integers(0, len(content) - 1))
    bits, is_read_up = decoded(content[:length], [p for _, p in bits_and_chances])
    assert not is_read_up or bits != [bit for bit, _ in bits_and_chances]


def test_an_end_more_than_four_bytes_early_is_a_failure():
    content = coded([(index & 1, 32768) for index in range(800)])
    coder = RangeCoder(content[:50])
    for _ in range(8 * (50 - 4 + SPARE_BYTES) - 1):
        coder.bit(0, 32768)
    assert not coder.failed
    for _ in range(16):
        coder.bit(0, 32768)
    assert coder.failed
    assert not coder.is_read_up


def test_no_decisions_are_no_bytes():
    assert coded([]) == b""
    assert decoded(b"", []) == ([], True)
    assert decoded(b"\0", []) == ([], False)
