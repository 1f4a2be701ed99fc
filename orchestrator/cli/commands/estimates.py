"""Commands that compute and assess estimates: estimate, reliability."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import ConfidenceOption, StoreArgument
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import cell, count_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd


_RELIABILITY = {
    "runs": "runs",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "spearman_brown": "Spearman-Brown",
    "selected": "selected",
    "jaccard": "Jaccard",
}
"""Columns shown, and what they are called."""


def estimate(
    store: StoreArgument,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Number of training examples per test example.")] = 5,
    threshold: Annotated[float, typer.Option(min=-1, max=1, help="Minimum influence of the pairs to write.")] = 0.15,
    fdr: Annotated[float, typer.Option(help="False discovery rate of the list of pairs.")] = 0.05,
    confidence: ConfidenceOption = 0.95,
    max_pairs: Annotated[
        int,
        typer.Option(
            min=1, max=100_000_000, help="Maximum number of pairs per ratio; a ratio with more has no table of pairs."
        ),
    ] = 1_000_000,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Output folder; default: the store's estimates/. Created if missing.",
        ),
    ] = None,
) -> None:
    """Write every estimate that the recorded runs allow, as Parquet tables. Works on an unfinished campaign.

    Example: longtail estimate STORE
    """
    from analysis import write_estimates
    from analysis.influence.pair_options import PairOptions
    from analysis.reading.parallel import Threads
    from orchestrator.cli.progress import BLOCKS, reading_display
    from workers.errors import ReadOnlyError
    from workers.store import Store

    for name, share in (("--fdr", fdr), ("--confidence", confidence)):
        if not 0 < share < 1:
            raise typer.BadParameter(f"{name} must be between 0 and 1, got {share}")
    opened = Store.open(store)
    try:
        if output is None:
            opened.check_estimates_writable()
        with reading_display(errors, opened) as show:
            parallel = Threads(on_progress=partial(show, BLOCKS))
            written = write_estimates(
                opened,
                progress=warn,
                top=top,
                threshold=threshold,
                fdr=fdr,
                options=PairOptions(confidence=confidence, max_pairs=max_pairs, parallel=parallel),
                folder=output,
            )
    except ReadOnlyError as error:
        if output is not None:
            raise
        raise ReadOnlyError(f"{error.problem}: -o FOLDER writes the estimates elsewhere") from error
    for name, path in written.items():
        say(f"{name}: {path}")
    if not written:
        say(
            "nothing to estimate: at ratio 1 no example is held out, and forgetting needs record.presentations, or "
            "record.epochs of several epochs"
        )


def reliability(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: all, and the C-score.")] = None,
    splits: Annotated[
        int, typer.Option("--splits", min=1, max=10_000, help="Number of random splits to average over.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the splits.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file: .parquet or .csv.")] = None,
) -> None:
    """Show the split-half reliability of each estimate, by number of runs.

    Example: longtail reliability STORE -o reliability.parquet
    """
    from analysis import estimate_reliability
    from analysis.reading.runs_read import committed_at_ratios, requested_runs, runs_read_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    opened = Store.open(store)
    with reading_display(errors, opened):
        frame = estimate_reliability(opened, ratio, splits=splits, seed=seed, progress=warn)
    if output is not None:
        write_frame(frame, output)
    _show_reliability(frame)
    say(runs_read_text(committed_at_ratios(opened, ratio), requested_runs(opened, ratio)))
    say(f"means over {splits} random splits of the runs into halves, ± their standard deviation")
    if output is not None:
        say(f"table: {output}")


def _show_reliability(frame: "pd.DataFrame") -> None:
    """A table for each estimate and ratio, without the columns that an estimate does not have."""
    for (estimate, ratio), rows in frame.groupby(["estimate", "ratio"], sort=False, dropna=False):
        say(str(estimate) if ratio != ratio else f"{estimate} at ratio {ratio:g}")
        names = [name for name in _RELIABILITY if name == "runs" or rows[name].notna().any()]
        if names == ["runs"]:
            say(f"  no value from {count_text(rows['runs'].max(), 'run')}")
            continue
        table = TextTable([TableColumn(_RELIABILITY[name], rank) for rank, name in enumerate(names)])
        for row in rows.to_dict("records"):
            table.add_row(*(_cell(row[name], row.get(f"{name}_sd")) for name in names))
        show_table(table)


def _cell(value: float, deviation: float | None) -> str:
    """NaN, where there is no value or no deviation, is not shown as a number."""
    return count_cell(value) if deviation is None else cell(value, deviation)
