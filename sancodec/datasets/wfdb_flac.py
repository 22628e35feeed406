"""FLAC signal files of WFDB (formats 508, 516 and 524), read and written by rows of one sample per channel."""

from __future__ import annotations

import io
from tempfile import SpooledTemporaryFile
from types import ModuleType
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, check_range
from sancodec.errors import InvalidSignalError, MissingDependencyError, SancodecError

MAX_CHANNELS = 8
SAMPLING_RATE_HZ = 96_000  # what the WFDB library writes: the rate in the stream is not used by any reader
_BLOCK_SAMPLES = 1 << 20  # libsndfile fails on single reads of more than 2**24 values
_MEMORY_BYTES = 1 << 23  # of a stream being written; what is longer goes to a temporary file
_BITS_OF_SUBTYPE = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}


class FlacReader:
    """Rows of a FLAC stream, any range at a time.

    Parameters
    ----------
    file
        Positioned anywhere; it stays the caller's to close.
    code
        508, 516 or 524.
    n_channels
        Channels that the WFDB header names.

    Raises
    ------
    InvalidSignalError
        If the bytes are not FLAC, or of another number of channels, or of more bits than the format has.
    MissingDependencyError
        If ``soundfile`` cannot be loaded.
    """

    def __init__(self, file: BinaryIO, *, code: int, n_channels: int) -> None:
        self._soundfile = _soundfile()
        file.seek(0)
        if file.read(4) != b"fLaC":
            raise InvalidSignalError(f"format {code} is FLAC, but the file does not start with 'fLaC'")
        file.seek(0)
        try:
            self._stream = self._soundfile.SoundFile(file)
        except self._soundfile.SoundFileError as error:
            raise InvalidSignalError(f"FLAC stream cannot be decoded: {error}") from error
        try:
            bits = self._checked_bits(code, n_channels)
        except InvalidSignalError:
            self.close()
            raise
        self._shift = np.int32(32 - bits)  # libsndfile left-justifies the samples
        self._position = 0
        self.n_channels = n_channels
        self.n_rows = int(self._stream.frames)

    def _checked_bits(self, code: int, n_channels: int) -> int:
        subtype, found = self._stream.subtype, self._stream.channels
        bits = _BITS_OF_SUBTYPE.get(subtype)
        if bits is None or bits > SAMPLE_FORMATS[code].bits:
            raise InvalidSignalError(
                f"FLAC stream has samples of type {subtype}; format {code} allows up to {code - 500} bits"
            )
        if found != n_channels:
            raise InvalidSignalError(f"FLAC stream has {found} channels; the header names {n_channels}")
        return bits

    def rows(self, first: int, last: int) -> NDArray[np.int32]:
        """Return rows ``first`` to ``last - 1``, int32, shape ``(last - first, n_channels)``.

        Raises
        ------
        InvalidSignalError
            If the stream is damaged or ends before.
        """
        blocks = [np.empty((0, self.n_channels), np.int32)]
        if first >= last:
            return blocks[0]
        at = first
        try:
            if first != self._position:
                self._stream.seek(first)
            while at < last:
                n_rows = min(_BLOCK_SAMPLES // self.n_channels, last - at)
                block = self._stream.read(n_rows, dtype="int32", always_2d=True)
                if not len(block):
                    break
                block >>= self._shift
                blocks.append(block)
                at += len(block)
        except self._soundfile.SoundFileError as error:
            raise InvalidSignalError(f"FLAC stream cannot be decoded: {error}") from error
        self._position = at
        if at < last:
            raise InvalidSignalError(
                f"FLAC stream promises {self.n_rows} samples per channel and breaks off after {at}"
            )
        return blocks[-1] if len(blocks) == 2 else np.concatenate(blocks)

    def close(self) -> None:
        self._stream.close()


class FlacEncoder:
    """A FLAC signal file being made of consecutive rows; the same rows give the same bytes, however they are cut.

    Parameters
    ----------
    code
        508, 516 or 524.
    n_channels
        1 to 8.

    Raises
    ------
    InvalidSignalError
        If there are more than 8 channels.
    MissingDependencyError
        If ``soundfile`` cannot be loaded.
    """

    def __init__(self, *, code: int, n_channels: int) -> None:
        self._soundfile = _soundfile()
        self._code, self._row = code, SAMPLE_FORMATS[code]
        if n_channels > MAX_CHANNELS:
            raise InvalidSignalError(f"a FLAC file holds at most {MAX_CHANNELS} channels; {n_channels} given")
        self._file = _StreamFile()
        self._stream = self._soundfile.SoundFile(
            self._file,
            "w",
            samplerate=SAMPLING_RATE_HZ,
            channels=n_channels,
            subtype={8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[self._row.bits],
            format="FLAC",
        )

    def write(self, rows: NDArray[np.int32]) -> None:
        """Append rows of shape ``(n_rows, n_channels)``.

        Raises
        ------
        InvalidSignalError
            If a sample does not fit the format.
        """
        check_range(rows, self._row.lowest, self._row.maximum, f"format {self._code}")
        step = max(1, _BLOCK_SAMPLES // rows.shape[1])
        try:
            for first in range(0, len(rows), step):
                self._stream.write(rows[first : first + step] << np.int32(32 - self._row.bits))
        except (self._soundfile.SoundFileError, AssertionError) as error:
            self._file.check()
            raise InvalidSignalError(f"samples cannot be encoded as FLAC: {error}") from error
        self._file.check()

    def finish(self) -> IO[bytes]:
        """End the stream and return it as a file, at its start; `close` closes that too."""
        self._stream.close()
        self._file.check()
        self._file.content.seek(0)
        return self._file.content

    def close(self) -> None:
        self._stream.close()
        self._file.content.close()


class _StreamFile:
    """What libsndfile writes to: it keeps an error, which cannot pass through libsndfile, for `check` to raise."""

    def __init__(self) -> None:
        self.content: IO[bytes] = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - FlacEncoder closes it
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.content.write(data)
        except OSError as error:
            self._error = self._error or error
            return 0

    def read(self, n_bytes: int = -1) -> bytes:
        return self.content.read(n_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.content.seek(offset, whence)
        return self.content.tell()

    def tell(self) -> int:
        return self.content.tell()

    def check(self) -> None:
        if self._error is not None:
            raise SancodecError(f"temporary file of a FLAC stream cannot be written: {self._error.strerror}")


def decode_flac(data: bytes, *, code: int, n_channels: int) -> NDArray[np.int32]:
    """Decode a FLAC signal file to int32 of shape ``(n_rows, n_channels)``; raises as `FlacReader`."""
    reader = FlacReader(io.BytesIO(data), code=code, n_channels=n_channels)
    try:
        return reader.rows(0, reader.n_rows)
    finally:
        reader.close()


def encode_flac(rows: NDArray[np.int32], *, code: int) -> bytes:
    """Encode int32 of shape ``(n_rows, n_channels)`` as a FLAC signal file; raises as `FlacEncoder`."""
    encoder = FlacEncoder(code=code, n_channels=rows.shape[1])
    try:
        encoder.write(rows)
        return encoder.finish().read()
    finally:
        encoder.close()


def _soundfile() -> ModuleType:
    # Loaded here because libsndfile is needed by these three formats only.
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"FLAC signal files (formats 508, 516, 524) need the package soundfile, which does not load: {error}"
        ) from error
    return soundfile  # type: ignore[no-any-return]
