"""Every kind of WFDB record goes through a container and comes back as a record that wfdb reads."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import sancodec
import sancodec.errors
from sancodec.codec.models import shipped_model
from sancodec.datasets.wfdb_record import read_wfdb, write_wfdb

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pandas, which wfdb loads
    import wfdb

RECORDS = [
    "03700181",
    "100_3chan",
    "3000003_0003",
    "310derive",
    "310derive_2",
    "311derive",
    "311derive_4",
    "a103l",
    "flacformats",
    "mixedsignals",
    "test01_00s",
    "test01_00s_frame",
    "test01_00s_skew",
    "test01_00s_skewframe",
    "v102s",
]


@pytest.mark.parametrize("name", RECORDS)
def test_record_comes_back_within_its_promise(shared_data: Path, tmp_path: Path, name: str) -> None:
    before = read_wfdb(shared_data / "wfdb-sample" / name)
    after = sancodec.decompress_recording(sancodec.compress(before, prdn=5.0))
    write_wfdb(after, tmp_path)
    restored = read_wfdb(tmp_path / name)
    for channel, x, y, stored in zip(before.channels, before.samples, after.samples, restored.samples, strict=True):
        assert np.array_equal(y, stored)
        valid = np.ones(len(x), bool) if channel.invalid is None else x != channel.invalid
        assert channel.invalid is None or np.array_equal(y[~valid], x[~valid])
        assert channel.invalid is None or np.all(y[valid] != channel.invalid)
        signal = x[valid].astype(float)
        error = np.linalg.norm(y[valid] - signal)
        assert error <= 0.05 * np.linalg.norm(signal - signal.mean()) * (1 + 1e-9)
    by_wfdb = wfdb.rdrecord(str(tmp_path / name), physical=False)
    assert by_wfdb.n_sig == len(before.channels)
    assert by_wfdb.comments == wfdb.rdheader(str(shared_data / "wfdb-sample" / name)).comments


def test_slopes_at_the_limit_of_format_8_are_refused_by_name(shared_data: Path) -> None:
    record = read_wfdb(shared_data / "wfdb-sample" / "binformats")
    with pytest.raises(sancodec.errors.QualityError, match=r"sig 0, fmt 8.*differences of at most 127"):
        sancodec.compress(record, prdn=5.0, models=(shipped_model("ecg360"),))


def test_every_format_of_one_record_comes_back(shared_data: Path, tmp_path: Path) -> None:
    record = read_wfdb(shared_data / "wfdb-sample" / "binformats")
    others = sancodec.Recording(record.channels[1:], record.samples[1:], record.frame_rate_hz)
    after = sancodec.decompress_recording(sancodec.compress(others, prdn=2.0))
    for x, y in zip(others.samples, after.samples, strict=True):
        signal = x.astype(float)
        assert np.linalg.norm(y - signal) <= 0.02 * np.linalg.norm(signal - signal.mean()) * (1 + 1e-9)
