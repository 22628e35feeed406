import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.beats import MAX_GAIN, Events
from sancodec.codec.event_mixing import N_PRIOR, MixedEvents, run_native, run_oracle, shipped_prior
from sancodec.codec.native import core
from sancodec.errors import CorruptError

needs_core = pytest.mark.skipif(not hasattr(core, "event_mixing"), reason="the native core is not built")
ENGINES = [pytest.param(run_native, marks=needs_core, id="core"), pytest.param(run_oracle, id="Python")]
FEW_BYTES = b"", b"\x80", bytes(4), b"\xff" * 9, b"\x80" + bytes(4)


def starts_of(rng, n, *, is_random):
    """A steady rhythm with early beats and pauses after them, or gaps of every size."""
    if is_random:
        return np.cumsum((2 ** rng.uniform(0, 14, n)).astype(np.int64)) - 9
    gaps = rng.normal(300, 12, n)
    early = np.flatnonzero(rng.random(n) < 0.1)
    gaps[early] -= 110
    gaps[np.minimum(early + 1, n - 1)] += 100
    return np.cumsum(np.maximum(np.rint(gaps), 1).astype(np.int64)) - 40


def events_of(rng, n, n_kernels, *, is_random):
    """Kernels that follow each other with gains near one of their own, or anything."""
    if is_random:
        gains, ids = rng.integers(0, MAX_GAIN + 1, n), rng.integers(0, n_kernels, n)
    else:
        ids = np.where(rng.random(n) < 0.8, 0, rng.integers(0, n_kernels, n))
        gains = np.clip(rng.integers(20, 110, n_kernels)[ids] + np.rint(rng.normal(0, 3, n)), 0, MAX_GAIN)
        gains[rng.random(n) < 0.05] = 0
    return Events((ids * (gains > 0)).astype(np.int32), gains.astype(np.int32))


def chunk_of(seed, *, is_random=False, n_events=(60, 0, 25, 1), channels=((0, 1), (0, 2), (2, 5), (0, 64), (3, 9))):
    """Lead groups of so many events; ``channels`` are a lead group and a number of kernels each."""
    rng = np.random.default_rng(seed)
    starts = [starts_of(rng, n, is_random=is_random) for n in n_events]
    n_samples = [int(each[-1]) + 1 + int(rng.integers(500)) if len(each) else 99 for each in starts]
    events = [events_of(rng, n_events[group], n_kernels, is_random=is_random) for group, n_kernels in channels]
    return MixedEvents.of(starts, n_samples, channels, events)


def bare(chunk):
    """What a decoder is given."""
    starts = [np.where(np.arange(len(each)), 0, each) for each in chunk.starts_of_groups()]
    nothing = np.zeros_like(chunk.gains)
    return replace(chunk, starts=np.concatenate(starts), gains=nothing, kernels=nothing.copy())


def values(chunk):
    return chunk.starts.tolist(), chunk.gains.tolist(), chunk.kernels.tolist()


def copied(chunk):
    return replace(chunk, starts=chunk.starts.copy(), gains=chunk.gains.copy(), kernels=chunk.kernels.copy())


def found(run, chunk, coded):
    """What a decoder finds, or None."""
    chunk = bare(chunk)
    try:
        run(chunk, coded)
    except CorruptError:
        return None
    return values(chunk)


def assert_both_agree(chunk):
    coded = run_native(copied(chunk), None)
    assert coded == run_oracle(copied(chunk), None)
    assert found(run_native, chunk, coded) == found(run_oracle, chunk, coded) == values(chunk)
    return coded


@needs_core
@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_core_and_oracle_write_the_same_and_read_it_back(seed, is_random):
    assert_both_agree(chunk_of(seed, is_random=is_random))


@needs_core
@pytest.mark.parametrize("n_kernels", [1, 2, 3, 4, 5, 8, 9, 33, 64])
def test_any_number_of_kernels(n_kernels):
    channels = [(0, n_kernels), (1, n_kernels), (0, n_kernels)]
    for is_random in (False, True):
        assert_both_agree(chunk_of(n_kernels, is_random=is_random, n_events=(40, 40), channels=channels))


@needs_core
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, 1 << 27), max_size=9), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 7, 64])), max_size=4),
    st.integers(-8191, 100),
    st.data(),
)
def test_any_events_come_back(gaps, channels, first, data):
    starts = [np.cumsum([first, *each]).astype(np.int64)[: len(each)] for each in gaps]
    n_samples = [max([101, *(each + 1).tolist()]) for each in starts]
    channels = [(group % len(gaps), n_kernels) for group, n_kernels in channels]
    events = []
    for group, n_kernels in channels:
        n = len(starts[group])
        gains = np.array(data.draw(st.lists(st.integers(0, MAX_GAIN), min_size=n, max_size=n)), np.int32)
        ids = np.array(data.draw(st.lists(st.integers(0, n_kernels - 1), min_size=n, max_size=n)), np.int32)
        events.append(Events(ids * (gains > 0), gains))
    assert_both_agree(MixedEvents.of(starts, n_samples, channels, events))


