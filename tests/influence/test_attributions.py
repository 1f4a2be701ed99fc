"""The exam of attributions: planted models, a slow reference, dattri's form, and files that are refused."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis import AttributionExam, by_subset, score_attributions
from analysis.influence.attributions.attribution_files import read_attributions
from analysis.influence.attributions.exam import mean_ceiling
from analysis.influence.attributions.fitted_attributions import fit_attribution, hold_out
from analysis.reading.examples import Labels
from analysis.reading.outputs import RatioOutputs
from tests.command import call
from tests.synthetic import make_store
from workers.common.arrays import Floats
from workers.errors import DataError, EstimateError, NoEstimateError

TRAIN, TESTS = 30, 8


def planted(subsets: int, seeds: int, noise: float, seed: int = 0) -> tuple[RatioOutputs, Floats]:
    """Runs whose outputs are linear in the subset but for the noise of training, and the weights float64[N, T]."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(TRAIN, TESTS))
    masks = np.argsort(random.random((subsets, TRAIN)), axis=1) < TRAIN // 2
    masks = np.repeat(masks, seeds, axis=0)
    outputs = masks @ weights
    outputs += noise * outputs.std(axis=0) * random.normal(size=outputs.shape)
    ids = np.arange(TRAIN)
    source = RatioOutputs(
        ratio_ppm=500_000,
        output="margin",
        epoch=1,
        diverged=0,
        not_finite=0,
        saturated=0,
        labels=Labels(ids % 3, ids % 2, np.arange(TESTS) % 3),
        tests=np.arange(TESTS),
        subsets=masks,
        outputs=outputs.astype(np.float32),
        groups=np.repeat(np.arange(subsets), seeds),
    )
    return source, weights


def by_name(exam: AttributionExam) -> dict[str, Any]:
    """The rows of `scores` by attribution."""
    return {row["attribution"]: row for row in exam.scores.to_dict("records")}


def test_the_true_attribution_reaches_the_ceiling_and_others_their_share() -> None:
    """Pearson's ceiling of m seeds is sqrt(m r / (1 + (m - 1) r)) with r = 1 / (1 + noise^2); ranks lose a little."""
    for seeds, noise in ((2, 1.0), (4, 0.5), (3, 2.0)):
        source, weights = planted(600, seeds, noise)
        random = np.random.default_rng(1)
        exam = score_attributions(
            by_subset(source), {"true": weights, "none": random.normal(size=weights.shape), "negated": -weights}
        )
        single = 1 / (1 + noise**2)
        assert exam.ceiling == pytest.approx(np.sqrt(seeds * single / (1 + (seeds - 1) * single)), abs=0.03)
        rows = by_name(exam)
        assert abs(rows["true"]["share"] - 1) < 4 * rows["true"]["share_se"] + 0.01
        assert abs(rows["none"]["lds"]) < 0.5
        assert rows["negated"]["lds"] == pytest.approx(-rows["true"]["lds"])
        assert rows["true"]["effect"] > 4 * rows["true"]["effect_se"]


def test_scores_are_those_of_a_slow_reference() -> None:
    source, weights = planted(40, 2, 1.0, seed=3)
    noisy = weights + np.random.default_rng(4).normal(size=weights.shape)
    exam = score_attributions(by_subset(source), {"noisy": noisy}, top=3)
    lds, ceilings, effects = [], [], []
    for test in range(TESTS):
        predicted, first, second, held = [], [], [], []
        helpful = sorted(range(TRAIN), key=lambda i: -noisy[i, test])[:3]
        for group in range(40):
            rows = np.flatnonzero(source.groups == group)
            subset = source.subsets[rows[0]]
            predicted.append(sum(noisy[i, test] for i in range(TRAIN) if subset[i]))
            held.append(sum(bool(subset[i]) for i in helpful))
            first.append(source.outputs[rows[0], test])
            second.append(source.outputs[rows[1], test])
        means = (np.array(first, dtype=float) + np.array(second, dtype=float)) / 2
        lds.append(spearmanr(predicted, means).statistic)
        reliability = max(0, spearmanr(first, second).statistic)
        ceilings.append(np.sqrt(2 * reliability / (1 + reliability)))
        more = np.array(held) > np.mean(held)
        fewer = np.array(held) < np.mean(held)
        effects.append(means[more].mean() - means[fewer].mean())
    np.testing.assert_allclose(exam.examples["lds"], lds)
    np.testing.assert_allclose(exam.examples["effect"], effects)
    row = exam.scores.iloc[0]
    expected = np.mean(ceilings), np.mean(lds), np.mean(effects)
    assert (exam.ceiling, row["lds"], row["effect"]) == pytest.approx(expected)
    assert row["share"] == pytest.approx(np.mean(lds) / np.mean(ceilings))


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_campaigns() -> None:
    exams = []
    for seed in range(60):
        source, weights = planted(60, 2, 1.0, seed)
        noisy = weights + np.random.default_rng(seed + 1000).normal(size=weights.shape)
        exams.append(score_attributions(by_subset(source), {"noisy": noisy}))
    # Weights differ from campaign to campaign, so the spread is at least the error over subsets.
    for column in ("lds", "share", "effect"):
        values = np.array([exam.scores[column][0] for exam in exams])
        errors = np.array([exam.scores[f"{column}_se"][0] for exam in exams])
        assert 0.5 < np.sqrt((errors**2).mean()) / values.std(ddof=1) < 1.5, column
    ceilings = np.array([exam.ceiling for exam in exams])
    assert 0.6 < np.sqrt(np.mean([exam.ceiling_se**2 for exam in exams])) / ceilings.std(ddof=1) < 1.6


