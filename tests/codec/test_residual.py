import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec import residual
from sancodec.codec.residual import Plane, Reference, ResidualCoding, corrections, decoding_levels
from sancodec.errors import CorruptError

NONE = np.zeros(0, np.int64)


def row(*weights):
    return np.array(weights, np.int64)


def coding_of(*, bound=0, restart=10**6, shift=0, own=(), references=()):
    return ResidualCoding(bound, restart, shift, row(*own), tuple(references))


def decoded_by_hand(index, codings, approximations, ranges, codes):
    """Section 11.2 of docs/format.md for one chunk, a sample at a time in Python's integers."""
    coding, u, q = codings[index], approximations[index], codes[index]
    n_samples, (low, high) = len(u), ranges[index]

    def source_of(reference):
        if not reference.decoded:
            return approximations[reference.channel]
        if codings[reference.channel] is None:
            return approximations[reference.channel]
        return decoded_by_hand(reference.channel, codings, approximations, ranges, codes)

    sources = [source_of(reference) for reference in coding.references]
    y = []
    for n in range(n_samples):
        total = (1 << coding.shift) // 2
        for reference, v in zip(coding.references, sources, strict=True):
            for lag, weight in enumerate(reference.weights.tolist(), reference.first_lag):
                total += weight * v[min(max(n - lag, 0), n_samples - 1)]
        start = n // coding.restart * coding.restart
        for lag, weight in enumerate(coding.own.tolist(), 1):
            at = n - lag
            moved = y[start] - u[start] if n > start else 0
            total += weight * (y[at] if at >= start else u[max(at, 0)] + moved)
        y.append(min(max((total >> coding.shift) + (2 * coding.bound + 1) * q[n], low), high))
    return y


def decoded(index, codings, planes, codes):
    """The same by the package, ``(chunk, sample)``."""
    layered = {channel: coding for channel, coding in enumerate(codings) if coding is not None}
    results = {channel: planes[channel].approximation for channel in range(len(codings)) if channel not in layered}
    for level in decoding_levels(layered):
        sums = [residual.reference_sums(channel, layered[channel], planes, results) for channel in level]
        rows = residual.decode_level(
            [layered[channel] for channel in level],
            [planes[channel] for channel in level],
            sums,
            [codes[channel] for channel in level],
        )
        results.update(zip(level, rows, strict=True))
    return results[index]


def assert_as_by_hand(codings, planes, codes):
    for index, coding in enumerate(codings):
        if coding is None:
            continue
        found = decoded(index, codings, planes, codes)
        for chunk, samples in enumerate(found.tolist()):
            expected = decoded_by_hand(
                index,
                codings,
                [planes[channel].approximation[chunk].tolist() for channel in range(len(codings))],
                [(planes[channel].low, planes[channel].high) for channel in range(len(codings))],
                [each[chunk].tolist() for each in codes],
            )
            assert samples == expected


