"""Records written piece by piece, compared piece by piece, and as one stream."""

import errno
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec.recording import Channel, Recording, SideFile
from sancodec.datasets.wfdb_record import read_wfdb, write_wfdb
from sancodec.datasets.wfdb_restore import signal_file_bytes
from sancodec.datasets.wfdb_source import open_wfdb
from sancodec.datasets.wfdb_writer import WfdbComparison, WfdbWriter
from sancodec.errors import CorruptError, InvalidSignalError, OutputExistsError, SancodecError
from tests.datasets.wfdb_files import assert_same_files, compare, flac, pieces, put, restore

ROWS = np.random.default_rng(3).integers(-100, 100, (50, 2)).astype(np.int32)


def recording_of(*samples, widths=None, **channel):
    widths = widths or [1] * len(samples)
    channels = tuple(Channel(f"lead {n}", samples_per_frame=width, **channel) for n, width in enumerate(widths))
    arrays = tuple(np.array(values, np.int32) for values in samples)
    return Recording(channels, arrays, Fraction(360))


@pytest.fixture
def record(tmp_path):
    """A record of 40 frames of format 212 with wrong fields, in folder ``in``."""
    data = np.random.default_rng(0).integers(0, 256, 125, np.uint8).tobytes()
    return put(tmp_path / "in", {"x.hea": "x 2 360 40\nx.dat 212 1 8 0 1 2\nx.dat 212\n", "x.dat": data})


@pytest.mark.parametrize("step", [1, 3, 100])
def test_pieces_of_any_size_make_the_files_of_the_whole(tmp_path, step):
    recording = recording_of(np.arange(60), np.arange(30) * -1000, widths=[2, 1], minimum=-40_000)
    (tmp_path / "whole").mkdir()
    write_wfdb(recording, tmp_path / "whole", name="new")
    written = restore(recording, tmp_path / "pieces", step, name="new", value_ranges=[(0, 59), (-29_000, 0)])
    assert [path.name for path in written] == ["new.dat", "new.hea"]
    assert b"\nnew.dat 16x2 1(0)/adu 16 0 0 1770 0 lead 0\n" in written[1].read_bytes()
    assert_same_files(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize(
    ("channel", "value_ranges", "code"),
    [
        ({}, None, 24),
        ({"minimum": -32767}, None, 16),
        ({"minimum": -32767, "invalid": -32768}, None, 16),
        ({"minimum": -32767, "invalid": -(2**31)}, None, 16),
        ({"minimum": -(2**31), "maximum": 2**31 - 1}, None, 32),
        ({}, [(-32767, 32767), (0, 1)], 16),
        ({}, [(0, 1), (-32768, 0)], 24),
        ({"minimum": -32767, "invalid": -32768}, [(-32768, 5), (0, 1)], 16),
        ({}, [(-(2**23), 0), (0, 1)], 32),
    ],
)
def test_format_is_the_first_that_holds_the_value_ranges(tmp_path, channel, value_ranges, code):
    recording = recording_of([1, 2], [3, 4], **channel)
    restore(recording, tmp_path, 1, name="new", value_ranges=value_ranges)
    assert f"new.dat {code} ".encode() in (tmp_path / "new.hea").read_bytes()
    assert [values.tolist() for values in read_wfdb(tmp_path / "new").samples] == [[1, 2], [3, 4]]


def test_samples_outside_their_value_range_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(InvalidSignalError, match="'lead 0' has samples outside its value range, from which format 16"):
        restore(recording_of([1, 40_000]), tmp_path, 1, name="new", value_ranges=[(1, 2)])
    assert not list(tmp_path.iterdir())


def test_missing_samples_that_came_in_pieces_are_marked_as_the_format_marks_them(tmp_path):
    restore(recording_of([1, -999, 3], minimum=-998, invalid=-999), tmp_path, 1, name="new")
    assert read_wfdb(tmp_path / "new").samples[0].tolist() == [1, -32768, 3]


def test_a_name_that_no_text_of_a_header_may_hold_is_changed(tmp_path):
    recording = recording_of([1, 2])
    channel = replace(recording.channels[0], name="a\0b\nc", unit="m\nV")
    restore(replace(recording, channels=(channel,)), tmp_path, 1, name="new")
    assert read_wfdb(tmp_path / "new").channels[0].name == "a b c"
    assert read_wfdb(tmp_path / "new").channels[0].unit == "m_V"


@pytest.mark.parametrize("name", ["CON", "nul", "com1"])
def test_a_record_name_that_windows_keeps_is_refused(tmp_path, name):
    with pytest.raises(InvalidSignalError, match=f"record name: header '{name}.hea'"):
        WfdbWriter(recording_of([1]), tmp_path, name=name)


def test_frames_that_do_not_come_are_an_error_and_leave_nothing(tmp_path, record):
    target = tmp_path / "out"
    target.mkdir()
    with open_wfdb(record / "x") as source, WfdbWriter(source, target) as writer:
        writer.write(source.frames(0, 39))
        with pytest.raises(InvalidSignalError, match="39 of the 40 frames"):
            writer.finish()
    assert not list(target.iterdir())


def test_a_block_left_without_finish_leaves_nothing(tmp_path, record):
    target = put(tmp_path / "out", {"x.dat": b"mine"})
    with open_wfdb(record / "x") as source, WfdbWriter(source, target, force=True) as writer:
        writer.write(source.frames(0, 40))
        assert len(list(target.iterdir())) == 3
    assert [(path.name, path.read_bytes()) for path in target.iterdir()] == [("x.dat", b"mine")]


def test_an_interruption_leaves_nothing(tmp_path, record, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with open_wfdb(record / "x") as source, pytest.raises(KeyboardInterrupt):
        restore(source, tmp_path / "out", 7)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("failing", ["x.dat", "x.hea"])
def test_a_failure_while_publishing_brings_the_old_files_back(tmp_path, record, monkeypatch, failing):
    target = put(tmp_path / "out", {"x.dat": b"old data", "x.hea": b"old header"})
    rename = Path.replace

    def fail(self, new):
        if Path(new).name == failing and self.suffix == ".part":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, new)

    monkeypatch.setattr(Path, "replace", fail)
    with (
        open_wfdb(record / "x") as source,
        pytest.raises(SancodecError, match=r"out: cannot be written: No space left"),
    ):
        restore(source, target, 7, force=True)
    contents = {path.name: path.read_bytes() for path in target.iterdir()}
    assert contents == {"x.dat": b"old data", "x.hea": b"old header"}


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, record):
    target = tmp_path / "out"
    target.mkdir()
    with open_wfdb(record / "x") as source, WfdbWriter(source, target) as writer:
        writer.write(source.frames(0, 40))
        (target / "x.hea").write_bytes(b"mine")
        with pytest.raises(OutputExistsError, match="exists already"):
            writer.finish()
    assert [(path.name, path.read_bytes()) for path in target.iterdir()] == [("x.hea", b"mine")]


