"""Bit strings written and read as whole arrays: fixed-width fields, Rice-coded lists, Exp-Golomb excesses.

Bits are packed most significant first (docs/format.md, "Bit strings").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.errors import CorruptError, TruncatedError

Bits = NDArray[np.uint8]

_RICE_PARAMETER_BITS = 5
_MAX_RICE_QUOTIENT = 24
_MAX_RICE_PARAMETER = 30
_FIELDS_AT_ONCE = 1 << 16
_ESCAPE_BITS = 32


def bit_length(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of bits of each value below 2**52; 0 for 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def fields_to_bits(values: NDArray[np.int64], widths: NDArray[np.int64]) -> Bits:
    """Each value in its own number of bits; one bit per element of the result."""
    if native.core is not None:
        bits = np.empty(int(widths.sum()), np.uint8)
        native.core.fields_to_bits(np.ascontiguousarray(values), np.ascontiguousarray(widths), bits)
        return bits
    ends = np.cumsum(widths)
    total = int(ends[-1]) if len(ends) else 0
    shift = np.repeat(ends, widths) - 1 - np.arange(total)
    return ((np.repeat(values, widths) >> shift) & 1).astype(np.uint8)


def bits_to_fields(bits: Bits, widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Inverse of ``fields_to_bits`` for exactly ``widths.sum()`` bits."""
    values = np.zeros(len(widths), np.int64)
    if native.core is not None:
        native.core.bits_to_fields(bits, np.ascontiguousarray(widths), values)
        return values
    used = np.flatnonzero(widths)
    if len(used) == len(widths) and len(used) and widths.min() == widths.max():
        width = int(widths[0])
        weights = np.int64(1) << np.arange(width - 1, -1, -1, dtype=np.int64)
        values = bits.reshape(len(widths), width) @ weights
    elif len(used):
        ends = np.cumsum(widths[used])
        shift = np.repeat(ends, widths[used]) - 1 - np.arange(len(bits))
        values[used] = np.add.reduceat(bits.astype(np.int64) << shift, ends - widths[used])
    return values


def zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Signed to unsigned: 0, -1, 1, -2 … become 0, 1, 2, 3 …"""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def unzigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values & 1, -((values + 1) >> 1), values >> 1)


class BitWriter:
    """Collects bit arrays; ``tobytes`` pads the last byte with zeros."""

    def __init__(self) -> None:
        self._parts: list[Bits] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def bits(self, bits: Bits) -> None:
        self._parts.append(bits)

    def number(self, value: int, width: int) -> None:
        assert 0 <= value < 1 << width
        self._parts.append(fields_to_bits(np.array([value]), np.array([width])))

    def rice(self, values: NDArray[np.int64]) -> None:
        """Unsigned numbers below 2**32: parameter, all quotients in unary, all remainders, then escaped values."""
        if not len(values):
            return
        values = np.ascontiguousarray(values)
        middle = np.partition(values, [(len(values) - 1) // 2, len(values) // 2])
        median = (middle[(len(values) - 1) // 2] + middle[len(values) // 2]) / 2
        lengths = [int(max(typical, 1)).bit_length() for typical in (values.mean(), median)]
        guesses = {min(max(length - less, 0), _MAX_RICE_PARAMETER) for length in lengths for less in range(3)}
        costs = {k: self._rice_cost(values, k) for k in guesses}
        parameter = min(costs, key=lambda k: (costs[k], k))
        if native.core is not None:
            bits = np.empty(costs[parameter], np.uint8)
            native.core.rice_write(values, parameter, bits)
            self._parts.append(bits)
            return
        quotients = np.minimum(values >> parameter, _MAX_RICE_QUOTIENT)
        escaped = quotients == _MAX_RICE_QUOTIENT
        self.number(parameter, _RICE_PARAMETER_BITS)
        ends = np.cumsum(quotients + 1)
        unary = np.ones(int(ends[-1]), np.uint8)
        unary[ends - 1] = 0
        self._parts.append(unary)
        kept = values[~escaped]
        self._parts.append(fields_to_bits(kept & ((1 << parameter) - 1), np.full(len(kept), parameter)))
        self._parts.append(fields_to_bits(values[escaped], np.full(int(escaped.sum()), _ESCAPE_BITS)))

    @staticmethod
    def _rice_cost(values: NDArray[np.int64], parameter: int) -> int:
        if native.core is not None:
            return int(native.core.rice_cost(values, parameter))
        quotients = np.minimum(values >> parameter, _MAX_RICE_QUOTIENT)
        n_escaped = int((quotients == _MAX_RICE_QUOTIENT).sum())
        n_bits = int(quotients.sum()) + len(values) * (1 + parameter) + n_escaped * (_ESCAPE_BITS - parameter)
        return _RICE_PARAMETER_BITS + n_bits

    def tobits(self) -> Bits:
        return np.concatenate([np.zeros(0, np.uint8), *self._parts])

    def tobytes(self) -> bytes:
        return np.packbits(self.tobits()).tobytes()


class BitReader:
    """Reads what ``BitWriter`` wrote.

    Raises
    ------
    TruncatedError
        From every method, when the bits end too early.
    """

    def __init__(self, bits: Bits, what: str) -> None:
        self._bits = bits
        self._position = 0
        self._what = what

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> BitReader:
        return cls(np.unpackbits(np.frombuffer(content, np.uint8)), what)

    def bits(self, count: int) -> Bits:
        if count > len(self._bits) - self._position:
            raise TruncatedError(
                f"{self._what}: {count} more bits are needed, {len(self._bits) - self._position} are left"
            )
        self._position += count
        return self._bits[self._position - count : self._position]

    @property
    def rest(self) -> Bits:
        """Bits not yet read."""
        return self._bits[self._position :]

    @property
    def position(self) -> int:
        """Bits read so far."""
        return self._position

    def number(self, width: int) -> int:
        padded = np.packbits(self.bits(width)).tobytes()
        return int.from_bytes(padded, "big") >> (-width % 8)

    def fields(self, widths: NDArray[np.int64]) -> NDArray[np.int64]:
        blocks = [widths[first : first + _FIELDS_AT_ONCE] for first in range(0, len(widths), _FIELDS_AT_ONCE)]
        parts = [bits_to_fields(self.bits(int(block.sum())), block) for block in blocks]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def rice(self, count: int) -> NDArray[np.int64]:
        if not count:
            return np.zeros(0, np.int64)
        if native.core is not None and count <= len(self.rest):
            values = np.empty(count, np.int64)
            end = native.core.rice_read(self._bits, self._position, values)
            if end >= 0:
                self._position = end
                return values
            # What is wrong is found below.
        parameter = self.number(_RICE_PARAMETER_BITS)
        if parameter > _MAX_RICE_PARAMETER:
            raise CorruptError(f"{self._what}: Rice parameter {parameter}; at most {_MAX_RICE_PARAMETER} is allowed")
        span = self._bits[self._position : self._position + count * (_MAX_RICE_QUOTIENT + 1)]
        ends = np.flatnonzero(span == 0)[:count]
        if len(ends) < count:
            raise TruncatedError(f"{self._what}: {count} numbers are promised, {len(ends)} are there")
        quotients = np.diff(ends, prepend=-1) - 1
        if quotients.max() > _MAX_RICE_QUOTIENT:
            raise CorruptError(
                f"{self._what}: a Rice quotient of {quotients.max()}; at most {_MAX_RICE_QUOTIENT} is allowed"
            )
        self._position += int(ends[-1]) + 1
        escaped = quotients == _MAX_RICE_QUOTIENT
        values = quotients.astype(np.int64)
        n_escaped = int(escaped.sum())
        values[~escaped] = (values[~escaped] << parameter) | self.fields(np.full(count - n_escaped, parameter))
        values[escaped] = self.fields(np.full(n_escaped, _ESCAPE_BITS))
        if values.max() >> _ESCAPE_BITS:
            raise CorruptError(f"{self._what}: a Rice-coded number of {values.max()}; it must be below 2**32")
        return values

    def finish(self) -> None:
        """Refuse anything but up to seven zero bits of padding."""
        rest = self._bits[self._position :]
        if len(rest) > 7 or rest.any():
            raise CorruptError(f"{self._what}: {len(rest)} bits follow its last field")
