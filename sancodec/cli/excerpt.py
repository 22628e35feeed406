"""Which channels and frames of a container are restored, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from sancodec.cli.times import clock
from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sancodec.codec.decoder import RecordingReader
    from sancodec.codec.recording import Channel, RecordingDescription, SideFile
    from sancodec.codec.salvage import SalvageReader


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some channels of some frames of a recording, a recording in itself; `RecordingDescription` is its interface.

    Parameters
    ----------
    indices
        The channels in the recording that it is of.
    first_frame
        Its first frame there.
    """

    channels: tuple[Channel, ...]
    frame_rate_hz: Fraction
    n_frames: int
    indices: tuple[int, ...]
    first_frame: int
    source: str = "array"
    side_files: tuple[SideFile, ...] = field(default=())


def excerpt_of(
    whole: RecordingDescription, *, start_s: Fraction | None, end_s: Fraction | None, names: Sequence[str]
) -> Excerpt:
    """Choose the frames from ``start_s`` up to, not including, ``end_s``, and the channels named.

    Where that is everything, the recording keeps its source and its side files: its own files can be restored.

    Raises
    ------
    InvalidSignalError
        When there is no such time or channel.
    """
    duration_s = whole.n_frames / whole.frame_rate_hz
    start, end = start_s or Fraction(0), duration_s if end_s is None else end_s
    if end > duration_s:
        raise InvalidSignalError(f"--end {clock(end)} is beyond the end at {clock(duration_s)} ({float(duration_s)} s)")
    first, last = (-(-time * whole.frame_rate_hz // 1) for time in (start, end))
    if first >= last:
        raise InvalidSignalError(
            f"there are no samples from {clock(start)} to {clock(end)}; the recording has {clock(duration_s)}"
        )
    indices = channel_indices([channel.name for channel in whole.channels], names)
    is_whole = last - first == whole.n_frames and indices == tuple(range(len(whole.channels)))
    is_kept = is_whole or whole.source.startswith("array")
    return Excerpt(
        tuple(whole.channels[index] for index in indices),
        whole.frame_rate_hz,
        int(last - first),
        indices,
        int(first),
        whole.source if is_kept else "array",
        whole.side_files if is_whole else (),
    )


def channel_indices(present: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Indices of channels by exact name, or by index from 0; all where none is wanted.

    Raises
    ------
    InvalidSignalError
        When a name means none or several of them, with the list of them.
    """
    listed = ", ".join(f"{index} {name!r}" for index, name in enumerate(present))
    indices: list[int] = []
    for text in wanted:
        found = {index for index, name in enumerate(present) if name == text}
        if text.isdecimal() and int(text) < len(present):
            found.add(int(text))
        if len(found) != 1:
            fault = "is not there" if not found else f"means several ({', '.join(map(str, sorted(found)))})"
            raise InvalidSignalError(f"channel {text!r} {fault}; the channels are {listed}")
        index = found.pop()
        if index in indices:
            raise InvalidSignalError(f"channel {text!r} is named twice; the channels are {listed}")
        indices.append(index)
    return tuple(indices) if wanted else tuple(range(len(present)))


def pieces_of(
    reader: RecordingReader | SalvageReader, excerpt: Excerpt, on_progress: Callable[[float], None]
) -> Iterator[list[NDArray[np.int32]]]:
    """Decode the chunks that an excerpt touches, one after the other, cut to its frames and channels.

    Raises
    ------
    FormatError
        Naming the first chunk that is missing or damaged; at the end of a recording that is read to its end, when
        the file does not end as it should.
    """
    chunk_frames = reader.header.chunk_frames
    begin, end = excerpt.first_frame, excerpt.first_frame + excerpt.n_frames
    for index, decoded in reader.chunks(begin // chunk_frames, -(-end // chunk_frames)):
        offset = index * chunk_frames
        first, last = max(begin - offset, 0), min(end - offset, chunk_frames)
        yield [
            decoded[channel][first * width : last * width]
            for channel, width in zip(
                excerpt.indices, (each.samples_per_frame for each in excerpt.channels), strict=True
            )
        ]
        on_progress((offset + last - begin) / excerpt.n_frames)
    if excerpt.n_frames == reader.header.n_frames:
        reader.check_end()
