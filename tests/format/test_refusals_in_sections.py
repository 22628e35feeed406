"""Containers, headers, models and codings that break one *must* of docs/format.md, or only look as if they did."""

from __future__ import annotations

import io
import re
import struct
from importlib import import_module
from pathlib import Path

import format_parts as parts
import numpy as np
import pytest
from both_decoders import REFUSALS, accepted, constant_file, decoder, refused
from format_example import example_bytes
from format_parts import CHUNK, CODING, HEADER, coded_coding, coded_file, file_of, header_of, model_of

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import decode_model
from sancodec.codec.synthesis import NumpyEngine
from sancodec.errors import FormatError, TruncatedError, UnsupportedVersionError

UNKNOWN, PRIVATE = (128, b"?" * 40), (255, b"")


def test_built_files_are_right_as_long_as_nothing_is_broken() -> None:
    assert accepted(constant_file()) == accepted(example_bytes())
    assert constant_file()[0x65:0x9A] == example_bytes()[0x65:0x9A]
    for coder in (0, 1):
        assert accepted(coded_file(coder=coder)) == [[7] * 60]


# 2 Container


def test_ancillary_sections_are_skipped_before_coding_and_before_index() -> None:
    header, coding, chunk = parts.constant_sections()
    extra = parts.section(*UNKNOWN) + parts.section(*PRIVATE)
    expected = accepted(constant_file())
    assert accepted(file_of(UNKNOWN, PRIVATE, header, UNKNOWN, coding, chunk)) == expected
    assert accepted(file_of(header, coding, chunk, before_index=extra)) == expected


def test_ancillary_section_in_another_place_is_refused() -> None:
    header, coding, chunk = parts.constant_sections()
    refused(file_of(header, coding, chunk, after=parts.section(*UNKNOWN)), "no index")
    blob = file_of(header, coding, chunk)
    first = 12 + len(parts.section(*header))
    lengths = [len(parts.section(*each)) for each in (coding, UNKNOWN, chunk)]
    between = blob[: first + lengths[0]] + parts.section(*UNKNOWN) + parts.section(*chunk)
    for numbers in ((lengths[0], 1, lengths[2]), (lengths[0], 1, lengths[1]), (sum(lengths[:2]), 1, lengths[2])):
        index = parts.varints(first, 1, *numbers)
        refused(between + parts.section(5, index) + struct.pack("<Q4s", len(between), b"SANe"), "chunk 0|index")


def test_damaged_ancillary_section_is_refused() -> None:
    header, coding, chunk = parts.constant_sections()
    damaged = bytearray(parts.section(*UNKNOWN))
    damaged[7] ^= 1
    refused(file_of(header, coding, chunk, before_index=bytes(damaged)), "checksum")


@pytest.mark.parametrize("kind", [0, 7, 127])
def test_unknown_section_without_bit_7_is_refused(kind: int) -> None:
    header, coding, chunk = parts.constant_sections()
    refused(file_of(header, (kind, b""), coding, chunk), "unknown type")
    refused(file_of(header, coding, chunk, before_index=parts.section(kind, b"")), "unknown type")


def test_64_sections_may_come_before_the_first_chunk_and_no_more() -> None:
    header, coding, chunk = parts.constant_sections()
    accepted(file_of(header, *[PRIVATE] * 62, coding, chunk))
    refused(file_of(header, *[PRIVATE] * 63, coding, chunk), "more than 64 sections")


