"""Privacy audit: attacks beside plain loops with scipy, cases by hand, made-up stores with and without information."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from analysis import AuditOptions, EstimateError, NoEstimateError, open_store, plot
from analysis.reading.examples import Labels
from analysis.reading.run_outputs import RunOutputs, Signal, logit_confidence, read_run_outputs
from analysis.scoring.privacy.attacks import ATTACKS, AttackOptions, attack_scores, attackable
from analysis.scoring.privacy.audit import Audit, audit
from analysis.scoring.privacy.lira import Variance
from analysis.scoring.privacy.vulnerability import vulnerability
from analysis.statistics.jackknife import jackknife_se
from analysis.statistics.leave_one_out import leave_one_out, leave_one_out_mean
from analysis.statistics.roc import RocCurve
from tests.command import call
from tests.explicit_subsets import explicit_store
from tests.synthetic import Runs, make_stores
from workers.common.arrays import Bools, Floats


def made_up(members: Bools, train: Floats, test: Floats, signal: Signal = "margin") -> RunOutputs:
    """Runs with these outputs; correct where the margin is positive, or the loss is under log 2."""
    count, width = members.shape
    labels = Labels(*(np.zeros(n, dtype=np.int64) for n in (width, width, test.shape[1])))
    correct = train > 0 if signal == "margin" else train < np.log(2)
    halves = train.astype(np.float16), test.astype(np.float16)
    return RunOutputs(500_000, 1, 0, 0, 0, signal, labels, np.arange(count), members, correct, *halves)


def random_outputs(seed: int, runs: int, width: int, tests: int, effect: Floats | float = 0.0) -> RunOutputs:
    """Margins of normal distributions; `effect` is what runs lack that did not train on an example."""
    random = np.random.default_rng(seed)
    members = random.random((runs, width)) < 0.5
    train = random.normal(1, 1, width) - effect * ~members + random.normal(0, 1, (runs, width))
    return made_up(members, train, random.normal(1, 1, (runs, tests)))


def scores_of(outputs: RunOutputs, variance: Variance = "example", offline_a: float = 0.3) -> dict[str, Any]:
    return dict(attack_scores(outputs, AttackOptions(variance, offline_a)))


def test_the_logit_of_a_loss_keeps_its_digits() -> None:
    losses = np.array([0.0, 2.0**-24, 2.0**-14, 1e-3, 0.5, np.log(2), 3.0, 20.0, 65_504.0], dtype=np.float16)
    found = logit_confidence(losses, "loss")
    exact = [np.longdouble(max(float(loss), 2.0**-25)) for loss in losses]
    expected = [float(-loss - np.log(-np.expm1(-loss))) for loss in exact]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == pytest.approx(25 * np.log(2), rel=1e-6) and abs(found[5]) < 1e-3
    assert (np.diff(found) < 0).all()
    assert logit_confidence(np.array([-2.5], dtype=np.float16), "margin")[0] == -2.5


@pytest.mark.slow
@pytest.mark.parametrize("variance", ["example", "pooled"])
@pytest.mark.parametrize("signal", ["margin", "loss"])
def test_scores_are_those_of_plain_loops(variance: Variance, signal: Signal) -> None:
    outputs = random_outputs(1, 9, 14, 6, effect=1.0)
    if signal == "loss":
        train, test = (np.logaddexp(0, -each.astype(float)) for each in (outputs.train, outputs.test))
        outputs = made_up(outputs.members, train, test, "loss")
    known = attackable(outputs.members)
    assert known.any() and not known.all()
    expected = slow_scores(outputs, variance, 0.3)
    found = scores_of(outputs, variance)
    assert tuple(found) == ATTACKS
    for name, scores in found.items():
        np.testing.assert_allclose(scores[known], expected[name][known], rtol=2e-6, atol=1e-6, err_msg=name)
        assert (~np.isnan(expected[name]) == known).all()


def slow_scores(outputs: RunOutputs, variance: Variance, a: float) -> dict[str, Floats]:
    """Every target and example by itself, from lists of the other runs."""
    phi, z = (logit_confidence(each, outputs.signal) for each in (outputs.train, outputs.test))
    p, q = 1 / (1 + np.exp(-phi)), 1 / (1 + np.exp(-z))
    count, width = phi.shape
    found = {name: np.full((count, width), np.nan) for name in ATTACKS}
    for t in range(count):
        others = [k for k in range(count) if k != t]
        groups = [
            [[k for k in others if outputs.members[k, i] == kind] for kind in (True, False)] for i in range(width)
        ]
        pooled = []
        for kind in (0, 1):
            parts = [phi[group[kind], i] for i, group in enumerate(groups) if len(group[kind]) > 1]
            squares = sum(((part - part.mean()) ** 2).sum() for part in parts)
            pooled.append(np.sqrt(squares / sum(len(part) - 1 for part in parts)))
        for i, (inside, outside) in enumerate(groups):
            if min(len(inside), len(outside)) < 2:
                continue
            sd = [phi[group, i].std(ddof=1) for group in (inside, outside)] if variance == "example" else pooled
            fits = [stats.norm(phi[group, i].mean(), s) for group, s in zip((inside, outside), sd, strict=True)]
            found["lira_online"][t, i] = fits[0].logpdf(phi[t, i]) - fits[1].logpdf(phi[t, i])
            above = phi[t, i] > fits[1].mean()
            tail = stats.norm.ppf(fits[1].sf(phi[t, i]) if above else fits[1].cdf(phi[t, i]))
            found["lira_offline"][t, i] = -tail if above else tail
            px = {"rmia_online": (p[inside, i].mean() + p[outside, i].mean()) / 2}
            px["rmia_offline"] = ((1 + a) * p[outside, i].mean() + 1 - a) / 2
            pz = {"rmia_online": q[others].mean(axis=0)}
            pz["rmia_offline"] = ((1 + a) * q[others].mean(axis=0) + 1 - a) / 2
            for name in px:
                ratio = p[t, i] / px[name]
                found[name][t, i] = np.mean([ratio / (q[t, j] / pz[name][j]) >= 1 for j in range(q.shape[1])])
            found["threshold"][t, i] = phi[t, i]
    return found


def test_cases_by_hand() -> None:
    """Two shadow models in (3, 5) and two out (0, 2) of example 0, each with variance 2; the target, in, has 4."""
    members = np.array([[1], [1], [0], [0], [1]], dtype=bool)
    outputs = made_up(
        members, np.array([[3.0], [5], [0], [2], [4]]), np.array([[0.0, 9], [0, 9], [0, 9], [0, 9], [9, 0]])
    )
    known = attackable(members)
    assert known[:, 0].tolist() == [True, True, False, False, True]  # of targets 2 and 3 one other run is out
    found = {name: scores[4, 0] for name, scores in scores_of(outputs).items()}
    assert found["lira_online"] == pytest.approx((4 - 1) ** 2 / (2 * 2))
    assert found["lira_offline"] == pytest.approx((4 - 1) / np.sqrt(2))
    # The target raises the first test example from 1/2 to 1 and halves the other; example 0 it raises by 1.1.
    assert found["rmia_online"] == 0.5
    assert found["threshold"] == 4
    frame = vulnerability(outputs)
    assert (frame["vulnerability"][0], frame["n_in"][0], frame["n_out"][0]) == (1, 3, 2)
    within, without = 1.0, 2.0  # variances of 3, 4, 5 and of 0, 2
    assert frame["d_prime"][0] == pytest.approx((4 - 1) / np.sqrt((within + without) / 2))


def test_nothing_of_the_target_is_in_its_shadow_models() -> None:
    """To the last bit, however large its value; and what the target's row changes are the fits of all others."""
    random = np.random.default_rng(2)
    values, chosen = random.normal(0, 1, (12, 7)), random.random((12, 7)) < 0.5
    for row in (0, 5, 11):
        changed = values.copy()
        changed[row] = 65_504
        for before, after in zip(leave_one_out(values, chosen), leave_one_out(changed, chosen), strict=True):
            assert (before[row] == after[row]).all()
        means, moved = leave_one_out_mean(values, chosen), leave_one_out_mean(changed, chosen)
        assert (means[row] == moved[row]).all()
        others = np.arange(12) != row
        assert ((means[others] != moved[others]) == chosen[row]).all()
    moments = leave_one_out(values, chosen)
    for row in range(12):
        some = chosen & (np.arange(12) != row)[:, None]
        for column in range(7):
            left = values[some[:, column], column]
            assert moments.n[row, column] == len(left)
            assert (
                moments.mean[row, column] == pytest.approx(left.mean()) == pytest.approx(means_of(values, some)[column])
            )
            assert moments.variance[row, column] == pytest.approx(left.var(ddof=1))


