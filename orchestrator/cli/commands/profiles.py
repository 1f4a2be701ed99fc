"""Command of groups of examples: profiles."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import SCORES_HELP, StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import OutputOption, cell, interval_cell, keep_table
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis import Groups, StoreCounts
    from analysis.reading.sequences import At
    from workers.store import Store

_NOT_RECORDED = "record.presentations must be true, or record.epochs all or a number"


def profiles(
    store: StoreArgument,
    by: Annotated[
        Literal["cscore", "class", "noise"], typer.Option("--by", help="How examples are grouped.")
    ] = "cscore",
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores", metavar="OTHER", help=f"Group by other scores: {SCORES_HELP}; of a store its C-score."
        ),
    ] = None,
    scores_ratio: Annotated[
        float | None, typer.Option("--scores-ratio", help="Ratio of the store or table --scores; default: all.")
    ] = None,
    groups: Annotated[int, typer.Option("--groups", min=1, max=1000, help="Number of groups by score.")] = 5,
    output: OutputOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Plot of the consistency profiles: .png, .pdf or .svg.")
    ] = None,
    learning_plot: Annotated[
        Path | None, typer.Option("--learning-plot", help="Plot of the learning curves: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Show groups of examples: held-out accuracy, learning curves, and the epoch at which they are learned.

    Example: longtail profiles STORE --by class --plot profiles.png --learning-plot learning.png
    """
    import analysis
    from analysis import count_runs, group_examples
    from analysis.reading.estimate_tables import bases_of
    from analysis.reading.runs_read import runs_read_text
    from analysis.scoring.scores import read_scores
    from orchestrator.cli.progress import sources_display
    from workers.store import Store

    _check_scores(by, scores, scores_ratio)
    check_output(output)
    check_figure(plot, "plot")
    check_figure(learning_plot, "learning-plot")
    opened = Store.open(store)
    kinds = _recorded_kinds(opened, required=learning_plot is not None)
    with sources_display(errors, opened, *([] if scores is None else [scores])) as (_, *others):
        counts = count_runs(opened)
        external = [read_scores(source, "cscore", scores_ratio) for source in others]
        grouped = group_examples(opened, counts, by, groups, *external)
        # At ratio 1 alone no example is held out: there are learning curves, and no profiles.
        tables: dict[str, pd.DataFrame] = {}
        if counts.holding_out().ratios or not kinds or plot is not None:
            tables |= _profile_tables(opened, counts, grouped)
        if kinds:
            tables |= _learning_tables(opened, grouped, kinds)
    bases, main = bases_of(counts.ratios), next(iter(tables))
    grouping = {"by": by} if scores is None else {"by": "scores", "scores": external[0].source}
    written = {}
    for name, frame in tables.items():
        conventions = {} if name == "classes" else grouping
        place, beside = (output, None) if name == main else (None, output)
        written[_TITLES[name]] = keep_table(opened, name, frame, place, bases, beside, **conventions)
    figures = {
        "plot": (plot, analysis.plot.profiles, tables.get("profiles")),
        "learning plot": (learning_plot, analysis.plot.learning, tables.get("learning")),
    }
    written |= _write_figures(figures)
    _show(tables)
    lines = [runs_read_text(counts.ratios, opened.targets()), *(f"{name}: {text}" for name, text in written.items())]
    for line in lines if kinds else [*lines, f"no learning curves: {_NOT_RECORDED}"]:
        say(line)


def _profile_tables(store: "Store", counts: "StoreCounts", grouped: "Groups") -> "dict[str, pd.DataFrame]":
    from analysis import class_summary, group_profiles
    from analysis.reading.run_groups import group_runs

    runs = group_runs(store)
    return {"profiles": group_profiles(store, counts, grouped, runs), "classes": class_summary(store, counts, runs)}


def _learning_tables(store: "Store", grouped: "Groups", kinds: "Sequence[At]") -> "dict[str, pd.DataFrame]":
    import pandas as pd

    from analysis import learning_curves, learning_speed

    curves, speeds = (
        pd.concat([estimate(store, grouped, kind) for kind in kinds], ignore_index=True)
        for estimate in (learning_curves, learning_speed)
    )
    return {"learning": curves, "learning_speed": speeds}


_TITLES = {
    "profiles": "profiles",
    "classes": "classes",
    "learning": "learning curves",
    "learning_speed": "learning speed",
}
"""What is said of each table, by its name in estimates/."""


def _check_scores(by: str, scores: str | None, ratio: float | None) -> None:
    """Raise CommandError for options that would do nothing."""
    if scores is None and ratio is not None:
        raise CommandError(f"--scores-ratio: must be left out without --scores, got {ratio:g}")
    if scores is not None and by != "cscore":
        raise CommandError(f"--by: must be left out with --scores, got {by}")


def _recorded_kinds(store: "Store", required: bool) -> "Sequence[At]":
    """The kinds of learning curves that a store has. Raises CommandError where one is required and there is none."""
    from analysis.scoring.learning_curves import recorded_kinds

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


def _show(tables: "Mapping[str, pd.DataFrame]") -> None:
    if "profiles" in tables:
        _show_profiles(tables["profiles"])
    if "learning_speed" in tables:
        _show_speed(tables["learning_speed"])


def _show_profiles(frame: "pd.DataFrame") -> None:
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


def _show_speed(frame: "pd.DataFrame") -> None:
    """A row per group, of the largest ratio and the first kind of predictions that is recorded."""
    rows = frame[(frame["at"] == frame["at"].iloc[0]) & (frame["ratio"] == frame["ratio"].max())]
    first = rows.iloc[0]
    columns = [TableColumn("group", kind="text"), TableColumn("examples", 1), TableColumn("learned in epoch")]
    columns += [TableColumn("95% interval", 2), TableColumn("mean correct"), TableColumn("95% interval", 3)]
    table = TextTable(columns, "-o FILE writes all")
    for row in rows.to_dict("records"):
        epoch, area = (
            (cell(row[name], row[f"{name}_se"], digits), interval_cell(row[f"{name}_low"], row[f"{name}_high"], digits))
            for name, digits in (("epoch", 2), ("area", 3))
        )
        table.add_row(row["name"], row["examples"], *epoch, *area)
    show_table(table)
    say(f"ratio {first['ratio']:g}, {_KINDS[first['at']]}: learned at {first['level']:.0%} of the group; mean over the")
    say("epochs; ± standard error and intervals over runs; a run that does not learn a group counts as one epoch more")


_KINDS = {"presentations": "at presentations", "evaluations": "evaluated, trained on", "heldout": "evaluated, held out"}
