"""A frame as an HTML table that follows the notebook's colours, light or dark."""

import html

import pandas as pd

from analysis.view.display.columns import EXAMPLES, Column, Columns, index_column
from analysis.view.display.images import DatasetImages
from workers.campaign.plural import count_text

ROWS = 20
"""Shown of a longer frame."""
MAX_COLUMNS = 40
"""A wider frame is shown as pandas does."""

_STYLE = """
.longtail-frame {overflow-x: auto}
.longtail-frame table {border-collapse: collapse; border: 0; font-variant-numeric: tabular-nums; margin: 0}
.longtail-frame tr {background: none}
.longtail-frame th, .longtail-frame td {
  padding: .3em .8em; border: 0; text-align: left; vertical-align: middle; white-space: nowrap; line-height: 1.35}
.longtail-frame .number {text-align: right}
.longtail-frame th {font-weight: 600; vertical-align: bottom}
.longtail-frame thead th {border-bottom: 1px solid rgba(128, 128, 128, .7)}
.longtail-frame tbody td, .longtail-frame tbody th {border-bottom: 1px solid rgba(128, 128, 128, .25)}
.longtail-frame small {display: block; font-size: .85em; font-weight: 400; opacity: .8}
.longtail-frame img {
  display: inline-block; margin: 0 .7em 0 0; vertical-align: middle; image-rendering: pixelated; max-width: none;
  outline: 1px solid rgba(128, 128, 128, .5)}
.longtail-frame p {margin: .5em .8em; opacity: .8}
"""


def html_table(frame: pd.DataFrame, images: DatasetImages | None, class_names: tuple[str, ...]) -> str:
    """The first ROWS rows and the size of the whole; below it, where images are missing, the reason."""
    rows = frame.head(ROWS)
    columns = Columns(rows, images, class_names).all()
    index = index_column(rows.index)
    parts = [
        f'<div class="longtail-frame"><style>{_STYLE}</style><table>',
        _head(columns, index),
        _body(columns, index),
    ]
    parts += ["</table>", *(f"<p>{line}</p>" for line in _below(frame, images)), "</div>"]
    return "\n".join(parts)


def _head(columns: list[Column], index: Column | None) -> str:
    cells = [f'<th scope="col"{_class(column)}>{column.head}</th>' for column in ([index] if index else []) + columns]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _body(columns: list[Column], index: Column | None) -> str:
    lines = []
    for place in range(len(columns[0].cells)):
        first = f'<th scope="row">{index.cells[place]}</th>' if index else ""
        cells = "".join(f"<td{_class(column)}>{column.cells[place]}</td>" for column in columns)
        lines.append(f"<tr>{first}{cells}</tr>")
    return "<tbody>{}</tbody>".format("\n".join(lines))


def _class(column: Column) -> str:
    return ' class="number"' if column.is_number else ""


def _below(frame: pd.DataFrame, images: DatasetImages | None) -> list[str]:
    count = count_text(len(frame), "row")
    lines = [f"{count}, the first {ROWS} shown" if len(frame) > ROWS else count]
    if "infl" in frame.columns and "q_value" not in frame.columns and len(frame):
        lines.append("By the size of influence; the discoveries of the store tell which pairs are no accident.")
    shows_examples = any(name in EXAMPLES and pd.api.types.is_integer_dtype(frame[name]) for name in frame.columns)
    if shows_examples and len(frame) and images is not None and images.missing:
        lines.append(f"No images: {html.escape(images.missing)}.")
    return lines
