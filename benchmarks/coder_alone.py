"""Speed of the mixing coder alone, coefficients and residuals apart, on one thread.

    python benchmarks/coder_alone.py

Test records of mitdb are compressed and decompressed at level 9; only the time within the coder counts, against the
samples or coefficients that it was given. Residuals include their adaptive prediction.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment
import records

import sancodec
from sancodec.codec import chunk_source, coefficients, native, residual_encoder, segment_decoder
from sancodec.datasets.wfdb_record import read_wfdb

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PROMISES: tuple[tuple[str, dict[str, Any]], ...] = (
    *((f"PRDN {prdn:g} %", {"prdn": prdn}) for prdn in (1.0, 2.0, 5.0, 9.0)),
    ("largest error 2", {"max_error": "2adu"}),
    ("lossless", {"lossless": True}),
)


class Stopwatch:
    """Time within functions that are called instead of others, and how many samples they were given."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.samples: dict[str, int] = {}

    def around(self, module: Any, name: str, label: str, samples_of: Callable[[Any], int]) -> None:
        inner: Callable[..., Any] = getattr(module, name)

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*arguments)
            finally:
                self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - start
                self.samples[label] = self.samples.get(label, 0) + samples_of(arguments[0])

        setattr(module, name, timed)

    def rates(self) -> dict[str, float]:
        """Msamples/s, and what was measured starts anew."""
        found = {label: round(self.samples[label] / seconds / 1e6, 2) for label, seconds in self.seconds.items()}
        self.seconds.clear()
        self.samples.clear()
        return dict(sorted(found.items()))


def _levels(units: Any) -> int:
    return sum(len(unit.levels) for unit in units)


def _samples(channels: Any) -> int:
    return sum(len(channel.approximation) for channel in channels)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="append", help="only this record (repeatable)")
    parser.add_argument("--output", type=Path, default=RESULTS / "coder_alone.json")
    arguments = parser.parse_args(argv)
    watch = Stopwatch()
    watch.around(chunk_source, "encode_levels", "encode coefficients", _levels)
    watch.around(coefficients, "decode_levels", "decode coefficients", _levels)
    watch.around(residual_encoder, "encode_chunk", "encode residuals", _samples)
    watch.around(segment_decoder, "decode_chunk", "decode residuals", _samples)
    rows = []
    for label, promise in PROMISES:
        n_samples = n_bytes = 0
        for path in records.record_paths(records.DATA, set_name="mitdb", split="test"):
            if arguments.record and path.name not in arguments.record:
                continue
            recording = read_wfdb(path)
            blob = sancodec.compress(recording, **promise, level=9, threads=1)
            sancodec.decompress_recording(blob, threads=1)
            n_samples += sum(len(samples) for samples in recording.samples)
            n_bytes += len(blob)
        rates = watch.rates()
        rows.append({"promise": label, "samples": n_samples, "bytes": n_bytes, "megasamples_per_s": rates})
        print(f"{label}: {rates}")
    content = {
        "benchmark": "coder_alone",
        "environment": environment.describe(("sancodec", "numpy")),
        "engine": native.engine_name(),
        "coder_alone": rows,
    }
    environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
