import numpy as np
import pytest

from sancodec.codec import residual
from sancodec.codec.residual import MAX_WEIGHT_SUM, Plane
from sancodec.codec.residual_fit import Pieces, best_fit, channel_order, piece_starts, slope_correlation


def pieces_of(*rows, n_pieces=4, approximations=None, factor=1.0):
    samples = {index: np.reshape(row, (n_pieces, -1)).astype(np.float64) for index, row in enumerate(rows)}
    return Pieces(samples, approximations or {}, factor)


def own(channel, count):
    return [(channel, True, lag) for lag in range(1, count + 1)]


def autoregressive(n_samples, weights, seed=0, scale=50.0):
    rng = np.random.default_rng(seed)
    row = np.zeros(n_samples + 100)
    for n in range(len(weights), len(row)):
        row[n] = row[n - len(weights) : n][::-1] @ weights + rng.normal(0, scale)
    return np.rint(row[100:])


@pytest.mark.parametrize(("n_samples", "length", "count"), [(100, 30, 3), (100, 100, 5), (99, 10, 16), (1, 1, 4)])
def test_pieces_lie_within_the_signal_from_end_to_end_and_apart(n_samples, length, count):
    starts = piece_starts(n_samples, length, count)
    assert starts[0] == 0
    assert starts[-1] <= n_samples - length
    assert len(starts) == min(count, n_samples // length)
    assert np.all(np.diff(starts) >= length)


def test_columns_are_shifted_samples_of_the_same_piece():
    pieces = pieces_of(np.arange(400), approximations={0: -np.arange(400.0).reshape(4, 100)})
    target = pieces.column((0, True, 0))
    np.testing.assert_array_equal(pieces.column((0, True, 3)), target - 3)
    np.testing.assert_array_equal(pieces.column((0, False, -2)), -(target + 2))
    assert set(np.unique(np.diff(target))) == {1, 51}  # 25 at each edge of a piece of 100 are left out


def test_weights_of_an_autoregressive_signal_are_found():
    pieces = pieces_of(autoregressive(40_000, [1.6, -0.8]))
    coding = best_fit(pieces, 0, [own(0, 2)], bound=3, restart=77).coding
    assert (coding.bound, coding.restart, coding.references) == (3, 77, ())
    np.testing.assert_allclose(coding.own / 2.0**coding.shift, [1.6, -0.8], atol=0.05)


def test_outliers_do_not_spoil_the_weights():
    row = autoregressive(40_000, [1.6, -0.8], scale=5.0)
    row[20_000:20_400] = np.random.default_rng(1).choice([-30_000, 30_000], 400)
    coding = best_fit(pieces_of(row), 0, [own(0, 2)], bound=0, restart=99).coding
    np.testing.assert_allclose(coding.own / 2.0**coding.shift, [1.6, -0.8], atol=0.05)


def test_the_set_that_saves_bits_is_taken_and_useless_ones_are_not():
    first = autoregressive(20_000, [0.9])
    second = np.roll(first, 2) * 3 + np.random.default_rng(4).integers(-2, 3, 20_000)
    across = [(0, True, lag) for lag in range(5)]
    useful = best_fit(pieces_of(first, second), 1, [own(1, 1), own(1, 1) + across], bound=0, restart=99)
    ((reference,),) = [useful.coding.references]
    assert (reference.channel, reference.decoded) == (0, True)
    lag = reference.first_lag + int(np.abs(reference.weights).argmax())
    assert lag == 2
    stranger = autoregressive(20_000, [0.9], seed=5)
    useless = best_fit(pieces_of(first, stranger), 1, [own(1, 1), own(1, 1) + across], bound=0, restart=99)
    assert useless.coding.references == ()


@pytest.mark.parametrize("bound", [0, 5])
def test_expected_bits_are_near_the_entropy_of_the_codes(bound):
    row = autoregressive(40_000, [1.6, -0.8], scale=60.0)
    pieces = pieces_of(row, factor=3.0)
    fit = best_fit(pieces, 0, [own(0, 4)], bound=bound, restart=10_000)
    samples = pieces.samples[0].astype(np.int64)
    plane = Plane(np.zeros(samples.shape, np.int64), -(2**20), 2**20)
    (decoded,), (codes,) = residual.encode_level([fit.coding], [plane], [np.zeros(samples.shape, np.int64)], [samples])
    assert np.abs(decoded - samples).max() <= bound
    counts = np.unique(codes, return_counts=True)[1]
    entropy = -float((counts * np.log2(counts / counts.sum())).sum())
    assert fit.bits == pytest.approx(3 * entropy, rel=0.03)


@pytest.mark.parametrize("row", [[100, -50, 2047, -2047, 7], [0, 0, 0, 0], [5], [1, 2**31 - 1], [2**31 - 1] * 9])
def test_few_samples_give_weights_that_a_decoder_accepts(row):
    for n_own in (1, 8, 24):
        fit = best_fit(pieces_of(row, n_pieces=1), 0, [own(0, n_own)], bound=0, restart=len(row))
        assert fit.coding.weight_sum <= MAX_WEIGHT_SUM


def test_the_channel_that_tells_most_comes_first_and_the_nearest_are_most_alike():
    rng = np.random.default_rng(2)
    base = np.cumsum(rng.normal(0, 9, 4000))
    rows = [base + np.cumsum(rng.normal(0, scale, 4000)) for scale in (9, 0.1, 4)] + [np.cumsum(rng.normal(0, 9, 4000))]
    pieces = pieces_of(*rows)
    correlation = slope_correlation(pieces, [0, 1, 2, 3])
    order = channel_order(correlation)
    assert order[0] == 1
    assert sorted(order) == [0, 1, 2, 3]
    assert np.argsort(-np.abs(correlation[1])).tolist() == [1, 2, 0, 3]
    assert channel_order(correlation[:1, :1]) == [0]
