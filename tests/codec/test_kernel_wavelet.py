import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.codec.beat_kernel_section import read_kernels, write_kernels
from sancodec.codec.beats import BeatKernels, kernel_geometry
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.kernel_wavelet import (
    MAX_AMPLITUDE,
    MAX_COEFFICIENT_STEP,
    KernelCoefficients,
    band_lengths,
    quantised,
    weights_of,
)
from sancodec.errors import FormatError, LimitExceededError

LOW_SCALES = 256, 225, 191, 164, 142, 124, 108, 94, 81
HIGH_SCALES = 0, 289, 260, 218, 187, 162, 140, 122, 106


def shapes(length, n_kernels=2, seed=0):
    """Waves of some height and width, and a little noise, float64 (kernel, position)."""
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    centre, width = rng.uniform(0.2, 0.8, (n_kernels, 1)) * length, rng.uniform(0.02, 0.2, (n_kernels, 1)) * length + 1
    return 9000 * np.exp(-(((at - centre) / width) ** 2)) + rng.normal(0, 5, (n_kernels, length))


def weights_by_hand(step, values):
    """Weights of one kernel, with a loop for each line of docs/format.md."""
    low, widths = len(values), []
    while low > 8 and len(widths) < 8:
        widths.insert(0, low // 2)
        low -= low // 2
    scales = [LOW_SCALES[len(widths)], *HIGH_SCALES[len(widths) : 0 : -1]]
    rest, bands = [int(value) for value in values], []
    for width, scale in zip([low, *widths], scales, strict=True):
        bands.append([q * max(1, step * scale + 128 >> 8) for q in rest[:width]])
        rest = rest[width:]
    a, *highs = bands
    for b in highs:
        for to_low, to_high in ((1817, 3616), (-217, -6497)):
            before = [b[0], *b]
            behind = [*b, b[-1]]
            a = [a[i] - ((to_low * (before[i] + behind[i]) + 2048) >> 12) for i in range(len(a))]
            ahead = [*a[1:], a[-1]]
            b = [b[i] - ((to_high * (a[i] + ahead[i]) + 2048) >> 12) for i in range(len(b))]
        a = [b[i // 2] if i % 2 else a[i // 2] for i in range(len(a) + len(b))]
    return a


@pytest.mark.parametrize(
    ("length", "lengths"),
    [
        (1, [1]),
        (8, [8]),
        (9, [5, 4]),
        (17, [5, 4, 8]),
        (256, [8, 8, 16, 32, 64, 128]),
        (8192, [32, 32, 64, 128, 256, 512, 1024, 2048, 4096]),
    ],
)
def test_a_kernel_is_halved_down_to_eight_and_at_most_eight_times(length, lengths):
    assert band_lengths(length) == lengths


def test_every_length_comes_back_to_within_the_finest_steps():
    """A step is at least 1 in every band, and every halving rounds."""
    for length in range(4, 801):
        weights = shapes(length, seed=length)
        error = weights_of(quantised(weights, 1)) - weights
        assert np.sqrt((error**2).mean()) < 2
        assert np.abs(error).max() < 8


@pytest.mark.parametrize("length", [kernel_geometry(rate)[0] for rate in (128, 250, 360, 500, 1000)])
@pytest.mark.parametrize("step", [10, 48, 300, 1500])
def test_error_is_below_the_step(length, step):
    weights = shapes(length, n_kernels=5)
    coefficients = quantised(weights, step)
    error = weights_of(coefficients) - weights
    assert np.sqrt((error**2).mean()) < 0.6 * step
    assert np.abs(error).max() < 2 * step
    assert np.count_nonzero(coefficients.values) < 0.5 * weights.size


@given(
    st.one_of(st.integers(1, 70), st.sampled_from([255, 256, 257, 2049])),
    st.integers(1, MAX_COEFFICIENT_STEP),
    st.integers(0, 2**32),
)
def test_weights_are_those_of_a_plain_loop(length, step, seed):
    rng = np.random.default_rng(seed)
    reach = max(1, MAX_AMPLITUDE // (2 * step) >> int(rng.integers(0, 24)))
    values = rng.integers(-reach, reach + 1, (2, length)) * (rng.random((2, length)) < rng.random())
    found = weights_of(KernelCoefficients(step, values))
    assert found.tolist() == [weights_by_hand(step, row) for row in values]


def test_zeros_stay_zeros():
    assert not weights_of(KernelCoefficients(7, np.zeros((2, 178), np.int64))).any()
    assert not quantised(np.zeros((2, 178)), 7).values.any()


@pytest.mark.parametrize("sign", [1, -1])
def test_amplitudes_beyond_24_bits_are_refused(sign):
    values = np.zeros((1, 40), np.int64)
    values[0, -1] = sign * MAX_AMPLITUDE
    weights_of(KernelCoefficients(1, values))
    values[0, -1] += sign
    with pytest.raises(LimitExceededError, match=f"coefficient of {MAX_AMPLITUDE + 1}"):
        weights_of(KernelCoefficients(1, values))


def test_weights_beyond_16_bits_are_refused():
    values = np.zeros((1, 8), np.int64)
    values[0, 3] = 65535
    assert BeatKernels.of(KernelCoefficients(1, values), 0).weights.max() == 65535
    values[0, 3] = -65536
    with pytest.raises(LimitExceededError, match="weight of 65536"):
        BeatKernels.of(KernelCoefficients(1, values), 0)


@given(
    st.integers(1, 300),
    st.integers(1, 4),
    st.integers(1, MAX_COEFFICIENT_STEP),
    st.integers(-10, 20),
    st.integers(0, 2**32),
)
def test_coefficients_are_read_as_they_were_written(length, n_kernels, step, exponent, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, (n_kernels, length)) * (rng.random((n_kernels, length)) < 0.4)
    writer = BitWriter()
    write_kernels(writer, BeatKernels.of(KernelCoefficients(step, values), exponent))
    reader = BitReader.from_bytes(writer.tobytes(), "kernels")
    found = read_kernels(reader, length)
    reader.finish()
    assert found.coefficients is not None
    assert (found.exponent, found.coefficients.step) == (exponent, step)
    np.testing.assert_array_equal(found.coefficients.values, values)
    assert found.weights.tolist() == [weights_by_hand(step, row) for row in values]


@given(st.binary(max_size=60), st.integers(0, 300))
def test_any_bits_give_kernels_or_a_refusal(content, length):
    try:
        found = read_kernels(BitReader.from_bytes(content, "kernels"), length)
    except FormatError:
        return
    assert found.weights.shape[1] == length
