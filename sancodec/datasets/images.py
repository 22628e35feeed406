"""Image files as stacks of grey images of 8 bits, and back: IDX (with or without gzip), NPY, PGM, PNG."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError, MissingDependencyError
from sancodec.images.stack import ImageStack

_GZIP_MAGIC, _NPY_MAGIC, _PNG_MAGIC = b"\x1f\x8b", b"\x93NUMPY", b"\x89PNG"
_IDX_UBYTE = b"\x00\x00\x08"
_IDX_LABELS, _IDX_IMAGES = 1, 3
_SIGNAL_SUFFIXES = (".dat", ".hea", ".mat", ".san")
_PGM_HEAD = re.compile(rb"P5(?:\s+|#[^\n\r]*[\n\r])+(\d+)(?:\s+|#[^\n\r]*[\n\r])+(\d+)(?:\s+|#[^\n\r]*[\n\r])+(\d+)\s")
_PEEK_BYTES = 1 << 12


def is_image_file(path: Path, *, has_rate: bool) -> bool:
    """Whether a file is one of images: by its first bytes, or by its suffix where it is none that is read.

    An array of uint8 is of images if it has three dimensions, or two and no sampling rate is given.
    """
    if path.suffix.lower() in (".png", ".pgm"):
        return True
    if path.suffix.lower() in _SIGNAL_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_PEEK_BYTES)
    if start.startswith(_GZIP_MAGIC):
        start = zlib.decompressobj(wbits=31).decompress(start, 8) if _is_gzip(start) else b""
    if start.startswith(_NPY_MAGIC):
        with path.open("rb") as file:
            form = _npy_form(file)
        return form is not None and form[0] == np.uint8 and (len(form[1]) == 3 or (len(form[1]) == 2 and not has_rate))
    return start.startswith(_IDX_UBYTE) and start[3:4] in (bytes([_IDX_LABELS]), bytes([2]), bytes([_IDX_IMAGES]))


def _is_gzip(start: bytes) -> bool:
    try:
        zlib.decompressobj(wbits=31).decompress(start, 8)
    except zlib.error:
        return False
    return True


def read_images(path: Path) -> ImageStack:
    """Read all images of a file.

    Raises
    ------
    InvalidSignalError
        With what is wrong, and what to do.
    MissingDependencyError
        When Pillow is needed for a PNG file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InvalidSignalError(f"{path}: there is no such file") from None
    name = path.name
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidSignalError(f"{path}: is damaged: {error}") from None
        name = path.stem if path.suffix.lower() == ".gz" else name
    try:
        if content.startswith(_NPY_MAGIC):
            return _npy(content, name)
        if content.startswith(_PNG_MAGIC):
            return _png(content, name)
        if content[:1] == b"P":
            return _pgm(content, name)
        if content.startswith(_IDX_UBYTE):
            return _idx(content, name)
    except InvalidSignalError as error:
        raise InvalidSignalError(f"{path}: {error}") from None
    raise InvalidSignalError(f"{path}: starts with {content[:4]!r}; IDX, NPY, PGM or PNG was expected")


def _framed(content: bytes, start: int, shape: tuple[int, ...], source: str, name: str) -> ImageStack:
    n_pixels = int(np.prod(shape, dtype=object))
    if min(shape) < 1 or n_pixels > len(content) - start:
        raise InvalidSignalError(
            f"it should hold {' x '.join(map(str, shape))} pixels; {len(content) - start} bytes follow its header"
        )
    pixels = np.frombuffer(content, np.uint8, n_pixels, start).reshape(shape)
    return ImageStack(pixels, source, name, content[:start], content[start + n_pixels :])


def _idx(content: bytes, name: str) -> ImageStack:
    n_dimensions = content[3] if len(content) > 3 else 0
    if n_dimensions == _IDX_LABELS:
        raise InvalidSignalError("holds labels (IDX of one dimension), no images; labels are not compressed")
    if n_dimensions != _IDX_IMAGES:
        raise InvalidSignalError(f"is IDX of {n_dimensions} dimensions; 3 (image, row, column) are needed")
    if len(content) < 16:
        raise InvalidSignalError("ends within its IDX header")
    return _framed(content, 16, struct.unpack(">3I", content[4:16]), "idx", name)


def _npy_form(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], bool] | None:
    """Dtype, shape, and whether the order is Fortran's; the file is where the array begins. None: it is no array."""
    try:
        version = np.lib.format.read_magic(file)
        is_first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except Exception:  # numpy's parser of headers names no list of its own
        return None
    return dtype, shape, is_fortran


def _npy(content: bytes, name: str) -> ImageStack:
    file = io.BytesIO(content)
    form = _npy_form(file)
    if form is None:
        raise InvalidSignalError("is no .npy array that can be read")
    dtype, shape, is_fortran = form
    if dtype != np.uint8 or len(shape) not in (2, 3):
        raise InvalidSignalError(
            f"is an array of {dtype} of shape {shape}; images are uint8 of shape (image, row, column) or (row, column)"
        )
    if is_fortran:
        raise InvalidSignalError("is in Fortran order; save np.ascontiguousarray of it")
    return _framed(content, file.tell(), (1, *shape) if len(shape) == 2 else shape, "npy", name)


def _pgm(content: bytes, name: str) -> ImageStack:
    head = _PGM_HEAD.match(content[:_PEEK_BYTES])
    if head is None:
        raise InvalidSignalError(f"starts with {content[:2]!r}; only binary PGM (P5) of grey is read: convert it")
    width, height, largest = (int(head[index]) for index in (1, 2, 3))
    if not 1 <= largest <= 255:
        raise InvalidSignalError(f"has grey values up to {largest}; only 8 bits are coded: convert it")
    return _framed(content, head.end(), (1, height, width), "pgm", name)


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise MissingDependencyError("PNG needs Pillow: pip install 'sancodec[images]'") from None
    module: ModuleType = PIL.Image
    return module


def _png(content: bytes, name: str) -> ImageStack:
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.mode != "L" or "transparency" in image.info:
                raise InvalidSignalError(f"is a PNG of mode {image.mode}; only grey of 8 bits (L) is coded: convert it")
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise InvalidSignalError(f"is a PNG that cannot be read: {error}") from None
    return ImageStack(pixels[None], "png", name)


def write_png(pixels: NDArray[np.uint8], file: BinaryIO) -> None:
    """Write one image: uint8, shape ``(row, column)``."""
    _pillow().fromarray(pixels).save(file, format="PNG", optimize=True)


def pgm_head(height: int, width: int) -> bytes:
    """What stands before the pixels of a binary PGM file."""
    return f"P5\n{width} {height}\n255\n".encode()
