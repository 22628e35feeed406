import errno
import io
import subprocess
import sys
import time

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.datasets import wfdb_flac
from sancodec.datasets.wfdb_flac import FlacEncoder, FlacReader, decode_flac, encode_flac
from sancodec.datasets.wfdb_formats import (
    SAMPLE_FORMATS,
    add_up_differences,
    checksum,
    has_unused_bits,
    n_bytes_of,
    n_samples_in,
    pack_samples,
    take_differences,
    unpack_samples,
)
from sancodec.errors import InvalidSignalError, MissingDependencyError, SancodecError

PACKED = [code for code, row in SAMPLE_FORMATS.items() if not row.is_flac]
FLAC = [code for code, row in SAMPLE_FORMATS.items() if row.is_flac]


def stored_range(code):
    row = SAMPLE_FORMATS[code]
    return (-128, 127) if code == 8 else (row.lowest, row.maximum)


def int32_arrays(code, shape):
    lowest, highest = stored_range(code)
    return hnp.arrays(np.int32, shape, elements=st.integers(lowest, highest))


@pytest.mark.parametrize("code", PACKED)
@given(data=st.data())
def test_packed_samples_unpack_to_themselves(code, data):
    samples = data.draw(int32_arrays(code, st.integers(0, 40)))
    packed = pack_samples(samples, code=code)
    assert len(packed) == n_bytes_of(code, len(samples))
    unpacked = unpack_samples(packed, code=code, n_samples=len(samples))
    assert unpacked.dtype == np.int32
    np.testing.assert_array_equal(unpacked, samples)


@pytest.mark.parametrize("code", PACKED)
@given(content=st.binary(max_size=60))
def test_any_bytes_of_whole_samples_pack_to_themselves_but_for_unused_bits(code, content):
    n_samples = n_samples_in(code, len(content))
    packed = content[: n_bytes_of(code, n_samples)]
    repacked = pack_samples(unpack_samples(packed, code=code, n_samples=n_samples), code=code)
    if has_unused_bits(code, n_samples):
        difference = np.frombuffer(packed, np.uint8) ^ np.frombuffer(repacked, np.uint8)
        assert not np.any(difference & np.frombuffer(repacked, np.uint8))
    else:
        assert repacked == packed


@pytest.mark.parametrize("code", PACKED)
@given(n_bytes=st.integers(0, 1000))
def test_samples_counted_in_bytes_take_no_more_than_these_bytes(code, n_bytes):
    n_samples = n_samples_in(code, n_bytes)
    assert n_bytes_of(code, n_samples) <= n_bytes < n_bytes_of(code, n_samples + 1)


@pytest.mark.parametrize(
    ("code", "samples", "packed"),
    [
        (16, [1, -2], "0100 feff"),
        (24, [1, -2], "010000 feffff"),
        (32, [1, -2], "01000000 feffffff"),
        (61, [1, -2], "0001 fffe"),
        (80, [1, -2, -128], "81 7e 00"),
        (160, [1, -2, -32768], "0180 fe7f 0000"),
        (212, [0x123, -2], "23f1fe"),
        (212, [0x123], "2301"),
        (310, [1, 2, -1], "02f8 04f8"),
        (310, [1, 2], "0200 0400"),
        (310, [1], "0200"),
        (311, [1, 2, -1], "0108 f03f"),
        (311, [1, 2], "0108 00"),
        (311, [1], "0100"),
    ],
)
def test_layout_is_the_one_of_signal_5(code, samples, packed):
    expected = bytes.fromhex(packed)
    assert pack_samples(np.array(samples, np.int32), code=code) == expected
    assert unpack_samples(expected, code=code, n_samples=len(samples)).tolist() == samples


def test_bits_above_the_third_sample_of_format_311_are_ignored():
    # wfdb 4.3 takes bit 30 for a part of the third sample (it masks with 0x7F); lib/signal.c of WFDB does not.
    assert unpack_samples(bytes.fromhex("000000c0"), code=311, n_samples=3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("code", PACKED)
def test_value_beyond_the_format_is_refused(code):
    lowest, highest = stored_range(code)
    for value in (lowest - 1, highest + 1):
        if -(2**31) <= value < 2**31:
            with pytest.raises(InvalidSignalError, match=f"sample value {value} does not fit format {code}"):
                pack_samples(np.array([0, value], np.int32), code=code)


def test_wrong_number_of_bytes_is_refused():
    with pytest.raises(InvalidSignalError, match="3 samples of format 212 take 5 bytes; 6 were given"):
        unpack_samples(bytes(6), code=212, n_samples=3)


@given(samples=hnp.arrays(np.int32, st.integers(1, 20)), initial_value=st.integers(-(2**31), 2**31 - 1))
def test_differences_add_up_to_the_samples_even_across_the_int32_limit(samples, initial_value):
    differences = take_differences(samples, initial_value=initial_value)
    np.testing.assert_array_equal(add_up_differences(differences, initial_value=initial_value), samples)


def test_checksum_counts_modulo_two_to_the_sixteenth():
    assert checksum(np.array([-1], np.int32)) == 65535
    assert checksum(np.full(4, 2**31 - 1, np.int32)) == 65532


@pytest.mark.parametrize("code", FLAC)
@given(data=st.data())
def test_flac_samples_decode_to_themselves(code, data):
    shape = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 8)))
    samples = data.draw(int32_arrays(code, shape))
    decoded = decode_flac(encode_flac(samples, code=code), code=code, n_channels=shape[1])
    np.testing.assert_array_equal(decoded, samples)


