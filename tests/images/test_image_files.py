"""Files of images: what comes back, image by image, and what damage does."""

import contextlib
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import discs, stacks
from make_golden import SETTINGS

import sancodec
from sancodec.codec import native
from sancodec.codec.container import ContainerWriter, SectionType, encode_varints, zstd_compress
from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
    SancodecError,
    TruncatedError,
    UnsupportedVersionError,
)
from sancodec.images import encoder as encoder_module
from sancodec.images.coding import ImageCoding, decode_image_coding
from sancodec.images.encoder import encode_images
from sancodec.images.header import ImagesHeader, decode_images_header
from sancodec.images.reader import ImageReader
from sancodec.images.stack import ImageStack

GOLDEN = Path(__file__).parent / "golden"
INFINITE = float("inf")


def opened(coded):
    return sancodec.open_images(io.BytesIO(coded))


def psnr(x, y):
    error = ((x.astype(float) - y) ** 2).mean()
    return 10 * np.log10(255**2 / error) if error else INFINITE


@pytest.mark.parametrize("level", [1, 5, 9])
@pytest.mark.parametrize("name", stacks())
def test_exact_images_come_back(name, level):
    pixels = stacks()[name]
    reader = opened(sancodec.compress_images(pixels, level=level))
    assert np.array_equal(reader.read(), pixels)
    assert reader.header.psnr_db == INFINITE
    assert reader.coding.coder == int(level >= 5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 6))
def test_stacks_of_any_form_come_back(seed, level, chunk_images):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, rng.integers(1, 257), rng.integers(1, 7, 3)).astype(np.uint8)
    coded = sancodec.compress_images(pixels, level=level, chunk_images=chunk_images)
    assert np.array_equal(opened(coded).read(), pixels)


@pytest.mark.parametrize("level", [2, 5])
@pytest.mark.parametrize("psnr_db", [20.0, 28.0, 75.0])
def test_the_promised_psnr_is_kept(psnr_db, level):
    pixels = discs(20, noise=3)
    reader = opened(sancodec.compress_images(pixels, psnr_db=psnr_db, level=level))
    assert psnr(pixels, reader.read()) >= psnr_db == reader.header.psnr_db
    assert (reader.coding.kernels is None) == (psnr_db == 75.0)
    assert reader.coding.psnr_db == pytest.approx(psnr(pixels, reader.read()))


def test_fewer_bytes_are_taken_for_a_lower_psnr():
    pixels = discs(60, noise=3)
    sizes = [len(sancodec.compress_images(pixels, psnr_db=psnr_db)) for psnr_db in (22.0, 30.0)]
    assert sizes[0] < sizes[1] < len(sancodec.compress_images(pixels)) / 2


def test_a_broken_promise_leaves_an_error(monkeypatch):
    monkeypatch.setattr(encoder_module, "squared_error", lambda x, y: 255**2 * x.size)
    with pytest.raises(SancodecError, match="promised"):
        sancodec.compress_images(discs(), psnr_db=20.0)


def test_an_image_needs_its_chunk_alone():
    pixels = discs(10)
    coded = bytearray(sancodec.compress_images(pixels, chunk_images=4))
    reader = opened(bytes(coded))
    start, end = reader._chunks[1], reader._chunks[2]
    coded[start + 12 : end - 4] = bytes(end - start - 16)
    reader = opened(bytes(coded))
    for image in (0, 3, 8, 9, -1):
        assert np.array_equal(reader[image], pixels[image])
    with pytest.raises(CorruptError, match="checksum"):
        reader[5]
    with pytest.raises(IndexError, match="images 0 to 9"):
        reader[10]
    assert len(reader) == 10


def test_images_that_were_returned_may_be_changed():
    reader = opened(sancodec.compress_images(discs()))
    reader[0][:] = 1
    assert np.array_equal(reader[0], discs()[0])


def test_threads_do_not_change_a_byte():
    one, two = (sancodec.compress_images(discs(9), psnr_db=25, chunk_images=2, threads=n) for n in (1, 3))
    assert one == two


def test_without_the_core_zstd_is_taken_and_all_is_read(monkeypatch):
    pixels = discs(3)
    mixed, lossy = sancodec.compress_images(pixels), sancodec.compress_images(pixels, psnr_db=25)
    expected = opened(lossy).read()
    monkeypatch.setattr(native, "core", None)
    assert np.array_equal(opened(mixed).read(), pixels)
    assert np.array_equal(opened(lossy).read(), expected)
    assert opened(sancodec.compress_images(pixels)).coding.coder == 0
    assert psnr(pixels, opened(sancodec.compress_images(pixels, psnr_db=25)).read()) >= 25


