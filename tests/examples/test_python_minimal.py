"""The decoder of examples/python_minimal, in a process that cannot import sancodec, against the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sancodec
from tests.mixed_files import mixed_file

pytest.importorskip("onnx", reason="graphs are built with onnx")

from sancodec.codec.models import load_model
from sancodec.export.decoder_graph import decoder_graph

ROOT = Path(__file__).parents[2]
SCRIPT, MODELS = ROOT / "examples" / "python_minimal" / "decode.py", ROOT / "sancodec" / "models"
GOLDEN = ROOT / "tests" / "golden"
WITHOUT_SANCODEC = """
import runpy, sys
sys.modules["sancodec"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> list[str]:
    """decoder.onnx of every model of the package, as arguments."""
    folder, arguments = tmp_path_factory.mktemp("graphs"), []
    for path in sorted(MODELS.glob("*.sanm")):
        graph = folder / f"{path.stem}.onnx"
        graph.write_bytes(decoder_graph(load_model(path)).SerializeToString())
        arguments += ["-d", str(graph)]
    return arguments


def decode(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT_SANCODEC, SCRIPT, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name",
    [
        "constant",
        "ecg_prdn_level_1",
        "ecg_error_level_3",
        "ecg_prdn_9_level_5",
        "ecg_prdn_9_level_9",
        "embedded_prdn_level_1",
        "leads_lossless_level_9",
        "missing_prdn_level_5",
        "rates_mixed_level_9",
        "wide_prdn_level_3",
    ],
)
def test_samples_are_those_of_the_package(graphs, tmp_path, name):
    path = GOLDEN / "decode" / f"{name}.san"
    found = decode(path, *graphs, "--models", MODELS, "-o", tmp_path / "out.npy")
    assert found.returncode == 0, found.stderr
    rows = sancodec.decompress_recording(path.read_bytes()).samples
    expected = np.stack(rows) if len({*map(len, rows)}) == 1 else np.concatenate(rows)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.parametrize("level", [1, 5, 9])
def test_mixed_lead_groups_give_the_samples_of_the_package(graphs, tmp_path, level):
    path = tmp_path / "mixed.san"
    path.write_bytes(mixed_file(level=level, seed=level))
    found = decode(path, *graphs, "--models", MODELS, "-o", tmp_path / "out.npy")
    assert found.returncode == 0, found.stderr
    expected = np.stack(sancodec.decompress_recording(path.read_bytes()).samples)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_a_graph_that_is_not_given_is_named():
    found = decode(GOLDEN / "decode" / "ecg_prdn_level_5.san", "--models", MODELS)
    assert found.returncode == 1
    assert "it needs decoder.onnx of the model" in found.stderr


def test_a_changed_file_is_refused(graphs, tmp_path):
    blob = bytearray((GOLDEN / "decode" / "ecg_prdn_level_5.san").read_bytes())
    blob[len(blob) // 2] ^= 1
    (tmp_path / "changed.san").write_bytes(blob)
    found = decode(tmp_path / "changed.san", *graphs, "--models", MODELS)
    assert found.returncode == 1
    assert "is damaged" in found.stderr
