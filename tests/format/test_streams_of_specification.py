"""Streams that recordings seldom reach, from the package's writers into the decoder written from docs/format.md."""

from __future__ import annotations

import struct
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from both_decoders import decoder, documented
from strict_coding import read_beat_kernels, read_mix

from sancodec.codec import class_coder, payload, zstd_coder
from sancodec.codec.beat_kernel_section import write_kernels
from sancodec.codec.beats import BeatKernels, Events, render
from sancodec.codec.bits import BitReader, BitWriter, zigzag
from sancodec.codec.chunks import band_phases, base_windows
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, decode_coding, encode_coding
from sancodec.codec.container import encode_varints, zstd_compress
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, ContextModel, Profile
from sancodec.codec.header import Header
from sancodec.codec.kernel_wavelet import MAX_COEFFICIENT_STEP, KernelCoefficients, band_lengths
from sancodec.codec.kernels import Model, decode_model
from sancodec.codec.level_coder import LevelUnit, encode_levels, fine_phases
from sancodec.codec.mix import write_mix
from sancodec.codec.mixing_model import PRIOR_SIZE, MixingModel
from sancodec.codec.quantiser import Quantised, Step, amplitudes_of, classified
from sancodec.codec.recording import Channel
from sancodec.codec.synthesis import ChannelCoding, check_amplitudes, reconstruct
from sancodec.codec.transform import synthesise
from sancodec.training.lapped import SYM8, mdct_kernels, split_lowest
from sancodec.training.statistics import frequencies_of
from tests.mixed_files import random_mix


def random_mixing(rng: np.random.Generator, n_bands: int) -> MixingModel:
    """Two sets without any pattern; terms, taps and mixers reach into all of their range, but seldom."""
    reach = 2.0 ** rng.uniform(0, 16, (2, 2, n_bands, 8))
    taps = rng.integers(-(2**15), 2**15, (2, 2, n_bands, 14)) >> rng.integers(0, 8, (2, 2, n_bands, 14))
    prior = rng.integers(-128, 128, (2, PRIOR_SIZE)) >> rng.integers(0, 3, (2, PRIOR_SIZE))
    mixer = rng.integers(-(2**14), 2**15, (2, 8, 4)) >> rng.integers(0, 4, (2, 8, 4))
    return MixingModel(
        (reach - 1).astype(np.int32), taps.astype(np.int32) << 4, prior.astype(np.int8), mixer.astype(np.int32) << 4
    )


def random_model(rng: np.random.Generator) -> Model:
    """A small bank with strides 16, 8, 4 and statistics without any pattern."""
    groups = tuple(split_lowest(mdct_kernels(4), stride=4, levels=2, scaling=SYM8))
    n_bands = sum(group.n_kernels for group in groups)
    counts = 0.8 ** (np.arange(17) * rng.uniform(0.1, 4, (2 * 28, 1))) * rng.uniform(0.5, 1, (2 * 28, 17))
    contexts = ContextModel(
        (4096 * rng.random((2, n_bands, 4)) ** 4).astype(np.uint16),
        rng.integers(0, 3, n_bands).astype(np.uint8),
        frequencies_of(counts).reshape(2, 28, 17),
        random_mixing(rng, n_bands),
    )
    return decode_model(Model(groups, contexts, {"name": "random", "π": [1, 2.5]}).content)


