"""Runs a campaign: check, create or open the store, plan, train, report."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.campaigns.campaign_report import CampaignProgress, CampaignReport, ProgressListener, ReportBuilder
from orchestrator.campaigns.committed_runs import Masks, check_committed_runs
from orchestrator.campaigns.downloads import with_download
from orchestrator.campaigns.execution_plan import RequestedSizes, plan_execution
from orchestrator.campaigns.memory_check import check_stack_fits, needs_of_one_model
from orchestrator.campaigns.pending import pending_shards
from orchestrator.campaigns.preflight import (
    ModelFacts,
    campaign_examples,
    campaign_notes,
    check_campaign_fits,
    check_fits_memory,
    make_header,
    resolve_tables,
    starting_values,
)
from orchestrator.campaigns.run_work import forward_passes
from orchestrator.campaigns.until_se import UntilSe, check_has_se
from orchestrator.runners.base import (
    ClosableRunner,
    FailedShard,
    Job,
    Note,
    Outcome,
    Placement,
    Runner,
    WorkersChanged,
)
from orchestrator.runners.run_options import RunnerName, RunOptions
from orchestrator.runners.selection import make_runner
from workers.campaign.campaign import PPM, Campaign, Subsets
from workers.campaign.keys import Shard
from workers.campaign.plural import count_text
from workers.campaign.yaml_io import with_repetitions
from workers.datasets import Dataset, load_dataset
from workers.errors import DamagedFileError, LongtailError
from workers.store import Failure, Header, Store
from workers.store.file_problems import EXAMPLES_FILE
from workers.training.shard import check_starting_values

MAX_INITIAL_FAILURES = 10
"""So many shards in a row failing, with none committed before, end the campaign: the mistake is in all of them."""

_STORE_CHECK_SECONDS = 30.0
"""How often the driver checks that an object store exists; there workers do not do it at every commit."""

_REPORT_SECONDS = 0.2


class CampaignFailedError(LongtailError, RuntimeError):
    """Every shard failed; the text is the first one's error with the place of its traceback."""


def run_campaign(
    campaign: Campaign,
    store: str | os.PathLike[str],
    options: RunOptions | None = None,
    *,
    runner: Runner | RunnerName | None = None,
    on_progress: ProgressListener = lambda progress: None,
    on_data: Callable[[Dataset], None] = lambda dataset: None,
    **fields: Any,
) -> CampaignReport:
    """Train what a campaign lacks in its store, creating the store where there is none.

    Keywords set fields of the options: `run_campaign(campaign, store, repetitions=100, runner="ray", workers=4)`. A
    `runner` with the methods of `Runner` trains instead of the one that the options ask for, and is closed in the end
    where it has a method `close`. Calling again resumes;
    more repetitions or ratios, or no `until_se`, extend. `on_data` gets the data set once read.
    Raises CampaignError, DataError, ModelError before anything is written; StoreError where the store is of another
    campaign or cannot be written; CampaignFailedError where nothing can be trained at all. KeyboardInterrupt passes
    through; whatever was committed stays.
    """
    if isinstance(runner, str):
        fields["runner"], runner = runner, None
    options = replace(options or RunOptions(), **fields)
    if options.until_se is not None:
        check_has_se(campaign)
    listeners = Listeners(on_progress, on_data)
    runner = runner or make_runner(options)
    with ExitStack() as at_end:
        if isinstance(runner, ClosableRunner):
            at_end.callback(runner.close)
        return _run(campaign, store, options, runner, listeners)


@dataclass(frozen=True)
class Listeners:
    """Functions that get a campaign's progress, and its data set once it is read."""

    on_progress: ProgressListener
    on_data: Callable[[Dataset], None]


