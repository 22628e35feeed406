"""How recordings are to be compressed, as the options say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sancodec.codec.promise import PRESETS

if TYPE_CHECKING:
    from sancodec.codec.given_kernels import GivenKernels
    from sancodec.codec.kernels import Model


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What ``sancodec compress`` and ``sancodec batch`` are asked for; see `sancodec.compress`.

    Parameters
    ----------
    prdn, snr_db, max_error, lossless, preset
        The quality; of several all hold.
    level
        1 to 9.
    chunk_s
        Seconds, ``"auto"``, or None for the whole file.
    sampling_rate_hz
        Of inputs that do not state it.
    embed_models
        Carry the kernel models inside the file; those given are carried in any case.
    banks
        Kernel models to choose from; those that ship where there are none.
    given
        Kernels of the beat layer.
    """

    prdn: float | None = None
    snr_db: float | None = None
    max_error: str | None = None
    lossless: bool = False
    preset: str | None = None
    level: int = 5
    chunk_s: float | str | None = "auto"
    sampling_rate_hz: float | None = None
    embed_models: bool = False
    banks: tuple[Model, ...] = ()
    given: GivenKernels | None = None

    @property
    def is_exact(self) -> bool:
        """Whether every file is to come back byte for byte."""
        return self.lossless or (self.preset is not None and PRESETS[self.preset].is_lossless)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ between settings which may give other files."""
        plain = [
            self.prdn,
            self.snr_db,
            self.max_error,
            self.lossless,
            self.preset,
            self.level,
            self.chunk_s,
            self.sampling_rate_hz,
            self.embed_models,
            [bank.sha256.hex() for bank in self.banks],
        ]
        digest = hashlib.sha256(json.dumps(plain).encode())
        if self.given is not None:
            digest.update(repr(self.given.sampling_rate_hz).encode())
            for shape in self.given.shapes:
                digest.update(shape.tobytes())
        return digest.hexdigest()[:16]
