import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Threads of BLAS and torch: tests run side by side on all processors, where more of them wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# An example takes long where a processor has much else to do.
settings.register_profile("shared processors", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared processors")

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real signals beside the checkout; see its README.md."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real signals are not at hand: {SHARED_DATA} is absent")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu``, and say why, where CUDA does not work."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from sancodec.errors import MissingDependencyError
    from sancodec.export.sessions import SessionMaker

    try:
        SessionMaker(device="cuda")
    except MissingDependencyError as error:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"not run on a GPU: {error}"))
