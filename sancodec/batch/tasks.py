"""The work on one file of a batch, in whatever process or machine it is done."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.api import default_engine
from sancodec.batch.encoding import Encoded, check_written, encode_checked, promises_of
from sancodec.batch.finished import COMPRESS, COPY, RESTORE, ChannelResult, Finished, RecordResult, Stamp
from sancodec.batch.places import Place, digest_of, place_at
from sancodec.batch.settings import Settings
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.recording import FrameSource
from sancodec.datasets.kinds import InputKind, kind_of, kind_of_source
from sancodec.errors import CorruptError, InvalidSignalError, OutputExistsError, SancodecError

_BLOCK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LASTING = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENAMETOOLONG)

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What all tasks of a run share.

    Parameters
    ----------
    source, target
        The trees: paths or URLs.
    threads
        Of each process.
    force
        Replace files that are not of this batch.
    """

    source: str
    target: str
    settings: Settings
    threads: int = 1
    force: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One file to be done.

    Parameters
    ----------
    action
        What to do.
    source, target
        The file that stands for the input, and what becomes of it, relative to the trees; of a restored container the
        target is the folder.
    inputs
        All files that are read, ``source`` first.
    before
        What the state says of it.
    is_begun
        Whether what lies at the target was written by an earlier run.
    """

    action: str
    source: str
    target: str
    inputs: tuple[Stamp, ...]
    before: Finished | None = None
    is_begun: bool = False

    @property
    def n_bytes(self) -> int:
        return sum(each.n_bytes for each in self.inputs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task.

    Parameters
    ----------
    finished
        None after an error, and for tasks that leave no state.
    is_new
        False where everything was there already.
    note
        What is worth a line though it is no error.
    error
        One line.
    is_full
        The disk has no room left: what comes next will fail as well.
    may_pass
        Trying again may help.
    written
        Bytes of the files that were written.
    """

    task: Task
    finished: Finished | None = None
    is_new: bool = True
    note: str | None = None
    error: str | None = None
    is_full: bool = False
    may_pass: bool = False
    written: int = 0


class _OtherBytesError(Exception):
    """The files that would be restored are not the original ones."""


def perform(task: Task, job: Job, on_progress: Progress | None = None) -> Outcome:
    """Do one task; whatever goes wrong with its files is told in the outcome."""
    report = on_progress or (lambda fraction: None)
    try:
        source, target = place_at(job.source), place_at(job.target)
        if task.action == COMPRESS:
            return _compress(task, job, source, target, report)
        if task.action == COPY:
            return _copy(task, job, source, target)
        if task.action == RESTORE:
            return _restore(task, job, source, target, report)
        return _verify(task, job, source, target, report)
    except MemoryError:
        return Outcome(task, error="not enough memory for this file; fewer workers need less of it")
    except (SancodecError, OSError) as error:
        cause = _cause(error)
        number = None if cause is None else cause.errno
        return Outcome(
            task,
            error=_line(error),
            is_full=number in _FULL,
            may_pass=cause is not None and number not in _LASTING + _FULL and (source.is_remote or target.is_remote),
        )
    except Exception as error:  # a batch goes on, whatever one file meets
        return Outcome(task, error=f"{type(error).__name__}: {error}; please report this")


