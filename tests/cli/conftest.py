import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sancodec.cli import main
from sancodec.datasets.wfdb_record import read_wfdb

DATA = Path(__file__).resolve().parents[1] / "data"
# A shell lets what runs behind "&" ignore Ctrl-C, and commands would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COMMAND = [sys.executable, "-c", "from sancodec.cli import main; main()"]


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, as the shell would."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sancodec", *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


def piped(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own, with bytes on its standard streams."""
    return subprocess.run([*COMMAND, *map(str, arguments)], input=given, capture_output=True, check=False)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ten-second record, alone in an empty folder that is the working directory; its header."""
    for suffix in (".dat", ".hea"):
        shutil.copy(DATA / f"100_10s{suffix}", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "100_10s.hea"


def long_samples() -> np.ndarray:
    """Both leads, eight times in a row, int16 ``(2, 28800)``."""
    return np.tile(np.stack(read_wfdb(DATA / "100_10s.hea").samples), (1, 8)).astype(np.int16)


@pytest.fixture
def long_array(record: Path) -> np.ndarray:
    """``long.npy``: the long samples."""
    samples = long_samples()
    np.save("long.npy", samples)
    return samples


@pytest.fixture
def unprivileged() -> None:
    """Permissions mean nothing to root."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        pytest.skip("runs as root, whom no permission stops")
