"""Planning: every missing run exactly once, whatever is committed."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaigns.pending import pending_shards
from tests.conftest import small_campaign
from workers.campaign.keys import Run, Shard


@given(
    repetitions=st.integers(1, 40),
    size=st.integers(1, 9),
    ranges=st.lists(st.tuples(st.sampled_from([200_000, 600_000]), st.integers(0, 39), st.integers(1, 9)), max_size=8),
)
def test_every_missing_run_is_planned_once(repetitions: int, size: int, ranges: list[tuple[int, int, int]]) -> None:
    campaign = small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": repetitions})
    committed = [Shard(ratio_ppm, start, start + length) for ratio_ppm, start, length in ranges]
    there = {run for shard in committed for run in shard.runs}
    requested = {Run(ratio_ppm, r) for ratio_ppm in (200_000, 600_000) for r in range(repetitions)}
    pending = pending_shards(campaign, committed, size)
    planned = [run for shard in pending for run in shard.runs]
    assert sorted(planned) == sorted(requested - there)
    assert all(shard.start // size == (shard.stop - 1) // size for shard in pending)


def test_ratios_advance_together_the_longest_first() -> None:
    campaign = small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 3})
    assert pending_shards(campaign, [], 2) == [
        Shard(600_000, 0, 2),
        Shard(200_000, 0, 2),
        Shard(600_000, 2, 3),
        Shard(200_000, 2, 3),
    ]


def test_extending_completes_a_block_and_goes_on() -> None:
    campaign = small_campaign(subsets={"ratios": [0.6], "repetitions": 9})
    assert pending_shards(campaign, [Shard(600_000, 0, 4), Shard(600_000, 4, 6)], 4) == [
        Shard(600_000, 6, 8),
        Shard(600_000, 8, 9),
    ]
