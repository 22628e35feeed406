"""Kill the command at many moments, and check that no output is ever partial.

    python tests/cli/kill_many.py 300

runs each verb so many times with each signal, in a temporary folder, and prints what it found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

COMMAND = [sys.executable, "-c", "from sancodec.cli import main; main()"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
OLD = b"what was there before"


@dataclass
class Case:
    """A command, and the files that it writes with what they hold when it is done."""

    name: str
    arguments: list[str]
    finished: dict[str, bytes] = field(default_factory=dict)
    duration_s: float = 0.0


def prepare(folder: Path, seconds: int = 1800) -> list[Case]:
    """Inputs of about half a second of work, and what comes of them without a kill."""
    rng = np.random.default_rng(0)
    np.save(folder / "in.npy", rng.integers(-30, 30, (2, 360 * seconds)).cumsum(axis=1).astype(np.int32))
    pack = ["compress", "in.npy", "--rate", "360", "--level", "1", "--force", "-q"]
    _run(folder, [*pack, "-o", "in.san"])
    cases = [
        Case("compress", [*pack, "-o", "out.san"], {"out.san": b""}),
        Case("decompress to npy", ["decompress", "in.san", "-o", "out.npy", "--force", "-q"], {"out.npy": b""}),
        Case(
            "decompress to wfdb",
            ["decompress", "in.san", "--to", "wfdb", "-o", ".", "--force", "-q"],
            {"in.dat": b"", "in.hea": b""},
        ),
    ]
    for case in cases:
        start = time.monotonic()
        _run(folder, case.arguments)
        case.duration_s = time.monotonic() - start
        case.finished = {name: (folder / name).read_bytes() for name in case.finished}
    return cases


def _run(folder: Path, arguments: list[str]) -> None:
    subprocess.run([*COMMAND, *arguments], cwd=folder, check=True)


def kill_at(folder: Path, case: Case, number: signal.Signals, delay_s: float, *, has_old: bool) -> str:
    """Run, kill after a while, and check; tells what was found under the names of the outputs.

    Raises
    ------
    AssertionError
        When an output is neither old nor finished nor absent, or a signal that can be handled left a file.
    """
    inputs = {"in.npy", "in.san", "temporary"}
    for path in folder.iterdir():
        if path.name not in inputs:
            path.unlink()
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    if has_old:
        for name in case.finished:
            (folder / name).write_bytes(OLD)
    environment = {**os.environ, "TMPDIR": str(temporary), "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*COMMAND, *case.arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        time.sleep(delay_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    found = set()
    where = f"{case.name}, {number.name} after {delay_s:.3f} s, {'with' if has_old else 'without'} an old output"
    for name, finished in case.finished.items():
        content = (folder / name).read_bytes() if (folder / name).exists() else None
        kinds = {OLD if has_old else None: "old" if has_old else "nothing", None: "nothing", finished: "finished"}
        assert content in kinds, f"{where}: {name} is partial"
        found.add(kinds[content])
    if number != signal.SIGKILL and process.returncode != -number:  # else Python had not yet begun
        left = sorted(path.name for path in folder.iterdir() if path.name not in inputs | set(case.finished))
        left += [path.name for path in temporary.iterdir()]
        assert not left, f"{where}: it left {left}\n{errors.decode()}"
    return "+".join(sorted(found))


def moments(case: Case, count: int) -> list[float]:
    """Delays spread over the command's time, half of them over its last third, where it writes and renames."""
    early = np.linspace(0.05, 1.05, count - count // 2) * case.duration_s
    late = np.linspace(0.7, 1.1, count // 2) * case.duration_s
    return [*early.tolist(), *late.tolist()]


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in prepare(folder):
            for number in SIGNALS:
                tally = Counter(
                    kill_at(folder, case, number, delay, has_old=index % 2 == 0)
                    for index, delay in enumerate(moments(case, count))
                )
                print(f"{case.name} ({case.duration_s:.2f} s), {number.name}: {dict(tally)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
