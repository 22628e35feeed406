"""What the tests of hostile files build them from, and how they measure what reading one takes."""

import io
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest

from sancodec.codec import payload
from sancodec.codec.bits import BitWriter
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.header import Header, encode_header
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.recording import Channel
from sancodec.codec.salvage import salvage
from sancodec.codec.synthesis import ChannelCoding, NumpyEngine
from sancodec.errors import FormatError
from sancodec.training.statistics import neutral_contexts

ENGINE = NumpyEngine()
CONSTANT = ChannelCoding(0, 5, 5)
NOTHING = np.zeros(0, np.int64)
_MEBIBYTE = 1 << 20
_EXACT = MeasuredQuality(0.0, 0)


@contextmanager
def measured(mebibytes: float = 64, seconds: float = 10) -> Iterator[None]:
    """Fail when a block takes more memory, of Python and NumPy, or processor time."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        taken_s, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * _MEBIBYTE
    assert taken_s < seconds


def header_of(n_channels=1, *, n_frames=10, chunk_frames=10, models=(), **fields):
    channels = tuple(Channel(f"channel {index}", **fields) for index in range(n_channels))
    promises = ((),) * n_channels
    digests = tuple(model.sha256 for model in models)
    return Header("array", Fraction(360), n_frames, chunk_frames, channels, 5, promises, digests)


def container_of(header, *sections):
    """A file of a header, given whole or as its payload, and other sections."""
    file = io.BytesIO()
    writer = ContainerWriter(file)
    writer.section(SectionType.HEADER, header if isinstance(header, bytes) else encode_header(header))
    for kind, content in sections:
        writer.section(kind, content)
    writer.finish()
    return file.getvalue()


def coding_of(codings, *, coder=0, models=(), n_chunks=1, tables=None):
    segment = SegmentCoding(0, n_chunks, coder, codings, [_EXACT] * len(codings), [0], tables)
    return SectionType.CODING, encode_coding(segment, models=models)


def chunk_of(n_channels, *, digest=0, raw=b"", coefficients=b"", residuals=None):
    """A chunk without events, missing samples or exceptions."""
    writer = BitWriter()
    writer.bits(np.zeros(n_channels, np.uint8))
    fields = payload.ChunkFields(digest, writer.tobytes(), raw, coefficients, residuals)
    return SectionType.CHUNK, payload.join_fields(fields)


def wide_bank(*, stride, n_kernels, length=1):
    group = KernelGroup(stride, 0, np.ones((n_kernels, length), np.int32))
    return Model((group,), neutral_contexts((group,)), {"name": "wide"})


def read(content):
    return RecordingReader(io.BytesIO(content), engine=ENGINE).read()


def refused_by_both(content, message, error=FormatError):
    with measured(), pytest.raises(error, match=message):
        read(content)
    with measured(), pytest.raises(FormatError):
        salvage(io.BytesIO(content), engine=ENGINE)
