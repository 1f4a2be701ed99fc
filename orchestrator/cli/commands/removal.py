"""Command of removal curves: removal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, not_kept
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.errors import CampaignError, ReadOnlyError

if TYPE_CHECKING:
    import pandas as pd


def removal(
    store: StoreArgument,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output file: .parquet or .csv; default: the store's estimates/."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the curves: .png, .pdf or .svg.")] = None,
    difference_plot: Annotated[
        Path | None,
        typer.Option("--difference-plot", help="Plot of the differences from random removal: .png, .pdf or .svg."),
    ] = None,
) -> None:
    """Show test accuracy against the fraction of examples removed, for a campaign with explicit subsets.

    Beside the rule random: the difference between as many random removals and each rule's.

    Example: longtail removal STORE -o removal.csv --plot removal.png
    """
    import analysis
    from analysis import removal_curve, write_removal
    from analysis.reading.runs_read import committed_at_ratios, runs_read_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    if not 0 < confidence < 1:
        raise typer.BadParameter(f"--confidence must be between 0 and 1, got {confidence}")
    check_output(output)
    check_figure(plot, "plot")
    check_figure(difference_plot, "difference-plot")
    if plot is not None and difference_plot is not None and plot.absolute() == difference_plot.absolute():
        raise CampaignError(f"--difference-plot: must be another file than --plot, got {str(difference_plot)!r}")
    opened = Store.open(store)
    with reading_display(errors, opened):
        frame = removal_curve(opened, confidence=confidence)
    if difference_plot is not None and frame["difference"].isna().all():
        raise CampaignError(
            f"--difference-plot: needs runs of the rule random beside another's at one ratio, {opened.uri} has none"
        )
    if output is not None:
        write_frame(frame, output)
    if plot is not None:
        write_figure(plot, analysis.plot.removal, frame)
    if difference_plot is not None:
        write_figure(difference_plot, analysis.plot.marginal_utility, frame)
    _show(frame)
    say(runs_read_text(committed_at_ratios(opened), opened.targets()))
    try:
        say(f"table: {output if output is not None else write_removal(opened, frame, confidence=confidence)}")
    except ReadOnlyError as error:
        say(f"table: {not_kept(error)}")
    for figure in filter(None, (plot, difference_plot)):
        say(f"plot: {figure}")


def _show(frame: "pd.DataFrame") -> None:
    from workers.campaign.drop_rules import score_text

    by_count = [("removed", 0), ("examples", 3)]
    by_rule = [("test accuracy", 0), ("se", 1), ("low", 4), ("high", 4), ("runs", 5), ("diverged", 6)]
    control = [("random", 1), ("difference", 0), ("± se", 1), ("from", 1), ("to", 1)] if _has_control(frame) else []
    columns = [TableColumn(*each) for each in by_count] + [TableColumn("which", kind="text")]
    table = TextTable([*columns, *(TableColumn(*each) for each in (*by_rule, *control))], "-o FILE writes all")
    for row in frame.to_dict("records"):
        which = row["rule"] if row["threshold"] != row["threshold"] else f"{row['rule']} {score_text(row['threshold'])}"
        figures = (cell(row[name], digits=4) for name in ("test_accuracy", "se", "low", "high"))
        cells = [f"{row['removed']:.4g}", row["examples_removed"], which, *figures, row["runs"], row["diverged"]]
        names = ("random_accuracy", *(f"difference{end}" for end in ("", "_se", "_low", "_high")))
        table.add_row(*cells, *(cell(row[name], digits=4) for name in names if control))
    show_table(table)
    if control:
        say("difference: test accuracy after as many random removals, less that after the rule's; positive where the")
        say("examples removed are worth more than random ones; limits: Welch's, over runs")


def _has_control(frame: "pd.DataFrame") -> bool:
    return bool((frame["random_runs"] > 0).any())
