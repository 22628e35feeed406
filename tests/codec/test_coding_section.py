import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neutral_banks import BANKS, LAPPED, SMALL

from sancodec.codec.beats import BeatKernels
from sancodec.codec.bits import BitReader
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, decode_coding, encode_coding
from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.header import CODER_CLASS, CODER_MIXED, CODER_ZSTD, CODERS, Header
from sancodec.codec.kernel_wavelet import KernelCoefficients
from sancodec.codec.lattice import Lattice
from sancodec.codec.mix import Derived, Mix
from sancodec.codec.quantiser import Step
from sancodec.codec.recording import Channel
from sancodec.codec.residual import Reference, ResidualCoding, corrections
from sancodec.codec.residual_tables import ResidualTables
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import CorruptError, FormatError, LimitExceededError, UnsupportedVersionError

WIDE = Channel("wide", minimum=-(2**31), maximum=2**31 - 1)


def header_of(*channels):
    """Ten chunks."""
    return Header("array", Fraction(100), 1000, 100, channels, 5, ((),) * len(channels), ())


FOUR = header_of(*[WIDE] * 4)


def row(*weights):
    return np.array(weights, np.int64)


PREDICTION = ResidualCoding(
    3,
    2**32 - 1,
    20,
    row(*range(-32, 32)),
    (
        Reference(0, True, -64, row(*[-(2**20)] * 30)),
        Reference(2, True, 64, row(2**24)),
        Reference(3, False, -1, row(0, 5, 0)),
    ),
)
TABLES = ResidualTables(16, np.array([0, 27]), np.array([[4096, *[0] * 16], [*[0] * 15, 4000, 96]], np.uint16))


def profile(model, rng):
    return Profile(
        1,
        rng.integers(0, MAX_SCALE_CODE + 1, model.n_bands),
        rng.integers(-MAX_PHASE_CODE, MAX_PHASE_CODE + 1, (model.contexts.n_phase_groups, N_PHASES + 1)),
    )


def of_coder(coding, coder):
    """With adaptive stages where a file has them."""
    return replace(coding, near_lags=32, far_lags=256) if coder == CODER_MIXED else coding


def codings(rng, coder):
    kernels = BeatKernels(rng.integers(-2047, 2048, (3, 40)).astype(np.int32), -4)
    none = BeatKernels(np.zeros((0, 40), np.int32), 0)
    shapes = {"profile": profile(LAPPED, rng)} if coder != CODER_ZSTD else {}
    flat = {"profile": replace(profile(LAPPED, rng), phase_codes=np.zeros((6, 25), np.int64))} if shapes else {}
    return [
        ChannelCoding(-5, -(2**31), 2**31 - 1, 0, LAPPED, Step(2048, -40), (0, 63, 7), kernels, **shapes),
        ChannelCoding(7, 7, 7, 0),
        ChannelCoding(0, -3, 3, 1, LAPPED, Step(4095, 32), (8, 4, 2), none, **flat, residual=corrections(2, 2**20)),
        ChannelCoding(2**31 - 1, -9, 9, 1, residual=of_coder(PREDICTION, coder)),
    ]


QUALITIES = [
    MeasuredQuality(1.5, 3),
    MeasuredQuality(0.0, 0),
    MeasuredQuality(float("inf"), 2**32 - 1),
    MeasuredQuality(0.25, 1),
]


def segment_of(coder, tables=TABLES, **fields):
    """Chunks 3 to 9 of four channels: a cascade, a constant, a cascade with corrections, a prediction."""
    stored = tables if coder == CODER_CLASS else None
    segment = SegmentCoding(3, 7, coder, codings(np.random.default_rng(0), coder), QUALITIES, [40, 0], stored)
    return replace(segment, **fields)


def encoded_coding(coder):
    return encode_coding(segment_of(coder), models=(SMALL, LAPPED))


def assert_same_residual(found, expected):
    assert (found is None) == (expected is None)
    if expected is not None:
        assert (found.bound, found.restart, found.shift) == (expected.bound, expected.restart, expected.shift)
        assert (found.near_lags, found.far_lags) == (expected.near_lags, expected.far_lags)
        assert found.own.tolist() == expected.own.tolist()
        described = [
            [(each.channel, each.decoded, each.first_lag, each.weights.tolist()) for each in coding.references]
            for coding in (found, expected)
        ]
        assert described[0] == described[1]


