import io
import struct
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.container import (
    MAX_SECTION_BYTES,
    SIGNATURE,
    ContainerReader,
    ContainerWriter,
    SectionType,
    SegmentLengths,
    SegmentPlace,
    decode_index,
    decode_varint,
    encode_index,
    encode_varints,
    zstd_compress,
    zstd_decompress,
)
from sancodec.errors import (
    CorruptError,
    FormatError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)

CHUNKS = [b"first chunk", b"", b"third"]


def write_sections(writer):
    """Three chunks in two segments."""
    writer.section(SectionType.HEADER, b"header")
    writer.section(SectionType.CODING, b"coding")
    writer.section(SectionType.CHUNK, CHUNKS[0])
    writer.section(SectionType.CODING, b"other")
    writer.section(SectionType.CHUNK, CHUNKS[1])
    writer.section(SectionType.CHUNK, CHUNKS[2])
    return writer.finish()


def small_file():
    file = io.BytesIO()
    assert write_sections(ContainerWriter(file)) == len(file.getvalue())
    return file.getvalue()


def segments_of(content, n_chunks=3):
    """A reader, where its first CODING is, and its segments."""
    reader = ContainerReader(io.BytesIO(content))
    leading, _ = reader.leading_sections()
    return reader, leading[-1].offset, reader.segments(leading[-1].offset, n_chunks)


def everything(content, n_chunks=3):
    """Payloads of HEADER, of each segment's CODING, and of its chunks; the file's end checked."""
    reader, first, segments = segments_of(content, n_chunks)
    reader.check_end(first, n_chunks)

    def payload_at(offset, kind):
        section, _ = reader.section_at(offset)
        assert section.kind == kind
        return section.payload

    header = reader.leading_sections()[0][0].payload
    return header, [
        (
            payload_at(place.coding, SectionType.CODING),
            place.first_chunk,
            [payload_at(offset, SectionType.CHUNK) for offset in place.chunks],
        )
        for place in segments
    ]


def test_sections_come_back_in_order():
    assert everything(small_file()) == (b"header", [(b"coding", 0, CHUNKS[:1]), (b"other", 1, CHUNKS[1:])])


@pytest.mark.parametrize(
    ("n_chunks", "message"),
    [(1, "2 segments of 1 chunks"), (2, "segment of 2 chunks; 1 are left"), (4, "3 chunks; the header promises 4")],
)
def test_a_file_of_another_number_of_chunks_than_promised_is_refused(n_chunks, message):
    with pytest.raises(CorruptError, match=message):
        everything(small_file(), n_chunks)


def test_a_file_is_written_without_seeking():
    class Pipe(io.RawIOBase):
        written = b""

        def write(self, content):
            self.written += bytes(content)
            return len(content)

        def seek(self, *arguments):
            raise AssertionError("a pipe cannot seek")

    pipe = Pipe()
    write_sections(ContainerWriter(pipe))
    assert pipe.written == small_file()


def test_a_file_cut_anywhere_is_refused():
    content = small_file()
    for length in range(len(content)):
        with pytest.raises(FormatError):
            everything(content[:length])


def test_a_file_with_bytes_appended_is_refused():
    with pytest.raises(TruncatedError, match="more was appended"):
        everything(small_file() + b"\0")
    for rest in (b"SANe", small_file()[-12:], small_file()):
        with pytest.raises(FormatError):
            everything(small_file() + rest)


def test_every_altered_byte_is_noticed():
    content = small_file()
    for position in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            with pytest.raises(FormatError):
                everything(bytes(altered))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b"\r\n", b"\n"),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\r", b""),
        lambda content: bytes(byte & 0x7F for byte in content),
    ],
    ids=["CR LF to LF", "LF to CR LF", "CR dropped", "7 bits"],
)
def test_damage_by_a_transfer_in_text_mode_is_named(damage):
    with pytest.raises(CorruptError, match="text mode"):
        ContainerReader(io.BytesIO(damage(small_file())))


def test_an_empty_file_is_named():
    with pytest.raises(CorruptError, match="empty"):
        ContainerReader(io.BytesIO(b""))


def test_another_kind_of_file_is_named():
    with pytest.raises(CorruptError, match=r"not a \.san file"):
        ContainerReader(io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(100)))


