"""Mixed lead groups that break one *must* of docs/format.md, or only look as if they did."""

from __future__ import annotations

import hashlib

import format_parts as parts
import numpy as np
import pytest
from both_decoders import accepted, refused

from sancodec.codec.bits import BitWriter
from sancodec.errors import CorruptError, LimitExceededError

MEMBER = (0, -2047, 2047)


def mixed_coding(
    *,
    members: tuple[tuple[int, int, int], ...] = (MEMBER, MEMBER, MEMBER, (5, 5, 5)),
    components: tuple[int, ...] = (1,),
    layered: int | None = None,
    lattice: int | None = None,
    shifts: tuple[int, ...] = (3,),
    rules: tuple[tuple[int, int, int, int] | None, ...] = (None, None, None),
    weights: tuple[tuple[int, ...], ...] = ((8, -3, 0),),
    step: tuple[int, int] = (2048, 0),
) -> bytes:
    """Channels of one mixed group, under coder 0, of the two-band model.

    Parameters
    ----------
    members
        Offset, minimum and maximum of each channel, constant ones included.
    components, layered, lattice
        Channels with a cascade, a residual layer, a lattice.
    rules
        Members and codes of factors of derived members.
    weights
        By component, of members without a rule.
    """
    writer = BitWriter()
    parts.write(writer, 0, 1, 0)
    parts.write(writer, 1)
    parts.write(writer, 0)
    for index, values in enumerate(members):
        writer.number(0, 32)
        parts.write(writer, *values, signed=True)
        parts.write(writer, 0, 0)
        writer.number(int(index == lattice), 1)
        if index == lattice:
            parts.write(writer, 1, 0)
        writer.number(int(index in components), 1)
        if index in components:
            parts.write(writer, 0)
            writer.number(step[0], 12)
            parts.write(writer, step[1], signed=True)
            writer.number(0, 18)
            parts.write(writer, 0)
        writer.number(int(index == layered), 1)
        if index == layered:
            parts.layer_of(writer)
    writer.number(1, 1)
    for shift in shifts:
        writer.number(shift, 4)
    for rule in rules:
        writer.number(int(rule is not None), 1)
        if rule is not None:
            parts.write(writer, *rule[:2])
            for code in rule[2:]:
                writer.number(code, 2)
    for column in weights:
        parts.write(writer, *column, signed=True)
    return writer.tobytes()


def mixed_file(coding: bytes, samples: np.ndarray, *, tokens: bytes, raw: bytes = b"") -> bytes:
    """A file of one chunk that carries its model; ``samples`` are (channel, sample)."""
    model = parts.model_of()
    header = parts.header_of(
        n_frames=bytes([samples.shape[1]]),
        chunk_frames=bytes([samples.shape[1]]),
        models=b"\1" + hashlib.sha256(model).digest(),
        channels=parts.varints(len(samples)),
        second=b"".join(parts.LEAD.values()) * (len(samples) - 1),
    )
    chunk = parts.chunk_of(coding, samples.ravel(), events=bytes(1), raw=raw, coefficients=parts.framed(tokens))
    return parts.file_of((parts.HEADER, header), (parts.MODEL, model), (parts.CODING, coding), (parts.CHUNK, chunk))


N_FRAMES = 40
NO_LEVELS, ONE_LEVEL = b"\0\0", b"\x0e\0\0"  # a magnitude of 2**13 in the first window of the first band


def file_with(*, n_channels: int = 4, **fields) -> bytes:
    """All samples are 0, but for those of the constant channel, which are 5."""
    samples = np.zeros((n_channels, N_FRAMES))
    samples[3:] = 5
    return mixed_file(mixed_coding(**fields), samples, tokens=NO_LEVELS * len(fields.get("components", (1,))))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"components": (0, 2), "shifts": (0, 12), "weights": ((1, -1, 0), (4096, -4096, 1))},
        {"rules": (None, None, (0, 1, 1, 2)), "weights": ((8, -8),)},
        {"rules": (None, None, (0, 1, 0, 3)), "weights": ((-8, 7),)},
    ],
)
def test_mixes_at_their_limits(fields: dict) -> None:
    assert accepted(file_with(**fields)) == [[0] * N_FRAMES] * 3 + [[5] * N_FRAMES]


