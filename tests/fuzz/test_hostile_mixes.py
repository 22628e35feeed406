"""Mixed lead groups and kernels of wavelet coefficients that are made to mislead."""

import io
import random
from dataclasses import replace

import numpy as np
import pytest
from hostile_parts import ENGINE, chunk_of, coding_of, container_of, header_of, measured, refused_by_both, wide_bank

from sancodec.codec.beats import BeatKernels
from sancodec.codec.bits import BitReader, BitWriter
from sancodec.codec.coding_section import decode_coding
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernel_wavelet import KernelCoefficients
from sancodec.codec.mix import read_mix
from sancodec.codec.quantiser import Step
from sancodec.codec.synthesis import ChannelCoding
from sancodec.errors import FormatError, LimitExceededError
from tests.mixed_files import mixed_file

BANK = wide_bank(stride=2, n_kernels=1)


@pytest.mark.parametrize("level", [1, 5, 9])
def test_mutations_with_right_checksums_give_samples_or_a_format_error(level):
    content = mixed_file(level=level, seed=level)
    reader = RecordingReader(io.BytesIO(content), engine=ENGINE)
    sections = [reader.container.section_at(offset)[0] for offset in _offsets(reader)]
    rng, n_refused = random.Random(level), 0
    for _ in range(60):
        file = io.BytesIO()
        writer = ContainerWriter(file)
        damaged = rng.choice([each for each in sections if each.kind in (SectionType.CODING, SectionType.CHUNK)])
        for section in sections:
            payload = bytearray(section.payload)
            if section is damaged:
                # The head of CODING says the mix, its rest the profiles.
                payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
            writer.section(section.kind, bytes(payload))
        writer.finish()
        with measured(256):
            try:
                RecordingReader(io.BytesIO(file.getvalue()), engine=ENGINE).read()
            except FormatError:
                n_refused += 1
    assert n_refused > 50


def _offsets(reader):
    (place,) = reader.segments
    return [section.offset for section in reader.container.leading_sections()[0]] + list(place.chunks)


def test_a_mix_that_declares_more_than_it_has_is_refused_at_once():
    for content in (b"\xff" * 4, b"\x80" + bytes(40), b"\x80"):
        with measured(32, 2), pytest.raises(FormatError):
            read_mix(BitReader.from_bytes(content, "mix"), 4096, 256)
    with measured(1, 1), pytest.raises(LimitExceededError, match="4096 channels of 4096 components"):
        read_mix(BitReader.from_bytes(b"\x80", "mix"), 4096, 4096)


def test_kernels_that_declare_more_than_they_have_are_refused_at_once():
    kernels = BeatKernels.of(KernelCoefficients(4095, np.zeros((64, 8192), np.int64)), 0)
    coding = ChannelCoding(0, -9, 9, 0, BANK, Step(2048, 0), kernels=kernels)
    kind, content = coding_of([coding], models=(BANK,))
    header = header_of(models=(BANK,))
    # The head says no beat kernels of any length, so that the section is refused where they begin.
    refused_by_both(
        container_of(header, (SectionType.MODEL, BANK.content), (kind, content), chunk_of(1)), "64 beat kernels of 0"
    )


def test_any_bits_behind_the_channels_give_a_mix_or_a_format_error():
    codings = [replace(ChannelCoding(0, -9, 9, 0), model=BANK if index == 2 else None) for index in range(5)]
    _, content = coding_of(codings, models=(BANK,))
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    used = len(bits) - 8  # what the padding hides is a bit of the mix, too
    rng = np.random.default_rng(0)
    n_read = 0
    for _ in range(300):
        writer = BitWriter()
        writer.bits(bits[:used])
        n_bits = int(rng.integers(1, 90))
        writer.bits((rng.random(n_bits) < rng.random()).astype(np.uint8))
        try:
            decode_coding(writer.tobytes(), header_of(5, models=(BANK,)), (BANK,))
            n_read += 1
        except FormatError:
            continue
    assert n_read < 300
