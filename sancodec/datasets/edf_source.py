"""EDF, EDF+, BDF and BDF+ files opened for reading range by range."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import encode_varints
from sancodec.codec.recording import Recording, SideFile
from sancodec.datasets.edf_header import MAIN_BYTES, EdfHeader, header_bytes_of, parse_header
from sancodec.datasets.pieces import block_frames, frame_blocks
from sancodec.datasets.wfdb_formats import unpack_samples
from sancodec.datasets.wfdb_lines import check_file_name
from sancodec.datasets.wfdb_side_files import MAX_SIDE_FILE_BYTES
from sancodec.errors import InvalidSignalError

HEADER_KIND, ANNOTATIONS_KIND, TRAILER_KIND = "header", "annotations", "trailer"


class EdfSource:
    """An EDF or BDF file that stays open; a `FrameSource` and a context manager. Made by `open_edf`.

    A frame is the smallest part of a data record that has whole numbers of samples of all signals: a second of signals
    of 256 and 1 Hz, a sample of signals of one rate. The number of data records is that of the whole ones in the file,
    whatever the header says. The files of a recording are restored from these side files:

    ================= ==================================================================================================
    name              content
    ================= ==================================================================================================
    ``x#header``      the header of file ``x``, byte for byte
    ``x#annotations`` only if there are any: of each data record, the bytes of each annotation signal without the zeros
                      at their end, as a varint length and the bytes
    ``x#trailer``     only if there are any: the bytes after the last whole data record
    ================= ==================================================================================================

    Not for several threads at once.

    Parameters
    ----------
    file
        Seekable; `close` closes it.
    path
        Where it is; its name is the one under which it is to be restored.

    Raises
    ------
    InvalidSignalError
        When the samples cannot be found, or there are none.
    """

    source = "edf"

    def __init__(self, file: BinaryIO, path: Path) -> None:
        check_file_name(path.name, where=str(path.parent), kind="EDF file")
        self._file, self.path = file, path
        file.seek(0)
        main = file.read(MAIN_BYTES)
        self.header: EdfHeader = parse_header(main + file.read(header_bytes_of(main) - MAIN_BYTES))
        self._start = len(self.header.content)
        self.n_bytes = file.seek(0, os.SEEK_END)
        self.n_records, n_left = divmod(self.n_bytes - self._start, self.header.record_bytes)
        if not self.n_records:
            raise InvalidSignalError(
                f"{n_left} bytes follow the header, less than a data record of {self.header.record_bytes}; "
                "there is nothing to compress"
            )
        self.n_frames = self.n_records * self.header.frames_per_record
        self.frame_rate_hz: Fraction = self.header.frame_rate_hz
        self.channels = self.header.channels(self._value_ranges() if self.header.ordinary else ())
        # A recording without samples refuses what no recording may have.
        Recording(self.channels, tuple(np.zeros(0, np.int32) for _ in self.channels), self.frame_rate_hz)
        annotations = self._annotations()
        trailer = self._read(self.n_bytes - _kept(n_left, "after the last data record"), n_left)
        parts = {HEADER_KIND: self.header.content, ANNOTATIONS_KIND: annotations, TRAILER_KIND: trailer}
        self.side_files = tuple(SideFile(f"{path.name}#{kind}", content) for kind, content in parts.items() if content)

    def __enter__(self) -> EdfSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def frames(self, first: int, last: int) -> tuple[NDArray[np.int32], ...]:
        """Return the samples of frames ``first`` to ``last - 1``; see `FrameSource`."""
        if not 0 <= first <= last <= self.n_frames:
            raise IndexError(f"frames {first} to {last}; the recording has frames 0 to {self.n_frames}")
        if not self.header.ordinary:
            return (np.zeros(last - first, np.int32),)
        per_record = self.header.frames_per_record
        whole_first, whole_last = -(-first // per_record), last // per_record
        if whole_first > whole_last:  # within one data record
            return tuple(self._part(first, last))
        parts = [self._part(first, whole_first * per_record)] if first % per_record else []
        if whole_first < whole_last:
            parts.append(self._records(whole_first, whole_last))
        if last % per_record or not parts:
            parts.append(self._part(whole_last * per_record, last))
        return tuple(np.concatenate(of_signal) for of_signal in zip(*parts, strict=True))

    def _annotations(self) -> bytes:
        """Side file ``x#annotations``."""
        size = self.header.format.group_bytes
        parts, n_bytes = list[bytes](), 0
        for record in range(self.n_records if self.header.annotations else 0):
            start = self._start + record * self.header.record_bytes
            for index in self.header.annotations:
                length = self.header.signals[index].n_samples * size
                content = self._read(start + self.header.offsets[index] * size, length).rstrip(b"\0")
                parts.append(encode_varints([len(content)]) + content)
                n_bytes = _kept(n_bytes + len(parts[-1]), "of annotations")
        return b"".join(parts)

    def _value_ranges(self) -> list[tuple[int, int]]:
        """Smallest and largest sample of each signal that has samples."""
        step = block_frames(self.header.samples_per_frame)
        ranges = [
            [(int(values.min()), int(values.max())) for values in self.frames(first, last)]
            for first, last in frame_blocks(self.n_frames, step)
        ]
        return [(min(low for low, _ in each), max(high for _, high in each)) for each in zip(*ranges, strict=True)]

    def _records(self, first: int, last: int) -> list[NDArray[np.int32]]:
        """Samples of whole data records."""
        row, n_bytes = self.header.format, self.header.record_bytes
        data = self._read(self._start + first * n_bytes, (last - first) * n_bytes)
        flat = unpack_samples(data, code=row.code, n_samples=len(data) // row.group_bytes)
        records = flat.reshape(last - first, -1)
        spans = [(self.header.offsets[index], self.header.signals[index].n_samples) for index in self.header.ordinary]
        return [records[:, offset : offset + n_samples].reshape(-1) for offset, n_samples in spans]

    def _part(self, first: int, last: int) -> list[NDArray[np.int32]]:
        """Frames of one data record, which may be larger than what is to be read of it."""
        row = self.header.format
        record, before = divmod(first, self.header.frames_per_record)
        parts = []
        for index in self.header.ordinary:
            width = self.header.signals[index].n_samples // self.header.frames_per_record
            position = self.header.offsets[index] + before * width
            n_samples = (last - first) * width
            start = self._start + record * self.header.record_bytes + position * row.group_bytes
            data = self._read(start, n_samples * row.group_bytes)
            parts.append(unpack_samples(data, code=row.code, n_samples=n_samples))
        return parts

    def _read(self, first: int, n_bytes: int) -> bytes:
        try:
            self._file.seek(first)
            data = self._file.read(n_bytes)
        except OSError as error:
            raise InvalidSignalError(f"it cannot be read: {error.strerror}") from error
        if len(data) != n_bytes:
            raise InvalidSignalError(
                f"the file became shorter while it was read: byte {first + len(data)} is its end now"
            )
        return data


def open_edf(path: Path) -> EdfSource:
    """Open an EDF, EDF+, BDF or BDF+ file and pass over it once.

    Raises
    ------
    InvalidSignalError
        When it cannot be read, is no such file, or has no samples.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InvalidSignalError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return EdfSource(file, path)
    except BaseException as error:
        file.close()
        if isinstance(error, InvalidSignalError):
            raise InvalidSignalError(f"{path}: {error}") from None
        raise


def _kept(n_bytes: int, what: str) -> int:
    if n_bytes > MAX_SIDE_FILE_BYTES:
        raise InvalidSignalError(f"{n_bytes} bytes {what} would have to be kept; at most {MAX_SIDE_FILE_BYTES} can be")
    return n_bytes
