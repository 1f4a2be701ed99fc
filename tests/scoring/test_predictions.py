"""Predictions of held-out models: counts against a slow reference, suggested labels, and cleanlab's form."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis import open_store
from orchestrator.cli.app import app
from tests.synthetic import Labelled, make_store, random_runs
from workers.errors import DamagedFileError, EstimateError, NoEstimateError
from workers.store import Store

N, T, CLASSES, RUNS = 12, 3, 4, 30
WRONG = 5
"""An example whose given label is not what models say."""


def predicting(path: Path, *, num_runs: int = RUNS, seed: int = 0) -> tuple[Store, np.ndarray, np.ndarray]:
    """(store, subsets, predictions) of models that mostly predict each example's own label; one run diverged."""
    random = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    given = labels.copy()
    given[WRONG] = (labels[WRONG] + 1) % CLASSES
    runs = random_runs(random, num_runs, N, T, ratio=0.5)
    predicted = np.where(random.random((num_runs, N)) < 0.8, labels, random.integers(0, CLASSES, (num_runs, N)))
    predicted[2, :3] = -1
    outputs = {"train_prediction": predicted.astype(np.int16), "test_prediction": np.zeros((num_runs, T), np.int16)}
    store = make_store(
        path,
        runs.subsets,
        predicted == given,
        runs.test,
        ratio=0.5,
        labels=Labelled(labels.tolist(), given.tolist()),
        outputs=outputs,
        diverged=[1],
    )
    return store, runs.subsets, predicted


def test_counts_are_those_of_a_slow_reference(tmp_path: Path) -> None:
    store, subsets, predicted = predicting(tmp_path / "s")
    frame = open_store(store.uri).suspects().set_index("example_id")
    probabilities = open_store(store.uri).pred_probs(ratio=0.5)
    for i in range(N):
        seen = [int(predicted[k, i]) for k in range(RUNS) if k != 1 and not subsets[k, i]]
        counts = [sum(each == c for each in seen) for c in range(CLASSES)]
        assert frame.loc[i, "predicted_label"] == counts.index(max(counts))
        assert frame.loc[i, "predicted_runs"] == len(seen)
        assert frame.loc[i, "predicted_share"] == max(counts) / len(seen)
        assert probabilities[i].tolist() == [count / sum(counts) for count in counts]


def test_cleanlab_takes_them_and_finds_the_wrong_label(tmp_path: Path) -> None:
    filters = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
    store, _, _ = predicting(tmp_path / "s")
    view = open_store(store.uri)
    given = view.examples("train")["given_label"].to_numpy()
    found = filters.find_label_issues(given, view.pred_probs(), return_indices_ranked_by="self_confidence", n_jobs=1)
    assert found[0] == WRONG
    assert view.suspects()["example_id"][0] == WRONG


def test_the_command_suggests_a_label(tmp_path: Path) -> None:
    store, _, _ = predicting(tmp_path / "s")
    done = CliRunner().invoke(app, ["suspects", store.uri, "--top", "1", "-o", str(tmp_path / "t.csv")])
    assert done.exit_code == 0
    share = open_store(store.uri).suspects()["predicted_share"][0]
    assert f"{WRONG % CLASSES} ({share:.0%})" in done.stdout
    assert "held-out prediction" in " ".join(done.stdout.split())


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    store, subsets, _ = predicting(tmp_path / "few", num_runs=3)
    never = int(np.argmax(subsets[[0, 2]].all(axis=0)))
    assert subsets[[0, 2], never].all()
    with pytest.raises(NoEstimateError, match=r"has no held-out prediction of \d+ of 12 training examples"):
        open_store(store.uri).pred_probs()
    frame = open_store(store.uri).suspects().set_index("example_id")
    assert frame.loc[[i for i in frame.index if i == never], "predicted_label"].tolist() in ([], [-1])
    runs = random_runs(np.random.default_rng(0), 4, N, T)
    without = make_store(tmp_path / "without", runs.subsets, runs.train, runs.test)
    assert "predicted_label" not in open_store(without.uri).suspects()
    with pytest.raises(EstimateError, match=r"has no 'prediction' of train examples: record.outputs must include it"):
        open_store(without.uri).pred_probs()


def test_a_class_that_there_is_not_is_damage(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(0), 4, N, T)
    outputs = {"train_prediction": np.full((4, N), 7, np.int16), "test_prediction": np.zeros((4, T), np.int16)}
    store = make_store(tmp_path / "s", runs.subsets, runs.train, runs.test, outputs=outputs)
    with pytest.raises(DamagedFileError, match=r"has a predicted class outside 0..1"):
        open_store(store.uri).pred_probs()
