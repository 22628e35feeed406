"""What can be promised on the command line, and that it is kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import DATA, Run
from tests.cli.test_refusals import assert_one_line, names_in


def largest_errors(restored: Path) -> list[int]:
    before, after = (read_wfdb(path).samples for path in (DATA / "100_10s.hea", restored))
    return [int(np.abs(x - y).max()) for x, y in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    ("arguments", "bound"),
    [([], 4), (["--preset", "clinical"], 4), (["--max-error", "10uV"], 2), (["--max-error", "7adu"], 7)],
)
def test_no_sample_is_off_by_more_than_was_promised(run: Run, record: Path, arguments: list[str], bound: int) -> None:
    result = json.loads(run("compress", record, *arguments, "--json").out)
    assert [each["promise"] for each in result["channels"]] == [{"prdn": None, "max_error_adu": bound}] * 2
    run("decompress", "100_10s.san", "-o", "restored")
    assert 1 <= max(largest_errors(Path("restored/100_10s.hea"))) <= bound


@pytest.mark.parametrize("arguments", [["--lossless"], ["--preset", "archive"], ["--lossless", "--prdn", "5"]])
def test_lossless_restores_every_byte(run: Run, record: Path, arguments: list[str]) -> None:
    outcome = run("compress", record, *arguments)
    assert "exact" in outcome.out
    run("decompress", "100_10s.san", "-o", "restored")
    for suffix in (".dat", ".hea"):
        assert Path(f"restored/100_10s{suffix}").read_bytes() == record.with_suffix(suffix).read_bytes()


def test_lossless_does_not_appear_where_a_byte_would_differ(
    run: Run, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sancodec.datasets.wfdb_restore import RecordBytes

    monkeypatch.setattr(RecordBytes, "_header_content", lambda self: b"another header")
    assert_one_line(run("compress", record, "--lossless"), "100_10s.hea", "another byte")
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]
    assert run("compress", record).status == 0


def test_a_container_that_decodes_to_something_else_does_not_appear(
    run: Run, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sancodec.codec.decoder import RecordingReader

    honest = RecordingReader.chunks

    def off_by_five(self: RecordingReader, first: int, last: int) -> object:
        for index, samples in honest(self, first, last):
            yield index, [each + np.int32(5) for each in samples]

    monkeypatch.setattr(RecordingReader, "chunks", off_by_five)
    assert_one_line(run("compress", record), "chunk 0", "≤ 4 adu", "report this")
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]


def test_the_table_shows_what_was_promised_of_each_channel(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace("V5", "RESP"))
    lines = run("compress", record).out.splitlines()
    assert lines[1].split()[:2] == ["channel", "promised"]
    assert "≤ 4 adu" in lines[2]
    assert "≤ 2 %" in lines[3]
    lines = run("info", "100_10s.san").out.splitlines()
    assert "≤ 4 adu" in lines[-2]
    assert "≤ 2 %" in lines[-1]


def test_an_array_keeps_a_prdn_by_default(run: Run, long_array: np.ndarray) -> None:
    result = json.loads(run("compress", "long.npy", "--rate", "360", "--json").out)
    assert [each["promise"] for each in result["channels"]] == [{"prdn": 2.0, "max_error_adu": None}] * 2


def test_volts_mean_nothing_for_an_array(run: Run, long_array: np.ndarray) -> None:
    outcome = run("compress", "long.npy", "--rate", "360", "--max-error", "20uV")
    assert_one_line(outcome, "long.npy", "'channel 0' is in 'adu'", "4adu")


@pytest.mark.parametrize("value", ["-1", "20 mmHg", "nan", "much"])
def test_what_is_no_bound_is_wrong_usage(run: Run, record: Path, value: str) -> None:
    outcome = run("compress", record, "--max-error", value)
    assert outcome.status == 2
    assert "such as 20uV or 4adu" in outcome.err or "negative" in outcome.err


def test_help_tells_the_presets_and_the_default(run: Run) -> None:
    text = " ".join(run("compress", "--help").out.split())
    assert "clinical: ECG leads: error of any sample at most 20 µV; other channels: PRDN 2 %" in text
    assert "clinical is the default" in text
