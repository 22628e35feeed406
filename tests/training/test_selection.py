"""Sweeps: every run once, whatever happens in between."""

import json
import multiprocessing
from pathlib import Path

import pytest

from sancodec.errors import DeviceError, InvalidSignalError, SancodecError
from sancodec.san.model_file import load_san_model
from sancodec.training.san_config import TrainingConfig
from tests.training.san_examples import split_spikes

pytest.importorskip("torch", reason="training networks needs the train extra")

BASE = TrainingConfig("extrema", (1,), n_epochs=2)


def configs(sizes=(5, 9), activations=("relu", "extrema"), base=BASE):
    from sancodec.training.selection import grid

    return grid(base, activations=activations, kernel_sizes=sizes)


def swept(state: Path, chosen=None, *, n_jobs=1, on_run=None, windows=None):
    from sancodec.training.selection import sweep

    windows = split_spikes() if windows is None else windows
    return sweep(windows, configs() if chosen is None else chosen, state=state, n_jobs=n_jobs, on_run=on_run)


@pytest.fixture
def trainings(monkeypatch):
    """Configurations in the order in which they were trained."""
    from sancodec.training import selection

    done, train = [], selection.train_san

    def counted(windows, config, **options):
        done.append(config)
        return train(windows, config, **options)

    monkeypatch.setattr(selection, "train_san", counted)
    return done


def test_the_grid_has_every_activation_with_every_size_once():
    found = configs(sizes=(5, 9, 5), activations=("relu", "extrema", "relu"))
    assert [(each.activation, each.kernel_sizes) for each in found] == [
        ("relu", (5,)),
        ("relu", (9,)),
        ("extrema", (5,)),
        ("extrema", (9,)),
    ]


def test_the_grid_keeps_the_other_settings():
    base = TrainingConfig("extrema", (1, 1), border_tolerance=1, competing=True, seed=4)
    relu, extrema = configs(sizes=(5,), base=base)
    assert relu.kernel_sizes == extrema.kernel_sizes == (5, 5)
    assert (relu.border_tolerance, extrema.border_tolerance) == (None, 1)
    assert (relu.competing, extrema.competing) == (False, True)
    assert relu.seed == extrema.seed == 4


@pytest.mark.parametrize(("sizes", "activations"), [((), ("relu",)), ((5,), ())])
def test_an_empty_grid_is_refused(sizes, activations):
    with pytest.raises(InvalidSignalError, match="one activation and one kernel size at least"):
        configs(sizes=sizes, activations=activations)


def test_runs_come_by_phi_of_test_the_best_first(tmp_path):
    runs = swept(tmp_path)
    values = [run.test.phi for run in runs]
    assert values == sorted(values)
    assert len(runs) == 4


def test_runs_can_be_ranked_by_validation(tmp_path):
    from sancodec.training.selection import ranked

    values = [run.validation.phi for run in ranked(swept(tmp_path), by="validation")]
    assert values == sorted(values)


def test_an_interrupted_sweep_goes_on_without_repeating_finished_runs(tmp_path, trainings):
    def interrupt(run, n_finished, n_runs):
        if n_finished == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, on_run=interrupt)
    assert trainings == configs()[:2]
    told = []
    runs = swept(tmp_path, on_run=lambda run, n_finished, n_runs: told.append((n_finished, n_runs)))
    assert trainings == configs()
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    elsewhere = swept(tmp_path / "elsewhere")
    assert [(run.sha256, run.test, run.history) for run in runs] == [
        (run.sha256, run.test, run.history) for run in elsewhere
    ]
    assert [run.model.content for run in runs] == [run.model.content for run in elsewhere]


def test_another_configuration_or_other_windows_are_trained_anew(tmp_path, trainings):
    one = configs(sizes=(5,), activations=("relu",))
    swept(tmp_path, one)
    swept(tmp_path, one)
    assert len(trainings) == 1
    swept(tmp_path, configs(sizes=(5,), activations=("relu",), base=TrainingConfig("relu", (1,), n_epochs=3)))
    swept(tmp_path, one, windows=split_spikes(seed=1))
    assert len(trainings) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.with_suffix(".sann").unlink(),
        lambda path: path.with_suffix(".sann").write_bytes(b"SANN"),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace('"batch_size": 2', '"batch_size": 3')),
        lambda path: path.write_text(path.read_text().replace('"best_epoch": ', '"best_epoch": 9')),
        lambda path: path.write_text(path.read_text().replace('"phi"', '"psi"')),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_damaged_run_is_repeated(tmp_path, trainings, damage):
    one = configs(sizes=(5,), activations=("relu",))
    (first,) = swept(tmp_path, one)
    (path,) = tmp_path.glob("*.json")
    damage(path)
    (again,) = swept(tmp_path, one)
    assert len(trainings) == 2
    assert again.model.content == first.model.content
    swept(tmp_path, one)
    assert len(trainings) == 2


def test_the_state_holds_a_small_json_and_the_network_of_each_run(tmp_path):
    runs = swept(tmp_path)
    assert len(list(tmp_path.iterdir())) == 8
    for run in runs:
        path = tmp_path / f"{run.sha256[:24]}.json"
        content = json.loads(path.read_text())
        assert content["config"] == run.config.as_json()
        assert len(content["history"]) == 2
        assert load_san_model(path.with_suffix(".sann")).sha256.hex() == content["model_sha256"]
        assert path.stat().st_size < 5000


def test_a_run_that_diverges_is_kept_as_failed_and_ranks_last(tmp_path, trainings):
    base = TrainingConfig("extrema", (1,), n_epochs=2, learning_rate=1e30)
    good, bad = configs(sizes=(5,), activations=("relu",)), configs(sizes=(5,), activations=("identity",), base=base)
    runs = swept(tmp_path, bad + good)
    assert [run.config.activation for run in runs] == ["relu", "identity"]
    assert "diverged" in runs[1].failure
    assert (runs[1].model, runs[1].test, runs[1].validation) == (None, None, None)
    assert swept(tmp_path, bad + good)[1].failure == runs[1].failure
    assert len(trainings) == 2


def test_nothing_is_trained_when_one_run_does_not_fit(tmp_path, trainings):
    with pytest.raises(InvalidSignalError, match="window of 100 samples is shorter than the kernel of 101 samples"):
        swept(tmp_path / "state", configs(sizes=(5, 101)))
    assert not trainings
    assert not (tmp_path / "state").exists()


def test_a_sweep_of_nothing_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="one run at least"):
        swept(tmp_path, [])


def test_a_state_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(SancodecError, match="state: cannot be made a folder for finished runs"):
        swept(tmp_path / "state")


def test_several_processes_give_the_same_results_as_one(tmp_path):
    alone = swept(tmp_path / "one")
    together = swept(tmp_path / "two", n_jobs=2)
    assert [run.model.content for run in together] == [run.model.content for run in alone]
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told_and_finished_runs_are_kept(tmp_path, trainings):
    # The last runs take long enough to be met by the end of their process.
    slow = configs(sizes=(9,), base=TrainingConfig("extrema", (1,), n_epochs=2000))

    def kill_all(run, n_finished, n_runs):
        for process in multiprocessing.active_children():
            process.kill()

    quick = configs(sizes=(5,), activations=("relu",))
    with pytest.raises(DeviceError, match="finished runs are kept"):
        swept(tmp_path, quick + slow, n_jobs=2, on_run=kill_all)
    assert len(list(tmp_path.glob("*.json"))) == 1
    swept(tmp_path, quick)
    assert not trainings
