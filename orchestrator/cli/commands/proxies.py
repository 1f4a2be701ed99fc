"""Command of proxies of the C-score: proxies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import SCORES_HELP, ConfidenceOption, StoreArgument, check_confidence_option
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import OutputOption, cell, interval_cell, keep_table, over_lines, saturated_note
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd


def proxies(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio of the runs; default: the largest.")] = None,
    cscore: Annotated[
        str | None,
        typer.Option("--cscore", metavar="OTHER", help=f"{SCORES_HELP}, with the C-score; default: this store."),
    ] = None,
    confidence: ConfidenceOption = 0.95,
    output: OutputOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the correlations: .png, .pdf or .svg.")] = None,
) -> None:
    """Write the training statistics of each example, and show their rank correlation with the C-score.

    Example: longtail proxies STORE --cscore cifar10-cscores-orig-order.npz --plot proxies.png
    """
    import analysis
    from analysis import read_example_scores
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.runs_read import runs_read_text
    from analysis.scoring.example_scores import largest_ratio
    from analysis.scoring.proxies import proxies_frame, reference_cscore, store_proxy_agreement
    from orchestrator.cli.progress import sources_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    with sources_display(errors, opened, *([] if cscore is None else [cscore])) as (_, *others):
        reference = reference_cscore(opened, *others, replicates=True)
        largest = largest_ratio(opened, ratio)
        scores = read_example_scores(opened, largest, replicates=True)
    if scores.saturated:
        warn(saturated_note(scores.saturated))
    frame = proxies_frame(scores)
    table = store_proxy_agreement(scores, reference, confidence=confidence)
    bases = bases_of(ratio for ratio in scores.counts.ratios if ratio.ratio == largest)
    written = {"proxies": keep_table(opened, "proxies", frame, None, bases, output, orientation="high is regular")}
    metadata = {"cscore": f"{reference.source} ({reference.basis})", "confidence": repr(confidence)}
    written["correlations"] = keep_table(opened, "proxy_agreement", table, output, bases, None, **metadata)
    if plot is not None:
        write_figure(plot, analysis.plot.proxies, table)
        written["plot"] = str(plot)
    say(f"proxies at ratio {largest:g}, C-score of {metadata['cscore']}")
    _show(table)
    say(runs_read_text(scores.counts.ratios, opened.targets()))
    for name, path in written.items():
        say(f"{name}: {path}")


def _show(frame: "pd.DataFrame") -> None:
    """Best first."""
    columns = ("Spearman", 0), ("interval", 2), ("Kendall", 1), ("interval", 3)
    table = TextTable([TableColumn("proxy", kind="text"), *(TableColumn(*column) for column in columns)])
    for row in frame.sort_values("spearman", ascending=False, kind="stable").to_dict("records"):
        correlations = [
            text
            for name in ("spearman", "kendall")
            for text in (cell(row[name]), interval_cell(row[f"{name}_low"], row[f"{name}_high"]))
        ]
        table.add_row(row["proxy"], *correlations)
    show_table(table)
    for line in over_lines(frame, "proxy"):
        say(line)
    say(f"rank correlations (Kendall's tau-b) over {count_text(frame['examples'].max(), 'example')}")
    if frame["left_out"].any():
        say(f"left out for want of a proxy or a C-score: up to {count_text(frame['left_out'].max(), 'example')}")
