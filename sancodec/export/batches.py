"""Calls that wait at the same time run together, and no run takes more than a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

Arrays = Sequence[NDArray[Any]]
Run = Callable[[Arrays, Arrays], None]


@dataclass(slots=True, eq=False)
class _Call:
    """Arrays whose first axes count rows; the outputs are written to."""

    run: Run
    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]
    max_rows: int
    is_done: bool = False
    error: Exception | None = None

    @property
    def n_rows(self) -> int:
        return len(self.inputs[0])

    def fits(self, other: _Call) -> bool:
        """Whether rows of both may lie in one array."""
        kinds = [[(each.shape[1:], each.dtype) for each in (*call.inputs, *call.outputs)] for call in (self, other)]
        return self.run is other.run and kinds[0] == kinds[1]


class Batches:
    """Merges small calls from several threads into one run, and cuts a large call into several.

    While one run is under way, others wait. The first of them takes along all that fit into its batch: channels and
    chunks that are coded in threads, and files where threads share an engine. One run at a time bounds the memory.

    Parameters
    ----------
    max_samples
        Samples of one run; a single row may have more.
    """

    def __init__(self, *, max_samples: int) -> None:
        self._max_samples = max_samples
        self._waiting: list[_Call] = []
        self._guard = threading.Lock()
        self._is_running = threading.Lock()

    def __call__(self, run: Run, inputs: Arrays, outputs: Arrays, *, samples_per_row: int) -> None:
        """Have ``run(inputs, outputs)`` done, in any number of pieces, and beside the rows of other calls.

        Parameters
        ----------
        run
            The same object for calls that may be merged; fills the outputs. Rows must not depend on each other.
        inputs, outputs
            Arrays of ``(row, …)``; outputs are contiguous.

        Raises
        ------
        InvalidSignalError
            When the arrays do not have the same number of rows.
        Exception
            Whatever ``run`` raises.
        """
        n_rows = sorted({len(each) for each in (*inputs, *outputs)})
        if len(n_rows) != 1:
            raise InvalidSignalError(f"arrays of {n_rows} rows; all need the same number")
        max_rows = max(1, self._max_samples // max(samples_per_row, 1))
        call = _Call(run, [np.ascontiguousarray(each) for each in inputs], list(outputs), max_rows)
        with self._guard:
            self._waiting.append(call)
        try:
            with self._is_running:
                if not call.is_done:
                    self._run_with(call)
            error = call.error
        finally:
            with self._guard:  # where Ctrl-C ended the wait, nobody shall compute it any more
                self._waiting = [each for each in self._waiting if each is not call]
            del call  # a traceback would keep its arrays
        if error is not None:
            raise error

    def _run_with(self, call: _Call) -> None:
        taken, failure = self._taken(call), None
        # Where Ctrl-C ends this thread, the calls it took along are not done, and run for themselves.
        try:
            if len(taken) == 1:
                _in_pieces(call)
            else:
                _together(taken)
        except Exception as error:  # it belongs to every call that was taken along, and is raised there
            failure = error.with_traceback(None)  # which would keep all their arrays
        for each in taken:
            each.error = failure
            each.is_done = True

    def _taken(self, call: _Call) -> list[_Call]:
        """A call, and those that fit beside it."""
        with self._guard:
            taken, n_rows = [call], call.n_rows
            for other in self._waiting:
                if other is not call and call.fits(other) and n_rows + other.n_rows <= call.max_rows:
                    taken.append(other)
                    n_rows += other.n_rows
            self._waiting = [each for each in self._waiting if each not in taken]
        return taken


def _in_pieces(call: _Call) -> None:
    for first in range(0, call.n_rows, call.max_rows):
        rows = slice(first, first + call.max_rows)
        call.run([each[rows] for each in call.inputs], [each[rows] for each in call.outputs])


def _together(calls: list[_Call]) -> None:
    inputs = [np.concatenate(arrays) for arrays in zip(*(each.inputs for each in calls), strict=True)]
    n_rows = len(inputs[0])
    outputs = [np.empty((n_rows, *each.shape[1:]), each.dtype) for each in calls[0].outputs]
    calls[0].run(inputs, outputs)
    first = 0
    for call in calls:
        for mine, ours in zip(call.outputs, outputs, strict=True):
            mine[:] = ours[first : first + call.n_rows]
        first += call.n_rows
