"""How few levels, and which of them, keep a PSNR: the search of the encoder (docs/benchmarks.md, "Images").

Levels are the activation maps of the image, one sparse map each; pixels are the sum of 5 x 5 kernels over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import native
from sancodec.codec.parallel import Threads
from sancodec.codec.progress import Progress
from sancodec.images.coding import MAX_LEVELS, WEIGHT_BITS, ZSTD, ImageCoding
from sancodec.images.mixing import encode_symbols
from sancodec.images.rounding import fitted_kernels, level_costs, round_levels

PEAK = 255
_SAMPLE_PIXELS, _FIT_PIXELS = 1 << 17, 1 << 20
_LLOYD_PASSES = 60
_FIRST_PRICE, _LOWEST_PRICE = 6.0, 0.02  # squared errors per bit, in units of the mean squared error allowed
_HOPELESS = 1.1  # error before any rounding, in the same units
_TRIALS, _PASSES, _FINAL_PASSES = 6, 2, 3
_FINAL_TRIALS = 8
_CLOSE = 0.985  # of the mean squared error allowed: near enough
_SLOPE, _SLOPES, _LARGEST_STEP = 0.3, (0.05, 1.0), 2.5  # of the error's logarithm over that of the price's
_WORSE_IN_A_ROW = 2
_BLOCK_PIXELS = 1 << 19


@dataclass(frozen=True, eq=False)
class Levels:
    """Images as levels.

    Parameters
    ----------
    symbols
        uint8, shape ``(image, row, column)``.
    coding
        What makes pixels of them.
    """

    symbols: NDArray[np.uint8]
    coding: ImageCoding


@dataclass(frozen=True, eq=False)
class _Trial:
    levels: NDArray[np.uint8]
    kernels: NDArray[np.int32]
    price: float
    error: float


def mean_squared_error(psnr_db: float) -> float:
    """The mean squared error of pixels that a PSNR allows."""
    return PEAK**2 / 10 ** (psnr_db / 10)


def psnr_of(squared_error: int, n_pixels: int) -> float:
    """PSNR in dB; infinite without errors."""
    return 10 * float(np.log10(PEAK**2 * n_pixels / squared_error)) if squared_error else float("inf")


def squared_error(pixels: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> int:
    """Sum of the squared differences."""
    total = 0
    for first in range(0, len(pixels), step := max(1, _BLOCK_PIXELS // pixels[0].size)):
        difference = pixels[first : first + step].astype(np.int32) - decoded[first : first + step]
        total += int((difference.astype(np.int64) ** 2).sum())
    return total


def levels_for(pixels: NDArray[np.uint8], *, psnr_db: float, threads: Threads, on_progress: Progress) -> Levels | None:
    """Levels of which few bits are expected, with at least this PSNR; None where no number of levels has it."""
    allowed = mean_squared_error(psnr_db)
    sample = _every_so_many(pixels, _SAMPLE_PIXELS)
    tried: list[tuple[float, int, _Trial]] = []
    n_worse = 0
    for n_levels in range(2, MAX_LEVELS + 1):
        trial = _search(sample, n_levels, allowed)
        on_progress(0.6 * n_levels / MAX_LEVELS)
        if trial is None:
            continue
        # What it would cost at just the error allowed: one more unit of squared error saves 1 / price bits.
        cost = _bits(trial, _background(trial.levels)) + (trial.error - allowed) * sample.size / trial.price
        n_worse = n_worse + 1 if tried and cost >= min(tried, key=lambda each: each[0])[0] else 0
        tried.append((cost, n_levels, trial))
        if n_worse == _WORSE_IN_A_ROW:
            break
    for _, n_levels, trial in sorted(tried, key=lambda each: each[0]):
        found = _final(pixels, n_levels, trial, allowed, threads, on_progress)
        if found is not None:
            return found
    return None


def _every_so_many(pixels: NDArray[np.uint8], n_pixels: int) -> NDArray[np.uint8]:
    """Images spread over all, about so many pixels; of large images the middle."""
    _, height, width = pixels.shape
    rows = min(height, max(1, n_pixels // width))
    step = -(-pixels.size // max(n_pixels, pixels[0].size))
    first = (height - rows) // 2
    return np.ascontiguousarray(pixels[::step, first : first + rows])


def _nearest(pixels: NDArray[np.uint8], n_levels: int) -> NDArray[np.uint8]:
    """Each of the 256 values' level by Lloyd's algorithm on the histogram."""
    histogram, values = np.bincount(pixels.reshape(-1), minlength=256), np.arange(256)
    low, high = int(pixels.min()), int(pixels.max())
    centres = np.linspace(low, high, 2 * n_levels + 1)[1::2]
    centres[0] = low
    nearest = np.zeros(256, np.int64)
    for _ in range(_LLOYD_PASSES):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        weight = np.bincount(nearest, histogram, n_levels)
        total = np.bincount(nearest, histogram * values, n_levels)
        centres = np.where(weight > 0, total / np.maximum(weight, 1), centres)
    return nearest.astype(np.uint8)


class _PriceSearch:
    """Prices whose errors come ever nearer to what is allowed, by the secant through the logarithms of the last two."""

    def __init__(self, price: float, allowed: float) -> None:
        self.price = price
        self._wanted = float(np.log(allowed * (1 + _CLOSE) / 2))
        self._last: tuple[float, float] | None = None

    def learn(self, error: float) -> None:
        """Choose the next price, given the error at this one."""
        here = float(np.log(self.price)), float(np.log(max(error, 1e-9)))
        slope = _SLOPE
        if self._last is not None and here[0] != self._last[0]:
            slope = float(np.clip((here[1] - self._last[1]) / (here[0] - self._last[0]), *_SLOPES))
        self._last = here
        step = float(np.clip((self._wanted - here[1]) / slope, -_LARGEST_STEP, _LARGEST_STEP))
        self.price = float(np.exp(here[0] + step))


def _search(sample: NDArray[np.uint8], n_levels: int, allowed: float) -> _Trial | None:
    """The trial with the largest error of those whose error is allowed."""
    start = _nearest(sample, n_levels)[sample]
    background = _background(start)
    first_kernels = fitted_kernels(sample, start, n_levels=n_levels, background=background)
    if _error(sample, start, first_kernels, background) > _HOPELESS * allowed:
        return None
    prices, best = _PriceSearch(_FIRST_PRICE * allowed, allowed), None
    for _ in range(_TRIALS if native.core is not None else 1):
        levels, kernels = start, first_kernels
        for _ in range(_PASSES):
            costs, _ = level_costs(levels, n_levels=n_levels, background=background)
            levels = round_levels(sample, levels, kernels, costs, price=prices.price, background=background)
            kernels = fitted_kernels(sample, levels, n_levels=n_levels, background=background)
        error = _error(sample, levels, kernels, background)
        if error <= allowed and (best is None or error > best.error):
            best = _Trial(levels, kernels, prices.price, error)
        if _CLOSE * allowed <= error <= allowed or prices.price < _LOWEST_PRICE * allowed:
            break
        prices.learn(error)
    return best


def _plain_coding(kernels: NDArray[np.int32], background: int) -> ImageCoding:
    """With values that are like the levels: what a plain area of each becomes, made to rise."""
    n_levels = len(kernels)
    plain = np.clip((kernels.sum(axis=1) + (1 << WEIGHT_BITS - 1)) >> WEIGHT_BITS, 0, PEAK)
    rising = np.maximum.accumulate(plain - np.arange(n_levels)) + np.arange(n_levels)
    values = np.minimum(rising, np.arange(PEAK + 1 - n_levels, PEAK + 1)).astype(np.uint8)
    return ImageCoding(ZSTD, background, values, kernels, 0.0)


def _error(pixels: NDArray[np.uint8], levels: NDArray[np.uint8], kernels: NDArray[np.int32], background: int) -> float:
    return squared_error(pixels, _plain_coding(kernels, background).pixels_of(levels)) / pixels.size


def _bits(trial: _Trial, background: int) -> float:
    """What the levels of a trial take, coded; without the native core an estimate."""
    coding = _plain_coding(trial.kernels, background)
    if native.core is None:
        return level_costs(trial.levels, n_levels=len(coding.values), background=background)[1]
    return 8.0 * len(encode_symbols(trial.levels, coding.values, background))


def _background(levels: NDArray[np.uint8]) -> int:
    return int(np.bincount(levels.reshape(-1)).argmax())


def _final(
    pixels: NDArray[np.uint8],
    n_levels: int,
    trial: _Trial,
    allowed: float,
    threads: Threads,
    on_progress: Progress,
) -> Levels | None:
    """All images with the levels, kernels and costs of a trial, at the highest price whose error is allowed."""
    nearest = _nearest(_every_so_many(pixels, _SAMPLE_PIXELS), n_levels)
    background = _background(trial.levels)
    costs, _ = level_costs(trial.levels, n_levels=n_levels, background=background)
    blocks = list(_blocks(len(pixels), pixels[0].size))
    start, kernels = nearest[pixels], trial.kernels
    best: Levels | None = None
    least_waste = 1.0
    prices = _PriceSearch(trial.price, allowed)
    for index in range(_FINAL_TRIALS if native.core is not None else 1):
        rounded = partial(_rounded, pixels, start, kernels, costs, prices.price, background)
        levels = np.concatenate(list(threads.map(rounded, blocks)))
        if index == 0:
            step = -(-pixels.size // max(_FIT_PIXELS, pixels[0].size))
            kernels = fitted_kernels(pixels[::step], levels[::step], n_levels=n_levels, background=background)
        coding = _plain_coding(kernels, background)
        error_of = partial(_squared_error_of, pixels, levels, coding)
        total = sum(threads.map(error_of, blocks))
        waste = 1 - total / pixels.size / allowed
        on_progress(0.6 + 0.4 * (index + 1) / _FINAL_TRIALS)
        if 0 <= waste < least_waste:
            best, least_waste = Levels(levels, replace(coding, psnr_db=psnr_of(total, pixels.size))), waste
            if waste <= 1 - _CLOSE:
                break
        prices.learn(total / pixels.size)
    return best


def _blocks(n_images: int, image_pixels: int) -> Iterator[slice]:
    size = max(1, _BLOCK_PIXELS // image_pixels)
    for first in range(0, n_images, size):
        yield slice(first, first + size)


def _rounded(
    pixels: NDArray[np.uint8],
    start: NDArray[np.uint8],
    kernels: NDArray[np.int32],
    costs: NDArray[np.int32],
    price: float,
    background: int,
    block: slice,
) -> NDArray[np.uint8]:
    levels = start[block]
    for _ in range(_FINAL_PASSES):
        levels = round_levels(pixels[block], levels, kernels, costs, price=price, background=background)
    return levels


def _squared_error_of(pixels: NDArray[np.uint8], levels: NDArray[np.uint8], coding: ImageCoding, block: slice) -> int:
    return squared_error(pixels[block], coding.pixels_of(levels[block]))
