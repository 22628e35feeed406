"""The Python interface to images: arrays to bytes, and files opened image by image."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.images.encoder import DEFAULT_LEVEL, encode_images
from sancodec.images.reader import ImageReader
from sancodec.images.stack import ImageStack, npy_head


def compress_images(
    images: NDArray[np.uint8],
    *,
    psnr_db: float | None = None,
    level: int = DEFAULT_LEVEL,
    chunk_images: int | None = None,
    threads: int | None = None,
) -> bytes:
    """Compress grey images of one size to the bytes of a ``.san`` file.

    Parameters
    ----------
    images
        uint8, shape ``(image, row, column)``.
    psnr_db
        Least PSNR over all pixels, in dB; every pixel exact by default.
    level
        1 to 4: zstd; from 5 on context mixing.
    chunk_images
        Images in a chunk, the unit of random access; about two million pixels by default.

    Raises
    ------
    InvalidSignalError
        When the array is no such array.

    Examples
    --------
    >>> import numpy as np, sancodec, io
    >>> digits = np.zeros((10, 28, 28), np.uint8)
    >>> digits[:, 8:20, 12:16] = 255
    >>> coded = sancodec.compress_images(digits)
    >>> with sancodec.open_images(io.BytesIO(coded)) as images:
    ...     len(images), images.shape, bool((images[3] == digits[3]).all())
    (10, (10, 28, 28), True)
    """
    file = io.BytesIO()
    stack = ImageStack(np.ascontiguousarray(images), head=npy_head(images.shape))
    encode_images(stack, file, psnr_db=psnr_db, level=level, chunk_images=chunk_images, threads=threads)
    return file.getvalue()


def open_images(file: str | os.PathLike[str] | BinaryIO) -> ImageReader:
    """Open a ``.san`` file of images: a sequence of arrays, of which only the chunks needed are decoded.

    Raises
    ------
    FormatError
        When it is no such file, or damaged at its begin.
    """
    if not isinstance(file, (str, os.PathLike)):
        return ImageReader(file)
    opened = Path(file).open("rb")  # noqa: SIM115 - stays open as long as the ImageReader
    try:
        return ImageReader(opened, is_owner=True)
    except BaseException:
        opened.close()
        raise
