"""Feldman & Zhang (NeurIPS 2020): a linear layer alone, trained on each subset on frozen features of a network.

The paper's encoder was trained on everything: it has seen the label of each example that a head does not train on. The
control is an encoder that was trained on one of the subsets: the first run of the whole networks.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.scoring.scores import Scores, read_scores
from analysis.statistics.jackknife import jackknife_se
from analysis.view.store_view import StoreView
from benchmarks.replicate.experiments.influence import MIN_MEM
from benchmarks.replicate.lab import Lab, Outcome, records
from workers.common.arrays import Bools

HEAD = {"name": "mlp", "hidden": []}
RECIPE = {"augmentation": {}, "evaluation_flip": False, "initialization": {}}
"""What there is for images alone is left out; all else is as for the whole network."""


@dataclass(frozen=True)
class _Count:
    """Examples with mem >= MIN_MEM, the standard error of their number over groups of runs, and of how many."""

    value: int
    se: float
    of: int

    def __str__(self) -> str:
        return f"{self.value:,} ± {self.se:.0f} of {self.of:,}"


def last_layer(lab: Lab) -> Outcome:
    """Memorized examples, pairs and accuracy of whole networks and of heads, and the control.

    Decided where the numbers of memorized examples are two standard errors apart.
    """
    whole = lab.train()
    everything = lab.train(subsets={"ratios": [1.0], "repetitions": 1})
    sides = {
        "whole network": whole,
        "head, encoder of everything": _heads(lab, everything),
        "head, encoder of one subset": _heads(lab, whole),
    }
    counts = {name: _memorized(_scores(view)) for name, view in sides.items()}
    said = [f"{name}: {counts[name]} memorized, {_quality(view)}" for name, view in sides.items()]
    control = sides["head, encoder of one subset"]
    seen = control.store.seen_by_encoder()
    if seen is None:
        raise ValueError(f"{control.store.uri}: has no features of a run")
    by_group = {"it has seen": seen, "it has not": ~seen}
    for group, members in by_group.items():
        of_heads, of_networks = (_memorized(_scores(view), members) for view in (control, whole))
        counts |= {group: of_heads, f"{group}, whole network": of_networks}
        said.append(f"of those that {group}: {of_heads}, whole network {of_networks}")
    names = list(sides)
    gap = counts[names[0]].value - counts[names[1]].value
    error = math.hypot(counts[names[0]].se, counts[names[1]].se)
    text, numbers = "; ".join(said), {name: float(count.value) for name, count in counts.items()}
    if abs(gap) < 2 * error:
        return Outcome(text, "undecided", "the numbers of memorized examples are within two standard errors", numbers)
    return lab.judged(text, gap > 0, "the head alone memorizes fewer examples than the whole network", numbers)


def _heads(lab: Lab, encoders: StoreView) -> StoreView:
    """Heads on the features of the first run of a store."""
    first = encoders.runs()["run_id"].iloc[0]
    return lab.train(dataset={"name": "features", "file": lab.features(encoders, first)}, model=HEAD, recipe=RECIPE)


def _scores(view: StoreView) -> Scores:
    return read_scores(view.store, "memorization", replicates=True)


def _memorized(scores: Scores, members: Bools | None = None) -> _Count:
    """Of all examples, or of those that are members of a group, bool[N]."""
    members = np.ones(len(scores.values), dtype=bool) if members is None else members
    without = np.zeros((0, len(members))) if scores.replicates is None else scores.replicates
    counts = (without[:, members] >= MIN_MEM).sum(axis=1).astype(float)
    value = int((scores.values[members] >= MIN_MEM).sum())
    return _Count(value, float(jackknife_se(counts)), int(members.sum()))


def _quality(view: StoreView) -> str:
    """Pairs of the published selection, and test accuracy with its standard error over runs."""
    (pairs,) = records(view.pair_uniqueness().query("quantity == 'pairs'"))
    accuracy = view.runs().query("is_final")["test_accuracy"].to_numpy(dtype=np.float64)
    right = f"test accuracy {accuracy.mean():.2%} ± {accuracy.std(ddof=1) / math.sqrt(len(accuracy)):.2%}"
    return f"{pairs['value']:,.0f} ± {pairs['se']:.0f} pairs, {right}"
