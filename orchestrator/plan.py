"""What a campaign would train, shown before it is trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.arrangement import Arrangement, arrange
from orchestrator.prepare import check_campaign_fits, make_header
from orchestrator.shards import pending_shards
from workers.campaign import PARTS, Campaign
from workers.datasets import load_dataset
from workers.machine import Machine
from workers.runs import Shard
from workers.store import Store
from workers.subsets import subset_size

_FILE_BYTES = 5_500
"""What a results file takes beside its vectors: schema, keys, statistics."""


@dataclass(frozen=True)
class RatioPlan:
    """Runs of one ratio; `largest_se` is the largest standard error that mem can have, None at ratio 1."""

    ratio: float
    subset_size: int
    runs: int
    committed: int
    largest_se: float | None


@dataclass(frozen=True)
class Plan:
    """What a campaign would train, and how much room its results take."""

    ratios: tuple[RatioPlan, ...]
    arrangement: Arrangement
    pending_shards: int
    store_bytes: int

    @property
    def pending_runs(self) -> int:
        """Runs that are not committed yet."""
        return sum(ratio.runs - ratio.committed for ratio in self.ratios)


def plan_campaign(campaign: Campaign, machine: Machine, store_uri: str | None = None) -> Plan:
    """Plan a campaign, less what a store holds already (none: nothing, and a store that does not exist is empty).

    A new store's arrangement is for workers like `machine`.

    Raises CampaignError, DataError; StoreMismatchError where the store is another campaign's.
    """
    dataset = load_dataset(campaign.dataset)
    facts = check_campaign_fits(campaign, dataset)
    committed: list[Shard] = []
    if store_uri is not None and Store.exists(store_uri):
        store = Store.open(store_uri)
        store.header.check_same(make_header(campaign, dataset), store.uri)
        arrangement = Arrangement(store.header.shard_size, store.header.stack_size, store.header.precision)
        committed = store.shards()
    else:
        arrangement = arrange(campaign, dataset, facts, machine)
    pending = pending_shards(campaign, committed, arrangement.shard_size)
    runs = campaign.subsets.repetitions * len(campaign.subsets.ratios)
    row_bytes = (2 * dataset.num_train + dataset.num_test) // 8 + 2 * dataset.num_test * campaign.record.margins
    return Plan(
        ratios=tuple(_ratio_plan(campaign, parts, dataset.num_train, pending) for parts in campaign.subsets.parts),
        arrangement=arrangement,
        pending_shards=len(pending),
        store_bytes=runs * len(campaign.recorded_epochs()) * row_bytes
        + -(-runs // arrangement.shard_size) * _FILE_BYTES,
    )


def _ratio_plan(campaign: Campaign, parts: int, num_train: int, pending: Iterable[Shard]) -> RatioPlan:
    ratio, runs = parts / PARTS, campaign.subsets.repetitions
    left = sum(shard.stop - shard.start for shard in pending if shard.parts == parts)
    # Both means at 1/2, where their variance is largest; |A| = ratio x runs on average.
    largest = math.sqrt(0.25 / (ratio * runs) + 0.25 / ((1 - ratio) * runs)) if ratio < 1 else None
    return RatioPlan(ratio, subset_size(parts, num_train), runs, runs - left, largest)
