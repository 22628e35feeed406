"""Parts of a recording: from a time to a time, some channels."""

import io
import json
from fractions import Fraction
from pathlib import Path

import click
import numpy as np
import pytest

from sancodec.cli.times import clock, parse_time, short_clock
from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import Run, long_samples, piped
from tests.cli.test_refusals import assert_one_line, names_in


@pytest.fixture(scope="module")
def container() -> bytes:
    """Three chunks of ``long_samples``, lossless."""
    file = io.BytesIO()
    np.save(file, long_samples())
    result = piped("compress", "-", "--rate", "360", "--chunk", "30", "--lossless", given=file.getvalue())
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def packed(container: bytes, record: Path) -> np.ndarray:
    """``long.san``, and the samples in it."""
    Path("long.san").write_bytes(container)
    return long_samples()


@pytest.mark.parametrize(
    ("arguments", "first", "last"),
    [
        (["--start", "10", "--end", "20.5"], 3600, 7380),
        (["--start", "0:00:29.5", "--end", "0:30.5"], 10_620, 10_980),
        (["--end", "1:00"], 0, 21_600),
        (["--start", "79.99"], 28_797, 28_800),
        (["--start", "0.0001", "--end", "0.01"], 1, 4),
        (["--start", "30", "--end", "60"], 10_800, 21_600),
        ([], 0, 28_800),
    ],
)
def test_an_excerpt_is_from_its_start_up_to_its_end(
    run: Run, packed: np.ndarray, arguments: list[str], first: int, last: int
) -> None:
    assert run("decompress", "long.san", *arguments, "-o", "x.npy").status == 0
    got = np.load("x.npy")
    assert got.dtype == np.int16
    np.testing.assert_array_equal(got, packed[:, first:last])


def test_excerpts_that_meet_leave_nothing_out(run: Run, packed: np.ndarray) -> None:
    parts = []
    for start, end in [("0", "3.3333"), ("3.3333", "41.007"), ("41.007", "80")]:
        run("decompress", "long.san", "--start", start, "--end", end, "-o", "x.npy", "-f")
        parts.append(np.load("x.npy"))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), packed)


@pytest.mark.parametrize(
    ("names", "rows"), [(["channel 1"], [1]), (["0"], [0]), (["1", "channel 0"], [1, 0]), (["0", "1"], [0, 1])]
)
def test_channels_are_chosen_by_name_or_number(run: Run, packed: np.ndarray, names: list[str], rows: list[int]) -> None:
    arguments = [each for name in names for each in ("--channel", name)]
    assert run("decompress", "long.san", *arguments, "-o", "x.npy").status == 0
    np.testing.assert_array_equal(np.load("x.npy"), packed[rows])


def test_an_excerpt_of_a_wfdb_record_is_a_new_record(run: Run, record: Path) -> None:
    run("compress", record, "--lossless", "-o", "my record.san")
    before = read_wfdb(record)
    Path("out").mkdir()
    outcome = run("decompress", "my record.san", "--start", "1", "--end", "2", "--channel", "V5", "-o", "out", "--json")
    assert json.loads(outcome.out)["outputs"] == ["out/my_record.dat", "out/my_record.hea"]
    after = read_wfdb("out/my_record.hea")
    np.testing.assert_array_equal(after.samples[0], before.samples[1][360:720])
    (channel,) = after.channels
    assert (channel.name, channel.unit, channel.gain, channel.baseline) == ("V5", "mV", 200.0, 1024)
    assert Path("out/my_record.hea").read_text().splitlines()[1].split()[1] == "16"
    stream = piped("decompress", "my record.san", "--start", "1", "--end", "2", "--channel", "V5", "-o", "-")
    assert stream.stdout == Path("out/my_record.dat").read_bytes()


