"""Figures of a report as SVG, with captions that state examples, runs and intervals."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.learning.forgetting_summary import events_histogram, forgetting_summary
from analysis.report.line_ends import MAX_NAMES, LineEnd, name_line_ends, pattern
from analysis.report.svg import GRID, INK, MAIN, SERIES, as_svg, drawing
from analysis.statistics import bins as score_bins
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_MARKERS = 40
"""Points of a line: more are drawn without markers."""


@dataclass(frozen=True)
class Picture:
    """A figure: its SVG, what it shows in words, its caption, its groups in the order of their colours, its values."""

    svg: str
    alt: str
    caption: str
    legend: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()


def histogram(name: str, values: npt.NDArray[np.float64], bins: int, low: int, word: str, caption: str) -> Picture:
    """Examples by a score from `low` to 1, on a logarithmic axis; NaN is left out."""
    counts, edges = score_bins.histogram(values, bins, low)
    with drawing() as (figure, axes):
        axes.stairs(counts, edges, fill=True, color=MAIN)
        _logarithmic(axes, int(counts.max()))
        axes.set(xlabel=word, ylabel="examples", xlim=(low, 1))
        axes.locator_params(axis="x", nbins=6)
        _grid(axes, "y")
        svg = as_svg(figure, name)
    rows = tuple((f"{a:.2f} to {b:.2f}", f"{n:,}") for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True))
    median = float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
    alt = f"Histogram of {word} over {count_text(int(counts.sum()), 'example')}; the median is {median:.2f}."
    return Picture(svg, alt, caption, columns=(word, "examples"), values=rows)


def lines(
    name: str,
    frame: pd.DataFrame,
    x: str,
    y: str,
    labels: tuple[str, str],
    caption: str,
    limits: tuple[float, float] | None = (-0.03, 1.03),
) -> Picture:
    """A line for each group of a frame of `group_profiles` or `learning_curves`, with its standard errors.

    `labels` are those of the axes, `limits` those of the vertical one (None: as the values are).
    """
    from matplotlib.ticker import MaxNLocator

    names = frame.drop_duplicates("group")["name"].tolist()
    groups = frame["group"].drop_duplicates().tolist()
    at_ends = len(groups) <= MAX_NAMES
    ends = []
    with drawing() as (figure, axes):
        for place, group in enumerate(groups):
            rows, colour = frame[frame["group"] == group], SERIES[_shade(place, len(groups))]
            style = pattern(place, markers=len(rows) <= _MAX_MARKERS)
            axes.errorbar(rows[x], rows[y], rows["se"].fillna(0), color=colour, markersize=3, linewidth=1.4, **style)
            ends += [LineEnd(float(rows[x].iloc[-1]), float(rows[y].iloc[-1]), str(names[place]), colour)]
        axes.set(xlabel=labels[0], ylabel=labels[1], ylim=limits)
        if x == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        _grid(axes, "both")
        if at_ends and len(groups) > 1:
            name_line_ends(axes, ends)
        svg = as_svg(figure, name)
    columns = ("group", x, y, "± se")
    values = tuple((row["name"], f"{row[x]:g}", *_cells(row[y], row["se"])) for row in frame.to_dict("records"))
    alt = f"{labels[1]} against {labels[0]} for {len(groups)} groups of examples; the values are in the table."
    return Picture(svg, alt, caption, () if at_ends else tuple(names), columns, values[:400])


@dataclass(frozen=True)
class Axis:
    """An axis of a scatter plot: the score's name, and the edges of the bins that its dots stand for."""

    word: str
    edges: npt.NDArray[np.float64]


CSCORE_AXIS = Axis("C-score", np.arange(26) / 25)
MEM_AXIS = Axis("memorization", np.arange(-15, 16) / 15)
VULNERABILITY_AXIS = Axis("vulnerability", np.arange(26) / 25)


