"""Interleaved range asymmetric numeral systems (rANS), many streams at once.

A stream has ``lanes`` coders that take turns; they share one sequence of 16-bit words (docs/format.md,
"Class coder"). All streams of a file advance together, one array operation per step, so pure NumPy is fast.
Source: J. Duda, arXiv:1311.2540; F. Giesen, arXiv:1402.3392.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError

PROBABILITY_BITS = 12
TOTAL = 1 << PROBABILITY_BITS
LOWER_BOUND = 1 << 16
MAX_STEPS = 1 << 17
_WORD_BITS = 16
_MAX_FILLED_UP = 1 << 22
_FEW_LANES = 24
_TOO_FEW_WORDS = "class coder: a stream needs more words than it has"


@dataclass(frozen=True, eq=False)
class SymbolTables:
    """Static frequencies of every context, flattened for look-up.

    The last context is the identity: it has one symbol of probability 1 and leaves the coder's state alone;
    positions where a lane has nothing to code use it.

    Parameters
    ----------
    frequency, start
        int64, shape ``(context * n_symbols,)``.
    slot_symbol
        uint8, shape ``(context * TOTAL,)``.
    """

    n_symbols: int
    n_contexts: int
    frequency: NDArray[np.int64]
    start: NDArray[np.int64]
    slot_symbol: NDArray[np.uint8]

    @property
    def identity_context(self) -> int:
        return self.n_contexts - 1

    @property
    def for_decoding(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int]:
        """What the native core takes."""
        return self.slot_symbol, self.frequency, self.start, self.n_symbols

    @cached_property
    def slot_frequency(self) -> NDArray[np.int64]:
        """Frequency of the symbol at each slot, shape ``(context * TOTAL,)``."""
        return self.frequency[self._symbol_at_slot]

    @cached_property
    def slot_bias(self) -> NDArray[np.int64]:
        """Slot less the start of its symbol, same shape."""
        return np.tile(np.arange(TOTAL), self.n_contexts) - self.start[self._symbol_at_slot]

    @property
    def _symbol_at_slot(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.n_contexts) * self.n_symbols, TOTAL) + self.slot_symbol


def symbol_tables(frequencies: NDArray[np.uint16]) -> SymbolTables:
    """Build look-up tables from ``(context, symbol)`` frequencies; every row must sum to TOTAL."""
    n_contexts, n_symbols = frequencies.shape
    rows = np.zeros((n_contexts + 1, n_symbols), np.int64)
    rows[:-1] = frequencies
    rows[-1, 0] = TOTAL
    if np.any(rows.sum(axis=1) != TOTAL):
        raise CorruptError(f"class tables: the frequencies of a class do not sum to {TOTAL}")
    start = np.cumsum(rows, axis=1) - rows
    slots = np.tile(np.arange(n_symbols), n_contexts + 1)
    slot_symbol = np.repeat(slots, rows.ravel()).astype(np.uint8)
    return SymbolTables(n_symbols, n_contexts + 1, rows.ravel(), start.ravel(), slot_symbol)


def groups_of_like_depth(steps: Sequence[int], lanes: Sequence[int]) -> list[list[int]]:
    """Indices of streams that are decoded together: filling up the shorter ones must not cost much memory.

    Raises
    ------
    LimitExceededError
        When a stream has so few lanes that decoding would take for ever.
    """
    if max(steps, default=0) > MAX_STEPS:
        raise LimitExceededError(f"class coder: {max(steps)} symbols for a lane; at most {MAX_STEPS} are allowed")
    groups: list[list[int]] = []
    n_lanes, used = 0, 0
    for index in sorted(range(len(steps)), key=lambda index: (-steps[index], index)):
        if not groups or steps[groups[-1][0]] * (n_lanes + lanes[index]) > 4 * (used + steps[index] * lanes[index]) + (
            _MAX_FILLED_UP
        ):
            groups.append([])
            n_lanes, used = 0, 0
        groups[-1].append(index)
        n_lanes += lanes[index]
        used += steps[index] * lanes[index]
    return [sorted(group) for group in groups]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedStream:
    """One stream: uint32 ``states`` per lane as the decoder starts, uint16 ``words`` in the order they are read."""

    states: NDArray[np.uint32]
    words: NDArray[np.uint16]


def encode_streams(
    contexts: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
    lanes: NDArray[np.int64],
    payload: NDArray[np.uint16],
    tables: SymbolTables,
) -> list[EncodedStream]:
    """Encode all streams together.

    Parameters
    ----------
    contexts, symbols
        uint8, shape ``(step, lane of all streams)``, in decoding order.
    lanes
        Number of lanes of each stream; their sum is the second axis.
    payload
        uint16, shape ``(lane of all streams,)``: raw bits that ride in the initial states.
    """
    if native.core is not None:
        return _encode_natively(contexts, symbols, lanes, payload, tables)
    index = contexts.astype(np.int64) * tables.n_symbols + symbols
    frequency, start = tables.frequency[index], tables.start[index]
    # x // f for x < 2**32 and f <= 2**12 is exact in float64 division after truncation.
    limit = frequency << (32 - PROBABILITY_BITS)
    state = LOWER_BOUND + payload.astype(np.int64)
    n_steps, n_lanes = contexts.shape
    emitted = np.zeros((n_steps, n_lanes), bool)
    words = np.zeros((n_steps, n_lanes), np.uint16)
    quotient = np.empty(n_lanes, np.int64)
    remainder = np.empty(n_lanes, np.int64)
    for step in range(n_steps - 1, -1, -1):
        full = state >= limit[step]
        emitted[step] = full
        words[step] = state & 0xFFFF
        state >>= np.where(full, _WORD_BITS, 0)
        np.divmod(state, frequency[step], out=(quotient, remainder))
        state = (quotient << PROBABILITY_BITS) + remainder + start[step]
    ends = np.cumsum(lanes)
    streams = []
    for first, last in zip(ends - lanes, ends, strict=True):
        taken = emitted[:, first:last]
        streams.append(EncodedStream(state[first:last].astype(np.uint32), words[:, first:last][taken]))
    return streams


def _encode_natively(
    contexts: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
    lanes: NDArray[np.int64],
    payload: NDArray[np.uint16],
    tables: SymbolTables,
) -> list[EncodedStream]:
    assert native.core is not None
    states = LOWER_BOUND + payload.astype(np.uint32)
    words, counts = np.empty(contexts.size, np.uint16), np.empty(len(lanes), np.int64)
    native.core.rans_encode(
        np.ascontiguousarray(contexts),
        np.ascontiguousarray(symbols),
        lanes,
        states,
        words,
        counts,
        tables.frequency,
        tables.start,
        tables.n_symbols,
    )
    edges = np.cumsum(lanes)[:-1]
    ends = np.cumsum(counts)
    return [
        EncodedStream(of_lanes, words[end - count : end])
        for of_lanes, end, count in zip(np.split(states, edges), ends.tolist(), counts.tolist(), strict=True)
    ]


class StreamDecoder:
    """Decodes all streams together, some steps at a time, since contexts depend on what came before."""

    def __init__(self, streams: list[EncodedStream], tables: SymbolTables) -> None:
        self._tables = tables
        self._lanes = np.array([len(stream.states) for stream in streams], np.int64)
        self._state = np.concatenate([stream.states for stream in streams]).astype(np.int64)
        if np.any(self._state < LOWER_BOUND):
            raise CorruptError("class coder: a lane starts below its lower bound")
        counts = np.array([len(stream.words) for stream in streams], np.int64)
        self._word_ends = np.cumsum(counts)
        self._next_word = self._word_ends - counts
        # One spare word, so that reading past the end is found after the step instead of in it.
        self._words = np.concatenate([*(stream.words for stream in streams), np.zeros(1, np.uint16)])
        self._stream_of_lane = np.repeat(np.arange(len(streams)), self._lanes)
        self._first_lane = np.cumsum(self._lanes) - self._lanes

    def decode(self, contexts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Decode ``(step, lane of all streams)`` symbols in the given contexts.

        Raises
        ------
        TruncatedError
            When a stream has fewer words than its symbols need.
        """
        if native.core is not None:
            return self._decode_natively(contexts)
        if contexts.shape[1] <= _FEW_LANES:
            return self._decode_few(contexts)
        tables, state, words = self._tables, self._state, self._words
        last_word = len(words) - 1
        offsets = contexts.astype(np.int64) * TOTAL
        slots = np.empty(contexts.shape, np.int64)
        for step in range(len(contexts)):
            slot = offsets[step] + (state & (TOTAL - 1))
            slots[step] = slot
            state = tables.slot_frequency[slot] * (state >> PROBABILITY_BITS) + tables.slot_bias[slot]
            hungry = state < LOWER_BOUND
            rank = np.cumsum(hungry)
            before = rank[self._first_lane] - hungry[self._first_lane]
            position = self._next_word[self._stream_of_lane] + rank - 1 - before[self._stream_of_lane]
            refill = (state << _WORD_BITS) | words[np.minimum(position, last_word) * hungry]
            state = np.where(hungry, refill, state)
            self._next_word += np.add.reduceat(hungry, self._first_lane, dtype=np.int64)
        self._state = state
        if np.any(self._next_word > self._word_ends):
            raise TruncatedError(_TOO_FEW_WORDS)
        return tables.slot_symbol[slots]

    def _decode_natively(self, contexts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert native.core is not None
        symbols = np.empty(contexts.shape, np.uint8)
        is_short = native.core.rans_decode(
            np.ascontiguousarray(contexts),
            self._lanes,
            self._state,
            self._words,
            self._next_word,
            self._word_ends,
            *self._tables.for_decoding,
            symbols,
        )
        if is_short:
            raise TruncatedError(_TOO_FEW_WORDS)
        return symbols

    def decode_band(
        self, first_stream: int, activity: NDArray[np.uint8], is_active: NDArray[np.bool_], first_context: int
    ) -> NDArray[np.uint8]:
        """With the native core: a band of streams of as many lanes each, window w by lane w mod lanes.

        Parameters
        ----------
        first_stream
            From it on, the streams are consecutive.
        activity
            uint8, shape ``(stream, window)``; the context less ``first_context``.
        is_active
            bool, shape ``(stream,)``: whether the band is on.

        Raises
        ------
        TruncatedError
            When a stream has fewer words than its symbols need.
        """
        assert native.core is not None
        symbols = np.empty(activity.shape, np.uint8)
        streams = slice(first_stream, first_stream + len(activity))
        n_lanes, first_lane = int(self._lanes[first_stream]), int(self._first_lane[first_stream])
        is_short = native.core.rans_decode_band(
            activity,
            np.ascontiguousarray(is_active),
            activity.shape[1],
            n_lanes,
            first_context,
            self._state[first_lane : first_lane + len(activity) * n_lanes],
            self._words,
            self._next_word[streams],
            self._word_ends[streams],
            *self._tables.for_decoding,
            symbols,
        )
        if is_short:
            raise TruncatedError(_TOO_FEW_WORDS)
        return symbols

    def _decode_few(self, contexts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`decode`, symbol after symbol: with few lanes, plain integers are faster than short arrays."""
        tables = self._tables
        slot_symbol = tables.slot_symbol.data
        slot_frequency, slot_bias = tables.slot_frequency.data, tables.slot_bias.data
        result = np.empty(contexts.shape, np.uint8)
        for stream, (first, n_lanes) in enumerate(zip(self._first_lane.tolist(), self._lanes.tolist(), strict=True)):
            lanes = slice(first, first + n_lanes)
            states = self._state[lanes].tolist()
            position, end = int(self._next_word[stream]), int(self._word_ends[stream])
            words = self._words[position : end + 1].tolist()
            taken = 0
            symbols = bytearray()
            for row in contexts[:, lanes].tolist():
                for lane, context in enumerate(row):
                    state = states[lane]
                    slot = context * TOTAL + (state & (TOTAL - 1))
                    state = slot_frequency[slot] * (state >> PROBABILITY_BITS) + slot_bias[slot]
                    if state < LOWER_BOUND:
                        if taken >= end - position:
                            raise TruncatedError(_TOO_FEW_WORDS)
                        state = state << _WORD_BITS | words[taken]
                        taken += 1
                    states[lane] = state
                    symbols.append(slot_symbol[slot])
            self._state[lanes] = states
            self._next_word[stream] += taken
            result[:, lanes] = np.frombuffer(symbols, np.uint8).reshape(-1, n_lanes)
        return result

    def finish(self) -> list[NDArray[np.uint16]]:
        """The raw bits that rode in the initial states, per stream.

        Raises
        ------
        CorruptError
            When a stream has words left or a lane does not end where an encoder starts.
        """
        if np.any(self._next_word != self._word_ends):
            raise CorruptError("class coder: a stream has words left after its last symbol")
        if np.any(self._state >= 2 * LOWER_BOUND) or np.any(self._state < LOWER_BOUND):
            raise CorruptError("class coder: a lane does not end in an initial state")
        payload = (self._state - LOWER_BOUND).astype(np.uint16)
        return np.split(payload, np.cumsum(self._lanes)[:-1])