def _run(
    campaign: Campaign, store: str | os.PathLike[str], options: RunOptions, runner: Runner, listeners: Listeners
) -> CampaignReport:
    """See `run_campaign`."""
    campaign = with_repetitions(campaign, options.repetitions).with_absolute_paths()
    if options.download:
        campaign = with_download(campaign)
    dataset = load_dataset(campaign.dataset)
    listeners.on_data(dataset)
    campaign, facts, opened, notes = _prepared_store(campaign, dataset, store, runner, options)
    committed = opened.shards()
    opened.checkpoints.remove_stale(lambda: committed)
    pending = pending_shards(campaign, committed, opened.header.shard_size)
    damaged: list[DamagedFileError] = []
    failed_before = {failure.shard_id for failure in opened.failures(committed, damaged)}
    opened.targets(damaged)
    requested = len(campaign.subsets.ratios) * campaign.subsets.repetitions
    progress = CampaignProgress(total=requested, before=requested - sum(shard.stop - shard.start for shard in pending))
    report = ReportBuilder(opened.uri, opened.header.precision, progress, listeners.on_progress)
    for note in [*notes, *(f"left out: {error}" for error in damaged)]:
        report.note(note)
    work = {ratio: forward_passes(campaign, ratio, opened.header) for ratio in campaign.subsets.ratios_ppm}
    operations = {ratio: passes * facts.forward_operations for ratio, passes in work.items()}
    job = Job(campaign, opened.uri, options.checkpoint_minutes, operations)
    if options.until_se is None:
        opened.add_target(campaign.subsets)
        _train(job, opened, runner, pending, report, failed_before)
        return _checked(report, opened, _masks(campaign))
    until = UntilSe(campaign, opened, options.until_se)
    for step in until.steps(pending):
        report.advance(total=requested - until.skipped_runs)
        _train(job, opened, runner, step, report, failed_before)
    report.advance(total=requested - until.skipped_runs)
    report.notify()
    report.stopping_checks = tuple(until.stopping_checks.values())
    return _checked(report, opened, _masks(campaign, until.skipped))


def _checked(report: ReportBuilder, store: Store, requested: Masks) -> CampaignReport:
    """The report, corrected by what the store's files hold at the end."""
    last = 0.0

    def on_checked(done: int, total: int) -> None:
        nonlocal last
        report.advance(checked=done, to_check=total)
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            report.notify()

    holdings = check_committed_runs(store, requested, on_checked)
    report.advance(found=holdings.runs)
    result = report.build(holdings)
    if result.complete and not result.stopping_checks:  # another driver may have requested less meanwhile
        for ratio_ppm, runs in holdings.requested.items():
            store.add_target(Subsets(ratios=(ratio_ppm / PPM,), repetitions=runs), at_least=True)
    report.notify()
    return result


def _masks(campaign: Campaign, skipped: Sequence[Shard] = ()) -> Masks:
    """The runs that a campaign requests, without the skipped ones."""
    masks = {ratio_ppm: np.ones(campaign.subsets.repetitions, dtype=bool) for ratio_ppm in campaign.subsets.ratios_ppm}
    for shard in skipped:
        masks[shard.ratio_ppm][shard.start : shard.stop] = False
    return masks


def _prepared_store(
    campaign: Campaign,
    dataset: Dataset,
    store: str | os.PathLike[str],
    runner: Runner,
    options: RunOptions,
) -> tuple[Campaign, ModelFacts, Store, list[str]]:
    """The campaign with its identity complete, its model's size, its store, made where there is none, and notes.

    Raises as `run_campaign`.
    """
    campaign, tables = resolve_tables(campaign, dataset)
    facts = check_campaign_fits(campaign, dataset)
    header, notes = make_header(campaign, dataset), [*campaign_notes(campaign, dataset.num_train), *facts.notes]
    is_new = not Store.exists(store)
    if is_new:
        machine = runner.machine()
        requested = RequestedSizes(options.shard_size, options.stack_size)
        needs = needs_of_one_model(campaign, dataset, facts, machine)
        arranged = plan_execution(campaign, dataset, facts, machine, requested, runner.fastest_stack)
        check_stack_fits(arranged, needs, machine, requested=requested.stack is not None)
        notes += [arranged.note] if arranged.note else []
        header = make_header(campaign, dataset, **arranged.header_fields())
        if machine.device == "cpu":
            check_fits_memory(campaign, dataset, header)
        header = header.model_copy(update={"starting_values": starting_values(campaign, dataset)})
    opened = Store.create(store, header, campaign_examples(campaign, dataset, tables))
    opened.clean()
    check_starting_values(campaign, opened.header, dataset.input_shape, opened.uri)
    notes += _size_notes(options, opened.header, campaign.subsets.repetitions, is_new=is_new)
    if opened.rewritten:
        notes.append(f"{opened.uri}/{EXAMPLES_FILE} was missing: it was written anew, equal to what it was")
    return campaign, facts, opened, [*notes, *_version_notes(header, opened.header)]


