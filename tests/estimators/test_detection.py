"""AUC, average precision, precision at k: against closed forms, sklearn, and every pair looked at by itself."""

from math import isnan, sqrt
from statistics import variance

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from analysis.statistics.detection import area_interval, area_under_curve, average_precision, curve_points, precision_at

Labelled = list[tuple[int, bool]]

scores_and_kinds = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


def arrays(rows: Labelled) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    return np.array([score for score, _ in rows], dtype=float), np.array([positive for _, positive in rows])


def slow_area(rows: Labelled) -> tuple[float, float]:
    """DeLong's definition: a positive's or negative's structural component is its mean over the other kind."""
    positives = [score for score, positive in rows if positive]
    negatives = [score for score, positive in rows if not positive]

    def wins(x: int, y: int) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    of_positives = [sum(wins(x, y) for y in negatives) / len(negatives) for x in positives]
    of_negatives = [sum(wins(x, y) for x in positives) / len(positives) for y in negatives]
    auc = sum(of_positives) / len(positives)
    if len(positives) < 2 or len(negatives) < 2:
        return auc, float("nan")
    return auc, sqrt(variance(of_positives) / len(positives) + variance(of_negatives) / len(negatives))


@pytest.mark.slow
@given(scores_and_kinds)
def test_area_and_its_error_are_those_of_all_pairs(rows: Labelled) -> None:
    scores, positive = arrays(rows)
    auc, se = area_under_curve(scores, positive)
    slow_auc, slow_se = slow_area(rows)
    assert auc == pytest.approx(slow_auc, abs=1e-12)
    assert auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert se == pytest.approx(slow_se, abs=1e-9, nan_ok=True)


@pytest.mark.slow
@given(scores_and_kinds)
def test_precision_at_k_is_the_mean_over_orders_of_ties(rows: Labelled) -> None:
    scores, positive = arrays(rows)
    for k in {1, int(positive.sum()), len(rows)}:
        found = precision_at(scores, positive, k)
        chances = []  # to be among the k
        for score in scores:
            above, tied = (scores > score).sum(), (scores == score).sum()
            chances.append(min(1.0, max(0.0, (k - above) / tied)))
        assert found == pytest.approx(sum(chance for chance, right in zip(chances, positive, strict=True) if right) / k)
    assert isnan(precision_at(scores, positive, 0))


@pytest.mark.slow
@given(scores_and_kinds)
def test_average_precision_is_that_of_sklearn(rows: Labelled) -> None:
    scores, positive = arrays(rows)
    assert average_precision(scores, positive) == pytest.approx(average_precision_score(positive, scores))


def test_known_cases() -> None:
    perfect = np.array([0.0, 0.0, 1.0, 1.0]), np.array([False, False, True, True])
    assert area_under_curve(*perfect) == (1.0, 0.0)
    assert average_precision(*perfect) == 1.0
    equal = np.zeros(4), perfect[1]
    assert area_under_curve(*equal) == (0.5, 0.0)
    assert (average_precision(*equal), precision_at(*equal, 2)) == (0.5, 0.5)
    # One tie across kinds: of 6 pairs, 4 are won and 1 is tied.
    assert area_under_curve(np.array([1.0, 2, 3, 2, 4]), np.array([False, False, False, True, True]))[0] == 4.5 / 6


@pytest.mark.parametrize("kind", [True, False])
def test_without_both_kinds_there_is_no_area(kind: bool) -> None:
    scores, positive = np.arange(3.0), np.full(3, kind)
    assert all(map(isnan, area_under_curve(scores, positive)))
    assert area_interval(float("nan"), int(positive.sum()), int((~positive).sum())) == (0.0, 1.0)
    assert average_precision(scores, positive) == pytest.approx(1.0 if kind else float("nan"), nan_ok=True)


@pytest.mark.slow
def test_the_error_is_that_of_a_bootstrap() -> None:
    random = np.random.default_rng(1)
    positive = np.arange(400) < 80
    scores = np.round(random.normal(positive * 1.2, 1), 1)
    found, se = area_under_curve(scores, positive)
    draws = []
    for _ in range(500):
        chosen = np.concatenate([random.choice(80, 80), random.choice(np.arange(80, 400), 320)])
        draws.append(area_under_curve(scores[chosen], positive[chosen])[0])
    assert np.std(draws) == pytest.approx(se, rel=0.1)
    assert np.mean(draws) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("auc", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (5, 30), (300, 57000)])
def test_limits_solve_newcombes_equation(auc: float, n_pos: int, n_neg: int) -> None:
    low, high = area_interval(auc, n_pos, n_neg)
    assert 0 <= low <= auc <= high <= 1
    assert area_interval(1 - auc, n_pos, n_neg) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    z = 1.959963984540054
    for limit in (low, high):
        if 0 < limit < 1:
            spread = 1 + ((n_pos + n_neg) / 2 - 1) * ((1 - limit) / (2 - limit) + limit / (1 + limit))
            assert (auc - limit) ** 2 == pytest.approx(z**2 * limit * (1 - limit) * spread / (n_pos * n_neg), rel=1e-5)
    wider = area_interval(auc, n_pos, n_neg, 0.999)
    assert wider[0] <= low and wider[1] >= high and (low, high) != wider


def test_a_limit_of_a_perfect_score_is_known() -> None:
    """At AUC 1 with one of each kind: (1 - a) = z^2 a (1 + 0)."""
    assert area_interval(1.0, 1, 1)[0] == pytest.approx(brentq(lambda a: (1 - a) - 1.959963984540054**2 * a, 0, 1))


def test_points_lie_on_the_curves_and_are_few() -> None:
    random = np.random.default_rng(2)
    positive = random.random(5000) < 0.1
    scores = random.normal(positive * 1.5, 1).round(2)
    points = curve_points(scores, positive)
    assert len(points["threshold"]) < 260
    gaps = np.diff(points["recall"] + points["false_positive_rate"], prepend=0)
    assert gaps.max() <= 0.025
    for place in range(0, len(points["threshold"]), 7):
        chosen = scores >= points["threshold"][place]
        assert points["selected"][place] == chosen.sum()
        assert points["recall"][place] == pytest.approx(positive[chosen].sum() / positive.sum())
        assert points["precision"][place] == pytest.approx(positive[chosen].mean())
        assert points["false_positive_rate"][place] == pytest.approx((~positive[chosen]).sum() / (~positive).sum())
    assert (points["recall"][-1], points["false_positive_rate"][-1]) == (1, 1)
    precision, recall, _ = precision_recall_curve(positive, scores)
    assert set(zip(points["recall"].round(9), points["precision"].round(9), strict=True)) <= set(
        zip(recall.round(9), precision.round(9), strict=True)
    )


@pytest.mark.slow
@given(scores_and_kinds)
def test_few_scores_keep_every_point(rows: Labelled) -> None:
    scores, positive = arrays(rows)
    points = curve_points(scores, positive)
    assert points["threshold"].tolist() == sorted(set(scores.tolist()), reverse=True)
