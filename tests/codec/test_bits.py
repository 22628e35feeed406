import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.bits import BitReader, BitWriter, bit_length, bits_to_fields, fields_to_bits, unzigzag, zigzag
from sancodec.errors import CorruptError, FormatError, TruncatedError

unsigned = st.integers(0, 2**32 - 1)
mostly_small = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 300), unsigned), max_size=60)


def array(values):
    return np.array(values, np.int64)


@given(st.lists(st.integers(0, 40).flatmap(lambda width: st.tuples(st.just(width), st.integers(0, 2**width - 1)))))
def test_fields_of_any_width_come_back(fields):
    widths, values = array([width for width, _ in fields]), array([value for _, value in fields])
    bits = fields_to_bits(values, widths)
    assert len(bits) == widths.sum()
    np.testing.assert_array_equal(bits_to_fields(bits, widths), values)


def test_fields_are_written_most_significant_bit_first():
    assert fields_to_bits(array([0b101, 0, 0b01]), array([3, 0, 2])).tolist() == [1, 0, 1, 0, 1]


@given(st.lists(st.integers(-(2**40), 2**40)))
def test_zigzag_is_undone(values):
    np.testing.assert_array_equal(unzigzag(zigzag(array(values))), array(values))


def test_zigzag_orders_values_by_magnitude():
    assert zigzag(array([0, -1, 1, -2, 2])).tolist() == [0, 1, 2, 3, 4]


def test_bit_length_is_that_of_python():
    values = [0, 1, 2, 3, 4, 255, 256, 2**31 - 1, 2**31, 2**51, 2**52 - 1]
    assert bit_length(array(values)).tolist() == [value.bit_length() for value in values]


@given(mostly_small)
def test_rice_lists_come_back(values):
    writer = BitWriter()
    writer.rice(array(values))
    reader = BitReader.from_bytes(writer.tobytes(), "list")
    assert reader.rice(len(values)).tolist() == values
    reader.finish()


@pytest.mark.parametrize("values", [[2**32 - 1], [0] * 50 + [2**32 - 1], [2**32 - 1] * 3 + [0], [24, 23, 25, 0]])
def test_values_beyond_the_largest_quotient_are_escaped_and_come_back(values):
    writer = BitWriter()
    writer.rice(array(values))
    assert BitReader.from_bytes(writer.tobytes(), "list").rice(len(values)).tolist() == values


@given(st.lists(st.lists(unsigned, max_size=8), max_size=5), st.integers(0, 2**12 - 1))
def test_lists_and_numbers_follow_each_other_without_gaps(lists, number):
    writer = BitWriter()
    for values in lists:
        writer.rice(array(values))
        writer.number(number, 12)
    reader = BitReader(writer.tobits(), "mixture")
    for values in lists:
        assert reader.rice(len(values)).tolist() == values
        assert reader.number(12) == number
    assert reader.position == len(writer)


def test_an_empty_list_takes_no_bits():
    writer = BitWriter()
    writer.rice(array([]))
    assert len(writer) == 0
    assert BitReader(writer.tobits(), "list").rice(0).tolist() == []


@given(st.lists(unsigned, min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_a_rice_list_cut_anywhere_is_refused(values):
    writer = BitWriter()
    writer.rice(array(values))
    bits = writer.tobits()
    for length in range(len(bits)):
        with pytest.raises(TruncatedError, match="list"):
            BitReader(bits[:length], "list").rice(len(values))


def test_geometric_numbers_take_little_more_than_their_entropy():
    mean = 37.0
    values = np.random.default_rng(1).geometric(1 / (mean + 1), 20_000) - 1
    writer = BitWriter()
    writer.rice(values.astype(np.int64))
    ratio = mean / (mean + 1)
    entropy = -np.log2(1 - ratio) - ratio / (1 - ratio) * np.log2(ratio)
    assert len(writer) / len(values) < entropy + 0.1


def test_one_outlier_does_not_spoil_the_parameter_of_a_list():
    writer = BitWriter()
    writer.rice(array([0, 1] * 500 + [2**31]))
    assert len(writer) < 2 * 1000 + 100


def test_a_quotient_above_the_limit_is_refused():
    bits = np.array([0] * 5 + [1] * 25 + [0] * 30, np.uint8)
    with pytest.raises(CorruptError, match="Rice quotient of 25"):
        BitReader(bits, "list").rice(3)


def test_bits_after_the_last_field_are_refused():
    for rest in ([1], [0] * 8, [0, 0, 1]):
        with pytest.raises(CorruptError, match="follow its last field"):
            BitReader(np.array(rest, np.uint8), "field").finish()
    BitReader(np.zeros(7, np.uint8), "field").finish()


def test_more_bits_than_there_are_are_refused():
    with pytest.raises(TruncatedError, match="9 more bits are needed, 8 are left"):
        BitReader.from_bytes(b"\xff", "field").number(9)


@given(st.binary(max_size=40), st.integers(0, 50))
def test_any_bytes_give_a_list_or_a_format_error(content, count):
    reader = BitReader.from_bytes(content, "list")
    try:
        values = reader.rice(count)
        reader.finish()
    except FormatError:
        return
    assert len(values) == count
    assert values.min(initial=0) >= 0
