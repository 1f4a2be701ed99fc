"""Plots of the images of examples."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.plot.drawing import given_or_new_panels, plain
from analysis.scoring.split_half import check_whole
from analysis.view.base import View
from analysis.view.display.columns import VALUES, parts_of
from analysis.view.influence import InfluenceView
from workers.campaign.plural import count_text
from workers.common.arrays import Objects
from workers.common.splits import Split
from workers.errors import EstimateError

_COLUMNS = 5
_WIDTH, _HEIGHT = 1.6, 2.1
"""Inches of an example with its title."""
_MAX_NAME = 20
"""Characters of a name that fit above an image."""


def influence(
    view: InfluenceView, test_example_id: int, *, ratio: float | None = None, top: int = 5, axes: Any = None
) -> Objects:
    """A test example and the training examples that influence it most, with the value and its interval.

    1 + `top` axes, given or returned; those without a pair stay empty. Training examples that all runs trained on, or
    none, are left out, and so are those of no or negative influence: where all runs agree, the largest is 0. Raises
    EstimateError for a test example that there is not, and for another number of axes; and as `view.influence` and
    `view.image`.
    """
    count = view.store.header.num_test
    if not 0 <= test_example_id < count:
        raise EstimateError(f"test_example_id must be 0 to {count - 1}, got {test_example_id!r}")
    counted = view.influence(ratio=ratio, tests=[test_example_id], top=top, empty="nan")
    pairs = counted[counted["infl"] > 0]
    images = [view.image("test", test_example_id), *(view.image("train", each) for each in pairs["example_id"])]
    panels = given_or_new_panels(axes, (1, 1 + top), _WIDTH * (1 + top), _HEIGHT - 0.15)
    names = view.store.header.class_names
    for panel, row in zip(panels[1:], pairs.to_dict("records"), strict=False):
        value = f"{row['infl']:.2f} ({row['low']:.2f} to {row['high']:.2f})".replace("-", "−")
        panel.set_title(f"train {row['example_id']}: {_name(names, row['given_label'])}\n{value}", fontsize="small")
    label = view.store.examples(["split", "label"]).to_pandas().query("split == 'test'")["label"].iloc[test_example_id]
    right = ""
    if len(counted):
        first = counted.iloc[0]
        runs = int(first["n_in"] + first["n_out"])
        share = (first["p_in"] * first["n_in"] + first["p_out"] * first["n_out"]) / runs
        right = f"right in {share:.0%} of {count_text(runs, 'run')}"
    panels[0].set_title(f"test {test_example_id}: {_name(names, label)}\n{right}", fontsize="small")
    _show(panels, images)
    return panels


def examples(
    view: View, frame: pd.DataFrame, value: str | None = None, *, count: int = 20, axes: Any = None
) -> Objects:
    """The images of a frame's first `count` examples, each with its class and the value of a column, with its interval.

    `value` None: of the first column that is a known estimate. Training examples (`example_id`), unless the column
    `split` says else, or where there are none the test examples (`test_example_id`); `axes` are as many as examples.
    Raises EstimateError for a frame without them or without the column, for another number of axes, as `view.image`.
    """
    check_whole("count", count, 1)
    ids = next((name for name in ("example_id", "test_example_id") if name in frame), None)
    if ids is None:
        raise EstimateError(
            f"frame: must have a column example_id or test_example_id, got {', '.join(map(str, frame))}"
        )
    if value is not None and value not in frame:
        raise EstimateError(f"value must be a column of the frame ({', '.join(map(str, frame))}), got {value!r}")
    shown = frame.head(count)
    if shown.empty:
        raise EstimateError("frame: must have at least one row, got none")
    value = value or next((name for name in VALUES if name in frame), None)
    parts = {} if value is None else parts_of(shown, value)
    records = shown.to_dict("records")
    images = [view.image(_split(ids, row), row[ids]) for row in records]
    columns = min(_COLUMNS, len(records))
    rows = -(-len(records) // columns)
    shape = (rows, columns) if axes is None else (1, len(records))
    panels = given_or_new_panels(axes, shape, _WIDTH * columns, _HEIGHT * rows)
    for panel, row in zip(panels, records, strict=False):
        panel.set_title(_title(row, ids, value, parts, view.store.header.class_names), fontsize="small")
    _show(panels, images)
    return panels


def _split(ids: str, row: dict[Any, Any]) -> Split:
    return "test" if ids == "test_example_id" or row.get("split") == "test" else "train"


def _title(row: dict[Any, Any], ids: str, value: str | None, parts: dict[str, str], names: tuple[str, ...]) -> str:
    labels = ("test_label",) if ids == "test_example_id" else ("given_label", "label")
    label = next((row[name] for name in labels if name in row), None)
    lines = [f"{_split(ids, row)} {row[ids]}" + ("" if label is None else f": {_name(names, label)}")]
    if row.get("predicted_label", -1) >= 0:
        lines.append(f"predicted {_name(names, row['predicted_label'])} in {row['predicted_share']:.0%}")
    if value is not None:
        cell_value = row[value]
        number = (
            f"{cell_value:.2f}".replace("-", "−")
            if isinstance(cell_value, float | np.floating)
            else plain(cell_value, _MAX_NAME)
        )
        lines.append(f"{plain(value)} {number}".strip())
        if "low" in parts:
            lines.append(f"({row[parts['low']]:.2f} to {row[parts['high']]:.2f})".replace("-", "−"))
    return "\n".join(lines)


def _name(names: tuple[str, ...], label: int) -> str:
    return plain(names[label] if 0 <= label < len(names) else label, _MAX_NAME)


def _show(panels: Objects, images: list[Any]) -> None:
    for panel in panels:
        panel.axis("off")
    for panel, image in zip(panels, images, strict=False):
        panel.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
