"""Files made to exhaust memory or time: each is refused with an error that names the field, in little of both."""

import io
import json
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
import zstandard

from sancodec.codec import coding_section, payload
from sancodec.codec.bits import BitWriter
from sancodec.codec.coding_section import MAX_BANDS, MeasuredQuality, SegmentCoding, encode_coding
from sancodec.codec.container import ContainerWriter, SectionType, encode_varints, zstd_compress, zstd_decompress
from sancodec.codec.contexts import ContextModel, Profile
from sancodec.codec.decoder import RecordingReader, chunks_at_once
from sancodec.codec.header import MAX_CHANNELS, Header, decode_header, encode_header
from sancodec.codec.kernels import KernelGroup, Model, decode_model
from sancodec.codec.rans import MAX_STEPS, EncodedStream, groups_of_like_depth
from sancodec.codec.recording import Channel, SideFile
from sancodec.codec.residual import Reference, ResidualCoding, decoding_levels
from sancodec.codec.residual_stream import CodedResidual, ResidualTables, decode_residual_symbols
from sancodec.codec.salvage import salvage
from sancodec.codec.synthesis import UNIT_STEP, ChannelCoding, NumpyEngine
from sancodec.codec.transform import synthesise
from sancodec.datasets.arrays import CsvWriter
from sancodec.datasets.wfdb_writer import WfdbWriter
from sancodec.errors import CorruptError, FormatError, InvalidSignalError, LimitExceededError, TruncatedError
from sancodec.training.statistics import neutral_contexts

ENGINE = NumpyEngine()
MEBIBYTE = 1 << 20
CONSTANT = ChannelCoding(0, 5, 5)
EXACT = MeasuredQuality(0.0, 0)


class measured:  # noqa: N801 - reads as a statement
    """Memory and time that a block takes."""

    def __init__(self, mebibytes=64, seconds=10):
        self.limits = mebibytes, seconds

    def __enter__(self):
        tracemalloc.start()
        self.start = time.process_time()

    def __exit__(self, kind, error, traceback):
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < self.limits[0] * MEBIBYTE
        assert time.process_time() - self.start < self.limits[1]


def header_of(n_channels=1, *, n_frames=10, chunk_frames=10, models=(), **fields):
    channels = tuple(Channel(f"channel {index}", **fields) for index in range(n_channels))
    promises = ((),) * n_channels
    digests = tuple(model.sha256 for model in models)
    return Header("array", Fraction(360), n_frames, chunk_frames, channels, 5, promises, digests)


def container_of(header, *sections):
    """A file of a header, given whole or as its payload, and other sections."""
    file = io.BytesIO()
    writer = ContainerWriter(file)
    writer.section(SectionType.HEADER, header if isinstance(header, bytes) else encode_header(header))
    for kind, content in sections:
        writer.section(kind, content)
    writer.finish()
    return file.getvalue()


def coding_of(codings, *, coder=0, models=(), n_chunks=1, tables=None):
    segment = SegmentCoding(0, n_chunks, coder, codings, [EXACT] * len(codings), [0], tables)
    return SectionType.CODING, encode_coding(segment, models=models)


def constant_chunk(n_channels, digest=0):
    writer = BitWriter()
    writer.bits(np.zeros(n_channels, np.uint8))
    return SectionType.CHUNK, payload.join_fields(payload.ChunkFields(digest, writer.tobytes(), b"", b""))


def read(content):
    return RecordingReader(io.BytesIO(content), engine=ENGINE).read()


def refused_by_both(content, message, error=FormatError):
    with measured(), pytest.raises(error, match=message):
        read(content)
    with measured(), pytest.raises(FormatError):
        salvage(io.BytesIO(content), engine=ENGINE)


# Frames and numbers that claim more than there is


def frame_that_claims(size, content=b"x"):
    """A zstd frame whose header states another size."""
    block = struct.pack("<I", len(content) << 3 | 1)[:3] + content
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", size) + block


@pytest.mark.parametrize("size", [2**26 + 1, 2**40, 2**62, 2**64 - 3])
def test_frames_that_claim_much_are_refused_before_they_are_unpacked(size):
    with measured(1), pytest.raises(LimitExceededError, match=f"section HEADER: its zstd frame holds {size} bytes"):
        decode_header(frame_that_claims(size))


def test_frames_that_cannot_hold_what_they_claim_are_refused():
    with measured(1), pytest.raises(CorruptError, match="its zstd frame of 17 bytes says that it holds 67108864"):
        decode_header(frame_that_claims(2**26))
    dense = zstd_compress(bytes(2**26), 1)
    assert zstd_decompress(dense, limit=2**26, where="") == bytes(2**26)  # the densest that a frame can be


