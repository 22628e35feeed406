"""The published Sparsely Activated Network in torch; ``sancodec.san.network`` states its equations and padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import Activation, check_competition
from sancodec.san.network import (
    NOT_FINITE,
    Decomposition,
    SparselyActivatedNetwork,
    check_pairing,
    check_signals,
    zeros_around,
)
from sancodec.training.activations import activation_map, competing_extrema

_INITIAL_WEIGHT = 0.1
_AXES = ("sample",), ("row", "column")


class SAN(torch.nn.Module):
    """Kernels shared by encoder and decoder, with a sparse activation each (section III-B of arXiv:1907.06592).

    Parameters
    ----------
    kernel_sizes
        Samples of each kernel, odd or even; in two dimensions kernels are square.
    activations
        One for each kernel.
    n_dims
        1 for signals ``(batch, 1, sample)``, 2 for images ``(batch, 1, row, column)``.
    seed
        None: all weights start at 0.1, as in the published code. Kernels of one size and one activation then stay
        equal, since their gradients are. With a seed weights are drawn from a normal distribution of mean 0 and
        standard deviation 0.1, as section IV of the paper says.
    competing
        Whether kernels compete for territory (``sancodec.san.activations.competing_extrema``).

    Raises
    ------
    InvalidSignalError
        When there is no kernel, a size is below 1, there are more or fewer activations, or one that competes is not
        ``extrema``.
    """

    def __init__(
        self,
        kernel_sizes: Sequence[int],
        activations: Sequence[Activation],
        *,
        n_dims: int,
        seed: int | None = None,
        competing: bool = False,
    ) -> None:
        super().__init__()
        check_pairing(len(kernel_sizes), activations)
        if competing:
            check_competition(activations)
        if n_dims not in (1, 2):
            raise InvalidSignalError(f"n_dims must be 1 or 2, not {n_dims!r}")
        for size in kernel_sizes:
            if size < 1:
                raise InvalidSignalError(f"kernel size {size!r} is below 1")
        self.n_dims = n_dims
        self.activations = tuple(activations)
        self.competing = competing
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        self.kernels = torch.nn.ParameterList(
            torch.nn.Parameter(_initial((size,) * n_dims, generator)) for size in kernel_sizes
        )

    @classmethod
    def of(cls, network: SparselyActivatedNetwork) -> SAN:
        """The torch twin of a network, with a copy of its kernels as float32."""
        module = cls([1] * len(network.kernels), network.activations, n_dims=network.n_dims)
        module.kernels = torch.nn.ParameterList(
            torch.nn.Parameter(torch.tensor(kernel, dtype=torch.float32)) for kernel in network.kernels
        )
        return module

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        """x̂, of the shape of the signals.

        Parameters
        ----------
        signals
            Shape ``(batch, 1, sample)`` or ``(batch, 1, row, column)``, of the type of the kernels.

        Raises
        ------
        InvalidSignalError
            When the shape is another, an axis is shorter than a kernel, samples are NaN or infinite, or an activation
            does not fit the shape.
        """
        return self.decompose(signals).reconstruction

    def decompose(self, signals: torch.Tensor) -> Decomposition[torch.Tensor]:
        """Similarities, activation maps, partial reconstructions and their sum; errors are those of ``forward``."""
        # A graph that is being exported has neither a shape nor samples yet.
        if not torch.compiler.is_exporting():
            self._check(signals)
        similarities = tuple(_correlate(signals, kernel) for kernel in self.kernels)
        maps = self._active(similarities)
        partials = tuple(_correlate(each, kernel) for each, kernel in zip(maps, self.kernels, strict=True))
        reconstruction = partials[0]
        for partial in partials[1:]:
            reconstruction = reconstruction + partial
        return Decomposition(similarities, maps, partials, reconstruction)

    def _active(self, similarities: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self.competing:
            norms = [kernel.detach().double().square().sum().sqrt() for kernel in self.kernels]
            return competing_extrema(similarities, self.activations, norms=norms, n_dims=self.n_dims)
        return tuple(
            activation_map(activation, each, n_dims=self.n_dims)
            for activation, each in zip(self.activations, similarities, strict=True)
        )

    def network(self) -> SparselyActivatedNetwork:
        """The same network for inference without torch, with a copy of the kernels."""
        # NumPy has no bfloat16; its values are exact in float32.
        whole = (kernel.float() if kernel.dtype == torch.bfloat16 else kernel for kernel in self.kernels)
        kernels = tuple(np.array(kernel.detach().cpu().numpy()) for kernel in whole)
        return SparselyActivatedNetwork(kernels, self.activations, self.competing)

    def _check(self, signals: torch.Tensor) -> None:
        if signals.ndim != self.n_dims + 2 or signals.shape[1] != 1:
            axes = ", ".join(("batch", "1", *_AXES[self.n_dims - 1]))
            raise InvalidSignalError(f"signals have shape {tuple(signals.shape)}; ({axes}) is needed")
        if signals.dtype != self.kernels[0].dtype:
            raise InvalidSignalError(f"signals are {signals.dtype}, but the kernels are {self.kernels[0].dtype}")
        check_signals(tuple(signals.shape), [tuple(kernel.shape) for kernel in self.kernels], self.activations)
        if not torch.isfinite(signals).all():
            raise InvalidSignalError(NOT_FINITE)


def _initial(shape: tuple[int, ...], generator: torch.Generator | None) -> torch.Tensor:
    if generator is None:
        return torch.full(shape, _INITIAL_WEIGHT)
    return torch.randn(shape, generator=generator) * _INITIAL_WEIGHT


def _correlate(signals: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Cross-correlation that keeps the shape, ``(batch, 1, …)``."""
    # The last axis comes first. Not padding="same": torch warns of its copy for even kernels.
    around = [n_zeros for length in reversed(kernel.shape) for n_zeros in zeros_around(length)]
    padded = functional.pad(signals, around)
    convolve = functional.conv1d if kernel.ndim == 1 else functional.conv2d
    return convolve(padded, kernel[None, None])
