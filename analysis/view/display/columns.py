"""Merges a frame's columns for display: an estimate, its error and its limits become one column.

    example_id, test_example_id       the image and the number (training examples, unless the column `split` says else)
    label, given_label, test_label, predicted_label
                                      the class's name; where both are there, the given label only where it differs
    v with v_se or v_sd, v_low, v_high; or one of VALUES with the se, low, high that follow it
                                      v ± se, and below it low to high
    p_in with n_in, p_out with n_out  percent of runs
    any other                         text, or a number rounded to three or four digits

The head of the table tells which columns a cell is made of. What is text in the frame is escaped here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, cast

import numpy as np
import pandas as pd
from PIL import Image

from analysis.view.display.images import DatasetImages, data_uri
from workers.common.splits import Split

EXAMPLES: dict[str, Split] = {"example_id": "train", "test_example_id": "test"}
LABELS = ("label", "given_label", "test_label", "predicted_label")
VALUES = ("infl", "mem", "cscore", "consistency", "correctness", "test_accuracy", "auc", "lds")
"""Values whose standard error and limits are columns called se, low and high."""

_DIGITS = 4
_MAX_TEXT = 80
"""Characters of a text."""


@dataclass(frozen=True)
class Column:
    """A column of the table: HTML of its head and of its cells; numbers stand to the right."""

    head: str
    cells: list[str]
    is_number: bool = True


@dataclass
class Columns:
    """Makes the columns of some rows, each of the frame's columns once."""

    rows: pd.DataFrame
    images: DatasetImages | None
    class_names: tuple[str, ...]
    done: set[str] = field(default_factory=set)

    def all(self) -> list[Column]:
        """In the frame's order."""
        # The parts of an estimate stand where its value does.
        parts = {part for name in self.rows.columns for part in parts_of(self.rows, name).values()}
        names = {f"{label}_name" for label in LABELS if label in self.rows}  # shown in place of the numbers
        requested = (name for name in self.rows.columns if name not in (*parts, *names))
        return [self._column(name) for name in requested if name not in self.done]

    def _column(self, name: str) -> Column:
        self.done.add(name)
        values = self.rows[name]
        if name in EXAMPLES and pd.api.types.is_integer_dtype(values):
            return self._examples(name)
        if name in LABELS and pd.api.types.is_integer_dtype(values):
            return self._labels(name)
        parts = parts_of(self.rows, name)
        self.done.update(parts.values())
        if "runs" in parts:
            return self._rate(name, parts["runs"])
        if parts:
            return self._estimate(name, parts)
        if _is_number(values):
            return Column(escape(name), numbers(values))
        return Column(escape(name), [escape(_shortened(str(value))) for value in values], is_number=False)

    def _examples(self, name: str) -> Column:
        splits = self.rows["split"] if "split" in self.rows and name == "example_id" else None
        cells = []
        for place, example in enumerate(self.rows[name]):
            split = EXAMPLES[name] if splits is None or splits.iloc[place] != "test" else "test"
            image = None if self.images is None or pd.isna(example) else self.images.thumbnail(split, int(example))
            alt = f"{'training' if split == 'train' else 'test'} example {example}"
            cells.append(f"{'' if image is None else _img(image, alt)}<span>{escape(str(example))}</span>")
        return Column(escape(name), cells, is_number=False)

    def _labels(self, name: str) -> Column:
        names = [self._class_name(label) for label in self.rows[name]]
        given_column = "given_label"
        if (
            name != "label"
            or given_column not in self.rows
            or not pd.api.types.is_integer_dtype(self.rows[given_column])
        ):
            return Column(escape(name), names, is_number=False)
        self.done.add(given_column)
        pairs = zip(self.rows["label"], self.rows[given_column], strict=True)
        differs = [pd.notna(a) and pd.notna(b) and a != b for a, b in pairs]
        if not any(differs):
            return Column(_head("label", f"= {given_column}"), names, is_number=False)
        others = [self._class_name(label) for label in self.rows[given_column]]
        cells = [_two(a, f"given {b}" if differ else "") for a, b, differ in zip(names, others, differs, strict=True)]
        return Column(_head("label", given_column), cells, is_number=False)

    def _class_name(self, label: Any) -> str:
        known = not pd.isna(label) and 0 <= label < len(self.class_names)
        return escape(self.class_names[int(label)] if known else str(label))

    def _estimate(self, name: str, parts: dict[str, str]) -> Column:
        error = parts.get("se", parts.get("sd"))
        errors = None if error is None else self.rows[error].to_numpy(dtype=float, na_value=np.nan)
        form = _form(errors)
        first = [number(value, form) for value in self.rows[name]]
        if errors is not None:
            first = [f"{a} ± {number(b, form)}" if b == b else a for a, b in zip(first, errors, strict=True)]
        head = escape(name if error is None else f"{name} ± {'se' if 'se' in parts else 'sd'}")
        if "low" not in parts:
            return Column(head, first)
        limits = zip(self.rows[parts["low"]], self.rows[parts["high"]], strict=True)
        second = [f"{number(low, form)} to {number(high, form)}" if low == low else "" for low, high in limits]
        return Column(_head(head, "low to high"), [_two(a, b) for a, b in zip(first, second, strict=True)])

    def _rate(self, name: str, runs: str) -> Column:
        pairs = zip(self.rows[name], self.rows[runs], strict=True)
        cells = [f"{number(rate, '.0%')} of {number(count, ',.0f')}" for rate, count in pairs]
        return Column(escape(f"{name} of {runs}"), cells)


