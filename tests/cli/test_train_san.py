"""``sancodec train san``: files, messages and exit status."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from sancodec.san.model_file import load_san_model
from tests.cli.conftest import DATA, Run
from tests.training.san_examples import spikes

torch = pytest.importorskip("torch", reason="training networks needs the train extra")

RECORD = DATA / "100_10s"
QUICK = ("--window", "300", "--kernel-size", "40", "--epochs", "2", "--device", "cpu")
PNG, SVG, PDF = b"\x89PNG\r\n\x1a\n", b"<?xml", b"%PDF"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_same_command_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        outcome = run("train", "san", RECORD, *QUICK, "-o", f"{name}.sann")
        assert outcome.status == 0, outcome.err
        assert outcome.err.startswith(f"{name}.sann: ")
        assert [line.split()[0] for line in outcome.out.splitlines()] == ["validation", "test"]
    assert (tmp_path / "one.sann").read_bytes() == (tmp_path / "two.sann").read_bytes()
    model = load_san_model("one.sann")
    assert model.sampling_rate_hz == 360.0
    assert model.network.activations[0].parameters() == {"minimum_extrema_distance": 40, "border_tolerance": 3}


def test_json_tells_the_run_in_one_line(run: Run) -> None:
    outcome = run("train", "san", RECORD, *QUICK, "--kernels", "2", "--seed", "4", "-o", "x.sann", "--json")
    assert (outcome.status, outcome.out.count("\n"), outcome.err) == (0, 1, "")
    told = json.loads(outcome.out)
    model = load_san_model("x.sann")
    assert told["sha256"] == model.sha256.hex()
    assert told["training"]["kernel_sizes"] == [40, 40]
    assert told["training"]["seed"] == 4
    assert told["windows"] == [6, 2, 4]
    assert len(told["history"]) == 2
    assert told["test"] == model.metadata["test"]


def test_quiet_prints_nothing(run: Run) -> None:
    outcome = run("train", "san", RECORD, *QUICK, "-o", "x.sann", "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_kernels_may_have_sizes_of_their_own(run: Run) -> None:
    arguments = ("--window", "300", "--epochs", "1", "--kernels", "2", "--kernel-size", "20,31", "-q")
    assert run("train", "san", RECORD, *arguments, "--activation", "topk-absolutes", "-o", "x.sann").status == 0
    network = load_san_model("x.sann").network
    assert [kernel.shape for kernel in network.kernels] == [(20,), (31,)]
    assert [each.sparsity for each in network.activations] == [15, 9]


def test_kernels_may_compete(run: Run) -> None:
    arguments = ("--window", "300", "--epochs", "1", "--kernels", "2", "--kernel-size", "20,31", "-q")
    assert run("train", "san", RECORD, *arguments, "--compete", "-o", "x.sann").status == 0
    model = load_san_model("x.sann")
    assert model.network.competing
    assert model.metadata["training"]["competing"] is True


@pytest.mark.parametrize(("suffix", "magic"), [(".png", PNG), (".svg", SVG), (".pdf", PDF)])
def test_the_loss_curve_is_drawn(run: Run, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    plot = Path(f"loss{suffix}")
    assert run("train", "san", RECORD, *QUICK, "-o", "x.sann", "--plot", plot, "-q").status == 0
    content = plot.read_bytes()
    assert content.startswith(magic)
    assert run("train", "san", RECORD, *QUICK, "-o", "x.sann", "--plot", plot, "-q", "-f").status == 0
    assert plot.read_bytes() == content


def test_help_ends_with_examples(run: Run) -> None:
    text = run("train", "san", "--help").out
    assert "sancodec train san mitdb/100 --first 12000 --activation extrema --kernels 1 --kernel-size 229" in text
    assert "san " in run("train", "--help").out


def windows_with(change: str) -> Path:
    values = spikes()
    if change == "nan":
        values[2, 5] = np.nan
    elif change == "constant":
        values[2] = 3
    np.save("x.npy", values)
    return Path("x.npy")


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ("", ["--kernel-size", "101"], "window of 100 samples is shorter than the kernel of 101 samples"),
        (
            "",
            ["--kernel-size", "9", "--activation", "topk_absolutes", "--sparsity", "101"],
            "k is 101, but a map has 100 elements; give a k of at most that",
        ),
        ("", ["--kernel-size", "9", "--activation", "softmax"], "activation 'softmax' is unknown; known are identity"),
        ("nan", ["--kernel-size", "9"], "window 2 counted from 0, has samples that are NaN, infinite or missing"),
        ("constant", ["--kernel-size", "9"], "window 2 counted from 0, has zero variance (it is constant)"),
        ("", ["--kernel-size", "9", "--learning-rate", "0"], "learning rate is 0.0"),
        ("", ["--kernel-size", "9", "--epochs", "0"], "0 epochs"),
        ("", ["--kernel-size", "9", "--compete"], "competition needs two or more kernels of extrema, not 1 of extrema"),
        ("", ["--kernel-size", "9", "--seed", "-1"], "seed is -1"),
        ("", ["--kernel-size", "9", "--split", "1/1"], "split is 1/1; three shares"),
        ("", ["--kernel-size", "9", "--window", "50"], "a window length of 50 is for recordings only"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_before_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: str, arguments: list[str], message: str
) -> None:
    from sancodec.training import san_training

    monkeypatch.setattr(san_training, "_train_epoch", lambda *_: pytest.fail("training began"))
    outcome = run("train", "san", windows_with(change), *arguments, "-o", "x.sann")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert message in outcome.err
    assert not Path("x.sann").exists()


def test_a_folder_without_records_is_one_line(run: Run) -> None:
    Path("empty").mkdir()
    outcome = run("train", "san", "empty", "--kernel-size", "9", "-o", "x.sann")
    assert (outcome.status, outcome.err) == (
        1,
        "sancodec: error: empty: there is no WFDB record (.hea) in this folder\n",
    )


def test_unusable_windows_are_left_out_on_request(run: Run) -> None:
    source = windows_with("nan")
    done = run(
        "train", "san", source, "--kernel-size", "9", "--epochs", "1", "--skip-unusable", "-o", "x.sann", "--json"
    )
    assert json.loads(done.out)["windows"] == [5, 2, 4]


def test_idx_images_are_trained_on(run: Run) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 9, 9), np.uint8)
    Path("images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes())
    arguments = ("--kernel-size", "3", "--epochs", "1", "--normalise", "peak", "-q")
    assert run("train", "san", "images-idx3-ubyte", *arguments, "-o", "x.sann").status == 0
    model = load_san_model("x.sann")
    assert (model.window, model.normalisation.scale) == ((9, 9), images.max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel-size", "0"], "'0' is neither a number from 1 on nor a range"),
        (["--kernel-size", "a"], "'a' is neither a number"),
        (["--kernel-size", "1:2:3:4"], "'1:2:3:4' is neither a number"),
        (["--kernel-size", "9:3"], "'9:3' has 0 sizes"),
        (["--kernel-size", "1:99999"], "has 99999 sizes; 1 to 10000 are allowed"),
        (["--kernel-size", "3,4,5", "--kernels", "2"], "--kernel-size has 3 sizes; give one, or one for each of 2"),
        (["--kernel-size", "3", "--split", "a/b/c"], "'a/b/c' is not of the form 6/2/4"),
        (["--kernel-size", "3", "-o", "x.sanm"], ".sanm is a kernel bank of the codec; a network is .sann"),
        (["--kernel-size", "3", "--plot", "x.gif"], "x.gif: a picture is one of .png, .svg, .pdf"),
        ([], "Missing option '--kernel-size'"),
    ],
)
def test_usage_errors_end_with_status_2(run: Run, arguments: list[str], message: str) -> None:
    outcome = run("train", "san", RECORD, "-o", "x.sann", *arguments)
    assert outcome.status == 2
    assert message in outcome.err


@pytest.mark.parametrize("existing", ["x.sann", "x.png"])
def test_outputs_that_exist_are_refused_before_training(run: Run, existing: str) -> None:
    pytest.importorskip("matplotlib")
    Path(existing).write_bytes(b"mine")
    arguments = ("train", "san", RECORD, *QUICK, "-o", "x.sann", "--plot", "x.png", "-q")
    outcome = run(*arguments)
    assert outcome.status == 1
    assert f"{existing}: exists already" in outcome.err
    assert Path(existing).read_bytes() == b"mine"
    assert run(*arguments, "--force").status == 0


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        ("torch", [], "training needs torch ("),
        ("matplotlib", ["--plot", "x.png"], "plots need matplotlib ("),
        ("torch.utils.tensorboard", ["--tensorboard", "logs"], "logs for TensorBoard need tensorboard ("),
    ],
)
def test_what_is_not_installed_is_told_with_its_pip_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    outcome = run("train", "san", RECORD, *QUICK, "-o", "x.sann", *arguments)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert message in outcome.err
    assert "pip install " in outcome.err
    assert not list(Path.cwd().iterdir())


def test_epochs_are_logged_for_tensorboard(run: Run) -> None:
    pytest.importorskip("torch.utils.tensorboard", exc_type=ImportError)
    assert run("train", "san", RECORD, *QUICK, "-o", "x.sann", "--tensorboard", "logs", "-q").status == 0
    (log,) = Path("logs").iterdir()
    assert b"validation/phi" in log.read_bytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_there_is_one_line(run: Run) -> None:
    outcome = run("train", "san", RECORD, *QUICK, "--device", "cuda", "-o", "x.sann")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "torch finds no CUDA device here" in outcome.err
