"""The pairs of two stores, over thresholds, against sets of pairs and runs that are really left out."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import EstimateError, PairOptions, PairSelection, compare_pairs, open_store
from tests.command import call
from tests.influence.test_pair_sides import LABELS, related_runs
from tests.slow_estimators import SlowRuns, slow_jackknife, slow_selection
from tests.synthetic import Labelled, Runs, commit, even_shards, examples, header, make_store
from workers.campaign.campaign import Campaign
from workers.store import Store

NAN = float("nan")
RUNS = {"a": related_runs(0), "b": related_runs(1, runs=30)}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pairs")
    made = [make_store(folder / name, r.subsets, r.train, r.test, labels=LABELS) for name, r in RUNS.items()]
    return made[0].uri, made[1].uri


Selected = tuple[SlowRuns, dict[tuple[int, int], float]]


def slow_agreement(a: Selected, b: Selected, without: Collection[int] = ()) -> tuple[float, float]:
    """Jaccard index and mean difference over the union, without some training examples."""
    held_out = [{i for i in range(18) if 0 < side.subsets[:, i].mean() < 1} for side, _ in (a, b)]
    valued = (held_out[0] & held_out[1]) - set(without)
    first, second = ({(z, i) for z, i in found if i in valued} for _, found in (a, b))
    union = first | second
    if not union:
        return NAN, NAN
    apart = [abs(a[0].infl(i, a[0].test[:, z]) - b[0].infl(i, b[0].test[:, z])) for z, i in union]
    return len(first & second) / len(union), sum(apart) / len(union)


@pytest.mark.slow
@pytest.mark.parametrize("same_class", [True, False])
def test_curves_of_pairs_and_their_errors_are_those_of_the_definitions(
    same_class: bool, stores: tuple[str, str]
) -> None:
    thresholds = (0.3, 0.15, 1.0)
    selection = PairSelection(min_mem=0.25, same_class=same_class)
    found = compare_pairs(*stores, thresholds=thresholds, selection=selection)
    groups = np.random.default_rng(0).permutation(18) % 20
    for row in found.curve.iloc[:2].to_dict("records"):
        t = row["threshold"]
        (a, *without_a), (b, *without_b) = (
            [(each, slow_selection(each, LABELS, t, 0.25, same_class)) for each in RUNS[name].versions()]
            for name in "ab"
        )
        whole = slow_agreement(a, b)
        apart = [slow_agreement(a, b, np.flatnonzero(groups == group).tolist()) for group in range(20)]
        of_a, of_b = [slow_agreement(each, b) for each in without_a], [slow_agreement(a, each) for each in without_b]
        for number, measure in enumerate(("jaccard", "difference")):
            parts = [slow_jackknife([each[number] for each in some]) for some in (apart, of_a, of_b)]
            assert row[measure] == pytest.approx(whole[number])
            assert row[f"{measure}_se"] == pytest.approx(np.sqrt(sum(part**2 for part in parts)))
            assert row[f"{measure}_low"] < row[measure] < row[f"{measure}_high"]
        assert row["over"] == "examples and runs" and 0 < row["jaccard"] < 1
    assert found.left_out == 1
    last = found.curve.iloc[2]
    assert last["n_a"] == last["n_b"] == 0 and np.isnan(last["jaccard"]) and np.isnan(last["difference_low"])
    few = compare_pairs(*stores, thresholds=thresholds, selection=selection, options=PairOptions(memory_mb=1e-6))
    pd.testing.assert_frame_equal(few.curve, found.curve)


def store_of_other_data(path: Path, runs: SlowRuns, labels: Labelled) -> Store:
    """With another fingerprint."""
    synthetic = Runs(runs.subsets, runs.train, runs.test)
    made = header({0.7: synthetic}, runs.subsets.shape[1], runs.test.shape[1], 8)
    campaign, prints = made.campaign, "6" * 64
    assert isinstance(campaign, Campaign)
    made = made.model_copy(update={"fingerprint": prints, "identity": campaign.identity(prints)})
    store = Store.create(path, made, examples(labels, runs.subsets.shape[1], runs.test.shape[1]))
    commit(store, 0.7, synthetic, even_shards(len(runs.subsets), 8))
    return store


def test_pairs_whatever_their_memorization(stores: tuple[str, str]) -> None:
    """As many as each store has by itself."""
    curve = compare_pairs(*stores, thresholds=(0.1, 0.2), selection=PairSelection(min_mem=None)).curve
    for uri, column in zip(stores, ("n_a", "n_b"), strict=True):
        for threshold, number in zip(curve["threshold"], curve[column], strict=True):
            assert number == len(open_store(uri).influential_pairs(min_infl=threshold, min_mem=None))


def test_pairs_of_the_shared_examples_alone(stores: tuple[str, str], tmp_path: Path) -> None:
    """A store of the first 15 training and 9 test examples is compared on these."""
    label, given, test = LABELS.filled(18, 12)
    cut = Labelled(label[:15], given[:15], test[:9])
    ours, theirs = (
        SlowRuns(each.subsets[:, :15], each.train[:, :15], each.test[:, :9]) for each in (RUNS["a"], RUNS["b"])
    )
    found = compare_pairs(stores[0], store_of_other_data(tmp_path / "c", theirs, cut).uri)
    assert found.matched.startswith("training: on the 15 examples") and "; test: on the 9 examples" in found.matched
    same = [
        make_store(tmp_path / name, each.subsets, each.train, each.test, labels=cut).uri
        for name, each in (("d", ours), ("e", theirs))
    ]
    pd.testing.assert_frame_equal(found.curve, compare_pairs(*same).curve)


def test_the_command_compares_pairs(stores: tuple[str, str], tmp_path: Path) -> None:
    table, picture = tmp_path / "c.csv", tmp_path / "c.png"
    options = ("--pairs", "--threshold", 0.15, "--threshold", 0.3, "--min-mem", 0.25)
    code, output, errors = call("compare", *stores, *options, "-o", table, "--plot", picture)
    assert code == 0, errors
    curve = compare_pairs(*stores, thresholds=(0.15, 0.3)).curve
    pd.testing.assert_frame_equal(pd.read_csv(table), curve)
    row = curve.iloc[0]
    (shown,) = (line.split() for line in output.splitlines() if line.startswith(">= 0.15"))
    assert shown[2:6] == [str(row["n_a"]), str(row["n_b"]), str(row["n_both"]), f"{row['jaccard']:.3f}"]
    assert "pairs by influence; 1 training example without a value left out" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    for words, message in (
        (("--pairs", "-o", picture), "--output: must end with .parquet or .csv"),
        (("--pairs", "--estimate", "cscore"), "--estimate is not for --pairs"),
        (("--min-mem", 0.5), "--min-mem and --all-classes need --pairs"),
        (("--pairs", "--threshold", "nan"), "thresholds must be finite numbers"),
    ):
        code, _, errors = call("compare", *stores, *words)
        assert (code, message in errors) == (2, True), errors


def test_score_files_have_no_pairs(stores: tuple[str, str]) -> None:
    with pytest.raises(EstimateError, match=r"c.npz: has no pairs: both sides must be stores"):
        compare_pairs(stores[0], "c.npz")
