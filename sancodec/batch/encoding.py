"""A recording into a container that is read back and checked, for one file or thousands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sancodec.api import default_engine, shipped_models
from sancodec.batch.settings import Settings
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import Summary, encode_recording
from sancodec.codec.promise import Promise, promises_for
from sancodec.codec.quality import QualityTotals
from sancodec.codec.recording import FrameSource
from sancodec.codec.synthesis import Engine
from sancodec.datasets.kinds import kind_of_source
from sancodec.datasets.wfdb_segmented_source import refuse_rescaled
from sancodec.errors import CorruptError

_ENCODING_SHARE = 0.8  # of the time; the rest is the check of what was written
_PRDN_ROUNDING = 1e-9  # sums over other pieces than the encoder's
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What came of a recording.

    Parameters
    ----------
    worst_frames
        Per channel, the first frame of the second with the largest error energy.
    """

    promises: tuple[Promise, ...]
    summary: Summary
    worst_frames: tuple[int, ...]


class WorstSeconds:
    """Finds the second of each channel that lost most, counted from the begin of each piece.

    Parameters
    ----------
    source
        The recording.
    """

    def __init__(self, source: FrameSource) -> None:
        self._channels = source.channels
        self._step = max(1, round(source.frame_rate_hz))
        self._energies = [0.0] * len(source.channels)
        self.first_frames = [0] * len(source.channels)

    def add(self, first_frame: int, original: tuple[NDArray[np.int32], ...], decoded: list[NDArray[np.int32]]) -> None:
        """Take in consecutive frames, one array per channel each, ``(n * samples_per_frame,)`` in stored units."""
        for index, (x, y, channel) in enumerate(zip(original, decoded, self._channels, strict=True)):
            error = y.astype(np.float64) - x
            if channel.invalid is not None:
                error[x == channel.invalid] = 0
            starts = np.arange(0, len(error), self._step * channel.samples_per_frame)
            energies = np.add.reduceat(error**2, starts)
            worst = int(energies.argmax())
            if energies[worst] > self._energies[index]:
                self._energies[index] = float(energies[worst])
                self.first_frames[index] = first_frame + worst * self._step


def promises_of(source: FrameSource, settings: Settings) -> tuple[Promise, ...]:
    """What each channel of a recording is promised; raises InvalidSignalError where that cannot be."""
    if not settings.is_exact:
        refuse_rescaled(source)
    return promises_for(
        source.channels,
        prdn=settings.prdn,
        snr_db=settings.snr_db,
        max_error=settings.max_error,
        lossless=settings.lossless,
        preset=settings.preset,
    )


def encode_checked(
    source: FrameSource,
    file: BinaryIO,
    settings: Settings,
    *,
    engine: Engine | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Encoded:
    """Write a recording as a container, then read it back and refuse it unless it is what was promised.

    Parameters
    ----------
    file
        Readable, writable and seekable.
    on_progress
        Called with the fraction done.

    Raises
    ------
    InvalidSignalError, QualityError, FormatError
    """
    report = on_progress or (lambda fraction: None)
    promises = promises_of(source, settings)
    summary = encode_recording(
        source,
        file,
        promises=promises,
        level=settings.level,
        chunk_s=settings.chunk_s,
        models=settings.banks or shipped_models(),
        embed_models=settings.embed_models or bool(settings.banks),
        engine=engine or default_engine(),
        given=settings.given,
        threads=threads,
        on_progress=lambda done: report(_ENCODING_SHARE * done),
    )
    file.flush()
    reader = RecordingReader(file, engine=default_engine(), models=summary.models, threads=threads)
    worst = check_written(
        reader,
        source,
        promises,
        exact=settings.is_exact,
        on_progress=lambda done: report(_ENCODING_SHARE + (1 - _ENCODING_SHARE) * done),
    )
    return Encoded(promises, summary, tuple(worst.first_frames))


def check_written(
    reader: RecordingReader, source: FrameSource, promises: tuple[Promise, ...], *, exact: bool, on_progress: Progress
) -> WorstSeconds:
    """Read a container back, chunk by chunk, and refuse it unless it is what was promised.

    Checked are every checksum, every digest of the decoded samples, the PRDN and the largest error of every channel
    that has such a bound, and where ``exact`` is true, except for arrays, every byte of the files that would be
    restored.

    Raises
    ------
    FormatError
    """
    if reader.header.n_frames != source.n_frames:
        raise CorruptError("the file written does not have the length of the recording; please report this")
    worst = WorstSeconds(source)
    totals = [QualityTotals(gain=each.gain, baseline=each.baseline, invalid=each.invalid) for each in source.channels]
    with ExitStack() as closing:
        compare = kind_of_source(source.source).compare if exact else None
        files = None if compare is None else closing.enter_context(compare(source, reader.header))
        first = 0
        for index, decoded in reader.chunks(0, reader.header.n_chunks):
            last = first + len(decoded[0]) // source.channels[0].samples_per_frame
            if files is not None:
                files.write(decoded)
            original = source.frames(first, last)
            for channel, promise in enumerate(promises):
                totals[channel].add(original[channel], decoded[channel])
                if promise.max_error_adu is None:
                    continue
                error = np.abs(decoded[channel].astype(np.int64) - original[channel]).max(initial=0)
                if error > promise.max_error_adu:
                    raise CorruptError(
                        f"chunk {index}, channel {channel}: decodes with an error of {error} adu, {promise} was "
                        "promised; please report this"
                    )
            worst.add(first, original, decoded)
            first = last
            on_progress(first / source.n_frames)
        if files is not None:
            files.finish()
    for channel, (promise, total) in enumerate(zip(promises, totals, strict=True)):
        prdn = total.result().prdn
        if promise.prdn is not None and prdn > promise.prdn * (1 + _PRDN_ROUNDING):
            raise CorruptError(f"channel {channel}: PRDN is {prdn:.4g} %, {promise} was promised; please report this")
    reader.check_end()
    return worst


def keep_freed_memory() -> None:
    """Tell glibc to keep freed arrays for the next one: giving each back to the kernel costs a tenth of the run."""
    if sys.platform == "linux":
        import ctypes

        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):
            return
        mallopt(_M_MMAP_THRESHOLD, 1 << 28)
        mallopt(_M_TRIM_THRESHOLD, 1 << 28)
