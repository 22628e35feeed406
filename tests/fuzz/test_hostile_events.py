"""Chunks of coder 2 that claim more events than their bytes can hold."""

import numpy as np
import pytest
from hostile_parts import container_of, header_of, measured, read, wide_bank

from sancodec.codec import payload
from sancodec.codec.beats import BeatKernels
from sancodec.codec.bits import BitWriter
from sancodec.codec.coding_section import MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.container import SectionType
from sancodec.codec.contexts import N_PHASES, Profile
from sancodec.codec.header import CODER_MIXED
from sancodec.codec.synthesis import UNIT_STEP, ChannelCoding
from sancodec.errors import CorruptError

WIDEST = {"minimum": -(2**31), "maximum": 2**31 - 1}


def file_of(n_channels, *, n_frames, kernel_length, n_events, stream):
    """Channels of one lead group with a kernel each, whose chunk claims so many events."""
    bank = wide_bank(stride=4096, n_kernels=1)
    phases = np.zeros((bank.contexts.n_phase_groups, N_PHASES + 1), np.int64)
    profile = Profile(0, np.ones(bank.n_bands, np.int64), phases)
    kernels = BeatKernels(np.ones((1, kernel_length), np.int32), 0)
    coding = ChannelCoding(0, -9, 9, model=bank, step=UNIT_STEP, profile=profile, kernels=kernels)
    measures = [MeasuredQuality(0.0, 0)] * n_channels
    segment = SegmentCoding(0, 1, CODER_MIXED, [coding] * n_channels, measures, [kernel_length], None)
    bits = BitWriter()
    bits.rice(np.array([n_events], np.int64))
    bits.rice(np.array([1], np.int64))
    bits.bits(np.zeros(n_channels, np.uint8))
    fields = payload.ChunkFields(0, bits.tobytes(), stream, b"", None)
    return container_of(
        header_of(n_channels, n_frames=n_frames, chunk_frames=n_frames, models=(bank,), **WIDEST),
        (SectionType.MODEL, bank.content),
        (SectionType.CODING, encode_coding(segment, models=(bank,))),
        (SectionType.CHUNK, payload.join_fields(fields)),
    )


@pytest.mark.parametrize(
    ("n_channels", "n_frames", "kernel_length"), [(1, 2**20, 1), (1, 2**24, 1), (1, 2**24, 16), (16, 2**20, 1)]
)
@pytest.mark.parametrize("stream", [b"", b"\x80", b"\x80" * 40])
def test_more_events_than_a_stream_can_hold_are_refused_before_there_is_room_for_them(
    n_channels, n_frames, kernel_length, stream
):
    content = file_of(n_channels, n_frames=n_frames, kernel_length=kernel_length, n_events=n_frames, stream=stream)
    with measured(48, 2), pytest.raises(CorruptError, match="too short for them"):
        read(content)


def test_many_channels_with_the_same_events_are_refused_as_well():
    content = file_of(256, n_frames=2**16, kernel_length=1, n_events=2**16, stream=b"\x80" * 8)
    with measured(48, 2), pytest.raises(CorruptError, match="gains in a stream that is too short for them"):
        read(content)
