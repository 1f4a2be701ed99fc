"""Removal curves: test accuracy against the share of the training examples that was removed, by what was removed.

With the runs of a ratio and rule (explicit subsets: `workers.subsets.explicit`), their test accuracies a_1..a_n, which
differ by starting weights, order, ties and, under the rule `random`, by the subset,

    test_accuracy = mean a_k      se = sd / sqrt(n), sd with n - 1 below the line      low, high = mean -+ t se

with t the Student quantile of n - 1 degrees of freedom, and limits cut to [0, 1]. Two runs or more of the same accuracy
have sd = 0, which does not say that others would have it, too: an accuracy is one of T + 1 numbers. Their limits are
Wilson's of n T zeros and ones, T being the test examples, as if each run were right on each by chance. The interval is
of the expected accuracy of a model trained this way on this test set: test examples are not taken for a sample.

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, sec. 5.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.statistics.intervals import CONFIDENCE, check_confidence, mean_interval
from analysis.statistics.run_means import student_quantile
from workers.campaign.campaign import Campaign
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store

COLUMNS = (
    *("ratio", "removed", "rule", "runs", "diverged"),
    *("test_accuracy", "se", "low", "high"),
)
_READ = ("ratio", "repetition", "epoch", "is_final", "status", "test_accuracy")


def removal_curve(store: Store, epoch: int | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per rule, in the campaign's order, and ratio, descending, with COLUMNS; reads no vectors.

    `removed` is 1 - ratio; `rule` is text such as `lowest` or `window 0.25`; `runs` are the committed ones less those
    that `diverged`. At a recorded epoch (None: the last). With one run `se`, `low` and `high` are NaN, with none the
    accuracy is, too. Raises EstimateError where subsets are not explicit, where there are no runs or no test examples,
    and for an epoch that was not recorded; DamagedFileError for an unreadable file.
    """
    check_confidence(confidence)
    campaign = _checked(store, epoch)
    tables = [table for _, table in store.scan(_READ)]
    if not tables:
        raise NoEstimateError(f"{store.uri}: has no committed run")
    rows: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    rules = [str(rule) for rule in campaign.subsets.drop]
    final, diverged = rows["is_final"].astype(bool), rows["status"] == "diverged"
    at_epoch = final if epoch is None else rows["epoch"] == epoch
    rows = rows.assign(order=rows["repetition"] % len(rules), lost=final & diverged, used=at_epoch & ~diverged)
    frames = []
    for _, group in rows.groupby(["order", "ratio"]):
        order, ratio = int(group["order"].iloc[0]), float(group["ratio"].iloc[0])
        accuracies = group.loc[group["used"], "test_accuracy"].to_numpy(dtype=float)
        counts = {"runs": len(accuracies), "diverged": int(group["lost"].sum())}
        # 1 - 0.7 is 0.30000000000000004; ratios have six decimals.
        keys = {"order": order, "ratio": ratio, "removed": round(1 - ratio, 6), "rule": rules[order]}
        frames.append({**keys, **counts, **mean_of_runs(accuracies, confidence, store.header.num_test)})
    frame = pd.DataFrame(frames).sort_values(["order", "removed"], ignore_index=True)
    return frame[list(COLUMNS)]


def write_removal(store: Store, curve: pd.DataFrame, *, confidence: float = CONFIDENCE) -> str:
    """Write a store's curve, of that confidence, to estimates/removal.parquet; returns the path. Raises StoreError."""
    table = pa.Table.from_pandas(curve, preserve_index=False).replace_schema_metadata()
    metadata = {"estimate": "removal", "campaign": store.header.identity, "confidence": repr(float(confidence))}
    return store.write_estimate("removal", table, metadata)


def _checked(store: Store, epoch: int | None) -> Campaign:
    campaign = store.header.campaign
    if not isinstance(campaign, Campaign) or campaign.subsets.design != "explicit":
        design = campaign.subsets.design if isinstance(campaign, Campaign) else "imported"
        raise EstimateError(f"{store.uri}: has no removal curve: subsets.design must be explicit, got {design}")
    if not store.header.num_test:
        raise EstimateError(f"{store.uri}: has no removal curve: the data set has no test examples")
    recorded = campaign.recorded_epochs()
    if epoch is not None and epoch not in recorded:
        there = ", ".join(map(str, recorded))
        raise EstimateError(f"{store.uri}: epoch must be one of {there} (those recorded), got {epoch!r}")
    return campaign


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
