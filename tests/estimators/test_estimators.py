"""Every estimator: against one run at a time, and on models whose estimates are known exactly."""

from math import isnan, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import (
    EstimateError,
    RatioBits,
    consistency_profile,
    count_runs,
    cscore,
    estimate_memorization,
    influence_matrix,
    influence_pairs,
    influence_top,
    influential_pairs,
    pack_runs,
)
from analysis.influence.pair_options import PairOptions
from analysis.statistics.means import Empty
from tests.slow_estimators import (
    NAN,
    slow_average_interval,
    slow_difference,
    slow_interval,
    slow_mean,
    slow_pairs,
    slow_variance,
)
from tests.synthetic import Labelled, Runs, make_store, make_stores, random_runs

CONVENTIONS: tuple[Empty, ...] = ("half", "nan", "zero")

stores = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "num_runs": st.integers(1, 12),
        "num_train": st.integers(1, 18),
        "num_test": st.integers(0, 9),
        "num_diverged": st.integers(0, 2),
        "ratio": st.sampled_from([0.05, 0.5, 0.95]),
    }
)


# One run at a time ----------------------------------------------------------------------------------------------------


def drawn(folder: str, drawn_store: dict[str, Any]) -> tuple[Any, Runs, Labelled, float]:
    """A random store, what is in it, and its labels."""
    random = np.random.default_rng(drawn_store["seed"])
    num_runs, num_train, num_test = (drawn_store[name] for name in ("num_runs", "num_train", "num_test"))
    ratio = drawn_store["ratio"]
    diverged = random.permutation(num_runs)[: drawn_store["num_diverged"]].tolist()
    runs = random_runs(random, num_runs, num_train, num_test, ratio, diverged=diverged)
    classes = [random.integers(0, 3, size=size).tolist() for size in (num_train, num_train, num_test)]
    labels = Labelled(*classes)
    return make_stores(Path(folder) / "store", {ratio: runs}, labels, shard_size=5), runs, labels, ratio


