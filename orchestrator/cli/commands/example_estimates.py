"""Commands that list examples by an estimate: memorization, cscore."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import ConfidenceOption, EpochOption, StoreArgument, TopOption, check_confidence_option
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, given_label_cell, interval_cell, name_cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import EstimateError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.reading.counts import StoreCounts
    from analysis.reading.output_moments import ExampleOutput, OutputMoments
    from workers.store import Store

_Order = Literal["highest", "lowest"]
_OrderOption = Annotated[_Order, typer.Option("--order", help="Which values come first.")]
_OfOption = Annotated[
    Literal["correctness", "margin", "loss", "probability"],
    typer.Option("--of", help="Output to use in place of correctness; must be in record.outputs."),
]
_FileOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Output file with all examples: .parquet or .csv."),
]


@dataclass(frozen=True)
class _Listing:
    """Which examples are shown of a frame, by the column `value`, and with which columns of numbers of runs."""

    value: str
    counts: tuple[str, ...]
    order: _Order
    top: int
    confidence: float


def memorization(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: all below 1, a table each.")] = None,
    epoch: EpochOption = None,
    top: TopOption = 20,
    order: _OrderOption = "highest",
    empty: Annotated[
        Literal["nan", "half", "zero"],
        typer.Option("--empty", help="Mean of an empty group of runs; nan: the example has no value, half: the paper."),
    ] = "nan",
    of: _OfOption = "correctness",
    confidence: ConfidenceOption = 0.95,
    output: _FileOption = None,
) -> None:
    """List the examples by memorization: how much more often models are right that were trained on them.

    Example: longtail memorization STORE --ratio 0.7 --top 50 -o memorization.csv
    """
    from analysis.estimators.memorization import estimate_memorization
    from analysis.estimators.output_means import output_memorization
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import requested_runs, runs_read_text

    opened, counts = _read(store, ratio, epoch, confidence, output)
    if of == "correctness":
        frame = estimate_memorization(counts, empty=empty, confidence=confidence)
    else:
        frame = output_memorization(_moments(opened, of, ratio, epoch), confidence=confidence)
    frame = with_names(frame, opened)
    if output is not None:
        write_frame(frame, output)
    listing = _Listing("mem", ("n_in", "n_out"), order, top, confidence)
    for ratio_counts in counts.ratios:
        rows = frame[frame["ratio"] == ratio_counts.ratio]
        _show(rows, listing)
        say(
            _summary(
                "memorization",
                rows,
                listing,
                runs_read_text([ratio_counts], requested_runs(opened, ratio_counts.ratio)),
            )
        )
    if opened.encoder_text is not None:
        say(opened.encoder_text)
    if output is not None:
        say(f"table: {output}")


def cscore(
    store: StoreArgument,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="Consistency at one ratio; default: the mean over all below 1.")
    ] = None,
    epoch: EpochOption = None,
    top: TopOption = 20,
    order: _OrderOption = "lowest",
    of: _OfOption = "correctness",
    confidence: ConfidenceOption = 0.95,
    output: _FileOption = None,
) -> None:
    """List the examples by C-score: how often models are right that were not trained on them.

    Example: longtail cscore STORE --order highest -o cscore.csv
    """
    from analysis.estimators.consistency import cscore as estimate_cscore
    from analysis.estimators.output_means import output_cscore
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import requested_runs, runs_read_text

    opened, counts = _read(store, ratio, epoch, confidence, output)
    if of == "correctness":
        frame = estimate_cscore(counts, confidence=confidence)
    else:
        frame = output_cscore(_moments(opened, of, ratio, epoch), confidence=confidence)
    frame = with_names(frame, opened)
    if output is not None:
        write_frame(frame, output)
    listing = _Listing("cscore", ("n_out",), order, top, confidence)
    _show(frame, listing)
    requested = requested_runs(opened, ratio, held_out=True)
    say(_summary("C-score", frame, listing, runs_read_text(counts.ratios, requested)))
    if output is not None:
        say(f"table: {output}")


def _read(
    uri: str, ratio: float | None, epoch: int | None, confidence: float, output: Path | None
) -> tuple["Store", "StoreCounts"]:
    """The sums at the ratios below 1 that have runs which did not diverge, once the options are sound."""
    from analysis.reading.counts import count_runs
    from orchestrator.cli.progress import reading_display
    from workers.store import Store

    check_confidence_option(confidence)
    check_output(output)
    opened = Store.open(uri)
    with reading_display(errors, opened):
        counts = count_runs(opened, ratio, epoch)
    counts.check_some_run(opened.uri)
    held_out = counts.holding_out()
    if not held_out.ratios:
        raise EstimateError(f"{opened.uri}: has neither memorization nor C-score: at ratio 1 no example is held out")
    return opened, held_out


def _moments(store: "Store", output: "ExampleOutput", ratio: float | None, epoch: int | None) -> "OutputMoments":
    from analysis.reading.output_moments import read_output_moments
    from orchestrator.cli.progress import reading_display

    with reading_display(errors, store):
        return read_output_moments(store, output, ratio, epoch)


def _show(rows: "pd.DataFrame", listing: _Listing) -> None:
    """The first examples by the estimate; of equal values first that of which the runs are the best evidence."""
    named = "name" in rows
    columns = [TableColumn("example"), TableColumn("given label", 4, kind="text"), TableColumn(listing.value)]
    columns += [TableColumn(f"{listing.confidence * 100:g}% interval", 1)]
    columns += [TableColumn(name, 2) for name in listing.counts]
    table = TextTable([*columns, *[TableColumn("name", 3, kind="name")] * named], "-o FILE writes all")
    ascending = listing.order == "lowest"
    by = [listing.value, "high" if ascending else "low", "example_id"]
    known = rows.dropna(subset=[listing.value]).sort_values(by, ascending=[ascending, ascending, True])
    for row in known.head(listing.top).to_dict("records"):
        table.add_row(
            row["example_id"],
            given_label_cell(row),
            cell(row[listing.value], row["se"]),
            interval_cell(row["low"], row["high"]),
            *(row[name] for name in listing.counts),
            *([name_cell(row["name"])] if named else []),
        )
    show_table(table)


def _summary(what: str, rows: "pd.DataFrame", listing: _Listing, basis: str) -> str:
    """What was listed, of which runs; and how many examples have no value."""
    known = int(rows[listing.value].notna().sum())
    shown = f"; the {min(listing.top, known):,} {listing.order} are shown" if known > listing.top else ""
    unknown = len(rows) - known
    why = "in every subset of these runs" + ("" if listing.value == "cscore" else " or in none")
    left_out = f"; without a value: {unknown:,}, {why}" if unknown else ""
    return f"{what} of {count_text(known, 'example')} {basis}{shown}{left_out}"
