"""Stops a ratio's training once its estimates reach a standard error.

Ratios are trained in steps, and looked at between them, after 10 repetitions, then after a quarter more each time. A
look rests on those first repetitions alone, whatever else is committed, so that a campaign stops at the same number of
runs with any number of workers and after any interruption. A step is made of whole shards: what it holds beyond the
look's repetitions is trained already at the next look.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import count_first_runs, most_examples_se
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Shard
from workers.errors import CampaignError
from workers.store import Store

_FIRST_LOOK = 10


@dataclass(frozen=True)
class Look:
    """The expected standard error of mem that 90% of the examples do not exceed after the first `repetitions`.

    `se` is infinite where too many examples have no run with them, or none without; None at ratio 1, where there is no
    mem.
    """

    ratio: float
    repetitions: int
    se: float | None
    reached: bool


class UntilSe:
    """A campaign's pending shards in steps, until every ratio has reached a standard error or has no more runs.

    `looks` holds the last look at each ratio (parts per million); `spared` are the pending shards that a ratio was
    spared by reaching the target.
    """

    def __init__(self, campaign: Campaign, store: Store, target: float) -> None:
        self.campaign = campaign
        self.store = store
        self.target = target
        self.looks: dict[int, Look] = {}
        self.spared: list[Shard] = []
        self._stops: dict[int, int] = {}

    def steps(self, pending: Sequence[Shard]) -> Iterator[list[Shard]]:
        """What to train next, perhaps nothing; to be trained, as far as it can be, before the next step is requested.

        The store aims at what the steps hold: what a ratio is spared is not requested, or not any more.
        """
        cap, size = self.campaign.subsets.repetitions, self.store.header.shard_size
        ratios, left = list(self.campaign.subsets.ratios_ppm), list(pending)
        for repetitions in looks_until(cap):
            stop = min(cap, -(-repetitions // size) * size)
            self._add_target(ratios, stop)
            yield [shard for shard in left if shard.start < stop]
            left = [shard for shard in left if shard.start >= stop]
            self.looks |= {ratio_ppm: self._look(ratio_ppm, repetitions) for ratio_ppm in ratios}
            ratios = [ratio_ppm for ratio_ppm in ratios if not self.looks[ratio_ppm].reached]
            self.spared += [shard for shard in left if shard.ratio_ppm not in ratios]
            left = [shard for shard in left if shard.ratio_ppm in ratios]
            if not ratios:
                break
        self._take_back()

    def _add_target(self, ratios: Sequence[int], repetitions: int, *, at_least: bool = True) -> None:
        asked = {"ratios": tuple(ratio_ppm / PPM for ratio_ppm in ratios), "repetitions": repetitions}
        self.store.add_target(self.campaign.subsets.model_copy(update=asked), at_least=at_least)
        self._stops |= dict.fromkeys(ratios, repetitions)

    @property
    def spared_runs(self) -> int:
        """How many runs `spared` holds."""
        return sum(shard.stop - shard.start for shard in self.spared)

    def _take_back(self) -> None:
        """Ask for no more than the steps held where an earlier call requested more that was never trained."""
        targets, shards = self.store.targets(), self.store.shards()
        for ratio_ppm, stop in self._stops.copy().items():
            there = np.zeros(targets.get(ratio_ppm, 0), dtype=bool)
            for shard in shards:
                if shard.ratio_ppm == ratio_ppm:
                    there[shard.start : shard.stop] = True
            if self.looks[ratio_ppm].reached and not there[stop:].all():
                self._add_target([ratio_ppm], stop, at_least=False)

    def _look(self, ratio_ppm: int, repetitions: int) -> Look:
        if ratio_ppm == PPM:
            return Look(1.0, repetitions, None, reached=False)
        se = most_examples_se(count_first_runs(self.store, ratio_ppm, repetitions))
        return Look(ratio_ppm / PPM, repetitions, se, reached=se <= self.target)


def looks_until(repetitions: int) -> Iterator[int]:
    """10, 13, 17, 22, ...: a quarter more each time, rounded up; the last is `repetitions` itself."""
    look = _FIRST_LOOK
    while look < repetitions:
        yield look
        look += -(-look // 4)
    yield repetitions


def check_has_se(campaign: Campaign) -> None:
    """Raise CampaignError where a campaign has no standard error of mem that a run could be ended by."""
    if campaign.subsets.design == "explicit":
        raise CampaignError("until_se: must be left out: explicit subsets are not random, so mem has no standard error")
