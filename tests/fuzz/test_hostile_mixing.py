"""Files of coder 2 made to exhaust memory or time, or to lead its arithmetic astray: each is refused, or right."""

import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hostile_parts import (
    NOTHING,
    chunk_of,
    coding_of,
    container_of,
    header_of,
    measured,
    read,
    refused_by_both,
    wide_bank,
)

from sancodec.codec import level_coder, native, payload, residual_mixing
from sancodec.codec.chunks import padded_length
from sancodec.codec.container import SectionType, encode_varints
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, NO_PHASE, Profile
from sancodec.codec.header import CODER_MIXED, MAX_CHANNELS
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.level_coder import LevelUnit, encode_levels
from sancodec.codec.mixing import RangeCoder
from sancodec.codec.mixing_model import MixingModel
from sancodec.codec.residual import (
    MAX_FAR_LAGS,
    MAX_LAG,
    MAX_NEAR_LAGS,
    MAX_OWN_LAGS,
    MAX_WEIGHT_SHIFT,
    MAX_WEIGHT_SUM,
    MAX_WEIGHTS,
    Reference,
    ResidualCoding,
)
from sancodec.codec.residual_mixing import MixedChannel, encode_chunk
from sancodec.codec.synthesis import UNIT_STEP, ChannelCoding
from sancodec.errors import CorruptError, LimitExceededError, TruncatedError
from sancodec.training.statistics import neutral_contexts

NO_LEVELS = "coefficients: the mixed stream contradicts itself"
NO_DIFFERENCES = "residuals: a difference is too large, or the stream ends too early"
PLAIN = ResidualCoding(0, 1, 0, NOTHING, ())
WIDEST = {"minimum": -(2**31), "maximum": 2**31 - 1}
FEW_BYTES = b"", b"\x80", bytes(4), b"\xff" * 9
FEW_BYTES_OF_CHANNELS = [*((1, stream) for stream in FEW_BYTES), (MAX_CHANNELS, b"\x80")]
needs_core = pytest.mark.skipif(native.core is None, reason=f"it takes long: {native.engine_name()}")
ENGINES = pytest.mark.parametrize("core", [native.core, None], ids=["core", "Python"])


def profile_of(model, *, scale=1, phase=0, weight_set=0):
    scales = np.full(model.n_bands, scale)
    return Profile(weight_set, scales, np.full((model.contexts.n_phase_groups, N_PHASES + 1), phase))


def cascade(model, **profile):
    return ChannelCoding(0, -9, 9, model=model, step=UNIT_STEP, profile=profile_of(model, **profile))


def mixed_file(codings, *, n_frames, models=(), chunk=None, **streams):
    """One chunk of channels of coder 2; with streams of its own, or given whole."""
    header = header_of(len(codings), n_frames=n_frames, chunk_frames=n_frames, models=models, **WIDEST)
    return container_of(
        header,
        *((SectionType.MODEL, model.content) for model in models),
        coding_of(codings, coder=CODER_MIXED, models=models),
        chunk_of(len(codings), **streams) if chunk is None else (SectionType.CHUNK, chunk),
    )


def predicted_file(residual=PLAIN, *, n_channels=1, n_frames=10, stream=b"", **streams):
    coding = ChannelCoding(0, -9, 9, residual=residual)
    return mixed_file([coding] * n_channels, n_frames=n_frames, residuals=stream, **streams)


def unit_of(coding, n_frames, first_level=0):
    """The levels of a channel without events: zeros but for the first of every band."""
    strides = np.array(coding.model.band_strides)
    n_windows = padded_length(coding.model, n_frames) // strides
    levels = np.zeros(n_windows.sum(), np.int32)
    levels[np.cumsum(n_windows) - n_windows] = first_level
    return LevelUnit(coding.model, coding.profile, np.full(len(levels), 2 * NO_PHASE, np.uint8), levels)


