"""One training run: reproducible bit for bit, the best epoch kept, and every refusal before it starts."""

import numpy as np
import pytest

from sancodec.errors import DeviceError, InvalidSignalError, MissingDependencyError
from sancodec.san.metrics import score_network
from sancodec.san.model_file import decode_san_model
from sancodec.training.san_config import TrainingConfig
from tests.training.san_examples import split_images, split_spikes

torch = pytest.importorskip("torch", reason="training networks needs the train extra")

ACTIVATIONS = ("identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema")


def trained(windows=None, *, on_epoch=None, device="cpu", **settings):
    from sancodec.training.san_training import train_san

    config = TrainingConfig(**{"activation": "extrema", "kernel_sizes": (9,), "n_epochs": 4, **settings})
    return train_san(split_spikes() if windows is None else windows, config, device=device, on_epoch=on_epoch)


def model_bytes(**settings):
    from sancodec.training.san_training import san_model, train_san

    config = TrainingConfig(**{"activation": "extrema", "kernel_sizes": (9,), "n_epochs": 4, **settings})
    windows = split_spikes()
    return san_model(train_san(windows, config, device="cpu"), windows, config).content


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_twice_gives_the_same_bytes(activation):
    assert model_bytes(activation=activation) == model_bytes(activation=activation)


def test_training_depends_neither_on_threads_nor_on_the_global_seed():
    first = model_bytes()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(5)
    assert model_bytes() == first
    assert torch.get_num_threads() == 2
    torch.set_num_threads(n_threads)


def test_settings_of_torch_come_back():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    trained()
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before


@pytest.mark.parametrize("changes", [{"seed": 1}, {"loss": "mse"}, {"initial": "normal"}, {"batch_size": 3}])
def test_another_setting_gives_other_kernels(changes):
    first, other = trained(), trained(**changes)
    assert not np.array_equal(first.network.kernels[0], other.network.kernels[0])


@pytest.mark.parametrize("activation", ["topk_absolutes", "extrema_pool_indices", "extrema"])
def test_training_finds_what_recurs(activation):
    found = trained(activation=activation, n_epochs=40)
    assert found.history[-1].train_loss < 0.6 * found.history[0].train_loss
    assert found.test.phi < 0.75
    assert found.test.inverse_ratio < 1


def test_the_epoch_with_the_least_phi_of_validation_is_kept():
    windows = split_spikes()
    found = trained(windows, n_epochs=12, learning_rate=0.2)
    values = [each.validation.phi for each in found.history]
    assert found.best_epoch == int(np.argmin(values)) < 11
    kept = score_network(found.network, windows.validation)
    assert kept.phi == pytest.approx(min(values), rel=1e-5)
    assert found.validation.phi == min(values)


def test_scores_are_those_of_the_network_without_torch():
    windows = split_spikes()
    found = trained(windows)
    own = score_network(found.network, windows.test)
    assert own.inverse_ratio == found.test.inverse_ratio
    assert own.normalised_loss == pytest.approx(found.test.normalised_loss, rel=1e-5)


def test_a_normalised_loss_is_of_the_loss_that_is_minimised():
    windows = split_spikes()
    found = trained(windows, loss="mse")
    from sancodec.san.metrics import mse

    assert found.test.phi == pytest.approx(score_network(found.network, windows.test, loss=mse).phi, rel=1e-5)


def test_every_epoch_is_told():
    told = []
    found = trained(on_epoch=told.append)
    assert tuple(told) == found.history
    assert [each.index for each in told] == [0, 1, 2, 3]


def test_the_loss_of_an_epoch_weights_windows_equally():
    # Without a step that matters the loss of batches of 4 and 2 is that of 6 alone.
    uneven, whole = (trained(batch_size=size, n_epochs=1, learning_rate=1e-12).history[0] for size in (4, 6))
    assert uneven.train_loss == pytest.approx(whole.train_loss, rel=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_images_are_trained_on(activation):
    found = trained(split_images(), activation=activation, kernel_sizes=(3,), n_epochs=2)
    assert found.network.kernels[0].shape == (3, 3)


def test_kernels_that_compete_are_never_active_together():
    windows = split_spikes()
    found = trained(windows, kernel_sizes=(9, 5), competing=True)
    assert found.network.competing
    maps = found.network.decompose(windows.test).activation_maps
    first, second = (np.pad(each[:, 0] != 0, ((0, 0), (6, 6))) for each in maps)
    # The larger distance is 9, less a tolerance of 3; the smaller is 5, less as much.
    for shift in range(-2, 3):
        assert not (first & np.roll(second, shift, axis=1)).any()
    own = score_network(found.network, windows.test)
    assert own.inverse_ratio == found.test.inverse_ratio
    assert own.normalised_loss == pytest.approx(found.test.normalised_loss, rel=1e-5)
    independent = trained(windows, kernel_sizes=(9, 5))
    assert own.inverse_ratio < independent.test.inverse_ratio


def test_two_kernels_of_one_size_become_different():
    kernels = trained(kernel_sizes=(9, 9)).network.kernels
    assert not np.array_equal(*kernels)
    same = trained(kernel_sizes=(9, 9), initial="constant").network.kernels
    assert np.array_equal(*same)


def test_the_model_says_how_it_was_trained():
    model = decode_san_model(model_bytes(seed=3))
    assert model.sampling_rate_hz == 100.0
    assert model.window == (100,)
    assert model.metadata["source"] == "spikes"
    assert model.metadata["training"]["seed"] == 3
    assert model.metadata["windows"] == [6, 2, 4]
    assert set(model.metadata["test"]) == {"inverse_ratio", "normalised_loss", "phi"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"activation": "topk_absolutes"}, {"k": 11}),
        ({"activation": "topk_absolutes", "sparsity": 5}, {"k": 5}),
        ({"activation": "extrema_pool_indices"}, {"pool_size": 9}),
        ({"activation": "extrema"}, {"minimum_extrema_distance": 9, "border_tolerance": 3}),
        ({"activation": "extrema", "border_tolerance": 0}, {"minimum_extrema_distance": 9, "border_tolerance": 0}),
        ({"activation": "relu"}, {}),
    ],
)
def test_sparsity_comes_from_the_kernel_size_unless_it_is_given(settings, expected):
    (activation,) = TrainingConfig(kernel_sizes=(9,), **settings).activations((100,))
    assert activation.parameters() == expected


