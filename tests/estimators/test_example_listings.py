"""`longtail memorization` and `longtail cscore`: what they list is what the view estimates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import StoreView, open_store
from tests.command import call
from tests.synthetic import Labelled, Runs, make_stores
from workers.campaign.campaign import Subsets

NEVER, ALWAYS = 4, 7
"""The example that is in no subset, and the one that is in all."""


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> StoreView:
    """12 of 20 requested runs at 0.5, one of them diverged, and 8 runs at 0.25 and at 1, of 12 examples; two epochs."""
    random = np.random.default_rng(3)
    runs = {}
    for ratio, count in ((0.25, 8), (0.5, 12), (1, 8)):
        subsets = random.random((count, 12)) < ratio
        subsets[:, NEVER], subsets[:, ALWAYS] = ratio == 1, True
        train, earlier = subsets | (random.random((count, 12)) < 0.5), random.random((count, 12)) < 0.5
        test = np.zeros((count, 2), dtype=bool)
        runs[ratio] = Runs(subsets, train, test, diverged=[3] if ratio == 0.5 else [], earlier=[(earlier, test)])
    labels = Labelled([0] * 12, [1, *[0] * 11], [0] * 2)
    store = make_stores(tmp_path_factory.mktemp("listings") / "s", runs, labels)
    store.add_target(Subsets(ratios=(0.5,), repetitions=20))
    return open_store(store.uri)


def ranked(frame: pd.DataFrame, value: str, *, highest: bool) -> pd.DataFrame:
    """Those with a value in the order of a listing."""
    keys = [value, "low" if highest else "high", "example_id"]
    return frame.dropna().sort_values(keys, ascending=[not highest, not highest, True])


def ids(output: str) -> list[int]:
    """The examples of a table, in its order."""
    rows = (line.split() for line in output.splitlines())
    return [int(row[0]) for row in rows if row and row[0].isdigit()]


@pytest.mark.parametrize("order", ["highest", "lowest"])
def test_memorization_is_listed_in_order(view: StoreView, order: str, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    words = ("--ratio", 0.5, "--top", 4, "--order", order, "-o", path, "--confidence", 0.9)
    code, output, error = call("memorization", view.store.uri, *words)
    assert code == 0, error
    expected = pd.DataFrame(view.memorization(ratio=0.5, empty="nan", confidence=0.9))
    pd.testing.assert_frame_equal(pd.read_csv(path), expected)
    listed = ranked(expected, "mem", highest=order == "highest")
    assert ids(output) == listed["example_id"].tolist()[:4]
    first = listed.to_dict("records")[0]
    row = next(line.split() for line in output.splitlines() if line.split()[0] == str(first["example_id"]))
    value, interval = f"{first['mem']:.3f} ± {first['se']:.3f}", f"{first['low']:.3f} to {first['high']:.3f}"
    assert " ".join(row).endswith(f" {value} {interval} {first['n_in']} {first['n_out']}")
    assert "90% interval" in output
    told = "memorization of 10 examples from 11 of 20 runs at ratio 0.5, 1 diverged left out"
    assert f"{told}; the 4 {order} are shown; without a value: 2, in every subset of these runs or in none" in output


def test_examples_without_runs_on_a_side_are_listed_on_demand(view: StoreView) -> None:
    assert not {NEVER, ALWAYS} & set(ids(call("memorization", view.store.uri)[1]))
    assert {NEVER, ALWAYS} <= set(ids(call("memorization", view.store.uri, "--empty", "half")[1]))


def test_memorization_of_each_ratio_and_of_an_epoch(view: StoreView, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    code, output, error = call("memorization", view.store.uri, "--epoch", 1, "-o", path)
    assert code == 0, error
    frame = pd.read_parquet(path)
    assert sorted(frame["ratio"].unique()) == [0.25, 0.5]  # none at 1, where nothing is held out
    for ratio in (0.25, 0.5):
        expected = pd.DataFrame(view.memorization(ratio=ratio, epoch=1, empty="nan"))
        pd.testing.assert_frame_equal(frame[frame["ratio"] == ratio].reset_index(drop=True), expected)
    assert "from 8 runs at ratio 0.25;" in output
    assert "1 (is 0)" in output


def test_cscore_is_listed_over_all_ratios_and_at_one(view: StoreView, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    code, output, error = call("cscore", view.store.uri, "-o", path)
    assert code == 0, error
    expected = pd.DataFrame(view.cscore())
    pd.testing.assert_frame_equal(pd.read_csv(path), expected)
    assert ids(output) == ranked(expected, "cscore", highest=False)["example_id"].tolist()
    assert "C-score of 11 examples from 19 of 28 runs at 2 ratios, 1 diverged left out; without a value: 1" in output
    code, output, _ = call("cscore", view.store.uri, "--ratio", 0.25, "--order", "highest", "--top", 3)
    profile = view.consistency()
    at = ranked(profile[profile["ratio"] == 0.25], "consistency", highest=True)
    assert ids(output) == at["example_id"].tolist()[:3]
    assert "from 8 runs at ratio 0.25; the 3 highest are shown" in output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("memorization", "--ratio", 1), "at ratio 1 no example is held out"),
        (("cscore", "--ratio", 1), "at ratio 1 no example is held out"),
        (("cscore", "--ratio", 0.3), "ratio must be one of 0.25, 0.5, 1.0, got 0.3"),
        (("memorization", "--epoch", 9), "epoch must be one of 1, 2"),
        (("memorization", "--confidence", 1), "--confidence must be between 0 and 1"),
        (("memorization", "-o", "all.txt"), "--output: must end with .parquet or .csv"),
    ],
)
def test_mistakes_are_told(view: StoreView, words: tuple[str, ...], told: str) -> None:
    code, output, error = call(words[0], view.store.uri, *words[1:])
    assert (code, output) == (2, "")
    assert told in " ".join(error.replace("│", " ").split())
