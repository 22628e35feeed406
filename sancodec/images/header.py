"""The IMAGES section, which stands for HEADER in files of images (docs/format.md, "IMAGES")."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from sancodec.codec.container import (
    MAX_CHUNKS,
    MAX_HEADER_BYTES,
    decode_varint,
    encode_varints,
    zstd_compress,
    zstd_decompress,
)
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError
from sancodec.images.stack import MAX_FRAME_BYTES, MAX_IMAGES, MAX_SIDE, SOURCES

MAX_CHUNK_PIXELS = 1 << 28
_F64 = struct.Struct("<d")
_MAX_NAME_BYTES = 4096
_WHERE = "section IMAGES"


@dataclass(frozen=True, slots=True)
class ImagesHeader:
    """What a file of images says of them.

    Parameters
    ----------
    chunk_images
        Images in every chunk but the last.
    psnr_db
        The least PSNR over all pixels that is promised; infinite where every pixel is exact.
    """

    source: str
    name: str
    n_images: int
    height: int
    width: int
    chunk_images: int
    level: int
    psnr_db: float
    head: bytes
    tail: bytes

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise CorruptError(f"{_WHERE}: source {self.source!r}; one of {', '.join(SOURCES)} is expected")
        for value, high, what in (
            (self.n_images, MAX_IMAGES, "images"),
            (self.height, MAX_SIDE, "rows"),
            (self.width, MAX_SIDE, "columns"),
            (self.chunk_images, MAX_IMAGES, "images a chunk"),
            (self.level, 9, "as level"),
        ):
            if not 1 <= value <= high:
                raise LimitExceededError(f"{_WHERE}: {value} {what}; 1 to {high} are allowed")
        n_pixels = min(self.chunk_images, self.n_images) * self.height * self.width
        if n_pixels > MAX_CHUNK_PIXELS:
            raise LimitExceededError(f"{_WHERE}: {n_pixels} pixels a chunk; at most {MAX_CHUNK_PIXELS} are allowed")
        if self.n_chunks > MAX_CHUNKS:
            raise LimitExceededError(f"{_WHERE}: {self.n_chunks} chunks; at most {MAX_CHUNKS} are allowed")
        if math.isnan(self.psnr_db) or self.psnr_db < 0:
            raise CorruptError(f"{_WHERE}: a PSNR of {self.psnr_db} dB; a number of at least 0 is expected")

    @property
    def n_chunks(self) -> int:
        return -(-self.n_images // self.chunk_images)

    def images_of(self, chunk: int) -> tuple[int, int]:
        """The first image of a chunk, and the one after its last."""
        return chunk * self.chunk_images, min((chunk + 1) * self.chunk_images, self.n_images)

    def content(self) -> bytes:
        """The section's payload."""
        texts = [each.encode() for each in (self.source, self.name)]
        parts = [encode_varints([len(each)]) + each for each in (*texts, self.head, self.tail)]
        numbers = [self.n_images, self.height, self.width, self.chunk_images, self.level]
        return zstd_compress(b"".join(parts) + encode_varints(numbers) + _F64.pack(self.psnr_db), 19)


def decode_images_header(payload: bytes) -> ImagesHeader:
    """Inverse of ``ImagesHeader.content``.

    Raises
    ------
    FormatError
    """
    content = zstd_decompress(payload, limit=MAX_HEADER_BYTES, where=_WHERE)
    position = 0

    def text(limit: int) -> bytes:
        nonlocal position
        length, position = decode_varint(content, position, _WHERE)
        if length > limit:
            raise LimitExceededError(f"{_WHERE}: {length} bytes of text; at most {limit} are allowed")
        if length > len(content) - position:
            raise TruncatedError(f"{_WHERE}: ends within a text")
        position += length
        return content[position - length : position]

    try:
        source, name = text(_MAX_NAME_BYTES).decode(), text(_MAX_NAME_BYTES).decode()
    except UnicodeDecodeError:
        raise CorruptError(f"{_WHERE}: a text is not UTF-8") from None
    head, tail = text(MAX_FRAME_BYTES), text(MAX_FRAME_BYTES)
    numbers = []
    for _ in range(5):
        number, position = decode_varint(content, position, _WHERE)
        numbers.append(number)
    if len(content) - position != _F64.size:
        raise CorruptError(f"{_WHERE}: {len(content) - position} bytes follow its numbers; {_F64.size} are expected")
    (psnr_db,) = _F64.unpack_from(content, position)
    n_images, height, width, chunk_images, level = numbers
    return ImagesHeader(source, name, n_images, height, width, chunk_images, level, psnr_db, head, tail)
