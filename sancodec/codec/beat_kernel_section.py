"""Beat kernels as fields of the CODING section (docs/format.md, section "CODING")."""

from __future__ import annotations

import numpy as np

from sancodec.codec.beats import FRACTION_BITS, MAX_EXPONENT, MAX_WEIGHT, BeatKernels
from sancodec.codec.bits import BitReader, BitWriter, unzigzag, zigzag
from sancodec.codec.kernel_wavelet import KernelCoefficients, band_lengths
from sancodec.errors import CorruptError, LimitExceededError

MAX_BEAT_KERNELS = 64
_STEP_BITS = 12


def write_kernels(writer: BitWriter, kernels: BeatKernels) -> None:
    """Number of kernels, exponent, and wavelet coefficients, or second differences of the weights."""
    writer.rice(np.array([kernels.n_kernels]))
    if not kernels.n_kernels:
        return
    writer.rice(zigzag(np.array([kernels.exponent], np.int64)))
    stored = kernels.coefficients
    writer.number(int(stored is not None), 1)
    if stored is None:
        for weights in kernels.weights.astype(np.int64):
            writer.rice(zigzag(np.diff(weights, n=2, prepend=[0, 0])))
        return
    writer.number(stored.step, _STEP_BITS)
    for values in stored.values:
        for band in np.split(values, np.cumsum(band_lengths(len(values)))[:-1]):
            used = np.flatnonzero(band)
            writer.number(int(len(used) > 0), 1)
            if len(used):
                writer.rice(np.array([used[0], used[-1] - used[0]]))
                writer.rice(zigzag(band[used[0] : used[-1] + 1]))


def read_kernels(reader: BitReader, length: int) -> BeatKernels:
    """Inverse of ``write_kernels``.

    Parameters
    ----------
    length
        Of every kernel, in samples.

    Raises
    ------
    FormatError
    """
    n_kernels = int(reader.rice(1)[0])
    if n_kernels > MAX_BEAT_KERNELS or (n_kernels and not length):
        raise LimitExceededError(
            f"{n_kernels} beat kernels of {length} samples; at most {MAX_BEAT_KERNELS} are allowed"
        )
    if not n_kernels:
        return BeatKernels(np.zeros((0, length), np.int32), 0)
    exponent = int(unzigzag(reader.rice(1))[0])
    if not -FRACTION_BITS <= exponent <= MAX_EXPONENT:
        raise CorruptError(f"beat kernel exponent {exponent}; {-FRACTION_BITS} to {MAX_EXPONENT} is allowed")
    if reader.number(1):
        return BeatKernels.of(_read_coefficients(reader, n_kernels, length), exponent)
    differences = np.stack([unzigzag(reader.rice(length)) for _ in range(n_kernels)])
    if np.abs(differences).max() >= 2**18:
        raise LimitExceededError(
            f"a second difference of {np.abs(differences).max()} in a beat kernel; it must be below 2**18"
        )
    weights = np.cumsum(np.cumsum(differences, axis=1), axis=1)
    if np.abs(weights).max() > MAX_WEIGHT:
        raise LimitExceededError(f"a beat kernel weight of {np.abs(weights).max()}; it must be below 65536")
    return BeatKernels(weights.astype(np.int32), exponent)


def _read_coefficients(reader: BitReader, n_kernels: int, length: int) -> KernelCoefficients:
    step = reader.number(_STEP_BITS)
    if not step:
        raise CorruptError("a beat kernel's coefficients have step 0")
    lengths = band_lengths(length)
    values = np.zeros((n_kernels, length), np.int64)
    for row in values:
        for band in np.split(row, np.cumsum(lengths)[:-1]):
            if reader.number(1):
                first, rest = reader.rice(2).tolist()
                if first + rest >= len(band):
                    raise CorruptError(
                        f"coefficients {first} to {first + rest} of a beat kernel's band of {len(band)} samples"
                    )
                band[first : first + rest + 1] = unzigzag(reader.rice(rest + 1))
    return KernelCoefficients(step, values)
