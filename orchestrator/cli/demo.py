"""Closing output of the demo: most memorized digits, strongest influence, paths of the tables."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel

from analysis import open_store, without_empty_groups, write_estimates
from orchestrator.cli.table_output import interval_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from workers.campaign.plural import count_text
from workers.datasets import Dataset, load_dataset

_SHADES = " ░▒▓█"
_MAX_ROWS = 10
_PICTURES = 4


def print_findings(store_uri: str, console: Console) -> None:
    """Estimate a digits store, write the tables, and print who is memorized and whom it helps."""
    view = open_store(store_uri)
    paths = write_estimates(view.store)
    data = load_dataset(view.campaign.dataset)
    memorization = without_empty_groups(view.memorization())
    # By the lower limit: the most that the runs are evidence of.
    memorized = memorization.nlargest(_MAX_ROWS, "low")
    pairs = view.influential_pairs().nlargest(_MAX_ROWS, "low")
    console.print("Most memorized digits", style="bold")
    console.print(_memorized_table(memorized), crop=False)
    console.print(_pictures(data, [("train", example) for example in memorized["example_id"].head(_PICTURES)]))
    console.print("Strongest influence pairs", style="bold")
    console.print(_influence_table(pairs), crop=False)
    first = pairs[["test_example_id", "example_id"]].head(2).itertuples(index=False)
    console.print(_pictures(data, [shown for test, train in first for shown in (("test", test), ("train", train))]))
    count = int((memorization["mem"] >= 0.25).sum())
    console.print(f"{count:,} of {count_text(data.num_train, 'example')} have mem >= 0.25. Tables:", highlight=False)
    for path in paths.values():
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def _memorized_table(memorized: pd.DataFrame) -> TextTable:
    columns = ("example", 0), ("label", 0), ("mem", 0), ("95% interval", 1), ("right if seen", 2), ("right if not", 2)
    table = TextTable([TableColumn(*column) for column in columns])
    for row in memorized.to_dict("records"):
        rates = (f"{row['p_in']:.0%} of {row['n_in']}", f"{row['p_out']:.0%} of {row['n_out']}")
        table.add_row(row["example_id"], row["label"], f"{row['mem']:.2f}", _interval(row), *rates)
    return table


def _influence_table(pairs: pd.DataFrame) -> TextTable:
    columns = ("test example", 0), ("label", 1), ("helped by", 0), ("influence", 0), ("95% interval", 2)
    table = TextTable([TableColumn(*column) for column in columns])
    for row in pairs.to_dict("records"):
        ids = (row["test_example_id"], row["test_label"], row["example_id"])
        table.add_row(*ids, f"{row['infl']:.2f}", _interval(row))
    return table


def _interval(row: dict[Hashable, Any]) -> str:
    return interval_cell(row["low"], row["high"], digits=2)


def _pictures(data: Dataset, shown: list[tuple[str, int]]) -> Columns:
    """Images side by side, each titled with its split, id and label."""
    panels = []
    for split, example in shown:
        images, labels = getattr(data, f"{split}_images"), getattr(data, f"{split}_labels")
        title = f"{split} {example}: {data.class_names[labels[example]]}"
        panels.append(Panel(picture(images[example, 0], data.white), title=title, expand=False))
    return Columns(panels)


def picture(image: npt.NDArray[np.generic], white: float) -> str:
    """A grey image [H, W] as text, two characters a pixel."""
    levels = np.clip(np.asarray(image, dtype=float) / white * len(_SHADES), 0, len(_SHADES) - 1).astype(int)
    return "\n".join("".join(_SHADES[level] * 2 for level in row) for row in levels)
