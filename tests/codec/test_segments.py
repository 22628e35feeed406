"""Recordings in several segments, and channels with a residual layer, through the encoder and back."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from neutral_banks import BANKS

from sancodec.codec.coding_section import decode_coding
from sancodec.codec.container import ContainerReader, ContainerWriter, SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import encode_recording
from sancodec.codec.header import CODER_CLASS, CODER_MIXED, CODER_ZSTD
from sancodec.codec.promise import Promise
from sancodec.codec.quality import measure
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine
from sancodec.errors import CorruptError, FormatError, TruncatedError

CHUNK = 8192
EXACT = Promise(max_error_adu=0)
WIDE = Channel("wide", minimum=-(2**31), maximum=2**31 - 1)


def compressed(recording, promises, *, level=5, chunk_s=None, **options):
    file = io.BytesIO()
    encode_recording(
        recording,
        file,
        promises=promises,
        level=level,
        chunk_s=chunk_s,
        models=BANKS,
        embed_models=True,
        engine=NumpyEngine(),
        **options,
    )
    return file.getvalue()


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=NumpyEngine())


def recording_of(*rows, channels=None, rate=360):
    rows = tuple(np.asarray(row, np.int32) for row in rows)
    if channels is None:
        channels = tuple(replace(WIDE, name=f"c{index}") for index in range(len(rows)))
    return Recording(channels, rows, Fraction(rate), "array")


def waves(n_samples, seed=0, scale=200):
    """A few sines and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples)
    smooth = np.sin(time / 40) + 0.5 * np.sin(time / 7.3 + seed) + 2 * np.sin(time / 900)
    return np.rint(scale * smooth + rng.normal(0, 2, n_samples)).astype(np.int32)


def sections_of(content):
    reader, offset, found = ContainerReader(io.BytesIO(content)), 12, []
    while offset < len(content) - 12:
        section, offset = reader.section_at(offset)
        found.append(section)
    return found


def rewritten(sections):
    file = io.BytesIO()
    writer = ContainerWriter(file)
    for section in sections:
        if section.kind != SectionType.INDEX:
            writer.section(section.kind, section.payload)
    writer.finish()
    return file.getvalue()


# Segments


