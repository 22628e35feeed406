"""A second decoder of ``.san`` files, written from docs/format.md alone; numbers in comments are its sections.

It shares nothing with the package, checks most of what the document demands, and prefers plain loops to speed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Any

import numpy as np
from independent_fields import Bits, Bytes, demand, unzstd
from independent_sections import CHUNK, ESCAPE, MODEL, read_coding, read_header, read_model, read_sections

NO_PHASE = 24
QUARTER_POWERS = (65536, 77936, 92682, 110218)


def read_events(
    content: bytes, kernel_lengths: list[int], codings: list[dict[str, Any]], lengths: list[int]
) -> tuple[list[list[int]], list[list[tuple[int, int]]], list[list[tuple[int, int]]]]:
    """6.1 to 6.3: starts per lead group, missing runs per channel, (kernel, gain) of each event per channel.

    ``lengths`` are the samples of each channel in this chunk.
    """
    bits = Bits(content)
    of_group = {coding["group"]: length for coding, length in zip(codings, lengths, strict=True)}
    starts = [read_starts(bits, k, of_group[group]) if k else [] for group, k in enumerate(kernel_lengths)]
    runs, events = [], []
    for coding, n_samples in zip(codings, lengths, strict=True):
        runs.append([])
        if bits.u(1):
            n, end = bits.rice(1)[0], 0
            demand(n <= n_samples, "number of missing runs")
            for gap, length in zip(bits.rice(n), bits.rice(n), strict=True):
                runs[-1].append((end + gap, length))
                end += gap + length
                demand(length > 0 and end <= n_samples, "missing run")
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
        demand(all(kernel < max(len(coding["kernels"]), 1) for kernel, _ in events[-1]), "kernel of an event")
    bits.finish()
    return starts, runs, events


def read_starts(bits: Bits, kernel_length: int, n_samples: int) -> list[int]:  # 6.1
    n = bits.rice(1)[0]
    if not n:
        return []
    demand(n <= n_samples + kernel_length, "number of events")
    first, typical = bits.rice(2)
    starts = np.cumsum([first - kernel_length, *(gap + typical for gap in bits.srice(n - 1))])
    demand((np.diff(starts) > 0).all(), "starts do not increase")
    demand(starts[0] > -kernel_length and starts[-1] < n_samples, "a window outside the chunk")
    demand((starts[16:] - starts[:-16] >= kernel_length).all(), "a sample in more than 16 windows")
    return starts.tolist()


def decode_tokens(content: bytes, raw: Bits, models: list[Any], circles: list[int]) -> list[list[np.ndarray]]:
    """8: signed coefficients ``[coded channel][band]``."""
    fields = Bytes(content)
    layout, counts = fields.number("B"), [model.n_bands for model in models]
    demand(layout <= 2, "layout")
    limit = sum(2 * circle + n_bands for n_bands, circle in zip(counts, circles, strict=True))
    pieces = []
    for n_bands in ([sum(counts)], counts, [1] * sum(counts))[layout]:
        pieces.append(unzstd(fields.bytes(), limit))
        demand(pieces[-1].count(0) == n_bands and pieces[-1][-1] == 0, "bands of a zstd frame")
    tokens = Bytes(b"".join(pieces))
    demand(len(tokens.content) <= limit, "token bytes")
    fields.finish()

    def sized(sizes: list[int]) -> list[int]:
        large = iter(raw.rice(sizes.count(15)))
        values = [next(large) + 2**14 if size == 15 else int("1" + raw.take(size - 1), 2) for size in sizes]
        demand(max(values, default=0) < 2**31, "a sized number")
        return values

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
                word = next(words, None)
                demand(word is not None, "a word is missing")
                state[lane] = state[lane] << 16 | word
            known[band][w] = min(63, (direct[kind] if y == ESCAPE else y) << max(0, kind // 2 - 10))
            coded.append((band, w, y, kind))
    demand(next(words, None) is None and all(value < 2**17 for value in state), "end of a stream")
    head = "".join(f"{value - 2**16:016b}" for value in state)  # 9.5
    tail = Bits(bits=head + raw.bits[raw.position :])
    excess = tail.rice(sum(y == ESCAPE for _, _, y, _ in coded))
    demand(max(excess, default=0) <= 2**30, "excess of an escape")
    excesses = iter(excess)
    result = [np.zeros(circle // stride, np.int64) for stride in model.strides]
    highs = [direct[kind] + next(excesses) if y == ESCAPE else y for _, _, y, kind in coded]
    for high, (band, w, _, kind) in zip(highs, coded, strict=True):
        shift = max(0, kind // 2 - 10)
        result[band][w] = high << shift | tail.u(shift)
        demand(result[band][w] < 2**31, "magnitude")
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
    demand(all(abs(value) < 2**52 for value in scaled), "a sample is beyond the exact range")
    beats = np.zeros(n, np.int64)
    for start, (kernel, gain) in zip(starts, events, strict=False):
        weights = coding["kernels"][kernel]
        low, high = max(start, 0), min(start + len(weights), n)
        beats[low:high] += gain * weights[low - start : high - start]
    scale = 2 ** (coding["kernel_exponent"] + 10) if coding["kernels"] else 0
    samples = [coding["offset"] + (f + int(v) * scale + 512 >> 10) for f, v in zip(scaled, beats, strict=True)]
    return np.clip(samples, coding["minimum"], coding["maximum"])


def decode_chunk(
    payload: bytes, header: dict[str, Any], kernel_lengths: list[int], codings: list[dict[str, Any]], place: bytes
) -> list[np.ndarray]:
    """6: ``place`` is what its digest starts with: chunk number and CRC-32 of CODING."""
    number = int.from_bytes(place[:4], "little")
    n_frames = min(header["chunk_frames"], header["n_frames"] - number * header["chunk_frames"])
    lengths = [n_frames * channel["per_frame"] for channel in header["channels"]]
    fields = Bytes(payload)
    digest, n_events, n_raw = fields.number("I"), fields.varint(), fields.varint()
    starts, runs, events = read_events(fields.take(n_events), kernel_lengths, codings, lengths)
    raw, rest = Bits(fields.take(n_raw)), Bytes(fields.take(len(payload) - fields.position))
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
    demand(coded or not raw.bits, "raw bits without a coded channel")
    coefficients, samples, crc = dict(zip(coded, decoded, strict=True)), [], zlib.crc32(place)
    for index, (coding, n) in enumerate(zip(codings, lengths, strict=True)):
        if index in coefficients:
            row = synthesise(coding, coefficients[index], starts[coding["group"]], events[index], n)
        else:
            row = np.full(n, coding["minimum"])
        for first, length in runs[index]:  # 10.4
            missing = header["channels"][index]["missing"]
            demand(missing is not None, "a missing run without a missing value")
            row[first : first + length] = missing
        samples.append(row.astype(np.int32))
        crc = zlib.crc32(row.astype("<i4").tobytes(), crc)  # 11
    demand(crc == digest, "digest")
    return samples


def decode(blob: bytes, models: tuple[bytes, ...] = ()) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Header and samples of a file; ``models`` are model bytes that it may name."""
    sections = read_sections(blob)
    header = read_header(sections[0][1])
    known = {hashlib.sha256(content).digest(): content for content in models}
    known |= {hashlib.sha256(content).digest(): content for kind, content in sections if kind == MODEL}
    demand(all(digest in known for digest in header["models"]), "a model is missing")
    used = [read_model(known[digest]) for digest in header["models"]]
    chunks = [payload for kind, payload in sections if kind == CHUNK]
    coding = sections[-len(chunks) - 1][1]
    kernel_lengths, codings = read_coding(coding, header, used)
    demand(len(chunks) == -(-header["n_frames"] // header["chunk_frames"]), "number of chunks")
    places = [struct.pack("<II", number, zlib.crc32(coding)) for number in range(len(chunks))]
    parts = [
        decode_chunk(payload, header, kernel_lengths, codings, place)
        for payload, place in zip(chunks, places, strict=True)
    ]
    return header, [np.concatenate(channel) for channel in zip(*parts, strict=True)]
