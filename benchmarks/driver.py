"""Overhead of the driver: shards that train nothing, sent to workers on a Ray cluster of this machine.

    python -m benchmarks.driver --shards 10000 --workers 2
    python -m benchmarks.driver --simulate --shards 100000 --workers 4000

Prints shards per second from the first one sent, and the driver's memory on the way. With `--simulate` there is no Ray
either: the driver's loop and its decisions, for workers that exist as times only, to the end of the campaign.
"""

import argparse
import os
import resource
import time
from collections.abc import Iterator

import ray

from benchmarks.simulated_pool import SimulatedPool
from orchestrator.presets import preset_text
from orchestrator.runners.base import FailedShard, Job
from orchestrator.runners.ray.cluster import connect
from orchestrator.runners.ray.pool import Pool
from orchestrator.runners.ray.runner import drive
from orchestrator.runners.ray.worker_actor import LoadProblem, WorkerActor
from orchestrator.runners.scheduler import Scheduler
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import parse_campaign
from workers.training.shard import ShardSummary

_MIB = 2**20


class EmptyWorker(WorkerActor):
    """Ready at once, and done with every shard at once."""

    def load(self) -> tuple[str, str, LoadProblem | None]:
        """See `WorkerActor.load`."""
        return ray.get_runtime_context().get_node_id(), "nothing", None

    def attempt(self, shard: Shard) -> ShardSummary:
        """See `WorkerActor.attempt`."""
        return ShardSummary(shard, diverged=0)


def memory() -> int:
    """This process's resident bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def finish_times(shards: int, workers: int) -> Iterator[float]:
    """The time at which each shard was finished."""
    job = Job(parse_campaign(preset_text("digits"), "digits"), "nowhere")
    pool = Pool(job, 0, "cpu", workers, EmptyWorker)
    try:
        for outcome in drive(pool, Scheduler([Shard(500_000, index, index + 1) for index in range(shards)])):
            if isinstance(outcome, ShardSummary):
                yield time.perf_counter()
    finally:
        pool.close()


def simulate(shards: int, workers: int) -> str:
    """Drive a campaign on simulated workers to its end; what it cost."""
    pool = SimulatedPool(workers)
    sizes = (700_000, 500_000, 300_000)
    queue = [Shard(sizes[i % 3], 8 * (i // 3), 8 * (i // 3) + 8) for i in range(shards)]
    scheduler = Scheduler(queue, lambda: pool.now)
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done, last = 0, (0.0, 0.0, 0)
    for outcome in drive(pool, scheduler):
        if isinstance(outcome, FailedShard):
            raise RuntimeError(f"given up: {outcome.error.message}")
        done += isinstance(outcome, ShardSummary)
        if scheduler.running == scheduler.unfinished and not last[2]:  # nothing waits any more: stragglers from here on
            last = (time.perf_counter(), pool.now, pool.sent)
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if done != shards or scheduler.unfinished:
        raise RuntimeError(f"{done} of {shards} shards were finished")
    return (
        f"{pool.sent} assignments of {shards} shards to {workers} simulated workers in {ended - begun:.1f} s: "
        f"{pool.sent / (ended - begun):.0f} assignments/s, {after / 2**10:.0f} MiB at most "
        f"({(after - before) / 2**10:+.0f}); the end without a queue: {pool.sent - last[2]} assignments in "
        f"{ended - last[0]:.1f} s, {pool.now - last[1]:.0f} of {pool.now:.0f} s of the campaign; "
        f"{pool.lost} workers died"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--simulate", action="store_true", help="without Ray")
    args = parser.parse_args()
    if args.simulate:
        for repeat in range(args.repeats):
            print(f"repeat {repeat + 1}: {simulate(args.shards, args.workers)}")
        return
    connect(None, args.workers, None)
    for repeat in range(args.repeats):
        times, marks = [], []
        for moment in finish_times(args.shards, args.workers):
            times.append(moment)
            if len(times) in (args.shards // 10, args.shards):
                marks.append(memory())
        rate = (len(times) - 1) / (times[-1] - times[0])
        grown = (marks[1] - marks[0]) / _MIB
        print(
            f"repeat {repeat + 1}: {rate:.0f} shards/s; driver {marks[0] / _MIB:.0f} MiB after a tenth, "
            f"{grown:+.1f} MiB from there to the end"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
