"""Command that compares two sets of scores, or the pairs of two stores: compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.figure_output import ENDINGS as FIGURES
from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import SCORES_HELP, EstimateOption
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, interval_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import ENDINGS as TABLES
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import CampaignError

if TYPE_CHECKING:
    import pandas as pd

    from analysis import Agreement, PairAgreement


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"{SCORES_HELP}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Store or file to compare with.")],
    estimate: EstimateOption = None,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="Ratio of the stores; default: the only one, for C-scores all.")
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            "--threshold",
            help="Compare the sets of examples with memorization or events/run >= this, or C-score <= it. Repeatable.",
        ),
    ] = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Compare the pairs of two stores with influence >= threshold."),
    ] = False,
    min_mem: Annotated[
        float | None,
        typer.Option(
            "--min-mem", min=-1, max=1, help="With --pairs: memorization of the training examples; default: 0.25."
        ),
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="With --pairs: include pairs of different classes.")
    ] = False,
    unseen_by: Annotated[
        Literal["a", "b"] | None,
        typer.Option(
            "--unseen-by", help="Compare the examples that the encoder of this side's features was not trained on."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Output file: the curves over thresholds (.parquet, .csv), or a scatter plot (.png, .pdf, .svg).",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the curves: .png, .pdf or .svg.")] = None,
) -> None:
    """Compare two stores, or a store with published scores, of the same examples: correlations and overlaps.

    Example: longtail compare STORE cifar10-cscores-orig-order.npz --estimate cscore -o agreement.png
    """
    import analysis
    from orchestrator.cli.progress import sources_display

    table, scatter = _outputs(output, plot)
    if pairs:
        from analysis.scoring.pair_agreement import PAIR_THRESHOLDS

        if estimate is not None:
            raise typer.BadParameter("--estimate is not for --pairs")
        if unseen_by is not None:
            raise typer.BadParameter("--unseen-by is not for --pairs")
        check_output(output)
        selection = analysis.PairSelection(min_mem=0.25 if min_mem is None else min_mem, same_class=not all_classes)
        thresholds = threshold or PAIR_THRESHOLDS
        with sources_display(errors, a, b) as sources:
            found = analysis.compare_pairs(*sources, ratio=ratio, thresholds=thresholds, selection=selection)
        _write_curve(found.curve, table, plot)
        _show_pairs(found)
        _tell_files(None, table, plot)
        return
    if min_mem is not None or all_classes:
        raise typer.BadParameter("--min-mem and --all-classes need --pairs")
    with sources_display(errors, a, b) as sources:
        sides = [
            analysis.UnseenByEncoder(source) if side == unseen_by else source
            for side, source in zip(("a", "b"), sources, strict=True)
        ]
        agreement = analysis.compare(*sides, estimate=estimate, ratio=ratio, thresholds=threshold)
    if scatter is not None:
        write_figure(scatter, analysis.plot.agreement, agreement)
    _write_curve(agreement.curve, table, plot)
    _show(agreement)
    _tell_files(scatter, table, plot)


def _write_curve(curve: "pd.DataFrame", table: Path | None, plot: Path | None) -> None:
    import analysis

    if table is not None:
        write_frame(curve, table)
    if plot is not None:
        write_figure(plot, analysis.plot.agreement_curve, curve)


def _tell_files(scatter: Path | None, table: Path | None, plot: Path | None) -> None:
    for name, path in (("plot", scatter), ("table", table), ("plot", plot)):
        if path is not None:
            say(f"{name}: {path}")


def _outputs(output: Path | None, plot: Path | None) -> tuple[Path | None, Path | None]:
    """The file of the table and that of the scatter plot, of which --output names one. Raises CampaignError."""
    if output is not None and output.suffix not in (*TABLES, *FIGURES):
        raise CampaignError(f"--output: must end with {', '.join((*TABLES, *FIGURES))}, got {str(output)!r}")
    if plot is not None and output is not None and plot.absolute() == output.absolute():
        raise CampaignError(f"--plot: must be another file than --output, got {str(plot)!r}")
    is_figure = output is not None and output.suffix in FIGURES
    table, scatter = (None, output) if is_figure else (output, None)
    check_output(table)
    check_figure(scatter, "output")
    check_figure(plot, "plot")
    return table, scatter


def _show(agreement: "Agreement") -> None:
    from analysis.scoring.agreement import SELECTS
    from analysis.scoring.agreement_errors import text_of

    say(f"a: {agreement.name_a}")
    say(f"b: {agreement.name_b}")
    if agreement.matched:
        say(agreement.matched)
    shared = count_text(len(agreement.scores), "example")
    say(f"{agreement.estimate} of {shared}; {agreement.left_out} without a value left out")
    spearman, pearson, difference = (
        text_of(agreement.errors, name) for name in ("spearman", "pearson", "mean_absolute_difference")
    )
    pearson = f"{cell(agreement.pearson, digits=4)}{pearson}"
    say(
        f"Spearman {cell(agreement.spearman, digits=4)}{spearman}, Pearson {pearson}, "
        f"mean absolute difference {cell(agreement.mean_absolute_difference, digits=4)}{difference}"
    )
    if agreement.spearman != agreement.spearman:
        say(f"no correlation: {_why_no_correlation(agreement)}")
    _show_curve(agreement.curve, SELECTS[agreement.estimate])
    limited = agreement.errors.dropna(subset=["low", "high"])
    if len(limited):
        say(f"95% intervals, over {', '.join(limited['over'].unique())}")


def _show_pairs(found: "PairAgreement") -> None:
    say(f"a: {found.name_a}")
    say(f"b: {found.name_b}")
    if found.matched:
        say(found.matched)
    say(f"pairs by influence; {count_text(found.left_out, 'training example')} without a value left out")
    _show_curve(found.curve, ">=")
    limited = found.curve.dropna(subset=["jaccard_low"])
    if len(limited):
        say(f"95% intervals, over {', '.join(limited['over'].unique())}")


def _show_curve(curve: "pd.DataFrame", side: str) -> None:
    """A row for each threshold; `side` is the one that is selected."""
    from analysis.scoring.agreement_errors import number_text

    columns = ("in a", 1), ("in b", 1), ("in both", 1), ("Jaccard", 0), ("95% interval", 2)
    apart = ("difference", 3), ("95% interval", 4)
    table = TextTable(
        [TableColumn("selected", kind="text"), *(TableColumn(*column) for column in (*columns, *apart))],
        "-o FILE.csv writes all",
    )
    for row in curve.to_dict("records"):
        measured: list[str] = []
        for measure in ("jaccard", "difference"):
            limits = interval_cell(row[f"{measure}_low"], row[f"{measure}_high"], 4)
            measured += [cell(row[measure]), limits]
        table.add_row(f"{side} {number_text(row['threshold'])}", row["n_a"], row["n_b"], row["n_both"], *measured)
    show_table(table)
    say("difference: the mean absolute difference over what either selects")


def _why_no_correlation(agreement: "Agreement") -> str:
    import numpy as np

    from analysis.scoring.agreement import rounded

    if len(agreement.scores) < 2:
        return "it takes two examples with a value in both"
    same = [name for name in ("a", "b") if not np.ptp(rounded(agreement.scores[name].to_numpy()))]
    return f"all values of {' and of '.join(same)} are equal"
