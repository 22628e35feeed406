"""Writes the golden files of images; only before the first release, or for new ones.

python tests/images/make_golden.py
"""

import io
from pathlib import Path

from image_examples import discs

from sancodec.images.encoder import encode_images
from sancodec.images.stack import ImageStack

HERE = Path(__file__).parent / "golden"
SETTINGS = {
    "lossless": {"level": 5, "chunk_images": 3},
    "zstd": {"level": 1},
    "levels": {"level": 5, "psnr_db": 25.0, "chunk_images": 4},
}


def encoded(name: str) -> bytes:
    file = io.BytesIO()
    encode_images(ImageStack(discs(), head=b"head", tail=b"t"), file, **SETTINGS[name])
    return file.getvalue()


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in SETTINGS:
        (HERE / f"{name}.san").write_bytes(encoded(name))
