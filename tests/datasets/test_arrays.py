import csv
import io
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from sancodec.codec.recording import Channel, Recording
from sancodec.datasets.arrays import CsvWriter, NpyWriter, open_array, read_array, stacked, write_csv, write_npy
from sancodec.errors import InvalidSignalError


def saved(path, array, **settings):
    np.save(path, array, **settings)
    return path


def recording(samples, channels=None, rate_hz=100, source="wfdb"):
    arrays = tuple(np.asarray(each, np.int32) for each in samples)
    channels = channels or [Channel(f"lead {index}") for index in range(len(arrays))]
    return Recording(tuple(channels), arrays, Fraction(rate_hz), source)


@pytest.mark.parametrize("shape", [(40,), (1, 40), (3, 40)])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_an_array_is_read_and_written_as_it_was(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    before = read_array(saved(tmp_path / "a.npy", array), sampling_rate_hz=250)
    assert before.frame_rate_hz == 250
    file = io.BytesIO()
    write_npy(before, file)
    file.seek(0)
    after = np.load(file)
    assert (after.dtype, after.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(after, array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i2", "<i4", ">u4"])
def test_values_do_not_depend_on_the_order_in_memory(tmp_path, dtype, order):
    array = np.asarray(np.arange(60).reshape(3, 20), dtype, order=order)
    read = read_array(saved(tmp_path / "a.npy", array), sampling_rate_hz=1)
    np.testing.assert_array_equal(stacked(read), array)
    assert all(samples.flags.c_contiguous for samples in read.samples)


def test_an_array_without_its_sampling_rate_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match=r"a\.npy: .*--rate"):
        read_array(saved(tmp_path / "a.npy", np.arange(3)), sampling_rate_hz=None)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidSignalError, match=r"none\.npy: there is no such file"):
        read_array(tmp_path / "none.npy", sampling_rate_hz=1)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", b"\x93NUMPY\1\0\x10\0{'descr': '<i2'}"])
def test_a_file_that_is_no_array_is_named(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InvalidSignalError, match=r"a\.npy: it is not a \.npy array"):
        read_array(path, sampling_rate_hz=1)


def test_an_array_cut_short_is_refused(tmp_path):
    path = saved(tmp_path / "a.npy", np.arange(1000))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidSignalError, match=r"a\.npy"):
        read_array(path, sampling_rate_hz=1)


def test_a_pickled_array_is_not_loaded(tmp_path):
    path = saved(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidSignalError, match=r"a\.npy"):
        read_array(path, sampling_rate_hz=1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), "float64"),
        (np.zeros((2, 3, 4), np.int16), "3 dimensions"),
        (np.array([2**31]), "32 bits"),
        (np.zeros((2, 0), np.int16), "nothing to compress"),
    ],
)
def test_an_array_that_cannot_be_coded_is_refused_by_name(tmp_path, array, message):
    with pytest.raises(InvalidSignalError, match=rf"a\.npy: .*{message}"):
        read_array(saved(tmp_path / "a.npy", array), sampling_rate_hz=1)


def test_a_zip_of_arrays_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.savez(file, np.arange(5))
    with pytest.raises(InvalidSignalError, match=r"a\.npy"):
        read_array(path, sampling_rate_hz=1)


def test_a_recording_that_was_no_array_becomes_int32():
    array = stacked(recording([[1, 2], [3, 4]]))
    assert array.dtype == np.int32
    assert array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "source", ["array", "array:", "array:O:1", "array:f8:2", "array:zz:1", "array:i2,i4:1", "x:i2:1"]
)
def test_a_source_that_names_no_integer_type_gives_int32_of_all_channels(source):
    array = stacked(recording([[1, 2], [3, 4]], source=source))
    assert array.dtype == np.int32
    assert array.shape == (2, 2)


def test_channels_of_different_rates_do_not_fit_in_one_array_or_table():
    mixed = recording([[1, 2], [1, 2, 3, 4]], [Channel("a"), Channel("b", samples_per_frame=2)])
    for write in (write_npy, write_csv):
        with pytest.raises(InvalidSignalError, match="--to wfdb"):
            write(mixed, io.BytesIO())


