"""What may come of a damaged container: the right samples or a refusal, in bounded time and memory; nothing else."""

from __future__ import annotations

import io
import time

import numpy as np
from corpus import BANKS, ENGINE
from mutations import MAX_CONTENT, Mutated, declared_samples

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.recording import Recording
from sancodec.codec.salvage import SalvageReader
from sancodec.datasets.wfdb_header import parse_header
from sancodec.errors import FormatError, InvalidSignalError, LimitExceededError, ModelMismatchError, SancodecError

TIME_LIMIT_S = 2.0
_MAX_CHUNKS = 256


class SilentDamageError(AssertionError):
    """Wrong samples came back as right ones."""


class SlowError(AssertionError):
    """Reading took too long."""


def decode_outcome(mutated: Mutated, recording: Recording) -> str:
    """Decode as a whole; returns what came of it in a word."""
    start = time.process_time()
    size = 0
    try:
        reader = RecordingReader(io.BytesIO(mutated.content), engine=ENGINE, models=BANKS)
        size = declared_samples(reader.header)
        if size > MAX_CONTENT:
            return "refused: chunks too large for this test"
        samples = reader.read().samples
    except (FormatError, ModelMismatchError) as error:
        _check_time(start, size)
        return f"refused: {type(error).__name__}"
    _check_time(start, size)
    if mutated.is_digest_fresh:
        return "decoded"
    if len(samples) != len(recording.samples):
        raise SilentDamageError(f"{len(samples)} channels")
    for one, other in zip(samples, recording.samples, strict=True):
        if not np.array_equal(one, other):
            raise SilentDamageError("other samples")
    return "right"


def salvage_outcome(mutated: Mutated, recording: Recording) -> str:
    """Restore what can be; every chunk must be right or named as lost."""
    start = time.process_time()
    size = 0
    try:
        reader = SalvageReader(io.BytesIO(mutated.content), engine=ENGINE, models=BANKS)
        header = reader.header
        size = declared_samples(header)
        if size > MAX_CONTENT:
            return "refused: chunks too large for this test"
        chunks = list(reader.chunks(0, min(header.n_chunks, _MAX_CHUNKS)))
        reader.value_ranges()
    except (FormatError, ModelMismatchError, LimitExceededError) as error:
        _check_time(start, size)
        return f"refused: {type(error).__name__}"
    _check_time(start, size)
    lost = {chunk for each in reader.lost for chunk in range(each.first_chunk, each.last_chunk + 1)}
    if mutated.is_digest_fresh:
        return "some lost" if lost else "decoded"
    for chunk, samples in chunks:
        if chunk in lost:
            continue
        for values, whole, channel in zip(samples, recording.samples, header.channels, strict=True):
            first = chunk * header.chunk_frames * channel.samples_per_frame
            if not np.array_equal(values, whole[first : first + len(values)]) or not len(values):
                raise SilentDamageError(f"salvage: chunk {chunk} has other samples")
    if len(lost) == len(chunks):
        return "all lost"
    return "some lost" if lost else "repaired" if reader.repaired else "right"


def header_outcome(content: bytes) -> str:
    """Parse a WFDB header."""
    start = time.process_time()
    try:
        parse_header(content, where="header")
    except (SancodecError, InvalidSignalError):
        return "refused"
    finally:
        _check_time(start, 0)
    return "parsed"


def _check_time(start: float, n_samples: int) -> None:
    seconds = time.process_time() - start
    if seconds > TIME_LIMIT_S + n_samples / 1e6:
        raise SlowError(f"{seconds:.1f} s")
