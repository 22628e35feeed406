"""Standard input and standard output as files."""

import io
import os
import pty
import subprocess
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import COMMAND, DATA, Run, piped
from tests.cli.test_refusals import names_in


def assert_refused(result: subprocess.CompletedProcess[bytes], *words: str, status: int = 1) -> None:
    assert result.returncode == status, result.stderr
    assert result.stdout == b""
    text = result.stderr.decode()
    if status == 1:
        assert len(text.splitlines()) == 1, text
        assert text.startswith("sancodec: error: standard input: ")
    for word in words:
        assert word in text


def test_an_array_goes_through_pipes(long_array: np.ndarray) -> None:
    packed = piped("compress", "-", "--rate", "360", "--lossless", given=Path("long.npy").read_bytes())
    assert (packed.returncode, packed.stderr) == (0, b"")
    np.testing.assert_array_equal(sancodec.decompress(packed.stdout), long_array)
    back = piped("decompress", "-", "-o", "-", given=packed.stdout)
    assert back.stdout == Path("long.npy").read_bytes()


def test_a_signal_file_goes_through_pipes(record: Path) -> None:
    signal = record.with_suffix(".dat").read_bytes()
    packed = piped("compress", "-", "--header", record, "--lossless", given=signal)
    assert (packed.returncode, packed.stderr) == (0, b"")
    assert piped("decompress", "-", "-o", "-", given=packed.stdout).stdout == signal
    Path("back").mkdir()
    assert piped("decompress", "-", "-o", "back", given=packed.stdout).returncode == 0
    assert (Path("back") / record.name).read_bytes() == record.read_bytes()


def test_standard_input_can_be_given_a_file_name(record: Path) -> None:
    signal = record.with_suffix(".dat").read_bytes()
    result = piped("compress", "-", "--header", record, "-o", "x.san", given=signal)
    assert result.stdout.startswith(b"standard input -> x.san: ")
    assert Path("x.san").exists()


def test_what_goes_to_standard_output_is_what_goes_to_a_file(run: Run, record: Path) -> None:
    run("compress", record)
    assert piped("compress", record, "-o", "-").stdout == Path("100_10s.san").read_bytes()
    run("decompress", "100_10s.san", "--to", "csv", "-o", "x.csv")
    assert piped("decompress", "100_10s.san", "--to", "csv", "-o", "-").stdout == Path("x.csv").read_bytes()


def test_what_is_neither_array_nor_record_is_refused(record: Path) -> None:
    assert_refused(piped("compress", "-", given=b"hello"), ".npy", "--header FILE.hea")
    assert_refused(piped("compress", "-"), "is empty")
    assert_refused(piped("compress", "-", "--rate", "3", given=b"\x89SAN\r\n"), "compressed already")
    content = io.BytesIO()
    np.save(content, np.arange(100))
    assert_refused(piped("compress", "-", given=content.getvalue()), "--rate HZ")
    assert_refused(piped("compress", "-", "--rate", "360", given=content.getvalue()[:200]), "cut short")
    assert_refused(piped("compress", "-", "--rate", "360", "--header", record, given=b"x"), "--rate is for .npy arrays")


def test_a_signal_file_that_is_too_short_for_its_header_is_refused(record: Path) -> None:
    result = piped("compress", "-", "--header", record, given=record.with_suffix(".dat").read_bytes()[:900])
    assert_refused(result, "100_10s.dat", "3600")
    assert b"/sancodec-" not in result.stderr


def test_a_header_of_several_signal_files_is_refused(run: Run, record: Path) -> None:
    lines = record.read_text().splitlines()
    lines[2] = lines[2].replace("100_10s.dat", "other.dat")
    Path("two.hea").write_text("\n".join(lines) + "\n")
    result = piped("compress", "-", "--header", "two.hea", given=b"x")
    assert result.returncode == 1
    assert b"names 2 signal files (100_10s.dat, other.dat)" in result.stderr
    assert b"cannot be read" in piped("compress", "-", "--header", "none.hea", given=b"x").stderr
    assert b"FILE.hea" in piped("compress", "-", "--header", "100_10s.dat", given=b"x").stderr


def test_a_damaged_container_sends_nothing(run: Run, record: Path) -> None:
    run("compress", record)
    content = bytearray(Path("100_10s.san").read_bytes())
    content[-200] ^= 1
    for form in ("npy", "csv", "wfdb"):
        result = piped("decompress", "-", "--to", form, "-o", "-", given=bytes(content))
        assert_refused(result, "chunk 0")
    assert_refused(piped("info", "-", given=b"nonsense"), "not a .san file")


def test_a_record_of_several_files_does_not_fit_into_one_stream(run: Run, record: Path) -> None:
    samples = read_wfdb(record).samples
    names = ("100_10s.dat", "b.dat")
    lines = ["100_10s 2 360 3600", *(f"{name} 16 200 11 1024 0 0 0 lead" for name in names)]
    record.write_text("\n".join(lines) + "\n")
    for name, values in zip(names, samples, strict=True):
        Path(name).write_bytes(values.astype("<i2").tobytes())
    assert run("compress", record, "--lossless").status == 0
    result = piped("decompress", "100_10s.san", "-o", "-")
    assert result.returncode == 1
    assert b"several files" in result.stderr
    assert result.stdout == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "-", "-"],
        ["compress", "100_10s", "--header", "100_10s.hea"],
        ["compress", "100_10s", "-o", "-", "--json"],
        ["decompress", "x.san", "-o", "-", "--json"],
        ["decompress", "-", "-"],
        ["verify", "-", "-"],
    ],
)
def test_streams_that_cannot_be_are_wrong_usage(run: Run, record: Path, arguments: list[str]) -> None:
    assert run(*arguments).status == 2


@pytest.mark.parametrize("arguments", [["compress", "100_10s", "-o", "-"], ["decompress", "x.san", "-o", "-"]])
def test_binary_data_is_not_written_to_a_terminal(record: Path, arguments: list[str]) -> None:
    controller, terminal = pty.openpty()
    result = subprocess.run([*COMMAND, *arguments], stdout=terminal, stderr=subprocess.PIPE, check=False)
    os.close(terminal)
    os.close(controller)
    assert result.returncode == 2
    assert b"terminal" in result.stderr


def test_no_temporary_file_is_left(record: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    signal = (DATA / "100_10s.dat").read_bytes()
    assert piped("compress", "-", "--header", record, given=signal).returncode == 0
    assert piped("compress", "-", "--header", record, given=signal[:50]).returncode == 1
    assert names_in(folder) == []