@pytest.mark.parametrize(("version", "flags"), [(2, 0), (0, 0), (65535, 0), (1, 1)])
def test_an_unknown_version_or_flag_asks_for_a_newer_release(version, flags):
    content = SIGNATURE + struct.pack("<HH", version, flags) + small_file()[12:]
    with pytest.raises(UnsupportedVersionError, match="newer sancodec"):
        ContainerReader(io.BytesIO(content))


def test_a_section_that_claims_too_much_is_refused_before_it_is_read():
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size=-1):
            self.largest = max(self.largest, size)
            return super().read(size)

    for length, error in [(MAX_SECTION_BYTES + 1, LimitExceededError), (MAX_SECTION_BYTES, TruncatedError)]:
        file = Counting(SIGNATURE + struct.pack("<HHBI", 1, 0, SectionType.HEADER, length) + bytes(50))
        reader = ContainerReader(file)
        with pytest.raises(error, match="section HEADER at byte 12"):
            reader.leading_sections()
        assert file.largest < 100


def test_a_damaged_section_is_named_with_its_place():
    content = small_file()
    place = content.index(b"third")
    altered = content[:place] + b"THIRD" + content[place + 5 :]
    reader = ContainerReader(io.BytesIO(altered))
    with pytest.raises(CorruptError, match=f"section CHUNK at byte {place - 5}: checksum"):
        reader.section_at(place - 5)


def test_segments_are_found_by_walking_when_the_index_is_damaged():
    content = small_file()
    _, first, expected = segments_of(content)
    index = struct.unpack("<Q", content[-12:-4])[0]
    for position in range(index, len(content)):
        altered = bytearray(content)
        altered[position] ^= 0x55
        reader, _, found = segments_of(bytes(altered))
        assert found == expected
        with pytest.raises(FormatError):
            reader.check_end(first, 3)
    for length in range(index, len(content)):
        assert segments_of(content[:length])[2] == expected


def test_a_file_cut_within_a_chunk_has_the_chunks_before():
    content = small_file()
    _, _, (one, two) = segments_of(content)
    assert segments_of(content[: two.chunks[1] + 3])[2] == [one, SegmentPlace(two.coding, 1, two.chunks[:1])]
    assert segments_of(content[: two.chunks[0] - 1])[2] == [one]


def test_chunks_and_segments_after_damaged_ones_are_still_found():
    content = bytearray(small_file())
    content[content.index(b"first")] ^= 1
    content[content.index(b"other")] ^= 1
    reader, _, (one, two) = segments_of(bytes(content))
    for damaged in (one.chunks[0], two.coding):
        with pytest.raises(CorruptError):
            reader.section_at(damaged)
    assert [reader.section_at(offset)[0].payload for offset in two.chunks] == CHUNKS[1:]


def test_bytes_between_the_last_chunk_and_the_index_are_refused():
    content = small_file()
    index = struct.unpack("<Q", content[-12:-4])[0]
    altered = content[:index] + b"gap" + content[index:-12] + struct.pack("<Q", index + 3) + content[-4:]
    with pytest.raises(FormatError):
        everything(altered)


@pytest.mark.parametrize(
    "index",
    [
        *(encode_varints([first, 2, 15, 1, 20, 14, 2, 9, 14]) for first in (26, 28, 10**6, 2**62)),
        encode_varints([27, 2, 15, 1, 2**62, 14, 2, 9, 14]),
        encode_varints([27, 2, 15, 1, 20, 14, 2, 9, 13]),
        encode_varints([27, 2, 15, 1, 20, 14, 2, 9, 15]),
        encode_varints([27, 2, 16, 1, 19, 14, 2, 9, 14]),
        encode_varints([27, 2, 15, 2, 20, 14, 1, 9, 14]),
        encode_varints([27, 1, 15, 3, 20, 23, 14]),
        encode_varints([27, 3, 15, 1, 20, 14, 1, 9, 14, 0]),
        encode_varints([27, 2, 15, 1, 20, 14, 2, 9, 14, 0]),
        encode_varints([27, 0]),
        encode_varints([27]),
        b"",
        b"\xff" * 9,
        b"\x80",
    ],
)
def test_an_index_that_makes_no_sense_is_refused(index):
    content = small_file()
    place = struct.unpack("<Q", content[-12:-4])[0]
    head = struct.pack("<BI", SectionType.INDEX, len(index))
    section = head + index + struct.pack("<I", zlib.crc32(index, zlib.crc32(head)))
    reader, first, _ = segments_of(content[:place] + section + content[-12:])
    with pytest.raises(FormatError):
        reader.check_end(first, 3)


