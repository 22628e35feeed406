"""Throughput of ``sancodec batch`` by level and number of workers.

    python benchmarks/batch.py -o benchmarks/results/batch.json
    python benchmarks/batch.py --levels 5 --workers 1 2 --repetitions 3

Whole processes, start-up, check of every file and reports included, on a tree of records that lies in the page cache
after a first pass. Runs take turns, so that a drift of the machine meets all of them alike. Each row also states its
throughput over that of one worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environment

DEFAULT_TREE = environment.REPOSITORY.parent / "shared" / "data" / "mitdb"
COMMAND = [sys.executable, "-c", "from sancodec.cli import main; main()"]


def run_once(tree: Path, level: int, workers: int, include: list[str]) -> dict[str, Any]:
    """One run into an empty folder: its ``--json`` summary, its processor time, the load of the machine before it."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        patterns = [part for pattern in include for part in ("--include", pattern)]
        arguments = ["batch", str(tree), str(target), "--level", str(level), "-j", str(workers), "--json", *patterns]
        before = os.times()
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
        after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout), "load": load, "cpu_s": cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=DEFAULT_TREE)
    parser.add_argument("--include", action="append", default=[], help="pattern of sancodec batch; all files without")
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 5, 9])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for repetition in range(options.repetitions):
        cases = [(level, workers) for level in options.levels for workers in options.workers]
        for level, workers in cases if repetition % 2 == 0 else reversed(cases):
            result = run_once(options.tree, level, workers, options.include)
            runs.setdefault((level, workers), []).append(result)
            print(
                f"level {level}, {workers} workers: {result['seconds']:.1f} s, {result['mb_per_s']:.3f} MB/s, "
                f"{result['file_ratio']:.2f}:1, {result['cpu_s']:.1f} s of processors, load {result['load']:.1f}",
                file=sys.stderr,
            )
    rows = []
    for (level, workers), results in sorted(runs.items()):
        speed = statistics.median(result["mb_per_s"] for result in results)
        alone = statistics.median(each["mb_per_s"] for each in runs.get((level, 1), results))
        rows.append(
            {
                "level": level,
                "workers": workers,
                "mb_per_s": speed,
                "over_one_worker": speed / alone if (level, 1) in runs else None,
                "seconds": [result["seconds"] for result in results],
                "cpu_s": [result["cpu_s"] for result in results],
                "mb_per_cpu_s": results[0]["input_bytes"] / 1e6 / min(result["cpu_s"] for result in results),
                "load_before": [result["load"] for result in results],
                "files": results[0]["files"],
                "input_bytes": results[0]["input_bytes"],
                "ratio": results[0]["ratio"],
                "file_ratio": results[0]["file_ratio"],
            }
        )
    report = {
        "environment": environment.describe(("sancodec", "numpy", "zstandard")),
        "tree": options.tree.name,
        "runs": rows,
    }
    if options.output is None:
        print(json.dumps(report, indent=2))
    else:
        environment.write_json(options.output, report)


if __name__ == "__main__":
    main()
