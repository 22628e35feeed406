import numpy as np
import pytest

from sancodec.errors import InvalidSignalError
from sancodec.plot.network_panels import MAX_KERNELS, kernels_picture, network_picture
from sancodec.plot.panels import Axis, Curve, Stems
from sancodec.san.activations import Activation
from sancodec.san.network import SparselyActivatedNetwork


def test_each_row_is_a_kernel_its_similarity_map_and_partial_reconstruction(network, window, signal_picture):
    parts = network.decompose(window)
    for index in range(2):
        kernel, similarity, activation, partial = signal_picture.rows[index].panels
        np.testing.assert_array_equal(kernel.marks[0].y, network.kernels[index])
        np.testing.assert_array_equal(similarity.marks[0].y, parts.similarities[index])
        np.testing.assert_array_equal(partial.marks[0].y, parts.partial_reconstructions[index])
        faint, stems = activation.marks
        assert isinstance(faint, Curve)
        assert faint.is_faint
        np.testing.assert_array_equal(faint.y, parts.similarities[index])
        assert isinstance(stems, Stems)
        active = np.flatnonzero(parts.activation_maps[index])
        np.testing.assert_allclose(stems.x, active / 360)
        np.testing.assert_array_equal(stems.heights, parts.activation_maps[index][active])
        assert activation.title == f"activation map: {len(active)} of 1000"
        assert len({mark.colour for each in (kernel, similarity, activation, partial) for mark in each.marks}) == 1


def test_the_last_row_is_the_signal_and_the_sum(network, window, signal_picture):
    (total,) = signal_picture.rows[-1].panels
    signal, reconstruction = total.marks
    np.testing.assert_array_equal(signal.y, window)
    partials = [row.panels[3].marks[0].y for row in signal_picture.rows[:2]]
    np.testing.assert_allclose(reconstruction.y, partials[0] + partials[1])
    assert (signal.label, reconstruction.label) == ("signal", "reconstruction")


def test_the_title_tells_the_normalised_loss(network, window, signal_picture):
    parts = network.decompose(window)
    loss = np.abs(window - parts.reconstruction).mean() / np.abs(window).mean()
    active = sum(np.count_nonzero(each) for each in parts.activation_maps)
    assert (
        signal_picture.title == f"two kernels: 2 kernels, {active} active of 1000 samples, normalised loss {loss:.2f}"
    )


def test_times_begin_where_the_window_does(network, window):
    picture = network_picture(
        network, window, title="", sampling_rate_hz=100.0, first_sample=250, quantity=Axis("signal")
    )
    (total,) = picture.rows[-1].panels
    assert total.marks[0].x[0] == 2.5
    assert total.x_range == pytest.approx((2.5, 12.5))
    assert total.x.text == "time (s)"


def test_without_a_sampling_rate_samples_are_counted(network, window):
    (total,) = network_picture(network, window, title="", quantity=Axis("signal")).rows[-1].panels
    assert total.x.text == "sample"
    np.testing.assert_array_equal(total.marks[0].x, np.arange(1000))


def test_images_are_pictured_as_images(image_picture):
    assert [len(row.panels) for row in image_picture.rows] == [4, 4, 3]
    assert all(each.is_image for each in image_picture.panels)
    activation = image_picture.rows[0].panels[2]
    active = np.isfinite(activation.marks[0].values)
    assert activation.title == f"activation map: {active.sum()} of 600"
    image, total, rest = (each.marks[0].values for each in image_picture.rows[-1].panels)
    np.testing.assert_allclose(image - total, rest)
    partials = [row.panels[3].marks[0].values for row in image_picture.rows[:2]]
    np.testing.assert_allclose(partials[0] + partials[1], total)


def test_kernels_alone_stand_four_in_a_row():
    kernels = tuple(np.arange(length, dtype=np.float64) for length in (1, 2, 9, 30, 5))
    network = SparselyActivatedNetwork(kernels, (Activation("relu"),) * 5)
    picture = kernels_picture(network, title="five")
    assert [len(row.panels) for row in picture.rows] == [4, 1]
    assert [each.title for each in picture.panels][2] == "kernel 2: 9 samples, relu"
    assert picture.title == "five: 5 kernels"


def test_of_many_kernels_the_first_are_shown_but_all_are_summed():
    rng = np.random.default_rng(0)
    n_kernels = MAX_KERNELS + 3
    network = SparselyActivatedNetwork(tuple(rng.normal(size=(n_kernels, 5))), (Activation("identity"),) * n_kernels)
    window = rng.normal(size=50)
    picture = network_picture(network, window, title="many", quantity=Axis("signal"))
    assert len(picture.rows) == MAX_KERNELS + 1
    assert picture.title.startswith(f"many: the first {MAX_KERNELS} of {n_kernels} kernels")
    (total,) = picture.rows[-1].panels
    np.testing.assert_allclose(total.marks[1].y, network.decompose(window).reconstruction)


def test_a_silent_window_has_no_normalised_loss(network):
    picture = network_picture(network, np.zeros(100), title="silence", quantity=Axis("signal"))
    assert picture.title == "silence: 2 kernels, 0 active of 100 samples"


def test_a_window_of_other_dimensions_is_refused(network):
    with pytest.raises(InvalidSignalError, match="a window of 2 dimensions; the kernels have 1"):
        network_picture(network, np.zeros((50, 50)), title="", quantity=Axis("signal"))


def test_a_window_shorter_than_a_kernel_is_refused(network):
    with pytest.raises(InvalidSignalError, match="shorter than the kernel of 41"):
        network_picture(network, np.zeros(40), title="", quantity=Axis("signal"))
