"""Files whose sizes multiply to what exhausts memory or time: each is refused in little of both."""

import io
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hostile_parts import (
    CONSTANT,
    ENGINE,
    chunk_of,
    coding_of,
    container_of,
    header_of,
    measured,
    read,
    refused_by_both,
    wide_bank,
)

from sancodec.codec import coding_section
from sancodec.codec.coding_section import MAX_BANDS
from sancodec.codec.container import SectionType
from sancodec.codec.contexts import Profile
from sancodec.codec.decoder import RecordingReader, chunks_at_once
from sancodec.codec.header import MAX_CHANNELS
from sancodec.codec.rans import MAX_STEPS, EncodedStream, groups_of_like_depth
from sancodec.codec.recording import Channel
from sancodec.codec.residual import Reference, ResidualCoding, decoding_levels
from sancodec.codec.residual_stream import CodedResidual, ResidualTables, decode_residual_symbols
from sancodec.codec.salvage import salvage
from sancodec.codec.synthesis import UNIT_STEP, ChannelCoding
from sancodec.codec.transform import synthesise
from sancodec.errors import FormatError, LimitExceededError


def test_a_long_recording_with_one_chunk_is_refused_after_that():
    header = header_of(n_frames=2**40, chunk_frames=2**16)
    content = container_of(header, coding_of([CONSTANT], n_chunks=2**24), chunk_of(1))
    with measured(), pytest.raises(FormatError, match=r"chunk 0|chunk 1 of 16777216 is missing"):
        read(content)


def test_what_salvage_fills_is_limited_for_a_long_recording_with_one_chunk():
    header = header_of(n_frames=2**40, chunk_frames=2**16)
    content = container_of(header, coding_of([CONSTANT], n_chunks=2**24), chunk_of(1))
    chunks = salvage(io.BytesIO(content), engine=ENGINE).chunks(0, 2**24)
    with measured(64, 30), pytest.raises(LimitExceededError, match="more than 4294967296 samples are lost"):
        list(chunks)


def test_channels_times_frames_is_limited_before_anything_is_allocated():
    header = header_of(MAX_CHANNELS, n_frames=2**17, chunk_frames=2**17)
    coding = SectionType.CODING, b""
    refused_by_both(container_of(header, coding), "header: 536870912 samples in a chunk; at most 268435456 are allowed")
    rates = replace(header_of(8), channels=tuple(Channel("I", samples_per_frame=65535) for _ in range(8)))
    refused_by_both(
        container_of(replace(rates, n_frames=2**20, chunk_frames=2**20), coding), "header: 549747425280 samples"
    )


def test_opening_allocates_nothing_for_what_the_header_declares():
    header = header_of(MAX_CHANNELS, n_frames=2**40, chunk_frames=2**16)
    content = container_of(header, coding_of([CONSTANT] * MAX_CHANNELS, n_chunks=2**24))
    with measured(32):
        reader = RecordingReader(io.BytesIO(content), engine=ENGINE)
        assert len(reader.header.channels) == MAX_CHANNELS


def test_chunks_of_one_frame_are_not_padded_by_the_thousand():
    """Each channel of each chunk takes at least a period of its bank."""
    header = header_of(MAX_CHANNELS, n_frames=4000, chunk_frames=1)
    bank = wide_bank(stride=4096, n_kernels=1)
    assert chunks_at_once(header, (bank,)) == 1
    assert chunks_at_once(header_of(2, n_frames=10**6, chunk_frames=1000), ()) > 500


def test_bands_of_all_channels_are_limited():
    bank = wide_bank(stride=512, n_kernels=512)
    n_channels = MAX_BANDS // 512 + 1
    profile = Profile(0, np.zeros(512, np.int64), np.zeros((bank.contexts.n_phase_groups, 33), np.int64))
    coding = ChannelCoding(0, 0, 9, model=bank, step=UNIT_STEP, profile=profile)
    content = container_of(
        header_of(n_channels, models=(bank,)),
        (SectionType.MODEL, bank.content),
        coding_of([coding] * n_channels, models=(bank,)),
    )
    with measured(512, 60), pytest.raises(LimitExceededError, match=f"{512 * n_channels} bands in all channels"):
        read(content)


