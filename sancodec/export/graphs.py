"""ONNX graphs of a model's similarity and synthesis, built node by node from its kernels.

Both take the polyphase form of ``sancodec.codec.transform``, one matrix product per group: similarity multiplies
each block of samples by the kernels of all block lags and adds the lagged columns; synthesis lays the lagged
amplitudes side by side and multiplies once. No convolution, whose FFT or Winograd forms would round.
Needs ``onnx``, which only those who build graphs install.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, Model
from sancodec.codec.models import load_model
from sancodec.codec.transform import blocked_groups
from sancodec.export.graph_nodes import Nodes, finished, product_of, similarity_of


def similarity_graph(model: Model) -> onnx.ModelProto:
    """The graph of ``sancodec.codec.transform.similarity`` (eq. 1 of arXiv:1907.06592).

    Input ``signals`` is float32 ``(signal, sample)``, its length a multiple of ``model.period``; output
    ``similarity_<group>`` is float32 ``(signal, window, kernel)`` in the signals' unit.
    """
    nodes = Nodes()
    outputs = []
    for index, (group, blocked) in enumerate(zip(model.groups, blocked_groups(model, "float32"), strict=True)):
        total = similarity_of(nodes, "signals", blocked)
        name = nodes.reshape(total, 0, -1, group.n_kernels, output=f"similarity_{index}")
        shape: list[str | int | None] = ["signal", f"window_{index}", group.n_kernels]
        meaning = f"similarity with the kernels of stride {group.stride}; the unit of the signals"
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, meaning))
    meaning = f"signals, any unit; the number of samples is a multiple of {model.period}"
    signals = helper.make_tensor_value_info("signals", TensorProto.FLOAT, ["signal", "sample"], meaning)
    return finished(model, "similarity", nodes, [signals], outputs)


def synthesis_graph(model: Model) -> onnx.ModelProto:
    """The graph of ``sancodec.codec.transform.synthesise`` (eq. 3 of arXiv:1907.06592).

    Input ``amplitudes_<group>`` is float64 ``(signal, window, kernel)`` holding integers; output ``signals`` is float64
    ``(signal, sample)`` holding integers, the same on every machine while every partial sum stays below 2**53.
    """
    nodes = Nodes()
    inputs = []
    terms = []
    for index, (group, blocked) in enumerate(zip(model.groups, blocked_groups(model, "float64"), strict=True)):
        maps = nodes.reshape(f"amplitudes_{index}", 0, -1, blocked.parts.shape[2])
        terms.append(product_of(nodes, maps, blocked))
        shape: list[str | int | None] = ["signal", f"window_{index}", group.n_kernels]
        meaning = f"amplitudes of the kernels of stride {group.stride}; integers, the caller's unit"
        inputs.append(helper.make_tensor_value_info(f"amplitudes_{index}", TensorProto.DOUBLE, shape, meaning))
    nodes.reshape(nodes.total(terms), 0, -1, output="signals")
    meaning = f"signals; integers in units of 2**-{WEIGHT_FRACTION_BITS} of the amplitudes' unit"
    signals = helper.make_tensor_value_info("signals", TensorProto.DOUBLE, ["signal", "sample"], meaning)
    return finished(model, "synthesis", nodes, inputs, [signals])


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
