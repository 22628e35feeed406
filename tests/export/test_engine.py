import subprocess
import sys
from base64 import b85decode
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from sancodec.codec import transform
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.errors import DeviceError, MissingDependencyError
from sancodec.export import engine as engine_module
from sancodec.export import sessions
from sancodec.export.engine import OnnxEngine

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def cpu():
    return OnnxEngine(device="cpu")


@pytest.fixture
def shipped(graphs_folder, monkeypatch):
    monkeypatch.setattr(engine_module, "_FOLDER", graphs_folder)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_engine_agrees_with_numpy(bank, random_signals, random_amplitudes, threads):
    pytest.importorskip("onnx")
    engine = OnnxEngine(device="cpu", threads=threads)
    signals = random_signals(bank, 3, 5)
    amplitudes = random_amplitudes(bank, 3, 5)
    assert engine.name == "onnxruntime-cpu"
    for maps, reference in zip(engine.similarity(bank, signals), transform.similarity(bank, signals), strict=True):
        np.testing.assert_allclose(maps, reference, rtol=1e-5, atol=1e-2)
    assert np.array_equal(engine.synthesise(bank, amplitudes), transform.synthesise(bank, amplitudes))


def test_arrays_that_are_not_contiguous_are_taken(shipped, cpu, lapped, random_signals, random_amplitudes):
    signals = random_signals(lapped, 4, 3)[::2]
    amplitudes = [maps[:, :, ::-1] for maps in random_amplitudes(lapped, 2, 3)]
    for maps, reference in zip(cpu.similarity(lapped, signals), transform.similarity(lapped, signals), strict=True):
        np.testing.assert_allclose(maps, reference, rtol=1e-5, atol=1e-2)
    assert np.array_equal(cpu.synthesise(lapped, amplitudes), transform.synthesise(lapped, amplitudes))


@pytest.mark.parametrize(("n_signals", "n_periods"), [(0, 2), (2, 0), (0, 0)])
def test_empty_input_gives_empty_output(shipped, cpu, lapped, random_signals, random_amplitudes, n_signals, n_periods):
    similarities = cpu.similarity(lapped, random_signals(lapped, n_signals, n_periods))
    amplitudes = random_amplitudes(lapped, n_signals, n_periods)
    assert [maps.shape for maps in similarities] == [maps.shape for maps in amplitudes]
    assert cpu.synthesise(lapped, amplitudes).shape == (n_signals, n_periods * lapped.period)


def test_small_batches_and_shared_engines_give_the_same(
    shipped, lapped, random_signals, random_amplitudes, monkeypatch
):
    whole, cut = OnnxEngine(device="cpu"), OnnxEngine(device="cpu", batch_samples=3 * lapped.period)
    signals, amplitudes = random_signals(lapped, 7, 2), random_amplitudes(lapped, 7, 2)
    sizes, bound = [], engine_module._bound

    def noting(session, name):
        run = bound(session, name)
        return lambda inputs, outputs: (sizes.append(len(inputs[0])), run(inputs, outputs))

    monkeypatch.setattr(engine_module, "_bound", noting)
    with ThreadPoolExecutor(4) as pool:
        similarities = list(pool.map(lambda _: cut.similarity(lapped, signals), range(6)))
        sums = list(pool.map(lambda _: cut.synthesise(lapped, amplitudes), range(6)))
    assert sizes == 84 * [1]
    for maps in similarities:
        for each, reference in zip(maps, whole.similarity(lapped, signals), strict=True):
            np.testing.assert_allclose(each, reference, rtol=1e-5, atol=1e-2)
    assert all(np.array_equal(each, transform.synthesise(lapped, amplitudes)) for each in sums)


def test_a_device_that_fails_is_told_in_one_line(shipped, cpu, lapped, random_amplitudes, monkeypatch, capfd):
    amplitudes = random_amplitudes(lapped, 1, 2)
    with pytest.raises(DeviceError, match=r"^onnxruntime-cpu fails \(.+\); take smaller batches, or NumPy$"):
        cpu.synthesise(lapped, [*amplitudes[:-1], amplitudes[-1][:, :-1]])
    assert capfd.readouterr() == ("", "")

    def full(graph):
        raise RuntimeError("CUDA failure 2: out of memory\nmore")

    monkeypatch.setattr(cpu, "_sessions_of", full)
    with pytest.raises(DeviceError, match=r"fails \(CUDA failure 2: out of memory\); take") as caught:
        cpu.similarity(lapped, np.ones((1, lapped.period), np.float32))
    assert "\n" not in str(caught.value)


