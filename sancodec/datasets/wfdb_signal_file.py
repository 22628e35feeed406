"""One signal file of a WFDB record, opened for reading any range of frames in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import SideFile
from sancodec.datasets.wfdb_flac import FlacEncoder, FlacReader
from sancodec.datasets.wfdb_formats import (
    add_up_differences,
    has_unused_bits,
    n_bytes_of,
    n_samples_in,
    pack_samples,
    unpack_samples,
)
from sancodec.datasets.wfdb_header import SignalGroup
from sancodec.datasets.wfdb_lines import SignalLine
from sancodec.datasets.wfdb_side_files import MAX_SIDE_FILE_BYTES
from sancodec.errors import InvalidSignalError

# Blocks of a multiple of this many frames start on a whole group of samples in every format.
FRAMES_PER_GROUP = 6


class SignalFile(Protocol):
    """A signal file; ``scan`` has to pass over all of it, front to back, before anything else is asked for."""

    n_frames: int

    def scan(self, first: int, last: int) -> list[NDArray[np.int32]]:
        """Return frames ``first`` to ``last - 1`` like ``frames``, and note what side files and later reading need."""

    def frames(self, first: int, last: int) -> list[NDArray[np.int32]]:
        """Return frames ``first`` to ``last - 1``: int32 per channel, shape ``((last - first) * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If the file cannot be read or is damaged.
        """

    def side_files(self, n_frames: int) -> list[SideFile]:
        """Return what the samples of the first ``n_frames`` frames do not tell of this file."""

    def close(self) -> None:
        """Close the file."""


def open_signal_file(
    header_path: Path, group: SignalGroup, signals: tuple[SignalLine, ...], *, step: int, exact: bool
) -> SignalFile:
    """Open the signal file of a group of a header.

    Parameters
    ----------
    header_path
        The header, beside which the signal file lies.
    group, signals
        The group of the signal file and its signal lines.
    step
        Frames per block of the scan, a multiple of ``FRAMES_PER_GROUP``.
    exact
        Keep a FLAC file as it is where encoding its samples gives other bytes.

    Raises
    ------
    InvalidSignalError
        If the file is missing, empty, cannot be read or is not FLAC where it should be.
    MissingDependencyError
        If it is FLAC and ``soundfile`` cannot be loaded.
    """
    path = header_path.parent / group.file_name
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InvalidSignalError(
            f"{path}: no such signal file, but {header_path.name!r} names it; put it beside the header"
        ) from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with _named(path):
            n_bytes = file.seek(0, 2)
            if not n_bytes:
                raise InvalidSignalError("the signal file is empty; get it again from its source")
            if group.format.is_flac:
                return _FlacSignalFile(path, file, n_bytes, group, exact=exact)
            return _PackedSignalFile(path, file, n_bytes, group, signals, step)
    except BaseException:
        file.close()
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before errors."""
    try:
        yield
    except InvalidSignalError as error:
        raise InvalidSignalError(f"{path}: {error}") from error
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error


def _read(file: BinaryIO, first: int, last: int) -> bytes:
    file.seek(first)
    data = file.read(last - first)
    if len(data) != last - first:
        raise InvalidSignalError(f"the file became shorter while it was read: byte {first + len(data)} is its end now")
    return data


def _kept(name: str, n_bytes: int, what: str) -> None:
    if n_bytes > MAX_SIDE_FILE_BYTES:
        raise InvalidSignalError(
            f"{n_bytes} bytes {what} would have to be kept as {name!r}; at most {MAX_SIDE_FILE_BYTES} are allowed"
        )


class _PackedSignalFile:
    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        n_bytes: int,
        group: SignalGroup,
        signals: tuple[SignalLine, ...],
        step: int,
    ) -> None:
        self._path, self._file, self._n_bytes, self._group, self._step = path, file, n_bytes, group, step
        self._width = sum(group.samples_per_frame)
        self._code = group.format.code
        self.n_frames = n_samples_in(self._code, max(0, n_bytes - group.byte_offset)) // self._width
        self._bits = _UnusedBits(f"{group.file_name}#bits")
        # Format 8: the value of each channel before each block of `step` frames, shape (block, channel).
        self._starts = [[signal.initial_value_or_default for signal in signals]] if self._code == 8 else []

    def _flat(self, first: int, last: int) -> tuple[NDArray[np.int32], bytes]:
        """Return frames as int32, shape ``((last - first) * width,)``, and the bytes that they were read from."""
        row = self._group.format
        group_index, n_before = divmod(first * self._width, row.group_samples)
        n_samples = n_before + (last - first) * self._width
        start = self._group.byte_offset + group_index * row.group_bytes
        data = _read(self._file, start, start + n_bytes_of(self._code, n_samples))
        return unpack_samples(data, code=self._code, n_samples=n_samples)[n_before:], data

    def _channels(self, flat: NDArray[np.int32]) -> list[NDArray[np.int32]]:
        edges = np.cumsum(self._group.samples_per_frame)[:-1]
        columns = np.split(flat.reshape(-1, self._width), edges, axis=1)
        return [np.ascontiguousarray(column).reshape(-1) for column in columns]

    def scan(self, first: int, last: int) -> list[NDArray[np.int32]]:
        with _named(self._path):
            flat, data = self._flat(first, last)
            if has_unused_bits(self._code, len(flat)):
                used = pack_samples(flat, code=self._code)
                self._bits.add(np.frombuffer(data, np.uint8) ^ np.frombuffer(used, np.uint8))
            else:
                self._bits.add_zeros(len(data))
        if self._code != 8:
            return self._channels(flat)
        samples = self._added_up(self._channels(flat), first // self._step)
        if first // self._step == len(self._starts) - 1:
            self._starts.append([int(values[-1]) for values in samples])
        return samples

    def _added_up(self, differences: list[NDArray[np.int32]], block: int) -> list[NDArray[np.int32]]:
        return [
            add_up_differences(values, initial_value=start)
            for values, start in zip(differences, self._starts[block], strict=True)
        ]

    def frames(self, first: int, last: int) -> list[NDArray[np.int32]]:
        if first >= last:
            return [np.zeros(0, np.int32) for _ in self._group.samples_per_frame]
        with _named(self._path):
            if self._code != 8:
                return self._channels(self._flat(first, last)[0])
            block = first // self._step
            n_before = first - block * self._step
            samples = self._added_up(self._channels(self._flat(block * self._step, last)[0]), block)
        widths = self._group.samples_per_frame
        return [values[n_before * width :] for values, width in zip(samples, widths, strict=True)]

    def side_files(self, n_frames: int) -> list[SideFile]:
        name, start = self._group.file_name, self._group.byte_offset
        stop = start + n_bytes_of(self._code, n_frames * self._width)
        side_files = []
        with _named(self._path):
            _kept(f"{name}#prologue", start, "before the first frame")
            if start:
                side_files.append(SideFile(f"{name}#prologue", _read(self._file, 0, start)))
            if bits := self._bits.finish():
                side_files.append(SideFile(f"{name}#bits", bits))
            _kept(f"{name}#trailer", self._n_bytes - stop, "after the last frame")
            if stop < self._n_bytes:
                side_files.append(SideFile(f"{name}#trailer", _read(self._file, stop, self._n_bytes)))
        return side_files

    def close(self) -> None:
        self._file.close()


class _UnusedBits:
    """Bits that a format leaves unused, as a zlib stream that begins only when one of them is set."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._compressor = zlib.compressobj()
        self._parts = list[bytes]()
        self._n_bytes = 0
        self._n_zeros = 0
        self._is_used = False

    def add(self, bits: NDArray[np.uint8]) -> None:
        if not bits.any():
            self.add_zeros(len(bits))
            return
        self._append_zeros()
        self._is_used = True
        self._append(self._compressor.compress(bits.data))

    def add_zeros(self, n_bytes: int) -> None:
        self._n_zeros += n_bytes

    def _append_zeros(self) -> None:
        while self._n_zeros:
            n_bytes = min(1 << 20, self._n_zeros)
            self._append(self._compressor.compress(bytes(n_bytes)))
            self._n_zeros -= n_bytes

    def _append(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._n_bytes += len(part)
            _kept(self._name, self._n_bytes, "of unused bits that are set")

    def finish(self) -> bytes:
        if not self._is_used:
            return b""
        self._append_zeros()
        self._append(self._compressor.flush())
        return b"".join(self._parts)


class _FlacSignalFile:
    def __init__(self, path: Path, file: BinaryIO, n_bytes: int, group: SignalGroup, *, exact: bool) -> None:
        self._path, self._file, self._n_bytes, self._group = path, file, n_bytes, group
        n_channels, code = group.stop - group.start, group.format.code
        self._reader = FlacReader(file, code=code, n_channels=n_channels)
        self._width = group.samples_per_frame[0]
        self.n_frames = self._reader.n_rows // self._width
        self._encoder = FlacEncoder(code=code, n_channels=n_channels) if exact else None

    def _rows(self, first: int, last: int) -> NDArray[np.int32]:
        with _named(self._path):
            return self._reader.rows(first * self._width, last * self._width)

    def scan(self, first: int, last: int) -> list[NDArray[np.int32]]:
        rows = self._rows(first, last)
        if self._encoder is not None:
            self._encoder.write(rows)
        return [np.ascontiguousarray(channel) for channel in rows.T]

    def frames(self, first: int, last: int) -> list[NDArray[np.int32]]:
        return [np.ascontiguousarray(channel) for channel in self._rows(first, last).T]

    def side_files(self, n_frames: int) -> list[SideFile]:
        name, first, last = self._group.file_name, n_frames * self._width, self._reader.n_rows
        with _named(self._path):
            _kept(f"{name}#trailer", 4 * (last - first) * self._reader.n_channels, "after the last frame")
            rest = self._reader.rows(first, last)
            side_files = [SideFile(f"{name}#trailer", rest.astype("<i4").tobytes())] if len(rest) else []
            if self._encoder is not None:
                self._encoder.write(rest)
                position = self._file.tell()  # where the decoder is going to read on
                if not self._is_as_encoded(self._encoder):
                    _kept(f"{name}#original", self._n_bytes, "of FLAC by another encoder")
                    side_files.append(SideFile(f"{name}#original", _read(self._file, 0, self._n_bytes)))
                self._file.seek(position)
        return side_files

    def _is_as_encoded(self, encoder: FlacEncoder) -> bool:
        encoded = encoder.finish()
        self._file.seek(0)
        while block := self._file.read(1 << 20):
            if encoded.read(len(block)) != block:
                return False
        return not encoded.read(1)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._reader.close()
        self._file.close()
