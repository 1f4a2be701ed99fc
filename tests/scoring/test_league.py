"""The league of cheap scores beside a slow reference, run by run, and where the true correlation is known."""

from math import atanh, sqrt, tanh
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis import EstimateError, open_store
from tests.command import call
from tests.learning_runs import learning_runs
from tests.synthetic import Runs, make_store, make_stores, random_runs
from workers.store import Store
from workers.store.schema import PRESENTED, PROBABILITIES

N, RUNS = 30, 14


@pytest.fixture(scope="module")
def runs() -> Runs:
    random = np.random.default_rng(8)
    losses = {
        "train_cross_entropy": random.exponential(1, (RUNS, N)).astype(np.float16),
        "test_cross_entropy": random.exponential(1, (RUNS, 3)).astype(np.float16),
    }
    return learning_runs(random, RUNS, N, 3, 0.5, diverged=[5], outputs=losses)


@pytest.fixture(scope="module")
def store(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_stores(tmp_path_factory.mktemp("league") / "s", {0.5: runs})


def slow_values(runs: Runs, chosen: list[int]) -> dict[str, list[float]]:
    """mem, vulnerability, and the irregular `loss` and `probability` of each example, from some runs."""
    found: dict[str, list[float]] = {name: [] for name in ("mem", "vulnerability", "loss", "probability")}
    losses = runs.outputs["train_cross_entropy"].astype(float)
    for i in range(N):
        inside = [k for k in chosen if runs.subsets[k, i]]
        outside = [k for k in chosen if not runs.subsets[k, i]]
        right = [[bool(runs.train[k, i]) for k in group] for group in (inside, outside)]
        found["mem"].append(float(np.mean(right[0]) - np.mean(right[1])) if inside and outside else np.nan)
        pairs = [(losses[a, i] < losses[b, i]) + (losses[a, i] == losses[b, i]) / 2 for a in inside for b in outside]
        found["vulnerability"].append(float(np.mean(pairs)) if min(len(inside), len(outside)) >= 2 else np.nan)
        for name, sign in (("loss", 1), ("probability", -1)):
            shown = [runs.presented[f"presented_{name}"][k, :, i].astype(float) for k in inside]
            means = [float(np.nanmean(each)) for each in shown if not np.isnan(each).all()]
            found[name].append(float(sign * np.mean(means)) if means else np.nan)
    return found


def slow_league(runs: Runs, truth: str, score: str) -> dict[str, float]:
    """Runs are groups: of two halves, even and odd ones, each run is left out once."""
    used = [k for k in range(RUNS) if k not in runs.diverged]
    halves = [[k for k in used if k % 2 == half] for half in (0, 1)]
    first = [slow_values(runs, half) for half in halves]
    known = np.isfinite([each[name] for each in first for name in (truth, score)]).all(axis=0)

    def compared(a: dict[str, list[float]], b: dict[str, list[float]]) -> tuple[float, float]:
        values = np.array([a[score], a[truth], b[score], b[truth]])
        values = values[:, known & np.isfinite(values).all(axis=0)].round(5)
        crossed = [stats.spearmanr(values[x], values[y]).statistic for x, y in ((0, 3), (2, 1))]
        return (atanh(crossed[0]) + atanh(crossed[1])) / 2, stats.spearmanr(values[1], values[3]).statistic

    z, reliability = compared(*first)
    variance = (1 + tanh(z) ** 2 / 2) / (known.sum() - 3)
    for half in (0, 1):
        without = []
        for k in range(half, RUNS, 2):
            left = slow_values(runs, [run for run in halves[half] if run != k])
            without.append(compared(left, first[1])[0] if half == 0 else compared(first[0], left)[0])
        variance += (len(without) - 1) ** 2 / len(without) * np.var(without, ddof=1)
    found = {"spearman": tanh(z), "spearman_se": (1 - tanh(z) ** 2) * sqrt(variance), "reliability": reliability}
    return found | {"corrected": tanh(z) / sqrt(reliability) if reliability > 0 else np.nan, "examples": known.sum()}


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["mem", "vulnerability"])
def test_halves_and_errors_are_those_of_the_slow_reference(truth: str, store: Store, runs: Runs) -> None:
    frame = open_store(store.uri).league().set_index(["truth", "score"])
    assert set(frame.loc["cscore"].index) == set(frame.loc["mem"].index) >= {"aum", "accuracy", "variability"}
    for score in ("loss", "probability"):
        for name, value in slow_league(runs, truth, score).items():
            assert frame.loc[(truth, score), name] == pytest.approx(value, rel=1e-5, nan_ok=True), (score, name)


def test_the_truths_noise_is_corrected_for(tmp_path: Path) -> None:
    """The probability ranks examples exactly as the true memorization does; few runs hide half of that."""
    random = np.random.default_rng(3)
    examples, count = 400, 24
    difficulty = random.random(examples)
    subsets = random.random((count, examples)) < 0.5
    train = subsets | (random.random((count, examples)) > difficulty)
    shown = subsets[:, None]
    values = np.where(shown, 1 - difficulty, np.nan).astype(np.float16)
    presented = {PRESENTED[0]: shown, PRESENTED[1]: shown, **dict.fromkeys(PROBABILITIES, values)}
    path = tmp_path / "s"
    make_store(path, subsets, train, np.ones((count, 2), dtype=bool), ratio=0.5, presented=presented)
    frame = open_store(path).league()
    row = frame[(frame["truth"] == "mem") & (frame["score"] == "probability")].iloc[0]
    assert row["spearman"] < 0.85
    assert row["corrected_low"] < 1 < row["corrected_high"]
    assert abs(row["corrected"] - 1) < 0.06
    code, shown_text, errors = call("league", str(path), "-o", str(tmp_path / "l.csv"))
    assert code == 0, errors
    assert "reliability of mem at ratio 0.5, of half of the runs: 0." in shown_text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    for name, ratio, runs, match in (
        ("bare", 0.5, random_runs(random, 6, 8, 2, 0.5), "has no score to compare: record.presentations"),
        ("few", 0.5, learning_runs(random, 3, 8, 2, 0.5), "needs at least 4 runs at a ratio"),
        ("whole", 1.0, learning_runs(random, 6, 8, 2, 1.0), "at ratio 1 nothing is held out"),
    ):
        with pytest.raises(EstimateError, match=match):
            open_store(make_stores(tmp_path / name, {ratio: runs}).uri).league()