class Script(RangeCoder):
    """Codes the bits of a script, and zeros after them, whatever it is given."""

    def __init__(self, *bits):
        super().__init__()
        self._bits = iter(bits)

    def bit(self, bit, p):
        return super().bit(next(self._bits, 0), p)


# Streams of a few bytes


@needs_core
@pytest.mark.parametrize(("n_channels", "stream"), FEW_BYTES_OF_CHANNELS)
def test_few_bytes_for_the_levels_of_the_largest_chunk_are_refused(n_channels, stream):
    bank = wide_bank(stride=4096, n_kernels=1)
    codings = [cascade(bank)] * n_channels
    content = mixed_file(codings, n_frames=2**28 // n_channels, models=(bank,), coefficients=stream)
    with measured(32), pytest.raises(CorruptError, match=NO_LEVELS):
        read(content)


@needs_core
@pytest.mark.parametrize("stream", FEW_BYTES)
def test_few_bytes_for_a_level_of_every_sample_are_refused(stream):
    bank = wide_bank(stride=1, n_kernels=1)
    content = mixed_file([cascade(bank)], n_frames=2**20, models=(bank,), coefficients=stream)
    with measured(32, 2), pytest.raises(CorruptError, match=NO_LEVELS):
        read(content)


@needs_core
@pytest.mark.parametrize(("n_channels", "stream"), FEW_BYTES_OF_CHANNELS)
def test_few_bytes_for_many_residuals_are_refused(n_channels, stream):
    widest = ResidualCoding(0, 1, 0, np.ones(MAX_OWN_LAGS, np.int64), (), MAX_NEAR_LAGS, MAX_FAR_LAGS)
    content = predicted_file(widest, n_channels=n_channels, n_frames=2**20 // n_channels, stream=stream)
    with measured(96), pytest.raises(CorruptError, match=NO_DIFFERENCES):
        read(content)


@needs_core
def test_predictions_with_most_weights_take_little_time_before_few_bytes_are_refused():
    bank = wide_bank(stride=4096, n_kernels=1)
    span = 2 * MAX_LAG
    many = (Reference(0, False, -MAX_LAG, np.ones(span, np.int64)),) * (MAX_WEIGHTS // span)
    coding = replace(cascade(bank, scale=0), residual=ResidualCoding(0, 1, 0, NOTHING, many))
    content = mixed_file([coding], n_frames=2**18, models=(bank,), residuals=b"")
    with measured(32), pytest.raises(CorruptError, match=NO_DIFFERENCES):
        read(content)


@needs_core
def test_streams_that_go_on_for_long_are_refused_quickly():
    bank = wide_bank(stride=64, n_kernels=1)
    coding = cascade(bank)
    rest = bytes(2**24)
    levels = encode_levels([unit_of(coding, 10)]) + rest
    with measured(128, 2), pytest.raises(CorruptError, match=NO_LEVELS):
        read(mixed_file([coding], n_frames=10, models=(bank,), coefficients=levels))
    with measured(128, 2), pytest.raises(CorruptError, match=NO_DIFFERENCES):
        read(predicted_file(stream=b"\xff" + rest))


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ((1, 0, 2**62), TruncatedError, "chunk 0: .*4611686018427387904"),
        ((1, 2**62, 0), TruncatedError, "chunk 0: .*4611686018427387904"),
        ((2**62, 0, 0), TruncatedError, "chunk 0: .*4611686018427387904"),
        ((1, 0, 9), CorruptError, "it has coefficients, but no channel has a cascade"),
        ((1, 9, 0), CorruptError, "it has events, but no channel has beat kernels"),
    ],
)
def test_lengths_that_claim_what_is_not_there_are_refused(lengths, error, message):
    chunk = bytes(4) + encode_varints(lengths) + bytes(40)
    content = mixed_file([ChannelCoding(0, -9, 9, residual=PLAIN)], n_frames=10, chunk=chunk)
    with measured(2), pytest.raises(error, match=message):
        read(content)


# Values beyond all bounds


@ENGINES
@pytest.mark.parametrize("excess", [[1] * 29, [1] * 28 + [0] + [1] * 28], ids=["too many bits", "too large"])
def test_indices_beyond_all_bounds_are_refused(excess, core):
    bank = wide_bank(stride=64, n_kernels=1)
    coding = cascade(bank)
    script = Script(1, 0, *[1] * 19, *excess)  # not 0, positive, and all unary decisions
    with (
        patch.object(native, "core", None),
        patch.object(level_coder, "RangeCoder", lambda coded: script),
        suppress(CorruptError),
    ):
        encode_levels([unit_of(coding, 10)])
    content = mixed_file([coding], n_frames=10, models=(bank,), coefficients=script.finish())
    message = NO_LEVELS if core else "index beyond all bounds|an index exceeds 20 by 536870910"
    with patch.object(native, "core", core), measured(2), pytest.raises(CorruptError, match=message):
        read(content)


@ENGINES
@pytest.mark.parametrize(
    "excess",
    [[1] * 35, [1] * 34 + [0] + [1] * 34, [1] * 33 + [0] * 34],
    ids=["too many bits", "too large", "2**33 and the unary ones"],
)
def test_differences_beyond_all_bounds_are_refused(excess, core):
    script = Script(0, 0, *[1] * 24, *excess)  # not 0, positive, and all unary decisions
    channel = MixedChannel(0, PLAIN, -9, 9, np.zeros(10, np.int64))
    with (
        patch.object(native, "core", None),
        patch.object(residual_mixing, "RangeCoder", lambda coded: script),
        suppress(CorruptError),
    ):
        encode_chunk([channel], [np.zeros(10, np.int64)], {})
    content = predicted_file(stream=script.finish())
    with (
        patch.object(native, "core", core),
        measured(2),
        pytest.raises(CorruptError, match="residuals: a difference is too large"),
    ):
        read(content)


def test_levels_too_large_for_exact_synthesis_are_refused():
    group = KernelGroup(64, 0, np.full((1, 64), 2**31 - 1, np.int32))
    bank = Model((group,), neutral_contexts((group,)), {"name": "steep"})
    coding = cascade(bank)
    levels = encode_levels([unit_of(coding, 10, 2**28)])
    content = mixed_file([coding], n_frames=10, models=(bank,), coefficients=levels)
    with measured(2), pytest.raises(CorruptError, match="too large for exact synthesis with model 'steep'"):
        read(content)


# Models and predictions at their limits


# Terms, taps, prior and mixers.
EXTREMES = [*product((0, 2**16 - 1), (-(2**15), 2**15 - 1), (-128, 127), (-(2**15), 2**15 - 1))]


def extreme_bank(terms, taps, prior, mixer):
    """Three strides, so that every band of the last has both parents, under statistics that a model just may have."""
    groups = tuple(KernelGroup(stride, 0, np.ones((2, 4), np.int32)) for stride in (32, 16, 8))
    contexts = neutral_contexts(groups)
    neutral = contexts.mixing
    mixing = MixingModel(
        np.full_like(neutral.terms, terms),
        np.full_like(neutral.taps, 16 * taps),
        np.full_like(neutral.prior, prior),
        np.full_like(neutral.mixer, 16 * mixer),
    )
    return Model(groups, replace(contexts, mixing=mixing), {"name": "extreme"})


@pytest.mark.parametrize("scale", [1, MAX_SCALE_CODE])
@pytest.mark.parametrize("statistics", EXTREMES, ids=str)
def test_statistics_at_their_limits_lead_no_stream_astray(statistics, scale):
    """What was encoded is read to its end, and to a digest that nobody made; any other stream is refused."""
    bank = extreme_bank(*statistics)
    codings = [cascade(bank, scale=scale, phase=MAX_PHASE_CODE if scale > 1 else 0)] * 2
    levels = encode_levels([unit_of(codings[0], 200, 2**22), unit_of(codings[1], 200, -(2**22))])
    streams = {levels: "do not match their digest"}
    for stream in (bytes(500), b"\xff" * 500, b"\x55" * 500, levels[:30], levels + b"\1", levels[:9] + bytes(400)):
        streams[stream] = "coefficients: "
    for stream, message in streams.items():
        content = mixed_file(codings, n_frames=200, models=(bank,), coefficients=stream)
        with measured(8), pytest.raises(CorruptError, match=message):
            read(content)


@needs_core
def test_all_sets_of_as_many_banks_as_there_may_be_are_read_quickly():
    """Each has an adaptive state of its own, of more than a MiB."""
    banks = []
    for number in range(16):
        group = KernelGroup(64, 0, np.full((64, 1), 1 + number, np.int32))
        banks.append(Model((group,), neutral_contexts((group,), 8), {}))
    codings = [cascade(bank, weight_set=each) for bank in banks for each in range(8)]
    levels = encode_levels([unit_of(coding, 10) for coding in codings])
    content = mixed_file(codings, n_frames=10, models=tuple(banks), coefficients=levels)
    with measured(64), pytest.raises(CorruptError, match="do not match their digest"):
        read(content)


def predicted_channels(n_channels, own, weight, shift):
    """Each with most lags of its own and in both stages, and predicted from the two channels before it."""
    for index in range(n_channels):
        before = [each for each in (index - 1, index - 2) if each >= 0]
        references = [Reference(each, True, -MAX_LAG, np.full(2 * MAX_LAG, weight)) for each in before]
        yield ResidualCoding(0, 1, shift, np.full(MAX_OWN_LAGS, own), tuple(references), MAX_NEAR_LAGS, MAX_FAR_LAGS)


@needs_core
@pytest.mark.parametrize("bound", [0, 2**20])
@pytest.mark.parametrize(
    ("own", "weight", "shift"),
    [
        (3, 1, 8),
        (MAX_WEIGHT_SUM // 2 // MAX_OWN_LAGS, MAX_WEIGHT_SUM // 8 // MAX_LAG, 0),
        (-MAX_WEIGHT_SUM // 2 // MAX_OWN_LAGS, MAX_WEIGHT_SUM // 8 // MAX_LAG, MAX_WEIGHT_SHIFT),
    ],
)
def test_predictions_at_all_their_limits_come_back(own, weight, shift, bound):
    rng = np.random.default_rng(0)
    codings = [replace(each, bound=bound) for each in predicted_channels(64, own, weight, shift)]
    low, high = WIDEST["minimum"], WIDEST["maximum"]
    targets = [rng.choice(np.array([low, high, 0, 5]), 300) for _ in codings]
    channels = [MixedChannel(index, coding, low, high, np.zeros(300, np.int64)) for index, coding in enumerate(codings)]
    stream, decoded = encode_chunk(channels, targets, {})
    coding = coding_of([ChannelCoding(0, low, high, residual=each) for each in codings], coder=CODER_MIXED)
    samples = [row.astype(np.int32) for row in decoded]
    assert max(np.abs(row - target).max() for row, target in zip(decoded, targets, strict=True)) <= bound
    digest = payload.digest_of(samples, chunk=0, coding_crc=zlib.crc32(coding[1]))
    header = header_of(64, n_frames=300, chunk_frames=300, **WIDEST)
    content = container_of(header, coding, chunk_of(64, digest=digest, residuals=stream))
    with measured(32):
        np.testing.assert_array_equal(read(content).samples, samples)


def test_more_lags_than_the_stages_may_have_are_refused():
    for stages in ({"near_lags": MAX_NEAR_LAGS + 1}, {"far_lags": MAX_FAR_LAGS + 1}):
        message = "adaptive stages of .* lags; at most 32 and 256 are allowed"
        refused_by_both(predicted_file(replace(PLAIN, **stages)), message, LimitExceededError)
