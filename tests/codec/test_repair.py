import struct
import zlib

import numpy as np
import pytest

from sancodec.codec.repair import chunk_of_digest, crc_of_end, one_byte_changes, shifted


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 17, 1000, 99_991])
def test_a_changed_byte_is_found_from_the_checksum(n_bytes):
    rng = np.random.default_rng(n_bytes)
    content = bytearray(rng.bytes(n_bytes))
    before = zlib.crc32(content)
    for place in {0, n_bytes - 1, n_bytes // 2, int(rng.integers(n_bytes))}:
        for change in (1, 0x80, 0xFF, int(rng.integers(1, 256))):
            content[place] ^= change
            assert (place, change) in one_byte_changes(zlib.crc32(content) ^ before, n_bytes)
            content[place] ^= change


def test_there_is_no_change_of_nothing():
    assert one_byte_changes(0, 100) == []
    assert one_byte_changes(1, 0) == []


def test_checksums_of_ends_follow_from_those_of_beginnings():
    start, end = b"beginning", bytes(range(256)) * 77
    assert crc_of_end(zlib.crc32(start), zlib.crc32(start + end), len(end)) == zlib.crc32(end)
    assert crc_of_end(zlib.crc32(start), zlib.crc32(start), 0) == 0


def test_appended_zeros_can_be_taken_back():
    for n_bytes in (0, 1, 5, 1 << 40):
        assert shifted(shifted(0xDEADBEEF, n_bytes), -n_bytes) == 0xDEADBEEF


@pytest.mark.parametrize("chunk", [0, 1, 77, 2**24 - 1])
def test_a_digest_tells_its_chunk(chunk):
    samples = np.arange(-500, 500, dtype="<i4").tobytes()
    digest = zlib.crc32(samples, zlib.crc32(struct.pack("<II", chunk, 0xCAFEF00D)))
    found = chunk_of_digest(digest, samples_crc=zlib.crc32(samples), n_bytes=len(samples), coding_crc=0xCAFEF00D)
    assert found == chunk
