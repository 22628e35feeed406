import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.beats import MAX_GAIN, Events
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.event_stream import (
    read_events,
    read_runs,
    read_starts,
    write_events,
    write_runs,
    write_starts,
)
from sancodec.errors import CorruptError, FormatError, LimitExceededError, TruncatedError

LENGTH, SAMPLES = 30, 1000


def bits_of(write, *arguments):
    writer = BitWriter()
    write(writer, *arguments)
    return writer.tobits()


def starts_array(values):
    return np.array(sorted(values), np.int64)


@given(st.sets(st.integers(1 - LENGTH, SAMPLES - 1)).map(starts_array))
def test_starts_come_back(starts):
    reader = BitReader(bits_of(write_starts, starts, LENGTH), "events")
    np.testing.assert_array_equal(read_starts(reader, LENGTH, SAMPLES), starts)
    reader.finish()


@pytest.mark.parametrize(
    "starts", [[-LENGTH, 5], [SAMPLES], [3, 3], [9, 3, 20, 40], [5, SAMPLES + 4]], ids=lambda starts: str(starts)
)
def test_starts_that_do_not_increase_or_leave_the_chunk_are_refused(starts):
    reader = BitReader(bits_of(write_starts, np.array(starts), LENGTH), "events")
    with pytest.raises(CorruptError, match="positions"):
        read_starts(reader, LENGTH, SAMPLES)


def test_more_starts_than_the_chunk_has_samples_are_refused():
    writer = BitWriter()
    writer.rice(np.array([SAMPLES + LENGTH + 1]))
    with pytest.raises(LimitExceededError, match="1031 in a chunk of 1000 samples"):
        read_starts(BitReader(writer.tobits(), "events"), LENGTH, SAMPLES)


@st.composite
def events_of(draw):
    n_kernels = draw(st.integers(1, 8))
    n_events = draw(st.integers(0, 30))
    gains = np.array(draw(st.lists(st.integers(0, MAX_GAIN), min_size=n_events, max_size=n_events)), np.int32)
    ids = np.array(draw(st.lists(st.integers(0, n_kernels - 1), min_size=n_events, max_size=n_events)), np.int32)
    return n_kernels, Events(np.where(gains > 0, ids, 0).astype(np.int32), gains)


@given(events_of())
def test_gains_and_kernel_ids_come_back(case):
    n_kernels, events = case
    reader = BitReader(bits_of(write_events, events, n_kernels), "events")
    after = read_events(reader, len(events.gains), n_kernels)
    reader.finish()
    np.testing.assert_array_equal(after.gains, events.gains)
    np.testing.assert_array_equal(after.kernel_ids, events.kernel_ids)


def test_rising_gains_are_stored_as_differences():
    rising = np.arange(1, 100, dtype=np.int32)
    shuffled = np.random.default_rng(0).permutation(rising)
    ids = np.zeros(99, np.int32)
    assert len(bits_of(write_events, Events(ids, rising), 1)) < len(bits_of(write_events, Events(ids, shuffled), 1)) / 2


def test_a_gain_above_the_limit_is_refused():
    events = Events(np.zeros(2, np.int32), np.array([5, MAX_GAIN + 1], np.int32))
    with pytest.raises(CorruptError, match=r"gains 5…128"):
        read_events(BitReader(bits_of(write_events, events, 1), "events"), 2, 1)


def test_a_negative_gain_is_refused():
    events = Events(np.zeros(2, np.int32), np.array([5, -1], np.int32))
    with pytest.raises(CorruptError, match=r"gains -1…5"):
        read_events(BitReader(bits_of(write_events, events, 1), "events"), 2, 1)


def test_an_unknown_kernel_is_refused():
    events = Events(np.array([0, 3], np.int32), np.array([5, 6], np.int32))
    with pytest.raises(CorruptError, match="kernel 3 of 2"):
        read_events(BitReader(bits_of(write_events, events, 2), "events"), 2, 2)


@st.composite
def runs_of(draw):
    edges = sorted(draw(st.sets(st.integers(0, SAMPLES), max_size=20)))
    edges = edges[: len(edges) // 2 * 2]
    return np.array(
        [[first, last - first] for first, last in zip(edges[::2], edges[1::2], strict=True)], np.int64
    ).reshape(-1, 2)


@given(runs_of())
def test_missing_runs_come_back(runs):
    reader = BitReader(bits_of(write_runs, runs), "chunk")
    np.testing.assert_array_equal(read_runs(reader, SAMPLES), runs)
    reader.finish()


def test_no_missing_run_takes_one_bit():
    assert bits_of(write_runs, np.zeros((0, 2), np.int64)).tolist() == [0]


def test_missing_runs_beyond_the_chunk_are_refused():
    bits = bits_of(write_runs, np.array([[SAMPLES - 3, 4]]))
    with pytest.raises(CorruptError, match="reach sample 1001 of 1000"):
        read_runs(BitReader(bits, "chunk"), SAMPLES)


def test_an_empty_missing_run_is_refused():
    with pytest.raises(CorruptError, match="one is empty"):
        read_runs(BitReader(bits_of(write_runs, np.array([[5, 0], [9, 1]])), "chunk"), SAMPLES)


def test_events_cut_anywhere_are_refused():
    starts = np.array([-3, 40, 300, 310, 999])
    events = Events(np.array([1, 0, 2, 2, 1], np.int32), np.array([5, 127, 1, 30, 2], np.int32))
    writer = BitWriter()
    write_starts(writer, starts, LENGTH)
    write_events(writer, events, 3)
    write_runs(writer, np.array([[3, 5], [100, 1]]))
    bits = writer.tobits()

    def read(length):
        reader = BitReader(bits[:length], "events")
        n_events = len(read_starts(reader, LENGTH, SAMPLES))
        return read_events(reader, n_events, 3), read_runs(reader, SAMPLES)

    assert len(read(len(bits))[1]) == 2
    for length in range(len(bits)):
        with pytest.raises(TruncatedError):
            read(length)


@given(st.binary(max_size=60), st.integers(1, 5))
@settings(max_examples=300)
def test_any_bytes_give_events_or_a_format_error(content, n_kernels):
    reader = BitReader.from_bytes(content, "events")
    try:
        starts = read_starts(reader, LENGTH, SAMPLES)
        events = read_events(reader, len(starts), n_kernels)
        runs = read_runs(reader, SAMPLES)
    except FormatError:
        return
    assert np.all(np.diff(starts) > 0)
    assert len(events.gains) == len(starts)
    assert events.kernel_ids.max(initial=0) < n_kernels
    assert np.all(runs[:, 1] > 0)
    assert runs.sum(axis=1).max(initial=0) <= SAMPLES
