"""Subsets, label noise and seeds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_store
from orchestrator import run_campaign
from tests.conftest import small_campaign
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run, Shard
from workers.errors import CampaignError
from workers.subsets.draw import Purpose, draw_subset, generator, given_labels, integer_seed, subset_size

EXPLICIT = {
    "design": "explicit",
    "ratios": [0.5],
    "repetitions": 4,
    "drop": ["random"],
    "scores": {"file": "s.csv", "column": "s"},
}


@given(ratio_ppm=st.integers(1, PPM), repetition=st.integers(0, 999_999), num_examples=st.integers(1, 300))
def test_a_subset_has_exactly_its_size(ratio_ppm: int, repetition: int, num_examples: int) -> None:
    campaign = small_campaign()
    expected = ratio_ppm * num_examples // PPM
    if expected == 0:
        with pytest.raises(CampaignError, match="empty subset"):
            draw_subset(campaign, Run(ratio_ppm, repetition), num_examples)
        return
    subset = draw_subset(campaign, Run(ratio_ppm, repetition), num_examples)
    assert subset.dtype == bool
    assert subset.sum() == expected == subset_size(ratio_ppm, num_examples)
    assert (subset == draw_subset(campaign, Run(ratio_ppm, repetition), num_examples)).all()


def test_every_example_is_as_likely_as_any_other(small: Campaign) -> None:
    counts = np.sum([draw_subset(small, Run(300_000, r), 40) for r in range(3000)], axis=0)
    # 40 binomial(3000, 0.3) counts: mean 900, standard deviation 25.
    assert abs(counts - 900).max() < 5 * 25.1


def test_ratios_and_repetitions_and_seeds_share_nothing(small: Campaign) -> None:
    other = small_campaign(subsets={"ratios": [0.5], "repetitions": 1, "seed": 6})
    low, high = draw_subset(small, Run(300_000, 0), 2000), draw_subset(small, Run(600_000, 0), 2000)
    # Nested subsets (the same seed at every ratio) would overlap in 600; independent ones in 360 on average.
    assert 300 < (low & high).sum() < 420
    draws = [draw_subset(small, Run(300_000, 1), 2000), draw_subset(other, Run(300_000, 0), 2000), low]
    assert len({draw.tobytes() for draw in draws}) == 3


def test_streams_are_distinct_and_fixed(small: Campaign) -> None:
    seeds = {
        integer_seed(small, purpose, Run(ratio_ppm, r)) for purpose in Purpose for ratio_ppm in (1, 2) for r in (0, 1)
    }
    assert len(seeds) == len(Purpose) * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    # The first draws of a stream are part of every campaign's results: they must never change.
    assert generator(small, Purpose.ORDER, Run(700_000, 3)).integers(0, 1000, 4).tolist() == [868, 324, 16, 422]


@given(replicates=st.integers(1, 5), repetition=st.integers(0, 200), design=st.sampled_from(["uniform", "balanced"]))
def test_replicates_share_a_subset_and_no_stream_of_training(replicates: int, repetition: int, design: str) -> None:
    subsets = {"design": design, "ratios": [0.5], "repetitions": 3, "seed": 5}
    campaign = small_campaign(subsets={**subsets, "replicates": replicates})
    run, single = Run(500_000, repetition), small_campaign(subsets=subsets)
    expected = draw_subset(single, Run(500_000, repetition // replicates), 100)
    assert (draw_subset(campaign, run, 100) == expected).all()
    for purpose in (Purpose.INITIALIZATION, Purpose.ORDER, Purpose.AUGMENTATION):
        assert integer_seed(campaign, purpose, run) == integer_seed(single, purpose, run)
    assert (campaign.identity("0") == single.identity("0")) == (replicates == 1)


def test_a_fixed_seed_is_that_of_every_run_and_leaves_subsets_alone(small: Campaign) -> None:
    fixed = small_campaign(recipe={"epochs": 2, "batch_size": 256, "fixed_seed": True})
    runs = [Run(ratio_ppm, repetition) for ratio_ppm in (200_000, 600_000) for repetition in range(3)]
    for purpose in (Purpose.INITIALIZATION, Purpose.ORDER, Purpose.AUGMENTATION, Purpose.FLIP, Purpose.PARTITION):
        assert len({integer_seed(fixed, purpose, run) for run in runs}) == 1
    for run in runs:
        assert (draw_subset(fixed, run, 100) == draw_subset(small, run, 100)).all()
    assert fixed.identity("0") != small.identity("0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"epochs": 2, "batch_size": 256, "fixed_seed": True}}, "runs would be identical"),
        ({"subsets": {"ratios": [0.5], "repetitions": 4, "replicates": 0}}, "replicates"),
        ({"subsets": {**EXPLICIT, "replicates": 2}}, "whose rules repeat"),
    ],
)
def test_replicates_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        small_campaign(**{"subsets": {"ratios": [0.5], "repetitions": 4, "replicates": 2}, **changes})


@given(fraction=st.floats(0, 1), num_classes=st.integers(2, 12))
def test_label_noise_hits_its_share_and_never_keeps_a_label(fraction: float, num_classes: int) -> None:
    campaign = small_campaign(label_noise={"fraction": fraction})
    labels = np.arange(200) % num_classes
    noisy = given_labels(campaign, labels, num_classes)
    assert (noisy != labels).sum() == round(fraction * 200)
    assert noisy.min() >= 0
    assert noisy.max() < num_classes


def test_label_noise_uses_every_other_class_equally() -> None:
    campaign = small_campaign(label_noise={"fraction": 1.0})
    labels = np.zeros(9000, dtype=np.int64)
    counts = np.bincount(given_labels(campaign, labels, 10), minlength=10)
    assert counts[0] == 0
    assert abs(counts[1:] - 1000).max() < 5 * 30


def test_label_noise_needs_a_second_class() -> None:
    with pytest.raises(CampaignError, match="at least 2 classes"):
        given_labels(small_campaign(label_noise={"fraction": 0.5}), np.zeros(4, dtype=np.int64), 1)


@given(ratio_ppm=st.integers(1, PPM), start=st.integers(0, 999_999), size=st.integers(1, 100))
def test_shard_ids_read_back(ratio_ppm: int, start: int, size: int) -> None:
    shard = Shard(ratio_ppm, start, start + size)
    assert Shard.parse(shard.shard_id) == shard
    assert len({run.run_id for run in shard.runs}) == size


@pytest.mark.parametrize(
    "name", ["", "r700000-000000", "r700000-000002-000002", "r0700000-000000-000001", "../r700000-000000-000001"]
)
def test_other_names_are_no_shards(name: str) -> None:
    assert Shard.parse(name) is None


def test_runs_of_a_subset_differ_in_training_and_runs_of_a_fixed_seed_in_their_subset(tmp_path: Path) -> None:
    recipe = {"epochs": 1, "batch_size": 256}
    replicated = {"ratios": [0.5], "repetitions": 4, "replicates": 2}
    run_campaign(small_campaign(recipe=recipe, subsets=replicated), tmp_path / "r", runner="local")
    subsets, right = (open_store(tmp_path / "r").subsets(), open_store(tmp_path / "r").correctness("test"))
    assert (subsets.iloc[0] == subsets.iloc[1]).all()
    assert (subsets.iloc[1] != subsets.iloc[2]).any()
    assert (right.iloc[0] != right.iloc[1]).any()
    fixed = small_campaign(recipe={**recipe, "fixed_seed": True}, subsets={"ratios": [0.5, 1.0], "repetitions": 2})
    run_campaign(fixed, tmp_path / "f", runner="local")
    of_all = open_store(tmp_path / "f").correctness("test", ratio=1.0)
    assert (of_all.iloc[0] == of_all.iloc[1]).all()
    of_half = open_store(tmp_path / "f").correctness("test", ratio=0.5)
    assert (of_half.iloc[0] != of_half.iloc[1]).any()
