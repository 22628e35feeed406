import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training a network needs the train extra")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript", reason="exporting a network needs onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from sancodec.errors import MissingDependencyError  # noqa: E402
from sancodec.san.activations import Activation  # noqa: E402
from sancodec.training import san_onnx  # noqa: E402
from sancodec.training.san import SAN  # noqa: E402
from sancodec.training.san_onnx import san_graph  # noqa: E402

ALL = (
    Activation("identity"),
    Activation("relu"),
    Activation("topk_absolutes", k=6),
    Activation("extrema_pool_indices", pool_size=4),
    Activation("extrema", minimum_extrema_distance=4, border_tolerance=1),
)
# None of them as at the export.
LENGTHS = {1: [(6,), (57,), (300,)], 2: [(6, 6), (11, 24), (40, 7)]}
BOTH = pytest.mark.parametrize("n_dims", [1, 2])


@cache
def network(n_dims):
    """All five activations; weights are whole numbers, so that sums of whole samples are exact on any engine."""
    san = SAN([1, 2, 3, 4, 5], ALL, n_dims=n_dims)
    generator = torch.Generator().manual_seed(n_dims)
    with torch.no_grad():
        for kernel in san.kernels:
            kernel.copy_(torch.randint(-2, 3, kernel.shape, generator=generator))
        san.kernels[0].fill_(1)
    return san


@cache
def graph(n_dims):
    return san_graph(network(n_dims))


@cache
def session_of(content):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def both(n_dims, signals):
    """Outputs of the graph and those of the module."""
    parts = network(n_dims).decompose(signals)
    expected = [each.detach().numpy() for each in (parts.reconstruction, *parts.activation_maps)]
    return session_of(graph(n_dims)).run(None, {"signals": signals.numpy()}), expected


def shapes(n_dims):
    return [(batch, 1, *lengths) for batch in (1, 5) for lengths in LENGTHS[n_dims]]


@BOTH
def test_ties_and_plateaus_of_whole_numbers_come_out_exactly(n_dims):
    generator = torch.Generator().manual_seed(0)
    for shape in shapes(n_dims):
        for highest in (1, 3, 100):
            found, expected = both(n_dims, torch.randint(-highest, highest + 1, shape, generator=generator).float())
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@BOTH
def test_random_signals_have_the_same_indices_and_values(n_dims):
    generator = torch.Generator().manual_seed(1)
    for shape in shapes(n_dims):
        found, expected = both(n_dims, torch.randn(shape, generator=generator))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6 * np.abs(other).max())
        for one, other in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(one != 0, other != 0)


@BOTH
@pytest.mark.parametrize("level", [0.0, 1.5, -3.0])
def test_constant_windows_come_out_exactly(n_dims, level):
    for shape in shapes(n_dims):
        found, expected = both(n_dims, torch.full(shape, level))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_loop_runs_until_no_extremum_is_left():
    san = SAN([1], [Activation("extrema", minimum_extrema_distance=2)], n_dims=1)
    with torch.no_grad():
        san.kernels[0].fill_(1)
    signals = torch.zeros(1, 1, 801)
    signals[..., 1::2] = torch.linspace(3, 1, 400)
    _, kept = session_of(san_graph(san)).run(None, {"signals": signals.numpy()})
    assert np.flatnonzero(kept).tolist() == list(range(1, 801, 4))


@BOTH
def test_kernels_that_compete_do_so_in_the_graph(n_dims):
    reaches = [Activation("extrema", minimum_extrema_distance=distance) for distance in (2, 5)]
    san = SAN([3, 4], reaches, n_dims=n_dims, seed=2, competing=True)
    content = san_graph(san)
    properties = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
    assert json.loads(properties["competing"]) is True
    signals = torch.randn(shapes(n_dims)[1], generator=torch.Generator().manual_seed(3))
    found = session_of(content).run(None, {"signals": signals.numpy()})
    for one, other in zip(found[1:], san.decompose(signals).activation_maps, strict=True):
        np.testing.assert_array_equal(one != 0, other.detach().numpy() != 0)


def test_a_network_of_doubles_becomes_one_of_singles():
    san = SAN([3], [ALL[2]], n_dims=1, seed=1)
    assert san_graph(SAN([3], [ALL[2]], n_dims=1, seed=1).double()) == san_graph(san)


