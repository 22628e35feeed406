"""The state of a batch outlives every kill."""

import json
import sys
from pathlib import Path

import pytest

from sancodec.batch.finished import COMPRESS, ChannelResult, Finished, RecordResult, Stamp
from sancodec.batch.journal import Journal, State
from sancodec.errors import CorruptError, SancodecError

CHANNEL = ChannelResult("MLII", "mV", 360.0, "≤ 5 %", 4.9, 0.03, 6, 720)
RECORD = RecordResult("wfdb", 10.0, 39_600, 13, (CHANNEL, CHANNEL))
FINISHED = Finished("a.hea", COMPRESS, "a.san", "0" * 16, (Stamp("a.hea", 3, "7"),), ("ab",), 1_468, "cd", 0.5, RECORD)


def test_what_is_noted_is_read_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "made") as journal:
        journal.begin("b.san")
        journal.end(FINISHED)
    with Journal(tmp_path / "made") as journal:
        assert journal.state.finished == {"a.hea": FINISHED}
        assert journal.state.targets == {"a.san", "b.san"}


@pytest.mark.parametrize("n_cut", [1, 2, 40, 300])
def test_a_line_that_was_cut_is_forgotten_and_the_next_run_goes_on(tmp_path: Path, n_cut: int) -> None:
    with Journal(tmp_path) as journal:
        journal.begin("b.san")
        journal.end(FINISHED)
    path = tmp_path / "state.jsonl"
    path.write_bytes(path.read_bytes()[:-n_cut])
    for _ in range(3):
        with Journal(tmp_path) as journal:
            assert journal.state.finished in ({}, {"a.hea": FINISHED} if n_cut == 1 else {})
            assert "b.san" in journal.state.targets
    with Journal(tmp_path) as journal:
        journal.end(FINISHED)
    with Journal(tmp_path) as journal:
        assert journal.state.finished == {"a.hea": FINISHED}


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.begin("b.san")
        journal.begin("c.san")
    path = tmp_path / "state.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"b.san"', b'"b.sa'))
    with pytest.raises(CorruptError, match="line 2 is no line"):
        Journal(tmp_path)


def test_a_state_of_a_later_release_is_refused() -> None:
    with pytest.raises(SancodecError, match="version 2"):
        State().read(b'{"version": 2}\n', where="x")


@pytest.mark.skipif(sys.platform == "win32", reason="locks are those of POSIX")
def test_two_runs_do_not_share_a_batch(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(SancodecError, match="another run"):
        Journal(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SancodecError, match="cannot be kept"):
        Journal(tmp_path / "file" / "folder")


def test_lines_are_plain_json(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.end(FINISHED)
    lines = (tmp_path / "state.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["record"]["channels"][0]["name"] == "MLII"