def test_sparsity_of_images_counts_both_axes():
    (topk,) = TrainingConfig("topk_absolutes", (5,)).activations((28, 28))
    (extrema,) = TrainingConfig("extrema", (5,)).activations((28, 28))
    assert topk.parameters() == {"k": 25}
    assert extrema.parameters() == {"minimum_extrema_distance": 5, "border_tolerance": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_sizes": (101,)}, "window of 100 samples is shorter than the kernel of 101 samples"),
        (
            {"activation": "extrema_pool_indices", "kernel_sizes": (101,)},
            "window of 100 samples is shorter than the kernel of 101 samples",
        ),
        (
            {"activation": "topk_absolutes", "kernel_sizes": (101,)},
            "window of 100 samples is shorter than the kernel of 101 samples",
        ),
        ({"activation": "topk_absolutes", "sparsity": 101}, "k is 101, but a map has 100 elements"),
        ({"activation": "extrema_pool_indices", "sparsity": 101}, "pool_size is 101, but a map has 100 samples"),
        ({"activation": "topk_absolutes", "sparsity": 0}, "topk_absolutes needs k of 1 or more, not 0"),
    ],
)
def test_what_does_not_fit_the_windows_is_refused_before_training(settings, message):
    with pytest.raises(InvalidSignalError, match=message):
        trained(on_epoch=lambda _: pytest.fail("training began"), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "softmax"}, "activation 'softmax' is unknown; known are identity, relu"),
        ({"kernel_sizes": ()}, r"kernel sizes are \(\)"),
        ({"kernel_sizes": (3, 0)}, r"kernel sizes are \(3, 0\)"),
        ({"activation": "relu", "sparsity": 3}, "relu takes no sparsity, but 3 was given"),
        ({"competing": True}, "competition needs two or more kernels of extrema, not 1 of extrema"),
        (
            {"activation": "relu", "kernel_sizes": (3, 3), "competing": True},
            "competition needs two or more kernels of extrema, not 2 of relu",
        ),
        ({"activation": "relu", "border_tolerance": 3}, "relu takes no border tolerance, but 3 was given"),
        ({"initial": "ones"}, "initial weights 'ones' are unknown; known are constant, normal"),
        ({"loss": "huber"}, "loss 'huber' is unknown; known are mae, mse"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"n_epochs": 0}, "0 epochs of batches of 2"),
        ({"batch_size": 0}, "4 epochs of batches of 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_configurations_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidSignalError, match=message):
        trained(**settings)


def test_training_that_diverges_is_told():
    with pytest.raises(InvalidSignalError, match="diverged at once; lower the learning rate of 1e\\+30"):
        trained(learning_rate=1e30, activation="identity")


def test_training_that_diverges_later_keeps_what_it_had(monkeypatch):
    from sancodec.training import san_training

    steps, train = [], san_training._train_epoch

    def exploding(module, *rest):
        steps.append(None)
        loss = train(module, *rest)
        if len(steps) == 3:
            with torch.no_grad():
                module.kernels[0].fill_(1e30)
        return loss

    kept = trained(n_epochs=2)
    monkeypatch.setattr(san_training, "_train_epoch", exploding)
    found = trained(n_epochs=9)
    assert len(found.history) == 3
    assert not found.history[-1].validation.is_finite
    assert found.best_epoch == kept.best_epoch
    assert np.array_equal(found.network.kernels[0], kept.network.kernels[0])


def test_a_device_without_memory_is_told(monkeypatch):
    from sancodec.training import san_training

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(san_training, "_train_epoch", exhausted)
    with pytest.raises(DeviceError, match="the memory of cpu is not enough"):
        trained()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(MissingDependencyError, match="torch finds no CUDA device here"):
        trained(device="cuda")
    assert trained(device="auto").device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_on_cuda_is_reproducible(activation):
    first, again = (trained(activation=activation, device="auto") for _ in range(2))
    assert first.device == "cuda"
    assert np.array_equal(first.network.kernels[0], again.network.kernels[0])


def test_an_unknown_device_is_refused():
    with pytest.raises(InvalidSignalError, match="device 'tpu' is unknown"):
        trained(device="tpu")
