"""Images on the command line: there and back, and the first wrong things that a user does."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.cli.images import image_target
from tests.cli.conftest import Run
from tests.cli.test_refusals import assert_one_line

RNG = np.random.default_rng(2)
PIXELS = (np.hypot(*np.mgrid[-7:7, -6:6]) * 60 + RNG.integers(0, 40, (12, 14, 12))).clip(0, 255).astype(np.uint8)
IDX = struct.pack(">I3I", 0x803, *PIXELS.shape) + PIXELS.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("digits-idx3-ubyte.gz").write_bytes(gzip.compress(IDX))
    np.save("stack.npy", PIXELS)
    Path("x.pgm").write_bytes(b"P5 12 14 255\n" + PIXELS[0].tobytes())
    Path("labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\1\7")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "target", "restored", "expected"),
    [
        ("digits-idx3-ubyte.gz", "digits-idx3-ubyte.san", "digits-idx3-ubyte", IDX),
        ("stack.npy", "stack.san", "stack.npy", None),
        ("x.pgm", "x.san", "x.pgm", None),
    ],
)
def test_exact_files_come_back_byte_for_byte(
    run: Run, folder: Path, name: str, target: str, restored: str, expected: bytes | None
) -> None:
    outcome = run("compress", name)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(f"{name} -> {target}: ")
    assert "exact" in outcome.out
    assert run("verify", target).out == f"{target}: intact, 1 chunk\n"
    (folder / "back").mkdir()
    assert run("decompress", target, "-o", "back").out == f"{target} -> {Path('back', restored)}\n"
    assert Path("back", restored).read_bytes() == (expected or Path(name).read_bytes())
    assert "every pixel exact, largest error 0" in run("compare", name, target).out


def test_png_gives_the_same_pixels_back(run: Run, folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(PIXELS[1]).save("y.png")
    assert run("compress", "y.png").status == 0
    assert run("decompress", "y.san", "-o", "z.png").status == 0
    assert np.array_equal(np.asarray(image.open("z.png")), PIXELS[1])
    assert "every pixel exact" in run("compare", "y.png", "z.png").out


def test_a_psnr_is_promised_told_and_kept(run: Run, folder: Path) -> None:
    content = json.loads(run("compress", "stack.npy", "--psnr", "28", "--chunk", "5", "--json").out)
    assert content["psnr_db"] >= 28
    assert 2 <= content["levels"] <= 16
    assert content["output_bytes"] == Path("stack.san").stat().st_size
    told = json.loads(run("info", "stack.san", "--json").out)
    assert (told["promised_psnr_db"], told["chunks"], told["chunk_images"]) == (28, 3, 5)
    assert told["kernels"] == content["levels"]
    assert "12 images of 14 x 12 from npy file stack.npy" in run("info", "stack.san").out
    compared = json.loads(run("compare", "stack.npy", "stack.san", "--json").out)
    assert compared["psnr_db"] == pytest.approx(content["psnr_db"])
    assert 0 < compared["max_error"] < 256


def test_one_image_is_restored(run: Run, folder: Path) -> None:
    assert run("compress", "stack.npy", "--chunk", "5").status == 0
    assert run("decompress", "stack.san", "--image", "7").out == "stack.san -> stack_7.pgm\n"
    assert Path("stack_7.pgm").read_bytes() == b"P5\n12 14\n255\n" + PIXELS[7].tobytes()
    assert run("decompress", "stack.san", "--image", "11", "-o", "last.npy").status == 0
    assert np.array_equal(np.load("last.npy"), PIXELS[11])
    assert_one_line(run("decompress", "stack.san", "--image", "12"), "there is no image 12", "images 0 to 11")


def test_images_come_in_another_form(run: Run, folder: Path) -> None:
    run("compress", "digits-idx3-ubyte.gz")
    assert run("decompress", "digits-idx3-ubyte.san", "--to", "npy").status == 0
    assert np.array_equal(np.load("digits-idx3-ubyte.npy"), PIXELS)
    outcome = run("decompress", "digits-idx3-ubyte.san", "--to", "pgm")
    assert_one_line(outcome, "12 images do not fit into one pgm; choose one with --image K")
    assert not Path("digits-idx3-ubyte.pgm").exists()


def test_damage_names_the_images_that_are_lost(run: Run, folder: Path) -> None:
    run("compress", "stack.npy", "--chunk", "5")
    content = bytearray(Path("stack.san").read_bytes())
    with sancodec.open_images("stack.san") as reader:
        second, third = reader._chunks[1:]
    content[(second + third) // 2] ^= 1
    Path("stack.san").write_bytes(content)
    assert_one_line(run("verify", "stack.san"), "chunk 1, images 5 to 9: ", "checksum")
    assert_one_line(run("decompress", "stack.san", "-o", "x.npy"), "checksum")
    assert not Path("x.npy").exists()
    assert run("decompress", "stack.san", "--image", "2").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compress", "labels-idx1-ubyte"], ["holds labels"]),
        (["compress", "stack.npy", "--prdn", "2"], ["--prdn is for recordings", "--psnr"]),
        (["compress", "stack.npy", "--rate", "100"], ["--rate is for recordings"]),
        (["compress", "stack.npy", "--psnr", "30", "--lossless"], ["contradict"]),
        (["compress", "stack.npy", "--chunk", "2.5"], ["--chunk 2.5", "whole number"]),
        (["compress", "nope.png"], ["nope.png: there is no such file"]),
    ],
)
def test_wrong_uses_end_in_one_line(run: Run, folder: Path, arguments: list[str], words: list[str]) -> None:
    assert_one_line(run(*arguments), *words)
    assert not list(folder.glob("*.san"))


def test_options_of_images_and_recordings_do_not_mix(run: Run, folder: Path) -> None:
    np.save("signal.npy", np.arange(300, dtype=np.int16))
    assert_one_line(run("compress", "signal.npy", "--rate", "100", "--psnr", "30"), "--psnr is for images")
    assert run("compress", "signal.npy", "--rate", "100").status == 0
    assert_one_line(run("decompress", "signal.san", "--image", "0"), "holds a recording")
    run("compress", "stack.npy")
    assert_one_line(run("decompress", "stack.san", "--start", "1"), "holds images")
    assert_one_line(run("decompress", "stack.san", "--to", "csv"), "--to csv is for recordings")
    assert_one_line(run("compare", "stack.npy", "x.pgm"), "must be the same")
    assert_one_line(run("compress", "stack.npy"), "exists already")


def test_a_name_that_leaves_the_folder_is_refused(run: Run, folder: Path) -> None:
    from sancodec.images.encoder import encode_images
    from sancodec.images.stack import ImageStack

    with Path("evil.san").open("w+b") as file:
        encode_images(ImageStack(PIXELS, name="../evil.npy"), file)
    assert_one_line(run("decompress", "evil.san"), "not a plain file name")


def test_targets_stand_beside_their_inputs() -> None:
    names = {
        "a/x.idx.gz": "a/x.san",
        "t10k-images-idx3-ubyte.gz": "t10k-images-idx3-ubyte.san",
        "x.y.png": "x.y.san",
    }
    assert {name: image_target(name).as_posix() for name in names} == names


def test_images_load_nothing_heavy_but_for_png(folder: Path) -> None:
    from tests.test_architecture import HEAVY, modules_after

    loaded = modules_after(
        "import sys, sancodec.cli\n"
        f"sys.argv = ['sancodec', 'compress', '{folder.as_posix()}/stack.npy', '-q']\n"
        "try:\n    sancodec.cli.main()\nexcept SystemExit:\n    pass"
    )
    assert "sancodec.images.encoder" in loaded
    assert not loaded & set(HEAVY)