def _size_notes(options: RunOptions, header: Header, repetitions: int, *, is_new: bool) -> list[str]:
    """Notes on requested sizes: an existing store keeps its own, a new one trains whole stacks."""
    fixed = "which was fixed when it was made"
    sizes = (
        ("shards", "run", options.shard_size, header.shard_size),
        ("stacks", "model", options.stack_size, header.stack_size),
    )
    notes = [
        f"{what} of {count_text(requested, noun)} were requested: the store keeps its size, {stored}, {fixed}"
        for what, noun, requested, stored in sizes
        if requested is not None and requested != stored and not is_new
    ]
    if is_new and options.stack_size is not None:
        text = f"stacks of {count_text(header.stack_size, 'model')}, as requested (--stack-size)"
        trained = -(-repetitions // header.stack_size) * header.stack_size
        if trained > repetitions:
            text += f": {trained:,} models train for the {count_text(repetitions, 'run')} of a ratio, in whole stacks"
        notes.append(text)
    return notes


def _train(
    job: Job,
    store: Store,
    runner: Runner,
    shards: Sequence[Shard],
    report: ReportBuilder,
    failed_before: set[str],
) -> None:
    """Train shards, and add what becomes of them to the report; earlier calls gave up those `failed_before`, by id."""
    report.notify()
    if not shards:
        return
    last_check = time.monotonic()
    with closing(runner.run(job, shards)) as outcomes:
        for outcome in outcomes:
            if time.monotonic() - last_check >= _STORE_CHECK_SECONDS:
                store.check_binding()
                last_check = time.monotonic()
            _account(outcome, store, report, failed_before)
            report.notify()
    store.checkpoints.remove_stale(store.shards)


def _account(outcome: Outcome, store: Store, report: ReportBuilder, failed_before: set[str]) -> None:
    progress, failures = report.progress, report.failures
    match outcome:
        case WorkersChanged():
            workers = {"workers": outcome.ready, "nodes": outcome.nodes, "workers_lost": outcome.lost}
            report.advance(**workers, by_node=outcome.by_node)
        case Note(text=text):
            report.note(text)
        case Placement(text=text):
            report.advance(placement=text)
        case FailedShard(error=error):
            failures.append(outcome)
            report.advance(failed=progress.failed + error.shard.stop - error.shard.start)
            store.record_failure(Failure(error.shard.shard_id, outcome.attempts, error.message, error.traceback))
            if len(failures) >= MAX_INITIAL_FAILURES and not progress.trained:
                first = failures[0].error
                failed = CampaignFailedError(
                    f"the first {MAX_INITIAL_FAILURES} shards all failed: {first.message} "
                    f"(traceback: {store.uri}/failures/{first.shard.shard_id}.json)"
                )
                failed.exit_code = first.exit_code
                raise failed
        case _:
            trained = progress.trained + outcome.shard.stop - outcome.shard.start
            report.advance(trained=trained, diverged=progress.diverged + outcome.diverged)
            for text in outcome.notes:
                report.note(text)
            if outcome.shard.shard_id in failed_before:
                store.clear_failure(outcome.shard)


def _version_notes(ours: Header, theirs: Header) -> list[str]:
    return [
        f"{name} is {ours.versions.get(name)}, the store was made with {theirs.versions.get(name)}: "
        "new runs may differ in the last bit from a campaign of one version"
        for name in sorted({*ours.versions, *theirs.versions})
        if ours.versions.get(name) != theirs.versions.get(name)
    ]
