"""Runs a campaign from start to end: check, create or open the store, plan, train, report."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from orchestrator.arrangement import arrange
from orchestrator.prepare import campaign_examples, check_campaign_fits, make_header
from orchestrator.runner import GivenUp, Job, Outcome, Runner, WorkersChanged
from orchestrator.shards import pending_shards
from workers.campaign import Campaign
from workers.campaign_file import with_repetitions
from workers.datasets import load_dataset
from workers.errors import LongtailError
from workers.store import Failure, Header, Store

HOPELESS = 10
"""So many shards in a row failing, with none committed before, end the campaign: the mistake is in all of them."""


@dataclass
class Progress:
    """How far a campaign is, in runs. `total` counts all runs asked for, `before` those committed by earlier calls."""

    total: int
    before: int
    trained: int = 0
    diverged: int = 0
    failed: int = 0
    workers: int = 0
    workers_lost: int = 0

    @property
    def committed(self) -> int:
        """Runs in the store, of those asked for."""
        return self.before + self.trained


@dataclass(frozen=True)
class CampaignReport:
    """What a call of `run_campaign` did. `failures` are the shards given up; their runs are not in the store."""

    store_uri: str
    progress: Progress
    failures: Sequence[GivenUp] = field(default=())
    notes: Sequence[str] = field(default=())

    @property
    def complete(self) -> bool:
        """Every run asked for is committed."""
        return self.progress.committed == self.progress.total


class CampaignFailedError(LongtailError, RuntimeError):
    """Every shard failed; the text is the first one's error with the place of its traceback."""


def run_campaign(
    campaign: Campaign,
    store: str | os.PathLike[str],
    *,
    runner: Runner | None = None,
    repetitions: int | None = None,
    shard_size: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> CampaignReport:
    """Train what a campaign lacks in its store, creating the store where there is none.

    `runner` defaults to `LocalRunner()`. `repetitions` replaces the campaign's; `shard_size` (runs per shard) holds for
    a new store and is ignored for an existing one, whose size is fixed. Calling again resumes; more repetitions or
    ratios extend. Raises CampaignError, DataError, ModelError before anything is written; StoreError where the store is
    of another campaign or cannot be written; CampaignFailedError where nothing can be trained at all. KeyboardInterrupt
    passes through; whatever was committed stays.
    """
    if runner is None:
        from orchestrator.local_runner import LocalRunner

        runner = LocalRunner()
    campaign = with_repetitions(campaign, repetitions).with_absolute_paths()
    dataset = load_dataset(campaign.dataset)
    facts = check_campaign_fits(campaign, dataset)
    header = make_header(campaign, dataset)
    if not Store.exists(store):
        arranged = arrange(campaign, dataset, facts, runner.machine(), shard_size, runner.fastest_stack)
        sizes = {"shard_size": arranged.shard_size, "stack_size": arranged.stack_size}
        header = make_header(campaign, dataset, **sizes, precision=arranged.precision)
    opened = Store.create(store, header, campaign_examples(campaign, dataset))
    opened.clean()
    opened.aim(campaign.subsets)
    pending = pending_shards(campaign, opened.shards(), opened.header.shard_size)
    total = len(campaign.subsets.ratios) * campaign.subsets.repetitions
    progress = Progress(total=total, before=total - sum(shard.stop - shard.start for shard in pending))
    on_progress(progress)
    failures: list[GivenUp] = []
    failed_before = {failure.shard_id for failure in opened.failures()}
    if pending:
        with closing(runner.run(Job(campaign, opened.uri), pending)) as outcomes:
            for outcome in outcomes:
                _account(outcome, opened, progress, failures, failed_before)
                on_progress(progress)
    return CampaignReport(opened.uri, progress, failures, _version_notes(header, opened.header))


def _account(
    outcome: Outcome, store: Store, progress: Progress, failures: list[GivenUp], failed_before: set[str]
) -> None:
    match outcome:
        case WorkersChanged():
            progress.workers, progress.workers_lost = outcome.ready, outcome.lost
        case GivenUp(error=error):
            failures.append(outcome)
            progress.failed += error.shard.stop - error.shard.start
            store.record_failure(Failure(error.shard.shard_id, outcome.attempts, error.message, error.traceback))
            if len(failures) >= HOPELESS and not progress.trained:
                first = failures[0].error
                raise CampaignFailedError(
                    f"the first {HOPELESS} shards all failed: {first.message} "
                    f"(traceback: {store.uri}/failures/{first.shard.shard_id}.json)"
                )
        case _:
            progress.trained += outcome.shard.stop - outcome.shard.start
            progress.diverged += outcome.diverged
            if outcome.shard.shard_id in failed_before:
                store.clear_failure(outcome.shard)


def _version_notes(ours: Header, theirs: Header) -> list[str]:
    return [
        f"{name} is {ours.versions.get(name)}, the store was made with {theirs.versions.get(name)}: "
        "new runs may differ in the last bit from a campaign of one version"
        for name in sorted({*ours.versions, *theirs.versions})
        if ours.versions.get(name) != theirs.versions.get(name)
    ]