@needs_core
def test_the_ends_of_all_ranges():
    starts = np.cumsum(np.tile([1, 1 << 24], 8)) - 8191
    gains = np.tile([1, 0, MAX_GAIN, 0, 0, MAX_GAIN, 1, 1], 2).astype(np.int32)
    ids = np.where(gains > 0, np.tile([63, 0], 8), 0).astype(np.int32)
    assert_both_agree(MixedEvents.of([starts], [1 << 28], [(0, 64), (0, 64)], [Events(ids, gains)] * 2))
    assert_both_agree(MixedEvents.of([starts[:0]], [1], [(0, 64)], [Events.none(0)]))


@pytest.mark.parametrize("run", ENGINES)
def test_nothing_takes_no_bytes(run):
    assert run(chunk_of(1, n_events=(0, 0), channels=[(1, 3)]), None) == b""
    assert run(chunk_of(1, n_events=(1,), channels=[]), None) == b""


def test_a_steady_rhythm_takes_next_to_nothing():
    steady = Events(np.zeros(1000, np.int32), np.full(1000, 31, np.int32))
    assert len(MixedEvents.of([300 * np.arange(1000)], [300_000], [(0, 1)], [steady]).run()) < 30


def test_a_second_channel_with_the_same_events_takes_less():
    starts, n_samples, rng = 300 * np.arange(200), [60_000], np.random.default_rng(0)
    events = events_of(rng, 200, 4, is_random=False)
    one, two = (len(MixedEvents.of([starts], n_samples, [(0, 4)] * n, [events] * n).run()) for n in (1, 2))
    assert two - one < 0.7 * one


@needs_core
@pytest.mark.parametrize("is_random", [False, True])
def test_cut_streams_are_refused_or_mean_something_else_to_both_alike(is_random):
    chunk = chunk_of(2, is_random=is_random, n_events=(20, 9), channels=[(0, 3), (1, 20), (0, 1)])
    coded = run_native(copied(chunk), None)
    for changed in [*(coded[:n] for n in range(len(coded))), coded + b"\0", coded + b"\x80", coded + coded]:
        one = found(run_native, chunk, changed)
        assert one == found(run_oracle, chunk, changed)
        assert one != values(chunk)


@needs_core
@pytest.mark.parametrize("is_random", [False, True])
def test_altered_streams_are_refused_or_mean_something_else_to_both_alike(is_random):
    rng = np.random.default_rng(5)
    chunk = chunk_of(3, is_random=is_random, n_events=(20, 9), channels=[(0, 3), (1, 20), (0, 1)])
    coded = run_native(copied(chunk), None)
    for _ in range(150):
        changed = bytearray(coded)
        changed[rng.integers(len(coded))] ^= 1 << rng.integers(8)
        one = found(run_native, chunk, bytes(changed))
        assert one == found(run_oracle, chunk, bytes(changed))
        assert one != values(chunk) or changed[:-1] == coded[:-1]


@needs_core
@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=40), st.integers(0, 9))
def test_core_and_oracle_agree_on_anything(coded, n_events):
    chunk = chunk_of(n_events, n_events=(n_events, 3), channels=[(0, 3), (1, 20), (0, 1)])
    assert found(run_native, chunk, coded) == found(run_oracle, chunk, coded)


@pytest.mark.parametrize("run", ENGINES)
@pytest.mark.parametrize("coded", FEW_BYTES, ids=bytes.hex)
def test_many_events_in_few_bytes_are_refused_at_once(run, coded):
    n = 1 << 20
    nothing = np.zeros(2 * n, np.int64)
    groups, channels = np.array([[n, 8 * n]]), np.array([[0, 64], [0, 64]])
    begin = time.process_time()
    with pytest.raises(CorruptError):
        run(MixedEvents(groups, channels, nothing[:n].copy(), nothing, nothing.copy()), coded)
    assert time.process_time() - begin < 10


@pytest.mark.parametrize("run", ENGINES)
def test_what_is_out_of_range_is_refused(run):
    chunk = chunk_of(4, n_events=(9,), channels=[(0, 3)])
    first = int(np.flatnonzero(chunk.gains)[0])
    for name, at, value in (("starts", 1, chunk.starts[0]), ("starts", 8, 10**5), ("gains", first, MAX_GAIN + 1)):
        changed = copied(chunk)
        getattr(changed, name)[at] = value
        with pytest.raises(CorruptError):
            run(changed, None)
    changed = copied(chunk)
    changed.kernels[first] = 3
    with pytest.raises(CorruptError):
        run(changed, None)


@needs_core
@pytest.mark.parametrize(
    "change",
    [
        {"groups": np.array([[10, 9000]])},
        {"groups": np.array([[-1, 9000]])},
        {"groups": np.array([[9, -1]])},
        {"groups": np.array([[9, 1 << 40]])},
        {"groups": np.zeros((0, 2), np.int64)},
        {"channels": np.array([[1, 3]])},
        {"channels": np.array([[-1, 3]])},
        {"channels": np.array([[0, 0]])},
        {"channels": np.array([[0, 65]])},
        {"channels": np.array([[0, 3], [0, 3]])},
    ],
    ids=str,
)
def test_the_core_refuses_counts_that_its_arrays_do_not_have(change):
    chunk = replace(chunk_of(4, n_events=(9,), channels=[(0, 3)]), **change)
    for coded in (None, b"\x80"):
        with pytest.raises(CorruptError):
            run_native(copied(chunk), coded)


def test_the_prior_has_its_size():
    assert len(shipped_prior()) == N_PRIOR
