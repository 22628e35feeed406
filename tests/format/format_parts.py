"""Files built field by field as docs/format.md says, so that a test can break one field and leave all others right.

``constant_file`` is the annotated example of section 17; ``coded_file`` has one channel with a bank, whose
coefficients are all 0.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np

from sancodec.codec.bits import BitWriter, zigzag
from sancodec.codec.container import encode_varints, zstd_compress

PREFIX = b"\x89SAN\r\n\x1a\n\1\0\0\0"
HEADER, MODEL, CODING, CHUNK, INDEX = range(1, 6)
ROW = [4096 - 15, *[1] * 14, 0, 1]


def varints(*values: int) -> bytes:
    return encode_varints(list(values))


def section(kind: int, payload: bytes) -> bytes:
    head = struct.pack("<BI", kind, len(payload)) + payload
    return head + struct.pack("<I", zlib.crc32(head))


def file_of(
    *sections: tuple[int, bytes], index: bytes | None = None, before_index: bytes = b"", after: bytes = b""
) -> bytes:
    """Prefix, sections, an INDEX that fits unless another is given, trailer."""
    content, segments = PREFIX, []
    first = 0
    for kind, payload in sections:
        if kind == CODING:
            first = first or len(content)
            segments.append([])
        content += section(kind, payload)
        if kind in (CODING, CHUNK) and segments:
            segments[-1].append(len(payload) + 9)
    fitting = varints(first, len(segments))
    for coding, *chunks in segments:
        fitting += varints(coding, len(chunks), *chunks)
    content += before_index
    trailer = struct.pack("<Q4s", len(content), b"SANe")
    return content + section(INDEX, fitting if index is None else index) + after + trailer


LEAD = {
    "name": b"\2II",
    "unit": b"\2mV",
    "gain": struct.pack("<d", 200),
    "baseline": varints(2048),
    "resolution": b"\x0b",
    "per_frame": b"\1",
    "minimum": varints(4093),
    "maximum": varints(4094),
    "missing": b"\1" + varints(4095),
    "difference": b"\0",
    "promises": b"\1\1" + struct.pack("<d", 2),
}
FIELDS = {
    "source": b"\5array",
    "rate": varints(360, 1),
    "n_frames": b"\5",
    "chunk_frames": b"\5",
    "level": b"\1",
    "models": b"\0",
    "channels": b"\2",
    **LEAD,
    "second": b"\3ABP\4mmHg" + struct.pack("<d", 10) + b"\0\x0c\2\0" + varints(8190) + b"\0\0\1\2" + bytes(8),
    "side_files": b"\0",
}


def header_of(**fields: bytes) -> bytes:
    """The example's HEADER with some fields replaced."""
    return zstd_compress(b"".join((FIELDS | fields).values()), 19)


def write(writer: BitWriter, *values: int, signed: bool = False) -> None:
    numbers = np.array(values, np.int64)
    writer.rice(zigzag(numbers) if signed else numbers)


def constant_coding(
    *,
    prdn: int = 0,
    values: tuple[int, int] = (995, 800),
    groups: tuple[int, int] = (0, 1),
    n_groups: int = 2,
    kernel_lengths: tuple[int, ...] = (),
    head: tuple[int, int, int] = (0, 1, 0),
) -> bytes:
    """``head`` is first chunk, number of chunks, coder."""
    writer = BitWriter()
    write(writer, *head)
    write(writer, n_groups)
    write(writer, *(kernel_lengths or [0] * n_groups))
    for value, group in zip(values, groups, strict=True):
        writer.number(prdn, 32)
        write(writer, value, value, value, signed=True)
        write(writer, 0, group)
        writer.number(0, 3)
    writer.number(0, n_groups)
    return writer.tobytes()


EVENTS = bytes.fromhex("82060600")
SAMPLES = np.array([995, 995, -2048, -2048, 995, *[800] * 10], "<i4")


def chunk_of(
    coding: bytes,
    samples: np.ndarray,
    *,
    number: int = 0,
    events: bytes = EVENTS,
    raw: bytes = b"",
    coefficients: bytes = b"",
    residuals: bytes | None = None,
) -> bytes:
    digest = zlib.crc32(struct.pack("<II", number, zlib.crc32(coding)) + samples.astype("<i4").tobytes())
    lengths = varints(len(events), len(raw)) + (b"" if residuals is None else varints(len(coefficients)))
    return struct.pack("<I", digest) + lengths + events + raw + coefficients + (residuals or b"")


def constant_sections(*, header: bytes | None = None, coding: bytes | None = None, **chunk: bytes) -> list:
    coding = constant_coding() if coding is None else coding
    return [
        (HEADER, header_of() if header is None else header),
        (CODING, coding),
        (CHUNK, chunk_of(coding, SAMPLES, **chunk)),
    ]


