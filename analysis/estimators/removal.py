"""Removal curves: test accuracy against the share of the training examples that was removed, by what was removed.

With the runs of a ratio and rule (explicit subsets: `workers.subsets.explicit`), their test accuracies a_1..a_n, which
differ by starting weights, order, ties and, under the rule `random`, by the subset,

    test_accuracy = mean a_k      se = sd / sqrt(n), sd with n - 1 below the line      low, high = mean -+ t se

with t the Student quantile of n - 1 degrees of freedom, and limits cut to [0, 1]. Two runs or more of the same accuracy
have sd = 0, which does not say that others would have it, too: an accuracy is one of T + 1 numbers. Their limits are
Wilson's of n T zeros and ones, T being the test examples, as if each run were right on each by chance. The interval is
of the expected accuracy of a model trained this way on this test set: test examples are not taken for a sample.

Where the campaign has the rule `random`, the removal of as many random examples is the control of each other rule:

    difference = random_accuracy - test_accuracy      difference_se = sqrt(se_random^2 + se^2)

with Welch's t interval, since the runs of two rules are independent. It is positive where the examples removed are
worth more than random ones: the marginal utility of memorized examples, if these are removed. Where the runs of a rule
all have one accuracy, the limits of the two means are combined as Newcombe's (1998, method 10) are.

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, sec. 5;
V. Feldman and C. Zhang, "What neural networks memorize and why", NeurIPS 2020, figure 2.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.estimators.removal_runs import read_removal_runs, rule_keys
from analysis.statistics.intervals import CONFIDENCE, check_confidence, mean_interval
from analysis.statistics.run_means import student_quantile, welch_interval
from workers.store import Store

DIFFERENCE = ("difference", "difference_se", "difference_low", "difference_high")
COLUMNS = (
    *("ratio", "removed", "examples_removed", "rule", "threshold", "runs", "diverged"),
    *("test_accuracy", "se", "low", "high"),
    *("random_accuracy", "random_runs", *DIFFERENCE),
)
_Row = Mapping[Hashable, Any]


def removal_curve(store: Store, epoch: int | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per rule, in the campaign's order, and ratio, descending, with COLUMNS; reads no vectors.

    `removed` is 1 - ratio; `rule` is text such as `lowest`, `window 0.25` or `at least`, of which `threshold` is the
    score (else NaN); `runs` are the committed ones less those that `diverged`. What follows `high` compares a rule with
    `random` at the same ratio, NaN (`random_runs` 0) where there is none. At a recorded epoch (None: the last). With
    one run `se`, `low` and `high` are NaN, with none the accuracy is, too. Raises as `read_removal_runs`.
    """
    check_confidence(confidence)
    found = read_removal_runs(store, epoch)
    frames = []
    for _, group in found.rows.groupby(["rule", "ratio"]):
        place, ratio = int(group["rule"].iloc[0]), float(group["ratio"].iloc[0])
        accuracies = group.loc[group["used"], "test_accuracy"].to_numpy(dtype=float)
        counts = {"runs": len(accuracies), "diverged": int(group["lost"].sum())}
        keys = {"order": place, **rule_keys(found.campaign.subsets.drop[place], ratio, store.header.num_train)}
        frames.append({**keys, **counts, **mean_of_runs(accuracies, confidence, store.header.num_test)})
    frame = pd.DataFrame(frames).sort_values(["order", "removed"], ignore_index=True)
    return _with_control(frame, confidence)[list(COLUMNS)]


def write_removal(store: Store, curve: pd.DataFrame, *, confidence: float = CONFIDENCE, name: str = "removal") -> str:
    """Write a store's table, of that confidence, to estimates/NAME.parquet; returns the path. Raises StoreError."""
    table = pa.Table.from_pandas(curve, preserve_index=False).replace_schema_metadata()
    metadata = {"estimate": name, "campaign": store.header.identity, "confidence": repr(float(confidence))}
    return store.write_estimate(name, table, metadata)


def _with_control(frame: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The frame with the columns that compare each rule with `random` at its ratio."""
    controls = frame[frame["rule"] == "random"].set_index("ratio").to_dict("index")
    compared = []
    for row in frame.to_dict("records"):
        control: _Row | None = None if row["rule"] == "random" else controls.get(row["ratio"])
        compared.append(_compared(row, control, confidence))
    return frame.join(pd.DataFrame(compared))


def _compared(row: _Row, control: _Row | None, confidence: float) -> dict[str, float]:
    if control is None:
        return {"random_accuracy": np.nan, "random_runs": 0, **dict.fromkeys(DIFFERENCE, np.nan)}
    values = difference_of_means(control, row, confidence)
    return {"random_accuracy": control["test_accuracy"], "random_runs": control["runs"], **values}


def difference_of_means(control: _Row, row: _Row, confidence: float) -> dict[str, float]:
    """DIFFERENCE of two groups of runs, the control's accuracy less the other's: of rows with what `mean_of_runs` gives
    and the number of `runs`."""
    means = (control["test_accuracy"], row["test_accuracy"])
    errors = (control["se"], row["se"])
    difference = means[0] - means[1]
    if 0.0 in errors:  # a group of runs of one accuracy
        low = difference - np.hypot(means[0] - control["low"], row["high"] - means[1])
        high = difference + np.hypot(control["high"] - means[0], means[1] - row["low"])
    else:
        low, high = welch_interval(means, errors, (int(control["runs"]), int(row["runs"])), confidence)
    limits = np.clip((low, high), -1, 1).tolist()
    return dict(zip(DIFFERENCE, (difference, float(np.hypot(errors[0], errors[1])), *limits), strict=True))


def mean_of_runs(accuracies: npt.NDArray[np.float64], confidence: float, num_test: int) -> dict[str, float]:
    """The mean of runs with its standard error and limits; NaN for what so few do not tell."""
    runs = len(accuracies)
    mean = float(accuracies.mean()) if runs else np.nan
    se = float(accuracies.std(ddof=1)) / np.sqrt(runs) if runs > 1 else np.nan
    margin = float(student_quantile(confidence, runs - 1)) * se if runs > 1 else np.nan
    low, high = np.clip((mean - margin, mean + margin), 0, 1).tolist()
    if runs > 1 and np.ptp(accuracies) * num_test < 0.5:  # equal but for rounding
        limits = mean_interval(np.array(mean), np.array(runs * num_test), confidence)
        return {"test_accuracy": mean, "se": 0.0, "low": float(limits[0]), "high": float(limits[1])}
    return {"test_accuracy": mean, "se": se, "low": low, "high": high}
