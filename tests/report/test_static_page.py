"""What a report says first, and that its titles hold: verdict, findings, classes, both sides of influence."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report import Findings, find
from analysis.report.selections import memorized_by_class, regular_by_class
from orchestrator.report import write_report
from orchestrator.report.campaign_text import final_runs
from orchestrator.report.classes import class_rows, confusion_matrix
from orchestrator.report.explorer_scores import train_scores
from orchestrator.report.first_findings import first_findings
from orchestrator.report.galleries import Galleries
from orchestrator.report.section_text import influence_text
from orchestrator.report.verdict import verdict
from tests.report.test_report import Page
from tests.synthetic import Labelled, Runs, make_stores, random_runs
from workers.store import Store

MEMORIZED = range(5)
"""Right where the run trained on them, and nowhere else."""
HELPED, HARMED = 0, 1
"""Test examples: right where example 0 is in the subset; right where example 5 is not."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """64 runs at ratio 0.5 of 40 training examples in 3 classes, with predictions and losses."""
    random = np.random.default_rng(3)
    subsets = random.random((64, 40)) < 0.5
    train = np.ones_like(subsets)
    train[:, MEMORIZED] = subsets[:, MEMORIZED]
    test = np.ones((64, 6), dtype=bool)
    test[:, HELPED], test[:, HARMED] = subsets[:, 0], ~subsets[:, 5]
    label, test_label = np.arange(40) % 3, np.arange(6) % 3
    loss = np.where(train, 0.1, 2.0) + random.random(train.shape) / 20
    outputs = {
        "train_cross_entropy": loss.astype(np.float16),
        "test_cross_entropy": np.where(test, 0.1, 2.0).astype(np.float16),
        "train_prediction": np.where(train, label, (label + 1) % 3).astype(np.int16),
        "test_prediction": np.where(test, test_label, (test_label + 1) % 3).astype(np.int16),
    }
    labels = Labelled(label.tolist(), label.tolist(), test_label.tolist())
    return make_stores(
        tmp_path_factory.mktemp("page") / "s", {0.5: Runs(subsets, train, test, outputs=outputs)}, labels
    )


@pytest.fixture(scope="module")
def findings(store: Store) -> Findings:
    """Of that store."""
    return find(store)


def test_the_page_names_examples_before_anything_else(store: Store, tmp_path: Path) -> None:
    page = Page(write_report(store, tmp_path / "r.html").path)
    assert page.words.index("Models fit 100% of their subsets: memorization is meaningful.") < page.words.index("no. 0")
    assert page.words.index("no. 0 labelled 0") < page.words.index("Model, recipe, runs and precision")
    filters = [address for address in page.addresses if "=" in address and not address.startswith("data:")]
    assert all(re.fullmatch(r"#label=\d(&predicted=\d)?", address) for address in filters)
    assert "#label=0&predicted=1" in filters


def test_verdict_counts_what_intervals_support(findings: Findings) -> None:
    runs = final_runs(findings.store)
    told = verdict(findings, runs)
    assert told.readable
    assert dict(told.numbers) == {
        "runs at ratio 0.5": "64",
        "training examples": "40",
        "memorized: the whole interval above 0.25 (5 by value)": "5 of 40",
        "irregular: the whole interval of the C-score under 0.5 (5 by value)": "5 of 40",
    }
    assert told.cautions == ()


def test_verdict_of_unfitted_few_and_diverged_runs(tmp_path: Path) -> None:
    """Noise is neither announced nor listed: of 20 runs that are right at random many intervals lie above 0."""
    runs = random_runs(np.random.default_rng(0), 20, 200, 4, 0.5)
    noise = find(make_stores(tmp_path / "s", {0.5: replace(runs, diverged=(3,))}))
    told = verdict(noise, final_runs(noise.store))
    assert not told.readable
    assert re.fullmatch(r"Models fit 6\d\.\d+% of their subsets: they are not fitted. Do not read .*", told.sentence)
    assert len(told.numbers) == 2
    wide, diverged = told.cautions
    assert wide.startswith("Intervals are wide") and "19 runs at ratio 0.5" in wide
    assert diverged == "1 of 20 runs diverged (5.0%) and are left out."
    memorized, _, influences = first_findings(noise, told, None)
    assert memorized.tiles == () and "do not fit" in memorized.sentence
    assert influences.pairs == () and "may be chance" in influences.sentence
    (some, *_) = Galleries(noise, None).influence()
    assert {tile.caution for tile in (*some.helpful, *some.harmful)} == {"not significant"}


def test_first_findings(findings: Findings) -> None:
    memorized, suspects, influences = first_findings(findings, verdict(findings, final_runs(findings.store)), None)
    assert sorted(tile.example for tile in memorized.tiles) == [*MEMORIZED]
    assert {tile.example for tile in suspects.tiles[:5]} == {*MEMORIZED}
    shown = next(tile for tile in suspects.tiles if tile.example == 4)
    assert [(label.before, label.name, label.after) for label in shown.labels] == [
        ("labelled", "1", ""),
        ("models:", "2", " (100%)"),
    ]
    assert [(test.example, helper.example) for test, helper in influences.pairs] == [(HELPED, 0)]


def test_both_sides_of_influence(findings: Findings) -> None:
    assert findings.influence is not None and findings.influence.harmful is not None
    (sides,) = Galleries(findings, None).influence()
    assert (sides.test.example, [tile.example for tile in sides.helpful], sides.harmful) == (HELPED, [0], ())
    assert findings.influence.harmful[["test_example_id", "example_id"]].to_numpy().tolist() == [[HARMED, 5]]
    assert "1 helpful and 1 harmful ones are discoveries" in influence_text(findings)


def test_classes_and_their_confusions(findings: Findings) -> None:
    rows = class_rows(findings)
    assert [(row["name"], row["examples"], row["memorized"]) for row in rows] == [
        ("0", "14", "2"),
        ("1", "13", "2"),
        ("2", "13", "1"),
    ]
    matrix = confusion_matrix(findings)
    assert matrix is not None and findings.predictions is not None
    wrong = [[cell.examples for cell in row] for row in matrix.rows]
    assert wrong == [[12, 2, 0], [0, 11, 2], [1, 0, 12]]
    assert sum(cell.predictions for row in matrix.rows for cell in row) == findings.predictions.runs.sum()
    assert all(sum(cell.share for cell in row) == pytest.approx(1) for row in matrix.rows)


def test_vulnerability_stands_beside_memorization(findings: Findings) -> None:
    assert findings.vulnerability is not None
    assert {tile.example for tile in Galleries(findings, None).vulnerable()[:5]} == {*MEMORIZED}
    assert findings.vulnerability.spearman > 0
    np.testing.assert_array_equal(
        train_scores(findings)["vulnerability"].values, findings.vulnerability.examples["vulnerability"]
    )


def test_strips_hold_what_their_titles_say() -> None:
    """No example in two strips, none at the top whose interval includes 0, no empty strip."""
    random = np.random.default_rng(1)
    mem = random.uniform(-0.3, 1, 60).round(2)
    columns = {"example_id": np.arange(60), "given_label": [0] * 52 + [1] * 6 + [2] * 2}
    frame = pd.DataFrame({**columns, "mem": mem, "low": mem - 0.2, "high": mem + 0.2})
    for strips in memorized_by_class(frame, 6):
        ids = [example for strip in strips.strips for example in strip.rows["example_id"]]
        assert len(ids) == len(set(ids)) and all(len(strip.rows) for strip in strips.strips)
        for strip in strips.strips:
            assert (strip.rows["low"] <= 0).all() if "includes 0" in strip.title else (strip.rows["low"] > 0).all()
    scores = frame.assign(cscore=mem.clip(0))
    assert [[len(strip.rows) for strip in strips.strips] for strips in regular_by_class(scores, 6)] == [
        [6, 6],
        [3, 3],
        [1, 1],
    ]
