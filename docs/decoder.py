"""Decodes one ``.san`` file as format.md says, whose sections the comments name: keep both beside an archive.

Usage: python decoder.py FILE.san [-o OUT.npy] [--models DIR], where DIR holds the ``.sanm`` files that FILE may need,
and OUT.npy gets the stored integers: (channel, sample), or channel after channel where they differ in length.
"""

import argparse
import hashlib
import io
import struct
import sys
import zlib
from bisect import bisect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import zstandard


def demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def signed(u):  # 1.2, zigzag numbers: one, or an array
    return u >> 1 ^ -(u & 1)


class Bytes(io.BytesIO):
    def varint(self) -> int:  # 1.2
        byte = self.read(1)[0]
        return byte if byte < 128 else byte - 128 + 128 * self.varint()

    def array(self, form: str, *shape: int) -> np.ndarray:  # 1.1
        return np.frombuffer(self.read(np.prod(shape) * int(form[1])), "<" + form).reshape(shape).astype(np.int64)

    def frames(self, n: int) -> "Bytes":  # 1.3, their contents, joined
        return Bytes(b"".join([zstandard.decompress(self.read(self.varint())) for _ in range(n)]))

    def header(self) -> SimpleNamespace:  # 3
        number, text = self.varint, lambda: self.read(self.varint()).decode()
        header = SimpleNamespace(source=text(), rate=(number(), number()), channels=[])
        header.n_frames, header.chunk_frames, header.level = number(), number(), number()
        header.models = [struct.unpack("32s", self.read(32))[0] for _ in range(number())]
        for _ in range(number()):
            c = SimpleNamespace(name=text(), unit=text(), gain=struct.unpack("<d", self.read(8))[0])
            c.baseline, c.resolution, c.per_frame = signed(number()), number(), number()
            c.lowest, c.highest, c.missing = signed(number()), signed(number()), signed(number()) if number() else None
            c.difference, c.promises = number(), [(number(), self.read(8)) for _ in range(number())]
            header.channels.append(c)
        header.side_files = [(text(), self.read(number())) for _ in range(number())]
        return header

    def model(self) -> SimpleNamespace:  # 4
        model, (signature, n_groups, length) = SimpleNamespace(groups=[]), struct.unpack("<6sHI", self.read(12))
        demand(signature == b"SANM\1\0" and self.seek(length, 1), "a model is not one of version 1")
        for _ in range(n_groups):
            stride, n_kernels, length, offset = struct.unpack("<HHIi", self.read(12))
            model.groups.append((stride, offset, self.array("i4", n_kernels, length).astype(float)))
        model.strides = np.concatenate([[stride] * len(weights) for stride, _, weights in model.groups])
        n_sets, n_bands = self.read(1)[0], len(model.strides)
        model.weights, model.phase_groups = self.array("u2", n_sets, n_bands, 4), self.array("u1", n_bands)
        model.frequencies, model.n_phases = self.array("u2", n_sets, 28, 17), max(model.phase_groups) + 1
        return model


