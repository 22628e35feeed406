"""Small signals that a network learns within a second."""

import numpy as np

from sancodec.san.normalisation import Normalisation
from sancodec.training.windows import SplitWindows


def spikes(n_windows=12, length=100, *, period=25, seed=0):
    """One symmetric shape again and again, with noise: ``(window, sample)``."""
    generator = np.random.default_rng(seed)
    shape = np.array([0, 1, 3, 6, 8, 6, 3, 1, 0], np.float64)
    windows = 0.05 * generator.normal(size=(n_windows, length))
    for window in windows:
        for start in range(int(generator.integers(1, period // 2)), length - len(shape), period):
            window[start : start + len(shape)] += shape
    return windows


def split_spikes(**arguments):
    windows = Normalisation()(spikes(**arguments))[:, None]
    return SplitWindows(windows[:6], windows[6:8], windows[8:], Normalisation(), 100.0, "spikes")


def split_images():
    windows = Normalisation()(np.random.default_rng(0).normal(size=(9, 10, 12)))[:, None]
    return SplitWindows(windows[:5], windows[5:7], windows[7:], Normalisation(), None, "images")
