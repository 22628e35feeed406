import io

import numpy as np
import pytest

from sancodec.api import shipped_models
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import encode_recording
from sancodec.codec.lattice import MAX_SHIFT, Lattice, find_lattice
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine


def wave(n_samples=6000, seed=0):
    rng = np.random.default_rng(seed)
    return np.rint(300 * np.sin(np.arange(n_samples) / 30) + rng.normal(0, 4, n_samples)).astype(np.int64)


def rescaled(multiples, step, *, truncated):
    return (np.trunc(multiples * step) if truncated else np.floor(multiples * step + 0.5)).astype(np.int32)


def encoded(samples, *, invalid=None, level=5, bound=0, **options):
    channel = Channel("x", invalid=invalid, minimum=-(2**15) + 1)
    recording = Recording((channel,), (samples,), 360)
    file = io.BytesIO()
    encode_recording(
        recording,
        file,
        promises=[Promise(max_error_adu=bound)],
        level=level,
        chunk_s=None,
        models=shipped_models(),
        embed_models=False,
        engine=NumpyEngine(),
        **options,
    )
    return file


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("step", [1.5, 2.0, 3.90625, 4.88, 19.5])
def test_the_step_of_rescaled_samples_is_found(step, truncated):
    multiples = wave(60_000)
    samples = rescaled(multiples, step, truncated=truncated)
    lattice = find_lattice(samples)
    assert lattice is not None
    assert lattice.step == pytest.approx(step, rel=2e-3)
    wrong = lattice.values(lattice.multiples(samples)) != samples
    assert wrong.mean() <= 0.002


@pytest.mark.parametrize("samples", [wave(), np.zeros(500, np.int64), np.arange(9), np.array([], np.int64)])
def test_other_samples_have_none(samples):
    assert find_lattice(samples.astype(np.int32)) is None


def test_values_round_half_up_or_truncate_towards_zero():
    multiples = np.array([-3, -2, -1, 0, 1, 2, 3])
    assert Lattice(3, 1, False).values(multiples).tolist() == [-4, -3, -1, 0, 2, 3, 5]
    assert Lattice(3, 1, True).values(multiples).tolist() == [-4, -3, -1, 0, 1, 3, 4]


@pytest.mark.parametrize("truncated", [False, True])
def test_multiples_are_the_inverse(truncated):
    lattice = Lattice(round(4.88 * 2**MAX_SHIFT), MAX_SHIFT, truncated)
    multiples = np.arange(-2000, 2001)
    assert lattice.multiples(lattice.values(multiples)).tolist() == multiples.tolist()


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_samples_off_the_lattice_and_missing_ones_come_back(level):
    samples = rescaled(wave(), 4.88, truncated=False)
    samples[[0, 77, 5999]] += 1
    samples[100:140] = -(2**15)
    file = encoded(samples, invalid=-(2**15), level=level)
    reader = RecordingReader(file, engine=NumpyEngine())
    assert reader.codings[0].lattice is not None
    assert np.array_equal(reader.read().samples[0], samples)


def test_it_saves_what_it_should():
    on_lattice = len(encoded(rescaled(wave(), 4.88, truncated=False)).getvalue())
    multiples = len(encoded(wave().astype(np.int32)).getvalue())
    assert on_lattice < multiples + 100


@pytest.mark.parametrize(("bound", "is_on_lattice"), [(0, True), (4, True), (5, False), (20, False)])
def test_a_bound_below_the_step_means_exact_multiples(bound, is_on_lattice):
    samples = rescaled(wave(), 4.88, truncated=False)
    reader = RecordingReader(encoded(samples, bound=bound), engine=NumpyEngine())
    assert (reader.codings[0].lattice is not None) == is_on_lattice
    assert np.abs(reader.read().samples[0] - samples).max() <= (0 if is_on_lattice else bound)


def test_multiples_outside_the_channels_range_are_not_used():
    # 500 to 700 would be the multiples, 600 of them as good as missing.
    samples = 2 * (np.rint(100 * np.sin(np.arange(6000) / 30)).astype(np.int32) + 600)
    channel = Channel("x", minimum=900, maximum=3000, invalid=600)
    file = io.BytesIO()
    encode_recording(
        Recording((channel,), (samples,), 360),
        file,
        promises=[Promise(max_error_adu=0)],
        level=5,
        chunk_s=None,
        models=shipped_models(),
        embed_models=False,
        engine=NumpyEngine(),
    )
    reader = RecordingReader(file, engine=NumpyEngine())
    assert reader.codings[0].lattice is None
    assert np.array_equal(reader.read().samples[0], samples)


def test_the_range_of_values_is_not_that_of_multiples():
    samples = rescaled(100 * wave(), 4.88, truncated=False)
    assert samples.max() > 2**15
    channel = Channel("x", minimum=-(2**31) + 1, maximum=2**31 - 1)
    file = io.BytesIO()
    encode_recording(
        Recording((channel,), (samples,), 360),
        file,
        promises=[Promise(max_error_adu=0)],
        level=5,
        chunk_s=None,
        models=shipped_models(),
        embed_models=False,
        engine=NumpyEngine(),
    )
    reader = RecordingReader(file, engine=NumpyEngine())
    assert reader.codings[0].lattice is not None
    low, high = reader.value_ranges()[0]
    assert low <= samples.min()
    assert samples.max() <= high


def test_every_segment_has_its_own():
    samples = np.concatenate([rescaled(wave(20_000), 4.88, truncated=False), wave(20_000).astype(np.int32)])
    channel = Channel("x", minimum=-(2**15) + 1)
    file = io.BytesIO()
    encode_recording(
        Recording((channel,), (samples,), 360),
        file,
        promises=[Promise(max_error_adu=0)],
        level=5,
        chunk_s=20_000 / 360,
        models=shipped_models(),
        embed_models=False,
        engine=NumpyEngine(),
        segment_samples=20_000,
    )
    reader = RecordingReader(file, engine=NumpyEngine())
    assert [reader.decoder(index).codings[0].lattice is None for index in range(2)] == [False, True]
    assert np.array_equal(reader.read().samples[0], samples)
