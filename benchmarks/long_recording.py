"""A day of twelve leads: time and peak memory of the commands, and whether the record comes back.

    python benchmarks/long_recording.py --hours 24 --level 1 --level 5

The record is made of 10 s pieces of the PTB-XL training records, each scaled by 0.8 to 1.2, joined without jumps,
with noise of 1 µV on top, 500 Hz, format 16.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import environment
import numpy as np
import records

from sancodec.datasets.wfdb_record import read_wfdb

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
RATE_HZ = 500
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SEED = 0


def make_record(folder: Path, *, hours: float) -> Path:
    """Write the record and return the path of its header."""
    pieces = [
        np.stack(read_wfdb(path).samples)
        for path in records.record_paths(records.DATA, set_name="ptb-xl", split="train")
    ]
    rng = np.random.default_rng(SEED)
    n_samples, done = round(hours * 3600 * RATE_HZ), 0
    last, sums = np.zeros(len(LEADS)), np.zeros(len(LEADS), np.int64)
    first = last
    with (folder / "day.dat").open("wb") as file:
        while done < n_samples:
            piece = pieces[rng.integers(len(pieces))] * rng.uniform(0.8, 1.2)
            piece = piece + (last - piece[:, 0])[:, None] * np.linspace(1, 0, piece.shape[1]) ** 4
            stored = np.rint(piece + rng.normal(0, 1, piece.shape)).astype("<i2")[:, : n_samples - done]
            stored.T.tofile(file)
            first = stored[:, 0] if not done else first
            last = stored[:, -1].astype(float)
            sums += stored.sum(axis=1)
            done += stored.shape[1]
    lines = [f"day {len(LEADS)} {RATE_HZ} {n_samples}"]
    for lead, start, total in zip(LEADS, first, sums, strict=True):
        checksum = (int(total) + 2**15) % 2**16 - 2**15
        lines.append(f"day.dat 16 1000/mV 16 0 {start} {checksum} 0 {lead}")
    header = folder / "day.hea"
    header.write_text("".join(f"{line}\n" for line in lines))
    return header


def run(arguments: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MiB and standard output of a command of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - begin, usage.ru_maxrss * unit / 2**20, output


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--level", type=int, action="append")
    parser.add_argument("--promise", action="append", choices=("clinical", "archive"))
    parser.add_argument("--output", type=Path, default=RESULTS / "long_recording.json")
    arguments = parser.parse_args(argv)
    command = str(Path(sys.executable).parent / "sancodec")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = make_record(folder, hours=arguments.hours)
        for promise in arguments.promise or ["clinical"]:
            for level in arguments.level or [1, 5]:
                packed = folder / f"{promise}{level}.san"
                options = ["--preset", promise, "--level", str(level), "--json"]
                compress_s, compress_mib, output = run([command, "compress", str(header), "-o", str(packed), *options])
                report = json.loads(output)
                restored = folder / "restored"
                decompress_s, decompress_mib, _ = run([command, "decompress", str(packed), "-o", str(restored), "-q"])
                rows.append(
                    {
                        "promise": promise,
                        "level": level,
                        "n_samples": round(arguments.hours * 3600 * RATE_HZ) * len(LEADS),
                        "input_bytes": report["input_bytes"],
                        "output_bytes": report["output_bytes"],
                        "max_error_adu": max(channel["max_error_adu"] for channel in report["channels"]),
                        "compress_s": compress_s,
                        "compress_peak_mib": compress_mib,
                        "decompress_s": decompress_s,
                        "decompress_peak_mib": decompress_mib,
                        "restored_bytes": (restored / "day.dat").stat().st_size,
                        "identical": (restored / "day.dat").read_bytes() == header.with_suffix(".dat").read_bytes()
                        if promise == "archive"
                        else None,
                    }
                )
                print(rows[-1])
                for path in restored.iterdir():
                    path.unlink()
                packed.unlink()
    content = {
        "benchmark": "long_recording",
        "hours": arguments.hours,
        "seed": SEED,
        "memory_limit": resource.getrlimit(resource.RLIMIT_AS)[0],
        "environment": environment.describe(("sancodec", "numpy", "zstandard")),
        "rows": rows,
    }
    environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