def test_a_recording_is_no_file_of_images_and_the_other_way_round(tmp_path):
    signal = sancodec.compress(np.arange(500, dtype=np.int16), sampling_rate_hz=100)
    with pytest.raises(CorruptError, match="IMAGES, CODING is expected"):
        opened(signal)
    with pytest.raises(InvalidSignalError, match="open_images"):
        sancodec.decompress(sancodec.compress_images(discs()))
    path = tmp_path / "signal.san"
    path.write_bytes(signal)
    with pytest.raises(CorruptError):
        sancodec.open_images(path)


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (np.zeros((2, 3), np.uint8), "2 dimensions"),
        (np.zeros((1, 2, 3), np.uint16), "uint16"),
        (np.zeros((0, 2, 3), np.uint8), "0 images"),
        (np.zeros((1, 0, 3), np.uint8), "0 x 3"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images, complaint):
    with pytest.raises(InvalidSignalError, match=complaint):
        sancodec.compress_images(images)


@pytest.mark.parametrize("arguments", [{"psnr_db": 0.0}, {"psnr_db": INFINITE}, {"level": 10}, {"chunk_images": 0}])
def test_settings_without_meaning_are_refused(arguments):
    with pytest.raises(InvalidSignalError):
        sancodec.compress_images(discs(), **arguments)


def check(coded):
    reader = opened(coded)
    reader.read()
    reader.check_end()


def test_every_cut_is_noticed():
    coded = sancodec.compress_images(discs(4, 12, 12), chunk_images=2)
    for length in range(len(coded)):
        with pytest.raises(FormatError):
            check(coded[:length])


@pytest.mark.parametrize("name", SETTINGS)
def test_any_changed_byte_is_noticed_or_harmless(name):
    coded = (GOLDEN / f"{name}.san").read_bytes()
    expected = opened(coded).read()
    rng = np.random.default_rng(1)
    for position in rng.permutation(len(coded))[:200]:
        changed = bytearray(coded)
        changed[position] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(FormatError):
            assert np.array_equal(opened(bytes(changed)).read(), expected)


def with_payloads(images, coding, chunk):
    """A container of these payloads, every checksum right."""
    file = io.BytesIO()
    writer = ContainerWriter(file)
    for kind, payload in ((SectionType.IMAGES, images), (SectionType.CODING, coding), (SectionType.CHUNK, chunk)):
        writer.section(kind, payload)
    writer.finish()
    return file.getvalue()


def header(**changes):
    values = {"source": "npy", "name": "x", "n_images": 2, "height": 5, "width": 6, "chunk_images": 2, "level": 5}
    return ImagesHeader(**{**values, "psnr_db": INFINITE, "head": b"", "tail": b"", **changes})


def coding(coder=1, background=0, values=(0, 9), kernels=None):
    return ImageCoding(coder, background, np.array(values, np.uint8), kernels, INFINITE)


@pytest.mark.parametrize("seed", range(40))
def test_random_streams_are_refused(seed):
    rng = np.random.default_rng(seed)
    kernels = rng.integers(-9, 99, (2, 25)).astype(np.int32) if seed % 3 == 0 else None
    coded = with_payloads(
        header().content(), coding(seed % 2, kernels=kernels).content(), rng.bytes(int(rng.integers(0, 60)))
    )
    with pytest.raises(FormatError):
        opened(coded).read()


def test_more_pixels_than_a_stream_can_hold_are_refused_before_they_are_decoded():
    coded = with_payloads(header(height=1 << 14, width=1 << 13).content(), coding().content(), bytes(9))
    with pytest.raises(LimitExceededError, match="no stream holds so many"):
        opened(coded).read()


def test_more_chunks_than_there_are_cost_no_time():
    many = header(n_images=1 << 24, chunk_images=1).content()
    reader = opened(with_payloads(many, coding().content(), bytes(9)))
    with pytest.raises(TruncatedError, match="chunk 1: the file ends before it"):
        reader.read()


