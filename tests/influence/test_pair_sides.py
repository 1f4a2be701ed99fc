"""How unique selected pairs are, with errors over runs, and their training side as a table of scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import EstimateError, PairSelection, open_store, pairs_per_test
from tests.command import call
from tests.slow_estimators import SlowRuns, slow_jackknife, slow_selection
from tests.synthetic import Labelled, make_store
from workers.campaign.drop_rules import AtLeast
from workers.campaign.score_column import ScoreColumn
from workers.datasets.score_table import read_scores
from workers.store import Store
from workers.subsets.explicit import threshold_ratio_ppm

LABELS = Labelled([0, 1, 2] * 6, [0, 1, 2, 1] + [2, 0] + [0, 1, 2] * 4, [0, 1, 2, 2] * 3)


def related_runs(seed: int, runs: int = 45, num_train: int = 18, num_test: int = 12) -> SlowRuns:
    """Training example i is right where it was there, or by chance; test example z depends on example z, and z + 3."""
    random = np.random.default_rng(seed)
    subsets = random.random((runs, num_train)) < 0.6
    subsets[:, 5] = True  # never held out
    train = subsets | (random.random((runs, num_train)) < np.linspace(0.2, 1, num_train))
    test = (subsets[:, :num_test] & subsets[:, 3 : num_test + 3]) | (random.random((runs, num_test)) < 0.3)
    return SlowRuns(subsets, train, test)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SlowRuns]:
    runs = related_runs(0)
    path = tmp_path_factory.mktemp("sides") / "s"
    return make_store(path, runs.subsets, runs.train, runs.test, labels=LABELS), runs


def quantities(pairs: dict[tuple[int, int], float]) -> list[float]:
    tests = [z for z, _ in pairs]
    numbers = [tests.count(z) for z in set(tests)]
    unique = numbers.count(1)
    share = unique / len(numbers) if numbers else float("nan")
    return [len(pairs), len(numbers), unique, len({i for _, i in pairs}), share]


@pytest.mark.parametrize("same_class", [True, False])
def test_uniqueness_and_its_errors_are_those_of_the_definitions(same_class: bool, made: tuple[Store, SlowRuns]) -> None:
    store, runs = made
    found = open_store(store.uri).pair_uniqueness(selection=PairSelection(0.15, 0.25, same_class)).set_index("quantity")
    values = [quantities(slow_selection(each, LABELS, 0.15, 0.25, same_class)) for each in runs.versions()]
    assert found["value"].tolist() == pytest.approx(values[0]) and values[0][2] > 1
    assert found["se"].tolist() == pytest.approx([slow_jackknife(column[1:]) for column in zip(*values, strict=True)])
    known = found.dropna(subset="low")
    assert len(known) >= 4 and (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()
    assert found["high"].iloc[-1] <= 1


def test_without_a_pair_there_is_no_share(made: tuple[Store, SlowRuns]) -> None:
    found = open_store(made[0].uri).pair_uniqueness(selection=PairSelection(min_infl=1.0, min_mem=1.0))
    assert found["value"].tolist()[:4] == [0, 0, 0, 0] and np.isnan(found["value"].iloc[4])
    assert found["low"].isna().all()


def test_the_training_side_is_a_table_of_scores(made: tuple[Store, SlowRuns], tmp_path: Path) -> None:
    """What the command writes, a campaign reads: at least 1 is every example in a pair."""
    store, runs = made
    options = ("--threshold", 0.15, "--min-mem", 0.25, "--same-class")
    files = ("-o", tmp_path / "pairs.csv", "--training-side", tmp_path / "side.parquet")
    code, output, errors = call("influence", store.uri, *options, *files)
    assert code == 0, errors
    pairs = slow_selection(runs, LABELS, 0.15, 0.25, True)
    written = pd.read_csv(tmp_path / "pairs.csv")
    assert {(row.test_example_id, row.example_id): row.infl for row in written.itertuples()} == pytest.approx(pairs)
    assert (written["mem"] >= 0.25).all()
    side = pd.read_parquet(tmp_path / "side.parquet")
    of = [[infl for (_, i), infl in pairs.items() if i == example] for example in range(18)]
    assert side["example_id"].tolist() == list(range(18)) and side["pairs"].tolist() == [len(each) for each in of]
    assert side["infl_sum"].tolist() == pytest.approx([sum(each) for each in of])
    assert side["infl_max"].tolist() == pytest.approx([max(each, default=0) for each in of])
    scores = read_scores(ScoreColumn(file=str(tmp_path / "side.parquet"), column="pairs"), 18)
    in_pairs = len({i for _, i in pairs})
    assert threshold_ratio_ppm(AtLeast(at_least=1), scores) == round((1 - in_pairs / 18) * 1e6) > 0
    value = open_store(store.uri).pair_uniqueness().set_index("quantity")
    unique, se = value.loc["unique_test_examples", ["value", "se"]]
    assert f"{unique:.0f} ± {se:.1f} of them in one pair only (" in output and "± standard errors over runs" in output


def test_pairs_of_a_threshold_and_of_a_class_alone(made: tuple[Store, SlowRuns], tmp_path: Path) -> None:
    store, runs = made
    code, output, _ = call("influence", store.uri, "--threshold", 0.2, "--same-class", "-o", tmp_path / "p.parquet")
    pairs = slow_selection(runs, LABELS, 0.2, -2, True)
    # Of example 5 there is no mem, which matters no more than that of others.
    found = pd.read_parquet(tmp_path / "p.parquet")
    assert code == 0 and {*zip(found["test_example_id"], found["example_id"], strict=True)} == set(pairs)
    numbers = pairs_per_test(found)
    assert numbers["training_examples"].sum() == len(pairs)
    unique = (numbers["training_examples"] == 1).sum()
    assert f"{len(numbers)} test examples, {unique} of them in one pair only; " in output


def test_frames_of_pairs_are_checked(made: tuple[Store, SlowRuns]) -> None:
    view = open_store(made[0].uri)
    with pytest.raises(EstimateError, match="pairs: must have the columns .* got none called infl"):
        view.training_side(pd.DataFrame({"test_example_id": [0], "example_id": [1]}))
    twice = view.influential_pairs()
    with pytest.raises(EstimateError, match=r"pairs: must be of one ratio, got pairs at 0.3, 0.7"):
        pairs_per_test(pd.concat([twice, twice.assign(ratio=0.3)]))
    nothing = view.training_side(twice.iloc[:0])
    assert len(nothing) == 18 and not nothing[["pairs", "infl_sum", "infl_max"]].to_numpy().any()