def test_own_attributions_are_fitted_to_other_runs() -> None:
    source, _ = planted(400, 1, 0.2)
    fitting, scored = hold_out(source, 0.25, seed=5)
    assert (fitting.runs, scored.runs) == (300, 100)
    assert not set(fitting.groups) & set(scored.groups)
    own: Any = ("influence", "ridge", "lasso")
    exam = score_attributions(by_subset(scored), {name: fit_attribution(fitting, name) for name in own})
    rows = by_name(exam)
    assert rows["ridge"]["lds"] > 0.9
    assert rows["lasso"]["lds"] > 0.9
    assert rows["influence"]["lds"] > 0.7
    assert np.isnan(exam.ceiling)
    assert all(np.isnan(row["share"]) for row in rows.values())


def test_subsets_that_lack_a_run_are_left_out() -> None:
    source, weights = planted(20, 3, 1.0)
    kept = np.ones(60, dtype=bool)
    kept[[4, 5, 30]] = False
    truth = by_subset(source.of_rows(kept))
    assert (len(truth.subsets), truth.seeds, truth.incomplete) == (18, 3, 2)
    with pytest.raises(NoEstimateError, match="at least 10 subsets whose runs are all there, got 9"):
        by_subset(source.of_rows(source.groups < 9))
    with pytest.raises(EstimateError, match="must have the shape"):
        score_attributions(truth, {"other": weights.T})
    with pytest.raises(EstimateError, match="top must be from 1 to 30, got 31"):
        score_attributions(truth, {"x": weights}, top=31)


def test_constant_outputs_have_no_score() -> None:
    assert np.isnan(mean_ceiling(np.zeros((20, 1, 3))))
    assert np.isnan(mean_ceiling(np.ones((20, 2, 3)))) or mean_ceiling(np.ones((20, 2, 3))) == 0


def test_both_forms_of_a_file_are_read_alike(tmp_path: Path) -> None:
    tests = np.array([2, 5, 7])
    scores = np.random.default_rng(0).normal(size=(6, 3))
    np.save(tmp_path / "scores.npy", scores)
    pairs = [(i, int(test), scores[i, t]) for i in range(6) for t, test in enumerate(tests)] + [(0, 6, 9.0)]
    columns = ["example_id", "test_example_id", "score"]
    pd.DataFrame(pairs, columns=columns).sample(frac=1, random_state=0).to_parquet(tmp_path / "scores.parquet")
    for name in ("scores.npy", "scores.parquet"):
        np.testing.assert_array_equal(read_attributions(tmp_path / name, 6, 9, tests), scores)


def save_huge_header(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (6, 3)})
        file.write(b"\0" * 8)


