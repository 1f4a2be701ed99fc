"""Command of influence of groups of training examples: group-influence."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.options import ConfidenceOption, StoreArgument, check_confidence_option
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, interval_cell, label_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd

    from workers.store import Store

_MAX_ROWS = 20
_FDR = 0.05


def group_influence(
    store: StoreArgument,
    groups: Annotated[
        str,
        typer.Option(
            "--groups",
            metavar="class|FILE",
            help="Groups of training examples: class (given labels), or a table with example_id and numbers.",
        ),
    ] = "class",
    column: Annotated[str, typer.Option("--column", help="Column of the table --groups.")] = "group",
    on: Annotated[
        Literal["example", "class", "all"],
        typer.Option("--on", help="Influence on each test example, or on the accuracy of each test class, or of all."),
    ] = "class",
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: the store's only one.")] = None,
    confidence: ConfidenceOption = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file: .parquet or .csv.")] = None,
) -> None:
    """List the influence of groups of training examples on test examples and classes.

    Example: longtail group-influence STORE --groups clusters.parquet --column cluster
    """
    from analysis import pack_runs
    from analysis.influence.group_influence import group_influence as estimate
    from analysis.influence.pair_options import PairOptions
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import requested_runs, runs_text
    from analysis.reading.selection import check_some_run
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    opened = Store.open(store)
    numbers = _groups(opened, groups, column)
    with reading_display(errors, opened):
        bits = pack_runs(opened, ratio)
        check_some_run(opened.uri, bits.runs, bits.diverged, bits.ratio)
        frame = estimate(bits, numbers, on=on, options=PairOptions(confidence=confidence))
    frame = with_names(frame, opened)
    if output is not None:
        write_frame(frame, output)
    _show(frame)
    found = int((frame["q_value"] <= _FDR).sum())
    say(
        f"{count_text(len(frame), 'pair')} of a group and {_AFFECTED[on]} at ratio {bits.ratio:g}, "
        f"from {runs_text([bits], requested_runs(opened, bits.ratio))}; {found:,} at a false discovery rate of {_FDR:g}"
    )
    say("infl: all of the group against none, by the regression on its number in a subset; per example: one more")
    if output is not None:
        say(f"pairs: {output}")


_AFFECTED = {"example": "a test example", "class": "a test class", "all": "the test set"}


def _groups(store: "Store", groups: str, column: str) -> Any:
    """A number for each training example."""
    if groups == "class":
        from analysis.reading.examples import read_labels

        return read_labels(store).given_label
    from workers.campaign.score_column import ScoreColumn
    from workers.datasets.score_table import read_scores

    return read_scores(ScoreColumn(file=groups, column=column), store.header.num_train, "--groups")


def _show(frame: "pd.DataFrame") -> None:
    """Most significant first."""
    heads = {"group": TableColumn("group"), "size": TableColumn("size", 3)}
    heads |= {"test_example_id": TableColumn("test")} if "test_example_id" in frame else {}
    heads |= {"test_label": TableColumn("label", kind="text")} if "test_label" in frame else {}
    ends = [TableColumn("infl"), TableColumn("interval", 1), TableColumn("per example", 2), TableColumn("q_value", 1)]
    table = TextTable([*heads.values(), *ends], "-o FILE writes all")
    for row in frame.nsmallest(_MAX_ROWS, "p_value").to_dict("records"):
        estimate = cell(row["infl"]), interval_cell(row["low"], row["high"]), cell(row["per_example"], digits=5)
        table.add_row(*(_cell(row, name) for name in heads), *estimate, f"{row['q_value']:.2g}")
    show_table(table)


def _cell(row: Mapping[Any, Any], name: str) -> object:
    return label_cell(row, name) if name == "test_label" else row[name]
