"""Means over runs with their standard errors."""

from collections.abc import Sequence

import pandas as pd


def mean_over_runs(frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """One row for each group of `by`, in their first order: of each value `NAME`, `NAME_se`, and `runs`.

    The mean over the runs with a value; s / sqrt(n) with s the sample deviation over n runs, NaN under two. The runs of
    a ratio are independent: what they share (data set, labels) is not in the error.
    """
    grouped = frame.groupby(list(by), sort=False, dropna=False)
    parts: dict[str, pd.Series] = {"runs": grouped["run_id"].nunique()}
    for name in values:
        parts[name] = grouped[name].mean()
        parts[f"{name}_se"] = grouped[name].sem()
    return pd.DataFrame(parts).reset_index()
