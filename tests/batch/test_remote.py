"""Trees in object stores: a real server of the S3 protocol, and other file systems of fsspec."""

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sancodec.batch.journal import State
from sancodec.batch.places import place_at
from sancodec.batch.plan import Selection, plan_compression
from sancodec.errors import MissingDependencyError, OutputExistsError, SancodecError
from tests.batch.trees import Lines, compress, files_in, restore
from tests.cli.conftest import piped
from tests.datasets.edf_files import Signal, edf_file, ramp
from tests.datasets.test_wfdb_segments import FIXED
from tests.datasets.wfdb_files import put

fsspec = pytest.importorskip("fsspec", reason="the batch extra is not installed")


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where states of remote targets are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("s3fs", reason="the batch extra is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, state_home: Path) -> Iterator[str]:
    """The URL of an empty bucket."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": server,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("signals")
    yield "s3://signals"
    system.rm("signals", recursive=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.filterwarnings("ignore")
def test_a_tree_goes_through_an_object_store_and_back(bucket: str, tree: Path, tmp_path: Path) -> None:
    lines = Lines()
    tally = compress(tree, f"{bucket}/out", lines)
    assert (tally.n_new, tally.failures, lines.told) == (5, [], [])
    system = fsspec.filesystem("s3")
    names = {name.removeprefix("signals/out/") for name in system.find("signals/out")}
    assert names >= {"ecg/100_10s.san", "ecg/more/100_10s.san", "walk.san", "RECORDS", "sancodec-batch/state.jsonl"}
    assert restore(f"{bucket}/out", tmp_path / "back", lines).failures == []
    assert files_in(tmp_path / "back") == files_in(tree)
    again = compress(tree, f"{bucket}/out", Lines())
    assert (again.n_new, again.n_kept) == (0, 5)


@pytest.mark.filterwarnings("ignore")
def test_a_tree_in_a_store_is_compressed_into_another(bucket: str, tree: Path, tmp_path: Path) -> None:
    system = fsspec.filesystem("s3")
    put(tree / "long", FIXED)
    (tree / "night.edf").write_bytes(edf_file([Signal(ramp(2, 4))]))
    system.put(f"{tree}/", "signals/in/", recursive=True)
    assert compress(f"{bucket}/in", f"{bucket}/out", Lines()).n_new == 7
    assert restore(f"{bucket}/out", f"{bucket}/back", Lines()).failures == []
    system.get("signals/back/", f"{tmp_path}/back/", recursive=True)
    assert files_in(tmp_path / "back") == files_in(tree)


@pytest.mark.filterwarnings("ignore")
def test_another_machine_goes_on_with_the_state_in_the_store(
    bucket: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress(tree, f"{bucket}/out", Lines())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    fsspec.filesystem("s3").rm("signals/out/walk.san")
    tally = compress(tree, f"{bucket}/out", Lines())
    assert (tally.n_new, tally.n_kept) == (1, 4)


@pytest.mark.filterwarnings("ignore")
def test_an_object_of_somebody_else_is_not_replaced(bucket: str, tree: Path) -> None:
    fsspec.filesystem("s3").pipe("signals/out/walk.san", b"mine")
    tally = compress(tree, f"{bucket}/out", Lines())
    assert [path for path, _ in tally.failures] == ["walk.npy"]
    assert fsspec.filesystem("s3").cat("signals/out/walk.san") == b"mine"


@pytest.mark.filterwarnings("ignore")
def test_missing_credentials_are_told_in_one_line(
    server: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    done = piped("batch", "s3://signals/in", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "sancodec: error: s3://signals/in: Unable to locate credentials (NoCredentialsError)"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path) -> None:
    with pytest.raises((SancodecError, OSError), match="s3://absent/in"):
        compress("s3://absent/in", tmp_path / "out", Lines())


@pytest.fixture
def memory(state_home: Path) -> Iterator[Any]:
    """A file system without atomic writes, in this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_elsewhere_a_file_appears_under_its_name_when_it_is_whole(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_at("memory://x")
    with place.new("a/b.san", replace=False) as file:
        file.write(b"content")
        assert memory.find("/x") == []
    assert memory.cat("/x/a/b.san") == b"content"
    put = memory.put_file

    def fail_halfway(local: str, target: str) -> None:
        put(local, target)
        raise ConnectionError("lost")

    monkeypatch.setattr(memory, "put_file", fail_halfway)
    with pytest.raises(OSError, match="lost"), place.new("a/c.san", replace=False) as file:
        file.write(b"content")
    assert memory.find("/x") == ["/x/a/b.san"]


def test_a_remote_file_is_replaced_only_when_asked(memory: Any) -> None:
    place = place_at("memory://x")
    memory.pipe("/x/a", b"mine")
    with pytest.raises(OutputExistsError, match="memory://x/a: exists already"), place.new("a", replace=False):
        pass
    with place.new("a", replace=True) as file:
        file.write(b"new")
    assert memory.cat("/x/a") == b"new"


def test_a_remote_tree_is_listed_and_fetched(memory: Any) -> None:
    memory.pipe({"/x/b/c": b"123", "/x/a": b""})
    place = place_at("memory://x")
    listing = place.listing()
    assert [(each.path, each.n_bytes) for each in listing.files] == [("a", 0), ("b/c", 3)]
    assert listing.folders == ["b"]
    with place.local(["b/c"]) as folder:
        assert (folder / "b" / "c").read_bytes() == b"123"
    assert place.digest("absent") is None
    assert place.stamp("absent") is None


def test_headers_alone_are_fetched_to_plan(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe(
        {f"/x/{name}": content if isinstance(content, bytes) else content.encode() for name, content in FIXED.items()}
    )
    memory.pipe("/x/night.edf", b"large")
    place = place_at("memory://x")
    fetched: list[str] = []
    get = memory.get

    def keep_and_get(paths: list[str], targets: list[str]) -> None:
        fetched.extend(path.rpartition("/")[2] for path in paths)
        get(paths, targets)

    monkeypatch.setattr(memory, "get", keep_and_get)
    monkeypatch.setattr("sancodec.batch.plan._FETCHED_TOGETHER", 1)
    plan = plan_compression(place, place.listing(), State(), Selection(), has_others=True, exact=True)
    inputs = {task.source: {each.path for each in task.inputs} for task in plan.tasks}
    assert inputs == {"m.hea": set(FIXED), "night.edf": {"night.edf"}}
    assert set(fetched) == {"m.hea", "a.hea", "b.hea"}


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *arguments: Any, **others: Any) -> Any:
        if name.split(".")[0] == "fsspec":
            raise ImportError(name)
        return found(name, *arguments, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sancodec\[batch\]'"):
        place_at("s3://bucket/x")


def test_runs_on_this_machine_load_nothing_of_clusters_and_stores(tree: Path, tmp_path: Path) -> None:
    script = (
        "import sys, json\n"
        "from tests.batch.trees import Lines, compress\n"
        f"compress({str(tree)!r}, {str(tmp_path / 'out')!r}, Lines())\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    import subprocess
    import sys

    path = tmp_path / "local.py"
    path.write_text("if __name__ == '__main__':\n    " + script.replace("\n", "\n    "))
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )
    assert not set(json.loads(done.stdout)) & {"distributed", "dask", "fsspec", "s3fs", "matplotlib"}
