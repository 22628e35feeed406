"""Reading and writing whole records: real ones against the wfdb package, and small ones made here."""

import errno
import warnings
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.recording import Channel, Recording, SideFile
from sancodec.datasets.pieces import read_all
from sancodec.datasets.wfdb_flac import encode_flac
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS
from sancodec.datasets.wfdb_record import read_wfdb, write_wfdb
from sancodec.datasets.wfdb_source import open_wfdb
from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError

SAMPLES_WITH_DATA = (  # noqa: SIM905
    "03700181 100 100-no-len 100_3chan 100skew 3000003_0003 310derive 310derive_2 310derive_3 311derive 311derive_2 "
    "311derive_3 311derive_4 a103l a103l-no-len binformats flac_3_constant flacformats mixedsignals p10143 s0010_re "
    "test01_00s test01_00s_frame test01_00s_skew test01_00s_skewframe test_generator_2 v102s"
).split()
SAMPLES_WITHOUT_DATA = ("1003", "12726", "drive02", "drive02-no-len", "n16", "n8_evoked_raw_95_F1_R9", "wave_4")
RECORDS = [f"wfdb-sample/{name}" for name in SAMPLES_WITH_DATA] + [
    "mitdb/100",
    "ptb-xl/00841_hr",
    "voiced/voice001",
    "ctu-uhb-ctgdb/1001",
]
# Sample identity only: libsndfile is another FLAC encoder than the one that wrote these files.
NOT_BYTE_IDENTICAL = {"flac_3_constant.dat"} | {f"flacformats.d{n}" for n in range(3)}
NOT_BYTE_IDENTICAL |= {f"mixedsignals_{kind}.dat" for kind in "epr"}


def rdrecord(path, *, smooth_frames):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, which wfdb loads
        import wfdb

        return wfdb.rdrecord(
            str(path).removesuffix(".hea"), physical=False, smooth_frames=smooth_frames, ignore_skew=True, return_res=64
        )


def assert_same_as_wfdb(recording, path):
    # wfdb 4.3 fails on unsmoothed frames of format 61, for it cannot convert the dtype '>i2'.
    has_format_61 = any(b" 61 " in line for line in recording.side_files[0].content.splitlines())
    oracle = rdrecord(path, smooth_frames=has_format_61)
    theirs = oracle.d_signal.T if has_format_61 else oracle.e_d_signal
    for our_samples, their_samples in zip(recording.samples, theirs, strict=True):
        np.testing.assert_array_equal(our_samples, their_samples)
    assert float(recording.frame_rate_hz) == float(oracle.fs)
    # wfdb drops what is not ASCII, such as the unit '°', and then takes the default unit; the C library keeps it.
    assert [channel.unit if channel.unit.isascii() else "mV" for channel in recording.channels] == oracle.units
    assert [channel.gain for channel in recording.channels] == oracle.adc_gain
    assert [channel.baseline for channel in recording.channels] == oracle.baseline
    assert [channel.samples_per_frame for channel in recording.channels] == oracle.samps_per_frame
    assert [channel.name for channel in recording.channels] == [name.strip() for name in oracle.sig_name]


def assert_restored(recording, source, directory):
    written = write_wfdb(recording, directory)
    assert written[-1].suffix == ".hea"
    assert sorted(path.name for path in directory.iterdir()) == sorted(path.name for path in written)
    for path in written:
        if path.name not in NOT_BYTE_IDENTICAL:
            assert path.read_bytes() == (source / path.name).read_bytes(), path.name
    return written


@pytest.mark.parametrize("record", RECORDS)
def test_real_record_reads_as_wfdb_reads_it(shared_data, record):
    assert_same_as_wfdb(read_wfdb(shared_data / record), shared_data / record)


@pytest.mark.parametrize("record", RECORDS)
def test_real_record_is_restored_byte_for_byte(shared_data, record, tmp_path):
    path = shared_data / record
    assert_restored(read_wfdb(path), path.parent, tmp_path)


@pytest.mark.parametrize("record", ["flac_3_constant", "flacformats", "mixedsignals"])
def test_restored_flac_record_has_the_samples_of_the_original_for_wfdb(shared_data, record, tmp_path):
    recording = read_wfdb(shared_data / "wfdb-sample" / record)
    assert_same_as_wfdb(recording, write_wfdb(recording, tmp_path)[-1])


