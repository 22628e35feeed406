"""docs/format.md against the package: the annotated example, and decoders written from the document alone."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import zstandard
from both_decoders import REFUSALS, decoder, documented
from format_example import example_bytes, example_recording

import sancodec
from sancodec.codec.kernels import KernelGroup, Model
from sancodec.codec.models import shipped_model, shipped_names
from sancodec.codec.recording import Channel, Recording
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import FormatError
from sancodec.training.lapped import SYM8, dyadic_groups, mdct_kernels, split_lowest
from sancodec.training.statistics import neutral_contexts
from tests.mixed_files import ecg_components, layered_file, mixed_file

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
RECORD = Path(__file__).parents[1] / "data" / "100_10s"


def hex_of_document(label: str) -> bytes:
    """The hex dump that follows ``<!-- label -->``."""
    block = re.search(rf"<!-- {label} -->\n```\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    return b"".join(bytes.fromhex(line.split("  ")[1]) for line in block.group(1).splitlines())


def neutral_model(name: str, groups: tuple[KernelGroup, ...]) -> Model:
    """A bank whose statistics are made up but use every field: several sets, parents, phase groups."""
    contexts = neutral_contexts(groups, n_sets=3)
    weights = contexts.band_weights.copy()
    weights[1] = [180, 40, 30, 20]
    weights[2] = [30, 90, 0, 11]
    return Model(groups, replace(contexts, band_weights=weights), {"name": name})


@lru_cache(maxsize=1)
def banks() -> tuple[Model, ...]:
    """The banks that ship, or made-up ones of the same shapes where those cannot be read."""
    try:
        return tuple(shipped_model(name) for name in shipped_names())
    except FormatError:
        return made_up_banks()


@lru_cache(maxsize=1)
def made_up_banks() -> tuple[Model, ...]:
    lapped = tuple(split_lowest(mdct_kernels(32), stride=32, levels=3, scaling=SYM8))
    return neutral_model("lapped", lapped), neutral_model("dyadic", tuple(dyadic_groups(SYM8, levels=7)))


def beats(n_samples: int, rng: np.random.Generator, *, scale: float = 1.0) -> np.ndarray:
    """An ECG of sorts at 250 Hz, in stored units."""
    time = np.arange(n_samples)
    signal = 30 * np.sin(time / 400) + rng.normal(0, 2, n_samples)
    for at in np.cumsum(rng.integers(170, 230, n_samples // 150)):
        signal += 400 * np.exp(-(((time - at) / 4) ** 2)) + 80 * np.exp(-(((time - at - 60) / 14) ** 2))
    return (signal * scale).astype(np.int32)


def many_channels(n_frames: int) -> Recording:
    """Two rates, missing runs (also at both ends), a constant, an all-missing and a wide-ranged channel."""
    rng = np.random.default_rng(7)
    gappy = beats(n_frames, rng)
    gappy[:30] = gappy[n_frames // 2 : n_frames // 2 + 700] = gappy[-1:] = -2048
    wide = np.cumsum(rng.integers(-(2**20), 2**20, n_frames)).astype(np.int32)
    rows = {
        "gappy": gappy,
        "second": beats(n_frames, rng, scale=-0.5),
        "fast": beats(2 * n_frames, rng),
        "constant": np.full(n_frames, -17, np.int32),
        "missing": np.full(n_frames, -2048, np.int32),
        "wide": wide,
    }
    channels = tuple(
        Channel(
            name,
            "mV",
            200.0,
            minimum=-(2**31) if name == "wide" else -2047,
            maximum=2**31 - 1 if name == "wide" else 2047,
            invalid=-2048 if name in ("gappy", "missing") else None,
            samples_per_frame=2 if name == "fast" else 1,
        )
        for name in rows
    )
    return Recording(channels, tuple(rows.values()), Fraction(250))


def assert_decoders_agree(blob: bytes, models: tuple[Model, ...] = ()) -> tuple[dict, list[np.ndarray]]:
    expected = sancodec.decompress_recording(blob, models=models)
    contents = {model.sha256: model.content for model in models}
    header, samples = decoder.decode(blob, contents)
    for of_decoder in (samples, documented.decode(blob, contents)[1]):
        for channel, row, found in zip(expected.channels, expected.samples, of_decoder, strict=True):
            np.testing.assert_array_equal(found, row, err_msg=channel.name)
    assert Fraction(*header["rate"]) == expected.frame_rate_hz
    assert header["source"] == expected.source
    assert header["side_files"] == [(each.name, each.content) for each in expected.side_files]
    for channel, found in zip(expected.channels, header["channels"], strict=True):
        assert (found["name"], found["unit"], found["gain"]) == (channel.name, channel.unit, channel.gain)
        assert (found["baseline"], found["resolution"]) == (channel.baseline, channel.resolution_bits)
        assert (found["minimum"], found["maximum"], found["missing"]) == (
            channel.minimum,
            channel.maximum,
            channel.invalid,
        )
    return header, samples


def coders_of(blob: bytes) -> set[int]:
    return {int(decoder.Bits(payload).rice(3)[2]) for kind, payload in decoder.read_sections(blob) if kind == 3}


def test_hex_of_the_document_is_what_the_package_writes() -> None:
    document, written = hex_of_document("file"), example_bytes()
    header = slice(0x11, 0x61)
    assert zstandard.decompress(document[header]) == hex_of_document("header")
    if written != document:
        # Another zstd library may choose other bytes for the same content, and so move what follows.
        length = int.from_bytes(written[0x0D:0x11], "little")
        assert zstandard.decompress(written[0x11 : 0x11 + length]) == hex_of_document("header")
        moved = length - (header.stop - header.start)
        assert written[header.stop + moved + 4 : 0x9A + moved] == document[header.stop + 4 : 0x9A]


def test_rows_of_the_document_cover_every_byte_of_its_hex() -> None:
    text = DOCUMENT.read_text()
    for label, after in (("file", "<!-- file -->"), ("header", "<!-- header -->")):
        content, position = hex_of_document(label), 0
        for offset, quoted in re.findall(r"^\| ([0-9a-f]{2}) \| `([^`]*)` \|", text.split(after)[1], re.MULTILINE):
            if int(offset, 16) != position:
                break
            first, _, last = quoted.partition("…")
            begin, end = bytes.fromhex(first), bytes.fromhex(last)
            length = len(begin)
            if "…" in quoted:
                length = {0x1A: 71, 0x6A: 25}[position]
                assert content[position : position + length].endswith(end)
            assert content[position:].startswith(begin)
            position += length
        assert position == len(content)


def test_hex_of_the_document_decodes_in_both() -> None:
    blob = hex_of_document("file")
    _, samples = assert_decoders_agree(blob)
    for row, expected in zip(samples, example_recording().samples, strict=True):
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("prdn", [1.0, 5.0])
@pytest.mark.parametrize("level", [1, 3, 5, 7, 9])
def test_real_record_decodes_to_the_same_integers(level: int, prdn: float) -> None:
    blob = sancodec.compress(read_wfdb(RECORD), prdn=prdn, level=level, models=banks())
    assert_decoders_agree(blob, banks())


@pytest.mark.parametrize("level", [1, 3, 5])
@pytest.mark.parametrize("chunk_s", [1.0, None])
def test_many_channels_in_several_chunks_and_in_one(level: int, chunk_s: float | None) -> None:
    recording = many_channels(11_000)
    blob = sancodec.compress(recording, prdn=3.0, level=level, chunk_s=chunk_s, models=banks(), embed_models=True)
    kinds = [kind for kind, _ in decoder.read_sections(blob)]
    assert kinds.count(4) == (3 if chunk_s else 1)
    assert 2 in kinds
    assert_decoders_agree(blob)


@pytest.mark.parametrize("bank", [0, 1])
@pytest.mark.parametrize("level", [3, 5])
def test_made_up_statistics_reach_every_set_and_both_banks(level: int, bank: int) -> None:
    recording = many_channels(9_000)
    blob = sancodec.compress(recording, prdn=2.0, level=level, models=made_up_banks()[bank : bank + 1])
    assert_decoders_agree(blob, made_up_banks())


@pytest.mark.parametrize("level", [1, 5])
def test_large_magnitudes_use_escapes_low_bits_and_large_tokens(level: int) -> None:
    rng = np.random.default_rng(3)
    loud = (rng.normal(0, 2.0**24, 600) * (rng.random(600) < 0.1)).astype(np.int32)
    signal = np.stack([loud, rng.integers(-(2**27), 2**27, 600).astype(np.int32)])
    blob = sancodec.compress(signal, sampling_rate_hz=100, prdn=0.02, level=level, models=made_up_banks())
    assert_decoders_agree(blob, made_up_banks())


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize("n_samples", [1, 2, 3, 65])
def test_very_short_signals(level: int, n_samples: int) -> None:
    signal = np.arange(2 * n_samples, dtype=np.int16).reshape(2, n_samples) * 37
    blob = sancodec.compress(signal, sampling_rate_hz=360, prdn=1.0, level=level, models=banks(), embed_models=True)
    assert_decoders_agree(blob)


def test_sparse_signal_with_long_runs() -> None:
    signal = np.zeros(60_000, np.int32)
    signal[[5, 20_000, 20_300, 59_999]] = 900, -700, 400, 3
    for level in (1, 5):
        blob = sancodec.compress(signal, sampling_rate_hz=30, prdn=20.0, level=level, models=made_up_banks())
        assert_decoders_agree(blob, made_up_banks())


@pytest.mark.parametrize("promise", [{"prdn": 3.0}, {"max_error_adu": 3}, {"lossless": True}])
@pytest.mark.parametrize("level", [7, 9])
def test_mixed_channels_of_two_rates_with_missing_samples(level: int, promise: dict) -> None:
    blob = sancodec.compress(many_channels(1_500), level=level, models=banks(), embed_models=True, **promise)
    assert coders_of(blob) == {2}
    assert_decoders_agree(blob)


@pytest.mark.parametrize("promise", [{"prdn": 5.0}, {"max_error_adu": 5}])
def test_mixed_chunks_begin_anew(promise: dict) -> None:
    rng = np.random.default_rng(2)
    signal = beats(11_000, rng)[None]
    blob = sancodec.compress(signal, sampling_rate_hz=250, level=7, chunk_s=1.0, models=banks(), **promise)
    assert [kind for kind, _ in decoder.read_sections(blob)].count(4) > 1
    assert coders_of(blob) == {2}
    assert_decoders_agree(blob, banks())


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_mixed_lead_groups_in_every_coder(level: int) -> None:
    assert_decoders_agree(mixed_file(level=level, seed=level, models=banks()), banks())


@pytest.mark.parametrize("seed", range(4))
def test_mixed_lead_groups_with_many_channels_in_several_chunks(seed: int) -> None:
    """Two mixed rates, clamped members, derived ones, and a group of another rate beside them."""
    rng = np.random.default_rng(seed)
    recording = ecg_components(9000, seed=seed)
    fast = np.repeat(recording.samples[0], 2) // 2
    other = replace(recording.channels[0], name="fast", samples_per_frame=2)
    recording = replace(
        recording, channels=(*recording.channels, other), samples=(*recording.samples, fast.astype(np.int32))
    )
    clamp = int(2 ** rng.integers(2, 15))
    blob = mixed_file(recording, seed=seed, level=3, chunk_s=1.0, n_derived=seed % 3, clamp=clamp, models=banks())
    assert [kind for kind, _ in decoder.read_sections(blob)].count(4) == 3
    assert_decoders_agree(blob, banks())


def test_residual_layer_refers_to_members_of_a_mixed_group() -> None:
    blob = layered_file(models=banks())
    (coding,) = (payload for kind, payload in decoder.read_sections(blob) if kind == decoder.CODING)
    header, _ = assert_decoders_agree(blob, banks())
    used = [decoder.read_model(model.content) for model in banks() if model.sha256 in header["models"]]
    found = decoder.read_coding(coding, header, used)
    layer = found.channels[-1].layer
    assert {source for source, *_ in layer.references} <= set(found.mixes[0].members)


def test_mixed_residuals_of_the_real_record() -> None:
    """Two leads with own weights, references to each other, and adaptive stages."""
    blob = sancodec.compress(read_wfdb(RECORD), max_error_adu=2, level=9, models=banks())
    assert coders_of(blob) == {2}
    assert_decoders_agree(blob, banks())


@pytest.mark.parametrize("damaged", [0x00, 0x08, 0x30, 0x72, 0x8D, 0xA0, 0xA8, 0xB0])
def test_one_flipped_bit_is_noticed_by_both(damaged: int) -> None:
    blob = bytearray(example_bytes())
    blob[damaged] ^= 0x40
    with pytest.raises(FormatError):
        sancodec.decompress_recording(bytes(blob))
    with pytest.raises(REFUSALS):
        decoder.decode(bytes(blob), {})


@pytest.mark.parametrize("damaged", [0x00, 0x08, 0x30, 0x72, 0x8D, 0xA0, 0xB0])
def test_one_flipped_bit_is_noticed_by_the_decoder_of_the_document(damaged: int) -> None:
    blob = bytearray(example_bytes())
    blob[damaged] ^= 0x40
    with pytest.raises(ValueError, match=r"no \.san file of version 1|CRC|unknown|cut short"):
        documented.decode(bytes(blob), {})