@pytest.fixture(scope="module", params=[1, 5, 9])
def segmented(request):
    """Two channels, PRDN and bound, five chunks in three segments; the recording and its file."""
    first = waves(4 * CHUNK + 100)
    first[3 * CHUNK :] //= 20  # the last segments look different
    recording = recording_of(first, np.roll(first, 3) // 2)
    promises = [Promise(prdn=5.0), Promise(max_error_adu=3)]
    content = compressed(recording, promises, level=request.param, chunk_s=1, segment_samples=21_000)
    return recording, content


def test_every_segment_has_a_coding_of_its_own(segmented):
    _, content = segmented
    kinds = "".join("?hmCcI"[section.kind] for section in sections_of(content))
    assert kinds == "hmmCccCccCcI"
    reader = reader_of(content)
    assert [(place.first_chunk, len(place.chunks)) for place in reader.segments] == [(0, 2), (2, 2), (4, 1)]
    codings = [reader.decoder(index).coding for index in range(3)]
    assert [(coding.first_chunk, coding.n_chunks) for coding in codings] == [(0, 2), (2, 2), (4, 1)]
    assert codings[0].codings[0].maximum > 2 * codings[2].codings[0].maximum


def test_promises_hold_over_all_segments(segmented):
    recording, content = segmented
    decoded = reader_of(content).read()
    first, second = [
        measure(before, after, gain=1.0, baseline=0, invalid=None)
        for before, after in zip(recording.samples, decoded.samples, strict=True)
    ]
    assert 0 < first.prdn <= 5
    assert 0 < second.max_error_adu <= 3
    assert reader_of(content).header.promises == (((1, 5.0),), ((2, 3.0),))


def test_chunks_of_any_segment_decode_alone(segmented):
    _, content = segmented
    whole = np.stack(reader_of(content).read().samples)
    for index in range(5):
        ((found, decoded),) = reader_of(content).chunks(index, index + 1)
        assert found == index
        np.testing.assert_array_equal(np.stack(decoded), whole[:, index * CHUNK : (index + 1) * CHUNK])


def test_a_damaged_coding_costs_its_segment_and_no_other(segmented):
    _, content = segmented
    whole = np.stack(reader_of(content).read().samples)
    altered = bytearray(content)
    altered[reader_of(content).segments[1].coding + 9] ^= 1
    reader = reader_of(bytes(altered))
    for index in (0, 1, 4):
        ((_, decoded),) = reader.chunks(index, index + 1)
        np.testing.assert_array_equal(np.stack(decoded), whole[:, index * CHUNK : (index + 1) * CHUNK])
    for index in (2, 3):
        with pytest.raises(CorruptError, match="segment 1, chunks from 2 on"):
            list(reader.chunks(index, index + 1))
    with pytest.raises(CorruptError):
        reader.read()


def test_a_file_cut_in_its_second_segment_gives_the_chunks_before(segmented):
    _, content = segmented
    whole = np.stack(reader_of(content).read().samples)
    cut = reader_of(content[: reader_of(content).segments[1].chunks[1] + 5])
    decoded = np.concatenate([np.stack(each) for _, each in cut.chunks(0, 3)], axis=1)
    np.testing.assert_array_equal(decoded, whole[:, : 3 * CHUNK])
    with pytest.raises(TruncatedError, match="chunk 3 of 5 is missing"):
        list(cut.chunks(3, 4))


def test_segments_in_another_order_are_refused(segmented):
    _, content = segmented
    head, rest = sections_of(content)[:3], sections_of(content)[3:]
    assert reader_of(rewritten([*head, *rest])).read().n_frames == 4 * CHUNK + 100
    swapped = rewritten([*head, *rest[3:6], *rest[:3], *rest[6:]])
    with pytest.raises(CorruptError, match="it says that it is for chunk 2; chunk 0 is next"):
        reader_of(swapped)
    with pytest.raises(CorruptError, match="it says that it is for chunk 0; chunk 2 is next"):
        reader_of(rewritten([*head, *rest[:3], *rest[:3], *rest[6:]])).read()


def test_a_coding_of_other_chunks_than_follow_it_is_refused(segmented):
    _, content = segmented
    head, rest = sections_of(content)[:3], sections_of(content)[3:]
    # The third segment's chunk joins the second, whose CODING speaks of two; and the other way round.
    for sections in ([*head, *rest[:6], rest[7]], [*head, *rest[:3], rest[3], rest[4], rest[6], rest[7], rest[7]]):
        with pytest.raises(FormatError):
            reader_of(rewritten(sections)).read()


def test_a_coding_that_promises_more_chunks_than_follow_it_is_refused():
    recording = recording_of(np.full(2 * CHUNK, 7))
    one = sections_of(compressed(recording, [EXACT], chunk_s=1))
    two = sections_of(compressed(recording, [EXACT], chunk_s=1, segment_samples=CHUNK))
    header, coding, first = one[0], one[-4], one[-3]
    other_coding, other = two[-3:-1]
    assert reader_of(rewritten(one)).read().n_frames == 2 * CHUNK
    # CODING of both chunks, chunk 0, CODING of chunk 1, chunk 1: every chunk fits its own, but the first says too much.
    with pytest.raises(CorruptError, match=r"segment 0: .* 2 chunks; 1 follow it"):
        reader_of(rewritten([header, coding, first, other_coding, other])).read()


def test_segments_are_about_as_long_as_asked_and_none_is_short():
    rows = [np.arange(11 * CHUNK) % 5] * 2
    content = compressed(recording_of(*rows), [EXACT] * 2, level=1, chunk_s=1, segment_samples=6 * CHUNK)
    assert [len(place.chunks) for place in reader_of(content).segments] == [3, 3, 3, 2]
    np.testing.assert_array_equal(np.stack(reader_of(content).read().samples), rows)


@pytest.mark.parametrize("level", [5, 9])
def test_a_channel_may_be_constant_in_one_segment_only(level):
    row = np.full(2 * CHUNK, 12)
    row[CHUNK:] = waves(CHUNK)
    content = compressed(recording_of(row), [EXACT], level=level, chunk_s=1, segment_samples=CHUNK)
    reader = reader_of(content)
    assert [reader.decoder(index).codings[0].is_constant for index in range(2)] == [True, False]
    np.testing.assert_array_equal(reader.read().samples[0], row)


# Residual layer through the whole codec


EXTREMES = {
    "zeros": np.zeros(300),
    "one": np.array([5]),
    "lowest": np.array([-(2**31)]),
    "two": np.array([2**31 - 1, -(2**31)]),
    "square": np.where(np.arange(500) % 2, 2**31 - 1, -(2**31)),
    "slow square": np.where(np.arange(3000) // 100 % 2, 2**31 - 1, -(2**31)),
    "random": np.random.default_rng(0).integers(-(2**31), 2**31, 3000),
    "walk": np.clip(np.cumsum(np.random.default_rng(1).integers(-(2**28), 2**28, 3000)), -(2**31), 2**31 - 1),
    "impulse": np.eye(1, 2000, 700)[0] * (2**31 - 1),
    "ramp": np.arange(2000),
    "few": np.array([100, -50, 2047, -2047, 7]),
    "waves": waves(5000),
}


@pytest.mark.parametrize("level", [1, 3, 5, 9])
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("bound", [0, 1, 1000])
def test_every_sample_is_within_the_bound(name, level, bound):
    recording = recording_of(EXTREMES[name])
    content = compressed(recording, [Promise(max_error_adu=bound)], level=level)
    decoded = reader_of(content).read().samples[0]
    assert np.abs(decoded.astype(np.int64) - recording.samples[0]).max() <= bound


@pytest.mark.parametrize("level", [1, 5, 9])
@pytest.mark.parametrize("length", [1, 2, 17, 65, CHUNK + 1])
def test_short_and_odd_lengths_are_exact(level, length):
    rows = waves(length), waves(length, seed=1)
    content = compressed(recording_of(*rows), [EXACT] * 2, level=level, chunk_s=1)
    np.testing.assert_array_equal(np.stack(reader_of(content).read().samples), rows)


@pytest.mark.parametrize("level", [1, 5, 9])
def test_channels_predicted_from_each_other_come_back_and_take_less(level):
    first = waves(6000)
    others = [np.roll(first, shift) + np.random.default_rng(shift + 9).integers(-1, 2, 6000) for shift in (-2, 0, 5)]
    recording = recording_of(first, *others)
    content = compressed(recording, [EXACT] * 4, level=level)
    reader = reader_of(content)
    np.testing.assert_array_equal(np.stack(reader.read().samples), recording.samples)
    references = [
        (index, each.channel)
        for index, coding in enumerate(reader.codings)
        for each in coding.residual.references
        if each.decoded
    ]
    assert len({index for index, _ in references}) >= 3
    alone = sum(len(compressed(recording_of(row), [EXACT], level=level)) for row in recording.samples)
    assert len(content) < 0.9 * alone


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_promises_of_each_channel_hold_beside_each_other(level):
    channels = (
        Channel("exact", minimum=-4000, maximum=4000, invalid=-4096),
        Channel("bounded", minimum=-4000, maximum=4000),
        Channel("prdn", minimum=-4000, maximum=4000),
        Channel("both", minimum=-4000, maximum=4000, invalid=-4096),
        Channel("constant", minimum=-4000, maximum=4000),
        Channel("faster", minimum=-4000, maximum=4000, samples_per_frame=3),
    )
    rows = [waves(9000, seed) for seed in range(4)] + [np.full(9000, -3), waves(27_000, 8)]
    for row in (rows[0], rows[3]):
        row[:40] = row[700:1500] = row[-1] = -4096
    promises = [
        EXACT,
        Promise(max_error_adu=4),
        Promise(prdn=3.0),
        Promise(prdn=0.5, max_error_adu=6),
        EXACT,
        Promise(max_error_adu=1),
    ]
    recording = recording_of(*rows, channels=channels)
    decoded = reader_of(compressed(recording, promises, level=level, chunk_s=1)).read().samples
    for before, after, channel, promise in zip(recording.samples, decoded, channels, promises, strict=True):
        quality = measure(before, after, gain=1.0, baseline=0, invalid=channel.invalid)
        assert promise.prdn is None or quality.prdn <= promise.prdn, channel.name
        assert promise.max_error_adu is None or quality.max_error_adu <= promise.max_error_adu, channel.name
        if channel.invalid is not None:
            np.testing.assert_array_equal(after == -4096, before == -4096)


@pytest.mark.parametrize(("level", "coder"), [(1, CODER_ZSTD), (3, CODER_ZSTD), (5, CODER_CLASS), (9, CODER_MIXED)])
def test_the_level_chooses_the_coder_of_residuals(level, coder):
    reader = reader_of(compressed(recording_of(waves(3000)), [EXACT], level=level))
    assert reader.decoder(0).coding.coder == coder


@pytest.mark.parametrize("level", [3, 9])
def test_an_altered_residual_is_noticed(level):
    content = compressed(recording_of(waves(3000)), [EXACT], level=level)
    sections = sections_of(content)
    chunk = next(section for section in sections if section.kind == SectionType.CHUNK)
    coding = next(section for section in sections if section.kind == SectionType.CODING)
    header = reader_of(content).header
    assert decode_coding(coding.payload, header, reader_of(content).models).codings[0].residual is not None
    for position in range(4, len(chunk.payload), 7):
        altered = bytearray(chunk.payload)
        altered[position] ^= 4
        changed = [replace(each, payload=bytes(altered)) if each is chunk else each for each in sections]
        with pytest.raises(FormatError):
            reader_of(rewritten(changed)).read()
