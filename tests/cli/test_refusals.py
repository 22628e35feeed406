"""The first wrong things that a user does: one clear line, the right status, nothing left behind."""

import errno
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, Run


def assert_one_line(outcome: Outcome, *words: str) -> None:
    assert outcome.status == 1
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("sancodec: error: ")
    for word in words:
        assert word in lines[0]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_missing_record_is_named(run: Run, record: Path) -> None:
    assert_one_line(run("compress", "nope.dat"), "nope")
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]


def test_a_directory_is_refused(run: Run, record: Path) -> None:
    assert_one_line(run("compress", str(record.parent)), "folder")


def test_text_instead_of_a_record_is_refused(run: Run, record: Path) -> None:
    record.write_text("dear diary, today was fine\n")
    assert_one_line(run("compress", record))
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]


def test_an_empty_header_is_refused(run: Run, record: Path) -> None:
    record.write_bytes(b"")
    assert_one_line(run("compress", record), "100_10s.hea")


def test_a_short_signal_file_is_refused(run: Run, record: Path) -> None:
    signal = record.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:5000])
    assert_one_line(run("compress", record), "3600")


def test_an_unknown_format_is_refused(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace(" 212 ", " 999 "))
    assert_one_line(run("compress", record), "999")


def test_a_gain_that_is_no_number_is_refused(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace(" 200 ", " nan "))
    assert_one_line(run("compress", record), "gain")


def test_an_existing_output_is_kept_without_force(run: Run, record: Path) -> None:
    target = Path("100_10s.san")
    target.write_text("precious")
    assert_one_line(run("compress", record), "--force")
    assert target.read_text() == "precious"
    assert run("compress", record, "--force").status == 0


def test_a_missing_folder_is_named(run: Run, record: Path) -> None:
    assert_one_line(run("compress", record, "-o", "no/such.san"), "no")


@pytest.mark.usefixtures("unprivileged")
def test_a_read_only_target_is_refused(run: Run, record: Path) -> None:
    folder = Path("locked")
    folder.mkdir(mode=0o555)
    assert_one_line(run("compress", record, "-o", "locked/x.san"), "locked")
    assert names_in(folder) == []


def test_a_full_disk_leaves_nothing_behind(run: Run, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert_one_line(run("compress", record), "No space left")
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]


def test_an_interrupted_compression_leaves_nothing_behind(
    run: Run, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sancodec.codec.container.ContainerWriter.finish", interrupt)
    outcome = run("compress", record)
    assert outcome.status == 130
    assert names_in(record.parent) == ["100_10s.dat", "100_10s.hea"]


def test_a_failing_input_does_not_stop_the_others(run: Run, record: Path) -> None:
    Path("out").mkdir()
    outcome = run("compress", "nope", record, "-o", "out", "--json")
    assert outcome.status == 1
    assert [json.loads(line)["output"] for line in outcome.out.splitlines()] == ["out/100_10s.san"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["compress", "100_10s", "--prdn", "0"],
        ["compress", "100_10s", "--level", "10"],
        ["compress", "100_10s", "--chunk", "soon"],
        ["compress", "100_10s", "--preset", "none"],
        ["compress", "a", "b", "-o", "-"],
        ["nonsense"],
        ["decompress", "a", "b", "-o", "file.npy"],
    ],
)
def test_wrong_usage_ends_in_status_2(run: Run, record: Path, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.status == 2
    assert "Usage" in outcome.err


def test_an_array_without_its_rate_is_refused(run: Run, record: Path) -> None:
    Path("x.npy").write_bytes(b"\x93NUMPY")
    assert_one_line(run("compress", "x.npy"), "--rate")
    assert_one_line(run("compress", "x.npy", "--rate", "100"), "x.npy")


def test_a_cut_container_restores_nothing(run: Run, record: Path) -> None:
    run("compress", record)
    whole = Path("100_10s.san").read_bytes()
    for length in (0, 7, 11, 60, len(whole) // 2, len(whole) - 1):
        Path("cut.san").write_bytes(whole[:length])
        assert_one_line(run("decompress", "cut.san", "-o", "restored"), "cut.san")
        assert_one_line(run("verify", "cut.san"), "cut.san")
        assert not Path("restored").exists()


def test_a_damaged_chunk_is_named(run: Run, record: Path) -> None:
    run("compress", record)
    content = bytearray(Path("100_10s.san").read_bytes())
    content[-200] ^= 1
    Path("bad.san").write_bytes(content)
    assert_one_line(run("verify", "bad.san"), "chunk 0", "checksum")


def test_a_foreign_file_is_refused(run: Run, record: Path) -> None:
    assert_one_line(run("info", record), "not a .san file")
    assert_one_line(run("decompress", "missing.san"), "no such file")


def test_restoring_over_the_original_asks_for_force(run: Run, record: Path) -> None:
    run("compress", record)
    before = record.with_suffix(".dat").read_bytes()
    assert_one_line(run("decompress", "100_10s.san"), "exists")
    assert record.with_suffix(".dat").read_bytes() == before


def test_names_from_files_cannot_steer_the_terminal(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace("MLII", "ML\x1b[31mII"))
    run("compress", record)
    assert "\x1b" not in run("info", "100_10s.san").out
