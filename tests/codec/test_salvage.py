import io
import time
import tracemalloc
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest

from sancodec.codec import encoder
from sancodec.codec import salvage as salvage_module
from sancodec.codec.container import SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import encode_recording
from sancodec.codec.kernels import Model
from sancodec.codec.promise import promises_for
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.salvage import salvage
from sancodec.codec.synthesis import NumpyEngine
from sancodec.errors import CorruptError, FormatError, LimitExceededError, ModelMismatchError, TruncatedError
from sancodec.training.lapped import SYM8, dyadic_groups
from sancodec.training.statistics import neutral_contexts
from tests.mixed_files import ecg_components, mixed_file

ENGINE = NumpyEngine()
GROUPS = tuple(dyadic_groups(SYM8, levels=5))
BANK = Model(GROUPS, neutral_contexts(GROUPS), {"name": "dyadic"})
CHUNK, N_CHUNKS = 256, 9


def recording(channels=None, seed=0):
    rng = np.random.default_rng(seed)
    channels = channels or (Channel("I", invalid=-32768, minimum=-32767), Channel("V", samples_per_frame=2))
    samples = []
    for index, channel in enumerate(channels):
        n = (CHUNK * N_CHUNKS - 40) * channel.samples_per_frame
        wave = 300 * np.sin(np.arange(n) / (11 + 5 * index)) + rng.normal(0, 5, n)
        samples.append(np.clip(np.rint(wave), channel.minimum, channel.maximum).astype(np.int32))
    return Recording(tuple(channels), tuple(samples), Fraction(256), "array")


def encoded(source=None, *, embed_models=False, level=1, **promise):
    """Nine chunks in three segments."""
    source = source or recording()
    file = io.BytesIO()
    with mock.patch.object(encoder, "MIN_CHUNK_SAMPLES", 16):
        encode_recording(
            source,
            file,
            promises=promises_for(source.channels, **(promise or {"prdn": 30})),
            level=level,
            chunk_s=1.0,
            models=(BANK,),
            embed_models=embed_models,
            engine=ENGINE,
            segment_samples=3 * CHUNK * sum(channel.samples_per_frame for channel in source.channels),
        )
    return file.getvalue()


@pytest.fixture(scope="module")
def content():
    return encoded()


@pytest.mark.parametrize("level", [1, 5, 9])
def test_chunks_of_a_mixed_group_are_repaired_or_lost_by_themselves(level):
    content = mixed_file(ecg_components(9000), level=level, chunk_s=1.0)
    right = dict(RecordingReader(io.BytesIO(content), engine=ENGINE).chunks(0, 2))
    first, _ = RecordingReader(io.BytesIO(content), engine=ENGINE).segments[0].chunks
    repaired, lost = bytearray(content), bytearray(content)
    repaired[first + 60] ^= 0x40
    lost[first + 30 : first + 90] = bytes(60)
    reader = salvage(io.BytesIO(bytes(repaired)), engine=ENGINE)
    for index, samples in reader.chunks(0, 2):
        np.testing.assert_array_equal(samples, right[index])
    assert not reader.lost
    assert [(each.first_chunk, each.last_chunk) for each in reader.repaired] == [(0, 0)]
    reader = salvage(io.BytesIO(bytes(lost)), engine=ENGINE)
    found = dict(reader.chunks(0, 2))
    np.testing.assert_array_equal(found[1], right[1])
    assert [(each.first_chunk, each.last_chunk) for each in reader.lost] == [(0, 0)]
    assert (np.stack(found[0]) == -(1 << 15)).all()  # missing


@pytest.mark.parametrize("level", [1, 5, 9])
@pytest.mark.parametrize("promise", [{"prdn": 30}, {"max_error_adu": 1}, {"lossless": True}], ids=str)
def test_every_way_of_coding_can_be_salvaged(level, promise):
    content = encoded(level=level, **promise)
    right = reader_of(content).read().samples
    places = spans_of(content, SectionType.CHUNK)
    (a, b), (c, d) = places[0], places[7]
    damaged = altered(content, places[4][0] + 20, places[4][0] + 22, places[5][0] + 20)
    reader, chunks = salvaged(damaged[:a] + damaged[c:d] + damaged[b:c] + damaged[a:b] + damaged[d:])
    assert lost_of(reader) == [4]
    assert repaired_of(reader) == [0, 5, 7]
    assert_right(reader, chunks, right)