BAD: dict[str, tuple[Any, str]] = {
    "transposed.npy": (lambda path: np.save(path, np.zeros((3, 6))), "transpose it"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]], dtype=object), allow_pickle=True), "real numbers"),
    "nan.npy": (lambda path: np.save(path, np.full((6, 3), np.nan)), "finite scores only, got 18 others"),
    "short.npy": (save_huge_header, "short.npy"),
    "text.npy": (lambda path: path.write_text("x"), "text.npy"),
    "missing.npy": (lambda path: None, "missing.npy"),
    "scores.csv": (lambda path: path.write_text("x"), "must be a .npy or a .parquet file"),
    "text.parquet": (lambda path: path.write_text("x"), "cannot be read as Parquet"),
    "columns.parquet": (lambda path: pd.DataFrame({"example_id": [1]}).to_parquet(path), "test_example_id is missing"),
    "far.parquet": (
        lambda path: pd.DataFrame({"example_id": [6], "test_example_id": [2], "score": [1.0]}).to_parquet(path),
        "example_id: must be from 0 to 5",
    ),
    "far-test.parquet": (
        lambda path: pd.DataFrame({"example_id": [5], "test_example_id": [9], "score": [1.0]}).to_parquet(path),
        "test_example_id: must be from 0 to 8",
    ),
    "twice.parquet": (
        lambda path: pd.DataFrame({"example_id": [1, 1], "test_example_id": 2, "score": [1.0, 2.0]}).to_parquet(path),
        "must have a pair once, got 2 rows of 1 pairs",
    ),
    "pipe.npy": (os.mkfifo, "is not a regular file"),
    "pipe.parquet": (os.mkfifo, "is not a regular file"),
    "words.parquet": (
        lambda path: pd.DataFrame({"example_id": [1], "test_example_id": [2], "score": ["x"]}).to_parquet(path),
        "score: must hold numbers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_attribution_is_refused(name: str, tmp_path: Path) -> None:
    write, said = BAD[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=said):
        read_attributions(tmp_path / name, 6, 9, np.array([2, 5, 7]))


def run(*words: object) -> tuple[int, str]:
    """The exit code and all that the command said."""
    code, *texts = call(*words)
    return code, "".join(texts)


def test_the_command_scores_files_and_exports_what_dattri_reads(tmp_path: Path) -> None:
    """`target_values` and `subset_indices` are `ground_truth` of `dattri.metric.lds`, whose sums are done here."""
    source, weights = planted(30, 2, 0.5)
    correct = source.outputs > np.median(source.outputs, axis=0)
    margins = {"test_margin": source.outputs.astype(np.float16)}
    masks = source.subsets
    make_store(tmp_path / "store", masks, np.zeros_like(masks), correct, ratio=0.5, replicates=2, outputs=margins)
    np.save(tmp_path / "mine.npy", weights)
    names = ("store", "mine.npy", "truth.npz", "table.csv")
    store, mine, truth, table = (str(tmp_path / name) for name in names)
    code, text = run("lds", store, mine, "--export", truth, "-o", table, "--top", 3)
    assert code == 0, text
    assert "scored on 30 subsets with 2 runs each" in text
    assert "ceiling: 0.9" in text
    with np.load(truth) as arrays:
        values, indices = arrays["target_values"], arrays["subset_indices"]
    predicted = np.array([weights[subset].sum(axis=0) for subset in indices])
    expected = [spearmanr(predicted[:, test], values[:, test]).statistic for test in range(TESTS)]
    written = pd.read_csv(table)
    np.testing.assert_allclose(written["lds"], expected, atol=1e-9)
    code, text = run("lds", store, "--fit", "influence", "--heldout", 0.5, "--of", "correctness", "--tests", "0-3")
    assert code == 0, text
    assert "fitted to 30 runs" in text
    code, text = run("lds", store, "--fit", "ridge", "--fit-from", store)
    assert code == 0, text
    assert "fitted to 60 runs" in text
    for words, said in (
        ((), "give attributions to score"),
        ((mine, "--tests", "0-3"), "of shape"),
        (("--export", str(tmp_path / "no" / "x.npz")), "there is no folder"),
        (("--export", str(tmp_path / "x.npz"), "-o", table), "give SCORES or --fit"),
        ((mine, "--fit-from", store), "give --fit"),
        ((mine, "--tests", "3,1"), "must be ascending"),
        ((mine, "--seed", 1), "--seed: is for --fit without --fit-from, got 1"),
        (("--fit", "ridge", "--fit-from", store, "--heldout", 0.3), "--heldout: is for --fit"),
        (("--fit", "ridge", "--heldout", 0.1), "at least 10 subsets"),
    ):
        code, text = run("lds", store, *words)
        assert code in (1, 2)
        assert said in text
