"""Command that plans a campaign: plan."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from orchestrator.cli.options import CampaignPath, RepetitionsOption, TargetSeOption
from orchestrator.cli.output import say, show_data, show_table, warn
from orchestrator.cli.text_table import ABSENT, TableColumn, TextTable
from workers.campaign.plural import count_text, range_text
from workers.common.durations import UNITS, in_largest_unit

if TYPE_CHECKING:
    from orchestrator.campaigns.duration import Duration, Pace
    from orchestrator.campaigns.plan import Plan
    from workers.training import Precision
    from workers.training.hardware import Machine


def plan(
    campaign: CampaignPath,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", help="Existing store: its runs are subtracted, and used to estimate time and precision."
        ),
    ] = None,
    repetitions: RepetitionsOption = None,
    target_se: TargetSeOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Train for some seconds to estimate the time, if the store has no runs.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=100_000,
            help="Number of workers to estimate the time for; default: those of longtail run on this machine.",
        ),
    ] = None,
) -> None:
    """Show what a campaign would train, the expected precision of memorization, and where and how long it would train.

    Example: longtail plan campaign.yaml --store STORE --calibrate
    """
    from orchestrator.campaigns.plan import plan_campaign
    from orchestrator.runners.local import LocalRunner
    from workers.campaign.yaml_io import read_campaign, with_repetitions

    parsed, runner = with_repetitions(read_campaign(campaign), repetitions), LocalRunner()
    machine = runner.machine()
    planned = plan_campaign(parsed, machine, store, runner.fastest_stack if calibrate else None, show_data)
    _show_ratios(planned)
    if target_se is not None:
        _show_runs_needed(planned, target_se)
    _show_execution_plan(planned)
    _show_memory(planned, machine)
    if planned.execution_plan.precision == "float32" and machine.device == "cuda":
        _show_cost_of_float32(runner.device)
    for note in planned.notes:
        warn(f"note: {note}")
    if planned.pending:
        _show_duration(planned, store, runner.device, calibrate, workers)


def _show_ratios(planned: "Plan") -> None:
    columns = ("ratio", 0), ("subset", 4), ("runs", 0), ("committed", 3), ("to train", 0), ("planned largest se", 1)
    errors = ("bound", 5), ("planned median se", 2), ("planned 90% se", 1)
    table = TextTable([TableColumn(*column) for column in (*columns, *errors)])
    for row in planned.ratios:
        cells: list[object] = [f"{row.ratio:g}", row.subset_size, row.runs, row.committed, row.runs - row.committed]
        cells += [_number(column) for column in (row.largest_se, row.bound, row.median_se, row.p90_se)]
        table.add_row(*cells)
    show_table(table)
    if not planned.campaign.subsets.independent:
        say(f"no planned standard errors of mem: {_why_not_planned(planned)}")
        return
    say("planned standard errors of mem: worst case over examples; Feldman & Zhang's bound on the error;")
    pilots = [row.pilot.runs for row in planned.ratios if row.pilot]
    say(
        f"median and 90th percentile, based on {range_text(min(pilots), max(pilots), 'run')} per ratio in the store"
        if pilots
        else "median and 90th percentile: require a store with runs (--store)"
    )


def _show_runs_needed(planned: "Plan", target: float) -> None:
    rows = [row for row in planned.ratios if row.ratio < 1 and row.independent]
    if not rows:
        why = "at ratio 1 there is no mem: no example is held out"
        say(why if planned.campaign.subsets.independent else f"no planned runs: {_why_not_planned(planned)}")
        return
    columns = ("ratio", 0), (f"runs for {target:g}: 90% of examples", 0), ("range", 1), ("worst case", 0)
    table = TextTable([TableColumn(*column) for column in columns])
    for row in rows:
        limits = row.range_for_p90(target)
        cells = (row.runs_for_p90(target) or None, f"{limits[0]} to {limits[1]}" if limits else None)
        table.add_row(f"{row.ratio:g}", *cells, row.runs_for_all(target))
    show_table(table)
    most = [row.runs_for_p90(target) for row in rows]
    if all(most):
        say(f"at every ratio: {_repetitions(most)} for 90% of the examples, based on the runs in the store")
    say(
        f"at every ratio: {_repetitions([row.runs_for_all(target) for row in rows])} for all examples in the worst case"
    )


def _repetitions(runs: "Iterable[int | None]") -> str:
    from workers.campaign.campaign import MAX_REPETITIONS

    needed = max(run for run in runs if run is not None)
    return (
        f"--repetitions {needed}"
        if needed <= MAX_REPETITIONS
        else f"{count_text(needed, 'run')} (more than a campaign can have)"
    )


def _show_execution_plan(planned: "Plan") -> None:
    from workers.store.stack_program import GROUPED

    execution = planned.execution_plan
    together = f"{execution.stack_size} at a time" if execution.stack_size > 1 else "one at a time"
    reason = f" ({execution.unstackable_reason})" if execution.unstackable_reason else ""
    program = "" if execution.program == GROUPED else f", {execution.program}"
    say(f"models train {together}{program}, {execution.precision}{reason}")
    shards = f"{count_text(len(planned.pending), 'shard')} of up to {execution.shard_size}"
    text = f"{count_text(planned.pending_runs, 'run')} to train in {shards}; "
    say(text + f"the results will take about {filesize.decimal(planned.store_bytes)} before compression")


def _show_memory(planned: "Plan", machine: "Machine") -> None:
    """Memory of a model, of a stack and of the data, beside the device's."""
    from orchestrator.campaigns.memory_check import memory_text, parts_text

    needs, stack = planned.memory, planned.execution_plan.stack_size
    stacked = f"; {count_text(stack, 'model')} {filesize.decimal(stack * needs.total)}" if stack > 1 else ""
    text = f"memory in training: one model {filesize.decimal(needs.total)} ({parts_text(needs)}){stacked}"
    there = f"; {memory_text(machine)}" if machine.memory else ""
    say(f"{text}; data {filesize.decimal(planned.data_bytes)}{there}")


