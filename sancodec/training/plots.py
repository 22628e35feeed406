"""Pictures of training: the loss over the epochs, and the models of a sweep by verbosity and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from sancodec.errors import MissingDependencyError
from sancodec.san.activations import SPARSITY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sancodec.training.san_training import Epoch
    from sancodec.training.selection_state import FinishedRun

_INCHES = (8.0, 5.0)


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises
    ------
    MissingDependencyError
        With what installs it.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"plots need matplotlib ({error}); pip install 'sancodec[plot]'") from None


def draw_history(history: Sequence[Epoch], *, best_epoch: int, title: str) -> Figure:
    """Loss of training, and CR⁻¹, L̃ and φ̄ of validation, over the epochs; a line marks the epoch that was kept."""
    figure = _figure()
    axes = figure.subplots()
    epochs = [each.index + 1 for each in history]
    axes.plot(epochs, [each.train_loss for each in history], label="training: $\\mathcal{L}$", color="black")
    axes.plot(epochs, [each.validation.phi for each in history], label="validation: $\\bar\\varphi$")
    axes.plot(
        epochs, [each.validation.normalised_loss for each in history], label="validation: $\\tilde{\\mathcal{L}}$"
    )
    axes.plot(epochs, [each.validation.inverse_ratio for each in history], label="validation: $CR^{-1}$")
    axes.axvline(best_epoch + 1, linestyle=":", color="gray", label="kept")
    axes.set(xlabel="epoch", title=title, ylim=(0, None))
    axes.legend()
    return figure


def draw_sweep(runs: Sequence[FinishedRun], *, best: FinishedRun, title: str) -> Figure:
    """CR⁻¹ against L̃ of the test windows, one point per model; within the quarter circle φ is below 1."""
    figure = _figure()
    axes = figure.subplots()
    for index, activation in enumerate(SPARSITY):
        scores = [run.test for run in runs if run.config.activation == activation and run.test is not None]
        if scores:
            axes.scatter(
                [each.normalised_loss for each in scores],
                [each.inverse_ratio for each in scores],
                s=14,
                color=f"C{index}",
                label=activation,
            )
    if best.test is not None:
        x, y = best.test.normalised_loss, best.test.inverse_ratio
        size = "+".join(map(str, best.config.kernel_sizes))
        axes.scatter(
            [x], [y], s=120, facecolors="none", edgecolors="black", label=f"best: {best.config.activation} {size}"
        )
    from matplotlib.patches import Wedge

    axes.add_patch(Wedge((0, 0), 1, 0, 90, alpha=0.15, color="green"))
    axes.set(xlabel="$\\tilde{\\mathcal{L}}$", ylabel="$CR^{-1}$", title=title, aspect="equal")
    end = max(1.05, axes.get_xlim()[1], axes.get_ylim()[1])
    axes.set(xlim=(0, end), ylim=(0, end))
    figure.legend(loc="outside right upper")
    return figure


def write_figure(figure: Figure, file: BinaryIO, *, suffix: str) -> None:
    """Write a picture as ``.png``, ``.svg`` or ``.pdf``; the same figure gives the same bytes."""
    import matplotlib

    kind = suffix.lstrip(".").lower()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with matplotlib.rc_context({"svg.hashsalt": "sancodec"}):
        figure.savefig(file, format=kind, dpi=150, metadata=undated)


def _figure() -> Figure:
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=_INCHES, layout="constrained")
