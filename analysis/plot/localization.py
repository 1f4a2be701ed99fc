"""Plots of localization: means over runs by layer, with bars of one standard error (Maini et al. 2023)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, given_or_new_panels, plain
from workers.common.arrays import Objects
from workers.errors import EstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUP_COLOURS = {
    "clean": PALETTE[0],
    "typical": PALETTE[0],
    "noisy": PALETTE[1],
    "atypical": PALETTE[1],
    "heldout": PALETTE[2],
    "test": PALETTE[3],
}


def localization(tables: Mapping[str, pd.DataFrame], *, rule: str = "reestimated", axes: Any = None) -> Objects:
    """Panels for each table of `localization.summary.localize`; of rewinding with the batch statistics `rule`.

    Tables of one ratio each. Raises EstimateError without a table to draw, and for another number of axes.
    """
    panels = [(draw, tables[name]) for name, draws in _PANELS.items() if name in tables for draw in draws]
    if not panels:
        raise EstimateError(f"tables: must be one of {', '.join(_PANELS)}, got {', '.join(tables) or 'none'}")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    all_panels = given_or_new_panels(axes, (rows, columns), 5.6 * columns, 3.6 * rows)
    for spare in all_panels[len(panels) :]:
        spare.set_axis_off()
    for panel, (draw, table) in zip(all_panels, panels, strict=False):
        draw(panel, table[table["rule"] == rule] if "rule" in table else table)
    return all_panels


def _lines(axes: "Axes", table: pd.DataFrame, value: str) -> None:
    """A line for each layer over the epochs."""
    for place, (layer, rows) in enumerate(table.groupby("layer", sort=False)):
        axes.errorbar(
            rows["epoch"],
            rows[value],
            rows[f"{value}_se"].fillna(0),
            color=PALETTE[place % len(PALETTE)],
            linestyle=DASHES[place // len(PALETTE) % len(DASHES)],
            linewidth=1.2,
            elinewidth=0.7,
            label=plain(layer),
        )
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    add_legend(axes, is_beside=True, title="layer")


def _cosines(axes: "Axes", table: pd.DataFrame) -> None:
    _lines(axes, table, "cosine")
    axes.set(ylabel="cosine", ylim=(-1.02, 1.02))
    axes.set_title(f"gradients of {' and '.join(_with_norms(table))} examples", fontsize="medium")


def _with_norms(table: pd.DataFrame) -> list[str]:
    """The groups whose gradients a table has."""
    return [group for group in _GROUP_COLOURS if f"norm_{group}" in table]


def _norms(axes: "Axes", table: pd.DataFrame) -> None:
    """Mean over epochs of both groups' norms."""
    groups = _with_norms(table)
    means = table.groupby("layer", sort=False)[[f"norm_{group}" for group in groups]].mean()
    for group, shift in zip(groups, (-0.2, 0.2), strict=True):
        places = [place + shift for place in range(len(means))]
        axes.bar(places, means[f"norm_{group}"], 0.4, color=_GROUP_COLOURS[group], label=group)
    _name_layers(axes, [str(layer) for layer in means.index])
    axes.set_ylabel("norm of the gradient")
    axes.set_title("mean over epochs", fontsize="medium")
    add_legend(axes)


def _name_layers(axes: "Axes", layers: list[str]) -> None:
    axes.set_xticks(range(len(layers)), [plain(layer) for layer in layers], rotation=45, ha="right")


def _of_group(place: int, title: str) -> Callable[["Axes", pd.DataFrame], None]:
    """Draws the accuracy on one of the two groups that are compared; `{}` in the title is the first one."""

    def draw(axes: "Axes", table: pd.DataFrame) -> None:
        compared = list(dict.fromkeys(table["group"]))[:2]
        group = compared[place]
        _lines(axes, table[table["group"] == group], "accuracy")
        axes.set(ylabel=f"accuracy on {group} examples", ylim=(-0.02, 1.02))
        axes.set_title(title.format(compared[0]), fontsize="medium")

    return draw


def _units(axes: "Axes", table: pd.DataFrame) -> None:
    """Share of the examples that need fewer than 10 units."""
    _bars(axes, table, "under_10")
    axes.set(ylabel="share that needs under 10 units", ylim=(0, 1.02))
    axes.set_title("units to flip a prediction", fontsize="medium")


def _bars(axes: "Axes", table: pd.DataFrame, value: str) -> None:
    groups = table["group"].tolist()
    colours = [_GROUP_COLOURS.get(group, PALETTE[4]) for group in groups]
    axes.bar(range(len(groups)), table[value], 0.6, yerr=table[f"{value}_se"].fillna(0), color=colours, capsize=3)
    _name_layers(axes, groups)


def _modes(axes: "Axes", table: pd.DataFrame) -> None:
    modes = list(dict.fromkeys(table["mode"]))
    groups = list(dict.fromkeys(table["group"]))
    width = 0.8 / len(modes)
    for place, mode in enumerate(modes):
        rows = table[table["mode"] == mode].set_index("group").reindex(groups)
        places = [at - 0.4 + width * (place + 0.5) for at in range(len(groups))]
        error = rows["accuracy_se"].fillna(0)
        axes.bar(places, rows["accuracy"], width, yerr=error, color=PALETTE[place], capsize=2, label=plain(mode))
    _name_layers(axes, groups)
    axes.set(ylabel="accuracy", ylim=(0, 1.02))
    axes.set_title("example-tied dropout", fontsize="medium")
    add_legend(axes)


_PANELS: dict[str, tuple[Callable[["Axes", pd.DataFrame], None], ...]] = {
    "gradients": (_cosines, _norms),
    "rewinding": (
        _of_group(0, "one layer rewound to an epoch"),
        _of_group(1, "one layer rewound to an epoch"),
    ),
    "retraining": (
        _of_group(0, "one layer trained anew on {} examples"),
        _of_group(1, "one layer trained anew on {} examples"),
    ),
    "neurons": (_units,),
    "dropout": (_modes,),
}
