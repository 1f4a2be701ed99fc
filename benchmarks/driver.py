"""What the driver costs: shards that train nothing, sent to workers on a Ray cluster of this machine.

    python -m benchmarks.driver --shards 10000 --workers 2

Prints shards per second from the first one sent, and the driver's memory on the way.
"""

import argparse
import os
import time
from collections.abc import Iterator

import ray

from orchestrator.dispatch import Dispatch
from orchestrator.presets import preset_text
from orchestrator.ray_cluster import connect
from orchestrator.ray_pool import Pool
from orchestrator.ray_runner import drive
from orchestrator.ray_worker import WorkerActor
from orchestrator.runner import Job
from workers.campaign_file import parse_campaign
from workers.runs import Shard
from workers.shard import ShardSummary

_MIB = 2**20


class EmptyWorker(WorkerActor):
    """Ready at once, and done with every shard at once."""

    def load(self) -> tuple[str, str, str | None]:
        """See `WorkerActor.load`."""
        return ray.get_runtime_context().get_node_id(), "nothing", None

    def attempt(self, shard: Shard) -> ShardSummary:
        """See `WorkerActor.attempt`."""
        return ShardSummary(shard, diverged=0)


def memory() -> int:
    """This process's resident bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled(shards: int, workers: int) -> Iterator[float]:
    """The time at which each shard was settled."""
    job = Job(parse_campaign(preset_text("digits"), "digits"), "nowhere")
    pool = Pool(job, 0, "cpu", workers, EmptyWorker)
    try:
        for outcome in drive(pool, Dispatch([Shard(500_000, index, index + 1) for index in range(shards)])):
            if isinstance(outcome, ShardSummary):
                yield time.perf_counter()
    finally:
        pool.close()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    connect(None, given.workers, None)
    for repeat in range(given.repeats):
        times, marks = [], []
        for moment in settled(given.shards, given.workers):
            times.append(moment)
            if len(times) in (given.shards // 10, given.shards):
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
