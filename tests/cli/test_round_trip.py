"""Compress, look inside, check, restore and compare, as a user does."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import wfdb

from sancodec.api import default_engine
from sancodec.codec.decoder import RecordingReader
from sancodec.datasets.wfdb_record import read_wfdb, write_wfdb
from tests.cli.conftest import DATA, Run
from tests.mixed_files import mixed_file


def test_a_record_comes_back_so_that_wfdb_reads_it(run: Run, record: Path) -> None:
    assert run("compress", "100_10s.dat", "--prdn", "2").status == 0
    assert run("decompress", "100_10s.san", "-o", "restored").status == 0
    before, after = (wfdb.rdrecord(str(folder / "100_10s"), physical=False) for folder in (DATA, Path("restored")))
    error = (after.d_signal - before.d_signal).astype(float)
    centred = before.d_signal - before.d_signal.mean(axis=0)
    prdn = 100 * np.linalg.norm(error, axis=0) / np.linalg.norm(centred, axis=0)
    assert np.all(prdn <= 2)
    assert np.all(prdn > 1.9)
    assert after.comments == before.comments
    assert [checksum % 65536 for checksum in after.checksum] == after.calc_checksum()
    assert after.init_value == after.d_signal[0].tolist()


@pytest.mark.parametrize("level", ["1", "3", "5", "9"])
@pytest.mark.parametrize("name", ["100_10s", "100_10s.dat", "100_10s.hea"])
def test_every_level_takes_every_form_of_the_name(run: Run, record: Path, level: str, name: str) -> None:
    outcome = run("compress", name, "--level", level, "--prdn", "2", "--json")
    assert outcome.status == 0
    result = json.loads(outcome.out)
    assert result["output"] == "100_10s.san"
    assert result["output_bytes"] == Path("100_10s.san").stat().st_size
    assert result["input_bytes"] == sum((DATA / f"100_10s{suffix}").stat().st_size for suffix in (".dat", ".hea"))
    assert all(channel["prdn"] <= 2 for channel in result["channels"])


def test_json_of_compress_holds_what_the_design_names(run: Run, record: Path) -> None:
    result = json.loads(run("compress", record, "--json").out)
    wanted = "input output input_bytes output_bytes bits_per_sample ratio seconds level model beats channels"
    assert set(wanted.split()) <= set(result)
    assert {"name", "prdn", "prd", "rmse", "max_error", "snr_db", "unit"} <= set(result["channels"][0])
    assert result["ratio"] == pytest.approx(7200 * 11 / 8 / result["output_bytes"])


def test_the_strictest_of_several_quality_options_holds(run: Run, record: Path) -> None:
    result = json.loads(run("compress", record, "--preset", "trend", "--snr", "26.0206", "--prdn", "7", "--json").out)
    assert all(4.9 < channel["prdn"] <= 5.0 for channel in result["channels"])


def test_info_tells_of_mixes_how_many_components_a_channel_is_summed_of(run: Run, record: Path) -> None:
    content = mixed_file(level=5, seed=0)
    Path("mixed.san").write_bytes(content)
    decoder = RecordingReader(io.BytesIO(content), engine=default_engine()).decoder(0)
    counts = [sum(weight != 0 for _, weight in decoder.components(channel)) for channel in range(5)]
    assert set(counts) >= {1, 2}
    told = json.loads(run("info", "mixed.san", "--json").out)["channels"]
    assert [(each["bank"], each["kernels"]) for each in told] == [(f"mix of {count}", count) for count in counts]
    assert "mix of 2+2" in run("info", "mixed.san").out


def test_info_tells_what_is_inside(run: Run, record: Path) -> None:
    run("compress", record, "--prdn", "5")
    content = json.loads(run("info", "100_10s.san", "--json").out)
    assert [channel["promise"] for channel in content["channels"]] == [{"prdn": 5, "max_error_adu": None}] * 2
    assert content["frames"] == 3600
    assert [channel["name"] for channel in content["channels"]] == ["MLII", "V5"]
    assert content["side_files"] == {"100_10s.hea": (DATA / "100_10s.hea").stat().st_size}
    text = run("info", "100_10s.san").out
    assert "MLII" in text
    assert "360 Hz" in text


def test_compare_measures_what_compress_promised(run: Run, record: Path) -> None:
    run("compress", record, "--prdn", "9")
    promised = json.loads(run("info", "100_10s.san", "--json").out)
    compared = json.loads(run("compare", record, "100_10s.san", "--json").out)
    for inside, measured in zip(promised["channels"], compared["channels"], strict=True):
        assert measured["prdn"] == pytest.approx(inside["prdn"], rel=1e-6)
        assert measured["beats"]["matched"] >= 12
    assert "SNR in dB" in run("compare", record, "100_10s.san").out


def test_compare_counts_what_a_salvaged_record_lacks(run: Run, record: Path) -> None:
    recording = read_wfdb(record)
    for samples in recording.samples:
        samples[100:460] = recording.channels[0].invalid
    Path("rescued").mkdir()
    write_wfdb(recording, "rescued")
    channels = json.loads(run("compare", record, "rescued/100_10s.hea", "--json").out)["channels"]
    assert [channel["missing"] for channel in channels] == [360, 360]
    assert [channel["prdn"] for channel in channels] == [0.0, 0.0]
    assert "360 samples are missing in rescued/100_10s.hea" in run("compare", record, "rescued/100_10s.hea").out


def test_both_engines_restore_the_same_bytes(run: Run, record: Path) -> None:
    run("compress", record, "--engine", "onnx")
    assert run("decompress", "100_10s.san", "-o", "numpy").status == 0
    assert run("decompress", "100_10s.san", "-o", "onnx", "--engine", "onnx").status == 0
    assert Path("numpy/100_10s.dat").read_bytes() == Path("onnx/100_10s.dat").read_bytes()


def test_an_array_goes_through_files(run: Run, record: Path) -> None:
    samples = np.stack(read_wfdb(record).samples).astype(np.int16)
    np.save("ecg.npy", samples)
    assert run("compress", "ecg.npy", "--rate", "360", "--prdn", "1").status == 0
    assert run("decompress", "ecg.san", "-o", "back.npy").status == 0
    back = np.load("back.npy")
    assert back.dtype == samples.dtype
    assert back.shape == samples.shape


def test_a_table_has_a_row_for_every_sample(run: Run, record: Path) -> None:
    run("compress", record)
    assert run("decompress", "100_10s.san", "--to", "csv", "-o", "ecg.csv").status == 0
    lines = Path("ecg.csv").read_text().splitlines()
    assert lines[0] == "time (s),MLII (mV),V5 (mV)"
    assert len(lines) == 3601
    assert lines[361].startswith("1.000000,")


def test_quiet_prints_nothing(run: Run, record: Path) -> None:
    for arguments in (["compress", record], ["verify", "100_10s.san"], ["info", "100_10s.san"]):
        outcome = run(*arguments, "-q")
        assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_a_model_inside_the_file_is_enough(run: Run, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("compress", record, "--embed-model")
    monkeypatch.setattr("sancodec.codec.models.shipped_names", lambda: ())
    assert run("verify", "100_10s.san").status == 0


def test_models_are_listed(run: Run) -> None:
    listed = [json.loads(line)["name"] for line in run("models", "--json").out.splitlines()]
    assert {"ecg360", "sym8", "haar"} <= set(listed)


@pytest.mark.parametrize("verb", ["compress", "decompress", "info", "verify", "compare", "plot", "models", "train"])
def test_every_verb_has_help(run: Run, verb: str) -> None:
    outcome = run(verb, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith("Usage:")
