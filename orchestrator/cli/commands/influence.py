"""Command of influence pairs: influence."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.options import AddressOption, StoreArgument
from orchestrator.cli.output import errors, say, show_table
from orchestrator.cli.table_output import cell, label_cell, name_cell, share_text
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.frame_files import check_output, write_frame
from workers.campaign.plural import count_text
from workers.common.progress import ProgressCallback
from workers.errors import CampaignError

if TYPE_CHECKING:
    import pandas as pd

    from analysis import RatioBits
    from analysis.influence.pair_options import PairOptions
    from analysis.reading.bits import Direction
    from analysis.reading.parallel import ParallelMap
    from analysis.statistics.means import Empty
    from workers.common.splits import Split

_MAX_ROWS = 20
_TOP = 5
_FDR = 0.05
"""False discovery rate of the number of discoveries shown beside pairs over a threshold."""


_COLUMNS = {
    "test_example_id": TableColumn("test"),
    "test_label": TableColumn("label", 4, kind="text"),
    "affected_example_id": TableColumn("affected"),
    "affected_given_label": TableColumn("label", 4, kind="text"),
    "example_id": TableColumn("train"),
    "label": TableColumn("label", 4, kind="text"),
    "affected_name": TableColumn("affected name", 6, kind="name"),
    "test_name": TableColumn("test name", 6, kind="name"),
    "name": TableColumn("train name", 5, kind="name"),
    "infl": TableColumn("infl"),
    "low": TableColumn("low", 1),
    "high": TableColumn("high", 2),
    "n_in": TableColumn("n_in", 3),
    "n_out": TableColumn("n_out", 3),
    "p_value": TableColumn("p_value", 5),
    "q_value": TableColumn("q_value", 2),
    "mem": TableColumn("mem", 2),
}
"""Shown where the list has them."""


def influence(
    store: StoreArgument,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Ratio; default: the one with the most runs.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=-1, max=1, help="List all pairs with at least this influence.")
    ] = None,
    fdr: Annotated[float | None, typer.Option("--fdr", help="List all pairs at this false discovery rate.")] = None,
    min_mem: Annotated[
        float | None,
        typer.Option(
            "--min-mem",
            min=-1,
            max=1,
            help="With --threshold: only pairs whose training example has at least this memorization.",
        ),
    ] = None,
    same_class: Annotated[
        bool, typer.Option("--same-class", help="With --threshold or --fdr: only pairs of the same class.")
    ] = False,
    direction: Annotated[
        Literal["helpful", "harmful", "both"],
        typer.Option("--direction", help="List pairs of positive influence, of negative influence, or both."),
    ] = "helpful",
    on: Annotated[
        Literal["test", "train"],
        typer.Option("--on", help="Influence on the correctness of test examples, or of the other training examples."),
    ] = "test",
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, max=10_000, help="Number of training examples per test example; default: 5."),
    ] = None,
    matrix: Annotated[
        Path | None, typer.Option("--matrix", help="Folder for the whole matrix, 4 bytes per pair.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file: .parquet or .csv.")] = None,
    training_side: Annotated[
        Path | None,
        typer.Option(
            "--training-side",
            help="With --threshold or --fdr: table of each training example's number of pairs (.parquet, .csv), "
            "for subsets.scores.",
        ),
    ] = None,
    max_pairs: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, help="Maximum number of pairs to list.")
    ] = 10_000_000,
    memory_mb: Annotated[
        float,
        typer.Option(
            "--memory-mb", min=1, help="Memory in MB for blocks of pairs; runs take one bit per example in addition."
        ),
    ] = 512,
    empty: Annotated[
        Literal["nan", "half", "zero"] | None,
        typer.Option(
            "--empty",
            help="Mean of an empty group of runs; default: nan (left out) in lists, "
            "half (as in the paper) in the matrix.",
        ),
    ] = None,
    runner: Annotated[
        Literal["local", "ray"],
        typer.Option("--runner", help="Where to compute: on this machine's cores, or on a Ray cluster."),
    ] = "local",
    address: AddressOption = None,
) -> None:
    """List the training examples with the largest influence on test examples.

    Example: longtail influence STORE --fdr 0.05 -o pairs.parquet
    """
    import pandas as pd

    from analysis import pack_runs
    from analysis.influence.discoveries import influence_discoveries
    from analysis.influence.estimator import influence_pairs, influence_top
    from analysis.influence.high_influence import PairSelection, influential_pairs
    from analysis.influence.matrix_files import write_influence_matrix
    from analysis.influence.pair_options import PairOptions
    from analysis.influence.pair_sides import pair_uniqueness, training_side_table
    from analysis.reading.names import with_names
    from analysis.reading.runs_read import one_ratio_text
    from analysis.reading.selection import check_some_run
    from orchestrator.cli.progress import BLOCKS, reading_display
    from workers.store import Store

    if sum(option is not None for option in (threshold, fdr, top, matrix)) > 1:
        raise typer.BadParameter("give one of --threshold, --fdr, --top and --matrix")
    if address is not None and runner == "local":
        raise typer.BadParameter("--address needs --runner ray")
    if matrix is not None and (direction, on) != ("helpful", "test"):
        raise typer.BadParameter("--direction and --on are not for --matrix, which has the influence of all pairs")
    if matrix is not None and output is not None:
        raise typer.BadParameter("--output is not for --matrix, which names its own folder")
    if (direction, on) != ("helpful", "test") and threshold is not None and (same_class or min_mem is not None):
        raise typer.BadParameter("--direction and --on are not for --threshold with --same-class or --min-mem")
    if on == "train" and training_side is not None:
        raise typer.BadParameter("--training-side is for pairs with test examples, not for --on train")
    if min_mem is not None and threshold is None:
        raise typer.BadParameter("--min-mem needs --threshold")
    for name, is_given in (("--same-class", same_class), ("--training-side", training_side is not None)):
        if is_given and threshold is None and fdr is None:
            raise typer.BadParameter(f"{name} needs --threshold or --fdr")
    if fdr is not None and not 0 < fdr < 1:
        raise typer.BadParameter(f"--fdr must be between 0 and 1, got {fdr}")
    check_output(output)
    check_output(training_side, "training-side")
    if training_side is not None and output is not None and training_side.absolute() == output.absolute():
        raise CampaignError(f"--training-side: must be another file than --output, got {str(output)!r}")
    beside, files, frame, quantities = "", 0, None, None
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        bits = pack_runs(opened, ratio, affected=on)
        check_some_run(opened.uri, bits.runs, bits.diverged, bits.ratio)
        parallel = _parallel(runner, address, partial(show, BLOCKS))
        options = PairOptions(empty, memory_mb=memory_mb, max_pairs=max_pairs, parallel=parallel)
        if matrix is not None:
            files = write_influence_matrix(bits, matrix, options=options)
        elif fdr is not None:
            frame = influence_discoveries(
                bits.of_directions(direction), fdr=fdr, same_class=same_class, options=options
            )
        elif threshold is not None and (same_class or min_mem is not None):
            frame = influential_pairs(
                opened, bits.ratio, min_infl=threshold, min_mem=min_mem, same_class=same_class, options=options
            )
            if min_mem is not None:  # of all examples the jackknife would take long
                chosen = PairSelection(threshold, min_mem, same_class)
                quantities = pair_uniqueness(opened, bits.ratio, selection=chosen, options=options)
        elif threshold is not None:
            directed = bits.of_directions(direction)
            frame = pd.concat([influence_pairs(each, threshold=threshold, options=options) for each in directed])
            beside = _discoveries(bits, directed, options)
        else:
            directed = bits.of_directions(direction)
            frame = pd.concat([influence_top(each, top=top or _TOP, options=options) for each in directed])
    basis = one_ratio_text(opened, bits)
    if frame is None:
        size = f"{bits.labels.num_test:,} x {bits.labels.num_train:,} influences"
        say(f"{size} in {count_text(files, 'file')} in {matrix}, {basis}")
        return
    frame = with_names(frame.reset_index(drop=True), opened)
    if output is not None:
        write_frame(frame, output)
    _show(frame, basis, "" if threshold is not None or fdr is not None else _of_each(top or _TOP, direction, on))
    _warn_left_out(bits, "nan" if fdr is not None else options.empty_in_lists)
    if quantities is not None:
        _tell_uniqueness(quantities)
    elif on == "test" and (threshold is not None or fdr is not None):
        _tell_sides(frame)
    if beside:
        say(beside)
    if output is not None:
        say(f"pairs: {output}")
    if training_side is not None:
        write_frame(with_names(training_side_table(frame, bits.labels), opened), training_side)
        say(f"training side: {training_side}")


def _tell_sides(pairs: "pd.DataFrame") -> None:
    """How many test and training examples the pairs are of, and how many test examples are in one pair only."""
    from analysis.influence.pair_sides import pairs_per_test

    numbers = pairs_per_test(pairs)["training_examples"]
    tests = f"{count_text(len(numbers), 'test example')}, {(numbers == 1).sum():,} of them in one pair only"
    say(f"{tests}; {count_text(pairs['example_id'].nunique(), 'training example')}")


def _tell_uniqueness(quantities: "pd.DataFrame") -> None:
    """Print the numbers of pairs and of their examples with standard errors, from a frame of `pair_uniqueness`."""
    *rows, share = quantities.to_dict("records")
    pairs, tests, unique, train = (
        f"{row['value']:,.0f}" + ("" if row["se"] != row["se"] else f" ± {row['se']:.1f}") for row in rows
    )
    of = "" if share["value"] != share["value"] else f" ({share_text(share['value'])}"
    if share["low"] == share["low"]:
        of += f", 95% interval {share_text(share['low'])} to {share_text(share['high'])}"
    of += ")" if of else ""
    say(f"{pairs} pairs of {tests} test examples, {unique} of them in one pair only{of}, and {train} training examples")
    if (quantities["over"] == "runs").any():
        say("± standard errors over runs")


def _discoveries(bits: "RatioBits", directed: "list[RatioBits]", options: "PairOptions") -> str:
    """A number of pairs over a threshold says little where many are by chance: what is said beside it."""
    from analysis import TooManyPairsError, influence_discoveries

    of_all = f"of all {bits.labels.num_test * bits.labels.num_train:,} pairs"
    if bits.groups is not None:
        return f"{of_all}, none is tested: runs share subsets (subsets.replicates)"
    try:
        discoveries = influence_discoveries(directed, fdr=_FDR, options=options)
    except TooManyPairsError:
        return f"{of_all}, more than {options.max_pairs:,} are discoveries at a false discovery rate of {_FDR:g}"
    text = f"{of_all}, {len(discoveries):,} are discoveries at a false discovery rate of {_FDR:g}"
    return f"{text} (--fdr {_FDR:g} lists them)"


def _parallel(runner: Literal["local", "ray"], address: str | None, on_progress: ProgressCallback) -> "ParallelMap":
    from analysis.reading.parallel import Threads

    if runner == "local":
        return Threads(on_progress=on_progress)
    from orchestrator.runners.ray.parallel_map import RayParallelMap

    return RayParallelMap(address, on_progress=on_progress)


def _of_each(top: int, direction: "Direction", affected: "Split") -> str:
    """What a list is made of before it is ranked by evidence: a pair of less influence is not in it."""
    kinds = {"helpful": "largest", "harmful": "most negative", "both": "largest and the most negative"}
    kind = kinds[direction]
    example = "test example" if affected == "test" else "training example"
    return f", the {'one' if top == 1 else top} with the {kind} influence on each {example}"


def _show(frame: "pd.DataFrame", basis: str, selected: str) -> None:
    """The pairs whose intervals are farthest from 0: those of whose influence the runs are the best evidence."""
    shown = {name: column for name, column in _COLUMNS.items() if name in frame}
    table = TextTable(list(shown.values()), "-o FILE writes all")
    evidence = frame["low"].where(frame["infl"] >= 0, -frame["high"])
    for row in frame.loc[evidence.nlargest(_MAX_ROWS).index].to_dict("records"):
        table.add_row(*(_cell(row, name) for name in shown))
    show_table(table)
    which = f"; the {_MAX_ROWS} whose intervals are farthest from 0 are shown" if len(frame) > _MAX_ROWS else ""
    of = f"{count_text(len(frame), 'pair')} {basis}{selected}"
    say(f"{of}{which}; low to high is the 95% interval of one pair")


def _warn_left_out(bits: "RatioBits", empty: "Empty") -> None:
    """How many training examples have no influence that can be estimated."""
    unknown = int(((bits.n_in == 0) | (bits.n_in == bits.runs)).sum())
    if unknown and bits.runs and empty == "nan":
        say(f"left out: {count_text(unknown, 'training example')}, in every subset of these runs or in none")


def _cell(row: Mapping[Any, Any], name: str) -> object:
    """Ids and counts as they are; influences to three decimals, p and q to two digits."""
    if name.endswith("label"):
        return label_cell(row, name)
    if name.endswith("name"):
        return name_cell(row[name])
    if name in ("infl", "low", "high", "mem"):
        return cell(row[name])
    return f"{row[name]:.2g}" if name.endswith("value") and row[name] == row[name] else row[name]
