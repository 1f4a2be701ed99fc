"""Commands that train campaigns: init, run, demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.report import check_output
from orchestrator.cli.option_objects import with_options
from orchestrator.cli.options import CampaignPath, StoreOption
from orchestrator.cli.output import console, exit_on_failures, run_and_show, say
from orchestrator.presets import NAMES, preset_text
from orchestrator.runners.run_options import RunOptions
from workers.campaign.suggest import closest
from workers.errors import CampaignError


def init(
    preset: Annotated[str | None, typer.Argument(help=f"One of {', '.join(NAMES)}.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file; default: print.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Print a commented campaign file to start from.

    Example: longtail init digits -o campaign.yaml
    """
    if preset is None:
        say(f"presets: {', '.join(NAMES)}")
        return
    try:
        text = preset_text(preset)
    except KeyError:
        close = closest(preset, NAMES)
        meant = f" (did you mean {close}?)" if close else ""
        raise CampaignError(f"preset: must be one of {', '.join(NAMES)}, got {preset!r}{meant}") from None
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CampaignError(f"{output}: exists already; --force replaces it") from None
    except OSError as error:
        raise CampaignError(f"{output}: cannot be written: {error.strerror}") from error
    say(f"wrote {output}; next: longtail run {output} --store STORE")


@with_options(RunOptions)
def run(campaign: CampaignPath, store: StoreOption, options: RunOptions) -> None:
    """Train a campaign into a store. Run again to resume; with more repetitions or ratios, to extend.

    Example: longtail run campaign.yaml --store STORE
    """
    from orchestrator.campaigns.downloads import with_permitted_download
    from workers.campaign.yaml_io import read_campaign

    parsed = with_permitted_download(read_campaign(campaign), campaign, options.download, say)
    report = run_and_show(parsed, store, options)
    exit_on_failures(report)
    say(f"next: longtail {'removal' if parsed.subsets.design == 'explicit' else 'estimate'} {report.store_uri}")


def demo(
    store: StoreOption = "demo-store",
    runs: Annotated[int | None, typer.Option("--runs", min=10, max=100_000, help="Models to train.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Path of the report: .html.")] = Path(
        "demo-report.html"
    ),
) -> None:
    """Train the digits campaign in this process, show the most memorized examples, and write the report.

    Example: longtail demo
    """
    from orchestrator.cli.demo import print_findings
    from orchestrator.report import write_report
    from workers.campaign.yaml_io import parse_campaign, with_repetitions
    from workers.store import Store

    check_output(output)
    campaign = with_repetitions(parse_campaign(preset_text("digits"), "digits"), runs)
    count = campaign.subsets.repetitions
    say(f"Training {count} small networks, each on a random 70% of the handwritten digits.")
    report = run_and_show(campaign, store, RunOptions(runner="local"))
    exit_on_failures(report)
    print_findings(report.store_uri, console)
    written = write_report(Store.open(report.store_uri), output.absolute())
    say("Every example with its scores, in your browser:")
    say(f"  {written.path}")
