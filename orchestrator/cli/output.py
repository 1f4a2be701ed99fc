"""Output of commands, and of a campaign from start to end."""

import threading
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.output_streams import failure_of_output, training_continues
from orchestrator.cli.terminal import TextConsole, escape_line
from workers.campaign.plural import count_text
from workers.errors import FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.campaigns.campaign_report import CampaignReport
    from orchestrator.campaigns.committed_runs import CommittedRuns
    from orchestrator.campaigns.until_se import StoppingCheck
    from orchestrator.cli.text_table import TextTable
    from orchestrator.runners.run_options import RunOptions
    from workers.campaign.campaign import Campaign
    from workers.datasets import Dataset
    from workers.errors import DamagedFileError

interruption = threading.Event()
"""Set when a signal asks the command to end. Beside the KeyboardInterrupt, because Python drops an exception that a
signal raises in the midst of a destructor."""

console = TextConsole()
errors = TextConsole(stderr=True)


def say(line: str) -> None:
    """Print one line: no markup, no wrapping, so that paths can be copied and text can be piped."""
    console.print(escape_line(line), markup=False, highlight=False, soft_wrap=True)


def warn(line: str) -> None:
    """Likewise, on standard error."""
    errors.print(escape_line(line), markup=False, highlight=False, soft_wrap=True)


def warn_lost_output() -> None:
    """Say that what was printed in training went nowhere, where it did."""
    why = failure_of_output()
    if why is not None:
        warn(f"note: standard output could not be written ({why}); the work went on without it")


def show_table(table: "TextTable") -> None:
    """Print a table, whole where no width is known."""
    console.print(table, crop=False)


def show_data(dataset: "Dataset") -> None:
    """Print which data were read."""
    from orchestrator.cli.data_summary import data_lines

    for line in data_lines(dataset):
        say(line)


def warn_data(dataset: "Dataset") -> None:
    """Likewise, on standard error: beside a progress view."""
    from orchestrator.cli.data_summary import data_lines

    for line in data_lines(dataset):
        warn(line)


_MAX_DAMAGED_SHOWN = 10
"""Damaged files that are named; `longtail verify` names all."""


def warn_damaged(damaged: "Sequence[DamagedFileError]") -> None:
    """A line for each damaged file, with what helps; of many the first."""
    for error in damaged[:_MAX_DAMAGED_SHOWN]:
        warn(f"damaged: {error}")
    if len(damaged) > _MAX_DAMAGED_SHOWN:
        warn(f"damaged: {count_text(len(damaged) - _MAX_DAMAGED_SHOWN, 'more file')}, which longtail verify names")


@training_continues()
def run_and_show(
    campaign: "Campaign",
    store: str,
    options: "RunOptions",
) -> "CampaignReport":
    """Run a campaign with its progress on standard error, and print the result. Ctrl-C ends the command with 130."""
    if options.runner == "ray":
        # First: where torch is missing as well, the extra `ray` installs both.
        import_module("orchestrator.runners.ray.runner")

    from orchestrator.campaigns.campaign_report import CampaignProgress
    from orchestrator.campaigns.run import run_campaign
    from orchestrator.cli.progress import campaign_display

    try:
        with campaign_display(errors, store) as display:
            told = ""

            def show(progress: CampaignProgress) -> None:
                nonlocal told
                if progress.placement != told:
                    told = progress.placement
                    warn(told)
                display(progress)
                if interruption.is_set():
                    raise KeyboardInterrupt

            report = run_campaign(campaign, store, options, on_progress=show, on_data=warn_data)
    except KeyboardInterrupt:
        warn(f"interrupted; what is in {store} stays, and the same command resumes")
        raise typer.Exit(130) from None
    for note in report.notes:
        warn(f"note: {note}")
    done = report.progress
    text = f"{done.committed:,} of {count_text(done.total, 'run')} in {report.store_uri} ({done.trained:,} trained now"
    say(f"{text}, {done.diverged} diverged)")
    for check in report.stopping_checks:
        say(f"ratio {check.ratio:g}: {_stopping_text(check, options.until_se)}")
    if report.holdings is not None:
        _show_committed_runs(report, report.holdings, campaign)
    return report


def _show_committed_runs(report: "CampaignReport", committed: "CommittedRuns", campaign: "Campaign") -> None:
    """What is out of the ordinary in the store: more runs than were requested, diverged ones, damage, runs gone."""
    beyond = [
        f"{committed.there[ratio_ppm]} at ratio {ratio_ppm / 1e6:g}, of {requested} requested"
        for ratio_ppm, requested in committed.requested.items()
        if committed.there[ratio_ppm] > requested and not report.stopping_checks
    ]
    if beyond:
        say(f"the store holds more runs than were requested: {'; '.join(beyond)}")
    diverged = [
        f"{lost} of {committed.committed[ratio_ppm]} at ratio {ratio_ppm / 1e6:g}"
        for ratio_ppm, lost in committed.diverged.items()
        if lost
    ]
    if diverged:
        warn(
            f"diverged (the loss was not finite; estimates leave these runs out): {', '.join(diverged)}. "
            f"What usually helps: {', '.join(_remedies(campaign, report.precision))}. "
            "A changed recipe needs a store of its own"
        )
    warn_damaged(committed.damaged)
    gone = report.progress.before + report.progress.trained - committed.runs
    if gone > 0:
        first = f"longtail verify {report.store_uri} --repair, then " if committed.damaged else ""
        runs = f"{count_text(gone, 'run')} that had been committed {'is' if gone == 1 else 'are'}"
        warn(f"error: {runs} gone or damaged; {first}the same longtail run trains them")


def _remedies(campaign: "Campaign", precision: str) -> list[str]:
    """What keeps losses finite, as far as the recipe does not have it."""
    recipe = campaign.recipe
    helps = [f"a lower learning rate (recipe.optimizer.learning_rate, now {recipe.optimizer.learning_rate:g})"]
    if recipe.schedule.name in ("constant", "step") or not getattr(recipe.schedule, "warmup_epochs", 1):
        helps.append("warm-up (recipe.schedule: cosine with warmup_epochs)")
    if precision != "float32":
        helps.append("recipe.precision: float32")
    return helps


def _stopping_text(check: "StoppingCheck", target: float | None) -> str:
    if check.se is None:
        return f"no example is held out, so mem has no expected se; all {count_text(check.repetitions, 'run')}"
    if check.reached:
        return f"expected se {check.se:.4f} <= {target:g} after {count_text(check.repetitions, 'run')}"
    return f"expected se {check.se:.4f} > {target:g} after all {count_text(check.repetitions, 'run')}"


def exit_on_failures(report: "CampaignReport") -> None:
    """List the shards that were given up; end the command with 1 unless all is there, sound, and some of it usable.

    With 2 where all that failed are mistakes in the campaign.
    """
    for failure in report.failures:
        shard = failure.error.shard.shard_id
        warn(f"failed: {shard}: {failure.error.message} (traceback: {report.store_uri}/failures/{shard}.json)")
    if not report.usable:
        warn("error: no run that was trained can be used: all diverged")
    if report.failures:
        raise typer.Exit(min(failure.error.exit_code for failure in report.failures))
    if not report.complete or not report.usable:
        raise typer.Exit(FAILED)
