"""Command of the league of cheap scores: league."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import ConfidenceOption, StoreArgument, check_confidence_option
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import OutputOption, cell, interval_cell, keep_table, over_lines
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd


def league(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio of the scores; default: the largest.")] = None,
    confidence: ConfidenceOption = 0.95,
    output: OutputOption = None,
) -> None:
    """Rank cheap scores by their correlation with memorization, C-score and vulnerability.

    Example: longtail league STORE -o league.csv
    """
    from analysis import score_league
    from analysis.reading.counts import count_runs
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.runs_read import runs_read_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    opened = Store.open(store)
    with reading_display(errors, opened):
        frame = score_league(opened, ratio, confidence=confidence)
    counts = count_runs(opened)
    _show(frame)
    say(runs_read_text(counts.ratios, opened.targets()))
    bases = bases_of(counts.ratios)
    say(f"league: {keep_table(opened, 'league', frame, output, bases, None, confidence=repr(confidence))}")


def _show(frame: "pd.DataFrame") -> None:
    """A row per score, in the order of the first truth; of each truth the corrected correlation and its interval."""
    truths = list(dict.fromkeys(frame["truth"]))
    columns = [column for truth in truths for column in (TableColumn(truth), TableColumn("interval", 1))]
    table = TextTable([TableColumn("score", kind="text"), *columns])
    for score in dict.fromkeys(frame["score"]):
        rows = frame[frame["score"] == score].set_index("truth")
        cells = [
            text
            for truth in truths
            for text in (
                cell(rows.loc[truth, "corrected"]),
                interval_cell(rows.loc[truth, "corrected_low"], rows.loc[truth, "corrected_high"]),
            )
        ]
        table.add_row(score, *cells)
    show_table(table)
    for line in over_lines(frame, "score"):
        say(line)
    say(
        "rank correlations of a score of half of the runs with a truth of the other half, over the square root of the "
        f"truth's reliability; up to {count_text(frame['examples'].max(), 'example')}"
    )
    for truth, rows in frame.groupby("truth", sort=False):
        first = rows.iloc[0]
        at = "" if first["truth_ratio"] != first["truth_ratio"] else f" at ratio {first['truth_ratio']:g}"
        say(f"reliability of {truth}{at}, of half of the runs: {first['reliability']:.3f}")
