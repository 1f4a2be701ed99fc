"""Commands that import runs trained elsewhere: import heldout, import matrices."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import StoreOption
from orchestrator.cli.output import errors, say
from orchestrator.cli.suggest_group import SuggestingGroup
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from orchestrator.store_ops.import_runs import ImportReport

imports = typer.Typer(
    cls=SuggestingGroup,
    no_args_is_help=True,
    help="Import runs that were trained elsewhere into a store.\n\nExample: longtail import heldout --help",
)


@imports.command()
def heldout(
    experiment: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with <ratio>/<run>/aux_arrays.npz.")],
    store: StoreOption,
    labels: Annotated[
        Path, typer.Option("--labels", "-l", help="NumPy .npz file with the data set's labels: arrays train and test.")
    ],
) -> None:
    """Import the published runs of google-research/heldout-influence-estimation. Run again to resume.

    Example: longtail import heldout cifar10-inception --store STORE --labels cifar10-labels.npz
    """
    from orchestrator.cli.progress import work_display
    from orchestrator.store_ops.import_runs import import_heldout

    with work_display(errors) as show:
        report = import_heldout(experiment, store, labels, partial(show, "runs imported"))
    _show(report)


@imports.command()
def matrices(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help=".npz, .parquet or .npy: masks, and correctness or margins of runs."),
    ],
    store: StoreOption,
    labels: Annotated[
        Path, typer.Option("--labels", "-l", help="NumPy .npz file with the data set's labels: arrays train and test.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="Name of the runs; default: the first file's.")] = None,
    runs: Annotated[int | None, typer.Option("--runs", min=1, help="Import the first rows only.")] = None,
) -> None:
    """Import runs from matrices with a row for each run: masks, and correctness or margins. Run again to resume.

    Example: longtail import matrices runs.npz --store STORE --labels labels.npz
    """
    from orchestrator.cli.progress import work_display
    from orchestrator.store_ops.import_runs import MatrixImport, import_matrices

    with work_display(errors) as show:
        report = import_matrices(files, store, labels, MatrixImport(name, runs), partial(show, "runs imported"))
    _show(report)


def _show(report: "ImportReport") -> None:
    say(
        f"{count_text(report.runs, 'run')} of {report.experiment} in {report.store_uri} "
        f"({report.runs - report.before:,} imported now)"
    )
    say(f"next: longtail estimate {report.store_uri}")
