"""The scripts of the paper's experiments run, and read the data as the paper divides them."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training networks needs the train extra")
pytest.importorskip("matplotlib", reason="the figures of the experiments need the plot extra")

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "benchmarks" / "paper"


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"},
    )


@pytest.fixture
def labelled(monkeypatch):
    """The module of the benchmarks that reads labelled windows."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("labelled")


@pytest.fixture
def report(monkeypatch):
    """The module of the benchmarks that writes tables."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.syspath_prepend(str(SCRIPTS.parent))
    return importlib.import_module("report")


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory):
    """Folder with what a small sweep over invented signals wrote, and the arguments that go on with it."""
    folder = tmp_path_factory.mktemp("uci_epilepsy")
    arguments = ("--quick", "--state", folder / "state", "--output", folder / "quick.json")
    done = run("uci_epilepsy.py", *arguments)
    assert done.returncode == 0, done.stderr
    return folder, arguments


def written(folder):
    assert len(json.loads((folder / "quick.json").read_text())["rows"]) == 10
    assert (folder / "quick.md").read_text(encoding="utf-8").count("| m |") >= 2
    assert r"\multicolumn{4}{c}{Extrema}" in (folder / "quick.tex").read_text(encoding="utf-8")
    return {path.name for path in folder.glob("quick_*")}


def test_a_small_sweep_over_signals_writes_tables_and_figures_of_numbers(small_sweep):
    assert written(small_sweep[0]) == {"quick_models.svg", "quick_accuracy.svg"}


def test_a_small_sweep_over_images_writes_a_picture_of_kernels_too(tmp_path):
    done = run("images.py", "--quick", "--state", tmp_path / "state", "--output", tmp_path / "quick.json")
    assert done.returncode == 0, done.stderr
    assert written(tmp_path) == {"quick_models.svg", "quick_accuracy.svg", "quick_kernels.png"}


def test_finished_runs_are_not_repeated(small_sweep):
    folder, arguments = small_sweep
    rows = json.loads((folder / "quick.json").read_text())["rows"]
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "state").iterdir()}
    done = run("uci_epilepsy.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "quick.json").read_text())["rows"] == rows
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "state").iterdir()} == kept


def test_a_small_sweep_over_the_record_of_the_tests_writes_tables_and_figures(tmp_path):
    done = run("physionet.py", "--quick", "--output", tmp_path / "quick.json")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("quick*")} == {
        "quick.json",
        "quick.md",
        "quick.tex",
        "quick_100_10s.svg",
    }


def test_missing_data_are_told_in_one_line(tmp_path):
    done = run("images.py", "--data", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(tmp_path) in line
    assert "--data" in line


def test_uci_epilepsy_is_divided_as_in_the_paper(labelled, shared_data):
    found = labelled.uci_epilepsy(shared_data / "uci-epilepsy")
    assert (len(found.train), len(found.validation), len(found.test)) == (8740, 1380, 1380)
    labels = np.concatenate([found.train, found.validation, found.test])
    assert np.bincount(labels).tolist() == [2300, 4600, 4600]
    windows = found.windows
    assert min(part.min() for part in (windows.train, windows.validation, windows.test)) == -1
    assert max(part.max() for part in (windows.train, windows.validation, windows.test)) == 1


def test_mnist_is_divided_as_in_the_paper(labelled, shared_data):
    found = labelled.mnist(shared_data / "mnist")
    assert [len(found.train), len(found.validation), len(found.test)] == [50_000, 10_000, 10_000]
    assert found.train[:5].tolist() == [5, 0, 4, 1, 9]
    assert found.test[:5].tolist() == [7, 2, 1, 0, 4]
    assert found.windows.train.min() == 0
    assert found.windows.train.max() == 1


def test_the_part_of_fashion_mnist_has_five_classes_to_test(labelled, shared_data):
    found = labelled.part_of_fashion_mnist(shared_data / "fashion-mnist")
    assert [len(found.train), len(found.validation), len(found.test)] == [3013, 602, 5000]
    assert found.n_classes == 10
    assert np.bincount(found.test).tolist() == [1000] * 5


def test_labels_that_are_no_idx_file_are_refused(labelled, tmp_path):
    from sancodec.errors import InvalidSignalError

    (tmp_path / "labels.gz").write_bytes(b"no gzip")
    with pytest.raises(InvalidSignalError, match=r"labels\.gz: cannot be read"):
        labelled.read_labels(tmp_path / "labels.gz")


def test_a_table_is_the_same_in_markdown_and_latex(report):
    table = report.Table(
        "Caption.",
        report.KERNEL_SIZE,
        (report.SCORES[2], report.ACCURACY_DIFFERENCE),
        [("3", {"identity": (2.004, -1.25), "extrema": (0.5, 0.04)})],
        ("Note.",),
    )
    assert table.markdown().splitlines() == [
        "**Caption.** Each cell: φ̄ / A±%.",
        "",
        "| m | Identity | ReLU | top-k absolutes | Extrema-Pool indices | Extrema |",
        "|---|---:|---:|---:|---:|---:|",
        "| 3 | 2.00 / −1.2 | – / – | – / – | – / – | 0.50 / +0.0 |",
        "",
        "Note.",
    ]
    lines = table.latex().splitlines()
    assert lines[:3] == ["% Caption.", "% Note.", r"\begin{tabular}{l*{5}{rr}}"]
    assert lines[-3] == r"3 & 2.00 & $-$1.2 & -- & -- & -- & -- & -- & -- & 0.50 & +0.0 \\"
