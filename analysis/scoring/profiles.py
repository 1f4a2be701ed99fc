"""Consistency profiles and class summaries of groups of examples.

    profile(G, r) = mean_{i in G} profile(i, r)      mean correctness of the group at ratio r by runs that held it out

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021. `sd`
is a profile's spread over the group's examples. Its standard error is that of a mean over examples as they are
estimated, sd / sqrt(examples), put together with the runs' part where the runs' groups are given: by the jackknife of
`analysis.statistics.jackknife`, in which groups by the store's own C-score are formed anew without each group of runs,
as other runs would form them. `over` says which. Limits are Wilson's at the effective number of runs.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimators.consistency import cscore
from analysis.estimators.memorization import estimate_memorization
from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.run_groups import RunGroups
from analysis.scoring.groups import Groups, class_name, group_examples
from analysis.statistics.intervals import CONFIDENCE, check_confidence, normal_quantile
from analysis.statistics.jackknife import error_of
from analysis.statistics.means import group_mean
from analysis.statistics.run_means import share_interval
from workers.errors import EstimateError
from workers.store import Store

PROFILE_COLUMNS = (
    *("group", "name", "ratio", "examples", "left_out", "consistency", "sd"),
    *("se", "se_runs", "low", "high", "over"),
)
CLASS_COLUMNS = (
    *("estimate", "ratio", "given_label", "name", "examples", "left_out"),
    *("mean", "mean_se", "mean_se_runs", "mean_low", "mean_high", "over"),
    *("sd", "low_quartile", "median", "high_quartile"),
)


def group_profiles(
    store: Store,
    counts: StoreCounts,
    groups: Groups,
    runs: RunGroups | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """One row per group and ratio under 1, with PROFILE_COLUMNS: the consistency profile of groups.

    `examples` were held out by some run at the ratio, `left_out` by none; `sd` is over the examples (NaN for one).
    `runs` are the sums by group of runs of the same store; without them `se` is over examples only. Raises
    EstimateError where nothing is held out.
    """
    check_confidence(confidence)
    held_out = counts.holding_out()
    if not held_out.ratios:
        counts.check_some_run(store.uri)
        raise EstimateError(f"{store.uri}: has no consistency profile: no run held an example out")
    replicates = _profile_replicates(store, groups, runs)
    rows = []
    for ratio in held_out.ratios:
        values = _consistency(ratio)
        subsets = ratio.n_out if ratio.clusters_out is None else ratio.clusters_out.clusters
        behind = np.array(int(subsets.max()))
        for group, name in enumerate(groups.names):
            summary = _summary(values[groups.members(group)])
            mean, known = summary["mean"], summary["examples"]
            examples_se = summary["sd"] / np.sqrt(known) if known > 1 else np.nan
            without = None if replicates is None else replicates.get((name, ratio.ratio_ppm), np.zeros(0))
            error = error_of(examples_se if np.isfinite(examples_se) else 0.0, without)
            unknown = not np.isfinite(examples_se) and error.runs is None
            reach = error.reach(confidence) / (normal_quantile(confidence) or 1.0)
            low, high = share_interval(np.array(mean), np.array(reach**2), behind if known else behind * 0, confidence)
            key = {"group": group, "name": name, "ratio": ratio.ratio, **summary, "consistency": mean}
            limits = {"low": float(low), "high": float(high)} if known else {"low": np.nan, "high": np.nan}
            se = {"se": np.nan if unknown or not known else error.se, "se_runs": _or_nan(error.runs)}
            rows.append({**key, **se, **limits, "over": error.over})
    frame = pd.DataFrame(rows)
    return frame.sort_values(["group", "ratio"], ignore_index=True)[list(PROFILE_COLUMNS)]


def _profile_replicates(
    store: Store, groups: Groups, runs: RunGroups | None
) -> dict[tuple[str, int], npt.NDArray[np.float64]] | None:
    """The groups' means by name and ratio (parts per million) without each group of runs; None without `runs`."""
    if runs is None:
        return None
    replicates: dict[tuple[str, int], list[float]] = {}
    for counts in runs.without_each():
        held_out = counts.holding_out()
        again = groups if groups.by != "cscore" else _regrouped(store, counts, groups)
        for ratio in held_out.ratios:
            values = _consistency(ratio)
            for group, name in enumerate(again.names if again is not None else ()):
                some = values[again.members(group)] if again is not None else values[:0]
                some = some[np.isfinite(some)]
                replicates.setdefault((name, ratio.ratio_ppm), []).append(float(some.mean()) if len(some) else np.nan)
    return {key: np.array(values) for key, values in replicates.items()}


