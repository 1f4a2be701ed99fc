"""Jiang et al. (ICML 2021): C-scores, their proxies, and outliers that are filtered by them."""

import math
from itertools import pairwise

import pandas as pd

import analysis
from benchmarks.replicate.experiments.removals import lowest_against_random
from benchmarks.replicate.lab import Lab, Outcome, records
from orchestrator import estimate_densities

RECORDED = {"epochs": "final", "presentations": True, "probabilities": True}
FILTERED = (0.99, 0.95, 0.9)
"""What is left without the outliers."""
DISTANCES = "density"
"""In the names of proxies that are no statistics of training."""
UNKNOWN = 0.5
"""In place of the C-score of an example that no run held out."""
GROUPS = 5
"""By C-score, of equal width."""
MANY_RATIOS = {"ratios": [0.1, 0.3, 0.5, 0.7, 0.9]}


def cscores(lab: Lab) -> Outcome:
    """C-scores, beside those published for the data set where they are in the folder of the data.

    At reduced size those of the same first images: published scores are in the data set's order.
    """
    view = lab.train(subsets=MANY_RATIOS)
    scores = view.cscore()["cscore"]
    text = f"mean C-score {scores.mean():.3f}, {int((scores < 0.5).sum()):,} of {len(scores):,} examples under 0.5"
    numbers = {"mean": float(scores.mean()), "under_half": int((scores < 0.5).sum())}
    name = view.campaign.dataset.name if lab.row.preset is None else lab.row.preset.partition("-")[0]
    published = None if lab.data is None else lab.data / f"{name}-cscores-orig-order.npz"
    if published is None or not published.exists():
        return Outcome(text, "not comparable", "the published scores are not in the folder of the data", numbers)
    found = analysis.compare(view.store.uri, published, estimate="cscore")
    row = next(row for row in records(found.errors) if row["measure"] == "spearman")
    text += f"; with the published ones Spearman {row['value']:.3f} ± {row['se']:.3f}"
    numbers["spearman"] = float(row["value"])
    return lab.judged(text, row["low"] > 0.5, "ranks agree beyond 0.5", numbers)


def learning_speed(lab: Lab) -> Outcome:
    """Application 1: how early groups by C-score are learned, under SGD at a constant and a stepped rate, and Adam.

    The statement: a group of higher C-scores is learned earlier, by limits of the curves' areas over runs.
    """
    scored = lab.train(subsets={**MANY_RATIOS, "repetitions": lab.size.runs or 20})
    text, ordered, apart = [], [], []
    numbers: dict[str, float] = {}
    for name, changes in optimizers(lab.size.epochs or scored.campaign.recipe.epochs).items():
        whole = {"ratios": [1.0], "repetitions": lab.size.recipe_runs}
        view = lab.train(subsets=whole, recipe=changes, record={"epochs": "final", "presentations": True})
        rows = records(view.learning_speed(scores=scored.store, groups=GROUPS))
        text.append(
            f"{name} "
            + ", ".join(f"{row['area']:.3f} ± {row['area_se']:.3f} (epoch {row['epoch']:.1f})" for row in rows)
        )
        numbers |= {f"{name}, {row['name']}": float(row["area"]) for row in rows}
        ordered.append(all(a["area"] < b["area"] for a, b in pairwise(rows)))
        apart.append(rows[0]["area_high"] < rows[-1]["area_low"])
    groups = ", ".join(f"{row['name'].removeprefix('C-score ')} ({row['examples']:,})" for row in rows)
    value = (
        f"mean correctness over the epochs of the groups {groups} by C-score (first epoch with 90%): {'; '.join(text)}"
    )
    if all(apart) and not all(ordered):
        return Outcome(
            value, "undecided", "the highest group is learned first, and not all between are in order", numbers
        )
    return lab.judged(value, all(apart), "groups of higher C-scores are learned earlier under each optimizer", numbers)


