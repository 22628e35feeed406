"""WFDB records opened for reading range by range."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import Recording, SideFile
from sancodec.datasets.pieces import block_frames, frame_blocks
from sancodec.datasets.wfdb_formats import checksum
from sancodec.datasets.wfdb_header import (
    DEFAULT_FRAME_RATE_HZ,
    WfdbHeader,
    channel_of,
    find_header,
    read_header,
)
from sancodec.datasets.wfdb_lines import check_file_name
from sancodec.datasets.wfdb_side_files import initial_value_of, true_fields_content
from sancodec.datasets.wfdb_signal_file import FRAMES_PER_GROUP, SignalFile, open_signal_file
from sancodec.errors import InvalidSignalError


class WfdbSource:
    """A single-segment WFDB record whose signal files stay open; a `FrameSource` and a context manager.

    Made by `open_wfdb`. Not for several threads at once.

    Parameters
    ----------
    header_path, header
        The header file and what it says.
    exact
        As for `open_wfdb`.
    """

    source = "wfdb"

    def __init__(self, header_path: Path, header: WfdbHeader, *, exact: bool) -> None:
        self.header_path = header_path
        self._closing = ExitStack()
        self._files = list[SignalFile]()
        self.channels = tuple(channel_of(index, signal) for index, signal in enumerate(header.signals))
        self.frame_rate_hz: Fraction = header.record.frame_rate_hz or DEFAULT_FRAME_RATE_HZ
        # A recording without samples refuses what no recording may have, before any sample is read.
        Recording(self.channels, tuple(np.zeros(0, np.int32) for _ in self.channels), self.frame_rate_hz)
        self._step = block_frames(
            sum(channel.samples_per_frame for channel in self.channels), multiple=FRAMES_PER_GROUP
        )
        try:
            for group in header.groups:
                signals = header.signals[group.start : group.stop]
                file = open_signal_file(header_path, group, signals, step=self._step, exact=exact)
                self._closing.callback(file.close)
                self._files.append(file)
            self.n_frames = self._count_frames(header)
            true_fields = self._scan(header)
            self.side_files = self._collect_side_files(header, true_fields)
        except BaseException:
            self.close()
            raise
        self.signal_paths = tuple(header_path.parent / group.file_name for group in header.groups)

    def __enter__(self) -> WfdbSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the signal files."""
        self._closing.close()

    @property
    def n_bytes(self) -> int:
        """Size of the header and the signal files together."""
        return sum(path.stat().st_size for path in (self.header_path, *self.signal_paths))

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``; see `FrameSource`."""
        if not 0 <= first <= last <= self.n_frames:
            raise IndexError(f"frames {first} to {last}; the record has frames 0 to {self.n_frames}")
        return tuple(samples for file in self._files for samples in file.frames(first, last))

    def _count_frames(self, header: WfdbHeader) -> int:
        shortest, group = min(zip(self._files, header.groups, strict=True), key=lambda pair: pair[0].n_frames)
        promised = header.record.n_frames
        if promised is not None and shortest.n_frames < promised:
            raise InvalidSignalError(
                f"{group.file_name}: the header of record {header.record.name!r} promises {promised} frames, but "
                f"the file holds {shortest.n_frames}; get the whole file from its source"
            )
        if shortest.n_frames == 0:
            raise InvalidSignalError(f"{group.file_name}: the file is too short to hold a frame of samples")
        return shortest.n_frames if promised is None else promised

    def _scan(self, header: WfdbHeader) -> dict[int, tuple[int, int]]:
        """Pass over all files once; returns the true initial value and checksum of each signal."""
        initial_values, checksums = list[int](), [0] * len(header.signals)
        for first, last in frame_blocks(self.n_frames, self._step):
            samples = [values for file in self._files for values in file.scan(first, last)]
            if first == 0:
                initial_values = [
                    initial_value_of(signal, int(values[0]))
                    for signal, values in zip(header.signals, samples, strict=True)
                ]
            checksums = [(total + checksum(values)) % 65536 for total, values in zip(checksums, samples, strict=True)]
        return dict(enumerate(zip(initial_values, checksums, strict=True)))

    def _collect_side_files(self, header: WfdbHeader, true_fields: dict[int, tuple[int, int]]) -> tuple[SideFile, ...]:
        name = self.header_path.name
        parts = [side_file for file in self._files for side_file in file.side_files(self.n_frames)]
        fields = true_fields_content(header, true_fields)
        return (SideFile(name, header.content), *parts, *([SideFile(f"{name}#fields", fields)] if fields else []))


def open_wfdb(path: str | Path, *, exact: bool = False) -> WfdbSource:
    """Open a single-segment WFDB record and pass over its signal files once; `open_record` opens others as well.

    Parameters
    ----------
    path
        The header (``x.hea``), a signal file (``x.dat``; its header is ``x.hea``, or else the only header in the same
        folder that names it), or the record name without a suffix (``x``).
    exact
        Keep FLAC signal files as they are (side file ``y#original``) where encoding their samples gives other bytes:
        then all files of the record can be restored byte for byte from the same samples.

    Returns
    -------
    Source ``"wfdb"``: samples in stored units (adu) in the order of the file, a skew not undone; rates in Hz exactly
    as the header writes them; side files as in ``wfdb_record``.

    Raises
    ------
    InvalidSignalError
        If a file is missing or unreadable, the header is not one of a single-segment WFDB record, a signal file is
        shorter than the header says, or a side file would have more than ``MAX_SIDE_FILE_BYTES``.
    MissingDependencyError
        If the record has FLAC signal files and ``soundfile`` cannot be loaded.
    """
    try:
        header_path = find_header(Path(path))
        header = read_header(header_path)
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    check_file_name(header_path.name, where=str(header_path.parent), kind="header")
    return WfdbSource(header_path, header, exact=exact)
