import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from round_trips import BANKS, compressed

import sancodec
from sancodec.codec.container import ContainerReader, ContainerWriter, SectionType, zstd_compress, zstd_decompress
from sancodec.errors import FormatError, ModelMismatchError


@pytest.fixture(scope="module", params=[1, 5, 9])
def small(request):
    """A small container of two chunks, and its samples."""
    rng = np.random.default_rng(3)
    signal = np.stack([np.tile(rng.integers(-9, 10, 10), 820), np.full(8200, 4)]).astype(np.int16)
    signal[0, 8192:] = rng.integers(-50, 50, 8)
    content = compressed(signal, prdn=60, level=request.param, chunk_s=1)
    assert len(content) < 800
    return content, sancodec.decompress(content, models=BANKS)


def assert_refused_or_right(content, samples):
    try:
        decoded = sancodec.decompress(content, models=BANKS)
    except (FormatError, ModelMismatchError):
        return
    np.testing.assert_array_equal(decoded, samples)


def test_every_altered_byte_is_noticed_or_harmless(small):
    content, samples = small
    for position in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            altered = bytearray(content)
            altered[position] ^= change
            assert_refused_or_right(bytes(altered), samples)


def test_a_container_cut_anywhere_is_refused(small):
    content, _ = small
    for length in range(len(content)):
        with pytest.raises(FormatError):
            sancodec.decompress(content[:length], models=BANKS)


def test_a_container_with_bytes_appended_is_refused(small):
    content, _ = small
    for rest in (b"\0", content):
        with pytest.raises(FormatError):
            sancodec.decompress(content + rest, models=BANKS)


def sections_of(content):
    """Kind and payload of every section, the header's out of its frame, and without the index."""
    reader = ContainerReader(io.BytesIO(content))
    section, offset = reader.section_at(12)
    sections = [(section.kind, zstd_decompress(section.payload, limit=10**6, where="header"))]
    while (section := reader.section_at(offset)[0]).kind != SectionType.INDEX:
        sections.append((section.kind, section.payload))
        _, offset = reader.section_at(offset)
    return sections


def container_of(sections):
    file = io.BytesIO()
    writer = ContainerWriter(file)
    for kind, payload in sections:
        writer.section(SectionType(kind), zstd_compress(payload, 3) if kind == SectionType.HEADER else payload)
    writer.finish()
    return file.getvalue()


def test_altered_bytes_under_fresh_checksums_give_an_error_or_the_right_samples(small):
    content, samples = small
    sections = sections_of(content)
    assert_refused_or_right(container_of(sections), samples)
    for index, (kind, payload) in enumerate(sections):
        for position in range(len(payload)):
            for change in (0x01, 0xFF):
                altered = bytearray(payload)
                altered[position] ^= change
                content = container_of([*sections[:index], (kind, bytes(altered)), *sections[index + 1 :]])
                try:
                    after = sancodec.decompress_recording(content, models=BANKS)
                except (FormatError, ModelMismatchError):
                    continue
                for one, other in zip(after.samples, samples, strict=True):
                    np.testing.assert_array_equal(one, other)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_random_payloads_under_fresh_checksums_give_an_error(small, data):
    content, samples = small
    sections = sections_of(content)
    index = data.draw(st.integers(0, len(sections) - 1))
    kind, payload = sections[index]
    start = data.draw(st.integers(0, len(payload)))
    altered = payload[:start] + data.draw(st.binary(max_size=60)) + payload[start + data.draw(st.integers(0, 60)) :]
    content = container_of([*sections[:index], (kind, altered), *sections[index + 1 :]])
    try:
        after = sancodec.decompress_recording(content, models=BANKS)
    except (FormatError, ModelMismatchError):
        return
    for one, other in zip(after.samples, samples, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(content):
    for start in (b"", b"\x89SAN\r\n\x1a\n", b"\x89SAN\r\n\x1a\n\1\0\0\0"):
        with pytest.raises(FormatError):
            sancodec.decompress(start + content)


def test_missing_doubled_and_reordered_sections_are_refused(small):
    header, coding, *chunks = sections_of(small[0])
    for sections in (
        [coding, *chunks],
        [header, header, coding, *chunks],
        [header, coding, coding, *chunks],
        [coding, header, *chunks],
        [header, coding, *chunks[:-1]],
        [header, coding],
        [header, coding, *chunks, chunks[-1]],
    ):
        with pytest.raises(FormatError):
            sancodec.decompress(container_of(sections), models=BANKS)
    without_coding = container_of([header, coding, *chunks]).replace(section_bytes_of(*coding), b"")
    with pytest.raises(FormatError):
        sancodec.decompress(without_coding, models=BANKS)


def section_bytes_of(kind, payload):
    head = struct.pack("<BI", kind, len(payload))
    return head + payload + struct.pack("<I", zlib.crc32(head + payload))


def test_chunks_in_another_order_are_refused():
    signal = np.random.default_rng(4).integers(-50, 50, 3 * 8192)
    header, coding, first, second, third = sections_of(compressed(signal, level=1, chunk_s=1))
    with pytest.raises(FormatError):
        sancodec.decompress(container_of([header, coding, second, first, third]), models=BANKS)


def test_a_wrong_digest_is_never_returned_as_samples(small):
    sections = sections_of(small[0])
    kind, payload = sections[-1]
    (digest,) = struct.unpack_from("<I", payload)
    sections[-1] = (kind, struct.pack("<I", digest ^ 1) + payload[4:])
    with pytest.raises(FormatError, match="chunk 1: its samples do not match their digest"):
        sancodec.decompress(container_of(sections), models=BANKS)
