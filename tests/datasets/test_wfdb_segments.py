"""Multi-segment WFDB records: read as wfdb.rdrecord concatenates them, restored byte for byte."""

import filecmp
import warnings

import numpy as np
import pytest
import wfdb

from sancodec.codec.recording import Recording, SideFile
from sancodec.datasets import file_writer, wfdb_segmented_source
from sancodec.datasets.pieces import read_all
from sancodec.datasets.wfdb_restore import signal_file_bytes
from sancodec.datasets.wfdb_segmented_source import SegmentedSource, open_record
from sancodec.datasets.wfdb_source import WfdbSource
from sancodec.datasets.wfdb_writer import WfdbComparison, WfdbWriter
from sancodec.errors import InvalidSignalError
from tests.datasets.wfdb_files import compare, flac, put, restore

ROWS = np.random.default_rng(5).integers(-90, 90, (40, 3)).astype("<i2")
LAYOUT = "m_layout 3 100 0\n~ 0 200/mV 12 0 0 0 0 II\n~ 0 100/mV 12 0 0 0 0 V\n~ 0x2 1/mmHg 8 0 0 0 0 ABP\n"
FIXED = {
    "m.hea": "# begin\nm/2 2 100 30\na 10\nb 20\n# the end",
    "a.hea": "a 2 100 10\na.dat 16 200/mV 12 0 0 0 0 II\na.dat 16 100/mV 12 0 0 0 0 V\n",
    "b.hea": "b 2 100 20\nb.dat 212 200/mV 12 0 0 0 0 II\nb.dat 212 100/mV 12 0 0 0 0 V\n# of b\n",
    "a.dat": ROWS[:10, :2].tobytes() + b"rest",
    "b.dat": np.random.default_rng(1).integers(0, 256, 60, np.uint8).tobytes(),
}
VARIABLE = {
    "m.hea": "m/6 3 100 38\nm_layout 0\n~ 4\na 10\nb 6\n~ 8\nc 10\n",
    "m_layout.hea": LAYOUT,
    "a.hea": "a 2 100 10\na.dat 16 200/mV 12 0 0 0 0 V\na.dat 16x2 1/mmHg 12 0 0 0 0 ABP\n",
    "a.dat": ROWS[:10].tobytes(),
    "b.hea": "b 1 100 6\nb.dat 80 93(-7)/mV 8 0 0 0 0 V\n",
    "b.dat": bytes(range(0, 240, 40)),
    "c.hea": "c 1 100\nc.dat 61 200/mV 12 0 0 99 123 II\n",
    "c.dat": ROWS[:10, :1].astype(">i2").tobytes(),
}
SHARED = {
    "m.hea": "m/3 1 100 12\na 4\nb 4\nc 4\n",
    "a.hea": "a 1 100 4\nx.dat 16 200 12 0 0 0 0 II\n",
    "b.hea": "b 1 100 4\nx.dat 16+8 200 12 0 0 0 0 II\n",
    "c.hea": "c 1 100 4\nx.dat 16 200 12 0 0 0 0 II\n",
    "x.dat": ROWS[:9, 0].tobytes(),
}
FLAC = {
    "m.hea": "m/2 1 100 45\na 40\na 5\n",
    "a.hea": "a 1 100 40\na.dat 516 200 12 0 0 0 0 II\n",
    "a.dat": flac(ROWS[:, :1]),
}
RECORDS = {"fixed": FIXED, "variable": VARIABLE, "shared": SHARED}


def record_of(tmp_path, files, name="in"):
    return put(tmp_path / name, files) / "m.hea"


def assert_restored(folder, out, names):
    for name in names:
        assert filecmp.cmp(folder / name, out / name, shallow=False), name
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("what", RECORDS)
def test_every_file_comes_back_byte_for_byte(tmp_path, monkeypatch, what, step):
    monkeypatch.setattr(wfdb_segmented_source, "_MAX_OPEN", 1)
    monkeypatch.setattr(file_writer, "_MAX_OPEN", 1)
    path = record_of(tmp_path, RECORDS[what])
    with open_record(path, exact=True) as source:
        assert isinstance(source, SegmentedSource)
        assert source.n_bytes == sum(len(content) for content in RECORDS[what].values())
        restore(source, tmp_path / "out", step)
        compare(source, source, source, step)
    assert_restored(path.parent, tmp_path / "out", RECORDS[what])


