"""The only place where the benchmarks touch sancodec: adapt this file when its interface changes.

Expected: ``sancodec.compress(recording, prdn=..., level=..., chunk_s=...) -> bytes`` (``max_error_adu`` and
``lossless`` once they exist) and ``sancodec.decompress_recording(blob) -> Recording``. What is not there yet is left
out of the results. Heavy imports are local: `speed.py` measures the memory of children, which starts at the parent's.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peers import Coded
    from quality import Kind, Target
    from records import Lead, Record

KEYWORDS: dict[Kind, str] = {"prdn": "prdn", "max_error": "max_error_adu", "lossless": "lossless"}


def _sancodec() -> ModuleType | None:
    return importlib.import_module("sancodec") if importlib.util.find_spec("sancodec") else None


def offers(kind: Kind) -> bool:
    """Tell whether the installed sancodec can promise this kind of quality."""
    module = _sancodec()
    if module is None or not hasattr(module, "compress") or not hasattr(module, "decompress_recording"):
        return False
    return KEYWORDS[kind] in inspect.signature(module.compress).parameters


def recording_of(record: Record, leads: Sequence[Lead]) -> Any:
    """A ``sancodec.Recording`` of some leads, without missing samples' marks and side files."""
    import numpy as np

    from sancodec.codec.recording import Channel, Recording

    return Recording(
        channels=tuple(
            Channel(
                name=lead.name,
                unit=lead.unit,
                gain=lead.gain,
                baseline=lead.baseline,
                resolution_bits=lead.resolution_bits,
                minimum=min(-(2**15), int(lead.samples.min())),
                maximum=max(2**15 - 1, int(lead.samples.max())),
            )
            for lead in leads
        ),
        samples=tuple(lead.samples.astype(np.int32) for lead in leads),
        frame_rate_hz=record.frame_rate_hz,
    )


def calls(
    record: Record, leads: Sequence[Lead], target: Target, *, level: int, chunk_s: float | None
) -> tuple[Callable[[], bytes], Callable[[bytes], Any]]:
    """Return what compresses these leads into one container, and what decodes a container into a Recording.

    Side files (the ``.hea`` text) are not carried, since no peer carries them; names, gains and checksums are.
    """
    import sancodec

    recording = recording_of(record, leads)
    promise = {KEYWORDS[target.kind]: True if target.kind == "lossless" else target.value}
    return lambda: sancodec.compress(recording, **promise, level=level, chunk_s=chunk_s), sancodec.decompress_recording


def code(record: Record, leads: Sequence[Lead], target: Target, *, level: int, chunk_s: float | None) -> Coded:
    """Compress leads of a record into one container, decode it and check the promise on every lead.

    Raises
    ------
    ValueError
        A decoded lead misses the target.
    """
    import numpy as np
    from peers import Coded

    compress, decompress = calls(record, leads, target, level=level, chunk_s=chunk_s)
    start = time.perf_counter()
    blob = compress()
    encoded = time.perf_counter()
    recording = decompress(blob)
    finished = time.perf_counter()
    decoded = tuple(np.asarray(y, dtype=np.int64) for y in recording.samples)
    for lead, y in zip(leads, decoded, strict=True):
        error = target.error(lead.samples, y)
        if error > target.value:
            raise ValueError(f"sancodec, lead {lead.name!r}: {target.kind} is {error}; the target is {target.value:g}")
    return Coded(len(blob), decoded, encoded - start, finished - encoded)


def command() -> list[str] | None:
    """Return the command line of the installed sancodec, beside this Python first, or None."""
    beside = Path(sys.executable).parent / "sancodec"
    found = str(beside) if beside.exists() else shutil.which("sancodec")
    return [found] if found else None


def compress_arguments(source: Path, output: Path, *, prdn: float, level: int) -> list[str]:
    return ["compress", str(source), "-o", str(output), "-f", "--prdn", f"{prdn:g}", "--level", str(level)]


def decompress_arguments(source: Path, output: Path) -> list[str]:
    return ["decompress", str(source), "-o", str(output), "-f"]
