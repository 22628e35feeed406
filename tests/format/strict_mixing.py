"""Coder 2 as docs/format.md says, sections 18 and 19, decision by decision; comments name its sections."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_fields import demand

PRIOR = Path(__file__).parents[2] / "sancodec" / "models" / "residual.prior"
PRIOR_SHA256 = "5dcfff82baf4465cfa2053329096739b29381b396cb5e2172cb8f84ee1034c8d"
EVEN = 32768
KNOTS = [  # 18.1
    *(
        22,
        28,
        36,
        47,
        60,
        77,
        98,
        126,
        162,
        208,
        267,
        342,
        439,
        562,
        720,
        922,
        1179,
        1506,
        1921,
        2446,
        3108,
        3938,
        4971,
    ),
    *(6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581),
    *(55834, 57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269),
    *(65328, 65374, 65410, 65438, 65459, 65476, 65489, 65500, 65508, 65514),
]
NEXT_STATE = ((0, 1), (3, 2), (5, 4), (6, 7), (1, 0), (2, 3), (4, 5), (7, 6))
NEAR_EDGES = (1, 2, 4, 7, 13, 23, 45)
PREDICTION_EDGES = (26, 51, 92, 154, 230, 358, 563, 870, 1331, 2048, 3584)
SIGN = 1


def clamp(value: int, low: int, high: int) -> int:
    return low if value < low else min(value, high)


def limit(value: int, most: int) -> int:
    return clamp(value, -most, most)


def sign_of(value: int) -> int:
    return (value > 0) - (value < 0)


def squash(x: int) -> int:
    i, t = divmod(x + 2048, 64)
    return (KNOTS[i] * (64 - t) + KNOTS[i + 1] * t + 32) >> 6


def stretches() -> list[int]:
    found, x = [], -2047
    for q in range(4096):
        while x < 2047 and squash(x) < 16 * q + 8:
            x += 1
        found.append(x)
    return found


SQUASHED = {x: squash(x) for x in range(-2048, 2048)}
STRETCHED = stretches()
RATES = [(131072 + n) // (2 * n + 3) for n in range(1024)]
SOFTPLUS = dict(zip(SQUASHED, (np.cumsum([0, *SQUASHED.values()])[:-1] >> 16).tolist(), strict=True))  # 19.4
RISES = [-STRETCHED[min((65536 - squash(x)) * 4096 // squash(x), 4095)] for x in range(2048)]


def slot(probability: int, count: int) -> list[int]:  # 18.2
    return [probability, count]


class Decoder:  # 18.3
    def __init__(self, content: bytes) -> None:
        self.content, self.position, self.low, self.high, self.code = content, 0, 0, 2**32 - 1, 0
        for _ in range(4):
            self.next_byte()

    def next_byte(self) -> None:
        demand(self.position < len(self.content) + 4, "a mixed stream ends too early")
        byte = self.content[self.position] if self.position < len(self.content) else 0
        self.position += 1
        self.code = (256 * self.code + byte) % 2**32

    def bit(self, probability: int = EVEN) -> int:
        middle = self.low + ((self.high - self.low) * probability >> 16)
        bit = self.code <= middle
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low // 2**24 == self.high // 2**24:
            self.low, self.high = 256 * self.low % 2**32, (256 * self.high + 255) % 2**32
            self.next_byte()
        return int(bit)

    def counted(self, most: int) -> int:
        """18.5, 19.5: ones, at most so many, a zero, and as many bits after a leading 1."""
        count = 0
        while self.bit():
            count += 1
            demand(count <= most, "a number in even odds is too long")
        return self.bits(1, count)

    def bits(self, value: int, n: int) -> int:
        for _ in range(n):
            value = 2 * value + self.bit()
        return value

    def finish(self) -> None:
        demand(len(self.content) == self.position - (4 if self.low == 0 else 3), "length of a mixed stream")


def learn_slots(slots: Sequence[list[int]], bit: int) -> None:  # 18.2
    for each in slots:
        each[0] += ((2**22 - 1) * bit - each[0]) * RATES[each[1]] >> 16
        each[1] = min(each[1] + 1, 255)


def learn_weights(weights: list[int], x: list[int], error: int) -> None:  # 18.6
    for i, each in enumerate(x):
        weights[i] = limit(weights[i] + (each * error + 2**17 >> 18), 2**20)


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(p * q for p, q in zip(a, b, strict=True))


class Adaptive:  # 18.7
    """Slots and weights of the channels of one model and set."""

    lengths, counts = ((128, 768, 64, 16), (48, 9, 1, 24)), ((30, 10, 6, 3), (10, 3, 1, 2))

    def __init__(self, mixing: Any) -> None:
        self.slots: dict[tuple[int, int, int], list[int]] = {}
        self.weights: dict[tuple[int, str, int], list[int]] = {}
        self.mixers, self.priors, at = mixing.mixers, {}, 0
        for kind in (0, 2, 3, 4, 5, 6, 7, SIGN):
            for place, length in enumerate(self.lengths[kind == SIGN]):
                self.priors[kind, place] = mixing.prior[at : at + length]
                at += length
        demand(at == len(mixing.prior) == 6914, "prior probabilities")

    def slot(self, kind: int, place: int, context: int) -> list[int]:
        key = kind, place, context
        if key not in self.slots:
            prior = self.priors[kind, place]
            start = squash(16 * prior[context % len(prior)])
            self.slots[key] = slot(2**6 * start, self.counts[kind == SIGN][place])
        return self.slots[key]

    def set(self, kind: int, by: str, number: int) -> list[int]:
        return self.weights.setdefault((kind, by, number), [16 * each for each in self.mixers[kind]])

    def decide(self, decoder: Decoder, kind: int, contexts: Sequence[int], group: int, activity: int) -> int:  # 18.6
        slots = [self.slot(kind, place, context) for place, context in enumerate(contexts)]
        sets = [self.set(kind, "group", group), self.set(kind, "activity", activity)]
        x = [STRETCHED[probability >> 10] for probability, _ in slots]
        sums = [dot(weights, x) for weights in sets]
        bit = decoder.bit(SQUASHED[limit(sum(sums) >> 17, 2047)])
        for weights, total in zip(sets, sums, strict=True):
            learn_weights(weights, x, 12 * (65536 * bit - SQUASHED[limit(total >> 16, 2047)]))
        learn_slots(slots, bit)
        return bit


def at_least(edges: Sequence[int], value: int) -> int:
    return sum(edge <= value for edge in edges)


def level_at(row: Sequence[int], window: int) -> int:
    return limit(row[window], 127) if 0 <= window < len(row) else 0


def read_band(decoder: Decoder, adaptive: Adaptive, band: SimpleNamespace) -> list[int]:  # 18.4
    levels: list[int] = []
    state, taps, means, counts = 0, [16 * tap for tap in band.taps], [0] * 49, [0] * 49
    for window, f in enumerate(band.phases):
        q = state % 2
        seen = [level_at(levels, window - lag) for lag in (1, 2, 3, 4)]
        for row, ratio in band.above:
            seen += [level_at(row, window // ratio + shift) for shift in (0, -1, 1)]
        seen += [level_at(band.beside, window + shift) for shift in (0, -1, 1)]
        o1, o2, _, _, p0, p_before, p_after, g0, g_before, g_after, u0, u_before, u_after = map(abs, seen)
        t = band.terms
        m = (band.expected[f // 2] * t[0] >> 8) + t[1] * p0 + t[2] * (p_before + p_after)
        m += t[3] * (2 * g0 + g_before + g_after) + t[4] * o1 + t[5] * o2 + t[6] * u0 + t[7] * (u_before + u_after)
        e = m.bit_length() - 3
        a, z = m if m < 8 else min(63, 4 * e + (m >> e)), max(0, m.bit_length() - 12)
        n = at_least(NEAR_EDGES, 2 * o1 + o2 + 2 * p0 + p_before + p_after + g0)
        x = [4 * each for each in seen] + [means[f] >> 6]
        r = limit(dot(taps, x) >> 10, 32512)
        k, is_negative = read_index(decoder, adaptive, SimpleNamespace(a=a, z=z, n=n, r=r, q=q, f=f, seen=seen), band)
        v = (2 * k - q if k else 0) * (-1 if is_negative else 1)
        levels.append(v)
        state = NEXT_STATE[state][k % 2]
        energy, error = dot(x, x), 256 * limit(v, 127) - r
        if energy:
            gain = sign_of(error) * (abs(error) * 4096 // (energy + 64))
            taps = [limit(tap + (gain * 41 * each >> 14), 2**18) for tap, each in zip(taps, x, strict=True)]
        means[f] += (256 * limit(v, 127) - means[f]) * RATES[counts[f]] >> 16
        counts[f] = min(counts[f] + 1, 32)
    return levels


def read_index(decoder: Decoder, adaptive: Adaptive, at: SimpleNamespace, band: SimpleNamespace) -> tuple[int, int]:
    """18.5: the index and whether the level is negative."""
    edge, d, b = at_least(PREDICTION_EDGES, abs(at.r)), int(at.r < 0), min(band.number, 63)
    contexts = [
        2 * at.a + at.q,
        2 * (16 * edge + (at.a >> 2)) + at.q,
        2 * (32 * b + (at.a >> 1)) + at.q,
        2 * (8 * (49 * b + at.f) + at.n) + at.q,
    ]
    of_sign = [{0: 0, 1: 1, -1: 2}[sign_of(each)] for each in at.seen[:2]]
    signs = [
        2 * (2 * edge + d) + at.q,
        9 * b + 3 * of_sign[0] + of_sign[1],
        49 * b + at.f,
        24 * b + 2 * edge + d,
    ]
    sets = 2 * (band.group % 16) + at.q, (at.a >> 1) + 32 * at.q
    high, is_negative = adaptive.decide(decoder, 0, contexts, *sets), 0
    if high:
        is_negative = adaptive.decide(decoder, SIGN, signs, *sets)
        if is_negative == d:
            contexts[1] += 384
        while high < 20 and adaptive.decide(decoder, 1 + min(high, 6), contexts, *sets):
            high += 1
        if high == 20:
            excess = decoder.counted(28) - 1
            demand(excess <= 2**28 >> at.z, "an index is too large")
            high += excess
    k = decoder.bits(high, at.z)
    if k and not high:
        is_negative = decoder.bit()
    return k, is_negative


def fine_phases(starts: np.ndarray, kernel_length: int, stride: int, n_windows: int) -> list[int]:  # 18.4
    centres = np.arange(n_windows) * stride + stride // 2
    last = np.searchsorted(starts, centres, side="right") - 1
    since = centres - starts[last] if len(starts) else centres
    return np.where(last >= 0, np.minimum(48, 32 * since // max(kernel_length, 1)), 48).tolist()


def expected_magnitudes(scale: int, phases: np.ndarray) -> list[int]:  # 9.2, in integers
    powers = (65536, 77936, 92682, 110218)
    quarters = (scale - 41 + 2 * phases).tolist()
    return [min(16383, powers[each % 4] * 2 ** (each // 4 + 92) >> 100) for each in quarters]


def read_levels(content: bytes, channels: Sequence[SimpleNamespace]) -> list[np.ndarray]:  # 18.4
    """Levels of each coded channel, all bands of one after the other.

    A channel has a cascade, the starts and the kernel length of its lead group, and the length of its circle.
    """
    decoder, found = Decoder(content), []
    adaptive: dict[tuple[bytes, int], Adaptive] = {}
    done: dict[tuple[bytes, int], list[list[int]]] = {}
    for c in channels:
        model, mixing = c.cascade.model, c.cascade.model.mixing[c.cascade.set]
        key = model.digest, c.cascade.set
        state = adaptive.setdefault(key, Adaptive(mixing))
        other = done.get((model.digest, c.circle))
        h = int(other is not None)
        rows: list[list[int]] = []
        for number, stride in enumerate(model.strides):
            n_windows = c.circle // stride
            above = [
                (rows[-back], model.strides[number - back] // stride) if number >= back else ([], 1) for back in (1, 2)
            ]
            group = int(model.phase_groups[number])
            band = SimpleNamespace(
                number=number,
                group=group,
                phases=fine_phases(c.starts, c.kernel_length, stride, n_windows),
                expected=expected_magnitudes(int(c.cascade.scales[number]), c.cascade.phases[group]),
                terms=mixing.terms[h][number],
                taps=mixing.taps[h][number],
                above=above,
                beside=other[number] if other is not None else [],
            )
            is_on = c.cascade.scales[number] > 0
            rows.append(read_band(decoder, state, band) if is_on else [0] * n_windows)
        done[model.digest, c.circle] = rows
        found.append(np.array([level for row in rows for level in row], np.int64))
    decoder.finish()
    return found


def octaves(value: int) -> int:  # 19.3, "level"
    b = (value + 4).bit_length()
    return 4 * (b - 3) + ((value + 4) >> (b - 3)) % 4


class Stage:  # 19.2
    def __init__(self, unit: int) -> None:
        self.weights, self.inputs, self.least = np.zeros(0, np.int64), np.zeros(0, np.int64), 4096 * unit * unit

    def predict(self, *inputs: list[int]) -> int:
        self.inputs = np.array([each for part in inputs for each in part], np.int64)
        if len(self.weights) != len(self.inputs):
            self.weights = np.zeros(len(self.inputs), np.int64)
        return int(self.weights @ self.inputs) >> 18

    def learn(self, error: int) -> None:
        gain = sign_of(error) * ((abs(error) * 2**24) // (self.least + int(self.inputs @ self.inputs)))
        changes = [gain * each + 512 >> 10 for each in self.inputs.tolist()]
        self.weights = np.array(
            [limit(weight + change, 2**26) for weight, change in zip(self.weights.tolist(), changes, strict=True)],
            np.int64,
        )


class Nodes:  # 19.5
    """What all residual channels of a chunk share."""

    def __init__(self, content: bytes) -> None:
        prior = PRIOR.read_bytes()
        demand(hashlib.sha256(prior).hexdigest() == PRIOR_SHA256, "residual.prior")
        numbers = np.frombuffer(prior, "<u2")
        demand(len(numbers) == 19 * (352 + 36 * 8), "length of residual.prior")
        slots, weights = np.split(numbers, [19 * 352])
        self.slots = [slot((v >> 4) * 2**10 + 2**9, 4 * (v % 16)) for v in slots.tolist()]  # 19.6
        self.weights = (16 * weights.view("<i2").astype(np.int64)).reshape(19 * 36, 8).tolist()
        self.decoder = Decoder(content)

    def decide(self, node: int, contexts: Sequence[int], sets: Sequence[int], said: list[int]) -> int:
        slots = [self.slots[node * 352 + each] for each in contexts]
        x = [STRETCHED[probability >> 10] for probability, _ in slots] + said
        weights = [self.weights[node * 36 + each] for each in sets]
        places = [limit(dot(each, x) >> 16, 2047) for each in weights]
        bit = self.decoder.bit(SQUASHED[sum(places) >> 1])
        for each, place in zip(weights, places, strict=True):
            learn_weights(each, x, 2 * (65536 * bit - SQUASHED[place]))
        learn_slots(slots, bit)
        return bit


class Difference:  # 19.5
    def __init__(self, nodes: Nodes, experts: list[tuple[int, int]], contexts: SimpleNamespace) -> None:
        self.nodes, self.experts, self.contexts = nodes, experts, contexts

    def places(self, t: int) -> list[int]:  # 19.4
        return [limit((limit(t - middle, 2**40) * inverse) >> 16, 2047) for middle, inverse in self.experts]

    def widths(self, t: int) -> list[int]:
        return [limit((limit(t, 2**40) * inverse) >> 16, 2047) for _, inverse in self.experts]

    def decide(self, node: int, said: list[int]) -> int:
        contexts = self.contexts.of_sign if node == 1 else self.contexts.others
        return self.nodes.decide(node, contexts, self.contexts.sets, said)

    def read(self, whole: int, unit: int, k: int) -> int:
        centre, edge, t = 256 * whole, 128 * unit, 256 * unit * 2**k
        low, high = self.places(centre - edge), self.places(centre + edge)
        said = [STRETCHED[(SQUASHED[b] - SQUASHED[a]) >> 4] for a, b in zip(low, high, strict=True)]
        if self.decide(0, said):
            return 0
        said = [limit(SOFTPLUS[b] - SOFTPLUS[-a], 2047) for a, b in zip(low, high, strict=True)]
        sigma = -1 if self.decide(1, said) else 1
        magnitude = self.read_high(centre, edge, t, sigma, 34 - k)
        if magnitude >= 24:
            demand(magnitude - 23 <= 2**33 >> k, "a difference is too large")
        edge, is_high, first = edge + magnitude * t, min(magnitude, 2), 0
        for position in range(k):
            t //= 2
            if position < 2:
                near, far = self.places(centre + sigma * edge), self.places(centre + sigma * (edge + 2 * t))
                said = [
                    limit(w + SOFTPLUS[sigma * a] - SOFTPLUS[sigma * b], 2047)
                    for w, a, b in zip(self.widths(t), near, far, strict=True)
                ]
                bit = self.decide(15 + 2 * (is_high > 0) + first if position else 12 + is_high, said)
                first = bit
            else:
                bit = self.nodes.decoder.bit()
            magnitude, edge = 2 * magnitude + bit, edge + bit * t
        demand(magnitude + 1 < 2**33, "a difference of 2³³ or more")
        return sigma * (magnitude + 1)

    def read_high(self, centre: int, edge: int, t: int, sigma: int, most: int) -> int:
        for j in range(24):
            places = [sigma * each for each in self.places(centre + sigma * (edge + j * t))]
            said = [limit(SOFTPLUS[-z] - RISES[w], 2047) for z, w in zip(places, self.widths(t), strict=True)]
            if not self.decide(min(2 + j, 11), said):
                return j
        return 23 + self.nodes.decoder.counted(most)


class Channel:
    """19: one residual channel of a chunk; ``u``, ``sums`` are u and A of 11.2, ``neighbours`` lists of E0."""

    def __init__(
        self, nodes: Nodes, c: SimpleNamespace, u: list[int], sums: list[int], neighbours: list[list[int]]
    ) -> None:
        self.nodes, self.layer, self.u, self.sums, self.neighbours = nodes, c.layer, u, sums, neighbours
        self.low, self.high, self.unit = c.minimum - c.offset, c.maximum - c.offset, 2 * c.layer.bound + 1
        self.own, self.y, self.q = c.layer.own.tolist(), [], [0, 0]
        self.e0: list[int] = []
        self.e1: list[int] = []
        self.fast = self.slow = self.before_far = 256 * self.unit
        self.at_slope: dict[int, int] = {}
        self.beside_mean = 1024 * self.unit
        self.near, self.far, self.has_cascade = Stage(self.unit), Stage(self.unit), any(u)

    def run(self) -> tuple[list[int], list[int]]:
        for n in range(len(self.u)):
            self.sample(n)
        return self.y, self.e0

    def limited(self, p: int) -> int:
        return clamp(p, 256 * self.low, 256 * self.high)

    def static(self, n: int) -> int:  # 19.1
        shift, total = self.layer.shift, self.sums[n]
        for lag, weight in enumerate(self.own, 1):
            total += weight * (self.y[n - lag] if lag <= n else self.y[0] if n else self.u[0])
        total = limit(total, 2 ** (34 + shift))
        return self.limited((total + 2 ** (shift - 9)) >> (shift - 8) if shift > 8 else total * 2 ** (8 - shift))

    def slope(self, n: int) -> int:  # 19.3
        if self.has_cascade:
            places = range(max(n - 2, 1), min(n + 3, len(self.u) - 1) + 1)
            total = 4 * sum(abs(self.u[i] - self.u[i - 1]) for i in places)
        else:
            total = 8 * abs(self.y[n - 1] - self.y[n - 2]) if n >= 2 else 0
        return min(octaves(total // self.unit) >> 1, 15)

    def sample(self, n: int) -> None:
        p0 = self.static(n)  # 19.2
        inputs = [past(self.e0, n, self.layer.near_lags), *(around(each, n, 4) for each in self.neighbours)]
        p1 = p0 + (self.near.predict(*inputs) if self.layer.near_lags else 0)
        p2 = self.limited(p1 + (self.far.predict(past(self.e1, n, self.layer.far_lags)) if self.layer.far_lags else 0))
        whole = (p2 + 128) >> 8

        m = (self.fast + self.slow) // (2 * self.unit)  # 19.3
        k = clamp(m.bit_length() - 8, 0, 31)
        scale, slope = clamp(octaves(m >> 2) - 4 * k, 0, 31), self.slope(n)
        self.at_slope.setdefault(slope, self.slow)
        sizes = (p2, self.fast), (p2, self.slow), (p0, self.at_slope[slope]), (p1, self.before_far)
        experts = [(middle, 355 * 2**16 // (size + 32 * self.unit)) for middle, size in sizes]
        q = Difference(self.nodes, experts, self.contexts(n, k, scale, slope)).read(whole, self.unit, k)
        y = clamp(whole + self.unit * q, self.low, self.high)
        self.y.append(y)
        self.q = [q, self.q[0]]
        error0, error1, error2 = (256 * y - p for p in (p0, p1, p2))
        self.e0.append(limit(error0 >> 2, 2**24) if n else 0)
        self.e1.append(limit(error1 >> 2, 2**24) if n else 0)
        if n == 0:
            return
        most = min((self.fast + 32 * self.unit) >> 1, 2**24)
        if self.layer.near_lags:
            self.near.learn(limit(error1 >> 2, most))
        if self.layer.far_lags:
            self.far.learn(limit(error2 >> 2, most))
        self.fast += (abs(error2) - self.fast) >> 4
        self.slow += (abs(error2) - self.slow) >> (4 if n < 32 else 7)
        self.before_far += (abs(error1) - self.before_far) >> 5
        self.at_slope[slope] += (abs(error0) - self.at_slope[slope]) >> 5

    def contexts(self, n: int, k: int, scale: int, slope: int) -> SimpleNamespace:  # 19.5
        sign, beside = 0, 0
        if self.neighbours:
            before, here, behind = around(self.neighbours[0], n, 1)
            level = octaves(abs(before) + 2 * abs(here) + abs(behind)) - octaves(self.beside_mean >> 2)
            sign, beside = sign_of(here), clamp(9 + (level >> 1), 1, 15)
            self.beside_mean += (16 * abs(here) - self.beside_mean) >> 7
        sizes = [min(abs(each) >> max(k - 1, 0), 7) for each in self.q]
        signs = [sign_of(each) + 1 for each in self.q]
        rest = 96 + 8 * beside + (scale >> 2), 224 + 8 * slope + (scale >> 2)
        return SimpleNamespace(
            others=(scale, 32 + 8 * sizes[0] + sizes[1], *rest),
            of_sign=(scale, 32 + 9 * signs[0] + 3 * signs[1] + sign + 1, *rest),
            sets=(min(k, 3), 4 + scale),
        )


def past(errors: list[int], n: int, count: int) -> list[int]:
    return [errors[i] if i >= 0 else 0 for i in range(n - count, n)]


def around(errors: list[int], n: int, reach: int) -> list[int]:
    return [errors[i] if 0 <= i < len(errors) else 0 for i in range(n - reach, n + reach + 1)]


def referred(layer: SimpleNamespace, u: dict[int, Any], y: dict[int, Any], n: int) -> np.ndarray:  # 11.2
    """A."""
    total = np.zeros(n, np.int64)
    for source, is_decoded, first, weights in layer.references:
        v = (y if is_decoded else u)[source]
        for lag, weight in enumerate(weights, first):
            total += weight * v[np.clip(np.arange(n) - lag, 0, n - 1)]
    return total


def read_mixed_residuals(content: bytes, channels: dict[int, Any], u: dict[int, Any]) -> dict[int, np.ndarray]:  # 19
    """y of every channel that has samples, from the channels of CODING and u by number."""
    layered = {i: c for i, c in channels.items() if c.layer}
    y: dict[int, Any] = {i: row for i, row in u.items() if i not in layered}
    nodes, errors = Nodes(content), {}
    while waiting := [i for i in layered if i not in y]:
        ready = [i for i in waiting if all(r[0] in y for r in channels[i].layer.references if r[1])]
        demand(ready, "channels that are predicted from each other")
        for i in ready:
            c, n = channels[i], len(u[i])
            needed = [source for source, is_decoded, *_ in c.layer.references if is_decoded and source in layered]
            neighbours = [errors[source] for source in needed[:2]] or [e for e in errors.values() if len(e) == n][-1:]
            sums = referred(c.layer, u, y, n).tolist()
            decoded, errors[i] = Channel(nodes, c, u[i].tolist(), sums, neighbours).run()
            y[i] = np.array(decoded, np.int64)
    nodes.decoder.finish()
    return y