@pytest.fixture(scope="module")
def right(content):
    return reader_of(content).read().samples


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=ENGINE, models=(BANK,))


def sections_of(content):
    """Kind, first byte and end of every section."""
    container = reader_of(content).container
    found, offset = [], 12
    while offset < len(content) - 12:
        section, end = container.section_at(offset)
        found.append((section.kind, offset, end))
        offset = end
    return found


def spans_of(content, kind):
    return [(start, end) for each, start, end in sections_of(content) if each == kind]


def salvaged(content, models=(BANK,)):
    """The reader after all chunks were read, and the samples of each chunk."""
    reader = salvage(io.BytesIO(content), engine=ENGINE, models=models)
    chunks = list(reader.chunks(0, reader.header.n_chunks))
    assert [index for index, _ in chunks] == list(range(reader.header.n_chunks))
    return reader, [samples for _, samples in chunks]


def lost_of(reader):
    return [chunk for each in reader.lost for chunk in range(each.first_chunk, each.last_chunk + 1)]


def repaired_of(reader):
    return [chunk for each in reader.repaired for chunk in range(each.first_chunk, each.last_chunk + 1)]


def assert_right(reader, chunks, right):
    """All chunks that are not lost are right, the others filled."""
    lost = lost_of(reader)
    for index, samples in enumerate(chunks):
        for channel, values, whole in zip(reader.header.channels, samples, right, strict=True):
            width = channel.samples_per_frame
            first = index * CHUNK * width
            expected = whole[first : first + reader.header.chunk_length(index) * width]
            if index in lost:
                expected = np.full(len(expected), channel.minimum if channel.invalid is None else channel.invalid)
            np.testing.assert_array_equal(values, expected)


def altered(content, *places):
    result = bytearray(content)
    for place in places:
        result[place] ^= 0x5A
    return bytes(result)


def test_an_intact_file_is_read_without_remarks(content, right):
    reader, chunks = salvaged(content)
    assert not reader.lost
    assert not reader.repaired
    assert not reader.notes
    assert_right(reader, chunks, right)


def test_chunks_beyond_repair_are_filled_and_named(content, right):
    places = spans_of(content, SectionType.CHUNK)
    reader, chunks = salvaged(
        altered(content, places[4][0] + 30, places[4][0] + 40, places[5][0] + 30, places[5][0] + 9)
    )
    assert lost_of(reader) == [4, 5]
    assert {each.first_frame for each in reader.lost} == {4 * CHUNK, 5 * CHUNK}
    assert (reader.lost[0].start_s, reader.lost[-1].end_s) == (4, 6)
    assert "damaged beyond repair" in reader.lost[0].reason
    assert reader.fill_text() == "missing samples (-32768), the smallest value that can be stored, -32768"
    assert_right(reader, chunks, right)


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_every_changed_byte_of_a_chunk_section_is_repaired(content, right, change):
    start, end = spans_of(content, SectionType.CHUNK)[4]
    for place in range(start, end, 7):
        damaged = bytearray(content)
        damaged[place] ^= change
        reader, chunks = salvaged(bytes(damaged))
        assert not reader.lost, place
        assert repaired_of(reader) == [4]
        assert_right(reader, chunks, right)


def test_every_changed_byte_before_the_chunks_is_repaired(content, right):
    for place in range(spans_of(content, SectionType.CHUNK)[0][0]):
        reader, chunks = salvaged(altered(content, place))
        assert not reader.lost, place
        assert reader.notes
        assert_right(reader, chunks, right)


def test_every_changed_byte_of_a_later_coding_section_is_repaired(content, right):
    start, end = spans_of(content, SectionType.CODING)[1]
    for place in range(start, end):
        reader, chunks = salvaged(altered(content, place))
        assert not reader.lost, place
        assert "CODING" in reader.notes[0]
        assert_right(reader, chunks, right)


def test_a_damaged_coding_section_loses_its_segment_only(content, right):
    start, _ = spans_of(content, SectionType.CODING)[1]
    for damaged in (altered(content, start + 9, start + 20), altered(content[:-1], start + 9, start + 20)):
        reader, chunks = salvaged(damaged)
        assert lost_of(reader) == [3, 4, 5]
        assert reader.lost[0].reason == "the CODING section of its segment is damaged or missing"
        assert_right(reader, chunks, right)