def _show_cost_of_float32(device: str) -> None:
    """What exact products cost on this GPU."""
    import torch

    from workers.training.product_times import product_times

    say(cost_of_float32(product_times(torch.device(device))))


def cost_of_float32(seconds: "Mapping[Precision, float]") -> str:
    """A line that compares exact products with those in the other precisions of a GPU."""
    others = [
        f"{seconds['float32'] / taken:.1f} times as long as in {precision}"
        for precision, taken in seconds.items()
        if precision != "float32"
    ]
    return f"float32 is exact: on this GPU matrix products take {' and '.join(others)} (recipe.precision)"


def _show_duration(planned: "Plan", store: str | None, device: str, calibrate: bool, workers: int | None) -> None:
    """Where `longtail run` trains on this machine, and how long it takes; without a store's runs as calibrated."""
    import torch

    from orchestrator.campaigns.duration import calibrated_pace, estimate_duration, recorded_pace
    from orchestrator.runners.placement_choice import choose_placement
    from workers.store import Store
    from workers.training.loop import device_name

    here, stack = torch.device(device), planned.execution_plan.stack_size
    pace = recorded_pace(planned.campaign, Store.open(store)) if store is not None and Store.exists(store) else None
    if pace is None and calibrate:
        pace = calibrated_pace(planned, here)
    known = pace is not None and pace.device == device_name(here)
    seconds = estimate_duration(planned.pending, pace, stack, 1).worker_seconds if pace is not None and known else None
    choice = choose_placement(here.type, len(planned.pending), planned.operations, seconds)
    say(f"longtail run trains {choice.text}")
    if pace is None:
        say("no time estimate: --calibrate measures it")
        return
    workers = workers or choice.workers
    say(_duration_line(pace, estimate_duration(planned.pending, pace, stack, workers), workers))


def _duration_line(pace: "Pace", duration: "Duration", workers: int) -> str:
    hours = {unit: UNITS[unit] for unit in ("hours", "minutes")}
    work, work_unit = in_largest_unit(duration.worker_seconds, hours)
    wall, wall_unit = in_largest_unit(duration.wall_seconds)
    processor = "core" if pace.device == "cpu" else "GPU"
    team = count_text(workers, "worker")
    based = f"(based on {pace.source}, {pace.device})"
    return f"about {work:,.1f} {processor}-{work_unit}: {wall:,.1f} {wall_unit} with {team} {based}"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _why_not_planned(planned: "Plan") -> str:
    """Of a campaign whose runs are not independent."""
    if planned.campaign.subsets.replicates > 1:
        return "runs that share subsets are not independent; longtail estimate will have their standard errors"
    return "explicit subsets are not random; longtail removal will show test accuracy"
