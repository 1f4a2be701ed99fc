"""The choice among recipes: deviations, differences paired by run, and what is recommended."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.tuning.candidates import draw_candidates
from orchestrator.tuning.choice import Choice, Cost, TrialResult, choose, choose_including_given
from orchestrator.tuning.comparison import PooledDeviation
from orchestrator.tuning.recommendation import recommendation_lines
from orchestrator.tuning.record import FinishedTrial
from orchestrator.tuning.session import SearchProgress, SearchReport
from orchestrator.tuning.settings import Search
from orchestrator.tuning.trial import EpochMetrics
from tests.conftest import small_campaign


def trial_result(number: int, ended: str, heldout: list[float], operations: float, seconds: float = 1.0) -> TrialResult:
    metrics = EpochMetrics(
        epoch=1, subset=[[1.0] * len(heldout)], heldout=[heldout], loss=0.1, seconds=seconds, operations=operations
    )
    (candidate,) = draw_candidates(small_campaign(), {}, trials=1, seed=0, max_epochs=9, smallest_subset=200)
    trial = FinishedTrial.model_validate({"key": f"{number:05d}", "ended": ended, "epochs": [metrics.model_dump()]})
    return TrialResult(candidate.__class__(number, {}, candidate.campaign), trial)


def test_deviations_are_pooled_over_recipes_and_paired_by_run() -> None:
    """Against the randomised block design's closed form, and what common effects of subsets do to it."""
    random = np.random.default_rng(5)
    residuals = random.normal(0, 0.003, (40, 8))
    subsets = random.normal(0, 0.01, 8)
    table = 0.9 + random.normal(0, 0.02, (40, 1)) + subsets + residuals
    pooled = PooledDeviation.of(table.tolist())
    means, runs = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    squares = float(((table - means - runs + table.mean()) ** 2).sum())
    assert pooled.residual == pytest.approx((squares / (39 * 7)) ** 0.5)
    assert pooled.residual == pytest.approx(0.003, rel=0.1)
    assert pooled.degrees == 39 * 7
    assert pooled.recipe == pytest.approx(float(np.sqrt(table.var(axis=1, ddof=1).mean())))
    assert PooledDeviation.of((table - subsets).tolist()).residual == pytest.approx(pooled.residual)
    low, high = pooled.interval(0.01)
    assert (low + high) / 2 == pytest.approx(0.01)
    assert high - low == pytest.approx(2 * 1.969 * 0.003 * 0.5, rel=0.1)
    alone = PooledDeviation.of([[0.9, 0.92]])
    assert alone.residual == alone.recipe == pytest.approx(0.02 / 2**0.5)
    two = PooledDeviation.of([[0.90, 0.94], [0.91, 0.95]])
    assert two.residual == pytest.approx(0.0, abs=1e-12)


def test_the_cheapest_within_a_standard_error_of_the_best_is_chosen() -> None:
    """The error is that of a difference of two recipes: what all recipes lose in a hard subset is not part of it."""
    trials = [
        trial_result(0, "unfitted", [0.99, 0.99], 1.0),
        trial_result(1, "fitted", [0.95, 0.97], 100.0),
        trial_result(2, "fitted", [0.9495, 0.968], 50.0, seconds=9.0),
        trial_result(3, "fitted", [0.952, 0.9655], 60.0),
        trial_result(4, "fitted", [0.93, 0.95], 10.0),
        trial_result(5, "stopped", [0.99, 0.99], 1.0),
    ]
    choice = choose(trials, Cost.operations)
    assert isinstance(choice, Choice)
    assert choice.deviation.degrees == 3
    assert choice.most_accurate is trials[1]
    assert choice.chosen is trials[2]
    assert [each.candidate.number for each in choice.as_good] == [2, 3, 1]
    slow = choose(trials, Cost.seconds)
    assert slow is not None
    assert slow.chosen is trials[1]  # of equal seconds the more accurate
    assert choose([trials[0], trials[5]], Cost.operations) is None


GIVEN = [0.95, 0.96, 0.97, 0.955]


@pytest.mark.parametrize(
    ("ended", "gain", "operations", "chosen", "words"),
    [
        ("fitted", 0.0005, 130.0, 0, "keep the recipe given: of the others the most accurate, trial 7, takes +30% "),
        ("fitted", 0.02, 130.0, 7, "use the recipe found: more accurate, 30% more operations"),
        ("fitted", 0.02, 74.0, 7, "use the recipe found: more accurate, 26% fewer operations"),
        ("fitted", 0.0, 74.0, 7, "use the recipe found: 26% fewer operations, and no difference in accuracy is shown"),
        ("fitted", -0.02, 74.0, 0, "keep the recipe given: of the others the most accurate, trial 7, takes -26% "),
        ("unfitted", -0.02, 130.0, 7, "use the recipe found: the one given does not fit its subsets (accuracy 1.0000"),
    ],
)
def test_the_recipe_found_is_compared_with_the_one_given(
    ended: str, gain: float, operations: float, chosen: int, words: str
) -> None:
    wobble = [0.001, -0.001, 0.0005, -0.0005]
    given = trial_result(0, ended, GIVEN, 100.0)
    found = trial_result(7, "fitted", [a + gain + b for a, b in zip(GIVEN, wobble, strict=True)], operations)
    choice = choose_including_given([found], given, Cost.operations)
    assert choice is not None
    assert choice.chosen.candidate.number == chosen
    lines = recommendation_lines(SearchReport(SearchProgress(9), [], choice, choice, None, [found], given), Search())
    assert lines[-1].startswith(words)
    assert lines[0].startswith("On 4 fresh subsets at each ratio")
    if chosen and ended == "fitted":
        assert f"found - given: {gain:+.4f} (95% interval " in lines[-2]


def test_the_recipe_given_counts_once_where_it_is_also_a_trial() -> None:
    """As two recipes it would differ from itself by nothing, and the pooled deviation would be too small."""
    given, other = trial_result(0, "fitted", GIVEN, 100.0), trial_result(7, "fitted", [0.96, 0.95, 0.98, 0.96], 120.0)
    once = choose_including_given([other], given, Cost.operations)
    assert once is not None and once.deviation.degrees == 3
    assert choose_including_given([trial_result(0, "fitted", GIVEN, 100.0), other], given, Cost.operations) == once


def test_the_recipe_given_cut_short_is_another_recipe() -> None:
    (cut,) = draw_candidates(small_campaign(), {}, trials=1, seed=0, max_epochs=1, smallest_subset=200)
    assert small_campaign().recipe.epochs > 1 == cut.campaign.recipe.epochs
    assert cut.values == {"recipe.epochs": 1}
    given, short = trial_result(8, "fitted", GIVEN, 200.0), trial_result(9, "fitted", GIVEN, 100.0)
    # Both have the number 0.
    given, short = TrialResult(replace(cut, values={}), given.trial), TrialResult(cut, short.trial)
    choice = choose_including_given([short], given, Cost.operations)
    assert choice is not None and choice.chosen is short
    report = SearchReport(SearchProgress(1), [short], choice, choice, None, [short], given)
    assert report.chosen_number == 0
    assert recommendation_lines(report, Search())[-1].startswith("use the recipe found: 50% fewer operations")
    kept = SearchReport(SearchProgress(1), [short], choice, choose([given], Cost.operations), None, [short], given)
    assert kept.chosen_number is None
