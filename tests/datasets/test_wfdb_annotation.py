"""Beats as WFDB annotation files, read by the wfdb package."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st

from sancodec.datasets.wfdb_annotation import beats_content, read_reference, reference_beside
from sancodec.errors import InvalidSignalError

REFERENCE = {"frame_rate_hz": 360.0, "sampling_rate_hz": 360.0, "n_samples": 10_000}


@given(
    st.integers(0, 3000),
    st.lists(st.one_of(st.integers(1, 1100), st.integers(60_000, 70_000), st.just(2**31 - 1)), max_size=20),
    st.sampled_from([Fraction(360), Fraction(250), Fraction(257, 2), Fraction(1000, 3)]),
)
def test_what_is_written_wfdb_reads(
    tmp_path_factory: pytest.TempPathFactory, first: int, intervals: list[int], rate_hz: Fraction
) -> None:
    positions = np.cumsum([first, *intervals]).tolist()
    path = tmp_path_factory.mktemp("annotations") / "rec.qrs"
    path.write_bytes(beats_content(positions, sampling_rate_hz=rate_hz))
    read = wfdb.rdann(str(path.with_suffix("")), "qrs")
    assert read.sample.tolist() == positions
    assert set(read.symbol) == {"N"}
    assert read.fs == pytest.approx(float(rate_hz))


def test_a_file_without_beats_is_one(tmp_path: Path) -> None:
    (tmp_path / "rec.qrs").write_bytes(beats_content([], sampling_rate_hz=Fraction(360)))
    assert len(wfdb.rdann(str(tmp_path / "rec"), "qrs").sample) == 0


@pytest.mark.parametrize("positions", [[-1], [5, 5], [5, 4], [2**31]])
def test_positions_that_cannot_be_written_are_refused(positions: list[int]) -> None:
    with pytest.raises(InvalidSignalError, match="increase"):
        beats_content(positions, sampling_rate_hz=Fraction(360))


def test_reference_beats_are_the_beats_outside_flutter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples = [10, 100, 200, 250, 300, 350, 400, 500, 600, 700]
    wfdb.wrann("rec", "atr", np.array(samples), ["+", "N", "V", "[", "!", "]", "L", "~", "A", "["], fs=360)
    found = read_reference(tmp_path / "rec.atr", **REFERENCE)
    assert found.positions.tolist() == [100, 200, 400, 600]
    assert found.is_normal.tolist() == [True, False, True, False]
    assert found.uncounted == ((250, 350), (700, 10_000))


def test_reference_beats_are_counted_in_samples_of_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wfdb.wrann("stated", "atr", np.array([100, 200]), ["N", "N"], fs=180)
    wfdb.wrann("silent", "atr", np.array([100, 200]), ["N", "N"])
    settings = {"frame_rate_hz": 360.0, "sampling_rate_hz": 720.0, "n_samples": 10_000}
    assert read_reference(tmp_path / "stated.atr", **settings).positions.tolist() == [400, 800]
    assert read_reference(tmp_path / "silent.atr", **settings).positions.tolist() == [200, 400]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.atr", None, "there is no such annotation file"),
        ("noname", b"\0\0", "RECORD.ANNOTATOR"),
        ("odd.atr", b"\x01\x04\x07", "no annotation file that wfdb can read"),
        ("empty.atr", b"\0\0", "has no beats|no annotation file"),
        (
            "long.atr",
            beats_content([10_000], sampling_rate_hz=Fraction(360)),
            "beat at sample 10000; the recording has 10000",
        ),
    ],
)
def test_a_reference_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidSignalError, match=message):
        read_reference(tmp_path / name, **REFERENCE)


def test_random_bytes_are_beats_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 200, 100):
        (tmp_path / "r.atr").write_bytes(rng.bytes(length))
        try:
            found = read_reference(tmp_path / "r.atr", **REFERENCE)
        except InvalidSignalError:
            continue
        assert len(found.positions) == len(found.is_normal) > 0


@pytest.mark.parametrize("name", ["rec.hea", "rec.dat", "rec"])
def test_reference_beats_lie_beside_the_record(tmp_path: Path, name: str) -> None:
    assert reference_beside(str(tmp_path / name)) is None
    (tmp_path / "rec.atr").touch()
    assert reference_beside(str(tmp_path / name)) == tmp_path / "rec.atr"