def test_any_range_of_frames_is_a_slice_of_all(tmp_path):
    with open_record(record_of(tmp_path, VARIABLE)) as source:
        whole = source.frames(0, 38)
        for first in range(0, 39, 3):
            for last in range(first, 39):
                for part, samples, channel in zip(source.frames(first, last), whole, source.channels, strict=True):
                    width = channel.samples_per_frame
                    np.testing.assert_array_equal(part, samples[first * width : last * width])
        with pytest.raises(IndexError, match="frames 2 to 39"):
            source.frames(2, 39)


def physical(source):
    values = []
    for channel, samples in zip(source.channels, source.frames(0, source.n_frames), strict=True):
        values.append((samples.astype(float) - channel.baseline) / channel.gain)
        values[-1][samples == channel.invalid] = np.nan
    return values


def assert_same_as_wfdb(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
    with open_record(path) as source:
        assert [channel.name for channel in source.channels] == oracle.sig_name
        assert [channel.samples_per_frame for channel in source.channels] == oracle.samps_per_frame
        assert (source.n_frames, float(source.frame_rate_hz)) == (oracle.sig_len, oracle.fs)
        for channel, ours, theirs in zip(source.channels, physical(source), oracle.e_p_signal, strict=True):
            half_a_unit = 0.5 / abs(channel.gain) if channel.name in source.rescaled else 0
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=half_a_unit + 1e-9)


@pytest.mark.parametrize("what", ["fixed", "variable"])
def test_samples_are_those_that_wfdb_concatenates(tmp_path, what):
    assert_same_as_wfdb(record_of(tmp_path, changed(RECORDS[what], c_hea=VARIABLE["c.hea"].replace("100", "100 10"))))


REAL = ("041s/041s", "fixed1/v102s", "s25047/s25047-2704-05-04-10-44", "s00001/s00001-2896-10-09-01-56")


@pytest.mark.parametrize("name", REAL)
def test_real_record_is_read_as_wfdb_reads_it_and_comes_back(shared_data, tmp_path, name):
    path = shared_data / "wfdb-sample" / "multi-segment" / f"{name}.hea"
    assert_same_as_wfdb(path)
    with open_record(path, exact=True) as source:
        for written in restore(source, tmp_path / "out", 50_000):
            assert filecmp.cmp(written, path.parent / written.name, shallow=False)


def test_gaps_and_signals_that_a_segment_lacks_are_missing(tmp_path):
    with open_record(record_of(tmp_path, VARIABLE)) as source:
        two, v, abp = source.frames(0, 38)
        missing = [channel.invalid for channel in source.channels]
        assert source.rescaled == ("V",)
    assert (two[:28] == missing[0]).all()
    assert (two[28:] == ROWS[:10, 0]).all()
    assert (v[:4] == missing[1]).all()
    assert (v[4:14] == ROWS[:10, 0]).all()
    assert (abp[8:28].reshape(10, 2) == ROWS[:10, 1:]).all()
    assert (abp[28:] == missing[2]).all()


def test_a_signal_has_its_largest_gain(tmp_path):
    with open_record(record_of(tmp_path, VARIABLE)) as source:
        channel = source.channels[1]
        values = source.frames(14, 20)[1]
    assert (channel.gain, channel.baseline, channel.unit, channel.samples_per_frame) == (200, 0, "mV", 1)
    expected = np.rint((np.arange(0, 240, 40) - 128 + 7) * 200 / 93)
    assert values.tolist() == [channel.invalid, *expected[1:]]  # -128 marks missing samples of format 80


