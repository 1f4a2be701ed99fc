"""Designs of subsets: exact sizes and shares, and nothing that joins examples or blocks."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import run_campaign
from tests.conftest import small_campaign
from tests.test_run import contents
from workers.campaign import Campaign
from workers.campaign_file import check_campaign
from workers.errors import CampaignError
from workers.runs import Run
from workers.subsets import draw_subset, subset_size

RATIOS = {0.7: (7, 10), 0.75: (3, 4), 0.1: (1, 10), 0.5: (1, 2), 0.99: (99, 100), 1.0: (1, 1), 0.32: (8, 25)}


def campaign(design: str = "balanced", ratio: float = 0.7, seed: int = 5) -> Campaign:
    return small_campaign(subsets={"design": design, "ratios": [ratio], "repetitions": 10, "seed": seed})


def block(ratio: float, num_examples: int, number: int = 0, seed: int = 5) -> np.ndarray:
    """bool[b, N]: the subsets of a block."""
    runs = RATIOS[ratio][1]
    parts = round(ratio * 1e6)
    made = campaign(ratio=ratio, seed=seed)
    return np.stack([draw_subset(made, Run(parts, number * runs + k), num_examples) for k in range(runs)])


@settings(deadline=None)
@given(ratio=st.sampled_from(list(RATIOS)), num_examples=st.integers(1, 400), number=st.integers(0, 9999))
def test_sizes_and_shares_are_exact(ratio: float, num_examples: int, number: int) -> None:
    chosen, runs = RATIOS[ratio]
    if chosen * num_examples < runs:
        with pytest.raises(CampaignError, match="empty subset"):
            block(ratio, num_examples, number)
        return
    subsets = block(ratio, num_examples, number)
    assert (subsets.sum(axis=1) == subset_size(round(ratio * 1e6), num_examples)).all()
    shares = np.sort(subsets.sum(axis=0))
    left_over = num_examples % runs
    assert (shares[left_over:] == chosen).all()
    if left_over:
        assert shares[:left_over].max() - shares[:left_over].min() <= 1
    assert (subsets == block(ratio, num_examples, number)).all()


def test_every_choice_of_runs_is_as_likely_and_blocks_share_nothing() -> None:
    counts: dict[bytes, int] = {}
    together = np.zeros((12, 12))
    blocks = 3000
    for number in range(blocks):
        subsets = block(0.5, 12, number)
        together += subsets.T.astype(int) @ subsets.astype(int)
        for i in range(12):
            key = subsets[:, i].tobytes()
            counts[key] = counts.get(key, 0) + 1
    # The two rotations of a choice always come together.
    assert len(counts) == 2
    assert counts[bytes([1, 0])] == 18_000
    # A run has 6 of 12, so a pair is in the same run of a block with probability 5/11; standard deviation under 28.
    pairs = together[~np.eye(12, dtype=bool)]
    assert abs(pairs - blocks * 5 / 11).max() < 5 * 28


def test_choices_at_another_ratio_are_uniform_too() -> None:
    counts: dict[bytes, int] = {}
    for number in range(2000):
        for column in block(0.75, 8, number).T:
            counts[column.tobytes()] = counts.get(column.tobytes(), 0) + 1
    assert len(counts) == 4
    assert abs(np.array(list(counts.values())) - 4000).max() < 5 * np.sqrt(16_000 * 0.25 * 0.75)


def test_pairs_of_examples_are_seldom_joined() -> None:
    subsets = block(0.5, 2000)
    alike = (subsets[:, :, None] == subsets[:, None, :]).all(axis=0).sum() - 2000
    # Independent choices between two runs agree half of the time.
    assert abs(alike / (2000 * 1999) - 0.5) < 0.01


def test_seeds_ratios_and_designs_share_nothing() -> None:
    draws = [block(0.5, 500, seed=1)[0], block(0.5, 500, seed=2)[0], block(0.5, 500, number=1, seed=1)[0]]
    draws.append(draw_subset(campaign("uniform", 0.5, 1), Run(500_000, 0), 500))
    for one in range(4):
        for other in range(one):
            assert 80 < (draws[one] & draws[other]).sum() < 170


def test_draws_are_fixed() -> None:
    """They are part of every campaign's results: they must never change."""
    digests = [
        hashlib.sha256(np.packbits(subsets).tobytes()).hexdigest()[:16]
        for subsets in (
            block(0.7, 1437),
            np.stack([draw_subset(campaign("uniform"), Run(700_000, k), 1437) for k in range(3)]),
        )
    ]
    assert digests == ["b6b67b1c9fc230a9", "bd6ac57def731a33"]


def test_a_balanced_campaign_is_another_campaign_and_its_shards_do_not_matter(tmp_path: Path) -> None:
    made = campaign()
    assert made.identity("f") != campaign("uniform").identity("f")
    run_campaign(made, tmp_path / "a", repetitions=4, shard_size=2)
    run_campaign(made, tmp_path / "a")
    run_campaign(made, tmp_path / "b", shard_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("ratio", [0.333333, 0.7001])
def test_ratios_without_short_blocks_are_refused(ratio: float) -> None:
    document = campaign().model_dump(mode="json")
    document["subsets"]["ratios"] = [0.5, ratio]
    with pytest.raises(CampaignError, match=rf"subsets: ratios of a balanced design must .* got {ratio}, whose blocks"):
        check_campaign(document)
    document["subsets"]["design"] = "uniform"
    check_campaign(document)
