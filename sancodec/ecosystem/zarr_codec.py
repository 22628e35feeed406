"""The codec for Zarr version 3, from array to bytes; its entry point is ``zarr.codecs``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from zarr.abc.codec import ArrayBytesCodec

from sancodec.ecosystem.array_chunks import ChunkCoding
from sancodec.errors import CorruptError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

_NAME = "sancodec"


@dataclass(frozen=True)
class SanArrayCodec(ArrayBytesCodec):
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

    is_fixed_size = False
    coding: ChunkCoding

    def __init__(self, sampling_rate_hz: float, **settings: Any) -> None:
        object.__setattr__(self, "coding", ChunkCoding(sampling_rate_hz, **settings))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec of an array's metadata."""
        return cls(**data["configuration"])

    def to_dict(self) -> dict[str, Any]:
        """What an array's metadata keeps."""
        return {"name": _NAME, "configuration": self.coding.config()}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse arrays that are no recordings before anything is written.

        Raises
        ------
        InvalidSignalError
        """
        self.coding.check(dtype.to_native_dtype(), len(shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        array = chunk_data.as_numpy_array()
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return chunk_spec.prototype.buffer.from_bytes(await asyncio.to_thread(self.coding.encode, native))

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        array = await asyncio.to_thread(self.coding.decode, chunk_data.to_bytes())
        if array.shape != chunk_spec.shape:
            raise CorruptError(f"the chunk has shape {array.shape}; the array's chunks have {chunk_spec.shape}")
        stored: Any = array.astype(chunk_spec.dtype.to_native_dtype(), copy=False)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(stored)
