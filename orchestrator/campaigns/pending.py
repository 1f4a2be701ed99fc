"""Computes the shards left to train: requested minus committed."""

from collections.abc import Iterable

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard


def pending_shards(campaign: Campaign, committed: Iterable[Shard], shard_size: int) -> list[Shard]:
    """The shards that hold every requested and not yet committed run exactly once.

    A shard never crosses a multiple of `shard_size`, so that a run always has the same neighbours. All ratios advance
    together, so that estimates of an unfinished campaign are balanced; the longest of each round come first.
    """
    done: dict[int, set[int]] = {}
    for shard in committed:
        done.setdefault(shard.ratio_ppm, set()).update(range(shard.start, shard.stop))
    pending: list[Shard] = []
    for ratio_ppm in campaign.subsets.ratios_ppm:
        there = done.get(ratio_ppm, set())
        pending += shards_of(ratio_ppm, [r for r in range(campaign.subsets.repetitions) if r not in there], shard_size)
    return sorted(pending, key=lambda shard: (shard.start // shard_size, -shard.ratio_ppm, shard.start))


def shards_of(ratio_ppm: int, repetitions: Iterable[int], shard_size: int) -> list[Shard]:
    """Ascending repetitions as shards of consecutive ones; none crosses a multiple of `shard_size`."""
    shards: list[Shard] = []
    for repetition in repetitions:
        last = shards[-1] if shards else None
        if last is not None and last.stop == repetition and repetition % shard_size != 0:
            shards[-1] = Shard(ratio_ppm, last.start, repetition + 1)
        else:
            shards.append(Shard(ratio_ppm, repetition, repetition + 1))
    return shards
