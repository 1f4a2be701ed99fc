"""Command of groups of examples: profiles."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import OutputOption, cell, keep_table
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.reading.sequences import At
    from workers.store import Store

_NOT_RECORDED = "record.presentations must be true, or record.epochs all or a number"


def profiles(
    store: StoreArgument,
    by: Annotated[
        Literal["cscore", "class", "noise"], typer.Option("--by", help="How examples are grouped.")
    ] = "cscore",
    groups: Annotated[int, typer.Option("--groups", min=1, max=1000, help="With --by cscore: number of groups.")] = 5,
    output: OutputOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Plot of the consistency profiles: .png, .pdf or .svg.")
    ] = None,
    learning_plot: Annotated[
        Path | None, typer.Option("--learning-plot", help="Plot of the learning curves: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Show groups of examples: held-out accuracy, and learning curves.

    Example: longtail profiles STORE --by class --plot profiles.png --learning-plot learning.png
    """
    import pandas as pd

    import analysis
    from analysis import class_summary, count_runs, group_examples, group_profiles
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.run_groups import group_runs
    from analysis.reading.runs_read import runs_read_text
    from analysis.scoring.profiles import learning_curves
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_output(output)
    check_figure(plot, "plot")
    check_figure(learning_plot, "learning-plot")
    opened = Store.open(store)
    kinds = _recorded_kinds(opened, required=learning_plot is not None)
    with reading_display(errors, opened):
        counts = count_runs(opened)
        grouped = group_examples(opened, counts, by, groups)
        run_groups = group_runs(opened)
        profile = group_profiles(opened, counts, grouped, run_groups)
        curves = [learning_curves(opened, grouped, kind) for kind in kinds]
    learning = pd.concat(curves, ignore_index=True) if kinds else None
    bases = bases_of(counts.ratios)
    written = {
        "profiles": keep_table(opened, "profiles", profile, output, bases, by=by),
        "classes": keep_table(opened, "classes", class_summary(opened, counts, run_groups), None, bases, output),
    }
    if learning is not None:
        written["learning curves"] = keep_table(opened, "learning", learning, None, bases, output, by=by)
    written |= _write_figures(
        {
            "plot": (plot, analysis.plot.profiles, profile),
            "learning plot": (learning_plot, analysis.plot.learning, learning),
        }
    )
    _show(profile)
    lines = [runs_read_text(counts.ratios, opened.targets()), *(f"{name}: {text}" for name, text in written.items())]
    for line in lines if kinds else [*lines, f"no learning curves: {_NOT_RECORDED}"]:
        say(line)


def _recorded_kinds(store: "Store", required: bool) -> "Sequence[At]":
    """The kinds of learning curves that a store has. Raises CommandError where one is required and there is none."""
    from analysis.scoring.profiles import recorded_kinds

    kinds = recorded_kinds(store)
    if required and not kinds:
        raise CommandError(f"{store.uri}: has no learning curves: {_NOT_RECORDED}")
    return kinds


def _write_figures(figures: Mapping[str, tuple[Path | None, Callable[..., Any], Any]]) -> dict[str, str]:
    """Draw the figures that have a path; returns the paths by the figures' names."""
    for path, draw, frame in figures.values():
        if path is not None:
            write_figure(path, draw, frame)
    return {name: str(path) for name, (path, _, _) in figures.items() if path is not None}


def _show(frame: "pd.DataFrame") -> None:
    """A row per group, a column per ratio."""
    ratios = sorted(frame["ratio"].unique())
    columns = (
        TableColumn("examples", len(ratios)),
        *(TableColumn(f"{ratio:g}", rank) for rank, ratio in enumerate(ratios)),
    )
    title = "C-score" if frame["name"].str.startswith("C-score ").all() else "group"
    table = TextTable([TableColumn(title, kind="text"), *columns], "-o FILE writes all")
    for (_, name), rows in frame.groupby(["group", "name"]):
        by_ratio = rows.set_index("ratio")
        table.add_row(
            str(name).removeprefix("C-score "),
            rows["examples"].max(),
            *(cell(by_ratio.loc[ratio, "consistency"]) for ratio in ratios),
        )
    show_table(table)
    errors = f"standard errors over {', '.join(frame['over'].unique())} up to {cell(frame['se'].max())}"
    say(f"correct when held out, by ratio; {errors}")
