"""Printed output: a line per measurement, and the table of medians."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Measurement, Row

_WIDE = 170
"""Columns of output that is no terminal: the table must not be cut."""


def describe(measurement: Measurement) -> str:
    """One repeat in one line."""
    accuracy = "" if measurement.accuracy is None else f", accuracy {measurement.accuracy:.4f}"
    whole = measurement.details.get("whole_seconds")
    return (
        f"{measurement.work}: {measurement.contestant}: {measurement.models} models in {measurement.seconds:.1f} s, "
        f"{measurement.rate:.3g} per second (start-up {measurement.startup_seconds:.1f} s){accuracy}"
        + (f", {whole:.1f} s in all" if whole else "")
    )


def print_table(
    rows: Sequence[Row], peaks: Mapping[str, float], machine: Mapping[str, Any], notes: Sequence[str]
) -> None:
    """The table of medians, with the machine and its peak below, and who is missing."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    table = Table(title="Models per second (median, lowest to highest repeat)")
    words = ("work", "contestant", "precision")
    numbers = ("models/s", "range", "models/h", "ours / it", "share of peak", "accuracy", "start-up s", "repeats")
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    lines = [f"{machine['cpu']} ({machine['instructions']}), {machine['cores']} cores; {gpus}"]
    reached = ", ".join(f"{precision} {peak / 1e9:,.0f}" for precision, peak in peaks.items())
    lines.append(f"matrix peak measured here, GFLOP/s: {reached}")
    for line in [*lines, *notes]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.work,
        row.contestant,
        row.precision,
        f"{row.rate:.3g}",
        f"{row.lowest:.3g} to {row.highest:.3g}",
        f"{row.rate * 3600:,.0f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        "-" if row.share_of_peak is None else f"{row.share_of_peak:.1%}",
        "-" if row.accuracy is None else f"{row.accuracy:.4f} {row.accuracy_of}",
        f"{row.startup_seconds:.1f}",
        str(row.repeats),
    )
