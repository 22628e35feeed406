"""Levels of the cascades under coder 2 as docs/format.md says, section 18, decision by decision."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_fields import demand
from strict_mixing import (
    RATES,
    SQUASHED,
    STRETCHED,
    Decoder,
    dot,
    learn_slots,
    learn_weights,
    limit,
    sign_of,
    slot,
    squash,
)

NEXT_STATE = ((0, 1), (3, 2), (5, 4), (6, 7), (1, 0), (2, 3), (4, 5), (7, 6))
NEAR_EDGES = (1, 2, 4, 7, 13, 23, 45)
PREDICTION_EDGES = (26, 51, 92, 154, 230, 358, 563, 870, 1331, 2048, 3584)
SIGN = 1


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