class Bits:
    def __init__(self, content: bytes) -> None:
        self.bits, self.position = np.unpackbits(np.frombuffer(content, np.uint8)), 0

    def u(self, widths):  # 1.4, a number of a width, or an array of widths; below 2**53
        ends, owner = np.cumsum(widths), np.repeat(np.arange(np.size(widths)), widths)
        bits, self.position = self.bits[self.position :][: len(owner)], self.position + len(owner)
        numbers = np.bincount(owner, bits * 2.0 ** (ends[owner] - 1 - np.arange(len(owner))), len(ends))
        return numbers.astype(np.int64).reshape(np.shape(widths))[()]

    def rice(self, n: int) -> np.ndarray:  # 1.5
        k = self.u(5) if n else 0
        ends = np.flatnonzero(self.bits[self.position : self.position + 25 * n] == 0)[:n]
        values = np.diff(ends, prepend=-1) - 1
        self.position += n + values.sum()
        short = values < 24
        values[short] = (values[short] << k) + self.u(np.full(short.sum(), k))
        values[~short] = self.u(np.full((~short).sum(), 32))
        return values

    def sized(self, size: np.ndarray) -> np.ndarray:  # 8
        values, is_large = 1 << size - 1, size == 15
        values[is_large] += self.rice(is_large.sum())
        values[~is_large] += self.u(size[~is_large] - 1)
        return values

    def tokens(self, file: Bytes, widths: np.ndarray) -> np.ndarray:  # 8, coefficients of bands of these widths
        token = file.array("u1", len(b"0".join(file.getvalue()[file.tell() :].split(b"\0", len(widths))[:-1])) + 1)
        high, size, is_end = token >> 4, token & 15, token == 0
        advance, is_long = np.where(size, high + 1, 0), (size == 0) & (high > 0)
        advance[is_long] = 14 + self.sized(high[is_long])
        position, band, q = np.cumsum(advance), np.cumsum(is_end)[size > 0], np.zeros(widths.sum(), np.int64)
        begin = np.cumsum(widths) - widths - np.append(0, position[is_end][:-1])
        q[position[size > 0] - 1 + begin[band]] = self.sized(size[size > 0])
        q[q > 0] *= 1 - 2 * self.u(np.ones(np.count_nonzero(q), np.int64))
        return q

    def lanes(self, file: Bytes, is_on: np.ndarray, table: np.ndarray, bands) -> np.ndarray:  # 9.4
        n, n_words, ends, found = file.varint(), file.varint(), table.cumsum(axis=1).tolist(), []
        state, words, table = file.array("u4", n).tolist(), iter(file.array("u2", n_words).tolist()), table.tolist()
        for rows, direct, shift, known in bands:
            y = np.zeros(len(rows), np.int64)
            for i, row in enumerate(rows.tolist()):
                slot = state[i % n] & 4095
                y[i] = symbol = bisect(ends[row], slot)
                following = table[row][symbol] * ((state[i % n] >> 12) + 1) + slot - ends[row][symbol]
                state[i % n] = following if following >= 2**16 else following << 16 | next(words)
            found.append((np.where(y == 16, direct, y), shift, y == 16))
            known[: len(y)] = np.minimum(63, found[-1][0] << shift)
        high, shift, is_escape = map(np.concatenate, zip(*found, strict=True))  # 9.5
        tail, q = Bits((np.array(state, np.int64) - 2**16).astype(">u2").tobytes()), np.zeros(len(is_on), np.int64)
        tail.bits = np.concatenate([tail.bits, self.bits[self.position :]])
        high[is_escape] += tail.rice(is_escape.sum())
        q[is_on] = (high << shift) + tail.u(shift)
        q[q > 0] *= 1 - 2 * tail.u(np.ones(np.count_nonzero(q), np.int64))
        self.position += max(tail.position - 16 * n, 0)
        return q


