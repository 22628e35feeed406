"""Compress images: lossless, or with a PSNR that is kept."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.parallel import Threads
from sancodec.codec.progress import Progress, share_of
from sancodec.errors import InvalidSignalError, QualityError
from sancodec.images.chunk import encode_chunk
from sancodec.images.coding import MIXING, ZSTD, ImageCoding
from sancodec.images.header import MAX_CHUNK_PIXELS, ImagesHeader
from sancodec.images.levels import levels_for, psnr_of, squared_error
from sancodec.images.reader import ImageReader
from sancodec.images.stack import ImageStack

DEFAULT_LEVEL = 5
MIXING_LEVEL, ALWAYS_MIXING_LEVEL = 5, 7
_CHUNK_PIXELS = 1 << 21
_LOSSLESS = float("inf")


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """What came of images.

    Parameters
    ----------
    psnr_db
        Over all pixels; infinite where they are exact.
    n_levels
        0 where pixels are exact.
    """

    n_bytes: int
    psnr_db: float
    n_levels: int


def encode_images(
    stack: ImageStack,
    file: BinaryIO,
    *,
    psnr_db: float | None = None,
    level: int = DEFAULT_LEVEL,
    chunk_images: int | None = None,
    threads: int | None = None,
    on_progress: Progress = lambda done: None,
) -> ImageSummary:
    """Write images to a seekable, readable file, and read them back to check what is promised.

    Parameters
    ----------
    psnr_db
        Least PSNR over all pixels, in dB; every pixel exact by default, and where no levels reach it.
    level
        1 to 4: zstd; from 5 on context mixing, where the native core is there; from 7 on in any case.
    chunk_images
        Images in a chunk, the unit of damage and of random access; about two million pixels by default.

    Raises
    ------
    InvalidSignalError, QualityError
    """
    pixels = stack.pixels
    n_images, height, width = pixels.shape
    chunk_images = _chunk_images(chunk_images, n_images, height * width)
    if psnr_db is not None and not 0 < psnr_db < _LOSSLESS:
        raise InvalidSignalError(f"a PSNR of {psnr_db} dB was asked for; it must be a number above 0")
    if not 1 <= level <= 9:
        raise InvalidSignalError(f"level {level}; 1 to 9 are allowed")
    workers = Threads(threads)
    wanted = _LOSSLESS if psnr_db is None else psnr_db
    symbols, coding = _coded(pixels, wanted, workers, share_of(on_progress, 0, 0.6))
    is_mixing = level >= ALWAYS_MIXING_LEVEL or (level >= MIXING_LEVEL and native.core is not None)
    coding = replace(coding, coder=MIXING if is_mixing else ZSTD)
    header = ImagesHeader(
        stack.source, stack.name, n_images, height, width, chunk_images, level, wanted, stack.head, stack.tail
    )
    writer = ContainerWriter(file)
    writer.section(SectionType.IMAGES, header.content())
    content = coding.content()
    writer.section(SectionType.CODING, content)
    crc = zlib.crc32(content)

    def chunk(index: int) -> bytes:
        first, last = header.images_of(index)
        part = symbols[first:last]
        return encode_chunk(index, part, coding.pixels_of(part), coding, crc, level)

    for index, payload in enumerate(workers.map(chunk, range(header.n_chunks))):
        writer.section(SectionType.CHUNK, payload)
        on_progress(0.6 + 0.25 * (index + 1) / header.n_chunks)
    n_bytes = writer.finish()
    reached = _check(file, stack, wanted, workers, share_of(on_progress, 0.85, 1))
    return ImageSummary(n_bytes, reached, 0 if coding.kernels is None else len(coding.values))


def _chunk_images(asked: int | None, n_images: int, image_pixels: int) -> int:
    if image_pixels > MAX_CHUNK_PIXELS:
        raise InvalidSignalError(f"an image has {image_pixels} pixels; at most {MAX_CHUNK_PIXELS} are allowed")
    if asked is None:
        n_chunks = -(-n_images // max(1, _CHUNK_PIXELS // image_pixels))
        return -(-n_images // n_chunks)
    if asked < 1 or min(asked, n_images) * image_pixels > MAX_CHUNK_PIXELS:
        raise InvalidSignalError(
            f"{asked} images a chunk; 1 to {MAX_CHUNK_PIXELS // image_pixels} images of this size are allowed"
        )
    return min(asked, n_images)


def _coded(
    pixels: NDArray[np.uint8], psnr_db: float, threads: Threads, on_progress: Progress
) -> tuple[NDArray[np.uint8], ImageCoding]:
    if psnr_db < _LOSSLESS:
        found = levels_for(pixels, psnr_db=psnr_db, threads=threads, on_progress=on_progress)
        if found is not None:
            return found.symbols, found.coding
    counts = np.bincount(pixels.reshape(-1), minlength=256)
    values = np.flatnonzero(counts)
    symbol_of = np.zeros(256, np.uint8)
    symbol_of[values] = np.arange(len(values))
    background = int(counts[values].argmax())
    return symbol_of[pixels], ImageCoding(ZSTD, background, values.astype(np.uint8), None, _LOSSLESS)


def _check(file: BinaryIO, stack: ImageStack, wanted: float, threads: Threads, on_progress: Progress) -> float:
    """The PSNR of what was written, read back; refused where it is not what was promised."""
    file.flush()
    reader = ImageReader(file)
    reader.check_end()

    def error(index: int) -> int:
        first, last = reader.header.images_of(index)
        return squared_error(stack.pixels[first:last], reader.chunk(index))

    total = 0
    for index, each in enumerate(threads.map(error, range(reader.header.n_chunks))):
        total += each
        on_progress((index + 1) / reader.header.n_chunks)
    reached = psnr_of(total, stack.pixels.size)
    if reached < wanted:
        raise QualityError(f"the file written decodes with a PSNR of {reached} dB, {wanted} were promised; report this")
    return reached
