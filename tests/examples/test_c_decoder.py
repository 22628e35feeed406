"""The decoder of examples/c, built with AddressSanitizer and UBSan, against the package."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.codec.recording import Channel, Recording
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import SancodecError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))

from corpus import BANKS, encoded, larger  # noqa: E402
from mutations import mutated, sections_of  # noqa: E402

from tests.mixed_files import ecg_components, mixed_file  # noqa: E402

EXAMPLE, NATIVE, MODELS = ROOT / "examples" / "c", ROOT / "sancodec" / "native", ROOT / "sancodec" / "models"
GOLDEN = ROOT / "tests" / "golden"
TINY = ["constant", "two_samples_prdn", "odd_212_lossless_level_5", "odd_212_lossless_level_9", "missing_prdn_level_9"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
DIGEST = "the samples do not match their digest"
# By status: those that a damaged file may lead to.
OK, REFUSED = 0, {1, 2, 3, 4, 5, 6}


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(each) for each in command], capture_output=True, check=False, **options)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with san_decode, and decode_many of this folder, under the sanitizers."""
    folder, compiler = tmp_path_factory.mktemp("c"), os.environ.get("CC", "cc")
    if not shutil.which("make") or not shutil.which(compiler):
        pytest.skip("there is no make, or no C compiler")
    probe = run(compiler, "-x", "c", *SANITIZE, "-", "-lzstd", "-o", folder / "probe",
                input=b"#include <zstd.h>\nint main(void) { return !ZSTD_versionNumber(); }\n")  # fmt: skip
    if probe.returncode or run(folder / "probe").returncode:
        pytest.skip(f"libzstd, its headers or the sanitizers are missing: {probe.stderr.decode()[-300:]}")
    made = run("make", "-C", EXAMPLE, "sanitize", f"BUILD={folder}", f"NATIVE={NATIVE}", f"MODELS={MODELS}",
               "WARNINGS=-std=c99 -pedantic -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror")  # fmt: skip
    assert made.returncode == 0, made.stderr.decode()
    library, source = folder / "sanitized" / "libsan.a", Path(__file__).parent / "decode_many.c"
    made = run(compiler, "-std=c99", *SANITIZE, "-I", EXAMPLE, source, library, "-lzstd", "-lm", "-o",
               folder / "decode_many")  # fmt: skip
    assert made.returncode == 0, made.stderr.decode()
    return folder


@pytest.fixture(scope="module")
def san_decode(build: Path) -> Path:
    return build / "sanitized" / "san_decode"


@pytest.fixture(scope="module")
def decoded(build: Path):
    """What becomes of many files: status, and hashes of the channels' samples or the message."""
    models = sorted(MODELS.glob("*.sanm"))
    for number, bank in enumerate(BANKS):
        models.append(build / f"bank{number}.sanm")
        models[-1].write_bytes(bank.content)

    def decode(blobs: list[bytes], how: str = "once") -> list[tuple[int, list[str] | str]]:
        given = b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)
        found = run(
            build / "decode_many", how, MODELS / "residual.prior", MODELS / "events.prior", *models, input=given
        )
        lines = found.stdout.decode(errors="replace").splitlines()
        assert found.returncode == 0, f"file {len(lines)}: {found.stderr.decode()[-3000:]}"
        assert len(lines) == len(blobs)
        split = [line.partition(" ")[::2] for line in lines]
        return [(int(status), rest.split() if status == "0" else rest) for status, rest in split]

    return decode


def golden(name: str, folder: str = "decode") -> bytes:
    return (GOLDEN / folder / f"{name}.san").read_bytes()


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (GOLDEN / folder).glob("*.san"))


def digests(samples) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(row, "<i4").tobytes()).hexdigest() for row in samples]


