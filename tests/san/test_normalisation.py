import numpy as np
import pytest

from sancodec.errors import InvalidSignalError
from sancodec.san.normalisation import Normalisation, fit_normalisation

WINDOWS = np.array([[1, 2, 3, 6], [-10, 0, 10, 20]])


def test_windows_have_zero_mean_and_unit_variance():
    found = fit_normalisation("window", WINDOWS)(WINDOWS)
    assert found.dtype == np.float32
    assert np.allclose(found.mean(axis=1), 0, atol=1e-7)
    assert np.allclose(found.std(axis=1, ddof=1), 1)


def test_images_are_standardised_over_both_axes():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6), np.uint8)
    found = fit_normalisation("window", images)(images)
    assert np.allclose(found.mean(axis=(1, 2)), 0, atol=1e-6)
    assert np.allclose(found.std(axis=(1, 2), ddof=1), 1)


def test_many_windows_are_normalised_as_few_are():
    many = np.random.default_rng(0).normal(size=(9000, 3))
    normalise = fit_normalisation("window", many)
    assert np.array_equal(normalise(many)[8000:8010], normalise(many[8000:8010]))


def test_range_reaches_from_minus_one_to_one_over_the_whole_set():
    found = fit_normalisation("range", WINDOWS)
    assert found == Normalisation("range", offset=5, scale=15)
    assert (found(WINDOWS).min(), found(WINDOWS).max()) == (-1, 1)


def test_peak_divides_by_the_largest_magnitude():
    assert fit_normalisation("peak", WINDOWS) == Normalisation("peak", scale=20)
    assert fit_normalisation("peak", np.array([[0, 255]], np.uint8)) == Normalisation("peak", scale=255)


def test_none_leaves_samples_as_they_are():
    assert np.array_equal(fit_normalisation("none", WINDOWS)(WINDOWS), WINDOWS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("median",), "'median' is unknown; known are window, range, peak, none"),
        (("range", 0.0, 0.0), "scale must be > 0"),
        (("range", float("nan"), 1.0), "offset nan"),
        (("window", 1.0, 1.0), "normalisation window has no offset 1.0"),
        (("none", 0.0, 2.0), "normalisation none has no offset 0.0 and scale 2.0"),
        (("peak", 1.0, 2.0), "normalisation peak has no offset 1.0"),
    ],
)
def test_what_a_kind_does_not_allow_is_refused(fields, message):
    with pytest.raises(InvalidSignalError, match=message):
        Normalisation(*fields)


def test_a_constant_window_is_refused():
    windows = np.array([[1, 2], [3, 3]])
    with pytest.raises(InvalidSignalError, match="window 1, counted from 0, is constant"):
        Normalisation()(windows)