def test_chunk_from_another_place_or_another_file_is_refused() -> None:
    coding = parts.constant_coding()
    for chunk in (
        parts.chunk_of(coding, parts.SAMPLES, number=1),
        parts.chunk_of(coding + b"\0", parts.SAMPLES),
        parts.chunk_of(coding, parts.SAMPLES[::-1]),
    ):
        refused(file_of((HEADER, header_of()), (CODING, coding), (CHUNK, chunk)), "digest")


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ((100, 1, 34, 1, 19), "it is at 101"),
        ((102, 1, 34, 1, 18), "it is at 101"),
        ((101, 1, 34, 1, 18), "no section CHUNK of 18 bytes"),
        ((101, 1, 34, 1, 20), "beyond the index"),
        ((101, 1, 33, 1, 20), "chunk 0: section of unknown type"),
        ((101, 1, 35, 1, 18), "chunk 0: section of unknown type"),
        ((101, 1, 34, 2, 19, 0), "a segment of 2 chunks"),
        ((101, 1, 34, 0), "a segment of 0 chunks"),
        ((101, 2, 34, 1, 19, 0, 0), "lists 2 segments"),
        ((101, 0), "lists 0 segments"),
        ((101, 1, 34, 1, 19, 0), "follow its last number"),
        ((101, 1, 34, 1), "ends within a number"),
    ],
)
def test_index_that_does_not_fit_is_refused_but_single_chunks_can_be_read(numbers: tuple, match: str) -> None:
    fitted = example_bytes()
    assert fitted[:0x9A] + parts.section(5, parts.varints(101, 1, 34, 1, 19)) + fitted[-12:] == fitted
    blob = fitted[:0x9A] + parts.section(5, parts.varints(*numbers)) + fitted[-12:]
    refused(blob, match)
    if numbers[2:] not in ((34, 1, 18), (33, 1, 20), (35, 1, 18)) or numbers[0] != 101:
        reader = RecordingReader(io.BytesIO(blob), engine=NumpyEngine())
        ((_, samples),) = reader.chunks(0, 1)
        assert [row.tolist() for row in samples] == accepted(fitted)


# 2 Segments


def constant_segments(*heads: tuple[int, int, int], numbers: tuple[int, ...] = (0, 1)) -> list:
    """CODING of each segment and its chunks of five frames, which have no missing samples."""
    sections, left = [], list(numbers)
    for head in heads:
        coding = parts.constant_coding(head=head)
        sections.append((CODING, coding))
        for number in left[: head[1]]:
            samples = np.array([995] * 5 + [800] * 10)
            sections.append((CHUNK, parts.chunk_of(coding, samples, number=number, events=b"\0")))
        left = left[head[1] :]
    return sections


TWO_CHUNKS = (HEADER, header_of(n_frames=b"\x0a"))


def test_chunks_in_one_segment_and_in_two() -> None:
    one = accepted(file_of(TWO_CHUNKS, *constant_segments((0, 2, 0))))
    assert one == accepted(file_of(TWO_CHUNKS, *constant_segments((0, 1, 0), (1, 1, 1)))) == [[995] * 10, [800] * 20]


@pytest.mark.parametrize(
    "heads",
    [
        ((1, 1, 0), (1, 1, 0)),
        ((0, 1, 0), (0, 1, 0)),
        ((0, 1, 0), (2, 1, 0)),
        ((0, 0, 0), (0, 2, 0)),
        ((0, 3, 0),),
    ],
)
def test_segment_of_chunks_that_are_not_its_own_is_refused(heads: tuple) -> None:
    refused(file_of(TWO_CHUNKS, *constant_segments(*heads)))


def test_segment_of_more_or_fewer_chunks_than_follow_it_is_refused() -> None:
    first, chunk, *_ = constant_segments((0, 2, 0))
    refused(file_of(TWO_CHUNKS, first, chunk, *constant_segments((1, 1, 0), numbers=(1,))), "2 chunks; 1 follow it")
    short, *_ = constant_segments((0, 1, 0))
    chunks = [
        (CHUNK, parts.chunk_of(short[1], np.array([995] * 5 + [800] * 10), number=n, events=b"\0")) for n in (0, 1)
    ]
    refused(file_of(TWO_CHUNKS, short, *chunks), "chunk 1")


def test_number_of_chunks_is_that_of_the_header() -> None:
    refused(file_of(TWO_CHUNKS, *constant_segments((0, 1, 0))), "promises 2|chunk 1")
    three = constant_segments((0, 2, 0), numbers=(0, 1))
    refused(file_of(TWO_CHUNKS, *three, three[-1]))


def test_unknown_coder_is_refused_by_name() -> None:
    for coder in (3, 4, 255):
        refused(constant_file(coding=parts.constant_coding(head=(0, 1, coder))), "coder", UnsupportedVersionError)


# 3 HEADER


