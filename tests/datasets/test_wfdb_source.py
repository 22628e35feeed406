"""Records read range by range, restored byte for byte from pieces of any size."""

import json
import subprocess
import sys
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sancodec.codec.recording import Channel, Recording
from sancodec.datasets import pieces as pieces_module
from sancodec.datasets import wfdb_signal_file
from sancodec.datasets.pieces import PieceCount, read_all
from sancodec.datasets.wfdb_flac import encode_flac
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, n_bytes_of
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.datasets.wfdb_source import open_wfdb
from sancodec.errors import InvalidSignalError
from tests.datasets.wfdb_files import assert_same_files, compare, flac, pieces, put, restore

PACKED = [code for code, row in SAMPLE_FORMATS.items() if not row.is_flac]
ROWS = np.random.default_rng(7).integers(-100, 100, (61, 2)).astype(np.int32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 6 frames, so that small records have many."""
    monkeypatch.setattr(pieces_module, "BLOCK_SAMPLES", 1)


def random_bytes(n_bytes, seed=0):
    return np.random.default_rng(seed).integers(0, 256, n_bytes, np.uint8).tobytes()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("widths", [(1,), (1, 1), (3, 1), (2, 1, 1, 1)])
@pytest.mark.parametrize("code", PACKED)
def test_every_range_of_frames_is_a_slice_of_all(tmp_path, code, widths):
    lines = "".join(f"x.dat {code}x{width} 200 12 0 {37 * width}\n" for width in widths)
    data = random_bytes(n_bytes_of(code, 31 * sum(widths)), seed=code)
    put(tmp_path, {"x.hea": f"x {len(widths)} 360 31\n{lines}", "x.dat": data})
    whole = read_wfdb(tmp_path / "x")
    with open_wfdb(tmp_path / "x") as source:
        assert (source.channels, source.n_frames, source.side_files) == (whole.channels, 31, whole.side_files)
        for first in range(32):
            for last in (first, first + 1, first + 5, first + 7, 31):
                if first <= last <= 31:
                    for ours, expected in zip(source.frames(first, last), whole.frames(first, last), strict=True):
                        assert ours.dtype == np.int32
                        np.testing.assert_array_equal(ours, expected)


def test_blocks_do_not_change_samples_or_side_files(tmp_path, monkeypatch):
    put(tmp_path, {"x.hea": "x 3 360\n" + "x.dat 311+5 1 8 0 1 2\n" * 2 + "y.dat 8 1 8 0 77 5\n"})
    put(tmp_path, {"x.dat": random_bytes(400), "y.dat": random_bytes(130)})
    whole = read_wfdb(tmp_path / "x")
    monkeypatch.setattr(pieces_module, "BLOCK_SAMPLES", 1)
    blocks = read_wfdb(tmp_path / "x")
    assert blocks.side_files[1:3] == whole.side_files[1:3]
    assert [each.name for each in blocks.side_files] == [each.name for each in whole.side_files]
    assert zlib.decompress(blocks.side_files[2].content) == zlib.decompress(whole.side_files[2].content)
    for ours, expected in zip(blocks.samples, whole.samples, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(("first", "last"), [(-1, 1), (0, 3), (2, 1)])
def test_a_range_outside_the_record_is_refused(tmp_path, first, last):
    put(tmp_path, {"x.hea": "x 1 360\nx.dat 16\n", "x.dat": bytes(4)})
    with open_wfdb(tmp_path / "x") as source, pytest.raises(IndexError, match="the record has frames 0 to 2"):
        source.frames(first, last)


def test_a_recording_gives_frames_too():
    channels = (Channel("a", samples_per_frame=2), Channel("b"))
    recording = Recording(channels, (np.arange(6, dtype=np.int32), np.arange(3, dtype=np.int32)), Fraction(1))
    assert [values.tolist() for values in recording.frames(1, 3)] == [[2, 3, 4, 5], [1, 2]]


def test_a_file_that_becomes_shorter_is_an_error(tmp_path):
    put(tmp_path, {"x.hea": "x 1 360\nx.dat 16\n", "x.dat": bytes(100_000)})
    with open_wfdb(tmp_path / "x") as source:
        (tmp_path / "x.dat").write_bytes(bytes(60_000))
        with pytest.raises(InvalidSignalError, match=r"x.dat: the file became shorter"):
            source.frames(0, 50_000)


EXACT = {
    "plain": ("x 2 360 4\nx.dat 212\nx.dat 212\n", bytes(range(12))),
    "prologue": ("x 1 360 2\nx.dat 16+7\n", bytes(range(11))),
    "bytes after the last frame": ("x 1 360 2\nx.dat 16\n", bytes(range(15))),
    "half a frame at the end": ("x 3 360\n" + "x.dat 61\n" * 3, bytes(range(40))),
    "half a sample at the end": ("x 1 360\nx.dat 24\n", bytes(range(14))),
    "set half byte after an odd sample": ("x 1 360 3\nx.dat 212\n", b"\1\2\3\4\xf5"),
    "set half byte and bytes after it": ("x 1 360 3\nx.dat 212\n", b"\1\2\3\4\xf5\6\7"),
    "odd sample after many blocks": ("x 1 360 501\nx.dat 212\n", random_bytes(752)),
    "unused bits of 310": ("x 1 360 5\nx.dat 310\n", random_bytes(8)),
    "unused bits of 311": ("x 1 360 7\nx.dat 311\n", random_bytes(12)),
    "unused bits of 311 in a late block": ("x 1 360 300\nx.dat 311\n", bytes(399) + b"\xc0"),
    "format 8": ("x 2 360 50\nx.dat 8 1 8 0 1000\nx.dat 8 1 8 3\n", random_bytes(100)),
    "format 8 from an initial value beyond 32 bits": (
        "x 1 360 5\nx.dat 8 1 8 0 999999999999999999 7\n",
        random_bytes(5),
    ),
    "wrong initial value and checksum": ("x 1 360 3\nx.dat 16 1 8 0 99 -123 0 A\n", bytes(6)),
    "checksum in another style": ("x 1 360 1\nx.dat 16 1 8 0 00 +065530 0 A\n", b"\xfa\xff"),
    "line ends of Windows": ("x 1 360 3\r\nx.dat 16 200 11 0  0\t0 0 A \r\n# end\r\n\r\n", bytes(6)),
    "no line end at the end": ("# a\n\n x 1 360 3\nx.dat 16\n  # Ünïcode \x1b[2J", bytes(6)),
    "Latin-1 text": ("x 1 360 3\nx.dat 16 1 8 0 0 0 0 Brücke\n".encode("latin-1"), bytes(6)),
    "text after the signal lines": ("x 1 360 3\nx.dat 16\ny.dat 16 not read\n", bytes(6)),
    "all values of 80": ("x 1 360\nx.dat 80\n", bytes(range(256))),
    "all ends of 32": ("x 1 360\nx.dat 32\n", b"\0\0\0\x80\xff\xff\xff\x7f\xff\xff\xff\xff"),
    "lowest of 160": ("x 1 360\nx.dat 160\n", b"\0\0\xff\xff"),
    "FLAC of another encoder": ("x 2 360\nx.dat 516\nx.dat 516\n", flac(ROWS)),
    "FLAC of this encoder": ("x 2 360\nx.dat 516\nx.dat 516\n", encode_flac(ROWS, code=516)),
    "FLAC of fewer bits": ("x 2 360\nx.dat 524\nx.dat 524\n", flac(ROWS, bits=16)),
    "FLAC of 8 bits": ("x 2 360\nx.dat 508\nx.dat 508\n", flac(ROWS, bits=8)),
    "FLAC with samples after the last frame": ("x 2 360 7\nx.dat 516x3\nx.dat 516x3\n", flac(ROWS)),
    "FLAC with bytes after its end": ("x 2 360\nx.dat 516\nx.dat 516\n", flac(ROWS) + b"TAG" * 40),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("what", EXACT)
def test_record_comes_back_byte_for_byte(tmp_path, what, step):
    header, data = EXACT[what]
    put(tmp_path / "in", {"x.hea": header, "x.dat": data})
    with open_wfdb(tmp_path / "in" / "x", exact=True) as source:
        restore(source, tmp_path / "out", step)
        compare(source, source, source, step)
    assert_same_files(tmp_path / "in", tmp_path / "out")


def test_signal_files_of_different_lengths_and_kinds_come_back(tmp_path):
    lines = "a.dat 16\nb.dat 212x3+2\nc.dat 516\nd.dat 8\n"
    files = {"x.hea": f"x 4 360\n{lines}", "a.dat": bytes(50), "b.dat": random_bytes(161)}
    put(tmp_path / "in", {**files, "c.dat": flac(ROWS[:40, :1]), "d.dat": random_bytes(30)})
    with open_wfdb(tmp_path / "in" / "x", exact=True) as source:
        assert source.n_frames == 25
        restore(source, tmp_path / "out", 4)
    assert_same_files(tmp_path / "in", tmp_path / "out")


REAL = [
    "flac_3_constant",
    "flacformats",
    "mixedsignals",
    "binformats",
    "310derive_2",
    "311derive_4",
    "03700181",
    "a103l",
]


@pytest.mark.parametrize("name", REAL)
def test_real_record_comes_back_byte_for_byte(shared_data, tmp_path, name):
    with open_wfdb(shared_data / "wfdb-sample" / name, exact=True) as source:
        written = restore(source, tmp_path, 1000)
    assert len(written) == len(source.signal_paths) + 1
    for path in written:
        assert path.read_bytes() == (shared_data / "wfdb-sample" / path.name).read_bytes()


@st.composite
def records(draw):
    """A header and its signal files, of random bytes: layouts, offsets, trailers, set unused bits, wrong fields."""
    n_frames = draw(st.sampled_from([None, 1, 2, 7, 13]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines, files = [], {}
    for number in range(draw(st.integers(1, 3))):
        code = draw(st.sampled_from(PACKED))
        offset = draw(st.sampled_from(["", "+1", "+24"]))
        widths = draw(st.lists(st.sampled_from([1, 3]), min_size=1, max_size=3))
        for width in widths:
            fields = draw(st.sampled_from(["", " 200", " 200 12 5", " 200 12  5 -4\t17 0  A", " 1 8 0 3 65000 0 B"]))
            lines.append(f"{number}.dat {code}x{width}:2{offset}{fields}")
        n_bytes = int(offset or 0) + 4 * sum(widths) * (n_frames or 1) + draw(st.integers(0, 9))
        files[f"{number}.dat"] = draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    return {"x.hea": end.join(["# x", f"x {len(lines)} 360 {n_frames or ''}", *lines, "# end"]).encode(), **files}


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=records(), step=st.integers(1, 9))
def test_any_record_comes_back_byte_for_byte_from_pieces(tmp_path_factory, files, step):
    folder = put(tmp_path_factory.mktemp("in"), files)
    target = tmp_path_factory.mktemp("out")
    with open_wfdb(folder / "x", exact=True) as source:
        restore(source, target, step)
        compare(folder / "x", source, source, step)
    assert_same_files(folder, target)


def test_without_exact_no_original_is_kept(tmp_path):
    put(tmp_path, {"x.hea": "x 2 360\nx.dat 516\nx.dat 516\n", "x.dat": flac(ROWS)})
    assert [each.name for each in read_wfdb(tmp_path / "x").side_files] == ["x.hea"]


def test_flac_of_this_encoder_needs_no_original(tmp_path):
    put(tmp_path, {"x.hea": "x 2 360\nx.dat 516\nx.dat 516\n", "x.dat": encode_flac(ROWS, code=516)})
    with open_wfdb(tmp_path / "x", exact=True) as source:
        assert [each.name for each in source.side_files] == ["x.hea"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("changed_row", [0, 30, 59])
def test_original_flac_does_not_bring_back_other_samples(tmp_path, changed_row):
    put(tmp_path / "in", {"x.hea": "x 2 360 60\nx.dat 516\nx.dat 516\n", "x.dat": flac(ROWS)})
    with open_wfdb(tmp_path / "in" / "x", exact=True) as source:
        assert [each.name for each in source.side_files] == ["x.hea", "x.dat#trailer", "x.dat#original"]
        recording = read_all(source)
    recording.samples[1][changed_row] += 1
    restore(recording, tmp_path / "out", 7)
    assert (tmp_path / "out" / "x.dat").read_bytes() == encode_flac(
        np.vstack([np.stack(recording.samples, axis=1), ROWS[60:]]), code=516
    )


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ("x 1 9 1\nx.dat 16\n", bytes(2000), r"x.dat: 1998 bytes after the last frame .* as 'x.dat#trailer'; at most"),
        ("x 1 9 1\nx.dat 16+1000\n", bytes(1002), "x.dat: 1000 bytes before the first frame"),
        ("x 1 9\nx.dat 311\n", random_bytes(40_000), "bytes of unused bits that are set .* as 'x.dat#bits'"),
        ("x 2 9\nx.dat 516\nx.dat 516\n", flac(ROWS) + bytes(300), "bytes of FLAC by another encoder"),
        ("x 2 9 1\nx.dat 516\nx.dat 516\n", flac(ROWS), "480 bytes after the last frame"),
    ],
)
def test_more_than_a_side_file_may_hold_is_refused_in_one_line(tmp_path, monkeypatch, header, data, message):
    monkeypatch.setattr(wfdb_signal_file, "MAX_SIDE_FILE_BYTES", 400)
    put(tmp_path, {"x.hea": header, "x.dat": data})
    with pytest.raises(InvalidSignalError, match=message) as caught:
        open_wfdb(tmp_path / "x", exact=True)
    assert "\n" not in str(caught.value)


def test_a_record_that_could_not_be_restored_for_its_name_is_not_read(tmp_path):
    put(tmp_path, {"aux.hea": "x 1 9\nx.dat 16\n", "x.dat": bytes(2)})
    with pytest.raises(InvalidSignalError, match=r"header 'aux.hea' has a name that Windows keeps"):
        open_wfdb(tmp_path / "aux")


def test_escape_sequences_of_a_header_do_not_reach_a_message(tmp_path):
    for line in (
        "x/\x1b[2J 1",
        "x 1 \x1b[2J",
        "x 1 9 \x1b",
        "x 1\n\x1b.dat 16",
        "x 1\nx.dat \x1b",
        "x 1\nx.dat 16 (\x1b)",
    ):
        put(tmp_path, {"x.hea": line + "\n", "x.dat": bytes(2)})
        with pytest.raises(InvalidSignalError) as caught:
            open_wfdb(tmp_path / "x")
        assert str(caught.value).isprintable()


def test_pieces_are_counted_and_checked():
    channels = (Channel("a", samples_per_frame=2), Channel("b"))
    count = PieceCount(Recording(channels, (np.zeros(6, np.int32), np.zeros(3, np.int32)), Fraction(1)))
    assert count.add((np.zeros(4, np.int32), np.zeros(2, np.int32))) == 2
    for samples, message in [
        ((np.zeros(2, np.int32),), "1 sample arrays for 2 channels"),
        ((np.zeros(2, np.int32), np.zeros(2, np.int32)), "channel 1: samples are int32 of shape"),
        ((np.zeros(3, np.int32), np.zeros(1, np.int32)), "channel 0"),
        ((np.zeros(2, np.int16), np.zeros(1, np.int32)), "channel 0: samples are int16"),
        ((np.zeros(4, np.int32), np.zeros(2, np.int32)), "4 frames were given; the recording has 3"),
    ]:
        with pytest.raises(InvalidSignalError, match=message):
            count.add(samples)
    with pytest.raises(InvalidSignalError, match="2 of the 3 frames"):
        count.finish()


MEMORY = """
import json, sys, tracemalloc
from pathlib import Path
from sancodec.datasets.wfdb_source import open_wfdb
from sancodec.datasets.wfdb_writer import WfdbComparison, WfdbWriter
folder = Path(sys.argv[1])
(folder / "out").mkdir()
tracemalloc.start()
with open_wfdb(folder / "x", exact=True) as source:
    with WfdbWriter(source, folder / "out") as writer, WfdbComparison(source, source) as comparison:
        for first in range(0, source.n_frames, 20_000):
            piece = source.frames(first, min(first + 20_000, source.n_frames))
            writer.write(piece)
            comparison.write(piece)
        comparison.finish()
        writer.finish()
    print(json.dumps([source.n_frames * len(source.channels), tracemalloc.get_traced_memory()[1]]))
"""


@pytest.mark.parametrize("code", [8, 16, 212, 311])
def test_a_long_record_is_read_compared_and_restored_in_little_memory(tmp_path, code):
    n_frames = 1_500_001
    lines = "".join(f"x.dat {code} 200 12 0 5 17\n" for _ in range(12))
    data = random_bytes(n_bytes_of(code, 12 * n_frames))
    if code == 311:  # unused bits are kept: leave them 0 but at the end
        data = bytes(len(data) - 1) + b"\xff"
    put(tmp_path, {"x.hea": f"x 12 500 {n_frames}\n{lines}", "x.dat": data})
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    n_samples, peak_bytes = json.loads(result.stdout)
    assert n_samples == 18_000_012
    assert peak_bytes < 40e6  # as int32 the samples take 72 MB
    for name in ("x.hea", "x.dat"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_flac_of_any_length_is_read_in_little_memory(tmp_path):
    rows = np.cumsum(np.random.default_rng(1).integers(-3, 4, (2_000_000, 4)), axis=0).astype(np.int32)
    put(tmp_path, {"x.hea": "x 4 500\n" + "x.dat 516\n" * 4, "x.dat": encode_flac(rows, code=516)})
    del rows
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)[1] < 40e6
    assert (tmp_path / "out" / "x.dat").read_bytes() == (tmp_path / "x.dat").read_bytes()


def test_pieces_of_the_tests_cover_all_frames(tmp_path):
    put(tmp_path, {"x.hea": "x 1 9\nx.dat 16\n", "x.dat": bytes(10)})
    with open_wfdb(tmp_path / "x") as source:
        assert [len(piece[0]) for piece in pieces(source, 2)] == [0, 2, 2, 1]
