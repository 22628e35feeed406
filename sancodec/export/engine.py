"""Similarity and synthesis by onnxruntime, on the CPU or with CUDA."""

from __future__ import annotations

import threading
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import transform
from sancodec.codec.kernels import Model
from sancodec.errors import DeviceError, MissingDependencyError
from sancodec.export.batches import Arrays, Batches, Run
from sancodec.export.sessions import Device, SessionMaker

BATCH_SAMPLES = 1 << 22
_FOLDER = resources.files("sancodec") / "models"
_MAX_SESSIONS = 16


class OnnxEngine:
    """Runs the graphs of ``sancodec.export.graphs``; the interface of ``sancodec.codec.synthesis.Engine``.

    Threads may share an engine: what they ask for at the same time is computed together.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA where it works and the CPU elsewhere; `fallback` then says why.
    threads
        CPU threads of one product; all cores when None.
    batch_samples
        Samples of one run, over all chunks, channels and files; each takes about 64 bytes of the device's memory. A
        single chunk of a single channel may have more.

    Raises
    ------
    MissingDependencyError
        When CUDA is asked for and does not work, or onnxruntime is not installed; later, when a model that does not
        ship with its graphs needs ``onnx`` to build them.
    DeviceError
        Later, when the device fails.
    """

    def __init__(
        self, *, device: Device = "auto", threads: int | None = None, batch_samples: int = BATCH_SAMPLES
    ) -> None:
        self._sessions_of = SessionMaker(device=device, threads=threads)
        self.name = self._sessions_of.name
        self.fallback = self._sessions_of.fallback
        self._batches = Batches(max_samples=batch_samples)
        self._runs: dict[tuple[bytes, str], Run] = {}
        self._guard = threading.Lock()

    def similarity(self, model: Model, signals: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """As ``sancodec.codec.transform.similarity``, up to float rounding."""
        if not signals.size:
            return transform.similarity(model, signals)
        n_signals, length = signals.shape
        similarities = [
            np.empty((n_signals, length // group.stride, group.n_kernels), np.float32) for group in model.groups
        ]
        run = self._run_of(model, "similarity")
        self._batches(run, [np.asarray(signals, np.float32)], similarities, samples_per_row=length)
        return similarities

    def synthesise(self, model: Model, amplitudes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """As ``sancodec.codec.transform.synthesise``, bit for bit."""
        n_signals, n_windows, _ = amplitudes[0].shape
        length = n_windows * model.groups[0].stride
        signals = np.empty((n_signals, length))
        if signals.size:
            exact = [np.asarray(each, np.float64) for each in amplitudes]
            self._batches(self._run_of(model, "synthesis"), exact, [signals], samples_per_row=length)
        return signals

    def _run_of(self, model: Model, kind: str) -> Run:
        key = (model.sha256, kind)
        with self._guard:
            if key not in self._runs:
                if len(self._runs) >= _MAX_SESSIONS:
                    self._runs.pop(next(iter(self._runs)))
                try:
                    session = self._opened(model, kind)
                except MissingDependencyError:
                    raise
                except Exception as error:  # onnxruntime's errors have no common base
                    raise _device_error(self.name, error) from None
                self._runs[key] = _bound(session, self.name)
            return self._runs[key]

    def _opened(self, model: Model, kind: str) -> Any:
        graph = _shipped_graph(model.name, kind)
        if graph is not None:
            session = self._sessions_of(graph)
            if session.get_modelmeta().custom_metadata_map.get("sha256") == model.sha256.hex():
                return session
        return self._sessions_of(_built_graph(model, kind))


def _bound(session: Any, name: str) -> Run:
    """A run that reads and writes the caller's arrays where they lie."""
    input_names = [value.name for value in session.get_inputs()]
    output_names = [value.name for value in session.get_outputs()]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        binding = session.io_binding()
        try:
            for value, array in zip(input_names, inputs, strict=True):
                binding.bind_input(value, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            for value, array in zip(output_names, outputs, strict=True):
                binding.bind_output(value, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            binding.synchronize_inputs()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except Exception as error:  # as above
            raise _device_error(name, error) from None

    return run


def _device_error(name: str, error: Exception) -> DeviceError:
    reason = str(error).strip().partition("\n")[0]
    advice = "take device 'cpu', or smaller batches" if name.endswith("cuda") else "take smaller batches, or NumPy"
    return DeviceError(f"{name} fails ({reason}); {advice}")


def _shipped_graph(name: str, kind: str) -> bytes | None:
    """A model's graph from the package; names come from files, so they are only compared, never joined to a path."""
    wanted = f"{name}.{kind}.onnx"
    return next((item.read_bytes() for item in _FOLDER.iterdir() if item.name == wanted), None)


def _built_graph(model: Model, kind: str) -> bytes:
    try:
        from sancodec.export.graphs import graph_bytes
    except ImportError:
        raise MissingDependencyError(
            f"model {model.name!r} does not ship with ONNX graphs, and building them needs onnx; "
            "install it with pip install sancodec[train]"
        ) from None
    return graph_bytes(model, kind)
