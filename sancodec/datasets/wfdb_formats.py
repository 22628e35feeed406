"""The sample formats of WFDB signal files, as pure functions between bytes and int32 samples.

Layouts are those of signal(5) of the WFDB Applications Guide and of ``lib/signal.c`` of the WFDB library, on which
WFDB itself falls back where the text is silent (groups that the end of a file cuts short).  ``unpack_samples`` and
``pack_samples`` are inverse for every sample; bits that a layout leaves unused (formats 310 and 311, the last half byte
of an odd number of 212 samples) are ignored when reading and written as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """One row of the table of formats.

    Parameters
    ----------
    code
        Number in the header, such as 212.
    bits
        Nominal bits per sample.
    minimum, maximum
        Inclusive range of valid values.
    invalid
        Value that marks a missing sample, or None; it is storable although it is not valid.
    group_samples, group_bytes
        Smallest number of samples that fills whole bytes, and those bytes; (0, 0) for FLAC.
    """

    code: int
    bits: int
    minimum: int
    maximum: int
    invalid: int | None
    group_samples: int
    group_bytes: int

    @property
    def is_flac(self) -> bool:
        return self.group_samples == 0

    @property
    def lowest(self) -> int:
        """Smallest storable value: ``invalid`` where there is one, else ``minimum``."""
        return self.minimum if self.invalid is None else self.invalid

    def holds(self, samples: NDArray[np.int32], invalid: int | None) -> bool:
        """Say whether all samples, except those that are ``invalid``, are valid values of this format."""
        valid = samples if invalid is None else samples[samples != invalid]
        return valid.size == 0 or (int(valid.min()) >= self.minimum and int(valid.max()) <= self.maximum)


def _amplitudes(code: int, bits: int, group_samples: int, group_bytes: int) -> SampleFormat:
    half = 1 << (bits - 1)
    return SampleFormat(code, bits, -half + 1, half - 1, -half, group_samples, group_bytes)


SAMPLE_FORMATS: Mapping[int, SampleFormat] = MappingProxyType(
    {
        row.code: row
        for row in (
            # Differences have 8 bits; the amplitudes that they add up to have no bound and no invalid value.
            SampleFormat(8, 8, -(2**31), 2**31 - 1, None, 1, 1),
            _amplitudes(16, 16, 1, 2),
            _amplitudes(24, 24, 1, 3),
            _amplitudes(32, 32, 1, 4),
            _amplitudes(61, 16, 1, 2),
            _amplitudes(80, 8, 1, 1),
            _amplitudes(160, 16, 1, 2),
            _amplitudes(212, 12, 2, 3),
            _amplitudes(310, 10, 3, 4),
            _amplitudes(311, 10, 3, 4),
            _amplitudes(508, 8, 0, 0),
            _amplitudes(516, 16, 0, 0),
            _amplitudes(524, 24, 0, 0),
        )
    }
)

# Bytes that the samples of an incomplete last group take, by number of samples.
_LAST_GROUP_BYTES: Mapping[int, tuple[int, ...]] = MappingProxyType({212: (0, 2), 310: (0, 2, 4), 311: (0, 2, 3)})


def n_bytes_of(code: int, n_samples: int) -> int:
    """Return the number of bytes that ``n_samples`` samples of a packed (not FLAC) format take."""
    row = SAMPLE_FORMATS[code]
    n_groups, n_left = divmod(n_samples, row.group_samples)
    return n_groups * row.group_bytes + (_LAST_GROUP_BYTES[code][n_left] if n_left else 0)


def n_samples_in(code: int, n_bytes: int) -> int:
    """Return the number of whole samples of a packed (not FLAC) format that ``n_bytes`` bytes hold."""
    row = SAMPLE_FORMATS[code]
    n_groups, n_bytes_left = divmod(n_bytes, row.group_bytes)
    n_left = sum(n_bytes_left >= last for last in _LAST_GROUP_BYTES.get(code, ())[1:])
    return n_groups * row.group_samples + n_left


def checksum(samples: NDArray[np.int32]) -> int:
    """Return the checksum of a signal in a WFDB header: the sum of all stored values modulo 2**16, as 0 to 65535."""
    return int(samples.sum(dtype=np.int64)) % 65536


def has_unused_bits(code: int, n_samples: int) -> bool:
    """Say whether ``n_samples`` packed samples leave bits unused, which ``pack_samples`` writes as 0."""
    return code in (310, 311) or (code == 212 and n_samples % 2 == 1)


def unpack_samples(data: bytes | memoryview, *, code: int, n_samples: int) -> NDArray[np.int32]:
    """Unpack the samples of a signal file.

    Parameters
    ----------
    data
        Exactly ``n_bytes_of(code, n_samples)`` bytes.
    code
        Any format of ``SAMPLE_FORMATS`` except FLAC; format 8 gives the differences as they are stored.
    n_samples
        Number of samples over all channels of the file.

    Returns
    -------
    int32 array, shape ``(n_samples,)``, in the order of the file.

    Raises
    ------
    InvalidSignalError
        If the number of bytes is not the one that the samples take.
    """
    expected = n_bytes_of(code, n_samples)
    if len(data) != expected:
        raise InvalidSignalError(f"{n_samples} samples of format {code} take {expected} bytes; {len(data)} were given")
    match code:
        case 8:
            return np.frombuffer(data, np.int8).astype(np.int32)
        case 16:
            return np.frombuffer(data, "<i2").astype(np.int32)
        case 24:
            quads = np.zeros((n_samples, 4), np.uint8)
            quads[:, 1:] = np.frombuffer(data, np.uint8).reshape(n_samples, 3)
            return quads.reshape(-1).view("<i4").astype(np.int32) >> np.int32(8)
        case 32:
            return np.frombuffer(data, "<i4").astype(np.int32)
        case 61:
            return np.frombuffer(data, ">i2").astype(np.int32)
        case 80:
            return np.frombuffer(data, np.uint8).astype(np.int32) - np.int32(128)
        case 160:
            return np.frombuffer(data, "<u2").astype(np.int32) - np.int32(32768)
        case 212:
            return _unpack_212(data, n_samples)
        case _:
            return _unpack_310_311(data, code, n_samples)


def pack_samples(samples: NDArray[np.int32], *, code: int) -> bytes:
    """Pack samples into the bytes of a signal file; the inverse of ``unpack_samples``.

    Parameters
    ----------
    samples
        int32, shape ``(n_samples,)``, in the order of the file; for format 8 the differences.
    code
        Any format of ``SAMPLE_FORMATS`` except FLAC.

    Raises
    ------
    InvalidSignalError
        If a sample does not fit the format.
    """
    row = SAMPLE_FORMATS[code]
    if code == 8:
        check_range(samples, -128, 127, "format 8 (first differences)")
    else:
        check_range(samples, row.lowest, row.maximum, f"format {code}")
    match code:
        case 8:
            return samples.astype(np.int8).tobytes()
        case 16:
            return samples.astype("<i2").tobytes()
        case 24:
            return samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        case 32:
            return samples.astype("<i4").tobytes()
        case 61:
            return samples.astype(">i2").tobytes()
        case 80:
            return (samples + np.int32(128)).astype(np.uint8).tobytes()
        case 160:
            return (samples + np.int32(32768)).astype("<u2").tobytes()
        case 212:
            return _pack_212(samples)
        case _:
            return _pack_310_311(samples, code)


def check_range(samples: NDArray[np.int32], lowest: int, highest: int, what: str) -> None:
    """Refuse samples beyond ``lowest`` to ``highest``, the values that ``what`` stores.

    Raises
    ------
    InvalidSignalError
        Naming the worst value.
    """
    if samples.size and (int(samples.min()) < lowest or int(samples.max()) > highest):
        worst = samples.min() if samples.min() < lowest else samples.max()
        raise InvalidSignalError(f"sample value {worst} does not fit {what}, which stores {lowest} to {highest}")


def _unpack_212(data: bytes | memoryview, n_samples: int) -> NDArray[np.int32]:
    n_pairs = (n_samples + 1) // 2
    triples = np.frombuffer(bytes(data) + b"\0" if n_samples % 2 else data, np.uint8).reshape(n_pairs, 3)
    low, middle, high = (triples[:, k].astype(np.int16) for k in range(3))
    samples = np.empty((n_pairs, 2), np.int32)
    # Shifting the 12 bits to the top of an int16 and back extends their sign.
    samples[:, 0] = ((middle << 12) | (low << 4)) >> 4
    samples[:, 1] = (((middle & 0xF0) << 8) | (high << 4)) >> 4
    return samples.reshape(-1)[:n_samples]


def _pack_212(samples: NDArray[np.int32]) -> bytes:
    n_pairs = (len(samples) + 1) // 2
    words = np.zeros(2 * n_pairs, np.int16)
    words[: len(samples)] = samples
    even, odd = words[0::2], words[1::2]
    triples = np.empty((n_pairs, 3), np.uint8)
    triples[:, 0] = even.astype(np.uint8)
    triples[:, 1] = ((even >> 8) & 0x0F) | ((odd >> 4) & 0xF0)
    triples[:, 2] = odd.astype(np.uint8)
    return triples.tobytes()[: n_bytes_of(212, len(samples))]


def _unpack_310_311(data: bytes | memoryview, code: int, n_samples: int) -> NDArray[np.int32]:
    n_groups = -(-n_samples // 3)
    words = np.frombuffer(bytes(data).ljust(4 * n_groups, b"\0"), "<u4").astype(np.uint32)
    samples = np.empty((n_groups, 3), np.uint32)
    if code == 310:  # two words of 16 bits: 10 bits from bit 1, and half of the third sample from bit 11
        samples[:, 0] = words >> 1
        samples[:, 1] = words >> 17
        samples[:, 2] = ((words >> 11) & 0x1F) | ((words >> 22) & 0x3E0)
    else:  # one word of 32 bits, of which the lower 30 are used
        samples[:, 0] = words
        samples[:, 1] = words >> 10
        samples[:, 2] = words >> 20
    return ((samples << 22).view(np.int32) >> np.int32(22)).reshape(-1)[:n_samples]


def _pack_310_311(samples: NDArray[np.int32], code: int) -> bytes:
    n_groups = -(-len(samples) // 3)
    fields = np.zeros(3 * n_groups, np.uint32)
    fields[: len(samples)] = samples.view(np.uint32) & np.uint32(0x3FF)
    first, second, third = fields.reshape(n_groups, 3).T
    if code == 310:
        words = (first << 1) | ((third & 0x1F) << 11) | (second << 17) | ((third >> 5) << 27)
    else:
        words = first | (second << 10) | (third << 20)
    return words.astype("<u4").tobytes()[: n_bytes_of(code, len(samples))]


def add_up_differences(differences: NDArray[np.int32], *, initial_value: int) -> NDArray[np.int32]:
    """Turn the differences of one channel of a format 8 file into samples, modulo 2**32."""
    samples = np.cumsum(differences, dtype=np.int64) + initial_value
    return samples.astype(np.int32)


def take_differences(samples: NDArray[np.int32], *, initial_value: int) -> NDArray[np.int32]:
    """Return the differences of one channel, the first one to ``initial_value``, modulo 2**32."""
    return np.diff(samples, prepend=np.array([initial_value]).astype(np.int64)).astype(np.int32)