def test_the_indexes_refused_above_differ_from_the_right_one():
    content = small_file()
    assert encode_varints([27, 2, 15, 1, 20, 14, 2, 9, 14]) in content


lengths = st.integers(0, 2**40)


@given(lengths, st.lists(st.builds(SegmentLengths, lengths, st.lists(lengths, min_size=1, max_size=5)), min_size=1))
def test_an_index_comes_back_as_places_and_the_end(first, segments):
    n_chunks = sum(len(segment.chunks) for segment in segments)
    places, end = decode_index(encode_index(first, segments), n_chunks=n_chunks)
    offset, chunk = first, 0
    for place, segment in zip(places, segments, strict=True):
        assert (place.coding, place.first_chunk) == (offset, chunk)
        offset += segment.coding
        for found, length in zip(place.chunks, segment.chunks, strict=True):
            assert found == offset
            offset += length
        chunk += len(segment.chunks)
    assert end == offset


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_varints_come_back(values):
    content, position, after = encode_varints(values), 0, []
    while position < len(content):
        value, position = decode_varint(content, position, "list")
        after.append(value)
    assert after == values


def test_a_varint_that_is_cut_or_too_long_is_refused():
    with pytest.raises(TruncatedError):
        decode_varint(b"\x80\x80", 0, "number")
    with pytest.raises(CorruptError, match="longer than 9 bytes"):
        decode_varint(b"\x80" * 9 + b"\x01", 0, "number")


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_any_bytes_after_the_signature_give_sections_or_a_format_error(content):
    try:
        everything(SIGNATURE + b"\x01\0\0\0" + content)
    except FormatError:
        return


@given(st.binary(min_size=1, max_size=500), st.sampled_from([1, 3, 19]))
def test_zstd_frames_come_back(content, level):
    frame = zstd_compress(content, level)
    assert zstd_decompress(frame, limit=len(content), where="field") == content


def test_a_frame_without_its_size_is_refused():
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
    with pytest.raises(CorruptError, match="states no size"):
        zstd_decompress(frame, limit=10**6, where="field")


def test_a_frame_that_holds_more_than_allowed_is_refused():
    with pytest.raises(LimitExceededError, match="holds 1000 bytes; at most 999"):
        zstd_decompress(zstd_compress(bytes(1000), 3), limit=999, where="field")


def test_a_frame_that_claims_more_than_it_holds_is_refused():
    frame = bytearray(zstd_compress(bytes(200), 3))
    assert frame[4:6] == bytes([0x20, 200])  # a single segment, its size in one byte
    frame[5] = 250
    with pytest.raises(CorruptError, match="damaged"):
        zstd_decompress(bytes(frame), limit=1000, where="field")
    huge = bytes(frame[:4]) + bytes([0xE0]) + struct.pack("<Q", 2**50) + bytes(frame[6:])
    with pytest.raises(LimitExceededError):
        zstd_decompress(huge, limit=2**30, where="field")


def test_a_frame_that_holds_more_than_it_claims_is_refused():
    frame = bytearray(zstd_compress(bytes(200), 3))
    frame[5] = 100
    with pytest.raises(CorruptError):
        zstd_decompress(bytes(frame), limit=1000, where="field")


@pytest.mark.parametrize("rest", [b"\0", b"junk", zstd_compress(b"more", 3)])
def test_bytes_after_a_frame_are_refused(rest):
    with pytest.raises(CorruptError, match="damaged"):
        zstd_decompress(zstd_compress(b"content", 3) + rest, limit=1000, where="field")


def test_bytes_after_an_empty_frame_are_refused():
    with pytest.raises(CorruptError):
        zstd_decompress(zstd_compress(b"", 3) + b"junk", limit=1000, where="field")


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_give_content_or_a_format_error(content, with_magic):
    try:
        result = zstd_decompress((b"\x28\xb5\x2f\xfd" if with_magic else b"") + content, limit=1000, where="field")
    except FormatError:
        return
    assert len(result) <= 1000


def test_images_stand_where_the_header_would_and_nowhere_else() -> None:
    file = io.BytesIO()
    writer = ContainerWriter(file)
    for kind in (SectionType.HEADER, SectionType.IMAGES, SectionType.CODING):
        writer.section(kind, b"")
    with pytest.raises(CorruptError, match=r"IMAGES at byte .* before CODING"):
        ContainerReader(file).leading_sections()
