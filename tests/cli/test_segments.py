"""Multi-segment WFDB records through the commands."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_refusals import assert_one_line
from tests.datasets.test_wfdb_segments import FIXED, VARIABLE, assert_restored
from tests.datasets.wfdb_files import put


def test_record_goes_through_the_commands(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in", VARIABLE)
    monkeypatch.chdir(tmp_path)
    assert_one_line(run("compress", "in/m"), "the gain or baseline of V differs between segments; only --lossless")
    assert run("compress", "in/m", "--lossless", "-o", "m.san").status == 0
    assert run("decompress", "m.san", "-o", "out").status == 0
    assert_restored(tmp_path / "in", tmp_path / "out", VARIABLE)
    assert run("compare", "in/m.hea", "m.san").status == 0
    assert run("decompress", "m.san", "--start", "0.1", "--to", "edf").status == 0
    assert_one_line(run("decompress", "m.san", "-o", "-", "-f"), "several segments")
    put(tmp_path / "fixed", FIXED)
    assert run("compress", "fixed/m", "--prdn", "20", "-o", "f.san").status == 0
    assert run("decompress", "f.san", "-o", "lossy").status == 0
    assert run("compare", "fixed/m.hea", "lossy/m.hea").status == 0
    assert_one_line(run("compress", "in/m_layout.hea"), "layout header of a multi-segment record")
