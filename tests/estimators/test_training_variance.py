"""Variance of outputs by subset and by seed: closed forms, a slow reference, and unbiasedness by simulation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import EstimateError, open_store
from analysis.estimators.training_variance import TRAIN_COLUMNS, estimate_variance
from analysis.statistics.variance_components import ComponentSums
from tests.command import call
from tests.synthetic import Runs, make_stores, random_runs
from workers.common.arrays import Bools, Floats

NAN = float("nan")


def components(values: Floats, groups: list[int], used: Bools | None = None) -> tuple[float, float]:
    """subset and seed of one example's values, by the class under test."""
    sums = ComponentSums(3, 1)
    kept = np.ones(len(values), dtype=bool) if used is None else used
    for group in sorted(set(groups)):
        rows = np.array(groups) == group
        sums.add(group % 3, values[rows, None], kept[rows, None])
    found = sums.all()
    return float(found.subset[0]), float(found.seed[0])


def slow(values: list[tuple[int, float]]) -> tuple[float, float]:
    """Searle's ANOVA estimators, one subset after the other."""
    groups = sorted({group for group, _ in values})
    of = {group: [value for each, value in values if each == group] for group in groups}
    n, count = len(values), len(groups)
    if n <= count:
        return NAN, NAN
    msw = sum((value - np.mean(of[group])) ** 2 for group, value in values) / (n - count)
    if count < 2:
        return NAN, float(msw)
    mean = np.mean([value for _, value in values])
    msb = sum(len(each) * (np.mean(each) - mean) ** 2 for each in of.values()) / (count - 1)
    size = (n - sum(len(each) ** 2 for each in of.values()) / n) / (count - 1)
    return float((msb - msw) / size), float(msw)


def test_closed_forms() -> None:
    # Two subsets with two runs: means 1 and 5, so MSB = 2 (2^2 + 2^2) = 16, MSW = (1 + 1 + 1 + 1) / 2 = 2.
    assert components(np.array([0.0, 2.0, 4.0, 6.0]), [0, 0, 1, 1]) == (7.0, 2.0)
    # Seeds alone: equal subset means give -MSW / 2.
    assert components(np.array([0.0, 2.0, 0.0, 2.0]), [0, 0, 1, 1]) == (-1.0, 2.0)
    # Subsets alone.
    assert components(np.array([1.0, 1.0, 3.0, 3.0]), [0, 0, 1, 1]) == (2.0, 0.0)


@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=12).map(sorted),
    shift=st.sampled_from([0.0, 1e4]),
)
def test_components_are_those_of_a_slow_reference(seed: int, groups: list[int], shift: float) -> None:
    random = np.random.default_rng(seed)
    values, used = random.normal(size=len(groups)) + shift, random.random(len(groups)) < 0.8
    expected = slow([(group, value) for group, value, kept in zip(groups, values, used, strict=True) if kept])
    assert components(values, groups, used) == pytest.approx(expected, nan_ok=True, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("shape", [0.5, 4.0])
def test_components_of_zeros_and_ones_are_unbiased_and_their_errors_true(shape: float) -> None:
    """P[right | subset] is beta: subset = 1 / (4 (2 a + 1)), seed = 1/4 - subset; 1,000 examples of unequal subsets."""
    random = np.random.default_rng(1)
    sums = ComponentSums(20, 1_000)
    for group in range(60):
        p = random.beta(shape, shape, 1_000)
        sums.add(
            group % 20, (random.random((2 + group % 3, 1_000)) < p).astype(float), np.ones((2 + group % 3, 1_000), bool)
        )
    found, without = sums.all(), sums.without_each()
    for values, left, expected in (
        (found.subset, without.subset, 1 / (4 * (2 * shape + 1))),
        (found.seed, without.seed, 0.25 - 1 / (4 * (2 * shape + 1))),
    ):
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(1_000))
        errors = np.sqrt(19 / 20 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.1)


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Two runs of each of ten subsets; the margins of the first test example are its subset's number."""
    random = np.random.default_rng(5)
    made = random_runs(random, 20, 6, 3, 0.5)
    margins = random.normal(size=(20, 3)).astype(np.float16)
    margins[:, 0] = np.repeat(np.arange(10), 2)
    margins[3, 1] = np.nan
    outputs = {"test_margin": margins, "train_margin": random.normal(size=(20, 6)).astype(np.float16)}
    subsets = np.repeat(made.subsets[::2], 2, axis=0)
    return Runs(subsets, made.train, made.test, diverged=[7], replicates=2, outputs=outputs)


def test_a_store_has_the_variance_of_its_test_and_of_its_held_out_examples(runs: Runs, tmp_path: Path) -> None:
    store = make_stores(tmp_path / "s", {0.5: runs}, shard_size=3)
    kept = [k for k in range(20) if k != 7]
    found = estimate_variance(store, output="margin").examples
    assert (found["seed_variance"][0], found["runs"][0], found["runs"][1]) == (0.0, 19, 18)
    for z in range(3):
        values = [(k // 2, float(runs.outputs["test_margin"][k, z])) for k in kept]
        expected = slow([each for each in values if np.isfinite(each[1])])
        row = found.iloc[z]
        assert (row["subset_variance"], row["seed_variance"]) == pytest.approx(expected)
    held = open_store(store.uri).variance(split="train")
    assert list(held.columns) == list(TRAIN_COLUMNS)
    for i in range(6):
        expected = slow([(k // 2, float(runs.train[k, i])) for k in kept if not runs.subsets[k, i]])
        assert (held["subset_variance"][i], held["seed_variance"][i]) == pytest.approx(expected, nan_ok=True)
    means = open_store(store.uri).mean_variance().iloc[0]
    of_tests = open_store(store.uri).variance()
    assert means["seed_variance"] == pytest.approx(of_tests["seed_variance"].mean())
    assert means["subset_share"] == pytest.approx(
        of_tests["subset_variance"].mean() / (of_tests["subset_variance"] + of_tests["seed_variance"]).mean()
    )
    assert (means["examples"], means["subsets"], means["runs"], means["diverged"]) == (3, 10, 19, 1)


def test_a_store_with_one_run_of_each_subset_is_refused(tmp_path: Path) -> None:
    store = make_stores(tmp_path / "s", {0.5: random_runs(np.random.default_rng(0), 6, 5, 2, 0.5)})
    with pytest.raises(EstimateError, match=r"subsets.replicates must be at least 2, got 1"):
        estimate_variance(store)
    code, _, errors = call("variance", store.uri)
    assert (code, "has one run of each subset" in errors) == (2, True)


def test_the_command_shows_means_and_examples_and_writes_all(runs: Runs, tmp_path: Path) -> None:
    store = make_stores(tmp_path / "s", {0.5: runs})
    code, shown, _ = call("variance", store.uri, "--of", "margin", "-o", tmp_path / "v.csv", "--top", 1)
    assert code == 0
    assert "2 runs of each subset, 1 diverged left out" in shown
    assert len(pd.read_csv(tmp_path / "v.csv")) == 3
