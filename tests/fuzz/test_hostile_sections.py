"""An index, models and names that are made to mislead; and what of them reaches the file system."""

import io
import json
import struct
import zlib
from dataclasses import replace

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
    wide_bank,
)

from sancodec.codec import payload
from sancodec.codec.container import ContainerWriter, SectionType, encode_varints
from sancodec.codec.contexts import ContextModel
from sancodec.codec.header import decode_header, encode_header
from sancodec.codec.kernels import decode_model
from sancodec.codec.recording import Channel, SideFile
from sancodec.codec.salvage import salvage
from sancodec.datasets.arrays import CsvWriter
from sancodec.datasets.wfdb_writer import WfdbWriter
from sancodec.errors import CorruptError, FormatError, InvalidSignalError, LimitExceededError

# Index and models


def indexed(header, numbers):
    """A file of one constant chunk with an index of one's own."""
    content = container_of(header, coding_of([CONSTANT]), chunk_of(1))
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
    place = content.index(chunk_of(1)[1])
    content[place : place + 4] = struct.pack("<I", digest)
    head = bytes(content[place - 5 : place + len(chunk_of(1)[1])])
    crc = zlib.crc32(head)
    content[place + len(chunk_of(1)[1]) : place + len(chunk_of(1)[1]) + 4] = struct.pack("<I", crc)
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


def test_json_of_a_model_can_be_anything_else():
    metadata = json.dumps({"name": "\x1b[31m"}).encode()
    bank = wide_bank(stride=2, n_kernels=1)
    rest = bank.content[12 + struct.unpack_from("<I", bank.content, 8)[0] :]
    assert decode_model(bank.content[:8] + struct.pack("<I", len(metadata)) + metadata + rest).name == "\x1b[31m"
    assert isinstance(bank.contexts, ContextModel)
