"""What commands print: lines as they are, and how a run of a campaign is shown from start to end."""

import threading
from typing import TYPE_CHECKING

import typer

from orchestrator.terminal import TextConsole

if TYPE_CHECKING:
    from orchestrator.run import CampaignReport
    from orchestrator.runner import Runner
    from orchestrator.until_se import Look
    from workers.campaign import Campaign
    from workers.datasets import Dataset

interruption = threading.Event()
"""Set when a signal asks the command to end. Beside the KeyboardInterrupt, because Python drops an exception that a
signal raises in the midst of a destructor."""

console = TextConsole()
errors = TextConsole(stderr=True)


def say(line: str) -> None:
    """Print a line as it is: no markup, no wrapping, so that paths can be copied and text can be piped."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def warn(line: str) -> None:
    """Likewise, on standard error."""
    errors.print(line, markup=False, highlight=False, soft_wrap=True)


def show_data(dataset: "Dataset") -> None:
    """Print which data were read."""
    from orchestrator.data_lines import data_lines

    for line in data_lines(dataset):
        say(line)


def run_and_show(
    campaign: "Campaign",
    store: str,
    runner: "Runner",
    repetitions: int | None = None,
    shard_size: int | None = None,
    until_se: float | None = None,
    checkpoint_minutes: float | None = None,
) -> "CampaignReport":
    """Run a campaign with its progress on the console, and tell what was done. Ctrl-C ends the command with 130."""
    from orchestrator.progress import campaign_display
    from orchestrator.run import Progress, run_campaign

    try:
        with campaign_display(console, store) as display:

            def show(progress: Progress) -> None:
                display(progress)
                if interruption.is_set():
                    raise KeyboardInterrupt

            report = run_campaign(
                campaign,
                store,
                runner=runner,
                repetitions=repetitions,
                shard_size=shard_size,
                until_se=until_se,
                checkpoint_minutes=checkpoint_minutes,
                on_progress=show,
                on_data=show_data,
            )
    except KeyboardInterrupt:
        warn(f"interrupted; what is in {store} stays, and the same command resumes")
        raise typer.Exit(130) from None
    for note in report.notes:
        warn(f"note: {note}")
    done = report.progress
    text = f"{done.committed} of {done.total} runs in {report.store_uri} ({done.trained} trained now"
    say(f"{text}, {done.diverged} diverged)")
    for look in report.looks:
        say(f"ratio {look.ratio:g}: {_looked(look, until_se)}")
    return report


def _looked(look: "Look", target: float | None) -> str:
    if look.se is None:
        return f"no example is held out, so mem has no standard error; all {look.repetitions} runs"
    if look.reached:
        return f"standard error {look.se:.4f} <= {target:g} after {look.repetitions} runs"
    return f"standard error {look.se:.4f} > {target:g} after all {look.repetitions} runs"


def exit_on_failures(report: "CampaignReport") -> None:
    """List the shards that were given up; where there are any, end the command with 1."""
    for failure in report.failures:
        shard = failure.error.shard.shard_id
        warn(f"failed: {shard}: {failure.error.message} (traceback: {report.store_uri}/failures/{shard}.json)")
    if report.failures:
        raise typer.Exit(1)
