"""Toneva et al. (ICLR 2019): unforgettable examples, agreement of seeds, noisy labels, removal by forgetting."""

import numpy as np

import analysis
from analysis.learning.forgetting import count_forgetting
from analysis.reading.sequences import scan_sequences
from benchmarks.replicate.experiments.removals import lowest_against_random
from benchmarks.replicate.lab import Lab, Outcome, records

SEEDS = 5
"""Over which the paper sums forgetting events."""
NOISE = 0.2


def unforgettable(lab: Lab) -> Outcome:
    """Share of the examples that are learned and never forgotten, in one run and in all of the first five."""
    runs = scan_sequences(lab.train().store)
    found = [count_forgetting(run.seen, run.correct, run.epochs).unforgettable for run in runs]
    shares = [each.mean() for each in found]
    se = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else float("nan")
    together = float(np.logical_and.reduce(found[:SEEDS]).mean())
    verdict, reason = lab.compared(together, se)
    text = f"{together:.1%} in all of {len(found[:SEEDS])} runs, {np.mean(shares):.1%} ± {se:.1%} in one"
    return Outcome(text, verdict, reason, {"all": together, "one": float(np.mean(shares)), "se": se})


def seeds(lab: Lab) -> Outcome:
    """Correlation of forgettability between groups of runs, the largest that there are."""
    row = records(analysis.forgetting_agreement(lab.train().store))[-1]
    text = (
        f"between groups of {row['runs_per_half']:.0f} runs Pearson {row['pearson']:.2f} ± {row['pearson_sd']:.2f}, "
        f"Spearman {row['spearman']:.2f} ± {row['spearman_sd']:.2f}"
    )
    verdict, reason = lab.compared(float(row["pearson"]), float(row["pearson_sd"]))
    return Outcome(text, verdict, reason, {"pearson": float(row["pearson"]), "spearman": float(row["spearman"])})


def noise(lab: Lab) -> Outcome:
    """Whether noisy labels are forgotten more often than clean ones."""
    view = lab.train(label_noise={"fraction": NOISE})
    counted, examples = view.forgetting(), view.examples("train")
    noisy = (examples["label"] != examples["given_label"]).to_numpy()
    means = [float(counted["forgettability"][chosen].mean()) for chosen in (noisy, ~noisy)]
    row = next(row for row in records(view.noise()) if row["score"] == "forgettability")
    text = (
        f"{NOISE:.0%} noisy labels: {means[0]:.2f} events a run, clean {means[1]:.2f}; "
        f"AUC {row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    )
    numbers = {"noisy": means[0], "clean": means[1], "auc": float(row["auc"])}
    return lab.judged(text, row["low"] > 0.5, "noisy labels are forgotten more often", numbers)


def removal(lab: Lab) -> Outcome:
    """Accuracy after removing the least forgotten examples, beside as many random ones."""
    rows, text = lowest_against_random(lab, lab.train().forgetting(), "forgettability")
    numbers = {f"{row['removed']:g}": float(row["difference"]) for row in rows}
    last = rows[-1]
    if last["difference_low"] <= 0 <= last["difference_high"]:
        return Outcome(text, "undecided", "limits of the largest removal contain 0", numbers)
    return lab.judged(text, last["difference"] < 0, "the least forgotten are worth less", numbers)
