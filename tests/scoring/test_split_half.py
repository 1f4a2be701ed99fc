"""Reliability: against one run at a time, and on models whose reliability is known."""

from itertools import product
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from analysis import EstimateError, estimate_reliability, open_store, pack_runs
from analysis.influence.pair_overlap import pair_overlap
from analysis.reading.halves import draw_halves
from analysis.scoring import split_half
from tests.command import call
from tests.synthetic import Labelled, Runs, make_store, make_stores, random_runs
from workers.campaign.campaign import ratio_to_ppm
from workers.common.arrays import Floats
from workers.store import Store

COLUMNS = [
    *("estimate", "ratio", "runs", "runs_per_half", "splits", "examples", "pearson", "pearson_sd"),
    *("spearman", "spearman_sd", "spearman_brown", "spearman_brown_sd", "selected", "jaccard", "jaccard_sd"),
]


# One run at a time ----------------------------------------------------------------------------------------------------


class SlowHalf:
    """A half's estimates, from lists of its runs' outcomes."""

    def __init__(self, runs: Runs, rows: list[int], labels: Labelled) -> None:
        examples, tests = range(runs.subsets.shape[1]), range(runs.test.shape[1])
        _, given_label, test_label = labels.filled(len(examples), len(tests))
        self.mem = [difference(runs, rows, i, runs.train[:, i]) for i in examples]
        self.profile = [mean([bool(runs.train[k, i]) for k in rows if not runs.subsets[k, i]]) for i in examples]
        self.memorized = {i for i in examples if self.mem[i] >= 0.25}
        self.pairs = {
            (i, z)
            for i, z in product(self.memorized, tests)
            if given_label[i] == test_label[z] and difference(runs, rows, i, runs.test[:, z]) >= 0.15
        }


def mean(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes) if outcomes else float("nan")


def difference(runs: Runs, rows: list[int], i: int, correct: npt.NDArray[np.bool_]) -> float:
    groups = ([bool(correct[k]) for k in rows if bool(runs.subsets[k, i]) is side] for side in (True, False))
    p_in, p_out = map(mean, groups)
    return p_in - p_out


def correlations(a: list[float], b: list[float]) -> dict[str, float]:
    frame = pd.DataFrame({"a": a, "b": b}).dropna().round(12)
    pearson = frame["a"].corr(frame["b"])
    return {
        "examples": len(frame),
        "pearson": pearson,
        "spearman": frame["a"].rank().corr(frame["b"].rank()),
        "spearman_brown": 2 * pearson / (1 + abs(pearson)),
    }


def selections(a: set[Any], b: set[Any]) -> dict[str, float]:
    return {"selected": (len(a) + len(b)) / 2, "jaccard": len(a & b) / len(a | b) if a | b else float("nan")}


def slow_halves(
    runs: Runs, ratio: float, used: int, seed: int, split: int, labels: Labelled
) -> tuple[SlowHalf, SlowHalf]:
    completed = [k for k in range(len(runs.subsets)) if k not in runs.diverged]
    first, second = draw_halves(seed, ratio_to_ppm(ratio), len(completed), used, split)
    return (
        SlowHalf(runs, [completed[place] for place in first], labels),
        SlowHalf(runs, [completed[place] for place in second], labels),
    )