def test_every_sample_record_is_covered(shared_data):
    names = {path.stem for path in (shared_data / "wfdb-sample").glob("*.hea")}
    assert names == {*SAMPLES_WITH_DATA, *SAMPLES_WITHOUT_DATA}


@pytest.mark.parametrize("record", SAMPLES_WITHOUT_DATA)
def test_real_header_without_its_signal_file_is_refused(shared_data, record):
    with pytest.raises(InvalidSignalError, match=r"no such signal file, but '.*\.hea' names it"):
        read_wfdb(shared_data / "wfdb-sample" / record)


def test_segments_of_real_multi_segment_records_read_and_are_restored(shared_data, tmp_path):
    n_restored = 0
    for path in sorted((shared_data / "wfdb-sample" / "multi-segment").glob("*/*.hea")):
        try:
            with open_wfdb(path) as source:
                recording = read_all(source)
        except InvalidSignalError as error:
            assert "multi-segment" in str(error) or "no such signal file" in str(error)  # noqa: PT017
            continue
        assert_same_as_wfdb(recording, path)
        directory = tmp_path / path.stem
        directory.mkdir()
        assert_restored(recording, path.parent, directory)
        n_restored += 1
    assert n_restored == 41


def put(directory, **files):
    for name, content in files.items():
        path = directory / f"{name[:-3]}.{name[-3:]}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def test_record_is_found_by_name_header_or_signal_file(tmp_path):
    put(tmp_path, xhea="x 1\nx.dat 16\n", xdat=b"\1\0\2\0")
    for path in (tmp_path / "x", tmp_path / "x.hea", tmp_path / "x.dat", str(tmp_path / "x")):
        assert read_wfdb(path).samples[0].tolist() == [1, 2]


def test_signal_file_is_found_through_the_only_header_that_names_it(tmp_path):
    put(tmp_path, ahea="a 1\nx.dat 16\n", bhea="b 1\nb.dat 16\n", chea=b"x.dat is \0 not WFDB", xdat=b"\1\0")
    assert read_wfdb(tmp_path / "x.dat").side_files[0].name == "a.hea"


def test_signal_file_that_several_headers_name_is_refused(tmp_path):
    put(tmp_path, ahea="a 1\nx.dat 16\n", bhea="b 1\nx.dat 16\n", xdat=b"\1\0")
    with pytest.raises(InvalidSignalError, match=r"several headers name this signal file \(a.hea, b.hea\)"):
        read_wfdb(tmp_path / "x.dat")


def test_signal_file_without_a_header_is_refused(tmp_path):
    put(tmp_path, xdat=b"\1\0", bhea="b 1\nb.dat 16\n")
    with pytest.raises(InvalidSignalError, match=r"no WFDB header found; looked for 'x.hea' and for any other .hea"):
        read_wfdb(tmp_path / "x.dat")


def test_defaults_are_those_of_header_5(tmp_path):
    recording = read_wfdb(put(tmp_path, xhea="x 2\nx.dat 212\nx.dat 212 0 0 7\n", xdat=bytes(6)) / "x")
    assert recording.frame_rate_hz == 250
    assert recording.channels[0] == Channel("signal 0", "mV", 200.0, 0, 12, -2047, 2047, -2048, 1)
    assert recording.channels[1] == Channel("signal 1", "mV", 200.0, 7, 12, -2047, 2047, -2048, 1)


def test_rate_is_exact_and_the_counter_frequency_is_not_used(tmp_path):
    put(tmp_path, xhea="x 1 62.4725/999.56 1\nx.dat 16 200/mV 11\n", xdat=bytes(2))
    recording = read_wfdb(tmp_path / "x")
    assert recording.frame_rate_hz == Fraction(624725, 10000)
    assert recording.channels[0].resolution_bits == 11


def test_format_8_adds_up_from_the_initial_value_for_each_channel(tmp_path):
    header = "x 2 360 3\nx.dat 8x2 200 12 0 10\nx.dat 8 200 12 100\n"
    recording = read_wfdb(put(tmp_path, xhea=header, xdat=bytes([1, 1, 5, 1, 0xFF, 5, 0, 0, 0x80])) / "x")
    assert recording.samples[0].tolist() == [11, 12, 13, 12, 12, 12]
    assert recording.samples[1].tolist() == [105, 110, -18]
    assert recording.channels[0].invalid is None


