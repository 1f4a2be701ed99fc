"""Runs a recipe search: trains trials, chooses a recipe, measures it on fresh subsets."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from orchestrator.frame_files import write_frame
from orchestrator.runners.run_options import ClusterOptions
from orchestrator.tuning.candidates import Candidate, with_epochs
from orchestrator.tuning.choice import Choice, TrialResult, choose, choose_including_given
from orchestrator.tuning.field_values import field_values, values_text
from orchestrator.tuning.record import FinishedTrial, SearchRecord
from orchestrator.tuning.settings import Search
from orchestrator.tuning.trial import EpochMetrics, Trial
from orchestrator.tuning.trials_table import trials_frame
from workers.campaign.campaign import Campaign
from workers.campaign.plural import count_text
from workers.campaign.yaml_io import with_repetitions

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.tuning.ray_tune import Asha, TrialRunner

_MAX_INITIAL_FAILURES = 10
"""The search ends after this many failed trials with none that succeeded: they share a mistake."""

_CONFIRMED_AT_ONCE = 5
"""Of the recipes that are as good as the best, the cheapest are trained on fresh subsets, this many at a time."""

_TABLE_INTERVAL_FACTOR = 50
"""Write the table again after this many times the duration of the last write."""


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is, in trials."""

    total: int
    ended: int = 0
    fitted: int = 0
    stopped: int = 0
    failed: int = 0
    best: float | None = None
    """Held-out accuracy, among the fitted."""
    best_recipe: str = ""
    """Where the recipe of `best` differs from the one given, in words."""


@dataclass(frozen=True)
class SearchReport:
    """What a search found. No `choice`: nothing fits.

    `nominated` is the choice on the subsets of the search; `measured` are its candidates on fresh subsets, beside
    `given`, the campaign's own recipe there. `choice` is between these.
    """

    progress: SearchProgress
    trial_results: Sequence[TrialResult]
    nominated: Choice | None
    choice: Choice | None
    campaign: Campaign | None = None
    measured: Sequence[TrialResult] = field(default=())
    given: TrialResult | None = None
    failures: Sequence[str] = field(default=())

    @property
    def chosen_number(self) -> int | None:
        """The trial whose recipe is chosen; None where it is the one given, and no trial fitted with all its epochs."""
        if self.choice is None:
            return None
        chosen = self.choice.chosen
        return next((_number(result) for result in self.measured if result.is_trial_of(chosen)), None)


