"""Tables as text: numbers are never truncated; columns that do not fit are left out and named below the table."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from orchestrator.cli.terminal import TextConsole, escape_line

ABSENT = "-"
"""Stands wherever there is no value."""

_GAP = "  "
_DEFAULT_COLUMNS = 80
"""Columns over which headings are broken where no width is known."""
_MIN_HEADING = 8
"""Minimum width of a broken heading."""
_MIN_NAME = 12
"""Minimum width of a shortened name; then a column is left out."""


@dataclass(frozen=True)
class TableColumn:
    """A column, how dear it is, and what is in it."""

    heading: str
    rank: int = 0
    """0: always shown. Of the others the highest rank is left out first, and of equal ranks the last column."""
    kind: Literal["figure", "text", "name"] = "figure"
    """Figures are aligned at their decimal points; a name is text that is shortened where space is short."""


@dataclass(frozen=True)
class _Layout:
    """The columns that fit, by their number; their widths and the lines of their headings."""

    shown: Sequence[int]
    widths: Sequence[int]
    headings: Sequence[Sequence[str]]


@dataclass
class TextTable:
    """Rows of cells. On a console too narrow for the columns of rank 0, each row becomes lines of its own."""

    columns: Sequence[TableColumn]
    elsewhere: str = ""
    """Where the columns are that are left out, such as `-o FILE writes all`."""
    rows: list[list[str]] = field(default_factory=list)

    def add_row(self, *cells: object) -> None:
        """A cell of each column: None, NaN and empty text are shown as absent. Raises ValueError for another number."""
        if len(cells) != len(self.columns):
            raise ValueError(f"a row must have {len(self.columns)} cells, got {len(cells)}")
        self.rows.append([_text(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines for a console. Print with crop=False, for a width that is not known."""
        width = console.columns if isinstance(console, TextConsole) else options.max_width
        cells = [_aligned([row[index] for row in self.rows], column) for index, column in enumerate(self.columns)]
        layout = self._layout(cells, width)
        if layout is None:
            yield from self._stacked()
            return
        bold = Style(bold=True)
        height = max(map(len, layout.headings), default=0)
        for level in range(height):
            lines = [
                ["", *[""] * (height - len(heading) - 1), *heading][-height:][level] for heading in layout.headings
            ]
            yield from self._line(layout, lines, bold)
        for row in range(len(self.rows)):
            yield from self._line(layout, [cells[index][row] for index in layout.shown])
        left_out = [column.heading for index, column in enumerate(self.columns) if index not in layout.shown]
        if left_out:
            where = f" ({self.elsewhere})" if self.elsewhere else ""
            note = f"not shown at {width} columns: {', '.join(dict.fromkeys(left_out))}{where}"
            yield from _lines(textwrap.wrap(note, width or _DEFAULT_COLUMNS, break_long_words=False), Style(dim=True))

    def _line(self, layout: _Layout, cells: Iterable[str], style: Style | None = None) -> Iterable[Segment]:
        fitted = []
        for index, width, cell in zip(layout.shown, layout.widths, cells, strict=True):
            text = _shortened(cell, width)
            room = " " * (width - cell_len(text))
            fitted.append(text + room if self.columns[index].kind != "figure" else room + text)
        return _lines([_GAP.join(fitted).rstrip()], style)

    def _layout(self, cells: Sequence[Sequence[str]], width: int | None) -> _Layout | None:
        """All columns with headings of one line, else broken headings, else shorter text, else fewer columns."""
        shown = list(range(len(self.columns)))
        widest = [max(map(cell_len, cell), default=0) for cell in cells]
        headings: list[list[str]] = [[column.heading] for column in self.columns]
        full_widths = self._widths(shown, widest, headings)
        if _total(full_widths) <= (width or _DEFAULT_COLUMNS):
            return _Layout(shown, full_widths, headings)
        headings = [_broken(column.heading, widest[index]) for index, column in enumerate(self.columns)]
        while True:
            widths = self._widths(shown, widest, headings)
            over = 0 if width is None else _total(widths) - width
            names = (self.columns[index].kind == "name" for index in shown)
            room = [max(0, width - _MIN_NAME) * name for width, name in zip(widths, names, strict=True)]
            if over <= sum(room):
                for place in sorted(range(len(shown)), key=lambda each: -room[each]):
                    taken = min(max(0, over), room[place])
                    widths[place] -= taken
                    over -= taken
                return _Layout(shown, widths, [headings[index] for index in shown])
            optional = [index for index in shown if self.columns[index].rank]
            if not optional:
                return None
            shown.remove(max(optional, key=lambda index: (self.columns[index].rank, index)))

    def _widths(self, shown: Sequence[int], widest: Sequence[int], headings: Sequence[Sequence[str]]) -> list[int]:
        return [max(widest[index], *map(cell_len, headings[index])) for index in shown]

    def _stacked(self) -> Iterable[Segment]:
        """A line for each value, rows apart by an empty line."""
        for number, row in enumerate(self.rows):
            pairs = zip(self.columns, row, strict=True)
            yield from _lines([*[""] * bool(number), *(f"{column.heading}: {cell}" for column, cell in pairs)])


def _text(cell: object) -> str:
    """A cell as one line of text."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ABSENT
    return escape_line(str(cell)).strip() or ABSENT


def _aligned(cells: Sequence[str], column: TableColumn) -> list[str]:
    """Figures with spaces behind them, so that right-aligned their decimal points stand under each other."""
    if column.kind != "figure":
        return list(cells)
    behind = [len(cell) - point if (point := cell.find(".")) >= 0 else 0 for cell in cells]
    return [cell + " " * (max(behind) - after) for cell, after in zip(cells, behind, strict=True)]


def _broken(heading: str, width: int) -> list[str]:
    """A heading in lines of whole words, no wider than the cells below it where that can be."""
    longest = max(map(cell_len, heading.split()), default=1)
    return textwrap.wrap(
        heading, max(width, longest, _MIN_HEADING), break_long_words=False, break_on_hyphens=False
    ) or [heading]


def _shortened(text: str, width: int) -> str:
    """Text in so many columns; of a longer one the end, where files differ."""
    if cell_len(text) <= width:
        return text
    ended = text
    while cell_len(ended) > width - 3:
        ended = ended[1:]
    return f"...{ended}"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * max(0, len(widths) - 1)


def _lines(lines: Iterable[str], style: Style | None = None) -> Iterable[Segment]:
    for line in lines:
        yield Segment(line, style)
        yield Segment.line()
