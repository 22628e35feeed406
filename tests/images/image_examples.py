"""Small stacks of images that differ in what they ask of a coder."""

import numpy as np


def discs(n=6, height=20, width=16, seed=0, noise=0):
    """Soft bright discs on black, like handwriting in their statistics."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    images = np.zeros((n, height, width))
    for image in images:
        y, x, radius = rng.uniform(5, height - 5), rng.uniform(5, width - 5), rng.uniform(2, 6)
        image[:] = np.clip(255 * (radius + 1 - np.hypot(rows - y, columns - x)), 0, 255)
    return np.clip(images + noise * rng.standard_normal(images.shape), 0, 255).astype(np.uint8)


def stacks():
    rng = np.random.default_rng(5)
    return {
        "discs": discs(),
        "noisy": discs(2, 11, 13, noise=9),
        "noise": rng.integers(0, 256, (1, 7, 5)).astype(np.uint8),
        "black": np.zeros((3, 4, 5), np.uint8),
        "one pixel": np.full((1, 1, 1), 200, np.uint8),
        "one row": rng.integers(0, 3, (2, 1, 40)).astype(np.uint8) * 90,
        "two values": rng.integers(0, 2, (2, 9, 3)).astype(np.uint8) * 255,
    }


def symbols_of(pixels):
    """Symbols, their values, and the most frequent one."""
    values, symbols = np.unique(pixels, return_inverse=True)
    symbols = symbols.reshape(pixels.shape).astype(np.uint8)
    return symbols, values, int(np.bincount(symbols.reshape(-1)).argmax())
