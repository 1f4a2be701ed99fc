"""Command of linear datamodels: datamodels."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import StoreArgument, parse_ids
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import cell, not_kept
from orchestrator.cli.text_table import TableColumn, TextTable
from workers.campaign.plural import count_text
from workers.errors import CampaignError, ReadOnlyError

if TYPE_CHECKING:
    from analysis.influence.datamodels.datamodeling_score import DatamodelingScore


class MethodName(StrEnum):
    """How datamodels are fitted."""

    ridge = "ridge"
    lasso = "lasso"


def datamodels(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option(help="Ratio of the runs; default: the one with the most runs.")] = None,
    method: Annotated[MethodName, typer.Option(help="Method that fits the weights.")] = MethodName.ridge,
    tests: Annotated[
        str | None, typer.Option(metavar="IDS", help="Ids of test examples, such as 0-99 or 3,17; default: all.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Number of weights per test example.")] = 10,
    heldout: Annotated[float, typer.Option(help="Fraction of the runs held out to score the datamodels.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the held-out runs.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output folder; default: the store's estimates/."),
    ] = None,
) -> None:
    """Fit linear datamodels, which predict outputs from training subsets, and score them on held-out runs.

    Example: longtail datamodels STORE --method lasso --tests 0-99
    """
    from analysis import fit_datamodels, read_outputs
    from analysis.reading.runs_read import RunsAtRatio, requested_runs, runs_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    chosen = slice(None) if tests is None else parse_ids(tests, "tests")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise CampaignError(f"{output}: must be a file in a folder that exists")
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        source = read_outputs(opened, ratio, chosen)
        if source.output == "correctness":
            warn("note: the store has no margins (record.margins), so correctness is predicted, which tells less")
        on_fit = partial(show, "test examples fitted")
        fitted = fit_datamodels(source, method=method.value, top=top, heldout=heldout, seed=seed, progress=on_fit)
    fits = count_text(fitted.fitted_runs, "run")
    left_out = f"{source.diverged} diverged, {source.not_finite} with margins that are not finite"
    if source.saturated:
        of = count_text(source.saturated, "margin")
        warn(f"note: recorded as 65,504 or -65,504, and maybe beyond that: {of}")
    used = RunsAtRatio(source.ratio_ppm, fitted.fitted_runs + fitted.heldout_runs, source.diverged)
    basis = runs_text([used], requested_runs(opened, source.ratio))
    say(f"ratio {source.ratio:g}, from {basis}: fitted to {fits}, scored on {fitted.heldout_runs} ({left_out})")
    columns = TableColumn("LDS"), TableColumn("SE over held-out runs", 1), TableColumn("test examples", 2)
    table = TextTable([TableColumn("predictor", kind="text"), *columns])
    for name, score in ((method.value, fitted.score), ("influence", fitted.influence_score)):
        table.add_row(name, *_cells(score))
    show_table(table)
    try:
        say(f"weights: {fitted.write(opened, output)}")
    except ReadOnlyError as error:
        if output is not None:
            raise
        say(f"weights: {not_kept(error)}")


def _cells(score: "DatamodelingScore") -> tuple[str, str, int]:
    return cell(score.mean, digits=4), cell(score.mean_se, digits=4), score.tests