def means_of(values: Floats, some: Bools) -> Floats:
    means: Floats = np.where(some, values, 0).sum(axis=0) / some.sum(axis=0)
    return means


def test_attacks_ignore_where_the_target_was_trained() -> None:
    """A target that claims other members has the same fits: its score changes only if shadow models lack it."""
    outputs = random_outputs(4, 20, 30, 5, effect=1.0)
    members = outputs.members.copy()
    members[3] = ~members[3]
    claimed = dataclasses.replace(outputs, members=members)
    for (name, a), b in zip(scores_of(outputs).items(), scores_of(claimed).values(), strict=True):
        assert (a[3] == b[3]).all(), name


@pytest.mark.slow
def test_roc_of_small_cases() -> None:
    """Against every threshold by itself, with many ties."""
    random = np.random.default_rng(0)
    for _ in range(60):
        score = random.integers(0, 6, random.integers(4, 25)).astype(float)
        positive = random.random(len(score)) < 0.5
        if positive.all() or not positive.any():
            continue
        curve = RocCurve.of(score, positive)
        assert curve.area == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
        rates = [((score[positive] >= c).mean(), (score[~positive] >= c).mean(), c) for c in np.unique(score)]
        best = max([0.5, *((1 + true - false) / 2 for true, false, _ in rates)])
        assert curve.balanced_accuracy == pytest.approx(best)
        for rate in (0.0, 0.1, 0.25, 0.5, 1.0):
            allowed = [(c, true) for true, false, c in rates if false <= rate]
            threshold = curve.threshold_at(rate)
            if rate * (~positive).sum() < 1 or not allowed:
                assert np.isnan(threshold) and np.isnan(curve.true_rate(threshold))
            else:
                assert (threshold, curve.true_rate(threshold)) == min(allowed)
        points = curve.points()
        assert points["recall"][-1] == points["false_positive_rate"][-1] == 1
        assert sorted(points["threshold"], reverse=True) == points["threshold"].tolist()


