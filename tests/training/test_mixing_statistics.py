"""Training the mixing coder: signals like those of the training set take fewer bytes, and files hold what is fitted."""

from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest

import sancodec
from sancodec.codec import native
from sancodec.codec.kernels import Model, decode_model
from sancodec.codec.mixing_model import from_content
from sancodec.codec.recording import Channel, Recording
from sancodec.errors import InvalidSignalError, MissingDependencyError
from sancodec.training.lapped import SYM8, dyadic_groups
from sancodec.training.statistics import neutral_contexts
from sancodec.training.train import TrainingSource, train_mixing

GROUPS = tuple(dyadic_groups(SYM8, levels=5))
needs_core = pytest.mark.skipif(native.core is None, reason=f"training needs the core: {native.engine_name()}")


def neutral(n_sets: int = 1) -> Model:
    return Model(GROUPS, neutral_contexts(GROUPS, n_sets), {"name": "small"})


def tones(seed: int, *, is_bursty: bool = False) -> np.ndarray:
    """Two channels with the same tones."""
    rng = np.random.default_rng(seed)
    time = np.arange(3000)
    common = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in (0.004, 0.013, 0.031))
    if is_bursty:
        common = common * (time // 300 % 3 == 0)
    return np.rint(np.stack([300 * common, 200 * common]) + rng.normal(0, 4, (2, 3000))).astype(np.int32)


def source(seed: int, **options: bool) -> TrainingSource:
    channels = tuple(Channel(name, minimum=-9999, maximum=9999) for name in ("first", "second"))
    return TrainingSource(f"tones {seed}", Recording(channels, tuple(tones(seed, **options)), Fraction(100)))


def trained_on(kinds: list[list[TrainingSource]]) -> Model:
    messages: list[str] = []
    trained = train_mixing(neutral(len(kinds)), kinds, n_rounds=1, on_message=messages.append)
    first, last = (int(message.split()[-2]) for message in (messages[0], messages[-1]))
    assert last <= first
    return trained


def n_bytes(model: Model, seed: int, **options: bool) -> int:
    content = sancodec.compress(tones(seed, **options), sampling_rate_hz=100, prdn=2, level=7, models=(model,))
    return len(content)


@needs_core
def test_a_trained_model_takes_fewer_bytes_than_the_neutral_one() -> None:
    trained = trained_on([[source(1), source(2)]])
    assert n_bytes(trained, 3) < 0.97 * n_bytes(neutral(), 3)


@needs_core
def test_only_the_statistics_of_the_mixing_coder_change_and_they_come_back_from_a_file() -> None:
    before, trained = neutral(2), trained_on([[source(1)], [source(2, is_bursty=True)]])
    for name in ("band_weights", "phase_groups", "frequencies"):
        np.testing.assert_array_equal(getattr(trained.contexts, name), getattr(before.contexts, name))
    mixing = trained.contexts.mixing
    assert mixing.content() != before.contexts.mixing.content()
    assert mixing.prior[0].tobytes() != mixing.prior[1].tobytes()
    again = from_content(mixing.content(), 2, trained.n_bands)
    for name in ("terms", "taps", "prior", "mixer"):
        np.testing.assert_array_equal(getattr(again, name), getattr(mixing, name))
    assert decode_model(trained.content).content == trained.content


@needs_core
def test_training_twice_gives_the_same_model() -> None:
    first, second = (trained_on([[source(4)]]) for _ in range(2))
    assert first.content == second.content


def test_as_many_kinds_of_recordings_as_weight_sets_are_asked_for() -> None:
    with pytest.raises(InvalidSignalError, match="1 kinds of recordings for 2 weight sets"):
        train_mixing(neutral(2), [[source(1)]], n_rounds=1, on_message=print)


def test_training_without_the_core_is_refused() -> None:
    with patch.object(native, "core", None), pytest.raises(MissingDependencyError, match="install a C compiler"):
        train_mixing(neutral(), [[source(1)]], n_rounds=1, on_message=print)
