"""Events that recordings seldom have, from the package's writers into the decoders written from docs/format.md."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from both_decoders import decoder, documented
from test_streams_of_specification import random_kernels

from sancodec.codec import payload
from sancodec.codec.beats import Events
from sancodec.codec.event_stream import ChunkEvents, Exceptions
from sancodec.codec.lattice import Lattice
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import FormatError

N_SAMPLES, KERNEL_LENGTHS = 20_000, [30, 0, 50]


def random_events(seed: int, *, n_kernels: tuple[int, int, int, int]) -> tuple[ChunkEvents, list[ChannelCoding]]:
    """Four channels in three lead groups, the second without events; the second and third channel have lattices."""
    rng = np.random.default_rng(seed)
    n_events = [int(rng.integers(0, 9)), 0, int(rng.integers(1, 90))]
    starts = [np.cumsum(rng.integers(1, 40, n)) - length for n, length in zip(n_events, KERNEL_LENGTHS, strict=True)]
    kernels = [random_kernels(rng, n_kernels=n, length=4, exponent=0) for n in n_kernels]
    codings = [ChannelCoding(0, 0, 1, group, kernels=each) for group, each in zip((0, 1, 2, 2), kernels, strict=True)]
    codings[1:3] = [replace(coding, lattice=Lattice(3, 1, False)) for coding in codings[1:3]]
    events, runs, exceptions = [], [], []
    for coding in codings:
        n_off = seed if coding.lattice else 0
        exceptions.append(
            Exceptions(np.sort(rng.choice(N_SAMPLES, n_off, replace=False)), rng.integers(-(2**31), 2**31, n_off))
        )
        n = n_events[coding.lead_group]
        drift = np.clip(60 + np.cumsum(rng.integers(-1, 2, n)), 0, 127)
        gains = drift if seed % 2 else rng.integers(0, 128, n) * (rng.random(n) < 0.7)
        ids = rng.integers(0, max(coding.kernels.n_kernels, 1), n) * (gains > 0)
        events.append(Events(ids.astype(np.int32), gains.astype(np.int32)))
        runs.append(np.stack([np.arange(seed) * 900, rng.integers(1, 800, seed)], axis=1))
    return ChunkEvents(starts, events, runs, exceptions), codings


def segment_of(codings: list[ChannelCoding], *, coder: int) -> SimpleNamespace:
    """What the strict decoder reads of CODING."""
    channels = [
        SimpleNamespace(
            group=coding.lead_group, lattice=coding.lattice, cascade=SimpleNamespace(kernels=coding.kernels.weights)
        )
        for coding in codings
    ]
    return SimpleNamespace(channels=channels, kernel_lengths=KERNEL_LENGTHS, coder=coder)


@pytest.mark.parametrize("seed", range(12))
def test_events_with_several_kernels_gains_of_zero_and_both_gain_forms(seed: int) -> None:
    chunk, codings = random_events(seed, n_kernels=(3, 0, 1, 2))
    content = payload.encode_events(chunk, codings, KERNEL_LENGTHS)
    found_starts, found = decoder.read_events(content, segment_of(codings, coder=1), [N_SAMPLES] * 4)
    for each, expected in zip(found_starts, chunk.starts, strict=True):
        np.testing.assert_array_equal(each, expected)
    for (spans, ids, gains, off), each, of_channel, expected, coding in zip(
        found, chunk.runs, chunk.events, chunk.exceptions, codings, strict=True
    ):
        np.testing.assert_array_equal(off, [expected.positions, expected.differences])
        np.testing.assert_array_equal(spans, np.stack([each[:, 0], each.sum(axis=1)], axis=1))
        np.testing.assert_array_equal(gains, of_channel.gains if coding.kernels.n_kernels else [])
        np.testing.assert_array_equal(ids, of_channel.kernel_ids if coding.kernels.n_kernels else [])


Played = tuple[list[list[int]], list[tuple[list[int], list[int]]]]


def strictly_read(events: bytes, mixed: bytes, codings: list[ChannelCoding]) -> Played:
    """Starts of lead groups, and kernels and gains of channels with kernels."""
    segment = segment_of(codings, coder=2)
    firsts, _ = decoder.read_events(events, segment, [N_SAMPLES] * 4)
    starts, played = decoder.read_mixed_events(mixed, segment, firsts, [N_SAMPLES] * 4)
    used = [each for each, coding in zip(played, codings, strict=True) if coding.kernels.n_kernels]
    return [each.tolist() for each in starts], [(ids.tolist(), gains.tolist()) for ids, gains in used]


def read_by_documented(events: bytes, mixed: bytes, codings: list[ChannelCoding]) -> Played:
    plain = [
        SimpleNamespace(n=N_SAMPLES, group=c.lead_group, lattice=c.lattice, is_coded=1, kernels=list(c.kernels.weights))
        for c in codings
    ]
    segment = documented.Segment.__new__(documented.Segment)
    segment.channels, segment.kernel_lengths = plain, np.array(KERNEL_LENGTHS)
    segment.read_events(documented.Bits(events), documented.Events(mixed))
    starts = [next(c.starts.tolist() for c in plain if c.group == group) for group in range(3)]
    return starts, [(list(c.kernel_of), list(c.gains)) for c in plain if c.kernels]


def read_by_package(events: bytes, mixed: bytes, codings: list[ChannelCoding]) -> Played:
    lengths = KERNEL_LENGTHS, [N_SAMPLES] * 3, [N_SAMPLES] * 4
    chunk = payload.decode_events(events, mixed, codings, *lengths, "chunk 0")
    used = [each for each, coding in zip(chunk.events, codings, strict=True) if coding.kernels.n_kernels]
    return [each.tolist() for each in chunk.starts], [(e.kernel_ids.tolist(), e.gains.tolist()) for e in used]


@pytest.mark.parametrize("seed", range(12))
def test_mixed_events_with_many_kernels_and_gains_of_zero(seed: int) -> None:
    chunk, codings = random_events(seed, n_kernels=(64, 0, 6, 9))
    content = payload.encode_mixed_events(chunk, codings, KERNEL_LENGTHS, [N_SAMPLES] * 3)
    used = [each for each, coding in zip(chunk.events, codings, strict=True) if coding.kernels.n_kernels]
    expected = [e.tolist() for e in chunk.starts], [(e.kernel_ids.tolist(), e.gains.tolist()) for e in used]
    for read in (read_by_package, strictly_read, read_by_documented):
        assert read(*content, codings) == expected


@pytest.mark.parametrize("seed", range(1, 5))
def test_altered_mixed_events_are_the_same_to_both_or_refused_by_both(seed: int) -> None:
    chunk, codings = random_events(seed, n_kernels=(3, 0, 1, 5))
    events, mixed = payload.encode_mixed_events(chunk, codings, KERNEL_LENGTHS, [N_SAMPLES] * 3)
    rng, n_accepted = np.random.default_rng(seed), 0
    for _ in range(40):
        altered = bytearray(mixed)
        altered[int(len(mixed) * rng.random() ** 0.3)] ^= 1 << int(rng.integers(8))
        try:
            expected = read_by_package(events, bytes(altered), codings)
        except FormatError:
            with pytest.raises(ValueError, match="breaks the format"):
                strictly_read(events, bytes(altered), codings)
            continue
        assert strictly_read(events, bytes(altered), codings) == expected
        n_accepted += 1
    assert n_accepted
