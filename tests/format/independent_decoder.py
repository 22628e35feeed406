"""A second decoder of ``.san`` files, written from docs/format.md alone; numbers in comments are its sections.

It shares nothing with the package, checks most of what the document demands, and prefers plain loops to speed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from independent_fields import Bits, Bytes, demand, unzstd

N_CLASSES, N_SYMBOLS, ESCAPE, NO_PHASE = 28, 17, 16, 24
QUARTER_POWERS = (65536, 77936, 92682, 110218)


def read_model(content: bytes) -> SimpleNamespace:
    """4: bands through all groups."""
    fields, model = Bytes(content), SimpleNamespace(strides=[], offsets=[], weights=[], peak_gain=0)
    demand(fields.take(4) == b"SANM" and fields.number("H") == 1, "model signature or version")
    n_groups, metadata_length = fields.number("H"), fields.number("I")
    demand(1 <= n_groups <= 32 and metadata_length <= 65536, "model head")
    fields.take(metadata_length)
    for _ in range(n_groups):
        stride, n_kernels, length, offset = (fields.number(form) for form in "HHIi")
        demand(1 <= stride <= 4096 and 1 <= n_kernels <= 1024 and 1 <= length <= 65536, "kernel group")
        demand(not model.strides or model.strides[-1] % stride == 0, "stride does not divide the one before")
        weights = fields.array("<i4", n_kernels, length)
        model.peak_gain += max(int(np.abs(weights[:, start::stride]).sum()) for start in range(stride))
        model.strides += [stride] * n_kernels
        model.offsets += [offset] * n_kernels
        model.weights += list(weights)
    n_sets = fields.number("B")
    demand(1 <= n_sets <= 8, "sets")
    model.n_bands = len(model.strides)
    model.band_weights = fields.array("<u2", n_sets, model.n_bands, 4)
    model.phase_groups = fields.array("u1", model.n_bands)
    model.frequencies = fields.array("<u2", n_sets, N_CLASSES, N_SYMBOLS)
    demand((model.frequencies.sum(axis=2) == 4096).all() and model.frequencies[:, :, ESCAPE].all(), "frequencies")
    fields.finish()
    return model


def read_header(payload: bytes) -> dict[str, Any]:  # 3
    fields = Bytes(unzstd(payload, 2**26))
    header: dict[str, Any] = {"source": fields.bytes().decode()}
    header["rate"] = fields.varint(1, 2**62), fields.varint(1, 2**62)
    header["n_frames"], header["chunk_frames"] = fields.varint(1, 2**40), fields.varint(1, 2**40)
    header["coder"], header["level"] = fields.varint(0, 1), fields.varint(1, 9)
    header["promised_prdn"] = fields.number("d")
    header["models"] = [fields.take(32) for _ in range(fields.varint(0, 16))]
    header["channels"] = []
    for _ in range(fields.varint(1, 4096)):
        channel = {"name": fields.bytes().decode(), "unit": fields.bytes().decode(), "gain": fields.number("d")}
        channel["baseline"], channel["resolution"] = fields.svarint(), fields.varint(1, 32)
        channel["per_frame"] = fields.varint(1, 65535)
        channel["minimum"], channel["maximum"] = fields.svarint(), fields.svarint()
        channel["missing"] = fields.svarint() if fields.varint(0, 1) else None
        channel["largest_difference"] = fields.varint(0, 2**32)
        header["channels"].append(channel)
    header["side_files"] = [(fields.bytes().decode(), fields.bytes()) for _ in range(fields.varint(0, 1024))]
    fields.finish()
    return header


def read_coding(payload: bytes, header: dict[str, Any], models: list[Any]) -> tuple[list[int], list[dict[str, Any]]]:
    bits = Bits(payload)  # 5
    kernel_lengths, channels = bits.rice(bits.rice(1)[0]), []
    for _ in header["channels"]:
        coding: dict[str, Any] = {"prdn": struct.unpack("<f", int(bits.take(32), 2).to_bytes(4, "big"))[0]}
        coding["offset"], coding["minimum"], coding["maximum"] = bits.srice(3)
        coding["largest_error"], coding["group"] = bits.rice(2)
        demand(coding["group"] < len(kernel_lengths), "lead group")
        coding["model"], coding["kernels"] = None, []
        channels.append(coding)
        if not bits.u(1):
            demand(coding["minimum"] == coding["maximum"], "constant channel")
            continue
        model = coding["model"] = models[bits.rice(1)[0]]
        coding["mantissa"], coding["exponent"] = bits.u(12), bits.srice(1)[0]
        demand(coding["mantissa"] >= 2048 and -40 <= coding["exponent"] <= 32, "step")
        coding["offsets"] = [0, bits.u(6), bits.u(6), bits.u(6)]
        n_kernels = bits.rice(1)[0]
        if n_kernels:
            demand(n_kernels <= 64 and kernel_lengths[coding["group"]], "beat kernels")
            coding["kernel_exponent"] = bits.srice(1)[0]
            differences = [bits.srice(kernel_lengths[coding["group"]]) for _ in range(n_kernels)]
            coding["kernels"] = [np.cumsum(np.cumsum(row)) for row in differences]
        if header["coder"] == 1:
            coding["set"] = bits.u(3)
            coding["scales"] = np.cumsum(bits.srice(model.n_bands)).tolist()
            n_phase_groups = int(model.phase_groups.max()) + 1
            coding["phases"] = [[0] * 25] * n_phase_groups
            if bits.u(1):
                coding["phases"] = [bits.srice(25) for _ in range(n_phase_groups)]
    bits.finish()
    return kernel_lengths, channels


def read_events(
    content: bytes, kernel_lengths: list[int], codings: list[dict[str, Any]]
) -> tuple[list[list[int]], list[list[tuple[int, int]]], list[list[tuple[int, int]]]]:
    """6.1 to 6.3: starts per lead group, missing runs per channel, (kernel, gain) of each event per channel."""
    bits = Bits(content)
    starts: list[list[int]] = []
    for length in kernel_lengths:
        starts.append([])
        n = bits.rice(1)[0] if length else 0
        if n:
            first, typical = bits.rice(2)
            starts[-1] = np.cumsum([first - length, *(gap + typical for gap in bits.srice(n - 1))]).tolist()
    runs, events = [], []
    for coding in codings:
        runs.append([])
        if bits.u(1):
            n, end = bits.rice(1)[0], 0
            for gap, length in zip(bits.rice(n), bits.rice(n), strict=True):
                runs[-1].append((end + gap, length))
                end += gap + length
        gains, n = [], len(starts[coding["group"]])
        if n and coding["kernels"]:
            if bits.u(1):
                gains = np.cumsum(bits.rice(1) + bits.srice(n - 1)).tolist()
            else:
                typical = bits.rice(1)[0]
                gains = [typical + gain for gain in bits.srice(n)]
            demand(min(gains) >= 0 and max(gains) <= 127, "gains")
        several = len(coding["kernels"]) > 1
        ids = iter(bits.rice(sum(gain > 0 for gain in gains)) if several else [0] * n)
        events.append([(next(ids) if gain else 0, gain) for gain in gains])
    bits.finish()
    return starts, runs, events


def decode_tokens(content: bytes, raw: Bits, models: list[Any], circles: list[int]) -> list[list[np.ndarray]]:
    """8: signed coefficients ``[coded channel][band]``."""
    fields = Bytes(content)
    layout = fields.number("B")
    n_frames = (1, len(models), sum(model.n_bands for model in models))[layout]
    limit = sum(2 * circle + model.n_bands for model, circle in zip(models, circles, strict=True))
    tokens = Bytes(b"".join(unzstd(fields.bytes(), limit) for _ in range(n_frames)))
    fields.finish()

    def sized(sizes: list[int]) -> list[int]:
        large = iter(raw.rice(sizes.count(15)))
        return [next(large) + 2**14 if size == 15 else int("1" + raw.take(size - 1), 2) for size in sizes]

    result = []
    for model, circle in zip(models, circles, strict=True):
        of_bands = [[] for _ in range(model.n_bands)]  # (run, size, whether an extension precedes)
        extension_sizes, sizes, extended = [], [], False
        for band in of_bands:
            while token := tokens.take(1)[0]:
                high, size = token >> 4, token & 15
                if size == 0:
                    demand(not extended, "two long runs")
                    extended = True
                    extension_sizes.append(high)
                    continue
                demand(high < 15, "reserved token")
                band.append((high, extended))
                sizes.append(size)
                extended = False
            demand(not extended, "a long run ends a band")
        extensions, magnitudes = iter(sized(extension_sizes)), iter(sized(sizes))
        bands = []
        for band, stride in zip(of_bands, model.strides, strict=True):
            coefficients, position = np.zeros(circle // stride, np.int64), -1
            for run, extended in band:
                position += run + 1 + (14 + next(extensions) if extended else 0)
                demand(position < len(coefficients), "a run leaves its band")
                coefficients[position] = next(magnitudes)
            bands.append(coefficients)
        for coefficients in bands:
            for position in np.flatnonzero(coefficients):
                coefficients[position] *= -1 if raw.u(1) else 1
        result.append(bands)
    tokens.finish()
    return result


def decode_classes(
    fields: Bytes, raw: Bits, coding: dict[str, Any], starts: list[int], kernel_length: int, circle: int
) -> list[np.ndarray]:
    """9: signed coefficients of one coded channel, per band."""
    model, scales = coding["model"], coding["scales"]
    n_lanes, n_words = fields.varint(0, 4096), fields.varint()
    demand((n_lanes > 0) == any(scales), "lanes")
    state = fields.array("<u4", n_lanes).tolist()
    words = iter(fields.array("<u2", n_words).tolist())
    demand(all(value >= 2**16 for value in state), "initial state")
    frequency = model.frequencies[coding["set"]]
    first = np.cumsum(frequency, axis=1) - frequency
    direct = [next((y for y in range(16) if row[y] == 0), 16) for row in frequency]
    known: list[np.ndarray] = []
    coded: list[tuple[int, int, int, int]] = []  # band, window, symbol, class
    for band, stride in enumerate(model.strides):
        g = model.band_weights[coding["set"], band].tolist()
        phase_codes = coding["phases"][model.phase_groups[band]]
        base = []  # 9.2
        for code in phase_codes:
            quarter = scales[band] - 41 + 2 * code
            power = QUARTER_POWERS[quarter % 4] * 2 ** (quarter // 4 + 40) >> 48
            base.append(min(16383, power) * g[0] >> 8 if scales[band] else 0)
        known.append(np.zeros(circle // stride, np.int64))
        for w in range(circle // stride if scales[band] else 0):
            centre = w * stride + stride // 2  # 9.1
            since = next((centre - start for start in reversed(starts) if start <= centre), None)
            phase = NO_PHASE if since is None else min(since * 16 // kernel_length, NO_PHASE)
            expected = base[phase]  # 9.3
            if band >= 1:
                parent, v = known[band - 1], w // (model.strides[band - 1] // stride)
                around = int(parent[v - 1] + parent[(v + 1) % len(parent)])
                expected += g[1] * int(parent[v]) + g[2] * around
            if band >= 2:
                parent, u = known[band - 2], w // (model.strides[band - 2] // stride)
                expected += g[3] * int(2 * parent[u] + parent[u - 1] + parent[(u + 1) % len(parent)])
            expected = min(expected, 16383)
            n = max(expected.bit_length() - 1, 0)
            kind = min(27, 2 * n + (expected**2 >= 2 * 4**n))
            lane = w % n_lanes  # 9.4
            slot = state[lane] % 4096
            y = int(np.searchsorted(first[kind] + frequency[kind], slot, side="right"))
            state[lane] = int(frequency[kind, y]) * (state[lane] >> 12) + slot - int(first[kind, y])
            if state[lane] < 2**16:
                state[lane] = state[lane] << 16 | next(words)
            known[band][w] = min(63, (direct[kind] if y == ESCAPE else y) << max(0, kind // 2 - 10))
            coded.append((band, w, y, kind))
    demand(next(words, None) is None and all(value < 2**17 for value in state), "end of a stream")
    head = "".join(f"{value - 2**16:016b}" for value in state)  # 9.5
    tail = Bits(bits=head + raw.bits[raw.position :])
    excesses = iter(tail.rice(sum(y == ESCAPE for _, _, y, _ in coded)))
    result = [np.zeros(circle // stride, np.int64) for stride in model.strides]
    highs = [direct[kind] + next(excesses) if y == ESCAPE else y for _, _, y, kind in coded]
    for high, (band, w, _, kind) in zip(highs, coded, strict=True):
        shift = max(0, kind // 2 - 10)
        result[band][w] = high << shift | tail.u(shift)
    for band, w, _, _ in coded:
        if result[band][w]:
            result[band][w] *= -1 if tail.u(1) else 1
    demand("1" not in head[tail.position :], "bits follow the last sign within the states")
    raw.position += max(0, tail.position - len(head))
    return result


def synthesise(
    coding: dict[str, Any], coefficients: list[np.ndarray], starts: list[int], events: list[tuple[int, int]], n: int
) -> np.ndarray:
    """10.1 to 10.3 in integers."""
    model = coding["model"]
    bank, peak = np.zeros(len(coefficients[0]) * model.strides[0], np.int64), 0
    for band, q in enumerate(coefficients):
        amplitude = np.sign(q) * (128 * np.abs(q) - np.array(coding["offsets"])[np.minimum(np.abs(q), 3)])
        peak = max(peak, int(np.abs(amplitude).max()))
        weights, first = model.weights[band], np.arange(len(q)) * model.strides[band] + model.offsets[band]
        for w in np.flatnonzero(amplitude):
            np.add.at(bank, (first[w] + np.arange(len(weights))) % len(bank), amplitude[w] * weights)
    demand(peak * model.peak_gain < 2**50, "an amplitude is too large")
    reduced = [int(value) + 512 >> 10 for value in bank[:n]]
    shift = 3 - coding["exponent"]  # ⌊R·m·2^-shift + 1/2⌋
    products = [value * coding["mantissa"] for value in reduced]
    scaled = [value + (1 << shift - 1) >> shift if shift > 0 else value << -shift for value in products]
    beats = np.zeros(n, np.int64)
    for start, (kernel, gain) in zip(starts, events, strict=False):
        weights = coding["kernels"][kernel]
        low, high = max(start, 0), min(start + len(weights), n)
        beats[low:high] += gain * weights[low - start : high - start]
    scale = 2 ** (coding["kernel_exponent"] + 10) if coding["kernels"] else 0
    samples = [coding["offset"] + (f + int(v) * scale + 512 >> 10) for f, v in zip(scaled, beats, strict=True)]
    return np.clip(samples, coding["minimum"], coding["maximum"])


def decode_chunk(
    payload: bytes, header: dict[str, Any], kernel_lengths: list[int], codings: list[dict[str, Any]], n_frames: int
) -> list[np.ndarray]:
    fields = Bytes(payload)  # 6
    digest, n_events, n_raw = fields.number("I"), fields.varint(), fields.varint()
    starts, runs, events = read_events(fields.take(n_events), kernel_lengths, codings)
    raw, rest = Bits(fields.take(n_raw)), Bytes(fields.take(len(payload) - fields.position))
    lengths = [n_frames * channel["per_frame"] for channel in header["channels"]]
    coded = [index for index, coding in enumerate(codings) if coding["model"] is not None]
    models = [codings[index]["model"] for index in coded]
    circles = [-(-(lengths[i] + 64) // m.strides[0]) * m.strides[0] for i, m in zip(coded, models, strict=True)]  # 7
    if header["coder"] == 0 and coded:
        decoded = decode_tokens(rest.take(len(rest.content)), raw, models, circles)
    else:
        decoded = []
        for index, circle in zip(coded, circles, strict=True):
            group = codings[index]["group"]
            decoded.append(decode_classes(rest, raw, codings[index], starts[group], kernel_lengths[group], circle))
    rest.finish()
    raw.finish()
    coefficients, samples, crc = dict(zip(coded, decoded, strict=True)), [], 0
    for index, (coding, n) in enumerate(zip(codings, lengths, strict=True)):
        if index in coefficients:
            row = synthesise(coding, coefficients[index], starts[coding["group"]], events[index], n)
        else:
            row = np.full(n, coding["minimum"])
        for first, length in runs[index]:  # 10.4
            demand(length > 0 and first + length <= n, "missing run")
            row[first : first + length] = header["channels"][index]["missing"]
        samples.append(row.astype(np.int32))
        crc = zlib.crc32(row.astype("<i4").tobytes(), crc)  # 11
    demand(crc == digest, "digest")
    return samples


def read_sections(blob: bytes) -> list[tuple[int, bytes]]:  # 2
    demand(blob[:12] == b"\x89SAN\r\n\x1a\n\x01\0\0\0", "signature, version or flags")
    index_offset, mark = struct.unpack("<Q4s", blob[-12:])
    demand(mark == b"SANe", "trailer")
    fields, sections, chunks, offset = Bytes(blob[12:-12]), [], [], 0
    while fields.position < len(fields.content):
        offset = 12 + fields.position
        kind, length = fields.number("B"), fields.number("I")
        payload = fields.take(length)
        demand(fields.number("I") == zlib.crc32(blob[offset : offset + 5 + length]), f"CRC of section {kind}")
        sections.append((kind, payload))
        if kind == 4:
            chunks.append((offset, 9 + length))
    demand(offset == index_offset and sections[-1][0] == 5, "trailer does not point to the index")
    index = Bytes(sections[-1][1])
    expected = [chunks[0][0], len(chunks), *(length for _, length in chunks)]
    demand([index.varint() for _ in expected] == expected, "index")
    index.finish()
    return sections[:-1]


def decode(blob: bytes, models: tuple[bytes, ...] = ()) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Header and samples of a file; ``models`` are model bytes that it may name."""
    sections = read_sections(blob)
    kinds = [kind for kind, _ in sections]
    n_models, n_chunks = kinds.count(2), kinds.count(4)
    demand(kinds == [1] + [2] * n_models + [3] + [4] * n_chunks, "order of sections")
    header = read_header(sections[0][1])
    known = {hashlib.sha256(content).digest(): content for content in models}
    known |= {hashlib.sha256(content).digest(): content for kind, content in sections if kind == 2}
    used = [read_model(known[digest]) for digest in header["models"]]
    kernel_lengths, codings = read_coding(sections[1 + n_models][1], header, used)
    n_frames, chunk_frames = header["n_frames"], header["chunk_frames"]
    demand(n_chunks == -(-n_frames // chunk_frames), "number of chunks")
    chunks = []
    for index, (_, payload) in enumerate(sections[2 + n_models :]):
        length = min(chunk_frames, n_frames - index * chunk_frames)
        chunks.append(decode_chunk(payload, header, kernel_lengths, codings, length))
    return header, [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
