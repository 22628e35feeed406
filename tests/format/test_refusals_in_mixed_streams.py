"""Files of coder 2 that break one *must* of docs/format.md, or only look as if."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import patch

import numpy as np
import pytest
from both_decoders import accepted, agreed, constant_file, decoder, refused
from format_parts import (
    CODING,
    EVENTS,
    KERNEL_LENGTH,
    N_SAMPLES,
    coded_coding,
    coded_file,
    constant_coding,
    file_of,
    mixed_heads,
    predicted_coding,
    predicted_file,
    write,
)
from test_refusals_in_residuals import SIGNALS, mutated, with_digests

import sancodec
from sancodec.codec import event_mixing
from sancodec.codec.bits import BitWriter
from sancodec.codec.event_mixing import MixedEvents, run_oracle
from sancodec.codec.mixing import RangeCoder
from sancodec.errors import CorruptError, LimitExceededError

FLAT = np.full(5, 7)
CHANNEL = {"per_frame": 1, "minimum": -2047, "maximum": 2047}


@pytest.mark.parametrize("stages", [(33, 0), (0, 257)])
def test_stages_beyond_their_limits(stages: tuple[int, int]) -> None:
    coding = predicted_coding({"stages": stages}, coder=2)
    refused(predicted_file(coding, FLAT, residuals=b"\xff"), "adaptive stages", LimitExceededError)


def test_restart_means_nothing() -> None:
    rows = (1, *[0] * 63)
    coding = predicted_coding({"head": (0, 1, 0, 64, 0), "own": rows}, coder=2)
    parsed = decoder.read_coding(coding, {"channels": [CHANNEL], "n_chunks": 1, "chunk_frames": 99}, [])
    assert parsed.channels[0].layer.restart == 1


def test_bands_that_are_off_take_no_bytes() -> None:
    assert accepted(coded_file(coder=2)) == [[7] * 60]
    refused(coded_file(coder=2, coefficients=b"\0"), "contradicts itself")
    refused(coded_file(coder=2, raw=b"\0"), "events")


def test_bytes_beyond_the_end_of_a_stream_are_zeros_but_few() -> None:
    coding = coded_coding(coder=2, scales=(41, 41))
    refused(coded_file(coder=2, coding=coding, coefficients=b""))
    refused(coded_file(coder=2, coding=coding, coefficients=bytes(200)))


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": "2adu"}, {"prdn": 5.0}], ids=str)
def test_both_decoders_agree_on_any_change_to_a_payload(options: dict) -> None:
    signal = SIGNALS[:2, : 700 if "prdn" in options else 200].astype(np.int16)
    blob = sancodec.compress(signal, sampling_rate_hz=100, level=7, embed_models=True, **options)
    sections = decoder.read_sections(blob)
    assert decoder.Bits(next(payload for kind, payload in sections if kind == CODING)).rice(3)[2] == 2
    assert agreed(with_digests(sections))
    rng = np.random.default_rng(3)
    for _ in range(60):
        changed = mutated(sections, rng)
        try:
            altered = with_digests(changed)
        except Exception:
            altered = file_of(*changed)
        agreed(altered)


@pytest.mark.parametrize("options", [{"max_error": "2adu"}, {"prdn": 5.0}], ids=str)
def test_streams_that_are_cut_or_go_on_are_refused(options: dict) -> None:
    blob = sancodec.compress(
        SIGNALS[:1, :200].astype(np.int16), sampling_rate_hz=100, level=7, embed_models=True, **options
    )
    *before, (kind, chunk) = decoder.read_sections(blob)
    assert decoder.Bits(before[-1][1]).rice(3)[2] == 2
    for changed in (chunk[:-1], chunk[:-3], chunk + b"\0", chunk + b"\x80"):
        refused(file_of(*before, (kind, changed)))


# 20 Events


class Script(RangeCoder):
    """Codes the bits of a script, and zeros after them, whatever it is given."""

    def __init__(self, *bits: int) -> None:
        super().__init__()
        self._bits = iter(bits)

    def bit(self, bit: int, p: int) -> int:
        return super().bit(next(self._bits, 0), p)


def stream_of(starts: list[int], gains: list[int], ids: list[int], n_kernels: int, coder: RangeCoder) -> bytes:
    """One channel's events, up to the first that the package refuses to write."""
    arrays = (np.array(each, np.int64) for each in (starts, gains, ids))
    chunk = MixedEvents(np.array([[len(starts), N_SAMPLES]]), np.array([[0, n_kernels]]), *arrays)
    with patch.object(event_mixing, "RangeCoder", lambda coded: coder), suppress(CorruptError):
        return run_oracle(chunk, None)
    return coder.finish()


def events_file(
    *starts: int,
    gains: tuple[int, ...] = (),
    ids: tuple[int, ...] = (),
    n_kernels: int = 1,
    script: tuple[int, ...] = (),
    after: bytes = b"",
    less: int = 0,
) -> bytes:
    """A file of some events, in a script's bits if there is one; kernels are zeros, so all samples are 7."""
    gains, ids = (each or (0,) * len(starts) for each in (gains, ids))
    raw = stream_of([*starts], [*gains], [*ids], n_kernels, Script(*script) if script else RangeCoder())
    return coded_file(
        coder=2,
        coding=coded_coding(coder=2, n_kernels=n_kernels),
        events=mixed_heads(len(starts), starts[0] if starts else 0),
        raw=raw[: max(len(raw) - less, 0)] + after,
    )


