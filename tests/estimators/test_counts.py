"""Counting: exact sums, whatever the shards."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import EstimateError, RatioBits, RatioCounts, count_runs, pack_runs
from analysis.reading.selection import only_ratio, preferred_ratio
from tests.synthetic import Runs, commit, even_shards, make_store, make_stores, random_runs
from workers.errors import DamagedFileError, LongtailError

FIELDS = ("n_in", "correct_in", "n_out", "correct_out")


def unpacked(bits: RatioBits) -> tuple[np.ndarray, np.ndarray]:
    return bits.subsets.unpacked(), bits.test_correct.unpacked()


def slow_counts(runs: Runs, num_train: int) -> dict[str, list[int]]:
    """The four counts, one example and one run at a time."""
    counts = {name: [0] * num_train for name in FIELDS}
    for k in range(len(runs.subsets)):
        if k in runs.diverged:
            continue
        for i in range(num_train):
            group = "in" if runs.subsets[k, i] else "out"
            counts[f"n_{group}"][i] += 1
            counts[f"correct_{group}"][i] += int(runs.train[k, i])
    return counts


@pytest.mark.slow
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_runs=st.integers(1, 20),
    num_train=st.integers(1, 19),
    num_test=st.integers(0, 10),
    shard_size=st.integers(1, 9),
    num_diverged=st.integers(0, 3),
)
def test_counts_and_bits_equal_one_run_at_a_time(
    seed: int, num_runs: int, num_train: int, num_test: int, shard_size: int, num_diverged: int
) -> None:
    random = np.random.default_rng(seed)
    diverged = random.permutation(num_runs)[:num_diverged].tolist()
    runs = random_runs(random, num_runs, num_train, num_test, diverged=diverged)
    with TemporaryDirectory() as folder:
        store = make_stores(Path(folder) / "store", {0.7: runs}, shard_size=shard_size)
        (at,) = count_runs(store).ratios
        bits = pack_runs(store)
    for name, expected in slow_counts(runs, num_train).items():
        assert getattr(at, name).dtype == np.int64
        assert getattr(at, name).tolist() == expected
    used = [k for k in range(num_runs) if k not in diverged]
    assert (at.runs, at.diverged) == (bits.runs, bits.diverged) == (len(used), len(diverged))
    assert at.epoch == bits.epoch == (1 if used else None)
    subsets, test_correct = unpacked(bits)
    assert (subsets == runs.subsets[used]).all()
    assert (test_correct == runs.test[used]).all()
    assert bits.n_in.tolist() == at.n_in.tolist()
    assert bits.n_out.tolist() == at.n_out.tolist()
    assert bits.correct.tolist() == runs.test[used].sum(axis=0).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shards",
    [even_shards(20, 1), even_shards(20, 7), [(0, 20)], [(0, 12), (4, 9), (8, 20)], [(0, 8), (0, 20), (8, 16)]],
)
def test_shards_and_overlaps_change_nothing(tmp_path: Path, shards: Sequence[tuple[int, int]]) -> None:
    runs = random_runs(np.random.default_rng(0), 20, 13, 5, diverged=[3, 9])
    store = make_stores(tmp_path / "store", {0.7: runs}, shards=shards)
    (at,) = count_runs(store).ratios
    assert {name: getattr(at, name).tolist() for name in FIELDS} == slow_counts(runs, 13)
    assert (at.runs, at.diverged) == (18, 2)
    subsets, test_correct = unpacked(pack_runs(store))
    used = np.delete(np.arange(20), [3, 9])
    assert (subsets == runs.subsets[used]).all()
    assert (test_correct == runs.test[used]).all()


def test_each_ratio_is_counted_alone_and_in_ascending_order(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    runs = {ratio: random_runs(random, count, 11, 4, ratio) for ratio, count in ((0.7, 9), (0.1, 5), (1.0, 3))}
    store = make_stores(tmp_path / "store", runs, shard_size=4)
    counts = count_runs(store)
    assert [ratio.ratio for ratio in counts.ratios] == [0.1, 0.7, 1.0]
    for at in counts.ratios:
        assert {name: getattr(at, name).tolist() for name in FIELDS} == slow_counts(runs[at.ratio], 11)
    (alone,) = count_runs(store, 0.7).ratios
    assert alone.n_in.tolist() == counts.ratios[1].n_in.tolist()


def test_an_unfinished_campaign_is_counted_as_far_as_it_is(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(2), 12, 7, 3)
    store = make_stores(tmp_path / "store", {0.7: runs}, shards=[(0, 4), (8, 12)])
    kept = np.r_[0:4, 8:12]
    (at,) = count_runs(store).ratios
    assert at.n_in.tolist() == runs.subsets[kept].sum(axis=0).tolist()


def test_any_recorded_epoch_can_be_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    earlier = [(random.random((6, 9)) < 0.5, random.random((6, 4)) < 0.5) for _ in range(2)]
    runs = random_runs(random, 6, 9, 4, earlier=earlier, diverged=[2])
    store = make_stores(tmp_path / "store", {0.7: runs}, shard_size=4)
    for epoch, (train, test) in enumerate([*earlier, (runs.train, runs.test)], start=1):
        (at,) = count_runs(store, epoch=epoch).ratios
        then = Runs(runs.subsets, train, test, diverged=[2])
        assert {name: getattr(at, name).tolist() for name in FIELDS} == slow_counts(then, 9)
        assert (at.epoch, at.diverged) == (epoch, 1)
        assert (unpacked(pack_runs(store, epoch=epoch))[1] == np.delete(test, 2, axis=0)).all()
    (last,) = count_runs(store).ratios
    assert last.epoch == 3
    with pytest.raises(EstimateError, match=r"epoch must be one of 1, 2, 3 \(those recorded\), got 4$"):
        count_runs(store, epoch=4)


def test_a_diverged_run_that_stopped_early_is_still_counted_as_diverged(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    runs = random_runs(random, 2, 5, 3, earlier=[(random.random((2, 5)) < 0.5, random.random((2, 3)) < 0.5)])
    store = make_stores(tmp_path / "store", {0.7: runs}, shards=[(0, 1)])
    only_first_epoch = Runs(runs.subsets, *runs.earlier[0], diverged=[1])
    commit(store, 0.7, only_first_epoch, [(1, 2)])
    (at,) = count_runs(store, epoch=2).ratios
    assert (at.runs, at.diverged, at.n_in.tolist()) == (1, 1, runs.subsets[0].astype(int).tolist())


def test_ratios_that_are_not_there_are_refused_in_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    runs = {ratio: random_runs(random, 2, 5, 3, ratio) for ratio in (0.1, 0.7)}
    store = make_stores(tmp_path / "store", runs)
    for ratio in (0.35, 0.0, 2.0, 0.700001, float("nan"), float("inf")):
        with pytest.raises(EstimateError, match=r"ratio must be one of 0\.1, 0\.7, got") as raised:
            count_runs(store, ratio)
        assert "\n" not in str(raised.value)
    with pytest.raises(EstimateError, match=r"ratio must be given, one of 0\.1, 0\.7$"):
        only_ratio(store, None)
    assert count_runs(store, 0.1 * 7).ratios[0].ratio == 0.7, "a ratio is compared in parts per million"


@pytest.mark.parametrize(
    ("runs", "preferred"),
    [
        ({300_000: 7, 700_000: 8}, 700_000),  # the most runs
        ({300_000: 8, 400_000: 8, 900_000: 8}, 400_000),  # of equals the nearest to 1/2
        ({300_000: 8, 700_000: 8}, 700_000),  # of equals the larger
        ({900_000: 1, 1_000_000: 8}, 900_000),  # 1 holds nothing out
        ({1_000_000: 8}, 1_000_000),
    ],
)
def test_the_ratio_where_none_is_requested(runs: dict[int, int], preferred: int) -> None:
    assert preferred_ratio(runs) == preferred_ratio(dict(reversed(runs.items()))) == preferred


def test_a_store_without_runs_is_refused(tmp_path: Path) -> None:
    nothing = np.zeros((0, 5), dtype=bool)
    store = make_store(tmp_path / "store", nothing, nothing, np.zeros((0, 3), dtype=bool))
    for read in (count_runs, pack_runs):
        with pytest.raises(LongtailError, match=r"has no committed run$"):
            read(store)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(6), 6, 300, 4)
    store = make_stores(tmp_path / "store", {0.7: runs}, shard_size=2)
    damaged = tmp_path / "store/results/r700000-000002-000004.parquet"
    content = bytearray(damaged.read_bytes())
    content[200:260] = bytes(60)
    damaged.write_bytes(content)
    for read in (count_runs, pack_runs):
        with pytest.raises(DamagedFileError, match=damaged.name):
            read(store)


def test_vectors_of_a_wrong_length_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    store = make_stores(tmp_path / "store", {0.5: random_runs(random, 2, 9, 4)})
    short = make_stores(tmp_path / "short", {0.5: random_runs(random, 2, 8, 4)})
    shutil.copytree(f"{short.uri}/results", f"{store.uri}/results", dirs_exist_ok=True)
    with pytest.raises(
        DamagedFileError, match=r"r500000-000000-000002\.parquet: column subset: has 16 values, expected 18"
    ):
        count_runs(store)


def test_counts_are_frozen(tmp_path: Path) -> None:
    (at,) = count_runs(make_stores(tmp_path / "s", {0.7: random_runs(np.random.default_rng(8), 1, 2, 0)})).ratios
    assert isinstance(at, RatioCounts)
    with pytest.raises(AttributeError):
        at.runs = 3  # type: ignore[misc]