def test_flac_with_more_than_eight_channels_is_refused():
    with pytest.raises(InvalidSignalError, match="at most 8 channels; 9 given"):
        encode_flac(np.zeros((4, 9), np.int32), code=516)


def test_flac_with_more_bits_than_its_format_is_refused():
    stream = encode_flac(np.zeros((4, 1), np.int32), code=524)
    with pytest.raises(InvalidSignalError, match="PCM_24; format 516 allows up to 16 bits"):
        decode_flac(stream, code=516, n_channels=1)


def test_flac_with_another_number_of_channels_is_refused():
    stream = encode_flac(np.zeros((4, 2), np.int32), code=516)
    with pytest.raises(InvalidSignalError, match="2 channels; the header names 3"):
        decode_flac(stream, code=516, n_channels=3)


@pytest.mark.parametrize("content", [b"RIFF0000", b"fLaC", b"fLaC" + bytes(100)])
def test_broken_flac_is_refused(content):
    with pytest.raises(InvalidSignalError, match=r"FLAC"):
        decode_flac(content, code=516, n_channels=1)


def test_cut_flac_is_refused():
    stream = encode_flac(np.random.default_rng(0).integers(-999, 999, (20_000, 1)).astype(np.int32), code=516)
    with pytest.raises(InvalidSignalError, match="FLAC stream"):
        decode_flac(stream[: len(stream) // 2], code=516, n_channels=1)


def test_flac_without_soundfile_is_a_missing_dependency(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingDependencyError, match="need the package soundfile"):
        encode_flac(np.zeros((4, 1), np.int32), code=516)


def test_neither_wfdb_nor_pandas_nor_soundfile_is_loaded_with_the_readers():
    script = "import sys, sancodec.datasets.wfdb_record; print({'wfdb', 'pandas', 'soundfile'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "set()\n"


def test_a_record_of_mitdb_packs_and_unpacks_in_milliseconds():
    samples = np.random.default_rng(0).integers(-2047, 2048, 1_300_000).astype(np.int32)
    durations_s = []
    for _ in range(5):
        start_s = time.perf_counter()
        packed = pack_samples(samples, code=212)
        middle_s = time.perf_counter()
        unpack_samples(packed, code=212, n_samples=len(samples))
        durations_s.append(max(middle_s - start_s, time.perf_counter() - middle_s))
    assert min(durations_s) < 0.015


def test_a_full_disk_under_a_flac_stream_is_an_error(monkeypatch):
    monkeypatch.setattr(wfdb_flac, "SpooledTemporaryFile", lambda max_size: FullDisk())
    rows = np.random.default_rng(0).integers(-30_000, 30_000, (100_000, 1)).astype(np.int32)
    encoder = FlacEncoder(code=516, n_channels=1)
    with pytest.raises(SancodecError, match="temporary file of a FLAC stream cannot be written: No space left"):
        encoder.write(rows)
    encoder.close()


class FullDisk(io.BytesIO):
    """Takes 10 kB."""

    def write(self, data):
        if self.tell() + len(data) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_flac_is_the_same_however_its_rows_are_cut():
    rows = np.random.default_rng(0).integers(-3000, 3000, (20_000, 3)).astype(np.int32)
    encoder = FlacEncoder(code=516, n_channels=3)
    for first in range(0, 20_000, 777):
        encoder.write(rows[first : first + 777])
    assert encoder.finish().read() == encode_flac(rows, code=516)
    encoder.close()


def test_any_rows_of_a_flac_stream_are_a_slice_of_all():
    rows = np.random.default_rng(0).integers(-3000, 3000, (20_000, 3)).astype(np.int32)
    reader = FlacReader(io.BytesIO(encode_flac(rows, code=516)), code=516, n_channels=3)
    assert reader.n_rows == 20_000
    for first, last in [(0, 20_000), (0, 0), (5, 9), (9, 4096), (19_999, 20_000), (0, 1), (4095, 4097)]:
        np.testing.assert_array_equal(reader.rows(first, last), rows[first:last])
    with pytest.raises(InvalidSignalError, match="breaks off after 20000"):
        reader.rows(19_990, 20_001)
    reader.close()
