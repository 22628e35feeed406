import numpy as np
import pytest

from sancodec.plot.layout import PAGE_WIDTH, page_of
from sancodec.plot.panels import (
    KERNEL_COLOURS,
    MAX_HEAT_COLUMNS,
    MAX_POINTS,
    Axis,
    Heat,
    Panel,
    Picture,
    Row,
    decades,
    equally_high,
    kernel_colour,
    range_of,
    thinned,
    thinned_heat,
)


def test_short_curves_stay_as_they_are():
    x = np.arange(MAX_POINTS, dtype=np.float64)
    assert thinned(x, x)[0] is x


@pytest.mark.parametrize("length", [MAX_POINTS + 1, 3 * MAX_POINTS + 7, 1_000_003])
def test_long_curves_keep_their_extremes_and_order(length):
    y = np.random.default_rng(0).normal(size=length)
    y[[5, length - 1]] = 99, -99
    x, thin = thinned(np.arange(length, dtype=np.float64), y)
    assert len(x) <= MAX_POINTS + 2 * length // MAX_POINTS
    assert (np.diff(x) >= 0).all()
    np.testing.assert_array_equal(thin, y[x.astype(int)])
    assert (thin.max(), thin.min()) == (99, -99)


def test_gaps_stay_gaps_in_long_curves():
    y = np.zeros(4 * MAX_POINTS)
    y[1000:2000] = np.nan
    x, thin = thinned(np.arange(len(y), dtype=np.float64), y)
    inside = (x > 1010) & (x < 1990)
    assert np.isnan(thin[inside]).all()
    assert not np.isnan(thin[(x < 990) | (x > 2010)]).any()


def test_long_heat_maps_keep_their_largest_cells():
    values = np.random.default_rng(0).random((3, 2 * MAX_HEAT_COLUMNS + 5))
    edges, thin = thinned_heat(np.arange(values.shape[1] + 1) * 0.5, values)
    assert thin.shape == (3, len(edges) - 1)
    assert thin.shape[1] <= MAX_HEAT_COLUMNS
    np.testing.assert_array_equal(thin.max(axis=1), values.max(axis=1))
    assert (edges[0], edges[-1]) == (0, values.shape[1] * 0.5)


def test_ranges_have_a_margin_and_ignore_what_is_missing():
    assert range_of(np.array([0.0, np.nan]), np.array([10.0])) == pytest.approx((-0.6, 10.6))
    assert range_of(np.array([4.0])) == pytest.approx((3.8, 4.2))
    assert range_of(np.array([np.nan])) == (-1.0, 1.0)


def test_equally_high_ranges_keep_their_middles():
    assert equally_high([(0, 10), (4, 6)]) == [(0, 10), (0, 10)]


def test_ticks_of_logarithmic_axes_are_round_numbers():
    assert decades(0.03, 1) == [0.05, 0.1, 0.2, 0.5, 1]
    assert decades(0.001, 10) == [0.001, 0.01, 0.1, 1, 10]
    assert decades(3, 4) == [3, 4]


def test_kernels_have_a_colour_each_and_then_start_anew():
    assert len({kernel_colour(index) for index in range(len(KERNEL_COLOURS))}) == len(KERNEL_COLOURS)
    assert kernel_colour(len(KERNEL_COLOURS)) == kernel_colour(0)


def test_heat_maps_without_values_have_limits_all_the_same():
    edges = np.arange(3.0)
    blank = np.full((2, 2), np.nan)
    assert Heat(edges, edges, blank, Axis("power", is_logarithmic=True)).limits == (1.0, 10.0)
    assert Heat(edges, edges, blank, Axis("weight")).limits == (-1.0, 1.0)


def panel(**settings):
    return Panel("a", Axis("time", "s"), Axis("signal", "mV"), (), **settings)


def test_panels_below_each_other_are_in_line_and_state_their_axis_once():
    edges = np.arange(3.0)
    heat = Heat(edges, edges, np.ones((2, 2)), Axis("power"))
    with_bar = Panel("b", Axis("time", "s"), Axis("band"), (heat,), is_shared=True)
    picture = Picture("", (Row((panel(), panel())), *(Row((each,)) for each in (panel(is_shared=True), with_bar))))
    page = page_of(picture)
    first, second, upper, lower = page.panels
    assert (upper.left, upper.width) == (lower.left, lower.width)
    assert second.left + second.width == pytest.approx(upper.left + upper.width)
    assert [each.has_x_axis for each in page.panels] == [True, True, False, True]
    assert first.bottom > upper.bottom + upper.height > upper.bottom > lower.bottom + lower.height


def test_images_have_square_pixels_and_nothing_lies_outside_the_page(image_picture, record_picture, signal_picture):
    for picture in (image_picture, record_picture, signal_picture):
        page = page_of(picture)
        for placed in page.panels:
            assert placed.left > 0
            assert placed.left + placed.width < PAGE_WIDTH
            assert 0 < placed.bottom < placed.bottom + placed.height < page.height
    for placed in page_of(image_picture).panels:
        n_rows, n_columns = placed.panel.marks[0].values.shape
        assert placed.width / n_columns == pytest.approx(placed.height / n_rows)
