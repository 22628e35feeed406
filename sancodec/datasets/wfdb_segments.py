"""Multi-segment WFDB records: their headers, and how the signals of segments become channels of one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import INT32_MAX, INT32_MIN, Channel
from sancodec.datasets.wfdb_header import DEFAULT_FRAME_RATE_HZ, WfdbHeader, channel_of
from sancodec.datasets.wfdb_lines import (
    GAP,
    MAX_HEADER_BYTES,
    Line,
    RecordLine,
    check_file_name,
    header_lines,
    parse_layout_line,
    parse_record_line,
)
from sancodec.errors import InvalidSignalError

_DIFFERENCES = 8


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """One segment: its record name, or ``~`` for a gap, and its number of frames."""

    name: str
    n_frames: int


@dataclass(frozen=True, slots=True)
class SegmentedHeader:
    """The header of a multi-segment record.

    Parameters
    ----------
    layout_name
        Of a record of variable layout, the record name of the header that lists its signals; None for a fixed layout,
        where all segments have the same signals.
    segments
        Without the layout header.
    """

    record: RecordLine
    layout_name: str | None
    segments: tuple[SegmentLine, ...]
    content: bytes

    @property
    def n_frames(self) -> int:
        return sum(segment.n_frames for segment in self.segments)


def is_segmented(content: bytes, *, where: str) -> bool:
    """Say whether a header is that of a multi-segment record; raises as `parse_segmented`."""
    lines = header_lines(content, where=where)
    return parse_record_line(Line(content, *lines[0], where=where)).n_segments is not None


def read_segmented(path: Path) -> SegmentedHeader | None:
    """Read the header of a multi-segment record; None where it is that of a record of one segment.

    Raises
    ------
    InvalidSignalError
        As `parse_segmented`.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_HEADER_BYTES + 1)
    return parse_segmented(content, where=str(path)) if is_segmented(content, where=str(path)) else None


def parse_segmented(content: bytes, *, where: str) -> SegmentedHeader:
    """Parse the header of a multi-segment record.

    Raises
    ------
    InvalidSignalError
        If it is none, or segments are missing, are not in its own folder, or add up to another length.
    """
    lines = header_lines(content, where=where)
    record = parse_record_line(Line(content, *lines[0], where=where))
    if record.n_segments is None or len(lines) - 1 < record.n_segments:
        raise InvalidSignalError(
            f"{where}: the record line promises {record.n_segments} segments, but {len(lines) - 1} lines follow"
        )
    segments = [_segment_line(Line(content, *line, where=where)) for line in lines[1 : record.n_segments + 1]]
    layout_name = None
    if segments[0].n_frames == 0 and segments[0].name != GAP:
        layout_name = segments.pop(0).name
    header = SegmentedHeader(record, layout_name, tuple(segments), content)
    for segment in segments:
        if segment.n_frames == 0:
            raise InvalidSignalError(f"{where}: segment {segment.name!r} has 0 frames")
    if layout_name is None and any(segment.name == GAP for segment in segments):
        raise InvalidSignalError(f"{where}: there is a gap ('~'), but no layout header, which must come first")
    if record.n_frames is not None and record.n_frames != header.n_frames:
        raise InvalidSignalError(
            f"{where}: the record line promises {record.n_frames} frames, but the segments have {header.n_frames}"
        )
    if not header.n_frames:
        raise InvalidSignalError(f"{where}: the record has no segments with samples; there is nothing to compress")
    return header


def _segment_line(line: Line) -> SegmentLine:
    name = line.text(0) or ""
    n_frames = line.whole(line.text(1), "number of frames of a segment")
    if n_frames is None or n_frames < 0:
        raise line.error(f"segment {name!r}: a number of frames of at least 0 is needed")
    if name != GAP:
        check_file_name(f"{name}.hea", where=line.where, kind="segment header")
    return SegmentLine(name, n_frames)


