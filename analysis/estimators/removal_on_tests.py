"""Removal on chosen test examples: what they lose, and their share of the whole loss of test accuracy.

With x_k a run's test accuracy, y_k the part of it that the chosen test examples Z make up (right ones of Z over T), and
D the mean over the control's runs less that over the rule's,

    points = D(y) = |Z| / T x (difference of the accuracy on Z)        share = R = D(y) / D(x)
    se(share) = sqrt(v(y - R x)) / |D(x)|         limits: the r with |D(y) - r D(x)| <= t sqrt(v(y - r x))

with v(e) = s_c(e)^2 / n_c + s(e)^2 / n the variance of D(e), and t Student's quantile at Welch's degrees of freedom of
e = y - R x. The limits are Fieller's; there are none where D(x) is not told apart from 0, as the share may then be
anything. Points of Z and of the other test examples add up to the whole difference. Controls are as many random
removals, and training on all examples (runs at ratio 1, of any rule). Runs of two groups are independent.

V. Feldman and C. Zhang, NeurIPS 2020, remove the training side of the selected pairs of CIFAR-100: test accuracy falls
by 2.54 +- 0.2 points, of which 2.38 +- 0.17 are the pairs' 888 test examples'. E. C. Fieller, "Some problems in
interval estimation", JRSS B 1954.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimators.removal import DIFFERENCE, difference_of_means, mean_of_runs
from analysis.estimators.removal_runs import RemovalRuns, read_removal_runs, rule_keys
from analysis.reading.selection import chosen_tests
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.run_means import student_quantile
from workers.common.arrays import Floats
from workers.store import Store

ALL, SELECTED, OTHERS = "all", "selected", "others"
RANDOM, EVERYTHING, NO_CONTROL = "random", "all examples", "none"
COLUMNS = (
    *("ratio", "removed", "examples_removed", "rule", "threshold", "runs"),
    *("test_examples", "count", "accuracy", "se", "low", "high"),
    *("control", "control_runs", "control_accuracy", "control_se", *DIFFERENCE),
    *("points", "points_se", "share", "share_se", "share_low", "share_high"),
)


@dataclass(frozen=True)
class _Group:
    """Runs of one rule at one ratio: right test examples of each, float64[runs], by ALL, SELECTED and OTHERS."""

    keys: Mapping[str, Any]
    right: Mapping[str, Floats]

    @property
    def is_random(self) -> bool:
        return bool(self.keys["rule"] == "random")


def removal_on_tests(
    store: Store, test_examples: npt.ArrayLike, epoch: int | None = None, *, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Three rows (test_examples: all, selected, others) per rule, ratio and control, with COLUMNS.

    `test_examples` are ids, each once or several times, or a mask of length T. A `control` is `random`, as many random
    removals, `all examples`, nothing removed, or `none`, where a rule has neither; runs that remove nothing are one
    group, of the rule `nothing`. `accuracy` is that on `count` test examples, `difference` the control's less it,
    `points` the difference's part of the whole test accuracy, and `share` that of the whole difference. A row of no
    test examples is left out. Values that the runs do not tell are NaN. Raises as `read_removal_runs`, EstimateError
    for no test example, and for one that there is not.
    """
    check_confidence(confidence)
    num_test = store.header.num_test
    chosen = chosen_tests(test_examples, num_test)
    found = read_removal_runs(store, epoch, chosen)
    groups = list(_groups(found, store))
    everything = next((group for group in groups if group.keys["removed"] == 0), None)
    random = {group.keys["ratio"]: group for group in groups if group.is_random}
    counts = {ALL: num_test, SELECTED: len(chosen), OTHERS: num_test - len(chosen)}
    rows: list[dict[str, Any]] = []
    for group in groups:
        controls: dict[str, _Group | None] = {
            RANDOM: None if group.is_random else random.get(group.keys["ratio"]),
            EVERYTHING: everything,
        }
        controls = {name: each for name, each in controls.items() if each is not None and each is not group}
        for name, control in (controls or {NO_CONTROL: None}).items():
            rows += [_row(group, name, control, part, counts, confidence) for part in counts if counts[part]]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _groups(found: RemovalRuns, store: Store) -> Iterator[_Group]:
    """The runs of each rule and ratio, in the campaign's order, ratios descending; those that remove nothing first."""
    used = found.rows[found.rows["used"]]
    of_all = np.rint(used["test_accuracy"] * store.header.num_test)
    right = pd.DataFrame({ALL: of_all, SELECTED: used["selected"], OTHERS: of_all - used["selected"]}, dtype=float)
    whole = used["ratio"] == 1.0
    keys = np.where(whole, -1, used["rule"]), -used["ratio"]
    for _, rows in used.groupby(list(keys), sort=True):
        ratio = float(rows["ratio"].iloc[0])
        rule = found.campaign.subsets.drop[int(rows["rule"].iloc[0])]
        described = rule_keys(rule, ratio, store.header.num_train)
        if ratio == 1.0:
            described |= {"rule": "nothing", "threshold": np.nan}
        of_rule = right.loc[rows.index]
        yield _Group(described, {part: of_rule[part].to_numpy() for part in (ALL, SELECTED, OTHERS)})


