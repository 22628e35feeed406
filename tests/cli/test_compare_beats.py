"""``sancodec compare --beats``: a QRS detector on both recordings, scored by reference beats."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb

from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import Run
from tests.cli.test_refusals import assert_one_line

N_BEATS = 13
HEA, SAN = "100_10s.hea", "100_10s.san"


@pytest.fixture
def peaks(run: Run, record: Path) -> np.ndarray:
    """R peaks of the ten-second record, which is compressed beside it."""
    assert run("compress", record, "--preset", "monitor", "-q").status == 0
    assert run("events", SAN, "-o", "stream.qrs", "-q").status == 0
    lead = read_wfdb(record).samples[0]
    beats = wfdb.rdann("stream", "qrs").sample
    return np.array([beat - 20 + lead[max(0, beat - 20) : beat + 20].argmax() for beat in beats])


def annotate(name: str, samples: np.ndarray, symbols: list[str] | None = None) -> None:
    wfdb.wrann(*name.split("."), np.asarray(samples), symbols or ["N"] * len(samples))


def result(run: Run, *arguments: str) -> dict:
    outcome = run("compare", "--beats", HEA, SAN, "--json", *arguments)
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)["beats"]


@pytest.mark.parametrize("detector", ["xqrs", "gqrs"])
def test_both_recordings_are_scored_by_the_annotations_beside(run: Run, peaks: np.ndarray, detector: str) -> None:
    annotate("100_10s.atr", peaks)
    beats = result(run, "--detector", detector)
    assert beats["detector"] == detector
    assert beats["reference"] == "100_10s.atr"
    assert beats["first_s"] == 0
    (channel,) = beats["channels"]
    assert channel["name"] == "MLII"
    for of in ("original", "file"):
        score = channel[of]
        assert score["matched"] + score["missed"] == N_BEATS
        assert score["sensitivity"] > 80  # detectors pass over the first and the last beat
        assert score["ppv"] == 100
        assert 0 <= score["rr_error_ms"] < 30
        assert abs(score["sdnn_error_ms"]) < 10


def test_a_reference_elsewhere_is_named(run: Run, peaks: np.ndarray) -> None:
    annotate("100_10s.atr", peaks)
    annotate("other.man", peaks[::2])
    score = result(run, "--reference", "other.man")["channels"][0]["file"]
    assert score["matched"] + score["missed"] == len(peaks[::2])
    assert score["extra"] > 4


def test_without_annotations_the_original_is_the_reference(run: Run, peaks: np.ndarray) -> None:
    beats = result(run, "--channel", "V5", "--channel", "MLII")
    assert beats["reference"] == "the original"
    assert [channel["name"] for channel in beats["channels"]] == ["V5", "MLII"]
    for channel in beats["channels"]:
        assert channel["original"]["sensitivity"] == channel["original"]["ppv"] == 100
        assert channel["original"]["rr_error_ms"] == channel["original"]["sdnn_error_ms"] == 0
        assert channel["file"]["sensitivity"] == 100


def test_the_text_has_a_table(run: Run, peaks: np.ndarray) -> None:
    annotate("100_10s.atr", peaks)
    lines = run("compare", HEA, SAN, "--beats").out.splitlines()
    assert lines[-4] == "  beats by wfdb's xqrs against 100_10s.atr"
    headings = ["channel", "beats found", "sensitivity %", "PPV %", "RR error ms", "SDNN ms", "SDNN error ms"]
    assert lines[-3].split() == " ".join(headings).split()
    assert lines[-2].split()[:2] == ["MLII,", HEA]
    assert lines[-1].split()[:2] == ["MLII,", SAN]
    assert "beats by" not in run("compare", HEA, SAN).out


def test_long_recordings_are_counted_from_the_sixth_minute_on(run: Run, record: Path) -> None:
    from sancodec.cli.compare_beats import first_counted_s

    assert first_counted_s(600.0) == 0
    assert first_counted_s(600.1) == 300


def test_a_lead_without_waves_has_no_beats(run: Run, record: Path) -> None:
    np.save("flat.npy", np.stack([np.full(3600, 7), np.arange(3600) % 2]).astype(np.int16))
    assert run("compress", "flat.npy", "--rate", "360", "-q").status == 0
    outcome = run("compare", "flat.npy", "flat.san", "--rate", "360", "--beats", "--json")
    score = json.loads(outcome.out)["beats"]["channels"][0]["file"]
    assert (score["matched"], score["missed"], score["extra"], score["sensitivity"]) == (0, 0, 0, None)


def test_wfdb_that_is_missing_is_one_line_with_the_command(
    run: Run, peaks: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    assert_one_line(run("compare", HEA, SAN, "--beats"), "wfdb", "pip install 'sancodec[beats]'")
    assert run("compare", HEA, SAN).status == 0


def test_what_cannot_be_compared_is_refused_in_one_line(run: Run, peaks: np.ndarray) -> None:
    assert_one_line(run("compare", HEA, SAN, "--beats", "--reference", "no.atr"), "no.atr: there is no such annotation")
    Path("odd.atr").write_bytes(b"\x01\x04\x07")
    assert_one_line(run("compare", HEA, SAN, "--beats", "--reference", "odd.atr"), "odd.atr", "no annotation file")
    annotate("late.atr", np.array([4000]))
    assert_one_line(run("compare", HEA, SAN, "--beats", "--reference", "late.atr"), "late.atr", "has 3600")
    assert_one_line(run("compare", HEA, SAN, "--beats", "--channel", "aVR"), "'aVR' is not there", "0 'MLII'")


@pytest.mark.parametrize("option", [("--reference", "a.atr"), ("--channel", "0")])
def test_options_of_beats_need_it(run: Run, record: Path, option: tuple[str, str]) -> None:
    outcome = run("compare", HEA, HEA, *option)
    assert outcome.status == 2
    assert "are for --beats" in outcome.err


def test_a_rate_without_qrs_is_refused(run: Run, record: Path) -> None:
    np.save("slow.npy", np.arange(100, dtype=np.int16))
    assert run("compress", "slow.npy", "--rate", "4", "-q").status == 0
    outcome = run("compare", "slow.npy", "slow.san", "--rate", "4", "--beats")
    assert_one_line(outcome, "100 samples at 4 Hz", "50 to 2500 Hz")


def test_a_half_hour_is_scored_as_published(run: Run, record: Path, shared_data: Path) -> None:
    path = shared_data / "mitdb" / "101"
    assert run("compress", f"{path}.hea", "--preset", "monitor", "--level", "3", "-o", "101.san", "-q").status == 0
    outcome = run("compare", f"{path}.hea", "101.san", "--beats", "--json")
    beats = json.loads(outcome.out)["beats"]
    assert beats["first_s"] == 300
    (channel,) = beats["channels"]
    for of in ("original", "file"):
        assert channel[of]["matched"] + channel[of]["missed"] == 1523
        assert channel[of]["sensitivity"] > 99.8
        assert channel[of]["ppv"] > 99.8
