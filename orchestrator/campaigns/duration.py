"""Estimates the time of the remaining runs, from the runs in the store or from a calibration."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from orchestrator.campaigns.plan import Plan
from orchestrator.campaigns.preflight import make_header
from orchestrator.campaigns.run_work import forward_passes, measured_share
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.campaign.plural import count_text
from workers.datasets import load_dataset
from workers.store import Store
from workers.subsets.draw import subset_size
from workers.training.loop import device_name
from workers.training.probes.cost import probe_passes
from workers.training.run_timing import time_runs
from workers.training.shard import choose_engine


@dataclass(frozen=True)
class Pace:
    """Seconds of a run at each ratio (parts per million) on a device, and what they were taken from."""

    seconds: Mapping[int, float]
    device: str
    source: str


@dataclass(frozen=True)
class Duration:
    """Seconds that all workers spend on training and evaluation together, and from the first one's start to the end."""

    worker_seconds: float
    wall_seconds: float


def recorded_pace(campaign: Campaign, store: Store) -> Pace | None:
    """The pace of a store's runs on the device that trained most of them; None where there is no run.

    The median of a ratio's runs; for a ratio without runs, theirs in proportion to the examples trained on and
    evaluated. Raises DamagedFileError.
    """
    taken: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for shard, table in store.scan(["is_final", "seconds", "device"]):
        for row in table.to_pylist():
            if row["is_final"]:
                taken[row["device"]][shard.ratio_ppm].append(row["seconds"])
    if not taken:
        return None
    counts = Counter({device: sum(map(len, ratios.values())) for device, ratios in taken.items()})
    ((device, runs),) = counts.most_common(1)
    known = {ratio_ppm: median(seconds) for ratio_ppm, seconds in taken[device].items()}
    ratios = {*known, *campaign.subsets.ratios_ppm}
    work = {ratio_ppm: forward_passes(campaign, ratio_ppm, store.header) for ratio_ppm in ratios}
    rate = sum(known.values()) / sum(work[ratio_ppm] for ratio_ppm in known)
    seconds = {ratio_ppm: known.get(ratio_ppm, rate * work[ratio_ppm]) for ratio_ppm in campaign.subsets.ratios_ppm}
    return Pace(seconds, device, f"the {count_text(runs, 'run')} in the store")


def calibrated_pace(plan: Plan, device: torch.device) -> Pace:
    """The pace of this machine, by training for some seconds.

    Raises DataError; what a model of the user's own raises passes through.
    """
    campaign, execution = plan.campaign, plan.execution_plan
    dataset = load_dataset(campaign.dataset)
    header = make_header(campaign, dataset, **execution.header_fields())
    times = time_runs(campaign, dataset, choose_engine(campaign, header, dataset.input_shape, device), device)
    examples = dataset.num_train + dataset.num_test
    sizes = {ratio_ppm: subset_size(ratio_ppm, dataset.num_train) for ratio_ppm in campaign.subsets.ratios_ppm}
    layers = 0 if header.probes is None else len(header.probes.layers)
    seconds = {
        ratio_ppm: times.of_run(campaign, size, examples)
        + measured_share(campaign) * probe_passes(campaign, layers, size, examples) * times.evaluation
        for ratio_ppm, size in sizes.items()
    }
    return Pace(seconds, device_name(device), "a calibration")


def estimate_duration(pending: Sequence[Shard], pace: Pace, stack_size: int, workers: int) -> Duration:
    """How long shards take, given to `workers` in their order, each to the first that is free.

    Stacks are trained whole, also where only some of their runs are requested. Workers are taken to be as fast together
    as the pace says; their start and the reading of data are left out.
    """
    free = [0.0] * min(workers, max(1, len(pending)))
    total = 0.0
    for shard in pending:
        stacks = -(-shard.stop // stack_size) - shard.start // stack_size
        seconds = stacks * stack_size * pace.seconds[shard.ratio_ppm]
        total += seconds
        heapq.heapreplace(free, free[0] + seconds)
    return Duration(total, max(free))
