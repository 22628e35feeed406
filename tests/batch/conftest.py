import shutil
from pathlib import Path

import numpy as np
import pytest

from sancodec.batch.places import place_at

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree: records in two folders, annotations, a list, an array, an empty folder."""
    source = tmp_path / "source"
    for folder in ("ecg", "ecg/more"):
        (source / folder).mkdir(parents=True, exist_ok=True)
        for suffix in (".dat", ".hea"):
            shutil.copy(DATA / f"100_10s{suffix}", source / folder)
    (source / "empty").mkdir()
    (source / "RECORDS").write_text("ecg/100_10s\n")
    (source / "ecg" / "100_10s.atr").write_bytes(bytes(range(256)))
    rng = np.random.default_rng(1)
    np.save(source / "walk.npy", rng.integers(-30, 30, (2, 2000)).cumsum(axis=1).astype(np.int16))
    return source


@pytest.fixture(autouse=True)
def fresh_places() -> None:
    """A path names another tree in the next test."""
    place_at.cache_clear()
