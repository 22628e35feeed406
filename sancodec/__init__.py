"""Biosignal codec with Sparsely Activated Networks."""

from sancodec.api import compress, decompress, decompress_recording

__all__ = ["compress", "decompress", "decompress_recording"]
__version__ = "0.1.0"
