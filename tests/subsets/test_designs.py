"""Subset designs: what a balanced campaign promises of its runs, and that a uniform one draws what it always drew."""

import hashlib
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_store
from benchmarks import correlations, designs
from orchestrator import run_campaign
from tests.conftest import small_campaign
from tests.stores import examples, header
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.campaign.yaml_io import check_campaign, dump_campaign, parse_campaign
from workers.common.arrays import Bools
from workers.errors import CampaignError, StoreMismatchError
from workers.store import Store
from workers.subsets.balanced import balanced_subset, block_length
from workers.subsets.draw import draw_subset, subset_size


def designed(design: str, seed: int = 5) -> Campaign:
    return small_campaign(subsets={"design": design, "ratios": [0.5], "repetitions": 1, "seed": seed})


BALANCED = designed("balanced")


def block_of(ratio_ppm: int, number: int, num_examples: int, campaign: Campaign = BALANCED) -> Bools:
    """bool[length, N]: the subsets of a ratio's block."""
    length = block_length(ratio_ppm)
    runs = [Run(ratio_ppm, repetition) for repetition in range(number * length, (number + 1) * length)]
    return np.array([draw_subset(campaign, run, num_examples) for run in runs])


def drawn_block(seed: int, length: int, size: int, num_examples: int) -> Bools:
    sizes = {"length": length, "size": size, "num_examples": num_examples}
    return np.array([balanced_subset(np.random.default_rng(seed), place, **sizes) for place in range(length)])


@pytest.mark.parametrize(
    ("ratio_ppm", "length"),
    [(500_000, 20), (700_000, 20), (50_000, 20), (250_000, 20), (875_000, 24), (310_000, 100), (PPM, 20)],
)
def test_a_block_is_the_shortest_of_20_runs_or_more_with_whole_shares(ratio_ppm: int, length: int) -> None:
    assert block_length(ratio_ppm) == length


@given(st.integers(1, PPM) | st.integers(1, 1000).map(lambda thousandths: thousandths * 1000))
def test_blocks_hold_whole_shares_where_they_can(ratio_ppm: int) -> None:
    length, denominator = block_length(ratio_ppm), Fraction(ratio_ppm, PPM).denominator
    assert 20 <= length <= 100
    assert length % denominator == 0 if denominator <= 100 else length == 20


