"""Orthonormal banks as kernel groups: lapped transforms with a split lowest band, and dyadic wavelets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.kernels import KernelGroup, centred_group

HAAR = np.array([1.0, 1.0]) / np.sqrt(2)
# Daubechies, Ten Lectures on Wavelets (1992), table 6.3: least asymmetric scaling filters.
SYM4 = np.array(
    [
        -0.07576571478927333,
        -0.02963552764599851,
        0.49761866763201545,
        0.8037387518059161,
        0.29785779560527736,
        -0.09921954357684722,
        -0.012603967262037833,
        0.0322231006040427,
    ]
)
SYM8 = np.array(
    [
        -0.0033824159510061256,
        -0.0005421323317911481,
        0.03169508781149298,
        0.007607487324917605,
        -0.1432942383508097,
        -0.061273359067658524,
        0.4813596512583722,
        0.7771857517005235,
        0.3644418948353314,
        -0.05194583810770904,
        -0.027219029917056003,
        0.049137179673607506,
        0.003808752013890615,
        -0.01495225833704823,
        -0.0003029205147213668,
        0.0018899503327594609,
    ]
)


def mdct_kernels(n_bands: int) -> NDArray[np.float64]:
    """MDCT kernels with a sine window, shape ``(n_bands, 2 * n_bands)``; orthonormal at stride ``n_bands``."""
    position = np.arange(2 * n_bands)
    band = np.arange(n_bands)[:, None]
    window = np.sin(np.pi * (position + 0.5) / (2 * n_bands))
    phase = np.pi / n_bands * (position + 0.5 + n_bands / 2) * (band + 0.5)
    kernels: NDArray[np.float64] = np.sqrt(2 / n_bands) * window * np.cos(phase)
    return kernels


def wavelet_filters(scaling: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Synthesis low-pass and high-pass of an orthonormal wavelet, from its scaling filter."""
    high = scaling[::-1] * (-1.0) ** np.arange(len(scaling))
    return scaling, high


def _upsample_convolve(kernel: NDArray[np.float64], taps: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    spread = np.zeros((len(taps) - 1) * stride + 1)
    spread[::stride] = taps
    return np.convolve(spread, kernel)


def split_lowest(
    kernels: NDArray[np.float64], *, stride: int, levels: int, scaling: NDArray[np.float64]
) -> list[KernelGroup]:
    """Split band 0 of an orthonormal bank by a wavelet ``levels`` times and return groups, coarse to fine."""
    low_taps, high_taps = wavelet_filters(scaling)
    low = kernels[0]
    groups = [centred_group(kernels[1:], stride=stride)] if len(kernels) > 1 else []
    for level in range(levels):
        factor = stride << level
        high = _upsample_convolve(low, high_taps, factor)
        low = _upsample_convolve(low, low_taps, factor)
        if level == levels - 1:
            groups.append(centred_group(np.stack([low, high]), stride=2 * factor))
        else:
            groups.append(centred_group(high[None], stride=2 * factor))
    return groups[::-1]


def dyadic_groups(scaling: NDArray[np.float64], *, levels: int) -> list[KernelGroup]:
    """An orthonormal wavelet written as kernel groups with strides ``2 … 2**levels``."""
    return split_lowest(np.ones((1, 1)), stride=1, levels=levels, scaling=scaling)
