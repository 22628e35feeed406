"""How golden files are changed into those that every reader refuses, and into some that every reader accepts."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

Sections = list[tuple[int, bytes]]
Change = Callable[[bytes], bytes]
HEADER, MODEL, CODING, CHUNK, INDEX = 1, 2, 3, 4, 5


def varint(value: int) -> bytes:
    result = b""
    while value >= 128:
        result += bytes([value & 127 | 128])
        value >>= 7
    return result + bytes([value])


def split(blob: bytes) -> Sections:
    """All sections but INDEX."""
    offset, found = 12, []
    while offset < len(blob) - 12:
        kind, length = struct.unpack_from("<BI", blob, offset)
        found.append((kind, blob[offset + 5 : offset + 5 + length]))
        offset += 9 + length
    return [section for section in found if section[0] != INDEX]


def joined(sections: Sections) -> bytes:
    """A file with a fitting index."""
    content, segments, first = b"\x89SAN\r\n\x1a\n\1\0\0\0", [], 0
    for kind, payload in sections:
        if kind == CODING:
            first = first or len(content)
            segments.append([])
        if kind in (CODING, CHUNK) and segments:
            segments[-1].append(len(payload) + 9)
        content += framed(kind, payload)
    index = varint(first) + varint(len(segments))
    for coding, *chunks in segments:
        index += varint(coding) + varint(len(chunks)) + b"".join(map(varint, chunks))
    return content + framed(INDEX, index) + struct.pack("<Q4s", len(content), b"SANe")


def framed(kind: int, payload: bytes) -> bytes:
    head = struct.pack("<BI", kind, len(payload)) + payload
    return head + struct.pack("<I", zlib.crc32(head))


def of_sections(change: Callable[[Sections], Sections]) -> Change:
    return lambda blob: joined(change(split(blob)))


def of_header(change: Callable[[bytes], bytes]) -> Change:
    """Change the content of HEADER."""

    def changed(sections: Sections) -> Sections:
        content = change(zstandard.decompress(sections[0][1]))
        return [(HEADER, zstandard.ZstdCompressor(19).compress(content)), *sections[1:]]

    return of_sections(changed)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    if content.count(old) != 1:
        raise ValueError(f"{old!r} is there {content.count(old)} times")
    return content.replace(old, new)


def flipped(kind: int, position: int, number: int = 0) -> Change:
    """One bit of a section's payload, its CRC made right."""

    def change(sections: Sections) -> Sections:
        index = [i for i, (each, _) in enumerate(sections) if each == kind][number]
        content = bytearray(sections[index][1])
        content[position] ^= 1
        return [*sections[:index], (kind, bytes(content)), *sections[index + 1 :]]

    return of_sections(change)


def inserted(before: int, kind: int, payload: bytes) -> Change:
    def change(sections: Sections) -> Sections:
        index = next((i for i, (each, _) in enumerate(sections) if each == before), len(sections))
        return [*sections[:index], (kind, payload), *sections[index:]]

    return of_sections(change)


def swapped(sections: Sections) -> Sections:
    """The first two segments in turn."""
    first, second, third = (index for index, (kind, _) in enumerate(sections) if kind == CODING)
    return [*sections[:first], *sections[second:third], *sections[first:second], *sections[third:]]


