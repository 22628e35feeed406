"""examples/node against the package and the golden files.

Needs node, `npm ci` in examples/node, and the train or dev extra for `sancodec export`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sancodec
from tests.mixed_files import mixed_file

ROOT = Path(__file__).parents[2]
NODE = ROOT / "examples" / "node"
GOLDEN = ROOT / "tests" / "golden"
BANKS = sorted(path.stem for path in (ROOT / "sancodec" / "models").glob("*.sanm"))
NEEDED = {
    "there is no node": shutil.which("node"),
    "npm ci was not run in examples/node": (NODE / "node_modules" / "onnxruntime-node").is_dir(),
}
pytestmark = [pytest.mark.skipif(not there, reason=reason) for reason, there in NEEDED.items()]

# One of every coder and layer, with missing samples, of several rates, with a bank of its own, with exceptions.
FILES = [
    "ecg_prdn_level_1",
    "ecg_error_and_prdn_level_5",
    "ecg_prdn_level_9",
    "ecg_lossless_level_9",
    "missing_prdn_level_9",
    "rates_mixed_level_1",
    "rates_mixed_level_9",
    "embedded_error_level_5",
    "lattice_lossless_level_5",
    "segments_prdn_level_9",
    "constant",
    "one_sample",
]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "SANCODEC_KITS" in os.environ:
        return Path(os.environ["SANCODEC_KITS"])
    folder = tmp_path_factory.mktemp("kits")
    for name in BANKS:
        run_cli("export", name, "-o", str(folder / name))
    return folder


def run_cli(*arguments: str) -> None:
    subprocess.run([sys.executable, "-c", "from sancodec.cli import main; main()", *arguments], check=True)


def decode(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", NODE / "decode.mjs", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def assert_refused_in_one_line(result: subprocess.CompletedProcess[str], start: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(start)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", FILES)
def test_golden_file_gives_the_samples_of_the_package(kits, tmp_path, name):
    path = GOLDEN / "decode" / f"{name}.san"
    recording = sancodec.decompress_recording(path.read_bytes())
    rows = [np.ascontiguousarray(row, "<i4") for row in recording.samples]
    result = decode(path, tmp_path / "frames.i32", "--kits", kits)
    assert (result.returncode, result.stderr) == (0, "")
    printed = [line.split("  ")[0] for line in result.stdout.splitlines()[: len(rows)]]
    assert printed == [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]
    frames = [row.reshape(-1, c.samples_per_frame) for row, c in zip(rows, recording.channels, strict=True)]
    assert (tmp_path / "frames.i32").read_bytes() == np.concatenate(frames, axis=1).tobytes()

    assert decode(path, f"{tmp_path / 'channels'}/", "--kits", kits).returncode == 0
    written = sorted((tmp_path / "channels").iterdir())
    assert [each.read_bytes() for each in written] == [row.tobytes() for row in rows]


@pytest.mark.parametrize("level", [1, 5, 9])
def test_mixed_lead_groups_give_the_samples_of_the_package(kits, tmp_path, level):
    path = tmp_path / "mixed.san"
    path.write_bytes(mixed_file(level=level, seed=level))
    rows = [np.ascontiguousarray(row, "<i4") for row in sancodec.decompress_recording(path.read_bytes()).samples]
    result = decode(path, tmp_path / "frames.i32", "--kits", kits)
    assert (result.returncode, result.stderr) == (0, "")
    printed = [line.split("  ")[0] for line in result.stdout.splitlines()[: len(rows)]]
    assert printed == [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]


@pytest.mark.parametrize("path", sorted((GOLDEN / "refuse").glob("*.san")), ids=lambda path: path.stem)
def test_what_every_reader_refuses_is_refused_in_one_line(kits, tmp_path, path):
    assert_refused_in_one_line(decode(path, tmp_path / "out", "--kits", kits), f"{path}: ")
    assert not [*tmp_path.iterdir()]


def test_missing_files_and_kits_are_told_in_one_line(tmp_path):
    path = GOLDEN / "decode" / "ecg_prdn_level_5.san"
    assert_refused_in_one_line(decode(tmp_path / "absent.san"), f"{tmp_path / 'absent.san'}: ENOENT")
    result = decode(path, "--kits", tmp_path)
    assert_refused_in_one_line(result, f"{path}: {tmp_path / 'ecg360' / 'decoder.onnx'} is absent; make it: sancodec")
    (tmp_path / "models").mkdir()
    for name in ("residual.prior", "events.prior"):
        shutil.copy(ROOT / "sancodec" / "models" / name, tmp_path / "models")
    result = decode(path, "--models", tmp_path / "models")
    assert_refused_in_one_line(result, f"{path}: it needs the model with SHA-256 ")


def test_wrong_usage_exits_with_2():
    for arguments in ([], ["a", "b", "c"], ["a", "--fast"]):
        result = decode(*arguments)
        assert result.returncode == 2
        assert "usage: node decode.mjs" in result.stderr
