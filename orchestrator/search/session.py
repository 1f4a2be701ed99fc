"""The course of a recipe search: trials trained and kept, the choice, and its figures on fresh subsets."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.frames import write_frame
from orchestrator.search.candidates import Candidate, frozen
from orchestrator.search.choice import Choice, Cost, Tried, choose, trials_frame
from orchestrator.search.record import FinishedTrial, SearchRecord
from orchestrator.search.trial import EpochFigures, Trial
from workers.campaign import Campaign

if TYPE_CHECKING:
    from orchestrator.search.ray_tune import Asha, TrialRunner

_HOPELESS = 10
"""So many failed trials, with none that ended otherwise, end a search: the mistake is in all of them."""

_MEASURED = 5
"""So many of the recipes that are as good as any are measured anew at a time, the cheapest."""


@dataclass(frozen=True)
class Search:
    """What is searched. `runs` is the number of models of each trial at each ratio; no `minutes`: no limit."""

    fit: float = 0.99
    trials: int = 40
    runs: int = 4
    seed: int = 0
    max_epochs: int | None = None
    """None: twice the campaign's, or what the space asks for."""
    ratios: tuple[float, ...] | None = None
    """None: the campaign's smallest and largest. The smallest has the fewest updates, the largest most to fit."""
    space: Path | None = None
    """None: `default_space`."""
    cost: Cost = Cost.operations
    early_stopping: bool = True
    minutes: float | None = None


@dataclass(frozen=True)
class Place:
    """Where trials are trained: see `orchestrator.ray_runner.RayRunner`."""

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    working_dir: str | None = None


@dataclass
class SearchProgress:
    """How far a search is, in trials."""

    total: int
    ended: int = 0
    fitted: int = 0
    stopped: int = 0
    failed: int = 0
    best: float | None = None
    """Held-out accuracy, among the fitted."""


@dataclass(frozen=True)
class SearchReport:
    """What a search found. No `choice`: nothing fits.

    `fresh` are trials that were nearly chosen, by number, and `given` the campaign's own recipe: on fresh subsets.
    """

    progress: SearchProgress
    tried: Sequence[Tried]
    choice: Choice | None
    campaign: Campaign | None = None
    fresh: Mapping[int, FinishedTrial] = field(default_factory=dict)
    given: FinishedTrial | None = None
    failures: Sequence[str] = field(default=())