def test_frames_that_hold_more_than_they_claim_are_refused():
    bomb = zstandard.ZstdCompressor().compress(bytes(2**26))
    assert bomb[4] == 0x80  # after a byte for the window, the size is in 4 bytes
    lying = bomb[:6] + struct.pack("<I", 300) + bomb[10:]
    with measured(2), pytest.raises(CorruptError, match="section HEADER: its zstd frame is damaged"):
        decode_header(lying)


HEADER_FIELDS = [
    ("source", None),
    ("sampling rate", None),
    ("sampling rate denominator", None),
    ("frames", None),
    ("frames per chunk", None),
    ("level", None),
    ("models", None),
    ("channels", None),
    ("channel 0, name", None),
    ("channel 0, unit", None),
    ("channel 0, gain", struct.pack("<d", 200.0)),
    ("channel 0, baseline", None),
    ("channel 0, resolution", None),
    ("channel 0, samples per frame", None),
    ("channel 0, minimum", None),
    ("channel 0, maximum", None),
    ("channel 0, missing value", None),
    ("channel 0, largest difference", None),
    ("channel 0, promises", None),
    ("side files", None),
]
SMALL = [b"\x05array", 360, 1, 10, 10, 5, 0, 1, b"\x01I", b"\x02mV", None, 0, 11, 1, 3, 4, 0, 0, 0, 0]


def small_header(**changed):
    parts = []
    for (name, fixed), value in zip(HEADER_FIELDS, SMALL, strict=True):
        value = changed.get(name, value if fixed is None else fixed)
        parts.append(value if isinstance(value, bytes) else encode_varints([value]))
    return zstd_compress(b"".join(parts), 1)


def test_the_small_header_is_one():
    assert decode_header(small_header()).channels[0].name == "I"


@pytest.mark.parametrize("value", [2**32, 2**40 + 1, 2**62, 2**63 - 1])
@pytest.mark.parametrize("field", [name for name, fixed in HEADER_FIELDS if fixed is None])
def test_huge_numbers_in_every_field_of_the_header_are_refused_by_name(field, value):
    if (field, value) in (("sampling rate", 2**32), ("sampling rate", 2**40 + 1)):
        pytest.skip("such a rate is allowed")
    if field.startswith("sampling rate denominator") and value < 2**62:
        pytest.skip("such a rate is allowed")
    if field in ("frames per chunk",) and value <= 2**40:
        pytest.skip("such a chunk is as long as the recording")
    if field == "channel 0, largest difference" and value == 2**32:
        pytest.skip("such a difference is allowed")
    message = "header: |header, " + field if field in ("frames", "frames per chunk") else "header, " + field
    with measured(2), pytest.raises(FormatError, match=message):
        decode_header(small_header(**{field: value}))


@pytest.mark.parametrize("gain", [np.nan, np.inf, -np.inf, 0.0])
def test_gains_that_are_no_numbers_are_refused(gain):
    with pytest.raises(CorruptError, match=r"header, channel .*gain"):
        decode_header(small_header(**{"channel 0, gain": struct.pack("<d", gain)}))


def test_numbers_longer_than_nine_bytes_are_refused():
    with pytest.raises(CorruptError, match="header, frames: a number is longer than 9 bytes"):
        decode_header(small_header(frames=b"\xff" * 12))


# Sizes that multiply


def test_a_long_recording_with_one_chunk_is_refused_after_that():
    header = header_of(n_frames=2**40, chunk_frames=2**16)
    content = container_of(header, coding_of([CONSTANT], n_chunks=2**24), constant_chunk(1))
    with measured(), pytest.raises(FormatError, match=r"chunk 0|chunk 1 of 16777216 is missing"):
        read(content)


def test_what_salvage_fills_is_limited_for_a_long_recording_with_one_chunk():
    header = header_of(n_frames=2**40, chunk_frames=2**16)
    content = container_of(header, coding_of([CONSTANT], n_chunks=2**24), constant_chunk(1))
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


def wide_bank(*, stride, n_kernels, length=1):
    group = KernelGroup(stride, 0, np.ones((n_kernels, length), np.int32))
    return Model((group,), neutral_contexts((group,)), {"name": "wide"})


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
    content = container_of(header_of(40), coding_of(codings), constant_chunk(40))
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


# Index and models


def indexed(header, numbers):
    """A file of one constant chunk with an index of one's own."""
    content = container_of(header, coding_of([CONSTANT]), constant_chunk(1))
    (offset,) = struct.unpack_from("<Q", content, len(content) - 12)
    file = io.BytesIO()
    writer = ContainerWriter(file)
    writer._write(content[12:offset])
    writer.section(SectionType.INDEX, encode_varints(numbers))
    writer._write(struct.pack("<Q4s", offset, b"SANe"))
    return file.getvalue()


