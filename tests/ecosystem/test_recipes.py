"""The recipes of docs/ecosystem.md, run as they stand where their library is installed."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sancodec
from sancodec.datasets.wfdb_record import read_wfdb

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests" / "data" / "100_10s.hea"
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
BLOCKS = [
    (section.split("\n", 1)[0], block)
    for section in SECTIONS
    for block in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
]
LIBRARIES = {"Zarr": "zarr", "MNE": "mne", "SpikeInterface": "spikeinterface", "pandas": "pandas", "xarray": "xarray"}


@pytest.fixture(scope="module")
def blob() -> bytes:
    return sancodec.compress(read_wfdb(RECORD), lossless=True)


@pytest.fixture
def folder(tmp_path: Path, blob: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "100_10s.san").write_bytes(blob)
    for suffix in (".hea", ".dat"):
        shutil.copy(RECORD.with_suffix(suffix), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def need(section: str) -> None:
    """Skip where the library of a section is not installed, or too old."""
    pytest.importorskip(LIBRARIES[section], minversion="3.1" if section == "Zarr" else None)


def run_section(name: str) -> dict[str, Any]:
    """Run the first block of a section; what it defines."""
    need(name)
    names: dict[str, Any] = {}
    exec(next(block for section, block in BLOCKS if section == name), names)
    return names


def millivolts() -> np.ndarray:
    recording = read_wfdb(RECORD)
    leads = zip(recording.channels, recording.samples, strict=True)
    return np.stack([(samples - channel.baseline) / channel.gain for channel, samples in leads])


def test_every_library_has_a_recipe() -> None:
    assert {section for section, _ in BLOCKS} == set(LIBRARIES)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("section", "block"), BLOCKS, ids=[f"{section} {i}" for i, (section, _) in enumerate(BLOCKS)])
def test_a_recipe_runs(folder: Path, section: str, block: str) -> None:
    need(section)
    exec(block, {})


@pytest.mark.filterwarnings("default")
def test_mne_has_the_signal_in_volts_and_the_beats(folder: Path) -> None:
    raw = run_section("MNE")["raw"]
    assert raw.ch_names == ["MLII", "V5"]
    assert raw.get_channel_types() == ["ecg", "ecg"]
    assert raw.info["sfreq"] == 360
    assert np.allclose(raw.get_data(), millivolts() * 1e-3, rtol=0, atol=1e-12)
    assert len(raw.annotations) == 13
    assert 0.8 < np.diff(raw.annotations.onset).mean() < 0.85


@pytest.mark.filterwarnings("default")
def test_spikeinterface_has_the_signal_in_microvolts(folder: Path) -> None:
    recording = run_section("SpikeInterface")["recording"]
    assert recording.get_sampling_frequency() == 360
    traces = recording.get_traces(return_in_uV=True)
    assert np.allclose(traces.T, millivolts() * 1e3, rtol=1e-5, atol=1e-3)


@pytest.mark.filterwarnings("default")
def test_pandas_has_a_column_per_channel(folder: Path) -> None:
    table = run_section("pandas")["table"]
    assert list(table.columns) == ["MLII", "V5"]
    assert np.allclose(table.to_numpy().T, millivolts())
    assert table.index[360].total_seconds() == pytest.approx(1)


@pytest.mark.filterwarnings("default")
def test_xarray_has_channels_and_times(folder: Path) -> None:
    array = run_section("xarray")["array"]
    assert np.array_equal(array.sel(channel="V5"), read_wfdb(RECORD).samples[1])
    assert float(array.time[720]) == pytest.approx(2)
