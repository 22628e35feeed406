import numpy as np
import pytest

import sancodec
from sancodec.codec import trial
from sancodec.codec.models import shipped_names


@pytest.fixture
def tried(monkeypatch):
    """Names of the banks that were tried in earnest."""
    names = []
    cost = trial._trial_cost

    def noting(job, model, cascade, step):
        names.append(model.name)
        return cost(job, model, cascade, step)

    monkeypatch.setattr(trial, "_trial_cost", noting)
    return names


def a_signal(n_samples):
    rng = np.random.default_rng(0)
    return np.cumsum(rng.integers(-20, 21, n_samples)).astype(np.int32)


@pytest.mark.parametrize(
    ("n_samples", "level", "n_banks"), [(5000, 5, 4), (5000, 9, 4), (5000, 3, 2), (40_000, 5, 2), (5000, 1, 0)]
)
def test_short_channels_try_every_bank_and_long_ones_two(tried, n_samples, level, n_banks):
    sancodec.compress(a_signal(n_samples), sampling_rate_hz=360, prdn=5.0, level=level)
    # Of the two that were trained at a sampling rate only the nearer is a candidate.
    assert len(set(tried)) == n_banks
    assert len(shipped_names()) == 5


def test_the_bits_of_a_profile_count(monkeypatch):
    costs = []
    cost = trial._trial_cost

    def noting(job, model, cascade, step):
        of_lengths = []
        for n_bits in (0, 40):
            monkeypatch.setattr(
                trial, "write_profile", lambda writer, profile, n=n_bits: writer.number(0, n) if n else None
            )
            of_lengths.append(cost(job, model, cascade, step))
        costs.append(of_lengths[1] - of_lengths[0])
        return of_lengths[0]

    monkeypatch.setattr(trial, "_trial_cost", noting)
    sancodec.compress(a_signal(5000), sampling_rate_hz=360, prdn=5.0)
    assert np.allclose(costs, 40)
    costs.clear()
    sancodec.compress(a_signal(5000), sampling_rate_hz=360, prdn=5.0, level=3)
    assert np.allclose(costs, 0)
