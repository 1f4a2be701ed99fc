"""The replication tables of docs/papers.md, written between two comments from `rows.yaml`."""

from pathlib import Path

from benchmarks.replicate.rows import Measurement, Row, Source, Table, read_table

PAGE = Path(__file__).parents[2] / "docs" / "papers.md"
START = "<!-- replication tables: written by python -m benchmarks.replicate --page -->"
END = "<!-- end of the replication tables -->"
SOURCES: dict[Source, str] = {
    "code": "read in the authors' code",
    "data": "from the authors' released data",
    "page": "from the authors' project page",
    "digest": "from a third party's digest of the paper's text",
    "notes": "from other readers' notes on the paper",
    "memory": "from memory, not looked up",
}


def update_page(page: Path = PAGE) -> None:
    """Write the tables into the page."""
    page.write_text(with_tables(page.read_text(encoding="utf-8"), read_table()), encoding="utf-8")


def with_tables(text: str, table: Table) -> str:
    """The page's text with new tables. Raises ValueError where a comment is missing."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"must have the lines {START} and {END}")
    return f"{before}{START}\n\n{tables(table)}\n{END}{after}"


def tables(table: Table) -> str:
    """A section for each paper, with a line for each of its rows."""
    parts = []
    for paper in table.papers:
        rows = [_line(row, table) for row in table.rows if row.paper == paper.id]
        head = ["| row | published | here | verdict |", "| --- | --- | --- | --- |"]
        curves = [
            line
            for row in table.rows
            if row.paper == paper.id
            for each in table.measurements(row)
            if each.curves
            for line in _curves(each)
        ]
        parts.append("\n".join([f"## {paper.title}", "", paper.reference, "", *head, *rows, "", *curves]))
    return "\n".join(parts)


def _curves(measurement: Measurement) -> list[str]:
    """A table of the curves of a measurement, with a column for each threshold."""
    thresholds = list(next(iter(measurement.curves.values())))
    lines = [f"| {what} | {' | '.join(curve.values())} |" for what, curve in measurement.curves.items()]
    return [
        f"`{measurement.row}`, {_size(measurement)}{_runs(measurement)}: Jaccard index (selected by each side)",
        "",
        f"| compared | {' | '.join(thresholds)} |",
        f"|{' --- |' * (len(thresholds) + 1)}",
        *lines,
        "",
    ]


def _line(row: Row, table: Table) -> str:
    preset = f" (`{row.preset}`)" if row.preset else ""
    what = f"`{row.id}`<br>{row.figure}: {row.what}{preset}"
    published = f"{row.published.value} (*{row.published.source}*)"
    measured = table.measurements(row)
    here = [_measured(each) for each in measured]
    if not any(each.size == "full" for each in measured):
        here.append(_open(row, table))
    verdicts = [f"**{each.verdict}**{f': {each.reason}' if each.reason else ''}" for each in measured]
    return f"| {what} | {published} | {'<br>'.join(here)} | {'<br>'.join(verdicts)} |"


def _measured(measurement: Measurement) -> str:
    return f"{measurement.value} ({_size(measurement)}{_runs(measurement)}, {measurement.machine})"


def _size(measurement: Measurement) -> str:
    return "" if measurement.size == "full" else f"{measurement.size}; "


def _runs(measurement: Measurement) -> str:
    return f"{measurement.runs:,} run{'' if measurement.runs == 1 else 's'}"


def _open(row: Row, table: Table) -> str:
    """Why there is no measurement at full size, and what one would cost."""
    if row.experiment is None:
        return f"not run: {row.missing}"
    if row.preset in table.gpu_hours:
        return f"not run at full size: needs about {hours_text(table.gpu_hours[row.preset])}"
    return "not run at full size"


def hours_text(hours: float) -> str:
    """GPU-hours in two significant digits; under a tenth of an hour in minutes."""
    if hours < 0.1:
        minutes = max(1, round(60 * hours))
        return f"{minutes} GPU-minute{'' if minutes == 1 else 's'}"
    return f"{hours:.1f} GPU-hours" if hours < 10 else f"{float(f'{hours:.2g}'):,.0f} GPU-hours"
