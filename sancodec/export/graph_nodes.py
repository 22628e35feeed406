"""What ONNX graphs are put together from: nodes, constants, circular shifts. Needs ``onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, Model
from sancodec.codec.transform import BlockedGroup

OPSET = 17
IR_VERSION = 8
_WINDOW_AXIS = 1
TO_END = np.iinfo(np.int64).max


class Nodes:
    """The nodes and constants of a graph that is being built; equal constants are stored once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"value_{len(self.nodes)}"
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

    def single(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def real(self, value: float) -> str:
        return self.constant(np.array(value, np.float64))

    def reshape(self, tensor: str, *shape: int, output: str | None = None) -> str:
        return self.add("Reshape", tensor, self.integers(*shape), output=output)

    def cast(self, tensor: str, kind: int, output: str | None = None) -> str:
        return self.add("Cast", tensor, output=output, to=kind)

    def zeros(self, shape: str, kind: int) -> str:
        """A tensor of zeros of a shape that is known only when the graph runs."""
        return self.add("ConstantOfShape", shape, value=helper.make_tensor("value", kind, [1], [0]))

    def scatter_add(self, tensor: str, indices: str, updates: str) -> str:
        """Add updates at indices along the only axis, however often an index comes."""
        return self.add("ScatterElements", tensor, indices, updates, reduction="add")

    def size(self, tensor: str, axis: int) -> str:
        """Length along an axis, int64 ``(1,)``."""
        return self.add("Slice", self.add("Shape", tensor), self.integers(axis), self.integers(axis + 1))

    def shape(self, *sizes: str | int) -> str:
        """A shape of known and unknown sizes."""
        parts = [size if isinstance(size, str) else self.integers(size) for size in sizes]
        return self.add("Concat", *parts, axis=0)

    def slice(self, tensor: str, first: str | int, last: str | int, axis: int, step: int = 1) -> str:
        bounds = [bound if isinstance(bound, str) else self.integers(bound) for bound in (first, last)]
        return self.add("Slice", tensor, *bounds, self.integers(axis), self.integers(step))

    def ranked(self, values: str, count: str) -> str:
        """The largest of a vector, in falling order."""
        name = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node("TopK", [values, count], [name, f"{name}_order"], axis=0))
        return name

    def count(self, size: str) -> str:
        """0, 1 … below a size of shape ``(1,)``."""
        return self.add("Range", self.scalar(0), self.add("Squeeze", size), self.scalar(1))

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

    def shifted(self, shift: int, *, columns: tuple[int, int] = (0, TO_END)) -> str:
        """Block m of the result is block m + shift of the tensor."""
        start = self._before + shift
        end = start - self._before - self._after
        starts = self._nodes.integers(start, columns[0])
        ends = self._nodes.integers(end if end < 0 else TO_END, columns[1])
        return self._nodes.add("Slice", self._tensor, starts, ends, self._nodes.integers(_WINDOW_AXIS, 2))


def similarity_of(nodes: Nodes, signals: str, blocked: BlockedGroup) -> str:
    """Similarity of circles with a group's kernels, float32 ``(signal, block, column)``."""
    n_lags, block, n_columns = blocked.parts.shape
    lags = range(blocked.first_lag, blocked.first_lag + n_lags)
    kernels = blocked.parts.transpose(1, 0, 2).reshape(block, n_lags * n_columns)
    blocks = nodes.reshape(signals, 0, -1, block)
    products = nodes.add("MatMul", blocks, nodes.constant(kernels * np.float32(2.0**-WEIGHT_FRACTION_BITS)))
    circle = Circle(nodes, products, shifts=lags)
    columns = [(part * n_columns, (part + 1) * n_columns) for part in range(n_lags)]
    return nodes.total([circle.shifted(lag, columns=span) for lag, span in zip(lags, columns, strict=True)])


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
