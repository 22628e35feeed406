"""Work on chunks in several threads: the native core lets others run while it works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Threads:
    """A number of threads, started when they are first needed.

    Parameters
    ----------
    count
        One per processor by default.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        """Results in the order of the items, whatever the number of threads."""
        if self._count == 1 or len(items) < 2:
            return map(function, items)
        # A process that was forked has the pool of its parent, but none of its threads.
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(self._count), os.getpid()
        return self._pool.map(function, items)
