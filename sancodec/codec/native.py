"""The native core where it was built, and what is said where it was not.

Every function of the core stands beside Python code that does the same, bit for bit: the specification, the oracle of
the tests, and what runs where no compiler was there at install.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENGINE_VARIABLE = "SANCODEC_ENGINE"
SLOW_SAMPLES = 2_000_000
_VERSION = 3


def _load() -> tuple[ModuleType | None, str]:
    """The core, or None, and which engine is in use."""
    if os.environ.get(ENGINE_VARIABLE) == "python":
        return None, f"Python, as {ENGINE_VARIABLE} asks for"
    try:
        import sancodec._core as core
    except ModuleNotFoundError:
        return None, "Python fallback: no compiler was there at install"
    except ImportError as error:
        return None, f"Python fallback: the native core cannot be loaded ({error})"
    if core.VERSION != _VERSION:
        return None, f"Python fallback: the native core has version {core.VERSION}, not {_VERSION}; install again"
    return core, f"native core, version {core.VERSION}"


core, _name = _load()
_is_said = False


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


announce: Callable[[str], None] = _warn  # the command line says it in its own way


def engine_name() -> str:
    """What computes: the native core, or Python and why."""
    return _name


def warn_if_slow(n_samples: int) -> None:
    """Say, once in a process, before a large piece of work that the core is missing, unless that was asked for.

    Parameters
    ----------
    n_samples
        How much work it is, in samples of the class coder; many times as many where each takes long.
    """
    global _is_said
    if core is not None or n_samples < SLOW_SAMPLES or _is_said or os.environ.get(ENGINE_VARIABLE) == "python":
        return
    _is_said = True
    announce(
        "the native core is not in use, and this will be slow; install a C compiler and then sancodec again "
        "(`sancodec info --engine` tells more)"
    )


def contiguous(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """A list of arrays as the core takes it."""
    return [np.ascontiguousarray(each) for each in arrays]
