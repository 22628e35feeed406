"""Binary decisions by logistic mixing of adaptive probabilities, and the range coder that codes them.

docs/format.md, "Coder 2". The same as native/mixing.h, which the tests compare it with; slow, since every decision
waits for the one before.
"""

from __future__ import annotations

from itertools import pairwise

STRETCH_LIMIT = 2047
COUNT_BITS = 10
MAX_COUNT = 1023
WEIGHT_LIMIT = 1 << 20
SPARE_BYTES = 4

# round(65536 / (1 + exp(-k / 4))), k from -32 to 32
_KNOTS = (
    22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922, 1179, 1506, 1921, 2446, 3108, 3938, 4971,
    6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834,
    57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328,
    65374, 65410, 65438, 65459, 65476, 65489, 65500, 65508, 65514,
)  # fmt: skip
# By 2048 + stretch: probability in 2^-16.
SQUASH = [(low * (64 - share) + high * share + 32) >> 6 for low, high in pairwise(_KNOTS) for share in range(64)]
RATE = [(65536 * 2 + n) // (2 * n + 3) for n in range(MAX_COUNT + 1)]


def _stretches() -> list[int]:
    """By probability in 2^-12: the smallest stretch whose squash is not below its middle."""
    result, at = [], 1
    for p in range(4096):
        while at < 4095 and SQUASH[at] < p * 16 + 8:
            at += 1
        result.append(at - 2048)
    return result


STRETCH = _stretches()


def limited(value: int, limit: int) -> int:
    return limit if value > limit else max(value, -limit)


def updated(slot: int, bit: int, limit: int) -> int:
    """An adaptive probability, 22 bits and in the low 10 a count, after a bit."""
    count, p = slot & MAX_COUNT, slot >> COUNT_BITS
    p += (((1 << 22) - 1 if bit else 0) - p) * RATE[count] >> 16
    return p << COUNT_BITS | (count + 1 if count < limit else count)


class RangeCoder:
    """Codes bits: an encoder where no bytes are given, else a decoder of them.

    Attributes
    ----------
    failed
        Whether a decoder has read beyond its input.
    """

    def __init__(self, coded: bytes | None = None) -> None:
        self._low, self._high, self._code = 0, 0xFFFFFFFF, 0
        self._input = coded
        self._output = bytearray()
        self._position = 0
        self.failed = False
        if coded is not None:
            for _ in range(4):
                self._take()

    @property
    def is_decoder(self) -> bool:
        return self._input is not None

    def bit(self, bit: int, p: int) -> int:
        """Code a bit whose probability of being 1 is p / 65536; returns it."""
        middle = self._low + ((self._high - self._low) * p >> 16)
        if self._input is not None:
            bit = int(self._code <= middle)
        if bit:
            self._high = middle
        else:
            self._low = middle + 1
        while (self._low ^ self._high) & 0xFF000000 == 0:
            if self._input is not None:
                self._take()
            else:
                self._output.append(self._low >> 24)
            self._low = self._low << 8 & 0xFFFFFFFF
            self._high = self._high << 8 & 0xFFFFFFFF | 0xFF
        return bit

    @property
    def is_read_up(self) -> bool:
        """Whether a decoder read just what an encoder wrote."""
        assert self._input is not None
        return not self.failed and self._position - SPARE_BYTES + (self._low != 0) == len(self._input)

    def finish(self) -> bytes:
        """What an encoder has written."""
        if self._low:
            self._output.append((self._low >> 24) + 1)
        return bytes(self._output)

    def _take(self) -> None:
        assert self._input is not None
        byte = 0
        if self._position < len(self._input):
            byte = self._input[self._position]
        elif self._position >= len(self._input) + SPARE_BYTES:
            self.failed = True
        self._position += 1
        self._code = self._code << 8 & 0xFFFFFFFF | byte
