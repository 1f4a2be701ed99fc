"""Feldman & Zhang (NeurIPS 2020): memorized examples and their marginal utility."""

import numpy as np

from analysis.scoring.scores import read_scores
from analysis.statistics.jackknife import jackknife_se
from benchmarks.replicate.lab import Lab, Outcome, records

MIN_MEM = 0.25


def memorized(lab: Lab) -> Outcome:
    """How many examples have mem >= 0.25; its error is the jackknife's over groups of runs."""
    scores = read_scores(lab.train().store.uri, "memorization", replicates=True)
    count = int((scores.values >= MIN_MEM).sum())
    without = scores.replicates if scores.replicates is not None else np.zeros((0, len(scores.values)))
    se = float(jackknife_se((without >= MIN_MEM).sum(axis=1).astype(float)))
    share = count / len(scores.values)
    verdict, reason = lab.compared(count, se)
    numbers = {"memorized": count, "se": se, "share": share}
    return Outcome(f"{count:,} ± {se:.0f} examples with mem >= {MIN_MEM} ({share:.1%})", verdict, reason, numbers)


def utility(lab: Lab) -> Outcome:
    """Marginal utility (figure 2): accuracy after random removal less that after removing mem >= t.

    Limits are Welch's, of independent runs. Decided where the limits of the lowest threshold that removes anything
    are on one side of 0.
    """
    mem = lab.train().memorization()[["example_id", "mem"]]
    reached = [t for t in lab.size.thresholds if (mem["mem"] >= t).sum() >= 2]
    subsets = {
        "design": "explicit",
        "scores": {"file": lab.keep(mem, "mem"), "column": "mem"},
        "drop": [*({"at_least": t} for t in reached), "random"],
        "repetitions": lab.size.removal_runs,
        "seed": 3,
    }
    curve = lab.train(subsets=subsets, record={"epochs": "final", "presentations": False}).removal()
    rows = records(curve[curve["rule"] != "random"].sort_values("threshold"))
    said = [
        f"t = {row['threshold']:g} ({row['examples_removed']:,} removed): {100 * row['difference']:+.2f} points "
        f"({100 * row['difference_low']:+.2f} to {100 * row['difference_high']:+.2f})"
        for row in rows
    ]
    numbers = {f"t{row['threshold']:g}": float(row["difference"]) for row in rows}
    first = rows[0]
    if first["difference_low"] <= 0 <= first["difference_high"]:
        return Outcome("; ".join(said), "undecided", "limits of the lowest threshold contain 0", numbers)
    more = first["difference"] > 0
    return lab.judged("; ".join(said), more, "memorized examples are worth more than random ones", numbers)