def check_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The same rows in the same order, values to rounding; NaN equals NaN."""
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=12)
@given(drawn_store=stores, empty=st.sampled_from(CONVENTIONS))
def test_memorization_equals_one_run_at_a_time(drawn_store: dict[str, Any], empty: Empty) -> None:
    with TemporaryDirectory() as folder:
        store, runs, labels, ratio = drawn(folder, drawn_store)
        found = estimate_memorization(count_runs(store), empty=empty)
    label, given_label, _ = labels.filled(runs.subsets.shape[1], runs.test.shape[1])
    rows = []
    for i in range(runs.subsets.shape[1]):
        row = slow_difference(runs, i, runs.train[:, i], empty)
        example = {"ratio": ratio, "example_id": i, "label": label[i], "given_label": given_label[i]}
        rows.append({**example, "mem": row.pop("value"), **row})
    check_equal(found, pd.DataFrame(rows))
    own = ["ratio", "example_id", "label", "given_label"]
    assert list(found) == [*own, "mem", "se", "low", "high", "n_in", "p_in", "n_out", "p_out"]


@pytest.mark.slow
@settings(max_examples=16)
@given(
    drawn_store=stores,
    empty=st.sampled_from(CONVENTIONS),
    top=st.integers(1, 20),
    threshold=st.sampled_from([-1.0, -0.25, 0.0, 0.15, 0.5, 1.0]),
    memory_mb=st.sampled_from([1e-6, 1e-3, 3e-3, 512]),
)
def test_influence_equals_one_run_at_a_time(
    drawn_store: dict[str, Any], empty: Empty, top: int, threshold: float, memory_mb: float
) -> None:
    with TemporaryDirectory() as folder:
        store, runs, labels, ratio = drawn(folder, drawn_store)
        bits = pack_runs(store)
    expected = slow_pairs(runs, ratio, labels, empty)
    pairs = influence_pairs(bits, threshold=threshold, options=PairOptions(empty=empty, memory_mb=memory_mb))
    check_equal(pairs, expected[expected["infl"] >= threshold].reset_index(drop=True))

    expected.insert(2, "rank", expected.groupby("test_example_id").cumcount() + 1)
    first = influence_top(bits, top=top, options=PairOptions(empty=empty, memory_mb=memory_mb))
    check_equal(first, expected[expected["rank"] <= top].reset_index(drop=True))

    dense = np.full((runs.test.shape[1], runs.subsets.shape[1]), np.nan)
    dense[expected["test_example_id"], expected["example_id"]] = expected["infl"]
    matrix = influence_matrix(bits, options=PairOptions(empty=empty, memory_mb=memory_mb))
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, dense.astype(np.float32))
    chosen = [z for z in (3, 1) if z < runs.test.shape[1]]
    np.testing.assert_array_equal(
        influence_matrix(bits, chosen, options=PairOptions(empty=empty)), dense[chosen].astype(np.float32)
    )
    np.testing.assert_array_equal(
        influence_matrix(bits, slice(1, 6, 2), options=PairOptions(empty=empty)), dense[1:6:2].astype(np.float32)
    )


@pytest.mark.slow
@settings(max_examples=10)
@given(drawn_store=stores, same_class=st.booleans(), empty=st.sampled_from(CONVENTIONS))
def test_influential_pairs_are_those_with_both_conditions(
    drawn_store: dict[str, Any], same_class: bool, empty: Empty
) -> None:
    with TemporaryDirectory() as folder:
        store, runs, labels, ratio = drawn(folder, drawn_store)
        found = influential_pairs(
            store, min_infl=0.1, min_mem=0.2, same_class=same_class, options=PairOptions(empty=empty)
        )
    expected = slow_pairs(runs, ratio, labels, empty)
    expected["mem"] = [slow_difference(runs, i, runs.train[:, i], empty)["value"] for i in expected["example_id"]]
    chosen = (expected["infl"] >= 0.1) & (expected["mem"] >= 0.2)
    if same_class:
        chosen &= expected["test_label"] == expected["given_label"]
    check_equal(found, expected[chosen].reset_index(drop=True))


@pytest.mark.slow
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_train=st.integers(1, 12),
    num_runs=st.integers(1, 6),
    ratios=st.lists(st.sampled_from([0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=4, unique=True),
)
def test_consistency_and_cscore_equal_one_run_at_a_time(
    seed: int, num_train: int, num_runs: int, ratios: list[float]
) -> None:
    random = np.random.default_rng(seed)
    runs = {ratio: random_runs(random, num_runs, num_train, 0, ratio, diverged=[0]) for ratio in ratios}
    with TemporaryDirectory() as folder:
        counts = count_runs(make_stores(Path(folder) / "store", runs))
    profile, score = consistency_profile(counts), cscore(counts)
    rows, scores = [], []
    for i in range(num_train):
        values, variances, groups, n_out = [], [], [], 0
        for ratio in sorted(set(ratios) - {1.0}):
            at = runs[ratio]
            group = [bool(at.train[k, i]) for k in range(1, num_runs) if not at.subsets[k, i]]
            own = {"ratio": ratio, "example_id": i, "label": 0, "given_label": 0}
            mean, variance = slow_mean(group, "nan"), slow_variance(group)
            low, high = slow_interval(group)
            rows.append(
                {**own, "consistency": mean, "se": sqrt(variance), "low": low, "high": high, "n_out": len(group)}
            )
            n_out += len(group)
            if group:
                values.append(mean)
                variances.append(variance)
                groups.append(group)
        mean = sum(values) / len(values) if values else NAN
        se = sqrt(sum(variances)) / len(values) if values else NAN
        low, high = slow_average_interval(groups)
        own = {"example_id": i, "label": 0, "given_label": 0}
        limits = {"low": low, "high": high}
        scores.append({**own, "cscore": mean, "se": se, **limits, "n_ratios": len(values), "n_out": n_out})
    columns = ["ratio", "example_id", "label", "given_label", "consistency", "se", "low", "high", "n_out"]
    expected = pd.DataFrame(rows, columns=columns).sort_values(["ratio", "example_id"], ignore_index=True)
    check_equal(profile, expected.astype(profile.dtypes.to_dict()))
    check_equal(score, pd.DataFrame(scores))


# Known answers --------------------------------------------------------------------------------------------------------


def half_subsets(num_runs: int, num_train: int) -> npt.NDArray[np.bool_]:
    """Random subsets in which no example is always in or always out."""
    subsets = np.random.default_rng(0).random((num_runs, num_train)) < 0.5
    subsets[0], subsets[1] = True, False
    return subsets


def test_a_lookup_table_memorizes_everything(tmp_path: Path) -> None:
    subsets = half_subsets(15, 21)
    store = make_store(tmp_path / "store", subsets, subsets, np.zeros((15, 3), dtype=bool))
    found = estimate_memorization(count_runs(store))
    assert (found["mem"] == 1).all()
    assert (found["se"] == 0).all()
    assert (cscore(count_runs(store))["cscore"] == 0).all()


def test_a_constant_model_memorizes_nothing_and_nobody_influences_it(tmp_path: Path) -> None:
    subsets = half_subsets(15, 21)
    label = np.arange(21) % 3
    test_label = np.arange(10) % 3
    train, test = np.tile(label == 1, (15, 1)), np.tile(test_label == 1, (15, 1))
    labels = Labelled(label.tolist(), None, test_label.tolist())
    store = make_store(tmp_path / "store", subsets, train, test, labels=labels)
    counts = count_runs(store)
    assert (estimate_memorization(counts)["mem"] == 0).all()
    assert cscore(counts)["cscore"].tolist() == (label == 1).astype(float).tolist()
    assert (influence_matrix(pack_runs(store)) == 0).all()
    assert influential_pairs(store).empty
    first = influence_top(pack_runs(store), top=3, options=PairOptions(memory_mb=0.001))
    assert first["example_id"].tolist() == [0, 1, 2] * 10, "ties go to the smaller id"


def test_a_test_example_that_copies_a_training_example_is_fully_influenced_by_it(tmp_path: Path) -> None:
    subsets = half_subsets(24, 19)
    source = np.array([7, 0, 18, 7])
    store = make_store(tmp_path / "store", subsets, subsets, subsets[:, source])
    first = influence_top(pack_runs(store), top=1)
    assert first["example_id"].tolist() == source.tolist()
    assert first["rank"].tolist() == [1] * 4
    assert (first["infl"] == 1).all()
    pairs = influential_pairs(store, min_infl=1.0, min_mem=1.0)
    assert pairs[["test_example_id", "example_id"]].to_numpy().tolist() == [[0, 7], [1, 0], [2, 18], [3, 7]]
    assert (pairs["mem"] == 1).all()


def test_an_example_that_is_never_held_out_has_no_consistency(tmp_path: Path) -> None:
    runs = {ratio: Runs(half_subsets(6, 4), np.ones((6, 4), bool), np.ones((6, 1), bool)) for ratio in (0.3, 0.6)}
    runs[0.3].subsets[:, 2] = True
    runs[0.3].subsets[:, 3] = runs[0.6].subsets[:, 3] = True
    counts = count_runs(make_stores(tmp_path / "store", runs))
    profile = consistency_profile(counts).set_index(["ratio", "example_id"])
    assert isnan(profile["consistency"][(0.3, 2)])
    assert isnan(profile["se"][(0.3, 2)])
    assert profile.loc[(0.3, 2), "n_out"] == 0
    score = cscore(counts)
    assert score["cscore"].tolist()[:3] == [1, 1, 1], "a ratio without a value does not pull the mean to 0"
    assert score["n_ratios"].tolist() == [2, 2, 1, 0]
    assert isnan(score["cscore"][3])
    assert isnan(score["se"][3])


def test_standard_errors_are_those_of_a_binomial(tmp_path: Path) -> None:
    subsets = np.repeat([[True], [False]], [4, 16], axis=0)
    train = np.concatenate([[1, 1, 1, 0], [1] * 4 + [0] * 12]).astype(bool)[:, None]
    store = make_store(tmp_path / "store", subsets, train, train)
    row = estimate_memorization(count_runs(store)).iloc[0]
    assert row["mem"] == 0.5
    assert row["se"] == pytest.approx(sqrt(0.75 * 0.25 / 4 + 0.25 * 0.75 / 16))
    assert consistency_profile(count_runs(store))["se"][0] == pytest.approx(sqrt(0.25 * 0.75 / 16))
    assert influence_top(pack_runs(store))["se"][0] == pytest.approx(row["se"])


@pytest.mark.parametrize(("empty", "mem"), [("half", [0.5, -0.5]), ("zero", [1.0, -1.0]), ("nan", [NAN, NAN])])
def test_empty_groups_follow_the_convention(tmp_path: Path, empty: Empty, mem: list[float]) -> None:
    subsets = np.repeat([[True, False]], 3, axis=0)
    right = np.ones((3, 2), dtype=bool)
    store = make_store(tmp_path / "store", subsets, right, right)
    found = estimate_memorization(count_runs(store), empty=empty)
    np.testing.assert_array_equal(found["mem"], mem)
    assert found["se"].isna().all()
    assert found["n_in"].tolist() == [3, 0]
    assert found["n_out"].tolist() == [0, 3]
    np.testing.assert_array_equal(
        influence_matrix(pack_runs(store), [0], options=PairOptions(empty=empty))[0], np.array(mem, np.float32)
    )


# Tiles and options ----------------------------------------------------------------------------------------------------


def test_tiles_change_no_bit(tmp_path: Path) -> None:
    store = make_stores(tmp_path / "store", {0.7: random_runs(np.random.default_rng(0), 30, 700, 90)})
    bits = pack_runs(store)
    large, small = 512, 0.02
    pairs = influence_pairs(bits, threshold=0.15, options=PairOptions(memory_mb=large))
    assert len(pairs) > 1000
    pd.testing.assert_frame_equal(
        influence_pairs(bits, threshold=0.15, options=PairOptions(memory_mb=small)), pairs, check_exact=True
    )
    first = influence_top(bits, top=7, options=PairOptions(memory_mb=large))
    assert len(first) == 7 * 90
    assert first["infl"].duplicated().any(), "the test needs ties"
    pd.testing.assert_frame_equal(
        influence_top(bits, top=7, options=PairOptions(memory_mb=small)), first, check_exact=True
    )
    assert (
        influence_matrix(bits, options=PairOptions(memory_mb=small))
        == influence_matrix(bits, options=PairOptions(memory_mb=large))
    ).all()


@pytest.mark.slow
def test_a_group_of_one_among_thousands_of_runs_is_exact(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    runs = random_runs(random, 3001, 3, 8)
    runs.subsets[:, 0] = np.arange(3001) == 5
    runs.subsets[:, 1] = np.arange(3001) != 5
    bits = pack_runs(make_stores(tmp_path / "store", {0.7: runs}, shard_size=3001))
    expected = slow_pairs(runs, 0.7, Labelled([0] * 3, [0] * 3, [0] * 8), "half")
    values = expected["infl"].tolist()
    for value in (*values[:6], *values[-6:]):
        for threshold in (value, np.nextafter(value, np.inf)):
            check_threshold(bits, values, float(threshold))


def check_threshold(bits: RatioBits, values: list[float], threshold: float) -> None:
    found = influence_pairs(bits, threshold=threshold)
    assert found["infl"].tolist() == [value for value in values if value >= threshold]


def test_too_many_pairs_are_refused(tmp_path: Path) -> None:
    bits = pack_runs(make_stores(tmp_path / "store", {0.7: random_runs(np.random.default_rng(2), 9, 40, 30)}))
    count = len(influence_pairs(bits, threshold=0.1))
    assert len(influence_pairs(bits, threshold=0.1, options=PairOptions(max_pairs=count))) == count
    with pytest.raises(EstimateError, match=r"more than \d+ pairs .* raise it, .* got 0\.1 with 9 runs$") as raised:
        influence_pairs(bits, threshold=0.1, options=PairOptions(max_pairs=count - 1))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": NAN}, r"threshold must be a finite number, got nan"),
        ({"options": PairOptions(memory_mb=0)}, r"memory_mb must be greater than 0, got 0"),
        ({"options": PairOptions(empty=cast("Any", "none"))}, r"empty must be one of half, nan, zero, got 'none'"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    bits = pack_runs(make_stores(tmp_path / "store", {0.7: random_runs(np.random.default_rng(3), 3, 4, 2)}))
    with pytest.raises(EstimateError, match=message):
        influence_pairs(bits, **options)


def test_top_must_be_positive(tmp_path: Path) -> None:
    bits = pack_runs(make_stores(tmp_path / "store", {0.7: random_runs(np.random.default_rng(3), 3, 4, 2)}))
    with pytest.raises(EstimateError, match=r"top must be at least 1, got 0"):
        influence_top(bits, top=0)
