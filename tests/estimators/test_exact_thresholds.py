"""Values reach a threshold exactly where the fractions of their counts do: compared with Python's exact fractions."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import compare, cscore, influence_pairs, influence_top
from analysis.estimators.memorization import estimate_memorization
from analysis.influence.discoveries import influence_discoveries
from analysis.influence.pair_counter import count_pairs, min_counts_for_influence
from analysis.reading.bits import RatioBits, pack_bits, ratio_bits
from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.examples import Labels
from analysis.scoring.example_scores import ExampleScore, StoreScores
from analysis.scoring.groups import group_examples
from analysis.scoring.noise import noise_curves
from analysis.statistics.bins import CSCORE_BINS, MEM_BINS, histogram
from analysis.statistics.means import average_mean, mean_difference
from tests.stores import header
from workers.campaign.campaign import PPM
from workers.common.arrays import Integers
from workers.store import Store


@st.composite
def groups(draw: st.DrawFn, most: int = 5000) -> tuple[int, int]:
    """(correct, runs) of a group of one run or more."""
    runs = draw(st.integers(1, most))
    return draw(st.integers(0, runs)), runs


decimals = st.tuples(st.integers(-1000, 1000), st.sampled_from([10, 100, 1000])).map(lambda pair: Fraction(*pair))


def array(*values: int) -> Integers:
    return np.array(values, dtype=np.int64)


@pytest.mark.slow
@given(groups(), groups(), decimals)
def test_a_difference_reaches_a_decimal_where_its_fraction_does(
    a: tuple[int, int], b: tuple[int, int], threshold: Fraction
) -> None:
    (value,) = mean_difference(array(a[0]), array(a[1]), array(b[0]), array(b[1]), "half").tolist()
    exact = Fraction(*a) - Fraction(*b)
    assert value == float(exact)
    assert (value >= float(threshold)) == (exact >= threshold)


@pytest.mark.slow
@given(st.lists(groups(), min_size=1, max_size=12), st.integers(0, 12), decimals)
def test_an_average_is_the_float_nearest_to_its_fraction(
    of_ratios: list[tuple[int, int]], empty: int, threshold: Fraction
) -> None:
    correct, runs = np.array([*of_ratios, *[(0, 0)] * empty]).T[:, :, None]
    exact = sum(Fraction(*ratio) for ratio in of_ratios) / len(of_ratios)
    (value,) = average_mean(correct, runs).tolist()
    assert value == float(exact)
    assert (value <= float(threshold)) == (exact <= threshold)


@pytest.mark.slow
@pytest.mark.parametrize("twentieths", range(-20, 21))
def test_every_tie_with_a_threshold_is_kept(twentieths: int) -> None:
    """All counts of two groups of up to 40 runs whose difference is exactly the threshold."""
    threshold = twentieths / 20
    for n_a in range(1, 41):
        for n_b in range(1, 41):
            c_a = np.arange(n_a + 1)
            numerator = 20 * c_a * n_b - twentieths * n_a * n_b
            tied = (numerator % (20 * n_a) == 0) & (numerator >= 0) & (numerator <= 20 * n_a * n_b)
            c_b = numerator[tied] // (20 * n_a)
            assert (mean_difference(c_a[tied], array(n_a), c_b, array(n_b), "half") == threshold).all()


def test_empty_groups_have_the_mean_of_the_convention_in_a_difference() -> None:
    none, some = (array(0), array(0)), (array(3), array(10))
    assert mean_difference(*none, *some, "half") == 0.2
    assert mean_difference(*some, *none, "half") == -0.2
    assert mean_difference(*none, *none, "half") == 0
    assert mean_difference(*some, *none, "zero") == 0.3
    assert np.isnan(mean_difference(*none, *some, "nan"))


def labels(train: int, tests: int) -> Labels:
    zeros = np.zeros(train, np.int64)
    return Labels(zeros, zeros, np.zeros(tests, np.int64))


def drawn_bits(seed: int, runs: int, train: int, tests: int) -> RatioBits:
    random = np.random.default_rng(seed)
    subsets, right = random.random((runs, train)) < 0.6, random.random((runs, tests)) < 0.5
    return ratio_bits(600_000, 1, 0, labels(train, tests), pack_bits(subsets), pack_bits(right))


def fractions(bits: RatioBits) -> dict[tuple[int, int], Fraction]:
    """The influence of every pair (test, training example) with runs on both sides."""
    subsets, right = bits.subsets.unpacked(), bits.test_correct.unpacked()
    found = {}
    for z, i in np.ndindex(right.shape[1], subsets.shape[1]):
        member, correct = subsets[:, i], right[:, z]
        n_in, n_out = int(member.sum()), int((~member).sum())
        if n_in and n_out:
            c_in = int((member & correct).sum())
            found[z, i] = Fraction(c_in, n_in) - Fraction(int(correct.sum()) - c_in, n_out)
    return found


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from(["0.15", "0.25", "0.1", "0.2", "0", "-0.05"]))
def test_pairs_are_selected_by_their_counts(seed: int, runs: int, text: str) -> None:
    bits = drawn_bits(seed, runs, 12, 6)
    expected = {pair for pair, infl in fractions(bits).items() if infl >= Fraction(text)}
    frame = influence_pairs(bits, threshold=float(text))
    assert set(zip(frame["test_example_id"], frame["example_id"], strict=True)) == expected


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_the_best_are_ranked_by_their_fractions(seed: int, runs: int) -> None:
    bits = drawn_bits(seed, runs, 12, 4)
    exact = fractions(bits)
    for z, rows in influence_top(bits, top=5).groupby("test_example_id"):
        of_test = sorted((-infl, i) for (test, i), infl in exact.items() if test == z)
        assert rows["example_id"].tolist() == [i for _, i in of_test[:5]]


def test_the_lowest_count_of_a_tie_is_the_ties() -> None:
    """12 of 18 runs with the example, 5 of 12 without: 12/18 - 5/12 is 0.25."""
    subsets = np.arange(30)[:, None] < 18
    right = np.isin(np.arange(30), [*range(12), *range(18, 23)])[:, None]
    bits = ratio_bits(600_000, 1, 0, labels(1, 1), pack_bits(subsets), pack_bits(right))
    some = count_pairs(bits, np.arange(1), "nan")
    assert min_counts_for_influence(some, bits.correct, np.array([0.25])).tolist() == [[12]]


def store_counts(*ratios: tuple[float, Integers, Integers, Integers, Integers]) -> StoreCounts:
    """Of (ratio, n_in, correct_in, n_out, correct_out) at each ratio."""
    found = []
    for ratio, n_in, correct_in, n_out, correct_out in ratios:
        runs = int((n_in + n_out).max())
        found.append(RatioCounts(round(ratio * PPM), runs, 0, 1, n_in, correct_in, n_out, correct_out))
    return StoreCounts(labels(len(ratios[0][1]), 0), tuple(found))


def test_a_memorized_example_at_the_threshold_is_selected() -> None:
    counts = store_counts((0.6, array(18, 18), array(12, 12), array(12, 12), array(5, 6)))
    mem = estimate_memorization(counts)
    assert mem["mem"].tolist() == [0.25, float(Fraction(1, 6))]
    assert mem.query("mem >= 0.25")["example_id"].tolist() == [0]


def test_a_cscore_at_a_border_is_in_the_group_above_it(tmp_path: Path) -> None:
    """(1/10 + 2/10 + 6/10) / 3 = 0.3 and (3/5 + 1/2 + 7/10) / 3 = 0.6, which sums of rounded quotients miss."""
    runs, zero = array(10, 10), array(0, 0)
    right = [array(1, 6), array(2, 5), array(6, 7)]
    counts = store_counts(
        *((ratio, zero, zero, runs, each) for ratio, each in zip((0.2, 0.4, 0.6), right, strict=True))
    )
    assert cscore(counts)["cscore"].tolist() == [0.3, 0.6]
    store = Store.create(tmp_path / "s", header(), examples_of_header())
    found = group_examples(store, counts, "cscore", 10)
    assert found.names == ("C-score 0.3 to 0.4", "C-score 0.6 to 0.7")


def examples_of_header() -> object:
    from tests.stores import examples

    return examples()


@pytest.mark.parametrize(("bins", "low"), [(MEM_BINS, -1), (CSCORE_BINS, 0)])
def test_a_value_at_an_edge_is_in_the_bin_above_it(bins: int, low: int) -> None:
    width = Fraction(1 - low, bins)
    values = np.array([float(low + k * width) for k in range(bins + 1)])
    counts, edges = histogram(np.append(values, np.nan), bins, low)
    assert (edges == values).all()
    assert counts.tolist() == [1] * (bins - 1) + [2]


def test_published_scores_of_less_precision_are_the_decimals_they_stand_for(tmp_path: Path) -> None:
    for name, kind in (("a", np.float32), ("b", np.float64), ("c", np.float16)):
        scores = np.array([0.1, 0.25, 0.3, 0.7], dtype=kind)
        np.savez(tmp_path / f"{name}.npz", labels=np.arange(4), scores=scores)
    for other in ("a", "c"):
        paths = tmp_path / f"{other}.npz", tmp_path / "b.npz"
        found = compare(*paths, estimate="cscore", thresholds=(0.1, 0.3, 0.7))
        assert found.selections["n_both"].tolist() == [1, 3, 4]


@pytest.mark.parametrize("name", ["mem", "cscore"])
def test_the_threshold_of_a_curve_selects_what_it_says(name: str) -> None:
    values = np.array([1 / 3, 2 / 3, 2 / 3, 1 / 7, 5 / 7, 0.1 + 0.2])
    given = np.array([0, 1, 0, 0, 1, 0])
    found = StoreScores(
        "s",
        Labels(np.zeros(6, np.int64), given, np.zeros(0, np.int64)),
        StoreCounts(labels(6, 0), ()),
        (ExampleScore(name, 0.5, values),),
    )
    for row in noise_curves(found).itertuples():
        selected = values >= row.threshold if name == "mem" else values <= row.threshold
        assert selected.sum() == row.selected


def test_a_pair_exactly_at_the_false_discovery_rate_is_a_discovery() -> None:
    """3 of 3 runs with the example right, 0 of 3 without: p = 1/20 = q for the only pair."""
    subsets, right = (np.arange(6)[:, None] < 3 for _ in range(2))
    bits = ratio_bits(500_000, 1, 0, labels(1, 1), pack_bits(subsets), pack_bits(right))
    (row,) = influence_discoveries(bits, fdr=0.05).to_dict("records")
    assert row["q_value"] == 0.05
    assert row["p_value"] == pytest.approx(0.05)
