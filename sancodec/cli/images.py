"""What the commands do with images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from sancodec.cli.files import SAN_SUFFIX, STANDARD_STREAM, open_container, shown, standard_output
from sancodec.cli.progress import progress
from sancodec.cli.terminal import DamageError, counted, printable, write_json
from sancodec.errors import FormatError, InvalidSignalError
from sancodec.new_files import new_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sancodec.images.reader import ImageReader
    from sancodec.images.stack import ImageStack

_IMAGE_SUFFIXES = (".gz", ".idx", ".npy", ".pgm", ".png")
_CODERS = {0: "zstd", 1: "mixing coder"}
_FORMS = ("npy", "pgm", "png")


def is_image_input(name: str, *, has_rate: bool) -> bool:
    """Whether an input of ``compress`` or ``compare`` is a file of images."""
    if name == STANDARD_STREAM:
        return False
    from sancodec.datasets.images import is_image_file

    return is_image_file(Path(name), has_rate=has_rate)


def holds_images(file: BinaryIO) -> bool:
    """Whether a container is one of images."""
    from sancodec.images.reader import holds_images as found

    return found(file)


def check_options(refused: dict[str, Any], *, psnr_db: float | None, lossless: bool) -> None:
    """Refuse what has no meaning for images.

    Raises
    ------
    InvalidSignalError
    """
    for option, value in refused.items():
        if value is not None:
            raise InvalidSignalError(f"{option} is for recordings; images take --psnr DB or --lossless")
    if lossless and psnr_db is not None:
        raise InvalidSignalError("--lossless and --psnr contradict each other; give one of them")


def image_target(name: str) -> Path:
    """``file.san`` beside the input."""
    path = Path(name)
    for suffix in (".gz", *_IMAGE_SUFFIXES[1:]):
        if path.suffix.lower() == suffix:
            path = path.with_suffix("")
    return path.with_name(path.name + SAN_SUFFIX)


def compress_images(
    name: str,
    target: Path | None,
    *,
    psnr_db: float | None,
    level: int,
    chunk: float | str | None,
    threads: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress a file of images to ``target``, or to standard output.

    ``chunk`` is a number of images, ``"auto"``, or None for one chunk.
    """
    from sancodec.datasets.images import read_images
    from sancodec.images.encoder import encode_images

    start = time.perf_counter()
    stack = read_images(Path(name))
    if isinstance(chunk, float) and chunk != int(chunk):
        raise InvalidSignalError(f"--chunk {chunk:g}: of images a chunk has a whole number")
    with (
        progress(shown(name), quiet=quiet) as report,
        standard_output() if target is None else new_file(target, force=force) as file,
    ):
        summary = encode_images(
            stack,
            file,
            psnr_db=psnr_db,
            level=level,
            chunk_images=None if chunk == "auto" else len(stack.pixels) if chunk is None else int(chunk),
            threads=threads,
            on_progress=report,
        )
    if target is None:
        return
    n_images, height, width = stack.pixels.shape
    result = {
        "input": shown(name),
        "output": str(target),
        "input_bytes": Path(name).stat().st_size,
        "output_bytes": summary.n_bytes,
        "images": n_images,
        "height": height,
        "width": width,
        "bits_per_pixel": 8 * summary.n_bytes / stack.pixels.size,
        "bytes_per_image": summary.n_bytes / n_images,
        "ratio": stack.pixels.size / summary.n_bytes,
        "psnr_db": summary.psnr_db,
        "levels": summary.n_levels,
        "seconds": time.perf_counter() - start,
    }
    if as_json:
        write_json(result)
    elif not quiet:
        click.echo(
            f"{result['input']} -> {target}: {counted(n_images, 'image')} of {height} x {width}, "
            f"{summary.n_bytes:,} bytes, {result['ratio']:.2f}:1 of the pixels, "
            f"{result['bits_per_pixel']:.3f} bit/pixel, "
            f"{result['bytes_per_image']:.1f} bytes an image, {_quality_text(summary.psnr_db, summary.n_levels)}, "
            f"{result['seconds']:.2f} s"
        )


def _quality_text(psnr_db: float, n_levels: int) -> str:
    return "exact" if math.isinf(psnr_db) else f"PSNR {psnr_db:.2f} dB from {counted(n_levels, 'level')}"


