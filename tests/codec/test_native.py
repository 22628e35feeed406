"""The native core against the Python that it mirrors, and against arguments that make no sense."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import DYADIC, LAPPED, SMALL
from test_class_coder import batch_of, example
from test_rans import example as rans_example

import sancodec
from sancodec.cli import info
from sancodec.codec import class_coder, contexts, detection, native, quantiser, residual
from sancodec.codec.bits import BitReader, BitWriter, bits_to_fields, fields_to_bits
from sancodec.codec.class_symbols import symbols_of
from sancodec.codec.quantiser import Bands
from sancodec.codec.rans import EncodedStream, StreamDecoder, encode_streams
from sancodec.codec.residual import Plane, Reference, ResidualCoding
from sancodec.errors import FormatError

needs_core = pytest.mark.skipif(native.core is None, reason=f"there is nothing to compare: {native.engine_name()}")
seeds = st.integers(0, 2**32 - 1)
MODELS = [LAPPED, DYADIC, SMALL]


def outcome(function):
    try:
        return function()
    except FormatError as error:
        return type(error)


def assert_same(one, other):
    assert type(one) is type(other)
    if is_dataclass(one) and not isinstance(one, type):
        for each in fields(one):
            assert_same(getattr(one, each.name), getattr(other, each.name))
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def assert_core_agrees(function):
    """The same value or the same refusal with the core and without."""
    natively = outcome(function)
    with patch.object(native, "core", None):
        assert_same(natively, outcome(function))


def signal(rng, n_samples=6000):
    beats = np.zeros(n_samples)
    beats[np.cumsum(rng.integers(200, 320, n_samples // 330))] = 400
    waves = np.convolve(beats, np.hanning(40), "same") + 40 * np.sin(np.arange(n_samples) / 30)
    return (waves + rng.normal(0, 6, (2, n_samples))).astype(np.int16)


@needs_core
@given(seed=seeds, n=st.integers(0, 60), peak=st.sampled_from([1, 30, 5000, 2**32]))
@settings(max_examples=60, deadline=None)
def test_fields_and_rice_lists_are_written_alike(seed, n, peak):
    rng = np.random.default_rng(seed)
    values, widths = rng.integers(0, peak, n), rng.integers(0, 40, n)

    def written():
        writer = BitWriter()
        writer.rice(values)
        writer.rice(values[::2])
        return writer.tobits(), fields_to_bits(values, widths)

    assert_core_agrees(written)
    assert_core_agrees(lambda: bits_to_fields(fields_to_bits(values, widths), widths))


@needs_core
@given(seed=seeds, n_bits=st.integers(0, 400), ones=st.floats(0, 1), count=st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_random_bits_are_read_alike(seed, n_bits, ones, count):
    rng = np.random.default_rng(seed)
    bits = (rng.random(n_bits) < ones).astype(np.uint8)
    widths = rng.integers(0, 8, count)

    def read():
        reader = BitReader(bits, "bits")
        return reader.rice(count), reader.fields(widths), reader.position

    assert_core_agrees(read)


@needs_core
@given(seed=seeds, lanes=st.lists(st.integers(1, 40), min_size=1, max_size=4), n_steps=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_rans_streams_agree_and_so_do_damaged_ones(seed, lanes, n_steps):
    rng = np.random.default_rng(seed)
    step_contexts, symbols, counts, payload, tables = rans_example(seed, n_steps, tuple(lanes))
    assert_core_agrees(lambda: encode_streams(step_contexts, symbols, counts, payload, tables))
    streams = encode_streams(step_contexts, symbols, counts, payload, tables)
    damaged = [
        EncodedStream(
            np.where(rng.random(len(each.states)) < 0.1, each.states ^ np.uint32(rng.integers(0, 2**31)), each.states),
            each.words[: int(rng.integers(0, len(each.words) + 1))],
        )
        for each in streams
    ]

    def read(given):
        decoder = StreamDecoder(given, tables)
        return decoder.decode(step_contexts), decoder.finish()

    assert_core_agrees(lambda: read(streams))
    assert_core_agrees(lambda: read(damaged))


@needs_core
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@given(
    seed=seeds, step=st.sampled_from([0.01, 0.5, 3.0, 40.0]), weight_set=st.integers(0, 1), n_chunks=st.integers(1, 3)
)
@settings(max_examples=15, deadline=None)
def test_coefficients_are_quantised_alike_and_with_the_same_sums(model, seed, step, weight_set, n_chunks):
    rng = np.random.default_rng(seed)
    circle = 2 * model.period
    shapes = [(n_chunks, circle // stride) for stride in model.band_strides]
    bands = Bands.of([rng.laplace(0, rng.choice([0.1, 2, 90]), shape).astype(np.float32) for shape in shapes])
    phases = [rng.integers(0, contexts.N_PHASES + 1, shape) for shape in shapes]
    base_at = [rng.integers(0, 1 << rng.integers(1, 14), shape).astype(np.int32) for shape in shapes]
    rounding = quantiser.rounding_of(model.contexts, multiplier=0.11, weight_set=weight_set)

    def quantised():
        result, sums = quantiser.quantise(bands, model, base_at, weight_set=weight_set, step=step, rounding=rounding)
        profile = quantiser.profile_of(
            model.contexts, [result.magnitudes], [phases], with_phases=True, weight_set=weight_set
        )
        amplitudes = quantiser.amplitudes_of(result, (9, 5, 1), model)
        return result, sums, profile, amplitudes, quantiser.classified(result, model, base_at, weight_set=weight_set)

    assert_core_agrees(quantised)
    assert_core_agrees(lambda: quantiser.quantise_plain(bands, step=step))


@needs_core
@given(seed=seeds, n_chunks=st.integers(1, 4), stride=st.sampled_from([1, 2, 64]), kernel_length=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_beat_phases_agree(seed, n_chunks, stride, kernel_length):
    rng = np.random.default_rng(seed)
    starts = [np.unique(rng.integers(-kernel_length + 1, 4000, rng.integers(0, 9))) for _ in range(n_chunks)]
    assert_core_agrees(
        lambda: contexts.phases_of_windows(starts, n_windows=4096 // stride, stride=stride, kernel_length=kernel_length)
    )


@needs_core
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@given(
    seed=seeds, density=st.sampled_from([0.02, 0.5]), peak=st.sampled_from([2, 500, 10**6]), n_lanes=st.integers(1, 5)
)
@settings(max_examples=10, deadline=None)
def test_the_class_coder_writes_and_reads_alike_damaged_streams_too(model, seed, density, peak, n_lanes):
    rng = np.random.default_rng(seed)
    each = example(model, rng, density=density, peak=peak, n_lanes=n_lanes, weight_set=int(rng.integers(0, 2)))
    part = each.part
    assert_core_agrees(
        lambda: symbols_of(part.quantised, part.active, model, n_lanes=n_lanes, weight_set=part.weight_set)
    )
    (streams,) = class_coder.encode_class_streams([part], model)
    noise = [(rng.random(len(stream.raw)) < 0.5).astype(np.uint8) for stream in streams]

    def read(words_kept):
        batch = batch_of(each, streams)
        batch.streams[0] = EncodedStream(batch.streams[0].states, batch.streams[0].words[:words_kept])
        (symbols,) = class_coder.decode_class_symbols([batch], model)
        right = [class_coder.read_stream(one, stream.raw, model) for one, stream in zip(symbols, streams, strict=True)]
        damaged = [
            outcome(lambda one=one, raw=raw: class_coder.read_stream(one, raw, model))
            for one, raw in zip(symbols, noise, strict=True)
        ]
        return right, damaged

    assert_core_agrees(lambda: read(None))
    assert_core_agrees(lambda: read(len(streams[0].stream.words) // 2))


@needs_core
@given(
    seed=seeds,
    n_lags=st.integers(1, 64),
    bound=st.sampled_from([0, 3, 1 << 20]),
    shift=st.integers(0, 20),
    restart=st.integers(1, 90),
    length=st.integers(1, 70),
    peak=st.sampled_from([5, 2**31 - 1]),
)
@settings(max_examples=80, deadline=None)
def test_the_residual_layer_predicts_alike(seed, n_lags, bound, shift, restart, length, peak):
    rng = np.random.default_rng(seed)
    coding = ResidualCoding(bound, restart, shift, rng.integers(-(1 << 20), 1 << 20, n_lags), ())
    plane = Plane(rng.integers(-peak, peak, (2, length)), -peak, peak)
    sums = rng.integers(-(1 << 40), 1 << 40, (2, length))
    samples, codes = rng.integers(-peak, peak, (2, length)), rng.integers(-(1 << 33), 1 << 33, (2, length))
    assert_core_agrees(lambda: residual.encode_level([coding], [plane], [sums], [samples]))
    assert_core_agrees(lambda: residual.decode_level([coding], [plane], [sums], [codes]))
    references = tuple(
        Reference(
            0, bool(decoded), int(rng.integers(-80, 80)), rng.integers(-(1 << 20), 1 << 20, int(rng.integers(0, 9)))
        )
        for decoded in rng.integers(0, 2, 3)
    )
    predicted = ResidualCoding(bound, restart, shift, np.zeros(0, np.int64), references)
    assert_core_agrees(lambda: residual.reference_sums(1, predicted, {0: plane, 1: plane}, {0: samples}))


@needs_core
@given(seed=seeds, distance=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_extrema_are_kept_apart_alike(seed, distance):
    ratio = np.round(np.random.default_rng(seed).random(600) * 20).astype(np.float32)
    assert_core_agrees(lambda: detection.extrema(ratio, threshold=3.0, min_distance=distance))


@pytest.fixture(scope="module")
def real_calls():
    """Arguments with which the codec calls the core, by function."""
    if native.core is None:
        pytest.skip(f"there is nothing to call: {native.engine_name()}")
    calls = {}

    def recorded(name, function):
        def call(*arguments):
            kept = calls.setdefault(name, [])
            if len(kept) < 12:
                kept.append([copied(each) for each in arguments])
            return function(*arguments)

        return call

    core = {name: value for name, value in vars(native.core).items() if not name.startswith("_")}
    wrapped = {name: recorded(name, value) if callable(value) else value for name, value in core.items()}
    samples = signal(np.random.default_rng(5))
    with patch.object(native, "core", SimpleNamespace(**wrapped)):
        for options in ({"prdn": 3.0}, {"lossless": True}, {"max_error": "2adu"}):
            for level, n_samples in ((5, 6000), (9, 600)):
                blob = sancodec.compress(samples[:, :n_samples], sampling_rate_hz=360, level=level, **options)
                sancodec.decompress(blob)
    return calls


def copied(argument):
    if isinstance(argument, (list, tuple)):
        return [copied(each) for each in argument]
    return argument.copy() if isinstance(argument, np.ndarray) else argument


def spoilt(argument, rng):
    """Something else in an argument's place."""
    if isinstance(argument, (list, tuple)):
        index = int(rng.integers(0, len(argument) + 1))
        if index == len(argument):
            return [argument[:-1], argument * 2, 7, None][rng.integers(0, 4)]
        return [*argument[:index], spoilt(argument[index], rng), *argument[index + 1 :]]
    if not isinstance(argument, np.ndarray):
        return [-1, 0, 1, 3, 2**31, 2**62, 2**70, None, "x", 1e300][rng.integers(0, 10)]
    kind = rng.integers(0, 8)
    if kind == 0:
        return argument.ravel()[: rng.integers(0, argument.size + 1)]
    if kind == 1:
        return np.concatenate([argument.ravel(), argument.ravel()])
    if kind == 2:
        return argument.ravel().astype(rng.choice(["u1", "i2", "u4", "i8", "f4", "f8"]))
    if kind == 3:
        return argument.ravel()[::2]
    if kind == 4:
        argument.flags.writeable = False
        return argument
    if kind == 5:
        return [None, b"", 5, object()][rng.integers(0, 4)]
    result = argument.ravel().copy()
    share = result.view(np.uint8)
    at = rng.random(share.size) < rng.choice([0.02, 1.0])
    share[at] = rng.integers(0, 256, share.size)[at]
    return result


