"""Agreement of forgetting events between groups of runs, and between campaigns."""

from itertools import combinations
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import (
    EstimateError,
    compare,
    forgetting_agreement,
)
from analysis.reading.halves import draw_halves
from tests.learning.test_forgetting import runs_of, slow_row
from tests.scoring.test_agreement import rank_correlation
from tests.synthetic import make_store, make_stores, random_runs


def random_sequences(random: np.random.Generator, runs: int, examples: int, epochs: int) -> list[list[str]]:
    """Examples of different difficulty; an example is not shown in a tenth of the epochs."""
    p = random.random(examples)
    draws = random.random((runs, examples, epochs))
    letters = np.where(random.random(draws.shape) < 0.1, "-", np.where(draws < p[:, None], "1", "0"))
    return [["".join(shown) for shown in run] for run in letters]


def slow_forgettability(sequences: list[list[str]], rows: list[int]) -> list[float]:
    return [slow_row([sequences[k][i] for k in rows])["forgettability"] for i in range(len(sequences[0]))]


def slow_spearman(sequences: list[list[str]], *halves: list[int]) -> float:
    x, y = (np.array(slow_forgettability(sequences, rows)).round(12) for rows in halves)
    both = ~np.isnan(x) & ~np.isnan(y)
    return rank_correlation(x[both], y[both])


@pytest.mark.slow
def test_agreement_of_single_runs_and_of_halves(tmp_path: Path) -> None:
    sequences = random_sequences(np.random.default_rng(1), 11, 40, 6)
    store = make_stores(tmp_path / "s", {1.0: runs_of(sequences, diverged=[3])}, shard_size=4)
    del sequences[3]
    frame = forgetting_agreement(store, splits=5)
    assert frame["ratio"].tolist() == [1.0] * 3
    assert frame["runs"].tolist() == [2, 8, 10]
    assert frame["runs_per_half"].tolist() == [1, 4, 5]
    assert frame["comparisons"].tolist() == [45, 5, 5]
    pairs = [slow_spearman(sequences, [one], [other]) for one, other in combinations(range(10), 2)]
    assert frame["spearman"][0] == pytest.approx(np.mean(pairs))
    assert frame["spearman_sd"][0] == pytest.approx(np.std(pairs, ddof=1))
    halves = [draw_halves(0, 1_000_000, 10, 10, split) for split in range(5)]
    splits = [slow_spearman(sequences, list(one), list(other)) for one, other in halves]
    assert frame["spearman"][2] == pytest.approx(np.mean(splits))
    again = forgetting_agreement(store, splits=5, max_pairs=7)
    assert again["comparisons"][0] == 7
    pd.testing.assert_frame_equal(again[1:], frame[1:])
    pd.testing.assert_frame_equal(again, forgetting_agreement(store, splits=5, max_pairs=7))
    assert again["spearman"][0] != forgetting_agreement(store, splits=5, max_pairs=7, seed=1)["spearman"][0]


def test_agreement_is_over_examples_shown_in_both_halves(tmp_path: Path) -> None:
    sequences = [["10", "11", "00", "--", "00"], ["10", "11", "--", "00", "00"]]
    store = make_stores(tmp_path / "s", {0.5: runs_of(sequences)})
    (row,) = forgetting_agreement(store).to_dict("records")
    assert (row["comparisons"], row["examples"]) == (1, 3)
    assert [row["spearman"], row["spearman_brown"]] == pytest.approx([1, 1])
    assert isnan(row["spearman_sd"])
    with pytest.raises(EstimateError, match="max_pairs must be a whole number of at least 1, got 0"):
        forgetting_agreement(store, max_pairs=0)
    one = make_stores(tmp_path / "one", {0.5: runs_of(sequences, diverged=[0])})
    with pytest.raises(EstimateError, match=r"ratio 0\.5 must have two runs that did not diverge, got 1"):
        forgetting_agreement(one)


def test_two_campaigns_compared(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    both = random_sequences(random, 8, 30, 6)
    stores = [make_stores(tmp_path / name, {1.0: runs_of(runs)}) for name, runs in (("a", both[:4]), ("b", both[4:]))]
    found = compare(stores[0].uri, stores[1].uri, estimate="forgetting")
    x, y = (slow_forgettability(each, [0, 1, 2, 3]) for each in (both[:4], both[4:]))
    np.testing.assert_allclose(found.scores[["a", "b"]].to_numpy().T, [x, y])
    assert found.spearman == pytest.approx(rank_correlation(*(np.array(each).round(12) for each in (x, y))))
    assert found.selections["threshold"].tolist() == [0.5, 1, 2, 5]
    assert found.selections["n_a"][1] == sum(value >= 1 for value in x)
    assert found.name_a == f"{stores[0].uri} (ratio 1, 4 runs, at presentations)"
    silent = random_runs(random, 4, 30, 1)
    make_store(tmp_path / "silent", silent.subsets, silent.train, silent.test)
    with pytest.raises(EstimateError, match="/silent: has no presentations"):
        compare(stores[0].uri, tmp_path / "silent", estimate="forgetting")
