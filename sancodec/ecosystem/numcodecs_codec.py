"""The codec for numcodecs, and by it for Zarr version 2; its entry point is ``numcodecs.codecs``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray, ndarray_copy
from numpy.typing import NDArray

from sancodec.ecosystem.array_chunks import ChunkCoding


class SanCodec(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Chunks of recordings as containers.

    Parameters
    ----------
    sampling_rate_hz
        Samples per second along the time axis.
    **settings
        Those of `ChunkCoding`: ``level``, ``time_axis``, ``lossless``, ``prdn``, ``snr_db`` and ``max_error_adu``.
        Without a bound every sample is exact.

    Raises
    ------
    InvalidSignalError
        When a setting is none.
    """

    codec_id = "sancodec"

    def __init__(self, sampling_rate_hz: float, **settings: Any) -> None:
        self.coding = ChunkCoding(sampling_rate_hz, **settings)

    def encode(self, buf: Any) -> bytes:
        """Compress one chunk; see `ChunkCoding.encode`."""
        return self.coding.encode(ensure_ndarray(buf))

    def decode(self, buf: Any, out: Any = None) -> NDArray[Any]:
        """Restore one chunk; see `ChunkCoding.decode`."""
        decoded = self.coding.decode(ensure_bytes(buf))
        if out is None:
            return decoded
        result: NDArray[Any] = ndarray_copy(np.ascontiguousarray(decoded), out)
        return result

    def get_config(self) -> dict[str, Any]:
        """What a store keeps to make the codec again."""
        return {"id": self.codec_id, **self.coding.config()}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.coding.config().items())
        return f"{type(self).__name__}({settings})"