def test_files_are_on_the_disk_before_they_are_renamed(tmp_path, record, monkeypatch):
    order = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), sync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, new: (order.append("rename"), rename(self, new))[1])
    with open_wfdb(record / "x") as source:
        restore(source, tmp_path / "out", 7)
    assert order[:4] == ["sync", "sync", "rename", "rename"]


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path):
    name = "n" * 251
    restore(recording_of([1]), tmp_path, 1, name=name)
    assert read_wfdb(tmp_path / f"{name}.hea").samples[0].tolist() == [1]


def test_comparison_finds_nothing_in_what_is_the_same(record):
    with open_wfdb(record / "x") as source:
        for original in (record / "x", record / "x.dat", source):
            compare(original, source, source, 7)


@pytest.mark.parametrize("offset", [0, 57, 119, 120, 124])
def test_comparison_names_the_file_and_the_first_byte_that_differs(record, offset):
    recording = read_wfdb(record / "x")
    data = bytearray((record / "x.dat").read_bytes())
    data[offset] ^= 0x10
    (record / "x.dat").write_bytes(data)
    with pytest.raises(CorruptError, match=rf"x\.dat: would be restored with another byte at offset {offset}$"):
        compare(record / "x", recording, recording, 7)


def test_comparison_notices_another_header_and_other_lengths(record):
    recording = read_wfdb(record / "x")
    header, data = (record / "x.hea").read_bytes(), (record / "x.dat").read_bytes()
    put(record, {"x.hea": header.replace(b"360", b"361")})
    with pytest.raises(CorruptError, match=r"x\.hea: would be restored with another byte at offset 6"):
        compare(record / "x", recording, recording, 7)
    put(record, {"x.hea": header, "x.dat": data + b"\0"})
    with pytest.raises(CorruptError, match=r"x\.dat: would be restored with only 125 bytes"):
        compare(record / "x", recording, recording, 7)
    put(record, {"x.dat": data[:-1]})
    with pytest.raises(CorruptError, match=r"x\.dat: would be restored with another byte at offset 124"):
        compare(record / "x", recording, recording, 7)


