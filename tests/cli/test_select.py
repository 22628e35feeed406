"""``sancodec select``: the table, the best network, and a sweep that goes on."""

import json
from pathlib import Path

import numpy as np
import pytest

from sancodec.san.model_file import load_san_model
from tests.cli.conftest import DATA, Run
from tests.training.san_examples import spikes

pytest.importorskip("torch", reason="training networks needs the train extra")

RECORD = DATA / "100_10s"
QUICK = ("--window", "300", "--epochs", "2", "--device", "cpu", "-j", "1")
SWEEP = (*QUICK, "--kernel-size", "20:45:20", "--activation", "relu,extrema")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_is_sorted_and_the_best_network_is_written(run: Run) -> None:
    outcome = run("select", RECORD, *SWEEP, "-o", "best.sann")
    assert outcome.status == 0, outcome.err
    head, *rows = [line.split() for line in outcome.out.splitlines()]
    assert head[0] == "activation"
    assert sorted((row[0], row[1]) for row in rows) == [
        ("extrema", "20"),
        ("extrema", "40"),
        ("relu", "20"),
        ("relu", "40"),
    ]
    values = [float(row[2]) for row in rows]
    assert values == sorted(values)
    best = load_san_model("best.sann")
    assert best.network.activations[0].name == rows[0][0]
    assert best.network.kernels[0].shape == (int(rows[0][1]),)
    assert "best.sann: " in outcome.err


def test_all_activations_are_the_default_and_so_is_the_name_of_the_output(run: Run) -> None:
    outcome = run("select", RECORD, *QUICK, "--kernel-size", "30", "--json")
    told = json.loads(outcome.out)
    assert len(told["runs"]) == 5
    assert told["best"] == told["runs"][0]
    assert (told["output"], told["state"], told["chosen_by"]) == ("100_10s.sann", "100_10s.runs", "test")
    assert told["sha256"] == load_san_model("100_10s.sann").sha256.hex()


def test_validation_may_decide(run: Run) -> None:
    told = json.loads(run("select", RECORD, *SWEEP, "-o", "best.sann", "--by", "validation", "--json").out)
    values = [each["validation"]["phi"] for each in told["runs"]]
    assert values == sorted(values)


def test_the_same_sweep_trains_nothing_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("select", RECORD, *SWEEP, "-o", "best.sann", "--json")
    content = Path("best.sann").read_bytes()
    from sancodec.training import selection

    monkeypatch.setattr(selection, "train_san", lambda *_, **__: pytest.fail("trained again"))
    again = run("select", RECORD, *SWEEP, "-o", "best.sann", "--json", "-f")
    assert again.out == first.out
    assert Path("best.sann").read_bytes() == content


def test_one_point_is_drawn_for_each_network(run: Run) -> None:
    pytest.importorskip("matplotlib")
    assert run("select", RECORD, *SWEEP, "-o", "best.sann", "--plot", "x.svg", "-q").status == 0
    text = Path("x.svg").read_text()
    points = [part.count("<use ") for part in text.split('<g id="PathCollection_')[1:]]
    assert points[:2] == [2, 2]
    assert run("select", RECORD, *SWEEP, "-o", "best.sann", "--plot", "x.svg", "-q", "-f").status == 0
    assert Path("x.svg").read_text() == text


def test_runs_that_fail_are_noted(run: Run) -> None:
    Path("x.npy").unlink(missing_ok=True)
    np.save("x.npy", spikes())
    arguments = ("--kernel-size", "5", "--epochs", "1", "-j", "1", "--activation", "identity")
    outcome = run("select", "x.npy", *arguments, "--learning-rate", "1e30", "-o", "best.sann")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "no network could be trained; training identity with kernels of (5,) samples diverged" in outcome.err
    assert not Path("best.sann").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel-size", "20,301"], "window of 300 samples is shorter than the kernel of 301 samples"),
        (["--kernel-size", "20", "--activation", "relu,softmax"], "activation 'softmax' is unknown"),
        (["--kernel-size", "20", "--activation", ""], "activation '' is unknown"),
    ],
)
def test_what_does_not_fit_is_one_line_before_training(run: Run, arguments: list[str], message: str) -> None:
    outcome = run("select", RECORD, *QUICK, *arguments, "-o", "best.sann")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert message in outcome.err
    assert not list(Path.cwd().iterdir())


def test_an_output_that_exists_is_refused(run: Run) -> None:
    Path("best.sann").write_bytes(b"mine")
    outcome = run("select", RECORD, *SWEEP, "-o", "best.sann")
    assert outcome.status == 1
    assert "best.sann: exists already" in outcome.err
    assert [path.name for path in Path.cwd().iterdir()] == ["best.sann"]


def test_help_ends_with_examples_and_stands_in_the_list_of_commands(run: Run) -> None:
    assert "sancodec select mitdb/100 --first 12000 --kernel-size 8:250:8 --activation all" in run("select", "-h").out
    assert "select" in run("--help").out