def test_no_argument_leads_the_core_astray(real_calls):
    rng = np.random.default_rng(1)
    for name, calls in sorted(real_calls.items()):
        function = getattr(native.core, name)
        for arguments in calls:
            with pytest.raises((TypeError, ValueError)):
                function(*arguments[:-1])
            for _ in range(40):
                changed = copied(arguments)
                at = int(rng.integers(0, len(changed)))
                with warnings.catch_warnings(action="ignore"):
                    changed[at] = spoilt(changed[at], rng)
                    try:
                        function(*changed)
                    except (TypeError, ValueError, OverflowError, BufferError):
                        continue


def test_the_core_is_called_at_all(real_calls):
    coder_1 = {"quantise", "rans_encode", "rans_decode", "rans_decode_band", "class_symbols", "residual", "rice_read"}
    coder_2 = {"code_levels", "quantise_levels", "residual_mixing"}
    assert coder_1 | coder_2 <= real_calls.keys()


def engine_run(environment):
    script = (
        "import hashlib, numpy as np, sancodec\n"
        "from sancodec.codec.native import engine_name\n"
        "x = np.cumsum(np.random.default_rng(3).normal(0, 9, (2, 5000)), axis=1).astype(np.int16)\n"
        "blobs = [sancodec.compress(x, sampling_rate_hz=360, **each) for each in ({'prdn': 4.0}, {'lossless': True})]\n"
        "short = x[:, :200]\n"
        "for each in ({'prdn': 9.0, 'max_error': '30adu'}, {'lossless': True}):\n"
        "    blobs.append(sancodec.compress(short, sampling_rate_hz=360, level=9, **each))\n"
        "assert (sancodec.decompress(blobs[1]) == x).all()\n"
        "assert (sancodec.decompress(blobs[-1]) == short).all()\n"
        "assert abs(sancodec.decompress(blobs[-2]).astype(int) - short).max() <= 30\n"
        "print(engine_name().split()[0], *(hashlib.sha256(blob).hexdigest() for blob in blobs))\n"
    )
    run = [sys.executable, "-Werror", "-c", script]
    return subprocess.run(
        run, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_package_works_without_the_core_and_writes_the_same_bytes():
    engine, *digests = engine_run({native.ENGINE_VARIABLE: "python"})
    assert engine == "Python,"
    assert digests == engine_run({})[1:]
    assert len(digests[0]) == hashlib.sha256().digest_size * 2


def test_info_tells_which_engine_is_in_use():
    plain, in_json = (CliRunner().invoke(info.command, ["--engine", *more]) for more in ([], ["--json"]))
    assert plain.output == f"{native.engine_name()}\n"
    assert json.loads(in_json.output) == {"engine": native.engine_name()}
    assert CliRunner().invoke(info.command, ["--engine", "100.san"]).exit_code == 2
    assert CliRunner().invoke(info.command, []).exit_code == 2


def test_a_core_that_is_missing_or_of_another_version_is_not_used(monkeypatch):
    monkeypatch.delenv(native.ENGINE_VARIABLE, raising=False)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "sancodec._core", None)
        assert native._load() == (None, "Python fallback: no compiler was there at install")
    other = SimpleNamespace(VERSION=-1)
    monkeypatch.setitem(sys.modules, "sancodec._core", other)
    monkeypatch.setattr(sancodec, "_core", other, raising=False)
    core, name = native._load()
    assert core is None
    assert "version -1" in name


def test_large_work_without_the_core_is_announced_once(monkeypatch):
    said = []
    monkeypatch.setattr(native, "core", None)
    monkeypatch.setattr(native, "_is_said", False)
    monkeypatch.setattr(native, "announce", said.append)
    monkeypatch.delenv(native.ENGINE_VARIABLE, raising=False)
    native.warn_if_slow(native.SLOW_SAMPLES - 1)
    assert not said
    native.warn_if_slow(native.SLOW_SAMPLES)
    native.warn_if_slow(native.SLOW_SAMPLES)
    assert len(said) == 1


def test_a_library_warns_and_one_who_asked_for_python_is_not_told(monkeypatch):
    monkeypatch.setattr(native, "core", None)
    monkeypatch.setattr(native, "_is_said", False)
    monkeypatch.setattr(native, "announce", native._warn)
    monkeypatch.setenv(native.ENGINE_VARIABLE, "python")
    native.warn_if_slow(native.SLOW_SAMPLES)
    monkeypatch.delenv(native.ENGINE_VARIABLE)
    with pytest.warns(RuntimeWarning, match="native core is not in use"):
        native.warn_if_slow(native.SLOW_SAMPLES)
