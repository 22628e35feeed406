"""Pictures of containers, banks and networks."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.cli.plot_window import read_window
from sancodec.codec.models import shipped_model
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.san.activations import Activation
from sancodec.san.model_file import SanModel
from sancodec.san.network import SparselyActivatedNetwork
from sancodec.san.normalisation import Normalisation
from tests.cli.conftest import DATA, Run, piped
from tests.cli.test_refusals import assert_one_line

SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-", "html": b"<!doctype html>"}


def texts_of(path: str) -> list[str]:
    """What an SVG shows, the title last: matplotlib states each text before its outlines."""
    content = Path(path).read_text(encoding="utf-8")
    ET.fromstring(content)
    return re.findall(r"<!-- (.*?) -->", content)


@pytest.fixture(scope="module")
def container() -> bytes:
    """The ten-second record, lossless."""
    return sancodec.compress(read_wfdb(DATA / "100_10s"), lossless=True)


@pytest.fixture
def packed(container: bytes, record: Path) -> Path:
    """``100.san`` beside the record."""
    Path("100.san").write_bytes(container)
    return Path("100.san")


def save_network(path: str, *, window: tuple[int, ...] = (500,), rate_hz: float | None = 360.0) -> SanModel:
    shape = (21,) if len(window) == 1 else (5, 5)
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    network = SparselyActivatedNetwork((kernel,), (Activation("extrema", minimum_extrema_distance=9),))
    model = SanModel(network, window, Normalisation(), rate_hz)
    Path(path).write_bytes(model.content)
    return model


@pytest.mark.parametrize("suffix", list(SIGNATURES))
def test_the_suffix_chooses_the_kind_of_picture(run: Run, packed: Path, suffix: str) -> None:
    outcome = run("plot", packed, "-o", f"x.{suffix}")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"100.san -> x.{suffix}\n", "")
    assert Path(f"x.{suffix}").read_bytes().startswith(SIGNATURES[suffix])


def test_a_picture_lies_beside_its_input_by_default(run: Run, packed: Path) -> None:
    Path("folder").mkdir()
    packed.rename("folder/my.record.san")
    assert run("plot", "folder/my.record.san").out == "folder/my.record.san -> folder/my.record.png\n"
    assert Path("folder/my.record.png").read_bytes().startswith(SIGNATURES["png"])


def test_a_container_is_shown_from_its_first_varying_channel_and_ten_seconds(run: Run, packed: Path) -> None:
    run("plot", packed, "-o", "x.svg")
    texts = texts_of("x.svg")
    assert texts[-1] == "100.san: channel MLII, 0:00:00.0 to 0:00:10.0"
    assert "MLII (mV)" in texts


@pytest.mark.parametrize("channel", ["V5", "1"])
def test_channel_and_times_are_chosen(run: Run, packed: Path, channel: str) -> None:
    run("plot", packed, "-o", "x.svg", "--channel", channel, "--start", "0:02.5", "--end", "4")
    texts = texts_of("x.svg")
    assert texts[-1] == "100.san: channel V5, 0:00:02.5 to 0:00:04.0"
    assert "V5 (mV)" in texts


def test_without_an_end_it_is_ten_seconds_or_what_is_left(run: Run, packed: Path) -> None:
    run("plot", packed, "-o", "x.svg", "--start", "7")
    assert texts_of("x.svg")[-1].endswith("0:00:07.0 to 0:00:10.0")


def test_json_names_input_output_and_title(run: Run, packed: Path) -> None:
    outcome = run("plot", packed, "-o", "x.svg", "--json")
    assert json.loads(outcome.out) == {
        "input": "100.san",
        "output": "x.svg",
        "title": "100.san: channel MLII, 0:00:00.0 to 0:00:10.0",
    }


def test_quiet_is_quiet(run: Run, packed: Path) -> None:
    outcome = run("plot", packed, "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_standard_input_is_pictured(packed: Path) -> None:
    result = piped("plot", "-", "-o", "x.svg", given=packed.read_bytes())
    assert result.returncode == 0, result.stderr
    assert result.stdout == b"standard input -> x.svg\n"


@pytest.mark.parametrize("given", ["haar", "sym8"])
def test_a_bank_that_ships_is_pictured_by_its_name(run: Run, record: Path, given: str) -> None:
    assert run("plot", given).out == f"{given} -> {given}.png\n"
    assert run("plot", given, "-o", "x.svg").status == 0
    assert f"frequency responses of the kernels of bank {given}" in texts_of("x.svg")


def test_a_bank_in_a_file_is_pictured(run: Run, record: Path) -> None:
    Path("mine.sanm").write_bytes(shipped_model("haar").content)
    assert run("plot", "mine.sanm").out == "mine.sanm -> mine.png\n"


def test_a_network_alone_shows_its_kernels(run: Run, record: Path) -> None:
    save_network("beats.sann")
    assert run("plot", "beats.sann", "-o", "x.svg").status == 0
    texts = texts_of("x.svg")
    assert texts[-1] == "beats.sann: 1 kernel"
    assert "kernel 0: 21 samples, extrema" in texts


def test_a_network_is_shown_at_work_on_a_window_of_a_record(run: Run, record: Path) -> None:
    save_network("beats.sann")
    arguments = ["--signal", record.name, "--channel", "V5", "--start", "2"]
    outcome = run("plot", "beats.sann", *arguments, "-o", "x.svg")
    assert (outcome.status, outcome.err) == (0, "")
    texts = texts_of("x.svg")
    assert texts[-1].startswith("beats.sann on 100_10s.hea, channel V5: 1 kernel, ")
    assert {"similarity", "partial reconstruction", "normalised signal"} <= set(texts)


def test_the_window_is_that_of_the_record(run: Run, record: Path) -> None:
    model = save_network("beats.sann")
    samples = read_wfdb(record).samples[1]
    window = read_window("100_10s", model, channel="V5", start_s=Fraction("2.0001"))
    np.testing.assert_array_equal(window.samples, samples[721:1221])
    assert (window.first_sample, window.sampling_rate_hz) == (721, 360.0)


@pytest.mark.parametrize(("channel", "row"), [(None, 0), ("1", 1)])
def test_arrays_of_floats_are_signals_too(run: Run, record: Path, channel: str | None, row: int) -> None:
    model = save_network("beats.sann")
    values = np.random.default_rng(0).normal(size=(2, 2000))
    np.save("x.npy", values)
    window = read_window("x.npy", model, channel=channel, start_s=Fraction(1))
    np.testing.assert_array_equal(window.samples, values[row, 360:860])
    assert run("plot", "beats.sann", "--signal", "x.npy", "-o", "x.svg").status == 0


def test_a_network_of_images_is_shown_at_work_on_an_image(run: Run, record: Path) -> None:
    save_network("images.sann", window=(12, 16), rate_hz=None)
    np.save("images.npy", np.random.default_rng(0).integers(0, 255, (3, 12, 16)).astype(np.uint8))
    assert run("plot", "images.sann", "--signal", "images.npy", "--channel", "2", "-o", "x.svg").status == 0
    assert texts_of("x.svg")[-1].startswith("images.sann on images.npy, image 2: 1 kernel")


def test_another_sampling_rate_than_that_of_training_is_told(run: Run, record: Path) -> None:
    save_network("beats.sann", rate_hz=500.0)
    outcome = run("plot", "beats.sann", "--signal", "100_10s", "-o", "x.svg")
    assert outcome.status == 0
    assert outcome.err == "sancodec: note: 100_10s has 360 Hz; the network was trained at 500 Hz\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.gif"], "suffix '.gif' is no kind of picture; .png, .svg, .pdf, .html are"),
        (["-o", "x"], "suffix '' is no kind of picture"),
        (["-o", "none/x.png"], "the folder none does not exist"),
        (["--end", "10.1"], "--end 0:00:10.1 is beyond the end at 0:00:10.0"),
        (["--start", "10"], "there are no samples from 0:00:10.0 to 0:00:10.0; the recording has 0:00:10.0"),
        (["--start", "1:00:00"], "there are no samples from 1:00:00.0 to 0:00:10.0"),
        (["--channel", "V9"], "channel 'V9' is not there; the channels are 0 'MLII', 1 'V5'"),
        (["--channel", "2"], "channel '2' is not there"),
        (["--model", "nobank"], "model 'nobank' is neither a file nor one of the shipped models"),
    ],
)
def test_what_cannot_be_pictured_of_a_container_is_refused(
    run: Run, packed: Path, arguments: list[str], message: str
) -> None:
    outcome = run("plot", packed, *arguments)
    assert_one_line(outcome, message)
    assert sorted(path.suffix for path in Path().iterdir()) == [".dat", ".hea", ".san"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--signal", "nosuch"], "nosuch"),
        (["--signal", "nosuch.npy"], "nosuch.npy: there is no such file"),
        (["--signal", "text.npy"], "text.npy: is no .npy array"),
        (["--signal", "objects.npy"], "objects.npy: is no .npy array"),
        (["--signal", "names.npy"], "names.npy: is no .npy array of numbers"),
        (["--signal", "cube.npy"], "cube.npy: has shape (2, 3, 600); (channel, sample) or (sample,) is needed"),
        (["--signal", "short.npy"], "short.npy: a window of 500 samples reaches beyond the end at sample 100"),
        (["--signal", "two.npy", "--channel", "2"], "--channel '2' is not there; channels are numbered 0 to 1"),
        (["--signal", "two.npy", "--channel", "V5"], "--channel 'V5' is not there"),
        (["--signal", "100_10s", "--start", "9"], "a window of 500 samples from 0:00:09.0 on reaches beyond the end"),
        (["--signal", "100_10s", "--channel", "V9"], "channel 'V9' is not there"),
        (["--signal", "constant.npy"], "window 0, counted from 0, is constant"),
        (["--signal", "nan.npy"], "nan.npy: samples are NaN or infinite in that window; choose another"),
    ],
)
def test_signals_that_a_network_cannot_take_are_refused(
    run: Run, record: Path, arguments: list[str], message: str
) -> None:
    save_network("beats.sann")
    Path("text.npy").write_text("no array")
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.save("names.npy", np.array(["a"]))
    np.save("cube.npy", np.zeros((2, 3, 600)))
    np.save("short.npy", np.zeros(100))
    np.save("two.npy", np.zeros((2, 600)))
    np.save("constant.npy", np.ones(600))
    np.save("nan.npy", np.full(600, np.nan))
    outcome = run("plot", "beats.sann", *arguments)
    assert_one_line(outcome, message)
    assert not Path("beats.png").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [((12, 15), "has shape (12, 15); images of 12 × 16 are needed"), ((192,), "has shape (192,)")],
)
def test_images_of_another_size_are_refused(run: Run, record: Path, shape: tuple[int, ...], message: str) -> None:
    save_network("images.sann", window=(12, 16), rate_hz=None)
    np.save("x.npy", np.ones(shape))
    outcome = run("plot", "images.sann", "--signal", "x.npy")
    assert_one_line(outcome, message)
    outcome = run("plot", "images.sann", "--signal", record.name)
    assert_one_line(outcome, "images are read from .npy arrays")


def test_a_start_in_an_array_needs_a_sampling_rate(run: Run, record: Path) -> None:
    save_network("beats.sann", rate_hz=None)
    np.save("x.npy", np.arange(2000))
    outcome = run("plot", "beats.sann", "--signal", "x.npy", "--start", "1")
    assert_one_line(outcome, "--start needs a sampling rate, and the network states none")


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        ("100.san", ["--signal", "100_10s"], "--signal means nothing for a .san file"),
        ("100.san", ["--start", "3", "--end", "3"], "--end is not after --start"),
        ("haar", ["--channel", "0"], "--channel means nothing for a kernel model"),
        ("haar", ["--start", "3"], "--start means nothing for a kernel model"),
        ("haar", ["--end", "3"], "--end means nothing for a kernel model"),
        ("haar", ["--signal", "100_10s"], "--signal means nothing for a kernel model"),
        ("beats.sann", ["--end", "3", "--signal", "100_10s"], "--end means nothing for a network"),
        ("beats.sann", ["--start", "3"], "--start means nothing for a network without --signal"),
        ("beats.sann", ["--channel", "0"], "--channel means nothing for a network without --signal"),
        ("images.sann", ["--signal", "x.npy", "--start", "1"], "--start means nothing for images"),
        ("-", [], "a picture of standard input needs a name; give it with -o FILE"),
        ("100.san", ["--start", "soon"], "'soon' is no time"),
    ],
)
def test_options_that_do_not_fit_the_input_are_usage_errors(
    run: Run, packed: Path, given: str, arguments: list[str], message: str
) -> None:
    save_network("beats.sann")
    save_network("images.sann", window=(12, 16), rate_hz=None)
    outcome = run("plot", given, *arguments)
    assert outcome.status == 2
    assert message in outcome.err


def test_inputs_that_are_nothing_to_picture_are_refused(run: Run, record: Path) -> None:
    for given, message in [
        ("nosuch", "nosuch: there is no such file, and no bank of that name ships"),
        (record.name, "it is not a .san file"),
        (".", ".: is a directory"),
    ]:
        outcome = run("plot", given, "-o", "x.png")
        assert_one_line(outcome, message)
    Path("cut.sann").write_bytes(save_network("beats.sann").content[:-1])
    assert_one_line(run("plot", "cut.sann"), "network file")


def test_a_picture_that_exists_is_kept(run: Run, packed: Path) -> None:
    Path("100.png").write_bytes(b"mine")
    outcome = run("plot", packed)
    assert_one_line(outcome, "100.png: exists already; give another name with -o, or --force to replace it")
    assert Path("100.png").read_bytes() == b"mine"
    assert run("plot", packed, "--force").status == 0
    assert Path("100.png").read_bytes().startswith(SIGNATURES["png"])


@pytest.mark.parametrize(("suffix", "package"), [("png", "matplotlib"), ("html", "plotly")])
def test_without_the_extra_the_command_says_how_to_install_it(
    run: Run, packed: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    outcome = run("plot", packed, "-o", f"x.{suffix}")
    assert_one_line(outcome, f"need {package}")
    assert "pip install 'sancodec[plot]'" in outcome.err
    assert not Path(f"x.{suffix}").exists()


def test_a_damaged_chunk_is_named(run: Run, packed: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    outcome = run("plot", packed)
    assert_one_line(outcome, "chunk 0")
    assert not Path("100.png").exists()


def test_the_help_ends_its_text_with_examples(run: Run, record: Path) -> None:
    outcome = run("plot", "--help")
    assert "sancodec plot beats.sann --signal 100.hea --start 30 -o network.png" in outcome.out
    assert "plot " in run("--help").out
