"""The file of a Sparsely Activated Network, ``.sann``: kernels, activations, and what their input must look like.

All numbers are little-endian. There are no gaps and no bytes after the digest.

========= ================= ============================================================================================
bytes     field             value
========= ================= ============================================================================================
4         magic             ``SANN``
2         version           1; of networks whose kernels compete 2
2         reserved          0
4         header length     bytes of the header, at most 1,048,576
…         header            JSON object, UTF-8, with exactly these members: ``kernels``: list of shapes, ``[m]`` or
                            ``[rows, columns]``; ``activations``: as many objects with ``name`` and the parameters of
                            that activation; ``window``: shape of a window; ``sampling_rate_hz``: number or null;
                            ``normalisation``: object with ``kind``, ``offset``, ``scale``; ``metadata``: any object;
                            in version 2 also ``competing``: true
…         weights           float32, kernel after kernel, row after row, none of them NaN or infinite
32        digest            SHA-256 of all bytes before it
========= ================= ============================================================================================

``.sanm`` is another thing: the integer kernel bank of the codec.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)
from sancodec.san.activations import Activation
from sancodec.san.network import SparselyActivatedNetwork, check_signals
from sancodec.san.normalisation import Normalisation

SUFFIX = ".sann"
MAGIC = b"SANN"
VERSION = 1
COMPETING_VERSION = 2
MAX_HEADER_BYTES = 1 << 20
MAX_KERNELS = 1024
MAX_WEIGHTS = 1 << 22
MAX_WINDOW_SAMPLES = 1 << 24

_HEAD = struct.Struct("<4sHHI")
_DIGEST_BYTES = 32
_MAX_FILE_BYTES = _HEAD.size + MAX_HEADER_BYTES + 4 * MAX_WEIGHTS + _DIGEST_BYTES
_MEMBERS = ("activations", "kernels", "metadata", "normalisation", "sampling_rate_hz", "window")


@dataclass(frozen=True, eq=False)
class SanModel:
    """A trained network and what its input must look like.

    Parameters
    ----------
    network
        Kernels of float32.
    window
        Shape of the windows it was trained on: ``(sample,)`` or ``(row, column)``.
    normalisation
        How stored samples become its input.
    sampling_rate_hz
        None where there is none, as for images.
    metadata
        JSON-able description: source, seed, settings, metrics.

    Raises
    ------
    InvalidSignalError
        When the window is shorter than a kernel or does not fit an activation, or something cannot be written down.
    """

    network: SparselyActivatedNetwork
    window: tuple[int, ...]
    normalisation: Normalisation = field(default_factory=Normalisation)
    sampling_rate_hz: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(kernel.dtype != np.float32 for kernel in self.network.kernels):
            raise InvalidSignalError("kernels of a model file are float32; convert them first")
        if len(self.window) != self.network.n_dims:
            raise InvalidSignalError(
                f"window {self.window} has not the {self.network.n_dims} dimensions of the kernels"
            )
        check_signals(self.window, [kernel.shape for kernel in self.network.kernels], self.network.activations)
        rate_hz = self.sampling_rate_hz
        if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
            raise InvalidSignalError(f"sampling rate is {rate_hz} Hz; it must be above 0, or None")

    @cached_property
    def content(self) -> bytes:
        """The model as bytes; the same model gives the same bytes.

        Raises
        ------
        InvalidSignalError
            When the metadata is no JSON, or kernels, window or metadata are beyond the limits of the format.
        """
        header: dict[str, Any] = {
            "activations": [{"name": each.name, **each.parameters()} for each in self.network.activations],
            "kernels": [list(kernel.shape) for kernel in self.network.kernels],
            "metadata": self.metadata,
            "normalisation": {
                "kind": self.normalisation.kind,
                "offset": self.normalisation.offset,
                "scale": self.normalisation.scale,
            },
            "sampling_rate_hz": self.sampling_rate_hz,
            "window": list(self.window),
        }
        version = COMPETING_VERSION if self.network.competing else VERSION
        if self.network.competing:
            header["competing"] = True
        try:
            text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidSignalError(f"metadata of a model cannot be written as JSON: {error}") from None
        if len(text) > MAX_HEADER_BYTES:
            raise InvalidSignalError(
                f"metadata make a header of {len(text)} bytes; at most {MAX_HEADER_BYTES} are allowed"
            )
        weights = [kernel.astype("<f4").tobytes() for kernel in self.network.kernels]
        body = b"".join([_HEAD.pack(MAGIC, version, 0, len(text)), text, *weights])
        content = body + hashlib.sha256(body).digest()
        try:
            decode_san_model(content)
        except FormatError as error:
            raise InvalidSignalError(f"a model cannot be written: {error}") from None
        return content

    @cached_property
    def sha256(self) -> bytes:
        """The digest at the end of the file."""
        return self.content[-_DIGEST_BYTES:]


def decode_san_model(content: bytes) -> SanModel:
    """A model from the bytes of its file.

    Raises
    ------
    FormatError
        When they are anything but a model: TruncatedError, CorruptError, UnsupportedVersionError or
        LimitExceededError, with the field.
    """
    version, header = _header(content)
    shapes = _shapes(header["kernels"])
    weights = content[_HEAD.size + _head(content)[1] : -_DIGEST_BYTES]
    needed = 4 * sum(map(math.prod, shapes))
    if len(weights) != needed:
        kind = TruncatedError if len(weights) < needed else CorruptError
        raise kind(f"network file has {len(weights)} bytes of weights; its kernels need {needed}")
    if hashlib.sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
        raise CorruptError("network file does not match its SHA-256; get it again from its source")
    kernels, first = list[NDArray[np.float32]](), 0
    for shape in shapes:
        count = math.prod(shape)
        values = np.frombuffer(weights, "<f4", count, 4 * first).astype(np.float32)
        kernels.append(values.reshape(shape))
        first += count
    try:
        return SanModel(
            SparselyActivatedNetwork(
                tuple(kernels), _activations(header["activations"]), competing=version == COMPETING_VERSION
            ),
            window=_shape(header["window"], "window", MAX_WINDOW_SAMPLES),
            normalisation=_normalisation(header["normalisation"]),
            sampling_rate_hz=_rate(header["sampling_rate_hz"]),
            metadata=_object(header["metadata"], "metadata"),
        )
    except InvalidSignalError as error:
        raise CorruptError(f"network file contradicts itself: {error}") from None


def load_san_model(path: str | Path) -> SanModel:
    """A model from its file.

    Raises
    ------
    InvalidSignalError
        When the file cannot be read.
    FormatError
        When it is not a model.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        if len(content) > _MAX_FILE_BYTES:
            raise LimitExceededError(f"network file is longer than {_MAX_FILE_BYTES} bytes")
        return decode_san_model(content)
    except FormatError as error:
        raise type(error)(f"{path}: {error}") from None


