"""The classifiers of sections IV-B and IV-C of arXiv:1907.06592, for raw windows and for reconstructions alike.

The published code means to keep the epoch with the best figure on the validation windows, but keeps the network that
goes on changing, and so tests the last epoch; here the weights of the epoch with the best accuracy on the validation
windows are kept, and the accuracy of the last epoch stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

CNN, FNN = ("cnn", "fnn")
_EVALUATED_AT_ONCE = 1024
Part = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """One kind of classifier and its training, once for every seed.

    Parameters
    ----------
    kind
        ``cnn``: two convolutions of 3 and 16 filters of 5 samples, each with ReLU and max-pooling by 2, then layers of
        120 and 84 units. ``fnn``: one linear layer.
    n_epochs, batch_size, learning_rate
        Of Adam on the cross-entropy.
    seeds
        Of the initial weights and the order of the windows.
    """

    kind: str
    n_epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 0.01
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one trained classifier on the test windows, in percent.

    Parameters
    ----------
    best
        Of the epoch with the best accuracy on the validation windows, the first of equal ones.
    last
        Of the last epoch, which is the one that the published code tests.
    """

    best: float
    last: float


def accuracies(config: ClassifierConfig, parts: Sequence[Part], *, n_classes: int) -> list[Accuracy]:
    """Train a classifier for every seed.

    Parameters
    ----------
    parts
        Training, validation and test: windows ``(window, 1, …)`` and their classes ``(window,)``.
    """
    return [_accuracy(config, parts, n_classes, seed) for seed in config.seeds]


def classifier(kind: str, window: tuple[int, ...], n_classes: int) -> nn.Module:
    """An untrained network for windows ``(batch, 1, *window)``."""
    if kind == FNN:
        return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(window).numel(), n_classes))
    convolutions = nn.Sequential(
        nn.Conv1d(1, 3, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(3, 16, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()
    )
    n_features = ((window[0] - 4) // 2 - 4) // 2 * 16  # 656 of 178 samples
    return nn.Sequential(
        convolutions,
        nn.Linear(n_features, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, n_classes),
    )


def _accuracy(config: ClassifierConfig, parts: Sequence[Part], n_classes: int, seed: int) -> Accuracy:
    (windows, labels), validation, test = parts
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = classifier(config.kind, tuple(windows.shape[2:]), n_classes)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    best_validation, best, last = -1.0, 0.0, 0.0
    for _epoch in range(config.n_epochs):
        for chosen in torch.split(torch.randperm(len(windows), generator=generator), config.batch_size):
            loss = functional.cross_entropy(network(windows[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        last = _percent_correct(network, test)
        of_validation = _percent_correct(network, validation)
        if of_validation > best_validation:
            best_validation, best = of_validation, last
    return Accuracy(best, last)


def _percent_correct(network: nn.Module, part: Part) -> float:
    windows, labels = part
    with torch.no_grad():
        found = torch.cat([network(some).argmax(dim=1) for some in torch.split(windows, _EVALUATED_AT_ONCE)])
    return 100 * float((found == labels).double().mean())
