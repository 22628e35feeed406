import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec import transform
from sancodec.codec.models import shipped_model, shipped_names

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from sancodec.export.graphs import graph_bytes, write_graphs  # noqa: E402

SHAPES = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 3), (3, 7), (1, 40)]  # signals, periods


def run(content, inputs):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, inputs)


def synthesise(bank, amplitudes):
    inputs = {f"amplitudes_{index}": maps for index, maps in enumerate(amplitudes)}
    return run(graph_bytes(bank, "synthesis"), inputs)[0]


def dense_synthesis(bank, amplitudes):
    """The sum of the module docstring of sancodec.codec.kernels, window by window, in Python's exact integers."""
    n_signals = len(amplitudes[0])
    length = amplitudes[0].shape[1] * bank.groups[0].stride
    total = np.zeros((n_signals, length), object)
    for group, maps in zip(bank.groups, amplitudes, strict=True):
        for window in range(maps.shape[1]):
            positions = (np.arange(group.length) + window * group.stride + group.offset) % length
            sums = maps[:, window].astype(np.int64).astype(object) @ group.weights.astype(object)  # (signal, position)
            for signal in range(n_signals):
                np.add.at(total[signal], positions, sums[signal])
    return total


@pytest.mark.parametrize(("n_signals", "n_periods"), SHAPES)
def test_similarity_agrees_with_numpy(bank, random_signals, n_signals, n_periods):
    signals = random_signals(bank, n_signals, n_periods)
    expected = transform.similarity(bank, signals)
    found = run(graph_bytes(bank, "similarity"), {"signals": signals})
    assert [maps.dtype for maps in found] == [np.float32] * len(bank.groups)
    for maps, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(maps, reference, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(("n_signals", "n_periods"), SHAPES)
def test_synthesis_is_bit_identical_with_numpy_up_to_the_bound(bank, random_amplitudes, n_signals, n_periods):
    amplitudes = random_amplitudes(bank, n_signals, n_periods)
    found = synthesise(bank, amplitudes)
    assert found.dtype == np.float64
    assert np.array_equal(found, transform.synthesise(bank, amplitudes))


@pytest.mark.parametrize("n_periods", [1, 2])
def test_synthesis_is_the_sum_that_defines_it(bank, random_amplitudes, n_periods):
    amplitudes = random_amplitudes(bank, 2, n_periods)
    assert np.array_equal(synthesise(bank, amplitudes).astype(np.int64), dense_synthesis(bank, amplitudes))


@pytest.mark.parametrize("n_periods", [1, 5])
def test_synthesis_is_the_adjoint_of_similarity(bank, random_signals, random_amplitudes, n_periods):
    signals = random_signals(bank, 2, n_periods)
    amplitudes = random_amplitudes(bank, 2, n_periods)
    similarities = run(graph_bytes(bank, "similarity"), {"signals": signals})
    forward = sum(np.vdot(s.astype(np.float64), a) for s, a in zip(similarities, amplitudes, strict=True))
    backward = np.vdot(signals.astype(np.float64), synthesise(bank, amplitudes)) / 65536
    scale = sum(np.linalg.norm(s) * np.linalg.norm(a) for s, a in zip(similarities, amplitudes, strict=True))
    assert abs(forward - backward) < 1e-6 * scale


def test_one_session_takes_any_number_of_signals_and_windows(bank, random_amplitudes):
    session = onnxruntime.InferenceSession(graph_bytes(bank, "synthesis"), providers=["CPUExecutionProvider"])
    for n_signals, n_periods in SHAPES:
        amplitudes = random_amplitudes(bank, n_signals, n_periods)
        inputs = {value.name: maps for value, maps in zip(session.get_inputs(), amplitudes, strict=True)}
        assert np.array_equal(session.run(None, inputs)[0], transform.synthesise(bank, amplitudes))


@pytest.mark.parametrize("kind", ["similarity", "synthesis"])
def test_graph_says_what_it_is(bank, kind):
    proto = onnx.load_from_string(graph_bytes(bank, kind))
    properties = {item.key: item.value for item in proto.metadata_props}
    assert properties == {"kind": kind, "name": bank.name, "sha256": bank.sha256.hex()}
    assert all("unit" in value.doc_string for value in [*proto.graph.input, *proto.graph.output])


@pytest.mark.parametrize("kind", ["similarity", "synthesis"])
def test_graph_has_no_operator_that_could_round_differently(bank, kind):
    operators = {node.op_type for node in onnx.load_from_string(graph_bytes(bank, kind)).graph.node}
    assert operators <= {"MatMul", "Add", "Concat", "Slice", "Reshape", "Gather", "Shape", "Mod"}


@pytest.mark.parametrize("kind", ["similarity", "synthesis"])
@pytest.mark.parametrize("name", shipped_names())
def test_shipped_graph_is_what_the_model_gives_today(name, kind):
    shipped = resources.files("sancodec") / "models" / f"{name}.{kind}.onnx"
    assert shipped.is_file(), f"python -m sancodec.export.graphs {name} sancodec/models"
    assert shipped.read_bytes() == graph_bytes(shipped_model(name), kind)


def test_command_writes_the_two_graphs_of_a_model_file(lapped, tmp_path: Path):
    model_path = tmp_path / "lapped.sanm"
    model_path.write_bytes(lapped.content)
    command = [sys.executable, "-m", "sancodec.export.graphs", str(model_path), str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert printed.stdout.split() == [str(tmp_path / f"lapped.{kind}.onnx") for kind in ("similarity", "synthesis")]
    assert (tmp_path / "lapped.synthesis.onnx").read_bytes() == graph_bytes(lapped, "synthesis")


def test_graphs_of_equal_models_are_equal_bytes(lapped, tmp_path: Path):
    first = [path.read_bytes() for path in write_graphs(lapped, tmp_path)]
    transform.blocked_groups.cache_clear()
    assert [path.read_bytes() for path in write_graphs(lapped, tmp_path)] == first
