"""Command of recipe search: tune."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.option_objects import with_options
from orchestrator.cli.options import CampaignPath, DownloadOption
from orchestrator.cli.output import errors, interruption, say, show_table, warn, warn_data
from orchestrator.cli.output_streams import training_continues
from orchestrator.cli.table_output import cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.runners.run_options import ClusterOptions
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from orchestrator.tuning.session import SearchProgress, SearchReport
    from orchestrator.tuning.settings import Search
    from workers.campaign.campaign import Campaign

_MAX_ROWS = 10


@with_options(ClusterOptions)
def tune(
    campaign: CampaignPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Campaign file to write, with the recipe found.")],
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            help="Fields to search and their values (YAML); default: learning rate, "
            "minibatches, weight decay, schedule and epochs.",
        ),
    ] = None,
    fit: Annotated[float, typer.Option("--fit", min=0, max=1, help="Accuracy to reach on the subset.")] = 0.99,
    trials: Annotated[
        int,
        typer.Option(
            "--trials", min=1, max=99_999, help="Number of recipes to try; a larger number extends an earlier search."
        ),
    ] = 40,
    repetitions: Annotated[int, typer.Option("--repetitions", min=2, max=1000, help="Models per trial and ratio.")] = 4,
    fresh_repetitions: Annotated[
        int | None,
        typer.Option(
            "--fresh-repetitions",
            min=2,
            max=10_000,
            help="Models per ratio on fresh subsets, of each recipe compared at the end; "
            "default: 4 times --repetitions.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Seed of the recipes and their subsets.")] = 0,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            "--max-epochs", min=1, max=100_000, help="Maximum number of epochs; default: twice the campaign's."
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option("--ratio", help="Ratio to train at; repeatable. Default: the smallest and the largest."),
    ] = None,
    cost: Annotated[
        str,
        typer.Option("--cost", help="What cost means: operations (the same on every machine) or seconds (measured)."),
    ] = "operations",
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping/--no-early-stopping", help="Stop trials early that are behind (ASHA).")
    ] = True,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=0.01, help="Time limit in minutes; the choice is among the trials finished by then."
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the trials; default: OUTPUT-search.")
    ] = None,
    *,
    options: ClusterOptions,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output file.")] = False,
    download: DownloadOption = False,
) -> None:
    """Search for the cheapest recipe that fits the subsets and has the best held-out accuracy, with Ray Tune.

    Run again to resume.

    Example: longtail tune campaign.yaml -o tuned.yaml --fit 0.99
    """
    from orchestrator.campaigns.downloads import with_permitted_download
    from orchestrator.tuning.choice import Cost
    from orchestrator.tuning.recommendation import recommendation_lines
    from orchestrator.tuning.settings import Search
    from orchestrator.tuning.tuned_file import check_tuned_path, write_tuned
    from workers.campaign.yaml_io import read_campaign

    parsed = read_campaign(campaign)
    if cost not in list(Cost):
        raise typer.BadParameter(f"--cost must be operations or seconds, got {cost!r}")
    check_tuned_path(output, campaign, force)
    parsed = with_permitted_download(parsed, campaign, download, say)
    folder = results or output.with_name(f"{output.stem}-search")
    ratios = tuple(ratio) if ratio else None
    search = Search(
        fit=fit,
        trials=trials,
        runs=repetitions,
        seed=seed,
        max_epochs=max_epochs,
        ratios=ratios,
        space=space,
        cost=Cost(cost),
        early_stopping=early_stopping,
        minutes=minutes,
        fresh_runs=fresh_repetitions,
    )
    report = _searched(parsed, folder, search, options)
    for failure in report.failures:
        warn(f"failed: {failure}")
    if report.choice is None or report.campaign is None:
        warn_no_recipe(report, search)
        raise typer.Exit(1)
    _show_trials(report)
    check_tuned_path(output, campaign, force)  # again: it may have been edited while the search ran
    write_tuned(output, report, report.campaign, report.choice.chosen, search, shlex.join(["longtail", *sys.argv[1:]]))
    for line in recommendation_lines(report, search):
        say(line)
    say(f"wrote {output}; all trials: {folder / 'trials.parquet'}")
    say(f"curves: tensorboard --logdir {folder / 'tensorboard'}; next: longtail plan {output}")


@training_continues()
def _searched(parsed: "Campaign", folder: Path, search: "Search", cluster: ClusterOptions) -> "SearchReport":
    """Search with progress on standard error; Ctrl-C ends the command with 130."""
    from orchestrator.cli.search_progress import search_display
    from orchestrator.tuning.tune import search_recipe

    try:
        with search_display(errors) as display:

            def show(progress: "SearchProgress") -> None:
                display(progress)
                if interruption.is_set():
                    raise KeyboardInterrupt

            return search_recipe(parsed, folder, search, cluster, show, warn_data)
    except KeyboardInterrupt:
        warn(f"interrupted; finished trials stay in {folder}, and the same command resumes")
        raise typer.Exit(130) from None


def warn_no_recipe(report: "SearchReport", search: "Search") -> None:
    """Why there is no recipe: how near the nearest came."""
    fit = search.fit
    if not report.trial_results:
        limit = f" within {search.minutes:g} minutes (--minutes)" if search.minutes and not report.failures else ""
        warn(f"no trial was finished{limit}")
        return
    from orchestrator.tuning.field_values import values_text
    from orchestrator.tuning.recommendation import metrics_text

    nearest = max(report.trial_results, key=lambda result: result.trial.last.subset_accuracy)
    what = f"none of {count_text(len(report.trial_results), 'trial')} fits its subsets to {fit:g}"
    if report.measured:
        nearest = max(report.measured, key=lambda result: result.trial.last.subset_accuracy)
        fitted = count_text(report.progress.fitted, "trial")
        what = f"fitted to subsets to {fit:g}: {fitted}, and none to fresh ones as well"
    warn(f"{what}; the nearest, {values_text(nearest.candidate.values)}: {metrics_text(nearest.trial)}")


def _show_trials(report: "SearchReport") -> None:
    """The trials that fit, the most accurate on held-out examples first."""
    from orchestrator.tuning.field_values import values_text

    if report.nominated is None or report.choice is None:
        return
    as_good = {each.candidate.number for each in report.nominated.as_good}
    measured = {each.candidate.number: each.trial.ended for each in report.measured}
    chosen = report.chosen_number
    fitted = [result for result in report.trial_results if result.trial.ended == "fitted"]
    fitted.sort(key=lambda each: -each.accuracy)
    shown = fitted[:_MAX_ROWS] + [each for each in fitted[_MAX_ROWS:] if each.candidate.number == chosen]
    columns = ("trial", 0), ("epochs", 2), ("subset", 1), ("held-out", 0), ("operations", 0), ("s/run", 3)
    table = TextTable([*(TableColumn(*column) for column in columns), TableColumn("verdict", kind="text")])
    for each in shown:
        last, number = each.trial.last, each.candidate.number
        mark = "as good" if number in as_good else ""
        mark = "does not fit fresh subsets" if measured.get(number, "fitted") != "fitted" else mark
        mark = "chosen" if number == chosen else mark
        accuracies = (cell(last.subset_accuracy, digits=4), cell(each.accuracy, digits=4))
        cells = (number, last.epoch, *accuracies, f"{last.operations:.3g}", f"{each.seconds:.3g}", mark)
        table.add_row(*cells)
    show_table(table)
    error = report.nominated.deviation.difference_se
    say(f"as good: within a standard error of a difference ({error:.4f}, pooled over the trials that fit) of the best")
    for each in shown:
        say(f"trial {each.candidate.number}: {values_text(each.candidate.values)}")
    now = report.progress
    others = f"{now.stopped} stopped early, {now.ended - now.fitted - now.stopped} ended without"
    say(f"{now.fitted} of {count_text(now.ended, 'trial')} fit their subsets, {others}, {now.failed} failed")
