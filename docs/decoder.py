"""Decodes one ``.san`` file as format.md says; comments name its sections. Keep both beside an archive.

    python decoder.py FILE.san [-o OUT.npy] [--models DIR]

Needs Python 3.11, NumPy and python-zstandard. A file names its models by SHA-256 and may carry them; others are looked
up in DIR (``*.sanm``). OUT.npy gets the stored integers: (channel, sample), or (sample,) one channel after the other
where channels differ in length. A file that breaks the format in any way that matters to its samples is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import zstandard

HEADER, MODEL, CODING, CHUNK, INDEX = 1, 2, 3, 4, 5
ESCAPE = 16


def demand(condition: Any, what: str) -> None:
    if not condition:
        raise ValueError(f"the file breaks the format: {what}")


def unzigzag(u: Any) -> Any:  # 1.2
    return u >> 1 ^ -(u & 1)


def unzstd(frame: bytes, limit: int) -> bytes:  # 1.3
    demand(frame[:4] == b"\x28\xb5\x2f\xfd", "no zstd frame")
    demand(1 <= zstandard.frame_content_size(frame) <= limit, "content size of a zstd frame")
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


class Bytes:  # 1.1, 1.2
    def __init__(self, content: bytes, position: int = 0) -> None:
        self.content, self.position = content, position

    def take(self, n: int) -> bytes:
        self.position += n
        demand(self.position <= len(self.content), "bytes are missing")
        return self.content[self.position - n : self.position]

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def array(self, form: str, *shape: int) -> np.ndarray:
        return np.frombuffer(self.take(math.prod(shape) * int(form[-1])), "<" + form).reshape(shape).astype(np.int64)

    def varint(self, low: int = 0, high: int = 2**63 - 1) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.number("B")
            value |= (byte & 127) << shift
            if byte < 128:
                break
        demand(byte < 128 and low <= value <= high, f"a number of {value}, not {low} to {high}")
        return value

    def bytes(self) -> bytes:
        return self.take(self.varint())

    def finish(self) -> None:
        demand(self.position == len(self.content), "bytes follow the last field")


class Bits:  # 1.4, 1.5; one bit an element
    def __init__(self, content: bytes | np.ndarray) -> None:
        self.bits = np.unpackbits(np.frombuffer(content, np.uint8)) if isinstance(content, bytes) else content
        self.position = 0

    def take(self, n: int) -> np.ndarray:
        self.position += n
        demand(self.position <= len(self.bits), "bits are missing")
        return self.bits[self.position - n : self.position]

    def fields(self, widths: Any) -> np.ndarray:
        """Numbers of the given widths, below 54 each."""
        ends, owner = np.cumsum(widths), np.repeat(np.arange(len(widths)), widths)
        weights = 2.0 ** (ends[owner] - 1 - np.arange(len(owner)))
        return np.bincount(owner, self.take(len(owner)) * weights, len(widths)).astype(np.int64)

    def u(self, n: int) -> int:
        return int(self.fields([n])[0])

    def rice(self, n: int, low: int = 0, high: int = 2**32 - 1) -> np.ndarray:
        if n == 0:
            return np.zeros(0, np.int64)
        k = self.u(5)
        ends = np.flatnonzero(self.bits[self.position : self.position + 25 * n] == 0)[:n]
        demand(k <= 30 and len(ends) == n, "Rice list")
        values = np.diff(ends, prepend=-1) - 1
        self.position += int(ends[-1]) + 1
        short = values < 24
        demand(values.max() <= 24, "Rice quotient")
        values[short] = values[short] << k | self.fields(np.full(short.sum(), k))
        values[~short] = self.fields(np.full((~short).sum(), 32))
        demand(low <= values.min() and values.max() <= high, f"numbers up to {values.max()}, not {low} to {high}")
        return values

    def srice(self, n: int, low: int = -(2**31), high: int = 2**31 - 1) -> np.ndarray:
        values = unzigzag(self.rice(n))
        demand(((low <= values) & (values <= high)).all(), f"numbers that are not {low} to {high}")
        return values

    def finish(self) -> None:
        demand(len(self.bits) - self.position < 8 and not self.bits[self.position :].any(), "bits are left")


def read_sections(content: bytes) -> list[tuple[int, bytes]]:  # 2
    demand(content[:8] == b"\x89SAN\r\n\x1a\n", "signature")
    demand(content[8:12] == b"\1\0\0\0", f"version and flags are {content[8:12].hex()}; 01000000 can be read")
    demand(len(content) >= 24, "the file was cut short")
    fields, sections, offsets = Bytes(content[:-12], 12), [], []
    while fields.position < len(content) - 12:
        offsets.append(fields.position)
        kind, length = fields.number("B"), fields.number("I")
        payload = fields.take(length)
        crc = zlib.crc32(content[offsets[-1] : fields.position])
        demand(length <= 2**30 and fields.number("I") == crc, f"CRC of the section at {offsets[-1]}")
        sections.append((kind, payload))
    letters = "".join("?HMCcI"[kind] if kind < 6 else "a" if kind >= 128 else "?" for kind, _ in sections)
    order = re.fullmatch("(a*H[aM]*C)c+(Cc+)*a*I", letters)
    demand(order and letters.count("M") <= 16 and len(order[1]) <= 64, f"order of sections: {letters}")
    demand(content[-12:] == struct.pack("<Q4s", offsets[-1], b"SANe"), "trailer")
    first, last = letters.index("C"), letters.rindex("c")
    numbers, index = [offsets[first], letters.count("C")], Bytes(sections[-1][1])  # 2.2
    for segment in re.finditer("C(c+)", letters):
        lengths = [offsets[n + 1] - offsets[n] for n in range(*segment.span())]
        numbers += [lengths[0], len(lengths) - 1, *lengths[1:]]
    demand([index.varint() for _ in numbers] == numbers, "index")
    index.finish()
    return [section for section in sections[: last + 1] if section[0] < 128]


def read_header(payload: bytes) -> dict[str, Any]:  # 3
    fields = Bytes(unzstd(payload, 2**26))
    header: dict[str, Any] = {"source": fields.bytes().decode()}
    demand(re.fullmatch("wfdb|array(:[iu][1248]:[12])?", header["source"]), f"source {header['source']!r}")
    header["rate"] = fields.varint(1, 2**62 - 1), fields.varint(1, 2**62 - 1)
    header["n_frames"], header["chunk_frames"] = n_frames, chunk_frames = (
        fields.varint(1, 2**40),
        fields.varint(1, 2**40),
    )
    header["n_chunks"] = -(-n_frames // chunk_frames)
    header["level"] = fields.varint(1, 9)
    header["models"] = [fields.take(32) for _ in range(fields.varint(0, 16))]
    header["channels"] = [read_channel(fields) for _ in range(fields.varint(1, 4096))]
    n_samples = min(chunk_frames, n_frames) * sum(channel["per_frame"] for channel in header["channels"])
    demand(header["n_chunks"] <= 2**24 and n_samples <= 2**28, "number of chunks, or of samples in each")
    header["side_files"] = [(fields.bytes().decode(), fields.bytes()) for _ in range(fields.varint(0, 1024))]
    fields.finish()
    return header


def read_channel(fields: Bytes) -> dict[str, Any]:
    def stored() -> int:
        return int(unzigzag(fields.varint(0, 2**32 - 1)))

    channel: dict[str, Any] = {"name": fields.bytes().decode(), "unit": fields.bytes().decode()}
    channel |= {"gain": fields.number("d"), "baseline": stored(), "resolution": fields.varint(1, 32)}
    channel |= {"per_frame": fields.varint(1, 65535), "minimum": stored(), "maximum": stored()}
    channel["missing"] = stored() if fields.varint(0, 1) else None
    channel["largest_difference"] = fields.varint(0, 2**32)
    channel["promises"] = [(fields.varint(0, 2**32), fields.number("d")) for _ in range(fields.varint(0, 16))]
    reals = [channel["gain"], *(value for _, value in channel["promises"])]
    demand(channel["minimum"] <= channel["maximum"], "minimum above maximum")
    missing = channel["missing"]
    demand(missing is None or not channel["minimum"] <= missing <= channel["maximum"], "missing value in the range")
    demand(channel["gain"] and all(map(math.isfinite, reals)), "a gain of 0, or a number that is not finite")
    return channel


def read_model(content: bytes) -> SimpleNamespace:  # 4
    fields, model = Bytes(content), SimpleNamespace(groups=[], strides=[], peak_gain=0)
    demand(fields.take(4) == b"SANM" and fields.number("H") == 1, "model version")
    n_groups, metadata_length = fields.number("H"), fields.number("I")
    demand(1 <= n_groups <= 32 and metadata_length <= 65536, "groups or metadata of a model")
    demand(isinstance(json.loads(fields.take(metadata_length).decode()), dict), "metadata of a model")
    work = 0
    for _ in range(n_groups):
        stride, n_kernels, length, offset = (fields.number(form) for form in "HHIi")
        demand(1 <= stride <= 4096 and 1 <= n_kernels <= 1024 and 1 <= length <= 8192, "stride, kernels or length")
        demand(abs(offset) <= 8192 and (model.strides or [stride])[-1] % stride == 0, "offset or stride")
        work += n_kernels * -(-length // stride)
        padded = -(-length // stride) * stride
        weights = np.zeros((n_kernels, padded), np.int64)
        weights[:, :length] = fields.array("i4", n_kernels, length)
        model.groups.append((stride, offset, weights))
        model.strides += [stride] * n_kernels
        model.peak_gain += int(np.abs(weights).reshape(-1, stride).sum(axis=0).max())  # 10.2
    n_sets, n_bands = fields.number("B"), len(model.strides)
    density = sum(model.strides[0] // stride for stride in model.strides)
    demand(density <= model.strides[0] and work <= 4096 and 1 <= n_sets <= 8, "density, work or sets of a model")
    model.band_weights = fields.array("u2", n_sets, n_bands, 4)
    model.phase_groups = fields.array("u1", n_bands)
    model.frequencies = fields.array("u2", n_sets, 28, 17)
    demand(model.band_weights.max() <= 4096 and model.phase_groups.max() <= 15, "band weights or phase groups")
    demand((model.frequencies.sum(axis=2) == 4096).all() and model.frequencies[:, :, ESCAPE].all(), "frequencies")
    demand(
        (np.diff(np.sign(model.frequencies[:, :, :ESCAPE])) <= 0).all(), "a frequency that is not 0 behind one that is"
    )
    fields.finish()
    return model


def read_coding(payload: bytes, header: dict[str, Any], models: list[SimpleNamespace]) -> SimpleNamespace:  # 5
    bits = Bits(payload)
    coding = SimpleNamespace(crc=zlib.crc32(payload), channels=[], tables=None)
    coding.first_chunk, coding.n_chunks, coding.coder = bits.rice(3).tolist()
    demand(coding.coder in (0, 1), f"coder {coding.coder}")
    demand(1 <= coding.n_chunks <= header["n_chunks"] - coding.first_chunk, "chunks of a segment")
    coding.kernel_lengths = bits.rice(int(bits.rice(1, 1, len(header["channels"]))[0]), 0, 8192).tolist()
    for stored in header["channels"]:
        c = SimpleNamespace(stored=stored, prdn=struct.unpack(">f", bits.u(32).to_bytes(4, "big"))[0], layer=None)
        c.offset, c.minimum, c.maximum = bits.srice(3).tolist()
        c.largest_error, c.group = bits.rice(2).tolist()
        demand(c.prdn >= 0 and c.minimum <= c.maximum and c.group < len(coding.kernel_lengths), "channel of CODING")
        c.lattice = bits.rice(2).tolist() if bits.u(1) else None
        demand(c.lattice is None or (c.lattice[0] >= 1 and c.lattice[1] <= 45), "lattice")
        c.cascade = read_cascade(bits, coding, models, coding.kernel_lengths[c.group]) if bits.u(1) else None
        if bits.u(1):
            c.layer = read_layer(bits)
        c.is_constant = c.cascade is None and c.layer is None
        inside = stored["minimum"] <= c.minimum and c.maximum <= stored["maximum"]
        demand(c.minimum == c.maximum if c.is_constant else inside or c.lattice, "range of a channel")
        coding.channels.append(c)
    if coding.coder and any(c.layer for c in coding.channels):
        exponent, n_tables = bits.rice(2).tolist()
        demand(exponent <= 16 and n_tables <= 63, "residual tables")
        rows = [(bits.u(5), bits.rice(17, 0, 4096)) for _ in range(n_tables)]
        coding.block, coding.shifts = 1 << exponent, np.array([shift for shift, _ in rows], np.int64)
        coding.tables = Tables(np.array([row for _, row in rows], np.int64).reshape(-1, 17))
    bits.finish()
    rates = {(c.group, c.stored["per_frame"]) for c in coding.channels}
    demand(len(rates) == len({group for group, _ in rates}) == len(coding.kernel_lengths), "lead groups")
    for c in coding.channels:
        n_samples = header["chunk_frames"] * c.stored["per_frame"]
        demand(not c.layer or c.layer.restart >= min(len(c.layer.own), n_samples), "restart below own lags")
        for source, *_ in c.layer.references if c.layer else ():
            other = coding.channels[source]
            demand(not other.is_constant and other.stored["per_frame"] == c.stored["per_frame"], "a reference")
    return coding


def read_cascade(bits: Bits, coding: SimpleNamespace, models: list[Any], kernel_length: int) -> SimpleNamespace:
    model = models[int(bits.rice(1)[0])]
    cascade = SimpleNamespace(model=model, mantissa=bits.u(12), exponent=int(bits.srice(1, -40, 32)[0]))
    cascade.corrections = np.array([0, bits.u(6), bits.u(6), bits.u(6)])
    n = int(bits.rice(1, 0, 64)[0])
    cascade.kernel_exponent = int(bits.srice(1, -10, 20)[0]) if n else 0
    differences = [bits.srice(kernel_length, 1 - 2**18, 2**18 - 1) for _ in range(n)]
    cascade.kernels = np.array(differences, np.int64).reshape(n, kernel_length).cumsum(axis=1).cumsum(axis=1)
    demand(cascade.mantissa >= 2048 and (kernel_length or not n), "step, or beat kernels of length 0")
    demand((np.abs(cascade.kernels) < 2**16).all(), "weights of beat kernels")
    if coding.coder == 1:
        cascade.set, cascade.scales = bits.u(3), np.cumsum(bits.srice(len(model.strides)))
        demand(cascade.set < len(model.band_weights), "set")
        demand(cascade.scales.min() >= 0 and cascade.scales.max() <= 95, "scale codes")
        cascade.phases = np.zeros((int(model.phase_groups.max()) + 1, 25), np.int64)
        if bits.u(1):
            cascade.phases = np.array([bits.srice(25, -15, 15) for _ in cascade.phases])
    return cascade


def read_layer(bits: Bits) -> SimpleNamespace:
    layer = SimpleNamespace(references=[])
    layer.bound, layer.restart, layer.shift, n_own, n_references = bits.rice(5).tolist()
    demand(layer.bound <= 2**20 and layer.restart and layer.shift <= 20, "bound, restart or shift")
    demand(n_own <= 64 and n_references <= 256, "own lags or references")
    layer.own = bits.srice(n_own)
    for _ in range(n_references):
        source, n = bits.rice(2).tolist()
        first = int(bits.srice(1)[0])
        demand(n and first >= -64 and first + n - 1 <= 64, "lags of a reference")
        layer.references.append((source // 2, source % 2 == 1, first, bits.srice(n)))
    weights = np.concatenate([layer.own, *(weights for *_, weights in layer.references)])
    demand(len(weights) <= 2048 and np.abs(weights).sum() <= 2**26, "weights")
    return layer


def read_events(content: bytes, coding: SimpleNamespace, lengths: list[int]) -> tuple[list[Any], list[Any]]:  # 6
    """Starts of each lead group; missing runs, kernels, gains and exceptions of each channel, which has a length."""
    bits, starts, of_channels = Bits(content), [], []
    of_group = {c.group: length for c, length in zip(coding.channels, lengths, strict=True)}
    for group, kernel_length in enumerate(coding.kernel_lengths):  # 6.1
        n = int(bits.rice(1, 0, of_group[group] + kernel_length)[0]) if kernel_length else 0
        first, typical = bits.rice(2).tolist() if n else (0, 0)
        starts.append(np.cumsum([first - kernel_length, *(bits.srice(n - 1) + typical)] if n else []).astype(int))
        inside = n == 0 or (starts[-1][0] > -kernel_length and starts[-1][-1] < of_group[group])
        demand((np.diff(starts[-1]) > 0).all() and inside, "starts that do not increase or leave the chunk")
        demand((starts[-1][16:] - starts[-1][:-16] >= kernel_length).all(), "a sample in more than 16 windows")
    for c, n_samples in zip(coding.channels, lengths, strict=True):
        n = int(bits.rice(1, 0, n_samples)[0]) if bits.u(1) else 0  # 6.2
        gaps, runs = bits.rice(n), bits.rice(n)
        ends = np.cumsum(gaps + runs)
        demand(n == 0 or (ends[-1] <= n_samples and runs.min() > 0), "missing runs")
        n = int(bits.rice(1, 0, n_samples)[0]) if c.lattice and bits.u(1) else 0  # 6.3
        exceptions = np.cumsum(bits.rice(n) + 1) - 1, bits.srice(n)
        demand(n == 0 or exceptions[0][-1] < n_samples, "an exception beyond the chunk")
        n = len(starts[c.group]) if c.cascade and len(c.cascade.kernels) else 0  # 6.4
        if n and bits.u(1):
            gains = np.cumsum(np.concatenate([bits.rice(1), bits.srice(n - 1)]))
        else:
            gains = bits.rice(1) + bits.srice(n) if n else np.zeros(0, np.int64)
        kernels = np.zeros(n, np.int64)
        if n and len(c.cascade.kernels) > 1:
            kernels[gains > 0] = bits.rice(int((gains > 0).sum()), 0, len(c.cascade.kernels) - 1)
        demand(n == 0 or (gains.min() >= 0 and gains.max() <= 127), "gains")
        of_channels.append((np.stack([ends - runs, ends], axis=1), kernels, gains, exceptions))
    bits.finish()
    return starts, of_channels


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


class Tables:  # 9.4
    def __init__(self, frequencies: np.ndarray) -> None:
        demand((frequencies.sum(axis=1) == 4096).all(), "frequencies")
        self.frequency, self.start = frequencies, np.cumsum(frequencies, axis=1) - frequencies
        self.symbol = np.array([np.repeat(np.arange(17), row) for row in frequencies], np.int64).reshape(-1, 4096)


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


def approximate(c: SimpleNamespace, q: np.ndarray, circle: int, starts: np.ndarray, events: Any, n: int) -> np.ndarray:
    """10: the approximation of a channel's n samples, less its offset."""
    cascade, model, total, at = c.cascade, c.cascade.model, np.zeros(circle), 0
    a = np.sign(q) * (128 * np.abs(q) - cascade.corrections[np.minimum(np.abs(q), 3)])  # 10.1
    demand(int(np.abs(a).max()) * model.peak_gain < 2**50, "amplitudes beyond the exact range")
    for stride, offset, weights in model.groups:  # 10.2, a stretch of a stride's length of every kernel at a time
        width = circle // stride
        bands = a[at : at + len(weights) * width].reshape(len(weights), width).T.astype(float)
        at += bands.size
        part = np.zeros((width, stride))
        for turn in range(weights.shape[1] // stride):
            stretch = weights[:, turn * stride : (turn + 1) * stride].astype(float)
            part += np.roll(bands @ stretch, turn, axis=0)
        total += np.roll(part.ravel(), offset)
    reduced = (total[:n].astype(np.int64) + 512 >> 10).astype(float)  # 10.3
    f = np.floor(reduced * cascade.mantissa * 2.0 ** (cascade.exponent - 3) + 0.5)
    demand((np.abs(f) < 2**52).all(), "samples beyond the exact range")
    beats = np.zeros(n, np.int64)
    for start, kernel, gain in zip(starts, *events, strict=False):
        span = slice(max(start, 0), max(min(start + cascade.kernels.shape[1], n), 0))
        beats[span] += gain * cascade.kernels[kernel][span.start - start : span.stop - start]
    y = f.astype(np.int64) + (beats << cascade.kernel_exponent + 10)
    return np.clip(c.offset + (y + 512 >> 10), c.minimum, c.maximum) - c.offset


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
    fields, chunk = Bytes(payload), SimpleNamespace(n_frames=n_frames, lengths=lengths, u={}, q={})
    chunk.digest, n_events, n_raw = fields.number("I"), fields.varint(), fields.varint()
    n_coefficients = fields.varint() if layered else None
    starts, chunk.events = read_events(fields.take(n_events), coding, lengths)
    raw = Bits(fields.take(n_raw))
    left = len(payload) - fields.position
    rest = Bytes(fields.take(left if n_coefficients is None else n_coefficients))
    models = {i: channels[i].cascade.model for i in coded}
    circles = {i: -(-(lengths[i] + 64) // models[i].strides[0]) * models[i].strides[0] for i in coded}  # 7
    if coded and coding.coder == 0:
        widths = [[circles[i] // stride for stride in models[i].strides] for i in coded]
        limit = sum(2 * circles[i] + len(models[i].strides) for i in coded)
        found = dict(zip(coded, read_all_tokens(rest.take(len(rest.content)), raw, widths, limit), strict=True))
    for i in coded:
        c, group = channels[i], channels[i].group
        if coding.coder == 1:
            q = read_classes(rest, raw, c.cascade, starts[group], coding.kernel_lengths[group], circles[i])
        else:
            q = found[i]
        chunk.u[i] = approximate(c, q, circles[i], starts[group], chunk.events[i][1:3], lengths[i])
    rest.finish()
    if layered:
        content = fields.take(len(payload) - fields.position)
        chunk.q = dict(zip(layered, read_residuals(content, raw, coding, [lengths[i] for i in layered]), strict=True))
        chunk.u = {i: np.zeros(lengths[i], np.int64) for i in layered} | chunk.u
    raw.finish()
    return chunk


def restore(coding: SimpleNamespace, chunks: list[SimpleNamespace]) -> None:
    """11: samples of chunks of one length, by channel, before missing ones are marked."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="a .npy file")
    parser.add_argument("--models", type=Path, help="folder of .sanm files")
    options = parser.parse_args()
    contents = [path.read_bytes() for path in options.models.glob("*.sanm")] if options.models else []
    header, samples = decode(options.file.read_bytes(), {hashlib.sha256(each).digest(): each for each in contents})
    for channel, row in zip(header["channels"], samples, strict=True):
        crc = zlib.crc32(row)
        print(f"{channel['name']}: {len(row)} samples, {row.min()} to {row.max()}, CRC-32 {crc:08x}, {channel['unit']}")
    print(f"digests of {header['n_chunks']} chunks are right")
    if options.output:
        is_even = len({len(row) for row in samples}) == 1
        np.save(options.output, np.stack(samples) if is_even else np.concatenate(samples))


if __name__ == "__main__":
    main()
