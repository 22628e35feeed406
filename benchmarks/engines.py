"""Decode every test record with every engine and compare the integers.

    python benchmarks/engines.py
    python benchmarks/engines.py --device cuda

Each record is encoded twice, with NumPy and with onnxruntime, at PRDN 2 and 9 %; each container is decoded by both, and
by the decoder graph of the kit. The encoders may differ in their bytes, the decoded integers of one container may not.
Time is that of all of it, whole calls.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import environment
import numpy as np
import records
from sancodec_adapter import recording_of

import sancodec
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import Model
from sancodec.codec.recording import Recording
from sancodec.codec.synthesis import Engine, NumpyEngine
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.export.decoder_graph import decoder_graph
from sancodec.export.engine import OnnxEngine
from sancodec.export.sessions import SessionMaker
from sancodec.export.sparse import decoder_feeds, sparse_signals
from sancodec.export.vectors import run

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PRDN = (2.0, 9.0)


class Kit:
    """Decoder graphs, opened when a bank is first met."""

    def __init__(self, sessions: SessionMaker) -> None:
        self._sessions = sessions
        self._opened: dict[Model, Any] = {}

    def is_same(self, content: bytes, decoded: Recording) -> bool:
        """Whether the graphs give the samples of a container that has no residuals; missing ones are left out."""
        reader = RecordingReader(io.BytesIO(content), engine=NumpyEngine())
        for chunk in range(reader.header.n_chunks):
            for model, n_samples, channels, signals in sparse_signals(reader, chunk):
                if model not in self._opened:
                    self._opened[model] = self._sessions(decoder_graph(model).SerializeToString())
                rows = run(self._opened[model], decoder_feeds(model, signals, n_samples))["samples"]
                for channel, row in zip(channels, rows, strict=True):
                    first = chunk * reader.header.chunk_frames * reader.header.channels[channel].samples_per_frame
                    samples = decoded.samples[channel][first : first + n_samples]
                    is_there = samples != reader.header.channels[channel].invalid
                    if not np.array_equal(row[is_there], samples[is_there]):
                        return False
        return True


def _read(path: Path) -> Recording:
    if path.suffix != ".edf":
        return read_wfdb(path)
    record = records.read_record(path)
    recording: Recording = recording_of(record, record.leads)
    return recording


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, help="engines.json or engines_cuda.json by default")
    arguments = parser.parse_args(argv)
    other = OnnxEngine(device=arguments.device)
    kit = Kit(SessionMaker(device=arguments.device))
    n_records = n_containers = 0
    identical = graphs_identical = True
    seconds = {each: {"compress": 0.0, "decompress": 0.0} for each in ("numpy", other.name)}
    for set_name in (*records.WFDB_SETS, *records.EDF_SETS):
        for path in records.record_paths(records.DATA, set_name=set_name, split="test"):
            recording = _read(path)
            encoders: tuple[Engine, ...] = (NumpyEngine(), other)
            for encoder in encoders:
                for prdn in PRDN:
                    start = time.perf_counter()
                    blob = sancodec.compress(recording, prdn=prdn, engine=encoder)
                    seconds[encoder.name]["compress"] += time.perf_counter() - start
                    decoded = []
                    for engine in encoders:
                        start = time.perf_counter()
                        decoded.append(sancodec.decompress_recording(blob, engine=engine))
                        seconds[engine.name]["decompress"] += time.perf_counter() - start
                    first, second = decoded
                    graphs_identical &= kit.is_same(blob, first)
                    same = all(np.array_equal(a, b) for a, b in zip(first.samples, second.samples, strict=True))
                    identical &= same
                    n_containers += 1
                    if not same:
                        print(f"{path.name} at PRDN {prdn:g}: the engines differ", file=sys.stderr)
            n_records += 1
    content = {
        "benchmark": "engines",
        "environment": environment.describe(("sancodec", "numpy", "onnxruntime", "onnxruntime-gpu")),
        "engines": [
            {
                "engine": other.name,
                "records": n_records,
                "containers": n_containers,
                "identical": identical,
                "decoder_graph_identical": graphs_identical,
            }
        ],
        "seconds": seconds,
    }
    name = "engines.json" if arguments.device == "cpu" else f"engines_{arguments.device}.json"
    environment.write_json(arguments.output or RESULTS / name, content)
    print(
        f"{other.name}: {n_records} records, {n_containers} containers, identical: {identical}, "
        f"decoder graph: {graphs_identical}"
    )
    print(seconds)
    return 0 if identical and graphs_identical else 1


if __name__ == "__main__":
    sys.exit(main())
