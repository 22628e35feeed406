"""Ways to damage a container: of its bytes, and of its payloads under fresh checksums and digests."""

from __future__ import annotations

import hashlib
import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from corpus import BANKS, ENGINE

from sancodec.codec import payload
from sancodec.codec.container import (
    ContainerReader,
    ContainerWriter,
    SectionType,
    decode_varint,
    encode_varints,
    zstd_compress,
    zstd_decompress,
)
from sancodec.codec.header import decode_header
from sancodec.codec.kernels import decode_model
from sancodec.codec.models import model_by_sha256
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.errors import SancodecError

Sections = list[tuple[int, bytes]]
MAX_CONTENT = 1 << 22
_HUGE = (0, 1, 127, 128, 2**16, 2**24, 2**28 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Mutated:
    """A damaged container.

    Parameters
    ----------
    kind
        How it was damaged.
    is_digest_fresh
        Whether digests were made anew, so that any samples are right.
    """

    kind: str
    content: bytes
    is_digest_fresh: bool = False


def mutated(content: bytes, sections: Sections, rng: random.Random) -> Mutated:
    """Damage a container in one way; ``sections`` are those of `sections_of`."""
    if rng.random() < 0.4:
        kind, change = rng.choice(BYTE_MUTATIONS)
        return Mutated(kind, change(content, rng))
    is_fresh = rng.random() < 0.6
    changed = list(sections)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        index = rng.randrange(len(changed))
        kind, change = rng.choice(PAYLOAD_MUTATIONS)
        changed[index] = (changed[index][0], inside(*changed[index], lambda part, c=change: c(part, rng), rng))
    if rng.random() < 0.05:
        kind, changed = "sections in another order", rng.sample(changed, len(changed))
    if is_fresh:
        changed = with_fresh_digests(changed)
    return Mutated(f"{kind}, {'fresh digests' if is_fresh else 'fresh checksums'}", container_of(changed), is_fresh)


def _flip(content: bytes, rng: random.Random) -> bytes:
    altered = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20)) if content else 0):
        altered[rng.randrange(len(altered))] ^= 1 << rng.randrange(8)
    return bytes(altered)


def _change(content: bytes, rng: random.Random) -> bytes:
    altered = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4)) if content else 0):
        altered[rng.randrange(len(altered))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(altered)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 9, 40, 300, 5000)))


def _insert(content: bytes, rng: random.Random) -> bytes:
    start, _ = _span(content, rng)
    return content[:start] + rng.randbytes(rng.choice((1, 2, 4, 9, 40, 300, 5000))) + content[start:]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    place = rng.choice((start, rng.randrange(len(content) + 1)))
    return content[:place] + content[start:end] + content[place:]