class Session:
    """One call of `search_recipe`: hears what becomes of trials, keeps it, and chooses."""

    def __init__(
        self,
        campaign: Campaign,
        tuning: Campaign,
        search: Search,
        place: Place,
        record: SearchRecord,
        on_progress: Callable[[SearchProgress], None],
    ) -> None:
        self.campaign, self.tuning, self.search, self.place = campaign, tuning, search, place
        self.record = record
        self.on_progress = on_progress
        self.progress = SearchProgress(total=search.trials)
        self.failures: dict[str, str] = {}
        self._epochs: dict[str, list[EpochFigures]] = {}
        self._connections = ExitStack()
        self._runner: TrialRunner | None = None
        self._deadline = time.monotonic() + 60 * search.minutes if search.minutes else None

    def run(self, candidates: Sequence[Candidate], fields: Sequence[str], max_epochs: int) -> SearchReport:
        """Train what is not finished, and choose what fits on fresh subsets too."""
        with self._connections:
            return self._run(candidates, fields, max_epochs)

    def _run(self, candidates: Sequence[Candidate], fields: Sequence[str], max_epochs: int) -> SearchReport:
        from orchestrator.search.ray_tune import Asha

        keys = {_key(each): each for each in candidates}
        finished = {key: trial for key, trial in self.record.finished.items() if key in keys}
        for trial in finished.values():
            self._count(trial)
        self.on_progress(self.progress)
        asha = Asha(max_epochs) if self.search.early_stopping else None
        pending = [self._trial(key, each) for key, each in keys.items() if key not in finished]
        self._train(pending, asha, {key: trial.epochs for key, trial in finished.items()})
        done = self.record.finished
        tried = [Tried(each, done[key]) for key, each in keys.items() if key in done]
        choice = self._confirmed(tried)
        fresh = {each.candidate.number: done[key] for each in tried if (key := _fresh_key(each)) in done}
        write_frame(trials_frame(tried, fresh, choice, fields), self.record.root / "trials.parquet")
        return SearchReport(
            progress=self.progress,
            tried=tried,
            choice=choice,
            campaign=None if choice is None else self._found(choice.chosen),
            fresh=fresh,
            given=done.get(_given_key(self.tuning)),
            failures=tuple(self.failures.values()),
        )

    def _confirmed(self, tried: Sequence[Tried]) -> Choice | None:
        """The choice among the trials that fit on fresh subsets too; None where none does.

        The first epoch at which accuracy reached a level is a lucky one, as likely as not: elsewhere it falls short.
        """
        self._deadline = None
        left = list(tried)
        while choice := choose(left, self.search.cost):
            nearest = choice.as_good[:_MEASURED]
            wanted = {_fresh_key(each): _cut(each) for each in nearest} | {_given_key(self.tuning): self.tuning}
            self._train(
                [self._fresh(*each) for each in wanted.items() if each[0] not in self.record.finished], None, {}
            )
            misses = [each for each in nearest if not self._fits_anew(each)]
            if choice.chosen not in misses:
                return choice
            left = [each for each in left if each not in misses]
        return None

    def _fits_anew(self, each: Tried) -> bool:
        fresh = self.record.finished.get(_fresh_key(each))
        return fresh is not None and fresh.ended == "fitted"

    def _found(self, chosen: Tried) -> Campaign:
        recipe = _cut(chosen)
        return self.campaign.model_copy(update={"model": recipe.model, "recipe": recipe.recipe})

    def _fresh(self, key: str, campaign: Campaign) -> Trial:
        """To its end, on subsets that no trial of the search has seen."""
        return Trial(key=key, campaign=campaign, first=self.search.runs, fit=self.search.fit, until_fit=False)

    def _trial(self, key: str, each: Candidate) -> Trial:
        return Trial(key=key, campaign=each.campaign, first=0, fit=self.search.fit, until_fit=each.until_fit)

    def _train(
        self, trials: Sequence[Trial], asha: "Asha | None", finished: Mapping[str, Sequence[EpochFigures]]
    ) -> None:
        """Connects to the cluster when there is something to train."""
        if not trials:
            return
        from orchestrator.search.ray_tune import cluster

        if self._runner is None:
            place = self.place
            self._runner = self._connections.enter_context(
                cluster(place.address, place.workers, place.gpus_per_worker, place.working_dir)
            )
        self._runner.run(trials, self, asha, finished)

    def _count(self, trial: FinishedTrial) -> None:
        if trial.key.startswith("fresh"):
            return
        now = self.progress
        now.ended += 1
        now.stopped += trial.ended == "stopped"
        if trial.ended == "fitted":
            now.fitted += 1
            now.best = max(now.best or 0.0, trial.last.heldout_accuracy)

    def epoch(self, key: str, figures: EpochFigures) -> None:
        """See `Listener.epoch`."""
        epochs = self._epochs.setdefault(key, [])
        if figures.epoch == 1:
            epochs.clear()
        epochs.append(figures)
        self.on_progress(self.progress)

    def ended(self, key: str) -> None:
        """See `Listener.ended`."""
        ended = self._epochs[key][-1].ended
        if ended is not None:
            self._finish(FinishedTrial(key=key, ended=ended, epochs=self._epochs.pop(key)))

    def stopped(self, key: str) -> None:
        """See `Listener.stopped`."""
        self._finish(FinishedTrial(key=key, ended="stopped", epochs=self._epochs.pop(key)))

    def _finish(self, trial: FinishedTrial) -> None:
        self.record.finish(trial)
        self._count(trial)
        self.on_progress(self.progress)

    def failed(self, key: str, message: str, details: str) -> None:
        """See `Listener.failed`."""
        path = self.record.fail(key, details)
        self.failures[key] = f"trial {int(key) if key.isdigit() else key}: {message} (traceback: {path})"
        self.progress.failed += 1
        self.on_progress(self.progress)

    def enough(self) -> bool:
        """See `Listener.enough`: out of time, or hopeless."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late or (len(self.failures) >= _HOPELESS and not self.progress.ended)


def _key(candidate: Candidate) -> str:
    return f"{candidate.number:05d}"


def _fresh_key(each: Tried) -> str:
    return f"fresh-{_key(each.candidate)}-{each.trial.last.epoch}"


def _given_key(tuning: Campaign) -> str:
    return f"fresh-{0:05d}-{tuning.recipe.epochs}"


def _cut(each: Tried) -> Campaign:
    """The campaign of a trial, with the epochs that it took."""
    return frozen(each.candidate.campaign, each.trial.last.epoch)
