"""The CODING section, read as docs/format.md, section 5, says. Every *must* is checked."""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_fields import Bits, Tables, demand

LOW_SCALES = 256, 225, 191, 164, 142, 124, 108, 94, 81
HIGH_SCALES = None, 289, 260, 218, 187, 162, 140, 122, 106  # by halving


def read_coding(payload: bytes, header: dict[str, Any], models: list[SimpleNamespace]) -> SimpleNamespace:  # 5
    bits = Bits(payload)
    coding = SimpleNamespace(crc=zlib.crc32(payload), channels=[], tables=None)
    coding.first_chunk, coding.n_chunks, coding.coder = bits.rice(3).tolist()
    demand(coding.coder in (0, 1, 2), f"coder {coding.coder}")
    demand(1 <= coding.n_chunks <= header["n_chunks"] - coding.first_chunk, "chunks of a segment")
    coding.kernel_lengths = bits.rice(int(bits.rice(1, 1, len(header["channels"]))[0]), 0, 8192).tolist()
    for stored in header["channels"]:
        c = SimpleNamespace(stored=stored, prdn=struct.unpack(">f", bits.u(32).to_bytes(4, "big"))[0], layer=None)
        c.offset, c.minimum, c.maximum = bits.srice(3).tolist()
        c.largest_error, c.group = bits.rice(2).tolist()
        demand(c.prdn >= 0 and c.minimum <= c.maximum and c.group < len(coding.kernel_lengths), "channel of CODING")
        c.lattice = bits.rice(2).tolist() if bits.u(1) else None
        demand(c.lattice is None or (c.lattice[0] >= 1 and c.lattice[1] <= 45), "lattice")
        c.cascade = read_cascade(bits, coding, models, coding.kernel_lengths[c.group]) if bits.u(1) else None
        if bits.u(1):
            c.layer = read_layer(bits, coding.coder)
        coding.channels.append(c)
    coding.mixes = [read_mix(bits, coding.channels, group) for group in range(len(coding.kernel_lengths))]
    mixed = [member for mix in coding.mixes if mix for member in mix.members]
    for i, c in enumerate(coding.channels):
        c.is_mixed = i in mixed
        c.is_constant = c.cascade is None and c.layer is None and not c.is_mixed
        inside = c.stored["minimum"] <= c.minimum and c.maximum <= c.stored["maximum"]
        demand(c.minimum == c.maximum if c.is_constant else inside or c.lattice, "range of a channel")
    if coding.coder == 1 and any(c.layer for c in coding.channels):
        exponent, n_tables = bits.rice(2).tolist()
        demand(exponent <= 16 and n_tables <= 63, "residual tables")
        rows = [(bits.u(5), bits.rice(17, 0, 4096)) for _ in range(n_tables)]
        coding.block, coding.shifts = 1 << exponent, np.array([shift for shift, _ in rows], np.int64)
        coding.tables = Tables(np.array([row for _, row in rows], np.int64).reshape(-1, 17))
    bits.finish()
    rates = {(c.group, c.stored["per_frame"]) for c in coding.channels}
    demand(len(rates) == len({group for group, _ in rates}) == len(coding.kernel_lengths), "lead groups")
    for c in coding.channels:
        n_samples = header["chunk_frames"] * c.stored["per_frame"]
        is_free = not c.layer or coding.coder == 2
        demand(is_free or c.layer.restart >= min(len(c.layer.own), n_samples), "restart below own lags")
        for source, *_ in c.layer.references if c.layer else ():
            other = coding.channels[source]
            demand(not other.is_constant and other.stored["per_frame"] == c.stored["per_frame"], "a reference")
    return coding


def read_cascade(bits: Bits, coding: SimpleNamespace, models: list[Any], kernel_length: int) -> SimpleNamespace:
    model = models[int(bits.rice(1)[0])]
    cascade = SimpleNamespace(model=model, mantissa=bits.u(12), exponent=int(bits.srice(1, -40, 32)[0]))
    cascade.corrections = np.array([0, bits.u(6), bits.u(6), bits.u(6)])
    demand(cascade.mantissa >= 2048, "step")
    cascade.kernel_exponent, cascade.kernels = read_beat_kernels(bits, kernel_length)
    if coding.coder:
        cascade.set, cascade.scales = bits.u(3), np.cumsum(bits.srice(len(model.strides)))
        demand(cascade.set < len(model.band_weights), "set")
        demand(cascade.scales.min() >= 0 and cascade.scales.max() <= 95, "scale codes")
        cascade.phases = np.zeros((int(model.phase_groups.max()) + 1, 25), np.int64)
        if bits.u(1):
            cascade.phases = np.array([bits.srice(25, -15, 15) for _ in cascade.phases])
    return cascade


