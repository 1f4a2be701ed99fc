"""What `longtail forgetting` shows of groups of examples, and of the same examples in two stores."""

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.figure_output import write_figure
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, interval_cell, share_text
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import write_frame
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd

    from analysis import Groups
    from analysis.reading.sequences import At
    from workers.store import Store


def show_groups(rows: "pd.DataFrame", groups: "Groups") -> None:
    """A row for each group of the examples of one ratio that were shown to a run."""
    from analysis import forgetting_summary

    columns = [TableColumn("group", kind="text"), TableColumn("examples"), TableColumn("events/run")]
    columns += [TableColumn("unforgettable", 1), TableColumn("in one run", 3), TableColumn("never learned", 2)]
    table = TextTable(columns, "-o FILE writes all examples")
    for place, name in enumerate(groups.names):
        part = rows[groups.members(place)]
        if not (part["n_runs"] > 0).any():
            continue
        (summary,) = forgetting_summary(part).to_dict("records")
        shares = (share_text(summary[key]) for key in ("unforgettable", "unforgettable_per_run", "never_learned"))
        table.add_row(name, summary["examples"], cell(summary["forgetting"]), *shares)
    show_table(table)


def show_margins(store: "Store", frame: "pd.DataFrame", ratio: float | None) -> "pd.DataFrame":
    """The frame with the mean margin of each example; says how margins go with forgetting events."""
    from analysis import presented_margins

    margins, correlations = presented_margins(store, ratio)
    for row in correlations.to_dict("records"):
        interval = interval_cell(row["low"], row["high"])
        say(
            f"ratio {row['ratio']:g}: mean margin at presentations against events: Spearman "
            f"{cell(row['spearman'], row['se'])}, {interval} over {count_text(row['runs'], 'run')}"
        )
    return frame.assign(margin=margins["margin"].to_numpy(), margin_se=margins["margin_se"].to_numpy())


def show_paired(
    before: "Store", after: "Store", ratio: float | None, at: "At", files: tuple[Path | None, Path | None]
) -> None:
    """Events of the same examples in two stores, clean and noisy; `files` are those of the table and of the plot."""
    import analysis
    from analysis import paired_forgetting
    from analysis.reading.names import with_names
    from orchestrator.cli.progress import sources_display

    output, plot = files
    with sources_display(errors, before, after):
        paired = paired_forgetting(before, after, ratio, at)
    if output is not None:
        write_frame(with_names(paired.examples, after), output)
    if plot is not None:
        write_figure(plot, analysis.plot.paired_forgetting, paired.examples)
    columns = [TableColumn("examples", kind="text"), TableColumn("number", 2), TableColumn("before")]
    columns += [TableColumn("after"), TableColumn("difference"), TableColumn("95% interval", 1)]
    table = TextTable(columns, "-o FILE writes all examples")
    for row in paired.groups.to_dict("records"):
        figures = (cell(row[name], row[f"{name}_se"]) for name in ("before", "after", "difference"))
        table.add_row(row["group"], row["examples"], *figures, interval_cell(row["low"], row["high"]))
    runs = paired.groups[["runs_before", "runs_after"]].max()
    say(f"ratio {paired.ratio:g}: forgetting events of an example in a run, ± standard error over runs")
    show_table(table)
    for name, store in (("before", before), ("after", after)):
        say(f"{name}: {count_text(runs[f'runs_{name}'], 'run')} of {store.uri}")
    say("interval of the difference: Welch's, over runs")
    for name, path in (("table", output), ("plot", plot)):
        if path is not None:
            say(f"{name}: {path}")
