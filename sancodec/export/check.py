"""Check a deployment kit: files, model, and every reference vector through onnxruntime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sancodec.errors import KitError
from sancodec.export.kit import CHECKSUMS, DECODER, ENCODER, KIT_VERSION, SPECIFICATION, VECTORS
from sancodec.export.sessions import Device, SessionMaker
from sancodec.export.sparse import Feeds
from sancodec.export.vectors import run

# Sums of floats are rounded differently by other processors; a coefficient between two levels may go either way.
_MAX_ROUNDED_OTHERWISE = 0.005


def check_kit(folder: Path, *, device: Device = "auto") -> Iterator[str]:
    """Check a kit; a line for each thing that is in order.

    Decoded samples must be the same to the last bit; of the encoder's symbols, a few of a thousand may differ by one
    level on a processor that adds in another order, and how many do is told.

    Raises
    ------
    KitError
        Naming what is wrong.
    MissingDependencyError
        When the device does not work here.
    """
    sums = _checksums(folder)
    contents = {name: _checked(folder, name, expected) for name, expected in sums.items()}
    yield f"{len(contents)} files have the right checksums"
    described = _specification(contents[SPECIFICATION])
    sessions = SessionMaker(device=device)
    opened = {}
    for name, kind in ((ENCODER, "encoder"), (DECODER, "decoder")):
        try:
            session = sessions(contents[name])
        except Exception as error:  # onnxruntime's errors have no common base
            reason = str(error).strip().partition("\n")[0]
            raise KitError(f"{folder / name}: onnxruntime cannot open it ({reason}); write the kit again") from None
        found = session.get_modelmeta().custom_metadata_map
        if found.get("kind") != kind or found.get("sha256") != described["model_sha256"]:
            raise KitError(
                f"{folder / name}: it is the {found.get('kind', 'graph')} of model "
                f"{found.get('name', '?')} {found.get('sha256', '')[:12]}, and the kit is of "
                f"{described['model']} {described['model_sha256'][:12]}; write the kit again"
            )
        opened[kind] = session
    without = f"; CUDA does not work here ({sessions.fallback})" if sessions.fallback else ""
    yield f"graphs of model {described['model']} {described['model_sha256'][:12]} run on {sessions.name}{without}"
    for name in sorted(contents):
        if name.startswith(f"{VECTORS}/"):
            try:
                line = _vector_line(folder / name, opened)
            except KitError:
                raise
            except Exception as error:  # of NumPy, zipfile and onnxruntime, which have no common base
                reason = str(error).strip().partition("\n")[0]
                raise KitError(f"{folder / name}: it cannot be used ({reason}); write the kit again") from None
            yield f"{name}: {line}"


def _checksums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        raise KitError(f"{folder}: it is no kit, or its {CHECKSUMS} cannot be read") from None
    missing = {ENCODER, DECODER, SPECIFICATION} - sums.keys()
    if missing or not any(name.startswith(f"{VECTORS}/") for name in sums):
        what = min(missing, default=VECTORS)
        raise KitError(f"{folder / CHECKSUMS}: it does not name {what}; write the kit again")
    return sums


def _checked(folder: Path, name: str, expected: str) -> bytes:
    path = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise KitError(f"{folder / CHECKSUMS}: it names {name!r}, which is outside the kit")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KitError(f"{path}: it cannot be read ({error.strerror}); write the kit again") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise KitError(f"{path}: its SHA-256 is not that of {CHECKSUMS}: it was altered; write the kit again")
    return content


def _specification(content: bytes) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(content)
        version, _, _ = described["kit_version"], described["model"], described["model_sha256"]
    except (ValueError, KeyError, TypeError):
        raise KitError(f"{SPECIFICATION}: it cannot be understood; write the kit again") from None
    if version != KIT_VERSION:
        raise KitError(f"{SPECIFICATION}: the kit has version {version}; this release knows {KIT_VERSION}")
    return described


def _vector_line(path: Path, sessions: dict[str, Any]) -> str:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    found = {}
    for kind, session in sessions.items():
        prefix = f"{kind}."
        feeds = {each.name: arrays[prefix + each.name] for each in session.get_inputs()}
        found[kind] = run(session, feeds)
    for name in ("components", "samples"):
        expected, decoded = arrays[f"decoder.{name}"], found["decoder"][name]
        if not np.array_equal(expected, decoded):
            n_wrong = int(np.count_nonzero(expected != decoded))
            raise KitError(
                f"{path}: {n_wrong} of {expected.size} decoded {name} differ; this onnxruntime or device does not "
                "compute exactly and must not be used for decoding"
            )
    symbols = {name.removeprefix("encoder."): value for name, value in arrays.items() if name.startswith("encoder.")}
    n_symbols, n_other = _differences(symbols, found["encoder"])
    if n_other > _MAX_ROUNDED_OTHERWISE * n_symbols:
        raise KitError(f"{path}: {n_other} of {n_symbols} symbols of the encoder differ; do not encode with it here")
    rounded = f"{n_other} rounded otherwise" if n_other else "all the same"
    return f"{expected.size} samples decoded to the same bits; {n_symbols} symbols encoded, {rounded}"


def _differences(expected: Feeds, found: Feeds) -> tuple[int, int]:
    """Symbols, and how many are others, missing or new."""
    n_symbols = n_other = 0
    for name in ("event_start", "event_kernel", "event_gain"):
        n_symbols += expected[name].size
        same = expected[name].shape == found[name].shape
        n_other += int(np.count_nonzero(expected[name] != found[name])) if same else expected[name].size
    for name in [each for each in expected if each.startswith("level_index_")]:
        levels = name.replace("index_", "")
        before = dict(zip(expected[name].tolist(), expected[levels].tolist(), strict=True))
        after = dict(zip(found[name].tolist(), found[levels].tolist(), strict=True))
        n_symbols += len(before)
        n_other += sum(before.get(place) != after.get(place) for place in before.keys() | after.keys())
    return n_symbols, n_other