EARLIEST = 1 - KERNEL_LENGTH
SIXTEEN = tuple(range(EARLIEST, EARLIEST + 16))
GAIN_OF_32 = 1, 0  # it is there, and is what was expected


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"starts": (-3, 5, 6)}, {"starts": (-3, 5, 5)}),
        ({"starts": (-3, 5, 6)}, {"starts": (-3, 5, 4)}),
        ({"starts": (-3, 5, N_SAMPLES - 1)}, {"starts": (-3, 5, N_SAMPLES)}),
        ({"starts": (5, 9), "ids": (0, 2), "gains": (3, 3), "n_kernels": 3}, {"ids": (0, 3)}),
        ({"starts": (5, 9), "ids": (0, 63), "gains": (3, 3), "n_kernels": 64}, {"n_kernels": 63}),
        ({"starts": (5, 9), "gains": (0, 127)}, {"gains": (0, 128)}),
        ({"starts": (5,), "script": (*GAIN_OF_32,)}, {"script": (1, 1, 1, *[1] * 5, 0, 0, 0, 0, 0, 0)}),  # 32 less
        ({"starts": (5,), "script": (*GAIN_OF_32,)}, {"script": (1, 1, *[1] * 34)}),
        ({"starts": (5,), "script": (*GAIN_OF_32,)}, {"script": (1, 1, 0, *[1] * 33, 0)}),
        ({"starts": (5, 35), "script": (0,)}, {"script": (1, 0, *[1] * 34)}),  # the expected gap is 28
        ({"starts": (5, 35), "script": (0,)}, {"script": (1, 0, *[1] * 33, 0)}),
    ],
)
def test_events_out_of_their_range(right: dict, wrong: dict) -> None:
    given = right | wrong
    assert accepted(events_file(*right.pop("starts"), **right)) == [[7] * N_SAMPLES]
    refused(events_file(*given.pop("starts"), **given), "events: ")


def test_more_than_sixteen_windows_over_a_sample() -> None:
    assert accepted(events_file(*SIXTEEN)) == [[7] * N_SAMPLES]
    assert accepted(events_file(*SIXTEEN, EARLIEST + KERNEL_LENGTH))
    refused(events_file(*SIXTEEN, EARLIEST + 16), "more than 16 windows", LimitExceededError)


@pytest.mark.parametrize("first", [EARLIEST - 1, N_SAMPLES])
def test_first_start_beyond_the_chunk(first: int) -> None:
    assert accepted(events_file(max(min(first, N_SAMPLES - 1), EARLIEST))) == [[7] * N_SAMPLES]
    refused(events_file(first), "do not reach into the chunk")


MANY = {"gains": (3, 90, 0, 127, 1, 60), "ids": (2, 0, 0, 1, 1, 2), "n_kernels": 3}
STARTS = -3, 5, 6, 20, 21, 59


@pytest.mark.parametrize("after", [b"\0", bytes(3), bytes(99)])
def test_bytes_after_the_last_event(after: bytes) -> None:
    assert accepted(events_file(*STARTS, **MANY)) == [[7] * N_SAMPLES]
    refused(events_file(*STARTS, **MANY, after=after), "events")


def test_missing_bytes_of_events() -> None:
    assert {agreed(events_file(*STARTS, **MANY, less=less)) for less in range(1, 9)} != {True}
    refused(events_file(*STARTS, **MANY, less=99), "events: ")


def test_no_event_takes_no_bytes() -> None:
    assert accepted(events_file()) == [[7] * N_SAMPLES]
    refused(events_file(after=b"\x80"), "events")


def test_events_where_no_lead_group_has_any() -> None:
    fields = {"coding": coded_coding(coder=2, kernel_length=0, n_kernels=0), "events": b"\0"}
    assert accepted(coded_file(coder=2, **fields)) == [[7] * N_SAMPLES]
    refused(coded_file(coder=2, **fields, raw=b"\0"), "no channel has beat kernels")


def test_starts_of_a_lead_group_that_has_constant_channels_only() -> None:
    """They are read, though nothing comes of them."""
    writer = BitWriter()
    write(writer, 2)
    write(writer, 1)
    writer.bits(np.unpackbits(np.frombuffer(EVENTS, np.uint8))[:25])
    coding = constant_coding(head=(0, 1, 2), kernel_lengths=(2, 0))
    chunk = MixedEvents.of([np.array([-1, 3]), np.zeros(0, np.int64)], [5, 10], [], [])
    raw = run_oracle(chunk, None)
    assert raw
    fields = {"coding": coding, "events": writer.tobytes()}
    assert accepted(constant_file(**fields, raw=raw))[1] == [800] * 10
    refused(constant_file(**fields, raw=raw + b"\0"), "events")
    refused(constant_file(**fields), "events")
