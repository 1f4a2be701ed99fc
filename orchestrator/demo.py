"""What the demo shows at its end: the most memorized digits, the strongest influence, and where the tables lie."""

import numpy as np
import numpy.typing as npt
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from analysis import open_store, write_estimates
from workers.datasets import load_dataset

_SHADES = " ░▒▓█"
_SHOWN = 10


def print_findings(store_uri: str, console: Console) -> None:
    """Estimate a digits store, write the tables, and print who is memorized and whom it helps."""
    view = open_store(store_uri)
    paths = write_estimates(view.store)
    data = load_dataset(view.campaign.dataset)
    memorized = view.memorization().nlargest(_SHOWN, "mem")
    table = Table("example", "label", "mem", "se", "right if seen", "right if not", title="Most memorized digits")
    for row in memorized.itertuples():
        rates = (f"{row.p_in:.0%} of {row.n_in}", f"{row.p_out:.0%} of {row.n_out}")
        table.add_row(str(row.example_id), str(row.label), f"{row.mem:.2f}", f"{row.se:.2f}", *rates)
    first = memorized.head(5)
    pictures = [
        Panel(picture(data.train_images[example_id, 0], data.white), title=f'"{label}"', expand=False)
        for example_id, label in zip(first["example_id"].to_numpy(), first["label"].to_numpy(), strict=True)
    ]
    pairs = view.influential_pairs().nlargest(_SHOWN, "infl")
    influence = Table("test example", "label", "helped by", "influence", "se", title="Strongest influence pairs")
    for row in pairs.itertuples():
        cells = (str(row.test_example_id), str(row.test_label), str(row.example_id))
        influence.add_row(*cells, f"{row.infl:.2f}", f"{row.se:.2f}")
    console.print(table)
    console.print("The first five, as the models see them:", highlight=False)
    console.print(Columns(pictures))
    console.print(influence)
    memorized_count = int((view.memorization()["mem"] >= 0.25).sum())
    console.print(f"{memorized_count} of {data.num_train} examples have mem >= 0.25.", highlight=False)
    console.print("Tables, one Parquet file each:", highlight=False)
    for path in paths.values():
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def picture(image: npt.NDArray[np.generic], white: float) -> str:
    """A grey image [H, W] as text, two characters a pixel."""
    levels = np.clip(np.asarray(image, dtype=float) / white * len(_SHADES), 0, len(_SHADES) - 1).astype(int)
    return "\n".join("".join(_SHADES[level] * 2 for level in row) for row in levels)