FIVE = {"members": (MEMBER,) * 5, "n_channels": 5}


@pytest.mark.parametrize(
    ("fields", "match", "error"),
    [
        ({"components": (), "shifts": (), "weights": ()}, "mixed of no component", CorruptError),
        ({"components": (3,)}, "constant, and has a component", CorruptError),
        ({"components": (1, 3), "shifts": (3, 3), "weights": ((0, 0, 0),) * 2}, "has a component", CorruptError),
        ({"layered": 0}, "residual layer or a lattice", CorruptError),
        ({"layered": 3}, "residual layer or a lattice", CorruptError),
        ({"lattice": 1}, "residual layer or a lattice", CorruptError),
        ({"shifts": (13,)}, r"2\^-13", LimitExceededError),
        ({"weights": ((9, 0, 0),)}, r"a weight of 9·2\^-3", LimitExceededError),
        ({"weights": ((0, 0, -9),)}, r"a weight of 9·2\^-3", LimitExceededError),
        ({"rules": (None, None, (0, 0, 0, 0)), "weights": ((0, 0),)}, "from members 0 and 0", CorruptError),
        ({"rules": (None, None, (1, 0, 0, 0)), "weights": ((0, 0),)}, "from members 1 and 0", CorruptError),
        ({"rules": (None, None, (0, 2, 0, 0)), "weights": ((0, 0),)}, "from members 0 and 2", CorruptError),
        ({"rules": (None, (0, 1, 0, 0), None), "weights": ((0, 0),)}, "from members 0 and 1", CorruptError),
        (
            FIVE | {"rules": (None, None, (0, 1, 0, 0), (0, 2, 0, 0), None), "weights": ((0, 0, 0),)},
            "member 3 of a mix is derived from members 0 and 2",
            CorruptError,
        ),
        ({"members": ((0, -2048, 2047), *[MEMBER] * 2, (5, 5, 5))}, "within the channel's", CorruptError),
    ],
)
def test_mix_that_breaks_a_limit_is_refused(fields: dict, match: str, error: type) -> None:
    refused(file_with(**fields), match, error)


def test_more_than_a_million_weights_are_refused() -> None:
    n_channels = 1025
    fields = {"members": (MEMBER,) * n_channels, "components": tuple(range(n_channels - 1)), "shifts": (), "rules": ()}
    samples = np.zeros((n_channels, N_FRAMES))
    blob = mixed_file(mixed_coding(weights=(), **fields), samples, tokens=NO_LEVELS * (n_channels - 1))
    refused(blob, "1025 channels of 1024 components", LimitExceededError)


def test_varying_channel_without_cascade_is_refused_where_the_group_is_not_mixed() -> None:
    fields = {"values": (995, 800)}
    coding = parts.constant_coding(**fields)
    assert accepted(parts.file_of(*parts.constant_sections(coding=coding)))
    writer = BitWriter()
    parts.write(writer, 0, 1, 0)
    parts.write(writer, 1)
    parts.write(writer, 0)
    writer.number(0, 32)
    parts.write(writer, *MEMBER, signed=True)
    parts.write(writer, 0, 0)
    writer.number(0, 4)
    sample = np.zeros((1, N_FRAMES))
    refused(mixed_file(writer.tobytes(), sample, tokens=b"\0"), "a constant channel has range")


@pytest.mark.parametrize(("weight", "is_exact"), [(4095, True), (-4095, True), (4096, False), (-4096, False)])
def test_components_beyond_the_exact_range_of_their_weights_are_refused(weight: int, is_exact: bool) -> None:
    """R is 2**11, step 2048 · 2**20: Y is 2**39; a weight of 1 is 2**13."""
    coding = mixed_coding(shifts=(12,), weights=((weight, 0, 1),), step=(2048, 20))
    signs = np.zeros(N_FRAMES)
    signs[[0, 1]], signs[[3, 4]] = -1, 1  # of the kernel's weights
    samples = np.stack([signs * 2047 * np.sign(weight), 0 * signs, signs * 2047, 0 * signs + 5])
    blob = mixed_file(coding, samples, tokens=ONE_LEVEL, raw=bytes(2))
    if is_exact:
        accepted(blob)
    else:
        refused(blob, "beyond the exact range of its weights", CorruptError)
