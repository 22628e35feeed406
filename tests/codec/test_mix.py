from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.mix import (
    FACTORS,
    MAX_MIX_WEIGHTS,
    MAX_SHIFT,
    WEIGHT_BITS,
    Derived,
    Mix,
    mixed,
    read_mix,
    write_mix,
)
from sancodec.errors import CorruptError, FormatError, LimitExceededError
from tests.mixed_files import random_mix

ONE = 1 << WEIGHT_BITS
SUM_BITS = WEIGHT_BITS + 10


@st.composite
def mixes(draw):
    n_components, n_members = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    shifts = draw(st.lists(st.integers(0, MAX_SHIFT), min_size=n_components, max_size=n_components))
    rules: list[Derived | None] = []
    for _ in range(n_members):
        direct = [each for each, rule in enumerate(rules) if rule is None]
        if len(direct) < 2 or not draw(st.booleans()):
            rules.append(None)
            continue
        first, second = sorted(draw(st.lists(st.sampled_from(direct), min_size=2, max_size=2, unique=True)))
        rules.append(Derived((first, second), (draw(st.integers(0, 3)), draw(st.integers(0, 3)))))
    weights = np.zeros((n_members, n_components), np.int64)
    for member, rule in enumerate(rules):
        for component, shift in enumerate(shifts):
            weights[member, component] = 0 if rule else draw(st.integers(-(1 << shift), 1 << shift))
    return Mix(np.array(shifts, np.int64), weights, tuple(rules))


def written(mix):
    writer = BitWriter()
    write_mix(writer, mix)
    return writer.tobytes()


def read(content, n_members, n_components):
    reader = BitReader.from_bytes(content, "mix")
    mix = read_mix(reader, n_members, n_components)
    reader.finish()
    return mix


@given(mixes())
def test_a_mix_is_read_as_it_was_written(mix):
    found = read(written(mix), *mix.weights.shape)
    np.testing.assert_array_equal(found.shifts, mix.shifts)
    np.testing.assert_array_equal(found.weights, mix.weights)
    assert found.derived == mix.derived


def test_no_mix_takes_a_bit_whatever_the_group_is():
    assert written(None) == b"\0"
    assert read(b"\0", 3, 0) is None


@given(mixes())
def test_rows_are_the_stated_fractions_and_sums_of_two_others(mix):
    for member, (row, rule) in enumerate(zip(mix.rows.tolist(), mix.derived, strict=True)):
        if rule is None:
            stated = [
                Fraction(weight, 1 << shift)
                for weight, shift in zip(mix.weights[member].tolist(), mix.shifts.tolist(), strict=True)
            ]
        else:
            rows = [mix.rows[each].tolist() for each in rule.members]
            factors = [Fraction(FACTORS[code]) for code in rule.codes]
            stated = [sum(f * w for f, w in zip(factors, pair, strict=True)) / ONE for pair in zip(*rows, strict=True)]
        assert [Fraction(weight, ONE) for weight in row] == stated


def test_the_leads_of_einthoven_and_goldberger_are_rules():
    leads = Derived((0, 1), (1, 0)), Derived((0, 1), (3, 3)), Derived((0, 1), (2, 3)), Derived((0, 1), (3, 2))
    mix = Mix(np.array([0, 0]), np.eye(6, 2, dtype=np.int64), (None, None, *leads))
    expected = [[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]]
    np.testing.assert_array_equal(mix.rows / ONE, expected)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 30))
def test_sums_are_those_of_exact_integers_rounded_half_up(seed, n_components, bits):
    rng = np.random.default_rng(seed)
    rows = random_mix(rng, 4, n_components).rows
    components = rng.integers(-(1 << bits), 1 << bits, (n_components, 50), endpoint=True)
    found = mixed(rows, components)
    for row, of_member in zip(rows.tolist(), found.tolist(), strict=True):
        for sample, value in zip(components.T.tolist(), of_member, strict=True):
            total = sum(weight * each for weight, each in zip(row, sample, strict=True))
            assert value == (total + (1 << SUM_BITS - 1)) >> SUM_BITS


@pytest.mark.parametrize(("fraction", "rounded"), [(0.5, 1), (-0.5, 0), (1.499, 1), (-1.5, -1), (-1.501, -2)])
def test_halves_are_rounded_up(fraction, rounded):
    component = np.array([[round(fraction * 2**10)]])
    assert mixed(np.array([[ONE]]), component).tolist() == [[rounded]]
    assert mixed(np.array([[-ONE]]), -component).tolist() == [[rounded]]


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_are_exact_up_to_2_to_the_52_and_refused_from_there_on(sign):
    most = (1 << 52 - WEIGHT_BITS) - 1
    rows, components = np.array([[ONE, 0], [1, 0]]), sign * np.array([[most, 0], [most, most]])
    assert mixed(rows, components).tolist() == [
        [(ONE * value + (1 << SUM_BITS - 1)) >> SUM_BITS for value in (sign * most, 0)],
        [(value + (1 << SUM_BITS - 1)) >> SUM_BITS for value in (sign * most, 0)],
    ]
    with pytest.raises(CorruptError, match="beyond the exact range"):
        mixed(rows, components + sign)
    with pytest.raises(CorruptError, match="beyond the exact range"):
        mixed(np.array([[ONE, -ONE]]), components // 2 + sign)


def test_a_component_without_any_weight_may_be_large():
    assert mixed(np.array([[0]]), np.array([[1 << 60]])).tolist() == [[0]]


def bits_of(*fields):
    """Numbers with widths, and Rice lists of signed or plain numbers."""
    writer = BitWriter()
    for field in fields:
        if isinstance(field, tuple):
            writer.number(*field)
        else:
            writer.rice(np.array(field))
    return writer.tobytes()


@pytest.mark.parametrize(
    ("content", "n_members", "n_components", "error", "message"),
    [
        (bits_of((1, 1)), 3, 0, CorruptError, "of no component"),
        (bits_of((1, 1)), 1025, 1024, LimitExceededError, "1025 channels of 1024 components"),
        (bits_of((1, 1), (13, 4)), 3, 1, LimitExceededError, r"2\^-13"),
        (bits_of((1, 1), (2, 4), (0, 2), [10, 0]), 2, 1, LimitExceededError, r"a weight of 5·2\^-2"),
        (bits_of((1, 1), (2, 4), (1, 1), [0, 1]), 2, 1, CorruptError, "member 0 of a mix"),
        (bits_of((1, 1), (2, 4), (1, 3), [1, 0]), 3, 1, CorruptError, "member 2 .* from members 1 and 0"),
        (bits_of((1, 1), (2, 4), (1, 3), [0, 1], (0, 4), (1, 1), [0, 2]), 4, 1, CorruptError, "from members 0 and 2"),
        (bits_of((1, 1), (2, 4)), 900, 1, FormatError, "mix"),
    ],
)
def test_mix_that_breaks_a_limit_is_refused(content, n_members, n_components, error, message):
    with pytest.raises(error, match=message):
        read(content, n_members, n_components)


def test_as_many_weights_as_are_allowed():
    mix = random_mix(np.random.default_rng(0), 1024, 1024)
    assert mix.weights.size == MAX_MIX_WEIGHTS
    np.testing.assert_array_equal(read(written(mix), 1024, 1024).weights, mix.weights)
