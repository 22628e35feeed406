"""Labelled windows of the paper's experiments on classification, and invented ones to try the scripts with."""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.errors import InvalidSignalError
from sancodec.san.normalisation import PEAK, RANGE, Normalisation, fit_normalisation
from sancodec.training.window_files import read_csv, read_idx, read_npy
from sancodec.training.windows import SplitWindows

Labels = NDArray[np.int64]
# Section IV-B: 76, 12 and 12 % of 11,500 rows in their order; classes 2 and 3 are one, 4 and 5 another.
UCI_ENDS = (8740, 10120)
_UCI_CLASSES = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
# Section IV-C: of 60,000 images for training the last 10,000 validate; of fewer as large a share does.
_VALIDATION_SHARE = 6
_IMAGE_PEAK = 255.0
_IDX_LABELS = b"\0\0\x08\x01"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledWindows:
    """Windows of three parts, and the class of each, counted from 0.

    Parameters
    ----------
    windows
        Normalised.
    train, validation, test
        int64, shape ``(window,)``.
    n_classes
        As many outputs has a classifier.
    """

    windows: SplitWindows
    train: Labels
    validation: Labels
    test: Labels
    n_classes: int

    def __post_init__(self) -> None:
        parts = (
            (self.windows.train, self.train),
            (self.windows.validation, self.validation),
            (self.windows.test, self.test),
        )
        for windows, labels in parts:
            if len(windows) != len(labels):
                raise InvalidSignalError(f"{self.windows.source}: {len(windows)} windows have {len(labels)} labels")

    @property
    def sha256(self) -> str:
        """Digest of windows and labels, as text."""
        digest = hashlib.sha256(self.windows.sha256.encode())
        for labels in (self.train, self.validation, self.test):
            digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()


def uci_epilepsy(folder: Path) -> LabelledWindows:
    """UCI-epilepsy: tumour and eyes merged to one class each, scaled to -1…1 by the extremes of the whole set."""
    path = folder / "data.csv"
    windows = read_csv(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        labels = np.array([_UCI_CLASSES[int(float(row["y"]))] for row in csv.DictReader(file)], np.int64)
    return _split("uci-epilepsy", windows, labels, ends=UCI_ENDS, normalisation=fit_normalisation(RANGE, windows))


def mnist(folder: Path) -> LabelledWindows:
    """MNIST in 0…1: 50,000 images to train on, 10,000 to validate, 10,000 to test."""
    return _images(
        "mnist",
        (read_idx(folder / "train-images-idx3-ubyte.gz"), read_labels(folder / "train-labels-idx1-ubyte.gz")),
        (read_idx(folder / "t10k-images-idx3-ubyte.gz"), read_labels(folder / "t10k-labels-idx1-ubyte.gz")),
    )


def part_of_fashion_mnist(folder: Path) -> LabelledWindows:
    """The part of Fashion-MNIST at hand: 3,615 images of 10 classes for training, 5,000 of classes 0–4 for test."""
    images = read_idx(folder / "train-images-first3615.idx3-ubyte")
    labels = read_labels(folder / "train-labels-idx1-ubyte.gz")[: len(images)]
    table = read_npy(folder / "fashion_test_5000x785.npy")  # (image, 784 pixels and the class)
    side = images.shape[1]
    return _images("fashion-mnist", (images, labels), (table[:, :-1].reshape(-1, side, side), table[:, -1]))


def read_labels(path: Path) -> NDArray[np.uint8]:
    """An IDX file of labels, gzipped.

    Raises
    ------
    InvalidSignalError
        When it cannot be read or holds anything else.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error}") from None
    n_labels = int.from_bytes(content[4:8], "big")
    if content[:4] != _IDX_LABELS or len(content) != 8 + n_labels:
        raise InvalidSignalError(f"{path}: is no IDX file of labels; its first bytes are {content[:8].hex(' ')}")
    return np.frombuffer(content, np.uint8, offset=8)


def invented_signals(seed: int = 0) -> LabelledWindows:
    """240 windows in three classes that differ in frequency, of the length of those of UCI-epilepsy."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 240)
    phases = generator.uniform(0, 2 * np.pi, (240, 1))
    turns = 2 * np.pi * np.arange(178) / 178 * (4 + 6 * labels[:, None])  # (window, sample)
    windows = np.sin(turns + phases) + 0.2 * generator.normal(size=(240, 178))
    return _split("invented", windows, labels, ends=(120, 180), normalisation=fit_normalisation(RANGE, windows))


def invented_images(seed: int = 0) -> LabelledWindows:
    """300 images in ten classes that differ in the row of a bright bar, of the size of those of MNIST."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, 300)
    images = generator.integers(0, 20, (300, 28, 28))
    for image, label in zip(images, labels, strict=True):
        start = int(generator.integers(2, 12))
        image[2 * label + 3 : 2 * label + 6, start : start + 14] = 230
    return _images("invented", (images[:240], labels[:240]), (images[240:], labels[240:]))


def _images(
    source: str, train: tuple[NDArray[Any], NDArray[Any]], test: tuple[NDArray[Any], NDArray[Any]]
) -> LabelledWindows:
    n_train = len(train[0]) - len(train[0]) // _VALIDATION_SHARE
    return _split(
        source,
        np.concatenate([train[0], test[0]]),
        np.concatenate([train[1], test[1]]).astype(np.int64),
        ends=(n_train, len(train[0])),
        normalisation=Normalisation(PEAK, scale=_IMAGE_PEAK),
    )


def _split(
    source: str, windows: NDArray[Any], labels: Labels, *, ends: tuple[int, int], normalisation: Normalisation
) -> LabelledWindows:
    first, second = ends
    normalised = normalisation(windows)[:, None]  # (window, 1, …)
    return LabelledWindows(
        SplitWindows(normalised[:first], normalised[first:second], normalised[second:], normalisation, None, source),
        labels[:first],
        labels[first:second],
        labels[second:],
        int(labels.max()) + 1,
    )