def against(
    name: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], axes_of: tuple[Axis, Axis], caption: str
) -> Picture:
    """Examples by two scores: a dot for each bin, its area rising with the logarithm of their number; NaN is left out.

    `axes_of` are the horizontal and the vertical one.
    """
    horizontal, vertical = axes_of
    both = np.isfinite(x) & np.isfinite(y)
    counts, left, lower = np.histogram2d(x[both], y[both], bins=(horizontal.edges, vertical.edges))
    some = np.argwhere(counts > 0)
    numbers = counts[counts > 0].astype(int)
    with drawing() as (figure, axes):
        if vertical.edges[0] < 0:
            axes.axhline(0, color=INK, linewidth=0.6)
        across, up = ((edges[:-1] + edges[1:])[some[:, side]] / 2 for side, edges in enumerate((left, lower)))
        axes.scatter(across, up, s=4 + 9 * np.log10(numbers).round(1), color=MAIN, linewidths=0)
        least = min(-0.1, float(y[both].min()) - 0.05) if both.any() and vertical.edges[0] < 0 else vertical.edges[0]
        axes.set(xlabel=horizontal.word, ylabel=vertical.word, xlim=(-0.02, 1.02), ylim=(least, 1.05))
        _grid(axes, "both")
        svg = as_svg(figure, name)
    rho = float(pd.Series(x[both]).corr(pd.Series(y[both]), method="spearman")) if both.sum() > 2 else np.nan
    text = f" The largest dot is {count_text(int(counts.max()), 'example')}."
    text += "" if rho != rho else f" Spearman correlation {rho:.2f}.".replace("-", "−")
    alt = f"{vertical.word.capitalize()} against {horizontal.word} of {count_text(int(both.sum()), 'example')}.{text}"
    rows = tuple(
        (_bin(left, i), _bin(lower, j), f"{number:,}") for (i, j), number in zip(some.tolist(), numbers, strict=True)
    )
    columns = (horizontal.word, vertical.word, "examples")
    return Picture(svg, alt, f"{caption}{text}", columns=columns, values=rows)


def _bin(edges: npt.NDArray[np.float64], place: int) -> str:
    return f"{edges[place]:.2f} to {edges[place + 1]:.2f}".replace("-", "−")


def forgetting(name: str, frame: pd.DataFrame, caption: str) -> Picture:
    """Examples by their mean number of forgetting events in a run, those never learned apart."""
    from matplotlib.ticker import MaxNLocator

    summary = forgetting_summary(frame).iloc[0]
    counts = events_histogram(frame)
    with drawing() as (figure, axes):
        axes.bar(np.arange(len(counts)), np.maximum(counts, 0), width=0.9, color=MAIN)
        _logarithmic(axes, int(counts.max()))
        axes.set(xlabel="forgetting events/run, rounded up", ylabel="examples")
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        _grid(axes, "y")
        svg = as_svg(figure, name)
    text = (
        f"{summary['unforgettable']:.1%} of {summary['examples']:,} examples were never forgotten by any run that was "
        f"shown them, {summary['never_learned']:.1%} never learned; in one run {summary['unforgettable_per_run']:.1%} "
        f"are unforgettable. An example is forgotten {summary['forgetting']:.2f} times a run on average."
    )
    rows = tuple((str(events), f"{count:,}") for events, count in enumerate(counts.tolist()))
    return Picture(
        svg, f"Histogram of forgetting events. {text}", f"{caption} {text}", (), ("events", "examples"), rows
    )


def removal(name: str, frame: pd.DataFrame, caption: str) -> Picture:
    """Test accuracy against the share of the examples removed, a line for each rule."""
    frame = frame[frame["test_accuracy"].notna()]
    frame = frame.assign(name=frame["rule"], group=pd.factorize(frame["rule"])[0])
    labels = ("share of the training examples removed", "test accuracy")
    return lines(name, frame, "removed", "test_accuracy", labels, caption, limits=None)


def marginal_utility(name: str, frame: pd.DataFrame, caption: str) -> Picture:
    """Test accuracy after random removal less that after each rule's, against the share of the examples left."""
    frame = frame[frame["difference"].notna()]
    frame = frame.assign(name=frame["rule"], group=pd.factorize(frame["rule"])[0])
    frame = frame.assign(left=1 - frame["removed"], se=frame["difference_se"])
    labels = ("share of the training examples left", "accuracy: random removal less the rule's")
    return lines(name, frame, "left", "difference", labels, caption, limits=None)


def shades(groups: int) -> list[int]:
    """The numbers of the page's colours that groups have."""
    return [_shade(place, groups) for place in range(groups)]


def _shade(place: int, groups: int) -> int:
    return round(place * (len(SERIES) - 1) / max(groups - 1, 1))


def _cells(value: float, se: float) -> tuple[str, str]:
    return (f"{value:.3f}", "–" if se != se else f"{se:.3f}")


def _logarithmic(axes: "Axes", most: int) -> None:
    """Numbers of examples: written out, from just under 1, so that one example can be seen."""
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7, top=max(most * 1.6, 10))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _grid(axes: "Axes", axis: str) -> None:
    axes.grid(axis=axis, color=GRID)  # type: ignore[arg-type]