@pytest.mark.parametrize(("negatives", "reached"), [(999, False), (1_000, True)])
def test_a_rate_needs_its_number_of_non_members(negatives: int, reached: bool) -> None:
    curve = RocCurve(np.array([5.0]), np.arange(negatives) / negatives)
    assert np.isfinite(curve.threshold_at(0.001)) == reached
    assert curve.allowed(0.001) == reached


@pytest.mark.slow
def test_without_information_attacks_are_guesses() -> None:
    """AUC 1/2 within its interval, whether memberships are independent or balanced in blocks of twenty runs."""
    outputs = random_outputs(5, 40, 500, 40)
    random = np.random.default_rng(6)
    blocks = [random.permuted(np.tile(np.arange(20) < 10, (500, 1)), axis=1).T for _ in range(2)]
    for members in (outputs.members, np.concatenate(blocks)):
        found = audit(dataclasses.replace(outputs, members=members), 20, AuditOptions(variance="example"))
        assert (found.attacks["auc_low"] < 0.5).all() and (found.attacks["auc_high"] > 0.5).all()
        assert (found.attacks["auc_high"] - found.attacks["auc_low"] < 0.06).all()
        assert found.examples["vulnerability"].mean() == pytest.approx(0.5, abs=0.01)
        inside = found.examples["low"].le(0.5) & found.examples["high"].ge(0.5)
        assert inside.mean() == pytest.approx(0.95, abs=0.03)


