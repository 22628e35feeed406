"""Files with mixed lead groups, made of ordinary ones: channels that were constant become sums of coded ones."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np

import sancodec
from sancodec.codec import payload
from sancodec.codec.coding_section import decode_coding, encode_coding
from sancodec.codec.container import ContainerWriter, SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.encoder import encode_recording
from sancodec.codec.kernels import Model
from sancodec.codec.mix import MAX_SHIFT, Derived, Mix
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.residual import Reference
from sancodec.codec.segment_decoder import SegmentDecoder
from sancodec.codec.synthesis import NumpyEngine

LIMIT = 1 << 15
NAMES = "I", "II", "III", "aVR", "V1"
# To approximations and to decoded samples of members, with components and without.
REFERENCES = (
    Reference(0, False, -1, np.array([3, 9, -4])),
    Reference(1, True, 0, np.array([5])),
    Reference(3, False, 2, np.array([1, 1])),
)


def random_mix(rng: np.random.Generator, n_members: int, n_components: int, *, n_derived: int = 0) -> Mix:
    """Any shifts and weights; the last members are derived from two of the others."""
    n_direct = n_members - n_derived
    assert n_direct >= 2 or not n_derived
    shifts = rng.integers(0, MAX_SHIFT + 1, n_components)
    weights = np.zeros((n_members, n_components), np.int64)
    for column, shift in zip(weights.T, shifts.tolist(), strict=True):
        column[:n_direct] = rng.integers(-(1 << shift), (1 << shift) + 1, n_direct)
    rules: list[Derived | None] = [None] * n_direct
    for _ in range(n_derived):
        first, second = sorted(rng.choice(n_direct, 2, replace=False).tolist())
        rules.append(Derived((first, second), (int(rng.integers(4)), int(rng.integers(4)))))
    return Mix(shifts, weights, tuple(rules))


def ecg_components(n_frames: int, *, seed: int = 0) -> Recording:
    """Two leads with beats, a constant between them and two behind; all at 250 Hz, with missing samples in two."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_frames)
    rows = [np.full(n_frames, 9) for _ in NAMES]
    for row in (0, 2):
        rows[row] = 25 * np.sin(time / (300 + 70 * row)) + rng.normal(0, 2, n_frames)
        for at in np.cumsum(np.random.default_rng(1).integers(170, 230, n_frames // 150)):
            rows[row] += (400 - 150 * row) * np.exp(-(((time - at) / 4) ** 2))
            rows[row] += 80 * np.exp(-(((time - at - 60) / 14) ** 2))
    rows[0][:30] = rows[3][n_frames // 2 :][:9] = -LIMIT
    channels = tuple(Channel(name, "mV", 200.0, minimum=1 - LIMIT, maximum=LIMIT - 1, invalid=-LIMIT) for name in NAMES)
    return Recording(channels, tuple(np.rint(row).astype(np.int32) for row in rows), Fraction(250))


def mixed_file(
    recording: Recording | None = None,
    *,
    level: int = 5,
    seed: int = 0,
    n_derived: int = 1,
    clamp: int = 1 << 14,
    **settings,
) -> bytes:
    """A file whose channels of the first rate are one mixed group; those that vary in ``recording`` carry components.

    Parameters
    ----------
    clamp
        Members keep within so much of their offsets.
    settings
        Of ``sancodec.compress``.
    """
    recording = ecg_components(3000) if recording is None else recording
    blob = sancodec.compress(recording, level=level, **({"prdn": 3.0} | settings))
    return _remixed(blob, np.random.default_rng(seed), settings.get("models", ()), n_derived, clamp)


def layered_file(*, seed: int = 0, models: tuple[Model, ...] = ()) -> bytes:
    """A mixed group, and a channel with a residual layer in a group of its own, predicted from members."""
    recording = ecg_components(3000, seed=seed)
    sum_of_two = recording.samples[0] + recording.samples[2] // 2
    recording = replace(
        recording,
        channels=(*recording.channels, replace(recording.channels[0], name="sum")),
        samples=(*recording.samples, np.maximum(sum_of_two, -LIMIT).astype(np.int32)),
    )
    promises = [Promise(prdn=3.0)] * len(NAMES) + [Promise(max_error_adu=0)]
    file = io.BytesIO()
    encode_recording(
        recording,
        file,
        promises=promises,
        level=1,
        chunk_s=None,
        models=models,
        embed_models=False,
        engine=NumpyEngine(),
    )
    return _remixed(file.getvalue(), np.random.default_rng(seed), models, 1, 1 << 14)


def _remixed(blob: bytes, rng: np.random.Generator, models: tuple[Model, ...], n_derived: int, clamp: int) -> bytes:
    reader = RecordingReader(io.BytesIO(blob), engine=NumpyEngine(), models=models)
    file = io.BytesIO()
    writer = ContainerWriter(file)
    for section in reader.container.leading_sections()[0]:
        if section.kind != SectionType.CODING:
            writer.section(section.kind, section.payload)
    for place in reader.segments:
        section, _ = reader.container.section_at(place.coding)
        content = _mixed_coding(section.payload, reader, rng, n_derived=n_derived, clamp=clamp)
        decoder = SegmentDecoder(content, reader.header, reader.models, NumpyEngine())
        writer.section(SectionType.CODING, content)
        for number, offset in enumerate(place.chunks, place.first_chunk):
            chunk = reader.container.section_at(offset)[0].payload
            (samples,) = decoder.unchecked([decoder.parse(number, chunk)])
            digest = payload.digest_of(samples, chunk=number, coding_crc=decoder.coding_crc)
            writer.section(SectionType.CHUNK, digest.to_bytes(4, "little") + chunk[4:])
    writer.finish()
    return file.getvalue()


def _mixed_coding(
    content: bytes, reader: RecordingReader, rng: np.random.Generator, *, n_derived: int, clamp: int
) -> bytes:
    segment = decode_coding(content, reader.header, reader.models)
    group, codings, lengths = segment.codings[0].lead_group, list(segment.codings), list(segment.kernel_lengths)
    for index, coding in enumerate(codings):
        if coding.lead_group == group and coding.residual is not None:
            assert not coding.kernels.n_kernels
            residual = replace(coding.residual, references=REFERENCES)
            codings[index] = replace(coding, lead_group=len(lengths), residual=residual)
            lengths.append(0)
    members = [index for index, coding in enumerate(codings) if coding.lead_group == group]
    n_components = sum(codings[index].model is not None for index in members)
    for index in members:
        coding, channel = codings[index], reader.header.channels[index]
        assert coding.lattice is None
        offset = int(rng.integers(-200, 201))
        low, high = max(offset - clamp, channel.minimum), min(offset + clamp, channel.maximum)
        codings[index] = replace(coding, offset=offset, minimum=low, maximum=high)
    mixes: list[Mix | None] = [None] * len(lengths)
    mixes[group] = random_mix(rng, len(members), n_components, n_derived=n_derived)
    mixed = replace(segment, codings=codings, kernel_lengths=lengths, mixes=tuple(mixes))
    return encode_coding(mixed, models=reader.models)
