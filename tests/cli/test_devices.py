import json
import shutil
import sys
from pathlib import Path

import pytest

from sancodec.cli import options
from sancodec.export import engine as engine_module
from sancodec.export import sessions
from tests.cli.conftest import Run

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _fresh_engines():
    options._opened.cache_clear()
    yield
    options._opened.cache_clear()


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_cuda_obstacle", lambda runtime: "there is no NVIDIA driver (libcuda.so.1)")


@pytest.fixture
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything but the provider is as with CUDA; the graphs that were opened."""
    opened: list[str] = []
    monkeypatch.setattr(sessions, "_cuda_obstacle", lambda runtime: None)
    monkeypatch.setattr(sessions, "_cuda_providers", lambda: ["CPUExecutionProvider"])
    bound = engine_module._bound

    def noting(session, name):
        opened.append(f"{name} {session.get_modelmeta().custom_metadata_map['kind']}")
        return bound(session, name)

    monkeypatch.setattr(engine_module, "_bound", noting)
    return opened


def test_auto_falls_back_to_the_cpu_and_says_so_once(run: Run, record: Path, without_cuda: None) -> None:
    for suffix in (".dat", ".hea"):
        shutil.copy(f"100_10s{suffix}", f"other{suffix}")
    Path("other.hea").write_text(Path("other.hea").read_text().replace("100_10s", "other"))
    run("compress", record, "-o", "plain.san")
    note = "sancodec: note: CUDA does not work here (there is no NVIDIA driver (libcuda.so.1)); the CPU is used\n"
    found = run("compress", record, "other.hea", "-o", ".", "--device", "auto")
    assert (found.status, found.err) == (0, note)
    assert Path("100_10s.san").read_bytes() == Path("plain.san").read_bytes()
    options._opened.cache_clear()
    assert run("decompress", "100_10s.san", "other.san", "-o", ".", "-f", "--device", "auto").err == note
    options._opened.cache_clear()
    assert run("verify", "100_10s.san", "--device", "auto", "-q").err == ""


def test_auto_without_onnxruntime_takes_numpy(run: Run, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = run("compress", record, "--device", "auto")
    assert found.status == 0
    assert "sancodec: note: CUDA does not work here (onnxruntime cannot be imported" in found.err
    assert found.err.count("\n") == 1
    found = run("verify", "100_10s.san", "--device", "auto", "--engine", "onnx")
    assert found.status == 1
    assert found.err.startswith("sancodec: error: onnxruntime cannot be imported")


def test_numpy_computes_where_auto_falls_back(without_cuda: None) -> None:
    assert options.Transform(None, "auto").engine(quiet=True).name == "numpy"
    assert options.Transform("onnx", "auto").engine(quiet=True).name == "onnxruntime-cpu"


@pytest.mark.parametrize("engine", [(), ("--engine", "onnx")])
def test_cuda_that_does_not_work_is_one_line_for_all_inputs(
    run: Run, record: Path, without_cuda: None, engine: tuple[str, ...]
) -> None:
    run("compress", record, "-o", "100.san")
    commands = [
        ("compress", record, record, "-o", "."),
        ("decompress", "100.san", "100.san", "-o", "."),
        ("verify", "100.san", "100.san"),
        ("compare", record, "100.san"),
    ]
    before = sorted(Path().iterdir())
    for command in commands:
        found = run(*command, "--device", "cuda", *engine)
        assert found.status == 1
        assert found.out == ""
        assert found.err.startswith("sancodec: error: device 'cuda' does not work here: there is no NVIDIA driver")
        assert found.err.endswith("or take device 'cpu'\n")
        assert found.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


def test_numpy_on_a_gpu_is_a_usage_error(run: Run, record: Path) -> None:
    for device in ("cuda", "auto"):
        found = run("compress", record, "--engine", "numpy", "--device", device)
        assert found.status == 2
        assert f"--engine numpy runs on the CPU; --device {device} needs onnx" in found.err


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_every_command_takes_the_device_where_it_works(
    run: Run, record: Path, pretended_cuda: list[str], device: str
) -> None:
    assert run("compress", record, "--device", device).err == ""
    assert pretended_cuda[0] == "onnxruntime-cuda similarity"
    assert "onnxruntime-cuda synthesis" in pretended_cuda
    assert run("decompress", "100_10s.san", "-o", "there", "--device", device).err == ""
    assert run("decompress", "100_10s.san", "-o", "here").status == 0
    assert Path("there/100_10s.dat").read_bytes() == Path("here/100_10s.dat").read_bytes()
    assert run("verify", "100_10s.san", "--device", device).status == 0
    first = json.loads(run("compare", record, "100_10s.san", "--device", device, "--json").out)
    assert first == json.loads(run("compare", record, "100_10s.san", "--json").out)


def test_a_device_that_is_lost_in_the_middle_leaves_nothing_behind(
    run: Run, record: Path, pretended_cuda: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("compress", record, "-o", "100.san")
    before = sorted(Path().iterdir())

    def lost(session, name):
        def run(inputs, outputs):
            raise engine_module._device_error(name, RuntimeError("CUDA failure 999: unknown error\nat line 1"))

        return run

    monkeypatch.setattr(engine_module, "_bound", lost)
    for command in (("compress", record), ("decompress", "100.san", "-o", ".", "-f")):
        found = run(*command, "--device", "cuda")
        assert found.status == 1
        assert found.err.count("\n") == 1
        assert "onnxruntime-cuda fails (CUDA failure 999: unknown error); take device 'cpu'" in found.err
    assert sorted(Path().iterdir()) == before


@pytest.mark.gpu
def test_files_of_cuda_and_cpu_decode_to_the_same_on_both(run: Run, record: Path) -> None:
    run("compress", record, "--device", "cuda")
    for device in ("cpu", "cuda"):
        assert run("decompress", "100_10s.san", "-o", device, "--device", device).status == 0
    assert Path("cpu/100_10s.dat").read_bytes() == Path("cuda/100_10s.dat").read_bytes()