def _cause(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _compress(task: Task, job: Job, source: Place, target: Place, report: Progress) -> Outcome:
    before, digest = task.before, job.settings.digest()
    note = None
    with ExitStack() as closing:
        if (
            before is not None
            and before.options == digest
            and before.target in (task.target, task.source)
            and _same_inputs(task, before, source)
        ):
            if target.digest(before.target) == before.sha256:
                return Outcome(task, replace(before, inputs=task.inputs), is_new=False)
            note = f"{before.target} is missing or not as it was written; done again"
        start = time.perf_counter()
        folder = closing.enter_context(source.local([each.path for each in task.inputs]))
        path = folder / task.source
        kind = kind_of(path)
        if kind is None:
            raise InvalidSignalError(f"{path}: is no recording any more")
        inputs, digests = _read_stamps(task, folder, source)
        try:
            with (
                _opened(kind, path, job.settings) as opened,
                target.new(task.target, replace=task.is_begun or job.force) as file,
            ):
                encoded = encode_checked(opened, file, job.settings, threads=job.threads, on_progress=report)
                if job.settings.is_exact and kind.compare is None:
                    _check_bytes(file, path, kind)
                file.seek(0)
                sha256 = digest_of(file)
                record = _record_result(kind, opened, encoded)
        except _OtherBytesError:
            copied = _copy(replace(task, target=task.source, before=None), job, source, target).finished
            assert copied is not None
            finished = replace(copied, options=digest)
            return Outcome(
                task, finished, note="would not come back byte for byte; copied as it is", written=copied.n_bytes
            )
    n_bytes = encoded.summary.n_bytes
    finished = Finished(
        task.source,
        COMPRESS,
        task.target,
        digest,
        inputs,
        digests,
        n_bytes,
        sha256,
        time.perf_counter() - start,
        record,
    )
    return Outcome(task, finished, note=note, written=n_bytes)


def _opened(kind: InputKind, path: Path, settings: Settings) -> AbstractContextManager[FrameSource]:
    rate_hz = settings.sampling_rate_hz if kind.takes_rate else None
    return kind.open(path, sampling_rate_hz=rate_hz, exact=settings.is_exact)


def _same_inputs(task: Task, before: Finished, source: Place) -> bool:
    """Whether the inputs are those of before: by size and time, or where the time is another by content."""
    if task.inputs == before.inputs:
        return True
    if [(each.path, each.n_bytes) for each in task.inputs] != [(each.path, each.n_bytes) for each in before.inputs]:
        return False
    return tuple(source.digest(each.path) for each in task.inputs) == before.digests


def _read_stamps(task: Task, folder: Path, source: Place) -> tuple[tuple[Stamp, ...], tuple[str, ...]]:
    """The inputs as they are now, and their digests."""
    digests = []
    for each in task.inputs:
        with (folder / each.path).open("rb") as file:
            digests.append(digest_of(file))
    return tuple(source.stamp(each.path) or each for each in task.inputs), tuple(digests)


def _check_bytes(file: BinaryIO, path: Path, kind: InputKind) -> None:
    """Refuse a container that would not give back the only file of a recording."""
    file.seek(0)
    reader = RecordingReader(file, engine=default_engine(), threads=1)
    with tempfile.TemporaryDirectory(prefix="sancodec-") as folder:
        pieces = (decoded for _, decoded in reader.chunks(0, reader.header.n_chunks))
        written = kind.write(reader.header, pieces, Path(folder), path.stem, force=True)
        with path.open("rb") as original, written[0].open("rb") as restored:
            if len(written) != 1 or digest_of(original) != digest_of(restored):
                raise _OtherBytesError


def _record_result(kind: InputKind, source: FrameSource, encoded: Encoded) -> RecordResult:
    samples = [source.n_frames * channel.samples_per_frame for channel in source.channels]
    channels = tuple(
        ChannelResult(
            channel.name,
            channel.unit,
            float(source.frame_rate_hz * channel.samples_per_frame),
            str(promise),
            quality.prdn,
            quality.max_error,
            quality.max_error_adu,
            worst_frame,
        )
        for channel, promise, quality, worst_frame in zip(
            source.channels, encoded.promises, encoded.summary.qualities, encoded.worst_frames, strict=True
        )
    )
    bits = sum(count * channel.resolution_bits for count, channel in zip(samples, source.channels, strict=True))
    return RecordResult(
        kind.name, float(source.n_frames / source.frame_rate_hz), bits, encoded.summary.n_events, channels
    )


def _copy(task: Task, job: Job, source: Place, target: Place) -> Outcome:
    before = task.before
    if (
        before is not None
        and before.target == task.target
        and _same_inputs(task, before, source)
        and target.digest(task.target) == before.sha256
    ):
        return Outcome(task, replace(before, inputs=task.inputs), is_new=False)
    start = time.perf_counter()
    with source.local([task.source]) as folder:
        original = folder / task.source
        with original.open("rb") as opened:
            sha256 = digest_of(opened)
            is_there = target.digest(task.target) == sha256
            if not is_there:
                opened.seek(0)
                with target.new(task.target, replace=task.is_begun or job.force) as file:
                    while block := opened.read(_BLOCK_BYTES):
                        file.write(block)
                target.like(task.target, original)
    finished = Finished(
        task.source,
        COPY,
        task.target,
        "",
        (source.stamp(task.source) or task.inputs[0],),
        (sha256,),
        task.n_bytes,
        sha256,
        time.perf_counter() - start,
    )
    return Outcome(task, finished, is_new=not is_there, written=0 if is_there else task.n_bytes)


def _restore(task: Task, job: Job, source: Place, target: Place, report: Progress) -> Outcome:
    stem = PurePosixPath(task.source).stem
    with source.local([task.source]) as folder, (folder / task.source).open("rb") as file:
        reader = RecordingReader(file, engine=default_engine(), models=job.settings.banks, threads=job.threads)
        header = reader.header
        kind = kind_of_source(header.source)
        names = [str(PurePosixPath(task.target) / name) for name in kind.restored_names(header, stem)]

        def write(place: Path, *, force: bool) -> list[Path]:
            pieces = _pieces(reader, report)
            return kind.write(header, pieces, place, stem, force=force)

        there = {name: found for name in names if (found := target.digest(name)) is not None}
        if not there:
            with target.receiving(task.target) as place:
                return Outcome(task, written=sum(path.stat().st_size for path in write(place, force=False)))
        is_complete = True
        with tempfile.TemporaryDirectory(prefix="sancodec-") as temporary:
            for path in write(Path(temporary), force=True):
                name = str(PurePosixPath(task.target) / path.name)
                with path.open("rb") as restored:
                    is_same = digest_of(restored) == there.get(name)
                if not is_same and name in there and not job.force:
                    raise OutputExistsError(f"{name}: exists already with other content; --force replaces it")
                is_complete = is_complete and is_same
        if is_complete:
            return Outcome(task, is_new=False)
        with target.receiving(task.target) as place:
            return Outcome(task, written=sum(path.stat().st_size for path in write(place, force=True)))


def _pieces(reader: RecordingReader, report: Progress) -> Iterator[list[NDArray[np.int32]]]:
    for index, decoded in reader.chunks(0, reader.header.n_chunks):
        yield decoded
        report((index + 1) / reader.header.n_chunks)
    reader.check_end()


def _verify(task: Task, job: Job, source: Place, target: Place, report: Progress) -> Outcome:
    """Refuse to call a file safe unless it is in the target as the state says, and keeps its promise."""
    before = task.before
    if before is None or not _same_inputs(task, before, source):
        raise CorruptError(f"{task.source}: is not as it was compressed")
    if target.digest(before.target) != before.sha256:
        raise CorruptError(f"{before.target}: is not as it was written")
    if before.action == COPY:
        if before.digests != (before.sha256,) or source.digest(task.source) != before.sha256:
            raise CorruptError(f"{task.source}: is not what {before.target} is a copy of")
        return Outcome(task)
    with (
        source.local([each.path for each in task.inputs]) as inputs,
        target.local([before.target]) as outputs,
        (outputs / before.target).open("rb") as file,
    ):
        path = inputs / task.source
        kind = kind_of(path)
        if kind is None:
            raise InvalidSignalError(f"{path}: is no recording any more")
        settings = job.settings
        with _opened(kind, path, settings) as opened:
            promises = promises_of(opened, settings)
            reader = RecordingReader(file, engine=default_engine(), models=settings.banks, threads=job.threads)
            check_written(reader, opened, promises, exact=settings.is_exact, on_progress=report)
        if settings.is_exact and kind.compare is None:
            _check_bytes(file, path, kind)
    return Outcome(task)
