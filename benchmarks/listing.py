"""Time to list, plan, show, verify and compact a store of very many shards.

    python -m benchmarks.listing
    python -m benchmarks.listing --shards 100000 --runs 8 --status --compact

Listing and planning see names alone, so the files are empty for them. `--status` and `--compact` read every file: they
get random runs, which takes minutes to write.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from orchestrator.campaigns.committed_runs import check_committed_runs
from orchestrator.campaigns.pending import pending_shards
from orchestrator.store_ops.compact import compact_store
from orchestrator.store_ops.status import campaign_status
from workers.campaign.campaign import Campaign, Subsets
from workers.campaign.keys import Run, Shard
from workers.campaign.recipe import Recipe
from workers.store import EpochRecord, Header, RunResult, Store, examples_table

NUM_TRAIN, NUM_TEST = 1437, 360
"""As digits: small vectors, so that what is measured is the cost of files."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=8, help="runs in a shard")
    parser.add_argument("--status", action="store_true", help="also `longtail status`, with real files")
    parser.add_argument("--compact", action="store_true", help="then `longtail compact`, and status again")
    options = parser.parse_args()
    real = options.status or options.compact
    table = Table("step", "seconds", title=f"{options.shards} shards of {options.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(
            recipe=Recipe(epochs=1, batch_size=8),
            subsets=Subsets(ratios=(0.3, 0.7), repetitions=(options.shards // 2 + 1) * options.runs),
        )
        store, shards = make_store(Path(folder) / "store", campaign, options.runs, real)
        listed: list[Shard] = []
        with timed(table, "list (Store.shards)"):
            listed += store.shards()
        with timed(table, "plan the rest (pending_shards)"):
            pending = pending_shards(campaign, listed, options.runs)
        if listed != shards or sum(shard.stop - shard.start for shard in pending) != options.runs:
            raise SystemExit("the listing or the plan is not what it should be")
        steps: list[tuple[str, Callable[[], object]]] = []
        if options.status:
            everything = {
                ratio_ppm: np.ones(campaign.subsets.repetitions, dtype=bool)
                for ratio_ppm in campaign.subsets.ratios_ppm
            }
            steps += [("status", lambda: campaign_status(store.uri))]
            steps += [("check every file, as `run` does at its end", lambda: check_committed_runs(store, everything))]
        if options.compact:
            steps += [("compact", lambda: compact_store(store.uri, grace=0))]
            steps += [("status after it", lambda: campaign_status(store.uri))]
        for name, step in steps:
            with timed(table, name):
                step()
    Console().print(table)


@contextmanager
def timed(table: Table, name: str) -> Iterator[None]:
    """A row with the time that the block takes."""
    start = time.perf_counter()
    yield
    table.add_row(name, f"{time.perf_counter() - start:.2f}")


def make_store(path: Path, campaign: Campaign, runs: int, real: bool) -> tuple[Store, list[Shard]]:
    """A campaign's store, which lacks the last shard alone, and its committed shards, ascending."""
    header = Header(
        identity=campaign.identity("5" * 64),
        fingerprint="5" * 64,
        dataset="listing",
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        class_names=("0",),
        shard_size=runs,
        campaign=campaign,
        versions={},
    )
    labels = np.zeros(NUM_TRAIN, np.int64)
    store = Store.create(path, header, examples_table(labels, labels, np.zeros(NUM_TEST, np.int64)))
    last = campaign.subsets.repetitions
    shards = [Shard(300_000, start, start + runs) for start in range(0, last, runs)]
    shards += [Shard(700_000, start, start + runs) for start in range(0, last - runs, runs)]
    random = np.random.default_rng(0)
    (path / "results").mkdir(exist_ok=True)
    for shard in shards:
        if real:
            store.commit(shard, [_result(run, random) for run in shard.runs])
        else:
            (path / "results" / f"{shard.shard_id}.parquet").touch()
    return store, shards


def _result(run: Run, random: np.random.Generator) -> RunResult:
    subset, train = random.random((2, NUM_TRAIN)) < 0.5
    return RunResult(run, subset, [EpochRecord(1, train, random.random(NUM_TEST) < 0.5, 1.0)], "completed", 1.0, "cpu")


if __name__ == "__main__":
    main()
