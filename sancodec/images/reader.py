"""Read files of images: all of them, or image k without the others."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.container import PREFIX_BYTES, ContainerReader, SectionType, SegmentPlace, section_name
from sancodec.codec.parallel import Threads
from sancodec.errors import CorruptError, TruncatedError
from sancodec.images.chunk import decode_chunk
from sancodec.images.coding import decode_image_coding
from sancodec.images.header import decode_images_header


def holds_images(file: BinaryIO) -> bool:
    """Whether a container's first section is IMAGES; the file is at its start again."""
    file.seek(PREFIX_BYTES)
    kind = file.read(1)
    file.seek(0)
    return kind == bytes([SectionType.IMAGES])


class ImageReader:
    """An open file of images: a sequence of arrays, each uint8 of shape ``(row, column)``.

    The chunk that was read last is kept, so that neighbours come at once.

    Parameters
    ----------
    file
        Seekable binary file.
    is_owner
        Whether ``close`` closes the file.

    Raises
    ------
    FormatError
        When the leading sections are damaged.
    """

    def __init__(self, file: BinaryIO, *, is_owner: bool = False) -> None:
        self._file, self._is_owner = file, is_owner
        self._lock = threading.Lock()
        self.container = ContainerReader(file)
        sections, _ = self.container.leading_sections()
        kinds = [section.kind for section in sections]
        if kinds != [SectionType.IMAGES, SectionType.CODING]:
            found = ", ".join(map(section_name, kinds))
            raise CorruptError(f"{found} before the first chunk; IMAGES, CODING is expected in a file of images")
        self.header = decode_images_header(sections[0].payload)
        self.coding = decode_image_coding(sections[1].payload)
        self._coding_crc = zlib.crc32(sections[1].payload)
        self._first_coding = sections[1].offset
        self._kept: tuple[int, NDArray[np.uint8]] | None = None

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it was opened by the caller."""
        if self._is_owner:
            self._file.close()

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self.container.length

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows and columns."""
        return self.header.n_images, self.header.height, self.header.width

    @cached_property
    def _chunks(self) -> list[int]:
        places: list[SegmentPlace] = self.container.segments(self._first_coding, self.header.n_chunks)
        return [offset for place in places for offset in place.chunks]

    @property
    def n_found(self) -> int:
        """Chunks that are there; fewer than the header promises when the file was cut."""
        return len(self._chunks)

    def __len__(self) -> int:
        return self.header.n_images

    def __getitem__(self, image: int) -> NDArray[np.uint8]:
        """Image ``image``; only its chunk is read."""
        if not -len(self) <= image < len(self):
            raise IndexError(f"image {image}; the file has images 0 to {len(self) - 1}")
        index, within = divmod(image % len(self), self.header.chunk_images)
        if self._kept is None or self._kept[0] != index:
            self._kept = index, self.chunk(index)
        found: NDArray[np.uint8] = self._kept[1][within].copy()
        return found

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[image] for image in range(len(self)))

    def chunk(self, index: int) -> NDArray[np.uint8]:
        """The images of a chunk, uint8, shape ``(image, row, column)``.

        Raises
        ------
        FormatError
            When it is damaged or missing.
        """
        if index >= len(self._chunks):
            raise TruncatedError(f"chunk {index}: the file ends before it")
        with self._lock:
            section, _ = self.container.section_at(self._chunks[index])
        if section.kind != SectionType.CHUNK:
            raise CorruptError(f"chunk {index}: there is a {section_name(section.kind)} at byte {section.offset}")
        first, last = self.header.images_of(index)
        shape = (last - first, self.header.height, self.header.width)
        return decode_chunk(index, section.payload, shape, self.coding, self._coding_crc)

    def chunks(self, threads: Threads | None = None) -> Iterator[NDArray[np.uint8]]:
        """All chunks in order.

        Raises
        ------
        FormatError
            When one is damaged or missing.
        """
        if self.n_found < self.header.n_chunks:
            raise TruncatedError(f"chunk {self.n_found}: the file ends before it")
        yield from (threads or Threads()).map(self.chunk, range(self.header.n_chunks))

    def read(self) -> NDArray[np.uint8]:
        """All images, uint8, shape ``(image, row, column)``."""
        return np.concatenate(list(self.chunks()))

    def check_end(self) -> None:
        """Refuse a file whose index or trailer is missing, or does not fit its sections exactly.

        Raises
        ------
        FormatError
        """
        self.container.check_end(self._first_coding, self.header.n_chunks)
        if len(self.container.segments(self._first_coding, self.header.n_chunks)) != 1:
            raise CorruptError("index: more than one segment; a file of images has one")
