import numpy as np
import pytest
from image_examples import discs

from sancodec.codec import native
from sancodec.codec.parallel import Threads
from sancodec.images.coding import ZSTD, ImageCoding
from sancodec.images.levels import levels_for, mean_squared_error, psnr_of, squared_error
from sancodec.images.rounding import fitted_kernels, level_costs, round_levels

needs_core = pytest.mark.skipif(not hasattr(native.core, "image_rounding"), reason="the native core is not built")


def coarse(pixels, n_levels):
    return (pixels.astype(int) * n_levels // 256).astype(np.uint8)


def plain_pixels(levels, kernels, background):
    """The sum of activation maps convolved with their kernels, in 2**-6, pixel by pixel."""
    result = np.zeros(levels.shape, np.int64)
    for image, row, column in np.ndindex(levels.shape):
        for tap in range(25):
            y, x = row + tap // 5 - 2, column + tap % 5 - 2
            inside = 0 <= y < levels.shape[1] and 0 <= x < levels.shape[2]
            result[image, row, column] += kernels[levels[image, y, x] if inside else background, tap]
    return result


def plain_costs(levels, costs, background):
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 1)), constant_values=background).astype(int)
    west, north = padded[:, 1:, :-2], padded[:, :-1, 1:-1]
    return int(costs[west, north, padded[:, :-1, 2:], padded[:, :-1, :-2], levels].sum())


def plain_rounding(pixels, levels, kernels, costs, price, background):
    """Every candidate by coding and decoding all of the image anew."""
    levels = levels.copy()

    def burden():
        error = (pixels.astype(np.int64) << 6) - plain_pixels(levels, kernels, background)
        return int((error**2).sum()) + price * plain_costs(levels, costs, background)

    for image, row, column in np.ndindex(levels.shape):
        was = best = int(levels[image, row, column])
        west = int(levels[image, row, column - 1]) if column else background
        north = int(levels[image, row - 1, column]) if row else background
        least = burden()
        for level in (was - 1, was + 1, west, north, background):
            if 0 <= level < len(kernels) and level not in (was, best):
                levels[image, row, column] = level
                if burden() < least:
                    least, best = burden(), level
        levels[image, row, column] = best
    return levels


def test_pixels_are_the_sum_of_maps_and_kernels():
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 4, (2, 6, 7)).astype(np.uint8)
    kernels = rng.integers(-900, 2000, (4, 25)).astype(np.int32)
    coding = ImageCoding(ZSTD, 2, np.arange(4, dtype=np.uint8), kernels, 0.0)
    expected = np.clip((plain_pixels(levels, kernels, 2) + 32) // 64, 0, 255)
    assert np.array_equal(coding.pixels_of(levels), expected)


def test_kernels_are_those_of_least_squares():
    pixels = discs(3, noise=5)
    levels = coarse(pixels, 3)
    kernels = fitted_kernels(pixels, levels, n_levels=3, background=0)
    padded = np.pad(levels, ((0, 0), (2, 2), (2, 2)))
    taps = [padded[:, y : y + 20, x : x + 16].reshape(-1) for y in range(5) for x in range(5)]
    design = np.stack([(tap == level) for level in range(3) for tap in taps], axis=1).astype(float)
    best, *_ = np.linalg.lstsq(design, pixels.reshape(-1).astype(float), rcond=None)
    least = ((design @ best - pixels.reshape(-1)) ** 2).sum()
    found = ((design @ (kernels.reshape(-1) / 64) - pixels.reshape(-1)) ** 2).sum()
    assert least <= found < 1.01 * least + 0.1 * pixels.size


def test_costs_are_those_of_chances_that_sum_to_one():
    levels = coarse(discs(4), 4)
    costs, total = level_costs(levels, n_levels=4, background=0)
    assert np.allclose((2.0 ** (-costs / 256)).sum(axis=-1), 1, atol=0.01)
    assert total == pytest.approx(plain_costs(levels, costs, 0) / 256, rel=0.01)
    assert total < 2 * levels.size


@needs_core
@pytest.mark.parametrize("seed", range(3))
def test_the_core_rounds_as_the_plain_search_does(seed):
    pixels = discs(2, 11, 12, seed, noise=20)
    levels = coarse(pixels, 3)
    kernels = fitted_kernels(pixels, levels, n_levels=3, background=0)
    costs, _ = level_costs(levels, n_levels=3, background=0)
    levels[np.random.default_rng(seed).random(levels.shape) < 0.1] = 1
    price = 40_000
    expected = plain_rounding(pixels, levels, kernels, costs, price, 0)
    found = round_levels(pixels, levels, kernels, costs, price=price / 16, background=0)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, levels)


@needs_core
def test_the_core_refuses_levels_without_kernels():
    pixels, kernels = np.zeros(4, np.uint8), np.zeros(50, np.int32)
    with pytest.raises(ValueError, match="no such level"):
        native.core.image_rounding(pixels, pixels + 2, 2, 2, kernels, np.zeros(32, np.int32), 1, 0)
    with pytest.raises(ValueError, match="of other levels"):
        native.core.image_rounding(pixels, pixels.copy(), 2, 2, kernels, np.zeros(31, np.int32), 1, 0)
    with pytest.raises(ValueError, match="of other sizes"):
        native.core.image_rounding(pixels, pixels.copy(), 2, 3, kernels, np.zeros(32, np.int32), 1, 0)


@pytest.mark.parametrize("psnr_db", [22.0, 30.0])
def test_levels_keep_the_psnr(psnr_db):
    pixels = discs(24, noise=3)
    found = levels_for(pixels, psnr_db=psnr_db, threads=Threads(1), on_progress=lambda done: None)
    error = squared_error(pixels, found.coding.pixels_of(found.symbols))
    assert error <= mean_squared_error(psnr_db) * pixels.size
    assert found.coding.psnr_db == psnr_of(error, pixels.size) >= psnr_db
    assert 2 <= len(found.coding.values) <= 16


def test_no_levels_are_found_for_a_psnr_beyond_them():
    noise = np.random.default_rng(0).integers(0, 256, (2, 60, 60)).astype(np.uint8)
    assert levels_for(noise, psnr_db=60.0, threads=Threads(1), on_progress=lambda done: None) is None