@pytest.mark.parametrize("how", ["once", "steps"])
def test_every_golden_file_gives_the_same_samples(decoded, how):
    found = decoded([golden(name) for name in names("decode")], how)
    for name, (status, rest) in zip(names("decode"), found, strict=True):
        expected = digests(sancodec.decompress_recording(golden(name)).samples)
        assert (name, status, rest) == (name, OK, expected)


@pytest.mark.parametrize("how", ["once", "steps"])
def test_mixed_lead_groups_give_the_same_samples(decoded, how):
    blobs = [mixed_file(ecg_components(9000), level=level, seed=level, chunk_s=1.0) for level in (1, 5, 9)]
    expected = [(OK, digests(sancodec.decompress_recording(blob).samples)) for blob in blobs]
    assert decoded(blobs, how) == expected


@pytest.mark.parametrize("name", names("refuse"))
def test_what_every_reader_refuses_is_refused_in_one_line(san_decode, tmp_path, name):
    found = run(san_decode, GOLDEN / "refuse" / f"{name}.san", tmp_path / "out")
    assert found.returncode == 1, found.stderr.decode()
    assert found.stdout == b""
    assert found.stderr.startswith(b"san_decode: ")
    assert found.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_interleaved_samples_come_frame_after_frame(san_decode, tmp_path):
    name = "rates_mixed_level_5"
    recording = sancodec.decompress_recording(golden(name))
    rows = [
        row.reshape(-1, channel.samples_per_frame)
        for channel, row in zip(recording.channels, recording.samples, strict=True)
    ]
    found = run(san_decode, GOLDEN / "decode" / f"{name}.san", tmp_path / "out.raw")
    assert found.returncode == 0, found.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["out.raw"]
    assert (tmp_path / "out.raw").read_bytes() == np.concatenate(rows, axis=1).astype("<i4").tobytes()


def test_table_tells_what_the_channels_are(san_decode):
    name = "rates_mixed_level_5"
    recording = sancodec.decompress_recording(golden(name))
    found = run(san_decode, GOLDEN / "decode" / f"{name}.san")
    comment, head, *rows = found.stdout.decode().splitlines()
    assert comment.startswith("# ")
    assert head.split("\t") == ["channel", "name", "fs_hz", "gain", "unit", "baseline", "missing", "n_samples"]
    for number, (row, channel, samples) in enumerate(zip(rows, recording.channels, recording.samples, strict=True)):
        index, label, rate, gain, unit, baseline, missing, count = row.split("\t")
        assert (int(index), label, unit) == (number, channel.name, channel.unit)
        assert float(rate) == pytest.approx(float(recording.frame_rate_hz) * channel.samples_per_frame, rel=1e-9)
        assert float(gain) == pytest.approx(channel.gain, rel=1e-9)
        assert (int(baseline), int(count)) == (channel.baseline, len(samples))
        assert missing == ("-" if channel.invalid is None else str(channel.invalid))


def test_channels_in_files_of_their_own_with_16_bits(san_decode, tmp_path):
    name = "leads_lossless_level_5"
    recording = sancodec.decompress_recording(golden(name))
    assert run(san_decode, "-c", "-s", GOLDEN / "decode" / f"{name}.san", tmp_path / "out").returncode == 0
    assert len(list(tmp_path.iterdir())) == len(recording.channels)
    for number, row in enumerate(recording.samples):
        assert (tmp_path / f"out.{number}").read_bytes() == row.astype("<i2").tobytes()


def test_samples_beyond_16_bits_are_not_cut(san_decode, tmp_path):
    found = run(san_decode, "-s", GOLDEN / "decode" / "wide_lossless_level_5.san", tmp_path / "out")
    assert found.returncode == 1
    assert b"16 bits" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_at_hand_is_named(san_decode, tmp_path):
    found = run(san_decode, "-m", tmp_path, GOLDEN / "decode" / "ecg_prdn_level_5.san")
    assert found.returncode == 1
    assert b"needs the model with SHA-256" in found.stderr


