"""The ONNX graph of a decoder behind the entropy coder: sparse streams in, stored integers or components out.

docs/format.md, sections 10.1 to 10.3, and docs/kit.md. All sums are of integers below 2**53 held in float64, or int64,
so any provider gives the same bits.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from sancodec.codec.beats import FRACTION_BITS
from sancodec.codec.chunks import BRIDGE
from sancodec.codec.kernels import Model
from sancodec.codec.transform import blocked_groups
from sancodec.export.graph_nodes import Nodes, finished, product_of

_BANK_SHIFT = 10
_AMPLITUDE_UNIT = 128


def decoder_graph(model: Model) -> onnx.ModelProto:
    """The graph of ``sancodec.codec.synthesis.reconstruct`` and ``component_of`` from sparse levels and events.

    Its inputs are those of ``decoder_inputs``; the outputs are ``samples``, and ``components`` for channels of mixed
    lead groups.
    """
    nodes = Nodes()
    n_signals = nodes.add("Shape", "offset")
    padded = nodes.add("Add", "n_samples", nodes.integers(BRIDGE + model.period - 1))
    circle = _times(nodes, nodes.add("Div", padded, nodes.integers(model.period)), model.period)
    bank_sum = nodes.total([_group_sum(nodes, model, index, n_signals, circle) for index in range(len(model.groups))])
    bank_sum = _columns(nodes, bank_sum, nodes.integers(0), "n_samples")
    scaled = nodes.add("Mul", _floor_scaled(nodes, bank_sum, _BANK_SHIFT), _column(nodes, "scale"))
    rounded = nodes.add("Floor", nodes.add("Add", scaled, nodes.real(0.5)))
    beats = nodes.add("Mul", _beat_sum(nodes, n_signals), _column(nodes, "beat_scale"))
    total = nodes.add("Add", nodes.cast(rounded, TensorProto.INT64), beats, output="components")
    # A remainder that is never negative makes the quotient a floor.
    half_up = nodes.add("Add", total, nodes.integers(1 << FRACTION_BITS - 1))
    unit = nodes.integers(1 << FRACTION_BITS)
    whole = nodes.add("Div", nodes.add("Sub", half_up, nodes.add("Mod", half_up, unit)), unit)
    values = nodes.add("Add", whole, _wide_column(nodes, "offset"))
    # Not Max and Min: onnxruntime's forget the upper half of 64-bit integers.
    for comparison, name in (("Less", "minimum"), ("Greater", "maximum")):
        limit = _wide_column(nodes, name)
        values = nodes.add("Where", nodes.add(comparison, values, limit), limit, values)
    nodes.cast(values, TensorProto.INT32, output="samples")
    outputs = [
        helper.make_tensor_value_info(name, kind, ["signal", "sample"], unit)
        for name, kind, unit in (
            ("samples", TensorProto.INT32, "stored units"),
            ("components", TensorProto.INT64, f"Y of section 10.3, 2^-{FRACTION_BITS} stored units"),
        )
    ]
    return finished(model, "decoder", nodes, decoder_inputs(model), outputs)


def decoder_inputs(model: Model) -> list[onnx.ValueInfoProto]:
    """Names, types, shapes and meanings of the inputs."""
    described: list[tuple[str, int, list[str | int], str]] = [
        ("n_samples", TensorProto.INT64, [1], "samples N of every signal"),
    ]
    for index, group in enumerate(model.groups):
        meaning = (
            f"position in (signal, window, kernel), row by row, of stride {group.stride}, {group.n_kernels} kernels"
        )
        described += [
            (f"level_index_{index}", TensorProto.INT64, [f"level_{index}"], meaning),
            (f"level_{index}", TensorProto.INT32, [f"level_{index}"], "magnitude with its sign, or level, there"),
        ]
    described += [
        ("reconstruction", TensorProto.INT32, ["signal", 3], "r1, r2, r3 of section 10.1"),
        ("scale", TensorProto.DOUBLE, ["signal"], "step m * 2^(e - 3) of section 10.3"),
        ("offset", TensorProto.INT32, ["signal"], "stored units"),
        ("minimum", TensorProto.INT32, ["signal"], "stored units"),
        ("maximum", TensorProto.INT32, ["signal"], "stored units"),
        ("event_signal", TensorProto.INT64, ["event"], "signal of every event that has a gain"),
        ("event_start", TensorProto.INT64, ["event"], "first sample of its window; above -K, below N"),
        ("event_kernel", TensorProto.INT64, ["event"], "row of beat_kernels"),
        ("event_gain", TensorProto.INT32, ["event"], "1 to 127"),
        ("beat_kernels", TensorProto.INT32, ["beat_kernel", "position"], "beat kernels of all signals"),
        ("beat_scale", TensorProto.INT64, ["signal"], "2^(x + 10) of section 10.3; 1 without beats"),
    ]
    return [helper.make_tensor_value_info(*each) for each in described]


def _group_sum(nodes: Nodes, model: Model, index: int, n_signals: str, circle: str) -> str:
    """What a group adds to the bank sum, float64 ``(signal, sample of the circle)``."""
    group, blocked = model.groups[index], blocked_groups(model, "float64")[index]
    places = nodes.cast(f"level_index_{index}", TensorProto.INT64)
    per_signal = _times(nodes, nodes.add("Div", circle, nodes.integers(group.stride)), group.n_kernels)
    levels = nodes.cast(f"level_{index}", TensorProto.INT64)
    magnitudes = nodes.add("Abs", levels)
    # r of section 10.1 by magnitude 0, 1, 2 and from 3 on.
    none = nodes.add("Mul", nodes.add("Slice", "reconstruction", *map(nodes.integers, (0, 1, 1))), nodes.small(0))
    offsets = nodes.reshape(nodes.add("Concat", none, "reconstruction", axis=1), -1)
    kinds = nodes.add("Min", magnitudes, nodes.integers(3))
    row = nodes.add("Mul", nodes.add("Div", places, per_signal), nodes.integers(4))
    below = nodes.cast(nodes.add("Gather", offsets, nodes.add("Add", row, kinds), axis=0), TensorProto.INT64)
    sizes = nodes.add("Sub", nodes.add("Mul", magnitudes, nodes.integers(_AMPLITUDE_UNIT)), below)
    amplitudes = nodes.cast(nodes.add("Mul", sizes, nodes.add("Sign", levels)), TensorProto.DOUBLE)
    empty = nodes.zeros(nodes.add("Mul", n_signals, per_signal), TensorProto.DOUBLE)
    dense = nodes.scatter_add(empty, places, amplitudes)
    shape = nodes.add("Concat", n_signals, nodes.integers(-1, blocked.parts.shape[2]), axis=0)
    return product_of(nodes, nodes.add("Reshape", dense, shape), blocked)


def _beat_sum(nodes: Nodes, n_signals: str) -> str:
    """V of section 10.3, int64 ``(signal, sample)``: each event adds as many values as its kernel has."""
    length = nodes.add("Slice", nodes.add("Shape", "beat_kernels"), *map(nodes.integers, (1, 2)))
    # Windows reach beyond both ends of the signal.
    row = nodes.add("Add", "n_samples", nodes.add("Mul", length, nodes.integers(2)))
    first = nodes.add("Add", nodes.add("Mul", "event_signal", row), nodes.add("Add", "event_start", length))
    steps = nodes.add("Range", nodes.scalar(0), nodes.add("Squeeze", length), nodes.scalar(1))
    places = nodes.reshape(nodes.add("Add", _column(nodes, first), steps), -1)
    chosen = nodes.cast(nodes.add("Gather", "beat_kernels", "event_kernel", axis=0), TensorProto.DOUBLE)
    gains = _column(nodes, nodes.cast("event_gain", TensorProto.DOUBLE))
    waves = nodes.reshape(nodes.add("Mul", chosen, gains), -1)
    empty = nodes.zeros(nodes.add("Mul", n_signals, row), TensorProto.DOUBLE)
    shape = nodes.add("Concat", n_signals, nodes.integers(-1), axis=0)
    dense = nodes.add("Reshape", nodes.scatter_add(empty, places, waves), shape)
    return nodes.cast(_columns(nodes, dense, length, nodes.add("Add", length, "n_samples")), TensorProto.INT64)


def _times(nodes: Nodes, value: str, factor: int) -> str:
    return nodes.add("Mul", value, nodes.integers(factor))


def _floor_scaled(nodes: Nodes, values: str, bits: int) -> str:
    """Values times 2**-bits, rounded half up."""
    half = nodes.add("Add", values, nodes.real(1 << bits - 1))
    return nodes.add("Floor", nodes.add("Mul", half, nodes.real(2.0**-bits)))


def _columns(nodes: Nodes, values: str, first: str, last: str) -> str:
    return nodes.add("Slice", values, first, last, nodes.integers(1))


def _column(nodes: Nodes, vector: str) -> str:
    return nodes.reshape(vector, -1, 1)


def _wide_column(nodes: Nodes, vector: str) -> str:
    return _column(nodes, nodes.cast(vector, TensorProto.INT64))
