"""Networks of the future work of arXiv:1907.06592, one class or function for each idea, and how they are trained.

Section VI of the paper wants the extrema distance annealed by a cosine and kernels that compete for territory, section
V kernels that have a scale beside their amplitude. What proved useful is in the package; these are all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from sancodec.san.activations import EXTREMA, Activation
from sancodec.san.metrics import Score, normalised_loss
from sancodec.san.network import Decomposition, zeros_around
from sancodec.training.activations import competing_extrema
from sancodec.training.san import SAN
from sancodec.training.san_config import TrainingConfig
from sancodec.training.windows import SplitWindows

TOLERANCE = 3


class Network(Protocol):
    """What is trained here: a network that knows how many numbers describe it."""

    n_weights: int
    numbers_per_activation: int

    def decompose(self, signals: torch.Tensor) -> Decomposition[torch.Tensor]: ...


class Plain(SAN):
    """The network of the package."""

    numbers_per_activation = 2

    @property
    def n_weights(self) -> int:
        return sum(kernel.numel() for kernel in self.kernels)


class ByMagnitude(Plain):
    """Kernels compete by |s|, whatever their norm."""

    def _active(self, similarities: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        one = [torch.ones((), dtype=torch.float64)] * len(similarities)
        return competing_extrema(similarities, self.activations, norms=one, n_dims=1)


class Scaled(torch.nn.Module):
    """One shape w(t) in several time scales, w(t / s) / √s, that compete for territory.

    An activation says which of several scales it has, which is one more number. The scales are numbers of the network,
    but for a single one that is 1.

    Parameters
    ----------
    size
        Weights of the shape.
    scales
        Time scales at the start.
    learned
        Whether they are trained, as their logarithms.
    """

    def __init__(self, size: int, scales: Sequence[float], *, learned: bool, seed: int | None) -> None:
        super().__init__()
        self.shape = torch.nn.Parameter(SAN([size], [Activation("identity")], n_dims=1, seed=seed).kernels[0].detach())
        self.log_scales = torch.nn.Parameter(torch.tensor(scales).log(), requires_grad=learned)
        self.n_weights = size + (0 if tuple(scales) == (1.0,) and not learned else len(scales))
        self.numbers_per_activation = 2 if len(scales) == 1 else 3

    def expanded(self) -> list[torch.Tensor]:
        """The shape in each scale."""
        return [stretched(self.shape, scale) / scale.sqrt() for scale in self.log_scales.exp()]

    def decompose(self, signals: torch.Tensor) -> Decomposition[torch.Tensor]:
        kernels = self.expanded()
        activations = [
            Activation(EXTREMA, minimum_extrema_distance=len(kernel), border_tolerance=TOLERANCE) for kernel in kernels
        ]
        similarities = tuple(_correlate(signals, kernel) for kernel in kernels)
        norms = [kernel.detach().double().norm() for kernel in kernels]
        maps = competing_extrema(similarities, activations, norms=norms, n_dims=1)
        partials = tuple(_correlate(each, kernel) for each, kernel in zip(maps, kernels, strict=True))
        return Decomposition(similarities, maps, partials, torch.stack(partials).sum(dim=0))


def stretched(shape: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """w(t / s) around the middle of the shape, between its weights along a line; 0 beyond its ends."""
    size = len(shape)
    length = max(1, min(1000, round(size * float(scale.detach()))))
    at = (torch.arange(length, dtype=shape.dtype) - (length - 1) / 2) / scale + (size - 1) / 2
    padded = functional.pad(shape, (1, 2))
    at = (at + 1).clamp(0, size + 1)
    before = at.detach().floor().long()
    share = at - before
    return padded[before] * (1 - share) + padded[before + 1] * share


def annealed_distance(distance: int, *, start: float, epoch: int, n_epochs: int) -> int:
    """From ``start`` times a distance in the first epoch to the distance in the last one, along half a cosine."""
    share = (1 + math.cos(math.pi * epoch / max(1, n_epochs - 1))) / 2
    return max(1, round(distance * (1 + (start - 1) * share)))


@dataclass(frozen=True)
class Trained:
    """A network of its best epoch."""

    module: Any
    validation: Score
    test: Score
    n_activations: list[int]


def train(module: Any, windows: SplitWindows, *, seed: int, n_epochs: int, anneal_from: float | None = None) -> Trained:
    """As ``sancodec.training.san_training.train_san``, for any of the networks here.

    Parameters
    ----------
    anneal_from
        Extrema distance of the first epoch by that of the last. Validation and test have the last one.
    """
    config = TrainingConfig(EXTREMA, (1,))
    train_windows, validation, test = (
        torch.from_numpy(np.array(part)) for part in (windows.train, windows.validation, windows.test)
    )
    trained = [each for each in module.parameters() if each.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    best: Score | None = None
    kept: dict[str, torch.Tensor] = {}
    for epoch in range(n_epochs):
        order = torch.randperm(len(train_windows), generator=generator)
        restore = _annealed(module, anneal_from, epoch, n_epochs)
        for chosen in torch.split(order, config.batch_size):
            batch = train_windows[chosen]
            loss = functional.l1_loss(module.decompose(batch).reconstruction, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        restore()
        score, _ = evaluate(module, validation)
        if not score.is_finite:
            break
        if best is None or score.phi < best.phi:
            best, kept = score, {name: value.clone() for name, value in module.state_dict().items()}
    assert best is not None
    module.load_state_dict(kept)
    score, counts = evaluate(module, test)
    return Trained(module, best, score, counts)


def evaluate(module: Network, windows: torch.Tensor) -> tuple[Score, list[int]]:
    """φ̄ of windows, equations 4 to 7 with what an activation of this network costs; and activations of each kernel."""
    with torch.no_grad():
        found = module.decompose(windows)
    counts = torch.stack([torch.count_nonzero(each, dim=(1, 2)) for each in found.activation_maps]).numpy()
    n_numbers = module.n_weights + module.numbers_per_activation * counts.sum(axis=0)
    inverse_ratio = n_numbers / windows.shape[-1]
    loss = normalised_loss(found.reconstruction.numpy(), windows.numpy())
    score = Score(float(inverse_ratio.mean()), float(loss.mean()), float(np.hypot(inverse_ratio, loss).mean()))
    return score, [int(each) for each in counts.sum(axis=1)]


def _annealed(module: Any, start: float | None, epoch: int, n_epochs: int) -> Callable[[], None]:
    """Give a network the distance of an epoch; what is returned gives its own back."""
    if start is None:
        return lambda: None
    final = module.activations

    def restore() -> None:
        module.activations = final

    module.activations = tuple(
        replace(
            each,
            minimum_extrema_distance=annealed_distance(each.sparsity, start=start, epoch=epoch, n_epochs=n_epochs),
        )
        for each in final
    )
    return restore


def _correlate(signals: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return functional.conv1d(functional.pad(signals, zeros_around(len(kernel))), kernel[None, None])