def test_comparison_notices_changed_samples(record):
    recording = read_wfdb(record / "x")
    recording.samples[1][20] ^= 1
    with pytest.raises(CorruptError, match=r"x\.dat: would be restored with another byte at offset 62"):
        compare(record / "x", recording, recording, 7)


def test_comparison_notices_lossy_flac(tmp_path):
    put(tmp_path, {"x.hea": "x 2 360\nx.dat 516\nx.dat 516\n", "x.dat": flac(ROWS)})
    with open_wfdb(tmp_path / "x", exact=True) as source:
        compare(source, source, source, 7)
    recording = read_wfdb(tmp_path / "x")
    with pytest.raises(CorruptError, match=r"x\.dat: would be restored with another byte"):
        compare(tmp_path / "x", recording, recording, 7)


def test_comparison_notices_other_names(record):
    recording = read_wfdb(record / "x")
    (record / "y.hea").write_bytes((record / "x.hea").read_bytes())
    with pytest.raises(CorruptError, match=r"y\.hea: would be restored as 'x.hea'"):
        WfdbComparison(record / "y.hea", recording)
    (record / "x.dat").unlink()
    with pytest.raises(CorruptError, match=r"x\.dat: would be restored, but cannot be read: No such file"):
        WfdbComparison(record / "x.hea", recording)


def test_an_array_cannot_be_compared_with_a_record(record):
    with pytest.raises(InvalidSignalError, match="came from 'array', not from a WFDB record"):
        WfdbComparison(record / "x", recording_of([1]))


def test_comparison_needs_all_frames(record):
    with open_wfdb(record / "x") as source, WfdbComparison(source, source) as comparison:
        comparison.write(source.frames(0, 3))
        with pytest.raises(InvalidSignalError, match="3 of the 40 frames"):
            comparison.finish()


@pytest.mark.parametrize("step", [1, 7, 100])
def test_one_signal_file_comes_as_one_stream(record, step):
    with open_wfdb(record / "x") as source:
        stream = signal_file_bytes(source)
        assert stream.file_name == "x.dat"
        content = b"".join([stream.piece(piece) for piece in pieces(source, step)]) + stream.end()
        stream.close()
    assert content == (record / "x.dat").read_bytes()


def test_flac_comes_as_one_stream_at_its_end(tmp_path):
    put(tmp_path, {"x.hea": "x 2 360\nx.dat 516\nx.dat 516\n", "x.dat": flac(ROWS)})
    with open_wfdb(tmp_path / "x", exact=True) as source:
        stream = signal_file_bytes(source)
        assert {stream.piece(piece) for piece in pieces(source, 7)} == {b""}
        assert b"".join(stream.end_blocks()) == flac(ROWS)


def test_an_array_comes_as_one_stream_too():
    recording = recording_of([1, 2], [3, -4])
    stream = signal_file_bytes(recording, value_ranges=[(1, 2), (-4, 3)])
    assert stream.piece(recording.samples) + stream.end() == bytes.fromhex("0100 0300 0200 fcff")


def test_a_record_of_several_files_is_no_stream(tmp_path):
    put(tmp_path, {"x.hea": "x 2 360\nx.dat 16\ny.dat 16\n", "x.dat": bytes(2), "y.dat": bytes(2)})
    recording = read_wfdb(tmp_path / "x")
    with pytest.raises(InvalidSignalError, match=r"several files \('x.dat', 'y.dat'\)"):
        signal_file_bytes(recording)
    one = replace(recording, side_files=(SideFile("x.hea", b"x 2 360\nx.dat 16\nx.dat 16"), SideFile("x.atr", b"")))
    with pytest.raises(InvalidSignalError, match="several files"):
        signal_file_bytes(one)