def test_a_wrong_digest_is_refused():
    symbols = zstd_compress(bytes(60), 3)
    good = coding(0).content()
    digest = zlib.crc32(bytes(60), zlib.crc32(struct.pack("<II", 0, zlib.crc32(good))))
    chunk = struct.pack("<I", digest) + b"\0" + symbols
    assert not opened(with_payloads(header().content(), good, chunk)).read().any()
    with pytest.raises(CorruptError, match="digest"):
        opened(with_payloads(header().content(), good, bytes(4) + chunk[4:])).read()
    with pytest.raises(CorruptError, match="symbol 7 of 2"):
        opened(with_payloads(header().content(), good, chunk[:5] + zstd_compress(b"\7" * 60, 3))).read()
    with pytest.raises(CorruptError, match="0 or 1 is expected"):
        opened(with_payloads(header().content(), good, chunk[:4] + b"\2" + symbols)).read()
    with pytest.raises(CorruptError, match="59 symbols"):
        opened(with_payloads(header().content(), good, chunk[:5] + zstd_compress(bytes(59), 3))).read()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"source": "jpeg"}, CorruptError),
        ({"n_images": 0}, LimitExceededError),
        ({"n_images": 1 << 33}, LimitExceededError),
        ({"height": 1 << 17}, LimitExceededError),
        ({"width": 0}, LimitExceededError),
        ({"level": 10}, LimitExceededError),
        ({"psnr_db": -1.0}, CorruptError),
        ({"psnr_db": float("nan")}, CorruptError),
        ({"n_images": 1 << 25, "chunk_images": 1}, LimitExceededError),
        ({"n_images": 4, "chunk_images": 4, "height": 1 << 14, "width": 1 << 13}, LimitExceededError),
    ],
)
def test_headers_beyond_the_limits_are_refused(changes, error):
    with pytest.raises(error, match="IMAGES"):
        header(**changes)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\3npy", TruncatedError),
        (b"\3npy\xff\xff\x7f", LimitExceededError),
        (b"\3npy\1\xff\0\0\1\1\1\1\1" + bytes(8), CorruptError),
        (b"\3npy\1x\0\0\1\1\1\1\1" + bytes(9), CorruptError),
        (b"\3npy\1x\0\0\1\1\1\1\1", CorruptError),
    ],
)
def test_malformed_headers_are_refused(content, error):
    with pytest.raises(error):
        decode_images_header(zstd_compress(content, 3))


PSNR = struct.pack("<d", 30.0)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\0", TruncatedError),
        (struct.pack("<d", float("nan")) + b"\0\0\1\0\0", CorruptError),
        (PSNR + b"\2\0\1\0\0", UnsupportedVersionError),
        (PSNR + b"\0\1\1\0\0", CorruptError),
        (PSNR + b"\0\0\2\0\5\5", CorruptError),
        (PSNR + b"\0\0\2\0\5", CorruptError),
        (PSNR + b"\0\0\2\0\5\6\7", CorruptError),
        (PSNR + b"\0\0\0\0", CorruptError),
        (PSNR + b"\0\0\2\2\5\6", CorruptError),
        (PSNR + b"\0\0\1\1\5\7" + bytes(25), CorruptError),
        (PSNR + b"\0\0\1\1\5\0" + bytes(24), TruncatedError),
        (PSNR + b"\0\0\1\1\5\0" + encode_varints([1 << 30] + [0] * 24), CorruptError),
        (PSNR + b"\0\0\x11\1" + bytes(range(17)) + b"\0" + bytes(25 * 17), CorruptError),
    ],
)
def test_malformed_codings_are_refused(content, error):
    with pytest.raises(error, match="CODING"):
        decode_image_coding(zstd_compress(content, 3))


@pytest.mark.parametrize("shift", range(7))
def test_codings_come_back(shift):
    kernels = np.random.default_rng(shift).integers(-999, 999, (3, 25)).astype(np.int32) << shift
    given_coding = ImageCoding(1, 2, np.array([3, 7, 255], np.uint8), kernels, 33.5)
    found = decode_image_coding(given_coding.content())
    assert np.array_equal(found.kernels, kernels)
    assert (found.coder, found.background, found.values.tolist(), found.psnr_db) == (1, 2, [3, 7, 255], 33.5)


GOLDEN_PIXELS = {
    "lossless": "690b5e705c709cc4",
    "zstd": "690b5e705c709cc4",
    "levels": "9daf10c730f1a2b5",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_golden_files_decode_to_the_same_pixels(name):
    reader = ImageReader(io.BytesIO((GOLDEN / f"{name}.san").read_bytes()))
    reader.check_end()
    assert (reader.header.head, reader.header.tail) == (b"head", b"t")
    assert hashlib.sha256(reader.read().tobytes()).hexdigest()[:16] == GOLDEN_PIXELS[name]


def test_head_and_tail_are_limited():
    with pytest.raises(InvalidSignalError, match="at most 65536"):
        ImageStack(discs(), tail=bytes(65537))
    file = io.BytesIO()
    encode_images(ImageStack(discs(), head=bytes(65536)), file)
    assert len(ImageReader(file).header.head) == 65536
