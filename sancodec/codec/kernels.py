"""Kernel groups: the shared vocabulary of encoder and decoder, and the bytes of a model.

A model is a list of groups. A group holds kernels of one length applied at one stride; the reconstruction is

    x̂[n] = Σ_group Σ_window Σ_kernel  a[window, kernel] · w[kernel, n − stride·window − offset]

(eq. 3 of arXiv:1907.06592 with strided activation maps), indices modulo the chunk's padded length.
Weights are integers so that every engine adds the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import mixing_model
from sancodec.codec.contexts import N_CLASSES, N_SYMBOLS, ContextModel
from sancodec.codec.rans import TOTAL, SymbolTables, symbol_tables
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError, UnsupportedVersionError

MODEL_MAGIC = b"SANM"
MODEL_VERSION = 1
WEIGHT_FRACTION_BITS = 16
MAX_GROUPS = 32
MAX_STRIDE = 4096
MAX_KERNEL_LENGTH = 8192
MAX_WORK = 4096
MAX_KERNELS = 1024
MAX_METADATA_BYTES = 65_536
MAX_PHASE_GROUPS = 16
MAX_WEIGHT_SETS = 8

_MODEL_HEAD = struct.Struct("<4sHHI")
_GROUP_HEAD = struct.Struct("<HHIi")


@dataclass(frozen=True, eq=False)
class KernelGroup:
    """Kernels of one length at one stride.

    Parameters
    ----------
    stride
        Samples between windows.
    offset
        Position of a kernel's first sample relative to ``stride * window``; negative for centred kernels.
    weights
        int32, shape ``(kernel, position)``, in units of 2**-16.
    """

    stride: int
    offset: int
    weights: NDArray[np.int32]

    @property
    def n_kernels(self) -> int:
        return int(self.weights.shape[0])

    @property
    def length(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True, eq=False)
class Model:
    """A named set of kernel groups, ordered from coarse to fine.

    Parameters
    ----------
    groups
        Each stride divides the one before it; kernels within a group are ordered by centre frequency.
        A *band* is one kernel of one group.
    contexts
        Statistics of the quantised coefficients, for the class coder and the mixing coder.
    metadata
        JSON-able description: name, training data, split, seed, sampling rate, licence.
    metadata_bytes
        The JSON as it was read; it is part of what the SHA-256 is of.
    """

    groups: tuple[KernelGroup, ...]
    contexts: ContextModel
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_bytes: bytes | None = None

    @property
    def name(self) -> str:
        name = self.metadata.get("name")
        return name if isinstance(name, str) else self.sha256.hex()[:12]

    @cached_property
    def period(self) -> int:
        """Padded chunk lengths are multiples of this many samples."""
        return math.lcm(*(group.stride for group in self.groups))

    @cached_property
    def n_bands(self) -> int:
        return sum(group.n_kernels for group in self.groups)

    @cached_property
    def band_strides(self) -> tuple[int, ...]:
        return tuple(group.stride for group in self.groups for _ in range(group.n_kernels))

    @cached_property
    def tables(self) -> SymbolTables:
        return symbol_tables(self.contexts.frequencies.reshape(-1, N_SYMBOLS))

    @cached_property
    def content(self) -> bytes:
        """The model as bytes (docs/format.md, section "Model")."""
        metadata = self.metadata_bytes
        if metadata is None:
            metadata = json.dumps(self.metadata, sort_keys=True, separators=(",", ":")).encode()
        parts = [_MODEL_HEAD.pack(MODEL_MAGIC, MODEL_VERSION, len(self.groups), len(metadata)), metadata]
        for group in self.groups:
            parts.append(_GROUP_HEAD.pack(group.stride, group.n_kernels, group.length, group.offset))
            parts.append(group.weights.astype("<i4").tobytes())
        parts.append(bytes([self.contexts.n_weight_sets]))
        parts.append(self.contexts.band_weights.astype("<u2").tobytes())
        parts.append(self.contexts.phase_groups.astype("u1").tobytes())
        parts.append(self.contexts.frequencies.astype("<u2").tobytes())
        parts.append(self.contexts.mixing.content())
        return b"".join(parts)

    @cached_property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    @cached_property
    def peak_gain(self) -> int:
        """Largest Σ|w| that can meet in one output sample, in weight units: bounds every partial sum."""
        total = 0
        for group in self.groups:
            magnitude = np.abs(group.weights.astype(np.int64)).sum(axis=0)  # (position,)
            folded = np.pad(magnitude, (0, -len(magnitude) % group.stride)).reshape(-1, group.stride)
            total += int(folded.sum(axis=0).max())
        return total


def decode_model(content: bytes) -> Model:
    """Parse a model (docs/format.md, section "Model").

    Raises
    ------
    FormatError
        When the bytes are not exactly one model of a known version within the limits.
    """
    if len(content) < _MODEL_HEAD.size:
        raise TruncatedError(f"model: {len(content)} bytes are too few for its header of {_MODEL_HEAD.size}")
    magic, version, n_groups, metadata_length = _MODEL_HEAD.unpack_from(content)
    if magic != MODEL_MAGIC:
        raise CorruptError(f"model: starts with {magic!r}, not {MODEL_MAGIC!r}; this is not a sancodec model")
    if version != MODEL_VERSION:
        raise UnsupportedVersionError(f"model: version {version}; this release reads version {MODEL_VERSION}")
    if not 1 <= n_groups <= MAX_GROUPS or metadata_length > MAX_METADATA_BYTES:
        raise LimitExceededError(
            f"model: {n_groups} groups and {metadata_length} metadata bytes; "
            f"at most {MAX_GROUPS} and {MAX_METADATA_BYTES} are allowed"
        )
    position = _MODEL_HEAD.size + metadata_length
    try:
        metadata_bytes = content[_MODEL_HEAD.size : position]
        metadata = json.loads(metadata_bytes.decode())
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"model: its metadata is not JSON ({error})") from None
    if not isinstance(metadata, dict):
        raise CorruptError("model: its metadata is not a JSON object")
    groups: list[KernelGroup] = []
    for index in range(n_groups):
        group, position = _decode_group(content, position, index)
        if groups and groups[-1].stride % group.stride:
            raise CorruptError(
                f"model: stride {group.stride} of group {index} does not divide {groups[-1].stride}, the one before"
            )
        groups.append(group)
    contexts = _decode_contexts(content, position, sum(group.n_kernels for group in groups))
    period = groups[0].stride
    density = sum(group.n_kernels * (period // group.stride) for group in groups)
    work = sum(group.n_kernels * -(-group.length // group.stride) for group in groups)
    if density > period or work > MAX_WORK:
        raise LimitExceededError(
            f"model: {density} coefficients for {period} samples and {work} products a sample; "
            f"at most {period} and {MAX_WORK} are allowed"
        )
    return Model(tuple(groups), contexts, metadata, metadata_bytes)


def _decode_group(content: bytes, position: int, index: int) -> tuple[KernelGroup, int]:
    if position + _GROUP_HEAD.size > len(content):
        raise TruncatedError(f"model: ends before kernel group {index}")
    stride, n_kernels, length, offset = _GROUP_HEAD.unpack_from(content, position)
    position += _GROUP_HEAD.size
    if not (1 <= stride <= MAX_STRIDE and 1 <= n_kernels <= MAX_KERNELS and 1 <= length <= MAX_KERNEL_LENGTH):
        raise LimitExceededError(
            f"model: group {index} has stride {stride}, {n_kernels} kernels of {length}; "
            f"at most {MAX_STRIDE}, {MAX_KERNELS} and {MAX_KERNEL_LENGTH} are allowed, at least 1"
        )
    if abs(offset) > MAX_KERNEL_LENGTH:
        raise LimitExceededError(f"model: group {index} has offset {offset}; at most ±{MAX_KERNEL_LENGTH} is allowed")
    if position + 4 * n_kernels * length > len(content):
        raise TruncatedError(f"model: ends within the kernels of group {index}")
    weights = np.frombuffer(content, "<i4", n_kernels * length, position).astype(np.int32)
    return KernelGroup(stride, offset, weights.reshape(n_kernels, length)), position + 4 * n_kernels * length


def _decode_contexts(content: bytes, position: int, n_bands: int) -> ContextModel:
    if position >= len(content):
        raise TruncatedError("model: its statistics are missing")
    n_sets = content[position]
    position += 1
    if not 1 <= n_sets <= MAX_WEIGHT_SETS:
        raise LimitExceededError(f"model: {n_sets} weight sets; 1 to {MAX_WEIGHT_SETS} are allowed")
    n_weights = 4 * n_sets * n_bands
    n_frequencies = n_sets * N_CLASSES * N_SYMBOLS
    n_bytes = 2 * n_weights + n_bands + 2 * n_frequencies + mixing_model.content_length(n_sets, n_bands)
    if len(content) - position != n_bytes:
        raise TruncatedError(
            f"model: {len(content) - position} bytes of statistics for {n_bands} bands; {n_bytes} are needed"
        )
    band_weights = np.frombuffer(content, "<u2", n_weights, position).reshape(n_sets, n_bands, 4)
    position += 2 * n_weights
    phase_groups = np.frombuffer(content, "u1", n_bands, position)
    frequencies = np.frombuffer(content, "<u2", n_frequencies, position + n_bands)
    frequencies = frequencies.reshape(n_sets, N_CLASSES, N_SYMBOLS)
    if phase_groups.max() >= MAX_PHASE_GROUPS:
        raise LimitExceededError(f"model: phase group {phase_groups.max()}; at most {MAX_PHASE_GROUPS - 1} is allowed")
    if np.any(band_weights > 4096):
        raise LimitExceededError(f"model: a band weight is {band_weights.max()}; at most 4096 is allowed")
    used = frequencies[:, :, :-1] > 0
    if np.any(used[:, :, 1:] & ~used[:, :, :-1]):
        raise CorruptError("model: a class gives a frequency to a symbol after one without")
    if np.any(frequencies[:, :, -1] == 0):
        raise CorruptError("model: a class gives its escape symbol no frequency")
    if np.any(frequencies.sum(axis=2, dtype=np.int64) != TOTAL):
        raise CorruptError(f"model: the frequencies of a class do not sum to {TOTAL}")
    mixing = mixing_model.from_content(content[position + n_bands + 2 * n_frequencies :], n_sets, n_bands)
    return ContextModel(band_weights, phase_groups, frequencies, mixing)


def centred_group(kernels: NDArray[np.float64], *, stride: int) -> KernelGroup:
    """Round float kernels ``(kernel, position)`` to weights, each window centred on its stride interval."""
    weights = np.rint(kernels * 2.0**WEIGHT_FRACTION_BITS).astype(np.int32)
    return KernelGroup(stride, -((kernels.shape[1] - stride) // 2), weights)