class Session:
    """One call of `search_recipe`: receives the events of trials, records them, and chooses a recipe."""

    def __init__(
        self,
        campaign: Campaign,
        tuning: Campaign,
        search: Search,
        cluster: ClusterOptions,
        record: SearchRecord,
        on_progress: Callable[[SearchProgress], None],
    ) -> None:
        self.campaign, self.tuning, self.search, self.cluster = campaign, tuning, search, cluster
        self.record = record
        self.on_progress = on_progress
        self.progress = SearchProgress(total=search.trials)
        self.failures: dict[str, str] = {}
        self._epochs: dict[str, list[EpochMetrics]] = {}
        self._connections = ExitStack()
        self._runner: TrialRunner | None = None
        self._deadline = time.monotonic() + 60 * search.minutes if search.minutes else None
        self._fields: Sequence[str] = ()
        self._candidates: dict[str, Candidate] = {}
        self._campaigns: dict[str, Campaign] = {}
        """Of every trial, on fresh subsets as well."""
        self._table_due = 0.0

    def run(self, candidates: Sequence[Candidate], fields: Sequence[str], max_epochs: int) -> SearchReport:
        """Train what is not finished, and choose what fits on fresh subsets too."""
        self._fields = fields
        self._candidates = {_key(candidate): candidate for candidate in candidates}
        self._campaigns = {key: candidate.campaign for key, candidate in self._candidates.items()}
        with self._connections:
            return self._run(max_epochs)

    def _run(self, max_epochs: int) -> SearchReport:
        from orchestrator.tuning.ray_tune import Asha

        keys = self._candidates
        finished = {key: trial for key, trial in self.record.finished.items() if key in keys}
        for trial in finished.values():
            self._count(trial)
        self.on_progress(self.progress)
        asha = Asha(max_epochs) if self.search.early_stopping else None
        pending = [self._trial(key, candidate) for key, candidate in keys.items() if key not in finished]
        self._train(pending, asha, {key: trial.epochs for key, trial in finished.items()})
        trial_results = self._trial_results()
        nominated, choice = self._confirm(trial_results)
        measured = [
            TrialResult(result.candidate, fresh)
            for result in trial_results
            if (fresh := self._fresh_trial(result)) is not None
        ]
        report = SearchReport(
            progress=self.progress,
            trial_results=trial_results,
            nominated=nominated,
            choice=choice,
            campaign=None if choice is None else self._chosen_campaign(choice.chosen),
            measured=measured,
            given=self._given(),
            failures=tuple(self.failures.values()),
        )
        by_number = {candidate.candidate.number: candidate.trial for candidate in measured}
        self._write_table(trials_frame(trial_results, self._fields, by_number, nominated, report.chosen_number))
        return report

    def _trial_results(self) -> list[TrialResult]:
        done = self.record.finished
        return [TrialResult(candidate, done[key]) for key, candidate in self._candidates.items() if key in done]

    def _confirm(self, trial_results: Sequence[TrialResult]) -> tuple[Choice | None, Choice | None]:
        """The choices on the search's subsets and on fresh ones, among the trials that fit there too; None: none does.

        The first epoch at which accuracy reached a level is a lucky one, as likely as not: elsewhere it falls short.
        """
        self._deadline = None
        left = list(trial_results)
        while nominated := choose(left, self.search.cost):
            nearest = nominated.as_good[:_CONFIRMED_AT_ONCE]
            requested = {self._fresh_key(result): _trained_campaign(result) for result in nearest}
            requested[self._given_key()] = self.tuning
            missing = [result for result in requested.items() if result[0] not in self.record.finished]
            self._train([self._fresh(*result) for result in missing], None, {})
            fresh = {result.candidate.number: self._fresh_trial(result) for result in nearest}
            fits = {number: trial for number, trial in fresh.items() if trial and trial.ended == "fitted"}
            if nominated.chosen.candidate.number in fits:
                measured = [
                    TrialResult(result.candidate, fits[number])
                    for result in nearest
                    if (number := _number(result)) in fits
                ]
                return nominated, choose_including_given(measured, self._given(), self.search.cost)
            left = [result for result in left if _number(result) in fits or result not in nearest]
        return None, None

    def _fresh_trial(self, result: TrialResult) -> FinishedTrial | None:
        """A recipe's trial on fresh subsets; None before it is trained."""
        return self.record.finished.get(self._fresh_key(result))

    def _given(self) -> TrialResult | None:
        """The campaign's own recipe on fresh subsets; None before it is trained."""
        trial = self.record.finished.get(self._given_key())
        return None if trial is None else TrialResult(Candidate(0, {}, self.tuning), trial)

    def _chosen_campaign(self, chosen: TrialResult) -> Campaign:
        recipe = _trained_campaign(chosen)
        return self.campaign.model_copy(update={"model": recipe.model, "recipe": recipe.recipe})

    def _fresh_key(self, result: TrialResult) -> str:
        return f"fresh-{_key(result.candidate)}-{result.trial.last.epoch}-{self.search.fresh_count}"

    def _given_key(self) -> str:
        return f"fresh-{0:05d}-{self.tuning.recipe.epochs}-{self.search.fresh_count}"

    def _fresh(self, key: str, campaign: Campaign) -> Trial:
        """To its end, on subsets that no trial of the search has seen."""
        self._campaigns[key] = campaign
        campaign = with_repetitions(campaign, self.search.fresh_count)
        return Trial(key=key, campaign=campaign, first=self.search.runs, fit=self.search.fit, until_fit=False)

    def _trial(self, key: str, candidate: Candidate) -> Trial:
        return Trial(key=key, campaign=candidate.campaign, first=0, fit=self.search.fit, until_fit=candidate.until_fit)

    def _train(
        self, trials: Sequence[Trial], asha: "Asha | None", finished: Mapping[str, Sequence[EpochMetrics]]
    ) -> None:
        """Connect to the cluster only where there is something to train."""
        if not trials:
            return
        from orchestrator.tuning.ray_tune import cluster

        if self._runner is None:
            self._runner = self._connections.enter_context(cluster(self.cluster))
        self._runner.run(trials, self, asha, finished)

    def _count(self, trial: FinishedTrial) -> None:
        if trial.key.startswith("fresh"):
            return
        now = self.progress
        now = replace(now, ended=now.ended + 1, stopped=now.stopped + (trial.ended == "stopped"))
        if trial.ended == "fitted":
            now = replace(now, fitted=now.fitted + 1)
            if now.best is None or trial.last.heldout_accuracy > now.best:
                now = replace(now, best=trial.last.heldout_accuracy, best_recipe=self._recipe_text(trial))
        self.progress = now

    def _recipe_text(self, trial: FinishedTrial) -> str:
        candidate = self._candidates[trial.key]
        epochs = f", {count_text(trial.last.epoch, 'epoch')}" if candidate.until_fit else ""
        return f"trial {candidate.number}: {values_text(candidate.values)}{epochs}"

    def on_epoch_end(self, key: str, metrics: EpochMetrics) -> None:
        """See `TrialListener.on_epoch_end`."""
        epochs = self._epochs.setdefault(key, [])
        if metrics.epoch == 1:
            epochs.clear()
        epochs.append(metrics)
        self.on_progress(self.progress)

    def on_end(self, key: str) -> None:
        """See `TrialListener.on_end`."""
        ended = self._epochs[key][-1].ended
        if ended is not None:
            self._finish(key, ended)

    def on_stop(self, key: str) -> None:
        """See `TrialListener.on_stop`."""
        self._finish(key, "stopped")

    def _finish(self, key: str, ended: Literal["fitted", "unfitted", "diverged", "stopped"]) -> None:
        values = field_values(self._campaigns[key], self._fields)
        trial = FinishedTrial(key=key, ended=ended, epochs=self._epochs.pop(key), values=values)
        self.record.finish(trial)
        self._count(trial)
        if key in self._candidates and time.monotonic() >= self._table_due:
            self._write_table(trials_frame(self._trial_results(), self._fields))
        self.on_progress(self.progress)

    def _write_table(self, frame: "pd.DataFrame") -> None:
        """Write trials.parquet; the next time is due when that costs little beside the training in between."""
        started = time.monotonic()
        write_frame(frame, self.record.root / "trials.parquet")
        now = time.monotonic()
        self._table_due = now + _TABLE_INTERVAL_FACTOR * (now - started)

    def on_failure(self, key: str, message: str, details: str) -> None:
        """See `TrialListener.on_failure`."""
        path = self.record.fail(key, details)
        self.failures[key] = f"trial {int(key) if key.isdigit() else key}: {message} (traceback: {path})"
        self.progress = replace(self.progress, failed=self.progress.failed + 1)
        self.on_progress(self.progress)

    def should_stop(self) -> bool:
        """See `TrialListener.should_stop`: out of time, or the first trials all failed."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late or (len(self.failures) >= _MAX_INITIAL_FAILURES and not self.progress.ended)


def _key(candidate: Candidate) -> str:
    return f"{candidate.number:05d}"


def _number(result: TrialResult) -> int:
    return result.candidate.number


def _trained_campaign(result: TrialResult) -> Campaign:
    """The campaign of a trial, with the epochs that it took."""
    return with_epochs(result.candidate.campaign, result.trial.last.epoch)
