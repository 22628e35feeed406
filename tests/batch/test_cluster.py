"""Batches on a Dask cluster of two worker processes."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sancodec.errors import InvalidSignalError, SancodecError
from tests.batch.trees import Lines, compress, files_in, restore

distributed = pytest.importorskip("distributed", reason="the batch extra is not installed")
pytestmark = [
    # Of a cluster whose worker is killed, and of a scheduler in the same process.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as local:
        yield local


def test_a_killed_worker_loses_no_file_and_does_none_twice(cluster: Any, tree: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(10):
        np.save(tree / f"array{index}.npy", rng.integers(-9, 9, (2, 20_000)).cumsum(axis=1).astype(np.int32))
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    state = tmp_path / "out" / "sancodec-batch" / "state.jsonl"
    killed: list[int] = []

    def kill_one() -> None:
        while not state.exists() or state.read_text().count('"sha256"') < 4:
            time.sleep(0.01)
        killed.append(next(iter(cluster.workers.values())).pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    lines = Lines()
    tally = compress(tree, tmp_path / "out", lines, address)
    killer.join(10)
    assert killed
    assert lines.told == []
    assert (tally.n_new, tally.failures) == (15, [])
    sources = [json.loads(line).get("source") for line in state.read_text().splitlines()]
    sources = [source for source in sources if source is not None]
    assert len(sources) == len(set(sources)) == 15
    assert restore(tmp_path / "out", tmp_path / "back", Lines(), address).failures == []
    assert files_in(tmp_path / "back") == files_in(tree)
    again = compress(tree, tmp_path / "out", Lines(), address)
    assert (again.n_new, again.n_kept) == (0, 15)


def test_a_failing_file_does_not_stop_the_cluster(cluster: Any, tree: Path, tmp_path: Path) -> None:
    np.save(tree / "floats.npy", np.zeros(10))
    lines = Lines()
    tally = compress(tree, tmp_path / "out", lines, cluster.scheduler_address)
    assert tally.n_new == 5
    assert [path for path, _ in tally.failures] == ["floats.npy"]
    assert len(lines.told) == 1


def test_a_scheduler_that_is_not_there_is_told_in_one_line(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sancodec.batch.cluster._CONNECT_S", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(SancodecError, match="no scheduler answers there") as told:
            compress(tree, tmp_path / "out", Lines(), f"dask://127.0.0.1:{port}")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "http://h:1", "dask://h", "dask://h:x"])
def test_what_is_no_address_is_refused(tree: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidSignalError, match="is no scheduler"):
        compress(tree, tmp_path / "out", Lines(), address)


def test_workers_of_another_release_are_refused(
    cluster: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sancodec.batch.cluster.release", _other_release)
    with pytest.raises(SancodecError, match="install the same release"):
        compress(tree, tmp_path / "out", Lines(), cluster.scheduler_address)


def _other_release() -> str:
    return f"0.0.{os.getpid()}"
