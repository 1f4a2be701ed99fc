"""The runs of a campaign with explicit subsets: each with its rule, and its test accuracy at an epoch."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.campaign.campaign import Campaign, ratio_to_ppm
from workers.campaign.drop_rules import Rule, ThresholdRule
from workers.common.arrays import Integers
from workers.errors import DamagedFileError, EstimateError, NoEstimateError
from workers.store import Store
from workers.subsets.draw import subset_size

_READ = ("ratio", "repetition", "epoch", "is_final", "status", "test_accuracy")


@dataclass(frozen=True)
class RemovalRuns:
    """One row per run and recorded epoch, with ratio, `rule` (its place among the campaign's) and test_accuracy.

    `used` marks the rows of the requested epoch, of runs that did not diverge, `lost` the last rows of those that did;
    `selected` is the number of chosen test examples that the run is right on, where some were chosen.
    """

    campaign: Campaign
    rows: pd.DataFrame


def read_removal_runs(store: Store, epoch: int | None, tests: Integers | None = None) -> RemovalRuns:
    """The runs at a recorded epoch (None: the last); reads no vectors, unless ids of test examples are given.

    Raises EstimateError where subsets are not explicit, where there are no runs or no test examples, and for an epoch
    that was not recorded; DamagedFileError for an unreadable file, and for runs at a ratio that follows from no
    threshold.
    """
    campaign = _checked(store, epoch)
    tables = []
    for shard, table in store.scan(_READ if tests is None else (*_READ, "test_correct")):
        frame = table.select(_READ).to_pandas()
        if tests is not None:
            frame["selected"] = store.bits(shard, table, "test_correct")[:, tests].sum(axis=1, dtype=np.int64)
        tables.append(frame)
    if not tables:
        raise NoEstimateError(f"{store.uri}: has no committed run")
    rows = pd.concat(tables, ignore_index=True)
    final, diverged = rows["is_final"].astype(bool), rows["status"] == "diverged"
    at_epoch = final if epoch is None else rows["epoch"] == epoch
    rows = rows.assign(rule=_places(store, campaign, rows), lost=final & diverged, used=at_epoch & ~diverged)
    return RemovalRuns(campaign, rows)


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


def _places(store: Store, campaign: Campaign, rows: pd.DataFrame) -> Integers:
    """The place of each row's rule among the campaign's."""
    places = np.empty(len(rows), dtype=np.int64)
    for ratio in rows["ratio"].unique():
        turns = [campaign.subsets.drop.index(rule) for rule in campaign.subsets.rules(ratio_to_ppm(ratio))]
        if not turns:
            raise DamagedFileError(f"{store.uri}: has runs at ratio {ratio:g}, which follows from no threshold")
        here = (rows["ratio"] == ratio).to_numpy()
        places[here] = np.array(turns)[rows["repetition"][here] % len(turns)]
    return places


def rule_keys(rule: Rule, ratio: float, num_train: int) -> dict[str, object]:
    """What tells a rule at a ratio from others: the columns of every table of removal."""
    named = (rule.name, rule.threshold) if isinstance(rule, ThresholdRule) else (str(rule), np.nan)
    return {
        "ratio": ratio,
        "removed": round(1 - ratio, 6),  # 1 - 0.7 is 0.30000000000000004; ratios have six decimals
        "examples_removed": num_train - subset_size(ratio_to_ppm(ratio), num_train),
        "rule": named[0],
        "threshold": named[1],
    }