@pytest.mark.parametrize(
    "fields",
    [
        {"source": b"\4wfdb"},
        {"source": b"\3edf"},
        {"source": b"\x0aarray:u4:2"},
        {"promises": b"\0"},
        {"promises": b"\1" + parts.varints(2**32) + bytes(8)},
        {"promises": b"\2" + (b"\x07" + struct.pack("<d", -1)) * 2},
        {"promises": b"\x10" + (b"\1" + struct.pack("<d", 2)) * 16},
        {"baseline": parts.varints(2**32 - 1)},
        {"rate": parts.varints(2**62 - 1, 2**62 - 2)},
        {"chunk_frames": parts.varints(2**40)},
    ],
)
def test_headers_at_their_limits(fields: dict[str, bytes]) -> None:
    accepted(constant_file(header=header_of(**fields)))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"source": b"\3mat"}, "source"),
        ({"source": b"\x0aarray:f4:2"}, "source"),
        ({"source": b"\x0aarray:i4:3"}, "source"),
        ({"source": b"\6array\n"}, "source"),
        ({"promises": b"\x11" + (b"\1" + struct.pack("<d", 2)) * 17}, "promises"),
        ({"promises": b"\1\1" + struct.pack("<d", np.nan)}, "promise"),
        ({"promises": b"\1\1" + struct.pack("<d", np.inf)}, "promise"),
        ({"promises": b"\1" + parts.varints(2**32 + 1) + bytes(8)}, "promise"),
        pytest.param({"rate": parts.varints(2**62, 1)}, "sampling rate"),
        pytest.param({"rate": parts.varints(1, 2**62)}, "sampling rate"),
        ({"baseline": parts.varints(2**32)}, "baseline"),
        ({"minimum": parts.varints(2**32)}, "minimum"),
        ({"maximum": parts.varints(4095)}, "range"),
        ({"missing": b"\1" + parts.varints(2**32)}, "missing"),
        ({"missing": b"\1\0"}, "marks missing samples"),
        ({"missing": b"\0"}, "no value to mark"),
        ({"gain": bytes(8)}, "gain"),
        ({"per_frame": b"\0"}, "samples per frame"),
        ({"n_frames": parts.varints(2**28 // 3 + 1), "chunk_frames": parts.varints(2**40)}, "samples in a chunk"),
        ({"n_frames": parts.varints(2**24 + 1), "chunk_frames": b"\1"}, "chunks"),
        ({"level": b"\0"}, "level"),
        ({"side_files": b"\0\0"}, "follow its last field"),
    ],
)
def test_header_that_breaks_a_limit_is_refused(fields: dict[str, bytes], match: str) -> None:
    refused(constant_file(header=header_of(**fields)), match)


def test_header_of_another_kind_names_the_version() -> None:
    refused(constant_file(header=header_of(source=b"\3mat")), error=UnsupportedVersionError)


def test_zstd_frame_of_size_0_or_without_size_is_refused() -> None:
    for frame in ("28b52ffd2000010000", "28b52ffd0058010000", "502a4d1800000000"):
        refused(constant_file(header=bytes.fromhex(frame)), "states no size")


# 4 MODEL

SMALLEST = [4095] + [0] * 15 + [1]


@pytest.mark.parametrize(
    "model",
    [
        model_of(),
        model_of((4096, 1024, 8192, 8192), (2, 1, 1, 0)),
        model_of((1, 1, 4096, -8192)),
        model_of((3, 3, 1, 0)),
        pytest.param(model_of((123, 21, 1, 0), *((41, n, 1, 0) for n in (2, 28, 4)))),
        model_of(metadata=b' {"b" : 1,\n"a":[null, "\\u03c0"]} '),
        model_of(row=SMALLEST),
        model_of(n_sets=8),
        model_of(weight=4096, phase_group=15),
    ],
)
def test_models_at_their_limits(model: bytes) -> None:
    assert decode_model(model).content == model
    decoder.read_model(model)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (model_of((2, 3, 4, 0)), "products a sample; at most"),
        (model_of((2, 1, 4, 0), (1, 1, 4, 0)), "products a sample; at most"),
        (model_of((1, 1, 4097, 0)), "products"),
        (model_of((8, 1, 8193, 0)), "8192"),
        (model_of((8, 1, 2, 8193)), "offset"),
        (model_of((6, 1, 2, 0), (4, 1, 2, 0)), "does not divide"),
        (model_of(metadata=b"[]"), "not a JSON object"),
        (model_of(metadata=b""), "not JSON"),
        pytest.param(model_of(metadata='{"a":1}'.encode("utf-16")), "not JSON"),
        pytest.param(model_of(metadata='{"a":1}'.encode("utf-8-sig")), "not JSON"),
        (model_of(metadata=b'{"a":"\xff"}'), "not JSON"),
        (model_of(row=[4094, 0, 1, *[0] * 13, 1]), "after one without"),
        (model_of(row=[0, 4095, *[0] * 14, 1]), "after one without"),
        (model_of(row=[4096, *[0] * 16]), "escape"),
        (model_of(row=[4094, *[0] * 15, 1]), "sum"),
        (model_of(n_sets=0), "weight sets"),
        (model_of(n_sets=9), "weight sets"),
        (model_of(weight=4097), "band weight"),
        (model_of(phase_group=16), "phase group"),
        (model_of() + b"\0", "statistics"),
    ],
)
def test_model_that_breaks_a_limit_is_refused(model: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        decode_model(model)
    with pytest.raises(REFUSALS):
        decoder.read_model(model)


# 5 CODING


def test_measured_prdn_may_be_infinite_but_not_negative_or_nan() -> None:
    accepted(constant_file(coding=parts.constant_coding(prdn=0x7F800000)))
    for number in (0xBF800000, 0x7FC00000, 0xFFC00000):
        refused(constant_file(coding=parts.constant_coding(prdn=number)), "PRDN")


@pytest.mark.parametrize(
    ("groups", "n_groups", "match"),
    [((0, 0), 1, "two rates"), ((0, 2), 2, "lead group 2"), ((0, 1), 3, "3 lead groups"), ((0, 0), 2, None)],
)
def test_lead_groups_without_channels_or_of_two_rates_are_refused(
    groups: tuple, n_groups: int, match: str | None
) -> None:
    refused(constant_file(coding=parts.constant_coding(groups=groups, n_groups=n_groups)), match)


ZEROS = (0,) * 18


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"bounds": (-2048, 2047)}, "within the channel's"),
        ({"bounds": (-2047, 2048)}, "within the channel's"),
        ({"bounds": (8, 7)}, "in order"),
        ({"step": (2047, 0)}, "step"),
        ({"step": (2048, -41)}, "step"),
        ({"step": (2048, 33)}, "step"),
        ({"kernel_length": 8193}, "8193"),
        ({"exponent": -11}, "exponent"),
        ({"exponent": 21}, "exponent"),
        ({"differences": (2**16, -(2**16), *ZEROS)}, "weight"),
        ({"differences": (2**18, -(2**18), *ZEROS)}, "second difference"),
        ({"differences": (2**31 - 1, -(2**31), *ZEROS)}, "second difference"),
        ({"wavelet": (0, (None, None, None))}, "step 0"),
        ({"wavelet": (1, ((5, (1,)), None, None))}, "5 to 5 of a beat kernel's band of 5"),
        ({"wavelet": (1, (None, None, (4, (1,) * 7)))}, "4 to 10 of a beat kernel's band of 10"),
        ({"wavelet": (1, ((2**32 - 1, (1, 1)), None, None))}, "band of 5"),
        ({"wavelet": (4095, ((0, (5492,)), None, None))}, "wavelet coefficient of 16778060"),
        ({"wavelet": (4095, ((0, (-5492,)), None, None))}, "wavelet coefficient of 16778060"),
        ({"wavelet": (4095, ((0, (5491,)), None, None))}, "beat kernel weight"),
        ({"wavelet": (1, (None, None, (0, (2**31 - 1,))))}, "wavelet coefficient"),
    ],
)
def test_coding_that_breaks_a_limit_is_refused(fields: dict, match: str) -> None:
    refused(coded_file(coding=coded_coding(**fields)), match)


