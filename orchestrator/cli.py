"""The `longtail` command: parses, calls, prints.

Exit codes: 0 all done; 1 something failed or is damaged; 2 a mistake in the command or campaign file; 130 interrupted.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich import filesize
from rich.table import Table

from orchestrator.options import (
    AddressOption,
    CampaignPath,
    GpusOption,
    RepetitionsOption,
    RunnerName,
    RunnerOption,
    StoreArgument,
    StoreOption,
    WorkersOption,
)
from orchestrator.output import console, exit_on_failures, interruption, run_and_show, say, warn
from orchestrator.presets import NAMES, preset_text
from workers.errors import CampaignError, LongtailError

if TYPE_CHECKING:
    from orchestrator.runner import Runner
    from workers.campaign import Campaign

# Imports of torch, ray and pandas wait until a command needs them, so that `longtail --help` answers at once.

app = typer.Typer(
    name="longtail",
    help="Memorization, influence and consistency of every example of a data set, from models trained on subsets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"longtail {version('longtail')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    preset: Annotated[str | None, typer.Argument(help=f"One of {', '.join(NAMES)}.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of printing.")] = None,
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
        raise CampaignError(f"preset: must be one of {', '.join(NAMES)}, got {preset!r}") from None
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


@app.command()
def plan(
    campaign: CampaignPath,
    store: Annotated[str | None, typer.Option("--store", "-s", help="Count what this store already has.")] = None,
    repetitions: RepetitionsOption = None,
) -> None:
    """Show what a campaign would train, without training.

    Example: longtail plan campaign.yaml --store STORE
    """
    from orchestrator.local_runner import LocalRunner
    from orchestrator.plan import plan_campaign
    from workers.campaign_file import with_repetitions

    planned = plan_campaign(with_repetitions(_read(campaign), repetitions), LocalRunner().machine(), store)
    table = Table(
        "ratio", "subset", "runs", "committed", "to train", "largest se of mem", box=None, header_style="bold"
    )
    for row in planned.ratios:
        worst = f"{row.largest_se:.3f}" if row.largest_se is not None else "-"
        cells = (f"{row.ratio:g}", row.subset_size, row.runs, row.committed, row.runs - row.committed, worst)
        table.add_row(*(str(cell) for cell in cells))
    console.print(table)
    how = planned.arrangement
    together = f"{how.stack_size} at a time" if how.stack_size > 1 else "one at a time"
    say(f"models train {together}, {how.precision}" + (f" ({how.apart})" if how.apart else ""))
    text = f"{planned.pending_runs} runs to train in {planned.pending_shards} shards of up to {how.shard_size}; "
    say(text + f"the results will take about {filesize.decimal(planned.store_bytes)}")


@app.command()
def run(
    campaign: CampaignPath,
    store: StoreOption,
    runner: RunnerOption = RunnerName.local,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    workers: WorkersOption = None,
    repetitions: RepetitionsOption = None,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", min=1, max=10_000, help="Runs per shard; for a new store only.")
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option("--working-dir", help="Folder with your own code, sent to the cluster's nodes.")
    ] = None,
) -> None:
    """Train a campaign into a store. Run again to resume; with more repetitions or ratios, to extend.

    Example: longtail run campaign.yaml --store STORE --runner ray
    """
    parsed = _read(campaign)
    if runner is RunnerName.local and (address or gpus_per_worker is not None or workers or working_dir):
        raise typer.BadParameter("--address, --gpus-per-worker, --workers and --working-dir need --runner ray")
    chosen = _runner(runner, address, gpus_per_worker, workers, working_dir)
    report = run_and_show(parsed, store, chosen, repetitions, shard_size)
    exit_on_failures(report)
    say(f"next: longtail estimate {report.store_uri}")


@app.command()
def status(store: StoreArgument) -> None:
    """Show how far a campaign is, also while it runs elsewhere.

    Example: longtail status STORE
    """
    from orchestrator.status import campaign_status

    state = campaign_status(store)
    facts = f"{state.dataset}, {state.num_train} training and {state.num_test} test examples"
    say(f"{state.store_uri}: {facts}; campaign {state.identity[:12]}")
    table = Table("ratio", "committed", "wanted", "diverged", box=None, header_style="bold")
    for row in state.ratios:
        table.add_row(f"{row.ratio:g}", str(row.committed), str(row.wanted), str(row.diverged))
    console.print(table)
    accuracy = "" if state.test_accuracy is None else f"; mean test accuracy {state.test_accuracy:.4f}"
    say(f"{state.committed} of {state.wanted} runs{accuracy}")
    for failure in state.failures:
        say(f"failed: {failure.shard_id} after {failure.attempts} attempts: {failure.message}")


@app.command()
def estimate(
    store: StoreArgument,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Influential examples kept per test example.")] = 5,
    threshold: Annotated[float, typer.Option(min=-1, max=1, help="Keep all pairs of at least this influence.")] = 0.15,
    max_pairs: Annotated[
        int, typer.Option(min=1, max=100_000_000, help="Leave a ratio's pairs out where more reach the threshold.")
    ] = 1_000_000,
) -> None:
    """Write every estimate that the recorded runs allow, as Parquet tables. Works on an unfinished campaign.

    Example: longtail estimate STORE
    """
    from analysis import write_estimates
    from workers.store import Store

    written = write_estimates(Store.open(store), progress=warn, top=top, threshold=threshold, max_pairs=max_pairs)
    for name, path in written.items():
        say(f"{name}: {path}")
    if not written:
        say("nothing to estimate: at ratio 1 no example is held out")


@app.command()
def verify(
    store: StoreArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside; the next run replaces them.")
    ] = False,
) -> None:
    """Check every committed file: checksums, content, form, and that it belongs here.

    Example: longtail verify STORE --repair
    """
    from orchestrator.verify import verify_store

    checked, findings = verify_store(store, repair=repair)
    for finding in findings:
        moved = f" (set aside as {finding.moved_to})" if finding.moved_to else ""
        warn(f"{finding.path}: {finding.problem}{moved}")
    say(f"{checked} files checked, {len(findings)} damaged")
    if any(finding.moved_to is None for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    store: StoreOption = "demo-store",
    runs: Annotated[int | None, typer.Option("--runs", min=10, max=100_000, help="Models to train.")] = None,
) -> None:
    """Train the digits campaign in this process, and show who is memorized.

    Example: longtail demo
    """
    from orchestrator.demo import print_findings
    from workers.campaign_file import parse_campaign, with_repetitions

    campaign = with_repetitions(parse_campaign(preset_text("digits"), "digits"), runs)
    count = campaign.subsets.repetitions
    say(f"Training {count} small networks, each on a random 70% of the handwritten digits.")
    report = run_and_show(campaign, store, _runner(RunnerName.local, None, None, None, None), None, None)
    exit_on_failures(report)
    print_findings(report.store_uri, console)


def _read(path: Path) -> "Campaign":
    from workers.campaign_file import read_campaign

    return read_campaign(path)


def _runner(
    name: RunnerName, address: str | None, gpus: float | None, workers: int | None, working_dir: str | None
) -> "Runner":
    if name is RunnerName.local:
        from orchestrator.local_runner import LocalRunner

        return LocalRunner()
    from orchestrator.ray_runner import RayRunner

    return RayRunner(address=address, gpus_per_worker=gpus, workers=workers, working_dir=working_dir)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    interruption.set()
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `longtail` command."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGTERM is as clean an end as Ctrl-C
        signal.signal(number, _interrupt)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the campaign's own package.module:function
    try:
        app()
    except LongtailError as error:
        for line in str(error).splitlines():
            warn(f"error: {line}")
        sys.exit(2 if isinstance(error, CampaignError) else 1)
    except KeyboardInterrupt:
        warn("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone; keep Python from writing to it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
