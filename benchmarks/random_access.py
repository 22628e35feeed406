"""Reading 10 s of a half-hour record: share of the file that is read, and time after start-up.

    python benchmarks/random_access.py

Every MIT-BIH test record at several promises; ten starts each, among them the worst for the chunk length.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import environment
import numpy as np
import records

import sancodec
from sancodec.datasets.wfdb_record import read_wfdb

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
EXCERPT_S = 10.0
PROMISES: dict[str, dict[str, Any]] = {
    "archive": {"lossless": True},
    "clinical": {"preset": "clinical"},
    "PRDN 2 %": {"prdn": 2.0},
    "monitor": {"preset": "monitor"},
}
LEVELS = (3, 5)


class CountingFile(io.BytesIO):
    """A file in memory that counts the bytes read from it."""

    n_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.n_read += len(content)
        return content


def measure(blob: bytes, start_s: float, expected: tuple[np.ndarray[Any, Any], ...]) -> tuple[float, float]:
    """Share of the bytes read, and milliseconds, for opening a container and reading an excerpt of all channels."""
    file = CountingFile(blob)
    begin = time.perf_counter()
    with sancodec.open(file) as record:
        rate_hz = float(record.frame_rate_hz)
        first, last = round(start_s * rate_hz), round((start_s + EXCERPT_S) * rate_hz)
        excerpt = record[:, first:last]
    seconds = time.perf_counter() - begin
    if not all(np.array_equal(x, y[first:last]) for x, y in zip(excerpt, expected, strict=True)):
        raise ValueError(f"the excerpt from {start_s} s on is not that of the whole record")
    return file.n_read / len(blob), 1000 * seconds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / "random_access.json")
    arguments = parser.parse_args(argv)
    rows = []
    for path in records.record_paths(records.DATA, set_name="mitdb", split="test"):
        recording = read_wfdb(path)
        for promise, keywords in PROMISES.items():
            for level in LEVELS:
                blob = sancodec.compress(recording, level=level, **keywords)
                whole = sancodec.decompress_recording(blob).samples
                chunk_s = sancodec.open(io.BytesIO(blob)).chunk_s
                # An excerpt across a border takes two chunks.
                starts = [*np.linspace(0, recording.duration_s - EXCERPT_S, 8).tolist(), 5 * chunk_s - 5, 9 * chunk_s]
                measure(blob, 0.0, whole)
                measured = [measure(blob, start_s, whole) for start_s in starts]
                rows.append(
                    {
                        "record": recording.side_files[0].name.removesuffix(".hea"),
                        "promise": promise,
                        "level": level,
                        "bytes": len(blob),
                        "chunk_s": chunk_s,
                        "share_read": [share for share, _ in measured],
                        "ms": [ms for _, ms in measured],
                    }
                )
                print(
                    f"{rows[-1]['record']} {promise} level {level}: "
                    f"{100 * max(rows[-1]['share_read']):.2f} % of {len(blob)} bytes at most, "
                    f"{statistics.median(rows[-1]['ms']):.0f} ms"
                )
    content = {
        "benchmark": "random_access",
        "excerpt_s": EXCERPT_S,
        "environment": environment.describe(("sancodec", "numpy", "zstandard")),
        "rows": rows,
    }
    environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
