"""Histograms of forgetting events: by ratio, by group of examples, before and after noise."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.learning.forgetting_summary import events_histogram, forgetting_summary
from analysis.plot.drawing import PALETTE, add_legend, check_columns, given_or_new_axes, ordered_colours, plain
from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.scoring.groups import Groups


def forgetting(frame: pd.DataFrame, axes: "Axes | None" = None, *, groups: "Groups | None" = None) -> "Axes":
    """Examples, on a logarithmic axis, by their mean number of forgetting events in a run; an outline per ratio.

    `frame` as `estimate_forgetting` gives it; counted as `events_histogram` does. A triangle to the right stands for
    the examples that were never learned. With `groups` of `group_examples` an outline per group, of the largest ratio,
    over the group's examples: shares. Raises EstimateError where no group has an example.
    """
    axes = given_or_new_axes(axes, 6.4, 4.4)
    if groups is None:
        summaries = {each["ratio"]: each for each in forgetting_summary(frame).to_dict("records")}
        rows = {ratio: frame[frame["ratio"] == ratio] for ratio in summaries}
        labels = [f"ratio {ratio:g}: {each['unforgettable']:.1%} unforgettable" for ratio, each in summaries.items()]
        _outlines(axes, dict(zip(labels, rows.values(), strict=True)), ordered_colours(len(labels)), as_shares=False)
        return axes
    largest = frame[frame["ratio"] == frame["ratio"].max()]
    parts = {name: largest[groups.members(place)] for place, name in enumerate(groups.names)}
    parts = {plain(name): part for name, part in parts.items() if (part["n_runs"] > 0).any()}
    if not parts:
        raise EstimateError("groups: have no example that was shown to a run")
    labelled = {f"{name}: {part['unforgettable'].mean():.1%} unforgettable": part for name, part in parts.items()}
    _outlines(axes, labelled, _group_colours(len(labelled)), as_shares=True)
    return axes


def paired_forgetting(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Shares of the noisy examples by their mean number of events in a run, after noise was added and before.

    `frame` are the examples of `paired_forgetting`. Raises EstimateError for a frame without its columns, or without a
    noisy example that both stores showed.
    """
    check_columns(frame, "noisy", "forgetting_before", "forgetting_after")
    noisy = frame[frame["noisy"] & frame["forgetting_before"].notna() & frame["forgetting_after"].notna()]
    if noisy.empty:
        raise EstimateError("frame: has no noisy example that runs of both stores were shown")
    axes = given_or_new_axes(axes, 6.4, 4.4)
    counts = {name: _binned(noisy[f"forgetting_{name}"].to_numpy()) for name in ("before", "after")}
    end = max(map(len, counts.values()))
    for (name, each), colour in zip(counts.items(), PALETTE, strict=False):
        label = f"{name} noise: {noisy[f'forgetting_{name}'].mean():.3g} events/run"
        axes.stairs(_padded(each, end) / len(noisy), np.arange(end + 1) - 0.5, label=label, linewidth=1.5, color=colour)
    _finish(axes, end, None, "share of the noisy examples")
    return axes


def _outlines(axes: "Axes", parts: Mapping[str, pd.DataFrame], colours: list[str], *, as_shares: bool) -> None:
    histograms = {label: events_histogram(rows) for label, rows in parts.items()}
    end = max(map(len, histograms.values()))
    beyond = end + 0.05 * end
    for (label, rows), colour in zip(parts.items(), colours, strict=True):
        whole = max(int((rows["n_runs"] > 0).sum()), 1) if as_shares else 1
        counts = _padded(histograms[label], end) / whole
        axes.stairs(counts, np.arange(end + 1) - 0.5, label=label, linewidth=1.5, color=colour)
        never_learned = int(rows["never_learned"].sum())
        if never_learned:
            axes.scatter([beyond], [never_learned / whole], marker=">", color=colour)
    _finish(axes, end, beyond, "share of the group's examples" if as_shares else "examples")
    if not as_shares:
        axes.set_ylim(bottom=0.7)  # so that one example can be seen


def _finish(axes: "Axes", end: int, beyond: float | None, ylabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yscale("log")
    ticks = [int(tick) for tick in MaxNLocator(8, integer=True).tick_values(0, max(end - 1, 1)) if 0 <= tick < end]
    names = list(map(str, ticks))
    axes.set_xticks(*(([*ticks, beyond], [*names, "never\nlearned"]) if beyond is not None else (ticks, names)))
    axes.set(xlabel="forgetting events/run, rounded up", ylabel=ylabel)
    add_legend(axes, frameon=False)


def _binned(events: Floats) -> Integers:
    return np.bincount(np.ceil(events).astype(np.int64))


def _padded(counts: Integers, end: int) -> Floats:
    return np.pad(counts, (0, end - len(counts))).astype(np.float64)


def _group_colours(count: int) -> list[str]:
    return list(PALETTE[:count]) if count <= len(PALETTE) else ordered_colours(count)
