"""Command of removal curves: removal."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import ConfidenceOption, StoreArgument, check_confidence_option
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, not_kept
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.errors import CampaignError, ReadOnlyError

if TYPE_CHECKING:
    import pandas as pd

    from workers.common.arrays import Integers

_TEST_ID = "test_example_id"


def removal(
    store: StoreArgument,
    confidence: ConfidenceOption = 0.95,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output file: .parquet or .csv; default: the store's estimates/."),
    ] = None,
    test_examples: Annotated[
        Path | None,
        typer.Option(
            "--test-examples",
            help="Table with a column test_example_id, such as that of influence -o: also show the loss of accuracy on "
            "these test examples.",
        ),
    ] = None,
    by_score: Annotated[
        bool,
        typer.Option(
            "--by-score", help="Show the mean score of the removed examples, and use it as the x axis of --plot."
        ),
    ] = False,
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
    from analysis import removal_curve, removal_on_tests, with_removed_scores, write_removal
    from analysis.reading.runs_read import committed_at_ratios, runs_read_text
    from orchestrator.cli.progress import reading_display
    from orchestrator.cli.removal_on_tests_table import show_removal_on_tests
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    _check_plots(plot, difference_plot)
    beside = None if output is None or test_examples is None else output.with_stem(f"{output.stem}-test-examples")
    check_output(beside)
    opened, by_test = Store.open(store), None
    with reading_display(errors, opened):
        frame = removal_curve(opened, confidence=confidence)
        if test_examples is not None:
            chosen = _read_ids(test_examples, opened.header.num_test)
            by_test = removal_on_tests(opened, chosen, confidence=confidence)
        frame = with_removed_scores(opened, frame) if by_score else frame
    if difference_plot is not None and frame["difference"].isna().all():
        raise CampaignError(
            f"--difference-plot: needs runs of the rule random beside another's at one ratio, {opened.uri} has none"
        )
    tables = [("removal", frame, output)]
    tables += [] if by_test is None else [("removal_test_examples", by_test, beside)]
    for _, table, path in tables:
        if path is not None:
            write_frame(table, path)
    _draw(frame, plot, difference_plot)
    _show(frame)
    if by_test is not None:
        show_removal_on_tests(by_test)
    say(runs_read_text(committed_at_ratios(opened), opened.targets()))
    try:
        for name, table, path in tables:
            say(f"table: {path or write_removal(opened, table, confidence=confidence, name=name)}")
    except ReadOnlyError as error:
        say(f"table: {not_kept(error)}")
    for figure in filter(None, (plot, difference_plot)):
        say(f"plot: {figure}")


def _check_plots(plot: Path | None, difference_plot: Path | None) -> None:
    check_figure(plot, "plot")
    check_figure(difference_plot, "difference-plot")
    if plot is not None and difference_plot is not None and plot.absolute() == difference_plot.absolute():
        raise CampaignError(f"--difference-plot: must be another file than --plot, got {str(difference_plot)!r}")


def _draw(frame: "pd.DataFrame", plot: Path | None, difference_plot: Path | None) -> None:
    import analysis

    if plot is not None:
        write_figure(plot, partial(analysis.plot.removal, by_score="removed_score" in frame), frame)
    if difference_plot is not None:
        write_figure(difference_plot, analysis.plot.marginal_utility, frame)


def _read_ids(path: Path, num_test: int) -> "Integers":
    """The test examples that a table names, each once or several times. Raises CampaignError, which names the file."""
    import numpy as np
    import pyarrow as pa

    from workers.datasets.example_table import ExampleTable

    table = ExampleTable.read(str(path), "--test-examples", (_TEST_ID,), npz_column=_TEST_ID)
    column = table.column(_TEST_ID)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise table.mistake("column", f"column {_TEST_ID} must hold whole numbers, got {column.type}")
    ids: Integers = np.unique(column.to_numpy().astype(np.int64))
    outside = ids[(ids < 0) | (ids >= num_test)]
    if not len(ids) or len(outside):
        got = str(outside[0]) if len(outside) else "none"
        raise table.mistake("column", f"column {_TEST_ID} must hold ids of 0 to {num_test - 1}, got {got}")
    return ids


def _show(frame: "pd.DataFrame") -> None:
    from workers.campaign.drop_rules import rule_text

    by_count = [("removed", 0), ("examples", 3)]
    by_count += [("mean score", 2)] if "removed_score" in frame else []
    by_rule = [("test accuracy", 0), ("se", 1), ("low", 4), ("high", 4), ("runs", 5), ("diverged", 6)]
    control = [("random", 1), ("difference", 0), ("± se", 1), ("from", 1), ("to", 1)] if _has_control(frame) else []
    columns = [TableColumn(*each) for each in by_count] + [TableColumn("which", kind="text")]
    table = TextTable([*columns, *(TableColumn(*each) for each in (*by_rule, *control))], "-o FILE writes all")
    for row in frame.to_dict("records"):
        which = rule_text(row["rule"], row["threshold"])
        figures = (cell(row[name], digits=4) for name in ("test_accuracy", "se", "low", "high"))
        score = [cell(row["removed_score"])] if "removed_score" in row else []
        removed = [f"{row['removed']:.4g}", row["examples_removed"], *score]
        cells = [*removed, which, *figures, row["runs"], row["diverged"]]
        names = ("random_accuracy", *(f"difference{end}" for end in ("", "_se", "_low", "_high")))
        table.add_row(*cells, *(cell(row[name], digits=4) for name in names if control))
    show_table(table)
    if control:
        say("difference: test accuracy after as many random removals, less that after the rule's; positive where the")
        say("examples removed are worth more than random ones; limits: Welch's, over runs")


def _has_control(frame: "pd.DataFrame") -> bool:
    return bool((frame["random_runs"] > 0).any())