def test_other_types_and_orders_of_bytes_are_taken(shipped, cpu, lapped, random_signals, random_amplitudes):
    signals, amplitudes = random_signals(lapped, 2, 2), random_amplitudes(lapped, 2, 2)
    expected = cpu.similarity(lapped, signals)
    for given in (signals.astype(">f4"), signals.astype(np.float64)):
        assert all(map(np.array_equal, cpu.similarity(lapped, given), expected))
    for kind in (">f8", "i8"):
        found = cpu.synthesise(lapped, [maps.astype(kind) for maps in amplitudes])
        assert np.array_equal(found, transform.synthesise(lapped, amplitudes))


@pytest.mark.parametrize("device", ["CUDA", "gpu", "", None])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(DeviceError, match="is unknown; take one of auto, cpu, cuda"):
        OnnxEngine(device=device)


def test_cuda_computes_without_tf32():
    ((name, options), fallback) = sessions._cuda_providers()
    assert (name, options["use_tf32"], fallback) == ("CUDAExecutionProvider", "0", "CPUExecutionProvider")


def test_a_device_that_multiplies_wrongly_is_not_used(monkeypatch):
    class Session:
        def get_providers(self):
            return ["CUDAExecutionProvider"]

        def run(self, names, feeds):
            return [np.array([[2.0**40]])]

    class Runtime:
        def get_available_providers(self):
            return ["CUDAExecutionProvider"]

        def InferenceSession(self, content, providers):  # noqa: N802
            return Session()

    monkeypatch.setattr(sessions.ctypes, "CDLL", lambda name: None)
    assert sessions._cuda_obstacle(Runtime()) == "CUDA gives a wrong product"


def test_engines_made_at_once_leave_the_streams_as_they_were():
    script = """
import os, sys, threading
before = sys.stdout, sys.stderr, os.fstat(2).st_ino
from sancodec.export.engine import OnnxEngine
threads = [threading.Thread(target=OnnxEngine, kwargs={"device": "auto"}) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert (sys.stdout, sys.stderr, os.fstat(2).st_ino) == before
print("told", file=sys.stderr)
"""
    finished = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "told\n")


def test_session_is_made_once_per_model_and_graph(shipped, cpu, lapped, random_signals, random_amplitudes, monkeypatch):
    opened = []
    monkeypatch.setattr(cpu, "_opened", lambda model, kind: opened.append(kind) or OnnxEngine._opened(cpu, model, kind))
    for _ in range(3):
        cpu.similarity(lapped, random_signals(lapped, 1, 2))
        cpu.synthesise(lapped, random_amplitudes(lapped, 1, 2))
    assert opened == ["similarity", "synthesis"]


def test_oldest_session_is_let_go_when_there_are_too_many(shipped, cpu, lapped, random_signals, monkeypatch):
    monkeypatch.setattr(engine_module, "_MAX_SESSIONS", 2)
    for index in range(2):
        cpu._runs[bytes([index]), "similarity"] = object()
    cpu.similarity(lapped, random_signals(lapped, 1, 1))
    assert list(cpu._runs) == [(b"\1", "similarity"), (lapped.sha256, "similarity")]


def test_graph_of_another_model_with_the_same_name_is_not_used(
    bank, graphs_folder, cpu, random_signals, monkeypatch, tmp_path
):
    (tmp_path / f"{bank.name}.similarity.onnx").write_bytes((graphs_folder / "dyadic.similarity.onnx").read_bytes())
    monkeypatch.setattr(engine_module, "_FOLDER", tmp_path)
    signals = random_signals(bank, 1, 2)
    for maps, reference in zip(cpu.similarity(bank, signals), transform.similarity(bank, signals), strict=True):
        np.testing.assert_allclose(maps, reference, rtol=1e-5, atol=1e-2)