def test_all_four_bytes_of_a_length_are_repaired(content, right):
    start, _ = spans_of(content, SectionType.CHUNK)[4]
    for damaged in (content, content[:-1]):  # with the index, and without
        damaged = damaged[: start + 1] + b"\xff\x12\x34\x56" + damaged[start + 5 :]
        reader, chunks = salvaged(damaged)
        assert [each.reason for each in reader.repaired] == ["its length was damaged"]
        assert not reader.lost
        assert_right(reader, chunks, right)


def test_neighbours_with_damaged_lengths_are_told_apart_by_the_index(content, right):
    first, second = (start for start, _ in spans_of(content, SectionType.CHUNK)[3:5])
    reader, chunks = salvaged(altered(content, first + 1, second + 2))
    assert not reader.lost
    assert repaired_of(reader) == [3, 4]
    assert_right(reader, chunks, right)


@pytest.mark.parametrize("n_bytes", [1, 13, 100, 3000])
def test_blocks_inserted_anywhere_cost_the_section_that_they_hit(content, right, n_bytes):
    block = np.random.default_rng(n_bytes).bytes(n_bytes)
    for place in range(spans_of(content, SectionType.CODING)[0][1], len(content), 97):
        reader, chunks = salvaged(content[:place] + block + content[place:])
        assert len(lost_of(reader)) <= 3  # all chunks of a segment at most
        assert_right(reader, chunks, right)


def test_blocks_removed_anywhere_cost_the_sections_that_they_hit(content, right):
    first = spans_of(content, SectionType.CODING)[0][1]
    for place in range(first, len(content), 97):
        reader, chunks = salvaged(content[:place] + content[place + 60 :])
        hit = [kind for kind, start, end in sections_of(content) if start < place + 60 and end > place]
        assert len(lost_of(reader)) <= (4 if SectionType.CODING in hit else len(hit))
        assert_right(reader, chunks, right)


def test_a_file_cut_anywhere_gives_the_chunks_before_the_cut(content, right):
    places = spans_of(content, SectionType.CHUNK)
    for length in range(places[0][0], len(content), 61):
        reader, chunks = salvaged(content[:length])
        assert lost_of(reader) == [index for index, (_, end) in enumerate(places) if end > length]
        assert_right(reader, chunks, right)


def test_swapped_chunks_are_found_by_their_digests(content, right):
    places = spans_of(content, SectionType.CHUNK)
    for first, second in ((0, 1), (0, 8), (4, 7)):
        (a, b), (c, d) = places[first], places[second]
        reader, chunks = salvaged(content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:])
        assert not reader.lost
        assert repaired_of(reader) == [first, second]
        assert "found out of place at byte" in reader.repaired[0].reason
        assert_right(reader, chunks, right)


def test_a_missing_section_moves_the_chunks_behind_it_back(content, right):
    start, end = spans_of(content, SectionType.CHUNK)[3]
    reader, chunks = salvaged(content[:start] + content[end:])
    assert lost_of(reader) == [3]
    assert reader.lost[0].reason == "its section is missing; another chunk's is in its place"
    assert_right(reader, chunks, right)


def test_doubled_chunks_do_no_harm(content, right):
    start, end = spans_of(content, SectionType.CHUNK)[3]
    reader, chunks = salvaged(content[:end] + content[start:end] + content[end:])
    assert not reader.lost
    assert_right(reader, chunks, right)


def test_chunks_of_another_file_are_not_taken(content, right):
    other = encoded(recording(seed=1))
    (a, b), (c, d) = spans_of(content, SectionType.CHUNK)[2], spans_of(other, SectionType.CHUNK)[2]
    reader, chunks = salvaged(content[:a] + other[c:d] + content[b:])
    assert lost_of(reader) == [2]
    assert_right(reader, chunks, right)


def test_segments_in_another_order_are_sorted(content, right):
    starts = [start for start, _ in spans_of(content, SectionType.CODING)]
    ((index, _),) = spans_of(content, SectionType.INDEX)
    a, b, c = starts
    reader, chunks = salvaged(content[:a] + content[c:index] + content[b:c] + content[a:b] + content[index:])
    assert not reader.lost
    assert_right(reader, chunks, right)


def test_bytes_before_the_signature_are_passed_over(content, right):
    reader, chunks = salvaged(b"\0" * 4096 + content)
    assert not reader.lost
    assert_right(reader, chunks, right)


