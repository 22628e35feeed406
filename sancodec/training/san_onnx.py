"""The ONNX graph of a Sparsely Activated Network, exported from its torch module. Needs ``onnx`` and ``onnxscript``.

torch.onnx.export with torch.export: the greedy rounds of Extrema become a Loop that runs until no extremum is left, and
batch and lengths stay free.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from sancodec.errors import MissingDependencyError
from sancodec.san.activations import POOL, TOPK
from sancodec.training.san import SAN

if TYPE_CHECKING:
    import onnx

OPSET = 18
_AXES = ("sample",), ("row", "column")
_KNOWN_TO_EXPORT = "2.13"
_KIND = "sparsely activated network"


def san_graph(module: SAN) -> bytes:
    """The bytes of an ONNX file that decomposes and reconstructs signals as a module does.

    Its input is ``signals``, float32, shape ``(batch, 1, sample)`` or ``(batch, 1, row, column)`` with free batch and
    lengths; its outputs, of the same shape, are ``reconstruction`` and ``activation_map_0``, ``activation_map_1`` …
    The metadata has ``kind``, ``n_dims``, ``kernel_sizes`` and ``activations`` (JSON), ``competing`` (JSON), and
    ``sha256``, the digest of the kernels of ``SparselyActivatedNetwork``.

    The same similarities give the same indices. Engines add the products of a similarity in another order, so that
    similarities which differ by less than rounding may change places. A graph cannot refuse signals: those that the
    module refuses give no meaningful result, or an error of the runtime.

    Parameters
    ----------
    module
        On any device and of any precision; it stays as it is.

    Raises
    ------
    MissingDependencyError
        Without ``onnx`` or ``onnxscript``, or when torch cannot export loops yet.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting a network needs onnx and onnxscript ({error}); pip install onnx onnxscript"
        ) from None
    names = ["reconstruction", *(f"activation_map_{index}" for index in range(len(module.kernels)))]
    # onnxruntime has no convolution of doubles for the CPU.
    module = copy.deepcopy(module).cpu().float().eval()
    signals = torch.zeros(2, 1, *_example_lengths(module))
    free = {0: torch.export.Dim("batch")}
    free |= {axis: torch.export.Dim(name) for axis, name in enumerate(_AXES[module.n_dims - 1], start=2)}
    with _quiet():
        try:
            program = torch.onnx.export(
                _Outputs(module).eval(),
                (signals,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                input_names=["signals"],
                output_names=names,
                dynamic_shapes=(free,),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            if torch.torch_version.TorchVersion(torch.__version__) >= _KNOWN_TO_EXPORT:
                raise
            raise MissingDependencyError(
                f"torch {torch.__version__} cannot export this network ({type(error).__name__}); "
                f"pip install 'torch>={_KNOWN_TO_EXPORT}'"
            ) from error
    assert program is not None
    model = program.model_proto
    _describe(model, module)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _stable_sort(
    tensor: Any, stable: bool = True, dim: int = -1, descending: bool = False, out: None = None
) -> tuple[Any, Any]:
    """What torch.onnx has no translation for: TopK of all elements puts equal ones in the order of their indices."""
    from onnxscript import opset18 as operators

    n_elements = operators.Shape(tensor, start=dim, end=dim + 1)
    values, indices = operators.TopK(tensor, n_elements, axis=dim, largest=int(descending))
    return values, indices


class _Outputs(torch.nn.Module):
    """A network whose result is a tuple of tensors."""

    def __init__(self, san: SAN) -> None:
        super().__init__()
        self.san = san

    def forward(self, signals: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = self.san.decompose(signals)
        return parts.reconstruction, *parts.activation_maps


def _minimum_length(module: SAN) -> int:
    """The least length of every axis that all kernels and pools fit into; top-k may need more."""
    pools = [each.sparsity for each in module.activations if each.name == POOL]
    return max([*(int(kernel.shape[0]) for kernel in module.kernels), *pools])


def _example_lengths(module: SAN) -> list[int]:
    """Long enough for everything, and different, so that no length is taken for a constant or for another one."""
    most = max([1, *(each.sparsity for each in module.activations if each.name == TOPK)])
    each_axis = max(_minimum_length(module), math.ceil(most ** (1 / module.n_dims)))
    return [2 * each_axis + 5 + 4 * axis for axis in range(module.n_dims)]


def _describe(model: onnx.ModelProto, module: SAN) -> None:
    """Title, metadata, and what inputs and outputs mean; without the traces of source files that torch leaves."""
    from onnx import helper

    axes = ", ".join(("batch", "1", *_AXES[module.n_dims - 1]))
    needed = [f"{_minimum_length(module)} or more samples along each axis"]
    needed += [f"{each.sparsity} or more in all" for each in module.activations if each.name == TOPK]
    model.doc_string = model.graph.doc_string = f"{_KIND}, arXiv:1907.06592"
    model.graph.name = "san"
    model.producer_name, model.producer_version = "sancodec", ""
    model.graph.input[0].doc_string = f"({axes}): finite samples in any unit; {', '.join(needed)}"
    for index, output in enumerate(model.graph.output):
        output.doc_string = f"({axes}): sum of the partial reconstructions, in the unit of the signals"
        if index:
            output.doc_string = (
                f"({axes}): similarity with kernel {index - 1} where it is active, 0 elsewhere, "
                "in units of the signals times those of the kernel"
            )
    sizes = [list(kernel.shape) for kernel in module.kernels]
    activations = [{"name": each.name, **each.parameters()} for each in module.activations]
    properties = {
        "kind": _KIND,
        "n_dims": str(module.n_dims),
        "kernel_sizes": json.dumps(sizes),
        "activations": json.dumps(activations),
        "competing": json.dumps(module.competing),
        "sha256": module.network().sha256.hex(),
    }
    helper.set_model_props(model, properties)
    _strip(model.graph)


def _strip(graph: onnx.GraphProto) -> None:
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        if hasattr(part, "metadata_props"):
            part.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither log lines about what else could be installed nor warnings of torch about torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
