"""ONNX graphs of a model's similarity and synthesis, built node by node from its kernels.

Both take the polyphase form of ``sancodec.codec.transform``, one matrix product per group: similarity multiplies
each block of samples by the kernels of all block lags and adds the lagged columns; synthesis lays the lagged
amplitudes side by side and multiplies once. No convolution, whose FFT or Winograd forms would round.
Needs ``onnx``, which only those who build graphs install.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, Model
from sancodec.codec.models import load_model
from sancodec.codec.transform import blocked_groups

OPSET = 17
IR_VERSION = 8
_WINDOW_AXIS = 1
_TO_END = np.iinfo(np.int64).max


class _Nodes:
    """The nodes and constants of a graph that is being built; equal constants are stored once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, axis: int | None = None) -> str:
        name = output or f"value_{len(self.nodes)}"
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(values, f"constant_{len(self.constants)}")
        return self.constants[key].name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def reshape(self, tensor: str, *shape: int, output: str | None = None) -> str:
        return self.add("Reshape", tensor, self.integers(*shape), output=output)

    def total(self, terms: Sequence[str]) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.add("Add", total, term)
        return total


class _Circle:
    """A tensor ``(signal, block, column)`` continued circularly, so that each shift of its blocks is one slice.

    ``shifts`` are the shifts that will be asked for. The number of blocks is known only when the graph runs and may be
    smaller than a shift, hence the continuation is gathered modulo that number.
    """

    def __init__(self, nodes: _Nodes, tensor: str, *, shifts: range) -> None:
        self._nodes = nodes
        self._before = max(0, -min(shifts))
        self._after = max(0, max(shifts))
        n_blocks = nodes.add("Gather", nodes.add("Shape", tensor), nodes.integers(_WINDOW_AXIS))
        pieces = [tensor]
        if self._before:
            pieces.insert(0, self._gather(tensor, range(-self._before, 0), n_blocks))
        if self._after:
            pieces.append(self._gather(tensor, range(self._after), n_blocks))
        self._tensor = nodes.add("Concat", *pieces, axis=_WINDOW_AXIS) if len(pieces) > 1 else tensor

    def _gather(self, tensor: str, blocks: range, n_blocks: str) -> str:
        indices = self._nodes.add("Mod", self._nodes.integers(*blocks), n_blocks)
        return self._nodes.add("Gather", tensor, indices, axis=_WINDOW_AXIS)

    def shifted(self, shift: int, *, columns: tuple[int, int] = (0, _TO_END)) -> str:
        """Block m of the result is block m + shift of the tensor."""
        start = self._before + shift
        end = start - self._before - self._after
        starts = self._nodes.integers(start, columns[0])
        ends = self._nodes.integers(end if end < 0 else _TO_END, columns[1])
        return self._nodes.add("Slice", self._tensor, starts, ends, self._nodes.integers(_WINDOW_AXIS, 2))


def similarity_graph(model: Model) -> onnx.ModelProto:
    """The graph of ``sancodec.codec.transform.similarity`` (eq. 1 of arXiv:1907.06592).

    Input ``signals`` is float32 ``(signal, sample)``, its length a multiple of ``model.period``; output
    ``similarity_<group>`` is float32 ``(signal, window, kernel)`` in the signals' unit.
    """
    nodes = _Nodes()
    outputs = []
    for index, (group, blocked) in enumerate(zip(model.groups, blocked_groups(model, "float32"), strict=True)):
        n_lags, block, n_columns = blocked.parts.shape
        lags = range(blocked.first_lag, blocked.first_lag + n_lags)
        kernels = blocked.parts.transpose(1, 0, 2).reshape(block, n_lags * n_columns)
        blocks = nodes.reshape("signals", 0, -1, block)
        products = nodes.add("MatMul", blocks, nodes.constant(kernels * np.float32(2.0**-WEIGHT_FRACTION_BITS)))
        circle = _Circle(nodes, products, shifts=lags)
        columns = [(part * n_columns, (part + 1) * n_columns) for part in range(n_lags)]
        total = nodes.total([circle.shifted(lag, columns=span) for lag, span in zip(lags, columns, strict=True)])
        name = nodes.reshape(total, 0, -1, group.n_kernels, output=f"similarity_{index}")
        shape: list[str | int | None] = ["signal", f"window_{index}", group.n_kernels]
        meaning = f"similarity with the kernels of stride {group.stride}; the unit of the signals"
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, meaning))
    meaning = f"signals, any unit; the number of samples is a multiple of {model.period}"
    signals = helper.make_tensor_value_info("signals", TensorProto.FLOAT, ["signal", "sample"], meaning)
    return _finished(model, "similarity", nodes, [signals], outputs)


