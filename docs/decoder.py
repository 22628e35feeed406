"""Decodes one ``.san`` file as format.md says, whose sections the comments name: keep both beside an archive.

Usage: python decoder.py FILE.san [-o OUT.npy] [--models DIR], where DIR holds the ``.sanm`` files that FILE may need,
and OUT.npy gets the stored integers: (channel, sample), or channel after channel where they differ in length.
Coder 2 needs residual.prior and events.prior, too: beside this file, or where the package keeps them.
"""

import argparse
import hashlib
import io
import struct
import sys
import zlib
from bisect import bisect, bisect_left
from operator import mul
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import zstandard


def demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def signed(u):  # 1.2, zigzag numbers: one, or an array
    return u >> 1 ^ -(u & 1)


def limit(value: int, most: int) -> int:  # 19
    return min(max(value, -most), most)


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
        forms = ("u2", 2, n_bands, 8), ("i2", 2, n_bands, 14), ("i1", 6914), ("i2", 8, 4)
        model.mixing = [[self.array(*form).tolist() for form in forms] for _ in range(n_sets)]
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

    def kernel(self, length: int, step: int) -> np.ndarray:  # 5, a beat kernel as wavelet coefficients
        low, widths = length, []
        while low > 8 and len(widths) < 8:
            widths.insert(0, low // 2)
            low -= low // 2
        bands, scales = [], [LOW_SCALES[len(widths)], *HIGH_SCALES[: len(widths)][::-1]]
        for width, scale in zip([low, *widths], scales, strict=True):
            bands.append(np.zeros(width, np.int64))
            if self.u(1):
                first, rest = self.rice(2)
                bands[-1][first : first + rest + 1] = signed(self.rice(rest + 1)) * max(1, step * scale + 128 >> 8)
        a, *highs = bands
        for b in highs:
            for to_low, to_high in (1817, 3616), (-217, -6497):
                a = a - (to_low * (np.pad(b, 1, "edge")[:-1] + np.pad(b, 1, "edge")[1:])[: len(a)] + 2048 >> 12)
                b = b - (to_high * (a + np.append(a[1:], a[-1]))[: len(b)] + 2048 >> 12)
            a = np.insert(a, np.arange(1, len(b) + 1), b)
        return a

    def mix(self, n_members: int, n_components: int) -> np.ndarray:  # 5, weights (member, component) in 2**-13
        shifts, weights = self.u(np.full(n_components, 4)), np.zeros((n_members, n_components), np.int64)
        rules = [(self.rice(2), self.u([2, 2])) if self.u(1) else None for _ in range(n_members)]
        direct = [member for member, rule in enumerate(rules) if rule is None]
        for component, shift in enumerate(shifts):
            weights[direct, component] = signed(self.rice(len(direct))) << 13 - shift
        for member, rule in enumerate(rules):
            if rule:
                weights[member] = np.array([2, -2, 1, -1])[rule[1]] @ weights[rule[0]] >> 1
        return weights

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


LOW_SCALES = 256, 225, 191, 164, 142, 124, 108, 94, 81  # 5
HIGH_SCALES = 289, 260, 218, 187, 162, 140, 122, 106
PRIORS = {  # 19.6, 20.5
    "residual.prior": "5dcfff82baf4465cfa2053329096739b29381b396cb5e2172cb8f84ee1034c8d",
    "events.prior": "62c3a387d25a43a78300be8ad6abb3ab4c96ca0dc8bbb3ad210e3b5d921d49ea",
}
KNOTS = [round(65536 / (1 + np.exp((32 - i) / 4))) for i in range(65)]  # 18.1
SQUASH = [KNOTS[i] * (64 - t) + KNOTS[i + 1] * t + 32 >> 6 for i in range(64) for t in range(64)]  # of x at 2048 + x
STRETCH = [limit(bisect_left(SQUASH, 16 * q + 8) - 2048, 2047) for q in range(4096)]
SOFTPLUS = [(total - p) >> 16 for total, p in zip(np.cumsum(SQUASH).tolist(), SQUASH, strict=True)]  # 19.4
RISE = [-STRETCH[min((65536 - p) * 4096 // p, 4095)] for p in SQUASH[2048:]]


class Decisions:
    def __init__(self, stream: bytes) -> None:  # 18.3
        self.low, self.high, self.code = 0, 2**32 - 1, int.from_bytes(stream[:4].ljust(4, b"\0"), "big")
        self.following = iter(stream[4:])

    def bit(self, p: int = 32768) -> int:
        middle = self.low + ((self.high - self.low) * p >> 16)
        bit = int(self.code <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            self.code = self.code << 8 & 0xFFFFFFFF | next(self.following, 0)
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, self.high << 8 & 0xFFFFFFFF | 255
        return bit

    def bits(self, n: int, first: int) -> int:
        for _ in range(n):
            first = 2 * first + self.bit()
        return first

    def exponential(self) -> int:  # 18.5 and 19.5: ones, a 0, and as many bits
        n = 0
        while self.bit():
            n += 1
        return self.bits(n, 1)

    def mixed(self, slots: list[list[int]], said: list[int], sets: list[list[int]], rate: int) -> int:
        x = [STRETCH[probability >> 10] for probability, _ in slots] + said  # 18.6
        sums = [sum(map(mul, weights, x)) for weights in sets]
        places = [limit(each >> 16, 2047) for each in sums]
        bit = self.bit(SQUASH[2048 + (sum(places) >> 1 if said else limit(sum(sums) // len(sets) >> 16, 2047))])
        for weights, place in zip(sets, places, strict=True):
            error = rate * (65536 * bit - SQUASH[2048 + place])
            weights[:] = [limit(w + (each * error + 2**17 >> 18), 2**20) for w, each in zip(weights, x, strict=True)]
        for slot in slots:  # 18.2
            slot[0] += ((2**22 - 1) * bit - slot[0]) * ((131072 + slot[1]) // (2 * slot[1] + 3)) >> 16
            slot[1] += slot[1] < 255
        return bit


class Prior(Bytes):
    def __init__(self, name: str) -> None:
        folder = Path(__file__).parent
        places = [folder / name, folder.parent / "sancodec" / "models" / name]
        super().__init__(next((place.read_bytes() for place in places if place.exists()), b""))
        demand(hashlib.sha256(self.getvalue()).hexdigest() == PRIORS[name], f"it needs {name}: SHA-256 {PRIORS[name]}")

    def slots(self, n: int) -> list[list[int]]:
        return [[(v >> 4 << 10) + 512, v % 16 * 4] for v in self.array("u2", n).tolist()]


class Start(dict):  # 18.7, slots by (kind, input, context), weights by (kind, set)
    def __missing__(self, key: tuple[int, ...]) -> list[int]:
        kind, lengths, counts = key[0], (128, 768, 64, 16), (30, 10, 6, 3)
        self[key] = [16 * weight for weight in self.mixers[kind]]
        if len(key) == 3:
            first = 976 * (kind - (kind > 1))
            if kind == 1:
                first, lengths, counts = 6832, (48, 9, 1, 24), (10, 3, 1, 2)
            prior = self.prior[first + sum(lengths[: key[1]]) + key[2] % lengths[key[1]]]
            self[key] = [64 * SQUASH[2048 + 16 * prior], counts[key[1]]]
        return self[key]


def level(v: int) -> int:  # 19.3
    b = (v + 4).bit_length()
    return 4 * (b - 3) + (v + 4 >> b - 3) % 4


class Stage:  # 19.2
    def __init__(self, n: int, unit: int) -> None:
        self.weights, self.least = [0] * n, 4096 * unit**2

    def sum(self, inputs: list[int]) -> int:
        self.inputs = inputs
        return sum(map(mul, self.weights, inputs)) >> 18

    def learn(self, error: int) -> None:
        gain = (abs(error) << 24) // (self.least + sum(x * x for x in self.inputs)) * (1 if error > 0 else -1)
        pairs = zip(self.weights, self.inputs, strict=True)
        self.weights = [limit(weight + (gain * x + 512 >> 10), 2**26) for weight, x in pairs]


class Differences:  # 19
    def __init__(self, stream: bytes) -> None:  # 19.6
        self.decisions, prior = Decisions(stream), Prior("residual.prior")
        self.slots, self.weights, self.done = prior.slots(6688), (16 * prior.array("i2", 19 * 36, 8)).tolist(), []

    def node(self, node: int, said: list[int]) -> int:  # 19.5
        slots = [self.slots[352 * node + each] for each in (self.sign_at if node == 1 else self.at)]
        return self.decisions.mixed(slots, said, [self.weights[36 * node + each] for each in self.sets], 2)

    def places(self, t: int) -> list[int]:  # 19.4
        return [limit(limit(t - middle, 2**40) * inverse >> 16, 2047) for middle, inverse in self.experts]

    def widths(self, t: int) -> list[int]:
        return [limit(limit(t, 2**40) * inverse >> 16, 2047) for _, inverse in self.experts]

    def difference(self, middle: int, unit: int, k: int) -> int:  # 19.5
        edge, step, m = 128 * unit, 256 * unit << k, 0
        both = list(zip(self.places(middle - edge), self.places(middle + edge), strict=True))
        if self.node(0, [STRETCH[SQUASH[2048 + b] - SQUASH[2048 + a] >> 4] for a, b in both]):
            return 0
        sign = -1 if self.node(1, [limit(SOFTPLUS[2048 + b] - SOFTPLUS[2048 - a], 2047) for a, b in both]) else 1
        for j in range(24):
            pairs = zip(self.places(middle + sign * edge), self.widths(step), strict=True)
            said = [limit(SOFTPLUS[2048 - sign * place] - RISE[width], 2047) for place, width in pairs]
            if not self.node(min(2 + j, 11), said):
                break
            m, edge = m + 1, edge + step
        if m == 24:
            m = 23 + self.decisions.exponential()
            edge += step * (m - 24)
        high = m
        for i in range(k):
            step //= 2
            bounds = zip(self.places(middle + sign * edge), self.places(middle + sign * (edge + 2 * step)), strict=True)
            rises = [SOFTPLUS[2048 + sign * a] - SOFTPLUS[2048 + sign * b] for a, b in bounds]
            said = [limit(width + rise, 2047) for width, rise in zip(self.widths(step), rises, strict=True)]
            node = 15 + 2 * (high > 0) + m % 2 if i else 12 + min(high, 2)
            bit = self.node(node, said) if i < 2 else self.decisions.bit()
            m, edge = 2 * m + bit, edge + bit * step
        return sign * (m + 1)


def size(v: int) -> int:  # 20
    return min(level(v >> 4) >> 1, 19)


def sign_and_length(v: int) -> tuple[int, int]:
    return (v > 0) - (v < 0), min(v.bit_length(), 7)


class Events:  # 20
    def __init__(self, stream: bytes) -> None:  # 20.5
        self.decisions, prior = Decisions(stream), Prior("events.prior")
        self.nodes = [(prior.slots(n), [28672] * 3) for n in [234] * 28 + [282] * 28 + [123] * 12]

    def node(self, node: int, *at: int) -> int:  # 20.1
        slots, weights = self.nodes[node]
        return self.decisions.mixed([slots[each] for each in at], [], [weights], 20)

    def number(self, first: int, at_sign: int, *at: int) -> int:  # 20.2
        if not self.node(first, *at):
            return 0
        sign, j, v = -1 if self.node(first + 1, at_sign, *at[1:]) else 1, 0, 1
        while self.node(first + min(2 + j, 11), *at):
            j += 1
        for i in range(j):
            node = first + (2 * min(j, 6) + 14 + v % 2 if i else min(j, 6) + 11)
            v = 2 * v + (self.node(node, *at) if i < 2 else self.decisions.bit())
        return sign * v

    def starts(self, n: int, first: int, n_samples: int) -> tuple[list[int], list[int]]:  # 20.3
        starts, rhythms, m, last = [first], [0], max(256 * (n_samples - first) // n, 256), [0, 0]
        a = m // 24
        for _ in range(n - 1):
            z, (s1, n1), (s2, n2) = size(a), *map(sign_and_length, last)
            d = self.number(0, 3 * s1 + s2 + 4, z, 20 + 10 * (s1 * n1 + 7) + z // 2, 170 + 8 * n1 + n2)
            gap = (m + 128 >> 8) + d
            rhythms.append(sum(4096 * d >= j * m for j in (-5, -3, -1, 1, 3, 5)) - 3)
            starts.append(starts[-1] + gap)
            m, a, last = m + ((256 * gap - m) * 3 >> 3), a + ((256 * abs(d) - a) * 3 >> 4), [d, last[0]]
        return starts, rhythms

    def gains(self, n_kernels: int, rhythms: list[int], beside: list | None) -> list[tuple[int, int, int]]:  # 20.4
        found, last, a, means, deviations = [], (0, 0, 0), 512, {}, {}  # kernel, gain and deviation of each event
        n, f, following = (n_kernels - 1).bit_length(), int(beside is not None), [*rhythms[1:], 0]
        for i, (b_kernel, b_gain, b_d) in enumerate(beside or [last] * len(rhythms)):
            kappa, c, v = min(last[0], 7), 1 + min(b_kernel, 7) if b_gain else 0, not found or found[-1][1] > 0
            at = 16 + 8 * c + kappa, 90 + 5 * (rhythms[i] + 3) + limit(following[i], 2)
            if not self.node(56, 2 * v + f, *at):
                found.append((0, 0, 0))
                continue
            top, kernel = min(n, 3), 1
            for _ in range(top):
                kernel = 2 * kernel + self.node(55 + 2**top - top + kernel, 2 * kappa + f, *at)
            kernel = self.decisions.bits(n - top, kernel) - 2**n
            g, new = (means[kernel], 0) if kernel in means else (256 * last[1], 1) if last[1] else (8192, 2)
            (s1, n1), (s2, n2), (s3, n3) = map(sign_and_length, (deviations.get(kernel, 0), last[2], b_d))
            at = 3 * size(a) + new, 60 + 3 * (8 * n1 + n2) + new, 252 + 2 * (s3 * n3 + 7) + f
            d = self.number(28, 3 * (3 * s1 + s2 + 4) + new, *at)
            last = kernel, (g + 128 >> 8) + d, d
            means[kernel] = 256 * last[1] if new else g + (256 * last[1] - g >> 2)
            deviations[kernel], a = d, a + ((256 * abs(d) - a) * 3 >> 4)
            found.append(last)
        return found


class Segment:
    def __init__(self, payload: bytes, header: SimpleNamespace, models: list[SimpleNamespace]) -> None:  # 5
        bits, self.crc, self.channels = Bits(payload), zlib.crc32(payload), header.channels
        self.first_chunk, self.n_chunks, self.coder = bits.rice(3)
        demand(self.coder < 3, f"coder {self.coder} is unknown; 0 to 2 can be read")
        self.kernel_lengths = bits.rice(bits.rice(1)[0])
        for c in self.channels:
            c.prdn, (c.offset, c.minimum, c.maximum) = bits.u(32), signed(bits.rice(3)).tolist()
            c.group, c.lattice, c.is_coded = bits.rice(2)[1], bits.rice(2) if bits.u(1) else None, bits.u(1)
            if c.is_coded:
                c.model, c.mantissa, c.exponent = models[bits.rice(1)[0]], bits.u(12), signed(bits.rice(1))[0]
                c.corrections, n = np.append(0, bits.u([6, 6, 6])), bits.rice(1)[0]
                c.kernel_exponent, length = signed(bits.rice(min(n, 1))).sum(), self.kernel_lengths[c.group]
                if n and bits.u(1):
                    step = bits.u(12)
                    c.kernels = [bits.kernel(length, step) for _ in range(n)]
                else:
                    c.kernels = [signed(bits.rice(length)).cumsum().cumsum() for _ in range(n)]
            if c.is_coded and self.coder:
                c.set, c.scales, has_phases = bits.u(3), signed(bits.rice(len(c.model.strides))).cumsum(), bits.u(1)
                c.phases = [signed(bits.rice(25)) if has_phases else np.zeros(25, int) for _ in range(c.model.n_phases)]
            c.is_residual = bits.u(1)
            if c.is_residual:
                c.bound, c.restart, c.shift, n_own, n_references = bits.rice(5).tolist()
                c.own, c.references = signed(bits.rice(n_own)), []
                for source, n in (bits.rice(2) for _ in range(n_references)):
                    c.references.append((source, signed(bits.rice(1))[0], signed(bits.rice(n))))
                c.near_lags, c.far_lags = bits.rice(2).tolist() if self.coder == 2 else (0, 0)
        self.mixes, self.residual = [], [c for c in self.channels if c.is_residual]
        for group in range(len(self.kernel_lengths)):
            is_mixed, of_group = bits.u(1), [c for c in self.channels if c.group == group]
            for c in of_group:
                c.is_mixed = is_mixed
            if is_mixed:
                members = [c for c in of_group if c.minimum < c.maximum]
                self.mixes.append((members, bits.mix(len(members), sum(c.is_coded for c in members))))
        if self.residual and self.coder == 1:
            self.exponent, n = bits.rice(2)
            self.tables = np.array([(bits.u(5), *bits.rice(17)) for _ in range(n)], np.int64).reshape(n, 18)

    def chunk(self, payload: bytes, number: int, n_frames: int) -> list[np.ndarray]:  # 6
        file, rows = Bytes(payload), []
        digest, n_events, n_raw, n = file.read(4), file.varint(), file.varint(), file.varint() if self.residual else -1
        bits, raw = file.read(n_events), file.read(n_raw)
        for c in self.channels:
            c.n = n_frames * c.per_frame
        self.read_events(Bits(bits), Events(raw) if self.coder == 2 and any(self.kernel_lengths) else None)
        raw, coefficients = Bits(raw), Bytes(file.read(n))
        n_bands = [len(c.model.strides) for c in self.channels if c.is_coded]
        if self.coder == 0 and n_bands:  # 8
            coefficients = coefficients.frames((1, len(n_bands), sum(n_bands))[coefficients.read(1)[0]])
        if self.coder == 2:  # 18
            coefficients, self.starts, self.seen = Decisions(coefficients.read()), {}, {}
        for c in self.channels:
            c.u = self.approximation(c, coefficients, raw) if c.is_coded else np.zeros(c.n, np.int64)
        for members, weights in self.mixes:  # 10.5
            sums = weights @ np.stack([c.u for c in members if c.is_coded])
            for c, row in zip(members, sums + 2**22 >> 23, strict=True):
                c.u = np.clip(c.offset + row, c.minimum, c.maximum) - c.offset
        for c in self.channels:
            c.y = None if c.is_residual else c.u
        differences = Differences(file.read()) if self.coder == 2 and self.residual else self.read_residuals(file, raw)
        while waiting := [c for c in self.residual if c.y is None]:  # 11.1, 19
            needed = [[self.channels[source // 2] for source, *_ in c.references if source % 2] for c in waiting]
            ready = [c for c, others in zip(waiting, needed, strict=True) if all(o.y is not None for o in others)]
            demand(ready, "channels are predicted from each other")
            for c in ready:
                c.y = self.learnt(c, differences) if self.coder == 2 else self.prediction(c)
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

    def read_events(self, bits: Bits, mixed: Events | None) -> None:
        starts, rhythms, beside = [], {}, {}
        for group, length in enumerate(self.kernel_lengths.tolist()):  # 6.1
            n = int(bits.rice(min(length, 1)).sum())
            first, *typical = bits.rice(1 if mixed else 2).tolist() if n else [0]
            if n and mixed:
                n_samples = next(c.n for c in self.channels if c.group == group)
                found, rhythms[group] = mixed.starts(n, first - length, n_samples)
            else:
                found = np.cumsum([first - length, *(signed(bits.rice(max(n - 1, 0))) + sum(typical))])[:n]
            starts.append(np.array(found))
        for c in self.channels:
            n, c.starts = bits.rice(bits.u(1)).sum(), starts[c.group]  # 6.2
            c.missing_runs = np.cumsum(np.stack([bits.rice(n), bits.rice(n)], axis=1)).reshape(n, 2)
            n = bits.rice(bits.u(1)).sum() if c.lattice is not None else 0  # 6.3
            c.exceptions, c.differences = np.cumsum(bits.rice(n) + 1) - 1, signed(bits.rice(n))
            n = len(c.starts) if c.is_coded and c.kernels else 0  # 6.4
            if n and mixed:
                found = beside[c.group] = mixed.gains(len(c.kernels), rhythms[c.group], beside.get(c.group))
                c.kernel_of, c.gains, _ = zip(*found, strict=True)
                continue
            is_drift, first, c.kernel_of = n and bits.u(1), bits.rice(min(n, 1)), np.zeros(n, np.int64)
            c.gains = np.cumsum([*first, *signed(bits.rice(n - 1))]) if is_drift else first + signed(bits.rice(n))
            c.kernel_of[c.gains > 0] = bits.rice(np.count_nonzero(c.gains)) if n and len(c.kernels) > 1 else 0

    def approximation(self, c: SimpleNamespace, file: Bytes, raw: Bits) -> np.ndarray:  # 10.3; Y in a mixed group
        circle, length = c.n + 64 + -(c.n + 64) % c.model.strides[0], self.kernel_lengths[c.group]  # 7
        widths, total, beats = circle // c.model.strides, np.zeros(circle), np.zeros(c.n + 2 * length, np.int64)
        if self.coder == 0:
            q = raw.tokens(file, widths)
        elif self.coder == 2:
            q = self.levels(c, file, widths.tolist())
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
        return y if c.is_mixed else np.clip(c.offset + (y + 512 >> 10), c.minimum, c.maximum) - c.offset

    def classes(self, c: SimpleNamespace, widths: np.ndarray):  # 9; Bits.lanes fills in known magnitudes
        known = [np.zeros(1, np.int64)] * 2
        direct = (c.model.frequencies[c.set, :, :16] > 0).cumprod(axis=1).sum(axis=1)
        for band, (width, stride) in enumerate(zip(widths, c.model.strides, strict=True)):
            window, g = np.arange(width if c.scales[band] else 0), c.model.weights[c.set, band]
            phase, expected = self.expected(c, band, window * stride + stride // 2)
            total = (expected * g[0] >> 8)[phase // 2]  # 9.3
            for k, middle, aside in (known[-1], g[1], g[2]), (known[-2], 2 * g[3], g[3]):
                total += (middle * k + aside * (np.roll(k, 1) + np.roll(k, -1)))[window // (width // len(k))]
            rows = np.frexp(np.clip(total, 1, 16383) ** 2)[1] - 1
            known.append(np.zeros(width, np.int64))
            yield rows, direct[rows], np.maximum(0, rows // 2 - 10), known[-1]

    def expected(self, c: SimpleNamespace, band: int, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        since = centre - np.append(c.starts, -(2**40))[np.searchsorted(c.starts, centre, side="right") - 1]
        phase = np.minimum(since * 32 // max(self.kernel_lengths[c.group], 1), 48)  # 18.4: half of it is that of 9.1
        quarter = c.scales[band] - 41 + 2 * c.phases[c.model.phase_groups[band]]  # 9.2
        power = np.array([65536, 77936, 92682, 110218])[quarter % 4]
        return phase, np.minimum(16383, power * 2.0 ** (quarter // 4 - 8)).astype(np.int64)

    def levels(self, c: SimpleNamespace, stream: Decisions, widths: list[int]) -> np.ndarray:  # 18.4
        other, rows = self.seen.get((id(c.model), widths[0])), [[], []]
        trellis = (0, 3, 5, 6, 1, 2, 4, 7), (1, 2, 4, 7, 0, 3, 5, 6)
        terms, taps, prior, mixers = c.model.mixing[c.set]
        start = self.starts.setdefault((id(c.model), c.set), Start())
        start.prior, start.mixers, h = prior, mixers, other is not None
        for b, (width, stride) in enumerate(zip(widths, c.model.strides.tolist(), strict=True)):
            row, state, means, t = [0] * width, 0, [(0, 0)] * 49, terms[h][b]
            tap, beside = [16 * weight for weight in taps[h][b]], other[b] if h else []
            centres, group = np.arange(width) * stride + stride // 2, c.model.phase_groups[b]
            phases, expected = (each.tolist() for each in self.expected(c, b, centres))
            for w in range(width if c.scales[b] else 0):
                f, odd, places = phases[w], state & 1, [(row, w - 1), (row, w - 2), (row, w - 3), (row, w - 4)]
                for each in rows[-1], rows[-2], beside:
                    at = w * len(each) // width
                    places += [(each, at), (each, at - 1), (each, at + 1)]
                near = [limit(each[at], 127) if 0 <= at < len(each) else 0 for each, at in places]
                x, m = [*(4 * v for v in near), means[f][0] >> 6], [abs(v) for v in near]
                sums = m[4], m[5] + m[6], 2 * m[7] + m[8] + m[9], m[0], m[1], m[10], m[11] + m[12]
                activity = (expected[f // 2] * t[0] >> 8) + sum(map(mul, t[1:], sums))
                nearness = bisect((1, 2, 4, 7, 13, 23, 45), 2 * m[0] + m[1] + 2 * m[4] + m[5] + m[6] + m[7])
                r = limit(sum(map(mul, tap, x)) >> 10, 32512)
                k, negative = self.index(stream, start, min(b, 63), f, group, odd, activity, nearness, r, near[:2])
                v = row[w] = (2 * k - odd if k else 0) * (-1 if negative else 1)
                state = trellis[k & 1][state]
                target, energy = 256 * limit(v, 127), sum(each * each for each in x)
                gain = abs(target - r) * 4096 // (energy + 64) * (41 if target > r else -41)
                tap = [limit(w + (gain * each >> 14), 2**18) if energy else w for w, each in zip(tap, x, strict=True)]
                mean, count = means[f]
                means[f] = mean + ((target - mean) * ((131072 + count) // (2 * count + 3)) >> 16), min(count + 1, 32)
            rows.append(row)
        self.seen[id(c.model), widths[0]] = rows[2:]
        return np.concatenate(rows).astype(np.int64)

    def index(self, stream, start, b, f, group, odd, expected, nearness, r, own) -> tuple[int, int]:  # 18.5
        e, shift = max(expected.bit_length() - 3, 0), max(expected.bit_length() - 12, 0)
        a = expected if expected < 8 else min(63, 4 * e + (expected >> e))
        part, down = bisect((26, 51, 92, 154, 230, 358, 563, 870, 1331, 2048, 3584), abs(r)), r < 0
        signs, phase = [2 if v < 0 else int(v > 0) for v in own], 49 * b + f
        at = [2 * each + odd for each in (a, 16 * part + a // 4, 32 * b + a // 2, 8 * phase + nearness)]
        at_sign = [2 * (2 * part + down) + odd, 9 * b + 3 * signs[0] + signs[1], phase, 24 * b + 2 * part + down]

        def decide(kind: int) -> int:
            slots = [start[kind, i, context] for i, context in enumerate(at_sign if kind == 1 else at)]
            sets = [start[kind, 2 * (group % 16) + odd], start[kind, 32 + a // 2 + 32 * odd]]
            return stream.mixed(slots, [], sets, 12)

        high, negative = decide(0), 0
        if high:
            negative = decide(1)
            at[1] += 384 * (negative == down)
            while high < 20 and decide(1 + min(high, 6)):
                high += 1
            high += stream.exponential() - 1 if high == 20 else 0
        k = stream.bits(shift, high)
        return k, stream.bit() if k and not high else negative

    def learnt(self, c: SimpleNamespace, coder: Differences) -> np.ndarray:  # 19
        unit, s, own, u, ys = 2 * c.bound + 1, c.shift, c.own.tolist(), c.u.tolist(), []
        low, high, has_cascade = c.minimum - c.offset, c.maximum - c.offset, any(u)
        beside = [self.channels[source // 2] for source, *_ in c.references if source % 2]
        beside = [o for o in beside if o.is_residual][:2] or [o for o in coder.done if o.n == c.n][-1:]
        around = [[0] * 4 + o.errors + [0] * 4 for o in beside]
        near, far = Stage(c.near_lags + 9 * len(beside) if c.near_lags else 0, unit), Stage(c.far_lags, unit)
        errors, far_errors, h = [0] * c.near_lags, [0] * c.far_lags, u[:1] * len(own)  # 19.1, 19.2
        fast = slow = nearer = 256 * unit  # 19.3
        at_slope, mean, last = {}, 1024 * unit, [0, 0]
        for n, total in enumerate(self.referred(c).tolist()):
            total = limit(total + sum(map(mul, own, h[: -len(own) - 1 : -1])), 2 ** (34 + s))
            p0 = total + 2 ** (s - 9) >> s - 8 if s > 8 else total << 8 - s
            p0 = min(max(p0, 256 * low), 256 * high)
            p1 = p0 + near.sum(sum((each[n : n + 9] for each in around if c.near_lags), errors[n:]))
            p2 = min(max(p1 + far.sum(far_errors[n:]), 256 * low), 256 * high)

            k = min(max(((fast + slow) // (2 * unit)).bit_length() - 8, 0), 31)
            scale = min(max(level((fast + slow) // (2 * unit) >> 2) - 4 * k, 0), 31)
            row, first, end, factor = (u, n - 2, n + 4, 4) if has_cascade else (ys, n - 1, n, 8)
            slope = sum(abs(row[i] - row[i - 1]) for i in range(max(first, 1), min(end, c.n)))
            slope = min(level(factor * slope // unit) // 2, 15)
            pairs = (p2, fast), (p2, slow), (p0, at_slope.setdefault(slope, slow)), (p1, nearer)  # 19.4
            coder.experts = [(middle, (355 << 16) // (v + 32 * unit)) for middle, v in pairs]
            sign, surprise = 0, 0  # 19.5
            if beside:
                sizes = [abs(v) for v in around[0][n + 3 : n + 6]]
                sign, surprise = np.sign(around[0][n + 4]), level(sizes[0] + 2 * sizes[1] + sizes[2]) - level(mean >> 2)
                surprise, mean = min(max(9 + (surprise >> 1), 1), 15), mean + (16 * sizes[1] - mean >> 7)
            past, signs = [min(abs(q) >> max(k - 1, 0), 7) for q in last], np.sign(last) + 1
            others = 96 + 8 * surprise + scale // 4, 224 + 8 * slope + scale // 4
            coder.at, coder.sets = (scale, 32 + 8 * past[0] + past[1], *others), (min(k, 3), 4 + scale)
            coder.sign_at = scale, 32 + 9 * signs[0] + 3 * signs[1] + sign + 1, *others
            q = coder.difference(256 * (p2 + 128 >> 8), unit, k)
            y = min(max((p2 + 128 >> 8) + unit * q, low), high)

            ys.append(y)
            last, h = [q, last[0]], h if n else [y] * len(own)
            h.append(y)
            e0, e1, e2 = (256 * y - p for p in (p0, p1, p2))
            errors.append(limit(e0 >> 2, 2**24) if n else 0)
            far_errors.append(limit(e1 >> 2, 2**24) if n else 0)
            if n:
                most = min(fast + 32 * unit >> 1, 2**24)
                near.learn(limit(e1 >> 2, most))
                far.learn(limit(e2 >> 2, most))
                fast += abs(e2) - fast >> 4
                slow += abs(e2) - slow >> (4 if n < 32 else 7)
                nearer += abs(e1) - nearer >> 5
                at_slope[slope] += abs(e0) - at_slope[slope] >> 5
        c.errors = errors[c.near_lags :]
        coder.done.append(c)
        return np.array(ys, np.int64)

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

    def referred(self, c: SimpleNamespace) -> np.ndarray:  # 11.2, A
        total, n = np.zeros(c.n, np.int64), np.arange(c.n)
        for source, first, weights in c.references:
            v = self.channels[source // 2].y if source % 2 else self.channels[source // 2].u
            total += sum(weight * v[np.clip(n - lag, 0, c.n - 1)] for lag, weight in enumerate(weights, first))
        return total

    def prediction(self, c: SimpleNamespace) -> np.ndarray:  # 11.2
        total, n_own = self.referred(c) + 2**c.shift // 2, len(c.own)
        restart = min(c.restart, c.n) if n_own else 1
        starts, q = (
            np.arange(0, c.n, restart),
            (2 * c.bound + 1) * c.q,
        )  # blocks are decoded side by side: (position, block)
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
