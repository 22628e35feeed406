"""Decode every test record with every engine and compare the integers.

    python benchmarks/engines.py
    python benchmarks/engines.py --device cuda

Each record is encoded twice, with NumPy and with onnxruntime, at PRDN 2 and 9 %; each container is decoded by both.
The encoders may differ in their bytes, the decoded integers of one container may not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import environment
import numpy as np
import records

import sancodec
from sancodec.codec.synthesis import Engine, NumpyEngine
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.export.engine import OnnxEngine

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PRDN = (2.0, 9.0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS / "engines.json")
    arguments = parser.parse_args(argv)
    other = OnnxEngine(device=arguments.device)
    n_records = n_containers = 0
    identical = True
    for set_name in records.WFDB_SETS:
        for path in records.record_paths(records.DATA, set_name=set_name, split="test"):
            recording = read_wfdb(path)
            encoders: tuple[Engine, ...] = (NumpyEngine(), other)
            for encoder in encoders:
                for prdn in PRDN:
                    blob = sancodec.compress(recording, prdn=prdn, engine=encoder)
                    first, second = (sancodec.decompress_recording(blob, engine=engine) for engine in encoders)
                    same = all(np.array_equal(a, b) for a, b in zip(first.samples, second.samples, strict=True))
                    identical &= same
                    n_containers += 1
                    if not same:
                        print(f"{path.name} at PRDN {prdn:g}: the engines differ", file=sys.stderr)
            n_records += 1
    content = {
        "benchmark": "engines",
        "environment": environment.describe(("sancodec", "numpy", "onnxruntime", "onnxruntime-gpu")),
        "engines": [{"engine": other.name, "records": n_records, "containers": n_containers, "identical": identical}],
    }
    environment.write_json(arguments.output, content)
    print(f"{other.name}: {n_records} records, {n_containers} containers, identical: {identical}")
    return 0 if identical else 1


if __name__ == "__main__":
    sys.exit(main())
