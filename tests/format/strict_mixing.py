"""What sections 18 to 20 of docs/format.md share: probabilities, the range decoder, what learns."""

from __future__ import annotations

from collections.abc import Sequence

from strict_fields import demand

EVEN = 32768
KNOTS = [  # 18.1
    22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922, 1179, 1506, 1921, 2446, 3108, 3938, 4971,
    6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834,
    57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328,
    65374, 65410, 65438, 65459, 65476, 65489, 65500, 65508, 65514,
]  # fmt: skip


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