def test_blanked_blocks_lose_what_they_cover(content, right):
    for place in range(spans_of(content, SectionType.CHUNK)[0][0], len(content) - 64, 131):
        reader, chunks = salvaged(content[:place] + bytes(64) + content[place + 64 :])
        assert len(lost_of(reader)) <= 4
        assert_right(reader, chunks, right)


def test_a_damaged_embedded_model_is_repaired_or_asked_for(right):
    content = encoded(embed_models=True)
    start, _ = spans_of(content, SectionType.MODEL)[0]
    reader, chunks = salvaged(altered(content, start + 50), models=())
    assert not reader.lost
    assert "section MODEL" in reader.notes[0]
    assert_right(reader, chunks, reader_of(content).read().samples)
    with pytest.raises(
        ModelMismatchError, match=r"a MODEL section is damaged beyond repair, and .* give it with --model"
    ):
        salvaged(altered(content, start + 50, start + 70), models=())
    assert not salvaged(altered(content, start + 50, start + 70))[0].lost


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", CorruptError, "the file is empty"),
        (b"RIFF" * 100, CorruptError, "it is not a .san file"),
        (b"\x89SAN", TruncatedError, "within its signature"),
    ],
)
def test_other_files_are_refused_as_usual(content, error, message):
    with pytest.raises(error, match=message):
        salvage(io.BytesIO(content), engine=ENGINE)


def test_a_file_without_a_header_or_without_any_coding_is_refused(content):
    with pytest.raises(FormatError, match="HEADER is damaged beyond repair"):
        salvaged(altered(content, 30, 40))
    damaged = altered(
        content, *(start + each for start, _ in spans_of(content, SectionType.CODING) for each in (9, 15))
    )
    with pytest.raises(CorruptError, match="no CODING section can be read or repaired"):
        salvaged(damaged)


def test_a_part_can_be_salvaged(content, right):
    start, _ = spans_of(content, SectionType.CHUNK)[4]
    reader = salvage(io.BytesIO(altered(content, start + 20, start + 30)), engine=ENGINE, models=(BANK,))
    assert [index for index, _ in reader.chunks(5, 7)] == [5, 6]
    assert not reader.lost


def test_formats_of_differences_are_filled_with_straight_lines():
    channels = (Channel("I", minimum=-(2**20), maximum=2**20, max_difference=127),)
    content = encoded(recording(channels), lossless=True)
    whole = reader_of(content).read().samples[0]
    places = spans_of(content, SectionType.CHUNK)
    for lost in ([0], [3, 4], [8], range(9)):
        damaged = altered(content, *(places[index][0] + each for index in lost for each in (20, 30)))
        reader, chunks = salvaged(damaged)
        assert lost_of(reader) == list(lost)
        assert reader.fill_text() == "straight lines"
        joined = np.concatenate([samples[0] for samples in chunks])
        assert len(joined) == len(whole)
        assert np.abs(np.diff(joined)).max() <= 127
    reader.value_ranges()


def test_ranges_of_values_include_the_fillings(content):
    reader, _ = salvaged(content)
    (low, high), (filled_low, filled_high) = reader.value_ranges()
    assert -400 < low < -290
    assert 290 < min(high, filled_high) <= max(high, filled_high) < 400
    assert filled_low == -32768


def test_what_is_filled_is_limited(content):
    with (
        mock.patch.object(salvage_module, "MAX_FILLED_SAMPLES", 3 * CHUNK),
        pytest.raises(LimitExceededError, match="more than 768 samples are lost"),
    ):
        salvaged(content[: spans_of(content, SectionType.CHUNK)[3][0]])


def test_large_files_are_salvaged_in_little_memory(content):
    """Bytes that no section can be told in are read block by block."""
    start, _ = spans_of(content, SectionType.CHUNK)[4]
    noise = np.random.default_rng(0).bytes(1 << 24)
    damaged = content[: start + 20] + noise + content[start + 20 :]
    tracemalloc.start()
    try:
        reader, _ = salvaged(damaged)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lost_of(reader) == [4]
    assert peak < 4 << 20


def test_lengths_that_lead_nowhere_do_not_take_long(content):
    """A file full of section heads: each of them is a place where a section could begin."""
    start, _ = spans_of(content, SectionType.CHUNK)[4]
    damaged = content[: start + 20] + b"\x04\x00\x40\x00\x00" * 200_000 + content[start + 20 :]
    begin = time.process_time()
    reader, _ = salvaged(damaged)
    assert time.process_time() - begin < 20
    assert 4 in lost_of(reader)
