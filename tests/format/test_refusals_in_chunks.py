"""Chunks that break one *must* of docs/format.md, or only look as if they did."""

from __future__ import annotations

import pytest
from both_decoders import accepted, constant_file, decoder, refused
from format_parts import coded_coding, coded_events, coded_file, constant_coding

from sancodec.codec.bits import BitReader
from sancodec.errors import FormatError

# 1.5 Rice lists


def test_rice_parameter_31_and_numbers_of_more_than_32_bits_are_refused() -> None:
    for bits in ("11111" + "0" + "0" * 31, "11110" + "11110" + "0" * 30):
        content = int(bits.ljust(48, "0"), 2).to_bytes(6, "big")
        with pytest.raises(FormatError):
            BitReader.from_bytes(content, "list").rice(1)
        with pytest.raises(ValueError, match=r"Rice|numbers up to"):
            decoder.Bits(content).rice(1)
    largest = int(("11110" + "1110" + "1" * 30).ljust(48, "0"), 2).to_bytes(6, "big")
    assert BitReader.from_bytes(largest, "list").rice(1) == [2**32 - 1] == decoder.Bits(largest).rice(1)


# 6 CHUNK


def test_16_windows_may_hold_a_sample_and_no_more() -> None:
    accepted(coded_file(events=coded_events(starts=(*range(16), 20))))
    refused(coded_file(events=coded_events(starts=(*range(16), 19))), "more than 16 windows")
    refused(coded_file(events=coded_events(starts=tuple(range(17)))), "more than 16 windows")


@pytest.mark.parametrize("starts", [(3, 3), (5, 4), (-20,), (60,), (-21, 0)])
def test_starts_that_do_not_increase_or_do_not_reach_the_chunk_are_refused(starts: tuple) -> None:
    accepted(coded_file(events=coded_events(starts=(-19, 59))))
    if starts[0] >= -20:
        refused(coded_file(events=coded_events(starts=starts)), "positions")


@pytest.mark.parametrize("runs", [((0, 0),), ((59, 2),), ((0, 61),), ((60, 1),), ((0, 30), (30, 1))])
def test_missing_runs_that_leave_the_chunk_or_are_empty_are_refused(runs: tuple) -> None:
    refused(coded_file(events=coded_events(runs=runs)), "missing runs")


def test_gain_above_127_is_refused() -> None:
    accepted(coded_file(events=coded_events(starts=(5,), gain=127)))
    refused(coded_file(events=coded_events(starts=(5,), gain=128)), "gains")


# 8 and 9 coefficients


def test_frames_of_every_layout() -> None:
    accepted(coded_file(layout=1, frames=(b"\0\0",)))
    accepted(coded_file(layout=2, frames=(b"\0", b"\0")))


@pytest.mark.parametrize(
    ("layout", "frames"),
    [(0, (b"\0",)), (0, (b"\0\0\0",)), (1, (b"\0",)), (2, (b"\0\0", b"\0")), (2, (b"\0",)), (3, (b"\0\0",))],
)
def test_frame_with_other_bands_than_its_own_is_refused(layout: int, frames: tuple[bytes, ...]) -> None:
    refused(coded_file(layout=layout, frames=frames))


@pytest.mark.parametrize("tokens", [b"\xf1\0\0", b"\x10\x10\1\0\0", b"\x10\0\0", b"\0\0\1", b"\0" * 3])
def test_reserved_tokens_and_long_runs_at_the_end_are_refused(tokens: bytes) -> None:
    refused(coded_file(frames=(tokens,), raw=b"\0"))


def test_tail_bits_after_the_last_coefficient_are_refused() -> None:
    for coder in (0, 1):
        refused(coded_file(coder=coder, raw=b"\0"), "more follows")


@pytest.mark.parametrize("coefficients", [b"", b"\0", b"\0\0\0", pytest.param(b"\0\1\5\5"), b"\1\0\0\0\1\0"])
def test_channel_without_bands_that_are_on_has_neither_lanes_nor_words(coefficients: bytes) -> None:
    refused(coded_file(coder=1, coefficients=coefficients))


def test_lanes_are_needed_where_a_band_is_on() -> None:
    refused(coded_file(coder=1, coding=coded_coding(coder=1, scales=(9, 0))), "0 lanes")


@pytest.mark.parametrize(
    ("coder", "fields"),
    [
        pytest.param(0, {"raw": b"\0"}),
        pytest.param(0, {"coefficients": b"\0"}),
        pytest.param(0, {"raw": b"\xff", "coefficients": b"?"}),
        pytest.param(1, {"raw": b"\0"}),
        (1, {"coefficients": b"\0"}),
        (1, {"raw": b"\xff", "coefficients": b"?"}),
    ],
)
def test_file_of_constant_channels_has_no_coefficients(coder: int, fields: dict[str, bytes]) -> None:
    refused(constant_file(coding=constant_coding(head=(0, 1, coder)), **fields))
