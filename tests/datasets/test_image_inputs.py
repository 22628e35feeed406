"""Files of images: what is read, what is kept beside the pixels, and what is refused."""

import gzip
import io
import struct
import sys

import numpy as np
import pytest

from sancodec.datasets.images import is_image_file, pgm_head, read_images, write_png
from sancodec.errors import InvalidSignalError, MissingDependencyError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)


def idx(pixels):
    return struct.pack(">I3I", 0x803, *pixels.shape) + pixels.tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array):
    file = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(array).save(file, format="PNG")
    return file.getvalue()


def pgm(pixels, head=None):
    return (head or pgm_head(*pixels.shape)) + pixels.tobytes()


@pytest.fixture
def path_of(tmp_path):
    def write(content, name="images"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content", "kept", "source"),
    [
        ("train-images-idx3-ubyte", idx(PIXELS), "train-images-idx3-ubyte", "idx"),
        ("train.idx.gz", gzip.compress(idx(PIXELS)), "train.idx", "idx"),
        ("x.npy", npy(PIXELS), "x.npy", "npy"),
        ("x.idx", idx(PIXELS) + b"more", "x.idx", "idx"),
    ],
)
def test_stacks_are_read_with_all_their_bytes(path_of, name, content, kept, source):
    path = path_of(content, name)
    assert is_image_file(path, has_rate=False)
    stack = read_images(path)
    assert np.array_equal(stack.pixels, PIXELS)
    assert (stack.source, stack.name) == (source, kept)
    whole = gzip.decompress(content) if name.endswith(".gz") else content
    assert stack.head + stack.pixels.tobytes() + stack.tail == whole


@pytest.mark.parametrize(
    "head", [b"P5\n5 4\n255\n", b"P5 5 4 200 ", b"P5\n# by hand\n5 # wide\n4\n255\n", b"P5\r\n5\r\n4\t7\n"]
)
def test_pgm_headers_are_read_as_the_standard_has_them(path_of, head):
    stack = read_images(path_of(pgm(PIXELS[0], head), "x.pgm"))
    assert np.array_equal(stack.pixels[0], PIXELS[0])
    assert stack.head == head


def test_png_gives_its_pixels(path_of):
    path = path_of(png(PIXELS[0]), "x.png")
    assert np.array_equal(read_images(path).pixels, PIXELS[:1])
    file = io.BytesIO()
    write_png(PIXELS[1], file)
    assert np.array_equal(read_images(path_of(file.getvalue(), "y.png")).pixels, PIXELS[1:2])


def test_an_array_of_two_dimensions_is_an_image_where_no_rate_is_given(path_of):
    path = path_of(npy(PIXELS[0]), "x.npy")
    assert is_image_file(path, has_rate=False)
    assert not is_image_file(path, has_rate=True)
    assert read_images(path).pixels.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npy", npy(np.zeros((2, 9), np.int16))),
        ("x.npy", npy(np.zeros((2, 3, 4), np.int16))),
        ("x.npy", npy(np.zeros(9, np.uint8))),
        ("x.npy", b"\x93NUMPY"),
        ("x.dat", idx(PIXELS)),
        ("x", b""),
        ("x", b"\x1f\x8b damaged"),
        ("x", b"dear diary"),
    ],
)
def test_other_files_are_no_images(path_of, name, content):
    assert not is_image_file(path_of(content, name), has_rate=False)


def test_no_file_is_no_image(tmp_path):
    assert not is_image_file(tmp_path / "nope", has_rate=False)
    assert not is_image_file(tmp_path, has_rate=False)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("labels", b"\0\0\x08\1\0\0\0\2\1\2", "holds labels .* not compressed"),
        ("x.idx", b"\0\0\x08\2" + bytes(8), "IDX of 2 dimensions"),
        ("x.idx", b"\0\0\x08\3" + bytes(8), "ends within its IDX header"),
        ("x.idx", idx(PIXELS)[:-1], "3 x 4 x 5 pixels; 59 bytes follow"),
        ("x.idx", struct.pack(">I3I", 0x803, 1 << 31, 1 << 31, 1 << 31), "0 bytes follow"),
        ("x.idx", struct.pack(">I3I", 0x803, 0, 4, 5), "0 x 4 x 5 pixels"),
        ("x.gz", gzip.compress(idx(PIXELS))[:-20], "is damaged"),
        ("x.npy", npy(np.zeros((2, 3, 4), np.float32)), "array of float32"),
        ("x.npy", npy(np.asfortranarray(PIXELS)), "Fortran order"),
        ("x.npy", b"\x93NUMPY\1\0", "no .npy array that can be read"),
        ("x.pgm", b"P2\n1 1\n255\n7\n", "only binary PGM"),
        ("x.pgm", b"P5\n1 1\n65535\n77", "up to 65535; only 8 bits"),
        ("x.pgm", b"P5\n9 9\n255\n", "9 x 9 pixels; 0 bytes follow"),
        ("x.png", b"\x89PNG\r\n\x1a\nno", "PNG that cannot be read"),
        ("x.png", b"", "starts with b''"),
        ("x.idx", idx(PIXELS) + bytes(70000), "70000 bytes stand before or after"),
    ],
)
def test_what_cannot_be_coded_is_refused_in_one_line(path_of, name, content, complaint):
    if name == "x.png" and content:
        pytest.importorskip("PIL")
    with pytest.raises(InvalidSignalError, match=complaint) as caught:
        read_images(path_of(content, name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "mode"), [(np.zeros((2, 2, 3), np.uint8), "RGB"), (np.zeros((2, 2), np.uint16), "I;16")]
)
def test_colour_and_deep_grey_are_refused(path_of, array, mode):
    with pytest.raises(InvalidSignalError, match=f"PNG of mode {mode}; only grey of 8 bits"):
        read_images(path_of(png(array), "x.png"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidSignalError, match="nope: there is no such file"):
        read_images(tmp_path / "nope")


def test_the_extra_is_named_where_pillow_is_missing(path_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError, match=r"sancodec\[images\]"):
        read_images(path_of(b"\x89PNG\r\n\x1a\n", "x.png"))