def parse_layout(content: bytes, *, where: str) -> tuple[Channel, ...]:
    """Parse a layout header: the channels of the record, as far as it knows them.

    Raises
    ------
    InvalidSignalError
        If it is no such header.
    """
    lines = header_lines(content, where=where)
    record = parse_record_line(Line(content, *lines[0], where=where))
    if not record.n_signals or len(lines) - 1 < record.n_signals:
        raise InvalidSignalError(
            f"{where}: the record line promises {record.n_signals} signals, but {len(lines) - 1} signal lines follow"
        )
    signals = [parse_layout_line(Line(content, *line, where=where)) for line in lines[1 : record.n_signals + 1]]
    return tuple(channel_of(index, signal) for index, signal in enumerate(signals))


@dataclass(frozen=True, slots=True)
class PlacedSignal:
    """A signal of a segment in its channel, whose gain may be larger: then samples are multiplied and rounded.

    Parameters
    ----------
    index
        Of the channel.
    signal
        As its own segment has it.
    channel
        Of the whole recording.
    """

    index: int
    signal: Channel
    channel: Channel

    @property
    def is_as_stored(self) -> bool:
        """Whether the channel has the integers of the segment."""
        return (self.signal.gain, self.signal.baseline) == (self.channel.gain, self.channel.baseline)

    def into_channel(self, samples: NDArray[np.int32]) -> NDArray[np.int32]:
        """Samples of the segment as samples of the channel.

        Raises
        ------
        InvalidSignalError
            If they do not fit, or could not be told from each other any more.
        """
        values = samples.astype(np.float64)
        if not self.is_as_stored:
            values = np.rint((values - self.signal.baseline) * self._ratio) + self.channel.baseline
        values[samples == self.missing] = self.invalid
        if values.size and not INT32_MIN <= values.min() <= values.max() <= INT32_MAX:
            raise InvalidSignalError(
                f"signal {self.signal.name!r}: samples do not fit in 32 bits at the gain of other segments; compress "
                "the segments one by one"
            )
        placed = values.astype(np.int32)
        if not self.is_as_stored and not np.array_equal(self.from_channel(placed), samples):
            raise InvalidSignalError(
                f"signal {self.signal.name!r}: gains of {self.signal.gain} and {self.channel.gain} are too close to "
                "keep its samples apart; compress the segments one by one"
            )
        return placed

    def from_channel(self, samples: NDArray[np.int32]) -> NDArray[np.int32]:
        """The inverse of `into_channel`; other samples become the nearest of the segment's."""
        values = samples.astype(np.float64)
        if not self.is_as_stored:
            values = np.rint((values - self.channel.baseline) / self._ratio) + self.signal.baseline
        values = np.clip(values, self.signal.minimum, self.signal.maximum)
        return np.where(samples == self.invalid, np.int32(self.missing), values.astype(np.int32))

    @property
    def _ratio(self) -> float:
        return self.channel.gain / self.signal.gain

    @property
    def invalid(self) -> int:
        """The value of missing samples in the channel."""
        assert self.channel.invalid is not None
        return self.channel.invalid

    @property
    def missing(self) -> int:
        """The value of missing samples in the segment."""
        assert self.signal.invalid is not None
        return self.signal.invalid


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Where every signal of every segment goes.

    Parameters
    ----------
    placed
        Of each segment, its signals in order; none for a gap.
    """

    channels: tuple[Channel, ...]
    placed: tuple[tuple[PlacedSignal, ...], ...]

    @property
    def rescaled(self) -> tuple[str, ...]:
        """Names of the channels whose gain or baseline is not that of all their signals."""
        indices = {each.index for segment in self.placed for each in segment if not each.is_as_stored}
        return tuple(self.channels[index].name for index in sorted(indices))


def plan_of(
    header: SegmentedHeader, layout: tuple[Channel, ...] | None, segments: Sequence[WfdbHeader | None], *, where: str
) -> SegmentPlan:
    """Match signals to channels: by name where there is a layout, by position where there is none.

    A channel has the gain, baseline and unit of the signal with the largest gain.

    Parameters
    ----------
    segments
        Headers of ``header.segments``; None for gaps.

    Raises
    ------
    InvalidSignalError
        Naming the segment, where its signals are not those of the record.
    """
    of_segments = [
        () if each is None else tuple(channel_of(index, signal) for index, signal in enumerate(each.signals))
        for each in segments
    ]
    for line, each, signals in zip(header.segments, segments, of_segments, strict=True):
        if each is not None:
            _check_segment(header, line, each, where)
        if any(signal.invalid is None for signal in signals):
            raise InvalidSignalError(
                f"{where}: segment {line.name!r} is of format {_DIFFERENCES}, which knows no missing samples; compress "
                "the segments one by one"
            )
    first = next((signals for signals in of_segments if signals), ())
    channels = first if layout is None else layout
    if len(channels) != header.record.n_signals:
        raise InvalidSignalError(
            f"{where}: the record line promises {header.record.n_signals} signals; there are {len(channels)}"
        )
    indices = [
        _indices(signals, channels, line.name, where, by_name=layout is not None)
        for line, signals in zip(header.segments, of_segments, strict=True)
    ]
    common = []
    for index, channel in enumerate(channels):
        pairs = zip(indices, of_segments, strict=True)
        members = [signals[chosen.index(index)] for chosen, signals in pairs if index in chosen]
        common.append(_common_channel(channel, members, where))
    placed = tuple(
        tuple(PlacedSignal(index, signal, common[index]) for index, signal in zip(chosen, signals, strict=True))
        for chosen, signals in zip(indices, of_segments, strict=True)
    )
    return SegmentPlan(tuple(common), placed)


def _check_segment(header: SegmentedHeader, line: SegmentLine, segment: WfdbHeader, where: str) -> None:
    own, whole = (each.record.frame_rate_hz or DEFAULT_FRAME_RATE_HZ for each in (segment, header))
    if own != whole:
        raise InvalidSignalError(f"{where}: segment {line.name!r} has {own} frames a second, the record {whole}")
    if segment.record.n_frames not in (None, line.n_frames):
        raise InvalidSignalError(
            f"{where}: segment {line.name!r} has {segment.record.n_frames} frames, not {line.n_frames}"
        )


def _indices(
    signals: tuple[Channel, ...], channels: tuple[Channel, ...], name: str, where: str, *, by_name: bool
) -> list[int]:
    """The channel of each signal of a segment."""
    names = [channel.name for channel in channels]
    chosen = [names.index(signal.name) if signal.name in names else -1 for signal in signals]
    if not by_name:
        chosen = list(range(len(signals)))
        is_known = not signals or len(signals) == len(channels)
    else:
        is_known = -1 not in chosen and len(set(chosen)) == len(chosen)
    if not is_known:
        raise InvalidSignalError(
            f"{where}: segment {name!r} has signals {[signal.name for signal in signals]}; the record has {names}"
        )
    for signal, index in zip(signals, chosen, strict=True):
        if signal.samples_per_frame != channels[index].samples_per_frame:
            raise InvalidSignalError(
                f"{where}: segment {name!r} has {signal.samples_per_frame} samples per frame of {signal.name!r}, not "
                f"{channels[index].samples_per_frame}"
            )
    return chosen


def _common_channel(layout: Channel, members: list[Channel], where: str) -> Channel:
    """The channel of signals of several segments."""
    finest = max(members or [layout], key=lambda signal: abs(signal.gain))
    units = sorted({signal.unit for signal in members})
    if len(units) > 1:
        raise InvalidSignalError(
            f"{where}: signal {layout.name!r} is in {' and in '.join(units)}; compress the segments one by one"
        )
    edges = [
        round((edge - signal.baseline) * (finest.gain / signal.gain)) + finest.baseline
        for signal in members or [layout]
        for edge in (signal.minimum, signal.maximum)
    ]
    minimum = max(min(edges), INT32_MIN + 1)
    return replace(
        finest,
        name=layout.name,
        resolution_bits=max(signal.resolution_bits for signal in members or [layout]),
        minimum=minimum,
        maximum=max(min(max(edges), INT32_MAX), minimum),
        invalid=minimum - 1,
        max_difference=None,
    )
