"""Training of one Sparsely Activated Network: algorithm 4 of arXiv:1907.06592, with the best epoch kept.

The published code means to test the epoch with the least φ̄ on the validation windows, but keeps a reference to the
network that goes on changing, and so tests the last one. Here the weights of the best epoch are kept.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sancodec.errors import DeviceError, InvalidSignalError, MissingDependencyError
from sancodec.san.activations import Activation
from sancodec.san.metrics import LOSSES, Score, score
from sancodec.san.model_file import SanModel
from sancodec.san.network import SparselyActivatedNetwork
from sancodec.training.san import SAN
from sancodec.training.san_config import TrainingConfig
from sancodec.training.windows import SplitWindows

_EVALUATED_AT_ONCE = 256
_TORCH_LOSSES = {"mae": functional.l1_loss, "mse": functional.mse_loss}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training.

    Parameters
    ----------
    index
        Counted from 0.
    train_loss
        Mean over the training windows, each as it was met, in normalised units.
    validation
        CR⁻¹, L̃ and φ̄ of the validation windows after the epoch.
    """

    index: int
    train_loss: float
    validation: Score


@dataclass(frozen=True, slots=True, eq=False)
class TrainedSan:
    """A network, how it came to be and how good it is.

    Parameters
    ----------
    network
        Of the best epoch.
    history
        All epochs.
    best_epoch
        Index of that with the least φ̄ on the validation windows, the first of equal ones.
    test
        CR⁻¹, L̃ and φ̄ of the test windows.
    device
        ``cpu`` or ``cuda``.
    """

    network: SparselyActivatedNetwork
    history: tuple[Epoch, ...]
    best_epoch: int
    test: Score
    device: str

    @property
    def validation(self) -> Score:
        return self.history[self.best_epoch].validation


def resolved_device(device: str) -> str:
    """``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    MissingDependencyError
        When cuda is asked for and torch finds none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidSignalError(f"device {device!r} is unknown; known are auto, cpu, cuda")
    has_cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise MissingDependencyError(
            "torch finds no CUDA device here; train with --device cpu, or install torch for CUDA"
        )
    return "cuda" if has_cuda else "cpu"


def train_san(
    windows: SplitWindows,
    config: TrainingConfig,
    *,
    device: str = "auto",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainedSan:
    """Train one network; the same windows and configuration give the same bits on the same machine.

    Parameters
    ----------
    windows
        From ``read_windows``.
    config
        The run.
    device
        ``auto`` takes CUDA where torch finds it.
    on_epoch
        Called after every epoch.

    Raises
    ------
    InvalidSignalError
        When the windows are shorter than a kernel or do not fit the activation, before anything is trained; or when
        training diverges.
    MissingDependencyError
        When cuda is asked for and torch finds none.
    DeviceError
        When the memory of the device is not enough.
    """
    activations = config.activations(windows.window)
    device = resolved_device(device)
    try:
        return _trained(windows, config, activations, device, on_epoch)
    except torch.OutOfMemoryError:
        raise DeviceError(
            f"the memory of {device} is not enough; train with a smaller --batch-size or on the CPU"
        ) from None


def _trained(
    windows: SplitWindows,
    config: TrainingConfig,
    activations: tuple[Activation, ...],
    device: str,
    on_epoch: Callable[[Epoch], None] | None,
) -> TrainedSan:
    with _deterministic(device):
        # The windows are moved once: they are small beside what a device holds.
        train, validation, test = (
            torch.from_numpy(np.array(part)).to(device) for part in (windows.train, windows.validation, windows.test)
        )
        seed = config.seed if config.starts_from_distribution else None
        n_dims = len(windows.window)
        module = SAN(config.kernel_sizes, activations, n_dims=n_dims, seed=seed, competing=config.competing).to(device)
        optimiser = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
        generator = torch.Generator().manual_seed(config.seed)
        history, best, kept = list[Epoch](), -1, dict[str, torch.Tensor]()
        for index in range(config.n_epochs):
            order = torch.randperm(len(train), generator=generator).to(device)
            loss = _train_epoch(module, optimiser, train, order, config)
            epoch = Epoch(index, loss, _evaluate(module, validation, config.loss))
            history.append(epoch)
            if on_epoch is not None:
                on_epoch(epoch)
            if not epoch.validation.is_finite:
                break
            if best < 0 or epoch.validation.phi < history[best].validation.phi:
                best, kept = index, {name: value.clone() for name, value in module.state_dict().items()}
        if best < 0:
            raise InvalidSignalError(
                f"training {config.activation} with kernels of {config.kernel_sizes} samples diverged at once; "
                f"lower the learning rate of {config.learning_rate:g}"
            )
        module.load_state_dict(kept)
        return TrainedSan(module.network(), tuple(history), best, _evaluate(module, test, config.loss), device)


def san_model(trained: TrainedSan, windows: SplitWindows, config: TrainingConfig) -> SanModel:
    """The file of a trained network: its bytes depend on windows and configuration only, not on when it was trained."""
    return SanModel(
        trained.network,
        window=windows.window,
        normalisation=windows.normalisation,
        sampling_rate_hz=windows.sampling_rate_hz,
        metadata={
            "source": windows.source,
            "data_sha256": windows.sha256,
            "windows": [len(windows.train), len(windows.validation), len(windows.test)],
            "training": config.as_json(),
            "device": trained.device,
            "best_epoch": trained.best_epoch,
            "validation": asdict(trained.validation),
            "test": asdict(trained.test),
        },
    )


def _train_epoch(
    module: SAN, optimiser: torch.optim.Adam, windows: torch.Tensor, order: torch.Tensor, config: TrainingConfig
) -> float:
    """Mean loss over the windows, in a given order."""
    total = torch.zeros((), dtype=torch.float64, device=windows.device)
    for chosen in torch.split(order, config.batch_size):
        batch = windows[chosen]
        loss = _TORCH_LOSSES[config.loss](module(batch), batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += loss.detach().double() * len(batch)
    return float(total) / len(windows)


def _evaluate(module: SAN, windows: torch.Tensor, loss: str) -> Score:
    reconstructions, counts = list[NDArray[np.float32]](), list[NDArray[np.int64]]()
    axes = tuple(range(1, windows.ndim))
    with torch.no_grad():
        for part in torch.split(windows, _EVALUATED_AT_ONCE):
            found = module.decompose(part)
            reconstructions.append(found.reconstruction.cpu().numpy())
            n_active = torch.stack([torch.count_nonzero(each, dim=axes) for each in found.activation_maps]).sum(dim=0)
            counts.append(n_active.cpu().numpy())
    reconstruction = np.concatenate(reconstructions)
    with np.errstate(over="ignore", invalid="ignore"):  # a network that diverged is told by its score
        return score(
            reconstruction,
            windows.cpu().numpy(),
            n_weights=sum(kernel.numel() for kernel in module.kernels),
            n_activations=np.concatenate(counts),
            loss=LOSSES[loss],
        )


@contextmanager
def _deterministic(device: str) -> Iterator[None]:
    """The same bits from run to run: deterministic algorithms, one thread; the settings of torch come back after it."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
    )
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = False
    try:
        with warnings.catch_warnings():
            # Where torch has no deterministic form of an operation it says so for each call.
            warnings.filterwarnings("ignore", message=".*deterministic.*", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_num_threads(before[2])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[3:5]
        torch.backends.cudnn.allow_tf32 = before[5]
