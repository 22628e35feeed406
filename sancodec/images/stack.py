"""Images of one size, and what a file holds besides their pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError

MAX_SIDE = 1 << 16
MAX_IMAGES = 1 << 32
MAX_FRAME_BYTES = 1 << 16
SOURCES = ("idx", "npy", "pgm", "png")


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Grey images of 8 bits.

    Parameters
    ----------
    pixels
        uint8, shape ``(image, row, column)``.
    source
        Form of the file that they came from: one of `SOURCES`.
    name
        Of that file, without a folder.
    head, tail
        Bytes of that file before and after the pixels; empty for ``png``, whose pixels alone are kept.

    Raises
    ------
    InvalidSignalError
        When there are no images, or they are too large.
    """

    pixels: NDArray[np.uint8]
    source: str = "npy"
    name: str = "images.npy"
    head: bytes = b""
    tail: bytes = b""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3:
            raise InvalidSignalError(
                f"images are {self.pixels.dtype} of {self.pixels.ndim} dimensions; "
                "uint8 of shape (image, row, column) is needed"
            )
        n_images, height, width = self.pixels.shape
        if not (1 <= n_images <= MAX_IMAGES and 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
            raise InvalidSignalError(
                f"{n_images} images of {height} x {width} pixels; at least one image of 1 to {MAX_SIDE} pixels "
                "a side is needed"
            )
        if max(len(self.head), len(self.tail)) > MAX_FRAME_BYTES:
            raise InvalidSignalError(
                f"{max(len(self.head), len(self.tail))} bytes stand before or after the pixels; "
                f"at most {MAX_FRAME_BYTES} are kept"
            )


def npy_head(shape: tuple[int, ...]) -> bytes:
    """What stands before the pixels of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()
