"""The picture of an agreement: one set of scores against the other, with the line on which they are equal."""

from typing import TYPE_CHECKING

from analysis.scoring.agreement import Agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS = 3000
"""Up to so many examples are drawn one by one; more would hide each other, and are counted in hexagons."""

_LABEL = {"memorization": "memorization", "cscore": "C-score", "forgetting": "forgetting events a run"}
_SHOWN = 60
"""Characters of a name that fit along an axis."""


def plot_agreement(agreement: Agreement) -> "Figure":
    """A figure of 6.4 x 5.6 inches; save it with `figure.savefig(path)`."""
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    a, b = agreement.scores["a"].to_numpy(), agreement.scores["b"].to_numpy()
    if len(a) <= _DOTS:
        axes.scatter(a, b, s=10, alpha=0.4, linewidths=0)
    else:
        hexagons = axes.hexbin(a, b, gridsize=60, bins="log", mincnt=1)
        figure.colorbar(hexagons, label="examples")
    _draw_identity(axes)
    label = _LABEL[agreement.estimate]
    axes.set_xlabel(f"{label}\n{_shortened(agreement.name_a)}")
    axes.set_ylabel(f"{label}\n{_shortened(agreement.name_b)}")
    numbers = f"Spearman {agreement.spearman:.3f}, Pearson {agreement.pearson:.3f}"
    axes.set_title(f"{len(a):,} examples: {numbers}", fontsize="medium")
    return figure


def _draw_identity(axes: "Axes") -> None:
    """The line of equal scores, over the range of both axes, which thereby get the same scale."""
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


def _shortened(name: str) -> str:
    """The end of a name, where paths differ. A dollar sign would start a formula."""
    return (name if len(name) <= _SHOWN else f"...{name[-_SHOWN:]}").replace("$", r"\$")
