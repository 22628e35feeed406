"""The paper's tables as Markdown and LaTeX, from what the experiments measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import environment

ACTIVATIONS = {
    "identity": "Identity",
    "relu": "ReLU",
    "topk_absolutes": "top-k absolutes",
    "extrema_pool_indices": "Extrema-Pool indices",
    "extrema": "Extrema",
}
SPARSE = ("topk_absolutes", "extrema_pool_indices", "extrema")
_MISSING = "–"


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures that a table has for every activation.

    Parameters
    ----------
    markdown, latex
        Its head.
    form
        How it is written, as of ``format``.
    """

    markdown: str
    latex: str
    form: str = ".2f"


KERNEL_SIZE = Figure("m", "$m$", ".0f")
SCORES = (
    Figure("CR⁻¹", "$CR^{-1}$"),
    Figure("L̃", r"$\tilde{\mathcal{L}}$"),
    Figure("φ̄", r"$\bar\varphi$"),
)
ACCURACY_DIFFERENCE = Figure("A±%", r"A\textsubscript{$\pm$\%}", "+.1f")


@dataclass(frozen=True, slots=True)
class Table:
    """One line for every kernel size or record, and for every activation the same figures.

    Parameters
    ----------
    caption
        What it shows.
    corner
        Head of the first column.
    figures
        Of every activation.
    rows
        Name of the line, and by activation as many values as figures; activations without values are left open.
    notes
        Sentences below it.
    """

    caption: str
    corner: Figure
    figures: tuple[Figure, ...]
    rows: Sequence[tuple[str, Mapping[str, Sequence[float]]]]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """One column for each activation, its figures side by side."""
        head = " / ".join(figure.markdown for figure in self.figures)
        lines = [
            f"**{self.caption}** Each cell: {head}.\n",
            f"| {' | '.join([self.corner.markdown, *ACTIVATIONS.values()])} |",
            f"|---{'|---:' * len(ACTIVATIONS)}|",
        ]
        lines += [
            f"| {' | '.join([name, *(' / '.join(self._written(cells.get(each))) for each in ACTIVATIONS)])} |"
            for name, cells in self.rows
        ]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"

    def latex(self) -> str:
        r"""A ``tabular`` with the rules of booktabs, to be read with ``\input``; caption and notes are comments."""
        n_figures = len(self.figures)
        groups = " & ".join(rf"\multicolumn{{{n_figures}}}{{c}}{{{name}}}" for name in ACTIVATIONS.values())
        heads = " & ".join([self.corner.latex, *(figure.latex for _ in ACTIVATIONS for figure in self.figures)])
        lines = [
            *(f"% {line}" for line in (self.caption, *self.notes)),
            rf"\begin{{tabular}}{{l*{{{len(ACTIVATIONS)}}}{{{'r' * n_figures}}}}}",
            r"\toprule",
            rf" & {groups} \\",
            rf"{heads} \\",
            r"\midrule",
        ]
        for name, cells in self.rows:
            written = [each for activation in ACTIVATIONS for each in self._written(cells.get(activation))]
            lines.append(" & ".join([name.replace("_", r"\_"), *written]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        return "\n".join(lines).replace("−", "$-$").replace(_MISSING, "--") + "\n"

    def _written(self, values: Sequence[float] | None) -> list[str]:
        if values is None:
            return [_MISSING] * len(self.figures)
        pairs = zip(self.figures, values, strict=True)
        return [format(value, figure.form).replace("-", "−") for figure, value in pairs]


def write_tables(path: Path, tables: Sequence[Table], *, title: str, pictures: Sequence[Path] = ()) -> None:
    """Write tables beside the JSON file of a path: all of them as Markdown, with pictures below, the first as LaTeX."""
    shown = [f"![{picture.stem.replace('_', ' ')}]({picture.name})\n" for picture in pictures]
    source = f"All figures, and what they were measured with, are in [{path.name}]({path.name}).\n"
    text = "\n".join([f"# {title}\n", *(table.markdown() for table in tables), *shown, source])
    environment.write_text(path.with_suffix(".md"), text)
    environment.write_text(path.with_suffix(".tex"), tables[0].latex())
