"""What is to be done with the files of a tree."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from sancodec.batch.finished import COMPRESS, COPY, RESTORE, Stamp
from sancodec.batch.journal import STATE_FOLDER, State
from sancodec.batch.places import Listing, Place
from sancodec.batch.tasks import Task
from sancodec.datasets.kinds import InputKind, kind_by_suffix, restored_name
from sancodec.errors import InvalidSignalError, SancodecError

SAN_SUFFIX = ".san"
_FETCHED_TOGETHER = 200
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\d+)?\.(tmp|part|old)")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files are taken: those that match a pattern of ``include``, where there is one, and none of ``exclude``.

    A pattern with a ``/`` is for the path below the tree, any other for the name; ``*`` also stands for ``/``.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        return (not self.include or _matches(path, self.include)) and not _matches(path, self.exclude)


@dataclass(slots=True)
class Plan:
    """Tasks, large ones first, and what is to be said about the rest.

    Parameters
    ----------
    folders
        To be made, even where nothing comes into them.
    notes
        Lines worth saying.
    failures
        Path and reason of what cannot be done at all.
    """

    tasks: list[Task] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Input:
    kind: InputKind
    headers: tuple[str, ...]
    files: tuple[str, ...]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    name = PurePosixPath(path).name
    return any(fnmatch.fnmatchcase(path if "/" in each else name, each.removeprefix("./")) for each in patterns)


def listing_of(place: Place, *, is_mirror: bool) -> Listing:
    """What is in a tree, without what killed runs left behind.

    Raises
    ------
    SancodecError
        When it cannot be listed, or is the mirror that a batch made and should not be.
    """
    listing = place.listing()
    if not listing.files and not listing.folders and listing.failures:
        path, reason = listing.failures[0]
        raise SancodecError(f"{path}: {reason}")
    if not is_mirror and any(each.path.startswith(f"{STATE_FOLDER}/") for each in listing.files):
        raise InvalidSignalError(
            f"the source has a folder {STATE_FOLDER!r}: it is what a batch made of another tree; --restore undoes it"
        )
    listing.files = [each for each in listing.files if not _TEMPORARY.fullmatch(PurePosixPath(each.path).name)]
    return listing


def count_inputs(listing: Listing) -> int:
    """How many files may stand for a recording, by their suffixes."""
    return sum(kind_by_suffix(PurePosixPath(each.path)) is not None for each in listing.files)


def plan_compression(
    place: Place, listing: Listing, state: State, selection: Selection, *, has_others: bool, exact: bool
) -> Plan:
    """Every recording becomes a container, every other file is copied; segments belong to the record of them all.

    Parameters
    ----------
    has_others
        Whether other files are copied.
    exact
        Whether recordings are compressed losslessly.
    """
    stamps = {each.path: each for each in listing.files if selection.takes(each.path)}
    plan = Plan(folders=listing.folders if has_others else [], notes=listing.notes, failures=listing.failures)
    all_stamps = {each.path: each for each in listing.files}
    inputs = _inputs(place, list(stamps), plan, known=all_stamps, exact=exact)
    failed = {path for path, _ in plan.failures}
    claimed = {path for each in inputs.values() for path in each.files} | failed
    others = [path for path in stamps if path not in claimed] if has_others else []
    for path, target in _targets(inputs, {*others, *listing.folders}, plan.notes).items():
        # A file that is missing is told by whoever reads the recording.
        files = tuple(all_stamps[each] for each in inputs[path].files if each in all_stamps)
        plan.tasks.append(_task(COMPRESS, path, target, files, state))
    plan.tasks += [_task(COPY, path, path, (stamps[path],), state) for path in others]
    _largest_first(plan)
    return plan


def files_of_others(place: Place, listing: Listing, plan: Plan, *, exact: bool) -> set[str]:
    """Files of recordings that a plan leaves out; a signal file may belong to several headers."""
    planned = {stamp.path for task in plan.tasks for stamp in task.inputs}
    left_out = [each.path for each in listing.files if each.path not in planned]
    known = {each.path for each in listing.files}
    inputs = _inputs(place, left_out, Plan(), known=known, exact=exact)
    return {path for each in inputs.values() for path in each.files}


def plan_restoring(listing: Listing, state: State, selection: Selection) -> Plan:
    """Every container that a batch made gives back its files, every other file is copied."""
    plan = Plan(notes=listing.notes, failures=listing.failures)
    plan.folders = [path for path in listing.folders if path.partition("/")[0] != STATE_FOLDER]
    copies = {each.target for each in state.finished.values() if each.action == COPY}
    for stamp in listing.files:
        path = stamp.path
        if path.startswith(f"{STATE_FOLDER}/") or not selection.takes(path):
            continue
        if path.endswith(SAN_SUFFIX) and path not in copies:
            plan.tasks.append(Task(RESTORE, path, str(PurePosixPath(path).parent), (stamp,)))
        else:
            plan.tasks.append(Task(COPY, path, path, (stamp,)))
    _largest_first(plan)
    return plan


def _inputs(
    place: Place, paths: Sequence[str], plan: Plan, *, known: Collection[str], exact: bool
) -> dict[str, _Input]:
    """The recordings among the files, by the file that stands for each, without those that are segments of others."""
    kinds = {path: kind for path in paths if (kind := kind_by_suffix(PurePosixPath(path))) is not None}
    # Only what names other files must be read to plan.
    found = {path: _Input(kind, (path,), (path,)) for path, kind in kinds.items() if kind.headers is None}
    rest = [path for path in kinds if path not in found]
    segmented = dict[str, tuple[str, ...]]()
    for first in range(0, len(rest), _FETCHED_TOGETHER):
        batch = rest[first : first + _FETCHED_TOGETHER]
        with place.local(batch) as folder:
            for path in batch:
                kind = kinds[path]
                assert kind.headers is not None
                if not kind.has_samples(folder / path):
                    continue
                with _noted(path, plan):
                    headers = _relative(kind.headers, folder, path)
                    if len(headers) > 1:
                        segmented[path] = headers
                    else:
                        found[path] = _Input(kind, headers, _relative(partial(kind.files, exact=exact), folder, path))
    for path, headers in segmented.items():
        files_of = partial(kinds[path].files, exact=exact)
        try:
            with place.local([each for each in headers if each in known]) as folder:
                files = _relative(files_of, folder, path)
            missing = [each for each in files if each not in known]
            if missing:
                raise InvalidSignalError(f"{missing[0]} is missing")
        except SancodecError as error:
            plan.notes.append(f"{path}: is copied, its segments are compressed one by one: {_line(error)}")
            continue
        found[path] = _Input(kinds[path], headers, files)
    segments = {header for each in found.values() for header in each.headers[1:]}
    return {path: found[path] for path in kinds if path in found and path not in segments}


@contextmanager
def _noted(path: str, plan: Plan) -> Iterator[None]:
    """Let errors be failures of a plan."""
    try:
        yield
    except SancodecError as error:
        plan.failures.append((path, _line(error)))


def _line(error: SancodecError) -> str:
    return " ".join(str(error).split())


def _relative(files_of: Callable[[Path], tuple[Path, ...]], folder: Path, path: str) -> tuple[str, ...]:
    return tuple(each.relative_to(folder).as_posix() for each in files_of(folder / path))


def _targets(inputs: dict[str, _Input], taken: set[str], notes: list[str]) -> dict[str, str]:
    """A container's name for every recording: ``x.san``, or where that would be ambiguous ``x.edf.san``."""
    short = {path: str(PurePosixPath(path).with_suffix(SAN_SUFFIX)) for path in inputs}
    counts = Counter(short.values())
    colliding = defaultdict(list)
    targets = {}
    for path, each in inputs.items():
        target = short[path]
        if counts[target] > 1 or target in taken:
            colliding[target].append(path)
            target = f"{path}{SAN_SUFFIX}"
        elif not each.kind.keeps_names:
            name = PurePosixPath(path)
            if restored_name(name.stem, each.kind) != name.name:
                target = f"{path}{SAN_SUFFIX}"
        while target in taken:
            target += SAN_SUFFIX
        targets[path] = target
        taken.add(target)
    for target, paths in colliding.items():
        names = " and ".join([*([f"{target} itself"] if counts[target] == 1 else []), *paths])
        became = " and ".join(targets[path] for path in paths)
        notes.append(f"{names} have one name, {target}; written as {became}")
    return targets


def _task(action: str, path: str, target: str, files: tuple[Stamp, ...], state: State) -> Task:
    return Task(action, path, target, files, state.finished.get(path), target in state.targets)


def _largest_first(plan: Plan) -> None:
    """Large files at the end would leave all workers but one without work."""
    plan.tasks.sort(key=lambda task: (-task.n_bytes, task.source))
