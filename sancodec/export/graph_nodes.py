"""What ONNX graphs are put together from: nodes, constants, circular shifts. Needs ``onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sancodec.codec.kernels import Model
from sancodec.codec.transform import BlockedGroup

OPSET = 17
IR_VERSION = 8
_WINDOW_AXIS = 1
_TO_END = np.iinfo(np.int64).max


class Nodes:
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

    def scalar(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def small(self, value: int) -> str:
        return self.constant(np.array([value], np.int32))

    def real(self, value: float) -> str:
        return self.constant(np.array(value, np.float64))

    def reshape(self, tensor: str, *shape: int, output: str | None = None) -> str:
        return self.add("Reshape", tensor, self.integers(*shape), output=output)

    def cast(self, tensor: str, kind: int, output: str | None = None) -> str:
        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Cast", [tensor], [name], to=kind))
        return name

    def zeros(self, shape: str, kind: int) -> str:
        """A tensor of zeros of a shape that is known only when the graph runs."""
        name = f"value_{len(self.nodes)}"
        value = helper.make_tensor("value", kind, [1], [0])
        self.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=value))
        return name

    def scatter_add(self, tensor: str, indices: str, updates: str) -> str:
        """Add updates at indices along the only axis, however often an index comes."""
        name = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node("ScatterElements", [tensor, indices, updates], [name], reduction="add"))
        return name

    def total(self, terms: Sequence[str]) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.add("Add", total, term)
        return total


class Circle:
    """A tensor ``(signal, block, column)`` continued circularly, so that each shift of its blocks is one slice.

    ``shifts`` are the shifts that will be asked for. The number of blocks is known only when the graph runs and may be
    smaller than a shift, hence the continuation is gathered modulo that number.
    """

    def __init__(self, nodes: Nodes, tensor: str, *, shifts: range) -> None:
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


def product_of(nodes: Nodes, maps: str, blocked: BlockedGroup) -> str:
    """What a group adds to the bank sum, float64 ``(signal, sample)``; ``maps`` is ``(signal, block, column)``."""
    n_lags, block, n_columns = blocked.parts.shape
    lags = range(blocked.first_lag, blocked.first_lag + n_lags)
    kernels = blocked.parts.transpose(0, 2, 1).reshape(n_lags * n_columns, block)
    circle = Circle(nodes, maps, shifts=range(-lags[-1], -lags[0] + 1))
    lagged = nodes.add("Concat", *(circle.shifted(-lag) for lag in lags), axis=2)
    return nodes.reshape(nodes.add("MatMul", lagged, nodes.constant(kernels)), 0, -1)


def finished(
    model: Model,
    kind: str,
    nodes: Nodes,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """The checked model of a graph, with the name and SHA-256 of the kernel model in its metadata."""
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