def slow_row(estimate: str, ratio: float, used: int, splits: list[dict[str, float]]) -> dict[str, Any]:
    """Means over the splits that have a value."""
    row: dict[str, Any] = {"estimate": estimate, "ratio": ratio, "runs": used, "runs_per_half": used // 2}
    row["splits"] = len(splits)
    for name in ("examples", "pearson", "spearman", "spearman_brown", "selected", "jaccard"):
        values = [split[name] for split in splits if not isnan(split.get(name, float("nan")))]
        row[name] = np.mean(values) if values else float("nan")
        if name not in ("examples", "selected"):
            row[f"{name}_sd"] = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return row


@pytest.mark.slow
def test_every_figure_equals_one_run_at_a_time(tmp_path: Path) -> None:
    random, splits, seed = np.random.default_rng(0), 3, 5
    num_train, num_test = 30, 12
    # 23 and 11 runs that did not diverge; at ratio 1 nothing is held out.
    numbers = {0.5: (24, [2]), 0.8: (13, [0, 12]), 1.0: (4, [])}
    runs = {
        ratio: random_runs(random, count, num_train, num_test, ratio, diverged=diverged)
        for ratio, (count, diverged) in numbers.items()
    }
    labels = Labelled(*(random.integers(0, 3, size=size).tolist() for size in (num_train, num_train, num_test)))
    store = make_stores(tmp_path / "store", runs, labels, shard_size=5)

    rungs = {0.5: [8, 16, 22], 0.8: [8, 10]}
    rows: dict[str, list[dict[str, Any]]] = {"memorization": [], "consistency": [], "influential_pairs": []}
    for ratio, ladder in rungs.items():
        for used in ladder:
            halves = [slow_halves(runs[ratio], ratio, used, seed, split, labels) for split in range(splits)]
            figures = {
                "memorization": [correlations(a.mem, b.mem) | selections(a.memorized, b.memorized) for a, b in halves],
                "consistency": [correlations(a.profile, b.profile) for a, b in halves],
                "influential_pairs": [selections(a.pairs, b.pairs) for a, b in halves],
            }
            for estimate, each in figures.items():
                rows[estimate].append(slow_row(estimate, ratio, used, each))
    scores = []
    for used in rungs[0.5]:
        each = []
        for split in range(splits):
            profiles = [
                slow_halves(runs[ratio], ratio, min(used, rungs[ratio][-1]), seed, split, labels) for ratio in rungs
            ]
            a, b = (np.array([halves[side].profile for halves in profiles]) for side in (0, 1))
            each.append(correlations(*(pd.DataFrame(half).mean().tolist() for half in (a, b))))
        scores.append(slow_row("cscore", float("nan"), used, each))
    expected = [*rows["memorization"], *rows["consistency"], *scores, *rows["influential_pairs"]]

    found = estimate_reliability(store, splits=splits, seed=seed)
    assert list(found) == COLUMNS
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=COLUMNS), check_dtype=False, rtol=1e-9)
    assert (found[found["estimate"] == "influential_pairs"]["selected"] > 5).all(), "there must be pairs to compare"
    assert found["examples"].min() < num_train, "some example must be without a value"

    one = open_store(store.uri).reliability(ratio=0.8, splits=splits, seed=seed)
    alone = found[found["ratio"] == 0.8].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, alone)


# Models whose reliability is known ------------------------------------------------------------------------------------


def planted(path: Path, p_in: Floats, p_out: Floats, num_runs: int) -> Store:
    """Runs right on example i with probability p_in[i] where they trained on it, p_out[i] where not; ratio 1/2."""
    random = np.random.default_rng(3)
    subsets = random.random((num_runs, len(p_in))) < 0.5
    train = random.random(subsets.shape) < np.where(subsets, p_in, p_out)
    return make_store(path, subsets, train, np.zeros((num_runs, 0), dtype=bool), ratio=0.5, shard_size=64)


