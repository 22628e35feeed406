import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.rans import TOTAL, EncodedStream, StreamDecoder, encode_streams, symbol_tables
from sancodec.errors import CorruptError, TruncatedError


def random_frequencies(rng, n_contexts, n_symbols, skew):
    """Rows that sum to TOTAL; some symbols may have frequency 0."""
    share = rng.dirichlet(np.full(n_symbols, skew), n_contexts)
    frequencies = np.floor(share * TOTAL).astype(np.int64)
    frequencies[np.arange(n_contexts), share.argmax(axis=1)] += TOTAL - frequencies.sum(axis=1)
    return frequencies.astype(np.uint16)


def random_symbols(rng, frequencies, contexts):
    slots = rng.integers(0, TOTAL, contexts.shape)
    ends = np.cumsum(frequencies.astype(np.int64), axis=1)
    return (slots[..., None] >= ends[contexts]).sum(axis=-1).astype(np.uint8)


def decoded(streams, tables, contexts, cuts=()):
    decoder = StreamDecoder(streams, tables)
    parts = [decoder.decode(part) for part in np.split(contexts, list(cuts))]
    return np.concatenate(parts), decoder.finish()


def example(seed=0, n_steps=200, lanes=(3, 1, 5)):
    rng = np.random.default_rng(seed)
    frequencies = random_frequencies(rng, 4, 9, 0.7)
    tables = symbol_tables(frequencies)
    lanes = np.array(lanes)
    contexts = rng.integers(0, 4, (n_steps, lanes.sum())).astype(np.uint8)
    symbols = random_symbols(rng, frequencies, contexts)
    payload = rng.integers(0, 2**16, lanes.sum()).astype(np.uint16)
    return contexts, symbols, lanes, payload, tables


@given(
    seed=st.integers(0, 2**32),
    n_contexts=st.integers(1, 6),
    n_symbols=st.integers(1, 20),
    skew=st.sampled_from([0.05, 0.5, 5.0]),
    lanes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    n_steps=st.integers(0, 60),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_symbols_and_payload_come_back(seed, n_contexts, n_symbols, skew, lanes, n_steps, data):
    rng = np.random.default_rng(seed)
    frequencies = random_frequencies(rng, n_contexts, n_symbols, skew)
    tables = symbol_tables(frequencies)
    lanes = np.array(lanes)
    contexts = rng.integers(0, n_contexts, (n_steps, lanes.sum())).astype(np.uint8)
    symbols = random_symbols(rng, frequencies, contexts)
    idle = rng.random(contexts.shape) < 0.2
    contexts[idle], symbols[idle] = tables.identity_context, 0
    payload = rng.integers(0, 2**16, lanes.sum()).astype(np.uint16)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_steps), max_size=3)))
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    after, raw = decoded(streams, tables, contexts, cuts)
    np.testing.assert_array_equal(after, symbols)
    np.testing.assert_array_equal(np.concatenate(raw), payload)
    assert [len(part) for part in raw] == lanes.tolist()


def test_the_identity_context_takes_no_bits():
    _, _, lanes, payload, tables = example()
    contexts = np.full((500, lanes.sum()), tables.identity_context, np.uint8)
    streams = encode_streams(contexts, np.zeros_like(contexts), lanes, payload, tables)
    assert [len(stream.words) for stream in streams] == [0, 0, 0]
    assert np.concatenate([stream.states for stream in streams]).tolist() == (payload.astype(int) + 2**16).tolist()


def test_a_stream_takes_little_more_than_its_entropy():
    rng = np.random.default_rng(3)
    frequencies = random_frequencies(rng, 4, 17, 0.5)
    tables = symbol_tables(frequencies)
    contexts = rng.integers(0, 4, (20_000, 2)).astype(np.uint8)
    symbols = random_symbols(rng, frequencies, contexts)
    payload = np.zeros(2, np.uint16)
    (stream,) = encode_streams(contexts, symbols, np.array([2]), payload, tables)
    entropy = -np.log2(frequencies[contexts, symbols] / TOTAL).sum()
    bits = 16 * len(stream.words) + 32 * len(stream.states)
    assert entropy < bits + 32
    assert bits < 1.001 * entropy + 64


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_stream_that_lacks_its_last_word_is_refused(which):
    contexts, symbols, lanes, payload, tables = example()
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    streams[which] = EncodedStream(streams[which].states, streams[which].words[:-1])
    with pytest.raises(TruncatedError):
        decoded(streams, tables, contexts)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_stream_with_a_word_too_many_is_refused(which):
    contexts, symbols, lanes, payload, tables = example()
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    streams[which] = EncodedStream(streams[which].states, np.append(streams[which].words, np.uint16(7)))
    with pytest.raises(CorruptError):
        decoded(streams, tables, contexts)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_stream_without_words_is_refused(which):
    contexts, symbols, lanes, payload, tables = example()
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    streams[which] = EncodedStream(streams[which].states, streams[which].words[:0])
    with pytest.raises(TruncatedError):
        decoded(streams, tables, contexts)


def test_a_state_below_the_lower_bound_is_refused():
    contexts, symbols, lanes, payload, tables = example()
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    streams[1].states[0] = 2**16 - 1
    with pytest.raises(CorruptError, match="lower bound"):
        StreamDecoder(streams, tables)


def test_a_lane_that_does_not_end_in_an_initial_state_is_refused():
    contexts, symbols, lanes, payload, tables = example(n_steps=1)
    streams = encode_streams(contexts, symbols, lanes, payload, tables)
    streams[0].states[0] = 2**32 - 1
    with pytest.raises(CorruptError):
        decoded(streams, tables, contexts)


def test_frequencies_that_do_not_add_up_are_refused():
    with pytest.raises(CorruptError, match="4096"):
        symbol_tables(np.array([[4000, 95]], np.uint16))


@given(states=st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), words=st.binary(max_size=30))
@settings(deadline=None)
def test_any_states_and_words_give_symbols_or_a_format_error(states, words):
    contexts, _, _, _, tables = example(n_steps=12, lanes=(3,))
    words = np.frombuffer(words[: len(words) // 2 * 2], "<u2")
    try:
        symbols, _ = decoded([EncodedStream(np.array(states, np.uint32), words)], tables, contexts)
    except (CorruptError, TruncatedError):
        return
    assert symbols.shape == contexts.shape