def test_decoded_samples_are_restored_within_the_range_of_each_segment(tmp_path):
    with open_record(record_of(tmp_path, VARIABLE)) as source:
        recording = read_all(source)
        moved = tuple(
            np.where(samples == channel.invalid, samples, np.clip(samples + 50, channel.minimum, channel.maximum))
            for channel, samples in zip(recording.channels, recording.samples, strict=True)
        )
        lossy = Recording(recording.channels, moved, recording.frame_rate_hz, "wfdb", recording.side_files)
        restore(lossy, tmp_path / "out", 5)
    for name in ("m.hea", "m_layout.hea"):
        assert filecmp.cmp(tmp_path / "in" / name, tmp_path / "out" / name, shallow=False)
    after = np.frombuffer((tmp_path / "out" / "c.dat").read_bytes(), ">i2")
    np.testing.assert_array_equal(after, ROWS[:10, 0] + 50)
    first, total = ROWS[0, 0] + 50, int(ROWS[:10, 0].sum()) + 500
    assert f"{first} {total} 123 II" in (tmp_path / "out" / "c.hea").read_text()
    assert (tmp_path / "out" / "b.dat").read_bytes()[0] == 0
    assert (tmp_path / "out" / "b.dat").read_bytes()[5] == 200 + round(50 * 93 / 200)


def changed(files, **texts):
    return {**files, **{name.replace("_hea", ".hea"): text for name, text in texts.items()}}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (changed(FIXED, m_hea="m/2 2 100 30\na 10\n"), "promises 2 segments, but 1 lines follow"),
        (changed(FIXED, m_hea="m/x 2 100 30\na 10\n"), "number of segments is 'x'"),
        (changed(FIXED, m_hea="m/2 2 100 31\na 10\nb 20\n"), "promises 31 frames, but the segments have 30"),
        (changed(FIXED, m_hea="m/2 2 100 30\na 10\nb x\n"), "number of frames of a segment is 'x'"),
        (changed(FIXED, m_hea="m/2 2 100 30\na 10\nb\n"), "segment 'b': a number of frames"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\nb 0\n"), "segment 'b' has 0 frames"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\n../b 20\n"), "'../b.hea' is not a plain file name"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\nz 20\n"), "z.hea: no such segment, but 'm.hea' names it"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\n~ 20\n"), "no layout header"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\nm 20\n"), "m.hea: 'm' is a multi-segment record"),
        (changed(FIXED, m_hea="m/2 3 100\na 10\nb 20\n"), "promises 3 signals; there are 2"),
        (changed(FIXED, m_hea="m/2 2 100\na 10\nb 21\n"), "segment 'b' has 20 frames, not 21"),
        (changed(FIXED, m_hea="m/2 2 99\na 10\nb 20\n"), "segment 'a' has 100 frames a second, the record 99"),
        (changed(FIXED, b_hea="b 1 100 20\nb.dat 16\n"), "segment 'b' has signals"),
        (changed(FIXED, b_hea="b 2 100 5\nb.dat 16x2\nb.dat 16x2\n"), "segment 'b' has 5 frames, not 20"),
        (changed(FIXED, b_hea="b 2 100 20\nb.dat 8 1/mV\nb.dat 8 1/mV\n"), "format 8, which knows no missing samples"),
        (changed(FIXED, b_hea="b 2 100 20\nb.dat 80 1/uV\nb.dat 80 1/mV\n"), "'II' is in mV and in uV"),
        (changed(FIXED, b_hea="b 2 100 20\nb.dat 32 1e-5/mV\nb.dat 16 1/mV\n"), "differ in format"),
        (changed(VARIABLE, b_hea="b 1 100 6\nb.dat 80 1 8 0 0 0 0 RESP\n"), "segment 'b' has signals .'RESP'."),
        (changed(VARIABLE, b_hea="b 1 100 3\nb.dat 80x2 1/mV 8 0 0 0 0 V\n"), "segment 'b' has 3 frames, not 6"),
        (changed(VARIABLE, b_hea="b 1 100\nb.dat 80x2 1/mV 8 0 0 0 0 V\n"), "2 samples per frame of 'V', not 1"),
        (changed(VARIABLE, m_hea="m/2 3 100\nm_layout 0\nc 7\n"), "segment 'c' has 10 frames, not 7"),
        (changed(VARIABLE, m_layout_hea="m_layout 3 100 0\n~ 0\n"), "promises 3 signals, but 1 signal lines"),
        (changed(VARIABLE, m_hea="m/2 3 100\nl 0\nb 6\n"), "l.hea: the layout header cannot be read"),
        (changed(FLAC, m_hea="m/2 1 100\na 40\na 5\n"), "segment 'a' has 40 frames, not 5"),
    ],
)  # fmt: skip
def test_bad_record_is_refused_in_one_line(tmp_path, files, match):
    path = record_of(tmp_path, files)
    with pytest.raises(InvalidSignalError, match=match) as caught:
        open_record(path)
    assert "\n" not in str(caught.value)


