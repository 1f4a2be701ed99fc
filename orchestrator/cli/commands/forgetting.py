"""Command of forgetting events: forgetting."""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.forgetting_tables import show_groups, show_margins, show_paired
from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import cell, count_cell, interval_cell, label_cell, name_cell, share_text
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import CommandError

if TYPE_CHECKING:
    import pandas as pd


class AtName(StrEnum):
    """When correctness is looked at."""

    presentations = "presentations"
    evaluations = "evaluations"


def forgetting(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: all.")] = None,
    at: Annotated[
        AtName,
        typer.Option("--at", help="Count at presentations of an example in training, or at recorded evaluations."),
    ] = AtName.presentations,
    top: Annotated[int, typer.Option("--top", min=1, max=10_000, help="Number of examples shown per kind.")] = 10,
    by: Annotated[
        Literal["noise", "class"] | None,
        typer.Option("--by", help="Also by group: the noisy against the clean, or the classes."),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="STORE", help="Compare with the same examples in a store without the noise."),
    ] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Also show the agreement of single runs and of halves of the runs.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file: .parquet or .csv.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the histogram: .png, .pdf or .svg.")] = None,
) -> None:
    """Show which examples are forgotten during training, never learned, and never forgotten.

    Example: longtail forgetting STORE --agreement --plot forgetting.png
    """
    import analysis
    from analysis import count_runs, estimate_forgetting, forgetting_agreement, group_examples
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import requested_runs
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    if before is not None:
        if by is not None or agreement:
            raise CommandError("--before: must be given without --by and --agreement")
        show_paired(Store.open(before), opened, ratio, at.value, (output, plot))
        return
    grouped = None if by is None else group_examples(opened, count_runs(opened), by)
    agreements: dict[float, pd.DataFrame] = {}
    with reading_display(errors, opened):
        frame = with_names(estimate_forgetting(opened, ratio, at.value), opened)
        for ratio_value in frame["ratio"].unique() if agreement else ():
            agreements[ratio_value] = forgetting_agreement(opened, ratio_value, at.value, progress=warn)
    if opened.header.record.presented_margin and at == AtName.presentations:
        frame = show_margins(opened, frame, ratio)
    if output is not None:
        write_frame(frame, output)
    if plot is not None:
        write_figure(plot, partial(analysis.plot.forgetting, groups=grouped), frame)
    for ratio_value in frame["ratio"].unique():
        rows = frame[frame["ratio"] == ratio_value]
        _show(rows, top, requested_runs(opened, ratio_value))
        if grouped is not None:
            show_groups(rows, grouped)
        if agreement:
            _show_agreement(agreements[ratio_value])
    for name, path in (("table", output), ("plot", plot)):
        if path is not None:
            say(f"{name}: {path}")


def _show(rows: "pd.DataFrame", top: int, requested: "Mapping[int, int]") -> None:
    """One ratio: shares, the examples that are forgotten most often, and those never learned."""
    from analysis import forgetting_summary
    from analysis.reading.runs_read import RunsAtRatio, runs_text
    from workers.campaign.campaign import ratio_to_ppm

    summary = forgetting_summary(rows).to_dict("records")[0]
    used = runs_text([RunsAtRatio(ratio_to_ppm(summary["ratio"]), int(rows["n_runs"].max()))], requested)
    say(f"ratio {summary['ratio']:g}: {count_text(summary['examples'], 'example')} shown to up to {used}")
    say(
        f"unforgettable {share_text(summary['unforgettable'])} ({share_text(summary['unforgettable_per_run'])} in one "
        f"run), never learned {share_text(summary['never_learned'])}, {cell(summary['forgetting'])} events per example "
        "and run"
    )
    if summary["never_presented"]:
        say(f"never shown: {count_text(summary['never_presented'], 'more example')}")
    named = "name" in rows
    columns = [
        TableColumn("most forgotten"),
        TableColumn("label", kind="text"),
        TableColumn("events/run"),
        TableColumn("95% interval", 2),
    ]
    columns += [TableColumn("learned", 3), TableColumn("first in epoch", 4), TableColumn("right when shown", 1)]
    table = TextTable([*columns, *[TableColumn("name", 5, kind="name")] * named], "-o FILE writes all")
    for row in rows.nlargest(top, "forgetting").to_dict("records"):
        label, given_label = label_cell(row, "label"), label_cell(row, "given_label")
        table.add_row(
            row["example_id"],
            label if label == given_label else f"{label} (given {given_label})",
            cell(row["forgetting"], row["forgetting_se"], digits=2),
            interval_cell(row["forgetting_low"], row["forgetting_high"], digits=2),
            f"{row['n_learned']} of {row['n_runs']}",
            cell(row["first_learned"], row["first_learned_se"], digits=2),
            f"{row['accuracy']:.0%}" if row["n_runs"] else None,
            *([name_cell(row["name"])] if named else []),
        )
    show_table(table)
    never = rows.loc[rows["never_learned"], "example_id"].tolist()
    if never:
        more = f" and {len(never) - top} more" if len(never) > top else ""
        say(f"never learned: {', '.join(map(str, never[:top]))}{more}")


def _show_agreement(frame: "pd.DataFrame") -> None:
    """A row for each number of runs; the first compares single runs."""
    names = {"spearman": "Spearman", "pearson": "Pearson", "spearman_brown": "Spearman-Brown"}
    columns = [TableColumn("runs per half"), TableColumn("compared", 3), TableColumn("examples", 3)]
    table = TextTable([*columns, *(TableColumn(name, rank) for rank, name in enumerate(names.values()))])
    for row in frame.to_dict("records"):
        figures = (cell(row[name], row[f"{name}_sd"], digits=2) for name in names)
        table.add_row(row["runs_per_half"], row["comparisons"], count_cell(row["examples"]), *figures)
    show_table(table)
    say("agreement: means over pairs of runs, then over random halves of more runs, ± their standard deviation")
