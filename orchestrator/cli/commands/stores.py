"""Commands that maintain stores: status, verify, compact."""

from functools import partial
from typing import Annotated

import typer

from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import console, errors, interruption, say, show_table, warn, warn_damaged
from workers.campaign.plural import count_text

_EVERY_SECONDS = 2.0


def status(
    store: StoreArgument,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh until all requested runs are committed.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option("--every", min=0.1, max=86_400, help="With --watch: seconds between refreshes; default: 2."),
    ] = None,
) -> None:
    """Show the progress of a campaign, wherever it runs.

    Example: longtail status STORE --watch
    """
    from orchestrator.campaigns.se_percentiles import StandardErrors
    from orchestrator.cli.watch import counted_text, ratios_table, watch_store
    from orchestrator.store_ops.status import campaign_status
    from workers.store.file_problems import DIVERGENCE_HINT

    if every is not None and not watch:
        raise typer.BadParameter("--every is for --watch, which repeats")
    if watch:
        state = watch_store(store, _EVERY_SECONDS if every is None else every, console, interruption.wait)
    else:
        state = campaign_status(store)
        facts = f"{state.dataset}, {state.num_train:,} training and {count_text(state.num_test, 'test example')}"
        say(f"{state.store_uri}: {facts}; campaign {state.identity[:12]}")
        show_table(ratios_table(state, StandardErrors({})))
        accuracy = "" if state.test_accuracy is None else f"; mean test accuracy {state.test_accuracy:.4f}"
        say(f"{counted_text(state)}{accuracy}")
        if not state.requested and state.beyond:
            warn("note: the store has no request for runs (targets/): the same longtail run writes one")
        if state.diverged and state.diverged == sum(ratio.committed for ratio in state.ratios):
            warn(f"note: all committed runs diverged, so that there is nothing to estimate from ({DIVERGENCE_HINT})")
        for failure in state.failures:
            say(f"failed: {failure.shard_id} after {count_text(failure.attempts, 'attempt')}: {failure.message}")
    if state is not None and state.damaged:
        warn_damaged(state.damaged)
        raise typer.Exit(1)


def verify(
    store: StoreArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside; the next `longtail run` replaces them.")
    ] = False,
) -> None:
    """Check every committed file: checksums, content, format, campaign. List the runs that are missing.

    Example: longtail verify STORE --repair
    """
    from orchestrator.cli.progress import work_display
    from orchestrator.store_ops.verify import missing_imports, missing_runs, verify_store
    from workers.campaign.campaign import PPM

    with work_display(errors) as show:
        checked, findings = verify_store(store, repair=repair, on_progress=partial(show, "files checked"))
    for finding in findings:
        moved = f" (set aside as {finding.moved_to})" if finding.moved_to else ""
        warn(f"{finding.path}: {finding.problem}{moved}")
    say(f"{count_text(checked, 'file')} checked, {len(findings)} damaged")
    if any(finding.moved_to is None for finding in findings):
        aside = "" if repair else f"longtail verify {store} --repair sets damaged files aside; then "
        warn(f"{aside}the same longtail run, or import, makes again what is not there")
        raise typer.Exit(1)
    if findings:
        say("the same longtail run, or import, makes again what was set aside")
    for ratio_ppm, runs in missing_runs(store).items():
        say(
            f"ratio {ratio_ppm / PPM:g}: missing of those requested: {count_text(len(runs), 'run')}, "
            f"{runs[0].run_id} first"
        )
    for ratio_ppm, number in missing_imports(store).items():
        say(
            f"ratio {ratio_ppm / PPM:g}: missing of those imported: {count_text(number, 'run')}; "
            "importing again brings them back"
        )


def compact(
    store: StoreArgument,
    size: Annotated[
        int,
        typer.Option(
            "--size", min=1, max=1024, help="MB per merged file, before compression; peak memory is 3 times that."
        ),
    ] = 64,
    grace: Annotated[
        float,
        typer.Option("--grace", min=0, max=86_400, help="Seconds before merged files are deleted, for other readers."),
    ] = 10.0,
) -> None:
    """Merge many small result files into few large ones. Safe to interrupt, and while others train and read.

    Example: longtail compact STORE
    """
    from orchestrator.cli.progress import work_display
    from orchestrator.store_ops.compact import compact_store

    with work_display(errors) as show:
        report = compact_store(store, size=size << 20, grace=grace, on_progress=partial(show, "files merged"))
    for path, problem in report.problems.items():
        warn(f"{path}: {problem} (left as it is; see longtail verify)")
    say(f"{report.store_uri}: {count_text(report.before, 'result file')} before, {report.after} now")
    if report.problems:
        raise typer.Exit(1)
