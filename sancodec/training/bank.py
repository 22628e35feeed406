"""Train a lapped bank: paraunitary by construction, from an MDCT start, for few significant coefficients.

The polyphase matrix is G3·D·G2·D·G1·D·G0 with orthogonal G and half-block delays D, so every parameter
gives an orthonormal bank (P. P. Vaidyanathan, Multirate Systems and Filter Banks, ch. 6 and 14).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sancodec.training.lapped import mdct_kernels

N_KERNELS = 32
N_STAGES = 4
_BATCH = 24
_WINDOW = 4096


def _mdct_stages() -> list[NDArray[np.float64]]:
    """Orthogonal factors whose product is the MDCT, delayed: the extra delays cancel in pairs."""
    kernels = mdct_kernels(N_KERNELS)
    half = N_KERNELS // 2
    left, _, first = np.linalg.svd(kernels[:, :N_KERNELS])
    right, _, second = np.linalg.svd(kernels[:, N_KERNELS:])
    outer = np.concatenate([left[:, :half], right[:, :half]], axis=1)
    inner = np.concatenate([first[:half], second[:half]], axis=0)
    swap = np.roll(np.eye(N_KERNELS), half, axis=0)
    return [inner, np.eye(N_KERNELS), swap, outer @ swap.T]


class LappedBank(torch.nn.Module):
    """Orthonormal kernels ``(kernel, position)``, 32 × 128, as a function of free skew-symmetric matrices."""

    start: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("start", torch.tensor(np.stack(_mdct_stages()), dtype=torch.float64))
        self.skew = torch.nn.Parameter(torch.zeros(N_STAGES, N_KERNELS, N_KERNELS, dtype=torch.float64))

    def kernels(self) -> torch.Tensor:
        rotations = torch.matrix_exp(self.skew - self.skew.transpose(1, 2)) @ self.start  # (stage, out, in)
        half = N_KERNELS // 2
        taps = rotations[0][None]  # (delay, out, position)
        for stage in range(1, N_STAGES):
            delayed = torch.zeros(taps.shape[0] + 1, N_KERNELS, N_KERNELS, dtype=taps.dtype)
            delayed[:-1, :half] = taps[:, :half]
            delayed[1:, half:] = taps[:, half:]
            taps = rotations[stage] @ delayed
        return taps.permute(1, 0, 2).reshape(N_KERNELS, -1)


def coding_cost(similarity: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Mean of ½·log2(1 + 4·(a/Δ)²): bits per coefficient, up to a constant."""
    return (0.5 * torch.log2(1 + 4 * (similarity / step) ** 2)).mean()


def train_bank(
    signals: list[NDArray[np.float32]],
    scales: list[float],
    *,
    n_iterations: int,
    seed: int,
    on_iteration: Callable[[int, float], None] | None = None,
) -> NDArray[np.float64]:
    """Minimise the coding cost of ``signals``.

    Parameters
    ----------
    signals
        One-dimensional residuals of the beat layer, each at least 4096 samples.
    scales
        Standard deviation of each original signal: steps are drawn log-uniformly in 2 to 20 % of it.
    n_iterations
        Adam iterations on batches of 24 × 4096 samples.
    seed
        Of the batches; the same seed gives the same kernels on the same machine.

    Returns
    -------
    float64, shape ``(32, 128)``: orthonormal at stride 32, ordered by centre frequency.
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    bank = LappedBank()
    optimiser = torch.optim.Adam(bank.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_iterations)
    for iteration in range(n_iterations):
        chosen = generator.integers(0, len(signals), _BATCH)
        windows = np.empty((_BATCH, 1, _WINDOW), np.float32)
        steps = np.empty((_BATCH, 1, 1), np.float32)
        for row, index in enumerate(chosen):
            start = generator.integers(0, len(signals[index]) - _WINDOW + 1)
            windows[row, 0] = signals[index][start : start + _WINDOW]
            steps[row] = scales[index] * np.exp(generator.uniform(np.log(0.02), np.log(0.2)))
        kernels = bank.kernels().float()[:, None]
        similarity = torch.nn.functional.conv1d(torch.from_numpy(windows), kernels, stride=N_KERNELS)
        loss = coding_cost(similarity, torch.from_numpy(steps))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_iteration is not None:
            on_iteration(iteration, float(loss.detach()))
    return ordered_by_frequency(bank.kernels().detach().numpy())


def ordered_by_frequency(kernels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sort kernels by the centre of their power spectrum."""
    power = np.abs(np.fft.rfft(kernels, 1024, axis=1)) ** 2
    centre = (power * np.arange(power.shape[1])).sum(axis=1) / power.sum(axis=1)
    return kernels[np.argsort(centre, kind="stable")]
