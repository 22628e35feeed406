"""Fields of byte strings and bit strings for the second decoder, from section 1 of docs/format.md alone."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zstandard


def demand(condition: Any, what: str) -> None:
    if not condition:
        raise ValueError(what)


def unzigzag(u: int) -> int:
    return -((u + 1) // 2) if u & 1 else u // 2


def unzstd(frame: bytes, limit: int) -> bytes:  # 1.3
    demand(frame[:4] == b"\x28\xb5\x2f\xfd", "not a zstd frame")
    try:
        demand(1 <= zstandard.frame_content_size(frame) <= limit, "content size of a zstd frame")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd frame: {error}") from error


class Bytes:
    """1.1 and 1.2: fields of a byte string, front to back."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def take(self, n: int) -> bytes:
        demand(self.position + n <= len(self.content), "truncated")
        self.position += n
        return self.content[self.position - n : self.position]

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def array(self, dtype: str, *shape: int) -> np.ndarray:
        n = int(np.prod(shape))
        return np.frombuffer(self.take(n * np.dtype(dtype).itemsize), dtype).reshape(shape).astype(np.int64)

    def varint(self, low: int = 0, high: int = 2**63) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                demand(low <= value <= high, f"{value} is not within {low} to {high}")
                return value
        raise ValueError("varint of more than 9 bytes")

    def svarint32(self) -> int:
        return unzigzag(self.varint(0, 2**32 - 1))

    def bytes(self) -> bytes:
        return self.take(self.varint())

    def finish(self) -> None:
        demand(self.position == len(self.content), "bytes follow the last field")


class Bits:
    """1.4 and 1.5: a bit string, held as text of 0 and 1."""

    def __init__(self, content: bytes = b"", bits: str = "") -> None:
        self.bits, self.position = bits or "".join(f"{byte:08b}" for byte in content), 0

    def take(self, n: int) -> str:
        demand(self.position + n <= len(self.bits), "truncated bits")
        self.position += n
        return self.bits[self.position - n : self.position]

    def u(self, n: int) -> int:
        return int("0" + self.take(n), 2)

    def rice(self, n: int) -> list[int]:
        if n == 0:
            return []
        k, quotients = self.u(5), []
        demand(k <= 30, "Rice parameter")
        for _ in range(n):
            end = self.bits.find("0", self.position)
            demand(end >= 0 and end - self.position <= 24, "Rice quotient")
            quotients.append(end - self.position)
            self.position = end + 1
        values = [q << k | self.u(k) if q < 24 else -1 for q in quotients]
        values = [self.u(32) if value < 0 else value for value in values]
        demand(max(values) < 2**32, "a Rice number of more than 32 bits")
        return values

    def srice(self, n: int) -> list[int]:
        return [unzigzag(value) for value in self.rice(n)]

    def finish(self) -> None:
        rest = self.bits[self.position :]
        demand(len(rest) < 8 and "1" not in rest, "bits follow the last field")
