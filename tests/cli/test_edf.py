"""EDF and BDF files through the commands."""

import json
from pathlib import Path

import edfio
import numpy as np
import pytest

import sancodec
from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import Run, piped
from tests.cli.test_refusals import assert_one_line, names_in
from tests.datasets.edf_files import Signal, annotations, edf_file

RATES = (256, 64, 1)


def waves(n_seconds: int, *, seed: int = 4) -> list[Signal]:
    """Signals of three rates, in data records of 1 s."""
    rng = np.random.default_rng(seed)
    signals = []
    for rate, label in zip(RATES, ("EEG Cz", "Resp", "SpO2"), strict=True):
        time_s = np.arange(n_seconds * rate) / rate
        values = 900 * np.sin(2 * np.pi * 0.1 * time_s) + rng.normal(0, 40, len(time_s))
        signals.append(
            Signal(values.astype(int).reshape(n_seconds, rate), label, "uV", ("-500", "500"), ("-2048", "2047"))
        )
    return signals


@pytest.fixture
def sleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty seconds of three rates, with annotations, alone in the working directory."""
    monkeypatch.chdir(tmp_path)
    signals = [*waves(40), annotations(range(40), texts=[(3, "Arousal µ"), (30, "N2")])]
    path = Path("Sleep 1.EDF")
    path.write_bytes(edf_file(signals, reserved="EDF+C"))
    return path


def test_file_comes_back_byte_for_byte_under_its_own_name(run: Run, sleep: Path) -> None:
    assert run("compress", sleep, "--lossless", "--chunk", "10").status == 0
    assert names_in(Path()) == ["Sleep 1.EDF", "Sleep 1.san"]
    assert run("verify", "Sleep 1.san").status == 0
    outcome = run("decompress", "Sleep 1.san", "-o", "back")
    assert outcome.out == "Sleep 1.san -> back/Sleep 1.EDF\n"
    assert Path("back/Sleep 1.EDF").read_bytes() == sleep.read_bytes()
    assert run("decompress", "Sleep 1.san", "-o", "other.edf").status == 0
    assert Path("other.edf").read_bytes() == sleep.read_bytes()
    assert_one_line(run("decompress", "Sleep 1.san"), "Sleep 1.EDF: exists already")


def test_what_info_tells(run: Run, sleep: Path) -> None:
    run("compress", sleep, "--prdn", "5")
    told = json.loads(run("info", "Sleep 1.san", "--json").out)
    assert (told["source"], told["frames"], told["sampling_rate_hz"]) == ("edf", 40, 1.0)
    assert [channel["samples_per_frame"] for channel in told["channels"]] == list(RATES)
    assert told["side_files"]["Sleep 1.EDF#header"] == 5 * 256
    assert told["chunk_s"] == 40


@pytest.mark.parametrize(("rate", "option", "chunk_s"), [(256, "5", 60), (256, "0.5", 32), (512, "0.5", 25)])
def test_data_records_of_a_second_do_not_make_chunks_long(
    run: Run, sleep: Path, rate: int, option: str, chunk_s: float
) -> None:
    signals = [Signal(np.arange(rate * 100).reshape(100, rate) % 900), Signal(np.zeros((100, 1), int), "Marker")]
    sleep.write_bytes(edf_file(signals))
    run("compress", sleep, "--prdn", option)
    assert json.loads(run("info", "Sleep 1.san", "--json").out)["chunk_s"] == chunk_s


def test_lossy_file_keeps_header_annotations_and_digital_range(run: Run, sleep: Path) -> None:
    assert run("compress", sleep, "--prdn", "3").status == 0
    run("decompress", "Sleep 1.san", "-o", "back.edf")
    before, after = edfio.read_edf(sleep), edfio.read_edf("back.edf")
    assert sleep.read_bytes()[: 5 * 256] == Path("back.edf").read_bytes()[: 5 * 256]
    assert before.annotations == after.annotations
    assert len(after.annotations) == 2
    for one, other in zip(before.signals, after.signals, strict=True):
        error = np.linalg.norm(other.digital.astype(float) - one.digital)
        assert 0 < error / np.linalg.norm(one.digital - one.digital.mean()) <= 0.03
        assert one.digital_min <= other.digital.min() <= other.digital.max() <= one.digital_max
    outcome = run("compare", sleep, "back.edf", "--json")
    prdn = [channel["prdn"] for channel in json.loads(outcome.out)["channels"]]
    assert max(prdn) <= 3
    assert json.loads(run("compare", sleep, "Sleep 1.san", "--json").out)["channels"][0]["prdn"] == prdn[0]


def test_physical_values_are_those_of_the_file(run: Run, sleep: Path) -> None:
    run("compress", sleep, "--lossless")
    with sancodec.open("Sleep 1.san") as record:
        assert record.names == ("EEG Cz", "Resp", "SpO2")
        for signal in edfio.read_edf(sleep).signals:
            half_a_unit = 0.5 * 1000 / 4095
            np.testing.assert_allclose(record.physical(signal.label), signal.data, atol=half_a_unit * 1.001)
            assert record.sampling_rate_hz(signal.label) == signal.sampling_frequency


def test_excerpts_are_new_files(run: Run, sleep: Path) -> None:
    run("compress", sleep, "--lossless")
    original = {signal.label: signal.digital for signal in edfio.read_edf(sleep).signals}
    outcome = run(
        "decompress", "Sleep 1.san", "--start", "10", "--end", "20", "--channel", "Resp", "--channel", "0", "-o", "p"
    )
    assert outcome.out == "Sleep 1.san -> p/Sleep 1.edf\n"
    part = edfio.read_edf("p/Sleep 1.edf")
    assert [signal.label for signal in part.signals] == ["Resp", "EEG Cz"]
    for signal in part.signals:
        rate = int(signal.sampling_frequency)
        np.testing.assert_array_equal(signal.digital, original[signal.label][10 * rate : 20 * rate])
    assert not part.annotations
    run("decompress", "Sleep 1.san", "--start", "10", "--to", "wfdb", "-o", "w")
    record = read_wfdb("w/Sleep_1.hea")
    np.testing.assert_array_equal(record.samples[0], original["EEG Cz"][2560:])
    run("decompress", "Sleep 1.san", "--channel", "Resp", "--to", "npy", "-o", "r.npy")
    np.testing.assert_array_equal(np.load("r.npy")[0], original["Resp"])
    table = run("decompress", "Sleep 1.san", "--channel", "SpO2", "--to", "csv", "-o", "-").out.splitlines()
    assert table[0] == "time (s),SpO2 (uV)"
    assert len(table) == 41


def test_other_recordings_become_files_and_files_of_the_other_kind(run: Run, record: Path) -> None:
    run("compress", record, "--lossless")
    samples = read_wfdb(record).samples
    for kind, read in (("edf", edfio.read_edf), ("bdf", edfio.read_bdf)):
        assert run("decompress", "100_10s.san", "--to", kind).out == f"100_10s.san -> 100_10s.{kind}\n"
        signals = read(f"100_10s.{kind}").signals
        for signal, expected in zip(signals, samples, strict=True):
            np.testing.assert_array_equal(signal.digital, expected)
            np.testing.assert_allclose(signal.data, (expected - 1024) / 200, atol=1e-5)
    run("compress", "100_10s.bdf", "--lossless", "-o", "b.san")
    run("decompress", "b.san", "--to", "edf", "-o", "converted")
    np.testing.assert_array_equal(edfio.read_edf("converted/b.edf").signals[1].digital, samples[1])


def test_a_pipe_carries_files_both_ways(sleep: Path) -> None:
    content = sleep.read_bytes()
    packed = piped("compress", "-", "--lossless", given=content)
    assert packed.returncode == 0, packed.stderr
    restored = piped("decompress", "-", "-o", "-", given=packed.stdout)
    assert restored.stdout == content
    assert piped("decompress", "-", "-o", "out", given=packed.stdout).returncode == 0
    assert Path("out/standard-input.edf").read_bytes() == content
    refused = piped("compress", "-", "--rate", "9", given=content)
    assert refused.returncode == 1
    assert b"states its own sampling rate" in refused.stderr


def test_trigger_codes_are_exact_at_every_quality(run: Run, sleep: Path) -> None:
    codes = np.random.default_rng(1).choice([0, 255, 65_536, -(2**23), 2**23 - 1], (10, 64))
    limits = ("-8388608", "8388607")
    eeg = np.random.default_rng(2).normal(0, 90_000, (10, 64)).astype(int)
    Path("x.BDF").write_bytes(
        edf_file(
            [Signal(eeg, "A1", "uV", limits, limits), Signal(codes, "Status", "Boolean", limits, limits)], is_bdf=True
        )
    )
    for options in (["--prdn", "9"], ["--max-error", "20000uV"], ["--preset", "trend", "--level", "7"]):
        assert run("compress", "x.BDF", *options, "-f").status == 0
        with sancodec.open("x.san") as record:
            np.testing.assert_array_equal(record["Status"], codes.reshape(-1))
            assert (record["A1"] != eeg.reshape(-1)).any()


def test_a_file_of_annotations_only_is_kept(run: Run, sleep: Path) -> None:
    sleep.write_bytes(
        edf_file([annotations([0], n_bytes=400, texts=[(0, "Sleep stage W")])], reserved="EDF+C", duration="0")
    )
    assert run("compress", sleep).status == 0
    assert run("verify", "Sleep 1.san").status == 0
    run("decompress", "Sleep 1.san", "-o", "back.edf")
    assert Path("back.edf").read_bytes() == sleep.read_bytes()


def test_salvage_restores_the_rest_of_a_file(run: Run, sleep: Path) -> None:
    run("compress", sleep, "--lossless", "--chunk", "32")
    content = bytearray(Path("Sleep 1.san").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    Path("Sleep 1.san").write_bytes(content)
    assert_one_line(run("decompress", "Sleep 1.san", "-o", "back"), "--salvage")
    assert names_in(Path()) == ["Sleep 1.EDF", "Sleep 1.san"]
    assert run("decompress", "Sleep 1.san", "--salvage", "-o", "back").status == 1
    before, after = edfio.read_edf(sleep).signals[0].digital, edfio.read_edf("back/Sleep 1.EDF").signals[0].digital
    assert len(before) == len(after)
    assert 0 < (before == after).mean() < 1
    assert after[before != after].min() == -2048


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not an EDF or BDF file"),
        (edf_file(waves(1))[:1000], "within its header of 1024"),
        (edf_file(waves(1))[:1100], "less than a data record of 642; there is nothing to compress"),
        (edf_file([], n_signals="0"), "number of signals is '0'"),
    ],
)
def test_bad_file_is_one_line_and_leaves_nothing(run: Run, sleep: Path, content: bytes, match: str) -> None:
    sleep.write_bytes(content)
    assert_one_line(run("compress", sleep), match)
    assert names_in(Path()) == ["Sleep 1.EDF"]


def test_a_rate_and_what_does_not_fit_are_refused(run: Run, sleep: Path) -> None:
    assert_one_line(run("compress", sleep, "--rate", "5"), "this input states its own sampling rate")
    run("compress", sleep, "--lossless")
    assert_one_line(run("decompress", "Sleep 1.san", "--to", "npy"), "different sampling rates")
    np.save("wide.npy", np.array([[1, 2**30]], np.int32))
    run("compress", "wide.npy", "--rate", "1", "--lossless")
    assert_one_line(run("decompress", "wide.san", "--to", "bdf"), "do not fit BDF")
    assert not list(Path().glob("*.bdf"))
    Path("plain").write_bytes(b"")
    assert_one_line(run("decompress", "Sleep 1.san", "-o", "plain"), "is a file")