@pytest.fixture(scope="module")
def planted() -> Audit:
    """Runs that did not train on one of the first ten of 300 examples have margins that are lower by six deviations."""
    outputs = random_outputs(7, 48, 300, 60, effect=np.where(np.arange(300) < 10, 6.0, 0.0))
    return audit(outputs, 20, AuditOptions())


@pytest.mark.slow
def test_planted_examples_are_found(planted: Audit) -> None:
    examples = planted.examples
    assert set(examples.nlargest(10, "low")["example_id"]) == set(range(10))
    assert (examples["d_prime"][:10] > 4).all() and (examples["detected"][:10] > 0.9).all()
    assert examples["detected"][10:].mean() < 0.01
    attacks = planted.attacks.set_index("attack")
    assert planted.variance == "pooled"
    assert attacks["tpr_0.001"]["lira_online"] == pytest.approx(10 / 300, abs=0.006)
    assert attacks["tpr_0.001_low"]["lira_online"] > 0.02 > attacks["tpr_0.001"]["threshold"]
    assert attacks["tpr_0.0001"].isna().all()  # of some 7,000 non-members
    assert attacks["tpr_0.001"].isna()["rmia_online"]  # 60 test examples tie the best
    assert planted.agreement["score"].tolist() == ["vulnerability", "d_prime"]
    assert planted.agreement["over"].eq("examples and runs").all()


@pytest.mark.slow
def test_errors_are_of_audits_without_each_group(planted: Audit) -> None:
    outputs = planted.outputs
    kept = [outputs.some(outputs.repetitions % 20 != group) for group in range(20)]
    areas = [audit(some, 1, AuditOptions()).attacks["auc"].to_numpy() for some in kept]
    np.testing.assert_allclose(planted.attacks["auc_se"], jackknife_se(np.array(areas)))
    alone = audit(outputs, 1, AuditOptions())
    assert alone.attacks["auc_se"].isna().all() and alone.agreement["over"].eq("examples only").all()
    assert np.isnan(alone.spearman_disjoint)


def store_of(path: Path, change: Callable[[dict[str, Any]], None] = lambda parts: None, ratio: float = 0.5) -> Path:
    """12 runs of 20 examples with losses and margins; one diverged, and one has a loss that is not finite."""
    outputs = random_outputs(8, 12, 20, 6, effect=2.0)
    recorded = {}
    for split, margins in (("train", outputs.train), ("test", outputs.test)):
        recorded[f"{split}_margin"] = margins
        recorded[f"{split}_cross_entropy"] = np.logaddexp(0, -margins.astype(float)).astype(np.float16)
    recorded["train_cross_entropy"][5, 3] = np.nan
    recorded["train_cross_entropy"][0, 0] = 0
    members = np.ones_like(outputs.members) if ratio == 1 else outputs.members
    parts: dict[str, Any] = {"outputs": recorded, "diverged": [2]}
    change(parts)
    runs = Runs(members, outputs.correct, np.ones((12, 6), dtype=bool), **parts)
    make_stores(path / "s", {ratio: runs})
    return path / "s"


