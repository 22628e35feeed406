"""Biosignal codec with Sparsely Activated Networks.

The names below load when they are first used, so that the command line's help needs no NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sancodec.api import compress, compress_to, decompress, decompress_recording
    from sancodec.api import open_recording as open  # noqa: A004
    from sancodec.codec.recording import Channel, Recording, SideFile
    from sancodec.images.api import compress_images, open_images

__all__ = [
    "Channel",
    "Recording",
    "SideFile",
    "compress",
    "compress_images",
    "compress_to",
    "decompress",
    "decompress_recording",
    "open",
    "open_images",
]
__version__ = "0.1.0"

_HOMES = {
    "Channel": ("sancodec.codec.recording", "Channel"),
    "Recording": ("sancodec.codec.recording", "Recording"),
    "SideFile": ("sancodec.codec.recording", "SideFile"),
    "compress": ("sancodec.api", "compress"),
    "compress_images": ("sancodec.images.api", "compress_images"),
    "compress_to": ("sancodec.api", "compress_to"),
    "decompress": ("sancodec.api", "decompress"),
    "decompress_recording": ("sancodec.api", "decompress_recording"),
    "open": ("sancodec.api", "open_recording"),
    "open_images": ("sancodec.images.api", "open_images"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sancodec' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
