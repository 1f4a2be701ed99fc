"""Progress of a running campaign, and the result of `run_campaign`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.campaigns.committed_runs import CommittedRuns
from orchestrator.campaigns.until_se import Look
from orchestrator.runners.base import GivenUp
from workers.store.failures import MAX_MESSAGE
from workers.training import Precision
from workers.user_code.text_limits import shortened

MOST_NOTES = 20
"""Notes kept of what thousands of shards may all have to tell."""


@dataclass
class CampaignProgress:
    """How far a campaign is, in runs. `total` counts all requested runs, less those that reaching a standard error
    spared; `before` those committed by earlier calls. `workers` are ready, on `nodes` machines; `by_node` names those
    of a cluster, with the workers of each."""

    total: int
    before: int
    trained: int = 0
    diverged: int = 0
    failed: int = 0
    workers: int = 0
    nodes: int = 1
    workers_lost: int = 0
    by_node: Mapping[str, int] = field(default_factory=dict)
    checked: int = 0
    to_check: int = 0
    """Result files that were checked at the end, and those that there are; 0 before."""
    found: int | None = None
    """Requested runs that are in sound files, once these were checked; None before."""

    @property
    def committed(self) -> int:
        """Runs in the store, of those requested: as they were told of, and in the end as they were found."""
        return self.before + self.trained if self.found is None else self.found


@dataclass(frozen=True)
class CampaignReport:
    """What a call of `run_campaign` did. `failures` are the shards given up; their runs are not in the store.

    `looks` are the last ones at each ratio, in the campaign's order, where a standard error was to be reached.
    `holdings` is what was found in the store at the end, every file read; `precision` that of the store's runs.
    """

    store_uri: str
    progress: CampaignProgress
    failures: list[GivenUp] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looks: Sequence[Look] = field(default=())
    holdings: CommittedRuns | None = None
    precision: Precision = "float32"

    def note(self, text: str) -> None:
        """Add to the notes, unless there are many."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(shortened(text, MAX_MESSAGE))

    @property
    def complete(self) -> bool:
        """Every requested run, and not spared, is in the store, and no file of them is damaged."""
        sound = self.holdings is not None and not self.holdings.damaged
        return sound and self.progress.committed == self.progress.total

    @property
    def usable(self) -> bool:
        """Some run that was trained now, or where none was, some requested run, did not diverge."""
        if self.progress.trained:
            return self.progress.diverged < self.progress.trained
        return self.holdings is None or not self.holdings.runs or self.holdings.usable > 0