@pytest.mark.slow
def test_a_store_is_audited(tmp_path: Path) -> None:
    path = store_of(tmp_path)
    view = open_store(path)
    found = view.audit()
    runs = found.outputs
    assert (runs.runs, runs.diverged, runs.not_finite, runs.saturated, runs.signal) == (10, 1, 1, 1, "loss")
    assert runs.repetitions.tolist() == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    mem = view.memorization(empty="nan")
    assert runs.members.tolist() == view.subsets().to_numpy()[runs.repetitions].tolist()
    assert np.corrcoef(mem["mem"].dropna(), found.examples["mem"][mem["mem"].notna()])[0, 1] > 0.9  # one run more
    assert found.attacks["tpr_0.001"].isna().all() and found.attacks["auc"].notna().all()
    code, output, errors = call("audit", path, "--top", 3, "-o", tmp_path / "v.csv", "--plot", tmp_path / "roc.png")
    assert code == 0, errors
    assert "needs 1,000 pairs with a non-member, got" in output
    left_out = "1 diverged left out, 1 with outputs that are not finite left out"
    assert f"from 10 of 11 runs at ratio 0.5, {left_out}: each attacked with the 9 others by the loss" in output
    assert "beyond what float16 holds" in errors
    written = pd.read_csv(tmp_path / "v.csv")
    np.testing.assert_allclose(written["vulnerability"], found.examples["vulnerability"])
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    attacks = pd.read_parquet(path / "estimates" / "audit.parquet")
    np.testing.assert_allclose(attacks["auc"], found.attacks["auc"])
    axes = plot.audit(found.attacks, found.curves)
    assert axes.get_xscale() == axes.get_yscale() == "log"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "ratio", "said"),
    [
        (
            lambda parts: parts["outputs"].clear(),
            0.5,
            "has no 'loss' of train examples: record.outputs must include it",
        ),
        (lambda parts: None, 1.0, "has no example that is held out: the ratio must be below 1, got 1"),
        (lambda parts: parts.update(diverged=range(12)), 0.5, "all 12 committed runs diverged at ratio 0.5"),
        (lambda parts: parts["outputs"]["test_margin"].fill(np.nan), 0.5, None),
        (lambda parts: parts["outputs"]["test_cross_entropy"].fill(np.nan), 0.5, "has no run with finite outputs"),
    ],
)
def test_stores_that_cannot_be_audited(
    change: Callable[[dict[str, Any]], None], ratio: float, said: str | None, tmp_path: Path
) -> None:
    path = store_of(tmp_path, change, ratio)
    if said is None:
        assert open_store(path).audit().outputs.runs == 10  # margins are not read beside losses
        return
    with pytest.raises(EstimateError, match=said):
        open_store(path).audit()


def test_margins_take_the_place_of_losses(tmp_path: Path) -> None:
    def without_losses(parts: dict[str, Any]) -> None:
        for split in ("train", "test"):
            del parts["outputs"][f"{split}_cross_entropy"]

    path = store_of(tmp_path, without_losses)
    outputs = read_run_outputs(open_store(path).store)
    assert (outputs.signal, outputs.runs, outputs.saturated) == ("margin", 11, 0)


def test_explicit_subsets_and_options_without_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EstimateError, match="privacy audit: its subsets are explicit"):
        open_store(explicit_store(tmp_path).uri).audit()
    outputs = random_outputs(9, 3, 5, 2)
    with pytest.raises(NoEstimateError, match="no example has two other runs that trained on it"):
        audit(outputs, 3, AuditOptions())
    for options, said in (
        (AuditOptions(variance="none"), "variance must be one of auto, example, pooled"),  # type: ignore[arg-type]
        (AuditOptions(offline_a=1.5), "offline_a must be from 0 to 1, got 1.5"),
        (AuditOptions(confidence=1.0), "confidence must be"),
    ):
        with pytest.raises(EstimateError, match=said):
            options.check()


@pytest.mark.slow
def test_without_test_examples_rmia_has_no_population() -> None:
    found = audit(random_outputs(10, 12, 30, 0, effect=1.0), 12, AuditOptions()).attacks.set_index("attack")
    assert found["auc"].isna().to_dict() == {name: name.startswith("rmia") for name in ATTACKS}
