"""The two sides of selected pairs: how unique they are to a test example, and which training examples they are of.

A test example is unique where one training example alone is selected with it (V. Feldman and C. Zhang, NeurIPS 2020:
31 of the 33 test examples in MNIST's pairs). Numbers and shares have the jackknife's standard errors over runs
(`analysis.statistics.jackknife`); the test set is taken as it is. Counts have limits at Student's quantile, not under
0; the share has Wilson's at its effective number of test examples.
"""

import math

import numpy as np
import pandas as pd

from analysis.influence.high_influence import PUBLISHED, PairSelection, select_pairs
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.influence.pairs import Pairs
from analysis.influence.run_versions import run_versions
from analysis.reading.examples import Labels, read_labels
from analysis.reading.halves import pack_ratio
from analysis.reading.selection import check_some_run, select_ratio
from analysis.statistics.jackknife import error_of, positive_limits, share_limits
from workers.common.arrays import Floats
from workers.errors import EstimateError
from workers.store import Store

QUANTITIES = ("pairs", "test_examples", "unique_test_examples", "training_examples", "unique_share")
COLUMNS = ("quantity", "value", "se", "low", "high", "over")
SCORE_COLUMNS = ("example_id", "label", "given_label", "pairs", "infl_sum", "infl_max")


def pairs_per_test(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per test example of a frame of pairs: test_example_id, test_label, `training_examples` (their number).

    Test examples without a pair have no row. Raises EstimateError for a frame without these columns, and for one with
    pairs of several ratios, in which a pair is several times.
    """
    _check_pairs(pairs, "test_example_id", "test_label", "example_id")
    groups = pairs.groupby(["test_example_id", "test_label"], sort=True)["example_id"]
    return groups.size().rename("training_examples").reset_index()


def training_side_table(pairs: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """One row per training example, with SCORE_COLUMNS: a table of scores for explicit subsets.

    `pairs` counts the example's pairs in the frame, so that `{at_least: 1}` of it drops the training side of them all;
    `infl_sum` and `infl_max` are the sum and the largest of their influence, 0 where there is none. Raises
    EstimateError as `pairs_per_test`.
    """
    _check_pairs(pairs, "test_example_id", "example_id", "infl")
    ids = pairs["example_id"].to_numpy(dtype=np.int64)
    infl = pairs["infl"].to_numpy(dtype=np.float64)
    count, total, most = np.zeros(labels.num_train, np.int64), *np.zeros((2, labels.num_train))
    np.add.at(count, ids, 1)
    np.add.at(total, ids, infl)
    most[ids] = -np.inf
    np.maximum.at(most, ids, infl)
    return labels.columns().assign(pairs=count, infl_sum=total, infl_max=most)[list(SCORE_COLUMNS)]


def pair_uniqueness(
    store: Store,
    ratio: float | None = None,
    *,
    selection: PairSelection = PUBLISHED,
    epoch: int | None = None,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """One row per quantity, with COLUMNS: the numbers of pairs and of their examples, and the unique ones' share.

    The share is that of the test examples in pairs, NaN where there is none. What rests on an empty group of runs is
    left out. Limits are of the level `options.confidence`; NaN under two runs, and those of a number that no group of
    runs changes. Raises as `influential_pairs`.
    """
    ratio_ppm = select_ratio(store, ratio)
    packed = pack_ratio(store, read_labels(store), ratio_ppm, epoch)
    check_some_run(store.uri, packed.bits.runs, packed.bits.diverged, packed.bits.ratio)
    versions = run_versions(packed)
    values = np.array(
        [
            _quantities(select_pairs(versions.bits.without_runs(outside), mem, selection, options))
            for outside, mem in zip(versions.left_out, versions.mem, strict=True)
        ]
    )
    rows = [_row(place, values, options.confidence) for place in range(len(QUANTITIES))]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _quantities(pairs: Pairs) -> list[float]:
    per_test = np.unique(pairs.tests, return_counts=True)[1]
    unique = int((per_test == 1).sum())
    share = unique / len(per_test) if len(per_test) else math.nan
    return [len(pairs), len(per_test), unique, len(np.unique(pairs.examples)), share]


def _row(place: int, values: Floats, confidence: float) -> tuple[str, float, float, float, float, str]:
    """Of float64[versions, quantities], the first being that of all runs."""
    name, value, without = QUANTITIES[place], float(values[0, place]), values[1:, place]
    error = error_of(0.0, without)
    if error.runs is None:
        return name, value, math.nan, math.nan, math.nan, "no runs"
    if name == "unique_share":
        limits = share_limits(value, error, int(values[0, QUANTITIES.index("test_examples")]), confidence)
    else:
        limits = positive_limits(value, error, confidence)
    return name, value, error.se, *limits, "runs"


def _check_pairs(pairs: pd.DataFrame, *columns: str) -> None:
    lacking = [column for column in columns if column not in pairs]
    if lacking:
        raise EstimateError(f"pairs: must have the columns {', '.join(columns)}, got none called {', '.join(lacking)}")
    if "ratio" in pairs and pairs["ratio"].nunique() > 1:
        ratios = ", ".join(f"{ratio:g}" for ratio in sorted(pairs["ratio"].unique()))
        raise EstimateError(f"pairs: must be of one ratio, got pairs at {ratios}")
