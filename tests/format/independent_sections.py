"""Sections of a file and what HEADER, MODEL and CODING say, for the second decoder; from docs/format.md alone."""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from independent_fields import Bits, Bytes, demand, unzstd

N_CLASSES, N_SYMBOLS, ESCAPE = 28, 17, 16
HEADER, MODEL, CODING, CHUNK, INDEX, ANCILLARY = 1, 2, 3, 4, 5, 128


def read_sections(blob: bytes) -> list[tuple[int, bytes]]:
    """2: HEADER to the last CHUNK; ancillary sections are left out."""
    demand(blob[:12] == b"\x89SAN\r\n\x1a\n\x01\0\0\0", "signature, version or flags")
    demand(len(blob) >= 24, "truncated")
    index_offset, mark = struct.unpack("<Q4s", blob[-12:])
    demand(mark == b"SANe", "trailer")
    fields, kinds, sections, edges, offset = Bytes(blob[12:-12]), [], [], [], 0
    while fields.position < len(fields.content):
        offset = 12 + fields.position
        kind, length = fields.number("B"), fields.number("I")
        demand(length <= 2**30, "length of a section")
        payload = fields.take(length)
        demand(fields.number("I") == zlib.crc32(blob[offset : offset + 5 + length]), f"CRC of section {kind}")
        kinds.append(min(kind, ANCILLARY))
        if kind < ANCILLARY:
            sections.append((kind, payload))
        if kind in (CODING, CHUNK):
            edges.append(12 + fields.position)
    order = "".join(
        "HMCcIa"[(1, 2, 3, 4, 5, 128).index(kind)] if kind in (1, 2, 3, 4, 5, 128) else "?" for kind in kinds
    )
    leading = re.fullmatch("(a*H[aM]*C)c+a*I", order)
    demand(leading and order.count("M") <= 16 and len(leading[1]) <= 64, "order of sections")
    demand(offset == index_offset, "trailer does not point to the index")
    index = Bytes(sections[-1][1])
    expected = [edges[0], len(edges) - 1, *np.diff(edges).tolist()]
    demand([index.varint() for _ in expected] == expected, "index")
    index.finish()
    return sections[:-1]


