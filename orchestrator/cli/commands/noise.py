"""Commands on noisy labels: noise, suspects."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import ConfidenceOption, StoreArgument, TopOption, check_confidence_option
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import (
    OutputOption,
    cell,
    given_label_cell,
    interval_cell,
    keep_table,
    name_cell,
    over_lines,
    predicted_label_cell,
    saturated_note,
)
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.campaign.plural import count_text, range_text

if TYPE_CHECKING:
    import pandas as pd

    from analysis.scoring.example_scores import StoreScores

_OTHER_SCORES = ("cscore", "mem", "probability", "forgettability")
"""Scores that suspects are shown with."""


def noise(
    store: StoreArgument,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="Ratio of memorization and of training scores; default: all.")
    ] = None,
    confidence: ConfidenceOption = 0.95,
    output: OutputOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Plot of ROC and precision-recall curves: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Show how well each score finds the noisy examples of a campaign with noise in labels or pixels.

    Example: longtail noise STORE --plot noise.png
    """
    import analysis
    from analysis import noise_curves, noise_detection, read_example_scores
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.examples import read_labels
    from analysis.reading.runs_read import runs_read_text
    from analysis.scoring.noise import noisy_examples
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    noisy_examples(read_labels(opened), opened.uri)  # before hours of reading
    with reading_display(errors, opened):
        scores = read_example_scores(opened, ratio, replicates=True)
    if scores.saturated:
        warn(saturated_note(scores.saturated))
    table = noise_detection(scores, confidence=confidence)
    metadata = {
        "confidence": repr(confidence),
        "auc_se": "DeLong 1988, jackknife over runs",
        "limits": "Newcombe 2006, method 5, and runs",
    }
    written = keep_table(opened, "noise", table, output, bases_of(scores.counts.ratios), None, **metadata)
    if plot is not None:
        write_figure(plot, analysis.plot.noise, table, noise_curves(scores))
    _show(table, "noisy example" if opened.header.has_noisy_images else "noisy label")
    say(runs_read_text(scores.counts.ratios, opened.targets()))
    say(f"table: {written}")
    if plot is not None:
        say(f"plot: {plot}")


def _show(frame: "pd.DataFrame", noisy: str) -> None:
    """Best first; scores without a ratio have none. `noisy` is what there is to be found."""
    columns = ("ratio", 1), ("AUC", 0), ("interval", 2), ("average precision", 3), ("precision at noisy", 4)
    table = TextTable(
        [TableColumn("score", kind="text"), *(TableColumn(*column) for column in columns)], "-o FILE writes all"
    )
    for row in frame.sort_values("auc", ascending=False, kind="stable").to_dict("records"):
        table.add_row(
            row["score"],
            None if row["ratio"] != row["ratio"] else f"{row['ratio']:g}",
            cell(row["auc"], digits=4),
            interval_cell(row["low"], row["high"], digits=4),
            cell(row["average_precision"]),
            cell(row["precision_at_noisy"]),
        )
    show_table(table)
    for line in over_lines(frame, "score"):
        say(line)
    examples = count_text(frame["examples"].max(), "example")
    say(f"{count_text(frame['noisy'].max(), noisy)} among {examples}")
    if frame["left_out"].any():
        say(f"left out of a score that they lack: up to {count_text(frame['left_out'].max(), 'example')}")


def suspects(
    store: StoreArgument,
    by: Annotated[str | None, typer.Option("--by", help="Score to rank by; default: the best one recorded.")] = None,
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Ratio of memorization and of training scores; default: the largest of each."),
    ] = None,
    top: TopOption = 20,
    output: OutputOption = None,
) -> None:
    """List the examples whose labels are most likely wrong, with all their scores.

    Example: longtail suspects STORE --top 50 -o suspects.csv
    """
    from analysis import rank_suspects, read_example_scores
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.names import with_names
    from analysis.reading.predictions import read_predictions
    from analysis.reading.runs_read import runs_read_text
    from analysis.scoring.example_scores import NAMES
    from analysis.scoring.suspects import chosen_score
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    if by is not None and by not in NAMES:
        raise typer.BadParameter(f"--by must be one of {', '.join(NAMES)}, got {by!r}")
    opened = Store.open(store)
    with reading_display(errors, opened):
        scores = read_example_scores(opened, ratio)
        predictions = read_predictions(opened, ratio)
    if scores.saturated:
        warn(saturated_note(scores.saturated))
    chosen = chosen_score(scores, by).name
    frame = rank_suspects(scores, by, predictions)
    written = keep_table(opened, "suspects", frame, output, bases_of(scores.counts.ratios), by=chosen)
    _show_suspects(with_names(frame.head(top), opened), chosen)
    left_out = scores.labels.num_train - len(frame)
    say(
        f"ranked by {chosen}: {count_text(len(frame), 'example')}{_behind(scores, frame, chosen)}"
        + (f"; without one, and left out: {left_out:,}" if left_out else "")
    )
    say(runs_read_text(scores.counts.ratios, opened.targets()))
    say(f"table: {written}")


def _behind(scores: "StoreScores", frame: "pd.DataFrame", chosen: str) -> str:
    """How many runs a C-score rests on: of few runs those of single ones lie at the top and at the end."""
    if chosen != "cscore" or frame.empty:
        return ""
    import numpy as np

    runs = np.sum([ratio.n_out for ratio in scores.counts.holding_out().ratios], axis=0)[frame["example_id"]]
    return f", each held out by {range_text(int(runs.min()), int(runs.max()), 'run')}"


def _show_suspects(rows: "pd.DataFrame", chosen: str) -> None:
    """The chosen score with its standard error, and some others; the table has all."""
    others = [name for name in _OTHER_SCORES if name in rows.columns and name != chosen]
    named, predicted = "name" in rows, "predicted_label" in rows
    columns = [
        TableColumn("rank", 3),
        TableColumn("example"),
        TableColumn("given label", kind="text"),
        *[TableColumn("held-out prediction", 1, kind="text")] * predicted,
        TableColumn(chosen),
    ]
    columns += [TableColumn(name, rank) for rank, name in enumerate(others, 4)]
    table = TextTable([*columns, *[TableColumn("name", 2, kind="name")] * named], "-o FILE writes all")
    for row in rows.to_dict("records"):
        values = (cell(row[name]) for name in others)
        table.add_row(
            row["rank"],
            row["example_id"],
            given_label_cell(row),
            *([predicted_label_cell(row)] if predicted else []),
            cell(row[chosen], row.get(f"{chosen}_se")),
            *values,
            *([name_cell(row["name"])] if named else []),
        )
    show_table(table)
