import io

import numpy as np
import pytest

import sancodec
from sancodec.api import compress_to
from sancodec.codec.beats import kernel_geometry
from sancodec.codec.detection import detect_events, windows_at
from sancodec.codec.given_kernels import GivenKernels
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation
from sancodec.san.beat_kernels import beat_kernels
from sancodec.san.model_file import SanModel
from sancodec.san.network import SparselyActivatedNetwork
from tests.cli.conftest import DATA

RATE_HZ = 360.0


def a_model(*kernels, sampling_rate_hz=RATE_HZ):
    weights = tuple(np.asarray(kernel, np.float32) for kernel in kernels)
    n_dims = weights[0].ndim
    network = SparselyActivatedNetwork(weights, (Activation("identity"),) * len(weights))
    return SanModel(network, (500,) * n_dims, sampling_rate_hz=sampling_rate_hz)


def a_beat(n_positions=229, *, at=90, width=6.0):
    return np.exp(-(((np.arange(n_positions) - at) / width) ** 2)) - 0.3 * np.exp(
        -(((np.arange(n_positions) - at - 25) / (3 * width)) ** 2)
    )


def beats_at(positions, n_samples, beat=None, at=90):
    shape = a_beat() if beat is None else beat
    signal = np.zeros(n_samples + 2 * len(shape))
    for position in positions:
        signal[position - at + len(shape) :][: len(shape)] += 200 * shape
    return np.rint(signal[len(shape) : -len(shape)] + 1000).astype(np.int32)


def test_a_network_adds_its_kernels_reversed():
    kernel = np.arange(1.0, 8.0)
    network = a_model(kernel).network
    impulse = np.zeros((1, 1, 51))
    impulse[0, 0, 20] = 1.0
    added = network.reconstruct([impulse])[0, 0]
    shape = beat_kernels(a_model(kernel)).shapes[0]
    assert np.array_equal(added[added != 0], shape)


@pytest.mark.parametrize(("sign", "rate_hz"), [(1, 360.0), (-1, 360.0), (1, 250.0), (-1, 1000.0)])
def test_kernels_are_moved_scaled_and_turned_to_the_beats_of_the_channel(sign, rate_hz):
    signal = beats_at(range(300, 9000, 310), 9300).astype(np.float32) - 1000
    starts = np.arange(300, 9000, 310) - kernel_geometry(RATE_HZ)[1]
    n_positions = round(229 * rate_hz / RATE_HZ)
    shape = np.interp(np.linspace(0, 228, n_positions), np.arange(229), a_beat())
    found = GivenKernels((sign * 7 * shape,), rate_hz).fitted(signal, starts, sampling_rate_hz=RATE_HZ)
    wave = windows_at(signal, starts, kernel_geometry(RATE_HZ)[0])[0]
    assert found.shape == (1, 256)
    assert float(found[0] @ wave) / np.linalg.norm(wave) > 0.99
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-6)


def test_a_file_carries_the_kernels_that_were_given_and_needs_no_network():
    samples = np.tile(read_wfdb(DATA / "100_10s.hea").samples[0], 8)[None]
    centred = samples.astype(np.float32) - samples.mean()
    positions, filtered = detect_events(centred, sampling_rate_hz=RATE_HZ)
    wave = np.median(windows_at(filtered[0], positions - 90, 229), axis=0)
    file, given = io.BytesIO(), beat_kernels(a_model(-3 * wave[::-1]))
    summary = compress_to(samples, file, sampling_rate_hz=RATE_HZ, prdn=9.0, beat_kernels=given)
    assert summary.kernel_counts == (1,)
    assert summary.qualities[0].prdn <= 9.0
    with sancodec.open(io.BytesIO(file.getvalue())) as record:
        assert len(record.events(0)[0]) > 80
    assert sancodec.decompress(file.getvalue()).shape == samples.shape


@pytest.mark.parametrize("n_kernels", [1, 3, 4])
def test_kernels_that_are_no_beats_are_left_out(n_kernels):
    rng = np.random.default_rng(0)
    samples = np.tile(read_wfdb(DATA / "100_10s.hea").samples[0], 4)[None]
    given = GivenKernels(tuple(rng.normal(size=40) for _ in range(n_kernels)), RATE_HZ)
    file = io.BytesIO()
    assert compress_to(samples, file, sampling_rate_hz=RATE_HZ, prdn=9.0, beat_kernels=given).kernel_counts == (0,)


def test_segments_that_follow_keep_the_kernels():
    from sancodec.api import default_engine, shipped_models
    from sancodec.codec.encoder import encode_recording
    from sancodec.codec.promise import Promise
    from sancodec.datasets.arrays import recording_of

    source = recording_of(beats_at(range(300, 99000, 310), 99300)[None], sampling_rate_hz=RATE_HZ)
    file = io.BytesIO()
    summary = encode_recording(
        source,
        file,
        promises=[Promise(prdn=5.0)],
        level=5,
        chunk_s=25.0,
        models=shipped_models(),
        embed_models=False,
        engine=default_engine(),
        given=GivenKernels((a_beat(), np.roll(a_beat(), 40)), RATE_HZ),
        segment_samples=30_000,
    )
    assert summary.kernel_counts == (2,)
    assert summary.qualities[0].prdn <= 5.0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: a_model(np.ones((3, 3))), "a network of images has no beats"),
        (lambda: a_model(np.ones(9), sampling_rate_hz=None), "the network has no sampling rate"),
        (lambda: a_model(np.zeros(9)), "kernel 0 of shape .* cannot be a beat"),
        (lambda: a_model(np.ones(9), np.ones(1)), "kernel 1 of shape .* cannot be a beat"),
    ],
)
def test_networks_without_beats_are_refused(model, message):
    with pytest.raises(InvalidSignalError, match=message):
        beat_kernels(model())


def test_kernels_without_a_rate_or_a_shape_are_refused():
    with pytest.raises(InvalidSignalError, match="there are no kernels"):
        GivenKernels((), 360.0)
    for rate_hz in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidSignalError, match="sampling_rate_hz of the kernels is"):
            GivenKernels((a_beat(),), rate_hz)
