"""The mean score of the examples that were removed, beside a removal curve.

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, figure 6,
draw test accuracy against the mean number of forgetting events of the examples that a sliding window removes.
"""

import numpy as np
import pandas as pd

from workers.campaign.campaign import Campaign, ratio_to_ppm
from workers.campaign.drop_rules import column_of, rule_text
from workers.errors import EstimateError
from workers.store import Store


def with_removed_scores(store: Store, curve: pd.DataFrame) -> pd.DataFrame:
    """A frame of `removal_curve` with a column `removed_score`: the mean score of the examples removed.

    It is averaged over the runs of a row that did not diverge; NaN where nothing was removed, or no run is left, and
    for `random` where there are several columns of scores. Reads the runs' subsets. Raises EstimateError where subsets
    are not explicit, DamagedFileError for an unreadable file.
    """
    campaign, scores = store.header.campaign, store.scores()
    if not isinstance(campaign, Campaign) or not scores:
        raise EstimateError(f"{store.uri}: has no scores of removed examples: subsets.design must be explicit")
    means: dict[tuple[int, str], list[float]] = {}
    for shard, table in store.scan(["repetition", "is_final", "status", "subset"]):
        final = table.filter(table["is_final"])
        subsets = store.bits(shard, final, "subset")
        rules = campaign.subsets.rules(shard.ratio_ppm)
        columns = (final[name].to_pylist() for name in ("repetition", "status"))
        for repetition, status, subset in zip(*columns, subsets, strict=True):
            rule = rules[repetition % len(rules)]
            if status != "diverged" and not subset.all() and column_of(rule) in scores:
                removed = scores[column_of(rule)][~subset]
                means.setdefault((shard.ratio_ppm, str(rule)), []).append(float(removed.mean()))
    named = {
        (ratio_to_ppm(row["ratio"]), rule_text(row["rule"], row["threshold"])): place
        for place, row in enumerate(curve.to_dict("records"))
    }
    removed_scores = np.full(len(curve), np.nan)
    for key, values in means.items():
        if key in named:
            removed_scores[named[key]] = np.mean(values)
    return curve.assign(removed_score=removed_scores)
