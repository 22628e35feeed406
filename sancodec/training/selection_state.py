"""Finished runs of a sweep in a folder: a small JSON file and the network of each, named by the digest of the run."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sancodec.errors import FormatError, SancodecError
from sancodec.san.metrics import Score
from sancodec.san.model_file import SUFFIX, SanModel, decode_san_model
from sancodec.training.san_config import TrainingConfig
from sancodec.training.san_training import Epoch

_NAME_LENGTH = 24


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """What came of one run of a sweep.

    Parameters
    ----------
    config
        The run.
    sha256
        Digest of all that its result depends on, as text.
    history
        All epochs; none after a failure.
    best_epoch
        Index of that with the least φ̄ on the validation windows.
    test
        CR⁻¹, L̃ and φ̄ of the test windows.
    model
        The network of the best epoch.
    seconds
        Time of the training.
    failure
        Why there is no network, as one line; the other values mean nothing then.
    """

    config: TrainingConfig
    sha256: str
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    test: Score | None = None
    model: SanModel | None = None
    seconds: float = 0.0
    failure: str | None = None

    @property
    def validation(self) -> Score | None:
        return self.history[self.best_epoch].validation if self.history else None

    def as_json(self) -> dict[str, Any]:
        """As plain values, without the network."""
        return {
            "sha256": self.sha256,
            "config": self.config.as_json(),
            "history": [{"train_loss": each.train_loss, **asdict(each.validation)} for each in self.history],
            "best_epoch": self.best_epoch,
            "test": None if self.test is None else asdict(self.test),
            "model_sha256": None if self.model is None else self.model.sha256.hex(),
            "seconds": round(self.seconds, 3),
            "failure": self.failure,
        }


class RunStore:
    """Keeps finished runs; each appears whole or not at all.

    Parameters
    ----------
    folder
        Made when it is missing.

    Raises
    ------
    SancodecError
        When it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SancodecError(f"{folder}: cannot be made a folder for finished runs: {error.strerror}") from None

    def load(self, config: TrainingConfig, sha256: str) -> FinishedRun | None:
        """A run that is finished already; None when it is not, or its files are damaged and it has to be repeated."""
        path = self._path(sha256)
        try:
            found = json.loads(path.read_bytes())
            if found["sha256"] != sha256 or found["config"] != config.as_json():
                return None
            if found["failure"] is not None:
                return FinishedRun(config, sha256, seconds=float(found["seconds"]), failure=str(found["failure"]))
            model = decode_san_model(path.with_suffix(SUFFIX).read_bytes())
            if model.sha256.hex() != found["model_sha256"]:
                return None
            history = tuple(
                Epoch(index, float(each.pop("train_loss")), Score(**each))
                for index, each in enumerate(found["history"])
            )
            best_epoch, test = int(found["best_epoch"]), Score(**found["test"])
            _ = history[best_epoch]
            return FinishedRun(config, sha256, history, best_epoch, test, model, float(found["seconds"]))
        except (OSError, FormatError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return None

    def save(self, run: FinishedRun) -> None:
        """Keep a run. The network comes first, so that a JSON file without one is damage.

        Raises
        ------
        SancodecError
            When it cannot be written.
        """
        path = self._path(run.sha256)
        if run.model is not None:
            _replace(path.with_suffix(SUFFIX), run.model.content)
        _replace(path, json.dumps(run.as_json(), indent=1, allow_nan=True).encode())

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256[:_NAME_LENGTH]}.json"


def _replace(path: Path, content: bytes) -> None:
    """Write beside the target and rename."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
    except OSError as error:
        raise SancodecError(f"{path}: cannot be written: {error.strerror}") from None
