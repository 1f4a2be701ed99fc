"""Feldman & Zhang (NeurIPS 2020): memorized examples, high-influence pairs, marginal utility, architectures."""

from itertools import combinations

import numpy as np
import pandas as pd

import analysis
from analysis.scoring.scores import read_scores
from analysis.statistics.jackknife import jackknife_se
from benchmarks.replicate.lab import Lab, Outcome, Record, records

MIN_MEM = 0.25
ARCHITECTURES = {
    "MLP": {"name": "mlp", "hidden": [128]},
    "CNN": {"name": "small-cnn", "width": 8, "hidden": 64},
    "ResNet-9": {"name": "resnet9", "width": 4},
}
"""Narrow ones, which a CPU trains."""


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


def pairs(lab: Lab) -> Outcome:
    """The published selection of pairs, and how many test examples are in one pair alone.

    The number of pairs depends on that of runs; halves of the runs tell how much of the selection is luck.
    """
    from scipy.stats import binomtest

    view = lab.train()
    found = view.influential_pairs(min_mem=MIN_MEM)
    of_test = found.groupby("test_example_id").size()
    single = int((of_test == 1).sum())
    halves = _halves(view.reliability())[-1]
    discovered = len(view.discoveries(fdr=0.05))
    text = (
        f"{len(found):,} pairs over {len(of_test):,} test examples, {single:,} of them in one pair alone; "
        f"Jaccard index of two halves of the runs {halves['jaccard']:.2f} ± {halves['jaccard_sd']:.2f}; "
        f"{discovered:,} discoveries at 5%"
    )
    numbers: dict[str, float] = {
        "pairs": len(found),
        "tests": len(of_test),
        "single": single,
        "discoveries": discovered,
    }
    share = binomtest(single, max(1, len(of_test))).proportion_ci(method="wilson")
    if share.low <= 0.5 <= share.high:
        return Outcome(text, "undecided", "half of the test examples may be in one pair alone, or fewer", numbers)
    return lab.judged(text, share.low > 0.5, "most test examples are in one pair alone", numbers)


def pair_agreement(lab: Lab) -> Outcome:
    """Jaccard index of the pairs that two halves of the runs select, by the number of runs in each half."""
    rows = _halves(lab.train().reliability())
    steps = [f"{row['runs_per_half']}: {row['jaccard']:.2f} ± {row['jaccard_sd']:.2f}" for row in rows]
    last = rows[-1]
    rises = last["jaccard"] > rows[0]["jaccard"]
    numbers = {str(row["runs_per_half"]): float(row["jaccard"]) for row in rows}
    text = f"Jaccard index by runs in each half: {', '.join(steps[-3:])}; {last['selected']:.0f} pairs in each"
    return lab.judged(text, rises, "the selection settles as runs are added", numbers)


def _halves(reliability: pd.DataFrame) -> list[Record]:
    return records(reliability[reliability["estimate"] == "influential_pairs"])


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


def architectures(lab: Lab) -> Outcome:
    """Figure 7: Jaccard index of the memorized examples of two architectures, beside two campaigns of each."""
    stores = {
        name: [lab.train(model=model, subsets={"seed": seed}).store.uri for seed in (0, 1)]
        for name, model in ARCHITECTURES.items()
    }
    numbers = {f"{name} twice": _jaccard(*of_name) for name, of_name in stores.items()}
    for name, other in combinations(stores, 2):
        numbers[f"{name} and {other}"] = _jaccard(stores[name][0], stores[other][0])
    said = [f"{what} {value:.2f}" for what, value in numbers.items()]
    ceiling = min(value for what, value in numbers.items() if what.endswith("twice"))
    between = max(value for what, value in numbers.items() if not what.endswith("twice"))
    text = f"Jaccard index of mem >= {MIN_MEM}: {', '.join(said)}"
    reason = "two architectures agree less than two campaigns of one"
    return lab.judged(text, between < ceiling, reason, numbers)


def _jaccard(a: str, b: str) -> float:
    rows = analysis.compare(a, b, thresholds=[MIN_MEM]).curve
    return float(rows["jaccard"].iloc[0])
