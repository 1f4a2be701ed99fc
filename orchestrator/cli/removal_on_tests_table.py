"""Prints what chosen test examples lose by a removal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import say, show_table
from orchestrator.cli.table_output import cell
from orchestrator.cli.text_table import TableColumn, TextTable
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    TableColumn("removed"),
    TableColumn("which", kind="text"),
    TableColumn("against", kind="text"),
    TableColumn("test examples", 1, kind="text"),
    TableColumn("number", 2),
    TableColumn("accuracy"),
    TableColumn("se", 3),
    TableColumn("control", 4),
    TableColumn("difference"),
    TableColumn("± se", 1),
    TableColumn("points", 2),
    TableColumn("± se", 3),
    TableColumn("share", 1),
    TableColumn("from", 4),
    TableColumn("to", 4),
)


def show_removal_on_tests(frame: "pd.DataFrame") -> None:
    """The rows of `removal_on_tests`, in percentage points."""
    from analysis.estimators.removal_on_tests import SELECTED

    table = TextTable(_COLUMNS, "-o FILE writes all")
    for row in frame.to_dict("records"):
        table.add_row(*_cells(row))
    number = int(frame.loc[frame["test_examples"] == SELECTED, "count"].max()) if len(frame) else 0
    say(f"on {count_text(number, 'test example')} selected, and on the others:")
    show_table(table)
    say("points: percentage points of overall test accuracy lost on these test examples;")
    say("share: the part of the overall loss on these test examples; from, to: Fieller's limits over runs, absent if")
    say("the overall loss may be 0")


def _cells(row: Mapping[Any, Any]) -> list[object]:
    from workers.campaign.drop_rules import rule_text

    which = rule_text(row["rule"], row["threshold"])
    figures = ("accuracy", "se", "control_accuracy", "difference", "difference_se")
    points = (cell(100 * row[name], digits=3) for name in ("points", "points_se"))
    share = (cell(row[name]) for name in ("share", "share_low", "share_high"))
    head = [row["examples_removed"], which, row["control"], row["test_examples"], row["count"]]
    return [*head, *(cell(row[name], digits=4) for name in figures), *points, *share]
