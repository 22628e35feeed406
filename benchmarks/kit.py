"""Size of files of the encoder graph beside the reference encoder's, and speed of the bank's graphs.

    python benchmarks/kit.py
    python benchmarks/kit.py --device cuda

Sizes: mitdb's test records, one bank, level 5, one chunk, both encoders in the same run; the promise is checked on the
decoded integers. Speeds: similarity (encoder) and synthesis (decoder) of the bank on chunks of 25 s, best of some runs,
inputs and outputs where the device has them; with CUDA beside a copy of the same bytes on the device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment
import numpy as np
import records

import sancodec
from sancodec.codec.chunks import padded_length
from sancodec.codec.kernels import Model
from sancodec.codec.models import shipped_model
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.export.encoder_graph import encoder_graph
from sancodec.export.graph_encoder import compress_with_graph
from sancodec.export.graphs import graph_bytes
from sancodec.export.sessions import SessionMaker
from sancodec.export.vectors import run

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PRDN = (2.0, 5.0)
CHUNK_SAMPLES = 9000


def sizes(model: Model, sessions: SessionMaker) -> list[dict[str, Any]]:
    """Bytes of both encoders for every test record, and the PRDN that the graph's files reach."""
    session = sessions(encoder_graph(model, sampling_rate_hz=360).SerializeToString())
    rows = []
    for path in records.record_paths(records.DATA, set_name="mitdb", split="test"):
        recording = read_wfdb(path)
        for prdn in PRDN:
            reference = sancodec.compress(recording, prdn=prdn, level=5, models=(model,), chunk_s=None)
            content = compress_with_graph(recording, lambda feeds: run(session, feeds), model, prdn=prdn)
            decoded = sancodec.decompress_recording(content)
            reached = [
                100 * np.linalg.norm((before - after).astype(float)) / np.linalg.norm(before - before.mean())
                for before, after in zip(recording.samples, decoded.samples, strict=True)
            ]
            row = {
                "record": path.name,
                "prdn": prdn,
                "reference_bytes": len(reference),
                "graph_bytes": len(content),
                "reached": [round(float(each), 4) for each in reached],
                "is_kept": all(each <= prdn for each in reached),
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def speeds(model: Model, sessions: SessionMaker, *, n_signals: int, repetitions: int) -> list[dict[str, Any]]:
    """Million samples a second of similarity and synthesis, and of a copy of what synthesis reads and writes."""
    device = "cuda" if sessions.name.endswith("cuda") else "cpu"
    circle = padded_length(model, CHUNK_SAMPLES)
    rng = np.random.default_rng(0)
    maps = [np.rint(rng.laplace(0, 20, (n_signals, circle // group.stride, group.n_kernels))) for group in model.groups]
    inputs = {
        "similarity": {"signals": rng.normal(0, 100, (n_signals, circle)).astype(np.float32)},
        "synthesis": {f"amplitudes_{index}": each for index, each in enumerate(maps)},
    }
    rows = []
    for kind, feeds in inputs.items():
        session = sessions(graph_bytes(model, kind))
        seconds = _best(_bound(session, feeds, device), repetitions)
        rate = n_signals * CHUNK_SAMPLES / seconds / 1e6
        rows.append({"transform": kind, "device": device, "n_signals": n_signals, "msamples_per_s": round(rate, 1)})
        print(rows[-1], flush=True)
    if device == "cuda":
        rows += _copies(sessions, inputs, n_signals, repetitions)
    return rows


def _bound(session: Any, feeds: dict[str, np.ndarray], device: str) -> Callable[[], Any]:
    """A run whose inputs and outputs stay on the device."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device)

    def once() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return once


def _copies(
    sessions: SessionMaker, inputs: dict[str, dict[str, np.ndarray]], n_signals: int, repetitions: int
) -> list[dict[str, Any]]:
    """A graph that copies, of as many bytes as each transform reads."""
    import onnx
    from onnx import TensorProto, helper

    rows = []
    for kind, feeds in inputs.items():
        n_floats = sum(array.nbytes for array in feeds.values()) // 4
        # Adding nothing is the least that is no mere alias: it reads and writes every byte once.
        node = helper.make_node("Add", ["x", "zero"], ["y"])
        zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
        graph = helper.make_graph([node], "copy", ends[:1], ends[1:], [zero])
        content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(content)
        session = sessions(content.SerializeToString())
        seconds = _best(_bound(session, {"x": np.ones(n_floats, np.float32)}, "cuda"), repetitions)
        rate = n_signals * CHUNK_SAMPLES / seconds / 1e6
        rows.append({"transform": f"copy for {kind}", "device": "cuda", "msamples_per_s": round(rate, 1)})
        print(rows[-1], flush=True)
    return rows


def _best(call: Callable[[], Any], repetitions: int) -> float:
    call()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="ecg360")
    parser.add_argument("--signals", type=int, help="chunks at a time in the speed test; 64 or, with CUDA, 2048")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--no-sizes", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    model, sessions = shipped_model(arguments.model), SessionMaker(device=arguments.device)
    n_signals = arguments.signals or (64 if arguments.device == "cpu" else 2048)
    content = {
        "benchmark": "kit",
        "model": model.name,
        "environment": environment.describe(("sancodec", "numpy", "onnxruntime", "onnxruntime-gpu")),
        "engine": sessions.name,
        "speeds": speeds(model, sessions, n_signals=n_signals, repetitions=arguments.repetitions),
        "sizes": [] if arguments.no_sizes else sizes(model, sessions),
    }
    rows = content["sizes"]
    if rows:
        totals = {name: sum(row[name] for row in rows) for name in ("reference_bytes", "graph_bytes")}
        content["total"] = {**totals, "ratio": round(totals["graph_bytes"] / totals["reference_bytes"], 5)}
        print(content["total"])
    environment.write_json(arguments.output or RESULTS / f"kit_{arguments.device}.json", content)


if __name__ == "__main__":
    main()
