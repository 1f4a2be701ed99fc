"""Explicit subsets by thresholds: which examples are dropped, and the ratios that follow from the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explicit_subsets import by_threshold, resolved
from workers.campaign.campaign import PPM
from workers.campaign.drop_rules import AtLeast
from workers.campaign.keys import Run
from workers.campaign.score_column import UNNAMED
from workers.campaign.yaml_io import check_campaign
from workers.errors import CampaignError
from workers.subsets.draw import draw_subset, subset_size
from workers.subsets.explicit import (
    ScoredExamples,
    threshold_ratio_ppm,
)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 5), st.sampled_from(["at_least", "at_most"])
)
def test_a_threshold_drops_its_side_and_random_as_many(values: list[int], threshold: int, side: str) -> None:
    scores = np.array(values, float)
    dropped = scores >= threshold if side == "at_least" else scores <= threshold
    campaign = by_threshold({side: threshold}, "random")
    if dropped.all():
        with pytest.raises(
            CampaignError, match=r"^subsets.drop: at \w+ \d leaves no training example: scores are from"
        ):
            resolved(campaign, scores)
        return
    campaign = resolved(campaign, scores)
    (ratio_ppm,), scored = (
        campaign.subsets.ratios_ppm,
        ScoredExamples({UNNAMED: scores}, np.zeros(len(values), np.int64)),
    )
    first, second = (draw_subset(campaign, Run(ratio_ppm, k), len(values), scored) for k in range(2))
    assert (first == ~dropped).all()
    assert second.sum() == first.sum()


def test_a_long_rule_is_cut_in_its_error() -> None:
    document, line = by_threshold({"at_least": 1}).model_dump(), r"^campaign: subsets.drop.0: must be lowest, .*\.\.\.$"
    for rule in ({"at_least": int("9" * 400)}, {"at_least": "9" * 100_000}, "9" * 100_000):
        with pytest.raises(CampaignError, match=line) as caught:
            check_campaign({**document, "subsets": {**document["subsets"], "drop": [rule]}})
        assert len(str(caught.value)) < 300


def test_every_threshold_has_a_ratio_of_its_own() -> None:
    campaign = resolved(by_threshold({"at_least": 90}, "random", {"at_most": 19.5}), np.arange(100.0))
    assert campaign.subsets.ratios == (0.9, 0.8)
    assert [[str(rule) for rule in campaign.subsets.rules(ratio)] for ratio in (900_000, 800_000, 700_000)] == [
        ["at least 90", "random"],
        ["random", "at most 19.5"],
        [],
    ]
    with pytest.raises(
        CampaignError, match=r"different numbers of examples: at least 90 and at most 9 leave 90 of 100"
    ):
        resolved(by_threshold({"at_least": 90}, {"at_most": 9}), np.arange(100.0))
    with pytest.raises(
        CampaignError, match=r"^subsets.ratios: must be left out, or 0.9, 0.8, .* scores, got 0.9, 0.7$"
    ):
        resolved(campaign.with_ratios((0.9, 0.7)), np.arange(100.0))
    other = ScoredExamples({UNNAMED: np.arange(100.0) / 2}, np.zeros(100, np.int64))
    for run in (Run(900_000, 0), Run(700_000, 0)):
        with pytest.raises(CampaignError, match=r"^subsets.ratios: 0.\d does not follow from the scores"):
            draw_subset(campaign, run, 100, other)


@pytest.mark.parametrize("count", [999_983, 1_281_167])
def test_ratios_are_exact_up_to_a_million_examples(count: int) -> None:
    scores = np.arange(float(count))
    for threshold in (1, 2, 3, 409_973, count - 1, count):
        ratio_ppm = threshold_ratio_ppm(AtLeast(at_least=threshold), scores)
        more = threshold - subset_size(ratio_ppm, count) if ratio_ppm else threshold
        assert 0 <= more <= (0 if count < PPM else 1)
