"""CRC-32 run backwards: which change of one byte explains a wrong checksum, and what a digest says of its chunk.

CRC-32 is linear over GF(2). An error e in a byte that d bytes follow changes it by L^d(T[e]), where L appends a byte 0
and T is the usual table; so stepping the difference backwards finds place and change (W. W. Peterson and D. T. Brown,
"Cyclic codes for error detection", 1961).
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0xEDB88320
_MASK = 0xFFFFFFFF
_MAX_CHANGES = 8
_U32 = struct.Struct("<I")


def _table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


_TABLE = _table()
# The top bytes of the table are a permutation, so that a step can be undone.
_BYTE_OF_TOP = np.argsort(_TABLE >> 24).astype(np.uint32)


def _unstep(states: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Inverse of appending a byte 0."""
    byte = _BYTE_OF_TOP[states >> 24]
    result: NDArray[np.uint32] = ((states ^ _TABLE[byte]) << np.uint32(8)) | byte
    return result


def _apply(columns: NDArray[np.uint32], state: int) -> int:
    bits = (state >> np.arange(32)) & 1
    return int(np.bitwise_xor.reduce(columns[bits.astype(bool)], initial=0))


@lru_cache(maxsize=128)
def _power(exponent: int, is_inverse: bool) -> NDArray[np.uint32]:
    """The 32 columns of L or its inverse, applied 2**exponent times."""
    if exponent:
        half = _power(exponent - 1, is_inverse)
        return np.array([_apply(half, int(column)) for column in half], np.uint32)
    units = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return _unstep(units) if is_inverse else (units >> 8) ^ _TABLE[units & 0xFF]


def shifted(state: int, n_bytes: int) -> int:
    """The state after ``n_bytes`` bytes 0; negative numbers take them back."""
    rest, exponent = abs(n_bytes), 0
    while rest:
        if rest & 1:
            state = _apply(_power(exponent, n_bytes < 0), state)
        rest >>= 1
        exponent += 1
    return state


def crc_of_end(crc_of_start: int, crc_of_all: int, n_bytes: int) -> int:
    """CRC-32 of the last ``n_bytes`` bytes of a string, from those of what comes before and of the whole."""
    return crc_of_all ^ shifted(crc_of_start, n_bytes)


def chunk_of_digest(digest: int, *, samples_crc: int, n_bytes: int, coding_crc: int) -> int:
    """The one chunk number for which a chunk of ``n_bytes`` bytes of samples has this digest.

    docs/format.md, "Digest". For samples that are not those of the digest, it is any number below 2**32.
    """
    of_place = shifted(digest ^ samples_crc, -n_bytes)
    of_number = shifted(of_place ^ zlib.crc32(_U32.pack(coding_crc)), -4)
    return shifted(of_number ^ _MASK, -4) ^ _MASK


def one_byte_changes(difference: int, n_bytes: int) -> list[tuple[int, int]]:
    """Changes of one of ``n_bytes`` bytes that change their CRC-32 by ``difference``.

    Returns
    -------
    Position and exclusive-or of each, those nearest to the end first; seldom more than one.
    """
    if not difference or not n_bytes:
        return []
    # Lanes of consecutive distances from the end, all stepped together.
    length = max(1, int(n_bytes**0.5))
    n_lanes = -(-n_bytes // length)
    states = np.empty(n_lanes, np.uint32)
    start = difference
    for lane in range(n_lanes):
        states[lane] = start
        start = shifted(start, -length)
    found: list[tuple[int, int]] = []
    for step in range(length):
        byte = _BYTE_OF_TOP[states >> 24]
        unstepped = states ^ _TABLE[byte]
        for lane in np.flatnonzero(unstepped == 0).tolist():
            distance = lane * length + step
            if distance < n_bytes:
                found.append((n_bytes - 1 - distance, int(byte[lane])))
        states = (unstepped << np.uint32(8)) | byte
    return sorted(found, reverse=True)[:_MAX_CHANGES]
