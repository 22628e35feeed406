"""docs/decoder.py is short, needs little, and says in one line why it refuses a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from both_decoders import DOCUMENTED
from format_example import example_bytes, example_recording


def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, DOCUMENTED, *arguments], capture_output=True, text=True, check=False)


def test_it_has_at_most_700_lines_of_120_columns() -> None:
    lines = DOCUMENTED.read_text().splitlines()
    assert len(lines) <= 700
    assert max(map(len, lines)) <= 120


def test_it_imports_the_standard_library_numpy_and_zstandard_only() -> None:
    imported = set()
    for node in ast.walk(ast.parse(DOCUMENTED.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy", "zstandard"}


def test_it_writes_the_samples_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "example.san").write_bytes(example_bytes())
    result = run(tmp_path / "example.san", "-o", tmp_path / "example.npy")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["II: 5 samples, -2048 to 995, mV", "ABP: 10 samples, 800 to 800, mmHg"]
    np.testing.assert_array_equal(np.load(tmp_path / "example.npy"), np.concatenate(example_recording().samples))


@pytest.mark.parametrize(
    ("position", "reason"), [(0, "no .san file of version 1"), (0x30, "its CRC is another"), (0xB3, "cut short")]
)
def test_it_refuses_a_damaged_file_with_one_line(tmp_path: Path, position: int, reason: str) -> None:
    blob = bytearray(example_bytes())
    blob[position] ^= 1
    (tmp_path / "damaged.san").write_bytes(blob)
    result = run(tmp_path / "damaged.san")
    assert (result.returncode, result.stdout) == (1, "")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
