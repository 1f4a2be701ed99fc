"""Forgetting of the same examples in two stores: before and after noise was added, or under two recipes.

With m_k the mean number of events of a group's examples in run k of a store, over those that the run was shown,

    difference = mean_k m_k (after) - mean_k m_k (before)

with Welch's t interval, since the runs of two stores are independent. M. Toneva et al., "An empirical study of example
forgetting during deep neural network learning", ICLR 2019, compare the events of noisy examples with those of the same
examples before their labels were changed.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.learning.forgetting import Forgetting, estimate_forgetting
from analysis.reading.examples import read_labels
from analysis.reading.selection import committed_ratios
from analysis.reading.sequences import At
from analysis.reading.subset_groups import check_own_subsets
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.run_means import welch_interval
from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats, Integers
from workers.errors import EstimateError
from workers.store import Store

COLUMNS = (
    *("example_id", "label", "given_label", "noisy", "n_runs_before", "n_runs_after"),
    *("forgetting_before", "forgetting_before_se", "forgetting_after", "forgetting_after_se"),
    *("difference", "difference_se"),
)
GROUP_COLUMNS = (
    *("group", "examples", "runs_before", "runs_after", "before", "before_se", "after", "after_se"),
    *("difference", "difference_se", "low", "high"),
)


@dataclass(frozen=True)
class PairedForgetting:
    """`examples` has a row per example, with COLUMNS; `groups` one for the clean and one for the noisy, with
    GROUP_COLUMNS, those without examples left out."""

    ratio: float
    examples: pd.DataFrame
    groups: pd.DataFrame


def paired_forgetting(
    before: Store,
    after: Store,
    ratio: float | None = None,
    at: At = "presentations",
    *,
    confidence: float = CONFIDENCE,
) -> PairedForgetting:
    """Forgetting events of each example in two stores of one data set, at one ratio (None: the largest that both have).

    `noisy` are the examples with noise in their label or pixels in either store. Means, errors and numbers of runs are
    those of `estimate_forgetting`; a difference is after less before, its standard error that of independent runs, over
    runs. Raises EstimateError where the data sets are not the same, where no ratio is in both, and as
    `estimate_forgetting`.
    """
    check_confidence(confidence)
    for store in (before, after):
        check_own_subsets(store, "a comparison of forgetting")
    if before.header.examples_fingerprint != after.header.examples_fingerprint:
        raise EstimateError(f"{after.uri}: was created from a different data set than {before.uri}")
    if ratio is None:
        shared = set(committed_ratios(before)) & set(committed_ratios(after))
        if not shared:
            raise EstimateError(f"{after.uri}: has no ratio with committed runs that {before.uri} has, too")
        ratio = max(shared) / PPM
    noisy = read_labels(before).noisy | read_labels(after).noisy
    sides = [_Side.read(store, ratio, at, noisy, confidence) for store in (before, after)]
    return PairedForgetting(ratio, _examples(sides, noisy), _groups(sides, noisy, confidence))


@dataclass
class _Side:
    """One store: `frame` of its examples, and of each run the mean events of the clean and of the noisy examples."""

    noisy: Bools
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    means: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def read(cls, store: Store, ratio: float, at: At, noisy: Bools, confidence: float) -> "_Side":
        side = cls(noisy)
        side.frame = estimate_forgetting(store, ratio, at, confidence=confidence, observe=side.observe)
        return side

    def observe(self, run: Run, forgetting: Forgetting) -> None:
        clean, noisy = (forgetting.events[forgetting.presented & group] for group in (~self.noisy, self.noisy))
        self.means.append((_mean(clean), _mean(noisy)))


def _mean(values: Floats | Integers) -> float:
    return float(values.mean()) if len(values) else np.nan


def _examples(sides: list[_Side], noisy: Bools) -> pd.DataFrame:
    before, after = (side.frame for side in sides)
    frame = after[["example_id", "label", "given_label"]].assign(noisy=noisy)
    for name, each in (("before", before), ("after", after)):
        frame[f"n_runs_{name}"] = each["n_runs"].to_numpy()
        frame[f"forgetting_{name}"] = each["forgetting"].to_numpy()
        frame[f"forgetting_{name}_se"] = each["forgetting_se"].to_numpy()
    frame["difference"] = frame["forgetting_after"] - frame["forgetting_before"]
    frame["difference_se"] = np.hypot(frame["forgetting_after_se"], frame["forgetting_before_se"])
    return frame[list(COLUMNS)]


def _groups(sides: list[_Side], noisy: Bools, confidence: float) -> pd.DataFrame:
    rows = []
    for place, (group, members) in enumerate({"clean": ~noisy, "noisy": noisy}.items()):
        if not members.any():
            continue
        values = [np.array([means[place] for means in side.means]) for side in sides]
        values = [each[~np.isnan(each)] for each in values]
        means = [_mean(each) for each in values]
        errors = [float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan for each in values]
        low, high = welch_interval(
            (means[1], means[0]), (errors[1], errors[0]), (len(values[1]), len(values[0])), confidence
        )
        row = {"group": group, "examples": int(members.sum())}
        row |= {"runs_before": len(values[0]), "before": means[0], "before_se": errors[0]}
        row |= {"runs_after": len(values[1]), "after": means[1], "after_se": errors[1]}
        error = float(np.hypot(errors[0], errors[1]))
        row |= {"difference": means[1] - means[0], "difference_se": error, "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(GROUP_COLUMNS))
