"""Command of localization: localize."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.figure_output import check_figure, write_figure
from orchestrator.cli.localization_tables import show_localization
from orchestrator.cli.options import SCORES_HELP, EstimateOption, StoreArgument
from orchestrator.cli.output import errors, say
from orchestrator.cli.table_output import not_kept
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import CampaignError, ReadOnlyError

if TYPE_CHECKING:
    import pandas as pd

    from workers.store import Store

RULES = ("parameters", "buffers", "reestimated")


def localize(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio of the runs; default: the largest.")] = None,
    rule: Annotated[
        str, typer.Option("--rule", help=f"Batch statistics of rewound layers: {', '.join(RULES)}.")
    ] = "reestimated",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output files, FILE-gradients.csv and so on for FILE.csv (or .parquet); default: estimates/.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Plots of all probes: .png, .pdf or .svg.")] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores",
            metavar="OTHER",
            help=f"{SCORES_HELP}, of the same examples: its scores are correlated with what dropping loses and with "
            "the number of units.",
        ),
    ] = None,
    scores_ratio: Annotated[
        float | None,
        typer.Option("--scores-ratio", help="Ratio of the store --scores; default: the only one, for C-scores all."),
    ] = None,
    estimate: EstimateOption = None,
) -> None:
    """Show what probes measured: in which layers and units memorization is.

    Example: longtail localize STORE --plot localization.png
    """
    import analysis
    from analysis.estimators.localization.summary import localize as summarize
    from analysis.scoring.probe_agreement import correlate_probes
    from analysis.scoring.scores import chosen_estimate, read_scores
    from orchestrator.cli.progress import sources_display
    from workers.store import Store

    if rule not in RULES:
        raise typer.BadParameter(f"--rule must be one of {', '.join(RULES)}, got {rule!r}")
    _check_scores(scores, scores_ratio, estimate)
    check_output(output)
    check_figure(plot, "plot")
    opened = Store.open(store)
    with sources_display(errors, opened, *([] if scores is None else [scores])) as (_, *compared_with):
        summary = summarize(opened, ratio=ratio)
        for source in compared_with:
            compared = read_scores(source, chosen_estimate((source,), estimate), scores_ratio, replicates=True)
            summary.tables["scores"] = correlate_probes(opened, compared, ratio=ratio)
    written = [_keep(opened, name, frame, output) for name, frame in summary.tables.items()]
    if plot is not None:
        write_figure(plot, partial(analysis.plot.localization, rule=rule), summary.tables)
    show_localization(summary.tables, rule, summary.groups)
    for ratio_value, runs in summary.runs.items():
        say(f"means over {count_text(runs, 'measured run')} at ratio {ratio_value:g}, ± standard error over runs")
    for place in written:
        say(f"table: {place}")
    if plot is not None:
        say(f"plot: {plot}")


def _check_scores(scores: str | None, scores_ratio: float | None, estimate: str | None) -> None:
    """Raise CampaignError for options of scores that would do nothing, and for a file of scores in an object store."""
    if scores is None:
        options = {"--scores-ratio": scores_ratio, "--estimate": estimate}
        for option, value in options.items():
            if value is not None:
                raise CampaignError(f"{option}: must be left out without --scores, got {value}")
    elif scores.lower().endswith(".npz"):
        if scores_ratio is not None:
            raise CampaignError(f"--scores-ratio: must be left out with a file, which has none, got {scores_ratio:g}")
        if "://" in scores:
            raise CampaignError(f"--scores: must be a store, or an .npz file on this machine, got {scores!r}")


def _keep(store: "Store", name: str, frame: "pd.DataFrame", output: Path | None) -> str:
    """Write a table; returns where."""
    from analysis.reading.estimate_tables import write_table

    if output is not None:
        place = output.with_name(f"{output.stem}-{name}{output.suffix}")
        write_frame(frame, place)
        return str(place)
    try:
        return write_table(store, f"localize_{name}", frame, {}, None)
    except ReadOnlyError as error:
        return not_kept(error)
