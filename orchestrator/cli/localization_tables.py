"""Tables of localization: what probes measured, as text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import say, show_table
from orchestrator.cli.table_output import cell
from orchestrator.cli.text_table import TableColumn, TextTable

if TYPE_CHECKING:
    import pandas as pd

GroupNames = tuple[str, str]
"""Names of the examples that are compared: clean and noisy, or typical and atypical."""


def show_localization(tables: "Mapping[str, pd.DataFrame]", rule: str, groups: GroupNames) -> None:
    """Show the tables of `analysis.estimators.localization.summary`; of rewound layers those of a `rule`.

    Tables of a user's own probes are only written.
    """
    for name, frame in tables.items():
        if name in _SHOW:
            _SHOW[name](frame, rule, groups)


def _show_gradients(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    """Means over epochs; the figure and the table of gradients have each epoch."""
    first, second = groups
    say(f"gradients of {first} and {second} examples, mean over epochs")
    names = {f"norm {first}": 3, f"norm {second}": 3, f"{second} / {first}": 1, "cosine": 0, "flat cosine": 2}
    values = {f"norm_{first}": 4, f"norm_{second}": 4, "norm_ratio": 2, "cosine": 3, "flat_cosine": 3}
    columns = [TableColumn("layer", kind="text"), *(TableColumn(*each) for each in names.items())]
    table = TextTable(columns, "-o FILE writes all")
    for row in frame.to_dict("records"):
        table.add_row(
            str(row["layer"]), *(cell(row[name], row[f"{name}_se"], digits) for name, digits in values.items())
        )
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
        target = "noisy labels" if groups[1] == "noisy" else f"{groups[1]} examples"
        say(f"minus the number of units as a detector of {target}: AUC {cell(row['auc'], row['auc_se'])}")


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


def _show_scores(frame: "pd.DataFrame", rule: str, groups: GroupNames) -> None:
    say("rank correlation with the scores, with its 95% interval")
    ranks = {"examples": 1, "spearman": 0, "from": 0, "to": 0}
    columns = [TableColumn(name, kind="text") for name in ("value", "group")]
    table = TextTable([*columns, *(TableColumn(name, rank) for name, rank in ranks.items())], "-o FILE writes all")
    for row in frame.to_dict("records"):
        numbers = (cell(row[name]) for name in ("spearman", "low", "high"))
        table.add_row(row["value"], row["group"], f"{row['examples']:,}", *numbers)
    show_table(table)


_LOST = 10
"""Examples that are listed."""

_SHOW = {
    "gradient_means": _show_gradients,
    "rewinding": _show_rewinding,
    "retraining": _show_retraining,
    "neurons": _show_neurons,
    "neurons_detection": _show_detection,
    "dropout": _show_dropout,
    "dropped": _show_dropped,
    "scores": _show_scores,
}
