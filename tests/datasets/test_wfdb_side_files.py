"""Side files come from containers, and containers from anywhere."""

import tracemalloc
import zlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sancodec.codec.recording import Channel, Recording, SideFile
from sancodec.datasets.wfdb_flac import encode_flac
from sancodec.datasets.wfdb_record import write_wfdb
from sancodec.datasets.wfdb_side_files import checked_side_files
from sancodec.errors import InvalidSignalError
from tests.datasets.wfdb_files import flac

HEADER = SideFile("x.hea", b"x 1 9 2\nx.dat 311\n")


def recording(*side_files, samples=(1, 2)):
    return Recording((Channel("a"),), (np.array(samples, np.int32),), Fraction(9), "wfdb", tuple(side_files))


def refusal(directory, *side_files, samples=(1, 2)):
    """The one line with which side files are refused; the folder stays empty."""
    with pytest.raises(InvalidSignalError) as caught:
        write_wfdb(recording(*side_files, samples=samples), directory)
    assert not list(directory.iterdir())
    assert str(caught.value).isprintable()
    return str(caught.value)


HOSTILE = [
    *("../up", "../../etc/passwd", "/etc/passwd", "folder/file", "a/../b", "./a", "a/", "..", ".", "", "-", "~"),
    *("..\\up", "folder\\file", "\\\\server\\share\\file", "\\file", "C:\\file", "C:file", "c:", "file:stream", ":a"),
    *("a\0b", "a\nb", "a\rb", "a\x1b[2Jb", "a\x7fb", "a\x9bb", "a\u202eb", "a\u2028b", "a\u200bb", "a\ud800b", "\t"),
    *("CON", "con.txt", "NUL", "nul.atr", "PRN", "aux.c.d", "COM1", "com9.x", "LPT0", "COM\u00b9", "CONIN$", "con .x"),
    *("file.", "file ", "file. ."),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_side_file_of_no_plain_name_is_refused(tmp_path, name):
    message = refusal(tmp_path, HEADER, SideFile(name, b"content"))
    assert message.startswith(f"side files: side file {name!r} ")


@pytest.mark.parametrize("name", [name for name in HOSTILE[:-3] if len(name) > 2 and name != "C:"], ids=ascii)
def test_a_header_of_no_plain_name_is_refused(tmp_path, name):
    message = refusal(tmp_path, SideFile(f"{name}.hea", HEADER.content))
    assert message.startswith(f"side files: header {f'{name}.hea'!r} ")


@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if name and not set(name) & set(" \n\r\t\0\ud800")], ids=ascii
)
def test_a_signal_file_of_no_plain_name_is_refused(tmp_path, name):
    message = refusal(tmp_path, SideFile("x.hea", f"x 1 9 2\n{name} 16\n".encode()))
    assert message.startswith("x.hea, line 2: ")


@pytest.mark.parametrize("name", ["X.DAT", "x.Dat", "X.HEA", "ß.atr"])
def test_names_that_differ_only_in_case_are_refused(tmp_path, name):
    assert "differ only in case" in refusal(tmp_path, HEADER, SideFile(name, b""), SideFile("SS.atr", b""))


def test_names_that_differ_only_in_how_letters_are_composed_are_refused(tmp_path):
    message = refusal(tmp_path, HEADER, SideFile("\u00e9.atr", b""), SideFile("e\u0301.atr", b""))
    assert "differ only in case" in message


def test_a_signal_file_with_the_name_of_the_header_in_capitals_is_refused(tmp_path):
    assert "names itself" in refusal(tmp_path, SideFile("x.hea", b"x 1 9 2\nX.Hea 16\n"))


@pytest.mark.parametrize(
    "name",
    [
        *("x.dat#", "x.dat#part", "x.dat#Bits", "x.dat#fields", "x.hea#bits", "y.dat#trailer", "#trailer", "#"),
        *("x.dat#trailer#trailer", "x.dat#original", "../x.dat#trailer", "x.hea#\x1b[2J"),
    ],
)
def test_a_part_of_no_known_kind_is_refused(tmp_path, name):
    assert refusal(tmp_path, HEADER, SideFile(name, b"")).startswith(f"side file {name!r} is of no known kind")


def test_parts_are_known_only_where_the_format_can_have_them(tmp_path):
    without_bits = SideFile("x.hea", b"x 1 9 2\nx.dat 212\n")
    assert "'x.dat#bits' is of no known kind" in refusal(tmp_path, without_bits, SideFile("x.dat#bits", b""))
    of_flac = SideFile("x.hea", b"x 1 9 2\nx.dat 516\n")
    assert "'x.dat#prologue' is of no known kind" in refusal(tmp_path, of_flac, SideFile("x.dat#prologue", b""))


