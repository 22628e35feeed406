"""The bar tells the time left from the rate measured lately."""

import os
import pty
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sancodec.cli.progress import Pace, bar_line
from tests.cli.conftest import COMMAND


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def paced(*steps: tuple[float, float]) -> tuple[Pace, Clock]:
    """A pace after steps of so many seconds to a fraction each."""
    clock = Clock()
    pace = Pace(clock)
    for seconds, fraction in steps:
        clock.now += seconds
        pace.report(fraction)
    return pace, clock


def test_an_even_rate_gives_the_time_left() -> None:
    pace, _ = paced(*((1.0, (index + 1) / 100) for index in range(40)))
    assert pace.left_s() == pytest.approx(60)
    assert pace.elapsed_s == 40


def test_nothing_is_said_before_there_is_a_rate() -> None:
    pace, clock = paced((0.5, 0.01))
    assert pace.left_s() is None
    clock.now += 10
    assert pace.left_s() is not None
    assert paced()[0].left_s() is None


def test_a_slower_rate_is_noticed_within_a_third_of_the_time() -> None:
    fast = [(0.5, 0.005 * (index + 1)) for index in range(100)]  # half in 50 s
    slow = [(1.0, 0.5 + 0.0025 * (index + 1)) for index in range(30)]  # a quarter of that rate
    pace, _ = paced(*fast, *slow)
    assert pace.left_s() == pytest.approx((1 - 0.575) / 0.0025, rel=0.05)


def test_the_time_left_grows_while_nothing_is_reported() -> None:
    pace, clock = paced(*((1.0, (index + 1) / 100) for index in range(50)))
    before = pace.left_s()
    clock.now += 60
    after = pace.left_s()
    assert before is not None
    assert after is not None
    assert after > 2 * before


def test_a_fraction_never_goes_back() -> None:
    pace, _ = paced((1, 0.5), (1, 0.4), (1, 7.0))
    assert pace.fraction == 1


@pytest.mark.parametrize("columns", [10, 25, 40, 80, 200])
def test_the_bar_fits_its_line(columns: int) -> None:
    pace, _ = paced(*((60.0, (index + 1) / 100) for index in range(42)))
    line = bar_line("a/very/long/folder/and/a/long/name/of/a/record.dat", pace, columns)
    assert len(line) <= columns
    if columns >= 40:
        assert "42 %  42:00, 58:00 left" in line


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_a_terminal_gets_a_bar_and_a_pipe_gets_none(record: Path, verb: str) -> None:
    np.save("x.npy", np.random.default_rng(0).integers(-9, 9, (4, 400_000)).cumsum(axis=1).astype(np.int32))
    pack = [*COMMAND, "compress", "x.npy", "--rate", "360", "--level", "1", "-f"]
    arguments = pack if verb == "compress" else [*COMMAND, "decompress", "x.san", "-o", "y.csv", "--to", "csv"]
    assert subprocess.run(pack, capture_output=True, check=True).stderr == b""
    controller, terminal = pty.openpty()
    subprocess.run(arguments, stderr=terminal, stdout=subprocess.DEVNULL, check=True)
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert re.search(r" %  \d+:\d\d", shown)
    assert shown.endswith(" \r")
