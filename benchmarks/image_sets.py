"""Images as data sets: sancodec beside other compressors on the test images of MNIST and Fashion-MNIST.

    python benchmarks/image_sets.py mnist
    python benchmarks/image_sets.py fashion_mnist

Image formats get all images as one mosaic. Every lossy entry is searched for the smallest result that has the PSNR
over all pixels, which is measured on what was decoded; sizes are those of whole files, side information included.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment
import imagecodecs
import numpy as np
import records
import zstandard
from numpy.typing import NDArray
from PIL import Image

import sancodec

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PSNRS_DB = (25.0, 30.0, 35.0)
ACROSS = 100  # images of a row of the mosaic
SEARCH_STEPS = 7
N_ACCESSES = 5
JXL_EFFORT = 7
Pixels = NDArray[np.uint8]


def test_images(name: str) -> Pixels:
    """The test images, uint8, shape ``(image, row, column)``."""
    if name == "mnist":
        content = gzip.decompress((records.DATA / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)
    table = np.load(records.DATA / "fashion-mnist" / "fashion_test_5000x785.npy")
    return np.ascontiguousarray(table[:, :784].astype(np.uint8).reshape(-1, 28, 28))


def mosaic_of(images: Pixels) -> Pixels:
    n, height, width = images.shape
    return np.ascontiguousarray(
        images.reshape(n // ACROSS, ACROSS, height, width).transpose(0, 2, 1, 3).reshape(-1, ACROSS * width)
    )


def _pillow(pixels: Pixels, **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **settings)
    return file.getvalue()


def _from_pillow(content: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def _jxl_lossless(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=JXL_EFFORT))


def timed(encode: Callable[[], bytes], decode: Callable[[bytes], Any]) -> tuple[bytes, Any, dict[str, float]]:
    start = time.perf_counter()
    content = encode()
    middle = time.perf_counter()
    decoded = decode(content)
    return content, decoded, {"encode_s": middle - start, "decode_s": time.perf_counter() - middle}


def lossless(images: Pixels) -> list[dict[str, Any]]:
    mosaic, raw = mosaic_of(images), images.tobytes()
    codecs: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bytes]]] = {
        "xz -9e": (lambda: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
        "bz2": (lambda: bz2.compress(raw), bz2.decompress),
        "zstd -19": (lambda: zstandard.compress(raw, 19), zstandard.decompress),
        "PNG": (lambda: _pillow(mosaic, format="PNG", optimize=True), lambda b: _from_pillow(b).tobytes()),
        "WebP": (
            lambda: _pillow(mosaic, format="WEBP", lossless=True, quality=100, method=6),
            lambda b: _from_pillow(b).tobytes(),
        ),
        "JPEG XL": (lambda: _jxl_lossless(mosaic), lambda b: imagecodecs.jpegxl_decode(b).tobytes()),
    }
    for level in (3, 5):
        codecs[f"sancodec, level {level}"] = (
            lambda level=level: sancodec.compress_images(images, level=level),
            lambda b: sancodec.open_images(io.BytesIO(b)).read().tobytes(),
        )
    rows = []
    for name, (encode, decode) in codecs.items():
        content, decoded, seconds = timed(encode, decode)
        if decoded not in (raw, mosaic.tobytes()):
            raise ValueError(f"{name} is not lossless")
        rows.append({"codec": name, "bytes": len(content), "bits_per_pixel": 8 * len(content) / images.size, **seconds})
        print(rows[-1], flush=True)
    return rows


def psnr_of(x: Pixels, y: Pixels) -> float:
    return 10 * float(np.log10(255**2 / np.mean((x.astype(np.float64) - y) ** 2)))


def smallest(
    mosaic: Pixels, wanted: float, encode: Callable[[float], bytes], decode: Callable[[bytes], Pixels], high: float
) -> bytes | None:
    """The result at the lowest setting of 0 to ``high`` that has the PSNR, by bisection."""
    low, best = 0.0, None
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        content = encode(middle)
        if psnr_of(mosaic, decode(content)) >= wanted:
            best, high = content, middle
        else:
            low = middle
    return best


def quantised(images: Pixels, wanted: float) -> bytes | None:
    """The fewest Lloyd levels that have the PSNR, the numbers of their pixels by JPEG XL, and their values."""
    histogram, values = np.bincount(images.reshape(-1), minlength=256), np.arange(256)
    for n_levels in range(2, 33):
        centres = np.linspace(0, 255, 2 * n_levels + 1)[1::2]
        centres[0] = 0
        for _ in range(60):
            level_of = np.abs(values[:, None] - centres).argmin(axis=1)
            weight = np.bincount(level_of, histogram, n_levels)
            total = np.bincount(level_of, histogram * values, n_levels)
            centres = np.where(weight > 0, total / np.maximum(weight, 1), centres)
        decoded = np.rint(centres).astype(np.uint8)[level_of][images]
        if psnr_of(images, decoded) >= wanted:
            return _jxl_lossless(mosaic_of(level_of.astype(np.uint8)[images])) + bytes(n_levels)
    return None


def lossy(images: Pixels) -> list[dict[str, Any]]:
    mosaic, rows = mosaic_of(images), []
    codecs: dict[str, Callable[[float], bytes | None]] = {
        "WebP": lambda wanted: smallest(
            mosaic, wanted, lambda q: _pillow(mosaic, format="WEBP", quality=round(q), method=4), _from_pillow, 100
        ),
        "JPEG XL": lambda wanted: smallest(
            mosaic,
            wanted,
            lambda q: bytes(imagecodecs.jpegxl_encode(mosaic, distance=15 - q, effort=JXL_EFFORT)),
            lambda b: np.asarray(imagecodecs.jpegxl_decode(b)).reshape(mosaic.shape),
            14.9,
        ),
        "Lloyd levels, JPEG XL lossless": lambda wanted: quantised(images, wanted),
        "sancodec, level 5": lambda wanted: sancodec.compress_images(images, psnr_db=wanted),
    }
    for wanted in PSNRS_DB:
        for name, encode in codecs.items():
            start = time.perf_counter()
            content = encode(wanted)
            seconds = time.perf_counter() - start
            row: dict[str, Any] = {"codec": name, "psnr_db": wanted, "search_and_encode_s": seconds}
            row["bytes_per_image"] = None if content is None else len(content) / len(images)
            if name.startswith("sancodec") and content is not None:
                start = time.perf_counter()
                decoded = sancodec.open_images(io.BytesIO(content)).read()
                row |= {"decode_s": time.perf_counter() - start, "reached_db": psnr_of(images, decoded)}
                if row["reached_db"] < wanted:
                    raise ValueError(f"{row['reached_db']} dB, {wanted} were promised")
            rows.append(row)
            print(row, flush=True)
    return rows


def access(images: Pixels) -> list[dict[str, Any]]:
    """Seconds for opening a file and reading one image, by the images of a chunk."""
    rows = []
    for chunk_images in (None, 1000, 250):
        content = sancodec.compress_images(images, chunk_images=chunk_images)
        times = []
        for image in np.linspace(0, len(images) - 1, N_ACCESSES).astype(int).tolist():
            start = time.perf_counter()
            reader = sancodec.open_images(io.BytesIO(content))
            if not np.array_equal(reader[image], images[image]):
                raise ValueError(f"image {image} is not that of the file")
            times.append(time.perf_counter() - start)
        size = reader.header.chunk_images
        rows.append({"chunk_images": size, "bits_per_pixel": 8 * len(content) / images.size, "seconds": max(times)})
        print(rows[-1], flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist", "fashion_mnist"])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    images = test_images(arguments.data)
    content = {
        "environment": environment.describe(["sancodec", "numpy", "zstandard", "pillow", "imagecodecs"]),
        "data": arguments.data,
        "images": len(images),
        "jxl_effort": JXL_EFFORT,
        "lossless": lossless(images),
        "lossy": lossy(images),
        "access": access(images),
    }
    environment.write_json(arguments.output or RESULTS / f"images_{arguments.data}.json", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
