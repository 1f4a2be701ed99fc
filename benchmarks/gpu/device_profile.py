"""Where a device's time goes while stacks train: shares by kind of kernel, host gaps, and the floor beside them.

The profile is that of `Engine.train` on two stacks: initial weights, capture, training and evaluation included.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import kinds
from benchmarks.gpu.floor import DeviceRates, measure_rates, model_work, wait
from benchmarks.gpu.journal import Values
from orchestrator.campaigns.execution_plan import plan_execution
from orchestrator.campaigns.preflight import check_campaign_fits, make_header
from orchestrator.runners.local import LocalRunner
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import steps_per_epoch
from workers.datasets import Dataset, load_dataset
from workers.subsets.draw import subset_size
from workers.training.device_data import load_on_device
from workers.training.shard import choose_engine

_STACKS = 2
_KERNELS = 20
"""Those that take longest are kept in the file of rows."""


@dataclass(frozen=True)
class Spent:
    """Seconds of the wall clock, and of the device by kind; `by_name` of the kernels that take longest."""

    wall: float
    busy: float
    by_kind: dict[str, float]
    by_name: dict[str, float]

    def lines(self) -> list[str]:
        """Five lines: shares of the wall time."""
        share = {kind: seconds / self.wall for kind, seconds in self.by_kind.items()}
        pairs = [
            *((kind, share.get(kind, 0.0)) for kind in (kinds.PRODUCTS, kinds.CONVOLUTIONS, kinds.NORMALISATION)),
            (kinds.OPTIMISER, share.get(kinds.OPTIMISER, 0.0)),
        ]
        copies, other = (share.get(kind, 0.0) for kind in (kinds.COPIES, kinds.OTHER))
        gaps = 1 - self.busy / self.wall
        last = f"{kinds.COPIES} {copies:.1%}, {kinds.OTHER} {other:.1%}, host gaps {gaps:.1%}"
        return [*(f"{kind} {value:.1%}" for kind, value in pairs), last]


def profile_campaign(campaign: Campaign, device: str) -> Values:
    """Train two stacks of a campaign at its first ratio under PyTorch's profiler."""
    where = torch.device(device)
    dataset = load_dataset(campaign.dataset)
    runner = LocalRunner(device)
    facts = check_campaign_fits(campaign, dataset)
    plan = plan_execution(campaign, dataset, facts, runner.machine(), fastest=runner.fastest_stack)
    header = make_header(campaign, dataset, **plan.header_fields())
    engine = choose_engine(campaign, header, dataset.input_shape, where)
    data = load_on_device(dataset, campaign, dataset.train_labels, where)
    runs = [Run(campaign.subsets.ratios_ppm[0], number) for number in range(_STACKS * engine.size)]
    activity = ProfilerActivity.CUDA if where.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        started = time.perf_counter()
        engine.train(campaign, data, runs)
        wait(where)
        wall = time.perf_counter() - started
    spent = _spent(profiler.events() or [], wall, on_cpu=where.type == "cpu")
    rates = measure_rates(where, plan.precision)
    floor = floor_seconds(campaign, dataset, plan.precision, rates) * len(runs)
    return {
        "stack": engine.size,
        "program": str(header.program),
        "precision": plan.precision,
        "s per model": wall / len(runs),
        "device busy": f"{spent.busy / wall:.1%}",
        "floor s per model": floor / len(runs),
        "times the floor": wall / floor,
        "TFLOP/s": rates.products / 1e12,
        "TB/s": rates.memory / 1e12,
        "_lines": spent.lines(),
        "_kernels": spent.by_name,
    }


def floor_seconds(campaign: Campaign, dataset: Dataset, precision: Any, rates: DeviceRates) -> float:
    """The floor of one run at the campaign's first ratio."""
    recipe = campaign.recipe
    work = model_work(campaign, dataset.input_shape, dataset.num_classes, precision)
    steps = recipe.epochs * steps_per_epoch(recipe, subset_size(campaign.subsets.ratios_ppm[0], dataset.num_train))
    evaluated = len(campaign.recorded_epochs()) * (dataset.num_train + dataset.num_test)
    evaluation = work.evaluation(evaluated, 2 if recipe.evaluation_flip else 1)
    return steps * work.step(recipe.batch_size).seconds(rates) + evaluation.seconds(rates)


def _spent(events: Sequence[Any], wall: float, *, on_cpu: bool) -> Spent:
    """The profiler's times are in microseconds. On a CPU the operators' own times, without those that they call."""
    names: defaultdict[str, float] = defaultdict(float)
    intervals = []
    for event in events:
        if on_cpu:
            names[event.name] += event.self_cpu_time_total / 1e6
        elif event.device_type.name == "CUDA":
            names[event.name] += event.time_range.elapsed_us() / 1e6
            intervals.append((event.time_range.start / 1e6, event.time_range.end / 1e6))
    by_kind: defaultdict[str, float] = defaultdict(float)
    for name, seconds in names.items():
        by_kind[kinds.kind_of(name)] += seconds
    busy = min(wall, sum(names.values())) if on_cpu else kinds.busy_time(intervals)
    longest = sorted(names.items(), key=itemgetter(1), reverse=True)[:_KERNELS]
    return Spent(wall, busy, dict(by_kind), {name[:200]: round(seconds, 6) for name, seconds in longest})
