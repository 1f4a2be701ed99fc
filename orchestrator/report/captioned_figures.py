"""Figures of a report with their captions: distributions, profiles, forgetting, removal, learning curves."""

import numpy as np
import pandas as pd

from analysis.report import Findings
from analysis.report import figures as draw
from analysis.statistics.bins import CSCORE_BINS, MEM_BINS
from orchestrator.report.campaign_text import number
from workers.campaign.plural import count_text, range_text

_CURVE_KINDS = {
    "presentations": ("in training", "whenever training shows them, before the update"),
    "evaluations": ("trained on", "evaluated after the epoch by runs that trained on them"),
    "heldout": ("held out", "evaluated after the epoch by runs that held them out"),
}


def report_figures(findings: Findings) -> dict[str, draw.Picture]:
    """The figures that the store allows, by their section's part."""
    pictures = _distributions(findings)
    if findings.profiles is not None:
        labels = ("ratio: share of the examples trained on", "right when held out")
        caption = (
            "Examples grouped by C-score: how often runs that held them out get them right, the more data they train "
            f"on. {_at_each_ratio(findings)}; means over each group's examples, bars of one standard error over "
            f"{findings.profiles['over'].iloc[0]}."
        )
        pictures["profiles"] = draw.lines("profiles", findings.profiles, "ratio", "consistency", labels, caption)
    if findings.vulnerability is not None and findings.mem is not None:
        caption = (
            "Examples by both scores, from the same "
            f"{count_text(findings.vulnerability.runs, 'run')} at ratio {findings.ratio:g}: a dot for each small range."
        )
        scores = findings.vulnerability.examples["vulnerability"].to_numpy(), findings.mem["mem"].to_numpy()
        axes = (draw.VULNERABILITY_AXIS, draw.MEM_AXIS)
        pictures["vulnerability"] = draw.against("vulnerability", *scores, axes, caption)
    if findings.forgetting is not None:
        ratio, runs = float(findings.forgetting["ratio"].iloc[0]), int(findings.forgetting["n_runs"].max())
        median, most = findings.forgetting["forgetting_se"].quantile((0.5, 0.9))
        caption = (
            "Examples by how often a run forgets them once learned, mean over runs, on a logarithmic axis. "
            f"Counted at {findings.forgetting_at}, in up to {count_text(runs, 'run')} at ratio {ratio:g}; an example's "
            f"mean has a standard error of {number(median)} in the median, {number(most)} at the 90th percentile."
        )
        pictures["forgetting"] = draw.forgetting("forgetting", findings.forgetting, caption)
    if findings.removal is not None:
        behind = findings.removal["runs"]
        caption = (
            "Test accuracy without the examples that each rule removes: means over "
            f"{range_text(int(behind.min()), int(behind.max()), 'run')}, bars of one standard error over runs."
        )
        pictures["removal"] = draw.removal("removal", findings.removal, caption)
        if findings.removal["difference"].notna().any():
            caption = (
                "What the examples removed are worth: test accuracy after as many random removals, less that after the "
                "rule's, bars of one standard error. Positive: they are worth more than random ones."
            )
            pictures["utility"] = draw.marginal_utility("utility", findings.removal, caption)
    return pictures


def _distributions(findings: Findings) -> dict[str, draw.Picture]:
    pictures: dict[str, draw.Picture] = {}
    if findings.mem is not None:
        mem, runs = findings.mem["mem"].to_numpy(), int((findings.mem["n_in"] + findings.mem["n_out"]).max())
        caption = (
            "Examples by memorization, on a logarithmic axis: "
            f"{count_text(int(np.isfinite(mem).sum()), 'example')} with a value, from {count_text(runs, 'run')} at "
            f"ratio {findings.ratio:g}. {_width(findings.mem)} {MEM_BINS} bins of equal width."
        )
        pictures["mem"] = draw.histogram("mem", mem, MEM_BINS, -1, "memorization", caption)
    if findings.cscore is not None:
        cscore, held_out = findings.cscore["cscore"].to_numpy(), findings.cscore["n_out"].mean()
        caption = (
            f"Examples by C-score, on a logarithmic axis: on average {held_out:.1f} runs that held an example out, at "
            f"{_number_of_ratios(findings)}. {_width(findings.cscore)} {CSCORE_BINS} bins of equal width."
        )
        pictures["cscore"] = draw.histogram("cscore", cscore, CSCORE_BINS, 0, "C-score", caption)
    if findings.mem is not None and findings.cscore is not None:
        caption = (
            "Examples by both scores: a dot for each small range, its area rising with the logarithm of the number of "
            "examples there. Each score has the runs and the intervals of its own figure."
        )
        pictures["against"] = draw.against("against", cscore, mem, (draw.CSCORE_AXIS, draw.MEM_AXIS), caption)
    return pictures


def _width(frame: pd.DataFrame) -> str:
    """How sure a score is."""
    width = (frame["high"] - frame["low"])[frame["se"].notna()].median()
    return f"An example's 95% interval is {number(width)} wide in the median."


def _at_each_ratio(findings: Findings) -> str:
    if findings.held_out is None:
        return ""
    means = findings.held_out.mean(axis=1)
    low, high = f"{means.min():.1f}", f"{means.max():.1f}"
    return f"{low if low == high else f'{low} to {high}'} runs at each ratio held an example out on average"


def _number_of_ratios(findings: Findings) -> str:
    return count_text(len(findings.ratios), "ratio")


def learning_figures(findings: Findings) -> list[tuple[str, draw.Picture]]:
    """(title, figure) pairs of the learning curves."""
    if findings.learning is None:
        return []
    shown, of = [], "" if findings.learning_by == "cscore" else " of all examples"
    for kind, rows in findings.learning.groupby("at", sort=False):
        ratio, runs = float(rows["ratio"].iloc[0]), int(rows["runs"].max())
        title, looked = _CURVE_KINDS[str(kind)]
        caption = (
            f"Examples {looked}: the share right in {count_text(runs, 'run')} at ratio {ratio:g}, means and bars of "
            "one standard error over runs."
        )
        figure = draw.lines(f"learning-{kind}", rows, "epoch", "correctness", ("epoch", "right"), caption)
        shown.append((f"Learning curve{of}, {title}", figure))
    return shown