@pytest.mark.parametrize("coder", CODERS)
def test_the_coding_of_channels_comes_back(coder):
    after = decode_coding(encoded_coding(coder), FOUR, (SMALL, LAPPED))
    assert (after.first_chunk, after.n_chunks, after.coder) == (3, 7, coder)
    assert after.kernel_lengths == [40, 0]
    assert after.measured == QUALITIES
    assert (after.tables is None) == (coder != CODER_CLASS)
    if after.tables is not None:
        assert after.tables.block == 2**16
        assert after.tables.shifts.tolist() == [0, 27]
        assert after.tables.frequencies.tolist() == TABLES.frequencies.tolist()
    for expected, found in zip(codings(np.random.default_rng(0), coder), after.codings, strict=True):
        assert_same_residual(found.residual, expected.residual)
        for name in ("offset", "minimum", "maximum", "lead_group", "model", "step", "offsets"):
            assert getattr(found, name) == getattr(expected, name)
        np.testing.assert_array_equal(found.kernels.weights.ravel(), expected.kernels.weights.ravel())
        assert found.kernels.exponent == expected.kernels.exponent
        assert (found.profile is None) == (expected.profile is None)
        if found.profile is not None:
            np.testing.assert_array_equal(found.profile.scale_codes, expected.profile.scale_codes)
            np.testing.assert_array_equal(found.profile.phase_codes, expected.profile.phase_codes)
            assert found.profile.weight_set == expected.profile.weight_set


def mixed_segment(coder, **fields):
    """Three members, two of which carry components, and a constant in one group."""
    rng = np.random.default_rng(1)
    shape = {"profile": profile(LAPPED, rng)} if coder != CODER_ZSTD else {}
    waves = BeatKernels.of(KernelCoefficients(700, rng.integers(-3, 4, (2, 40))), 3)
    none = BeatKernels(np.zeros((0, 40), np.int32), 0)
    channels = [
        ChannelCoding(-5, -700, 700, 0, LAPPED, Step(2048, -40), (0, 63, 7), waves, **shape),
        ChannelCoding(4, -9, 9, 0),
        ChannelCoding(7, 7, 7, 0),
        ChannelCoding(0, -30, 3, 0, LAPPED, Step(4095, 32), (8, 4, 2), none, **shape),
    ]
    mix = Mix(np.array([12, 3]), np.array([[4096, -8], [17, 0], [0, 0]]), (None, None, Derived((0, 1), (1, 2))))
    return replace(SegmentCoding(3, 7, coder, channels, QUALITIES, [40], mixes=(mix,)), **fields)


@pytest.mark.parametrize("coder", CODERS)
def test_a_mixed_group_and_its_kernels_come_back(coder):
    before = mixed_segment(coder)
    after = decode_coding(encode_coding(before, models=(SMALL, LAPPED)), FOUR, (SMALL, LAPPED))
    (expected,), (found,) = before.mixes, after.mixes
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert (found.shifts.tolist(), found.derived) == ([12, 3], expected.derived)
    rows = [coding.row for coding in after.codings]
    assert rows[2] is None
    assert [row.tolist() for row in rows if row is not None] == expected.rows.tolist()
    assert [coding.is_constant for coding in after.codings] == [False, False, True, False]
    coefficients = after.codings[0].kernels.coefficients
    assert coefficients.step == 700
    np.testing.assert_array_equal(coefficients.values, before.codings[0].kernels.coefficients.values)
    np.testing.assert_array_equal(after.codings[0].kernels.weights, before.codings[0].kernels.weights)