def read_header(payload: bytes) -> dict[str, Any]:  # 3
    fields = Bytes(unzstd(payload, 2**26))
    header: dict[str, Any] = {"source": fields.bytes().decode()}
    demand(re.fullmatch("wfdb|array(:[iu][1248]:[12])?", header["source"]), "source")
    header["rate"] = fields.varint(1, 2**62 - 1), fields.varint(1, 2**62 - 1)
    n_frames, chunk_frames = fields.varint(1, 2**40), fields.varint(1, 2**40)
    header["n_frames"], header["chunk_frames"] = n_frames, chunk_frames
    demand(-(-n_frames // chunk_frames) <= 2**24, "number of chunks")
    header["coder"], header["level"] = fields.varint(0, 1), fields.varint(1, 9)
    header["promises"] = [(fields.varint(0, 2**32), fields.number("d")) for _ in range(fields.varint(0, 16))]
    demand(all(math.isfinite(value) for _, value in header["promises"]), "promise")
    header["models"] = [fields.take(32) for _ in range(fields.varint(0, 16))]
    header["channels"] = [read_channel(fields) for _ in range(fields.varint(1, 4096))]
    per_frame = sum(channel["per_frame"] for channel in header["channels"])
    demand(per_frame * min(chunk_frames, n_frames) <= 2**28, "samples in a chunk")
    header["side_files"] = [(fields.bytes().decode(), fields.bytes()) for _ in range(fields.varint(0, 1024))]
    fields.finish()
    return header


def read_channel(fields: Bytes) -> dict[str, Any]:
    channel = {"name": fields.bytes().decode(), "unit": fields.bytes().decode(), "gain": fields.number("d")}
    demand(math.isfinite(channel["gain"]) and channel["gain"] != 0, "gain")
    channel["baseline"], channel["resolution"] = fields.svarint32(), fields.varint(1, 32)
    channel["per_frame"] = fields.varint(1, 65535)
    channel["minimum"], channel["maximum"] = fields.svarint32(), fields.svarint32()
    demand(channel["minimum"] <= channel["maximum"], "minimum above maximum")
    channel["missing"] = fields.svarint32() if fields.varint(0, 1) else None
    if channel["missing"] is not None:
        demand(not channel["minimum"] <= channel["missing"] <= channel["maximum"], "missing value")
    channel["largest_difference"] = fields.varint(0, 2**32)
    return channel


def read_model(content: bytes) -> SimpleNamespace:
    """4: bands through all groups."""
    fields, model = Bytes(content), SimpleNamespace(strides=[], offsets=[], weights=[], peak_gain=0)
    demand(fields.take(4) == b"SANM" and fields.number("H") == 1, "model signature or version")
    n_groups, metadata_length = fields.number("H"), fields.number("I")
    demand(1 <= n_groups <= 32 and metadata_length <= 65536, "model head")
    demand(isinstance(json.loads(fields.take(metadata_length).decode()), dict), "metadata")
    work = 0
    for _ in range(n_groups):
        stride, n_kernels, length, offset = (fields.number(form) for form in "HHIi")
        demand(1 <= stride <= 4096 and 1 <= n_kernels <= 1024 and 1 <= length <= 8192, "kernel group")
        demand(abs(offset) <= 8192, "offset of a kernel group")
        demand(not model.strides or model.strides[-1] % stride == 0, "stride does not divide the one before")
        weights = fields.array("<i4", n_kernels, length)
        work += n_kernels * -(-length // stride)
        model.peak_gain += max(int(np.abs(weights[:, start::stride]).sum()) for start in range(stride))
        model.strides += [stride] * n_kernels
        model.offsets += [offset] * n_kernels
        model.weights += list(weights)
    demand(sum(model.strides[0] // stride for stride in model.strides) <= model.strides[0], "density")
    demand(work <= 4096, "work")
    n_sets = fields.number("B")
    demand(1 <= n_sets <= 8, "sets")
    model.n_bands = len(model.strides)
    model.band_weights = fields.array("<u2", n_sets, model.n_bands, 4)
    model.phase_groups = fields.array("u1", model.n_bands)
    demand(model.band_weights.max() <= 4096 and model.phase_groups.max() <= 15, "band weights or phase groups")
    model.frequencies = fields.array("<u2", n_sets, N_CLASSES, N_SYMBOLS)
    demand((model.frequencies.sum(axis=2) == 4096).all() and model.frequencies[:, :, ESCAPE].all(), "frequencies")
    direct = model.frequencies[:, :, :ESCAPE] > 0
    demand((np.diff(direct.astype(int), axis=2) <= 0).all(), "a frequency after the first of 0")
    fields.finish()
    return model


def read_coding(payload: bytes, header: dict[str, Any], models: list[Any]) -> tuple[list[int], list[dict[str, Any]]]:
    """5: kernel length of each lead group, and what is said of each channel."""
    bits = Bits(payload)
    n_groups, codings = bits.rice(1)[0], []
    demand(1 <= n_groups <= len(header["channels"]), "lead groups")
    kernel_lengths = bits.rice(n_groups)
    demand(max(kernel_lengths) <= 8192, "length of beat kernels")
    for channel in header["channels"]:
        coding: dict[str, Any] = {"prdn": struct.unpack(">f", bits.u(32).to_bytes(4, "big"))[0]}
        demand(coding["prdn"] >= 0, "measured PRDN")
        coding["offset"], coding["minimum"], coding["maximum"] = bits.srice(3)
        demand(coding["minimum"] <= coding["maximum"], "range")
        coding["largest_error"], coding["group"] = bits.rice(2)
        demand(coding["group"] < n_groups, "lead group")
        coding["model"], coding["kernels"] = None, []
        if bits.u(1):
            demand(channel["minimum"] <= coding["minimum"] and coding["maximum"] <= channel["maximum"], "range")
            coding["model"] = models[bits.rice(1)[0]]
            read_coefficients(bits, coding, kernel_lengths[coding["group"]], header["coder"])
        else:
            demand(coding["minimum"] == coding["maximum"], "constant channel")
        codings.append(coding)
    bits.finish()
    rates = [{channel["per_frame"] for channel in members} for members in members_of(header, codings, n_groups)]
    demand(all(len(rate) == 1 for rate in rates), "a lead group without channels, or of two rates")
    return kernel_lengths, codings


def members_of(header: dict[str, Any], codings: list[dict[str, Any]], n_groups: int) -> list[list[dict[str, Any]]]:
    members: list[list[dict[str, Any]]] = [[] for _ in range(n_groups)]
    for channel, coding in zip(header["channels"], codings, strict=True):
        members[coding["group"]].append(channel)
    return members


def read_coefficients(bits: Bits, coding: dict[str, Any], kernel_length: int, coder: int) -> None:
    """5: what only a coded channel has: step, reconstruction offsets, beat kernels, profile."""
    model = coding["model"]
    coding["mantissa"], coding["exponent"] = bits.u(12), bits.srice(1)[0]
    demand(coding["mantissa"] >= 2048 and -40 <= coding["exponent"] <= 32, "step")
    coding["offsets"] = [0, bits.u(6), bits.u(6), bits.u(6)]
    n_kernels = bits.rice(1)[0]
    if n_kernels:
        demand(n_kernels <= 64 and kernel_length, "beat kernels")
        coding["kernel_exponent"] = bits.srice(1)[0]
        demand(-10 <= coding["kernel_exponent"] <= 20, "exponent of beat kernels")
        differences = np.array([bits.srice(kernel_length) for _ in range(n_kernels)])
        demand((np.abs(differences) < 2**18).all(), "second differences")
        coding["kernels"] = list(np.cumsum(np.cumsum(differences, axis=1), axis=1))
        demand(all((np.abs(row) < 2**16).all() for row in coding["kernels"]), "weights of beat kernels")
    if coder == 1:
        coding["set"] = bits.u(3)
        demand(coding["set"] < len(model.band_weights), "set")
        coding["scales"] = np.cumsum(bits.srice(model.n_bands)).tolist()
        demand(min(coding["scales"]) >= 0 and max(coding["scales"]) <= 95, "scale codes")
        n_phase_groups = int(model.phase_groups.max()) + 1
        coding["phases"] = [[0] * 25] * n_phase_groups
        if bits.u(1):
            coding["phases"] = [bits.srice(25) for _ in range(n_phase_groups)]
            demand(all(abs(code) <= 15 for row in coding["phases"] for code in row), "phase codes")