def test_all_channels_of_all_times_are_the_record_itself(run: Run, record: Path) -> None:
    run("compress", record, "--lossless")
    run("decompress", "100_10s.san", "--start", "0", "--end", "10", "--channel", "MLII", "--channel", "1", "-o", "out")
    assert Path("out/100_10s.dat").read_bytes() == record.with_suffix(".dat").read_bytes()
    assert Path("out/100_10s.hea").read_bytes() == record.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--end", "80.5"], ["--end 0:01:20.5", "0:01:20.0"]),
        (["--start", "79.9999"], ["no samples from 0:01:20.0"]),
        (["--start", "80"], ["no samples from 0:01:20.0"]),
        (["--start", "90"], ["no samples from 0:01:30.0"]),
        (["--channel", "MLII"], ["'MLII' is not there", "0 'channel 0', 1 'channel 1'"]),
        (["--channel", "2"], ["'2' is not there"]),
        (["--channel", "1", "--channel", "channel 1"], ["'channel 1' is named twice"]),
        (["--channel", "-1"], ["'-1' is not there"]),
    ],
)
def test_what_is_not_there_is_refused(run: Run, packed: np.ndarray, arguments: list[str], words: list[str]) -> None:
    assert_one_line(run("decompress", "long.san", *arguments, "--to", "npy", "-o", "x.npy"), "long.san", *words)
    assert not Path("x.npy").exists()


def test_a_name_that_means_several_channels_is_refused(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace("V5", "MLII"))
    run("compress", record)
    assert_one_line(run("decompress", "100_10s.san", "--channel", "MLII"), "means several (0, 1)", "0 'MLII', 1 'MLII'")
    assert run("decompress", "100_10s.san", "--channel", "1", "-o", "out").status == 0


@pytest.mark.parametrize(
    "arguments", [["--start", "soon"], ["--end", "1:60"], ["--start", "5", "--end", "5"], ["--start", "-1"]]
)
def test_what_is_no_time_is_wrong_usage(run: Run, packed: np.ndarray, arguments: list[str]) -> None:
    assert run("decompress", "long.san", *arguments).status == 2


def test_only_what_is_restored_has_to_be_intact(run: Run, packed: np.ndarray) -> None:
    content = bytearray(Path("long.san").read_bytes())
    content[len(content) // 2] ^= 1
    Path("bad.san").write_bytes(content)
    before = names_in(Path())
    assert_one_line(run("decompress", "bad.san", "-o", "x.npy"), "chunk 1")
    assert_one_line(run("decompress", "bad.san", "--to", "wfdb", "-o", "new/folder"), "chunk 1")
    assert names_in(Path()) == before
    assert run("decompress", "bad.san", "--end", "30", "-o", "x.npy").status == 0
    np.testing.assert_array_equal(np.load("x.npy"), packed[:, :10_800])


def test_an_excerpt_reads_only_the_chunks_that_it_needs(packed: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from sancodec.api import default_engine
    from sancodec.cli.excerpt import excerpt_of, pieces_of
    from sancodec.codec.decoder import RecordingReader

    wanted: list[tuple[int, int]] = []
    honest = RecordingReader.chunks

    def noted(self: RecordingReader, first: int, last: int) -> object:
        wanted.append((first, last))
        return honest(self, first, last)

    monkeypatch.setattr(RecordingReader, "chunks", noted)
    reader = RecordingReader(io.BytesIO(Path("long.san").read_bytes()), engine=default_engine())
    excerpt = excerpt_of(reader.header, start_s=Fraction(30), end_s=Fraction(60), names=["0"])
    pieces = list(pieces_of(reader, excerpt, lambda fraction: None))
    assert wanted == [(1, 2)]
    assert [[len(each) for each in piece] for piece in pieces] == [[10_800]]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90.5", Fraction(181, 2)),
        (".25", Fraction(1, 4)),
        ("1:30", 90),
        ("0:01:30.5", Fraction(181, 2)),
        ("100:00:00", 360_000),
        (" 5 ", 5),
    ],
)
def test_times_are_seconds_or_clock_times(text: str, seconds: Fraction) -> None:
    context = click.Context(click.Command("x"))
    assert parse_time(context, click.Option(["--start"]), text) == seconds


def test_times_are_written_as_a_clock_shows_them() -> None:
    assert clock(0) == "0:00:00.0"
    assert clock(3599.96) == "1:00:00.0"
    assert clock(Fraction(90)) == "0:01:30.0"
    assert short_clock(59.6) == "1:00"
    assert short_clock(3661) == "1:01:01"
