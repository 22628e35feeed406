"""Writes the golden files; see docs/policy.md for which of them may ever change.

python tests/golden/make.py encode     what the encoder chooses now: encode.json only
python tests/golden/make.py add        new cases and refusals; files that exist stay as they are
python tests/golden/make.py replace    everything; only before the first release
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import zstandard

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[0] / "format")]

from both_decoders import decoder  # noqa: E402
from inputs import CASES, Case  # noqa: E402
from refusals import ACCEPTED, REFUSED  # noqa: E402

import sancodec  # noqa: E402
from sancodec.codec.encoder import encode_recording  # noqa: E402
from sancodec.codec.synthesis import NumpyEngine  # noqa: E402

ENCODE = HERE / "encode.json"


def encoded(case: Case) -> bytes:
    file = io.BytesIO()
    encode_recording(case.recording(), file, engine=NumpyEngine(), **case.settings())
    return file.getvalue()


def sample_digests(samples: Any) -> list[str]:
    """SHA-256 of the samples of each channel as little-endian int32."""
    return [hashlib.sha256(np.ascontiguousarray(row, "<i4").tobytes()).hexdigest() for row in samples]


def machine() -> dict[str, Any]:
    """What the last bits of floating point sums depend on: the encoder's choices follow them."""
    libraries = [
        {key: info.get(key) for key in ("internal_api", "version", "architecture")}
        for info in threadpoolctl.threadpool_info()
        if info["user_api"] == "blas"
    ]
    return {"machine": platform.machine(), "numpy": np.__version__, "blas": libraries}


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _without_zstd(content: bytes, n_frames: int) -> bytes:
    """``bytes`` fields that are zstd frames, replaced by their contents and joined; what follows stays."""
    fields = decoder.Bytes(content)
    joined = b"".join(zstandard.decompress(fields.bytes()) for _ in range(n_frames))
    return joined + content[fields.position :]


def _frames(content: bytes) -> bytes:
    """A layout and its frames: which layout is smallest depends on the zstd library, what they hold does not."""
    fields, n_frames = decoder.Bytes(content, 1), 0
    while fields.position < len(content):
        fields.bytes()
        n_frames += 1
    return _without_zstd(content[1:], n_frames)


def section_hashes(blob: bytes, models: dict[bytes, bytes]) -> list[list[str]]:
    """Of every section, with zstd frames replaced by their contents, name and hashes of the parts."""
    hashes, sections = [], decoder.read_sections(blob)
    header = decoder.read_header(sections[0][1])
    models = models | {hashlib.sha256(payload).digest(): payload for kind, payload in sections if kind == 2}
    used = [decoder.read_model(models[digest]) for digest in header["models"]]
    coding = None
    for kind, payload in sections:
        if kind == 1:
            hashes.append(["HEADER", _short(zstandard.decompress(payload))])
        elif kind == 3:
            coding = decoder.read_coding(payload, header, used)
            hashes.append(["CODING", _short(payload)])
        elif kind == 4:
            assert coding is not None
            fields = decoder.Bytes(payload)
            digest, n_events, n_raw = fields.take(4), fields.varint(), fields.varint()
            is_layered = any(c.layer for c in coding.channels)
            n_coefficients = fields.varint() if is_layered else None
            events, raw = fields.take(n_events), fields.take(n_raw)
            left = len(payload) - fields.position
            coefficients = fields.take(left if n_coefficients is None else n_coefficients)
            residuals = fields.take(len(payload) - fields.position)
            if coding.coder == 0:
                coefficients, residuals = (_frames(each) if each else b"" for each in (coefficients, residuals))
            elif residuals and coding.coder == 1:
                residuals = _without_zstd(residuals, 1)
            hashes.append(["CHUNK", digest.hex(), *map(_short, (events, raw, coefficients, residuals))])
        else:
            hashes.append(["MODEL", _short(payload)])
    return hashes


def description(case: Case, blob: bytes, samples: Any) -> dict[str, Any]:
    promises = [[each.prdn, each.max_error_adu] for each in case.settings()["promises"]]
    return {
        "written_by": sancodec.__version__,
        "level": case.level,
        "promises": promises,
        "n_bytes": len(blob),
        "samples_sha256": sample_digests(samples),
    }


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def make_encode(blobs: dict[str, bytes]) -> None:
    known = known_models()
    hashes = {name: section_hashes(blob, known) for name, blob in blobs.items()}
    rows = [
        f'  "{name}": [\n' + ",\n".join(f"   {json.dumps(each)}" for each in of) + "\n  ]"
        for name, of in hashes.items()
    ]
    ENCODE.write_text(f'{{\n "made_on": {json.dumps(machine())},\n "sections": {{\n' + ",\n".join(rows) + "\n }\n}\n")


def known_models() -> dict[bytes, bytes]:
    contents = [path.read_bytes() for path in (HERE.parents[1] / "sancodec" / "models").glob("*.sanm")]
    return {hashlib.sha256(content).digest(): content for content in contents}


def make_decode(blobs: dict[str, bytes], *, replace: bool) -> None:
    folder = HERE / "decode"
    folder.mkdir(exist_ok=True)
    contents = {name: (CASES[name], blob) for name, blob in blobs.items()}
    for name, (of, change) in ACCEPTED.items():
        contents[name] = CASES[of], change((folder / f"{of}.san").read_bytes() if not replace else blobs[of])
    for name, (case, blob) in contents.items():
        path = folder / f"{name}.san"
        if replace or not path.exists():
            path.write_bytes(blob)
            samples = sancodec.decompress_recording(blob).samples
            write_json(path.with_suffix(".json"), description(case, blob, samples))


def make_refuse(*, replace: bool) -> None:
    folder = HERE / "refuse"
    folder.mkdir(exist_ok=True)
    for name, refusal in REFUSED.items():
        path = folder / f"{name}.san"
        if replace or not path.exists():
            base = HERE / "decode" / f"{refusal.of}.san"
            path.write_bytes(refusal.change(base.read_bytes()))
            write_json(path.with_suffix(".json"), {"error": refusal.error, "message": refusal.message})


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ("encode", "add", "replace"):
        sys.exit(__doc__)
    blobs = {name: encoded(case) for name, case in CASES.items()}
    make_encode(blobs)
    if sys.argv[1] != "encode":
        make_decode(blobs, replace=sys.argv[1] == "replace")
        make_refuse(replace=sys.argv[1] == "replace")


if __name__ == "__main__":
    main()
