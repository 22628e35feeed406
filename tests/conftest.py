from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real signals beside the checkout; see its README.md."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real signals are not at hand: {SHARED_DATA} is absent")
    return SHARED_DATA
