"""Commands that train campaigns: init, run, demo."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.commands.report import check_output
from orchestrator.cli.options import (
    AddressOption,
    CampaignPath,
    CheckpointOption,
    DeviceName,
    DeviceOption,
    DownloadOption,
    GpusOption,
    RepetitionsOption,
    RunnerName,
    RunnerOption,
    ShardSizeOption,
    StoreOption,
    UntilSeOption,
    WorkersOption,
    WorkingDirOption,
    parse_minutes,
)
from orchestrator.cli.output import console, exit_on_failures, run_and_show, say
from orchestrator.presets import NAMES, preset_text
from workers.campaign.suggest import closest
from workers.errors import CampaignError

if TYPE_CHECKING:
    from orchestrator.runners.base import Runner
    from workers.campaign.campaign import Campaign


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


def run(
    campaign: CampaignPath,
    store: StoreOption,
    runner: RunnerOption = RunnerName.local,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    repetitions: RepetitionsOption = None,
    shard_size: ShardSizeOption = None,
    until_se: UntilSeOption = None,
    checkpoint_minutes: CheckpointOption = "10",
    working_dir: WorkingDirOption = None,
    download: DownloadOption = False,
) -> None:
    """Train a campaign into a store. Run again to resume; with more repetitions or ratios, to extend.

    Example: longtail run campaign.yaml --store STORE --runner ray
    """
    from orchestrator.campaigns.downloads import with_permitted_download

    parsed = _read(campaign)
    if runner is RunnerName.local and (address or gpus_per_worker is not None or workers or working_dir):
        raise typer.BadParameter("--address, --gpus-per-worker, --workers and --working-dir need --runner ray")
    minutes = parse_minutes(checkpoint_minutes, "checkpoint-minutes")
    parsed = with_permitted_download(parsed, campaign, download, say)
    chosen = _runner(runner, device, address, gpus_per_worker, workers, working_dir)
    report = run_and_show(parsed, store, chosen, repetitions, shard_size, until_se, minutes)
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
    report = run_and_show(campaign, store, _runner(RunnerName.local))
    exit_on_failures(report)
    print_findings(report.store_uri, console)
    written = write_report(Store.open(report.store_uri), output.absolute())
    say("Every example with its scores, in your browser:")
    say(f"  {written.path}")


def _read(path: Path) -> "Campaign":
    from workers.campaign.yaml_io import read_campaign

    return read_campaign(path)


def _runner(
    name: RunnerName,
    device: DeviceName | None = None,
    address: str | None = None,
    gpus: float | None = None,
    workers: int | None = None,
    working_dir: str | None = None,
) -> "Runner":
    where = None if device is None else device.value
    if name is RunnerName.local:
        from orchestrator.runners.local import LocalRunner

        return LocalRunner(where)
    from orchestrator.runners.ray.runner import RayRunner

    return RayRunner(address=address, gpus_per_worker=gpus, workers=workers, device=where, working_dir=working_dir)
