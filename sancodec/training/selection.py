"""A sweep over activations and kernel sizes: many runs side by side, each kept as soon as it is finished."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from sancodec.errors import DeviceError, InvalidSignalError
from sancodec.training.san_config import TrainingConfig
from sancodec.training.san_training import resolved_device, san_model, train_san
from sancodec.training.selection_state import FinishedRun, RunStore
from sancodec.training.windows import SplitWindows

TEST, VALIDATION = ("test", "validation")
OnRun = Callable[[FinishedRun, int, int], None]


def grid(config: TrainingConfig, *, activations: Sequence[str], kernel_sizes: Sequence[int]) -> list[TrainingConfig]:
    """Every activation with every kernel size, all else as in one configuration.

    Parameters
    ----------
    config
        Its number of kernels stays; a border tolerance and competition go to ``extrema`` alone.
    activations, kernel_sizes
        What to combine; the size is that of all kernels of a run. Those named twice are taken once.

    Raises
    ------
    InvalidSignalError
        When there is nothing to combine, or a value is unknown or out of range.
    """
    if not activations or not kernel_sizes:
        raise InvalidSignalError("a sweep needs one activation and one kernel size at least")
    return [
        replace(
            config,
            activation=activation,
            kernel_sizes=(size,) * len(config.kernel_sizes),
            border_tolerance=config.border_tolerance if activation == "extrema" else None,
            competing=config.competing and activation == "extrema",
        )
        for activation in dict.fromkeys(activations)
        for size in dict.fromkeys(kernel_sizes)
    ]


def sweep(
    windows: SplitWindows,
    configs: Sequence[TrainingConfig],
    *,
    state: Path,
    n_jobs: int | None = None,
    device: str = "auto",
    on_run: OnRun | None = None,
) -> list[FinishedRun]:
    """Train every configuration that is not finished yet.

    Parameters
    ----------
    windows
        From ``read_windows``.
    configs
        From ``grid``; each must fit the windows.
    state
        Folder that keeps finished runs. A run whose configuration, windows and device are the same is not repeated.
    n_jobs
        Processes of one thread each; one per processor by default. The results do not depend on it.
    device
        ``auto``, ``cpu`` or ``cuda``.
    on_run
        Called with every run, how many are finished, and how many there are; those finished before come first.

    Returns
    -------
    All runs by φ̄ of the test windows, the best first; runs that failed last.

    Raises
    ------
    InvalidSignalError
        When a configuration does not fit the windows; nothing is trained then.
    DeviceError
        When a process that trains was killed.
    """
    if not configs:
        raise InvalidSignalError("a sweep needs one run at least")
    for config in configs:
        config.activations(windows.window)
    device = resolved_device(device)
    store, data_sha256 = RunStore(state), windows.sha256
    runs, waiting = list[FinishedRun](), list[tuple[TrainingConfig, str]]()

    def finished(run: FinishedRun) -> None:
        runs.append(run)
        if on_run is not None:
            on_run(run, len(runs), len(configs))

    for config in configs:
        sha256 = config.sha256(data_sha256=data_sha256, device=device)
        known = store.load(config, sha256)
        if known is None:
            waiting.append((config, sha256))
        else:
            finished(known)
    for run in _trained(windows, waiting, device=device, n_jobs=min(n_jobs or n_processors(), len(waiting))):
        store.save(run)
        finished(run)
    return ranked(runs)


def ranked(runs: Iterable[FinishedRun], *, by: str = TEST) -> list[FinishedRun]:
    """Runs by their φ̄, the best first, those that failed last; of equal ones the shorter kernel first.

    Parameters
    ----------
    by
        ``test``, as the published code chooses, or ``validation``, which leaves φ̄ of the test windows unbiased.
    """

    def key(run: FinishedRun) -> tuple[float, tuple[int, ...], str]:
        score = run.test if by == TEST else run.validation
        phi = math.inf if score is None or run.failure is not None or not score.is_finite else score.phi
        return phi, run.config.kernel_sizes, run.config.activation

    return sorted(runs, key=key)


def n_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trained(
    windows: SplitWindows, waiting: Sequence[tuple[TrainingConfig, str]], *, device: str, n_jobs: int
) -> Iterator[FinishedRun]:
    """Runs as they finish."""
    if n_jobs <= 1:
        for config, sha256 in waiting:
            yield _train(windows, config, sha256, device)
        return
    before = set(multiprocessing.active_children())
    # Not fork: torch and CUDA do not survive it.
    executor = ProcessPoolExecutor(
        n_jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(windows, device)
    )
    try:
        for future in as_completed([executor.submit(_train_here, config, sha256) for config, sha256 in waiting]):
            yield future.result()
    except BrokenProcessPool:
        raise DeviceError(
            "a process that trains was killed, perhaps for want of memory; finished runs are kept: "
            "the same command goes on with the others, with fewer --jobs if need be"
        ) from None
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _train(windows: SplitWindows, config: TrainingConfig, sha256: str, device: str) -> FinishedRun:
    start = time.perf_counter()
    try:
        trained = train_san(windows, config, device=device)
        model = san_model(trained, windows, config)
    except InvalidSignalError as error:
        return FinishedRun(config, sha256, seconds=time.perf_counter() - start, failure=str(error))
    return FinishedRun(
        config, sha256, trained.history, trained.best_epoch, trained.test, model, time.perf_counter() - start
    )


# Of a process that trains: what all of its runs share is sent to it once.
_shared: list[tuple[SplitWindows, str]] = []


def _begin(windows: SplitWindows, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for the runs ends this process
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _shared.append((windows, device))


def _end_with(parent: BaseProcess) -> None:
    """A parent that is killed cannot end its children."""
    parent.join()
    os._exit(1)


def _train_here(config: TrainingConfig, sha256: str) -> FinishedRun:
    windows, device = _shared[-1]
    return _train(windows, config, sha256, device)