@pytest.mark.slow
@given(st.sampled_from([1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100]), st.integers(0, 99), st.data())
def test_every_example_is_in_exactly_its_share_of_a_block(denominator: int, number: int, data: st.DataObject) -> None:
    ratio_ppm = data.draw(st.integers(1, denominator)) * PPM // denominator
    num_examples = data.draw(st.integers(1, 12)) * denominator
    subsets = block_of(ratio_ppm, number, num_examples)
    assert (subsets.sum(axis=1) * PPM == ratio_ppm * num_examples).all()
    assert (subsets.sum(axis=0) * PPM == ratio_ppm * len(subsets)).all()


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 60), st.data())
def test_sizes_are_exact_and_shares_as_even_as_they_can_be(seed: int, length: int, data: st.DataObject) -> None:
    num_examples = data.draw(st.integers(1, 200))
    size = data.draw(st.integers(1, num_examples))
    subsets = drawn_block(seed, length, size, num_examples)
    assert subsets.dtype == bool
    assert (subsets.sum(axis=1) == size).all()
    share = subsets.sum(axis=0)
    assert share.min() >= length * size // num_examples
    assert share.max() <= -(-length * size // num_examples)


@given(st.integers(1, PPM), st.integers(0, 999_999), st.integers(1, 300))
def test_a_balanced_run_depends_on_its_key_alone_and_has_the_size_of_a_uniform_one(
    ratio_ppm: int, repetition: int, num_examples: int
) -> None:
    run = Run(ratio_ppm, repetition)
    if ratio_ppm * num_examples < PPM:
        with pytest.raises(CampaignError, match="empty subset"):
            draw_subset(BALANCED, run, num_examples)
        return
    subset = draw_subset(BALANCED, run, num_examples)
    assert subset.sum() == subset_size(ratio_ppm, num_examples)
    longer = small_campaign(subsets={"design": "balanced", "ratios": [0.1, 0.9], "repetitions": 77, "seed": 5})
    assert (draw_subset(longer, run, num_examples) == subset).all()


def test_blocks_ratios_and_seeds_share_nothing() -> None:
    blocks = [
        block_of(500_000, 0, 2000),
        block_of(500_000, 1, 2000),
        block_of(700_000, 0, 2000),
        block_of(500_000, 0, 2000, designed("balanced", seed=6)),
    ]
    for one, other in combinations(blocks, 2):
        correlation = np.corrcoef(one, other)[: len(one), len(one) :]
        # 400 correlations of independent subsets of 2000 examples: standard deviation 0.022.
        assert abs(correlation).max() < 5 * 0.0224
        assert abs(correlation.mean()) < 5 * 0.0224 / 20


def test_subsets_of_one_block_differ() -> None:
    subsets = block_of(500_000, 0, 2000)
    assert len({subset.tobytes() for subset in subsets}) == len(subsets)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize(("length", "num_examples", "size"), [(4, 5, 2), (2, 4, 2), (4, 8, 2), (5, 7, 3)])
def test_each_subset_alone_is_uniform_among_all_of_its_size(
    place: int, length: int, num_examples: int, size: int
) -> None:
    block, draws = np.random.default_rng(place), 6_000
    place %= length
    sizes = {"length": length, "size": size, "num_examples": num_examples}
    chosen = [tuple(np.flatnonzero(balanced_subset(block, place, **sizes)).tolist()) for _ in range(draws)]
    every = list(combinations(range(num_examples), size))
    counts = np.array([chosen.count(subset) for subset in every])
    expected = draws / len(every)
    assert counts.sum() == draws
    # Chi-squared with len(every) - 1 degrees of freedom, five standard deviations above its mean.
    assert ((counts - expected) ** 2 / expected).sum() < len(every) - 1 + 5 * np.sqrt(2 * len(every))


@pytest.mark.slow
def test_pairs_of_examples_are_together_as_rarely_as_balance_allows() -> None:
    """The mean square correlation of two examples within a block is at Welch's bound, 1 / (length - 1)."""
    subsets = np.array([block_of(700_000, number, 400) for number in range(30)])
    centred = (subsets - 0.7) / np.sqrt(0.21 * 20)
    correlation = np.einsum("brm,brn->bmn", centred, centred)
    square = correlation[:, ~np.eye(400, dtype=bool)] ** 2
    # Below the bound by what each example's correlation of 1 with itself takes, 1/N.
    assert square.mean() == pytest.approx(1 / 19, rel=0.08)
    together = (correlation > 0.99).mean(axis=0)[~np.eye(400, dtype=bool)]
    assert together.max() <= 3 / 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio_ppm", "num_examples"),
    [
        *((670_000, count) for count in (5, 60, 101, 142, 199)),
        *((ratio_ppm, 142) for ratio_ppm in (30_000, 333_333, 970_000)),
        (500_000, 39),
    ],
)
def test_memberships_are_as_little_correlated_as_independent_ones(ratio_ppm: int, num_examples: int) -> None:
    """At any number of examples, in the examples left over by cells too: the influence of one is not passed on."""
    length, blocks = block_length(ratio_ppm), [block_of(ratio_ppm, number, num_examples) for number in range(4)]
    measured = [correlations.squared_in_blocks(block, length) for block in blocks]
    # Of few runs with an example the correlations are few values, some of them large: their mean square varies.
    assert np.mean(measured) < 1.25
    largest = np.abs(correlations.correlations(np.concatenate(blocks))).max()
    assert largest < 1 / (num_examples - 1) + 6.5 / np.sqrt(len(blocks) * length)


@pytest.mark.slow
def test_discoveries_of_a_small_balanced_campaign_are_true() -> None:
    """N = 142 at ratio 0.67: cyclic places of the examples left over gave a false discovery rate of 0.97."""
    measured = [correlations.measure("balanced", 0.67, 142, 200, seed) for seed in range(3)]
    assert np.mean([each.false for each in measured]) < 0.08
    assert np.mean([each.null_z for each in measured]) == pytest.approx(1, abs=0.05)
    assert min(each.found for each in measured) > 0.9


def test_a_store_of_subsets_drawn_by_an_earlier_version_is_read_and_not_continued(tmp_path: Path) -> None:
    campaign = designed("balanced")
    (earlier,) = campaign.earlier_identities("a" * 64)
    old = header(campaign).model_copy(update={"identity": earlier})
    Store.create(tmp_path / "s", old, examples())
    assert Store.open(tmp_path / "s").header == old
    with pytest.raises(StoreMismatchError, match="drawn by an earlier version") as refused:
        Store.create(tmp_path / "s", header(campaign), examples())
    assert "\n" not in str(refused.value)
    with pytest.raises(StoreMismatchError, match="subsets.seed: the store has 5, the campaign has 6"):
        Store.create(tmp_path / "s", header(designed("balanced", seed=6)), examples())
    assert designed("uniform").earlier_identities("a" * 64) == ()


