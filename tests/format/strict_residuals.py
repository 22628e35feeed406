"""The residual layer under coder 2 as docs/format.md says, section 19, decision by decision."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_fields import demand
from strict_mixing import (
    SQUASHED,
    STRETCHED,
    Decoder,
    clamp,
    dot,
    learn_slots,
    learn_weights,
    limit,
    sign_of,
    slot,
    squash,
)

PRIOR = Path(__file__).parents[2] / "sancodec" / "models" / "residual.prior"
PRIOR_SHA256 = "5dcfff82baf4465cfa2053329096739b29381b396cb5e2172cb8f84ee1034c8d"
SOFTPLUS = dict(zip(SQUASHED, (np.cumsum([0, *SQUASHED.values()])[:-1] >> 16).tolist(), strict=True))  # 19.4
RISES = [-STRETCHED[min((65536 - squash(x)) * 4096 // squash(x), 4095)] for x in range(2048)]


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
