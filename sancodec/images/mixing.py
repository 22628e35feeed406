"""Symbols of images coded pixel by pixel, in contexts of those before (docs/format.md, "Coder 1 of images: mixing").

The native core does the same; the Python code here is the specification, and runs where the core was not built.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.mixing import RATE, SQUASH, STRETCH, STRETCH_LIMIT, WEIGHT_LIMIT, RangeCoder, limited
from sancodec.errors import CorruptError

N_INPUTS, TABLE_BITS = 12, 18
N_ACTIVITIES, N_CELLS = 8, 256
MARGIN = 3
_KNOTS, _KNOT_STEP_BITS, _KNOT_LIMIT = 33, 7, 255
_COUNT_LIMIT, _CHECK_BITS, _PROBABILITY_SHIFT = 30, 8, 14
_START_SLOT, _START_WEIGHT, _LEARNING_RATE = 1 << 31, 10486, 12
_LEAST_CHANCE = 16
_EDGES = (4, 10, 20, 40, 80, 160, 320)
_U32 = (1 << 32) - 1
_CONFIDENCE = [1280 * count // (5 * count + 2) for count in range(64)]
_START_KNOTS = [SQUASH[min(128 * knot, 4095)] << 16 | 6 for knot in range(_KNOTS)]
_BYTES_PER_PIXEL = (2, 14)  # more than is ever needed but for noise; nine decisions of at most 12 bits


def encode_symbols(symbols: NDArray[np.uint8], values: NDArray[np.uint8], background: int) -> bytes:
    """Code the symbols of images.

    Parameters
    ----------
    symbols
        uint8, shape ``(image, row, column)``, below the number of values.
    values
        uint8, rising: what each symbol stands for.
    background
        The symbol that is asked for first, and that surrounds every image.
    """
    if native.core is None:
        return code_in_python(symbols.copy(), values, background, None)
    symbols = np.ascontiguousarray(symbols)
    _, height, width = symbols.shape
    used = -1
    for bytes_per_pixel in _BYTES_PER_PIXEL:
        written = np.empty(bytes_per_pixel * symbols.size + 64, np.uint8)
        used = native.core.image_symbols(values, background, height, width, symbols.reshape(-1).copy(), None, written)
        if used >= 0:
            break
    assert used >= 0
    return written[:used].tobytes()


def decode_symbols(
    coded: bytes, shape: tuple[int, int, int], values: NDArray[np.uint8], background: int
) -> NDArray[np.uint8]:
    """Inverse of `encode_symbols`.

    Raises
    ------
    CorruptError
        When the bytes are no such images.
    """
    symbols = np.zeros(shape, np.uint8)
    if native.core is None:
        code_in_python(symbols, values, background, coded)
        return symbols
    _, height, width = shape
    nothing = np.zeros(0, np.uint8)
    if native.core.image_symbols(values, background, height, width, symbols.reshape(-1), coded, nothing) < 0:
        raise _damaged()
    return symbols


def _damaged() -> CorruptError:
    return CorruptError("images: a symbol is out of range, or the stream ends too early or too late")


def code_in_python(
    symbols: NDArray[np.uint8], values: NDArray[np.uint8], background: int, coded: bytes | None
) -> bytes:
    """Encode ``symbols``, or where bytes are given decode them into it."""
    _, height, width = symbols.shape
    range_coder = RangeCoder(coded)
    coder = _SymbolCoder(range_coder, len(values), background)
    known = values.tolist()
    stride = width + 2 * MARGIN
    for image in symbols:
        canvas = [known[background]] * ((height + MARGIN) * stride)
        for row, column in np.ndindex(height, width):
            at = (row + MARGIN) * stride + MARGIN + column
            coder.look_around(canvas, at, stride, column, known[background])
            coder.cell = row * 16 // height * 16 + column * 16 // width
            symbol = coder.symbol(int(image[row, column]))
            if symbol >= len(known) or range_coder.failed:
                raise _damaged()
            image[row, column], canvas[at] = symbol, known[symbol]
    if coded is None:
        return range_coder.finish()
    if not range_coder.is_read_up:
        raise _damaged()
    return coded


def mixed_hash(a: int, b: int) -> int:
    """32 bits of two numbers."""
    h = (a * 0x9E3779B1 & _U32) ^ (b * 0x85EBCA6B + 0xC2B2AE35 & _U32)
    h ^= h >> 15
    h = h * 0x2C1B3C6D & _U32
    return h ^ h >> 13


class _SymbolCoder:
    """The adaptive state of a chunk."""

    def __init__(self, range_coder: RangeCoder, n_symbols: int, background: int) -> None:
        self._range, self._background = range_coder, background
        self._depth = max(1, (n_symbols - 1).bit_length())
        self._slots: list[dict[int, int]] = [{} for _ in range(N_INPUTS)]
        self._weights: dict[tuple[int, int, int], list[int]] = {}
        self._knots: dict[tuple[int, int], list[int]] = {}
        self._keys: list[int] = []
        self._shade = self._activity = 0
        self.cell = 0

    def look_around(self, p: list[int], at: int, stride: int, column: int, background: int) -> None:
        """Note the contexts of a pixel; ``p`` holds the values of its image with a margin."""
        w, n, nw, ne, ww = p[at - 1], p[at - stride], p[at - stride - 1], p[at - stride + 1], p[at - 2]
        nn, nne = p[at - 2 * stride], p[at - 2 * stride + 1]
        near = [w, n, nw, ne, ww, nn, nne, p[at - stride + 2], p[at - stride - 2]]
        near += [p[at - 2 * stride - 1], p[at - 3], p[at - 3 * stride]]
        total = abs(w - nw) + abs(n - nw) + abs(n - ne) + abs(w - ww) + abs(n - nn)
        self._activity = sum(total >= edge for edge in _EDGES)
        pairs = (
            (w | n << 8, nw),
            (w >> 2 | n >> 2 << 8 | nw >> 2 << 16, ne >> 2),
            (_to_byte(w + n - nw), self._activity),
            (0, 0),
            (n, nn),
            (w, ww),
            (_to_byte(w + ne - n), n >> 4),
            (column << 8 | n, ne >> 4),
            (sum((value >> 5) << 3 * index for index, value in enumerate(near[:6])), nne >> 5),
            (sum((value != background) << index for index, value in enumerate(near)), w >> 3),
            (sum((value > 127) << index for index, value in enumerate(near)), 0),
            (_to_byte(2 * w - ww), _to_byte(2 * n - nn) >> 2),
        )
        self._keys = [mixed_hash(mixed_hash(a, b), index) for index, (a, b) in enumerate(pairs)]
        self._shade = w >> 3 | n >> 3 << 5 | ne >> 4 << 10

    def symbol(self, symbol: int) -> int:
        """Code a symbol: whether it is the background; if not, its bits, the most significant first."""
        if self._decide(0, 0, int(symbol == self._background)):
            return self._background
        node = 1
        for level in range(1, self._depth + 1):
            node = node << 1 | self._decide(node, level, symbol >> self._depth - level & 1)
        return node - (1 << self._depth)

    def _decide(self, node: int, level: int, bit: int) -> int:
        places = [self._place(index, node) for index in range(N_INPUTS)]
        stretched = []
        for slots, place in zip(self._slots, places, strict=True):
            slot = slots[place]
            stretched.append(STRETCH[slot >> 20] * _CONFIDENCE[slot >> _CHECK_BITS & 63] >> 8)
        keys = ((0, node, 0), (1, level, self._activity), (2, level, self.cell))
        sets = [self._weights.setdefault(key, [_START_WEIGHT] * N_INPUTS) for key in keys]
        sums = [sum(w * x for w, x in zip(weights, stretched, strict=True)) for weights in sets]
        mixed = 2048 + limited(sum(sums) * 21845 >> 32, STRETCH_LIMIT)
        knot, share = mixed >> _KNOT_STEP_BITS, mixed & 127
        curves = [
            self._knots.setdefault(key, list(_START_KNOTS))
            for key in ((node, self._activity), (-1, mixed_hash(self._shade, node) >> 16))
        ]
        chances = [(curve[knot] >> 16) * (128 - share) + (curve[knot + 1] >> 16) * share >> 7 for curve in curves]
        chance = 2 * SQUASH[mixed] + sum(chances) >> 2
        bit = self._range.bit(bit, min(max(chance, _LEAST_CHANCE), 65536 - _LEAST_CHANCE))
        for weights, total in zip(sets, sums, strict=True):
            error = (bit << 16) - SQUASH[2048 + limited(total >> 16, STRETCH_LIMIT)]
            for index, x in enumerate(stretched):
                learnt = weights[index] + (x * error * _LEARNING_RATE + (1 << 17) >> 18)
                weights[index] = limited(learnt, WEIGHT_LIMIT)
        for slots, place in zip(self._slots, places, strict=True):
            slots[place] = _slot_after(slots[place], bit)
        for curve in curves:
            curve[knot + (share >= 64)] = _knot_after(curve[knot + (share >= 64)], bit)
        return bit

    def _place(self, index: int, node: int) -> int:
        """Where the slot of a context is: of two neighbours the one that holds it, else the one met less often."""
        h = self._keys[index] + node * 0x9E3779B1 & _U32
        h ^= h >> 16
        h = h * 0x7FEB352D & _U32
        h ^= h >> 15
        first, check = h >> 32 - TABLE_BITS, h & 0xFF
        slots = self._slots[index]
        found = [(place, slots.get(place, _START_SLOT)) for place in (first, first ^ 1)]
        for place, slot in found:
            if slot & 0xFF == check:
                slots[place] = slot
                return place
        place = min(found, key=lambda each: each[1] >> _CHECK_BITS & 63)[0]
        slots[place] = _START_SLOT | check
        return place


def _to_byte(value: int) -> int:
    return min(max(value, 0), 255)


def _slot_after(slot: int, bit: int) -> int:
    count, p = slot >> _CHECK_BITS & 63, slot >> _PROBABILITY_SHIFT
    p += (((1 << 18) - 1 if bit else 0) - p) * RATE[count] >> 16
    return p << _PROBABILITY_SHIFT | min(count + 1, _COUNT_LIMIT) << _CHECK_BITS | slot & 0xFF


def _knot_after(knot: int, bit: int) -> int:
    count, p = knot & 0xFFFF, knot >> 16
    p += ((65535 if bit else 0) - p) * RATE[count] >> 16
    return p << 16 | min(count + 1, _KNOT_LIMIT)