def random_quantised(model: Model, circle: int, rng: np.random.Generator, *, largest: int) -> Quantised:
    """Magnitudes up to ``largest`` with many zeros, ``(1, window)`` per band."""
    magnitudes, negative = [], []
    for stride in model.band_strides:
        shape = (1, circle // stride)
        size = rng.random(shape) ** 2 * np.log2(largest + 1) * (rng.random(shape) < rng.random())
        magnitudes.append(np.minimum(2**size - 1, largest).astype(np.int32))
        negative.append(rng.random(shape) < 0.5)
    return Quantised(magnitudes, negative, [])


def signed(quantised: Quantised) -> list[np.ndarray]:
    return [
        np.where(minus, -band, band)[0] for band, minus in zip(quantised.magnitudes, quantised.negative, strict=True)
    ]


def random_kernels(rng: np.random.Generator, *, n_kernels: int, length: int, exponent: int) -> BeatKernels:
    return BeatKernels(rng.integers(-(2**16) + 1, 2**16, (n_kernels, length)).astype(np.int32), exponent)


@pytest.mark.parametrize("seed", range(8))
def test_class_streams_with_any_profile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, circle, kernel_length = random_model(rng), 16 * 40, 75
    profile = Profile(
        int(rng.integers(2)),
        rng.integers(0, MAX_SCALE_CODE + 1, model.n_bands) * (rng.random(model.n_bands) < 0.8),
        rng.integers(-MAX_PHASE_CODE, MAX_PHASE_CODE + 1, (model.contexts.n_phase_groups, N_PHASES + 1)),
    )
    active = profile.scale_codes > 0
    starts = np.cumsum(rng.integers(1, 150, 6)) - kernel_length
    plain = random_quantised(model, circle, rng, largest=2 ** int(rng.integers(2, 20)))
    for band in np.flatnonzero(~active):
        plain.magnitudes[band][:] = 0
    base_at = base_windows(model, profile, band_phases(model, [starts], circle, kernel_length=kernel_length))
    quantised = classified(plain, model, base_at, weight_set=profile.weight_set)
    n_lanes = int(rng.integers(1, 9)) if active.any() else 0
    part = class_coder.ChannelPart(quantised, active, n_lanes, profile.weight_set)
    ((stream,),) = class_coder.encode_class_streams([part], model)
    content = payload.encode_class_coefficients([stream.stream])
    cascade = SimpleNamespace(
        model=decoder.read_model(model.content),
        set=profile.weight_set,
        scales=profile.scale_codes,
        phases=profile.phase_codes,
    )
    raw, fields = decoder.Bits(stream.raw), decoder.Bytes(content)
    decoded = decoder.read_classes(fields, raw, cascade, starts, kernel_length, circle)
    fields.finish()
    raw.finish()
    np.testing.assert_array_equal(decoded, np.concatenate(signed(quantised)))


def random_levels(model: Model, profile: Profile, circle: int, rng: np.random.Generator, *, largest: int) -> np.ndarray:
    """Levels of bands that are on, as their trellises allow them."""
    bands = []
    for stride, scale in zip(model.band_strides, profile.scale_codes, strict=True):
        n_windows, state, band = circle // stride, 0, []
        sizes = (2 ** (rng.random(n_windows) ** 3 * np.log2(largest + 1))).astype(np.int64) - 1
        for index in sizes.tolist() if scale else [0] * n_windows:
            level = 2 * index - state % 2 if index else 0
            band.append(-level if rng.random() < 0.5 else level)
            if scale:
                state = ((0, 3, 5, 6, 1, 2, 4, 7), (1, 2, 4, 7, 0, 3, 5, 6))[index % 2][state]
        bands.append(band)
    return np.concatenate(bands).astype(np.int32)


@pytest.mark.parametrize("seed", range(6))
def test_mixed_levels_with_any_statistics(seed: int) -> None:
    """Four channels of two sets and two lengths, so that some share their slots and some have another beside."""
    rng = np.random.default_rng(seed)
    model, kernel_length, units, channels = random_model(rng), 75, [], []
    plain = decoder.read_model(model.content)
    other = documented.Bytes(model.content).model()
    segment = documented.Segment.__new__(documented.Segment)
    segment.starts, segment.seen, segment.kernel_lengths = {}, {}, [kernel_length]
    for number, circle in enumerate([16 * 12, 16 * 12, 16 * 9, 16 * 12]):
        scales = rng.integers(0, MAX_SCALE_CODE + 1, model.n_bands) * (rng.random(model.n_bands) < 0.8)
        phases = rng.integers(-MAX_PHASE_CODE, MAX_PHASE_CODE + 1, (model.contexts.n_phase_groups, N_PHASES + 1))
        profile = Profile(number // 2, scales, phases)
        starts = np.cumsum(rng.integers(1, 90, int(rng.integers(0, 5)))).astype(np.int64) - kernel_length
        largest = 2 ** int(rng.integers(1, 27))
        levels = random_levels(model, profile, circle, rng, largest=largest)
        units.append(LevelUnit(model, profile, fine_phases(model, starts, circle, kernel_length=kernel_length), levels))
        cascade = SimpleNamespace(model=plain, set=number // 2, scales=scales, phases=phases)
        channels.append(SimpleNamespace(cascade=cascade, starts=starts, kernel_length=kernel_length, circle=circle))
    content = encode_levels(units)
    stream = documented.Decisions(content)
    for unit, channel, found in zip(units, channels, decoder.read_levels(content, channels), strict=True):
        np.testing.assert_array_equal(found, unit.levels)
        c = SimpleNamespace(**vars(channel.cascade) | {"model": other}, starts=channel.starts, group=0)
        widths = [channel.circle // stride for stride in model.band_strides]
        np.testing.assert_array_equal(segment.levels(c, stream, widths), unit.levels)


@pytest.mark.parametrize("layout", [0, 1, 2])
@pytest.mark.parametrize("largest", [3, 2**14, 2**31 - 1])
def test_tokens_in_every_layout(layout: int, largest: int) -> None:
    rng = np.random.default_rng(layout)
    model, circle = random_model(rng), 16 * 3000
    channels = [random_quantised(model, circle, rng, largest=largest) for _ in range(2)]
    channels[0].magnitudes[-1][0, 1:-1] = 0
    channels[1].magnitudes[-1][:] = 0
    writer = BitWriter()
    tokens = [zstd_coder.encode_tokens(each, 0, writer) for each in channels]
    pieces = [
        [b"".join(b"".join(bands) for bands in tokens)],
        [b"".join(bands) for bands in tokens],
        [band for bands in tokens for band in bands],
    ][layout]
    frames = [zstd_compress(piece, 3) for piece in pieces]
    content = bytes([layout]) + b"".join(encode_varints([len(frame)]) + frame for frame in frames)
    raw = decoder.Bits(writer.tobytes())
    widths = [circle // stride for stride in decoder.read_model(model.content).strides]
    decoded = decoder.read_all_tokens(content, raw, [widths, widths], 2 * (2 * circle + len(widths)))
    raw.finish()
    for found, quantised in zip(decoded, channels, strict=True):
        np.testing.assert_array_equal(found, np.concatenate(signed(quantised)))


@pytest.mark.parametrize("length", [1, 8, 9, 17, 256, 2049])
@pytest.mark.parametrize("step", [1, 700, MAX_COEFFICIENT_STEP])
def test_beat_kernels_of_wavelet_coefficients_are_read_alike(length: int, step: int) -> None:
    rng = np.random.default_rng(length)
    reach = max(2, min(900, 20_000 // step))
    values = rng.integers(-reach, reach, (3, length)) * (rng.random((3, length)) < 0.3)
    values[1, band_lengths(length)[0] :] = 0
    kernels = BeatKernels.of(KernelCoefficients(step, values), -3)
    writer = BitWriter()
    write_kernels(writer, kernels)
    content = writer.tobytes()
    bits = decoder.Bits(content)
    exponent, found = read_beat_kernels(bits, length)
    bits.finish()
    assert exponent == -3
    np.testing.assert_array_equal(found, kernels.weights)
    assert len(np.unique(found)) > 2 or length == 1
    other = documented.Bits(content)
    assert (other.rice(1)[0], documented.signed(other.rice(1))[0], other.u(1), other.u(12)) == (3, -3, 1, step)
    np.testing.assert_array_equal([other.kernel(length, step) for _ in range(3)], kernels.weights)


@pytest.mark.parametrize("seed", range(8))
def test_mixes_are_read_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_components, n_derived = int(rng.integers(1, 9)), int(rng.integers(0, 4))
    n_members = n_derived + max(n_components, 2)
    mix = random_mix(rng, n_members, n_components, n_derived=n_derived)
    writer = BitWriter()
    write_mix(writer, mix)
    content = writer.tobytes()
    channels = [
        SimpleNamespace(
            group=index % 2, minimum=0, maximum=index // 2 % 5, layer=None, lattice=None, cascade=index // 2 % 5
        )
        for index in range(60)
    ]
    members = [index for index, c in enumerate(channels) if c.group and c.maximum][:n_members]
    channels = channels[: members[-1] + 1]
    for index in members[n_components:]:
        channels[index].cascade = None
    found = read_mix(decoder.Bits(content), channels, 1)
    assert found is not None
    assert (found.members, found.components) == (members, members[:n_components])
    np.testing.assert_array_equal(found.weights, mix.rows)
    other = documented.Bits(content)
    assert other.u(1)
    np.testing.assert_array_equal(other.mix(n_members, n_components), mix.rows)


def test_coding_with_kernels_and_profiles() -> None:
    rng = np.random.default_rng(5)
    model = random_model(rng)
    codings = []
    for n_kernels, exponent in ((0, 0), (1, -10), (7, 20)):
        kernels = random_kernels(rng, n_kernels=n_kernels, length=60, exponent=exponent)
        scales = rng.integers(0, MAX_SCALE_CODE + 1, model.n_bands)
        phases = rng.integers(-15, 16, (model.contexts.n_phase_groups, 25)) * (n_kernels > 0)
        profile = Profile(n_kernels % 2, scales, phases)
        step = Step(int(rng.integers(2048, 4096)), int(rng.integers(-40, 33)))
        codings.append(ChannelCoding(-(2**31), -7, 2**31 - 1, 0, model, step, (63, 0, 9), kernels, profile))
    measured = [MeasuredQuality(1.5, 2**32 - 1)] * 3
    content = encode_coding(SegmentCoding(3, 2, 1, codings, measured, [60]), models=(model,))
    bounds = {"minimum": -(2**31), "maximum": 2**31 - 1}
    channels = tuple(Channel(name, **bounds) for name in "abc")
    header = Header("array", Fraction(1), 9, 2, channels, 5, ((),) * 3, (b"\0" * 32,))
    decode_coding(content, header, (model,))
    plain = {"channels": [bounds | {"per_frame": 1}] * 3, "n_chunks": 5, "chunk_frames": 2}
    segment = decoder.read_coding(content, plain, [decoder.read_model(model.content)])
    assert (segment.first_chunk, segment.n_chunks, segment.coder, segment.kernel_lengths) == (3, 2, 1, [60])
    for coding, each in zip(codings, segment.channels, strict=True):
        assert (each.prdn, each.largest_error, each.group) == (1.5, 2**32 - 1, 0)
        assert (each.offset, each.minimum, each.maximum) == (coding.offset, coding.minimum, coding.maximum)
        cascade = each.cascade
        assert (cascade.mantissa, cascade.exponent) == (coding.step.mantissa, coding.step.exponent)
        assert cascade.corrections.tolist() == [0, *coding.offsets]
        assert coding.profile is not None
        assert (cascade.set, cascade.scales.tolist()) == (
            coding.profile.weight_set,
            coding.profile.scale_codes.tolist(),
        )
        assert cascade.phases.tolist() == coding.profile.phase_codes.tolist()
        assert len(cascade.kernels) == coding.kernels.n_kernels
        np.testing.assert_array_equal(cascade.kernels, coding.kernels.weights)
        if coding.kernels.n_kernels:
            assert cascade.kernel_exponent == coding.kernels.exponent


@pytest.mark.parametrize("exponent", [-40, -11, 0, 2, 3, 4, 9])
def test_synthesis_in_integers_equals_synthesis_in_float64(exponent: int) -> None:
    rng = np.random.default_rng(exponent + 40)
    model, n_samples, length = random_model(rng), 611, 60
    quantised = random_quantised(model, 688, rng, largest=2**18 if exponent < 4 else 2**8)
    starts = np.cumsum(rng.integers(3, 60, 15)) - length
    starts = starts[starts < n_samples]
    kernels = random_kernels(rng, n_kernels=3, length=length, exponent=int(rng.integers(-10, 8)))
    events = Events(
        rng.integers(0, 3, len(starts)).astype(np.int32), rng.integers(0, 128, len(starts)).astype(np.int32)
    )
    coding = ChannelCoding(-5, -(2**30), 2**30, 0, model, Step(3001, exponent), (60, 7, 1), kernels)
    amplitudes = amplitudes_of(quantised, coding.offsets, model)
    check_amplitudes(model, amplitudes)
    expected = reconstruct(
        coding,
        synthesise(model, amplitudes)[:, :n_samples],
        render(starts, events, kernels, n_samples=n_samples)[None],
    )[0]
    cascade = SimpleNamespace(
        model=decoder.read_model(model.content),
        corrections=np.array([0, 60, 7, 1]),
        mantissa=3001,
        exponent=exponent,
        kernels=kernels.weights.astype(np.int64),
        kernel_exponent=kernels.exponent,
    )
    plain = SimpleNamespace(cascade=cascade, offset=-5, minimum=-(2**30), maximum=2**30)
    q, pairs = np.concatenate(signed(quantised)), (events.kernel_ids, events.gains)
    y = decoder.component(plain, q, 688, starts, pairs, n_samples)
    found = decoder.within(plain, y + 512 >> 10) - 5
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 2


@pytest.mark.parametrize("seed", range(10))
def test_rice_lists_with_escapes_are_read_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (2.0 ** rng.uniform(0, rng.uniform(1, 32), 50)).astype(np.int64)
    writer = BitWriter()
    writer.rice(values)
    writer.rice(zigzag(np.array([-3])))
    content = writer.tobytes()
    bits = decoder.Bits(content)
    assert bits.rice(50).tolist() == values.tolist() == BitReader.from_bytes(content, "list").rice(50).tolist()
    assert bits.srice(1).tolist() == [-3]
    bits.finish()


def test_kernels_longer_than_the_circle_wrap_around() -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng)
    content = bytearray(model.content)
    head = struct.pack("<HHIi", 16, 1, 4000, -7000)
    metadata_end = 12 + struct.unpack_from("<I", content, 8)[0]
    weights = rng.integers(-9, 10, 4000).astype("<i4").tobytes()
    content[6:8] = struct.pack("<H", 1)
    statistics = b"\1" + bytes(8) + b"\0" + model.contexts.frequencies[0].astype("<u2").tobytes()
    statistics += bytes(2 * 2 * (8 + 14) + PRIOR_SIZE + 2 * 8 * 4)
    single = decode_model(bytes(content[:metadata_end]) + head + weights + statistics)
    quantised = Quantised([rng.integers(0, 5, (1, 6)).astype(np.int32)], [rng.random((1, 6)) < 0.5], [])
    total = synthesise(single, amplitudes_of(quantised, (0, 0, 0), single))[0]
    cascade = SimpleNamespace(
        model=decoder.read_model(single.content),
        corrections=np.zeros(4, np.int64),
        mantissa=2048,
        exponent=2,
        kernels=np.zeros((0, 1), np.int64),
        kernel_exponent=0,
    )
    plain = SimpleNamespace(cascade=cascade, offset=0, minimum=-(2**31), maximum=2**31 - 1)
    y = decoder.component(plain, np.concatenate(signed(quantised)), 96, np.zeros(0, int), ([], []), 96)
    found = decoder.within(plain, y + 512 >> 10)
    expected = reconstruct(ChannelCoding(0, -(2**31), 2**31 - 1, 0, single, Step(2048, 2)), total[None], None)
    np.testing.assert_array_equal(found, expected[0])
