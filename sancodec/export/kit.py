"""Deployment kits: a model, its graphs, their description, reference vectors and checksums (docs/kit.md)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.chunks import BRIDGE
from sancodec.codec.detection import MAX_DETECTION_RATE_HZ, MIN_DETECTION_RATE_HZ
from sancodec.codec.kernels import WEIGHT_FRACTION_BITS, Model
from sancodec.errors import InvalidSignalError, KitError, MissingDependencyError, OutputExistsError

ENCODER, DECODER, SPECIFICATION, CHECKSUMS, VECTORS = (
    "encoder.onnx",
    "decoder.onnx",
    "codec_spec.json",
    "SHA256SUMS",
    "vectors",
)
# What entropy decoders need beside the graphs.
MODEL, PRIORS = "model.sanm", ("events.prior", "residual.prior")
KIT_VERSION = 1


def write_kit(model: Model, folder: Path, *, sampling_rate_hz: float, force: bool = False) -> list[str]:
    """Write a kit, whole or not at all; the names of its files.

    Parameters
    ----------
    sampling_rate_hz
        That the encoder is for.
    force
        Replace a kit that is there.

    Raises
    ------
    InvalidSignalError
        When beats cannot be looked for at that rate.
    MissingDependencyError
        Without ``onnx``.
    OutputExistsError
        When there is something under that name: with ``force``, something that is no kit, or more than that.
    KitError
        When it cannot be written.
    """
    if not MIN_DETECTION_RATE_HZ <= sampling_rate_hz <= MAX_DETECTION_RATE_HZ:
        raise InvalidSignalError(
            f"sampling rate {sampling_rate_hz:g} Hz: beats are looked for at {MIN_DETECTION_RATE_HZ:g} to "
            f"{MAX_DETECTION_RATE_HZ:g} Hz"
        )
    try:
        from sancodec.export.decoder_graph import decoder_graph
        from sancodec.export.encoder_graph import encoder_graph
    except ImportError:
        raise MissingDependencyError("building graphs needs onnx; pip install 'sancodec[train]'") from None
    from sancodec.export.vectors import reference_vectors

    shown, folder = folder, folder.resolve()
    _check_target(shown, folder, force=force)
    graphs = {
        ENCODER: encoder_graph(model, sampling_rate_hz=sampling_rate_hz).SerializeToString(deterministic=True),
        DECODER: decoder_graph(model).SerializeToString(deterministic=True),
    }
    priors = {name: (resources.files("sancodec") / "models" / name).read_bytes() for name in PRIORS}
    contents = {**graphs, **priors, MODEL: model.content, SPECIFICATION: _specification(model, sampling_rate_hz)}
    for name, arrays in reference_vectors(model, graphs[ENCODER], graphs[DECODER], sampling_rate_hz).items():
        contents[f"{VECTORS}/{name}.npz"] = _archive(arrays)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items())]
    contents[CHECKSUMS] = "".join(lines).encode()
    try:
        _write(folder, contents)
    except OSError as error:
        raise KitError(f"{shown}: it cannot be written ({error.strerror})") from None
    return sorted(contents)


def _check_target(shown: Path, folder: Path, *, force: bool) -> None:
    """Refuse what is there, unless it is a kit and nothing else, which is to be replaced."""
    if not folder.exists():
        return
    if not (folder / SPECIFICATION).is_file():
        raise OutputExistsError(f"{shown} exists already, and is no kit; choose another folder")
    known = {ENCODER, DECODER, SPECIFICATION, CHECKSUMS, MODEL, VECTORS, *PRIORS}
    others = sorted(
        [path.name for path in folder.iterdir() if path.name not in known]
        + [f"{VECTORS}/{path.name}" for path in folder.glob(f"{VECTORS}/*") if path.suffix != ".npz" or path.is_dir()]
    )
    if others:
        raise OutputExistsError(f"{shown} is a kit, but {others[0]!r} in it is not part of one; choose another folder")
    if not force:
        raise OutputExistsError(f"{shown} exists already; -f replaces it")


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Under its name when it is whole; what was there is gone only after that."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        (new / VECTORS).mkdir(parents=True)
        for name, content in contents.items():
            (new / name).write_bytes(content)
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise


def _specification(model: Model, sampling_rate_hz: float) -> bytes:
    groups = [
        {"stride": group.stride, "kernels": group.n_kernels, "length": group.length, "offset": group.offset}
        for group in model.groups
    ]
    described: dict[str, Any] = {
        "kit_version": KIT_VERSION,
        "model": model.name,
        "model_sha256": model.sha256.hex(),
        "sampling_rate_hz": sampling_rate_hz,
        "period": model.period,
        "bridge": BRIDGE,
        "weight_fraction_bits": WEIGHT_FRACTION_BITS,
        "groups": groups,
        "container": "docs/format.md, container version 1; sections 7 to 10 say what the graphs compute",
    }
    return (json.dumps(described, indent=2) + "\n").encode()


def _archive(arrays: dict[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
