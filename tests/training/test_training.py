"""Training: orthonormal by construction, the same from the same seed, and better than its start."""

from pathlib import Path

import numpy as np
import pytest

from sancodec.codec import native
from sancodec.codec.kernels import decode_model
from sancodec.codec.rans import TOTAL
from sancodec.training.lapped import SYM8, dyadic_groups, mdct_kernels
from sancodec.training.statistics import frequencies_of, neutral_contexts
from tests.cli.conftest import DATA, Run, run

__all__ = ["run"]

torch = pytest.importorskip("torch", reason="training kernels needs the train extra")


def harmonic(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(12_000)
    tones = sum(np.sin(2 * np.pi * frequency * time + generator.uniform(0, 6)) for frequency in (0.013, 0.031, 0.11))
    return (100 * tones + generator.normal(0, 2, len(time))).astype(np.float32)


def test_bank_starts_as_the_mdct() -> None:
    from sancodec.training.bank import LappedBank

    kernels = LappedBank().kernels().detach().numpy()
    assert kernels.shape == (32, 128)
    assert np.allclose(kernels[:, 32:96], mdct_kernels(32), atol=1e-12)


def test_trained_kernels_stay_orthonormal_at_their_stride() -> None:
    from sancodec.training.bank import train_bank

    kernels = train_bank([harmonic(0)], [100.0], n_iterations=5, seed=1)
    for lag in range(4):
        shifted = kernels[:, 32 * lag :] @ kernels[:, : 128 - 32 * lag].T
        assert np.allclose(shifted, np.eye(32) * (lag == 0), atol=1e-9)


def test_the_same_seed_gives_the_same_kernels_and_another_seed_others() -> None:
    from sancodec.training.bank import train_bank

    first, again, other = (train_bank([harmonic(0)], [100.0], n_iterations=3, seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_lowers_the_coding_cost() -> None:
    from sancodec.training.bank import train_bank

    losses: list[float] = []
    train_bank([harmonic(0)], [100.0], n_iterations=150, seed=0, on_iteration=lambda _, loss: losses.append(loss))
    assert np.mean(losses[-30:]) < 0.97 * np.mean(losses[:10])


def test_cost_gradient_matches_finite_differences() -> None:
    from sancodec.training.bank import coding_cost

    similarity = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    step = torch.tensor(0.7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: coding_cost(values, step), (similarity,))


def test_frequencies_sum_to_the_total_and_leave_room_for_escapes() -> None:
    generator = np.random.default_rng(0)
    counts = generator.geometric(0.3, (28, 17)) * np.geomspace(1e5, 1e-3, 17)
    frequencies = frequencies_of(counts)
    assert np.all(frequencies.sum(axis=1) == TOTAL)
    assert np.all(frequencies[:, -1] > 0)


def test_neutral_contexts_are_a_valid_model() -> None:
    groups = tuple(dyadic_groups(SYM8, levels=7))
    contexts = neutral_contexts(groups, 2)
    assert contexts.n_weight_sets == 2
    assert np.all(contexts.frequencies.sum(axis=2) == TOTAL)


@pytest.mark.skipif(native.core is None, reason=f"training needs the core: {native.engine_name()}")
def test_command_trains_the_same_model_twice(run: Run, tmp_path: Path) -> None:
    arguments = ["train", "bank", DATA, "--kernels", "haar", "--rounds", "1"]
    for name in ("first", "second"):
        assert run(*arguments, "--name", "haar-small", "-o", tmp_path / f"{name}.sanm").status == 0
    first, second = ((tmp_path / f"{name}.sanm").read_bytes() for name in ("first", "second"))
    assert first == second
    assert decode_model(first).metadata["records"] == [["100_10s"]]
    outcome = run("compress", DATA / "100_10s.hea", "--model", tmp_path / "first.sanm", "-o", tmp_path / "x.san", "-q")
    assert outcome.status == 0
    assert run("verify", tmp_path / "x.san").status == 0


def test_records_that_are_excluded_are_not_used(run: Run, tmp_path: Path) -> None:
    outcome = run("train", "bank", DATA, "--exclude", "100_10s", "-o", tmp_path / "none.sanm")
    assert outcome.status == 1
    assert "no WFDB record to train on" in outcome.err
    assert not (tmp_path / "none.sanm").exists()