@st.composite
def records(draw):
    """A header and its signal files, of random bytes: layouts, offsets, trailers, set unused bits, wrong fields."""
    n_frames = draw(st.sampled_from([None, 1, 2, 3, 7]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines, files = [], {}
    for number in range(draw(st.integers(1, 3))):
        row = SAMPLE_FORMATS[draw(st.sampled_from([code for code, row in SAMPLE_FORMATS.items() if not row.is_flac]))]
        offset = draw(st.sampled_from(["", "+1", "+24"]))
        n_samples = 0
        for _ in range(draw(st.integers(1, 3))):
            width = draw(st.sampled_from(["", "x1", "x3"]))
            fields = draw(st.sampled_from(["", " 200", " 200 12 5", " 200 12  5 -4\t17 0  A", " 1 8 0 3 65000 0 B"]))
            lines.append(f"{number}.dat {row.code}{width}:2{offset}{fields}")
            n_samples += 3 if width == "x3" else 1
        n_bytes = int(offset or 0) + 4 * n_samples * (n_frames or 1) + draw(st.integers(0, 9))
        files[f"{number}.dat"] = draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    header = end.join(["# x", f"x {len(lines)} 360 {n_frames or ''}", *lines, "# end"])
    return {"x.hea": header.encode(), **files}


@given(files=records())
def test_any_record_is_restored_byte_for_byte(files, tmp_path_factory):
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name, content in files.items():
        (source / name).write_bytes(content)
    write_wfdb(read_wfdb(source / "x"), target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == files


def changed(recording, samples):
    return replace(recording, samples=tuple(np.array(values, np.int32) for values in samples))


def test_changed_samples_change_initial_value_and_checksum_and_nothing_else(tmp_path):
    source = put(tmp_path, xhea="x 1 9 2 \r\nx.dat 16 200 11 0  1 3 0 A B \r\n# end", xdat=b"\1\0\2\0")
    target = tmp_path / "target"
    target.mkdir()
    write_wfdb(changed(read_wfdb(source / "x"), [[-1, -2]]), target)
    assert (target / "x.hea").read_bytes() == b"x 1 9 2 \r\nx.dat 16 200 11 0  -1 -3 0 A B \r\n# end"
    assert (target / "x.dat").read_bytes() == b"\xff\xff\xfe\xff"


def test_wrong_checksum_in_a_header_stays_only_as_long_as_the_samples_do(tmp_path):
    recording = read_wfdb(put(tmp_path, xhea="x 1 9 2\nx.dat 16 200 11 0 1 99", xdat=b"\1\0\2\0") / "x")
    assert recording.side_files[1] == SideFile("x.hea#fields", b"0 1 3\n")
    assert write_wfdb(recording, tmp_path, force=True)[-1].read_bytes().endswith(b" 1 99")
    assert write_wfdb(changed(recording, [[1, 3]]), tmp_path, force=True)[-1].read_bytes().endswith(b" 1 4")


def test_format_8_moves_its_initial_value_only_if_it_must(tmp_path):
    recording = read_wfdb(put(tmp_path, xhea="x 1 9 2\nx.dat 8 200 12 0 10 0", xdat=b"\1\1") / "x")
    assert write_wfdb(changed(recording, [[137, 10]]), tmp_path, force=True)[-1].read_bytes().endswith(b" 10 147")
    assert write_wfdb(changed(recording, [[138, 10]]), tmp_path, force=True)[-1].read_bytes().endswith(b" 138 148")
    assert read_wfdb(tmp_path / "x").samples[0].tolist() == [138, 10]


def test_step_that_format_8_cannot_store_is_refused(tmp_path):
    recording = read_wfdb(put(tmp_path, xhea="x 1 9 2\nx.dat 8", xdat=b"\1\1") / "x")
    with pytest.raises(InvalidSignalError, match=r"'x.dat': sample value 200 does not fit format 8 \(first diff"):
        write_wfdb(changed(recording, [[0, 200]]), tmp_path, force=True)


def test_flac_keeps_samples_after_the_last_frame(tmp_path):
    stream = encode_flac(np.arange(10, dtype=np.int32).reshape(5, 2), code=516)
    recording = read_wfdb(put(tmp_path, xhea="x 2 9 2\nx.dat 516x2\nx.dat 516x2", xdat=stream) / "x")
    assert [values.tolist() for values in recording.samples] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert recording.side_files[1] == SideFile("x.dat#trailer", b"\x08\0\0\0\x09\0\0\0")
    write_wfdb(recording, tmp_path, force=True)
    assert read_wfdb(tmp_path / "x").side_files == recording.side_files


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ("x 1 9 3\nx.dat 16", bytes(5), "x.dat: the header of record 'x' promises 3 frames, but the file holds 2;"),
        ("x 1 9 3\nx.dat 16+4", bytes(2), "promises 3 frames, but the file holds 0"),
        ("x 1 9\nx.dat 16", b"\0", "too short to hold a frame"),
        ("x 1 9\nx.dat 16", b"", "x.dat: the signal file is empty"),
        ("x 1 9\nx.dat 516", b"RIFF", "x.dat: format 516 is FLAC, but"),
        ("x 1 9\ny.dat 16", b"\0\0", "y.dat: no such signal file, but 'x.hea' names it"),
        ("x 1 9\n../x.dat 16", b"\0\0", "'../x.dat' is not a plain file name"),
        ("x 1 9\nx.dat 16 1e99 33", b"\0\0", "resolution is 33 bits"),
        ("", b"\0\0", "x.hea: the header is empty"),
        ("hello world", b"\0\0", "x.hea, line 1: not a WFDB header"),
    ],
)
def test_record_that_cannot_be_read_is_refused_in_one_line(tmp_path, header, data, message):
    put(tmp_path, xhea=header, xdat=data)
    with pytest.raises(InvalidSignalError, match=message) as caught:
        read_wfdb(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match=r"no such record; neither 'nothing' nor 'nothing.hea' exists"):
        read_wfdb(tmp_path / "nothing")
    with pytest.raises(InvalidSignalError, match=r"nothing.hea: cannot be read: No such file"):
        read_wfdb(tmp_path / "nothing.hea")


def test_folder_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="this is a folder; name one record in it"):
        read_wfdb(tmp_path)


