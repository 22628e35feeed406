"""Multi-segment WFDB records opened for reading range by range."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import FrameSource, Recording, SideFile
from sancodec.datasets.wfdb_header import DEFAULT_FRAME_RATE_HZ, WfdbHeader, find_header, read_header
from sancodec.datasets.wfdb_lines import GAP, MAX_HEADER_BYTES, check_file_name
from sancodec.datasets.wfdb_segments import SegmentedHeader, SegmentPlan, parse_layout, plan_of, read_segmented
from sancodec.datasets.wfdb_side_files import HEADER_SUFFIX, SEGMENTS_KIND, joined_side_files
from sancodec.datasets.wfdb_source import WfdbSource, open_wfdb
from sancodec.errors import InvalidSignalError

_MAX_OPEN = 8


class SegmentedSource:
    """A multi-segment WFDB record, a `FrameSource` and a context manager. Made by `open_record`.

    Samples are those of the segments one after the other; what a segment does not have, and gaps, are missing samples.
    A signal whose gain differs between segments has the largest of them, and its other samples are rounded to that: the
    integers of each segment can be told from them, physical values are off by half a stored unit at most.

    Side files are the header, and ``x.hea#segments``: those of all segments and the layout header.
    Segments are opened when they are needed. Not for several threads at once.

    Parameters
    ----------
    header_path, header
        The header file and what it says.
    exact
        As for `open_wfdb`.

    Raises
    ------
    InvalidSignalError
        As `open_record`.
    """

    source = "wfdb"

    def __init__(self, header_path: Path, header: SegmentedHeader, *, exact: bool) -> None:
        self.header_path, self._header, self._exact = header_path, header, exact
        self._open = OrderedDict[int, WfdbSource]()
        self._lines = header.segments
        self._starts = [0, *accumulate(line.n_frames for line in self._lines)]
        self.n_frames = self._starts[-1]
        self.frame_rate_hz: Fraction = header.record.frame_rate_hz or DEFAULT_FRAME_RATE_HZ
        others, headers, self._plan = read_plan(header_path, header)
        try:
            self.channels = self._plan.channels
            # A recording without samples refuses what no recording may have.
            Recording(self.channels, tuple(np.zeros(0, np.int32) for _ in self.channels), self.frame_rate_hz)
            self.signal_paths, parts = self._scanned(headers)
        except BaseException:
            self.close()
            raise
        kept = [each.name for each in (*others, *parts) if "#" not in each.name]
        self._paths = {header_path, *(header_path.parent / name for name in kept)}
        segments = SideFile(f"{header_path.name}#{SEGMENTS_KIND}", joined_side_files([*others, *parts]))
        self.side_files = (SideFile(header_path.name, header.content), segments)

    def __enter__(self) -> SegmentedSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the segments."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def rescaled(self) -> tuple[str, ...]:
        """Names of the channels whose gain or baseline is not that of all their signals."""
        return self._plan.rescaled

    @property
    def n_bytes(self) -> int:
        """Size of all headers and signal files together."""
        return sum(path.stat().st_size for path in {*self._paths, *self.signal_paths})

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``; see `FrameSource`."""
        if not 0 <= first <= last <= self.n_frames:
            raise IndexError(f"frames {first} to {last}; the record has frames 0 to {self.n_frames}")
        samples = []
        for channel in self.channels:
            assert channel.invalid is not None
            samples.append(np.full((last - first) * channel.samples_per_frame, channel.invalid, np.int32))
        for index, placed in enumerate(self._plan.placed):
            begin, end = max(first, self._starts[index]), min(last, self._starts[index + 1])
            if begin >= end or not placed:
                continue
            own = self._segment(index).frames(begin - self._starts[index], end - self._starts[index])
            for each, values in zip(placed, own, strict=True):
                width = each.channel.samples_per_frame
                samples[each.index][(begin - first) * width : (end - first) * width] = each.into_channel(values)
        return tuple(samples)

    def _segment(self, index: int) -> WfdbSource:
        source = self._open.pop(index, None)
        if source is None:
            line = self._lines[index]
            path = header_beside(self.header_path, line.name)
            source = WfdbSource(path, _segment_header(self.header_path, line.name), exact=self._exact)
            if source.n_frames != line.n_frames:
                source.close()
                raise InvalidSignalError(
                    f"{self.header_path}: segment {line.name!r} has {source.n_frames} frames, not {line.n_frames}"
                )
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open[index] = source
        return source

    def _scanned(self, headers: list[WfdbHeader | None]) -> tuple[tuple[Path, ...], list[SideFile]]:
        """Pass over all segments once: their signal files, and side files of those that none before has, too."""
        paths, parts = dict[Path, None](), dict[str, SideFile]()
        for index, header in enumerate(headers):
            if header is None:
                continue
            source = self._segment(index)
            for side_file in source.side_files:
                file_name, mark, _ = side_file.name.rpartition("#")
                if not mark or self.header_path.parent / file_name not in paths:
                    parts.setdefault(side_file.name, side_file)
            paths |= dict.fromkeys(source.signal_paths)
        return tuple(paths), list(parts.values())


