"""The decoder of examples/js, WebAssembly in Node, against the package."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zstandard
from both_decoders import documented

import sancodec
from tests.mixed_files import mixed_file

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODELS, GOLDEN = ROOT / "sancodec" / "models", ROOT / "tests" / "golden"
PRIORS = {name: str(MODELS / f"{name}.prior") for name in ("residual", "events")}
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node")


def frames_of(content: bytes) -> dict[str, str]:
    """All zstd frames of a file, also those within its sections, for a Node that has no zstd."""
    found, at = {}, -1
    while (at := content.find(b"\x28\xb5\x2f\xfd", at + 1)) >= 0:
        reader = zstandard.ZstdDecompressor().decompressobj()
        try:
            decompressed = reader.decompress(content[at:])
        except zstandard.ZstdError:
            continue
        frame = content[at : len(content) - len(reader.unused_data)]
        found[base64.b64encode(frame).decode()] = base64.b64encode(decompressed).decode()
    return found


def run(script: str, paths: list[Path], how: str = "", models: list[Path] | None = None) -> list[str]:
    frames = {frame: content for path in paths for frame, content in frames_of(path.read_bytes()).items()}
    models = sorted(MODELS.glob("*.sanm")) if models is None else models
    given = {"files": [*map(str, paths)], "models": [*map(str, models)], "priors": PRIORS, "frames": frames, "how": how}
    given["digests"] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in models]
    found = subprocess.run([NODE, HERE / script], input=json.dumps(given).encode(), capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
    return found.stdout.decode().splitlines()


def decoded(*arguments, **options) -> list[dict]:
    return [json.loads(line) for line in run("decode_js.mjs", *arguments, **options)]


def digests(recording: sancodec.Recording) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(row, "<i4").tobytes()).hexdigest() for row in recording.samples]


@pytest.mark.parametrize("how", ["at once", "steps"])
def test_every_golden_file_gives_the_same_samples(how):
    paths = sorted((GOLDEN / "decode").glob("*.san"))
    for path, found in zip(paths, decoded(paths, how), strict=True):
        recording = sancodec.decompress_recording(path.read_bytes())
        assert (path.stem, found.get("sha256", found)) == (path.stem, digests(recording))


@pytest.mark.parametrize("how", ["at once", "steps"])
def test_mixed_lead_groups_give_the_same_samples(tmp_path, how):
    paths = [tmp_path / f"{level}.san" for level in (1, 5, 9)]
    for level, path in zip((1, 5, 9), paths, strict=True):
        path.write_bytes(mixed_file(level=level, seed=level))
    for path, found in zip(paths, decoded(paths, how), strict=True):
        assert found.get("sha256", found) == digests(sancodec.decompress_recording(path.read_bytes()))


def test_what_every_reader_refuses_is_refused():
    paths = sorted((GOLDEN / "refuse").glob("*.san"))
    for path, found in zip(paths, decoded(paths), strict=True):
        assert found.get("code"), path.stem
        assert found["message"], path.stem
        assert "\n" not in found["message"], path.stem


def test_header_measures_and_beats_are_told():
    paths = [GOLDEN / "decode" / f"{name}.san" for name in ("rates_mixed_level_5", "ecg_error_and_prdn_level_9")]
    models = {hashlib.sha256(content).digest(): content for content in map(Path.read_bytes, MODELS.glob("*.sanm"))}
    for path, found in zip(paths, decoded(paths), strict=True):
        header, _ = documented.decode(path.read_bytes(), models)
        info, segment, events = found["info"], found["segments"][-1], found["events"]
        assert (info["nFrames"], info["chunkFrames"]) == (header.n_frames, header.chunk_frames)
        assert (info["level"], info["source"]) == (header.level, header.source)
        assert (info["frameRate"]["numerator"], info["frameRate"]["denominator"]) == header.rate
        assert info["models"] == [digest.hex() for digest in header.models]
        for c, told, measured, starts in zip(
            header.channels, info["channels"], segment["channels"], events, strict=True
        ):
            assert (told["name"], told["unit"], told["gain"], told["baseline"]) == (c.name, c.unit, c.gain, c.baseline)
            assert (told["minimum"], told["maximum"], told["missing"]) == (c.lowest, c.highest, c.missing)
            assert (told["resolutionBits"], told["samplesPerFrame"]) == (c.resolution, c.per_frame)
            promises = [(kind, struct.unpack("<d", value)[0]) for kind, value in c.promises]
            assert [(each["kind"], each["value"]) for each in told["promises"]] == promises
            assert measured["prdn"] == struct.unpack("<f", struct.pack("<I", c.prdn))[0]
            assert measured["leadGroup"] == c.group
            assert starts == c.starts.tolist()


def test_a_model_that_is_not_at_hand_is_named():
    found = decoded([GOLDEN / "decode" / "ecg_prdn_level_5.san"], models=[])
    assert found[0]["code"] == "model"
    assert "needs the model with SHA-256" in found[0]["message"]


def test_chunks_models_and_failures_are_as_san_js_says():
    assert run("check_san_js.mjs", [GOLDEN / "decode" / "chunks_error_level_9.san"]) == ["all is well"]


@pytest.mark.skipif(shutil.which("clang-14") is None, reason="there is no clang-14, which san.wasm is built with")
def test_san_wasm_is_what_the_sources_give(tmp_path):
    made = subprocess.run(
        ["make", "-C", ROOT / "examples" / "c", "wasm", f"WASM={tmp_path / 'san.wasm'}"],
        capture_output=True,
        check=False,
    )
    if b"wasm-ld" in made.stderr or b"file not found" in made.stderr:
        pytest.skip("lld, wasi-libc or libclang-rt for WebAssembly are missing")
    assert made.returncode == 0, made.stderr.decode()
    assert (tmp_path / "san.wasm").read_bytes() == (ROOT / "examples" / "js" / "san.wasm").read_bytes()


@pytest.mark.parametrize("place", ["HEADER", "chunk", "index"])
def test_every_change_of_a_file_is_noticed(tmp_path, place):
    blob = (GOLDEN / "decode" / "odd_212_lossless_level_9.san").read_bytes()
    at = {"HEADER": 40, "chunk": len(blob) // 2, "index": len(blob) - 20}[place]
    (tmp_path / "changed.san").write_bytes(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    assert decoded([tmp_path / "changed.san"])[0]["code"] in ("corrupt", "truncated", "limit", "unsupported")
