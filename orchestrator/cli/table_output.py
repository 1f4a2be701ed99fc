"""Writes a table to the requested path, or else to the store's estimates."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.terminal import escape_line
from orchestrator.cli.text_table import ABSENT
from orchestrator.frame_files import write_frame
from workers.campaign.plural import count_text
from workers.errors import ReadOnlyError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.reading.estimate_tables import Basis
    from workers.store import Store

_MAX_NAME = 40
"""Characters of a name in a table."""

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Output file: .parquet or .csv; default: the store's estimates/."
    ),
]


def keep_table(
    store: "Store",
    name: str,
    frame: "pd.DataFrame",
    output: Path | None,
    bases: Mapping[str, "Basis"],
    beside: Path | None = None,
    **conventions: str,
) -> str:
    """Write to `output`, or into estimates/NAME.parquet with what it rests on; returns where.

    A store that cannot be written is no error, since the command has printed what it found: what is returned says that
    the table is not kept; or, with the file `beside` which the command's main table is, it is FILE-NAME there. Raises
    LongtailError, or StoreError, where the place cannot be written otherwise.
    """
    from analysis.reading.estimate_tables import write_table
    from analysis.reading.names import with_names

    if output is not None:
        write_frame(with_names(frame, store), output)
        return str(output)
    try:
        return write_table(store, name, frame, bases, None, **conventions)
    except ReadOnlyError as error:
        if beside is None:
            return not_kept(error)
        return keep_table(store, name, frame, beside.with_name(f"{beside.stem}-{name}{beside.suffix}"), bases)


def not_kept(error: ReadOnlyError, option: str = "-o FILE") -> str:
    """What is said of a table in place of where it is."""
    return f"not kept, the store cannot be written ({error.problem}); {option} writes it elsewhere"


def label_cell(row: "Mapping[Any, Any]", column: str) -> str:
    """A class as a listing shows it: by its name, where that says more than its number."""
    name = row.get(f"{column}_name")
    return str(row[column]) if name is None else _shortened(escape_line(str(name)))


def given_label_cell(row: "Mapping[Any, Any]") -> str:
    """The label that an example was trained with, and its own where that is another."""
    label = label_cell(row, "given_label")
    return label if row["label"] == row["given_label"] else f"{label} (is {label_cell(row, 'label')})"


def predicted_label_cell(row: "Mapping[Any, Any]") -> str:
    """The label that most held-out models predict, and their share in percent."""
    if row["predicted_label"] < 0:
        return ABSENT
    return f"{label_cell(row, 'predicted_label')} ({row['predicted_share']:.0%})"


def name_cell(name: object) -> str:
    """The name of an example in a listing: of a long one its end, where files differ."""
    return ABSENT if name is None else _shortened(escape_line(str(name)))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_NAME else f"...{text[3 - _MAX_NAME :]}"


def saturated_note(examples: int) -> str:
    """What is said of the examples whose loss is a lower bound."""
    of = count_text(examples, "example")
    return f"note: the loss of {of} is at least what is shown: results hold no loss over 65,504"


def over_lines(frame: "pd.DataFrame", name: str) -> list[str]:
    """What is said of the intervals of a table with a column `over`, whose rows are called by the column `name`."""
    kinds = frame.groupby("over", sort=False)[name].agg(lambda names: ", ".join(dict.fromkeys(names)))
    if len(kinds) == 1:
        return [f"intervals are over {kinds.index[0]}"]
    return [f"intervals over {over}: {names}" for over, names in kinds.items()]


def interval_cell(low: float, high: float, digits: int = 3) -> str:
    """The limits of an interval; a dash where there is none."""
    return ABSENT if low != low or high != high else f"{low:.{digits}f} to {high:.{digits}f}"


def count_cell(value: float) -> str:
    """A number of things, or a mean of such numbers: whole ones without decimals, else with one; a dash for none."""
    if value != value:
        return ABSENT
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def share_text(value: float) -> str:
    """A share in per cent; a dash where there is none."""
    return ABSENT if value != value else f"{value:.1%}"


def percent_cell(value: float, digits: int = 2) -> str:
    """A share in per cent with so many decimals; a dash where there is none."""
    return ABSENT if value != value else f"{value:.{digits}%}"


def percent_interval_cell(low: float, high: float) -> str:
    """The limits of a share; a dash where there are none."""
    return ABSENT if low != low or high != high else f"{low:.2%} to {high:.2%}"


def cell(value: float, error: float | None = None, digits: int = 3) -> str:
    """A value, and its standard error where there is one; a dash where there is no value."""
    if value != value:
        return ABSENT
    return f"{value:.{digits}f}" if error is None or error != error else f"{value:.{digits}f} ± {error:.{digits}f}"