def model_of(
    *groups: tuple[int, int, int, int],
    metadata: bytes = b"{}",
    n_sets: int = 1,
    weight: int = 9,
    phase_group: int = 0,
    row: list[int] | None = None,
) -> bytes:
    """Groups are (stride, kernels, length, offset); every class has the same frequencies."""
    groups = groups or ((4, 1, 6, -1), (2, 1, 4, 0))
    content = struct.pack("<4sHHI", b"SANM", 1, len(groups), len(metadata)) + metadata
    for stride, n_kernels, length, offset in groups:
        content += struct.pack("<HHIi", stride, n_kernels, length, offset)
        content += (np.arange(n_kernels * length) % 7 - 3).astype("<i4").tobytes()
    n_bands = sum(n_kernels for _, n_kernels, _, _ in groups)
    content += bytes([n_sets]) + struct.pack("<H", weight) * (4 * n_sets * n_bands) + bytes([phase_group]) * n_bands
    content += struct.pack("<17H", *(ROW if row is None else row)) * (28 * n_sets)
    return content + bytes(n_sets * (2 * 2 * n_bands * (8 + 14) + 6914 + 2 * 8 * 4))


N_SAMPLES, KERNEL_LENGTH, TOKENS = 60, 20, b"\0\0"
# First position and coefficients; None for a band of zeros.
Band = tuple[int, tuple[int, ...]] | None


def coded_coding(
    *,
    coder: int = 0,
    kernel_length: int = KERNEL_LENGTH,
    n_kernels: int = 1,
    differences: tuple[int, ...] | None = None,
    exponent: int = 0,
    bounds: tuple[int, int] = (-2047, 2047),
    step: tuple[int, int] = (2048, 0),
    scales: tuple[int, int] = (0, 0),
    wavelet: tuple[int, tuple[Band, ...]] | None = None,
) -> bytes:
    """One channel of the two-band model, offset 7, beat kernels of zeros.

    ``wavelet`` is the step of the kernels' coefficients, and every kernel's bands.
    """
    writer = BitWriter()
    write(writer, 0, 1, coder)
    write(writer, 1)
    write(writer, kernel_length)
    writer.number(0, 32)
    write(writer, 7, *bounds, signed=True)
    write(writer, 0, 0)
    writer.number(1, 2)
    write(writer, 0)
    writer.number(step[0], 12)
    write(writer, step[1], signed=True)
    writer.number(0, 18)
    write(writer, n_kernels)
    if n_kernels:
        write(writer, exponent, signed=True)
        writer.number(int(wavelet is not None), 1)
    if wavelet is not None:
        writer.number(wavelet[0], 12)
    for _ in range(n_kernels):
        if wavelet is not None:
            bands_of(writer, wavelet[1])
        else:
            write(writer, *((0,) * kernel_length if differences is None else differences), signed=True)
    if coder:
        writer.number(0, 3)
        write(writer, *np.diff(scales, prepend=0).tolist(), signed=True)
        writer.number(0, 1)
    writer.number(0, 2)
    return writer.tobytes()


def bands_of(writer: BitWriter, bands: tuple[Band, ...]) -> None:
    """Coefficients of a beat kernel."""
    for band in bands:
        writer.number(int(band is not None), 1)
        if band is not None:
            first, coefficients = band
            write(writer, first, len(coefficients) - 1)
            write(writer, *coefficients, signed=True)


def coded_events(*, starts: tuple[int, ...] = (), gain: int = 3, runs: tuple[tuple[int, int], ...] = ()) -> bytes:
    writer = BitWriter()
    write(writer, len(starts))
    if starts:
        write(writer, starts[0] + KERNEL_LENGTH, 0)
        if len(starts) > 1:
            write(writer, *np.diff(starts).tolist(), signed=True)
    writer.number(int(bool(runs)), 1)
    if runs:
        write(writer, len(runs))
        write(writer, *(gap for gap, _ in runs))
        write(writer, *(length for _, length in runs))
    if starts:
        writer.number(0, 1)
        write(writer, gain)
        write(writer, *[0] * len(starts), signed=True)
    return writer.tobytes()


def mixed_heads(n: int, first: int) -> bytes:
    """What the event bit string of coder 2 says of a channel's events, and no missing runs."""
    writer = BitWriter()
    write(writer, n)
    if n:
        write(writer, first + KERNEL_LENGTH)
    writer.number(0, 1)
    return writer.tobytes()