def _regrouped(store: Store, counts: StoreCounts, groups: Groups) -> Groups | None:
    """Groups by C-score from other counts, of the same borders; None where nothing is held out."""
    return group_examples(store, counts, "cscore", groups.requested) if counts.holding_out().ratios else None


def _consistency(ratio: RatioCounts) -> npt.NDArray[np.float64]:
    return group_mean(ratio.correct_out, ratio.n_out, "nan")


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def class_summary(
    store: Store, counts: StoreCounts, runs: RunGroups | None = None, *, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """One row per estimate (cscore; mem at each ratio under 1) and class, with CLASS_COLUMNS.

    Classes are those of the given labels; `left_out` examples have no value. The spread is the standard deviation over
    examples, and the quartiles, as they are estimated. `mean_low` and `mean_high` are Student's limits of the mean,
    over examples and, with `runs` (the sums by group of runs of the same store), over runs: see `over`; NaN where the
    standard error is 0, which tells nothing. Raises EstimateError where nothing is held out.
    """
    check_confidence(confidence)
    held_out = counts.holding_out()
    if not held_out.ratios:
        raise EstimateError(f"{store.uri}: has neither mem nor C-score: no run held an example out")
    given_label, rows = counts.labels.given_label, []
    classes = np.unique(given_label).tolist()
    replicates: dict[tuple[str, float, int], list[float]] | None = None
    if runs is not None:
        replicates = {}
        for without in runs.without_each():
            for estimate, ratio, values in _class_scores(without.holding_out()):
                for label in classes:
                    mean = _summary(values[given_label == label])["mean"]
                    replicates.setdefault((estimate, ratio, label), []).append(mean)
    for estimate, ratio, values in _class_scores(held_out):
        for label in classes:
            at = ratio if estimate == "mem" else np.nan
            key = {"estimate": estimate, "ratio": at, "given_label": label, "name": class_name(store, label)}
            summary = _summary(values[given_label == label])
            without_each = None if replicates is None else np.array(replicates.get((estimate, ratio, label), []))
            rows.append({**key, **summary, **_mean_error(summary, without_each, estimate, confidence)})
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


def _class_scores(held_out: StoreCounts) -> list[tuple[str, float, npt.NDArray[np.float64]]]:
    """(estimate, ratio, float64[N]); the ratio of the C-score is 0."""
    if not held_out.ratios:
        return []
    scores = [("cscore", 0.0, cscore(held_out)["cscore"].to_numpy())]
    for ratio in held_out.ratios:
        mem = estimate_memorization(replace(held_out, ratios=(ratio,)), empty="nan")["mem"]
        scores.append(("mem", ratio.ratio, mem.to_numpy()))
    return scores


def _mean_error(
    summary: dict[str, float], without: npt.NDArray[np.float64] | None, estimate: str, confidence: float
) -> dict[str, object]:
    known, mean = summary["examples"], summary["mean"]
    examples_se = summary["sd"] / np.sqrt(known) if known > 1 else 0.0
    error = error_of(examples_se, without)
    some = error.se > 0
    reach = error.reach(confidence) if some else np.nan
    least = 0.0 if estimate == "cscore" else -1.0
    return {
        "mean_se": error.se if known > 1 or error.runs is not None else np.nan,
        "mean_se_runs": _or_nan(error.runs),
        "mean_low": max(mean - reach, least) if some else np.nan,
        "mean_high": min(mean + reach, 1.0) if some else np.nan,
        "over": error.over,
    }


def _summary(values: npt.NDArray[np.float64]) -> dict[str, float]:
    some = values[np.isfinite(values)]
    low, median, high = np.quantile(some, (0.25, 0.5, 0.75)) if len(some) else (np.nan,) * 3
    return {
        "examples": len(some),
        "left_out": len(values) - len(some),
        "mean": float(some.mean()) if len(some) else np.nan,
        "sd": float(some.std(ddof=1)) if len(some) > 1 else np.nan,
        "low_quartile": float(low),
        "median": float(median),
        "high_quartile": float(high),
    }