def test_banks_with_many_lags_take_little_memory():
    """A bank whose blocks are small multiplies every coefficient with thousands of weights."""
    bank = wide_bank(stride=2, n_kernels=1, length=8192)
    amplitudes = [np.zeros((1, 1 << 16, 1))]
    amplitudes[0][0, 5] = 3
    with measured(600, 60):
        output = synthesise(bank, amplitudes)
    expected = np.zeros(1 << 17)
    expected[10 : 10 + 8192] = 3
    np.testing.assert_array_equal(output[0], expected)


# Predictions


def test_channels_that_need_each_other_are_refused():
    def layer(channel):
        return ResidualCoding(0, 64, 0, np.zeros(0, np.int64), (Reference(channel, True, 0, np.ones(1, np.int64)),))

    for targets in ([0], [1, 0], [1, 2, 3, 0]):
        codings = [ChannelCoding(0, -9, 9, residual=layer(target)) for target in targets]
        content = container_of(header_of(len(targets)), coding_of(codings))
        refused_by_both(content, "are predicted from each other")


def test_a_chain_of_all_channels_is_put_in_order_quickly():
    n = MAX_CHANNELS
    empty = np.zeros(0, np.int64)
    codings = {
        index: ResidualCoding(0, 64, 0, empty, (Reference(index + 1, True, 0, np.ones(1, np.int64)),))
        for index in range(n - 1)
    }
    codings[n - 1] = ResidualCoding(0, 64, 0, empty, ())
    with measured(16, 2):
        assert decoding_levels(codings) == [[index] for index in range(n - 1, -1, -1)]


def test_every_channel_may_refer_to_256_others_in_little_memory():
    weight = np.ones(1, np.int64)

    def references(index):
        return tuple(Reference(each % index, True, 0, weight) for each in range(256)) if index else ()

    codings = [
        ChannelCoding(0, -9, 9, residual=ResidualCoding(0, 64, 0, weight[:0], references(index))) for index in range(40)
    ]
    content = container_of(header_of(40), coding_of(codings), chunk_of(40))
    with measured(128, 60), pytest.raises(FormatError, match="chunk 0"):
        read(content)
    with (
        mock.patch.object(coding_section, "MAX_SEGMENT_REFERENCES", 39 * 256 - 1),
        pytest.raises(LimitExceededError, match="section CODING: more than 9983 references in all channels"),
    ):
        read(content)


def test_predictions_that_start_anew_all_the_time_are_refused():
    """History is kept for every start."""
    own = np.ones(64, np.int64)
    coding = ChannelCoding(0, -9, 9, residual=ResidualCoding(0, 63, 0, own, ()))
    content = container_of(header_of(n_frames=1000, chunk_frames=1000), coding_of([coding]))
    refused_by_both(content, "its prediction from 64 own samples starts anew after 63", LimitExceededError)
    shorter = container_of(header_of(n_frames=40, chunk_frames=40), coding_of([coding]))
    RecordingReader(io.BytesIO(shorter), engine=ENGINE)


# Streams


def test_streams_of_different_depth_are_not_filled_up_to_the_deepest():
    assert groups_of_like_depth([100, 100, 90], [4, 4, 8]) == [[0, 1, 2]]
    assert groups_of_like_depth([100_000, 1, 1, 100_000], [1, 4096, 4096, 1]) == [[0, 3], [1, 2]]
    assert groups_of_like_depth([], []) == []
    with pytest.raises(LimitExceededError, match="symbols for a lane; at most 131072 are allowed"):
        groups_of_like_depth([MAX_STEPS + 1], [1])


def test_blocks_longer_than_chunks_take_little_memory():
    frequencies = np.zeros((1, 17), np.uint16)
    frequencies[0, 0] = 4096
    tables = ResidualTables(16, np.zeros(1, np.int64), frequencies)
    nothing = EncodedStream(np.zeros(0, np.uint32), np.zeros(0, np.uint16))
    streams = [CodedResidual(np.zeros(1, np.uint8), nothing, 1) for _ in range(4096)]
    with measured(32):
        decode_residual_symbols(streams, tables)
