"""Command of the privacy audit: audit."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.options import ConfidenceOption, EpochOption, StoreArgument, TopOption, check_confidence_option
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import (
    OutputOption,
    cell,
    given_label_cell,
    interval_cell,
    keep_table,
    name_cell,
    percent_cell,
    percent_interval_cell,
)
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    import pandas as pd

    from analysis.scoring.privacy.audit import Audit


def audit(
    store: StoreArgument,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="Ratio of the runs; default: the one with the most runs.")
    ] = None,
    epoch: EpochOption = None,
    variance: Annotated[
        Literal["auto", "example", "pooled"],
        typer.Option("--variance", help="LiRA's variances; auto: of each example from 64 shadow models on."),
    ] = "auto",
    offline_a: Annotated[
        float, typer.Option("--offline-a", min=0, max=1, help="Coefficient a of offline RMIA, from 0 to 1.")
    ] = 0.3,
    top: TopOption = 20,
    confidence: ConfidenceOption = 0.95,
    output: OutputOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plot of the ROC curves: .png, .pdf or .svg.")] = None,
) -> None:
    """Attack each run by membership inference, with the other runs as shadow models, and list vulnerable examples.

    Example: longtail audit STORE --plot roc.png -o vulnerability.csv
    """
    import analysis
    from analysis import AuditOptions, audit_store
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import RunsAtRatio, requested_runs, runs_read_text
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        options = AuditOptions(variance, offline_a, confidence)
        found = audit_store(opened, ratio, epoch, options, partial(show, "rounds of attacks"))
    runs = found.outputs
    bases = {str(runs.ratio): {"runs": runs.runs, "diverged": runs.diverged, "epoch": runs.epoch}}
    metadata = {"signal": runs.signal, "variance": found.variance, "confidence": repr(confidence)}
    written = {"examples": keep_table(opened, "vulnerability", found.examples, output, bases, None, **metadata)}
    attacks = found.attacks.assign(offline_a=offline_a)
    written["attacks"] = keep_table(opened, "audit", attacks, None, bases, output, **metadata)
    if plot is not None:
        write_figure(plot, analysis.plot.audit, found.attacks, found.curves)
        written["plot"] = str(plot)
    _show_attacks(found)
    _show_examples(with_names(_most_vulnerable(found.examples, top), opened), confidence)
    _say_agreement(found)
    used = RunsAtRatio(runs.ratio_ppm, runs.runs, runs.diverged)
    _say_runs(found, runs_read_text([used], requested_runs(opened, runs.ratio)))
    for name, path in written.items():
        say(f"{name}: {path}")


def _show_attacks(found: "Audit") -> None:
    """In the order of the table; and why a rate has no value."""
    from analysis.scoring.privacy.audit import FALSE_RATES

    columns = [TableColumn("attack", kind="text"), TableColumn("AUC"), TableColumn("interval", 3)]
    for rank, rate in enumerate(FALSE_RATES, start=1):
        columns += [TableColumn(f"TPR at {100 * rate:g}% FPR", rank), TableColumn("interval", 3 + rank)]
    columns += [TableColumn("balanced accuracy", 2), TableColumn("interval", 6)]
    table = TextTable(columns, "the table of attacks has all")
    for row in found.attacks.to_dict("records"):
        rates = [
            text
            for name in (f"tpr_{rate:g}" for rate in FALSE_RATES)
            for text in (percent_cell(row[name]), percent_interval_cell(row[f"{name}_low"], row[f"{name}_high"]))
        ]
        areas, accuracies = (
            (cell(row[name], digits=4), interval_cell(row[f"{name}_low"], row[f"{name}_high"], digits=4))
            for name in ("auc", "balanced_accuracy")
        )
        table.add_row(row["attack"], *areas, *rates, *accuracies)
    show_table(table)
    members, others = (int(found.attacks[name].iloc[0]) for name in ("members", "non_members"))
    say(f"of {members:,} pairs of a run and a member, {others:,} of a run and a non-member")
    for rate in FALSE_RATES:
        _say_unreachable(found.attacks, rate)


def _say_unreachable(attacks: "pd.DataFrame", rate: float) -> None:
    """Why there is no true-positive rate: too few non-members, equal scores, or no test examples."""
    pairs = int(attacks["non_members"].iloc[0])
    if rate * pairs < 1:
        say(f"a false-positive rate of {100 * rate:g}% needs {1 / rate:,.0f} pairs with a non-member, got {pairs:,}")
        return
    lacking = attacks[attacks[f"tpr_{rate:g}"].isna() & attacks["auc"].notna()]["attack"].tolist()
    if lacking:
        tied = f"more than {100 * rate:g}% of the non-members tie for the highest score"
        say(f"no threshold reaches a false-positive rate of {100 * rate:g}%, {tied}: {', '.join(lacking)}")


def _most_vulnerable(examples: "pd.DataFrame", top: int) -> "pd.DataFrame":
    """By the lower limit; of equal ones by d'."""
    known = examples.dropna(subset="vulnerability")
    return known.sort_values(["low", "d_prime", "example_id"], ascending=[False, False, True]).head(top)


def _show_examples(rows: "pd.DataFrame", confidence: float) -> None:
    named = "name" in rows
    columns = [TableColumn("most vulnerable"), TableColumn("given label", 5, kind="text")]
    columns += [TableColumn("vulnerability"), TableColumn(f"{confidence * 100:g}% interval", 2), TableColumn("d'", 3)]
    columns += [TableColumn("detected", 1), TableColumn("mem", 1), TableColumn("n_in", 4), TableColumn("n_out", 4)]
    table = TextTable([*columns, *[TableColumn("name", 3, kind="name")] * named], "-o FILE writes all")
    for row in rows.to_dict("records"):
        table.add_row(
            row["example_id"],
            given_label_cell(row),
            cell(row["vulnerability"], row["se"]),
            interval_cell(row["low"], row["high"]),
            cell(row["d_prime"], row["d_prime_se"], digits=2),
            percent_cell(row["detected"], digits=0),
            cell(row["mem"], row["mem_se"]),
            row["n_in"],
            row["n_out"],
            *([name_cell(row["name"])] if named else []),
        )
    show_table(table)


def _say_agreement(found: "Audit") -> None:
    row = found.agreement.iloc[0]
    limits = interval_cell(row["spearman_low"], row["spearman_high"])
    disjoint = cell(found.spearman_disjoint)
    say(
        f"rank correlation of vulnerability with memorization: {cell(row['spearman'])} ({limits}, over {row['over']}); "
        f"from disjoint halves of the runs: {disjoint}"
    )
    unknown = int(found.examples["vulnerability"].isna().sum())
    if unknown:
        say(f"without a value, as fewer than two runs trained on them or did not: {count_text(unknown, 'example')}")


def _say_runs(found: "Audit", basis: str) -> None:
    """What the audit rests on, and on standard error what is not as it should be."""
    runs = found.outputs
    left_out = f", {runs.not_finite:,} with outputs that are not finite left out" if runs.not_finite else ""
    say(
        f"{basis}{left_out}: each attacked with the {runs.runs - 1:,} others by the {runs.signal}, variance "
        f"{'of each example' if found.variance == 'example' else 'pooled'}; intervals of attacks are over runs"
    )
    if found.left_out:
        say(f"pairs left out, with fewer than two other runs in or out: {found.left_out:,}")
    if runs.signal == "margin":
        warn("note: the loss is not recorded (record.outputs), so the margin takes its place: it ignores other classes")
    if runs.saturated:
        warn(f"note: beyond what float16 holds, and so taken for 0 or the limit: {runs.saturated:,} recorded values")
