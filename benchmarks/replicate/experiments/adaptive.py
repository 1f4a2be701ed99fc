"""Adaptive recipes that Jiang et al. (ICML 2021) discuss: an order of training and a choice of examples, by C-score."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.statistics.run_means import welch_interval
from analysis.view.store_view import StoreView
from benchmarks.replicate.experiments.regularity import MANY_RATIOS, UNKNOWN
from benchmarks.replicate.lab import Lab, Outcome
from workers.common.arrays import Floats
from workers.datasets import load_dataset

PARTITIONS, TURN, TURNS = 3, 5, 2
"""Thirds of the examples, epochs of each in a turn, and turns."""
LOWEST = 0.1
"""Of the C-scores: the examples that more are collected like."""


def curriculum(lab: Lab) -> Outcome:
    """Test accuracy of easy first and of hard first, by C-score, less that of random partitions trained in turn.

    All train as many updates. Decided where the limits of easy first less random partitions are on one side of 0.
    """
    scored = lab.train(subsets={**MANY_RATIOS, "repetitions": lab.size.runs or 20})
    scores = pd.DataFrame(scored.cscore())[["example_id", "cscore"]].fillna(UNKNOWN)
    file = lab.keep(scores.assign(difficulty=-scores["cscore"]), "order")
    orders: dict[str, dict[str, object]] = {
        "random": {},
        "easy first": {"scores": {"file": file, "column": "difficulty"}},
        "hard first": {"scores": {"file": file, "column": "cscore"}},
    }
    whole, epochs = {"ratios": [1.0], "repetitions": lab.size.recipe_runs}, PARTITIONS * TURN * TURNS
    recipes: dict[str, dict[str, object]] = {
        name: {"epochs": epochs, "curriculum": {"partitions": PARTITIONS, "epochs": TURN, **order}}
        for name, order in orders.items()
    }
    # An epoch of all examples has as many updates as one of each partition.
    recipes["all at once"] = {"epochs": epochs // PARTITIONS}
    record = {"epochs": "final", "presentations": False}
    accuracies = {
        name: _accuracies(lab.train(subsets=whole, recipe=recipe, record=record)) for name, recipe in recipes.items()
    }
    return _compared(
        lab, accuracies, ("easy first", "random"), "easy examples first train better than random partitions"
    )


def collection(lab: Lab) -> Outcome:
    """Test accuracy with new examples like those of the lowest C-scores, less that with as many random new ones.

    The first training examples are there; their C-scores are of runs on them alone. Of the others those are collected
    that are nearest, in pixels, to one of the lowest tenth.
    """
    if lab.size.collected is None:
        raise ValueError(f"{lab.row.id}: needs the numbers of examples in `collected`")
    owned, added = lab.size.collected
    first = lab.first(owned)
    scored = first.train(subsets={**MANY_RATIOS, "repetitions": lab.size.runs or 20}).cscore()["cscore"]
    lab.runs += first.runs
    images = _images(lab)
    lowest = np.argsort(scored.fillna(UNKNOWN).to_numpy(), kind="stable")[: round(LOWEST * owned)]
    near = owned + np.argsort(nearest_distances(images[owned:], images[lowest]), kind="stable")[:added]
    ids = np.arange(len(images))
    # What is there is kept, then what is to be collected; equal scores are dropped at random.
    table = pd.DataFrame({"example_id": ids, "random": (ids < owned).astype(float)})
    table["like_lowest"] = 2.0 * table["random"] + np.isin(ids, near)
    file = lab.keep(table, "collected")
    names = ("like_lowest", "random")
    subsets = {
        "design": "explicit",
        "scores": {name: {"file": file, "column": name} for name in names},
        "drop": [{"lowest": name} for name in names],
        "ratios": [(owned + added) / len(images)],
        "repetitions": len(names) * lab.size.recipe_runs,
        "seed": 3,
    }
    view = lab.train(subsets=subsets, record={"epochs": "final"})
    runs = view.runs()
    final = runs[runs["is_final"]]
    accuracies = {
        name: final.loc[final["repetition"] % len(names) == place, "test_accuracy"].to_numpy(dtype=float)
        for place, name in enumerate(names)
    }
    claim = "new examples like those of the lowest C-scores are worth more than random new ones"
    return _compared(lab, accuracies, names, claim)


def _images(lab: Lab) -> Floats:
    """float64[N, pixels] of all training examples of the row."""
    campaign = lab.campaign()
    images = np.asarray(load_dataset(campaign.dataset).train_images, dtype=np.float64)
    flat: Floats = images.reshape(len(images), -1)
    return flat


def nearest_distances(images: Floats, others: Floats) -> Floats:
    """float64[n], the squared distance of each image to the nearest of the others."""
    products = images @ others.T
    squares: Floats = ((images**2).sum(axis=1)[:, None] - 2 * products + (others**2).sum(axis=1)).min(axis=1)
    return squares


def _accuracies(view: StoreView) -> Floats:
    """float64[runs] on the test examples after the last epoch."""
    runs = view.runs()
    accuracies: Floats = runs.loc[runs["is_final"], "test_accuracy"].to_numpy(dtype=float)
    return accuracies


def _compared(lab: Lab, accuracies: Mapping[str, Floats], sides: Sequence[str], claim: str) -> Outcome:
    """The accuracies in words, and the first side's less the second's with Welch's limits over runs."""
    means = {name: float(values.mean()) for name, values in accuracies.items()}
    errors = {name: float(values.std(ddof=1) / np.sqrt(len(values))) for name, values in accuracies.items()}
    said, numbers = [f"{name} {100 * means[name]:.2f} ± {100 * errors[name]:.2f}" for name in means], dict(means)
    control, differences = sides[1], {}
    for name in means:
        if name == control:
            continue
        pair = (name, control)
        low, high = welch_interval(
            (means[name], means[control]),
            (errors[name], errors[control]),
            (len(accuracies[name]), len(accuracies[control])),
        )
        differences[name] = (low, high)
        value = means[name] - means[control]
        numbers[f"{name} less {control}"] = value
        said.append(f"{' less '.join(pair)} {100 * value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})")
    text = f"test accuracy in percent: {'; '.join(said)}"
    low, high = differences[sides[0]]
    if low <= 0 <= high:
        return Outcome(text, "undecided", f"limits of {' less '.join(sides)} contain 0", numbers)
    return lab.judged(text, low > 0, claim, numbers)
