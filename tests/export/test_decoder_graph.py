import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec.beats import BeatKernels, Events, render
from sancodec.codec.chunks import padded_length
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.mix import mixed
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.codec.quantiser import Quantised, Step, amplitudes_of
from sancodec.codec.synthesis import NO_KERNELS, ChannelCoding, NumpyEngine, component_of, reconstruct
from sancodec.export.sparse import SparseSignal, decoder_feeds, sparse_signals
from tests.mixed_files import ecg_components, mixed_file

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from sancodec.export.decoder_graph import decoder_graph  # noqa: E402

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "decode").glob("*.san"))


@cache
def session(model):
    content = decoder_graph(model).SerializeToString(deterministic=True)
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def decoded(model, signals, n_samples, output="samples"):
    return session(model).run([output], decoder_feeds(model, signals, n_samples))[0]


def expected(model, signals, n_samples, make=reconstruct):
    engine = NumpyEngine()
    rows = []
    for each in signals:
        amplitudes = amplitudes_of(each.quantised, each.coding.offsets, model)
        bank_sum = engine.synthesise(model, amplitudes)[:, :n_samples]
        beat_sum = render(each.starts, each.events, each.coding.kernels, n_samples=n_samples)[None]
        rows.append(make(each.coding, bank_sum, beat_sum)[0])
    return np.stack(rows)


def a_signal(model, n_samples, rng, *, n_kernels=2, length=30, density=0.05, largest=300):
    circle = padded_length(model, n_samples)
    shapes = [(1, circle // stride) for stride in model.band_strides]
    used = [rng.random(shape) < density for shape in shapes]
    magnitudes = [np.where(at, rng.integers(1, largest, at.shape), 0).astype(np.int32) for at in used]
    negative = [rng.random(shape) < 0.5 for shape in shapes]
    weights = rng.integers(-2000, 2000, (n_kernels, length)).astype(np.int32)
    kernels = BeatKernels(weights, int(rng.integers(-10, 3)))
    n_events = n_samples // 40
    starts = np.sort(rng.choice(np.arange(1 - length, n_samples), n_events, replace=False))
    gains = np.where(rng.random(n_events) < 0.8, rng.integers(1, 128, n_events), 0).astype(np.int32)
    events = Events(np.where(gains > 0, rng.integers(0, n_kernels, n_events), 0).astype(np.int32), gains)
    step = Step(int(rng.integers(2048, 4096)), int(rng.integers(-12, 1)))
    coding = ChannelCoding(int(rng.integers(-500, 500)), -30000, 30000, 0, model, step, (9, 5, 3), kernels)
    return SparseSignal(coding, starts, events, Quantised(magnitudes, negative, []))


def without_beats(signal):
    coding = replace(signal.coding, kernels=NO_KERNELS)
    return replace(signal, coding=coding, starts=np.zeros(0, np.int64), events=Events.none(0))


@pytest.mark.parametrize("name", shipped_names())
def test_sparse_streams_become_the_samples_of_the_package(name):
    model, rng = shipped_model(name), np.random.default_rng(1)
    for n_samples, n_signals in ((1, 1), (100, 3), (2500, 2)):
        signals = [a_signal(model, n_samples, rng) for _ in range(n_signals)]
        found = decoded(model, signals, n_samples)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected(model, signals, n_samples))
        components = decoded(model, signals, n_samples, "components")
        assert components.dtype == np.int64
        np.testing.assert_array_equal(components, expected(model, signals, n_samples, component_of))


def test_signals_with_kernels_of_several_lengths_and_without_beats_share_a_call(lapped):
    rng = np.random.default_rng(2)
    signals = [
        a_signal(lapped, 700, rng, length=30),
        a_signal(lapped, 700, rng, n_kernels=4, length=71),
        without_beats(a_signal(lapped, 700, rng)),
    ]
    np.testing.assert_array_equal(decoded(lapped, signals, 700), expected(lapped, signals, 700))


def test_signals_without_any_level_or_event_are_their_offsets(lapped):
    signal = without_beats(a_signal(lapped, 300, np.random.default_rng(3), density=0))
    assert (decoded(lapped, [signal], 300) == signal.coding.offset).all()


@pytest.mark.parametrize("limit", [100, 2**31 - 1])
def test_samples_beyond_the_range_are_clipped(lapped, limit):
    signal = a_signal(lapped, 300, np.random.default_rng(4), largest=2**20)
    coding = replace(signal.coding, minimum=-limit - 1, maximum=limit, step=Step(4095, 2))
    signal = replace(signal, coding=coding)
    found = decoded(lapped, [signal], 300)
    np.testing.assert_array_equal(found, expected(lapped, [signal], 300))
    assert {-limit - 1, limit} <= set(found.ravel().tolist())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_come_out_the_same(path):
    with path.open("rb") as file:
        reader = RecordingReader(file, engine=NumpyEngine())
        for index in range(reader.header.n_chunks):
            for model, n_samples, _, signals in sparse_signals(reader, index):
                found = decoded(model, signals, n_samples)
                np.testing.assert_array_equal(found, expected(model, signals, n_samples))


def test_components_are_neither_rounded_nor_clipped(lapped):
    signal = a_signal(lapped, 300, np.random.default_rng(4), largest=2**20)
    signal = replace(signal, coding=replace(signal.coding, minimum=-5, maximum=5, step=Step(4095, 2)))
    found = decoded(lapped, [signal], 300, "components")
    np.testing.assert_array_equal(found, expected(lapped, [signal], 300, component_of))
    assert np.abs(found).max() > 2**33
    assert (found % 1024).any()


@pytest.mark.parametrize("level", [1, 5, 9])
def test_mixed_lead_groups_come_out_the_same(level):
    content = mixed_file(ecg_components(9000), level=level, seed=level, chunk_s=1.0)
    reader = RecordingReader(io.BytesIO(content), engine=NumpyEngine())
    mix, codings = reader.decoder(0).coding.mixes[0], reader.codings
    for index, samples in reader.chunks(0, 2):
        rows = {}
        for model, n_samples, channels, signals in sparse_signals(reader, index):
            assert all(each.coding.row is not None for each in signals)
            rows |= zip(channels, decoded(model, signals, n_samples, "components"), strict=True)
        sums = mixed(mix.rows, np.stack([rows[channel] for channel in sorted(rows)]))
        for coding, row, expected_row in zip(codings, sums, samples, strict=True):
            found = np.clip(row + coding.offset, coding.minimum, coding.maximum)
            is_there = expected_row != -(1 << 15)
            np.testing.assert_array_equal(found[is_there], expected_row[is_there])


def test_the_graph_is_small_and_names_its_model(lapped):
    for name in shipped_names():
        assert len(decoder_graph(shipped_model(name)).SerializeToString()) < 2**20
    properties = {each.key: each.value for each in decoder_graph(lapped).metadata_props}
    assert properties == {"kind": "decoder", "name": "lapped", "sha256": lapped.sha256.hex()}
    assert decoder_graph(lapped).SerializeToString(deterministic=True) == decoder_graph(lapped).SerializeToString(
        deterministic=True
    )