def recording_of(*samples, widths=None, **channel):
    widths = widths or [1] * len(samples)
    channels = tuple(Channel(f"lead {n}", samples_per_frame=width, **channel) for n, width in enumerate(widths))
    arrays = tuple(np.array(values, np.int32) for values in samples)
    return Recording(channels, arrays, Fraction("62.5"))


@pytest.mark.parametrize(
    ("samples", "code"),
    [([1, -32767], 16), ([1, -32768], 24), ([1, 2**15], 24), ([1, 2**23 - 1], 24), ([1, 2**23], 32)],
)
def test_array_is_written_in_the_first_format_that_holds_it(tmp_path, samples, code):
    recording = recording_of(samples, unit="m V", gain=2.5, baseline=-3, resolution_bits=11)
    data_path, header_path = write_wfdb(recording, tmp_path, name="new")
    assert f"\nnew.dat {code} 2.5(-3)/m_V 11 0 1 " in header_path.read_text()
    assert_same_as_wfdb(read_wfdb(data_path), header_path)
    assert read_wfdb(tmp_path / "new").samples[0].tolist() == samples


def test_array_of_several_samples_per_frame_is_written_as_such(tmp_path):
    write_wfdb(recording_of([1, 2, 3, 4], [5, 6], widths=[2, 1]), tmp_path, name="new")
    restored = read_wfdb(tmp_path / "new.hea")
    assert [values.tolist() for values in restored.samples] == [[1, 2, 3, 4], [5, 6]]
    assert restored.frame_rate_hz == Fraction("62.5")
    assert_same_as_wfdb(restored, tmp_path / "new")


def test_missing_samples_of_an_array_are_marked_as_the_format_marks_them(tmp_path):
    write_wfdb(recording_of([1, -999], minimum=-998, invalid=-999), tmp_path, name="new")
    assert read_wfdb(tmp_path / "new").samples[0].tolist() == [1, -32768]


@pytest.mark.parametrize("name", [None, "", "a/b", "..", "a b"])
def test_array_without_a_record_name_is_refused(tmp_path, name):
    with pytest.raises(InvalidSignalError, match="record name is"):
        write_wfdb(recording_of([1]), tmp_path, name=name)


