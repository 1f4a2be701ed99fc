"""The view of a store, and the estimates written into it."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import EstimateError, StoreView, open_store, write_estimates
from analysis.influence.pair_options import PairOptions
from analysis.report import find
from tests.synthetic import Labelled, Runs, commit, even_shards, make_stores, random_runs
from workers.errors import DamagedFileError, LongtailError, StoreError
from workers.store import Store

NAMES = ["memorization", "consistency", "cscore", "influence_top", "influence_pairs", "influence_discoveries"]


def two_ratios(**runs: Any) -> dict[float, Runs]:
    """Random runs, 13 training and 6 test examples, at ratios 0.7 (11 runs, 2 diverged) and 0.2 (6 runs)."""
    random = np.random.default_rng(0)
    return {
        0.7: random_runs(random, 11, 13, 6, 0.7, diverged=[1, 10], **runs),
        0.2: random_runs(random, 6, 13, 6, 0.2, **runs),
    }


LABELS = Labelled([i % 3 for i in range(13)], [i % 2 for i in range(13)], [i % 3 for i in range(6)])


@pytest.fixture
def view(tmp_path: Path) -> StoreView:
    return StoreView(make_stores(tmp_path / "store", two_ratios(), LABELS, shard_size=4))


# The view -------------------------------------------------------------------------------------------------------------


def test_open_store_reads_paths_and_refuses_others(view: StoreView, tmp_path: Path) -> None:
    assert open_store(tmp_path / "store").ratios == open_store(str(tmp_path / "store")).ratios == (0.2, 0.7)
    assert repr(open_store(tmp_path / "store")) == f"StoreView({str(tmp_path / 'store')!r})"
    assert view.campaign.subsets.repetitions == 11
    with pytest.raises(StoreError, match="is not a Longtail store"):
        open_store(tmp_path)


def test_runs_has_one_row_per_run_and_epoch(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    runs = random_runs(random, 5, 9, 3, earlier=[(np.ones((5, 9), bool), np.ones((5, 3), bool))], diverged=[4])
    frame = StoreView(make_stores(tmp_path / "store", {0.7: runs}, shard_size=2)).runs()
    assert frame["run_id"].tolist() == [f"r700000-{k:06d}" for k in range(5) for _ in range(2)]
    assert frame["epoch"].tolist() == [1, 2] * 5
    assert frame["is_final"].tolist() == [False, True] * 5
    assert frame["test_accuracy"].tolist()[1::2] == runs.test.mean(axis=1).tolist()
    assert frame["status"].tolist() == ["completed"] * 8 + ["diverged"] * 2
    assert frame["train_loss"].isna().tolist() == [False] * 8 + [True] * 2


def test_vectors_come_as_frames_of_runs_by_examples(view: StoreView) -> None:
    for split, name in (("train", "train"), ("test", "test")):
        frame = view.correctness(split, ratio=0.7)  # type: ignore[arg-type]
        assert (frame.to_numpy() == getattr(two_ratios()[0.7], name)).all()
        assert frame.index.tolist() == [f"r700000-{k:06d}" for k in range(11)]
        assert (frame.index.name, frame.columns.name) == ("run_id", "example_id")
        assert frame.columns.to_numpy().tolist() == list(range(frame.shape[1]))
        assert frame.to_numpy().dtype.kind == "b"
    subsets = view.subsets()
    assert (subsets.to_numpy() == np.concatenate([two_ratios()[ratio].subsets for ratio in (0.2, 0.7)])).all()
    with pytest.raises(EstimateError, match=r"split must be one of train, test, got 'heldout'"):
        view.correctness("heldout")  # type: ignore[arg-type]


def test_correctness_of_an_earlier_epoch(tmp_path: Path) -> None:
    earlier = [(np.ones((6, 13), bool), np.zeros((6, 6), bool))]
    random = np.random.default_rng(2)
    view = StoreView(make_stores(tmp_path / "store", {0.2: random_runs(random, 6, 13, 6, earlier=earlier)}))
    assert view.correctness("train", epoch=1).to_numpy().all()
    assert not view.correctness("test", epoch=1).to_numpy().any()
    with pytest.raises(EstimateError, match=r"epoch must be one of 1, 2 \(those recorded\), got 3"):
        view.correctness("test", epoch=3)


def test_examples_are_the_stores_own(view: StoreView) -> None:
    assert len(view.examples()) == 19
    assert view.examples("train")["given_label"].tolist() == LABELS.given_label
    test = view.examples("test")
    assert test["example_id"].tolist() == list(range(6))
    assert test.index.tolist() == list(range(6))


def test_summary_counts_every_run(view: StoreView) -> None:
    view.store.add_target(view.campaign.subsets)
    summary = view.summary().set_index("ratio")
    assert summary["runs"].to_dict() == {0.2: 6, 0.7: 11}
    assert summary["diverged"].to_dict() == {0.2: 0, 0.7: 2}
    assert summary["requested"].to_dict() == {0.2: 11, 0.7: 11}
    used = np.delete(two_ratios()[0.7].test, [1, 10], axis=0)
    assert summary["test_accuracy"].loc[0.7] == pytest.approx(used.mean())
    assert summary["seconds"].loc[0.7] == 11


def test_estimates_take_all_ratios_or_one(view: StoreView) -> None:
    everything = view.memorization()
    assert everything["ratio"].unique().tolist() == [0.2, 0.7]
    alone = view.memorization(ratio=0.7)
    pd.testing.assert_frame_equal(alone, everything[everything["ratio"] == 0.7].reset_index(drop=True))
    assert alone["given_label"].tolist() == LABELS.given_label
    assert len(view.consistency()) == 26
    assert view.cscore()["n_ratios"].max() == 2
    assert view.influence()["ratio"].unique().tolist() == [0.7]  # 9 runs did not diverge, of 6 at 0.2
    assert find(view.store).ratio == 0.7
    with pytest.raises(EstimateError, match=r"ratio must be one of 0\.2, 0\.7, got 0\.5$"):
        view.memorization(ratio=0.5)


def test_influence_is_the_top_or_all_above_a_threshold(view: StoreView) -> None:
    assert len(view.influence(ratio=0.7)) == 5 * 6
    assert len(view.influence(ratio=0.7, top=2)) == 2 * 6
    pairs = view.influence(ratio=0.7, threshold=0.3, empty="half")
    assert pairs["infl"].min() >= 0.3
    assert "rank" not in pairs
    matrix = view.influence_matrix(slice(None), ratio=0.7)
    assert (matrix >= np.float32(0.3)).sum() == len(pairs)
    assert (view.influence_matrix([4], ratio=0.7)[0] == matrix[4]).all()
    high = view.influential_pairs(ratio=0.7, same_class=False)
    assert (high["mem"] >= 0.25).all()
    with pytest.raises(EstimateError, match="give top or threshold, not both"):
        view.influence(ratio=0.7, top=5, threshold=0.1)


def test_an_empty_store_has_no_runs_and_no_estimates(tmp_path: Path) -> None:
    nothing = Runs(np.zeros((0, 5), bool), np.zeros((0, 5), bool), np.zeros((0, 2), bool))
    view = StoreView(make_stores(tmp_path / "store", {0.7: nothing}))
    assert view.ratios == ()
    assert view.runs().empty
    assert view.summary().empty
    for estimate in (view.memorization, view.cscore, view.influence, view.subsets, lambda: write_estimates(view.store)):
        with pytest.raises(LongtailError, match=r"has no committed run$"):
            estimate()


def test_a_damaged_file_is_named(view: StoreView, tmp_path: Path) -> None:
    path = tmp_path / "store/results/r700000-000004-000008.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    for read in (view.runs, view.memorization, view.subsets, lambda: write_estimates(view.store)):
        with pytest.raises(DamagedFileError, match=path.name):
            read()


# Written estimates ----------------------------------------------------------------------------------------------------


def files(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(store.uri, "estimates").iterdir())}


@pytest.mark.slow
def test_estimates_are_plain_tables(view: StoreView) -> None:
    told: list[str] = []
    paths = write_estimates(view.store, progress=told.append, top=3, threshold=0.25)
    assert list(paths) == NAMES
    assert [line for line in told if "2 of 11 runs diverged and are left out; had they not" in line]
    listed, found = (len(pd.read_parquet(paths[f"influence_{name}"])) for name in ("pairs", "discoveries"))
    rate = "discoveries at a false discovery rate of 0.05 over all ratios together"
    assert told[-1] == f"{listed:,} pairs have an influence of 0.25 or more; {found:,} are {rate}"
    for name, expected in {
        "memorization": view.memorization(),
        "consistency": view.consistency(),
        "cscore": view.cscore(),
        "influence_top": pd.concat([view.influence(ratio=ratio, top=3) for ratio in view.ratios], ignore_index=True),
        "influence_pairs": pd.concat([view.influence(ratio=r, threshold=0.25) for r in view.ratios], ignore_index=True),
    }.items():
        assert paths[name] == f"{view.store.uri}/estimates/{name}.parquet"
        pd.testing.assert_frame_equal(expected, pd.read_parquet(paths[name]), check_exact=True)
    best = pd.read_parquet(paths["memorization"]).nlargest(20, "mem")
    assert len(best) == 20
    assert best["mem"].is_monotonic_decreasing
    assert len(pd.read_parquet(f"{view.store.uri}/results")) == 17


def test_metadata_tell_what_an_estimate_rests_on(view: StoreView) -> None:
    paths = write_estimates(view.store, threshold=0.2)
    said = {key.decode(): value.decode() for key, value in pq.read_metadata(paths["influence_pairs"]).metadata.items()}
    assert said["longtail.estimate"] == "influence_pairs"
    assert said["longtail.campaign"] == view.store.header.identity
    assert said["longtail.empty"] == "nan"
    assert said["longtail.threshold"] == "0.2"
    assert json.loads(said["longtail.ratios"]) == {
        "0.2": {"runs": 6, "diverged": 0, "epoch": 1},
        "0.7": {"runs": 9, "diverged": 2, "epoch": 1},
    }


@pytest.mark.slow
def test_pairs_that_are_too_many_leave_the_other_tables_alone(view: StoreView) -> None:
    """After a few runs most pairs reach the threshold by chance; everything else is still worth having."""
    few = {ratio: len(view.influence(ratio=ratio, threshold=0.25)) for ratio in view.ratios}
    assert 0 < few[0.7] < few[0.2]
    told: list[str] = []
    paths = write_estimates(view.store, threshold=0.25, options=PairOptions(max_pairs=few[0.7]), progress=told.append)
    assert list(paths) == NAMES
    pairs = pd.read_parquet(paths["influence_pairs"])
    assert pairs.groupby("ratio").size().to_dict() == {0.7: few[0.7]}
    assert json.loads(pq.read_metadata(paths["influence_pairs"]).metadata[b"longtail.left_out"]) == [0.2]
    assert [line for line in told if "left out of influence_pairs: more than" in line]
    write_estimates(view.store, threshold=0.25, options=PairOptions(max_pairs=1))
    assert pd.read_parquet(paths["influence_pairs"]).empty


@pytest.mark.slow
def test_estimates_do_not_depend_on_shards_timings_or_devices(tmp_path: Path) -> None:
    written = []
    kinds: list[tuple[int, dict[str, Any]]] = [(1, {}), (4, {"seconds": 7.5}), (100, {"device": "cuda"})]
    for place, (shard_size, timing) in enumerate(kinds):
        store = make_stores(tmp_path / str(place), two_ratios(**timing), LABELS, shard_size=shard_size)
        write_estimates(store)
        write_estimates(store)
        written.append(files(store))
    overlapping = make_stores(tmp_path / "overlapping", two_ratios(), LABELS, shards=even_shards(6, 3))
    for shards in ([(4, 9), (5, 11)], [(2, 11)]):
        commit(overlapping, 0.7, two_ratios()[0.7], shards)
    write_estimates(overlapping)
    assert list(written[0]) == sorted(f"{name}.parquet" for name in NAMES)
    assert written[0] == written[1] == written[2] == files(overlapping)


def test_without_test_examples_there_is_no_influence(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    store = make_stores(tmp_path / "store", {0.7: random_runs(random, 6, 9, 0)})
    assert list(write_estimates(store)) == ["memorization", "consistency", "cscore"]
    assert StoreView(store).influence().empty
    assert StoreView(store).influence(threshold=0.1).empty
    assert StoreView(store).correctness("test").shape == (6, 0)


def test_ratio_one_holds_nobody_out(tmp_path: Path) -> None:
    full = Runs(np.ones((4, 5), bool), np.ones((4, 5), bool), np.ones((4, 2), bool))
    alone = StoreView(make_stores(tmp_path / "alone", {1.0: full}))
    assert write_estimates(alone.store) == {}
    assert alone.consistency().empty
    assert alone.cscore()["cscore"].isna().all()
    assert (alone.memorization()["mem"] == 0.5).all()
    both = StoreView(make_stores(tmp_path / "both", {1.0: full, 0.7: random_runs(np.random.default_rng(4), 4, 5, 2)}))
    paths = write_estimates(both.store)
    for name in set(NAMES) - {"cscore"}:
        assert set(pd.read_parquet(paths[name])["ratio"]) <= {0.7}
    assert both.consistency()["ratio"].unique().tolist() == [0.7]
    assert both.memorization()["ratio"].unique().tolist() == [0.7, 1.0]


def test_ratios_whose_runs_all_diverged_are_left_out_and_told(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    lost = random_runs(random, 3, 6, 2, diverged=[0, 1, 2])
    store = make_stores(tmp_path / "store", {0.5: lost, 0.7: random_runs(random, 4, 6, 2)})
    paths = write_estimates(store)
    for name, path in paths.items():
        frame = pd.read_parquet(path)
        assert name == "cscore" or set(frame["ratio"]) <= {0.7}
        said = json.loads(pq.read_metadata(path).metadata[b"longtail.ratios"])
        assert said["0.5"] == {"runs": 0, "diverged": 3, "epoch": None}
    only_lost = make_stores(tmp_path / "lost", {0.5: lost})
    with pytest.raises(EstimateError, match=r"has no run to estimate from, all 3 committed runs diverged"):
        write_estimates(only_lost)


def test_options_are_keywords_in_one_order() -> None:
    """What a method is about may be positional: a split, an output, pairs, runs, test examples, a probe, a report."""
    for name, method in inspect.getmembers(StoreView, inspect.isfunction):
        if name.startswith("_"):
            continue
        _, *parameters = inspect.signature(method).parameters.values()
        positional = {parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY}
        assert positional <= {"split", "runs", "tests", "pairs", "example_id", "name", "output", "report"}, name
        options = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        first = [option for option in ("ratio", "epoch", "empty") if option in options]
        assert options[: len(first)] == first, name
