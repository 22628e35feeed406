"""Frequency tables of the residual layer's blocks, fitted to a segment (docs/format.md, "Residual tables")."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.rans import TOTAL, SymbolTables, symbol_tables

N_SYMBOLS = 17
ESCAPE = N_SYMBOLS - 1
MAX_TABLES = 63
MAX_SHIFT = 27
MAX_BLOCK_EXPONENT = 16
_TABLE_BITS = 150.0
_ESCAPE_BITS = 5
_CLASSES_PER_OCTAVE = 1.5
_CLASS_OFFSET = 9
_N_FINE = 64
_MEAN_OF_FINE = 2 ** ((np.arange(_N_FINE) - _CLASS_OFFSET) / _CLASSES_PER_OCTAVE)
_SHIFT_OF_FINE = np.clip(np.ceil(np.log2(_MEAN_OF_FINE / 4)), 0, MAX_SHIFT).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ResidualTables:
    """Tables of the block classes; class c has row c − 1, blocks of class 0 are all zero.

    Parameters
    ----------
    block_exponent
        Blocks have 2**block_exponent samples.
    shifts
        int64, shape ``(table,)``: low bits that are raw.
    frequencies
        uint16, shape ``(table, N_SYMBOLS)``; each row sums to 4096.
    """

    block_exponent: int
    shifts: NDArray[np.int64]
    frequencies: NDArray[np.uint16]

    @property
    def block(self) -> int:
        return 1 << self.block_exponent

    @cached_property
    def symbols(self) -> SymbolTables:
        """Look-up tables of the range coder."""
        return symbol_tables(self.frequencies)


@dataclass(frozen=True, slots=True, eq=False)
class TablePlan:
    """Tables, and which of them the blocks of each mean magnitude use.

    Parameters
    ----------
    class_of
        uint8, shape ``(fine class,)``.
    """

    tables: ResidualTables
    class_of: NDArray[np.uint8]


def block_rows(codes: NDArray[np.integer], block: int) -> NDArray[np.int64]:
    """Magnitudes, ``(block, position)``, filled up with zeros."""
    n_blocks = -(-len(codes) // block)
    rows = np.zeros(n_blocks * block, np.int64)
    rows[: len(codes)] = np.abs(codes.astype(np.int64))
    return rows.reshape(n_blocks, block)


def fine_classes(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """By mean magnitude, 0 for blocks of zeros; ``(block,)``."""
    return _classes_of(rows.sum(axis=1), rows.shape[1])


def _classes_of(total: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """The same from the sum of each block."""
    with np.errstate(divide="ignore"):
        scale = _CLASSES_PER_OCTAVE * np.log2(total / block) + _CLASS_OFFSET
    return np.where(total > 0, np.clip(np.rint(scale), 1, _N_FINE - 1), 0).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    """Fine classes that share a table: their shift, counts of their symbols, and the bits that those take."""

    members: tuple[int, ...]
    shift: int
    counts: NDArray[np.int64]

    @property
    def bits(self) -> float:
        total = int(self.counts.sum())
        used = self.counts[self.counts > 0]
        entropy = -float((used * np.log2(used / total)).sum())
        return entropy + total * self.shift + _ESCAPE_BITS * int(self.counts[ESCAPE]) + _TABLE_BITS

    def joined(self, other: _Cluster) -> _Cluster:
        return _Cluster(self.members + other.members, self.shift, self.counts + other.counts)


def plan_tables(streams: list[NDArray[np.integer]], block_exponent: int) -> tuple[TablePlan, float]:
    """Tables for all streams of a segment, and the bits that they will take, signs included.

    Parameters
    ----------
    streams
        Differences, integers ``(sample,)`` each.
    """
    block = 1 << block_exponent
    counts = np.zeros(_N_FINE * N_SYMBOLS, np.int64)
    class_bits, sign_bits = 0.0, 0.0
    for codes in streams:
        # The zeros that fill up a stream shorter than a block are only counted: there may be many times its samples.
        rows = block_rows(codes, max(1, min(block, len(codes))))
        fine = _classes_of(rows.sum(axis=1), block)
        symbols = np.minimum(rows >> _SHIFT_OF_FINE[fine][:, None], ESCAPE)
        counts += np.bincount((fine[:, None] * N_SYMBOLS + symbols).ravel(), minlength=len(counts))
        counts[fine[-1:] * N_SYMBOLS] += len(rows) * block - rows.size
        sign_bits += int(np.count_nonzero(codes))
        steps = np.bincount(np.abs(np.diff(fine, prepend=0)))
        used = steps[steps > 0]
        class_bits += float(-(used * np.log2(used / steps.sum())).sum() + steps[1:].sum())
    clusters = [
        _Cluster((fine,), int(_SHIFT_OF_FINE[fine]), of_fine)
        for fine, of_fine in enumerate(counts.reshape(_N_FINE, N_SYMBOLS))
        if fine and of_fine.any()
    ]
    while True:
        gains = {
            index: left.bits + right.bits - left.joined(right).bits
            for index, (left, right) in enumerate(itertools.pairwise(clusters))
            if left.shift == right.shift
        }
        best = max(gains, key=lambda index: gains[index], default=None)
        if best is None or gains[best] <= 0:
            break
        clusters[best : best + 2] = [clusters[best].joined(clusters[best + 1])]
    class_of = np.zeros(_N_FINE, np.uint8)
    for index, cluster in enumerate(clusters, 1):
        class_of[list(cluster.members)] = index
    frequencies = np.array([_normalised(cluster.counts) for cluster in clusters], np.uint16).reshape(-1, N_SYMBOLS)
    tables = ResidualTables(block_exponent, np.array([cluster.shift for cluster in clusters], np.int64), frequencies)
    return TablePlan(tables, class_of), sum(cluster.bits for cluster in clusters) + class_bits + sign_bits


def _normalised(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frequencies that sum to 4096, at least 1 where there is a count."""
    share = counts * (TOTAL / counts.sum())
    result = np.where(counts > 0, np.maximum(np.floor(share), 1), 0).astype(np.int64)
    while (excess := int(result.sum()) - TOTAL) != 0:
        # Give to, or take from, the symbol that minds least.
        error = (result - share) / np.maximum(share, 1)
        error[(result == 0) | ((excess > 0) & (result == 1))] = -np.inf if excess > 0 else np.inf
        target = int(np.argmax(error) if excess > 0 else np.argmin(error))
        result[target] -= np.sign(excess)
    return result
