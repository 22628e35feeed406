"""Second half of an experiment: classifiers on what trained networks make of the windows, side by side and kept."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import environment
import numpy as np
import torch
from classifiers import Accuracy, ClassifierConfig, Part, accuracies
from labelled import LabelledWindows
from numpy.typing import NDArray

from sancodec.san.metrics import Score, score
from sancodec.san.network import SparselyActivatedNetwork
from sancodec.training.san import SAN
from sancodec.training.selection_state import FinishedRun

_RECONSTRUCTED_AT_ONCE = 256
_NAME_LENGTH = 24
# A change of the classification that changes its results changes this, so that no older one is taken for one of today.
_REVISION = 1


@dataclass(frozen=True, slots=True)
class Classified:
    """Classifiers on the reconstructions of one network, or on the raw windows.

    Parameters
    ----------
    accuracies
        One for each seed.
    published_count
        CR⁻¹, L̃ and φ̄ of the test windows with W as the published code counts it: of kernels of two dimensions the
        rows only. None of raw windows.
    seconds
        Time it took.
    """

    accuracies: tuple[Accuracy, ...]
    published_count: Score | None
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean([each.best for each in self.accuracies]))

    @property
    def std(self) -> float:
        """Of the seeds, with divisor n - 1; 0 of a single one."""
        found = [each.best for each in self.accuracies]
        return float(np.std(found, ddof=1)) if len(found) > 1 else 0.0

    @property
    def last_epoch_mean(self) -> float:
        return float(np.mean([each.last for each in self.accuracies]))


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One network whose reconstructions are to be classified; None stands for the raw windows."""

    run: FinishedRun | None
    sha256: str


def tasks(runs: Sequence[FinishedRun], data: LabelledWindows, config: ClassifierConfig) -> list[Task]:
    """The raw windows first, then every network."""
    settings = {**asdict(config), "data": data.sha256, "revision": _REVISION}
    found = []
    for run in (None, *runs):
        parts = {**settings, "network": None if run is None else run.sha256}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        found.append(Task(run, digest))
    return found


def classify_all(
    waiting: Sequence[Task], data: LabelledWindows, config: ClassifierConfig, *, state: Path, n_jobs: int
) -> Iterator[tuple[Task, Classified]]:
    """Every task as it is finished; those that are kept in the folder come first and are not repeated."""
    open_tasks = []
    for task in waiting:
        known = _load(state, task)
        if known is None:
            open_tasks.append(task)
        else:
            yield task, known
    for task, found in _side_by_side(open_tasks, data, config, min(n_jobs, len(open_tasks))):
        # Not write_json, which rounds: a report on kept results must be the same to the last digit.
        environment.write_text(_path(state, task), json.dumps({"sha256": task.sha256, **asdict(found)}, indent=1))
        yield task, found


def classify(task: Task, data: LabelledWindows, config: ClassifierConfig) -> Classified:
    """Train and test the classifiers of one task."""
    start = time.perf_counter()
    windows = data.windows
    parts, published_count = [windows.train, windows.validation, windows.test], None
    if task.run is not None and task.run.model is not None:
        network = task.run.model.network
        (parts[0], _), (parts[1], _), (parts[2], n_activations) = (_reconstructed(network, part) for part in parts)
        published_count = score(
            parts[2],
            windows.test,
            n_weights=sum(len(kernel) for kernel in network.kernels),
            n_activations=n_activations,
        )
    labels = (data.train, data.validation, data.test)
    pairs: list[Part] = [
        (torch.from_numpy(np.array(part)), torch.from_numpy(np.array(its)))
        for part, its in zip(parts, labels, strict=True)
    ]
    found = accuracies(config, pairs, n_classes=data.n_classes)
    return Classified(tuple(found), published_count, time.perf_counter() - start)


def _reconstructed(
    network: SparselyActivatedNetwork, windows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Reconstructions and how many activations each has. Once, not in every epoch: the kernels stay as they are."""
    sizes = [len(kernel) for kernel in network.kernels]
    module = SAN(sizes, network.activations, n_dims=network.n_dims)
    found = np.empty_like(windows)
    counts = np.empty(len(windows), np.int64)
    with torch.no_grad():
        for parameter, kernel in zip(module.kernels, network.kernels, strict=True):
            parameter.copy_(torch.from_numpy(np.array(kernel)))
        for first in range(0, len(windows), _RECONSTRUCTED_AT_ONCE):
            chosen = slice(first, first + _RECONSTRUCTED_AT_ONCE)
            each = module.decompose(torch.from_numpy(np.array(windows[chosen])))
            found[chosen] = each.reconstruction.numpy()
            active = torch.stack([one.flatten(start_dim=1).count_nonzero(dim=1) for one in each.activation_maps])
            counts[chosen] = active.sum(dim=0).numpy()
    return found, counts


def _side_by_side(
    waiting: Sequence[Task], data: LabelledWindows, config: ClassifierConfig, n_jobs: int
) -> Iterator[tuple[Task, Classified]]:
    if n_jobs <= 1:
        torch.set_num_threads(1)  # the results do not depend on the number of processes
        for task in waiting:
            yield task, classify(task, data, config)
        return
    executor = ProcessPoolExecutor(
        n_jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(data, config)
    )
    try:
        futures = {executor.submit(_classify_here, task): task for task in waiting}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


# Of a process that classifies: what all of its tasks share is sent to it once.
_shared: list[tuple[LabelledWindows, ClassifierConfig]] = []


def _begin(data: LabelledWindows, config: ClassifierConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for the results ends this process
    torch.set_num_threads(1)
    _shared.append((data, config))


def _classify_here(task: Task) -> Classified:
    return classify(task, *_shared[-1])


def _path(state: Path, task: Task) -> Path:
    return state / f"classified_{task.sha256[:_NAME_LENGTH]}.json"


def _load(state: Path, task: Task) -> Classified | None:
    """None when there is none yet, or it is damaged and has to be repeated."""
    try:
        found = json.loads(_path(state, task).read_bytes())
        if found["sha256"] != task.sha256:
            return None
        known = tuple(Accuracy(**each) for each in found["accuracies"])
        published_count = None if found["published_count"] is None else Score(**found["published_count"])
        seconds = float(found["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Classified(known, published_count, seconds) if math.isfinite(seconds) else None
