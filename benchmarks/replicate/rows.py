"""Rows of the replication table: what a paper published, how it is made anew, and what came of it.

`rows.yaml` has two documents: the rows, written by hand, and the measurements, which `--record` adds to.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from benchmarks.replicate.size import Size

FILE = Path(__file__).with_name("rows.yaml")

Source = Literal["code", "data", "page", "digest", "notes", "memory"]
Verdict = Literal["agrees", "agrees in kind", "undecided", "differs", "not comparable"]
SizeName = Literal["full", "reduced"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(_Part):
    """What the paper reports. `source` tells where it was read: the page's legend has the meanings."""

    value: str
    source: Source
    number: float | None = None
    """The value that a full-size measurement is compared with."""


class Paper(_Part):
    """A paper, whose rows are one table."""

    id: str
    title: str
    reference: str


class Row(_Part):
    """One experiment of a paper, on one data set."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    paper: str
    figure: str
    """Where in the paper, as far as it is known."""
    what: str
    published: Published
    preset: str | None = None
    experiment: str | None = None
    """A name in `benchmarks.replicate.experiments.EXPERIMENTS`; None where nothing makes the row yet."""
    missing: str | None = None
    """Why there is no experiment."""
    dataset: dict[str, JsonValue] = {}
    """Changed fields of the preset's data set."""
    stand_in: bool = False
    """Whether the data set is another than the paper's, so that an agreement is one in kind."""
    full: Size = Size()
    reduced: Size = Size()


class Measurement(_Part):
    """What an experiment gave: `value` with its error, of `runs` runs on `machine`; `size` is `full` or in words."""

    row: str
    size: str
    value: str
    runs: int
    machine: str
    verdict: Verdict
    reason: str = ""
    curves: dict[str, dict[str, str]] = {}
    """Values with their errors, by what is compared and by threshold; the page has them below the paper's table."""
    day: date | None = None


class Table(_Part):
    """The whole file."""

    papers: tuple[Paper, ...]
    gpu_hours: dict[str, float]
    """Of all runs of a preset: `benchmarks.replicate.cost`."""
    rows: tuple[Row, ...]
    measured: tuple[Measurement, ...]

    def row(self, row_id: str) -> Row:
        """Raises KeyError where there is no such row."""
        return {row.id: row for row in self.rows}[row_id]

    def measurements(self, row: Row) -> list[Measurement]:
        """Of one row, in the file's order."""
        return [each for each in self.measured if each.row == row.id]


def read_table(file: Path = FILE) -> Table:
    """The rows and the measurements. Raises ValueError where a measurement or a row's paper is unknown."""
    stated, measured = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    table = Table.model_validate({**stated, "measured": measured or []})
    ids = [row.id for row in table.rows]
    if unknown := {each.row for each in table.measured} - set(ids):
        raise ValueError(f"{file}: measurements of unknown rows: {', '.join(sorted(unknown))}")
    if unknown := {row.paper for row in table.rows} - {paper.id for paper in table.papers}:
        raise ValueError(f"{file}: rows of unknown papers: {', '.join(sorted(unknown))}")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{file}: rows that are there twice: {sorted({each for each in ids if ids.count(each) > 1})}")
    return table


def record(measurement: Measurement, file: Path = FILE) -> None:
    """Put a measurement into the file's second document, in place of one of the same row and size."""
    stated, _, _ = file.read_text(encoding="utf-8").partition("\n---\n")
    kept = [each for each in read_table(file).measured if (each.row, each.size) != (measurement.row, measurement.size)]
    documents = [each.model_dump(mode="json", exclude_defaults=True) for each in (*kept, measurement)]
    written = yaml.safe_dump(documents, sort_keys=False, width=110, allow_unicode=True)
    file.write_text(f"{stated}\n---\n{written}", encoding="utf-8")
