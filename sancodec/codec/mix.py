"""Channels as weighted sums of components: how a file states the weights, and the sums (docs/format.md, 10.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.beats import FRACTION_BITS
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.errors import CorruptError, LimitExceededError

MAX_SHIFT = 12
WEIGHT_BITS = MAX_SHIFT + 1
MAX_MIX_WEIGHTS = 1 << 20
_MAX_SUM = 1 << 52
_SHIFT_BITS = 4
_CODE_BITS = 2
# Twice what each code stands for.
_TWICE_FACTORS = (2, -2, 1, -1)
FACTORS = tuple(each / 2 for each in _TWICE_FACTORS)


@dataclass(frozen=True, slots=True)
class Derived:
    """A channel that is a sum of two others, as lead III is II - I.

    Parameters
    ----------
    members
        Numbers of two channels among the members of the group, increasing; neither is derived.
    codes
        Of their factors, indices of `FACTORS`.
    """

    members: tuple[int, int]
    codes: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """How the channels of a lead group follow from its components.

    Members are the group's channels that are not constant, in order; components are the cascades of the group, in the
    order of the channels that carry them.

    Parameters
    ----------
    shifts
        int64 ``(component,)``, 0 to ``MAX_SHIFT``: weights of a component are in ``2**-shift``.
    weights
        int64 ``(member, component)``; rows of derived members are not used.
    derived
        Per member; None for those that have weights of their own.
    """

    shifts: NDArray[np.int64]
    weights: NDArray[np.int64]
    derived: tuple[Derived | None, ...]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Weights of all members, int64 ``(member, component)``, in ``2**-WEIGHT_BITS``."""
        rows = self.weights << (WEIGHT_BITS - self.shifts)
        for member, rule in enumerate(self.derived):
            if rule is not None:
                first, second = (_TWICE_FACTORS[code] for code in rule.codes)
                rows[member] = (first * rows[rule.members[0]] + second * rows[rule.members[1]]) >> 1
        return rows


def mixed(rows: NDArray[np.int64], components: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of components, rounded to stored units, less the channels' offsets.

    Parameters
    ----------
    rows
        Weights int64 ``(member, component)``, in ``2**-WEIGHT_BITS``.
    components
        int64 ``(component, sample)``, in ``2**-FRACTION_BITS`` stored units.

    Returns
    -------
    int64 ``(member, sample)``.

    Raises
    ------
    CorruptError
        When a sum could leave the range in which float64 is exact.
    """
    peak = int(np.abs(components).max(initial=0))
    if peak * int(np.abs(rows).sum(axis=1).max(initial=0)) >= _MAX_SUM:
        raise CorruptError("a decoded component lies beyond the exact range of its weights")
    sums = rows.astype(np.float64) @ components.astype(np.float64)
    sums += 2.0 ** (WEIGHT_BITS + FRACTION_BITS - 1)
    sums *= 2.0 ** -(WEIGHT_BITS + FRACTION_BITS)
    return np.floor(sums, out=sums).astype(np.int64)


def write_mix(writer: BitWriter, mix: Mix | None) -> None:
    """Whether there is a mix, then shifts, rules, and weights component by component."""
    writer.number(int(mix is not None), 1)
    if mix is None:
        return
    for shift in mix.shifts.tolist():
        writer.number(shift, _SHIFT_BITS)
    for rule in mix.derived:
        writer.number(int(rule is not None), 1)
        if rule is not None:
            writer.rice(np.array(rule.members))
            for code in rule.codes:
                writer.number(code, _CODE_BITS)
    direct = [member for member, rule in enumerate(mix.derived) if rule is None]
    for column in mix.weights[direct].T:
        writer.rice(zigzag(column))


def read_mix(reader: BitReader, n_members: int, n_components: int) -> Mix | None:
    """Inverse of `write_mix`.

    Raises
    ------
    FormatError
    """
    if not reader.number(1):
        return None
    if not n_components:
        raise CorruptError("a lead group is mixed of no component")
    if n_members * n_components > MAX_MIX_WEIGHTS:
        raise LimitExceededError(
            f"{n_members} channels of {n_components} components; at most {MAX_MIX_WEIGHTS} weights are allowed"
        )
    shifts = np.array([reader.number(_SHIFT_BITS) for _ in range(n_components)], np.int64)
    if shifts.max() > MAX_SHIFT:
        raise LimitExceededError(f"weights of components in 2^-{shifts.max()}; at most 2^-{MAX_SHIFT} is allowed")
    derived = _read_rules(reader, n_members)
    direct = [member for member, rule in enumerate(derived) if rule is None]
    weights = np.zeros((n_members, n_components), np.int64)
    for component, shift in enumerate(shifts.tolist()):
        column = unzigzag(reader.rice(len(direct)))
        if np.abs(column).max(initial=0) > 1 << shift:
            raise LimitExceededError(
                f"component {component}: a weight of {np.abs(column).max()}·2^-{shift}; at most 1 is allowed"
            )
        weights[direct, component] = column
    return Mix(shifts, weights, derived)


def _read_rules(reader: BitReader, n_members: int) -> tuple[Derived | None, ...]:
    derived: list[Derived | None] = []
    for member in range(n_members):
        if not reader.number(1):
            derived.append(None)
            continue
        first, second = reader.rice(2).tolist()
        if not first < second < member or derived[first] is not None or derived[second] is not None:
            raise CorruptError(f"member {member} of a mix is derived from members {first} and {second}")
        derived.append(Derived((first, second), (reader.number(_CODE_BITS), reader.number(_CODE_BITS))))
    return tuple(derived)
