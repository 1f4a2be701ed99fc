"""Result of a search as text: figures on fresh subsets, both recipes side by side, and a recommendation."""

from collections.abc import Sequence

from orchestrator.tuning.choice import Choice, Cost, TrialResult
from orchestrator.tuning.record import FinishedTrial
from orchestrator.tuning.session import SearchReport
from orchestrator.tuning.settings import Search
from workers.campaign.plural import count_text


def recommendation_lines(report: SearchReport, search: Search) -> list[str]:
    """The recipe found and the one given on the same fresh subsets, their difference, and which one to use."""
    choice, given = report.choice, report.given
    if choice is None:
        return []
    se = choice.deviation.mean_se
    first = (
        f"On {choice.deviation.runs} fresh subsets at each ratio, which no trial has seen (+- one standard error over "
        "subsets, its deviation pooled over the recipes that fit there):"
    )
    found_line = f"  found: {metrics_text(choice.chosen.trial, se)}"
    if given is None:
        return [first, found_line, "use the recipe found: the one given could not be trained"]
    given_line = f"  given: {metrics_text(given.trial, se)}"
    if choice.chosen.is_trial_of(given):
        return [first, given_line, _kept(choice, report.measured, search.cost)]
    if given.trial.ended != "fitted":
        reached = f"accuracy {given.trial.last.subset_accuracy:.4f}, --fit {search.fit:g}"
        verdict = [f"use the recipe found: the one given does not fit its subsets ({reached})"]
    else:
        verdict = _compared(choice, given, search.cost)
    return [first, found_line, given_line, *verdict]


def metrics_text(trial: FinishedTrial, heldout_se: float | None = None) -> str:
    """How a trial ended; the standard error is that of its held-out accuracy."""
    last = trial.last
    if trial.ended == "diverged":
        return f"diverged in epoch {last.epoch}"
    error = "" if heldout_se is None else f" +- {heldout_se:.4f}"
    accuracies = f"subset accuracy {last.subset_accuracy:.4f}, held-out {last.heldout_accuracy:.4f}{error}"
    return (
        f"{count_text(last.epoch, 'epoch')}, {accuracies}, {last.operations:.3g} operations, {trial.seconds:.3g} s/run"
    )


def _compared(choice: Choice, given: TrialResult, cost: Cost) -> list[str]:
    """The paired difference of the recipe found and the one given, and what follows."""
    difference = choice.chosen.accuracy - given.accuracy
    low, high = choice.deviation.interval(difference)
    share = choice.chosen.cost(cost) / given.cost(cost) - 1
    price = f"{abs(share):.0%} {'fewer' if share < 0 else 'more'} {cost}"
    line = f"  found - given: {difference:+.4f} (95% interval {low:+.4f} to {high:+.4f}, paired by subset), {price}"
    if low > 0:
        return [line, f"use the recipe found: more accurate, {price}"]
    return [line, f"use the recipe found: {price}, and no difference in accuracy is shown"]


def _kept(choice: Choice, measured: Sequence[TrialResult], cost: Cost) -> str:
    """Why the recipe given is the one to use."""
    rivals = [result for result in measured if not result.is_trial_of(choice.chosen)]
    rivals = [rival for rival in rivals if rival.trial.ended == "fitted"]
    if not rivals:
        return "keep the recipe given: no other one fits and is as accurate"
    best = max(rivals, key=lambda result: result.accuracy)
    difference = best.accuracy - choice.chosen.accuracy
    low, high = choice.deviation.interval(difference)
    share = best.cost(cost) / choice.chosen.cost(cost) - 1
    return (
        f"keep the recipe given: of the others the most accurate, trial {best.candidate.number}, takes {share:+.0%} "
        f"{cost} at {difference:+.4f} in accuracy (95% interval {low:+.4f} to {high:+.4f})"
    )