def synthesis_graph(model: Model) -> onnx.ModelProto:
    """The graph of ``sancodec.codec.transform.synthesise`` (eq. 3 of arXiv:1907.06592).

    Input ``amplitudes_<group>`` is float64 ``(signal, window, kernel)`` holding integers; output ``signals`` is float64
    ``(signal, sample)`` holding integers, the same on every machine while every partial sum stays below 2**53.
    """
    nodes = _Nodes()
    inputs = []
    terms = []
    for index, (group, blocked) in enumerate(zip(model.groups, blocked_groups(model, "float64"), strict=True)):
        n_lags, block, n_columns = blocked.parts.shape
        lags = range(blocked.first_lag, blocked.first_lag + n_lags)
        kernels = blocked.parts.transpose(0, 2, 1).reshape(n_lags * n_columns, block)
        maps = nodes.reshape(f"amplitudes_{index}", 0, -1, n_columns)
        circle = _Circle(nodes, maps, shifts=range(-lags[-1], -lags[0] + 1))
        lagged = nodes.add("Concat", *(circle.shifted(-lag) for lag in lags), axis=2)
        terms.append(nodes.reshape(nodes.add("MatMul", lagged, nodes.constant(kernels)), 0, -1))
        shape: list[str | int | None] = ["signal", f"window_{index}", group.n_kernels]
        meaning = f"amplitudes of the kernels of stride {group.stride}; integers, the caller's unit"
        inputs.append(helper.make_tensor_value_info(f"amplitudes_{index}", TensorProto.DOUBLE, shape, meaning))
    nodes.reshape(nodes.total(terms), 0, -1, output="signals")
    meaning = f"signals; integers in units of 2**-{WEIGHT_FRACTION_BITS} of the amplitudes' unit"
    signals = helper.make_tensor_value_info("signals", TensorProto.DOUBLE, ["signal", "sample"], meaning)
    return _finished(model, "synthesis", nodes, inputs, [signals])


def _finished(
    model: Model,
    kind: str,
    nodes: _Nodes,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    title = f"{kind} of the kernel model {model.name}"
    graph = helper.make_graph(nodes.nodes, kind, inputs, outputs, list(nodes.constants.values()), doc_string=title)
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sancodec",
        doc_string=title,
    )
    helper.set_model_props(proto, {"kind": kind, "name": model.name, "sha256": model.sha256.hex()})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def graph_bytes(model: Model, kind: str) -> bytes:
    """The ``"similarity"`` or ``"synthesis"`` graph, serialised; the same bytes for the same model."""
    graph = {"similarity": similarity_graph, "synthesis": synthesis_graph}[kind](model)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def write_graphs(model: Model, folder: Path) -> tuple[Path, Path]:
    """Write ``<name>.similarity.onnx`` and ``<name>.synthesis.onnx`` and return their paths."""
    similarity_path, synthesis_path = (folder / f"{model.name}.{kind}.onnx" for kind in ("similarity", "synthesis"))
    similarity_path.write_bytes(graph_bytes(model, "similarity"))
    synthesis_path.write_bytes(graph_bytes(model, "synthesis"))
    return similarity_path, synthesis_path


def main() -> None:
    """``python -m sancodec.export.graphs MODEL FOLDER``: write the graphs that ship beside a model."""
    parser = argparse.ArgumentParser(prog="python -m sancodec.export.graphs", description=main.__doc__)
    parser.add_argument("model", help="a model file, or the name of a shipped model")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for path in write_graphs(load_model(arguments.model), arguments.folder):
        print(path)


if __name__ == "__main__":
    main()
