"""What defines one training run of a Sparsely Activated Network."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from sancodec.errors import InvalidSignalError
from sancodec.san.activations import EXTREMA, POOL, SPARSITY, TOPK, Activation
from sancodec.san.metrics import LOSSES
from sancodec.san.network import check_signals

CONSTANT, NORMAL = ("constant", "normal")
INITIALS = (CONSTANT, NORMAL)
# Of section IV of arXiv:1907.06592: 3 samples for PhysioNet (IV-A), 2 for images (IV-C), and for UCI-epilepsy (IV-B).
_PUBLISHED_TOLERANCE = {1: 3, 2: 2}
# A change of training that changes its results changes this, so that no older run is taken for one of today.
_REVISION = 1


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run; its defaults are those of the published experiment on PhysioNet.

    Parameters
    ----------
    activation
        Name of the activation of every kernel.
    kernel_sizes
        Samples of each kernel; in two dimensions along each axis.
    sparsity
        k, pool size or minimum extrema distance. None: what section III-A of arXiv:1907.06592 derives from the kernel
        size m and the window length n: k = ⌊n / m⌋ (to the power of the dimensions), pool size and distance m.
    border_tolerance
        Of ``extrema``, in samples. None: 3 for signals, 2 for images.
    initial
        ``constant``: all weights start at 0.1, as in the published code. ``normal``: from a normal distribution of mean
        0 and standard deviation 0.1, as in section IV of the paper. None: constant, but normal where kernels have the
        same size, since they would stay equal.
    competing
        Whether several kernels of ``extrema`` compete for territory: where one is active, no other is.
    loss
        ``mae`` or ``mse``: what is minimised, and what the normalised loss is made of.
    learning_rate, n_epochs, batch_size
        Of Adam; the batch size in windows.
    seed
        Of the order of the windows, and of the kernels where they start from a distribution.

    Raises
    ------
    InvalidSignalError
        When a value is unknown or out of range.
    """

    activation: str
    kernel_sizes: tuple[int, ...]
    sparsity: int | None = None
    border_tolerance: int | None = None
    initial: str | None = None
    competing: bool = False
    loss: str = "mae"
    learning_rate: float = 0.01
    n_epochs: int = 30
    batch_size: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.activation not in SPARSITY:
            raise InvalidSignalError(f"activation {self.activation!r} is unknown; known are {', '.join(SPARSITY)}")
        if not self.kernel_sizes or min(self.kernel_sizes) < 1:
            raise InvalidSignalError(
                f"kernel sizes are {self.kernel_sizes}; one or more of at least 1 sample are needed"
            )
        if self.sparsity is not None and SPARSITY[self.activation] is None:
            raise InvalidSignalError(f"{self.activation} takes no sparsity, but {self.sparsity} was given")
        if self.border_tolerance is not None and self.activation != EXTREMA:
            raise InvalidSignalError(
                f"{self.activation} takes no border tolerance, but {self.border_tolerance} was given"
            )
        if self.competing and (self.activation != EXTREMA or len(self.kernel_sizes) < 2):
            raise InvalidSignalError(
                f"competition needs two or more kernels of {EXTREMA}, not {len(self.kernel_sizes)} of {self.activation}"
            )
        if self.initial is not None and self.initial not in INITIALS:
            raise InvalidSignalError(f"initial weights {self.initial!r} are unknown; known are {', '.join(INITIALS)}")
        if self.loss not in LOSSES:
            raise InvalidSignalError(f"loss {self.loss!r} is unknown; known are {', '.join(LOSSES)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InvalidSignalError(f"learning rate is {self.learning_rate}; it must be above 0")
        if self.n_epochs < 1 or self.batch_size < 1:
            raise InvalidSignalError(f"{self.n_epochs} epochs of batches of {self.batch_size}; both must be 1 or more")
        if not 0 <= self.seed < 2**63:
            raise InvalidSignalError(f"seed is {self.seed}; 0 to 2**63 - 1 is allowed")

    @property
    def starts_from_distribution(self) -> bool:
        if self.initial is not None:
            return self.initial == NORMAL
        return len(set(self.kernel_sizes)) < len(self.kernel_sizes)

    def activations(self, window: tuple[int, ...]) -> tuple[Activation, ...]:
        """The activation of each kernel for windows of a shape.

        Raises
        ------
        InvalidSignalError
            When the window is shorter than a kernel, k is beyond its elements or a pool is longer.
        """
        n_dims = len(window)
        found = []
        for size in self.kernel_sizes:
            name, parameters = self.activation, dict[str, int]()
            parameter = SPARSITY[name]
            if parameter is not None:
                derived = max(1, (min(window) // size) ** n_dims) if name == TOPK else size
                parameters[parameter] = derived if self.sparsity is None else self.sparsity
            if name == EXTREMA:
                tolerance = self.border_tolerance
                parameters["border_tolerance"] = _PUBLISHED_TOLERANCE[n_dims] if tolerance is None else tolerance
            found.append(Activation(name, **parameters))
        shapes = [(size,) * n_dims for size in self.kernel_sizes]
        # A kernel that is too long would have a pool that is too long: say the former.
        check_signals(window, shapes, [Activation("identity")] * len(shapes) if self.activation == POOL else found)
        check_signals(window, shapes, found)
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """As plain values; ``config_of`` takes them back."""
        return {**asdict(self), "kernel_sizes": list(self.kernel_sizes)}

    def sha256(self, *, data_sha256: str, device: str) -> str:
        """Digest, as text, of everything that the result of a run depends on."""
        parts = {"config": self.as_json(), "data": data_sha256, "device": device, "revision": _REVISION}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
