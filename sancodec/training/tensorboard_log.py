"""Loss curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from sancodec.errors import MissingDependencyError
from sancodec.training.san_training import Epoch


def require_tensorboard() -> None:
    """Refuse to go on without TensorBoard.

    Raises
    ------
    MissingDependencyError
        With what installs it.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"logs for TensorBoard need tensorboard ({error}); pip install tensorboard"
        ) from None


class EpochLog:
    """Writes epochs to a folder, as they come; a context manager.

    Parameters
    ----------
    folder
        Made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def __call__(self, epoch: Epoch) -> None:
        values = {
            "train/loss": epoch.train_loss,
            "validation/phi": epoch.validation.phi,
            "validation/normalised_loss": epoch.validation.normalised_loss,
            "validation/inverse_ratio": epoch.validation.inverse_ratio,
        }
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch.index + 1)