def restore_images(
    file: BinaryIO,
    name: str,
    output: str | None,
    *,
    form: str | None,
    image: int | None,
    threads: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore a file of images, or one of them, as it came or in another form."""
    from sancodec.images.reader import ImageReader

    if form not in (None, *_FORMS):
        raise InvalidSignalError(f"--to {form} is for recordings; images become npy, pgm or png")
    reader = ImageReader(file)
    target = None if output == STANDARD_STREAM else _restored_name(reader, name, output, form, image)
    kind = form or (target.suffix.lower()[1:] if output and target and target.suffix.lower()[1:] in _FORMS else None)
    with (
        progress(shown(name), quiet=quiet) as report,
        standard_output() if target is None else new_file(target, force=force) as opened,
    ):
        if image is not None:
            _write_one(_image(reader, image), kind or "pgm", opened)
        else:
            reader.check_end()
            _write_all(reader, kind, opened, threads, report)
    if as_json and target is not None:
        write_json({"input": shown(name), "outputs": [str(target)]})
    elif not quiet and target is not None:
        click.echo(f"{shown(name)} -> {target}")


def _image(reader: ImageReader, image: int) -> NDArray[np.uint8]:
    if image >= len(reader):
        raise InvalidSignalError(f"there is no image {image}; the file has images 0 to {len(reader) - 1}")
    return reader[image]


def _restored_name(reader: ImageReader, name: str, output: str | None, form: str | None, image: int | None) -> Path:
    if output is not None and not Path(output).is_dir():
        return Path(output)
    from sancodec.datasets.wfdb_lines import check_file_name

    check_file_name(reader.header.name, where="section IMAGES", kind="image file")
    folder = Path() if name == STANDARD_STREAM else Path(name).parent
    original = Path(reader.header.name)
    if image is not None:
        original = Path(f"{original.stem}_{image}.{form or 'pgm'}")
    elif form is not None and form != reader.header.source:
        original = original.with_suffix(f".{form}")
    return (folder if output is None else Path(output)) / original


def _write_one(pixels: NDArray[np.uint8], kind: str, file: BinaryIO) -> None:
    from sancodec.datasets.images import pgm_head, write_png
    from sancodec.images.stack import npy_head

    if kind == "png":
        write_png(pixels, file)
        return
    file.write(npy_head(pixels.shape) if kind == "npy" else pgm_head(*pixels.shape))
    file.write(pixels.tobytes())


def _write_all(
    reader: ImageReader,
    kind: str | None,
    file: BinaryIO,
    threads: int | None,
    on_progress: Callable[[float], None],
) -> None:
    from sancodec.codec.parallel import Threads
    from sancodec.images.stack import npy_head

    header = reader.header
    kind = kind or header.source
    if kind in ("png", "pgm") and kind != header.source and len(reader) > 1:
        raise InvalidSignalError(f"{len(reader)} images do not fit into one {kind}; choose one with --image K")
    if kind == "png" or (kind == "pgm" and header.source != "pgm"):
        _write_one(reader[0], kind, file)
        return
    is_same = kind == header.source
    file.write(header.head if is_same else npy_head(reader.shape))
    for index, pixels in enumerate(reader.chunks(Threads(threads))):
        file.write(pixels.tobytes())
        on_progress((index + 1) / header.n_chunks)
    file.write(header.tail if is_same else b"")


def describe_images(name: str, reader: ImageReader) -> dict[str, Any]:
    """What ``info`` tells of images, as one JSON object."""
    header, coding = reader.header, reader.coding
    n_pixels = header.n_images * header.height * header.width
    return {
        "input": name,
        "bytes": reader.n_bytes,
        "ratio": n_pixels / reader.n_bytes,
        "bits_per_pixel": 8 * reader.n_bytes / n_pixels,
        "source": header.source,
        "name": header.name,
        "images": header.n_images,
        "height": header.height,
        "width": header.width,
        "chunks": header.n_chunks,
        "chunk_images": header.chunk_images,
        "level": header.level,
        "coder": _CODERS[coding.coder],
        "symbols": len(coding.values),
        "kernels": 0 if coding.kernels is None else len(coding.kernels),
        "promised_psnr_db": header.psnr_db,
        "psnr_db": coding.psnr_db,
    }


def info_of_images(file: BinaryIO, name: str, *, quiet: bool, as_json: bool) -> None:
    """Print what ``info`` tells of images."""
    from sancodec.images.reader import ImageReader

    content = describe_images(shown(name), ImageReader(file))
    if as_json:
        write_json(content)
    elif not quiet:
        is_exact = math.isinf(content["promised_psnr_db"])
        kernels = "" if not content["kernels"] else f" with {counted(content['kernels'], 'kernel')} of 5 x 5"
        click.echo(
            f"{content['input']}: {content['bytes']:,} bytes, {content['ratio']:.2f}:1 of the pixels, "
            f"{content['bits_per_pixel']:.3f} bit/pixel\n"
            f"  {counted(content['images'], 'image')} of {content['height']} x {content['width']} "
            f"from {content['source']} file {printable(content['name'])}\n"
            f"  level {content['level']}, {content['coder']}, {counted(content['chunks'], 'chunk')} of "
            f"{content['chunk_images']} images\n"
            f"  {counted(content['symbols'], 'symbol')}{kernels}, promised: "
            + (
                "exact"
                if is_exact
                else f"PSNR {content['promised_psnr_db']:g} dB, {content['psnr_db']:.2f} dB measured"
            )
        )


def verify_images(file: BinaryIO, name: str, *, quiet: bool, as_json: bool) -> None:
    """Decode every chunk of images.

    Raises
    ------
    DamageError
        With a line for every chunk that cannot be decoded.
    """
    from sancodec.images.reader import ImageReader

    lines: list[str] = []
    damaged: list[int] = []
    with progress(shown(name), quiet=quiet) as report:
        reader = ImageReader(file)
        n_chunks = reader.header.n_chunks
        for index in range(reader.n_found):
            try:
                reader.chunk(index)
            except FormatError as error:
                first, last = reader.header.images_of(index)
                reason = str(error).removeprefix(f"chunk {index}: ")
                lines.append(f"chunk {index}, images {first} to {last - 1}: {reason}")
                damaged.append(index)
            report((index + 1) / n_chunks)
        if reader.n_found < n_chunks:
            first, _ = reader.header.images_of(reader.n_found)
            lines.append(f"images {first} to {len(reader) - 1}: the file ends before them")
        try:
            reader.check_end()
        except FormatError as error:
            lines.append(str(error))
    if as_json:
        write_json({"input": shown(name), "intact": not lines, "chunks": n_chunks, "damaged": damaged})
    elif not lines and not quiet:
        click.echo(f"{shown(name)}: intact, {counted(n_chunks, 'chunk')}")
    if lines:
        raise DamageError(lines)


def compare_images(original: str, name: str, *, quiet: bool, as_json: bool) -> None:
    """Print PSNR and largest error of images.

    Raises
    ------
    InvalidSignalError
        When they have different sizes.
    """
    import numpy as np

    from sancodec.datasets.images import read_images
    from sancodec.images.levels import psnr_of, squared_error
    from sancodec.images.reader import ImageReader

    before: NDArray[np.uint8] = read_images(Path(original)).pixels
    if name.endswith(SAN_SUFFIX) or name == STANDARD_STREAM:
        with open_container(name) as file:
            after = ImageReader(file).read()
    else:
        stack: ImageStack = read_images(Path(name))
        after = stack.pixels
    if before.shape != after.shape:
        raise InvalidSignalError(f"the images have shapes {before.shape} and {after.shape}; they must be the same")
    total = squared_error(before, after)
    largest = int((np.maximum(before, after) - np.minimum(before, after)).max())
    share = int((before == after).sum()) / before.size
    content = {
        "original": original,
        "file": name,
        "images": len(before),
        "psnr_db": psnr_of(total, before.size),
        "rmse": math.sqrt(total / before.size),
        "max_error": largest,
        "exact_pixels": share,
    }
    if as_json:
        write_json(content)
    elif not quiet:
        quality = "every pixel exact" if total == 0 else f"PSNR {content['psnr_db']:.2f} dB, RMSE {content['rmse']:.2f}"
        click.echo(
            f"{original} and {name}: {counted(len(before), 'image')}, {quality}, largest error {largest}, "
            f"{100 * share:.1f} % of the pixels exact"
        )
