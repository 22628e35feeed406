"""The bytes of EDF and BDF files, made of consecutive pieces of samples, for writing them and comparing with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import decode_varint
from sancodec.codec.recording import RecordingDescription
from sancodec.datasets.edf_header import BDF_MAGIC, EdfHeader, parse_header
from sancodec.datasets.edf_new_file import new_header
from sancodec.datasets.edf_source import ANNOTATIONS_KIND, HEADER_KIND, TRAILER_KIND, EdfSource
from sancodec.datasets.file_writer import FileComparison
from sancodec.datasets.pieces import PieceCount
from sancodec.datasets.wfdb_formats import pack_samples
from sancodec.datasets.wfdb_lines import check_file_name
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.errors import FormatError, InvalidSignalError


class EdfBytes:
    """The bytes of one file; made by `restored_edf` and `new_edf`.

    They come data record by data record, so that one is held in memory.

    Parameters
    ----------
    description
        The recording.
    file_name
        Of the file.
    header
        Its header; each data record has the samples of a whole number of frames.
    annotations, trailer
        Side files as described in `EdfSource`.
    """

    def __init__(
        self,
        description: RecordingDescription,
        file_name: str,
        header: EdfHeader,
        *,
        annotations: bytes = b"",
        trailer: bytes = b"",
    ) -> None:
        self.file_names = (file_name,)
        self._header, self._head, self._trailer = header, header.content, trailer
        self._channels = description.channels
        self._count = PieceCount(description)
        self._frames_per_record = 1
        if header.ordinary:
            self._frames_per_record = (
                header.signals[header.ordinary[0]].n_samples // self._channels[0].samples_per_frame
            )
        self._left = [np.empty(0, np.int32) for _ in self._channels]  # samples that do not fill a data record yet
        self._annotations = _Annotations(f"{file_name}#{ANNOTATIONS_KIND}", annotations)

    def piece(self, samples: Sequence[NDArray[np.int32]]) -> Iterator[tuple[str, bytes]]:
        """Return the next bytes, for the next frames: int32 per channel, ``(n * samples_per_frame,)``.

        Raises
        ------
        InvalidSignalError
            If the arrays are not such frames, a sample does not fit the file, or a side file the samples.
        """
        self._count.add(samples)
        joined = [np.concatenate(pair) for pair in zip(self._left, samples, strict=True)]
        n_records = len(joined[0]) // (self._channels[0].samples_per_frame * self._frames_per_record)
        cuts = [n_records * self._frames_per_record * channel.samples_per_frame for channel in self._channels]
        self._left = [values[cut:].copy() for values, cut in zip(joined, cuts, strict=True)]
        head, self._head = self._head, b""
        records = self._records([values[:cut] for values, cut in zip(joined, cuts, strict=True)], n_records)
        yield self.file_names[0], head + records

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Return the last bytes; a data record of a new file that is not full is filled with its last samples.

        Raises
        ------
        InvalidSignalError
            If frames are missing, or a side file does not fit the samples.
        """
        self._count.finish()
        last = b""
        if len(self._left[0]):
            lengths = [self._frames_per_record * channel.samples_per_frame for channel in self._channels]
            filled = [
                np.pad(values, (0, length - len(values)), mode="edge")
                for values, length in zip(self._left, lengths, strict=True)
            ]
            last = self._records(filled, 1)
        self._annotations.finish()
        yield self.file_names[0], self._head + last + self._trailer

    def close(self) -> None:
        """Nothing to remove."""

    def _records(self, samples: list[NDArray[np.int32]], n_records: int) -> bytes:
        header = self._header
        size = header.format.group_bytes
        values = np.zeros((n_records, header.record_bytes // size), np.int32)
        channels = self._channels if header.ordinary else ()
        for index, channel, of_channel in zip(header.ordinary, channels, samples if channels else (), strict=True):
            n_samples = header.signals[index].n_samples
            if channel.invalid is not None:  # the format knows no missing samples
                lowest = np.int32(header.signals[index].digital_range[0])
                of_channel = np.where(of_channel == channel.invalid, lowest, of_channel)
            values[:, header.offsets[index] : header.offsets[index] + n_samples] = of_channel.reshape(-1, n_samples)
        try:
            packed = pack_samples(values.reshape(-1), code=header.format.code)
        except InvalidSignalError as error:
            raise InvalidSignalError(f"{self.file_names[0]}: {error}") from error
        if not header.annotations:
            return packed
        content = bytearray(packed)
        for begin in range(0, len(content), header.record_bytes):
            for index in header.annotations:
                start, length = begin + header.offsets[index] * size, header.signals[index].n_samples * size
                content[start : start + length] = self._annotations.next(length)
        return bytes(content)


class EdfComparison(FileComparison):
    """Compares the file that would be restored with the original one; a `FileComparison`.

    Parameters
    ----------
    source
        The original.
    description
        The recording from which the file would be restored; it came from an EDF or BDF file.

    Raises
    ------
    InvalidSignalError
        If the description did not come from such a file, or its side files are damaged.
    CorruptError
        If the original cannot be read.
    """

    def __init__(self, source: EdfSource, description: RecordingDescription) -> None:
        super().__init__(restored_edf(description, file_name=source.path.name), source.path.parent)


class _Annotations:
    """Side file ``x#annotations``, read block by block."""

    def __init__(self, name: str, content: bytes) -> None:
        self._name, self._content, self._position = name, content, 0

    def next(self, length: int) -> bytes:
        """The next block, filled with zeros to ``length`` bytes."""
        try:
            n_bytes, start = decode_varint(self._content, self._position, self._name)
        except FormatError as error:
            raise InvalidSignalError(f"side file {self._name!r} is damaged: {error}") from error
        self._position = start + n_bytes
        if n_bytes > length or self._position > len(self._content):
            raise InvalidSignalError(
                f"side file {self._name!r} is damaged: {n_bytes} bytes of annotations; {length} fit in a data record"
            )
        return self._content[start : self._position].ljust(length, b"\0")

    def finish(self) -> None:
        if self._position != len(self._content):
            raise InvalidSignalError(f"side file {self._name!r} is damaged: it has more than the data records hold")


def restored_edf(description: RecordingDescription, *, file_name: str | None = None) -> EdfBytes:
    """Return the bytes of the file from which a recording came.

    Parameters
    ----------
    description
        A recording with source ``"edf"``; its side files may come from anywhere.
    file_name
        Another name for the file.

    Raises
    ------
    InvalidSignalError
        Naming the side file that is missing, unknown or damaged, or does not fit the recording.
    """
    name, parts = side_files_of(description)
    try:
        header = parse_header(parts[HEADER_KIND])
    except InvalidSignalError as error:
        raise InvalidSignalError(f"side file '{name}#{HEADER_KIND}' is damaged: {error}") from error
    widths = [header.signals[index].n_samples // header.frames_per_record for index in header.ordinary] or [1]
    if widths != [channel.samples_per_frame for channel in description.channels]:
        raise InvalidSignalError(f"side file '{name}#{HEADER_KIND}': its signals are not those of the recording")
    if description.n_frames % header.frames_per_record:
        raise InvalidSignalError(
            f"side file '{name}#{HEADER_KIND}': {description.n_frames} frames are in the recording; whole data "
            f"records of {header.frames_per_record} are needed"
        )
    return EdfBytes(
        description,
        name if file_name is None else file_name,
        header,
        annotations=parts.get(ANNOTATIONS_KIND, b""),
        trailer=parts.get(TRAILER_KIND, b""),
    )


def side_files_of(description: RecordingDescription) -> tuple[str, dict[str, bytes]]:
    """The file name of a recording with source ``"edf"``, and its side files by kind.

    Raises
    ------
    InvalidSignalError
        As `restored_edf`.
    """
    if description.source != "edf":
        raise InvalidSignalError(f"the recording came from {description.source!r}, not from an EDF or BDF file")
    split = [side_file.name.rpartition("#") for side_file in description.side_files]
    names, kinds = {name for name, _, _ in split}, [kind for _, _, kind in split]
    is_known = set(kinds) <= {HEADER_KIND, ANNOTATIONS_KIND, TRAILER_KIND}
    if len(names) != 1 or not is_known or len(set(kinds)) < len(kinds) or HEADER_KIND not in kinds:
        listed = [side_file.name for side_file in description.side_files]
        raise InvalidSignalError(f"side files {listed}: those of one file, and its header, are needed")
    name = names.pop()
    check_file_name(name, where="side files", kind="EDF file")
    contents = (side_file.content for side_file in description.side_files)
    return name, dict(zip(kinds, contents, strict=True))


def is_bdf(description: RecordingDescription) -> bool:
    """Whether a recording with source ``"edf"`` came from a BDF file; raises as `restored_edf`."""
    return side_files_of(description)[1][HEADER_KIND].startswith(BDF_MAGIC)


def new_edf(description: RecordingDescription, *, file_name: str, is_bdf: bool, value_ranges: Ranges) -> EdfBytes:
    """Return the bytes of a new EDF or BDF file, without annotations.

    Parameters
    ----------
    description
        Any recording.
    is_bdf
        24 bits a sample instead of 16.
    value_ranges
        (minimum, maximum) of each channel's samples that are not missing.

    Raises
    ------
    InvalidSignalError
        If the file cannot hold the samples.
    """
    check_file_name(Path(file_name).name, where=file_name, kind="EDF file")
    header = parse_header(new_header(description, is_bdf=is_bdf, value_ranges=value_ranges))
    return EdfBytes(description, file_name, header)
