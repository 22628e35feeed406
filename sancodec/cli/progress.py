"""A bar with the time gone and the time left, on standard error when that is a terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from sancodec.cli.terminal import printable
from sancodec.cli.times import short_clock

_REDRAW_S = 0.2
_WARM_UP_S = 2.0
_MIN_WINDOW_S = 10.0
_WINDOW_SHARE = 0.3


class Pace:
    """The time left, from the rate of the latest third of the time gone.

    The rate of all the time gone would lag behind a change of pace; that of the last moment jumps with every channel.
    While nothing is reported, the time left grows with the time waited.

    Parameters
    ----------
    clock
        Time in s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._reports: deque[tuple[float, float]] = deque([(self._start, 0.0)])
        self.fraction = 0.0

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._start

    def report(self, fraction: float) -> None:
        """Note the fraction done; it never goes back."""
        self.fraction = max(self.fraction, min(fraction, 1.0))
        now = self._clock()
        self._reports.append((now, self.fraction))
        window = max(_MIN_WINDOW_S, _WINDOW_SHARE * (now - self._start))
        while len(self._reports) > 2 and self._reports[1][0] <= now - window:
            self._reports.popleft()

    def left_s(self) -> float | None:
        """Time left in s; None as long as nothing can be said."""
        then, before = self._reports[0]
        if self.elapsed_s < _WARM_UP_S or self.fraction <= before:
            return None
        return (1 - self.fraction) * (self._clock() - then) / (self.fraction - before)


class Bar:
    """A bar that draws itself until it is closed.

    Parameters
    ----------
    label
        What stands before it; asked for again whenever it is drawn.
    file
        A terminal.
    """

    def __init__(self, label: Callable[[], str], file: TextIO) -> None:
        self.pace = Pace()
        self._label, self._file = label, file
        self._width = 0
        self._drawing = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)
        self._thread.start()

    def _redraw(self) -> None:
        """Draw again and again, so that the clock goes on where nothing is reported."""
        while not self._is_over.wait(_REDRAW_S):
            line = bar_line(self._label(), self.pace, shutil.get_terminal_size().columns - 1)
            with self._drawing:
                self._file.write("\r" + line.ljust(self._width))
                self._file.flush()
                self._width = len(line)

    def say(self, line: str) -> None:
        """Write a line of text, above the bar."""
        with self._drawing:
            self._clear()
            self._file.write(f"{line}\n")
            self._file.flush()

    def close(self) -> None:
        """Take the bar away."""
        self._is_over.set()
        self._thread.join()
        self._clear()

    def _clear(self) -> None:
        if self._width:
            self._file.write("\r" + " " * self._width + "\r")
            self._file.flush()
            self._width = 0


def bar_line(label: str, pace: Pace, columns: int) -> str:
    """One line of at most so many columns."""
    left_s = pace.left_s()
    left = "" if left_s is None else f", {short_clock(left_s)} left"
    text = f" {int(100 * pace.fraction):3d} %  {short_clock(pace.elapsed_s)}{left}"
    room = max(columns - len(text), 0)
    label = label[-max(room - 12, 0) :] if room > 12 else ""
    size = min(room - len(label) - 3, 40)
    if size < 1:
        return (label + text)[:columns]
    filled = int(size * pace.fraction)
    return f"{label} [{'#' * filled}{'-' * (size - filled)}]{text}"


@contextmanager
def progress(label: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs; yields a function of the fraction done."""
    if quiet or not sys.stderr.isatty():
        yield lambda fraction: None
        return
    text = printable(label)
    bar = Bar(lambda: text, sys.stderr)
    try:
        yield bar.pace.report
    finally:
        bar.close()
