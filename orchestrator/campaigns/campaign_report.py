"""Progress of a running campaign, and the result of `run_campaign`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.campaigns.committed_runs import CommittedRuns
from orchestrator.campaigns.until_se import StoppingCheck
from orchestrator.runners.base import FailedShard
from workers.store.failures import MAX_MESSAGE
from workers.training import Precision
from workers.user_code.text_limits import shortened

MAX_NOTES = 20
"""Notes kept: thousands of shards may all produce one."""


@dataclass(frozen=True)
class CampaignProgress:
    """How far a campaign is, in runs. `total` counts all requested runs, without those skipped since a ratio reached
    its standard error; `before` those committed by earlier calls. `workers` are ready, on `nodes` machines; `by_node`
    has the workers of each node of a cluster by its name."""

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
    placement: str = ""
    """Where shards train and why, in one line, where the runner chose it."""

    @property
    def committed(self) -> int:
        """Requested runs in the store: as reported by workers, and at the end as read from the files."""
        return self.before + self.trained if self.found is None else self.found


ProgressListener = Callable[[CampaignProgress], None]
"""Takes every change of a campaign's progress."""


@dataclass(frozen=True)
class CampaignReport:
    """What a call of `run_campaign` did. `failures` are the shards given up; their runs are not in the store.

    `stopping_checks` has the last check of each ratio, in the campaign's order, where `until_se` was given.
    `holdings` is what was found in the store at the end, every file read; `precision` that of the store's runs.
    """

    store_uri: str
    progress: CampaignProgress
    failures: tuple[FailedShard, ...] = ()
    notes: tuple[str, ...] = ()
    stopping_checks: tuple[StoppingCheck, ...] = ()
    holdings: CommittedRuns | None = None
    precision: Precision = "float32"

    @property
    def complete(self) -> bool:
        """Every requested run that was not skipped is in the store, and none of their files is damaged."""
        sound = self.holdings is not None and not self.holdings.damaged
        return sound and self.progress.committed == self.progress.total

    @property
    def usable(self) -> bool:
        """Some run that was trained now, or where none was, some requested run, did not diverge."""
        if self.progress.trained:
            return self.progress.diverged < self.progress.trained
        return self.holdings is None or not self.holdings.runs or self.holdings.usable > 0


class ReportBuilder:
    """Collects what becomes of a campaign while it runs. `on_progress` gets each new `CampaignProgress`."""

    def __init__(
        self, store_uri: str, precision: Precision, progress: CampaignProgress, on_progress: ProgressListener
    ) -> None:
        self.progress = progress
        self.failures: list[FailedShard] = []
        self.stopping_checks: Sequence[StoppingCheck] = ()
        self._store_uri, self._precision = store_uri, precision
        self._notes: list[str] = []
        self._on_progress = on_progress

    def note(self, text: str) -> None:
        """Add a note, unless there are many."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(shortened(text, MAX_MESSAGE))

    def advance(self, **changes: Any) -> None:
        """Set fields of the progress."""
        self.progress = replace(self.progress, **changes)

    def notify(self) -> None:
        """Call `on_progress`."""
        self._on_progress(self.progress)

    def build(self, holdings: CommittedRuns) -> CampaignReport:
        """The result, with what was found in the store at the end."""
        return CampaignReport(
            self._store_uri,
            self.progress,
            tuple(self.failures),
            tuple(self._notes),
            tuple(self.stopping_checks),
            holdings,
            self._precision,
        )
