"""Slow, obvious references of the estimators: one run at a time, one example after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import hypot, isnan, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from analysis.statistics.means import Empty
from tests.synthetic import Labelled, Runs
from workers.common.arrays import Bools

NAN = float("nan")

INFLUENCE_COLUMNS = [
    *("ratio", "test_example_id", "test_label", "example_id", "label", "given_label"),
    *("infl", "se", "low", "high", "n_in", "p_in", "n_out", "p_out"),
]


def slow_mean(group: list[bool], empty: Empty) -> float:
    return sum(group) / len(group) if group else {"half": 0.5, "nan": NAN, "zero": 0.0}[empty]


def slow_variance(group: list[bool]) -> float:
    p = slow_mean(group, "nan")
    return p * (1 - p) / len(group) if group else NAN


def slow_interval(group: list[bool]) -> tuple[float, float]:
    """SciPy's Wilson interval at 95%; [0, 1] of nothing."""
    if not group:
        return 0.0, 1.0
    found = binomtest(sum(group), len(group)).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def slow_difference_interval(a: list[bool], b: list[bool]) -> tuple[float, float]:
    """Newcombe's from those of two groups; all that is possible where one of them is empty."""
    (low_a, high_a), (low_b, high_b) = slow_interval(a), slow_interval(b)
    if not (a and b):
        return low_a - high_b, high_a - low_b
    p_a, p_b = slow_mean(a, "nan"), slow_mean(b, "nan")
    below, above = hypot(p_a - low_a, high_b - p_b), hypot(high_a - p_a, p_b - low_b)
    return p_a - p_b - below, p_a - p_b + above


def slow_average_interval(groups: list[list[bool]]) -> tuple[float, float]:
    """Wilson's of the average at as many runs as one mean would need for the same variance."""
    if not groups:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    mean = sum(slow_mean(group, "nan") for group in groups) / len(groups)
    variance = bare = 0.0
    for group in groups:
        q = (sum(group) + z**2 * mean) / (len(group) + z**2)
        variance += q * (1 - q) / len(group) / len(groups) ** 2
        bare += 1 / len(group) / len(groups) ** 2
    n = mean * (1 - mean) / variance if 0 < mean < 1 else 1 / bare
    middle, reach = mean + z**2 / (2 * n), z * sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    return (middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)


def slow_difference(runs: Runs, i: int, correct: npt.NDArray[np.bool_], empty: Empty) -> dict[str, float]:
    """Influence of training example i on whatever `correct` (bool[K]) is about."""
    groups: dict[bool, list[bool]] = {True: [], False: []}
    for k in range(len(runs.subsets)):
        if k not in runs.diverged:
            groups[bool(runs.subsets[k, i])].append(bool(correct[k]))
    p_in, p_out = slow_mean(groups[True], empty), slow_mean(groups[False], empty)
    low, high = slow_difference_interval(groups[True], groups[False])
    empties = {"half": Fraction(1, 2), "nan": None, "zero": Fraction(0)}
    exact_in, exact_out = (
        Fraction(sum(groups[held]), len(groups[held])) if groups[held] else empties[empty] for held in (True, False)
    )
    return {
        "value": NAN if exact_in is None or exact_out is None else float(exact_in - exact_out),
        "se": sqrt(slow_variance(groups[True]) + slow_variance(groups[False])),
        "low": low,
        "high": high,
        "n_in": len(groups[True]),
        "p_in": p_in,
        "n_out": len(groups[False]),
        "p_out": p_out,
    }


def slow_pairs(runs: Runs, ratio: float, labels: Labelled, empty: Empty) -> pd.DataFrame:
    """Every pair that has a value, in the promised order."""
    label, given_label, test_label = labels.filled(runs.subsets.shape[1], runs.test.shape[1])
    rows = []
    for z in range(runs.test.shape[1]):
        for i in range(runs.subsets.shape[1]):
            row = slow_difference(runs, i, runs.test[:, z], empty)
            own = {"example_id": i, "label": label[i], "given_label": given_label[i]}
            test = {"ratio": ratio, "test_example_id": z, "test_label": test_label[z]}
            rows.append({**test, **own, "infl": row.pop("value"), **row})
    rows = [row for row in rows if not isnan(row["infl"])]
    rows.sort(key=lambda row: (row["test_example_id"], -row["infl"], row["example_id"]))
    return pd.DataFrame(rows, columns=INFLUENCE_COLUMNS)


@dataclass(frozen=True)
class SlowRuns:
    """The runs of one ratio, and the same without some."""

    subsets: Bools
    train: Bools
    test: Bools

    def without(self, left_out: Bools) -> "SlowRuns":
        return SlowRuns(self.subsets[~left_out], self.train[~left_out], self.test[~left_out])

    def infl(self, i: int, correct: Bools) -> float:
        """Influence of i on what bool[K] says; NaN where a group is empty."""
        inside = self.subsets[:, i]
        if inside.all() or not inside.any():
            return NAN
        return float(
            Fraction(int(correct[inside].sum()), int(inside.sum()))
            - Fraction(int(correct[~inside].sum()), int((~inside).sum()))
        )

    def versions(self) -> "list[SlowRuns]":
        """These runs, and those without each of at most 20 groups."""
        place, groups = np.arange(len(self.subsets)), min(20, len(self.subsets))
        return [self, *(self.without(place % groups == group) for group in range(groups))]


def slow_selection(
    runs: SlowRuns, labels: Labelled, min_infl: float, min_mem: float, same_class: bool
) -> dict[tuple[int, int], float]:
    """infl by (test example, training example) of the pairs selected."""
    _, given, test_label = labels.filled(runs.subsets.shape[1], runs.test.shape[1])
    found = {}
    for i in range(runs.subsets.shape[1]):
        if not runs.infl(i, runs.train[:, i]) >= min_mem:
            continue
        for z in range(runs.test.shape[1]):
            infl = runs.infl(i, runs.test[:, z])
            if infl >= min_infl and (given[i] == test_label[z] or not same_class):
                found[z, i] = infl
    return found


def slow_jackknife(values: Sequence[float]) -> float:
    """Standard error from values that each leave a group out; those without a value do not count."""
    known = [value for value in values if not isnan(value)]
    if len(known) < 2:
        return NAN
    mean = sum(known) / len(known)
    return sqrt((len(known) - 1) / len(known) * sum((value - mean) ** 2 for value in known))
