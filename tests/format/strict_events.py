"""Events of lead groups under coder 2 as docs/format.md says, section 20, decision by decision."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from strict_fields import check_starts, demand
from strict_mixing import SQUASHED, STRETCHED, Decoder, dot, learn_slots, learn_weights, limit, sign_of, slot
from strict_residuals import octaves

PRIOR = Path(__file__).parents[2] / "sancodec" / "models" / "events.prior"
PRIOR_SHA256 = "62c3a387d25a43a78300be8ad6abb3ab4c96ca0dc8bbb3ad210e3b5d921d49ea"
GAPS, GAINS, CHOICES = "gaps", "gains", "choices"
SHAPES = {GAPS: (28, 234), GAINS: (28, 282), CHOICES: (12, 123)}  # 20.1, nodes and the slots of each
ABSENT = SimpleNamespace(kernel=0, gain=0, deviation=0)


def length(v: int) -> int:
    return min(abs(v).bit_length(), 7)


def size(v: int) -> int:
    return min(octaves(v >> 4) >> 1, 19)


class Nodes:  # 20.1, 20.5
    """What all groups and channels of a chunk share."""

    def __init__(self, content: bytes) -> None:
        prior = PRIOR.read_bytes()
        demand(hashlib.sha256(prior).hexdigest() == PRIOR_SHA256, "events.prior")
        numbers = iter(np.frombuffer(prior, "<u2").tolist())
        self.slots, self.weights = {}, {}
        for kind, (n_nodes, n_slots) in SHAPES.items():
            for node in range(n_nodes):
                row = [next(numbers) for _ in range(n_slots)]
                self.slots[kind, node] = [slot((v >> 4) * 2**10 + 2**9, 4 * (v % 16)) for v in row]  # 19.6
                self.weights[kind, node] = [28672] * 3
        demand(next(numbers, None) is None, "length of events.prior")
        self.decoder = Decoder(content)

    def decide(self, kind: str, node: int, contexts: Sequence[int]) -> int:
        slots, weights = [self.slots[kind, node][each] for each in contexts], self.weights[kind, node]
        x = [STRETCHED[probability >> 10] for probability, _ in slots]
        p = SQUASHED[limit(dot(weights, x) >> 16, 2047)]
        bit = self.decoder.bit(p)
        learn_weights(weights, x, 20 * (65536 * bit - p))
        learn_slots(slots, bit)
        return bit

    def number(self, kind: str, of_sign: int, *contexts: int) -> int:  # 20.2
        if not self.decide(kind, 0, contexts):
            return 0
        sign = -1 if self.decide(kind, 1, (of_sign, *contexts[1:])) else 1
        j = 0
        while self.decide(kind, min(2 + j, 11), contexts):
            j += 1
            demand(j <= 33, "a number of 35 bits")
        value, first = 1, 0
        for i in range(j):
            if i == 0:
                bit = first = self.decide(kind, 11 + min(j, 6), contexts)
            elif i == 1:
                bit = self.decide(kind, 18 + 2 * (min(j, 6) - 2) + first, contexts)
            else:
                bit = self.decoder.bit()
            value = 2 * value + bit
        return sign * value


def read_starts(nodes: Nodes, first: int, n: int, n_samples: int) -> tuple[list[int], list[int]]:  # 20.3
    """Starts and rhythms of the n > 0 events of a lead group."""
    starts, rhythms, before = [first], [0], [0, 0]
    m = max(256 * (n_samples - first) // n, 256)
    a = m // 24
    for _ in range(n - 1):
        z, (near, far) = size(a), before
        d = nodes.number(
            GAPS,
            3 * (sign_of(near) + 1) + sign_of(far) + 1,
            z,
            20 + 10 * (sign_of(near) * length(near) + 7) + (z >> 1),
            170 + 8 * length(near) + length(far),
        )
        gap = ((m + 128) >> 8) + d
        demand(gap >= 1 and starts[-1] + gap < n_samples, f"a gap of {gap} samples after {starts[-1]}")
        starts.append(starts[-1] + gap)
        rhythms.append(-3 + sum(4096 * d >= (2 * j - 1) * m for j in range(-2, 4)))
        m += ((256 * gap - m) * 3) >> 3
        a += ((256 * abs(d) - a) * 3) >> 4
        before = [d, near]
    return starts, rhythms


class Channel:  # 20.4
    def __init__(self, nodes: Nodes, n_kernels: int, rhythms: list[int], beside: list[SimpleNamespace] | None) -> None:
        self.nodes, self.n_kernels, self.rhythms = nodes, n_kernels, [*rhythms, 0]
        self.f, self.beside = int(beside is not None), beside or [ABSENT] * len(rhythms)
        self.means: dict[int, int] = {}
        self.deviations: dict[int, int] = {}
        self.events: list[SimpleNamespace] = []
        self.a, self.before = 512, ABSENT

    def run(self) -> list[SimpleNamespace]:
        for number, beside in enumerate(self.beside):
            self.events.append(self.event(number, beside))
        return self.events

    def event(self, number: int, beside: SimpleNamespace) -> SimpleNamespace:
        kappa, c = min(self.before.kernel, 7), 1 + min(beside.kernel, 7) if beside.gain else 0
        rhythm, following = self.rhythms[number : number + 2]
        others = 16 + 8 * c + kappa, 88 + 5 * (rhythm + 3) + limit(following, 2) + 2
        v = int(not self.events or self.events[-1].gain > 0)
        if not self.nodes.decide(CHOICES, 0, (2 * v + self.f, *others)):
            return ABSENT
        kernel = self.kernel((2 * kappa + self.f, *others))
        g, novelty = self.predicted(kernel)
        d = self.deviation(novelty, self.deviations.get(kernel, 0), beside.deviation)
        gain = ((g + 128) >> 8) + d
        demand(1 <= gain <= 127, f"a gain of {gain}")
        self.means[kernel] = 256 * gain if novelty else g + ((256 * gain - g) >> 2)
        self.a += ((256 * abs(d) - self.a) * 3) >> 4
        self.deviations[kernel] = d
        self.before = SimpleNamespace(kernel=kernel, gain=gain, deviation=d)
        return self.before

    def kernel(self, contexts: Sequence[int]) -> int:
        n, value = (self.n_kernels - 1).bit_length(), 1
        decided = min(n, 3)
        for _ in range(decided):
            value = 2 * value + self.nodes.decide(CHOICES, 2**decided - 1 - decided + value, contexts)
        kernel = self.nodes.decoder.bits(value, n - decided) - 2**n
        demand(kernel < self.n_kernels, f"kernel {kernel} of {self.n_kernels}")
        return kernel

    def predicted(self, kernel: int) -> tuple[int, int]:
        if kernel in self.means:
            return self.means[kernel], 0
        return (256 * self.before.gain, 1) if self.before.gain else (8192, 2)

    def deviation(self, novelty: int, of_kernel: int, beside: int) -> int:
        before = self.before.deviation
        return self.nodes.number(
            GAINS,
            3 * (3 * (sign_of(of_kernel) + 1) + sign_of(before) + 1) + novelty,
            3 * size(self.a) + novelty,
            60 + 3 * (8 * length(of_kernel) + length(before)) + novelty,
            252 + 2 * (sign_of(beside) * length(beside) + 7) + self.f,
        )


def read_mixed_events(
    content: bytes, coding: SimpleNamespace, firsts: list[np.ndarray], lengths: list[int]
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:  # 20
    """Starts of each lead group, kernels and gains of each channel; ``firsts`` repeat the first start of a group."""
    if not any(coding.kernel_lengths):
        demand(not content, "events where no lead group has any")
    nodes = Nodes(content)
    of_group = {c.group: n for c, n in zip(coding.channels, lengths, strict=True)}
    starts, rhythms, of_channels = [], [], []
    for group, first in enumerate(firsts):
        found = read_starts(nodes, int(first[0]), len(first), of_group[group]) if len(first) else ([], [])
        starts.append(np.array(found[0], np.int64))
        rhythms.append(found[1])
        check_starts(starts[-1], coding.kernel_lengths[group], of_group[group])
    beside: dict[int, list[SimpleNamespace]] = {}
    for c in coding.channels:
        events = []
        if c.cascade and len(c.cascade.kernels):
            events = Channel(nodes, len(c.cascade.kernels), rhythms[c.group], beside.get(c.group)).run()
            beside[c.group] = events
        kernels, gains = (np.array([getattr(each, name) for each in events], np.int64) for name in ("kernel", "gain"))
        of_channels.append((kernels, gains))
    nodes.decoder.finish()
    return starts, of_channels