def with_coder_3(sections: Sections) -> Sections:
    """The first Rice list of CODING is 0, 1 and the coder, whose quotient is a bit 0; 1110 stands for 3."""
    kind, payload = sections[1]
    bits = "".join(f"{byte:08b}" for byte in payload)
    if kind != CODING or not bits.startswith("00000" + "0" + "10" + "0"):
        raise ValueError(f"CODING begins with {bits[:9]}")
    bits = bits[:8] + "1110" + bits[9:]
    bits += "0" * (-len(bits) % 8)
    return [sections[0], (kind, int(bits, 2).to_bytes(len(bits) // 8, "big")), *sections[2:]]


def with_model(sections: Sections, model: bytes) -> Sections:
    """Another model under the name of its SHA-256."""
    header = zstandard.decompress(sections[0][1])
    digest = hashlib.sha256(sections[1][1]).digest()
    header = replaced(header, digest, hashlib.sha256(model).digest())
    return [(HEADER, zstandard.ZstdCompressor(19).compress(header)), (MODEL, model), *sections[2:]]


@dataclass(frozen=True)
class Refusal:
    """A change to a golden file, the error it must lead to, and what the message must tell."""

    of: str
    change: Change
    error: str
    message: str


EXACT = b"\1\2" + bytes(8)  # one promise, of kind 2, 0.0
BOMB = bytes.fromhex("28b52ffde0") + struct.pack("<Q", 2**40) + bytes.fromhex("010000")
ONE, FEW, ECG, LONG, OWN = (
    "one_sample",
    "constant",
    "ecg_lossless_level_5",
    "segments_prdn_level_5",
    "embedded_prdn_level_1",
)
CORRUPT, CUT, NEW, LIMIT = "CorruptError", "TruncatedError", "UnsupportedVersionError", "LimitExceededError"

REFUSED = {
    "empty": Refusal(ONE, lambda blob: b"", CORRUPT, "empty"),
    "another_kind_of_file": Refusal(ONE, lambda blob: b"\x89PNG\r\n\x1a\n" + blob[8:], CORRUPT, "not a .san file"),
    "text_mode_lf": Refusal(ONE, lambda blob: blob.replace(b"\r\n", b"\n"), CORRUPT, "text mode"),
    "text_mode_cr_lf": Refusal(ONE, lambda blob: blob.replace(b"\n", b"\r\n"), CORRUPT, "text mode"),
    "seven_bits": Refusal(ONE, lambda blob: bytes(byte & 127 for byte in blob), CORRUPT, "text mode"),
    "version_0": Refusal(ONE, lambda blob: blob[:8] + b"\0" + blob[9:], NEW, "format version 0"),
    "version_2": Refusal(ONE, lambda blob: blob[:8] + b"\2" + blob[9:], NEW, "format version 2"),
    "flag_set": Refusal(ONE, lambda blob: blob[:10] + b"\1" + blob[11:], NEW, "flags 0x1"),
    "signature_alone": Refusal(ONE, lambda blob: blob[:12], CUT, "ends"),
    "cut_in_header": Refusal(ONE, lambda blob: blob[:40], CUT, "section HEADER"),
    "cut_in_chunk": Refusal(ECG, lambda blob: blob[: len(blob) // 2], CUT, ""),
    "cut_before_index": Refusal(FEW, lambda blob: blob[:-40], CUT, ""),
    "cut_trailer": Refusal(FEW, lambda blob: blob[:-1], CUT, "trailer"),
    "byte_appended": Refusal(FEW, lambda blob: blob + b"\0", CUT, "more was appended"),
    "two_files": Refusal(FEW, lambda blob: blob + blob, CORRUPT, ""),
    "crc_of_header": Refusal(FEW, lambda blob: blob[:30] + bytes([blob[30] ^ 1]) + blob[31:], CORRUPT, "checksum"),
    "crc_of_chunk": Refusal(ECG, lambda blob: blob[:-100] + bytes([blob[-100] ^ 1]) + blob[-99:], CORRUPT, "checksum"),
    "digest": Refusal(ECG, flipped(CHUNK, 0), CORRUPT, "digest"),
    "unknown_section": Refusal(FEW, inserted(CODING, 7, b"?"), CORRUPT, "unknown type 7"),
    "two_headers": Refusal(FEW, lambda blob: inserted(CODING, HEADER, split(blob)[0][1])(blob), CORRUPT, "HEADER"),
    "no_header": Refusal(FEW, of_sections(lambda sections: sections[1:]), CORRUPT, "HEADER"),
    "ancillary_within_a_segment": Refusal(FEW, inserted(CHUNK, 200, b"?"), CORRUPT, ""),
    "chunk_missing": Refusal(LONG, of_sections(lambda sections: sections[:-1]), CUT, "chunk 4 of 5 is missing"),
    "chunk_twice": Refusal(LONG, of_sections(lambda sections: [*sections, sections[-1]]), CORRUPT, ""),
    "segments_swapped": Refusal(LONG, of_sections(swapped), CORRUPT, "chunk 0 is next"),
    "index_of_other_lengths": Refusal(FEW, lambda blob: blob[:-17] + bytes([1]) + blob[-16:], CORRUPT, ""),
    "unknown_source": Refusal(FEW, of_header(lambda c: replaced(c, b"array:i2:2", b"edfplus:10")), NEW, "edfplus"),
    "source_of_no_type": Refusal(
        FEW, of_header(lambda c: replaced(c, b"array:i2:2", b"array:f8:2")), NEW, "array:f8:2"
    ),
    "header_bomb": Refusal(FEW, of_sections(lambda s: [(HEADER, BOMB), *s[1:]]), LIMIT, "1099511627776 bytes"),
    "frames_2_to_the_41": Refusal(
        FEW, of_header(lambda c: replaced(c, b"\xe8\2\1F\x46", b"\xe8\2\1" + varint(2**41) + b"F")), LIMIT, "frames"
    ),
    "promise_not_a_number": Refusal(
        ONE, of_header(lambda c: c.replace(EXACT, b"\1\2" + struct.pack("<d", float("nan")), 1)), CORRUPT, "finite"
    ),
    "bytes_after_header": Refusal(FEW, of_header(lambda content: content + b"\0"), CORRUPT, "1 bytes follow"),
    "unknown_coder": Refusal(FEW, of_sections(with_coder_3), NEW, "coder: 3"),
    "unknown_model": Refusal(OWN, of_sections(lambda s: with_model(s, b"?")[:1] + s[1:]), "ModelMismatchError", ""),
    "model_cut": Refusal(OWN, of_sections(lambda s: with_model(s, s[1][1][:-1])), CUT, "model"),
    "model_version_2": Refusal(
        OWN, of_sections(lambda s: with_model(s, s[1][1][:4] + b"\2" + s[1][1][5:])), NEW, "version 2"
    ),
}

# Name, what it was made from, and the change; the samples are the same.
ACCEPTED = {
    "unknown_promise_kind": (ONE, of_header(lambda c: c.replace(EXACT, b"\1\x4d" + struct.pack("<d", -1.5)))),
    "unknown_ancillary_sections": (ECG, lambda blob: inserted(INDEX, 255, b"")(inserted(CODING, 128, b"?" * 99)(blob))),
    "numbers_of_more_bytes_than_needed": (FEW, of_header(lambda c: replaced(c, b"\xe8\2\1", b"\xe8\x82\0\x81\0"))),
}