@pytest.mark.parametrize("coder", CODERS)
def test_a_mixed_coding_section_cut_or_altered_gives_codings_or_a_format_error(coder):
    content = encode_coding(mixed_segment(coder), models=(SMALL, LAPPED))
    for length in range(len(content)):
        with pytest.raises(FormatError):
            decode_coding(content[:length], FOUR, (SMALL, LAPPED))
    for position in range(len(content)):
        for change in (0x01, 0x10, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            try:
                decode_coding(bytes(altered), FOUR, (SMALL, LAPPED))
            except FormatError:
                continue


@pytest.mark.parametrize(
    ("member", "fields", "message"),
    [
        (0, {"residual": corrections(2, 2**20)}, "channel 0: .* residual layer or a lattice"),
        (1, {"lattice": Lattice(3, 1, False)}, "channel 1: .* residual layer or a lattice"),
        (2, {"lattice": Lattice(3, 1, False)}, "channel 2: .* residual layer or a lattice"),
    ],
)
def test_a_mixed_group_of_other_channels_is_refused(member, fields, message):
    segment = mixed_segment(CODER_ZSTD)
    segment.codings[member] = replace(segment.codings[member], **fields)
    with pytest.raises(FormatError, match=message):
        decode_coding(encode_coding(segment, models=(SMALL, LAPPED)), FOUR, (SMALL, LAPPED))


def test_members_of_a_mix_have_one_rate_and_the_range_of_their_channels():
    content = encode_coding(mixed_segment(CODER_ZSTD), models=(SMALL, LAPPED))
    fast, narrow = replace(WIDE, samples_per_frame=2), replace(WIDE, minimum=-8, maximum=9)
    for other, message in ((fast, "two rates"), (narrow, "range -9…9 is not within")):
        with pytest.raises(FormatError, match=message):
            decode_coding(content, header_of(WIDE, other, WIDE, WIDE), (SMALL, LAPPED))


@pytest.mark.parametrize("coder", CODERS)
def test_a_coding_section_cut_anywhere_or_longer_is_refused(coder):
    content = encoded_coding(coder)
    for length in range(len(content)):
        with pytest.raises(FormatError):
            decode_coding(content[:length], FOUR, (SMALL, LAPPED))
    with pytest.raises(CorruptError, match="follow its last field"):
        decode_coding(content + b"\0", FOUR, (SMALL, LAPPED))


@pytest.mark.parametrize("coder", [CODER_CLASS, CODER_MIXED])
def test_every_altered_byte_of_a_coding_section_gives_codings_or_a_format_error(coder):
    content = encoded_coding(coder)
    for position in range(len(content)):
        for change in (0x01, 0x10, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            try:
                decode_coding(bytes(altered), FOUR, (SMALL, LAPPED))
            except FormatError:
                continue


@given(st.binary(max_size=150), st.sampled_from(CODERS))
@settings(max_examples=200, deadline=None)
def test_any_bytes_after_the_first_fields_give_codings_or_a_format_error(content, coder):
    # A Rice list of 0, 1 and the coder: its parameter 0, the numbers in unary.
    try:
        decode_coding(bytes([0b00000_0_10, 0xFF ^ 1 << 7 - coder]) + content, FOUR, BANKS)
    except FormatError:
        return


def changed(*, coder=CODER_ZSTD, **fields):
    """The coding section of one channel with some fields changed."""
    coding = replace(codings(np.random.default_rng(0), coder)[0], **fields)
    tables = TABLES if coder == CODER_CLASS and coding.residual is not None else None
    return encode_coding(SegmentCoding(0, 1, coder, [coding], QUALITIES[:1], [40], tables), models=(SMALL, LAPPED))


LIMITS = ResidualCoding(2**20, 64, 20, row(*[0] * 64), ())


def layered(*, coder=CODER_ZSTD, **fields):
    """The coding section of one channel with a residual layer, some fields of that changed."""
    return changed(coder=coder, residual=replace(LIMITS, **fields))


def reference(first_lag, *weights, channel=0, decoded=False):
    return Reference(channel, decoded, first_lag, row(*weights))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minimum": 5, "maximum": 4}, "in order"),
        ({"maximum": 2**31}, "(32-bit|Rice)"),
        ({"offset": -(2**31) - 1}, "(32-bit|Rice)"),
        ({"lead_group": 1}, "lead group 1 of 1"),
        ({"step": Step(2047, 0)}, "step 2047"),
        ({"step": Step(2048, 33)}, "step 2048"),
        ({"step": Step(2048, -41)}, "step 2048"),
        ({"model": None}, "constant channel has range"),
        ({"kernels": BeatKernels(np.zeros((1, 40), np.int32), 21)}, "exponent 21"),
        ({"kernels": BeatKernels(np.zeros((1, 40), np.int32), -11)}, "exponent -11"),
        ({"kernels": BeatKernels(np.full((1, 40), 65536, np.int32), 0)}, "weight of 65536"),
        ({"kernels": BeatKernels(np.zeros((65, 40), np.int32), 0)}, "65 beat kernels"),
    ],
)
def test_a_field_out_of_range_is_refused_with_its_channel(fields, message):
    with pytest.raises(FormatError, match=f"channel 0: .*{message}"):
        decode_coding(changed(**fields), header_of(WIDE), (SMALL, LAPPED))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"restart": 2**32 - 1},
        {"references": tuple([reference(-64, *[1] * 7)] * 256)},
        {"references": (reference(-64, *[1] * 129), *[reference(-60, *[1] * 121)] * 15, reference(0, *[1] * 40))},
        {"references": (reference(64, 2**26),)},
        {"references": (reference(0, -(2**25), 2**25),)},
    ],
)
def test_a_residual_layer_at_its_limits_is_read(fields):
    found = decode_coding(layered(**fields), header_of(WIDE), (SMALL, LAPPED)).codings[0].residual
    assert_same_residual(found, replace(LIMITS, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bound": 2**20 + 1}, "error bound 1048577"),
        ({"restart": 0}, "restart after 0"),
        ({"shift": 21}, "shift 21"),
        ({"own": row(*[0] * 65)}, "65 own lags"),
        ({"references": (reference(0, 1),) * 257}, "257 references"),
        ({"references": (reference(0),)}, "0 lags"),
        ({"references": (reference(-65, 1),)}, "1 lags from -65"),
        ({"references": (reference(64, 1, 1),)}, "2 lags from 64"),
        (
            {"references": (reference(-64, *[1] * 129), *[reference(-60, *[1] * 121)] * 15, reference(0, *[1] * 41))},
            "2048 weights",
        ),
        ({"references": (reference(0, 2**26 + 1),)}, "sum to 67108865"),
        ({"references": (reference(0, -(2**25) - 1, 2**25),)}, "sum to 67108865"),
    ],
)
def test_a_residual_layer_beyond_its_limits_is_refused(fields, message):
    with pytest.raises(LimitExceededError, match=f"channel 0: .*{message}"):
        decode_coding(layered(**fields), header_of(WIDE), (SMALL, LAPPED))


