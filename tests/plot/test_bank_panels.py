import numpy as np
import pytest

from sancodec.codec.kernels import WEIGHT_FRACTION_BITS
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.plot.bank_panels import band_colours, band_frequencies, bank_picture, group_responses, response_panel
from sancodec.plot.panels import Curve, Heat


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_bank_is_pictured_whole(name):
    model = shipped_model(name)
    picture = bank_picture(model, title=f"bank {name}")
    assert picture.title == f"bank {name}: {model.n_bands} kernels in {len(model.groups)} groups"
    *groups, responses = picture.panels
    assert len(groups) == len(model.groups)
    assert len(responses.marks) == model.n_bands
    shown = 0
    for panel in groups:
        for mark in panel.marks:
            shown += 1 if isinstance(mark, Curve) else len(mark.values)
    assert shown == model.n_bands


def test_kernels_are_drawn_with_their_weights_and_offsets():
    model = shipped_model("ecg360")
    picture = bank_picture(model, title="")
    (curve,) = next(each for each in picture.panels if each.title == "band 3, stride 64").marks
    np.testing.assert_array_equal(curve.y, model.groups[2].weights[0] * 2.0**-WEIGHT_FRACTION_BITS)
    assert curve.x[0] == model.groups[2].offset
    (heat,) = next(each for each in picture.panels if each.title == "bands 4 to 34, stride 32").marks
    assert isinstance(heat, Heat)
    np.testing.assert_array_equal(heat.values, model.groups[3].weights * 2.0**-WEIGHT_FRACTION_BITS)
    assert (heat.y_edges[0], heat.y_edges[-1]) == (3.5, 34.5)


def test_responses_are_those_of_the_plain_sum():
    group = shipped_model("ecg360").groups[3]
    frequencies = np.array([0.01, 0.1, 0.26, 0.499])
    weights = group.weights * 2.0**-WEIGHT_FRACTION_BITS
    waves = np.exp(-2j * np.pi * np.outer(np.arange(group.length), frequencies))
    expected = 20 * np.log10(np.abs(weights @ waves) / np.sqrt(group.stride))
    audible = expected > -60
    np.testing.assert_allclose(group_responses(group, frequencies)[audible], expected[audible], atol=0.05)


def test_kernels_of_orthonormal_banks_pass_their_own_band_whole():
    model = shipped_model("sym8")
    panel = response_panel(model, sampling_rate_hz=None)
    assert panel.x.text == "frequency (cycles/sample)"
    for curve in panel.marks:
        assert np.nanmax(curve.y) == pytest.approx(0, abs=0.2)


def test_frequencies_are_in_hertz_where_the_rate_is_known():
    panel = response_panel(shipped_model("ecg360"), sampling_rate_hz=360.0)
    assert panel.x.text == "frequency (Hz)"
    assert panel.x_range[1] == 180


@pytest.mark.parametrize("name", ["ecg360", "sym8", "haar", "mdct128"])
def test_bands_are_ordered_and_coloured_from_low_to_high(name):
    model = shipped_model(name)
    centres = band_frequencies(model)
    assert (np.diff(centres) > -0.02).all()
    assert 0 < centres[0] < centres[-1] < 0.5
    colours = band_colours(model)
    assert len(colours) == model.n_bands
    assert colours[0] == "#440154"
