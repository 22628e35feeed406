"""The models that ship with the package, and models in files."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from sancodec.codec.kernels import Model, decode_model
from sancodec.errors import FormatError, InvalidSignalError, ModelMismatchError

SUFFIX = ".sanm"
_FOLDER = resources.files("sancodec") / "models"


@lru_cache(maxsize=1)
def shipped_names() -> tuple[str, ...]:
    """Names of the shipped models, in the order in which the encoder tries them."""
    return tuple(sorted(item.name.removesuffix(SUFFIX) for item in _FOLDER.iterdir() if item.name.endswith(SUFFIX)))


@lru_cache(maxsize=8)
def shipped_model(name: str) -> Model:
    return decode_model((_FOLDER / f"{name}{SUFFIX}").read_bytes())


def load_model(name_or_path: str) -> Model:
    """A shipped model by name, or a model file by path.

    Raises
    ------
    InvalidSignalError
        When there is neither.
    FormatError
        When the file is not a model.
    """
    if name_or_path in shipped_names():
        return shipped_model(name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise InvalidSignalError(
            f"model {name_or_path!r} is neither a file nor one of the shipped models ({', '.join(shipped_names())})"
        )
    try:
        return decode_model(path.read_bytes())
    except FormatError as error:
        raise type(error)(f"{path}: {error}") from None


def model_by_sha256(digest: bytes, embedded: tuple[Model, ...] = ()) -> Model:
    """The model a container names, embedded or shipped.

    Raises
    ------
    ModelMismatchError
        When it is not at hand.
    """
    for model in embedded:
        if model.sha256 == digest:
            return model
    for name in shipped_names():
        if shipped_model(name).sha256 == digest:
            return shipped_model(name)
    raise ModelMismatchError(
        f"the file needs the model with SHA-256 {digest.hex()}, which does not ship with this release; "
        "give it with --model PATH"
    )
