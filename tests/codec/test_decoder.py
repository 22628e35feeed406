import io
from dataclasses import replace

import numpy as np
import pytest
from neutral_banks import BANKS

from sancodec.api import compress
from sancodec.codec import payload
from sancodec.codec.coding_section import decode_coding, encode_coding
from sancodec.codec.container import ContainerReader, ContainerWriter, SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.header import decode_header
from sancodec.codec.rans import EncodedStream
from sancodec.codec.synthesis import NumpyEngine
from sancodec.errors import CorruptError, FormatError, TruncatedError

CHUNK = 8192


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=NumpyEngine(), models=BANKS)


@pytest.fixture(scope="module", params=[1, 5, 9])
def content(request):
    """Two channels in three chunks of 8192 samples and a shorter one."""
    rng = np.random.default_rng(0)
    signal = rng.integers(-50, 50, (2, 3 * CHUNK + 100))
    return compress(signal, sampling_rate_hz=100, prdn=20, level=request.param, chunk_s=1, models=BANKS)


@pytest.fixture(scope="module")
def samples(content):
    return np.stack(reader_of(content).read().samples)


def chunk_offsets(content):
    return [offset for place in reader_of(content).segments for offset in place.chunks]


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 3), (2, 4), (3, 4), (0, 4), (2, 2)])
def test_some_chunks_decode_to_the_samples_they_have_in_the_whole(content, samples, first, last):
    for index, decoded in reader_of(content).chunks(first, last):
        np.testing.assert_array_equal(np.stack(decoded), samples[:, index * CHUNK : (index + 1) * CHUNK])
    assert [index for index, _ in reader_of(content).chunks(first, last)] == list(range(first, last))


@pytest.mark.parametrize("damaged", range(4))
def test_a_damaged_chunk_costs_that_chunk_and_is_named(content, samples, damaged):
    altered = bytearray(content)
    altered[chunk_offsets(content)[damaged] + 20] ^= 1
    reader = reader_of(bytes(altered))
    for index in range(4):
        if index == damaged:
            with pytest.raises(CorruptError, match=f"chunk {damaged}"):
                list(reader.chunks(index, index + 1))
        else:
            ((_, decoded),) = reader.chunks(index, index + 1)
            np.testing.assert_array_equal(np.stack(decoded), samples[:, index * CHUNK : (index + 1) * CHUNK])


def test_a_file_cut_short_decodes_up_to_the_cut(content, samples):
    cut = content[: chunk_offsets(content)[2] + 30]
    decoded = [np.stack(each) for _, each in reader_of(cut).chunks(0, 2)]
    np.testing.assert_array_equal(np.concatenate(decoded, axis=1), samples[:, : 2 * CHUNK])
    with pytest.raises(TruncatedError, match=r"chunk 2"):
        list(reader_of(cut).chunks(0, 4))
    with pytest.raises(FormatError):
        reader_of(cut).read()


def test_a_damaged_index_costs_no_samples_but_is_noticed(content, samples):
    altered = bytearray(content)
    altered[-20] ^= 1
    decoded = [np.stack(each) for _, each in reader_of(bytes(altered)).chunks(0, 4)]
    np.testing.assert_array_equal(np.concatenate(decoded, axis=1), samples)
    with pytest.raises(FormatError):
        reader_of(bytes(altered)).check_end()
    with pytest.raises(FormatError):
        reader_of(bytes(altered)).read()


def test_progress_reaches_one(content):
    fractions = []
    reader_of(content).read(fractions.append)
    assert fractions == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("silent", [[0], [1], [0, 1]], ids=str)
def test_channels_without_lanes_give_samples_or_a_format_error(silent):
    signal = np.random.default_rng(1).integers(-50, 50, (2, 3000))
    content = compress(signal, sampling_rate_hz=100, prdn=20, level=5, models=BANKS[:1])
    reader = ContainerReader(io.BytesIO(content))
    (header_section, coding_section), first = reader.leading_sections()
    header = decode_header(header_section.payload)
    models = BANKS[:1]
    coding = decode_coding(coding_section.payload, header, models)
    codings = list(coding.codings)
    fields = payload.split_fields(reader.section_at(first)[0].payload, "chunk 0", has_residuals=False)
    streams = payload.decode_class_coefficients(fields.coefficients, 2, "chunk 0")
    for channel in silent:
        profile = codings[channel].profile
        codings[channel] = replace(
            codings[channel], profile=replace(profile, scale_codes=np.zeros_like(profile.scale_codes))
        )
        streams[channel] = EncodedStream(np.zeros(0, np.uint32), np.zeros(0, np.uint16))
    file = io.BytesIO()
    writer = ContainerWriter(file)
    writer.section(SectionType.HEADER, header_section.payload)
    writer.section(SectionType.CODING, encode_coding(replace(coding, codings=codings), models=models))
    altered = replace(fields, coefficients=payload.encode_class_coefficients(streams))
    writer.section(SectionType.CHUNK, payload.join_fields(altered))
    writer.finish()
    with pytest.raises(FormatError):
        reader_of(file.getvalue()).read()