@pytest.mark.parametrize(("prior", "name"), [("residual", "ecg_lossless_level_9"), ("events", "ecg_prdn_level_9")])
def test_coder_2_needs_its_priors(san_decode, tmp_path, prior, name):
    for path in MODELS.iterdir():
        if path.suffix in (".sanm", ".prior") and path.stem != prior:
            shutil.copy(path, tmp_path)
    found = run(san_decode, "-m", tmp_path, GOLDEN / "decode" / f"{name}.san")
    assert found.returncode == 1
    assert f"{prior}.prior".encode() in found.stderr


def test_memory_is_limited(san_decode, tmp_path):
    samples = np.tile(np.stack(read_wfdb(ROOT / "tests" / "data" / "100_10s.hea").samples), (1, 8)).astype(np.int16)
    path = tmp_path / "long.san"
    path.write_bytes(sancodec.compress(samples, sampling_rate_hz=360, lossless=True, chunk_s=None))
    assert run(san_decode, "-M", "8", path).returncode == 0
    found = run(san_decode, "-M", "1", path)
    assert found.returncode == 1
    assert b"1048576 bytes of memory" in found.stderr


@pytest.mark.parametrize("arguments", [[], ["-x", "a"], ["-M", "0", "a"], ["-m"], ["a", "b", "c"]])
def test_wrong_usage_is_told(san_decode, arguments):
    found = run(san_decode, *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith(b"Usage: san_decode")


@pytest.mark.parametrize("name", TINY)
def test_every_truncation_is_refused(decoded, name):
    blob = golden(name)
    assert {status for status, _ in decoded([blob[:length] for length in range(len(blob))])} <= REFUSED


@pytest.mark.parametrize("name", TINY)
def test_every_changed_byte_is_noticed(decoded, name):
    blob = golden(name)
    changed = []
    for place in range(len(blob)):
        for change in (1, 0x80, 0xFF):
            changed.append(blob[:place] + bytes([blob[place] ^ change]) + blob[place + 1 :])
    assert {status for status, _ in decoded(changed)} <= REFUSED


def outcome(blob: bytes) -> list[str] | None:
    try:
        return digests(sancodec.decompress_recording(blob, models=BANKS).samples)
    except SancodecError:
        return None


def test_mutations_with_right_checksums_give_the_packages_samples_or_none(decoded):
    """Of a mutated zstd frame that is no longer valid the library's versions make different things: digests tell."""
    seeds = [(seed, sections_of(seed.content)) for seed in larger() if "banks inside" not in seed.name]
    rng = random.Random(0)
    damaged = []
    for _ in range(600):
        seed, sections = rng.choice(seeds)
        damaged.append(mutated(seed.content, sections, rng).content)
    expected = [outcome(blob) for blob in damaged]
    assert sum(each is not None for each in expected) > 20
    for blob, wanted, (status, found) in zip(damaged, expected, decoded(damaged), strict=True):
        if wanted is not None and status == OK:
            assert found == wanted
        elif wanted is not None:
            assert found.endswith(DIGEST), (found, blob.hex())
        else:
            assert status in REFUSED, blob.hex()


@pytest.mark.parametrize("level", [1, 5, 9])
def test_large_coefficients_and_names_beyond_ascii(decoded, san_decode, tmp_path, level):
    channel = Channel("Ω", "µV", 0.5, 0, 32, -(2**31), 2**31 - 1, None, 1, None)
    row = np.rint(2.0**30 * np.sin(np.arange(3000) / 1000)).astype(np.int32)
    recording = Recording((channel,), (row,), Fraction(360), "array", ())
    blob = encoded("large", recording, level=level, embed_models=True, prdn=0.01).content
    assert decoded([blob]) == [(OK, digests(sancodec.decompress_recording(blob).samples))]
    (tmp_path / "large.san").write_bytes(blob)
    assert run(san_decode, tmp_path / "large.san").stdout.decode().splitlines()[2].split("\t")[1:5] == [
        "Ω", "360", "0.5", "µV"
    ]  # fmt: skip