def coded_file(
    *,
    coder: int = 0,
    coding: bytes | None = None,
    events: bytes | None = None,
    raw: bytes = b"",
    coefficients: bytes | None = None,
    layout: int = 0,
    frames: tuple[bytes, ...] = (TOKENS,),
) -> bytes:
    """A file of one chunk that carries its model; all samples are 7."""
    model = model_of()
    coding = coded_coding(coder=coder) if coding is None else coding
    if coefficients is None:
        pieces = [zstd_compress(frame, 3) for frame in frames]
        tokens = bytes([layout]) + b"".join(varints(len(piece)) + piece for piece in pieces)
        coefficients = (tokens, b"\0\0", b"")[coder]
    header = header_of(
        n_frames=bytes([N_SAMPLES]),
        chunk_frames=bytes([N_SAMPLES]),
        models=b"\1" + hashlib.sha256(model).digest(),
        channels=b"\1",
        second=b"",
    )
    chunk = chunk_of(
        coding,
        np.full(N_SAMPLES, 7),
        events=coded_events() if events is None else events,
        raw=raw,
        coefficients=coefficients,
    )
    return file_of((HEADER, header), (MODEL, model), (CODING, coding), (CHUNK, chunk))


def framed(*pieces: bytes, layout: int = 0) -> bytes:
    """A layout and zstd frames."""
    frames = [zstd_compress(piece, 3) for piece in pieces]
    return bytes([layout]) + b"".join(varints(len(frame)) + frame for frame in frames)


PREDICTED = np.array([10, 13, 20, 20, -6])
DIFFERENCES = (3, 3, 7, 0, -13)


def layer_of(
    writer: BitWriter,
    *,
    head: tuple[int, ...] = (0, 4, 0, 1, 0),
    own: tuple[int, ...] = (1,),
    references: tuple[tuple[int, int, int, tuple[int, ...]], ...] = (),
    stages: tuple[int, ...] = (),
) -> None:
    """``head`` is bound, restart, shift, own lags, references; references are (source, lags, first lag, weights).

    ``stages`` are near and far lags, which coder 2 wants.
    """
    write(writer, *head)
    write(writer, *own, signed=True)
    for source, n_lags, first_lag, weights in references:
        write(writer, source, n_lags)
        write(writer, first_lag, signed=True)
        write(writer, *weights, signed=True)
    if stages:
        write(writer, *stages)


def predicted_coding(
    *layers: dict | None,
    coder: int = 0,
    bounds: tuple[int, int] = (-2047, 2047),
    lattice: tuple[int, int] | None = None,
    tables: tuple[int, ...] | None = None,
    rows: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (*[241] * 16, 240)),),
) -> bytes:
    """Channels of offset 7, predicted from the sample before unless ``layers`` say else; None for a constant 7."""
    writer = BitWriter()
    layers = layers or ({},)
    write(writer, 0, 1, coder)
    write(writer, 1)
    write(writer, 0)
    for layer in layers:
        writer.number(0, 32)
        write(writer, 7, *((7, 7) if layer is None else bounds), signed=True)
        write(writer, 0, 0)
        writer.number(int(lattice is not None), 1)
        if lattice is not None:
            write(writer, *lattice)
        writer.number(int(layer is not None), 2)
        if layer is not None:
            layer_of(writer, **({"stages": (0, 0)} if coder == 2 else {}) | layer)
    writer.number(0, 1)
    if coder == 1:
        write(writer, *((1, len(rows)) if tables is None else tables))
        for shift, row in rows:
            writer.number(shift, 5)
            write(writer, *row)
    return writer.tobytes()


def predicted_file(
    coding: bytes,
    *samples: np.ndarray,
    residuals: bytes,
    raw: bytes = b"",
    coefficients: bytes = b"",
    events: bytes | None = None,
    per_frame: int = 1,
) -> bytes:
    """A file of one chunk without a model; channels of one rate, all of them "II"."""
    n_channels = len(samples)
    lead = b"".join((LEAD | {"per_frame": bytes([per_frame])}).values())
    header = header_of(
        n_frames=bytes([len(samples[0]) // per_frame]),
        chunk_frames=bytes([len(samples[0]) // per_frame]),
        channels=bytes([n_channels]),
        second=lead * (n_channels - 1),
    )
    events = bytes((n_channels + 7) // 8) if events is None else events
    chunk = chunk_of(
        coding, np.concatenate(samples), events=events, raw=raw, coefficients=coefficients, residuals=residuals
    )
    return file_of((HEADER, header), (CODING, coding), (CHUNK, chunk))


def zigzag_bytes(*differences: int, form: int = 0) -> bytes:
    """A channel's residuals in bytes."""
    return bytes([form]) + bytes(min((2 * q if q >= 0 else -2 * q - 1) >> form, 255) for q in differences)
