"""Influence in both directions and on training examples, beside slow references."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis import StoreView
from orchestrator.cli.app import app
from tests.synthetic import Labelled, Runs, make_store, random_runs
from workers.errors import EstimateError, TooManyPairsError

N, T, RUNS = 8, 5, 60


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoreView, Runs]:
    """Training example 2 harms test example 1, and 5 is a duplicate of 6: each of them alone makes both right."""
    random = np.random.default_rng(1)
    runs = random_runs(random, RUNS, N, T, ratio=0.4)
    runs.test[:, 1] = ~runs.subsets[:, 2]
    runs.train[:, 5] = runs.train[:, 6] = runs.subsets[:, 5] | runs.subsets[:, 6]
    labels = Labelled(label=[0, 1] * 4, given_label=[0, 1, 1, 1] * 2, test_label=[0, 1, 0, 1, 0])
    path = tmp_path_factory.mktemp("directions") / "s"
    return StoreView(make_store(path, runs.subsets, runs.train, runs.test, ratio=0.4, labels=labels)), runs


def influence(runs: Runs, right: np.ndarray, example: int) -> float:
    inside = runs.subsets[:, example]
    return float(right[inside].mean() - right[~inside].mean())


def test_harmful_pairs_are_those_of_most_negative_influence(measured: tuple[StoreView, Runs]) -> None:
    view, runs = measured
    top = view.influence(top=2, direction="harmful")
    for test in range(T):
        expected = sorted((influence(runs, runs.test[:, test], i), i) for i in range(N))[:2]
        rows = top[top["test_example_id"] == test]
        assert rows["rank"].tolist() == [1, 2]
        np.testing.assert_allclose(rows["infl"], [value for value, _ in expected])
        assert (rows["low"] <= rows["infl"]).all() and (rows["infl"] <= rows["high"]).all()
        np.testing.assert_allclose(rows["p_in"] - rows["p_out"], rows["infl"])
    whole = view.influence(threshold=-1.0).set_index(["test_example_id", "example_id"]).sort_index()
    harmful = view.influence(threshold=-1.0, direction="harmful").set_index(["test_example_id", "example_id"])
    np.testing.assert_allclose(harmful.sort_index().astype(float), whole.astype(float), atol=1e-12)
    both = view.influence(threshold=0.2, direction="both")
    assert len(both) == (whole["infl"] >= 0.2).sum() + (whole["infl"] <= -0.2).sum()


def test_discoveries_of_both_directions_are_one_list(measured: tuple[StoreView, Runs]) -> None:
    """Every pair is tested twice, so a p-value may be half as large as in a list of one direction."""
    view, _ = measured
    one, both = view.discoveries(direction="harmful"), view.discoveries(direction="both")
    pair = both[(both["test_example_id"] == 1) & (both["example_id"] == 2)]
    assert pair["infl"].tolist() == [-1.0]
    alone = one[(one["test_example_id"] == 1) & (one["example_id"] == 2)]
    assert pair["p_value"].item() == alone["p_value"].item()
    assert np.isclose(pair["q_value"].item(), 2 * alone["q_value"].item())
    assert set(one["example_id"]) <= set(both["example_id"])


def test_duplicates_are_found_on_training_examples(measured: tuple[StoreView, Runs]) -> None:
    view, runs = measured
    found = view.discoveries(affected="train", fdr=0.05)
    assert {(5, 6), (6, 5)} <= set(zip(found["affected_example_id"], found["example_id"], strict=True))
    assert (found["affected_example_id"] != found["example_id"]).all()
    top = view.influence(affected="train", top=N)
    assert top.groupby("affected_example_id").size().tolist() == [N - 1] * N
    for row in top.to_dict("records"):
        expected = influence(runs, runs.train[:, row["affected_example_id"]], row["example_id"])
        assert np.isclose(row["infl"], expected)
        assert row["affected_given_label"] == [0, 1, 1, 1][row["affected_example_id"] % 4]
    tested = view.discoveries(affected="train", fdr=0.99)
    smallest = tested.nsmallest(1, "p_value").iloc[0]
    ties = (tested["p_value"] <= smallest["p_value"]).sum()
    assert np.isclose(smallest["q_value"], smallest["p_value"] * N * (N - 1) / ties)


def test_the_command(measured: tuple[StoreView, Runs], tmp_path: Path) -> None:
    view, _ = measured
    runner = CliRunner()
    done = runner.invoke(app, ["influence", view.store.uri, "--fdr", "0.05", "--direction", "both"])
    assert done.exit_code == 0
    assert "-1.000" in done.stdout
    done = runner.invoke(app, ["influence", view.store.uri, "--on", "train", "--fdr", "0.05"])
    assert done.exit_code == 0
    assert "affected" in done.stdout
    for options in (["--matrix", str(tmp_path / "m")], ["--threshold", "0.1", "--same-class"]):
        done = runner.invoke(app, ["influence", view.store.uri, "--direction", "harmful", *options])
        assert done.exit_code == 2
    with pytest.raises(EstimateError, match="empty must be nan or half for harmful examples, got 'zero'"):
        view.influence(direction="harmful", empty="zero")
    with pytest.raises(EstimateError, match="direction must be one of helpful, harmful, both, got 'worse'"):
        view.influence(direction="worse")  # type: ignore[arg-type]


def test_pairs_with_itself_count_for_no_limit(measured: tuple[StoreView, Runs]) -> None:
    """They are neither listed nor counted, whichever selection and however many pairs are allowed."""
    view, _ = measured
    listed = view.influence(affected="train", threshold=0.3)
    assert len(view.influence(affected="train", threshold=0.3, max_pairs=len(listed))) == len(listed)
    found = view.discoveries(affected="train", fdr=0.05)
    assert len(view.discoveries(affected="train", fdr=0.05, max_pairs=len(found))) == len(found)
    with pytest.raises(TooManyPairsError):
        view.influence(affected="train", threshold=0.3, max_pairs=len(listed) - 1)


def test_examples_that_all_runs_predict_have_the_first_others(tmp_path: Path) -> None:
    """All influences of such an example are 0, so the smallest other ids are its top."""
    runs = random_runs(np.random.default_rng(2), 40, 4, 2, ratio=0.5)
    runs.train[:, 1] = True
    view = StoreView(make_store(tmp_path / "s", runs.subsets, runs.train, runs.test, ratio=0.5))
    top = view.influence(affected="train", top=2)
    assert top[top["affected_example_id"] == 1]["example_id"].tolist() == [0, 2]