@pytest.mark.parametrize("content", [b"1 0 0\n", b"0 0 0\n0 0 0\n", b"0 0\n", b"-1 0 0\n", b"0 0 0"])
def test_fields_of_no_signal_of_the_header_are_refused(tmp_path, content):
    assert "'x.hea#fields' is damaged" in refusal(tmp_path, HEADER, SideFile("x.hea#fields", content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        zlib.compress(b""),
        zlib.compress(bytes(2)),
        zlib.compress(bytes(4)),
        zlib.compress(bytes(3))[:-1],
        zlib.compress(bytes(3)) + b"\0",
        zlib.compress(bytes(3)) + bytes(100_000),
        zlib.compress(b"\1\0\0"),
        zlib.compress(b"\0\0\x0f"),
    ],
)
def test_unused_bits_that_are_not_that_are_refused(tmp_path, content):
    bits = SideFile("x.dat#bits", content)
    if not content:
        write_wfdb(recording(HEADER, bits), tmp_path)  # as if it were not there
        return
    assert "'x.dat#bits' is damaged; it must unpack to 3 bytes" in refusal(tmp_path, HEADER, bits)


def test_unused_bits_come_back(tmp_path):
    write_wfdb(recording(HEADER, SideFile("x.dat#bits", zlib.compress(b"\0\0\xf0"))), tmp_path)
    assert (tmp_path / "x.dat").read_bytes() == bytes.fromhex("0108 f0")


def test_a_bomb_of_unused_bits_is_not_unpacked(tmp_path):
    compressor = zlib.compressobj(9)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(300)) + compressor.flush()
    tracemalloc.start()
    message = refusal(tmp_path, HEADER, SideFile("x.dat#bits", bomb))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "must unpack to 3 bytes" in message
    assert peak_bytes < 4e6


OF_FLAC = SideFile("x.hea", b"x 1 9 2\nx.dat 516\n")


@pytest.mark.parametrize(
    "original",
    [b"junk", b"fLaC", flac([[1, 1], [2, 2]]), flac([[1], [2]])[:-9], flac([[1], [2]], bits=24)],
)
def test_a_damaged_original_is_refused(tmp_path, original):
    message = refusal(tmp_path, OF_FLAC, SideFile("x.dat#original", original))
    assert message.startswith("side file 'x.dat#original' is damaged")


@pytest.mark.parametrize("original", [flac([[1], [3]]), flac([[1]]), flac([[1], [2], [3]])])
def test_an_original_of_other_samples_is_not_restored(tmp_path, original):
    write_wfdb(recording(OF_FLAC, SideFile("x.dat#original", original)), tmp_path)
    assert (tmp_path / "x.dat").read_bytes() == encode_flac(np.array([[1], [2]], np.int32), code=516)


def test_an_original_of_these_samples_is_restored(tmp_path):
    write_wfdb(recording(OF_FLAC, SideFile("x.dat#original", flac([[1], [2]]))), tmp_path)
    assert (tmp_path / "x.dat").read_bytes() == flac([[1], [2]])


def test_a_flac_trailer_beyond_the_format_is_refused(tmp_path):
    message = refusal(tmp_path, OF_FLAC, SideFile("x.dat#trailer", b"\0\0\0\x7f"))
    assert "does not fit format 516" in message


def test_text_of_a_header_stays_in_the_file_and_out_of_messages(tmp_path):
    header = SideFile("x.hea", b"x 1 9 2\nx.dat 16 1 8 0 0 0 0 \x1b[2J\n# \x1b]0;title\x07\n")
    write_wfdb(recording(header), tmp_path)
    assert b"\x1b[2J\n# \x1b]0;title\x07\n" in (tmp_path / "x.hea").read_bytes()
    for file in tmp_path.iterdir():
        file.unlink()
    assert refusal(tmp_path, header, samples=[1, 40_000])


NAMES = st.sampled_from(["x.hea", "x.dat", "x.hea#fields", "x.dat#bits", "x.dat#trailer", "x.dat#original", "a"])
CONTENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([HEADER.content, OF_FLAC.content, b"x 1 9 2\nx.dat 310+1\n", b"0 1 2\n", zlib.compress(bytes(3))]),
    st.binary(max_size=5).map(zlib.compress),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(SideFile, st.one_of(NAMES, st.text(max_size=5)), CONTENTS), max_size=4))
def test_any_side_files_are_restored_or_refused(tmp_path_factory, side_files):
    directory = tmp_path_factory.mktemp("out")
    try:
        written = write_wfdb(recording(*side_files), directory)
    except InvalidSignalError as error:
        message, names = str(error), set()
    else:
        message, names = "", set(checked_side_files(recording(*side_files)).file_names)
        assert {path.name for path in written} == names
    assert {path.name for path in directory.iterdir()} == names
    assert message.isprintable()


def test_a_description_needs_no_samples():
    side_files = checked_side_files(replace(recording(HEADER), samples=(np.zeros(2, np.int32),)))
    assert side_files.file_names == ("x.dat", "x.hea")
