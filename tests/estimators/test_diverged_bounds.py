"""What diverged runs could have changed: no outcome of theirs leads out of the bounds, and some leads to them."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from analysis import EstimateError, count_runs, cscore, diverged_bounds, diverged_notes, estimate_memorization
from analysis.estimators.diverged_bounds import cscore_bounds
from analysis.influence.estimator import influence_matrix
from analysis.influence.pair_options import PairOptions
from analysis.reading.bits import pack_runs
from tests.command import call
from tests.synthetic import Runs, make_stores, random_runs
from workers.store import Store

N, RUNS, LOST = 4, 7, (2, 5)


def made(folder: Path, name: str, runs: dict[float, Runs]) -> Store:
    return make_stores(folder / name, runs, shard_size=3)


def completed(runs: Runs, outcome: np.ndarray) -> Runs:
    """The runs as if those that diverged had ended like this: bool[LOST, N + T]."""
    train, test = runs.train.copy(), runs.test.copy()
    train[list(LOST)], test[list(LOST)] = outcome[:, :N], outcome[:, N:]
    return Runs(runs.subsets, train, test)


@pytest.mark.slow
def test_bounds_are_those_of_every_outcome(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    first, second = (random_runs(random, RUNS, N, 1, ratio, diverged=LOST) for ratio in (0.4, 0.6))
    counts = count_runs(made(tmp_path, "lost", {0.4: first, 0.6: second}))
    bounds = diverged_bounds(counts)
    mem, consistency, scores, infl = [], [], [], []
    # Each example's estimates are its own: all outcomes of one, the same for all examples.
    for number, bits in enumerate(product([False, True], repeat=2 * len(LOST))):
        outcome = np.repeat(np.array(bits).reshape(2, len(LOST), 1), N + 1, axis=2)
        pair = {0.4: completed(first, outcome[0]), 0.6: completed(second, outcome[1])}
        store = made(tmp_path, f"all{number}", pair)
        whole = count_runs(store)
        frame = estimate_memorization(whole, empty="nan")
        mem.append(frame["mem"].to_numpy())
        consistency.append(np.where(frame["n_out"] > 0, frame["p_out"], np.nan))
        scores.append(cscore(whole)["cscore"].to_numpy())
        infl.append(
            np.concatenate(
                [influence_matrix(pack_runs(store, ratio), options=PairOptions(empty="nan"))[0] for ratio in pair]
            )
        )
    for name, values in (("mem", mem), ("consistency", consistency)):
        np.testing.assert_allclose(bounds[f"{name}_low"], np.min(values, axis=0), atol=1e-12)
        np.testing.assert_allclose(bounds[f"{name}_high"], np.max(values, axis=0), atol=1e-12)
    np.testing.assert_allclose(cscore_bounds(counts), [np.min(scores, axis=0), np.max(scores, axis=0)], atol=1e-12)
    used = np.concatenate(
        [
            influence_matrix(
                pack_runs(made(tmp_path, "lost2", {0.4: first, 0.6: second}), ratio), options=PairOptions(empty="nan")
            )[0]
            for ratio in (0.4, 0.6)
        ]
    )
    known = np.isfinite(used)
    assert known.any()
    changes = np.abs(np.array(infl) - used).max(axis=0)
    assert (changes[known] <= bounds["infl_change"][known] + 1e-6).all()
    assert bounds["diverged_in"].tolist() == [
        int(runs.subsets[list(LOST), i].sum()) for runs in (first, second) for i in range(N)
    ]


def test_a_line_says_by_how_much(tmp_path: Path) -> None:
    subsets = np.array([[True], [True], [True], [False], [False], [False]])
    runs = Runs(subsets, np.ones((6, 1), bool), np.ones((6, 1), bool), diverged=[0, 3])
    store = made(tmp_path, "s", {0.5: runs})
    assert diverged_notes(count_runs(store).ratios) == [
        "ratio 0.5: 2 of 6 runs diverged and are left out; had they not, mem could differ by up to 0.333, "
        "the share right when held out by 0.333"
    ]
    whole = count_runs(made(tmp_path, "whole", {0.5: Runs(subsets, runs.train, runs.test)}))
    assert diverged_notes(whole.ratios) == []
    assert (diverged_bounds(whole)["infl_change"] == 0).all()


def test_a_ratio_whose_runs_all_diverged_is_told(tmp_path: Path) -> None:
    """No command says that there is no such ratio, or gives other scores in its place."""
    random = np.random.default_rng(1)
    runs = {0.5: random_runs(random, 6, 20, 2, 0.5), 0.7: random_runs(random, 4, 20, 2, 0.7, diverged=range(4))}
    store = made(tmp_path, "s", runs)
    assert diverged_notes(count_runs(store).ratios) == ["ratio 0.7: all 4 runs diverged: the ratio is left out"]
    assert "ratio 0.7: all 4 runs diverged" in call("estimate", store.uri)[2]
    reason = f"error: {store.uri}: has no run to estimate from, all 4 committed runs diverged at ratio 0.7"
    for command in ("influence", "suspects", "report", "compare"):
        others = [store.uri] if command == "compare" else ["-o", tmp_path / "r.html"] if command == "report" else []
        code, _, told = call(command, store.uri, *others, "--ratio", "0.7")
        assert code == 1 and reason in told, told


def test_without_a_diverged_run_the_bounds_are_the_estimate_to_the_last_bit(tmp_path: Path) -> None:
    counts = count_runs(made(tmp_path, "s", {0.4: random_runs(np.random.default_rng(0), 40, 60, 1, 0.4)}))
    bounds, mem = diverged_bounds(counts), estimate_memorization(counts, empty="nan")["mem"]
    for limit in ("mem_low", "mem_high"):
        np.testing.assert_array_equal(bounds[limit], mem)


def test_diverged_runs_that_did_not_reach_an_epoch_are_not_guessed(tmp_path: Path) -> None:
    counts = count_runs(made(tmp_path, "s", {0.5: random_runs(np.random.default_rng(0), 4, 3, 1, diverged=[1])}))
    unknown = [type(ratio)(**{**vars(ratio), "diverged_in": None}) for ratio in counts.ratios]
    with pytest.raises(EstimateError, match="at the last epoch only"):
        diverged_bounds(type(counts)(counts.labels, tuple(unknown)))