class Segment:
    def __init__(self, payload: bytes, header: SimpleNamespace, models: list[SimpleNamespace]) -> None:  # 5
        bits, self.crc, self.channels = Bits(payload), zlib.crc32(payload), header.channels
        self.first_chunk, self.n_chunks, self.coder = bits.rice(3)
        demand(self.coder < 2, f"coder {self.coder} is unknown; 0 and 1 can be read")
        self.kernel_lengths = bits.rice(bits.rice(1)[0])
        for c in self.channels:
            c.prdn, (c.offset, c.minimum, c.maximum), (_, c.group) = bits.u(32), signed(bits.rice(3)), bits.rice(2)
            c.lattice, c.is_coded = bits.rice(2) if bits.u(1) else None, bits.u(1)
            if c.is_coded:
                c.model, c.mantissa, c.exponent = models[bits.rice(1)[0]], bits.u(12), signed(bits.rice(1))[0]
                c.corrections, n = np.append(0, bits.u([6, 6, 6])), bits.rice(1)[0]
                c.kernel_exponent, length = signed(bits.rice(min(n, 1))).sum(), self.kernel_lengths[c.group]
                c.kernels = [signed(bits.rice(length)).cumsum().cumsum() for _ in range(n)]
            if c.is_coded and self.coder == 1:
                c.set, c.scales, has_phases = bits.u(3), signed(bits.rice(len(c.model.strides))).cumsum(), bits.u(1)
                c.phases = [signed(bits.rice(25)) if has_phases else np.zeros(25, int) for _ in range(c.model.n_phases)]
            c.is_residual = bits.u(1)
            if c.is_residual:
                c.bound, c.restart, c.shift, n_own, n_references = bits.rice(5)
                c.own, c.references = signed(bits.rice(n_own)), []
                for source, n in (bits.rice(2) for _ in range(n_references)):
                    c.references.append((source, signed(bits.rice(1))[0], signed(bits.rice(n))))
        self.residual = [c for c in self.channels if c.is_residual]
        if self.residual and self.coder == 1:
            self.exponent, n = bits.rice(2)
            self.tables = np.array([(bits.u(5), *bits.rice(17)) for _ in range(n)], np.int64).reshape(n, 18)

    def chunk(self, payload: bytes, number: int, n_frames: int) -> list[np.ndarray]:  # 6
        file, rows = Bytes(payload), []
        digest, n_events, n_raw, n = file.read(4), file.varint(), file.varint(), file.varint() if self.residual else -1
        self.read_events(Bits(file.read(n_events)))
        raw, coefficients = Bits(file.read(n_raw)), Bytes(file.read(n))
        n_bands = [len(c.model.strides) for c in self.channels if c.is_coded]
        if self.coder == 0 and n_bands:  # 8
            coefficients = coefficients.frames((1, len(n_bands), sum(n_bands))[coefficients.read(1)[0]])
        for c in self.channels:
            c.n = n_frames * c.per_frame
            c.u = self.approximation(c, coefficients, raw) if c.is_coded else np.zeros(c.n, np.int64)
            c.y = None if c.is_residual else c.u
        self.read_residuals(file, raw)
        while waiting := [c for c in self.residual if c.y is None]:  # 11.1
            c = next(c for c in waiting if all(self.channels[s // 2].y is not None for s, *_ in c.references if s % 2))
            c.y = self.prediction(c)
        for c in self.channels:
            x = np.clip(c.y + c.offset, c.minimum, c.maximum)
            if c.lattice is not None and (c.is_coded or c.is_residual):  # 11.4
                t, shift = x * c.lattice[0], c.lattice[1] // 2
                x = np.sign(t) * (np.abs(t) >> shift) if c.lattice[1] % 2 else t + 2**shift // 2 >> shift
                x[c.exceptions] += c.differences
                x = np.clip(x, c.lowest, c.highest)
            for start, end in c.missing_runs:  # 10.4
                x[start:end] = c.missing
            rows.append(x.astype("<i4"))
        crc = zlib.crc32(np.concatenate(rows), zlib.crc32(struct.pack("<II", number, self.crc)))  # 12
        demand(digest == struct.pack("<I", crc), f"the samples of chunk {number} do not match their digest")
        return rows

    def read_events(self, bits: Bits) -> None:
        starts = []
        for length in self.kernel_lengths:  # 6.1
            n = bits.rice(min(length, 1)).sum()
            first, typical = bits.rice(2) if n else (0, 0)
            starts.append(np.cumsum([first - length, *(signed(bits.rice(max(n - 1, 0))) + typical)])[:n])
        for c in self.channels:
            n, c.starts = bits.rice(bits.u(1)).sum(), starts[c.group]  # 6.2
            c.missing_runs = np.cumsum(np.stack([bits.rice(n), bits.rice(n)], axis=1)).reshape(n, 2)
            n = bits.rice(bits.u(1)).sum() if c.lattice is not None else 0  # 6.3
            c.exceptions, c.differences = np.cumsum(bits.rice(n) + 1) - 1, signed(bits.rice(n))
            n = len(c.starts) if c.is_coded and c.kernels else 0  # 6.4
            is_drift, first, c.kernel_of = n and bits.u(1), bits.rice(min(n, 1)), np.zeros(n, np.int64)
            c.gains = np.cumsum([*first, *signed(bits.rice(n - 1))]) if is_drift else first + signed(bits.rice(n))
            c.kernel_of[c.gains > 0] = bits.rice(np.count_nonzero(c.gains)) if n and len(c.kernels) > 1 else 0

    def approximation(self, c: SimpleNamespace, file: Bytes, raw: Bits) -> np.ndarray:
        circle, length = c.n + 64 + -(c.n + 64) % c.model.strides[0], self.kernel_lengths[c.group]  # 7
        widths, total, beats = circle // c.model.strides, np.zeros(circle), np.zeros(c.n + 2 * length, np.int64)
        if self.coder == 0:
            q = raw.tokens(file, widths)
        else:
            q = raw.lanes(file, np.repeat(c.scales > 0, widths), c.model.frequencies[c.set], self.classes(c, widths))
        a = np.sign(q) * (128 * np.abs(q) - c.corrections[np.minimum(np.abs(q), 3)])  # 10.1
        for stride, offset, weights in c.model.groups:  # 10.2
            bands, a = np.split(a, [len(weights) * circle // stride])
            n = np.arange(0, circle, stride)[:, None] + offset + np.arange(weights.shape[1])
            total += np.bincount(n.ravel() % circle, (bands.reshape(len(weights), -1).T @ weights).ravel(), circle)
        for start, kernel, gain in zip(c.starts, c.kernel_of, c.gains, strict=False):  # 10.3
            beats[start + length : start + 2 * length] += gain * c.kernels[kernel]
        f = np.floor((total[: c.n].astype(np.int64) + 512 >> 10) * c.mantissa * 2.0 ** (c.exponent - 3) + 0.5)
        y = f.astype(np.int64) + (beats[length : length + c.n] << c.kernel_exponent + 10)
        return np.clip(c.offset + (y + 512 >> 10), c.minimum, c.maximum) - c.offset

    def classes(self, c: SimpleNamespace, widths: np.ndarray):  # 9; Bits.lanes fills in known magnitudes
        known, power = [np.zeros(1, np.int64)] * 2, np.array([65536, 77936, 92682, 110218])
        direct = (c.model.frequencies[c.set, :, :16] > 0).cumprod(axis=1).sum(axis=1)
        for band, (width, stride) in enumerate(zip(widths, c.model.strides, strict=True)):
            window, g = np.arange(width if c.scales[band] else 0), c.model.weights[c.set, band]
            centre = window * stride + stride // 2  # 9.1
            since = centre - np.append(c.starts, -(2**40))[np.searchsorted(c.starts, centre, side="right") - 1]
            phase = np.minimum(since * 16 // max(self.kernel_lengths[c.group], 1), 24)
            quarter = c.scales[band] - 41 + 2 * c.phases[c.model.phase_groups[band]]  # 9.2
            expected = np.minimum(16383, power[quarter % 4] * 2.0 ** (quarter // 4 - 8)).astype(np.int64)
            total = (expected * g[0] >> 8)[phase]  # 9.3
            for k, middle, aside in (known[-1], g[1], g[2]), (known[-2], 2 * g[3], g[3]):
                total += (middle * k + aside * (np.roll(k, 1) + np.roll(k, -1)))[window // (width // len(k))]
            rows = np.frexp(np.clip(total, 1, 16383) ** 2)[1] - 1
            known.append(np.zeros(width, np.int64))
            yield rows, direct[rows], np.maximum(0, rows // 2 - 10), known[-1]

    def read_residuals(self, file: Bytes, raw: Bits) -> None:  # 11.3
        contents = file.frames(len(self.residual[:1] if self.coder or file.read(1) == b"\0" else self.residual))
        for c in self.residual:
            if self.coder == 1:
                rows = np.repeat(contents.array("u1", -(-c.n >> self.exponent)), 2**self.exponent)[: c.n] - 1
                row = rows[rows >= 0]
                c.q = raw.lanes(file, rows >= 0, self.tables[:, 1:], [(row, 16, self.tables[row, 0], row.copy())])
            elif (form := contents.read(1)[0]) == 255:
                c.q = raw.tokens(contents, np.array([c.n]))
            else:
                z = contents.array("u1", c.n)
                z[z == 255] += raw.rice((z == 255).sum())
                c.q = signed((z << form) + raw.u(np.full(c.n, form)))

    def prediction(self, c: SimpleNamespace) -> np.ndarray:  # 11.2
        total, n, n_own = np.full(c.n, 2**c.shift // 2), np.arange(c.n), len(c.own)
        for source, first, weights in c.references:
            v = self.channels[source // 2].y if source % 2 else self.channels[source // 2].u
            total += sum(weight * v[np.clip(n - lag, 0, c.n - 1)] for lag, weight in enumerate(weights, first))
        restart = min(c.restart, c.n) if n_own else 1
        starts, q = n[::restart], (2 * c.bound + 1) * c.q  # blocks are decoded side by side: (position, block)
        total, step = (np.pad(each, (0, -c.n % restart)).reshape(-1, restart).T for each in (total, q))
        h = np.concatenate([c.u[np.maximum(starts + np.arange(-n_own, 0)[:, None], 0)], np.zeros_like(step)])
        for i in range(restart):
            y = (total[i] + c.own[::-1] @ h[i : i + n_own] >> c.shift) + step[i]
            h[i + n_own] = np.clip(y, c.minimum - c.offset, c.maximum - c.offset)
            h[:n_own] += h[n_own] - c.u[starts] if i == 0 else 0
        return h[n_own:].T.ravel()[: c.n]


def decode(content: bytes, models: dict[bytes, bytes]) -> tuple[SimpleNamespace, list[np.ndarray]]:  # 2
    demand(content[:12] == b"\x89SAN\r\n\x1a\n\1\0\0\0", f"no .san file of version 1: it begins with {content[:12]!r}")
    demand(content[-4:] == b"SANe", "no trailer: the file was cut short")
    file, header, parts = Bytes(content[12:-12]), None, []
    while head := file.read(5):
        kind, payload = head[0], file.read(int.from_bytes(head[1:], "little"))
        crc, end = struct.pack("<I", zlib.crc32(head + payload)), file.tell() + 16
        demand(file.read(4) == crc, f"the section that ends at byte {end} is damaged: its CRC is another")
        demand(kind > 127 or (1 <= kind <= 5 and (kind == 1) == (header is None)), f"a section of type {kind} there")
        if kind == 1:
            header = Bytes(zstandard.decompress(payload)).header()
        elif kind == 2:
            models = models | {hashlib.sha256(payload).digest(): payload}
        elif kind == 3:
            demand({*header.models} <= {*models}, f"it needs models: SHA-256 {[each.hex() for each in header.models]}")
            segment = Segment(payload, header, [Bytes(models[digest]).model() for digest in header.models])
        elif kind == 4:
            n_frames = min(header.chunk_frames, header.n_frames - len(parts) * header.chunk_frames)
            parts.append(segment.chunk(payload, len(parts), n_frames))
    demand(header and len(parts) * header.chunk_frames >= header.n_frames, f"{len(parts)} chunks are too few")
    return header, [np.concatenate(rows) for rows in zip(*parts, strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="a .npy file")
    parser.add_argument("--models", type=Path, default=Path(), help="folder of .sanm files")
    options, sys.tracebacklimit = parser.parse_args(), 0  # a refusal takes one line
    models = {hashlib.sha256(each).digest(): each for each in map(Path.read_bytes, options.models.glob("*.sanm"))}
    header, samples = decode(options.file.read_bytes(), models)
    for c, row in zip(header.channels, samples, strict=True):
        print(f"{c.name}: {len(row)} samples, {row.min()} to {row.max()}, {c.unit}")
    if options.output:
        np.save(options.output, np.stack(samples) if len(set(map(len, samples))) == 1 else np.concatenate(samples))