def test_model_without_graphs_asks_for_onnx(cpu, lapped, random_signals, monkeypatch, tmp_path):
    monkeypatch.setattr(engine_module, "_FOLDER", tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "sancodec.export.graphs", raising=False)
    with pytest.raises(MissingDependencyError, match=r"'lapped'.*pip install sancodec\[train\]"):
        cpu.similarity(lapped, random_signals(lapped, 1, 1))


def test_shipped_graphs_run_without_torch_and_onnx(graphs_folder, lapped, tmp_path):
    (tmp_path / "model.sanm").write_bytes(lapped.content)
    script = f"""
import sys
from pathlib import Path
import numpy as np
from sancodec.codec.kernels import decode_model
from sancodec.export import engine
assert "onnxruntime" not in sys.modules
engine._FOLDER = Path({str(graphs_folder)!r})
model = decode_model(Path({str(tmp_path / "model.sanm")!r}).read_bytes())
codec = engine.OnnxEngine()
similarities = codec.similarity(model, np.ones((1, 512), np.float32))
codec.synthesise(model, [np.rint(maps).astype(np.float64) for maps in similarities])
assert not {{"torch", "onnx", "sancodec.export.graphs"}} & set(sys.modules)
"""
    finished = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["similarity", "synthesis"])
@pytest.mark.parametrize("name", shipped_names())
def test_shipped_model_has_graphs_that_name_its_digest(name, kind):
    model = shipped_model(name)
    content = engine_module._shipped_graph(model.name, kind)
    assert content is not None, f"python -m sancodec.export.graphs {name} sancodec/models"
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["sha256"] == model.sha256.hex()


def test_missing_onnxruntime_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="pip install onnxruntime"):
        OnnxEngine()


def test_cuda_asked_for_where_there_is_none_gives_one_line(capfd):
    if sessions._cuda_obstacle(onnxruntime) is None:
        pytest.skip("CUDA works here")
    with pytest.raises(
        MissingDependencyError, match=r"^device 'cuda' does not work here: .* or take device 'cpu'$"
    ) as caught:
        OnnxEngine(device="cuda")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is at hand")
def test_silent_fallback_of_onnxruntime_to_the_cpu_is_noticed(monkeypatch, capfd):
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(sessions.ctypes, "CDLL", lambda name: None)
    with pytest.raises(MissingDependencyError, match="cannot load its CUDA libraries"):
        OnnxEngine(device="cuda")
    engine = OnnxEngine(device="auto")
    assert (engine.name, engine.fallback) == ("onnxruntime-cpu", "onnxruntime cannot load its CUDA libraries")
    assert capfd.readouterr() == ("", "")


def test_chatter_on_file_descriptor_2_is_muted_and_restored(capfd):
    with sessions._muted():
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'unwanted')"], check=True)
        print("unwanted")
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'wanted')"], check=True)
    assert capfd.readouterr() == ("", "wanted")


def test_probe_graph_is_a_double_product():
    onnx = pytest.importorskip("onnx")
    tensor = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.DOUBLE)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "p",
        [tensor("x", shape=[1, 2])],
        [tensor("y", shape=[1, 1])],
        [onnx.numpy_helper.from_array(np.ones((2, 1)), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    assert b85decode(sessions.PROBE_GRAPH) == model.SerializeToString(deterministic=True)


@pytest.mark.gpu
def test_cuda_gives_the_same_bits(bank, random_signals, random_amplitudes):
    pytest.importorskip("onnx")
    engine = OnnxEngine(device="cuda")
    assert engine.name == OnnxEngine().name == "onnxruntime-cuda"
    for n_signals, n_periods in [(1, 1), (3, 40)]:
        signals = random_signals(bank, n_signals, n_periods)
        amplitudes = random_amplitudes(bank, n_signals, n_periods)
        for maps, reference in zip(engine.similarity(bank, signals), transform.similarity(bank, signals), strict=True):
            np.testing.assert_allclose(maps, reference, rtol=1e-5, atol=1e-2)
        assert np.array_equal(engine.synthesise(bank, amplitudes), transform.synthesise(bank, amplitudes))
