"""Command that sends campaigns to a cluster: submit."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.cli.option_objects import with_options
from orchestrator.cli.options import CampaignPath
from orchestrator.cli.output import console, interruption, say, warn
from orchestrator.cli.output_streams import training_continues
from orchestrator.runners.run_options import RunOptions

if TYPE_CHECKING:
    from orchestrator.runners.ray.jobs import Jobs

_NO_COMMAND = 127
"""A shell's exit code."""


@with_options(RunOptions, runner="ray", address="auto")
def submit(
    campaign: CampaignPath,
    store: Annotated[
        str,
        typer.Option("--store", "-s", metavar="STORE", help="Folder or URI that all nodes reach; created if missing."),
    ],
    address: Annotated[
        str,
        typer.Option(
            "--address", envvar="RAY_API_SERVER_ADDRESS", help="Address of the cluster's dashboard: http://HEAD:8265."
        ),
    ],
    options: RunOptions,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print the job's output until it ends.")] = False,
) -> None:
    """Train a campaign as a Ray job that does not depend on this machine. One job per store.

    Example: longtail submit campaign.yaml --store s3://bucket/mnist --address http://HEAD:8265
    """
    from orchestrator.campaigns.downloads import may_download
    from orchestrator.campaigns.until_se import check_has_se
    from orchestrator.runners.ray.job_package import (
        absolute_store,
        describe,
        driver_command,
        driver_folder,
        driver_name,
        with_sent_tables,
    )
    from workers.campaign.yaml_io import dump_campaign, read_campaign, with_repetitions

    parsed = with_repetitions(read_campaign(campaign), options.repetitions)
    if options.until_se is not None:
        check_has_se(parsed)
    place = absolute_store(store)
    # The driver reads the campaign file and its code in the folder that is sent: what holds there has to be told.
    there = replace(options, working_dir=None, download=may_download(parsed, campaign, options.download))
    sent, files = with_sent_tables(parsed)
    with driver_folder(dump_campaign(sent), options.working_dir, files) as folder:
        from orchestrator.runners.ray.jobs import Jobs

        jobs = Jobs(address)
        job = jobs.submit(driver_name(place), driver_command(place, there), folder, {"store": place})
    say(f"{job} trains into {place}")
    for line in describe(jobs.address, job, place):
        say(line)
    if follow:
        _follow(jobs, job)


@training_continues()
def _follow(jobs: "Jobs", job: str) -> NoReturn:
    """Show what a job prints; end with its exit code, or at Ctrl-C, which leaves the job alone."""

    def show(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
        if interruption.is_set():
            raise KeyboardInterrupt

    try:
        code = jobs.follow(job, show)
    except KeyboardInterrupt:
        warn(f"no longer following; {job} goes on")
        raise typer.Exit(130) from None
    if code == _NO_COMMAND:
        warn("the cluster's head has no longtail command: install Longtail where its ray command is")
    raise typer.Exit(code)
