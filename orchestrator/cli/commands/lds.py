"""Command that scores attributions, anybody's, on a store's runs: lds."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import StoreArgument, parse_ids
from orchestrator.cli.output import errors, say, show_table, warn
from orchestrator.cli.table_output import cell
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.errors import CampaignError

if TYPE_CHECKING:
    from analysis.influence.attributions.exam import AttributionExam
    from analysis.influence.attributions.subset_outputs import SubsetOutputs
    from analysis.reading.outputs import RatioOutputs
    from workers.store import Store


class FittedAttribution(StrEnum):
    """An attribution that is fitted to runs."""

    influence = "influence"
    ridge = "ridge"
    lasso = "lasso"


def lds(
    store: StoreArgument,
    scores: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SCORES]...",
            help="Attributions: .npy [training examples, test examples], or .parquet with the columns example_id, "
            "test_example_id, score.",
        ),
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="Ratio of the runs; default: the store's only one.")] = None,
    of: Annotated[
        Literal["correctness", "margin", "loss", "probability"] | None,
        typer.Option("--of", help="Output that is predicted; default: margin if recorded, else correctness."),
    ] = None,
    tests: Annotated[
        str | None,
        typer.Option(metavar="IDS", help="Test examples, the columns of .npy files, such as 0-99; default: all."),
    ] = None,
    fit: Annotated[
        list[FittedAttribution] | None,
        typer.Option("--fit", help="Also score this, fitted to runs; may be given again."),
    ] = None,
    fit_from: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Store with the runs to fit to; default: runs that are held out."),
    ] = None,
    heldout: Annotated[
        float | None, typer.Option(help="Fraction of the subsets to score on, with --fit alone; default: 0.2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the held-out subsets; default: 0.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Helpful training examples of the counterfactual check.")] = 10,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the truth for dattri.metric.lds: .npz.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file with each test example: .parquet or .csv."),
    ] = None,
) -> None:
    """Score attributions by the linear datamodeling score, beside what the noise of training leaves attainable.

    Example: longtail lds STORE scores.npy --fit influence --fit-from OTHER_STORE
    """
    from analysis.influence.attributions.attribution_files import read_attributions
    from analysis.influence.attributions.exam import score_attributions
    from analysis.influence.attributions.fitted_attributions import fit_attribution, hold_out
    from analysis.influence.attributions.subset_outputs import by_subset
    from orchestrator.cli.progress import sources_display
    from workers.store import Store

    _check_options(scores, fit, fit_from, output, export)
    _check_held_out({"--heldout": heldout, "--seed": seed}, holds_out=bool(fit) and fit_from is None)
    chosen = slice(None) if tests is None else _ascending_ids(tests)
    opened = [Store.open(uri) for uri in (store, fit_from) if uri is not None]
    with sources_display(errors, *opened):
        scored, *others = _read_runs(opened, ratio, chosen, of)
    if fit and not others:
        fitting, scored = hold_out(scored, 0.2 if heldout is None else heldout, seed or 0)
        others = [fitting]
    truth, num_train, num_test = by_subset(scored), opened[0].header.num_train, opened[0].header.num_test
    attributions = {str(path): read_attributions(path, num_train, num_test, scored.tests) for path in scores or ()}
    attributions |= {method.value: fit_attribution(others[0], method.value) for method in dict.fromkeys(fit or ())}
    if attributions:
        exam = score_attributions(truth, attributions, top)
        _show(exam)
        if output is not None:
            write_frame(exam.examples, output)
            say(f"table: {output}")
    _say_basis(truth, others)
    if export is not None:
        truth.write_ground_truth(export)
        say(f"truth: {export}")


def _check_options(
    scores: list[Path] | None,
    fit: list[FittedAttribution] | None,
    fit_from: str | None,
    output: Path | None,
    export: Path | None,
) -> None:
    """Raise CampaignError for options that would do nothing, and for files that cannot be written."""
    from workers.common.whole_file import check_place

    if not (scores or fit or export):
        raise CampaignError("SCORES: give attributions to score, --fit, or --export FILE")
    if output is not None and not (scores or fit):
        raise CampaignError("--output: has a row for each attribution: give SCORES or --fit")
    if fit_from is not None and not fit:
        raise CampaignError("--fit-from: give --fit, which is fitted to its runs")
    check_output(output)
    if export is not None:
        if export.suffix != ".npz":
            raise CampaignError(f"--export: must end with .npz, got {str(export)!r}")
        check_place(export)


def _check_held_out(options: "Mapping[str, float | None]", *, holds_out: bool) -> None:
    """Raise CampaignError for options of held-out subsets where none are held out."""
    for name, value in options.items():
        if value is not None and not holds_out:
            raise CampaignError(f"{name}: is for --fit without --fit-from, got {value:g}")


def _ascending_ids(text: str) -> list[int]:
    """Ids of test examples; the columns of .npy files are in this order."""
    ids = parse_ids(text, "tests")
    if ids != sorted(set(ids)):
        raise CampaignError(f"--tests: must be ascending, each once, got {text!r}")
    return ids


def _read_runs(
    stores: "Sequence[Store]",
    ratio: float | None,
    tests: slice | list[int],
    of: Literal["correctness", "margin", "loss", "probability"] | None,
) -> "list[RatioOutputs]":
    """The runs of the store to score on, and of the one to fit to, where it is given: the same output of both."""
    from analysis import read_outputs

    scored = read_outputs(stores[0], ratio, tests, output=of)
    for other in stores[1:]:
        if other.header.fingerprint != stores[0].header.fingerprint:
            raise CampaignError(f"--fit-from: {other.uri} was created from a different data set")
    return [scored, *(read_outputs(other, ratio, tests, output=scored.output) for other in stores[1:])]


def _show(exam: "AttributionExam") -> None:
    columns = TableColumn("LDS"), TableColumn("share of the ceiling"), TableColumn("effect", 1)
    table = TextTable([TableColumn("attribution", kind="text"), *columns])
    for row in exam.scores.to_dict("records"):
        cells = [cell(row[name], row[f"{name}_se"]) for name in ("lds", "share", "effect")]
        table.add_row(row["attribution"], *cells)
    show_table(table)
    if exam.truth.seeds > 1:
        seeds = count_text(exam.truth.seeds, "run")
        say(
            f"ceiling: {cell(exam.ceiling, exam.ceiling_se)}, what the seeds of training leave with {seeds} of a subset"
        )
    else:
        warn("note: no ceiling: the store has one run of each subset (subsets.replicates: 4 gives more)")
    output = exam.truth.source.output
    say(f"effect: mean {output} with more of the {exam.top} most helpful examples in the subset, less that with fewer")
    of = len(exam.truth.source.tests)
    say(f"means over {exam.tests:,} of {count_text(of, 'test example')}, whose {output} differs; ± over subsets")


def _say_basis(truth: "SubsetOutputs", fitted_to: "Sequence[RatioOutputs]") -> None:
    source = truth.source
    text = f"ratio {source.ratio:g}, {source.output}: scored on {count_text(len(truth.subsets), 'subset')}"
    text += f" with {count_text(truth.seeds, 'run')} each"
    for fitting in fitted_to:
        text += f", fitted to {count_text(fitting.runs, 'run')}"
    left_out = {
        "diverged": source.diverged,
        "not finite": source.not_finite,
        "subsets without all their runs": truth.incomplete,
    }
    notes = [f"{count:,} {what}" for what, count in left_out.items() if count]
    say(text + (f" ({', '.join(notes)} left out)" if notes else ""))