@pytest.mark.parametrize(("near_lags", "far_lags"), [(0, 0), (32, 0), (0, 256), (32, 256)])
def test_adaptive_stages_within_their_limits_are_read_under_the_mixing_coder_only(near_lags, far_lags):
    fields = {"near_lags": near_lags, "far_lags": far_lags}
    mixed, plain = (
        decode_coding(layered(coder=coder, **fields), header_of(WIDE), (SMALL, LAPPED)).codings[0].residual
        for coder in (CODER_MIXED, CODER_CLASS)
    )
    assert (mixed.near_lags, mixed.far_lags) == (near_lags, far_lags)
    assert (plain.near_lags, plain.far_lags) == (0, 0)


@pytest.mark.parametrize(
    ("near_lags", "far_lags"), [(33, 0), (0, 257), (2**32 - 1, 2**32 - 1)], ids=["near", "far", "both"]
)
def test_adaptive_stages_beyond_their_limits_are_refused(near_lags, far_lags):
    content = layered(coder=CODER_MIXED, near_lags=near_lags, far_lags=far_lags)
    with pytest.raises(LimitExceededError, match=f"channel 0: adaptive stages of {near_lags} and {far_lags} lags"):
        decode_coding(content, header_of(WIDE), (SMALL, LAPPED))


@pytest.mark.parametrize(("coder", "is_read"), [(CODER_ZSTD, False), (CODER_CLASS, False), (CODER_MIXED, True)])
def test_a_prediction_that_starts_anew_within_its_lags_is_read_under_the_mixing_coder_only(coder, is_read):
    content = layered(coder=coder, restart=63)
    if is_read:
        assert decode_coding(content, header_of(WIDE), (SMALL, LAPPED)).codings[0].residual.restart == 63
    else:
        with pytest.raises(LimitExceededError, match="its prediction from 64 own samples starts anew after 63"):
            decode_coding(content, header_of(WIDE), (SMALL, LAPPED))


def referring(*sources, rates=(1, 1, 1, 2)):
    """Channel 0 refers to ``sources``; channel 1 to decoded samples of 0, channel 2 is constant, 3 faster."""
    plain = ResidualCoding(0, 1, 0, row(), ())
    layers = [
        replace(plain, references=tuple(reference(0, 1, channel=c, decoded=d) for c, d in sources)),
        replace(plain, references=(reference(0, 1, channel=0, decoded=True),)),
        None,
        plain,
    ]
    channels = [ChannelCoding(0, -9, -9 if layer is None else 9, rate - 1, residual=layer)
                for rate, layer in zip(rates, layers, strict=True)]  # fmt: skip
    coding = SegmentCoding(0, 1, CODER_ZSTD, channels, QUALITIES, [0] * len(set(rates)))
    header = header_of(*(replace(WIDE, samples_per_frame=rate) for rate in rates))
    return decode_coding(encode_coding(coding, models=()), header, ())


