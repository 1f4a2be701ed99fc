"""Consistency profiles, learning curves and class summaries of groups of examples.

    profile(G, r)  = mean_{i in G} profile(i, r)      mean correctness of the group at ratio r by runs that held it out
    learning(G, e) = mean_k mean_{i in G, seen by k at epoch e} c_ke(i)

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021: the
consistency profile, and the learning speed of groups of one C-score. A profile's spread (`sd`) and standard error are
over the group's examples, those of a learning curve over runs.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.consistency import consistency_profile, cscore
from analysis.errors import EstimateError
from analysis.memorization import estimate_memorization
from analysis.reading.counts import StoreCounts
from analysis.reading.sequences import At, RunSequence, scan_sequences
from analysis.scoring.groups import Groups, class_name
from analysis.statistics.moments import RunMoments
from workers.campaign import PARTS
from workers.store import Store

PROFILE_COLUMNS = ("group", "name", "ratio", "examples", "left_out", "consistency", "sd", "se")
LEARNING_COLUMNS = ("at", "ratio", "group", "name", "epoch", "runs", "correctness", "sd", "se")
CLASS_COLUMNS = (
    *("estimate", "ratio", "given_label", "name", "examples", "left_out"),
    *("mean", "sd", "low_quartile", "median", "high_quartile"),
)


def group_profiles(store: Store, counts: StoreCounts, groups: Groups) -> pd.DataFrame:
    """One row per group and ratio under 1, with PROFILE_COLUMNS: the consistency profile of groups.

    `examples` were held out by some run at the ratio, `left_out` by none; `sd` is over the examples (NaN for one), `se`
    = sd / sqrt(examples). Raises EstimateError where nothing is held out.
    """
    held_out = counts.holding_out()
    if not held_out.ratios:
        counts.check_some_run(store.uri)
        raise EstimateError(f"{store.uri}: has no consistency profile: no run held an example out")
    rows = []
    for each in held_out.ratios:
        values = consistency_profile(replace(held_out, ratios=(each,)))["consistency"].to_numpy()
        for group, name in enumerate(groups.names):
            summary = _summary(values[groups.members(group)])
            rows.append({"group": group, "name": name, "ratio": each.ratio, **summary, "consistency": summary["mean"]})
    frame = pd.DataFrame(rows)
    frame["se"] = frame["sd"] / np.sqrt(frame["examples"])
    return frame.sort_values(["group", "ratio"], ignore_index=True)[list(PROFILE_COLUMNS)]


def learning_curves(store: Store, groups: Groups, at: At = "presentations", ratio: float | None = None) -> pd.DataFrame:
    """One row per ratio (None: every committed one), group and epoch, with LEARNING_COLUMNS.

    `correctness` is the share of the group's examples that a run got right among those it looked at in that epoch,
    averaged over the `runs` that looked at any; `sd` is over runs, `se` = sd / sqrt(runs), NaN under two. Raises
    EstimateError as `scan_sequences`.
    """
    members = np.stack([groups.members(group) for group in range(len(groups.names))], axis=1).astype(np.float32)
    moments: dict[int, RunMoments] = {}
    epochs: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    for sequence in scan_sequences(store, at, ratio):
        epochs, parts = sequence.epochs, sequence.run.parts
        if parts not in moments:
            moments[parts] = RunMoments((len(epochs), len(groups.names)))
        moments[parts].add(_shares(sequence, members))
    frames = [_curve(at, parts / PARTS, epochs, groups, each) for parts, each in sorted(moments.items())]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(LEARNING_COLUMNS))


def recorded_kinds(store: Store) -> tuple[At, ...]:
    """The looks at examples of which the store has several in each run, so that there are learning curves of them."""
    presented: tuple[At, ...] = ("presentations",) if store.header.record.presentations else ()
    return (*presented, "evaluations", "heldout") if store.header.rows_per_run > 1 else presented


def class_summary(store: Store, counts: StoreCounts) -> pd.DataFrame:
    """One row per estimate (cscore; mem at each ratio under 1) and class, with CLASS_COLUMNS.

    Classes are those of the given labels; `left_out` examples have no value. The spread is the standard deviation over
    examples, and the quartiles. Raises EstimateError where nothing is held out.
    """
    held_out = counts.holding_out()
    if not held_out.ratios:
        raise EstimateError(f"{store.uri}: has neither mem nor C-score: no run held an example out")
    scores = [("cscore", np.nan, cscore(held_out)["cscore"].to_numpy())]
    for each in held_out.ratios:
        mem = estimate_memorization(replace(held_out, ratios=(each,)), empty="nan")["mem"]
        scores.append(("mem", each.ratio, mem.to_numpy()))
    given, rows = counts.labels.given_label, []
    for estimate, ratio, values in scores:
        for label in np.unique(given).tolist():
            key = {"estimate": estimate, "ratio": ratio, "given_label": label, "name": class_name(store, label)}
            rows.append({**key, **_summary(values[given == label])})
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


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


def _shares(sequence: RunSequence, members: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64[E, G], NaN where the run looked at none of the group. Counts under 2^24 are exact in float32."""
    seen, right = ((bits.astype(np.float32) @ members).astype(np.float64) for bits in (sequence.seen, sequence.correct))
    return np.where(seen > 0, right / np.maximum(seen, 1), np.nan)


def _curve(at: At, ratio: float, epochs: npt.NDArray[np.int64], groups: Groups, moments: RunMoments) -> pd.DataFrame:
    shape = (len(groups.names), len(epochs))
    frame = pd.DataFrame(
        {
            "at": at,
            "ratio": ratio,
            "group": np.repeat(np.arange(shape[0]), shape[1]),
            "name": np.repeat(np.array(groups.names, dtype=object), shape[1]),
            "epoch": np.tile(epochs, shape[0]),
            "runs": moments.n.T.ravel(),
            "correctness": moments.mean.T.ravel(),
            "sd": moments.sd.T.ravel(),
            "se": moments.se.T.ravel(),
        }
    )
    return frame[frame["runs"] > 0][list(LEARNING_COLUMNS)]