def _head(content: bytes) -> tuple[int, int]:
    """Version, and bytes of the header."""
    if len(content) < _HEAD.size + _DIGEST_BYTES:
        if content[:4] != MAGIC[: len(content)]:
            raise CorruptError("this is no network file: it does not begin with SANN")
        raise TruncatedError(f"network file of {len(content)} bytes is too short for a head and a digest")
    magic, version, reserved, length = _HEAD.unpack_from(content)
    if magic != MAGIC:
        raise CorruptError("this is no network file: it does not begin with SANN")
    if version not in (VERSION, COMPETING_VERSION):
        raise UnsupportedVersionError(
            f"network file has version {version}; this release reads {VERSION} and {COMPETING_VERSION}"
        )
    if reserved:
        raise CorruptError(f"network file has {reserved} in its reserved field; 0 is needed")
    if length > MAX_HEADER_BYTES:
        raise LimitExceededError(f"network file has a header of {length} bytes; at most {MAX_HEADER_BYTES} are read")
    if _HEAD.size + length + _DIGEST_BYTES > len(content):
        raise TruncatedError(f"network file ends within its header of {length} bytes")
    return int(version), int(length)


def _header(content: bytes) -> tuple[int, dict[str, Any]]:
    """Version and members."""
    version, length = _head(content)
    try:
        found = json.loads(
            content[_HEAD.size : _HEAD.size + length].decode(), parse_constant=_refuse, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"header of the network file is no JSON: {error}") from None
    header = _object(found, "header")
    members = _MEMBERS if version == VERSION else tuple(sorted((*_MEMBERS, "competing")))
    if tuple(sorted(header)) != members:
        raise CorruptError(f"header of the network file has {sorted(header)}; it needs {', '.join(members)}")
    if version == COMPETING_VERSION and header["competing"] is not True:
        raise CorruptError(f"competing of the network file is {header['competing']!r:.60}; version 2 needs true")
    return version, header


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptError(f"{name} of the network file is {value!r:.60}; an object is needed")
    return value


def _shapes(value: object) -> list[tuple[int, ...]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_KERNELS:
        raise CorruptError(f"kernels of the network file are {value!r:.60}; 1 to {MAX_KERNELS} shapes are needed")
    shapes = [_shape(each, f"kernel {index}", MAX_WEIGHTS) for index, each in enumerate(value)]
    if sum(map(math.prod, shapes)) > MAX_WEIGHTS:
        raise LimitExceededError(f"kernels of the network file have more than {MAX_WEIGHTS} weights")
    return shapes


def _shape(value: object, name: str, limit: int) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or len(value) not in (1, 2)
        or not all(type(each) is int and each > 0 for each in value)
    ):
        raise CorruptError(f"{name} of the network file is {value!r:.60}; a shape of 1 or 2 lengths is needed")
    shape: tuple[int, ...] = tuple(value)
    if math.prod(shape) > limit:
        raise LimitExceededError(
            f"{name} of the network file has shape {shape!r:.60}; at most {limit} samples are read"
        )
    return shape


def _activations(value: object) -> tuple[Activation, ...]:
    if not isinstance(value, list):
        raise CorruptError(f"activations of the network file are {value!r:.60}; a list is needed")
    found = []
    for index, each in enumerate(value):
        parameters = dict(_object(each, f"activation {index}"))
        name = parameters.pop("name", None)
        if type(name) is not str or any(type(number) is not int for number in parameters.values()):
            raise CorruptError(f"activation {index} of the network file is {each!r:.60}; name and integers are needed")
        try:
            activation = Activation(name, **parameters)
        except TypeError:
            raise CorruptError(f"activation {index} of the network file has parameters {sorted(parameters)}") from None
        if activation.parameters() != parameters:
            raise CorruptError(f"activation {index} of the network file, {name}, needs {activation.parameters()}")
        found.append(activation)
    return tuple(found)


def _normalisation(value: object) -> Normalisation:
    found = _object(value, "normalisation")
    is_whole = sorted(found) == ["kind", "offset", "scale"] and isinstance(found["kind"], str)
    if not is_whole:
        raise CorruptError(f"normalisation of the network file is {found!r:.60}; kind, offset and scale are needed")
    return Normalisation(found["kind"], _number(found["offset"], "offset"), _number(found["scale"], "scale"))


def _rate(value: object) -> float | None:
    return None if value is None else _number(value, "sampling rate")


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CorruptError(f"{name} of the network file is {value!r:.60}; a number is needed")
    try:
        return float(value)
    except OverflowError:
        raise CorruptError(f"{name} of the network file is too large for a number") from None
