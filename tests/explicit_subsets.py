"""Campaigns of explicit subsets, and a store with imaginary scores."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.conftest import small_campaign
from tests.stores import NUM_TEST, NUM_TRAIN, header
from workers.campaign.campaign import Campaign
from workers.campaign.score_column import UNNAMED
from workers.store import Store, examples_table
from workers.subsets.explicit import (
    scores_sha256,
    threshold_ratios,
)

N = 1437
"""Training examples of digits."""


def explicit(file: Path | str = "scores.parquet", **changes: object) -> Campaign:
    subsets = {
        "design": "explicit",
        "ratios": [0.8, 0.3],
        "repetitions": 4,
        "scores": {"file": str(file), "column": "score"},
        "drop": ["lowest", "random"],
    }
    return small_campaign(subsets=subsets | changes)


def by_threshold(*drop: object, **changes: Any) -> Campaign:
    return explicit(drop=list(drop), ratios=[], **changes)


def resolved(campaign: Campaign, scores: npt.NDArray[np.float64]) -> Campaign:
    return campaign.with_ratios(threshold_ratios(campaign.subsets, {UNNAMED: scores}))


def explicit_store(path: Path, campaign: Campaign | None = None) -> Store:
    """An empty store on imaginary data, whose scores are 0, 1, 2, ..."""
    scores, labels = np.arange(float(NUM_TRAIN)), np.zeros(NUM_TRAIN, np.int64)
    campaign = campaign or explicit()
    made = header(campaign.with_score_column("subsets.scores", sha256=scores_sha256(scores)))
    return Store.create(path, made, examples_table(labels, labels, np.zeros(NUM_TEST, np.int64), {"score": scores}))