def table_of(recording):
    file = io.BytesIO()
    write_csv(recording, file)
    return list(csv.reader(io.StringIO(file.getvalue().decode())))


def test_a_table_has_times_names_and_physical_values():
    channels = [Channel("MLII", "mV", 200.0, 1024), Channel("a,b\nc", "", -2.0, 0)]
    rows = table_of(recording([[1024, 1124, 924], [0, 1, -3]], channels, 250))
    assert rows[0] == ["time (s)", "MLII (mV)", "a b c ()"]
    assert [row[0] for row in rows[1:]] == ["0.000000", "0.004000", "0.008000"]
    assert [float(row[1]) for row in rows[1:]] == [0, 0.5, -0.5]
    assert [float(row[2]) for row in rows[1:]] == [0, -0.5, 1.5]


def test_missing_samples_stay_empty():
    rows = table_of(recording([[5, -99, 7], [-99, 1, 2]], [Channel("a", minimum=-98, invalid=-99), Channel("b")]))
    assert [row[1:] for row in rows[1:]] == [["5", "-99"], ["", "1"], ["7", "2"]]


def test_a_long_recording_is_written_in_blocks():
    samples = np.arange(100_001)
    rows = table_of(recording([samples]))
    assert len(rows) == 100_002
    assert [float(row[1]) for row in rows[1:]] == samples.tolist()


def in_pieces(writer, source, step):
    for first in range(0, source.n_frames, step):
        writer.write(source.frames(first, min(first + step, source.n_frames)))
    writer.finish()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40,), (1, 40), (3, 40)])
@pytest.mark.parametrize("dtype", ["int8", ">i2", "<i4", "int64", "uint8", ">u4", "uint64"])
def test_every_range_of_an_array_file_is_a_slice_of_all(tmp_path, monkeypatch, dtype, shape, order):
    monkeypatch.setattr("sancodec.datasets.pieces.BLOCK_SAMPLES", 7)
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape), dtype, order=order)
    path = saved(tmp_path / "a.npy", array)
    whole = read_array(path, sampling_rate_hz=250)
    np.testing.assert_array_equal(stacked(whole), array)
    with open_array(path, sampling_rate_hz=250) as source:
        assert (source.channels, source.source, source.n_frames) == (whole.channels, whole.source, 40)
        assert (source.frame_rate_hz, source.side_files) == (250, ())
        for first, last in [(0, 40), (0, 0), (40, 40), (3, 11), (39, 40)]:
            for ours, expected in zip(source.frames(first, last), whole.frames(first, last), strict=True):
                assert ours.dtype == np.int32
                np.testing.assert_array_equal(ours, expected)
        for first, last in [(-1, 2), (0, 41), (3, 2)]:
            with pytest.raises(IndexError, match="the array has frames 0 to 40"):
                source.frames(first, last)


def test_a_value_beyond_32_bits_is_found_in_a_late_block(tmp_path, monkeypatch):
    monkeypatch.setattr("sancodec.datasets.pieces.BLOCK_SAMPLES", 7)
    array = np.zeros((2, 100), np.int64)
    array[1, 97] = -(2**31) - 1
    with pytest.raises(InvalidSignalError, match=r"a\.npy: samples reach -2147483649…0; values must fit in 32 bits"):
        open_array(saved(tmp_path / "a.npy", array), sampling_rate_hz=1)


@pytest.mark.parametrize(
    "header", [b"\0", b"{'descr': '<i2', 'fortran_order': False, 'shape': (-3,)}", b"(" * 300, b"{"]
)
def test_a_hostile_array_header_is_refused(tmp_path, header):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(50))
    with pytest.raises(InvalidSignalError, match=r"a\.npy"):
        open_array(path, sampling_rate_hz=1)


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf"), Fraction(2**62)])
def test_an_array_file_with_an_impossible_rate_is_refused(tmp_path, rate_hz):
    with pytest.raises(InvalidSignalError, match=r"a\.npy: sampling rate"):
        open_array(saved(tmp_path / "a.npy", np.arange(3)), sampling_rate_hz=rate_hz)


