from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec.contexts import N_CLASSES, N_SYMBOLS, ContextModel
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.mixing_model import neutral_mixing
from sancodec.training.lapped import SYM4, SYM8, dyadic_groups, mdct_kernels, split_lowest

MakeSignals = Callable[[Model, int, int], np.ndarray]
MakeAmplitudes = Callable[[Model, int, int], list[np.ndarray]]


def model_of(name: str, groups: list[KernelGroup]) -> Model:
    n_bands = sum(group.n_kernels for group in groups)
    frequencies = np.ones((1, N_CLASSES, N_SYMBOLS), np.uint16)
    frequencies[:, :, 0] = 4096 - (N_SYMBOLS - 1)
    weights, phase_groups = np.zeros((1, n_bands, 4), np.uint16), np.zeros(n_bands, np.uint8)
    contexts = ContextModel(weights, phase_groups, frequencies, neutral_mixing(n_bands))
    return Model(tuple(groups), contexts, {"name": name})


def random_weights(n_kernels: int, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(-(1 << 15), 1 << 15, (n_kernels, length)).astype(np.int32)


MODELS = {
    "lapped": model_of("lapped", split_lowest(mdct_kernels(32), stride=32, levels=3, scaling=SYM4)),
    "dyadic": model_of("dyadic", dyadic_groups(SYM8, levels=7)),
    "one block": model_of("one block", [KernelGroup(64, 0, random_weights(3, 64))]),
    "all before": model_of("all before", [KernelGroup(64, -500, random_weights(2, 90))]),
    "all after": model_of("all after", [KernelGroup(64, 333, random_weights(2, 90))]),
}


@pytest.fixture(params=MODELS)
def bank(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.fixture
def lapped() -> Model:
    return MODELS["lapped"]


@pytest.fixture(scope="session")
def graphs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of the lapped and dyadic models, as they would ship."""
    pytest.importorskip("onnx")
    from sancodec.export.graphs import write_graphs

    folder = tmp_path_factory.mktemp("models")
    for name in ("lapped", "dyadic"):
        write_graphs(MODELS[name], folder)
    return folder


@pytest.fixture
def random_signals() -> MakeSignals:
    def make(model: Model, n_signals: int, n_periods: int) -> np.ndarray:
        rng = np.random.default_rng(100 * n_signals + n_periods)
        return rng.normal(scale=300, size=(n_signals, n_periods * model.period)).astype(np.float32)

    return make


@pytest.fixture
def random_amplitudes() -> MakeAmplitudes:
    """Integers whose largest partial sum can reach 2**53."""

    def make(model: Model, n_signals: int, n_periods: int) -> list[np.ndarray]:
        rng = np.random.default_rng(100 * n_signals + n_periods)
        largest = (1 << 53) // model.peak_gain
        return [
            rng.integers(
                -largest, largest, (n_signals, n_periods * model.period // group.stride, group.n_kernels), endpoint=True
            ).astype(np.float64)
            for group in model.groups
        ]

    return make