def test_array_without_samples_or_with_unstorable_ones_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="has no samples"):
        write_wfdb(recording_of([]), tmp_path, name="new")
    with pytest.raises(InvalidSignalError, match="-2147483648 mark missing samples"):
        write_wfdb(recording_of([-(2**31)]), tmp_path, name="new")


HEADER = SideFile("x.hea", b"x 1 9 2\nx.dat 310+2\n")
PROLOGUE = SideFile("x.dat#prologue", b"ab")


@pytest.mark.parametrize(
    ("side_files", "message"),
    [
        ([], "exactly one header"),
        ([HEADER, SideFile("y.hea", b"")], "exactly one header"),
        ([HEADER, PROLOGUE, PROLOGUE], "no name twice"),
        ([SideFile("../x.hea", HEADER.content), PROLOGUE], "'../x.hea' is not a plain file name"),
        ([SideFile("x.hea", b"x 1\n../x.dat 16\n")], "'../x.dat' is not a plain file name"),
        ([HEADER, PROLOGUE, SideFile("../x.atr", b"")], "'../x.atr' is not a plain file name"),
        ([HEADER, PROLOGUE, SideFile("x.dat", b"")], "has the name of a signal file"),
        ([HEADER], "'x.dat#prologue' must have 2 bytes, not 0"),
        ([SideFile("x.hea", b"x 1 9 3\nx.dat 16\n")], "3 frames are in the header, 2 in the recording"),
        ([SideFile("x.hea", b"x 1 9 2\nx.dat 16x2\n")], "samples per frame are not those of the recording"),
        ([HEADER, PROLOGUE, SideFile("x.hea#fields", b"0 a 1\n")], "'x.hea#fields' is damaged"),
        ([HEADER, PROLOGUE, SideFile("x.dat#bits", b"junk")], "'x.dat#bits' is damaged"),
        ([HEADER, PROLOGUE, SideFile("x.dat#bits", zlib.compress(bytes(5)))], "it must unpack to 4 bytes"),
        ([SideFile("x.hea", b"x 1\nx.dat 516"), SideFile("x.dat#trailer", b"123")], "'x.dat#trailer' is damaged"),
    ],
)
def test_damaged_side_files_are_refused(tmp_path, side_files, message):
    recording = replace(recording_of([1, 2]), source="wfdb", side_files=tuple(side_files))
    with pytest.raises(InvalidSignalError, match=message):
        write_wfdb(recording, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_side_files_are_restored_as_they_are(tmp_path):
    side_files = (HEADER, PROLOGUE, SideFile("x.atr", b"marks"))
    write_wfdb(replace(recording_of([1, 2]), source="wfdb", side_files=side_files), tmp_path)
    assert (tmp_path / "x.atr").read_bytes() == b"marks"


def test_new_name_for_a_record_from_wfdb_is_refused(tmp_path):
    recording = replace(recording_of([1, 2]), source="wfdb", side_files=(HEADER, PROLOGUE))
    with pytest.raises(InvalidSignalError, match="keeps the names in its header"):
        write_wfdb(recording, tmp_path, name="y")


@pytest.mark.parametrize("name", ["new.dat", "new.hea"])
def test_existing_file_is_neither_overwritten_nor_joined_by_others(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=rf"{name}: exists already"):
        write_wfdb(recording_of([1]), tmp_path, name="new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"mine")]


def test_existing_files_are_overwritten_on_request(tmp_path):
    (tmp_path / "new.dat").write_bytes(b"mine")
    write_wfdb(recording_of([1]), tmp_path, name="new", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.dat", "new.hea"]
    assert (tmp_path / "new.dat").read_bytes() == b"\1\0"


def test_failure_while_renaming_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "new.dat").write_bytes(b"mine")
    rename = Path.replace

    def fail_on_the_header(self, target):
        if target.name == "new.hea":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail_on_the_header)
    with pytest.raises(SancodecError, match="cannot be written: No space left on device"):
        write_wfdb(recording_of([1]), tmp_path, name="new", force=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("new.dat", b"mine")]


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(SancodecError, match="cannot be written: No such file or directory"):
        write_wfdb(recording_of([1]), tmp_path / "absent", name="new")