def parts_of(frame: pd.DataFrame, name: str) -> dict[str, str]:
    """The columns that tell how good the value in a column is: se (or sd), low, high; of a rate, its runs."""
    columns = list(frame.columns)
    if not _is_number(frame[name]):
        return {}
    if name in ("p_in", "p_out"):
        runs = name.replace("p_", "n_")
        return {"runs": runs} if runs in columns else {}
    named = {part: f"{name}_{part}" for part in ("se", "sd", "low", "high")}
    parts = {part: column for part, column in named.items() if column in columns}
    if name in VALUES:
        parts = {**{part: part for part in ("se", "low", "high") if _owner(frame, part) == name}, **parts}
    if ("low" in parts) != ("high" in parts):
        parts = {part: column for part, column in parts.items() if part not in ("low", "high")}
    if "se" in parts:
        parts.pop("sd", None)
    return {part: column for part, column in parts.items() if _is_number(frame[column])}


def _owner(frame: pd.DataFrame, part: str) -> str | None:
    """The value that a column called se, low or high belongs to: the nearest one on its left."""
    columns = list(frame.columns)
    before = columns[: columns.index(part)] if part in columns else []
    return next((name for name in reversed(before) if name in VALUES), None)


def number(value: Any, form: str) -> str:
    """With a true minus sign; a dash where there is none."""
    if pd.isna(value):
        return "–"
    text = format(value, form)
    return (text if text.strip("-0.") else text.lstrip("-")).replace("-", "−")


def numbers(values: pd.Series) -> list[str]:
    """Whole numbers in full; others with the decimals that show four digits of the largest, less zeros at the end.

    Values that are too far apart for that have three digits each.
    """
    if pd.api.types.is_integer_dtype(values):
        return ["–" if pd.isna(value) else f"{value:,}".replace("-", "−") for value in values]
    plain = values.to_numpy(dtype=float, na_value=np.nan)
    size = np.abs(plain[np.isfinite(plain) & (plain != 0)])
    if len(size) and (size.max() > 1e6 * min(1, size.min()) or size.max() < 1e-6):
        return [number(value, ".3g") for value in plain]
    most = max(0, _DIGITS - int(np.ceil(np.log10(size.max())))) if len(size) else 0
    fewest = next(
        each for each in range(most + 1) if np.allclose(size.round(each), size.round(most), rtol=0, atol=1e-12)
    )
    return [number(value, f".{fewest}f") for value in plain]


def _form(errors: Any) -> str:
    """Of a value and its error: as many decimals as show two digits of the middle error, 2 to 4."""
    some = errors[np.isfinite(errors) & (errors > 0)] if errors is not None else np.zeros(0)
    decimals = int(np.clip(1 - np.floor(np.log10(np.median(some))), 2, 4)) if len(some) else 2
    return f".{decimals}f"


def _is_number(values: pd.Series) -> bool:
    types = pd.api.types
    return types.is_integer_dtype(values) or types.is_float_dtype(values)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _img(image: Image.Image, alt: str) -> str:
    return f'<img src="{data_uri(image)}" width="{image.width}" height="{image.height}" alt="{escape(alt)}">'


def _head(first: str, second: str) -> str:
    return f"{first}<small>{second}</small>"


def _two(first: str, second: str) -> str:
    return f"{first}<small>{second}</small>" if second else first


def index_column(index: pd.Index) -> Column | None:
    """The index where it says something: a name, or anything but the numbers of rows."""
    if index.nlevels > 1:
        head = ", ".join("" if name is None else str(name) for name in index.names)
        return Column(escape(head), [escape(", ".join(map(str, cast(Sequence[Any], key)))) for key in index], False)
    if index.name is None and pd.api.types.is_integer_dtype(index):
        return None
    head = "" if index.name is None else str(index.name)
    return Column(escape(head), [escape(str(key)) for key in index], is_number=False)