def test_approximations_may_be_referred_to_in_circles():
    assert len(referring((0, False), (1, False)).codings) == 4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((0, True), "from each other"),
        ((1, True), "from each other"),
        ((2, True), "channel 2, which has no samples"),
        ((2, False), "channel 2, which has no samples"),
        ((3, True), "channel 3, which has another rate"),
        ((4, False), "channel 4, which has no samples"),
    ],
)
def test_a_reference_to_itself_to_a_constant_or_to_another_rate_is_refused(source, message):
    with pytest.raises(CorruptError, match=message):
        referring(source)


@pytest.mark.parametrize(("first_chunk", "n_chunks"), [(0, 0), (0, 11), (9, 2), (10, 1), (2**32 - 1, 1)])
def test_chunks_beyond_the_recording_are_refused(first_chunk, n_chunks):
    content = encode_coding(segment_of(CODER_ZSTD, first_chunk=first_chunk, n_chunks=n_chunks), models=(SMALL, LAPPED))
    with pytest.raises(CorruptError, match=f"{n_chunks} chunks from chunk {first_chunk} on; there are 10"):
        decode_coding(content, FOUR, (SMALL, LAPPED))


def test_an_unknown_coder_is_named():
    content = encode_coding(segment_of(3), models=(SMALL, LAPPED))
    with pytest.raises(UnsupportedVersionError, match="coder: 3; this release knows 0, 1, 2"):
        decode_coding(content, FOUR, (SMALL, LAPPED))


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        (replace(TABLES, block_exponent=17), LimitExceededError, r"blocks of 2\*\*17"),
        (replace(TABLES, shifts=np.array([0, 28])), CorruptError, "table 1 has shift 28"),
        (replace(TABLES, frequencies=TABLES.frequencies + np.uint16(1)), CorruptError, "sum to 4113"),
        (
            ResidualTables(5, np.zeros(64, np.int64), np.repeat(TABLES.frequencies[:1], 64, axis=0)),
            LimitExceededError,
            "64 residual tables",
        ),
    ],
)
def test_residual_tables_beyond_their_limits_are_refused(tables, error, message):
    content = encode_coding(segment_of(CODER_CLASS, tables), models=(SMALL, LAPPED))
    with pytest.raises(error, match=message):
        decode_coding(content, FOUR, (SMALL, LAPPED))


@pytest.mark.parametrize(
    "tables",
    [
        ResidualTables(0, np.zeros(0, np.int64), np.zeros((0, 17), np.uint16)),
        ResidualTables(16, np.full(63, 27), np.repeat(TABLES.frequencies[1:], 63, axis=0)),
    ],
)
def test_residual_tables_at_their_limits_come_back(tables):
    content = encode_coding(segment_of(CODER_CLASS, tables), models=(SMALL, LAPPED))
    found = decode_coding(content, FOUR, (SMALL, LAPPED)).tables
    assert (found.block, found.shifts.tolist()) == (tables.block, tables.shifts.tolist())
    assert found.frequencies.tolist() == tables.frequencies.tolist()


def test_a_range_beyond_the_channel_is_refused():
    narrow = header_of(Channel("MLII", "mV", 200.0, 1024, 11, -1023, 1023, -1024))
    for content in (changed(), changed(model=None, residual=LIMITS)):
        with pytest.raises(CorruptError, match="not within the channel"):
            decode_coding(content, narrow, (SMALL, LAPPED))


def test_channels_of_two_rates_do_not_share_a_lead_group():
    header = header_of(WIDE, replace(WIDE, samples_per_frame=2), WIDE, WIDE)
    with pytest.raises(CorruptError, match="lead group 0 has channels of two rates"):
        decode_coding(encoded_coding(CODER_ZSTD), header, (SMALL, LAPPED))


def test_an_unknown_model_is_refused():
    with pytest.raises(CorruptError, match="model 1 of 1"):
        decode_coding(changed(), header_of(WIDE), (SMALL,))


def test_a_measured_prdn_is_stored_as_a_big_endian_float32():
    reader = BitReader.from_bytes(changed(), "coding")
    assert reader.rice(3).tolist() == [0, 1, CODER_ZSTD]
    assert (reader.rice(1).tolist(), reader.rice(1).tolist()) == ([1], [40])
    assert np.packbits(reader.bits(32)).tobytes() == struct.pack(">f", 1.5)