def refuse_rescaled(source: FrameSource) -> None:
    """Refuse to code a record with loss whose samples will be rounded once more when they are restored.

    Raises
    ------
    InvalidSignalError
        If gains differ between its segments.
    """
    if isinstance(source, SegmentedSource):
        check_rescaled(source.header_path, source.rescaled)


def check_rescaled(header_path: Path, rescaled: tuple[str, ...]) -> None:
    """Refuse rescaled channels, given by their names; raises as `refuse_rescaled`."""
    if rescaled:
        raise InvalidSignalError(
            f"{header_path}: the gain or baseline of {', '.join(rescaled)} differs between segments; "
            "only --lossless keeps a promise for them. Compress the segments one by one for less"
        )


def header_beside(header_path: Path, name: str) -> Path:
    """The header of a segment or a layout beside that of the whole record."""
    return header_path.with_name(f"{name}{HEADER_SUFFIX}")


def read_plan(
    header_path: Path, header: SegmentedHeader
) -> tuple[list[SideFile], list[WfdbHeader | None], SegmentPlan]:
    """Read the headers of all segments.

    Returns
    -------
    The layout header, where there is one; the headers of the segments, None for gaps; where their signals go.

    Raises
    ------
    InvalidSignalError
        If one is missing or damaged, or they do not fit each other.
    """
    layout, others = None, list[SideFile]()
    if header.layout_name is not None:
        path = header_beside(header_path, header.layout_name)
        others.append(SideFile(path.name, _content(path)))
        layout = parse_layout(others[0].content, where=str(path))
    headers = [None if line.name == GAP else _segment_header(header_path, line.name) for line in header.segments]
    return others, headers, plan_of(header, layout, headers, where=str(header_path))


def _segment_header(header_path: Path, name: str) -> WfdbHeader:
    path = header_beside(header_path, name)
    try:
        return read_header(path)
    except FileNotFoundError:
        raise InvalidSignalError(
            f"{path}: no such segment, but {header_path.name!r} names it; put it beside the header"
        ) from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise InvalidSignalError(f"{path}: the layout header cannot be read: {error.strerror}") from error


def open_record(path: str | Path, *, exact: bool = False) -> WfdbSource | SegmentedSource:
    """Open a WFDB record of one or several segments and pass over its signal files once.

    Parameters
    ----------
    path, exact
        As for `open_wfdb`; a record of several segments is named by its header, or without a suffix.

    Raises
    ------
    InvalidSignalError
        As `open_wfdb`; for several segments also if a segment is missing or does not fit the others.
    MissingDependencyError
        If the record has FLAC signal files and ``soundfile`` cannot be loaded.
    """
    try:
        header_path = find_header(Path(path))
        header = read_segmented(header_path)
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    if header is None:
        return open_wfdb(header_path, exact=exact)
    check_file_name(header_path.name, where=str(header_path.parent), kind="header")
    return SegmentedSource(header_path, header, exact=exact)
