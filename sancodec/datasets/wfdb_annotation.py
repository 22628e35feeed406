"""Beats as WFDB annotation files, in MIT format (WFDB Applications Guide, annot(5))."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sancodec.codec.beat_matching import ReferenceBeats
from sancodec.errors import InvalidSignalError, MissingDependencyError

_REFERENCE_SUFFIX = ".atr"
_NORMAL, _NOTE, _SKIP, _AUX = 1, 22, 59, 63
_CODE_SHIFT = 10
_MAX_INTERVAL = (1 << _CODE_SHIFT) - 1
_MAX_SKIP = (1 << 31) - 1
_RESOLUTION_NOTE = "## time resolution: "
_NORMAL_BEATS = "NLRB"  # class N of EC57
_FLUTTER_WAVE, _FLUTTER_BEGIN, _FLUTTER_END = "!", "[", "]"


def beats_content(positions: Iterable[int], *, sampling_rate_hz: Fraction) -> bytes:
    """An annotation file of normal beats that states its own time resolution.

    Parameters
    ----------
    positions
        Increasing, in samples.
    sampling_rate_hz
        Of the positions.

    Raises
    ------
    InvalidSignalError
        When a position cannot be written: below 0, not above the one before, or too far from it.
    """
    note = f"{_RESOLUTION_NOTE}{float(sampling_rate_hz):.12g}".encode("ascii")
    padding = b"\0" * (len(note) % 2)
    parts = [struct.pack("<HH", _NOTE << _CODE_SHIFT, _AUX << _CODE_SHIFT | len(note)), note, padding]
    before = 0
    for index, position in enumerate(positions):
        interval = position - before
        if interval < (0 if index == 0 else 1) or interval > _MAX_SKIP:
            raise InvalidSignalError(
                f"beat {index} at sample {position} after one at {before}: beats of an annotation file increase, "
                f"by at most {_MAX_SKIP} samples"
            )
        if interval > _MAX_INTERVAL:
            parts.append(struct.pack("<HHH", _SKIP << _CODE_SHIFT, interval >> 16, interval & 0xFFFF))
            interval = 0
        parts.append(struct.pack("<H", _NORMAL << _CODE_SHIFT | interval))
        before = position
    return b"".join([*parts, b"\0\0"])


def reference_beside(record: str) -> Path | None:
    """The annotation file ``.atr`` beside a WFDB record, named by header, signal file or without suffix."""
    path = Path(record)
    beside = (
        path.with_suffix(_REFERENCE_SUFFIX) if path.suffix in (".hea", ".dat") else Path(record + _REFERENCE_SUFFIX)
    )
    return beside if beside.is_file() else None


def import_wfdb() -> Any:
    """The wfdb package.

    Raises
    ------
    MissingDependencyError
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the versions of pandas to come
            import wfdb
            import wfdb.processing
    except ImportError as error:
        raise MissingDependencyError(
            f"QRS detection and reference annotations need wfdb ({error}): pip install 'sancodec[beats]'"
        ) from None
    return wfdb


def read_reference(path: Path, *, frame_rate_hz: float, sampling_rate_hz: float, n_samples: int) -> ReferenceBeats:
    """Read the beats of an annotation file.

    Parameters
    ----------
    frame_rate_hz
        Rate that annotations are counted in where neither the file nor a header beside it states one.
    sampling_rate_hz
        Of the positions returned.
    n_samples
        Length of the recording.

    Raises
    ------
    InvalidSignalError
        When the file cannot be read, has no beats, or is that of a longer recording.
    MissingDependencyError
        When wfdb is missing.
    """
    wfdb = import_wfdb()
    if not path.is_file():
        raise InvalidSignalError(f"{path}: there is no such annotation file")
    if not path.suffix:
        raise InvalidSignalError(f"{path}: an annotation file is named RECORD.ANNOTATOR, such as 100.atr")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers in foreign bytes
            read = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
    except Exception as error:  # whatever its parsing of foreign bytes meets
        raise InvalidSignalError(f"{path}: is no annotation file that wfdb can read ({error})") from None
    labels = wfdb.io.annotation.ann_labels
    beat_symbols = {label.symbol for label in labels if wfdb.io.annotation.is_qrs[label.label_store]} - {_FLUTTER_WAVE}
    scale = sampling_rate_hz / (read.fs or frame_rate_hz)
    positions = np.rint(np.asarray(read.sample) * scale).astype(np.int64)
    uncounted, beats, is_normal = [], [], []
    begin: int | None = None
    for position, symbol in zip(positions.tolist(), read.symbol, strict=True):
        if symbol == _FLUTTER_BEGIN:
            begin = position
        elif symbol == _FLUTTER_END and begin is not None:
            uncounted.append((begin, position))
            begin = None
        elif begin is None and symbol in beat_symbols:
            beats.append(position)
            is_normal.append(symbol in _NORMAL_BEATS)
    if begin is not None:
        uncounted.append((begin, n_samples))
    if not beats:
        raise InvalidSignalError(f"{path}: has no beats; name the file with the reference beats by --reference")
    if min(beats) < 0 or max(beats) >= n_samples:
        raise InvalidSignalError(
            f"{path}: has a beat at sample {max(beats)}; the recording has {n_samples}. Is it that of another record?"
        )
    return ReferenceBeats(np.array(beats, np.int64), np.array(is_normal, bool), tuple(uncounted))
