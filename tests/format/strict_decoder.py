"""Decodes one ``.san`` file and checks every *must* of docs/format.md that matters to its samples.

Like docs/decoder.py, it was written from the document alone and shares no code with the package; that one is short,
this one tells which files have to be refused.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_coding import read_coding
from strict_events import read_mixed_events
from strict_fields import (
    CHUNK,
    CODING,
    ESCAPE,
    MODEL,
    Bits,
    Bytes,
    Tables,
    demand,
    read_events,
    read_header,
    read_model,
    read_sections,
    unzigzag,
    unzstd,
)
from strict_levels import read_levels
from strict_residuals import read_mixed_residuals
from strict_synthesis import component, sums, within


def read_frames(content: bytes, counts: list[int], limit: int) -> tuple[int, list[bytes]]:  # 8
    fields = Bytes(content)
    layout = fields.number("B")
    frames = [unzstd(fields.bytes(), limit) for _ in range(counts[layout])]
    demand(sum(map(len, frames)) <= limit, "bytes of all frames")
    fields.finish()
    return layout, frames


def read_tokens(tokens: bytes, raw: Bits, widths: list[int]) -> np.ndarray:  # 8
    """Coefficients of all bands of a channel, one band after the other."""

    def sized(sizes: np.ndarray) -> np.ndarray:
        values, is_large = np.zeros(len(sizes), np.int64), sizes == 15
        values[is_large] = raw.rice(int(is_large.sum())) + 2**14
        below = sizes[~is_large] - 1
        values[~is_large] = 1 << below | raw.fields(below)
        demand((values < 2**31).all(), "a number of 32 bits")
        return values

    high, size = (np.frombuffer(tokens, np.uint8).astype(np.int64) >> shift & 15 for shift in (4, 0))
    is_end, is_long, is_value = (size == 0) & (high == 0), (size == 0) & (high > 0), size > 0
    demand(not (is_value & (high == 15)).any() and not (is_long[:-1] & ~is_value[1:]).any(), "reserved tokens")
    advance = np.where(is_value, high + 1, 0)
    advance[is_long] = 14 + sized(high[is_long])
    band = np.cumsum(is_end) - is_end
    position = np.cumsum(advance) - 1
    position -= np.concatenate([[0], (position + 1)[is_end]])[band]
    at, band = position[is_value], band[is_value]
    demand((at < np.array(widths)[band]).all(), "a run leaves its band")
    at += (np.cumsum(widths) - widths)[band]
    q = np.zeros(sum(widths), np.int64)
    q[at] = sized(size[is_value])
    q[at] *= 1 - 2 * raw.take(len(at)).astype(np.int64)
    return q


def read_all_tokens(content: bytes, raw: Bits, widths: list[list[int]], limit: int) -> list[np.ndarray]:  # 8
    """Coefficients of each coded channel, all bands of one after the other; ``widths`` are those of its bands."""
    counts = [len(each) for each in widths]
    layout, frames = read_frames(content, [1, len(counts), sum(counts)], limit)
    for frame, n_bands in zip(frames, ([sum(counts)], counts, [1] * sum(counts))[layout], strict=True):
        demand(frame.count(0) == n_bands and frame[-1] == 0, "bands of a zstd frame")
    tokens, position, found = b"".join(frames), 0, []
    for of_channel in widths:
        start = position
        for _ in of_channel:
            position = tokens.index(0, position) + 1
        found.append(read_tokens(tokens[start:position], raw, of_channel))
    return found


class Lanes:  # 9.4
    def __init__(self, fields: Bytes, is_used: bool) -> None:
        n_lanes, n_words = fields.varint(0, 4096), fields.varint()
        demand(bool(n_lanes) == is_used and (n_lanes or not n_words), "lanes")
        self.state, self.words, self.next = fields.array("u4", n_lanes), fields.array("u2", n_words), 0
        demand((self.state >= 2**16).all(), "initial states")

    def symbols(self, rows: np.ndarray, tables: Tables) -> np.ndarray:
        """One symbol for each given row of frequencies; lanes take turns."""
        n, result = len(self.state), np.zeros(len(rows), np.int64)
        for first in range(0, len(rows), max(n, 1)):
            row = rows[first : first + n]
            state = self.state[: len(row)]
            slot = state & 4095
            y = result[first : first + n] = tables.symbol[row, slot]
            state[:] = tables.frequency[row, y] * (state >> 12) + slot - tables.start[row, y]
            low = np.flatnonzero(state < 2**16)
            self.next += len(low)
            demand(self.next <= len(self.words), "words are missing")
            state[low] = state[low] << 16 | self.words[self.next - len(low) : self.next]
        return result

    def numbers(self, high: np.ndarray, is_escape: np.ndarray, shift: np.ndarray, raw: Bits, limit: int) -> np.ndarray:
        """9.5: excesses, low bits and signs from the tail bits make symbols into numbers."""
        demand(self.next == len(self.words) and (self.state < 2**17).all(), "end of a stream")
        head = np.unpackbits((self.state - 2**16).astype(">u2").view(np.uint8))
        tail = Bits(np.concatenate([head, raw.bits[raw.position :]]))
        high[is_escape] += tail.rice(int(is_escape.sum()), 0, 2**30)
        q = high << shift | tail.fields(shift)
        demand((q < limit).all(), "magnitude")
        q[q > 0] *= 1 - 2 * tail.take(int((q > 0).sum())).astype(np.int64)
        demand(not head[tail.position :].any(), "bits are left in the states")
        raw.take(max(0, tail.position - len(head)))
        return q


def read_classes(
    fields: Bytes, raw: Bits, c: SimpleNamespace, starts: np.ndarray, kernel_length: int, circle: int
) -> np.ndarray:
    """9: coefficients of all bands of a channel, one band after the other."""
    model, scales = c.model, c.scales
    lanes, known, found = Lanes(fields, bool(scales.any())), [], []
    tables = Tables(model.frequencies[c.set])
    direct = np.argmin(np.append(tables.frequency[:, :ESCAPE], np.zeros((28, 1), int), axis=1), axis=1)
    for band, stride in enumerate(model.strides):
        window = np.arange(circle // stride)
        known.append(np.zeros(len(window), np.int64))
        if not scales[band]:
            continue
        g = model.band_weights[c.set, band]
        centre = window * stride + stride // 2  # 9.1
        event = np.searchsorted(starts, centre, side="right") - 1
        since = centre - starts[event] if len(starts) else centre
        phase = np.where(event >= 0, np.minimum(since * 16 // max(kernel_length, 1), 24), 24)
        quarter = scales[band] - 41 + 2 * c.phases[model.phase_groups[band]]  # 9.2
        powers = np.array([65536, 77936, 92682, 110218], object)[quarter % 4]
        expected = [
            min(16383, power * 2 ** (n + 92) >> 100) for power, n in zip(powers, (quarter // 4).tolist(), strict=True)
        ]
        total = (np.array(expected, np.int64) * g[0] >> 8)[phase]  # 9.3
        for back, (middle, aside) in ((1, (g[1], g[2])), (2, (2 * g[3], g[3]))):
            if band >= back:
                k, v = known[band - back], window // (model.strides[band - back] // stride)
                total += (middle * k + aside * (np.roll(k, 1) + np.roll(k, -1)))[v]
        total = np.minimum(total, 16383)
        n = np.frexp(np.maximum(total, 1))[1].astype(np.int64) - 1
        rows = np.minimum(27, 2 * n + (total**2 >= 2 * 4**n))
        y = lanes.symbols(rows, tables)
        shift = np.maximum(0, rows // 2 - 10)
        high = np.where(y == ESCAPE, direct[rows], y)
        known[band] = np.minimum(63, high << shift)
        found.append((high, y == ESCAPE, shift))
    q = [np.zeros(circle // stride, np.int64) for stride in model.strides]
    if found:
        numbers = lanes.numbers(*(np.concatenate(each) for each in zip(*found, strict=True)), raw, 2**31)
        is_on = np.repeat(scales > 0, [len(row) for row in q])
        joined = np.concatenate(q)
        joined[is_on] = numbers
        return joined
    return np.concatenate(q)


def read_residuals(content: bytes, raw: Bits, coding: SimpleNamespace, lengths: list[int]) -> list[np.ndarray]:  # 11.3
    """Differences of each residual channel, which has a length."""
    found = []
    if coding.coder == 0:
        _, frames = read_frames(content, [1, len(lengths)], sum(2 * n + 2 for n in lengths))
        fields = Bytes(b"".join(frames))
        for n in lengths:
            form = fields.number("B")
            if form == 255:
                end = fields.content.index(0, fields.position) + 1
                found.append(read_tokens(fields.take(end - fields.position), raw, [n]))
                continue
            demand(form <= 24, f"form {form}")
            high = fields.array("u1", n)
            high[high == 255] += raw.rice(int((high == 255).sum()))
            z = high << form | raw.fields(np.full(n, form))
            demand((z < 2**34 - 1).all(), "a difference of 2³³ or more")
            found.append(unzigzag(z))
        fields.finish()
        return found
    fields, counts = Bytes(content), [-(-n // coding.block) for n in lengths]
    classes = np.frombuffer(unzstd(fields.bytes(), sum(counts)), np.uint8).astype(int)
    demand(len(classes) == sum(counts) and classes.max() <= len(coding.shifts), "classes of blocks")
    for n, of_blocks in zip(lengths, np.split(classes, np.cumsum(counts)[:-1]), strict=True):
        row = np.repeat(of_blocks, coding.block)[:n] - 1
        is_coded = row >= 0
        lanes, q = Lanes(fields, bool(is_coded.any())), np.zeros(n, np.int64)
        y = lanes.symbols(row[is_coded], coding.tables)
        q[is_coded] = lanes.numbers(y, y == ESCAPE, coding.shifts[row[is_coded]], raw, 2**33)
        found.append(q)
    fields.finish()
    return found


def predict(c: SimpleNamespace, u: dict[int, Any], y: dict[int, Any], own_u: np.ndarray, q: np.ndarray) -> np.ndarray:
    """11.2: samples of a channel less its offset, (chunk, sample), from those of others."""
    layer, n = c.layer, q.shape[1]
    low, high, step = c.minimum - c.offset, c.maximum - c.offset, (2 * layer.bound + 1) * q
    total = np.full(q.shape, 2**layer.shift // 2, np.int64)
    for source, is_decoded, first, weights in layer.references:
        v = (y if is_decoded else u)[source]
        for lag, weight in enumerate(weights, first):
            total += weight * v[:, np.clip(np.arange(n) - lag, 0, n - 1)]
    p, restart = len(layer.own), min(layer.restart, n)
    if p == 0:
        return np.clip((total >> layer.shift) + step, low, high)
    starts = np.arange(0, n, restart)
    # (position, block): the blocks of all chunks side by side
    total, step = (np.pad(each, ((0, 0), (0, -n % restart))).reshape(-1, restart).T for each in (total, step))
    before = own_u[:, np.maximum(starts + np.arange(-p, 0)[:, None], 0)]  # (chunk, lag, block)
    h = np.concatenate([before.transpose(1, 0, 2).reshape(p, -1), np.zeros_like(step)])
    for position in range(restart):
        predicted = layer.own[::-1] @ h[position : position + p] + total[position] >> layer.shift
        h[p + position] = np.clip(predicted + step[position], low, high)
        if position == 0:
            h[:p] += h[p] - own_u[:, starts].ravel()
    return h[p:].T.reshape(len(q), -1)[:, :n]


def read_chunk(payload: bytes, coding: SimpleNamespace, n_frames: int) -> SimpleNamespace:  # 6
    """What the streams of a chunk say; approximations and differences by channel."""
    channels = dict(enumerate(coding.channels))
    coded, layered = ([i for i, c in channels.items() if getattr(c, name)] for name in ("cascade", "layer"))
    lengths = [n_frames * c.stored["per_frame"] for c in coding.channels]
    fields, chunk = Bytes(payload), SimpleNamespace(n_frames=n_frames, lengths=lengths, u={}, q={}, y={})
    chunk.digest, n_events, n_raw = fields.number("I"), fields.varint(), fields.varint()
    n_coefficients = fields.varint() if layered else None
    starts, chunk.events = read_events(fields.take(n_events), coding, lengths)
    raw_bytes = fields.take(n_raw)
    raw = Bits(b"" if coding.coder == 2 else raw_bytes)
    if coding.coder == 2:
        starts, played = read_mixed_events(raw_bytes, coding, starts, lengths)
        chunk.events = [
            (runs, *each, exceptions) for (runs, _, _, exceptions), each in zip(chunk.events, played, strict=True)
        ]
    left = len(payload) - fields.position
    rest = Bytes(fields.take(left if n_coefficients is None else n_coefficients))
    models = {i: channels[i].cascade.model for i in coded}
    circles = {i: -(-(lengths[i] + 64) // models[i].strides[0]) * models[i].strides[0] for i in coded}  # 7
    if coded and coding.coder == 0:
        widths = [[circles[i] // stride for stride in models[i].strides] for i in coded]
        limit = sum(2 * circles[i] + len(models[i].strides) for i in coded)
        found = dict(zip(coded, read_all_tokens(rest.take(len(rest.content)), raw, widths, limit), strict=True))
    if coding.coder == 2:
        mixed = [
            SimpleNamespace(
                cascade=channels[i].cascade,
                starts=starts[channels[i].group],
                kernel_length=coding.kernel_lengths[channels[i].group],
                circle=circles[i],
            )
            for i in coded
        ]
        found = dict(zip(coded, read_levels(rest.take(len(rest.content)), mixed) if coded else [], strict=True))
    y = {}
    for i in coded:
        c, group = channels[i], channels[i].group
        if coding.coder == 1:
            q = read_classes(rest, raw, c.cascade, starts[group], coding.kernel_lengths[group], circles[i])
        else:
            q = found[i]
        y[i] = component(c, q, circles[i], starts[group], chunk.events[i][1:3], lengths[i])
    chunk.u = {i: within(channels[i], y[i] + 512 >> 10) for i in coded if not channels[i].is_mixed}
    for mix in filter(None, coding.mixes):
        rows = sums(mix, [y[i] for i in mix.components])
        chunk.u |= {i: within(channels[i], row) for i, row in zip(mix.members, rows, strict=True)}
    rest.finish()
    if layered:
        content = fields.take(len(payload) - fields.position)
        chunk.u = {i: np.zeros(lengths[i], np.int64) for i in layered} | chunk.u
        if coding.coder == 2:
            chunk.y = read_mixed_residuals(content, channels, chunk.u)
        else:
            found = read_residuals(content, raw, coding, [lengths[i] for i in layered])
            chunk.q = dict(zip(layered, found, strict=True))
    raw.finish()
    return chunk


def restore(coding: SimpleNamespace, chunks: list[SimpleNamespace]) -> None:
    """11: samples of chunks of one length, by channel, before missing ones are marked."""
    if coding.coder == 2:
        for chunk in chunks:
            chunk.samples = {i: row + coding.channels[i].offset for i, row in (chunk.y or chunk.u).items()}
        return
    u = {i: np.stack([chunk.u[i] for chunk in chunks]) for i in chunks[0].u}
    y = {i: rows for i, rows in u.items() if i not in chunks[0].q}
    while waiting := [i for i in chunks[0].q if i not in y]:
        ready = None
        for i in waiting:
            c = coding.channels[i]
            if all(not is_decoded or source in y for source, is_decoded, *_ in c.layer.references):
                ready = y[i] = predict(c, u, y, u[i], np.stack([chunk.q[i] for chunk in chunks]))
        demand(ready is not None, "channels that are predicted from each other")
    for number, chunk in enumerate(chunks):
        chunk.samples = {i: rows[number] + coding.channels[i].offset for i, rows in y.items()}


def from_lattice(k: np.ndarray, c: SimpleNamespace, positions: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """11.4: samples from multiples of a step, and what they differ by at some positions."""
    shift, is_truncated = c.lattice[1] // 2, c.lattice[1] % 2
    t = k * c.lattice[0]
    v = np.sign(t) * (np.abs(t) >> shift) if is_truncated else t + 2**shift // 2 >> shift
    v[positions] += differences
    return np.clip(v, c.stored["minimum"], c.stored["maximum"])


def finished(coding: SimpleNamespace, chunk: SimpleNamespace) -> list[np.ndarray]:
    """Samples of every channel as they are stored, int32."""
    rows = []
    for i, (c, n) in enumerate(zip(coding.channels, chunk.lengths, strict=True)):
        runs, _, _, exceptions = chunk.events[i]
        row = np.full(n, c.minimum) if c.is_constant else chunk.samples[i]
        if c.lattice and not c.is_constant:
            row = from_lattice(row, c, *exceptions)
        for start, end in runs:  # 10.4
            demand(c.stored["missing"] is not None, "a missing run without a missing value")
            row[start:end] = c.stored["missing"]
        rows.append(row.astype("<i4"))
    return rows


def decode_segment(coding: SimpleNamespace, header: dict[str, Any], payloads: list[bytes]) -> list[list[np.ndarray]]:
    numbers, chunks, result = range(coding.first_chunk, coding.first_chunk + coding.n_chunks), [], []
    for number, payload in zip(numbers, payloads, strict=True):
        left = header["n_frames"] - number * header["chunk_frames"]
        chunks.append(read_chunk(payload, coding, min(header["chunk_frames"], left)))
    for n_frames in {chunk.n_frames for chunk in chunks}:
        restore(coding, [chunk for chunk in chunks if chunk.n_frames == n_frames])
    for number, chunk in zip(numbers, chunks, strict=True):
        rows, crc = finished(coding, chunk), zlib.crc32(struct.pack("<II", number, coding.crc))  # 12
        for row in rows:
            crc = zlib.crc32(row, crc)
        demand(crc == chunk.digest, f"digest of chunk {number}")
        result.append(rows)
    return result


def decode(content: bytes, models: dict[bytes, bytes]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What HEADER says, and the int32 samples of each channel; ``models`` are model bytes by SHA-256."""
    sections = read_sections(content)
    header = read_header(sections[0][1])
    known = models | {hashlib.sha256(payload).digest(): payload for kind, payload in sections if kind == MODEL}
    for digest in header["models"]:
        demand(digest in known, f"no fault of the file: it needs the model of SHA-256 {digest.hex()}")
    used = [read_model(known[digest]) for digest in header["models"]]
    segments: list[tuple[bytes, list[bytes]]] = []
    for kind, payload in sections:
        if kind == CODING:
            segments.append((payload, []))
        elif kind == CHUNK:
            segments[-1][1].append(payload)
    parts: list[list[np.ndarray]] = []
    demand(sum(len(chunks) for _, chunks in segments) == header["n_chunks"], "number of chunks")
    for payload, chunks in segments:
        coding = read_coding(payload, header, used)
        demand((coding.first_chunk, coding.n_chunks) == (len(parts), len(chunks)), "chunks of a segment")
        parts += decode_segment(coding, header, chunks)
    return header, [np.concatenate(channel) for channel in zip(*parts, strict=True)]
