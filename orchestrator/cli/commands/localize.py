"""Command of localization: localize."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, not_kept
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import ReadOnlyError

if TYPE_CHECKING:
    import pandas as pd

    from workers.store import Store

RULES = ("parameters", "buffers", "reestimated")

GroupNames = tuple[str, str]
"""Names of the examples that are compared: clean and noisy, or typical and atypical."""


def localize(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio of the runs; default: the only one.")] = None,
    rule: Annotated[
        str, typer.Option("--rule", help=f"Batch statistics of rewound layers: {', '.join(RULES)}.")
    ] = "reestimated",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output files, FILE-gradients.csv and so on for FILE.csv (or .parquet); default: estimates/.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plots of all probes: .png, .pdf or .svg.")] = None,
) -> None:
    """Show what probes measured: in which layers and units memorization is.

    Example: longtail localize STORE --plot localization.png
    """
    import analysis
    from analysis.estimators.localization.summary import localize as summarize
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    if rule not in RULES:
        raise typer.BadParameter(f"--rule must be one of {', '.join(RULES)}, got {rule!r}")
    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    with reading_display(errors, opened):
        found = summarize(opened, ratio=ratio)
    written = [_keep(opened, name, frame, output) for name, frame in found.tables.items()]
    if plot is not None:
        write_figure(plot, partial(analysis.plot.localization, rule=rule), found.tables)
    for name, frame in found.tables.items():
        _SHOW.get(name, _show_nothing)(frame, rule, found.groups)
    for at, runs in found.runs.items():
        say(f"means over {count_text(runs, 'measured run')} at ratio {at:g}, ± standard error over runs")
    for place in written:
        say(f"table: {place}")
    if plot is not None:
        say(f"plot: {plot}")


def _keep(store: "Store", name: str, frame: "pd.DataFrame", output: Path | None) -> str:
    """Write a table; returns where."""
    from analysis.reading.estimate_tables import write_table

    if output is not None:
        place = output.with_name(f"{output.stem}-{name}{output.suffix}")
        write_frame(frame, place)
        return str(place)
    try:
        return write_table(store, f"localize_{name}", frame, {}, None)
    except ReadOnlyError as error:
        return not_kept(error)


def _show_nothing(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    """A probe of the user's own is in its table."""


def _show_gradients(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    """Means over epochs; the figure and the table have each epoch."""
    first, second = groups
    say(f"gradients of {first} and {second} examples, mean over epochs")
    names = {f"norm {first}": 3, f"norm {second}": 3, f"{second} / {first}": 1, "cosine": 0, "flat cosine": 2}
    values = {f"norm_{first}": 4, f"norm_{second}": 4, "norm_ratio": 2, "cosine": 3, "flat_cosine": 3}
    columns = [TableColumn("layer", kind="text"), *(TableColumn(*each) for each in names.items())]
    table = TextTable(columns, "-o FILE writes all")
    for layer, rows in frame.groupby("layer", sort=False):
        table.add_row(str(layer), *(cell(rows[name].mean(), digits=digits) for name, digits in values.items()))
    show_table(table)


def _show_rewinding(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    for group in groups:
        say(f"accuracy on {group} examples with one layer rewound to an epoch ({rule})")
        rows = frame[(frame["rule"] == rule) & (frame["group"] == group)]
        epochs = sorted(rows["epoch"].unique())
        # Where not all fit, the first and the last epoch are the last to go.
        ranks = {epoch: min(place, len(epochs) - 1 - place) for place, epoch in enumerate(epochs)}
        table = TextTable(
            [TableColumn("layer", kind="text"), *(TableColumn(f"{epoch}", ranks[epoch]) for epoch in epochs)],
            "-o FILE writes all",
        )
        for layer, of_layer in rows.groupby("layer", sort=False):
            at = of_layer.set_index("epoch")
            table.add_row(str(layer), *(_accuracy(at.loc[epoch]) for epoch in epochs))
        show_table(table)


def _accuracy(row: Any) -> str:
    return cell(row["accuracy"], row["accuracy_se"])


def _show_retraining(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    say(f"accuracy with one layer trained anew on {groups[0]} examples alone, before and after")
    names = [f"{group} {when}" for group in groups for when in ("before", "after")]
    ranks = (2, 1, 1, 0)
    table = TextTable(
        [TableColumn("layer", kind="text"), *(TableColumn(*each) for each in zip(names, ranks, strict=True))],
        "-o FILE writes all",
    )
    for layer, rows in frame.groupby("layer", sort=False):
        cells = []
        for group in groups:
            at = rows[rows["group"] == group].sort_values("epoch")
            cells += [_accuracy(at.iloc[0]), _accuracy(at.iloc[-1])]
        table.add_row(str(layer), *cells)
    show_table(table)


def _show_neurons(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    say("units to set to 0 until an example's given label is not predicted")
    ranks = {"sampled": 4, "predicted": 3, "median": 0, "under 10": 0, "not flipped": 1}
    ranks |= {"test before": 2, "test after": 2}
    columns = [TableColumn("group", kind="text"), *(TableColumn(name, rank) for name, rank in ranks.items())]
    table = TextTable(columns, "-o FILE writes all")
    for row in frame.to_dict("records"):
        table.add_row(
            row["group"],
            f"{row['sampled'] * row['runs']:.0f}",
            f"{row['n'] * row['runs']:.0f}",
            cell(row["median"], digits=1),
            cell(row["under_10"], row["under_10_se"]),
            cell(row["censored"], row["censored_se"]),
            cell(row["before_test"]),
            cell(row["accuracy_test"], row["accuracy_test_se"]),
        )
    show_table(table)


def _show_detection(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    for row in frame.to_dict("records"):
        found = "noisy labels" if groups[1] == "noisy" else f"{groups[1]} examples"
        say(f"minus the number of units as a detector of {found}: AUC {cell(row['auc'], row['auc_se'])}")


def _show_dropout(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    say("accuracy with and without the memorization units")
    shown = (*groups, "test")
    table = TextTable(
        [TableColumn("mode", kind="text"), *(TableColumn(group, rank) for rank, group in enumerate(shown))],
        "-o FILE writes all",
    )
    for mode, rows in frame.groupby("mode", sort=False):
        at = rows.set_index("group").reindex(list(shown))  # mode own has no test examples
        table.add_row(str(mode), *(_accuracy(at.loc[group]) for group in shown))
    show_table(table)


def _show_dropped(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    """The clean or typical examples that are lost in most runs: often ambiguous, or wrong in the data set itself."""
    first, second = (frame[frame["group"] == group] for group in groups)
    lost = first[first["lost"] > 0]
    say(
        f"lost when memorization units are dropped, mean over runs: {first['lost'].mean():.1%} of the {groups[0]} "
        f"examples, {second['lost'].mean():.1%} of the {groups[1]} ones"
    )
    if len(lost):
        listed = ", ".join(str(example) for example in lost["example_id"].head(_LOST))
        say(f"{groups[0]} examples lost in most runs: {listed}{', ...' if len(lost) > _LOST else ''}")


_LOST = 10
"""Examples that are listed."""

_SHOW = {
    "gradients": _show_gradients,
    "rewinding": _show_rewinding,
    "retraining": _show_retraining,
    "neurons": _show_neurons,
    "neurons_detection": _show_detection,
    "dropout": _show_dropout,
    "dropped": _show_dropped,
}
