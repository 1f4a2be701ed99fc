"""Toneva et al. (ICLR 2019): unforgettable examples, agreement of seeds, noisy labels, removal by forgetting."""

import numpy as np
import pandas as pd

import analysis
from analysis.learning.forgetting import count_forgetting
from analysis.reading.examples import read_labels
from analysis.reading.sequences import scan_sequences
from analysis.view.store_view import StoreView
from benchmarks.chance_forgetting import forgetting_by_chance
from benchmarks.replicate.experiments.removals import lowest_against_random
from benchmarks.replicate.lab import Lab, Outcome, records

SEEDS = 5
"""Over which the paper sums forgetting events."""
NOISE = 0.2
CHANCE_RUNS = 2
"""Pairs of networks: one trained, one that takes its steps with shuffled values."""
PIXEL_SD = 0.3
"""Of noise in pixels from 0 to 1; the paper's was not found."""
TURNS, TURN = 4, 5
"""Turns of two partitions, and epochs of each."""


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
    return _forgotten(lab.train(label_noise={"fraction": NOISE}), lab, "labels")


def pixel_noise(lab: Lab) -> Outcome:
    """Whether images with noise in their pixels are forgotten more often than those without."""
    return _forgotten(lab.train(image_noise={"fraction": NOISE, "sd": PIXEL_SD}), lab, "images")


def _forgotten(view: StoreView, lab: Lab, what: str) -> Outcome:
    noisy = read_labels(view.store).noisy
    counted = view.forgetting()["forgettability"].to_numpy()
    means = [float(counted[chosen].mean()) for chosen in (noisy, ~noisy)]
    row = next(row for row in records(view.noise()) if row["score"] == "forgettability")
    text = (
        f"{NOISE:.0%} noisy {what}: {means[0]:.2f} events a run, clean {means[1]:.2f}; "
        f"AUC {row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    )
    numbers = {"noisy": means[0], "clean": means[1], "auc": float(row["auc"])}
    if row["low"] <= 0.5 <= row["high"]:
        return Outcome(text, "undecided", "limits of the AUC contain 0.5", numbers)
    return lab.judged(text, row["low"] > 0.5, f"noisy {what} are forgotten more often", numbers)


def removal(lab: Lab) -> Outcome:
    """Accuracy after removing the least forgotten examples, beside as many random ones."""
    forgotten = pd.DataFrame(lab.train().forgetting())[["example_id", "forgettability"]]
    by_name, text = lowest_against_random(lab, forgotten)
    rows = by_name["forgettability"]
    numbers = {f"{row['removed']:g}": float(row["difference"]) for row in rows}
    last = rows[-1]
    if last["difference_low"] <= 0 <= last["difference_high"]:
        return Outcome(text, "undecided", "limits of the largest removal contain 0", numbers)
    return lab.judged(text, last["difference"] < 0, "the least forgotten are worth less", numbers)


def margins(lab: Lab) -> Outcome:
    """Misclassification margins against forgetting events, and the events of random updates of the same size."""
    view = lab.train(record={"epochs": "final", "presentations": True, "presented_margin": True})
    row = records(analysis.presented_margins(view.store)[1])[0]
    pairs = forgetting_by_chance(view.campaign, CHANCE_RUNS)
    events = [np.mean([each[network].events.mean() for each in pairs]) for network in (0, 1)]
    text = (
        f"Spearman of an example's mean margin with its events {row['spearman']:.3f} ({row['low']:.3f} to "
        f"{row['high']:.3f}) over {row['runs']:.0f} runs; events per example {events[0]:.3f}, of random updates of the "
        f"same size {events[1]:.3f} ({CHANCE_RUNS} pairs of networks)"
    )
    numbers = {"spearman": float(row["spearman"]), "events": float(events[0]), "by_chance": float(events[1])}
    if row["low"] <= 0 <= row["high"]:
        return Outcome(text, "undecided", "limits of the correlation contain 0", numbers)
    return lab.judged(text, row["high"] < 0, "examples that are forgotten often have small margins", numbers)


def partitions(lab: Lab) -> Outcome:
    """Accuracy that a partition loses while the other one is trained: random ones, and by forgettability.

    At the end of the last turn, the first partition's accuracy less that at the end of its own last turn.
    """
    whole = {"ratios": [1.0], "repetitions": lab.size.runs or 20}
    forgotten = lab.train(subsets=whole).forgetting()[["example_id", "forgettability"]]
    scores = {"file": lab.keep(forgotten, "forgettability"), "column": "forgettability"}
    by_order: dict[str, dict[str, object]] = {"random": {}, "the least forgotten": {"scores": scores}}
    lost, numbers = {}, {}
    for name, order in by_order.items():
        recipe = {"epochs": TURNS * TURN, "curriculum": {"partitions": 2, "epochs": TURN, **order}}
        curve = records(lab.train(subsets=whole, recipe=recipe, record={"epochs": "all"}).partitions())
        at = {row["epoch"]: row for row in curve if row["partition"] == 1}
        own, other = at[(TURNS - 1) * TURN], at[TURNS * TURN]
        # The two are of the same runs; taken for independent, their difference has a larger error than it needs.
        lost[name] = (own["accuracy"] - other["accuracy"], float(np.hypot(own["se"], other["se"])))
        numbers[name] = lost[name][0]
    said = [f"{name} {100 * value:.2f} ± {100 * se:.2f}" for name, (value, se) in lost.items()]
    (chance, chance_se), (least, least_se) = lost["random"], lost["the least forgotten"]
    text = f"points of accuracy that half of the examples loses in the other half's turn: {', '.join(said)}"
    if abs(chance - least) < 2 * np.hypot(chance_se, least_se):
        return Outcome(text, "undecided", "the two are within two standard errors", numbers)
    return lab.judged(text, chance > least, "the least forgotten stay learned", numbers)
