"""Chunks of array stores as containers: what the numcodecs and the Zarr codec have in common."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.api import DEFAULT_LEVEL, compress, default_engine
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import settings_of
from sancodec.codec.recording import SideFile
from sancodec.datasets.array_source import rate_of
from sancodec.datasets.arrays import recording_of, stacked
from sancodec.errors import CorruptError, InvalidSignalError, LimitExceededError

MAX_CHUNK_BYTES = (1 << 31) - 1
_LAYOUT = "chunk.json"


@dataclass(frozen=True, slots=True)
class ChunkCoding:
    """How the chunks of a store are coded.

    Every chunk is a container of its own, which ``sancodec info`` and ``sancodec decompress`` read. What a store pads
    its last chunks with is left out of it, so that it weighs nothing in a PRDN; a side file tells how much it is.

    Parameters
    ----------
    sampling_rate_hz
        Samples per second along the time axis.
    level
        1 (fast) to 9 (smallest).
    time_axis
        Of the array: 0 or 1, or -1 for the last. All channels of a chunk are coded together.
    lossless
        Every sample exact; so it is too where nothing else is promised.
    prdn, snr_db, max_error_adu
        What every channel of every chunk keeps, as in `sancodec.compress`.

    Raises
    ------
    InvalidSignalError
        When a setting is none.
    """

    sampling_rate_hz: float
    level: int = DEFAULT_LEVEL
    time_axis: int = -1
    lossless: bool = False
    prdn: float | None = None
    snr_db: float | None = None
    max_error_adu: int | None = None

    def __post_init__(self) -> None:
        rate_of(self.sampling_rate_hz)
        settings_of(self.level)
        if self.time_axis not in (-2, -1, 0, 1):
            raise InvalidSignalError(f"time_axis is {self.time_axis!r}; it must be 0 or 1, or count from the end")
        if self.lossless and (self.prdn, self.snr_db, self.max_error_adu) != (None, None, None):
            raise InvalidSignalError("lossless is asked for together with a bound on the error; take one of them")

    def config(self) -> dict[str, Any]:
        """The settings as JSON, without those that have their default."""
        defaults = asdict(ChunkCoding(self.sampling_rate_hz))
        return {
            name: value for name, value in asdict(self).items() if name == "sampling_rate_hz" or value != defaults[name]
        }

    def check(self, dtype: np.dtype[Any], n_dimensions: int) -> None:
        """Refuse arrays that are no recordings.

        Raises
        ------
        InvalidSignalError
        """
        if dtype.kind not in "iu":
            raise InvalidSignalError(
                f"the array has dtype {dtype}; integers are needed. Scale it to integers first, such as by numcodecs' "
                "FixedScaleOffset"
            )
        if n_dimensions not in (1, 2):
            raise InvalidSignalError(
                f"the array has {n_dimensions} dimensions; (time,), (channel, time) or (time, channel) is needed"
            )
        if n_dimensions == 1 and self.time_axis not in (-1, 0):
            raise InvalidSignalError(f"time_axis is {self.time_axis}; the array has one dimension")

    def encode(self, array: NDArray[Any]) -> bytes:
        """A chunk as a container.

        Parameters
        ----------
        array
            Integers of up to 32 bits in native byte order, ``(time,)``, ``(channel, time)`` or ``(time, channel)``.

        Raises
        ------
        InvalidSignalError
            When the array is not such an array.
        QualityError
            When a promise cannot be kept.
        """
        self.check(array.dtype, array.ndim)
        if not array.dtype.isnative:
            raise InvalidSignalError(
                f"the array has dtype {array.dtype.str}, which is not the byte order of this machine; store it as "
                f"{array.dtype.newbyteorder('=').str}"
            )
        if array.nbytes > MAX_CHUNK_BYTES:
            raise InvalidSignalError(f"the chunk has {array.nbytes} bytes; at most {MAX_CHUNK_BYTES} are possible")
        samples = array if array.ndim == 1 else np.moveaxis(array, self.time_axis, -1)  # (channel, sample)
        n_padding = _padding(samples)
        kept = samples[..., : samples.shape[-1] - n_padding]
        layout: dict[str, Any] = {}
        if n_padding:
            layout |= {"padding": n_padding, "padding_value": int(samples.flat[-1])}
        if array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
            layout["order"] = "F"
        recording = recording_of(kept, sampling_rate_hz=self.sampling_rate_hz)
        if layout:
            recording = replace(recording, side_files=(SideFile(_LAYOUT, json.dumps(layout).encode()),))
        has_bound = (self.prdn, self.snr_db, self.max_error_adu) != (None, None, None)
        return compress(
            recording,
            prdn=self.prdn,
            snr_db=self.snr_db,
            max_error_adu=self.max_error_adu,
            lossless=not has_bound,
            level=self.level,
            chunk_s=None,
            threads=1,  # stores code their chunks side by side
        )

    def decode(self, content: bytes) -> NDArray[Any]:
        """The chunk of a container, in the dtype, shape and order in memory in which it was given.

        Raises
        ------
        FormatError
            When the bytes are damaged.
        """
        reader = RecordingReader(io.BytesIO(content), engine=default_engine(), threads=1)
        header = reader.header
        layout = _layout_of(header.side_files)
        n_padding = layout.get("padding", 0)
        n_samples = len(header.channels) * (header.n_frames + n_padding)
        if n_samples > MAX_CHUNK_BYTES:
            raise LimitExceededError(f"the chunk has {n_samples} samples; at most {MAX_CHUNK_BYTES} are read")
        samples = stacked(reader.read())
        if n_padding:
            value = layout["padding_value"]
            limits = np.iinfo(samples.dtype)
            if not limits.min <= value <= limits.max:
                raise CorruptError(f"side file {_LAYOUT!r}: padding_value is {value}; samples are {samples.dtype}")
            tail = np.full((*samples.shape[:-1], n_padding), value, samples.dtype)
            samples = np.concatenate([samples, tail], axis=-1)
        array = samples if samples.ndim == 1 else np.moveaxis(samples, -1, self.time_axis)
        return np.asarray(array, order="F" if layout.get("order") == "F" else "C")


def _padding(samples: NDArray[Any]) -> int:
    """How many samples at the end are one value in all channels; one sample of each channel is kept."""
    is_other = samples != samples.flat[-1]
    others = np.flatnonzero(is_other if samples.ndim == 1 else is_other.any(axis=0))
    return int(samples.shape[-1]) - 1 - (int(others[-1]) if len(others) else 0)


def _layout_of(side_files: tuple[SideFile, ...]) -> dict[str, Any]:
    """What the side file of a chunk says.

    Raises
    ------
    CorruptError
    """
    contents = [each.content for each in side_files if each.name == _LAYOUT]
    if not contents:
        return {}
    try:
        layout = json.loads(contents[0])
        is_valid = isinstance(layout, dict) and set(layout) <= {"padding", "padding_value", "order"}
        is_valid = is_valid and layout.get("order", "F") == "F" and ("padding" in layout) == ("padding_value" in layout)
        is_valid = is_valid and all(type(layout[name]) is int for name in layout if name != "order")
        is_valid = is_valid and layout.get("padding", 1) > 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise CorruptError(f"side file {_LAYOUT!r} is not the layout of a chunk")
    found: dict[str, Any] = layout
    return found