def first_coding(header):
    return 12 + 9 + len(encode_header(header))


@pytest.mark.parametrize(
    "numbers",
    [
        [2**24],
        [2**24, 1, 2**24],
        [1, 30, 2**24, 9],
        [1, 30, 1, 2**62],
        [1, 2**62, 1, 9],
        [1, 0, 1, 0],  # all on top of each other
        [0],
    ],
)
def test_an_index_of_lies_is_refused_and_passed_over(numbers):
    header = header_of()
    digest = payload.digest_of([np.full(10, 5, np.int32)], chunk=0, coding_crc=zlib.crc32(coding_of([CONSTANT])[1]))
    content = bytearray(indexed(header, [first_coding(header), *numbers]))
    place = content.index(constant_chunk(1)[1])
    content[place : place + 4] = struct.pack("<I", digest)
    head = bytes(content[place - 5 : place + len(constant_chunk(1)[1])])
    crc = zlib.crc32(head)
    content[place + len(constant_chunk(1)[1]) : place + len(constant_chunk(1)[1]) + 4] = struct.pack("<I", crc)
    with measured(), pytest.raises(FormatError):
        read(bytes(content))
    with measured():
        reader = salvage(io.BytesIO(bytes(content)), engine=ENGINE)
        ((_, samples),) = reader.chunks(0, 1)
    assert not reader.lost
    np.testing.assert_array_equal(samples[0], np.full(10, 5))


@pytest.mark.parametrize("text", ["[" * 60_000, '{"a":' * 10_000, '{"a": ' + "9" * 60_000 + "}", "\ufeff{}", "{}\0"])
def test_metadata_of_a_model_that_is_no_json_is_refused(text):
    bank = wide_bank(stride=2, n_kernels=1)
    metadata = text.encode()
    content = bank.content
    rest = content[12 + struct.unpack_from("<I", content, 8)[0] :]
    with measured(), pytest.raises(CorruptError, match="model: its metadata is not"):
        decode_model(content[:8] + struct.pack("<I", len(metadata)) + metadata + rest)


def test_metadata_nested_deeper_than_its_limit_is_refused():
    metadata = b"[" * 100_000
    with pytest.raises(LimitExceededError, match="100000 metadata bytes; at most 32 and 65536 are allowed"):
        decode_model(b"SANM" + struct.pack("<HHI", 1, 1, len(metadata)) + metadata)


def test_models_that_declare_more_than_they_have_are_refused():
    bank = wide_bank(stride=2, n_kernels=1)
    start = 12 + struct.unpack_from("<I", bank.content, 8)[0]
    for group in ((2, 1024, 8192, 0), (65535, 1, 1, 0), (1, 65535, 1, 0), (1, 1, 2**32 - 1, 0), (2, 1, 1, -(2**31))):
        content = bank.content[:start] + struct.pack("<HHIi", *group) + bank.content[start + 12 :]
        with measured(2), pytest.raises(FormatError, match=r"model: .*group 0"):
            decode_model(content)


# What reaches the file system


@pytest.mark.parametrize("name", ["../evil.hea", "/etc/evil.hea", "a\0b.hea", "..", "C:evil.hea", "\x1b[2J.hea"])
def test_side_files_stay_in_their_folder(name, tmp_path):
    header = replace(header_of(), source="wfdb", side_files=(SideFile(name, b"evil 1 360 10\nevil.dat 16 200\n"),))
    after = decode_header(encode_header(header))
    with pytest.raises(InvalidSignalError), WfdbWriter(after, tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_names_and_gains_cannot_spoil_a_table():
    channel = Channel("\x1b[31ma,b\r\n", "\x1b[2J", gain=5e-324)
    after = decode_header(encode_header(replace(header_of(n_frames=2), channels=(channel,))))
    file = io.BytesIO()
    writer = CsvWriter(after, file)
    writer.write([np.array([0, 7], np.int32)])
    writer.finish()
    assert file.getvalue() == b"time (s), [31ma b   ( [2J)\n0.000000,0\n0.002778,inf\n"


def test_truncation_is_found_in_names():
    with pytest.raises(TruncatedError, match="header, channel 0, name: 67108864 bytes are promised"):
        decode_header(small_header(**{"channel 0, name": 2**26}))


def test_json_of_a_model_can_be_anything_else():
    metadata = json.dumps({"name": "\x1b[31m"}).encode()
    bank = wide_bank(stride=2, n_kernels=1)
    rest = bank.content[12 + struct.unpack_from("<I", bank.content, 8)[0] :]
    assert decode_model(bank.content[:8] + struct.pack("<I", len(metadata)) + metadata + rest).name == "\x1b[31m"
    assert isinstance(bank.contexts, ContextModel)