def _row(
    group: _Group, name: str, control: _Group | None, part: str, counts: Mapping[str, int], confidence: float
) -> dict[str, Any]:
    own = _mean(group, part, counts[part], confidence)
    row = {**group.keys, "runs": own["runs"], "test_examples": part, "count": counts[part], "control": name}
    row |= {"accuracy": own["test_accuracy"], **{each: own[each] for each in ("se", "low", "high")}}
    if control is None:
        return {**row, "control_runs": 0}
    other = _mean(control, part, counts[part], confidence)
    difference = difference_of_means(other, own, confidence)
    scale = counts[part] / counts[ALL]
    points = {"points": scale * difference["difference"], "points_se": scale * difference["difference_se"]}
    of_control = {"control_runs": other["runs"], "control_accuracy": other["test_accuracy"], "control_se": other["se"]}
    share = _share(*((each.right[part], each.right[ALL]) for each in (control, group)), confidence=confidence)
    return {**row, **of_control, **difference, **points, **share}


def _mean(group: _Group, part: str, count: int, confidence: float) -> dict[Hashable, Any]:
    right = group.right[part]
    means: dict[Hashable, Any] = {"runs": len(right)}
    return means | dict(mean_of_runs(right / count, confidence, count).items())


def _share(control: tuple[Floats, Floats], own: tuple[Floats, Floats], *, confidence: float) -> dict[str, float]:
    """The share with its error, of (y, x) of the runs of two groups."""
    values = dict.fromkeys(("share", "share_se", "share_low", "share_high"), np.nan)
    if min(len(control[0]), len(own[0])) == 0:
        return values
    of_part, whole = (float(control[place].mean() - own[place].mean()) for place in range(2))
    if whole == 0:
        return values
    share = of_part / whole
    values["share"] = share
    if min(len(control[0]), len(own[0])) < 2:
        return values
    (v_yy, v_xy), (_, v_xx) = np.sum([np.cov(*each) / len(each[0]) for each in (control, own)], axis=0)
    variances = np.array([np.var(y - share * x, ddof=1) / len(x) for y, x in (control, own)])
    values["share_se"] = float(np.sqrt(variances.sum())) / abs(whole)
    if not variances.any():
        return values
    degrees = variances.sum() ** 2 / (variances**2 / np.array([len(control[0]) - 1, len(own[0]) - 1])).sum()
    t = float(student_quantile(confidence, degrees))
    a, b, c = whole**2 - t**2 * v_xx, of_part * whole - t**2 * v_xy, of_part**2 - t**2 * v_yy
    if a > 0:
        reach = float(np.sqrt(max(b**2 - a * c, 0.0)))
        values |= {"share_low": (b - reach) / a, "share_high": (b + reach) / a}
    return values
