from pathlib import Path

import numpy as np
import pytest

from sancodec.datasets.wfdb_record import read_wfdb


@pytest.fixture(scope="module")
def ecg():
    """Two leads of mitdb 100, 10 s at 360 Hz, int32 ``(channel, sample)``."""
    return np.stack(read_wfdb(Path(__file__).parents[1] / "data" / "100_10s.hea").samples)


@pytest.fixture(scope="module")
def long_ecg(ecg):
    """80 s of it with some noise, so that the beat layer is worth its bits."""
    repeated = np.tile(ecg, (1, 8))
    return repeated + np.random.default_rng(0).integers(-1, 2, repeated.shape, dtype=np.int32)
