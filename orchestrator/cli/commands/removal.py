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
from workers.errors import ReadOnlyError

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
) -> None:
    """Show test accuracy against the fraction of examples removed, for a campaign with explicit subsets.

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
    opened = Store.open(store)
    with reading_display(errors, opened):
        frame = removal_curve(opened, confidence=confidence)
    if output is not None:
        write_frame(frame, output)
    if plot is not None:
        write_figure(plot, analysis.plot.removal, frame)
    _show(frame)
    say(runs_read_text(committed_at_ratios(opened), opened.targets()))
    try:
        say(f"table: {output if output is not None else write_removal(opened, frame, confidence=confidence)}")
    except ReadOnlyError as error:
        say(f"table: {not_kept(error)}")
    if plot is not None:
        say(f"plot: {plot}")


def _show(frame: "pd.DataFrame") -> None:
    columns = [TableColumn("removed"), TableColumn("which", kind="text"), TableColumn("test accuracy")]
    columns += [TableColumn(*each) for each in (("se", 1), ("low", 2), ("high", 2), ("runs", 3), ("diverged", 4))]
    table = TextTable(columns, "-o FILE writes all")
    for row in frame.to_dict("records"):
        figures = (cell(row[name], digits=4) for name in ("test_accuracy", "se", "low", "high"))
        table.add_row(f"{row['removed']:g}", row["rule"], *figures, row["runs"], row["diverged"])
    show_table(table)
