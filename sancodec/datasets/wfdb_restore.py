"""The bytes of WFDB files, made of consecutive pieces of samples, for writing them and for comparing with them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import RecordingDescription
from sancodec.datasets import wfdb_formats
from sancodec.datasets.pieces import PieceCount
from sancodec.datasets.wfdb_flac import FlacEncoder, FlacReader
from sancodec.datasets.wfdb_header import SignalGroup, updated_content
from sancodec.datasets.wfdb_lines import SignalLine
from sancodec.datasets.wfdb_new_record import NewRecord, Ranges, new_format, new_header
from sancodec.datasets.wfdb_side_files import SideFiles, checked_side_files, initial_value_of, segments_of
from sancodec.errors import InvalidSignalError

_BLOCK_BYTES = 1 << 20
_INPUT_BYTES = 1 << 16
_BLOCK_ROWS = 1 << 16


class SignalFileBytes(Protocol):
    """The bytes of one signal file; FLAC comes at the end only."""

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> bytes:
        """Return the next bytes, for the next frames: int32 per channel, shape ``(n * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If a sample does not fit the format, or a side file the samples.
        """

    def end_blocks(self) -> Iterator[bytes]:
        """Return the last bytes in blocks of bounded size; raises as ``piece``."""

    def close(self) -> None:
        """Remove temporary files."""


class RecordBytes:
    """The bytes of all files of a record.

    Parameters
    ----------
    description
        The recording: one that came from WFDB gets its own files, any other ``NAME.dat`` and ``NAME.hea``.
    name
        Record name; needed for, and only for, a recording that does not come from WFDB.
    value_ranges
        Only for a recording that does not come from WFDB: (minimum, maximum) of each channel's samples that are not
        missing, from which the format is chosen; the channels' declared ranges by default.

    Raises
    ------
    InvalidSignalError
        If the side files are damaged, the name is missing or not a record name, or no format holds the samples.
    """

    def __init__(
        self, description: RecordingDescription, *, name: str | None = None, value_ranges: Ranges | None = None
    ) -> None:
        self._row: wfdb_formats.SampleFormat | None = None
        if description.source == "wfdb":
            if name is not None:
                raise InvalidSignalError(
                    f"name is {name!r}; a recording that came from WFDB keeps the names in its header"
                )
            self._side_files = checked_side_files(description)
        else:
            self._name = name
            self._row = new_format(description, value_ranges, name)
            self._side_files = checked_side_files(NewRecord(description, new_header(description, self._row, name)))
        self._channels = description.channels
        self._count = PieceCount(description)
        self._first_values = list[int]()
        self._checksums = [0] * len(self._channels)
        header = self._side_files.header
        self._files = [_signal_file_bytes(group, self._side_files, description.n_frames) for group in header.groups]

    @property
    def file_names(self) -> tuple[str, ...]:
        """All files of the record: signal files, others, the header."""
        return self._side_files.file_names

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> Iterator[tuple[str, bytes]]:
        """Return the next bytes by file name, for the next frames: int32 per channel, ``(n * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the format, or a side file the samples.
        """
        if not self._count.add(samples):
            return
        if self._row is not None:
            samples = self._stored(samples, self._row)
        if not self._first_values:
            self._first_values = [int(values[0]) for values in samples]
        for index, values in enumerate(samples):
            self._checksums[index] = (self._checksums[index] + wfdb_formats.checksum(values)) % 65536
        for group, file in zip(self._side_files.header.groups, self._files, strict=True):
            yield group.file_name, file.piece(samples[group.start : group.stop])

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Return the last bytes by file name, the header last; a name may come several times in a row.

        Raises
        ------
        InvalidSignalError
            If frames are missing, or a side file does not fit the samples.
        """
        self._count.finish()
        for group, file in zip(self._side_files.header.groups, self._files, strict=True):
            for block in file.end_blocks():
                yield group.file_name, block
        yield from self._side_files.others.items()
        yield self._side_files.header_name, self._header_content()

    def close(self) -> None:
        """Remove temporary files."""
        for file in self._files:
            file.close()

    def _stored(self, samples: Sequence[NDArray[np.int32]], row: wfdb_formats.SampleFormat) -> list[NDArray[np.int32]]:
        """Mark missing samples as the format of a new record marks them."""
        stored = []
        for channel, values in zip(self._channels, samples, strict=True):
            if not row.holds(values, channel.invalid):
                raise InvalidSignalError(
                    f"record {self._name!r}: channel {channel.name!r} has samples outside its value range, from which "
                    f"format {row.code} was chosen"
                )
            if channel.invalid is None:
                stored.append(values)
            else:
                stored.append(np.where(values == channel.invalid, np.int32(row.lowest), values))
        return stored

    def _header_content(self) -> bytes:
        header = self._side_files.header
        fields: dict[int, tuple[int | None, int | None]] = {}
        for index, signal in enumerate(header.signals):
            new = initial_value_of(signal, self._first_values[index]), self._checksums[index]
            old = self._side_files.true_fields.get(index, (None, None))
            # A field that was wrong in the original header stays wrong as long as the samples are the original ones.
            fields[index] = (None if new[0] == old[0] else new[0], None if new[1] == old[1] else new[1])
        return updated_content(header, fields)


class SignalStream:
    """The only signal file of a record as one stream of bytes, without its header; made by `signal_file_bytes`."""

    def __init__(self, record: RecordBytes) -> None:
        self._record = record
        self.file_name = record.file_names[0]

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> bytes:
        """Return the next bytes, for the next frames; raises as ``RecordBytes.piece``."""
        return b"".join(block for _, block in self._record.piece(samples))

    def end_blocks(self) -> Iterator[bytes]:
        """Return the last bytes in blocks of bounded size: for FLAC this is the whole file."""
        for name, block in self._record.end():
            if name == self.file_name:
                yield block

    def end(self) -> bytes:
        """Return the last bytes; raises as ``RecordBytes.end``."""
        return b"".join(self.end_blocks())

    def close(self) -> None:
        """Remove temporary files."""
        self._record.close()


def signal_file_bytes(description: RecordingDescription, *, value_ranges: Ranges | None = None) -> SignalStream:
    """Return the bytes of the signal file of a recording that has exactly one, piece by piece.

    Raises
    ------
    InvalidSignalError
        If it has several files beside the header, or as `RecordBytes`.
    """
    if description.source == "wfdb" and segments_of(description) is not None:
        raise InvalidSignalError("the record has several segments; their files do not fit in one stream")
    name = None if description.source == "wfdb" else "stream"
    record = RecordBytes(description, name=name, value_ranges=value_ranges)
    if len(record.file_names) != 2:
        record.close()
        names = ", ".join(repr(each) for each in record.file_names[:-1])
        raise InvalidSignalError(f"the record has several files ({names}); they do not fit in one stream")
    return SignalStream(record)


def _signal_file_bytes(group: SignalGroup, side_files: SideFiles, n_frames: int) -> SignalFileBytes:
    trailer = side_files.part(group, "trailer")
    if group.format.is_flac:
        return _FlacBytes(group, trailer, side_files.part(group, "original"))
    signals = side_files.header.signals[group.start : group.stop]
    bits = _UnusedBits(group, side_files.part(group, "bits"), n_frames) if side_files.part(group, "bits") else None
    return _PackedBytes(group, signals, side_files.part(group, "prologue"), trailer, bits)


class _PackedBytes:
    def __init__(
        self,
        group: SignalGroup,
        signals: tuple[SignalLine, ...],
        prologue: bytes,
        trailer: bytes,
        bits: _UnusedBits | None,
    ) -> None:
        self._group, self._signals = group, signals
        self._head, self._trailer, self._bits = prologue, trailer, bits
        self._left = np.empty(0, np.int32)  # samples that do not yet fill a group of whole bytes
        self._last_values = list[int]()

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> bytes:
        if self._group.format.code == 8:
            samples = self._differences(samples)
        columns = [
            values.reshape(-1, width) for values, width in zip(samples, self._group.samples_per_frame, strict=True)
        ]
        flat = np.concatenate(columns, axis=1).reshape(-1)
        if len(self._left):
            flat = np.concatenate([self._left, flat])
        n_whole = len(flat) - len(flat) % self._group.format.group_samples
        self._left = flat[n_whole:].copy()
        head, self._head = self._head, b""
        return head + self._packed(flat[:n_whole])

    def end_blocks(self) -> Iterator[bytes]:
        yield self._packed(self._left)
        if self._bits is not None:
            self._bits.finish()
        yield self._trailer

    def close(self) -> None:
        """Nothing to remove."""

    def _differences(self, samples: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
        if not self._last_values:
            pairs = zip(self._signals, samples, strict=True)
            self._last_values = [initial_value_of(signal, int(values[0])) for signal, values in pairs]
        differences = [
            wfdb_formats.take_differences(values, initial_value=last)
            for values, last in zip(samples, self._last_values, strict=True)
        ]
        self._last_values = [int(values[-1]) for values in samples]
        return differences

    def _packed(self, flat: NDArray[np.int32]) -> bytes:
        try:
            packed = wfdb_formats.pack_samples(flat, code=self._group.format.code)
        except InvalidSignalError as error:
            raise InvalidSignalError(f"signal file {self._group.file_name!r}: {error}") from error
        return packed if self._bits is None else self._bits.added_to(packed, n_samples=len(flat))


class _UnusedBits:
    """Side file ``y#bits``, unpacked as far as the samples have come and never further."""

    def __init__(self, group: SignalGroup, content: bytes, n_frames: int) -> None:
        self._name, self._code = f"{group.file_name}#bits", group.format.code
        self._n_bytes = wfdb_formats.n_bytes_of(self._code, n_frames * sum(group.samples_per_frame))
        self._content, self._position = content, 0
        self._decompressor = zlib.decompressobj()

    def added_to(self, packed: bytes, *, n_samples: int) -> bytes:
        """Set the next bits in the next packed samples."""
        unused = self._next(len(packed))
        # Bits that belong to samples would change them.
        if (
            len(unused) != len(packed)
            or wfdb_formats.unpack_samples(unused, code=self._code, n_samples=n_samples).any()
        ):
            raise self._damaged()
        return (np.frombuffer(packed, np.uint8) | np.frombuffer(unused, np.uint8)).tobytes()

    def finish(self) -> None:
        is_at_end = not self._next(1) and self._decompressor.eof and not self._decompressor.unused_data
        if not is_at_end or self._position < len(self._content):
            raise self._damaged()

    def _next(self, n_bytes: int) -> bytes:
        """Unpack the next ``n_bytes`` bytes, fewer at the end."""
        unused = bytearray()
        try:
            while len(unused) < n_bytes and not self._decompressor.eof:
                source = self._decompressor.unconsumed_tail
                if not source:
                    source = self._content[self._position : self._position + _INPUT_BYTES]
                    self._position += len(source)
                part = self._decompressor.decompress(source, n_bytes - len(unused))
                if not part and not source:
                    break
                unused += part
        except zlib.error:
            raise self._damaged() from None
        return bytes(unused)

    def _damaged(self) -> InvalidSignalError:
        return InvalidSignalError(
            f"side file {self._name!r} is damaged; it must unpack to {self._n_bytes} bytes, in which only bits that "
            f"format {self._code} leaves unused are set"
        )


class _FlacBytes:
    """FLAC of the samples, or the original file as long as it decodes to these samples and no others."""

    def __init__(self, group: SignalGroup, trailer: bytes, original: bytes) -> None:
        self._group, self._trailer, self._original = group, trailer, original
        self._n_channels = group.stop - group.start
        self._encoder: FlacEncoder | None = None
        self._reader: FlacReader | None = None
        self._n_same = 0
        if original:
            try:
                self._reader = FlacReader(io.BytesIO(original), code=group.format.code, n_channels=self._n_channels)
            except InvalidSignalError as error:
                raise InvalidSignalError(f"side file '{group.file_name}#original' is damaged: {error}") from error

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> bytes:
        self._add(np.stack(samples, axis=1))
        return b""

    def end_blocks(self) -> Iterator[bytes]:
        self._add(np.frombuffer(self._trailer, "<i4").astype(np.int32).reshape(-1, self._n_channels))
        if self._reader is not None and self._n_same == self._reader.n_rows:
            yield self._original
            return
        encoded = self._encoding().finish()
        while block := encoded.read(_BLOCK_BYTES):
            yield block

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._encoder is not None:
            self._encoder.close()

    def _add(self, rows: NDArray[np.int32]) -> None:
        if self._encoder is None and self._reader is not None and self._is_next(self._reader, rows):
            self._n_same += len(rows)
        elif len(rows) or self._encoder is None:
            self._encoding().write(rows)

    def _is_next(self, reader: FlacReader, rows: NDArray[np.int32]) -> bool:
        last = self._n_same + len(rows)
        return last <= reader.n_rows and np.array_equal(self._decoded(reader, self._n_same, last), rows)

    def _decoded(self, reader: FlacReader, first: int, last: int) -> NDArray[np.int32]:
        try:
            return reader.rows(first, last)
        except InvalidSignalError as error:
            raise InvalidSignalError(f"side file '{self._group.file_name}#original' is damaged: {error}") from error

    def _encoding(self) -> FlacEncoder:
        """The encoder; when it is begun, with the samples that were the original's until now."""
        if self._encoder is None:
            self._encoder = FlacEncoder(code=self._group.format.code, n_channels=self._n_channels)
            for first in range(0, self._n_same, _BLOCK_ROWS):
                assert self._reader is not None
                self._encoder.write(self._decoded(self._reader, first, min(first + _BLOCK_ROWS, self._n_same)))
        return self._encoder