@pytest.mark.parametrize("step", [1, 7, 100])
@pytest.mark.parametrize("shape", [(40,), (1, 40), (3, 40)])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", "uint32"])
def test_pieces_make_the_array_that_numpy_saves(tmp_path, dtype, shape, step):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    with open_array(saved(tmp_path / "a.npy", array), sampling_rate_hz=250) as source:
        for value_ranges in (None, [(0, 127)] * len(source.channels)):
            with (tmp_path / "b.npy").open("wb") as file:
                in_pieces(NpyWriter(source, file, value_ranges), source, step)
            assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


def test_an_array_is_written_where_the_file_stands():
    source = recording([[1, 2, 3], [4, 5, 6]])
    file, expected = io.BytesIO(b"before"), io.BytesIO()
    file.seek(6)
    in_pieces(NpyWriter(source, file), source, 1)
    np.save(expected, stacked(source))
    assert file.getvalue() == b"before" + expected.getvalue()
    assert file.tell() == len(file.getvalue())


def test_one_piece_needs_no_seeking():
    class Pipe(io.BytesIO):
        def seek(self, *_):
            raise OSError("a pipe")

        tell = seek

    source, file, expected = recording([[1, 2, 3], [4, 5, 6]]), Pipe(), io.BytesIO()
    write_npy(source, file)
    np.save(expected, stacked(source))
    assert file.getvalue() == expected.getvalue()


@pytest.mark.parametrize(
    ("value_ranges", "dtype"), [(None, "i2"), ([(0, 9)], "i2"), ([(-32768, 32767)], "i2"), ([(0, 32768)], "i4")]
)
def test_the_dtype_of_an_array_stays_where_it_holds_the_value_ranges(value_ranges, dtype):
    source, file = recording([[1, 2, 3]], source="array:i2:1"), io.BytesIO()
    in_pieces(NpyWriter(source, file, value_ranges), source, 2)
    file.seek(0)
    assert np.load(file).dtype == dtype


def test_values_outside_the_ranges_that_chose_the_dtype_are_refused():
    source = recording([[1, 2, 300]], source="array:u1:1")
    writer = NpyWriter(source, io.BytesIO(), [(0, 255)])
    with pytest.raises(InvalidSignalError, match="channel 0: samples of 1 to 300 do not fit uint8"):
        writer.write(source.samples)


@pytest.mark.parametrize("step", [1, 7, 100])
def test_pieces_make_the_same_table(step):
    channels = [Channel("MLII", "mV", 200.0, 1024), Channel("b", minimum=-98, invalid=-99)]
    source = recording([np.arange(20), [-99, 5] * 10], channels, 360)
    whole, file = io.BytesIO(), io.BytesIO()
    write_csv(source, whole)
    in_pieces(CsvWriter(source, file), source, step)
    assert file.getvalue() == whole.getvalue()


@pytest.mark.parametrize("writer_of", [NpyWriter, CsvWriter])
def test_missing_frames_and_different_rates_are_refused(writer_of):
    source = recording([[1, 2, 3]])
    writer = writer_of(source, io.BytesIO())
    writer.write(source.frames(0, 2))
    with pytest.raises(InvalidSignalError, match="2 of the 3 frames"):
        writer.finish()
    mixed = recording([[1, 2], [1, 2, 3, 4]], [Channel("a"), Channel("b", samples_per_frame=2)])
    with pytest.raises(InvalidSignalError, match="--to wfdb"):
        writer_of(mixed, io.BytesIO())


def test_a_long_array_is_read_and_written_in_little_memory(tmp_path):
    for order in ("C", "F"):
        saved(tmp_path / "a.npy", np.asarray(np.ones((12, 1_000_000), np.int64), order=order))
        tracemalloc.start()
        with open_array(tmp_path / "a.npy", sampling_rate_hz=500) as source, (tmp_path / "b.npy").open("wb") as file:
            in_pieces(NpyWriter(source, file), source, 20_000)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 15e6  # of 96 MB
        np.testing.assert_array_equal(np.load(tmp_path / "b.npy", mmap_mode="r")[:, ::1000], 1)
