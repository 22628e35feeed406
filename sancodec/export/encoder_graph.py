"""The ONNX graph of an encoder in front of the entropy coder: leads of a chunk in, events and sparse levels out.

docs/kit.md. Events are found and taken out of the signal; what is left goes through the bank, whose coefficients are
rounded as ``sancodec.codec.quantiser.quantise`` does. Sums are float32, as in the reference encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from sancodec.codec.band_rounding import N_EXACT
from sancodec.codec.chunks import BRIDGE
from sancodec.codec.contexts import CLASS_OF_EXPECTED, CLASS_SHIFT, N_CLASSES, N_PHASES, PHASES_PER_KERNEL
from sancodec.codec.kernels import Model
from sancodec.codec.transform import blocked_groups
from sancodec.export.event_graph import event_places, taken_out
from sancodec.export.graph_nodes import TO_END, Nodes, finished, similarity_of

_MAX_KNOWN = 63


def encoder_graph(model: Model, *, sampling_rate_hz: float) -> onnx.ModelProto:
    """The graph for the leads of one recording in one chunk.

    Parameters
    ----------
    sampling_rate_hz
        Sets how far events are apart at least.
    """
    nodes = Nodes()
    centred = nodes.add("Sub", "samples", nodes.reshape("offset", -1, 1))
    signals = nodes.cast(centred, TensorProto.FLOAT)
    length = nodes.size("beat_kernels", 2)
    around = nodes.add("Concat", nodes.integers(0), length, nodes.integers(0), length, axis=0)
    padded = nodes.add("Pad", signals, around, nodes.single(0))
    places = event_places(nodes, signals, padded, length, sampling_rate_hz)
    left, kernels, gains = taken_out(nodes, padded, places)
    starts = nodes.add("Sub", places, length, output="event_start")
    nodes.cast(kernels, TensorProto.INT32, output="event_kernel")
    nodes.cast(gains, TensorProto.INT32, output="event_gain")
    n_samples = nodes.size("samples", 1)
    residual = nodes.slice(left, length, nodes.add("Add", length, n_samples), 1)
    outputs = _described_events()
    outputs += _quantised(nodes, model, _closed(nodes, residual, n_samples, model.period), starts, length)
    return finished(model, "encoder", nodes, encoder_inputs(model), outputs)


def encoder_inputs(model: Model) -> list[onnx.ValueInfoProto]:
    """Names, types, shapes and meanings of the inputs."""
    real, whole = TensorProto.FLOAT, TensorProto.INT32
    described: list[tuple[str, int, list[str | int], str]] = [
        ("samples", whole, ["lead", "sample"], "stored units, missing samples bridged"),
        ("offset", whole, ["lead"], "stored units; taken off"),
        ("beat_kernels", real, ["lead", "beat_kernel", "position"], "what an event of gain 1 adds; zeros where unused"),
        (
            "event_weight",
            real,
            ["lead"],
            "of the lead in detection: one over a large squared difference of its samples",
        ),
        ("event_cost", real, ["lead"], "squared error that an event must save to have a gain"),
        ("inverse_step", real, ["lead"], "one over the step, in stored units"),
        ("expected", whole, ["lead", model.n_bands, N_PHASES + 1], "profile times the first band weight: base of 9.2"),
        ("band_weights", whole, ["lead", model.n_bands, 4], "of section 9.3"),
        (
            "thresholds",
            real,
            ["lead", N_CLASSES * N_EXACT],
            "by class and magnitude: below it the next is rounded down",
        ),
        ("n_direct", whole, ["lead", N_CLASSES], "of section 9.5"),
    ]
    return [helper.make_tensor_value_info(*each) for each in described]


def _described_events() -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info("event_start", TensorProto.INT64, ["event"], "first sample of its window"),
        helper.make_tensor_value_info("event_kernel", TensorProto.INT32, ["lead", "event"], "number of the kernel"),
        helper.make_tensor_value_info("event_gain", TensorProto.INT32, ["lead", "event"], "0 to 127; 0: none"),
    ]


def _closed(nodes: Nodes, residual: str, n_samples: str, period: int) -> str:
    """Circles with a bridge from end to start, as ``sancodec.codec.chunks.bridged``."""
    wanted = nodes.add("Add", n_samples, nodes.integers(BRIDGE + period - 1))
    circle = nodes.add("Mul", nodes.add("Div", wanted, nodes.integers(period)), nodes.integers(period))
    n_bridge = nodes.add("Sub", circle, n_samples)
    share = nodes.cast(nodes.add("Add", nodes.count(n_bridge), nodes.integers(1)), TensorProto.FLOAT)
    whole = nodes.cast(nodes.add("Add", n_bridge, nodes.integers(1)), TensorProto.FLOAT)
    turn = nodes.add("Cos", nodes.add("Mul", nodes.add("Div", share, whole), nodes.single(np.pi)))
    rise = nodes.add("Mul", nodes.add("Sub", nodes.single(1), turn), nodes.single(0.5))
    start, end = nodes.slice(residual, 0, 1, 1), nodes.slice(residual, -1, TO_END, 1)
    bridge = nodes.add("Add", end, nodes.add("Mul", nodes.add("Sub", start, end), rise))
    return nodes.add("Concat", residual, bridge, axis=1)


@dataclass(frozen=True, slots=True)
class _Band:
    """A band that was rounded: its stride, and what the bands behind it know of its magnitudes, int32."""

    stride: int
    known: str


def _quantised(nodes: Nodes, model: Model, circles: str, starts: str, length: str) -> list[onnx.ValueInfoProto]:
    """Sparse levels of every group, and the sums of errors; the outputs."""
    circle = nodes.size(circles, 1)
    rounding = _Rounding(nodes)
    outputs: list[onnx.ValueInfoProto] = []
    number = 0
    for index, (group, blocked) in enumerate(zip(model.groups, blocked_groups(model, "float32"), strict=True)):
        n_windows = nodes.add("Div", circle, nodes.integers(group.stride))
        similarity = nodes.reshape(similarity_of(nodes, circles, blocked), 0, -1, group.n_kernels)
        phases = _phases(nodes, n_windows, group.stride, starts, length)
        levels = []
        for kernel in range(group.n_kernels):
            coefficients = nodes.add("Gather", similarity, nodes.scalar(kernel), axis=2)
            levels.append(
                nodes.add("Unsqueeze", rounding.band(number, group.stride, coefficients, phases), nodes.integers(2))
            )
            number += 1
        joined = nodes.reshape(nodes.add("Concat", *levels, axis=2) if len(levels) > 1 else levels[0], -1)
        places = nodes.reshape(nodes.add("NonZero", joined), -1, output=f"level_index_{index}")
        nodes.add("Gather", joined, places, output=f"level_{index}", axis=0)
        meaning = f"position in (lead, window, kernel), row by row; stride {group.stride}, {group.n_kernels} kernels"
        outputs += [
            helper.make_tensor_value_info(f"level_index_{index}", TensorProto.INT64, [f"level_{index}"], meaning),
            helper.make_tensor_value_info(f"level_{index}", TensorProto.INT32, [f"level_{index}"], "magnitude, signed"),
        ]
    return outputs + rounding.outputs()


def _phases(nodes: Nodes, n_windows: str, stride: int, starts: str, length: str) -> str:
    """Beat phase at every window, section 9.1; int64."""
    centres = nodes.add(
        "Add", nodes.add("Mul", nodes.count(n_windows), nodes.integers(stride)), nodes.integers(stride // 2)
    )
    # How many events begin at or before each centre, from where each is seen first.
    behind = nodes.add("Max", nodes.add("Sub", starts, nodes.integers(stride // 2)), nodes.integers(0))
    first = nodes.add("Div", nodes.add("Add", behind, nodes.integers(stride - 1)), nodes.integers(stride))
    first = nodes.add("Min", first, n_windows)
    slots = nodes.zeros(nodes.add("Add", n_windows, nodes.integers(1)), TensorProto.FLOAT)
    ones = nodes.add("Add", nodes.zeros(nodes.add("Shape", starts), TensorProto.FLOAT), nodes.single(1))
    counts = nodes.add("CumSum", nodes.scatter_add(slots, first, ones), nodes.scalar(0))
    counts = nodes.slice(nodes.cast(counts, TensorProto.INT64), 0, n_windows, 0)
    last = nodes.add("Gather", nodes.add("Concat", nodes.integers(0), starts, axis=0), counts, axis=0)
    since = nodes.add("Mul", nodes.add("Sub", centres, last), nodes.integers(PHASES_PER_KERNEL))
    phase = nodes.add("Min", nodes.add("Div", since, length), nodes.integers(N_PHASES))
    return nodes.add("Where", nodes.add("Greater", counts, nodes.integers(0)), phase, nodes.integers(N_PHASES))


class _Rounding:
    """Rounds one band after the other by the activity classes that follow from the bands before."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._before: list[_Band] = []
        self._sums: dict[str, list[str]] = {"squares": [], "errors": [], "counts": []}
        self._rows = nodes.reshape(nodes.count(nodes.size("offset", 0)), -1, 1)
        self._inverse = nodes.reshape("inverse_step", -1, 1)

    def band(self, number: int, stride: int, coefficients: str, phases: str) -> str:
        """Levels of a band, int32 ``(lead, window)``."""
        nodes = self._nodes
        scaled = nodes.add("Mul", nodes.add("Abs", coefficients), self._inverse)
        classes = self._classes(number, stride, phases)
        rows = nodes.add("Mul", classes, nodes.integers(N_EXACT))
        nearest = nodes.add("Floor", nodes.add("Add", scaled, nodes.single(0.5)))
        capped = nodes.add(
            "Clip", nodes.add("Sub", nearest, nodes.single(1)), nodes.single(0), nodes.single(N_EXACT - 1)
        )
        below = nodes.cast(capped, TensorProto.INT64)
        is_down = nodes.add(
            "Less", scaled, self._of_lead("thresholds", N_CLASSES * N_EXACT, nodes.add("Add", rows, below))
        )
        rounded = nodes.add("Sub", nearest, nodes.cast(is_down, TensorProto.FLOAT))
        is_zero = nodes.add("Less", scaled, self._of_lead("thresholds", N_CLASSES * N_EXACT, rows))
        magnitude = nodes.add("Where", is_zero, nodes.single(0), nodes.add("Max", rounded, nodes.single(0)))
        self._count(scaled, magnitude)
        whole = nodes.cast(magnitude, TensorProto.INT64)
        self._before = [_Band(stride, self._known(whole, classes)), *self._before[:1]]
        signed = nodes.add("Mul", magnitude, nodes.add("Sign", coefficients))
        return nodes.cast(signed, TensorProto.INT32)

    def outputs(self) -> list[onnx.ValueInfoProto]:
        """Errors u − |q| in steps, over all bands: their squares, and by |q| = 0, 1, 2, 3 or more their sums."""
        nodes = self._nodes
        for name, parts in self._sums.items():
            nodes.add("Identity", nodes.total(parts), output=name)
        meaning = "by magnitude 0, 1, 2 and 3 or more"
        return [
            helper.make_tensor_value_info("squares", TensorProto.DOUBLE, ["lead"], "sum of squared errors, in steps"),
            helper.make_tensor_value_info("errors", TensorProto.DOUBLE, ["lead", 4], f"sum of errors, {meaning}"),
            helper.make_tensor_value_info("counts", TensorProto.DOUBLE, ["lead", 4], f"coefficients, {meaning}"),
        ]

    def _count(self, scaled: str, magnitude: str) -> None:
        nodes = self._nodes
        errors = nodes.cast(nodes.add("Sub", scaled, magnitude), TensorProto.DOUBLE)
        self._sums["squares"].append(nodes.add("ReduceSumSquare", errors, axes=[1], keepdims=0))
        kinds = nodes.add("Unsqueeze", nodes.add("Min", magnitude, nodes.single(3)), nodes.integers(2))
        each = nodes.add("Equal", kinds, nodes.constant(np.arange(4, dtype=np.float32)))
        is_kind = nodes.cast(each, TensorProto.DOUBLE)
        weighted = nodes.add("Mul", nodes.add("Unsqueeze", errors, nodes.integers(2)), is_kind)
        self._sums["errors"].append(nodes.add("ReduceSum", weighted, nodes.integers(1), keepdims=0))
        self._sums["counts"].append(nodes.add("ReduceSum", is_kind, nodes.integers(1), keepdims=0))

    def _of_lead(self, table: str, width: int, columns: str) -> str:
        """Entries of a table ``(lead, width)`` at columns ``(lead, window)``."""
        nodes = self._nodes
        rows = nodes.add("Mul", self._rows, nodes.integers(width))
        return nodes.add("Gather", nodes.reshape(table, -1), nodes.add("Add", rows, columns), axis=0)

    def _classes(self, number: int, stride: int, phases: str) -> str:
        """Activity classes, section 9.3; int64 ``(lead, window)``."""
        nodes = self._nodes
        base = nodes.add("Gather", nodes.add("Gather", "expected", nodes.scalar(number), axis=1), phases, axis=1)
        weights = nodes.add("Gather", "band_weights", nodes.scalar(number), axis=1)
        column = [nodes.slice(weights, each, each + 1, 1) for each in range(4)]
        terms = [base]
        if self._before:
            mother = self._before[0]
            own = nodes.add("Mul", mother.known, column[1])
            beside = nodes.add("Mul", self._beside(mother.known), column[2])
            terms.append(self._stretched(nodes.add("Add", own, beside), mother.stride // stride))
        if len(self._before) > 1:
            grandmother = self._before[1]
            twice = nodes.add("Mul", grandmother.known, nodes.small(2))
            around = nodes.add("Add", twice, self._beside(grandmother.known))
            terms.append(self._stretched(nodes.add("Mul", around, column[3]), grandmother.stride // stride))
        total = nodes.add("Min", nodes.total(terms), nodes.small(len(CLASS_OF_EXPECTED) - 1))
        table = nodes.constant(CLASS_OF_EXPECTED.astype(np.uint8))
        return nodes.cast(nodes.add("Gather", table, total, axis=0), TensorProto.INT64)

    def _beside(self, known: str) -> str:
        """Sum of both neighbours in time, circular."""
        nodes = self._nodes
        before = nodes.add("Concat", nodes.slice(known, -1, TO_END, 1), nodes.slice(known, 0, -1, 1), axis=1)
        behind = nodes.add("Concat", nodes.slice(known, 1, TO_END, 1), nodes.slice(known, 0, 1, 1), axis=1)
        return nodes.add("Add", before, behind)

    def _stretched(self, values: str, ratio: int) -> str:
        """Each value so many times."""
        if ratio == 1:
            return values
        nodes = self._nodes
        column = nodes.add("Unsqueeze", values, nodes.integers(2))
        return nodes.reshape(nodes.add("Concat", *[column] * ratio, axis=2), 0, -1)

    def _known(self, magnitude: str, classes: str) -> str:
        """What a symbol tells of a magnitude, section 9.5; int32."""
        nodes = self._nodes
        unit = nodes.add("Gather", nodes.constant(np.int64(1) << CLASS_SHIFT.astype(np.int64)), classes, axis=0)
        direct = nodes.cast(self._of_lead("n_direct", N_CLASSES, classes), TensorProto.INT64)
        high = nodes.add("Min", nodes.add("Div", magnitude, unit), direct)
        known = nodes.add("Min", nodes.add("Mul", high, unit), nodes.integers(_MAX_KNOWN))
        return nodes.cast(known, TensorProto.INT32)