@pytest.mark.parametrize(("repetitions", "spread"), [(40, 0), (50, 2)])
def test_examples_have_as_many_runs_with_and_without_them_as_each_other(repetitions: int, spread: int) -> None:
    with_it = np.sum([draw_subset(BALANCED, Run(300_000, r), 100) for r in range(repetitions)], axis=0)
    assert abs(with_it.mean() - 0.3 * repetitions) < 1e-9
    # A block begun: 3 of its first 10 runs on average, hypergeometric with variance 3 x 0.7 x 10 / 19.
    assert with_it.std() == pytest.approx(np.sqrt(2.1 * 10 / 19) if spread else 0, abs=0.25 * bool(spread))


@pytest.mark.slow
def test_a_campaign_that_was_extended_in_the_middle_of_a_block_is_balanced(tmp_path: Path) -> None:
    campaign = small_campaign(subsets={"design": "balanced", "ratios": [0.2, 0.7], "repetitions": 7})
    run_campaign(campaign, tmp_path / "s")
    run_campaign(campaign, tmp_path / "s", repetitions=20)
    runs = open_store(tmp_path / "s").memorization().groupby("ratio")["n_in"]
    # floor(ratio x 1437) examples a run: 20 x 287 = 4 x 1437 - 8 and 20 x 1005 = 14 x 1437 - 18.
    assert runs.value_counts().to_dict() == {(0.2, 4): 1429, (0.2, 3): 8, (0.7, 14): 1419, (0.7, 13): 18}


def test_uniform_subsets_never_change() -> None:
    subset = draw_subset(designed("uniform"), Run(700_000, 3), 1437)
    assert hashlib.sha256(np.packbits(subset).tobytes()).hexdigest()[:16] == "cbb4b5c1d858851b"


def test_balanced_subsets_never_change() -> None:
    subsets = np.array([draw_subset(BALANCED, Run(700_000, repetition), 1437) for repetition in (3, 27)])
    assert hashlib.sha256(np.packbits(subsets).tobytes()).hexdigest()[:16] == "a434d9cb67138262"


def test_the_design_is_part_of_the_identity() -> None:
    uniform, balanced = designed("uniform"), designed("balanced")
    default = small_campaign(subsets={"ratios": [0.5], "repetitions": 1, "seed": 5})
    assert default.identity("x") == uniform.identity("x") != balanced.identity("x")
    assert parse_campaign(dump_campaign(balanced)) == balanced


@pytest.mark.parametrize("design", ["blanced", "Balanced", None, 1, ["balanced"]])
def test_another_design_is_refused(design: object) -> None:
    document = BALANCED.model_dump(mode="json")
    document["subsets"]["design"] = design
    must = "must be 'uniform', 'balanced', 'explicit' or 'masks'"
    with pytest.raises(CampaignError, match=f"^campaign: subsets.design: {must}, got "):
        check_campaign(document)


def test_the_comparison_of_designs_takes_variances_over_campaigns() -> None:
    random = np.random.default_rng(3)
    campaigns = [designs.Results(*(random.random((6, n)) < 0.5 for n in (9, 9, 4))) for _ in range(5)]
    found = designs.spreads(campaigns)
    values = {name: np.array([designs.estimates(campaign)[name][0] for campaign in campaigns]) for name in found}
    for name in ("runs with the example", "mem", "influence"):
        assert np.allclose(found[name].variance, values[name].var(axis=0, ddof=1))
        assert np.allclose(found[name].mean, values[name].mean(axis=0))
    one, pair = campaigns[0], (slice(None), 2)
    subset, right = one.subsets[pair], one.test[:, 1]
    assert values["influence"][0][1, 2] == pytest.approx(right[subset].mean() - right[~subset].mean())
    own = one.train[pair]
    assert values["mem"][0][2] == pytest.approx(own[subset].mean() - own[~subset].mean())


@pytest.mark.slow
def test_balance_lowers_the_variance_of_consistency_and_not_of_influence() -> None:
    by_quantity = {row[2]: row for row in designs.compare(designs.Planted(200), 0.3, 40, 40)}
    assert float(by_quantity["runs with the example"][4]) == 0
    assert float(by_quantity["consistency"][5]) < 0.93
    assert 0.93 < float(by_quantity["influence"][5]) < 1.03