def test_coding_at_its_limits() -> None:
    accepted(coded_file(coding=coded_coding(kernel_length=8192)))
    steepest = (0, 65535, -196605, 262140, -262140, 196605, -65535, *[0] * 13)
    accepted(coded_file(coding=coded_coding(differences=steepest)))
    accepted(coded_file(coding=coded_coding(exponent=20, step=(4095, 32))))
    accepted(coded_file(coding=coded_coding(wavelet=(1, (None, None, None)))))
    accepted(coded_file(coding=coded_coding(wavelet=(4095, ((4, (1,)), (0, (-2, 0, 0, 0, 3)), (9, (4,)))))))
    accepted(coded_file(coding=coded_coding(kernel_length=8192, wavelet=(1, ((0, (3,)), *[None] * 8)))))


# 13 and 14


def test_file_that_was_cut_short_is_refused() -> None:
    refused(example_bytes()[:0x87], error=TruncatedError)


def test_constants_in_the_table_of_limits_exist() -> None:
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    names = re.findall(r"`([a-z_]+)\.([A-Za-z_]+)`", text.split("## 14 Limits")[1].split("## 15")[0])
    assert len(names) > 40
    for module, name in names:
        assert hasattr(import_module(f"sancodec.codec.{module}"), name), f"{module}.{name}"
