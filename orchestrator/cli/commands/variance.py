"""Command of the variance of outputs by subset and by seed: variance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import EpochOption, StoreArgument, TopOption
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, label_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd


def variance(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: all, a row each.")] = None,
    on: Annotated[
        Literal["test", "train"],
        typer.Option("--on", help="Test examples, or training examples over the subsets that lack them."),
    ] = "test",
    of: Annotated[
        Literal["correctness", "margin", "loss", "probability"],
        typer.Option("--of", help="Output to use in place of correctness; must be in record.outputs."),
    ] = "correctness",
    epoch: EpochOption = None,
    top: TopOption = 10,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file with all examples: .parquet or .csv."),
    ] = None,
) -> None:
    """Show how much of the variance of an output is due to the subset, how much to the seed of training.

    Example: longtail variance STORE --of margin -o variance.parquet
    """
    from analysis.estimators.training_variance import estimate_variance
    from analysis.reading.names import with_names
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    opened = Store.open(store)
    with reading_display(errors, opened):
        estimate = estimate_variance(opened, ratio, split=on, output=of, epoch=epoch)
    frame = with_names(estimate.examples, opened)
    if output is not None:
        write_frame(frame, output)
    _show_means(estimate.means)
    highest = frame.sort_values("subset_variance", ascending=False, kind="stable").head(top)
    _show_examples(highest, on)
    examples = "test examples" if on == "test" else "training examples, over the runs without them"
    say(f"variance of {of} over runs, of {examples}; ± standard errors over subsets")
    replicates = f"{count_text(opened.header.replicates, 'run')} of each subset"
    diverged = int(estimate.means["diverged"].sum())
    say(f"{replicates}" + (f", {diverged:,} diverged left out" if diverged else ""))
    if output is not None:
        say(f"table: {output}")


def _show_means(means: "pd.DataFrame") -> None:
    columns = TableColumn("subset variance"), TableColumn("seed variance"), TableColumn("subset's share")
    table = TextTable([TableColumn("ratio"), TableColumn("examples", 1), TableColumn("subsets", 1), *columns])
    for row in means.to_dict("records"):
        table.add_row(
            f"{row['ratio']:g}",
            row["examples"],
            row["subsets"],
            cell(row["subset_variance"], row["subset_se"], digits=4),
            cell(row["seed_variance"], row["seed_se"], digits=4),
            cell(row["subset_share"], row["share_se"]),
        )
    show_table(table)


def _show_examples(rows: "pd.DataFrame", on: str) -> None:
    example, label = ("test_example_id", "test_label") if on == "test" else ("example_id", "given_label")
    columns = [TableColumn("example"), TableColumn("label", kind="text"), TableColumn("mean", 1)]
    values = [TableColumn("subset variance"), TableColumn("seed variance")]
    table = TextTable([*columns, *values], "-o FILE writes all")
    for row in rows.to_dict("records"):
        table.add_row(
            row[example],
            label_cell(row, label),
            cell(row["mean"]),
            cell(row["subset_variance"], row["subset_se"]),
            cell(row["seed_variance"], row["seed_se"]),
        )
    show_table(table)
