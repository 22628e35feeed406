"""The Python interface: compress and decompress arrays and recordings, open containers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import AUTO, Summary, encode_recording
from sancodec.codec.given_kernels import GivenKernels
from sancodec.codec.kernels import Model
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.codec.open_recording import OpenRecording
from sancodec.codec.promise import promises_for
from sancodec.codec.recording import FrameSource, Recording
from sancodec.codec.synthesis import Engine, NumpyEngine
from sancodec.datasets.arrays import recording_of, stacked
from sancodec.errors import InvalidSignalError

DEFAULT_LEVEL = 5


@lru_cache(maxsize=1)
def default_engine() -> Engine:
    """The NumPy engine: on the CPU it is as fast as onnxruntime's and needs no session (docs/decisions.md)."""
    return NumpyEngine()


def shipped_models() -> tuple[Model, ...]:
    """All banks that ship with the package."""
    return tuple(shipped_model(name) for name in shipped_names())


def compress(
    signal: NDArray[Any] | FrameSource,
    *,
    sampling_rate_hz: float | Fraction | None = None,
    prdn: float | None = None,
    snr_db: float | None = None,
    max_error: str | None = None,
    max_error_adu: int | None = None,
    lossless: bool = False,
    preset: str | None = None,
    level: int = DEFAULT_LEVEL,
    chunk_s: float | str | None = AUTO,
    models: tuple[Model, ...] | None = None,
    embed_models: bool = False,
    beat_kernels: GivenKernels | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
) -> bytes:
    """Compress integers so that every channel keeps a promise.

    Of several promises all hold, met by the decoded integers. Without any it is the preset ``clinical``: no sample of
    an ECG lead is off by more than 20 µV; other channels have a PRDN of at most 2 %.

    Parameters
    ----------
    signal
        Integers, shape ``(channel, sample)`` or ``(sample,)``, or a `Recording` or another `FrameSource`.
    sampling_rate_hz
        Needed for arrays.
    prdn
        Largest 100·‖x − x̂‖/‖x − mean(x)‖ of a channel, in percent.
    snr_db
        Smallest signal-to-noise ratio of a channel, in dB.
    max_error
        Largest error of any sample with its unit, such as ``"20uV"``; channels in other units than volts are refused.
    max_error_adu
        Largest error of any sample, in stored units.
    lossless
        Every sample exact.
    preset
        ``"archive"``, ``"clinical"``, ``"monitor"`` or ``"trend"`` (`sancodec.codec.promise.PRESETS`).
    level
        1 (fast) to 9 (smallest).
    chunk_s
        Seconds per chunk, the unit of random access and of damage; ``"auto"`` leaves it to the encoder; None makes
        one chunk.
    models
        Banks to choose from; those that ship by default.
    embed_models
        Carry the banks inside the container.
    beat_kernels
        Kernels of a trained network for the beat layer (`sancodec.san.beat_kernels`), in the place of those that are
        learned from each channel; the container carries them and needs no network to be decoded.
    threads
        One per processor by default; the bytes do not depend on it.

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
        snr_db=snr_db,
        max_error=max_error,
        max_error_adu=max_error_adu,
        lossless=lossless,
        preset=preset,
        level=level,
        chunk_s=chunk_s,
        models=models,
        embed_models=embed_models,
        beat_kernels=beat_kernels,
        engine=engine,
        threads=threads,
    )
    return file.getvalue()


def compress_to(
    signal: NDArray[Any] | FrameSource,
    file: BinaryIO,
    *,
    sampling_rate_hz: float | Fraction | None = None,
    prdn: float | None = None,
    snr_db: float | None = None,
    max_error: str | None = None,
    max_error_adu: int | None = None,
    lossless: bool = False,
    preset: str | None = None,
    level: int = DEFAULT_LEVEL,
    chunk_s: float | str | None = AUTO,
    models: tuple[Model, ...] | None = None,
    embed_models: bool = False,
    beat_kernels: GivenKernels | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Summary:
    """`compress` to a binary file; the container is written front to back. Returns what was reached."""
    source = _source_of(signal, sampling_rate_hz)
    return encode_recording(
        source,
        file,
        promises=promises_for(
            source.channels,
            prdn=prdn,
            snr_db=snr_db,
            max_error=max_error,
            max_error_adu=max_error_adu,
            lossless=lossless,
            preset=preset,
        ),
        level=level,
        chunk_s=chunk_s,
        models=shipped_models() if models is None else models,
        embed_models=embed_models,
        engine=engine or default_engine(),
        given=beat_kernels,
        threads=threads,
        on_progress=on_progress,
    )


def _source_of(signal: NDArray[Any] | FrameSource, sampling_rate_hz: float | Fraction | None) -> FrameSource:
    if hasattr(signal, "frames"):
        return cast(FrameSource, signal)
    if sampling_rate_hz is None:
        raise InvalidSignalError("sampling_rate_hz is missing; arrays do not carry their sampling rate")
    return recording_of(signal, sampling_rate_hz=sampling_rate_hz)


def decompress(
    blob: bytes, *, models: tuple[Model, ...] = (), engine: Engine | None = None, threads: int | None = None
) -> NDArray[Any]:
    """Decode a container to an array: of shape and dtype as given; recordings as int32 ``(channel, sample)``.

    Raises
    ------
    FormatError
        When the bytes are damaged.
    InvalidSignalError
        When channels have different sampling rates; use `decompress_recording`.
    """
    return stacked(decompress_recording(blob, models=models, engine=engine, threads=threads))


def decompress_recording(
    blob: bytes, *, models: tuple[Model, ...] = (), engine: Engine | None = None, threads: int | None = None
) -> Recording:
    """Decode a container to a `Recording`.

    Raises
    ------
    FormatError
        When the bytes are damaged.
    """
    reader = RecordingReader(io.BytesIO(blob), engine=engine or default_engine(), models=models, threads=threads)
    return reader.read()


def open_recording(
    file: str | os.PathLike[str] | BinaryIO, *, models: tuple[Model, ...] = (), engine: Engine | None = None
) -> OpenRecording:
    """Open a ``.san`` file for reading parts of it.

    Parameters
    ----------
    file
        Path, or a seekable binary file, which stays open and must not be moved by others meanwhile.
    models
        Banks to look in before those that ship.

    Raises
    ------
    FormatError
        When the file is no container, or damaged at its begin.
    InvalidSignalError
        When a file object is not binary or cannot seek.

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
    if isinstance(file, (str, os.PathLike)):
        opened: BinaryIO = Path(file).open("rb")  # noqa: SIM115 - stays open as long as the OpenRecording
        is_owner = True
    else:
        _check_file(file)
        opened, is_owner = file, False
    try:
        return OpenRecording(opened, engine=engine or default_engine(), models=models, is_owner=is_owner)
    except BaseException:
        if is_owner:
            opened.close()
        raise


def _check_file(file: Any) -> None:
    if not (hasattr(file, "read") and hasattr(file, "seek")):
        raise InvalidSignalError(f"{type(file).__name__} is neither a path nor a binary file")
    if hasattr(file, "seekable") and not file.seekable():
        raise InvalidSignalError("the file cannot seek; read it into an io.BytesIO first")
    if not isinstance(file.read(0), bytes):
        raise InvalidSignalError("the file is opened as text; open it with mode 'rb'")
