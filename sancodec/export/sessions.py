"""onnxruntime sessions on the CPU or with CUDA; what does not work is said in one line."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import platform
import sys
import threading
import warnings
from base64 import b85decode
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from sancodec.errors import DeviceError, MissingDependencyError

Device = Literal["auto", "cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_FATAL_ONLY = 4
_HAS_CUDA_BUILD = sys.platform == "win32" or (sys.platform == "linux" and platform.machine() == "x86_64")
_PACKAGE = "onnxruntime-gpu" if _HAS_CUDA_BUILD else "onnxruntime"  # as pyproject.toml has it
# The smallest graph that shows whether CUDA multiplies doubles: y = x (1, 2) times ones (2, 1); see its test.
PROBE_GRAPH = (
    "2nae|3K0qccnSe`5&?N422EjfO?7M%0dOiC2m%NJ5DP*9cS;Zd000000PsHm000000PsIr6AA%%5)KLs2n!Mj3IYfL3IYfMViO7h"
    "c@ho^3<wJn2nqrS0SW>L0YU@{01y!"
)


_muting = threading.Lock()  # standard streams are those of the whole process


class SessionMaker:
    """Opens graphs with onnxruntime on one device.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA where it works and the CPU elsewhere.
    threads
        CPU threads of one product; all cores when None.

    Attributes
    ----------
    name
        ``"onnxruntime-cpu"`` or ``"onnxruntime-cuda"``.
    fallback
        Why ``"auto"`` took the CPU; None where it did not.

    Raises
    ------
    MissingDependencyError
        When CUDA is asked for and does not work, or onnxruntime is not installed.
    DeviceError
        When there is no such device.
    """

    def __init__(self, *, device: Device = "auto", threads: int | None = None) -> None:
        if device not in get_args(Device):
            raise DeviceError(f"device {device!r} is unknown; take one of {', '.join(get_args(Device))}")
        self._runtime = _import_runtime()
        obstacle = "the CPU was asked for" if device == "cpu" else _cuda_obstacle(self._runtime)
        if device == "cuda" and obstacle:
            raise MissingDependencyError(
                f"device 'cuda' does not work here: {obstacle}; install what is missing "
                "(pip install 'onnxruntime-gpu[cuda,cudnn]' and an NVIDIA driver) or take device 'cpu'"
            )
        self.fallback = obstacle if device == "auto" else None
        self.name = "onnxruntime-cpu" if obstacle else "onnxruntime-cuda"
        self._providers = ["CPUExecutionProvider"] if obstacle else _cuda_providers()
        self._options = self._runtime.SessionOptions()
        self._options.log_severity_level = _FATAL_ONLY  # errors are raised too, and then told in one line
        self._options.intra_op_num_threads = threads or 0
        # Between calls the codec works in NumPy; threads spinning meanwhile would take its cores.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def __call__(self, graph: bytes) -> Any:
        """An InferenceSession."""
        return self._runtime.InferenceSession(graph, self._options, providers=self._providers)


def _import_runtime() -> Any:
    try:
        with contextlib.nullcontext() if "onnxruntime" in sys.modules else _muted():
            import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(f"onnxruntime cannot be imported ({error}); pip install {_PACKAGE}") from None
    return onnxruntime


def _cuda_providers() -> list[Any]:
    # An arena that grows by what is asked for, not by powers of two, keeps to what a batch needs.
    return [(_CUDA, {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}), "CPUExecutionProvider"]


def _cuda_obstacle(runtime: Any) -> str | None:
    """Why CUDA cannot be used, or None when a double product ran on it with the right result."""
    if _CUDA not in runtime.get_available_providers():
        return "the installed onnxruntime is built without CUDA"
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"there is no NVIDIA driver ({driver})"
    try:
        with _muted():
            if hasattr(runtime, "preload_dlls"):
                runtime.preload_dlls()
            session = runtime.InferenceSession(b85decode(PROBE_GRAPH), providers=_cuda_providers())
            if _CUDA not in session.get_providers():
                return "onnxruntime cannot load its CUDA libraries"
            product = session.run(None, {"x": np.array([[3.0, 2.0**40]])})[0]
    except Exception as error:  # onnxruntime's errors have no common base, and whatever it is, CUDA does not work
        return "CUDA fails (" + str(error).strip().partition("\n")[0] + ")"
    return None if product.tolist() == [[3.0 + 2.0**40]] else "CUDA gives a wrong product"


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Keep onnxruntime from talking: it logs to file descriptor 2 on import, prints, and warns, whatever it is told."""
    with _muting, contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        with contextlib.suppress(OSError):  # a process without a terminal may have no descriptor 2
            saved = os.dup(2)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, 2)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 2)
            os.close(silence)
        yield
