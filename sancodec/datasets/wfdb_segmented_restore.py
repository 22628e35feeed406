"""The bytes of the files of multi-segment WFDB records, made of consecutive pieces of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import Channel, RecordingDescription, SideFile
from sancodec.datasets.file_writer import FileBytes
from sancodec.datasets.pieces import PieceCount
from sancodec.datasets.wfdb_header import WfdbHeader, parse_header
from sancodec.datasets.wfdb_lines import GAP, check_file_name
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.datasets.wfdb_restore import RecordBytes
from sancodec.datasets.wfdb_segments import PlacedSignal, SegmentedHeader, parse_layout, parse_segmented, plan_of
from sancodec.datasets.wfdb_side_files import HEADER_SUFFIX, check_case, segments_of
from sancodec.errors import InvalidSignalError


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment as a recording of its own; `RecordingDescription` is its interface."""

    channels: tuple[Channel, ...]
    frame_rate_hz: Fraction
    n_frames: int
    side_files: tuple[SideFile, ...]
    source: str = "wfdb"


class SegmentedBytes:
    """The bytes of all files of a multi-segment record; `FileBytes` is its interface.

    Parameters
    ----------
    description
        A recording with source ``"wfdb"``.
    header_file, side_files
        Its header, and the side files of its segments; they may come from anywhere.

    Raises
    ------
    InvalidSignalError
        If the side files are damaged, or not those of the recording.
    """

    def __init__(
        self, description: RecordingDescription, header_file: SideFile, side_files: tuple[SideFile, ...]
    ) -> None:
        self._header: SegmentedHeader = parse_segmented(header_file.content, where=header_file.name)
        self._header_file, self._contents = header_file, {each.name: each.content for each in side_files}
        self._parts = dict[str, list[SideFile]]()  # y#kind by y
        for each in side_files:
            file_name, mark, _ = each.name.rpartition("#")
            if mark:
                self._parts.setdefault(file_name, []).append(each)
        self._count = PieceCount(description)
        self._frame_rate_hz = description.frame_rate_hz
        lines = self._header.segments
        self._starts = [0, *accumulate(line.n_frames for line in lines)]
        layout = None
        self._layout_name = None if self._header.layout_name is None else f"{self._header.layout_name}{HEADER_SUFFIX}"
        if self._layout_name is not None:
            layout = parse_layout(self._content(self._layout_name), where=self._layout_name)
        self._headers = [None if line.name == GAP else self._parsed(f"{line.name}{HEADER_SUFFIX}") for line in lines]
        plan = plan_of(self._header, layout, self._headers, where=header_file.name)
        if (plan.channels, self._starts[-1]) != (description.channels, description.n_frames):
            raise InvalidSignalError(f"side file {header_file.name!r}: its segments are not those of the recording")
        self._placed = plan.placed
        self._owned = self._files_of_segments()
        headers = (header_file.name,) if self._layout_name is None else (self._layout_name, header_file.name)
        self.file_names = (*(name for names in self._owned for name in names), *headers)
        self._index = 0
        self._current: RecordBytes | None = None

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> Iterator[tuple[str, bytes]]:
        """Return the next bytes by file name, for the next frames: int32 per channel, ``(n * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the format, or a side file the samples.
        """
        first = self._count.n_done
        last = first + self._count.add(samples)
        while first < last:
            stop = min(last, self._starts[self._index + 1])
            placed = self._placed[self._index]
            if placed:
                if self._current is None:
                    self._current = RecordBytes(self._segment(self._index))
                part = [self._of_segment(each, samples, first - last, stop - last) for each in placed]
                yield from self._mine(self._current.piece(part))
            if stop == self._starts[self._index + 1]:
                yield from self._finished()
            first = stop

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Return the layout header and the header.

        Raises
        ------
        InvalidSignalError
            If frames are missing.
        """
        self._count.finish()
        if self._layout_name is not None:
            yield self._layout_name, self._content(self._layout_name)
        yield self._header_file.name, self._header_file.content

    def close(self) -> None:
        """Remove temporary files."""
        if self._current is not None:
            self._current.close()

    def _finished(self) -> Iterator[tuple[str, bytes]]:
        """The end of the segment at hand."""
        current, self._current = self._current, None
        if current is not None:
            try:
                yield from self._mine(current.end())
            finally:
                current.close()
        self._index += 1

    def _mine(self, blocks: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Blocks of the files that no segment before has, too."""
        for name, block in blocks:
            if name in self._owned[self._index]:
                yield name, block

    @staticmethod
    def _of_segment(
        placed: PlacedSignal, samples: Sequence[NDArray[np.int32]], first: int, last: int
    ) -> NDArray[np.int32]:
        """Samples of a segment's signal; ``first`` and ``last`` count frames from the end of ``samples``."""
        width, values = placed.channel.samples_per_frame, samples[placed.index]
        return placed.from_channel(values[len(values) + first * width : len(values) + last * width])

    def _content(self, name: str) -> bytes:
        if name not in self._contents:
            raise InvalidSignalError(f"side file {name!r} of {self._header_file.name!r} is missing")
        return self._contents[name]

    def _parsed(self, name: str) -> WfdbHeader:
        return parse_header(self._content(name), where=name)

    def _segment(self, index: int) -> _Segment:
        line, header = self._header.segments[index], self._headers[index]
        assert header is not None
        header_name = f"{line.name}{HEADER_SUFFIX}"
        side_files = [SideFile(header_name, header.content)]
        side_files += self._parts.get(header_name, [])
        for group in header.groups:
            mine = group.file_name in self._owned[index]
            if mine:
                side_files += self._parts.get(group.file_name, [])
            if not mine and group.byte_offset:  # written by a segment before; its length is checked again
                side_files.append(SideFile(f"{group.file_name}#prologue", bytes(group.byte_offset)))
        channels = tuple(each.signal for each in self._placed[index])
        return _Segment(channels, self._frame_rate_hz, line.n_frames, tuple(side_files))

    def _files_of_segments(self) -> list[tuple[str, ...]]:
        """Files of each segment that none before it has, too."""
        seen, owned = set[str](), list[tuple[str, ...]]()
        for line, header in zip(self._header.segments, self._headers, strict=True):
            names = [] if header is None else [each.file_name for each in header.groups]
            names += [] if header is None else [f"{line.name}{HEADER_SUFFIX}"]
            owned.append(tuple(name for name in names if name not in seen))
            seen |= set(names)
        own_names = {self._header_file.name} | ({self._layout_name} if self._layout_name else set())
        known = seen | own_names
        for name in self._contents:
            if (name.rpartition("#")[0] or name) not in known:
                raise InvalidSignalError(f"side file {name!r} is of no known kind for {self._header_file.name!r}")
        if seen & own_names:
            raise InvalidSignalError(f"side files of {self._header_file.name!r}: a segment has the name of a header")
        for name in known:
            check_file_name(name, where=self._header_file.name, kind="file")
        check_case(tuple(known))
        return owned


def record_bytes(
    description: RecordingDescription, *, name: str | None = None, value_ranges: Ranges | None = None
) -> FileBytes:
    """Return the bytes of a record of one or several segments; parameters and errors as of `RecordBytes`."""
    found = segments_of(description) if description.source == "wfdb" else None
    if found is None:
        return RecordBytes(description, name=name, value_ranges=value_ranges)
    if name is not None:
        raise InvalidSignalError(f"name is {name!r}; a recording that came from WFDB keeps the names in its header")
    return SegmentedBytes(description, *found)
