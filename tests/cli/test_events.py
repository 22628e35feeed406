"""``sancodec events``: annotation files that wfdb reads, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import wfdb

from sancodec.datasets.wfdb_record import read_wfdb
from tests.cli.conftest import Run, piped
from tests.cli.test_refusals import assert_one_line, names_in

N_BEATS = 13


@pytest.fixture
def container(run: Run, record: Path) -> Path:
    """``100_10s.san``, of both leads."""
    assert run("compress", record, "--preset", "monitor", "-q").status == 0
    return Path("100_10s.san")


def beats_of(path: str) -> np.ndarray:
    name, _, annotator = path.rpartition(".")
    samples: np.ndarray = wfdb.rdann(name, annotator).sample
    return samples


def test_beats_are_at_the_r_peaks_of_the_record(run: Run, container: Path) -> None:
    outcome = run("events", container, "-o", "beats.qrs")
    assert outcome.out == f"100_10s.san -> beats.qrs: {N_BEATS} beats from the events of MLII, V5\n"
    beats = beats_of("beats.qrs")
    lead = read_wfdb(Path("100_10s.hea")).samples[0]
    assert len(beats) == N_BEATS
    for beat in beats.tolist():
        near = np.arange(max(0, beat - 40), min(len(lead), beat + 40))
        assert abs(near[lead[near].argmax()] - beat) <= 3
    assert wfdb.rdann("beats", "qrs").fs == 360


def test_the_file_is_named_after_the_container_and_goes_into_a_folder(run: Run, container: Path) -> None:
    assert run("events", container).status == 0
    Path("there").mkdir()
    assert run("events", container, "-o", "there").status == 0
    assert Path("there/100_10s.qrs").read_bytes() == Path("100_10s.qrs").read_bytes()


def test_channels_are_chosen_by_name_or_index(run: Run, container: Path) -> None:
    content = json.loads(run("events", container, "--channel", "V5", "--json").out)
    assert content == {"input": "100_10s.san", "output": "100_10s.qrs", "beats": N_BEATS, "channels": ["V5"]}
    assert run("events", container, "--channel", "1", "-o", "b.qrs", "-q").out == ""
    assert Path("b.qrs").read_bytes() == Path("100_10s.qrs").read_bytes()
    assert_one_line(run("events", container, "--channel", "aVR", "-f"), "'aVR' is not there", "0 'MLII', 1 'V5'")


def test_pipes_go_in_and_out(run: Run, container: Path) -> None:
    assert run("events", container).status == 0
    done = piped("events", "-", "-o", "-", given=container.read_bytes())
    assert done.returncode == 0
    assert done.stdout == Path("100_10s.qrs").read_bytes()


def test_positions_are_frames_where_channels_have_several_samples_in_each(run: Run, container: Path) -> None:
    from fractions import Fraction

    import sancodec

    lead = read_wfdb(Path("100_10s.hea")).samples[0]
    channels = (sancodec.Channel("MLII", unit="mV", gain=200, samples_per_frame=2),)
    recording = sancodec.Recording(channels, (lead,), Fraction(180))
    Path("two.san").write_bytes(sancodec.compress(recording, prdn=5.0))
    assert run("events", "two.san", "-q").status == 0
    assert run("events", container, "--channel", "MLII", "-q").status == 0
    assert np.abs(beats_of("two.qrs") - beats_of("100_10s.qrs") / 2).max() <= 1
    assert wfdb.rdann("two", "qrs").fs == 180


def test_an_existing_file_is_replaced_only_by_force(run: Run, container: Path) -> None:
    Path("100_10s.qrs").write_bytes(b"mine")
    assert_one_line(run("events", container), "100_10s.qrs", "--force")
    assert Path("100_10s.qrs").read_bytes() == b"mine"
    assert run("events", container, "-f").status == 0
    assert len(beats_of("100_10s.qrs")) == N_BEATS


def test_a_file_without_beats_says_so_and_leaves_nothing(run: Run, record: Path) -> None:
    assert run("compress", record, "--level", "1", "-q").status == 0
    before = names_in(Path())
    assert_one_line(run("events", "100_10s.san"), "100_10s.san: there are no beats in the file", "level 3")
    assert names_in(Path()) == before


def test_a_damaged_file_leaves_nothing_and_the_others_are_written(run: Run, container: Path) -> None:
    content = bytearray(container.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    Path("bad.san").write_bytes(content)
    outcome = run("events", "bad.san", "nope.san", container)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 2
    assert "bad.san: chunk 0" in outcome.err
    assert "nope.san: there is no such file" in outcome.err
    assert Path("100_10s.qrs").exists()
    assert not Path("bad.qrs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-",), "give one with -o"),
        (("a.san", "b.san", "-o", "c.qrs"), "several inputs need one"),
        (("-", "-", "-o", "."), "read once only"),
        (("a.san", "--json", "-o", "-"), "both write to standard output"),
    ],
)
def test_usage_errors(run: Run, record: Path, arguments: tuple[str, ...], message: str) -> None:
    outcome = run("events", *arguments)
    assert outcome.status == 2
    assert message in outcome.err