def read_layer(bits: Bits, coder: int) -> SimpleNamespace:
    layer = SimpleNamespace(references=[])
    layer.bound, layer.restart, layer.shift, n_own, n_references = bits.rice(5).tolist()
    demand(layer.bound <= 2**20 and layer.restart and layer.shift <= 20, "bound, restart or shift")
    demand(n_own <= 64 and n_references <= 256, "own lags or references")
    layer.own = bits.srice(n_own)
    for _ in range(n_references):
        source, n = bits.rice(2).tolist()
        first = int(bits.srice(1)[0])
        demand(n and first >= -64 and first + n - 1 <= 64, "lags of a reference")
        layer.references.append((source // 2, source % 2 == 1, first, bits.srice(n)))
    layer.near_lags, layer.far_lags = bits.rice(2).tolist() if coder == 2 else (0, 0)
    demand(layer.near_lags <= 32 and layer.far_lags <= 256, "near or far lags")
    weights = np.concatenate([layer.own, *(weights for *_, weights in layer.references)])
    demand(len(weights) <= 2048 and np.abs(weights).sum() <= 2**26, "weights")
    return layer


def read_beat_kernels(bits: Bits, length: int) -> tuple[int, np.ndarray]:
    """Exponent, and weights (kernel, position)."""
    n = int(bits.rice(1, 0, 64)[0])
    demand(length or not n, "beat kernels of length 0")
    if not n:
        return 0, np.zeros((0, length), np.int64)
    exponent = int(bits.srice(1, -10, 20)[0])
    if bits.u(1):
        step = bits.u(12)
        demand(step, "step of beat kernels")
        kernels = np.array([read_wavelet(bits, length, step) for _ in range(n)])
    else:
        differences = [bits.srice(length, 1 - 2**18, 2**18 - 1) for _ in range(n)]
        kernels = np.array(differences, np.int64).cumsum(axis=1).cumsum(axis=1)
    demand((np.abs(kernels) < 2**16).all(), "weights of beat kernels")
    return exponent, kernels


def read_wavelet(bits: Bits, length: int, step: int) -> list[int]:
    """Weights of one kernel, from its coefficients."""

    def band(width: int, scale: int) -> list[int]:
        amplitudes = [0] * width
        if bits.u(1):
            first, rest = bits.rice(2).tolist()
            demand(first + rest < width, "coefficients beyond their band")
            unit = max(1, (step * scale + 128) >> 8)
            amplitudes[first : first + rest + 1] = [q * unit for q in bits.srice(rest + 1).tolist()]
        demand(all(abs(a) < 2**24 for a in amplitudes), "amplitude of a beat kernel's coefficient")
        return amplitudes

    lengths = [length]  # of the low band after each halving
    while lengths[-1] > 8 and len(lengths) < 9:
        lengths.append(lengths[-1] - lengths[-1] // 2)
    low = band(lengths[-1], LOW_SCALES[len(lengths) - 1])
    for halving in range(len(lengths) - 1, 0, -1):
        low = joined(low, band(lengths[halving - 1] - lengths[halving], HIGH_SCALES[halving]))
    return low


def joined(a: list[int], b: list[int]) -> list[int]:
    """The band that was halved into ``a`` and ``b``."""
    a, b = list(a), list(b)
    for to_low, to_high in ((1817, 3616), (-217, -6497)):
        for i in range(len(a)):
            a[i] -= (to_low * (b[max(i - 1, 0)] + b[min(i, len(b) - 1)]) + 2048) >> 12
        for i in range(len(b)):
            b[i] -= (to_high * (a[i] + a[min(i + 1, len(a) - 1)]) + 2048) >> 12
    whole = [0] * (len(a) + len(b))
    whole[0::2], whole[1::2] = a, b
    return whole


def read_mix(bits: Bits, channels: list[SimpleNamespace], group: int) -> SimpleNamespace | None:
    """Members and components as numbers of channels, and weights in 2**-13 by member and component."""
    if not bits.u(1):
        return None
    of_group = [i for i, c in enumerate(channels) if c.group == group]
    mix = SimpleNamespace(members=[i for i in of_group if channels[i].minimum < channels[i].maximum])
    mix.components = [i for i in of_group if channels[i].cascade]
    demand(mix.components and set(mix.components) <= set(mix.members), "components of a mix")
    demand(not any(channels[i].layer or channels[i].lattice for i in of_group), "a layer or lattice in a mixed group")
    demand(len(mix.members) * len(mix.components) <= 2**20, "weights of a mix")
    shifts = [bits.u(4) for _ in mix.components]
    demand(max(shifts) <= 12, "shift of a component")
    rules: list[tuple[int, int, float, float] | None] = []
    for member in range(len(mix.members)):
        if not bits.u(1):
            rules.append(None)
            continue
        i, j = bits.rice(2).tolist()
        demand(i < j < member and rules[i] is None and rules[j] is None, "rule of a member")
        rules.append((i, j, *((1, -1, 0.5, -0.5)[bits.u(2)] for _ in range(2))))
    mix.weights = [[0] * len(shifts) for _ in mix.members]
    for component, shift in enumerate(shifts):
        direct = [row for row, rule in zip(mix.weights, rules, strict=True) if rule is None]
        for row, weight in zip(direct, bits.srice(len(direct), -(2**shift), 2**shift).tolist(), strict=True):
            row[component] = weight * 2 ** (13 - shift)
    for member, rule in enumerate(rules):
        if rule is not None:
            i, j, to_i, to_j = rule
            pairs = zip(mix.weights[i], mix.weights[j], strict=True)
            mix.weights[member] = [int(to_i * first + to_j * second) for first, second in pairs]
    return mix
