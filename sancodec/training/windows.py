"""Sources of windows for training: recordings are cut, arrays taken as they are; then checked, split and normalised."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.datasets.wfdb_source import WfdbSource, open_wfdb
from sancodec.errors import InvalidSignalError, SancodecError
from sancodec.san.normalisation import KINDS, WINDOW, Normalisation, fit_normalisation
from sancodec.training.window_files import is_idx, read_csv, read_idx, read_npy

DEFAULT_LENGTH = 1000
PUBLISHED_SPLIT = (6.0, 2.0, 4.0)
_PARTS = ("training", "validation", "test")
_MIN_RECORDS = len(_PARTS)


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """What to take from a source, and how to divide it.

    Parameters
    ----------
    length
        Samples of a window of recordings; 1000 by default. Arrays, tables and images bring windows of their own.
    channel
        Of recordings: index, or name.
    first
        Take only so many samples of each recording, or so many windows.
    exclude
        Names of records of a folder to leave out.
    split
        Shares of training, validation and test, in this order along the source. 6, 2 and 4 as in arXiv:1907.06592,
        section IV-A. Folders of three records or more are divided between records.
    normalisation
        ``window``, ``range``, ``peak`` or ``none``; see ``Normalisation``.
    skip_unusable
        Leave out windows that are constant or have missing samples, instead of refusing the source.

    Raises
    ------
    InvalidSignalError
        When a value is out of range.
    """

    length: int | None = None
    channel: int | str = 0
    first: int | None = None
    exclude: tuple[str, ...] = ()
    split: tuple[float, ...] = PUBLISHED_SPLIT
    normalisation: str = WINDOW
    skip_unusable: bool = False

    def __post_init__(self) -> None:
        if self.length is not None and self.length < 2:
            raise InvalidSignalError(f"window length is {self.length} samples; at least 2 are needed")
        if self.first is not None and self.first < 1:
            raise InvalidSignalError(f"the first {self.first} samples were asked for; at least 1 is needed")
        if len(self.split) != len(_PARTS) or not all(math.isfinite(share) and share > 0 for share in self.split):
            shares = "/".join(f"{share:g}" for share in self.split)
            raise InvalidSignalError(f"split is {shares}; three shares above 0 are needed, such as 6/2/4")
        if self.normalisation not in KINDS:
            raise InvalidSignalError(f"normalisation {self.normalisation!r} is unknown; known are {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True, eq=False)
class SplitWindows:
    """Normalised windows for training, validation and test.

    Parameters
    ----------
    train, validation, test
        float32, shape ``(window, 1, sample)`` or ``(window, 1, row, column)``.
    normalisation
        What was done to them.
    sampling_rate_hz
        None where the source states none.
    source
        Its name.
    """

    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    normalisation: Normalisation
    sampling_rate_hz: float | None
    source: str

    @property
    def window(self) -> tuple[int, ...]:
        """Shape of one window: ``(sample,)`` or ``(row, column)``."""
        return self.train.shape[2:]

    @property
    def sha256(self) -> str:
        """Digest of shapes and samples, as text."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(f"{part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part, "<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """Windows in stored units ``(window, …)``, NaN where samples are missing.

    Of a folder: the names of its records, and how many windows there are to the end of each.
    """

    windows: NDArray[Any]
    sampling_rate_hz: float | None = None
    names: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()

    def name_of(self, index: int) -> str:
        """A window, for messages."""
        if not self.names:
            return f"window {index}"
        record = int(np.searchsorted(self.ends, index, side="right"))
        return f"window {index - (0, *self.ends)[record]} of record {self.names[record]}"


def read_windows(source: str | Path, options: WindowOptions = WindowOptions()) -> SplitWindows:
    """Windows of a source, checked, split and normalised.

    Parameters
    ----------
    source
        A WFDB record (header, signal file, or name without suffix), a folder of WFDB records, a ``.npy`` array
        ``(window, sample)``, ``(window, row, column)`` or ``(sample,)``, a ``.csv`` table in the layout of
        UCI-epilepsy, or an IDX file as of MNIST. Of recordings the stored integers are taken.

    Raises
    ------
    InvalidSignalError
        When it cannot be read, has too few windows for three parts, or has windows that are constant or have samples
        that are NaN, infinite or missing.
    """
    path = Path(source)
    raw = _read(path, options)
    raw = _usable(path, raw, skip=options.skip_unusable)
    first, second = _cuts(path, raw, options.split)
    normalisation = fit_normalisation(options.normalisation, raw.windows)
    windows = normalisation(raw.windows)[:, None]  # (window, 1, …)
    return SplitWindows(
        windows[:first], windows[first:second], windows[second:], normalisation, raw.sampling_rate_hz, path.name
    )


def _read(path: Path, options: WindowOptions) -> _Raw:
    if path.is_dir():
        return _folder(path, options)
    if path.suffix == ".npy":
        values = read_npy(path)
        if values.ndim == 1:
            return _Raw(_cut(path, values[: options.first], options))
        return _ready(path, values, options)
    if path.suffix == ".csv":
        return _ready(path, read_csv(path), options)
    if is_idx(path):
        return _ready(path, read_idx(path), options)
    samples, rate_hz = _record(path, options)
    return _Raw(_cut(path, samples, options), rate_hz)


def _ready(path: Path, windows: NDArray[Any], options: WindowOptions) -> _Raw:
    if options.length is not None and windows.shape[1:] != (options.length,):
        size = " × ".join(map(str, windows.shape[1:]))
        raise InvalidSignalError(
            f"{path}: its windows are of {size} samples; a window length of {options.length} is for recordings only"
        )
    return _Raw(windows[: options.first])


def _folder(folder: Path, options: WindowOptions) -> _Raw:
    headers = [each for each in sorted(folder.glob("*.hea")) if each.stem not in options.exclude]
    if not headers:
        left_out = f" besides those left out ({', '.join(options.exclude)})" if options.exclude else ""
        raise InvalidSignalError(f"{folder}: there is no WFDB record (.hea) in this folder{left_out}")
    parts, rates_hz = list[NDArray[np.float64]](), dict[float, str]()
    for header in headers:
        samples, rate_hz = _record(header, options)
        rates_hz.setdefault(rate_hz, header.stem)
        if len(rates_hz) > 1:
            (one_hz, one), (other_hz, other) = rates_hz.items()
            raise InvalidSignalError(
                f"{folder}: records have different sampling rates: {one} {one_hz:g} Hz, {other} {other_hz:g} Hz; "
                "leave some out with --exclude"
            )
        parts.append(_cut(header, samples, options))
    names, ends = tuple(header.stem for header in headers), tuple(np.cumsum([len(part) for part in parts]).tolist())
    return _Raw(np.concatenate(parts), next(iter(rates_hz)), names, ends)


def _record(path: Path, options: WindowOptions) -> tuple[NDArray[np.float64], float]:
    try:
        with open_wfdb(path) as record:
            index = _channel_index(path, record, options.channel)
            channel = record.channels[index]
            per_frame = channel.samples_per_frame
            n_frames = record.n_frames if options.first is None else math.ceil(options.first / per_frame)
            stored = record.frames(0, min(n_frames, record.n_frames))[index][: options.first]
            rate_hz = float(record.frame_rate_hz * per_frame)
    except SancodecError as error:
        text = str(error)
        raise type(error)(text if str(path) in text else f"{path}: {text}") from None
    samples = stored.astype(np.float64)
    if channel.invalid is not None:
        samples[stored == channel.invalid] = np.nan
    return samples, rate_hz


def _channel_index(path: Path, record: WfdbSource, channel: int | str) -> int:
    names = [each.name for each in record.channels]
    if isinstance(channel, str) and channel in names:
        return names.index(channel)
    if isinstance(channel, int) or channel.isdecimal():
        index = int(channel)
        if 0 <= index < len(names):
            return index
    listed = ", ".join(f"{index} {name}" for index, name in enumerate(names))
    raise InvalidSignalError(f"{path}: has no channel {channel!r}; it has {listed}")


def _cut(path: Path, samples: NDArray[Any], options: WindowOptions) -> NDArray[Any]:
    length = options.length or DEFAULT_LENGTH
    n_windows = len(samples) // length
    if not n_windows:
        raise InvalidSignalError(
            f"{path}: {len(samples)} samples are less than one window of {length}; give a smaller --window"
        )
    return samples[: n_windows * length].reshape(n_windows, length)


def _usable(path: Path, raw: _Raw, *, skip: bool) -> _Raw:
    axes = tuple(range(1, raw.windows.ndim))
    lows, highs = raw.windows.min(axis=axes), raw.windows.max(axis=axes)  # NaN where a sample is
    has_missing = ~(np.isfinite(lows) & np.isfinite(highs))
    is_constant = lows == highs
    unusable = has_missing | is_constant
    if not unusable.any():
        return raw
    if not skip:
        index = int(np.flatnonzero(unusable)[0])
        missing, constant = "samples that are NaN, infinite or missing", "zero variance (it is constant)"
        raise InvalidSignalError(
            f"{path}: {int(unusable.sum())} of {len(unusable)} windows cannot be used; the first, {raw.name_of(index)} "
            f"counted from 0, has {missing if has_missing[index] else constant}. Choose another part or channel, or "
            "leave such windows out with --skip-unusable"
        )
    kept = np.concatenate([[0], np.cumsum(~unusable)])
    ends = tuple(int(kept[end]) for end in raw.ends)
    return _Raw(raw.windows[~unusable], raw.sampling_rate_hz, raw.names, ends)


def _cuts(path: Path, raw: _Raw, split: Sequence[float]) -> tuple[int, int]:
    """Where validation and test begin: as near to the shares as windows, or records, allow."""
    n_windows = len(raw.windows)
    between_records = len(raw.ends) >= _MIN_RECORDS
    allowed = sorted(set(raw.ends if between_records else range(1, n_windows)) - {0, n_windows})
    if len(allowed) < len(_PARTS) - 1:
        what = f"records with usable windows: {len(allowed) + 1}" if between_records else f"{n_windows} windows"
        raise InvalidSignalError(f"{path}: {what}; {', '.join(_PARTS)} need one each at least")
    shares = np.cumsum(split) / np.sum(split) * n_windows
    first = min(allowed[:-1], key=lambda cut: abs(cut - shares[0]))
    second = min((cut for cut in allowed if cut > first), key=lambda cut: abs(cut - shares[1]))
    return first, second