def optimizers(epochs: int) -> dict[str, dict[str, object]]:
    """Changes of a recipe, by the optimizers that Jiang et al. compare; steps are at half and three quarters."""
    sgd = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    milestones = sorted({max(1, epochs // 2), max(1, epochs * 3 // 4)} - {epochs})
    return {
        "SGD": {"optimizer": sgd, "schedule": {"name": "constant"}},
        "SGD stagewise": {"optimizer": sgd, "schedule": {"name": "step", "milestones": milestones}},
        "Adam": {"optimizer": {"name": "adam"}, "schedule": {"name": "constant"}},
    }


def held_out_accuracy(lab: Lab) -> Outcome:
    """Mean accuracy on held-out examples at each ratio, the consistency profile of the whole data set."""
    runs = lab.train().runs()
    runs = runs[runs["is_final"]]
    means = records(runs.groupby("ratio")["heldout_accuracy"].agg(["mean", "sem"]).reset_index())
    said = [f"{row['ratio']:g}: {row['mean']:.4f} ± {row['sem']:.4f}" for row in means]
    rises = all(b["mean"] - a["mean"] > -2 * math.hypot(a["sem"], b["sem"]) for a, b in pairwise(means))
    numbers = {f"{row['ratio']:g}": float(row["mean"]) for row in means}
    text = f"held-out accuracy by ratio: {', '.join(said)}"
    return lab.judged(text, rises, "accuracy rises with the ratio", numbers)


def proxies(lab: Lab) -> Outcome:
    """Rank correlations of proxies with the C-score: the best statistic of training and the best distance."""
    view = lab.train(subsets={"ratios": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]}, record=RECORDED)
    estimate_densities(view.store).write(view.store)
    rows = records(view.proxy_agreement().dropna(subset="spearman").sort_values("spearman"))
    training = [row for row in rows if DISTANCES not in row["proxy"]][-1]
    distance = [row for row in rows if DISTANCES in row["proxy"]][-1]
    said = [f"{row['proxy']} {row['spearman']:.3f} ± {row['spearman_se']:.3f}" for row in (training, distance)]
    holds = training["spearman_low"] > distance["spearman_high"]
    text = f"rank correlation with the C-score: best of training {said[0]}, best distance {said[1]}"
    numbers = {str(row["proxy"]): float(row["spearman"]) for row in rows}
    return lab.judged(text, holds, "statistics of training agree better than distances", numbers)


def filtering(lab: Lab) -> Outcome:
    """Accuracy without the examples of the lowest C-scores, or cumulative accuracies, beside as many random ones."""
    subsets = {"design": "uniform", **MANY_RATIOS, "repetitions": lab.size.runs or 20, "seed": 0}
    scored = lab.train(subsets=subsets, record=RECORDED)
    scores = pd.DataFrame(scored.cscore())[["example_id", "cscore"]].fillna(UNKNOWN)
    by_name, text = lowest_against_random(lab, scores.assign(accuracy=scored.proxies()["accuracy"]), FILTERED)
    numbers = {f"{name} {row['removed']:g}": float(row["difference"]) for name in by_name for row in by_name[name]}
    first = by_name["cscore"][0]
    if first["difference_low"] <= 0 <= first["difference_high"]:
        return Outcome(text, "undecided", "limits of the smallest removal contain 0", numbers)
    return lab.judged(text, first["difference"] < 0, "filtering costs less than chance", numbers)


def noise(lab: Lab) -> Outcome:
    """Whether low C-scores find labels that were replaced."""
    view = lab.train(label_noise={"fraction": 0.1}, subsets=MANY_RATIOS)
    row = next(row for row in records(view.noise()) if row["score"] == "cscore")
    text = f"AUC of the C-score for 10% noisy labels {row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    return lab.judged(text, row["low"] > 0.5, "noisy labels have low C-scores", {"auc": float(row["auc"])})
