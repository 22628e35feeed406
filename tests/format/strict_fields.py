"""The parts of a ``.san`` file, read as docs/format.md says; comments name its sections. Every *must* is checked."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
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
    demand(re.fullmatch("wfdb|edf|array(:[iu][1248]:[12])?", header["source"]), f"source {header['source']!r}")
    header["rate"] = fields.varint(1, 2**62 - 1), fields.varint(1, 2**62 - 1)
    header["n_frames"], header["chunk_frames"] = n_frames, chunk_frames = (
        fields.varint(1, 2**40),
        fields.varint(1, 2**40),
    )
    header["n_chunks"] = -(-n_frames // chunk_frames)
    header["level"] = fields.varint(1, 9)
    header["models"] = [fields.take(32) for _ in range(fields.varint(0, 16))]
    demand(len(set(header["models"])) == len(header["models"]), "a model named twice")
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
    model.mixing, model.digest = [], hashlib.sha256(content).digest()
    for _ in range(n_sets):  # for coder 2
        terms, taps = fields.array("u2", 2, n_bands, 8), fields.array("i2", 2, n_bands, 14)
        prior, mixers = fields.array("i1", 6914), fields.array("i2", 8, 4)
        rows = {"terms": terms, "taps": taps, "prior": prior, "mixers": mixers}
        model.mixing.append(SimpleNamespace(**{name: row.tolist() for name, row in rows.items()}))
    fields.finish()
    return model


class Tables:  # 9.4
    def __init__(self, frequencies: np.ndarray) -> None:
        demand((frequencies.sum(axis=1) == 4096).all(), "frequencies")
        self.frequency, self.start = frequencies, np.cumsum(frequencies, axis=1) - frequencies
        self.symbol = np.array([np.repeat(np.arange(17), row) for row in frequencies], np.int64).reshape(-1, 4096)


def check_starts(starts: np.ndarray, kernel_length: int, n_samples: int) -> None:  # 6.1
    inside = len(starts) == 0 or (starts[0] > -kernel_length and starts[-1] < n_samples)
    demand((np.diff(starts) > 0).all() and inside, "starts that do not increase or leave the chunk")
    demand((starts[16:] - starts[:-16] >= kernel_length).all(), "a sample in more than 16 windows")


def read_events(content: bytes, coding: SimpleNamespace, lengths: list[int]) -> tuple[list[Any], list[Any]]:  # 6
    """Starts of each lead group; missing runs, kernels, gains and exceptions of each channel, which has a length.

    With coder 2 all starts of a group are its first, and no channel has gains: section 20 says them.
    """
    bits, starts, of_channels = Bits(content), [], []
    of_group = {c.group: length for c, length in zip(coding.channels, lengths, strict=True)}
    for group, kernel_length in enumerate(coding.kernel_lengths):  # 6.1
        n = int(bits.rice(1, 0, of_group[group] + kernel_length)[0]) if kernel_length else 0
        if coding.coder == 2:
            starts.append(np.repeat(bits.rice(min(n, 1)) - kernel_length, n))
            continue
        first, typical = bits.rice(2).tolist() if n else (0, 0)
        starts.append(np.cumsum([first - kernel_length, *(bits.srice(n - 1) + typical)] if n else []).astype(int))
        check_starts(starts[-1], kernel_length, of_group[group])
    for c, n_samples in zip(coding.channels, lengths, strict=True):
        n = int(bits.rice(1, 0, n_samples)[0]) if bits.u(1) else 0  # 6.2
        gaps, runs = bits.rice(n), bits.rice(n)
        ends = np.cumsum(gaps + runs)
        demand(n == 0 or (ends[-1] <= n_samples and runs.min() > 0), "missing runs")
        n = int(bits.rice(1, 0, n_samples)[0]) if c.lattice and bits.u(1) else 0  # 6.3
        exceptions = np.cumsum(bits.rice(n) + 1) - 1, bits.srice(n)
        demand(n == 0 or exceptions[0][-1] < n_samples, "an exception beyond the chunk")
        n = len(starts[c.group]) if coding.coder != 2 and c.cascade and len(c.cascade.kernels) else 0  # 6.4
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
