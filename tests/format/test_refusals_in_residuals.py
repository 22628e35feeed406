"""Residual layers, their tables and their streams that break one *must* of docs/format.md, or only look as if."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from both_decoders import accepted, agreed, constant_file, decoder, refused
from format_parts import (
    CHUNK,
    CODING,
    DIFFERENCES,
    HEADER,
    MODEL,
    PREDICTED,
    chunk_of,
    constant_coding,
    file_of,
    framed,
    header_of,
    predicted_coding,
    predicted_file,
    varints,
    write,
    zigzag_bytes,
)

import sancodec
from sancodec.codec.bits import BitWriter

FRAMES = framed(zigzag_bytes(*DIFFERENCES))


def one_channel(coding: bytes | None = None, *, residuals: bytes = FRAMES, **fields: bytes) -> bytes:
    """Five samples, each predicted from the one before."""
    return predicted_file(predicted_coding() if coding is None else coding, PREDICTED, residuals=residuals, **fields)


def raw_of(*numbers: int, low: tuple[tuple[int, int], ...] = ()) -> bytes:
    """A Rice list, then numbers of some bits each."""
    writer = BitWriter()
    write(writer, *numbers)
    for value, width in low:
        writer.number(value, width)
    return writer.tobytes()


def test_built_file_is_right_as_long_as_nothing_is_broken() -> None:
    assert accepted(one_channel()) == [PREDICTED.tolist()]


FLAT = np.full(5, 7)


# 5 Residual layer

ZEROS = (0,) * 128


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        ({"head": (2**20 + 1, 4, 0, 1, 0)}, "error bound"),
        ({"head": (0, 0, 0, 1, 0)}, "restart after 0"),
        ({"head": (0, 4, 21, 1, 0)}, "shift 21"),
        ({"head": (0, 4, 0, 65, 0), "own": (0,) * 65}, "65 own lags"),
        ({"head": (0, 4, 0, 1, 257), "references": ((0, 1, 0, (0,)),) * 257}, "257 references"),
        ({"head": (0, 4, 0, 1, 1), "references": ((0, 0, 0, ()),)}, "0 lags"),
        ({"head": (0, 4, 0, 1, 1), "references": ((0, 1, -65, (0,)),)}, "lags from -65"),
        ({"head": (0, 4, 0, 1, 1), "references": ((0, 2, 64, (0, 0)),)}, "lags from 64"),
        (
            {"head": (0, 4, 0, 64, 16), "own": (0,) * 64, "references": ((0, 128, -64, (0,) * 128),) * 16},
            "2048 weights",
        ),
        ({"own": (2**26 + 1,)}, "weights sum"),
        ({"own": (-(2**31),)}, "weights sum"),
        ({"head": (0, 4, 0, 1, 1), "references": ((1, 1, 1, (1,)),)}, "from each other"),
        ({"head": (0, 4, 0, 1, 1), "references": ((2, 1, 1, (1,)),)}, "channel 1, which has no samples"),
        ({"head": (0, 4, 0, 1, 1), "references": ((2**32 - 1, 1, 1, (1,)),)}, "which has no samples"),
    ],
)
def test_residual_layer_that_breaks_a_limit_is_refused(layer: dict, match: str) -> None:
    refused(one_channel(predicted_coding(layer)), match)


@pytest.mark.parametrize(
    "layer",
    [
        {"head": (2**20, 4, 0, 1, 0)},
        {"head": (0, 2**32 - 1, 0, 1, 0)},
        {"head": (0, 1, 0, 1, 0)},
        {"head": (0, 4, 20, 1, 0)},
        {"head": (0, 64, 0, 64, 0), "own": (1, *[0] * 62, -1)},
        {"head": (0, 4, 0, 1, 256), "references": ((0, 1, 0, (0,)),) * 256},
        {"head": (0, 4, 0, 1, 1), "references": ((0, 129, -64, (1,) * 129),)},
        {"head": (0, 64, 0, 64, 15), "own": (0,) * 64, "references": ((0, 128, -64, ZEROS),) * 15},
        {"own": (2**26,)},
    ],
)
def test_residual_layers_at_their_limits_are_read_alike(layer: dict) -> None:
    # The digest tells which samples are right: those that the strict decoder finds.
    coding = predicted_coding(layer)
    header = header_of(channels=b"\1", second=b"")
    parsed = decoder.read_coding(coding, decoder.read_header(header), [])
    payload = chunk_of(coding, PREDICTED, events=b"\0", residuals=FRAMES)
    chunk = decoder.read_chunk(payload, parsed, 5)
    decoder.restore(parsed, [chunk])
    accepted(one_channel_of(coding, chunk.samples[0]))


def one_channel_of(coding: bytes, samples: np.ndarray) -> bytes:
    return predicted_file(coding, samples, residuals=FRAMES)


def test_range_of_a_predicted_channel_must_lie_within_that_of_the_header() -> None:
    for bounds in ((-2048, 2047), (-2047, 2048)):
        refused(one_channel(predicted_coding(bounds=bounds)), "within the channel's")


def test_references_to_constant_channels_and_to_other_rates_are_refused() -> None:
    layer = {"head": (0, 4, 0, 1, 1), "references": ((3, 1, 0, (0,)),)}
    both = framed(zigzag_bytes(*DIFFERENCES) * 2)
    accepted(predicted_file(predicted_coding(layer, {}), PREDICTED, PREDICTED, residuals=both))
    refused(
        predicted_file(predicted_coding(layer, None), PREDICTED, FLAT, residuals=FRAMES),
        "channel 1, which has no samples",
    )


def test_channels_may_refer_to_decoded_samples_in_any_order_but_not_in_a_circle() -> None:
    both = framed(zigzag_bytes(0, 0, 0, 0, 0) + zigzag_bytes(*DIFFERENCES))
    later = {"head": (0, 4, 0, 0, 1), "own": (), "references": ((3, 1, 0, (1,)),)}
    assert accepted(predicted_file(predicted_coding(later, {}), PREDICTED, PREDICTED, residuals=both))
    back = {"head": (0, 4, 0, 1, 1), "references": ((1, 1, 0, (0,)),)}
    refused(predicted_file(predicted_coding(later, back), PREDICTED, PREDICTED, residuals=both), "from each other")


UNIFORM = (*[241] * 16, 240)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"tables": (17, 1)}, "blocks of"),
        ({"tables": (1, 64), "rows": ((0, UNIFORM),) * 64}, "64 residual tables"),
        ({"rows": ((28, UNIFORM),)}, "shift 28"),
        ({"rows": ((0, (*[241] * 16, 241)),)}, "sum to 4097"),
        ({"rows": ((0, (*[241] * 16, 239)),)}, "sum to 4095"),
        ({"rows": ((0, (2**32 - 1, 4097, *[0] * 15)),)}, "table 0"),
    ],
)
def test_residual_table_that_breaks_a_limit_is_refused(fields: dict, match: str) -> None:
    refused(one_channel(predicted_coding(coder=1, **fields)), match)


# 11.3 Streams of coder 0


@pytest.mark.parametrize(
    ("residuals", "raw"),
    [
        (framed(b"\xff" + b"\2\2\3\x14\0"), raw_of(low=((0b1_1_11_101_0001, 11),)) and None),
        (framed(zigzag_bytes(*DIFFERENCES), layout=1), b""),
        (framed(zigzag_bytes(*DIFFERENCES, form=2)), raw_of(low=((0b10_10_10_00_01, 10),))),
    ],
)
def test_residuals_of_other_forms_and_layouts(residuals: bytes, raw: bytes | None) -> None:
    if raw is None:
        # Differences 3, 3, 7, 0, −13 are 2, 2, 3, a run of one, and 4 bits: lower bits, then signs.
        writer = BitWriter()
        for value, width in ((1, 1), (1, 1), (3, 2), (5, 3), (0, 1), (0, 1), (0, 1), (1, 1)):
            writer.number(value, width)
        raw = writer.tobytes()
    assert accepted(one_channel(residuals=residuals, raw=raw)) == [PREDICTED.tolist()]


@pytest.mark.parametrize(
    ("residuals", "raw"),
    [
        (b"", b""),
        (framed(zigzag_bytes(*DIFFERENCES), layout=2), b""),
        (framed(zigzag_bytes(*DIFFERENCES), layout=3), b""),
        (FRAMES + b"\0", b""),
        (FRAMES[:-1], b""),
        (framed(zigzag_bytes(*DIFFERENCES)[:-1]), b""),
        (framed(zigzag_bytes(*DIFFERENCES) + b"\0"), b""),
        (framed(zigzag_bytes(*DIFFERENCES, form=25)), b"\0" * 20),
        (framed(zigzag_bytes(*DIFFERENCES, form=254)), b"\0" * 20),
        (framed(b"\xff" + b"\2\2\3\x14"), b"\xff\xff"),
        (framed(b"\xff" + b"\2\2\3\x14\1\0"), b"\xff\xff"),
        (framed(b"\xff" + b"\2\2\3\x14\0\0"), b"\xff\xff"),
        (FRAMES, b"\0"),
        (FRAMES, b"\1"),
        (framed(zigzag_bytes(*DIFFERENCES), b"\0"), b""),
        (framed(zigzag_bytes(*DIFFERENCES, form=2)), b"\0"),
    ],
)
def test_residuals_that_are_not_those_of_the_channels_are_refused(residuals: bytes, raw: bytes) -> None:
    refused(one_channel(residuals=residuals, raw=raw))


def test_differences_are_below_2_to_the_33() -> None:
    def blob(z: int) -> bytes:
        last = z >> 1 ^ -(z & 1)
        expected = np.array([7, 7, 7, 7, np.clip(last, -2054, 2040) + 7])
        raw = raw_of((z >> 24) - 255, low=((0, 24),) * 4 + ((z & (2**24 - 1), 24),))
        return predicted_file(predicted_coding(), expected, residuals=framed(b"\x18\0\0\0\0\xff"), raw=raw)

    accepted(blob(2**34 - 2))
    accepted(blob(2**34 - 3))
    refused(blob(2**34 - 1), "coded difference")
    refused(blob(2**34), "coded difference")


def test_coefficients_without_a_cascade_and_raw_bits_without_use_are_refused() -> None:
    refused(one_channel(coefficients=b"\0"), "no channel has a cascade")
    refused(one_channel(predicted_coding(coder=1), coefficients=b"\0"))


# 11.3 Streams of coder 1


def lanes_of(state: int, *words: int) -> bytes:
    return varints(1, len(words)) + state.to_bytes(4, "little") + b"".join(word.to_bytes(2, "little") for word in words)


SILENT = framed(b"\0\0\0")[1:]


def class_file(residuals: bytes, samples: np.ndarray = FLAT, **fields: bytes) -> bytes:
    return predicted_file(predicted_coding(coder=1), samples, residuals=residuals, **fields)


def test_blocks_of_class_0_have_neither_lanes_nor_words() -> None:
    assert accepted(class_file(SILENT + b"\0\0")) == [[7] * 5]
    for lanes in (b"", b"\0", b"\0\1\0\0", lanes_of(2**16), b"\0\0\0"):
        refused(class_file(SILENT + lanes))


def test_lanes_are_needed_where_a_block_has_a_class_and_end_as_they_began() -> None:
    # The only symbol of this table is 0, so no state ever changes.
    zero = predicted_coding(coder=1, rows=((0, (4096, *[0] * 16)),))

    def blob(lanes: bytes, classes: bytes = b"\1\0\0") -> bytes:
        return predicted_file(zero, FLAT, residuals=framed(classes)[1:] + lanes)

    accepted(blob(lanes_of(2**16)))
    for lanes in (b"\0\0", lanes_of(2**16 - 1), lanes_of(2**17), lanes_of(2**16 + 1), lanes_of(2**16, 5)):
        refused(blob(lanes))
    for classes in (b"\1\0", b"\1\0\0\0", b"\2\0\0", b"\xff\0\0"):
        refused(blob(lanes_of(2**16), classes))


# 11.4 Lattice


@pytest.mark.parametrize(
    ("lattice", "values"),
    [
        ((3, 0), [30, 39, 60, 60, -18]),
        ((3, 1), [30, 39, 60, 60, -18]),
        ((5, 2), [25, 33, 50, 50, -15]),
        ((5, 3), [25, 32, 50, 50, -15]),
        ((1, 44), [0, 0, 0, 0, 0]),
        ((2**32 - 1, 0), [2047, 2047, 2047, 2047, -2047]),
    ],
)
def test_samples_on_a_lattice_are_rounded_or_truncated_and_kept_in_range(lattice: tuple, values: list[int]) -> None:
    coding = predicted_coding(lattice=lattice)
    assert accepted(predicted_file(coding, np.array(values), residuals=FRAMES)) == [values]
    negative = predicted_coding({"own": (1,)}, lattice=(5, 3))
    mirrored = zigzag_bytes(-17, -3, -7, 0, -14)
    assert accepted(predicted_file(negative, np.array([-25, -32, -50, -50, -17]), residuals=framed(mirrored)))


@pytest.mark.parametrize("lattice", [(0, 0), (1, 46), (1, 47)])
def test_lattice_that_breaks_a_limit_is_refused(lattice: tuple) -> None:
    refused(one_channel(predicted_coding(lattice=lattice)), "lattice")


def exceptions(*numbers: int, differences: tuple[int, ...] = ()) -> bytes:
    """No missing runs, then a flag, how many, gaps, differences."""
    writer = BitWriter()
    writer.number(1, 2)
    write(writer, len(numbers))
    write(writer, *numbers)
    write(writer, *differences, signed=True)
    return writer.tobytes()


def test_exceptions_differ_from_the_lattice_within_the_range() -> None:
    coding = predicted_coding(lattice=(3, 0))
    events = exceptions(0, 0, 2, differences=(1, -1, 2**31 - 1))
    expected = [31, 38, 60, 60, 2047]
    assert accepted(predicted_file(coding, np.array(expected), residuals=FRAMES, events=events)) == [expected]
    for bad in (
        exceptions(5, differences=(1,)),
        exceptions(*[0] * 6, differences=(1,) * 6),
        exceptions(2**32 - 1, differences=(1,)),
    ):
        refused(predicted_file(coding, np.array(expected), residuals=FRAMES, events=bad), "exception")


def test_lattice_of_a_constant_channel_has_no_effect() -> None:
    writer = BitWriter()
    write(writer, 0, 1, 0)
    write(writer, 1)
    write(writer, 0)
    writer.number(0, 32)
    write(writer, 7, 7, 7, signed=True)
    write(writer, 0, 0)
    writer.number(1, 1)
    write(writer, 3, 0)
    writer.number(0, 2)
    coding = writer.tobytes()
    header = header_of(channels=b"\1", second=b"")
    for events in (b"\0", exceptions(1, differences=(50,))):
        blob = file_of((HEADER, header), (CODING, coding), (CHUNK, chunk_of(coding, FLAT, events=events)))
        assert accepted(blob) == [[7] * 5]


# Any payload


def mutated(sections: list[tuple[int, bytes]], rng: np.random.Generator) -> list[tuple[int, bytes]]:
    """One or two changes to CODING or a chunk; CRCs and, half of the time, what the digest binds are made right."""
    result = list(sections)
    for _ in range(int(rng.integers(1, 3))):
        index = int(rng.choice([i for i, (kind, _) in enumerate(result) if kind in (CODING, CHUNK)]))
        kind, payload = result[index]
        content = bytearray(payload)
        position = int(rng.integers(len(content)))
        match rng.integers(4):
            case 0:
                content[position] ^= 1 << int(rng.integers(8))
            case 1:
                content[position] = int(rng.integers(256))
            case 2:
                del content[position]
            case _:
                content.insert(position, int(rng.integers(256)))
        result[index] = (kind, bytes(content))
    return result


def with_digests(sections: list[tuple[int, bytes]]) -> bytes:
    """The file, with the digests that the strict decoder finds, so that not every change ends there."""
    header = decoder.read_header(next(payload for kind, payload in sections if kind == HEADER))
    models = [decoder.read_model(payload) for kind, payload in sections if kind == MODEL]
    result, coding, number = [], None, 0
    for kind, payload in sections:
        if kind == CODING:
            coding = decoder.read_coding(payload, header, models)
        if kind == CHUNK:
            left = header["n_frames"] - number * header["chunk_frames"]
            chunk = decoder.read_chunk(payload, coding, min(left, header["chunk_frames"]))
            decoder.restore(coding, [chunk])
            crc = zlib.crc32(number.to_bytes(4, "little") + coding.crc.to_bytes(4, "little"))
            for row in decoder.finished(coding, chunk):
                crc = zlib.crc32(row, crc)
            payload, number = crc.to_bytes(4, "little") + payload[4:], number + 1
        result.append((kind, payload))
    return file_of(*result)


RNG = np.random.default_rng(0)
TIME = np.arange(700)
SIGNALS = np.stack([300 * np.sin(TIME / 9) + RNG.normal(0, 3, 700), 200 * np.sin(TIME / 9 + 1), TIME // 90 % 2 * 50])


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": "2adu"}, {"prdn": 5.0}], ids=str)
def test_both_decoders_agree_on_any_change_to_a_payload(level: int, options: dict) -> None:
    blob = sancodec.compress(SIGNALS.astype(np.int16), sampling_rate_hz=100, level=level, embed_models=True, **options)
    sections = decoder.read_sections(blob)
    assert agreed(with_digests(sections))
    rng = np.random.default_rng(level)
    n_accepted = 0
    for _ in range(150):
        changed = mutated(sections, rng)
        try:
            altered = with_digests(changed)
        except Exception:
            altered = file_of(*changed)
        n_accepted += agreed(altered)
    assert n_accepted > 3


def test_constant_files_are_still_right_beside_all_that() -> None:
    assert accepted(constant_file(coding=constant_coding()))