def test_gains_too_far_apart_are_refused(tmp_path):
    files = changed(FIXED, b_hea="b 2 100 20\nb.dat 212 1e-6/mV\nb.dat 212 1/mV\n")
    match = "do not fit in 32 bits"
    with open_record(record_of(tmp_path, files)) as source, pytest.raises(InvalidSignalError, match=match):
        source.frames(0, 30)


def test_a_segment_may_come_twice(tmp_path):
    files = changed(FLAC, m_hea="m/2 1 100 80\na 40\na 40\n")
    path = record_of(tmp_path, files)
    with open_record(path, exact=True) as source:
        assert source.frames(0, 80)[0].tolist() == [*ROWS[:, 0], *ROWS[:, 0]]
        restore(source, tmp_path / "out", 33)
    assert_restored(path.parent, tmp_path / "out", files)


def test_a_record_of_one_segment_is_opened_as_before(tmp_path):
    with open_record(record_of(tmp_path, FIXED).with_name("a.hea")) as source:
        assert isinstance(source, WfdbSource)


def with_segments(source, change):
    recording = read_all(source)
    header, joined = recording.side_files
    side_files = change(header, joined)
    return Recording(recording.channels, recording.samples, recording.frame_rate_hz, "wfdb", tuple(side_files))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda header, joined: [joined], "those of a multi-segment record are its header and its segments"),
        (lambda header, joined: [header, joined, SideFile("x", b"")], "those of a multi-segment record"),
        (lambda header, joined: [header, SideFile(joined.name, joined.content[:-1])], "is damaged"),
        (lambda header, joined: [header, SideFile(joined.name, b"\xff")], "is damaged"),
        (lambda header, joined: [header, SideFile(joined.name, b"\1\xff\0")], "is damaged"),
        (lambda header, joined: [header, SideFile(joined.name, b"")], "'a.hea' of 'm.hea' is missing"),
        (lambda header, joined: [header, SideFile(joined.name, joined.content + b"\1z\0")], "'z' is of no known kind"),
        (lambda header, joined: [header, SideFile(joined.name, 2 * joined.content)], "is damaged"),
        (
            lambda header, joined: [SideFile(header.name, header.content.replace(b"b 20", b"b 19")), joined],
            "promises 30 frames",
        ),
        (
            lambda header, joined: [
                SideFile("../m.hea", header.content),
                SideFile("../m.hea#segments", joined.content),
            ],
            "not a plain file name",
        ),
        (
            lambda header, joined: [header, SideFile(joined.name, joined.content.replace(b"200/mV", b"201/mV"))],
            "its segments are not those of the recording",
        ),
        (
            lambda header, joined: [header, SideFile(joined.name, joined.content.replace(b"b.dat", b"m.hea"))],
            "has the name of a header",
        ),
    ],
)
def test_side_files_from_anywhere_are_checked(tmp_path, change, match):
    with open_record(record_of(tmp_path, FIXED)) as source:
        recording = with_segments(source, change)
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidSignalError, match=match):
        restore(recording, tmp_path / "out", 4)
    assert not list((tmp_path / "out").iterdir())


def test_what_is_of_one_segment_only_is_refused(tmp_path):
    with open_record(record_of(tmp_path, FIXED)) as source:
        with pytest.raises(InvalidSignalError, match="keeps the names in its header"):
            WfdbWriter(source, tmp_path, name="n")
        with pytest.raises(InvalidSignalError, match="several segments; their files do not fit in one stream"):
            signal_file_bytes(source)
        with WfdbComparison(source, source) as comparison:
            comparison.write(source.frames(0, 30))
            comparison.finish()
