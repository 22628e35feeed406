"""Fitting what the coder of events begins with: of the right size, the same every time, and good for such events."""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import sancodec
from sancodec.codec import event_mixing
from sancodec.codec.beats import Events
from sancodec.codec.event_mixing import N_PRIOR, MixedEvents, run_oracle
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.training import event_prior
from sancodec.training.event_prior import chunks_of, fit_event_prior

RECORD = Path(__file__).parents[1] / "data" / "100_10s"
FLAT = np.full(N_PRIOR, 2048 << 4, np.uint16)  # even odds, and nothing met


def rhythm(seed: int) -> MixedEvents:
    """Two channels of beats, every tenth one early and of another kernel."""
    rng = np.random.default_rng(seed)
    n = 80
    is_early = rng.random(n) < 0.1
    starts = np.cumsum(np.rint(rng.normal(280, 6, n) - 90 * is_early)).astype(np.int64)
    gains = [np.rint(rng.normal(60, 2, n) - 20 * is_early).astype(np.int32) for _ in range(2)]
    events = [Events(is_early.astype(np.int32), each) for each in gains]
    return MixedEvents.of([starts], [int(starts[-1]) + 200], [(0, 2), (0, 2)], events)


def n_bytes(chunk: MixedEvents, prior: np.ndarray) -> int:
    with patch.object(event_mixing, "shipped_prior", lambda: prior):
        return len(run_oracle(chunk, None))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "100_10s.san"
    path.write_bytes(sancodec.compress(read_wfdb(RECORD), prdn=5, level=7))
    return path


def test_fitted_prior_has_a_number_for_every_slot() -> None:
    prior = fit_event_prior([rhythm(1)])
    assert (prior.shape, prior.dtype) == ((N_PRIOR,), np.uint16)
    assert (prior >> 4).min() > 0
    assert (prior == FLAT).mean() > 0.9  # slots that were not met
    assert np.array_equal(fit_event_prior([]), FLAT)


def test_fitting_twice_gives_the_same_prior() -> None:
    first, second = (fit_event_prior([rhythm(1), rhythm(2)]) for _ in range(2))
    assert np.array_equal(first, second)


def test_fitting_leaves_the_events_as_they_are() -> None:
    chunk, same = rhythm(1), rhythm(1)
    fit_event_prior([chunk])
    for name in ("groups", "channels", "starts", "gains", "kernels"):
        assert np.array_equal(getattr(chunk, name), getattr(same, name))


def test_fitted_prior_codes_such_events_in_fewer_bytes() -> None:
    prior = fit_event_prior([rhythm(seed) for seed in range(4)])
    assert n_bytes(rhythm(1), prior) < 0.8 * n_bytes(rhythm(1), FLAT)
    assert n_bytes(rhythm(9), prior) < 0.95 * n_bytes(rhythm(9), FLAT)
    assert n_bytes(rhythm(9), event_mixing.shipped_prior()) < n_bytes(rhythm(9), FLAT)


def test_events_of_a_file_are_those_that_were_coded(file: Path) -> None:
    (chunk,) = chunks_of(file)
    recording = sancodec.decompress_recording(file.read_bytes())
    assert chunk.groups.tolist() == [[len(chunk.starts), len(recording.samples[0])]]
    assert len(chunk.starts) > 8
    assert chunk.channels[:, 0].tolist() == [0] * len(chunk.channels)
    assert len(chunk.gains) == len(chunk.kernels) == len(chunk.starts) * len(chunk.channels)
    assert chunk.gains.max() > 0


def test_command_writes_the_prior_of_files(file: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.prior"
    with patch.object(sys, "argv", ["event_prior", str(file), str(file), "-o", str(output)]):
        event_prior.main()
    (chunk,) = chunks_of(file)
    expected = fit_event_prior([chunk, chunk])
    assert output.read_bytes() == expected.astype("<u2").tobytes()
    assert n_bytes(chunk, expected) < n_bytes(chunk, FLAT)