def _swap(content: bytes, rng: random.Random) -> bytes:
    points = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    a, b, c, d = points
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _blank(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + bytes([rng.choice((0, 0xFF, rng.randrange(256)))]) * (end - start) + content[end:]


def _huge(content: bytes, rng: random.Random) -> bytes:
    """A number in the place of another."""
    start = rng.randrange(len(content) + 1)
    value = rng.choice(_HUGE)
    number = rng.choice((encode_varints([value]), struct.pack("<I", value & 0xFFFFFFFF)))
    return content[:start] + number + content[start + rng.choice((0, 1, len(number))) :]


def _swap_sections(content: bytes, rng: random.Random) -> bytes:
    """Two whole sections change places, or one comes twice, or one is gone."""
    edges = _edges(content)
    pieces = [content[start:end] for start, end in pairwise(edges)]
    if len(pieces) > 2:
        i, j = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        what = rng.randrange(3)
        if what == 0:
            pieces[i], pieces[j] = pieces[j], pieces[i]
        elif what == 1:
            pieces.insert(i, pieces[j])
        else:
            del pieces[i]
    return content[: edges[0]] + b"".join(pieces) + content[edges[-1] :]


def _edges(content: bytes) -> list[int]:
    reader = ContainerReader(io.BytesIO(content))
    edges = [12]
    while (head := reader.section_head(edges[-1])) is not None and len(edges) < 4096:
        edges.append(head[1])
    return edges


Change = Callable[[bytes, random.Random], bytes]
_COMMON: list[tuple[str, Change]] = [
    ("bits flipped", _flip),
    ("bytes changed", _change),
    ("cut", _cut),
    ("block inserted", _insert),
    ("block removed", _remove),
    ("block duplicated", _duplicate),
    ("blocks swapped", _swap),
    ("block blanked", _blank),
]
BYTE_MUTATIONS = [*_COMMON, ("sections swapped, doubled or dropped", _swap_sections)]
PAYLOAD_MUTATIONS = [*_COMMON, ("numbers replaced", _huge), ("numbers replaced", _huge)]


def sections_of(content: bytes) -> Sections:
    """Kind and payload of every section but INDEX, the header's out of its frame."""
    reader = ContainerReader(io.BytesIO(content))
    sections: Sections = []
    offset = 12
    while True:
        section, offset = reader.section_at(offset)
        if section.kind == SectionType.INDEX:
            return sections
        is_header = section.kind == SectionType.HEADER
        sections.append(
            (section.kind, zstd_decompress(section.payload, limit=1 << 26, where="") if is_header else section.payload)
        )


def container_of(sections: Sections) -> bytes:
    """Frame the sections again, with right lengths, checksums and index."""
    file = io.BytesIO()
    writer = ContainerWriter(file)
    has_coding = False
    for kind, content in sections:
        if kind == SectionType.CHUNK and not has_coding:
            continue  # the writer has no way to index it
        has_coding |= kind == SectionType.CODING
        writer.section(SectionType(kind), zstd_compress(content, 1) if kind == SectionType.HEADER else content)
    writer.finish()
    return file.getvalue()


def inside(kind: int, content: bytes, change: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """Change a payload; that of a chunk in one of its parts, the contents of zstd frames included."""
    if kind != SectionType.CHUNK or rng.random() < 0.2:
        return change(content)
    for has_residuals in (True, False):
        try:
            fields = payload.split_fields(content, "", has_residuals=has_residuals)
        except SancodecError:
            continue
        if has_residuals and not fields.residuals:
            continue
        names = ["events", "raw", "coefficients", *(["residuals"] if has_residuals else [])]
        name = rng.choice(names)
        part = getattr(fields, name)
        within = rng.choice((_in_frames, _in_class_frame, lambda part, change: change(part)))
        try:
            changed = within(part, change)
        except SancodecError:
            changed = change(part)
        return payload.join_fields(replace(fields, **{name: changed}))
    return change(content)


def _in_frames(part: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Coder 0: change what the first zstd frame holds."""
    length, position = decode_varint(part, 1, "")
    content = zstd_decompress(part[position : position + length], limit=MAX_CONTENT, where="")
    frame = zstd_compress(change(content), 1)
    return part[:1] + encode_varints([len(frame)]) + frame + part[position + length :]


def _in_class_frame(part: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Coder 1: change the block classes of the residuals."""
    length, position = decode_varint(part, 0, "")
    content = zstd_decompress(part[position : position + length], limit=MAX_CONTENT, where="")
    frame = zstd_compress(change(content), 1)
    return encode_varints([len(frame)]) + frame + part[position + length :]


def with_fresh_digests(sections: Sections) -> Sections:
    """Let models and chunks state the digests of what they are now, as far as that can be decoded."""
    models = []
    digests: dict[bytes, bytes] = {}
    original = {model.sha256 for model in BANKS}
    for kind, content in sections:
        if kind == SectionType.MODEL:
            sha256 = hashlib.sha256(content).digest()
            try:
                models.append(decode_model(content))
            except SancodecError:
                continue
            if sha256 not in original:
                digests.update(dict.fromkeys(original, sha256))
    result: Sections = []
    header, decoder, banks, chunk = None, None, (), 0
    for kind, content in sections:
        try:
            if kind == SectionType.HEADER:
                if len(digests) == len(models) == 1:
                    for before, after in digests.items():
                        content = content.replace(before, after)
                header = decode_header(zstd_compress(content, 1))
                if declared_samples(header) > MAX_CONTENT:
                    return sections
                banks = tuple(model_by_sha256(each, (*models, *BANKS)) for each in header.model_digests)
            elif kind == SectionType.CODING and header is not None:
                decoder = SegmentDecoder(content, header, banks, ENGINE)
            elif kind == SectionType.CHUNK and header is not None and decoder is not None and chunk < header.n_chunks:
                streams = decoder.parse(chunk, content)
                samples = decoder.unchecked([streams])[0]
                digest = payload.digest_of(samples, chunk=chunk, coding_crc=decoder.coding_crc)
                content = struct.pack("<I", digest) + content[4:]
        except SancodecError:
            pass
        if kind == SectionType.CHUNK:
            chunk += 1
        result.append((kind, content))
    return result


def declared_samples(header) -> int:
    """Samples in a chunk, all channels."""
    return sum(channel.samples_per_frame for channel in header.channels) * min(header.chunk_frames, header.n_frames)