def error_variance(p: Floats, half: int) -> float:
    """Of the mean of n outcomes, n being binomial(half, 1/2) given that it is neither 0 nor `half`; over examples."""
    n = np.arange(1, half)
    weights = binom.pmf(n, half, 0.5)
    return float((p * (1 - p)).mean() * (weights / n).sum() / weights.sum())


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5], ids=lambda spread: f"true spread {spread}")
def test_the_reliability_of_a_planted_model_is_found(tmp_path: Path, spread: float) -> None:
    random = np.random.default_rng(4)
    p_out = random.uniform(0.5 - spread, 0.5 + spread, size=6000)
    p_in = np.minimum(p_out + random.uniform(0, spread, size=6000), 1)
    found = estimate_reliability(planted(tmp_path / "store", p_in, p_out, 64), splits=4).set_index(["estimate", "runs"])
    for used, estimate in product((16, 32, 64), ("memorization", "consistency")):
        true, errors = (p_out.var(), error_variance(p_out, used // 2))
        if estimate == "memorization":
            true, errors = (p_in - p_out).var(), errors + error_variance(p_in, used // 2)
        # The standard error of a correlation of 6000 values is at most 0.013; it is less over several splits.
        assert found["pearson"][(estimate, used)] == pytest.approx(true / (true + errors), abs=0.03)
        assert found["spearman_brown"][(estimate, used)] == pytest.approx(true / (true + errors / 2), abs=0.04)
    assert found["pearson"][("memorization", 64)] > found["pearson"][("memorization", 8)] > 0


@pytest.mark.parametrize("r", [-1.0, -0.9, -0.34, 0.0, 0.5, 1.0])
def test_a_negative_correlation_of_halves_has_a_bounded_reliability(r: float) -> None:
    """Of 6 runs the mean over splits was -1.2, as 2 r / (1 + r) of r = -0.9 is -18."""
    first, rest = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    found = split_half.correlations(first, r * first + (1 - r * r) ** 0.5 * rest)
    assert found["pearson"] == pytest.approx(r, abs=1e-12)
    assert found["spearman_brown"] == pytest.approx(2 * r / (1 + r) if r >= 0 else 2 * r / (1 - r), abs=1e-9)
    assert -1 <= found["spearman_brown"] <= 1


@pytest.mark.slow
def test_examples_that_are_all_alike_have_no_reliability(tmp_path: Path) -> None:
    alike = np.full(3000, 0.5)
    found = estimate_reliability(planted(tmp_path / "store", alike, alike, 32), splits=4)
    assert found["pearson"].abs().max() < 0.05
    assert found["spearman"].abs().max() < 0.05


@pytest.mark.slow
def test_selections_that_do_not_depend_on_the_runs_are_the_same_in_both_halves(tmp_path: Path) -> None:
    memorized = np.arange(40) < 10
    found = estimate_reliability(planted(tmp_path / "store", np.ones(40), (~memorized).astype(float), 64))
    row = found[(found["estimate"] == "memorization") & (found["runs"] == 64)].iloc[0]
    assert (row["jaccard"], row["selected"], row["jaccard_sd"]) == (1, 10, 0)
    assert (row["pearson"], row["spearman"]) == pytest.approx((1, 1))


# Draws ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 2**64), runs=st.integers(0, 200), split=st.integers(0, 99), data=st.data())
def test_halves_are_disjoint_and_of_one_size(seed: int, runs: int, split: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(0, runs))
    first, second = draw_halves(seed, 700_000, runs, used, split)
    assert len(first) == len(second) == used // 2
    both = np.concatenate([first, second])
    assert len(set(both.tolist())) == len(both)
    assert set(both.tolist()) <= set(range(runs))


def test_every_run_is_as_often_in_each_half() -> None:
    draws = [draw_halves(0, 700_000, 20, 10, split) for split in range(4000)]
    for side in (0, 1):
        counts = np.bincount(np.concatenate([halves[side] for halves in draws]), minlength=20)
        assert (abs(counts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)).all()


@pytest.mark.slow
def test_the_seed_alone_decides_the_splits(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(6), 20, 40, 6)
    one, other = (
        make_stores(tmp_path / name, {0.7: runs}, shards=shards)
        for name, shards in (("a", [(0, 20)]), ("b", [(0, 12), (4, 9), (8, 20)]))
    )
    first = estimate_reliability(one, splits=3, seed=1)
    pd.testing.assert_frame_equal(first, estimate_reliability(other, splits=3, seed=1))
    assert not first["pearson"].equals(estimate_reliability(one, splits=3, seed=2)["pearson"])


def test_pairs_are_the_same_whatever_the_blocks(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    labels = Labelled(*(random.integers(0, 2, size=size).tolist() for size in (50, 50, 40)))
    bits = pack_runs(make_stores(tmp_path / "store", {0.7: random_runs(random, 30, 50, 40)}, labels))
    halves = bits.of_runs(range(15)), bits.of_runs(range(15, 30))
    memorized = random.random(50) < 0.6, random.random(50) < 0.6
    whole = pair_overlap(halves, memorized, 0.15)
    assert whole.both > 0
    assert pair_overlap(halves, memorized, 0.15, memory_mb=1e-6) == whole


# What has no value ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_runs=st.lists(st.integers(1, 19), min_size=1, max_size=2),
    num_train=st.integers(1, 6),
    num_test=st.integers(0, 3),
)
def test_small_stores_give_figures_within_bounds_or_none(
    seed: int, num_runs: list[int], num_train: int, num_test: int
) -> None:
    random = np.random.default_rng(seed)
    runs = {
        ratio: random_runs(random, count, num_train, num_test, ratio)
        for ratio, count in zip((0.5, 0.9), num_runs, strict=False)
    }
    with TemporaryDirectory() as folder:
        found = estimate_reliability(make_stores(Path(folder) / "store", runs), splits=2)
    assert list(found) == COLUMNS
    assert set(found["estimate"]) == {
        *("memorization", "consistency"),
        *(["cscore"] if len(runs) > 1 else []),
        *(["influential_pairs"] if num_test else []),
    }
    assert not found.duplicated(["estimate", "ratio", "runs"]).any()
    for name, least in (("pearson", -1), ("spearman", -1), ("spearman_brown", -1), ("jaccard", 0)):
        assert found[name].dropna().between(least - 1e-9, 1 + 1e-9).all()
    few = found[found["runs"] < 4]
    assert few[["examples", "pearson", "spearman", "spearman_brown", "selected", "jaccard"]].isna().all(axis=None)
    largest = found[found["estimate"] == "memorization"].groupby("ratio")["runs"].max()
    assert largest.tolist() == [count // 2 * 2 if count >= 4 else count for count in num_runs[: len(runs)]]


@pytest.mark.slow
def test_scores_that_do_not_vary_and_empty_selections_have_no_value(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    always = np.ones((16, 9), dtype=bool)
    store = make_store(tmp_path / "store", random.random((16, 9)) < 0.5, always, np.ones((16, 4), dtype=bool))
    found = estimate_reliability(store)
    assert found[["pearson", "spearman", "spearman_brown", "jaccard"]].isna().all(axis=None)
    assert found["selected"].dropna().eq(0).all()


@pytest.mark.slow
def test_a_ratio_whose_runs_all_diverged_has_no_value_and_no_part_in_the_cscore(tmp_path: Path) -> None:
    random = np.random.default_rng(14)
    kept, lost = random_runs(random, 16, 20, 3, 0.5), random_runs(random, 2, 20, 3, 0.9, diverged=[0, 1])
    found = estimate_reliability(make_stores(tmp_path / "store", {0.5: kept, 0.9: lost})).set_index("estimate")
    gone = found[found["ratio"] == 0.9]
    assert gone["runs"].eq(0).all()
    assert gone[["pearson", "jaccard", "examples", "selected"]].isna().all(axis=None)
    profile, score = (found.loc[name][found.loc[name]["ratio"] != 0.9] for name in ("consistency", "cscore"))
    assert score["pearson"].tolist() == profile["pearson"].tolist()


@pytest.mark.slow
def test_examples_that_are_never_held_out_are_left_out(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(9), 64, 40, 0, 0.5)
    runs.subsets[:, :7] = True
    found = estimate_reliability(make_stores(tmp_path / "store", {0.5: runs}))
    assert found[found["runs"] == 64]["examples"].tolist() == [33, 33]


def test_what_cannot_be_split_is_refused_in_one_line(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(10), 4, 5, 3)
    store = make_stores(tmp_path / "store", {0.7: runs})
    for options, message in (
        ({"splits": 0}, "splits must be a whole number of at least 1, got 0"),
        ({"splits": 2.0}, "splits must be a whole number of at least 1, got 2.0"),
        ({"splits": True}, "splits must be a whole number of at least 1, got True"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"seed": "1"}, "seed must be a whole number of at least 0, got '1'"),
        ({"ratio": 0.3}, r"ratio must be one of 0\.7, got 0\.3"),
        ({"epoch": 9}, r"epoch must be one of 1 \(those recorded\), got 9"),
    ):
        with pytest.raises(EstimateError, match=f"{message}$"):
            estimate_reliability(store, **options)
    whole = make_stores(tmp_path / "whole", {1.0: random_runs(np.random.default_rng(11), 8, 5, 3, 1.0)})
    with pytest.raises(EstimateError, match="at ratio 1 no example is held out"):
        estimate_reliability(whole)
    lost = random_runs(np.random.default_rng(12), 3, 5, 3, diverged=[0, 1, 2])
    with pytest.raises(EstimateError, match="has no run to split, all 3 committed runs diverged"):
        estimate_reliability(make_stores(tmp_path / "lost", {0.7: lost}))


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """40 runs at ratio 0.7 and 2 at 0.9."""
    random = np.random.default_rng(13)
    runs = {ratio: random_runs(random, count, 30, 5, ratio) for ratio, count in ((0.7, 40), (0.9, 2))}
    return make_stores(tmp_path / "store", runs)


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_the_command_prints_and_writes_the_table(store: Store, tmp_path: Path, ending: str, read: Any) -> None:
    path = tmp_path / f"table{ending}"
    path.write_text("of another day")
    code, output, _ = call("reliability", store.uri, "--splits", 2, "--seed", 3, "-o", path)
    expected = estimate_reliability(store, splits=2, seed=3)
    assert code == 0
    pd.testing.assert_frame_equal(read(path), expected)
    best = expected[(expected["estimate"] == "memorization") & (expected["runs"] == 40)].iloc[0]
    cells = [f"{best[name]:.3f} ± {best[f'{name}_sd']:.3f}" for name in ("pearson", "spearman", "spearman_brown")]
    assert " ".join(("40", *cells)) in " ".join(output.split())
    assert "memorization at ratio 0.9\n  no value from 2 runs\n" in output
    assert "nan" not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", path.name]


def test_a_table_that_cannot_be_written_is_told_in_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path, expected, message in (
        (tmp_path / "table.txt", 2, "--output: must end with .parquet or .csv, got "),
        (tmp_path / "no" / "table.csv", 2, f"{tmp_path}/no/table.csv: cannot be written: "),
        (tmp_path / "folder.csv", 2, f"{tmp_path}/folder.csv: cannot be written: is a folder"),
    ):
        code, _, error = call("reliability", store.uri, "--splits", 1, "-o", path)
        assert code == expected
        assert error.splitlines()[-1].startswith(f"error: {message}")
        assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "store"]