@BOTH
def test_an_empty_batch_gives_empty_maps(n_dims):
    found, expected = both(n_dims, torch.zeros(0, 1, *LENGTHS[n_dims][1]))
    assert [each.shape for each in found] == [each.shape for each in expected]


def test_many_elements_of_an_image_need_no_huge_example():
    content = san_graph(SAN([3], [Activation("topk_absolutes", k=26214)], n_dims=2))
    (found,) = session_of(content).run(["activation_map_0"], {"signals": torch.rand(1, 1, 170, 160).numpy()})
    assert np.count_nonzero(found) == 26214


@BOTH
def test_the_graph_says_what_it_is(n_dims):
    model = onnx.load_from_string(graph(n_dims))
    onnx.checker.check_model(model, full_check=True)
    san, properties = network(n_dims), {each.key: each.value for each in model.metadata_props}
    assert properties["kind"] == "sparsely activated network"
    assert properties["n_dims"] == str(n_dims)
    assert properties["sha256"] == san.network().sha256.hex()
    assert json.loads(properties["kernel_sizes"]) == [[size] * n_dims for size in (1, 2, 3, 4, 5)]
    described = json.loads(properties["activations"])
    assert tuple(Activation(**each) for each in described) == ALL
    assert [each.version for each in model.opset_import if not each.domain] == [18]
    assert len(graph(n_dims)) < 1_000_000


@BOTH
def test_inputs_and_outputs_have_names_free_axes_and_meanings(n_dims):
    model = onnx.load_from_string(graph(n_dims))
    values = [*model.graph.input, *model.graph.output]
    names = ["signals", "reconstruction", *(f"activation_map_{index}" for index in range(5))]
    assert [each.name for each in values] == names
    free = ["batch", 1, *(["sample"] if n_dims == 1 else ["row", "column"])]
    for each in values:
        assert [axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim] == free
        assert each.doc_string.startswith("(batch, 1, ")
    assert "5 or more samples along each axis, 6 or more in all" in model.graph.input[0].doc_string


def test_graphs_carry_no_paths_of_the_machine_that_made_them():
    for n_dims in (1, 2):
        assert b".py" not in graph(n_dims)
        assert b"torch" not in graph(n_dims)


def test_equal_kernels_have_an_output_each():
    san = SAN([3, 3], [ALL[0], ALL[0]], n_dims=1)
    found = session_of(san_graph(san)).run(None, {"signals": np.ones((1, 1, 9), np.float32)})
    assert len(found) == 3
    np.testing.assert_array_equal(found[1], found[2])


def test_the_same_network_gives_the_same_bytes():
    san = SAN([4], [ALL[3]], n_dims=1, seed=4)
    assert san_graph(san) == san_graph(san)


def test_the_module_stays_in_training():
    san = SAN([4], [ALL[0]], n_dims=1, seed=4)
    san_graph(san)
    assert san.training


def test_exporting_prints_nothing_and_warns_of_nothing():
    script = (
        "from sancodec.san.activations import Activation\n"
        "from sancodec.training.san import SAN\n"
        "from sancodec.training.san_onnx import san_graph\n"
        "assert san_graph(SAN([3], [Activation('extrema', minimum_extrema_distance=3)], n_dims=1))\n"
    )
    result = subprocess.run([sys.executable, "-Werror", "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"needs onnx and onnxscript .*; pip install onnx onnxscript$"):
        san_graph(SAN([3], [ALL[0]], n_dims=1))


def test_a_torch_that_cannot_export_is_named(monkeypatch):
    def refuse(*_, **__):
        raise torch.onnx.errors.OnnxExporterError("no loops")

    monkeypatch.setattr(san_onnx.torch.onnx, "export", refuse)
    monkeypatch.setattr(san_onnx.torch, "__version__", "2.9.1")
    with pytest.raises(MissingDependencyError, match=r"^torch .* cannot export .*; pip install 'torch>=2.13'$"):
        san_graph(SAN([3], [ALL[0]], n_dims=1))


def test_an_error_of_a_torch_that_should_export_is_not_hidden(monkeypatch):
    def refuse(*_, **__):
        raise torch.onnx.errors.OnnxExporterError("something else")

    monkeypatch.setattr(san_onnx.torch.onnx, "export", refuse)
    with pytest.raises(torch.onnx.errors.OnnxExporterError, match="something else"):
        san_graph(SAN([3], [ALL[0]], n_dims=1))
