"""Live view of a running campaign on a terminal: progress, throughput, failures, workers, standard errors."""

from collections.abc import Callable, Iterable, Mapping

from rich.columns import Columns
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.campaigns.se_percentiles import SePercentiles, StandardErrors, error_text
from orchestrator.cli.throughput import Rate, rate_text
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text

_MAX_NODES = 8
"""Nodes shown by name: those with most workers."""


class LiveView:
    """What is on the terminal now; Elapsed time and rate are those of the rendering."""

    def __init__(self, rate: Rate, measured: Callable[[], StandardErrors | None]) -> None:
        """`measured` gives the precision that is known by now."""
        self.progress: CampaignProgress | None = None
        self._rate = rate
        self._measured = measured

    def __rich__(self) -> Table:
        now = self.progress
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(ratio=1)
        if now is None:
            grid.add_row("runs", Text.assemble("preparing", _stall_text(self._rate)))
            return grid
        grid.add_row("runs", _bar(now))
        grid.add_row("pace", _pace(now, self._rate))
        grid.add_row("workers", workers_text(now))
        if now.to_check and now.found is None:
            grid.add_row("store", f"checking what is there: {now.checked:,} of {count_text(now.to_check, 'file')}")
        precision = self._measured()
        if precision is not None and precision.mem:
            grid.add_row("precision", "[dim]expected se of the median example, and what 90% do not exceed")
            grid.add_row("", Columns(precision_items(precision), padding=(0, 3)))
        return grid


def _bar(now: CampaignProgress) -> RenderableType:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(ProgressBar(total=max(now.total, 1), completed=now.committed), f"{now.committed} of {now.total}")
    return line


def _pace(now: CampaignProgress, rate: Rate) -> Text:
    value = rate.value(now)
    if value and now.committed + now.failed == now.total:
        text = Text(f"{rate_text(value)}, {rate.elapsed()} in all; ")
    else:
        text = Text(f"{rate.text(now)}; ")
    text.append(f"{now.failed} failed", "bold red" if now.failed else "")
    text.append(", ")
    text.append(f"{now.diverged} diverged", "bold yellow" if now.diverged else "")
    return text.append(_stall_text(rate))


def _stall_text(rate: Rate) -> Text:
    text = rate.stall_text()
    return Text(f"; {text}", "yellow") if text else Text()


def workers_text(now: CampaignProgress) -> Text:
    """How many workers, how many were lost, and on which nodes they are."""
    text = Text(str(now.workers))
    if now.nodes > 1 and now.workers:
        text.append(f" on {count_text(now.nodes, 'node')}")
    if now.workers_lost:
        text.append(f", {now.workers_lost} lost so far", "yellow")
    if now.by_node:
        text.append(f": {_nodes(now.by_node)}")
    return text


def _nodes(by_node: Mapping[str, int]) -> str:
    """`10.0.0.1 (4), 10.0.0.2 (2)`; of many nodes the first, and how many more."""
    named = [f"{name} ({workers})" for name, workers in list(by_node.items())[:_MAX_NODES]]
    more = len(by_node) - len(named)
    return ", ".join([*named, f"and {more} more"] if more else named)


def precision_items(precision: StandardErrors) -> Iterable[Text]:
    """`mem at 0.7  0.031  0.045`, one for each ratio, and one for the C-score; aligned.

    Without the number of runs that it rests on: the view has one number of runs, which this one lags behind or is ahead
    of, and which counts others too that were not requested.
    """
    spreads = {f"mem at {ratio_ppm / PPM:g}": spread for ratio_ppm, spread in precision.mem.items()}
    if precision.cscore is not None:
        spreads["C-score"] = precision.cscore
    width = max(map(len, spreads))
    return [Text(f"{name:<{width}}  {spread_text(spread)}") for name, spread in spreads.items()]


def spread_text(spread: SePercentiles) -> str:
    """The median and the 90% standard error, each in 5 characters."""
    return f"{error_text(spread.median):>5}  {error_text(spread.most):>5}"
