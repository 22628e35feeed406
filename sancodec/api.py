"""The Python interface: compress and decompress arrays and recordings, open containers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import Events
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import DEFAULT_CHUNK_S, Summary, encode_recording
from sancodec.codec.kernels import Model
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import Engine, NumpyEngine
from sancodec.datasets.arrays import recording_of, stacked
from sancodec.errors import InvalidSignalError

DEFAULT_PRDN = 2.0
DEFAULT_LEVEL = 5


@lru_cache(maxsize=1)
def default_engine() -> Engine:
    """The NumPy engine: on the CPU it is as fast as onnxruntime's and needs no session (docs/decisions.md)."""
    return NumpyEngine()


def shipped_models() -> tuple[Model, ...]:
    """All banks that ship with the package."""
    return tuple(shipped_model(name) for name in shipped_names())


def compress(
    signal: NDArray[Any] | Recording,
    *,
    sampling_rate_hz: float | Fraction | None = None,
    prdn: float = DEFAULT_PRDN,
    level: int = DEFAULT_LEVEL,
    chunk_s: float | None = DEFAULT_CHUNK_S,
    models: tuple[Model, ...] | None = None,
    embed_models: bool = False,
    engine: Engine | None = None,
) -> bytes:
    """Compress integers so that no channel's PRDN exceeds a promise.

    Parameters
    ----------
    signal
        Integers, shape ``(channel, sample)`` or ``(sample,)``, or a `Recording`.
    sampling_rate_hz
        Needed for arrays.
    prdn
        Percent: 100·‖x − x̂‖/‖x − mean(x)‖ per channel, met by the decoded integers.
    level
        1 (fast) to 9 (smallest).
    chunk_s
        Seconds per chunk, the unit of random access and of damage; None for one chunk.
    models
        Banks to choose from; those that ship by default.
    embed_models
        Carry the banks inside the container.

    Returns
    -------
    A ``.san`` container (docs/format.md).

    Raises
    ------
    InvalidSignalError
        When the signal cannot be coded.
    QualityError
        When the promise cannot be met.

    Examples
    --------
    >>> import numpy as np, sancodec
    >>> x = (500 * np.sin(np.arange(3600) / 20)).astype(np.int16)
    >>> blob = sancodec.compress(x, sampling_rate_hz=360, prdn=1.0)
    >>> y = sancodec.decompress(blob)
    >>> y.shape == x.shape and y.dtype == x.dtype
    True
    """
    file = io.BytesIO()
    compress_to(
        signal,
        file,
        sampling_rate_hz=sampling_rate_hz,
        prdn=prdn,
        level=level,
        chunk_s=chunk_s,
        models=models,
        embed_models=embed_models,
        engine=engine,
    )
    return file.getvalue()


def compress_to(
    signal: NDArray[Any] | Recording,
    file: BinaryIO,
    *,
    sampling_rate_hz: float | Fraction | None = None,
    prdn: float = DEFAULT_PRDN,
    level: int = DEFAULT_LEVEL,
    chunk_s: float | None = DEFAULT_CHUNK_S,
    models: tuple[Model, ...] | None = None,
    embed_models: bool = False,
    engine: Engine | None = None,
    threads: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Summary:
    """`compress` to a binary file; the container is written front to back. Returns what was reached."""
    if isinstance(signal, Recording):
        recording = signal
    elif sampling_rate_hz is None:
        raise InvalidSignalError("sampling_rate_hz is missing; arrays do not carry their sampling rate")
    else:
        recording = recording_of(signal, sampling_rate_hz=sampling_rate_hz)
    return encode_recording(
        recording,
        file,
        prdn=prdn,
        level=level,
        chunk_s=chunk_s,
        models=shipped_models() if models is None else models,
        embed_models=embed_models,
        engine=engine or default_engine(),
        threads=threads,
        on_progress=on_progress,
    )


def decompress(blob: bytes, *, models: tuple[Model, ...] = (), engine: Engine | None = None) -> NDArray[Any]:
    """Decode a container to an array: of shape and dtype as given; recordings as int32 ``(channel, sample)``.

    Raises
    ------
    FormatError
        When the bytes are damaged.
    InvalidSignalError
        When channels have different sampling rates; use `decompress_recording`.
    """
    return stacked(decompress_recording(blob, models=models, engine=engine))


def decompress_recording(blob: bytes, *, models: tuple[Model, ...] = (), engine: Engine | None = None) -> Recording:
    """Decode a container to a `Recording`.

    Raises
    ------
    FormatError
        When the bytes are damaged.
    """
    return RecordingReader(io.BytesIO(blob), engine=engine or default_engine(), models=models).read()


class OpenRecording:
    """A container opened for reading parts of it; use as a context manager.

    ``record[channel, first:last]`` gives stored integers and decodes only the chunks it needs.
    """

    def __init__(self, file: BinaryIO, *, models: tuple[Model, ...] = (), engine: Engine | None = None) -> None:
        self._file = file
        self._reader = RecordingReader(file, engine=engine or default_engine(), models=models)

    def __enter__(self) -> OpenRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What the integers of each channel mean."""
        return self._reader.header.channels

    @property
    def frame_rate_hz(self) -> Fraction:
        return self._reader.header.frame_rate_hz

    def n_samples(self, channel: int) -> int:
        """Samples of a channel."""
        return self._reader.header.n_frames * self.channels[channel].samples_per_frame

    def events(self, channel: int) -> tuple[NDArray[np.int64], Events]:
        """Beat events of a channel without decoding its waveform.

        Returns
        -------
        First sample of each event's kernel window, and the events' kernel ids and gains.
        """
        return self._reader.events(channel)

    def __getitem__(self, key: tuple[int, slice]) -> NDArray[np.int32]:
        """Samples ``first:last`` of one channel, in stored units; int32 ``(sample,)``.

        Raises
        ------
        IndexError
            When there is no such channel.
        FormatError
            Naming the chunk, when one that is needed is damaged.
        """
        channel, span = key
        if not -len(self.channels) <= channel < len(self.channels):
            raise IndexError(f"channel {channel} of {len(self.channels)}")
        first, last, step = span.indices(self.n_samples(channel))
        if step < 1:
            raise IndexError(f"a slice with step {step}; only forward steps are supported")
        if first >= last:
            return np.zeros(0, np.int32)
        length = self._reader.header.chunk_frames * self.channels[channel].samples_per_frame
        first_chunk, last_chunk = first // length, -(-last // length)
        parts = [samples[channel] for _, samples in self._reader.chunks(first_chunk, last_chunk)]
        return np.concatenate(parts)[first - first_chunk * length : last - first_chunk * length : step]


def open_recording(path: str | os.PathLike[str], *, models: tuple[Model, ...] = ()) -> OpenRecording:
    """Open a ``.san`` file for reading parts of it.

    Examples
    --------
    >>> import numpy as np, sancodec, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sine.san"
    >>> x = (500 * np.sin(np.arange(3600) / 20)).astype(np.int16)
    >>> _ = path.write_bytes(sancodec.compress(x, sampling_rate_hz=360))
    >>> with sancodec.open(path) as record:
    ...     record[0, 720:1080].shape
    (360,)
    """
    file = Path(path).open("rb")  # noqa: SIM115 - stays open as long as the OpenRecording
    try:
        return OpenRecording(file, models=models)
    except BaseException:
        file.close()
        raise
