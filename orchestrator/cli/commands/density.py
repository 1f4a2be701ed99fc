"""Command of kernel densities: density."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import DeviceOption, StoreArgument, TrustCodeOption
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import not_kept
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.errors import ReadOnlyError

if TYPE_CHECKING:
    from orchestrator.store_ops.density import Densities

_MAX_ROWS = 5


def density(
    store: StoreArgument,
    models: Annotated[
        int,
        typer.Option(
            "--models", min=1, max=1000, help="Number of runs trained again for their penultimate-layer features."
        ),
    ] = 1,
    device: DeviceOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Output file: .parquet or .csv; default: the store's estimates/."
        ),
    ] = None,
    trust_code: TrustCodeOption = False,
) -> None:
    """Estimate the density of the data around each example: pairwise-distance proxies of the C-score.

    Example: longtail density STORE --models 3
    """
    from orchestrator.cli.progress import reading_display
    from orchestrator.store_ops.density import estimate_densities
    from workers.store import Store

    check_output(output)
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        densities = estimate_densities(opened, models=models, device=device, progress=show, trust_code=trust_code)
    try:
        written = densities.write(opened, output)
    except ReadOnlyError as error:
        written = not_kept(error)
    _show(densities)
    say(f"densities: {written}")


def _show(densities: "Densities") -> None:
    """The bandwidths, and the examples that are least like their own class and most like others."""
    say(f"input space: bandwidth {_bandwidth(densities.input_bandwidth, densities.input_bandwidth_se)}")
    for run in densities.runs:
        say(
            f"last hidden layer of run {run.run.run_id}: bandwidth {_bandwidth(run.bandwidth, run.bandwidth_se)}; "
            f"trained again, it agrees with the store's run on {run.agreement:.2%} of the training examples"
        )
    if densities.left_out is not None:
        warn(f"note: last hidden layer left out: {densities.left_out}")
    columns = [
        TableColumn("space", kind="text"),
        TableColumn("example"),
        TableColumn("label", 3),
        TableColumn("given", 3),
    ]
    columns += [TableColumn("relative"), TableColumn("same class", 1), TableColumn("all", 2)]
    table = TextTable(columns, "-o FILE writes all")
    for space in ("input", "hidden"):
        scores = [f"{space}_density_relative", f"{space}_density_same", f"{space}_density"]
        rows = densities.frame.dropna(subset=scores).nsmallest(_MAX_ROWS, scores[0])
        for row in rows.to_dict("records"):
            ids = (str(row[name]) for name in ("example_id", "label", "given_label"))
            table.add_row(space, *ids, *(f"{row[name]:#.4g}" for name in scores))
    show_table(table)


def _bandwidth(value: float, se: float) -> str:
    return f"{value:.5g}" + (f" ± {se:.1g} (from a sample of the examples)" if se else "")
