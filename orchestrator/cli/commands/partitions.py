"""Command of the partitions of a curriculum: partitions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame

if TYPE_CHECKING:
    import pandas as pd


def partitions(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: all.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file: .parquet or .csv.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the curves: .png, .pdf or .svg.")] = None,
) -> None:
    """Show the accuracy of each partition by epoch, for a campaign whose recipe has a curriculum.

    Example: longtail partitions STORE --plot partitions.png
    """
    import analysis
    from analysis import partition_curves
    from analysis.reading.runs_read import committed_at_ratios, runs_read_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    with reading_display(errors, opened):
        frame = partition_curves(opened, ratio)
    if output is not None:
        write_frame(frame, output)
    if plot is not None:
        write_figure(plot, analysis.plot.partitions, frame)
    for ratio_value in frame["ratio"].unique():
        _show(ratio_value, frame[frame["ratio"] == ratio_value])
    say("accuracy on each partition of the runs' subsets, ± its standard error over runs; >: trained in the epoch")
    say(runs_read_text(committed_at_ratios(opened), opened.targets()))
    for name, path in (("table", output), ("plot", plot)):
        if path is not None:
            say(f"{name}: {path}")


def _show(ratio: float, rows: "pd.DataFrame") -> None:
    """A row for each epoch of a ratio, a column for each partition."""
    numbers = sorted(rows["partition"].unique())
    columns = [TableColumn(f"partition {number}", rank, kind="text") for rank, number in enumerate(numbers)]
    table = TextTable([TableColumn("epoch"), *columns], "-o FILE writes all")
    for epoch, of_epoch in rows.groupby("epoch"):
        cells = (
            f"{'> ' if row['trained'] else ''}{cell(row['accuracy'], row['se'])}"
            for row in of_epoch.sort_values("partition").to_dict("records")
        )
        table.add_row(str(epoch), *cells)
    say(f"ratio {ratio:g}: {rows['examples'].min():,} examples in a partition, {rows['runs'].max()} runs")
    show_table(table)