@st.composite
def layers(draw):
    """Three channels, the third without a layer; weights, bounds and ranges of all sizes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_chunks, length = draw(st.integers(1, 3)), draw(st.integers(1, 20))
    peak = 2 ** draw(st.integers(1, 31))
    largest = draw(st.sampled_from([1, 40, 2**13, 2**18]))
    planes = {}
    for channel in range(3):
        low, high = sorted(rng.integers(-peak, peak, 2).tolist())
        planes[channel] = Plane(rng.integers(low, high + 1, (n_chunks, length)), low, high)

    def weights(count):
        return rng.integers(-largest, largest + 1, count)

    def reference(channel, is_decoded):
        count = int(rng.integers(1, 9))
        return Reference(channel, is_decoded, int(rng.integers(-64, 65 - count)), weights(count))

    first = [reference(0, False), reference(1, False), reference(2, True)]
    second = [reference(0, True), reference(2, False), reference(1, False)]
    codings = [
        ResidualCoding(
            draw(st.sampled_from([0, 1, 7, 2**20])),
            draw(st.integers(1, 25)),
            draw(st.sampled_from([0, 1, 13, 20])),
            weights(draw(st.integers(0, 12))),
            tuple(references[: draw(st.integers(0, 3))]),
        )
        for references in (first, second)
    ]
    size = 2 ** draw(st.sampled_from([1, 8, 33]))
    codes = [rng.integers(1 - size, size, (n_chunks, length)) for _ in range(2)]
    return [*codings, None], planes, codes


@given(layers())
@settings(deadline=None, max_examples=300)
def test_decoding_is_what_the_format_says(layer):
    assert_as_by_hand(*layer)


@given(layers(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_what_was_encoded_is_decoded_within_the_bound(layer, seed):
    codings, planes, _ = layer
    rng = np.random.default_rng(seed)
    levels = decoding_levels({channel: coding for channel, coding in enumerate(codings) if coding is not None})
    results, codes, targets = {2: planes[2].approximation}, {}, {}
    for level in levels:
        sums = [residual.reference_sums(channel, codings[channel], planes, results) for channel in level]
        wanted = [
            rng.integers(planes[channel].low, planes[channel].high + 1, planes[channel].approximation.shape)
            for channel in level
        ]
        rows, found = residual.encode_level(
            [codings[channel] for channel in level], [planes[channel] for channel in level], sums, wanted
        )
        results.update(zip(level, rows, strict=True))
        codes.update(zip(level, found, strict=True))
        targets.update(zip(level, wanted, strict=True))
    for channel in (0, 1):
        assert np.abs(results[channel] - targets[channel]).max() <= codings[channel].bound
        np.testing.assert_array_equal(
            decoded(channel, codings, planes, [codes[0], codes[1]]), results[channel], err_msg=f"channel {channel}"
        )


@pytest.mark.parametrize("weight", [2**17 - 1, 2**18 + 1, 2**20 + 1, 2**22 + 1, 2**25 - 1])
def test_the_fast_path_in_float64_ends_where_its_sums_could_be_rounded(weight):
    # Products of odd numbers around and above 2**53 that nearly cancel: float64 would round each of them.
    peak = 2**32 - 1
    rng = np.random.default_rng(weight)
    planes = {index: Plane(peak // 2 + rng.integers(0, 4, (2, 30)), -peak, peak) for index in range(2)}
    codes = [rng.integers(-9, 9, (2, 30)) for _ in range(2)]
    own = coding_of(own=(weight, 1 - weight), restart=1)
    across = coding_of(references=(Reference(1, False, -3, row(weight, -weight, 1)),))
    for coding in (own, across):
        assert_as_by_hand([coding, None], planes, codes)


@pytest.mark.parametrize("restart", [1, 2, 5, 6, 7, 100])
def test_blocks_begin_anew_wherever_they_end(restart):
    rng = np.random.default_rng(restart)
    plane = Plane(rng.integers(-500, 500, (3, 6)), -600, 600)
    coding = coding_of(own=(3, -2, 1, 1, 1, 1, 1), shift=1, restart=restart)
    assert_as_by_hand([coding], {0: plane}, [rng.integers(-50, 50, (3, 6))])


def test_a_single_sample_is_predicted_from_the_approximation():
    coding = coding_of(own=(2, 3), references=(Reference(0, False, -64, row(*[1] * 129)),))
    assert decoded(0, [coding], {0: Plane(row(10)[None], -(10**6), 10**6)}, [row(4)[None]]).tolist() == [
        [10 * 5 + 10 * 129 + 4]
    ]


def test_lags_beyond_a_chunk_see_its_end_samples():
    u = row(1, 10, 100)[None]
    for lag, expected in ((64, [1, 1, 1]), (1, [1, 1, 10]), (0, [1, 10, 100]), (-1, [10, 100, 100]), (-64, [100] * 3)):
        coding = coding_of(references=(Reference(0, False, lag, row(1)),))
        assert decoded(0, [coding], {0: Plane(u, 0, 999)}, [np.zeros((1, 3), np.int64)]).tolist() == [expected]


def test_samples_are_kept_within_their_range_and_predictions_see_that():
    coding = coding_of(own=(1,))
    plane = Plane(np.zeros((1, 5), np.int64), -3, 4)
    codes = row(2**33 - 1, 0, 1, -(2**33) + 1, 5)[None]
    assert decoded(0, [coding], {0: plane}, [codes]).tolist() == [[4, 4, 4, -3, 2]]


def test_differences_of_33_bits_are_found_and_undone():
    peak = 2**32 - 1
    plane = Plane(np.full((1, 4), -peak), -peak, peak)
    target = row(peak, -peak, peak, peak)[None]
    coding = coding_of(own=(1,), references=(Reference(0, False, 0, row(1)),))
    sums = residual.reference_sums(0, coding, {0: plane}, {})
    _, (codes,) = residual.encode_level([coding], [plane], [sums], [target])
    assert np.abs(codes).max() > 2**33
    np.testing.assert_array_equal(decoded(0, [coding], {0: plane}, [codes]), target)


def test_plain_corrections_add_multiples_of_the_unit():
    coding = corrections(0, 3)
    assert (coding.unit, coding.weight_sum) == (7, 1)
    plane = Plane(row(5, -5, 0)[None], -100, 100)
    assert decoded(0, [coding], {0: plane}, [row(1, -1, 0)[None]]).tolist() == [[12, -12, 0]]
    (rows,), (codes,) = residual.encode_level(
        [coding], [plane], [plane.approximation], [row(8, -8, 3)[None]]
    )  # fmt: skip
    assert codes.tolist() == [[0, 0, 0]]
    (rows,), (codes,) = residual.encode_level([coding], [plane], [plane.approximation], [row(9, -9, 4)[None]])
    assert (rows.tolist(), codes.tolist()) == ([[12, -12, 7]], [[1, -1, 1]])


def test_channels_of_several_codings_decode_together_as_alone():
    rng = np.random.default_rng(0)
    codings = [
        coding_of(own=(3, 1), shift=2, restart=4),
        coding_of(own=(1,), shift=0, restart=4, bound=2),
        coding_of(own=(2, 2, 2, -1), shift=3, restart=99),
        coding_of(),
    ]
    planes = [Plane(rng.integers(-99, 100, (2, 10)), -200 - index, 150 + index) for index in range(4)]
    sums = [rng.integers(-99, 99, (2, 10)) for _ in codings]
    codes = [rng.integers(-30, 30, (2, 10)) for _ in codings]
    together = residual.decode_level(codings, planes, sums, codes)
    for index in range(4):
        (alone,) = residual.decode_level(
            codings[index : index + 1], planes[index : index + 1], sums[index : index + 1], codes[index : index + 1]
        )
        np.testing.assert_array_equal(together[index], alone)


def reading(*channels):
    return coding_of(references=tuple(Reference(channel, True, 0, row(1)) for channel in channels))


def test_levels_hold_channels_whose_needs_were_met_before():
    codings = {4: reading(1), 1: reading(9), 2: reading(4, 1), 0: reading()}
    assert decoding_levels(codings) == [[0, 1], [4], [2]]
    assert decoding_levels({}) == []


@pytest.mark.parametrize(
    "codings",
    [{0: reading(0)}, {0: reading(1), 1: reading(0)}, {0: reading(2), 1: reading(0), 2: reading(1), 3: reading()}],
)
def test_channels_that_need_themselves_are_refused(codings):
    with pytest.raises(CorruptError, match="predicted from each other"):
        decoding_levels(codings)


def test_approximations_are_no_need():
    own = coding_of(references=(Reference(0, False, 0, row(1)), Reference(1, False, 0, row(1))))
    assert decoding_levels({0: own, 1: own}) == [[0, 1]]
