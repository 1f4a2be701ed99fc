"""Stops a ratio's training once its estimates reach a standard error.

Ratios are trained in steps. The standard error is checked between steps: after 10 repetitions, then after a quarter
more each time. A check uses the first repetitions alone, whatever else is committed, so that a campaign stops at the
same number of runs with any number of workers and after any interruption. A step consists of whole shards; its runs
beyond a check's repetitions are used by the next check.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import count_first_runs, p90_expected_se
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Shard
from workers.errors import CampaignError
from workers.store import Store

_FIRST_CHECK = 10


@dataclass(frozen=True)
class StoppingCheck:
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

    `stopping_checks` holds the last check at each ratio (parts per million); `skipped` holds the pending shards of
    ratios that reached the target.
    """

    def __init__(self, campaign: Campaign, store: Store, target: float) -> None:
        self.campaign = campaign
        self.store = store
        self.target = target
        self.stopping_checks: dict[int, StoppingCheck] = {}
        self.skipped: list[Shard] = []
        self._stops: dict[int, int] = {}

    def steps(self, pending: Sequence[Shard]) -> Iterator[list[Shard]]:
        """What to train next, perhaps nothing; to be trained, as far as it can be, before the next step is requested.

        The targets in the store follow the steps: skipped runs are not requested, or not any more.
        """
        cap, size = self.campaign.subsets.repetitions, self.store.header.shard_size
        ratios, left = list(self.campaign.subsets.ratios_ppm), list(pending)
        for repetitions in check_points(cap):
            stop = min(cap, -(-repetitions // size) * size)
            self._add_target(ratios, stop)
            yield [shard for shard in left if shard.start < stop]
            left = [shard for shard in left if shard.start >= stop]
            self.stopping_checks |= {ratio_ppm: self._check(ratio_ppm, repetitions) for ratio_ppm in ratios}
            ratios = [ratio_ppm for ratio_ppm in ratios if not self.stopping_checks[ratio_ppm].reached]
            self.skipped += [shard for shard in left if shard.ratio_ppm not in ratios]
            left = [shard for shard in left if shard.ratio_ppm in ratios]
            if not ratios:
                break
        self._lower_targets()

    def _add_target(self, ratios: Sequence[int], repetitions: int, *, at_least: bool = True) -> None:
        requested = {"ratios": tuple(ratio_ppm / PPM for ratio_ppm in ratios), "repetitions": repetitions}
        self.store.add_target(self.campaign.subsets.model_copy(update=requested), at_least=at_least)
        self._stops |= dict.fromkeys(ratios, repetitions)

    @property
    def skipped_runs(self) -> int:
        """How many runs `skipped` holds."""
        return sum(shard.stop - shard.start for shard in self.skipped)

    def _lower_targets(self) -> None:
        """Lower a ratio's target to its last step where an earlier call requested more that was never trained."""
        targets, shards = self.store.targets(), self.store.shards()
        for ratio_ppm, stop in self._stops.copy().items():
            there = np.zeros(targets.get(ratio_ppm, 0), dtype=bool)
            for shard in shards:
                if shard.ratio_ppm == ratio_ppm:
                    there[shard.start : shard.stop] = True
            if self.stopping_checks[ratio_ppm].reached and not there[stop:].all():
                self._add_target([ratio_ppm], stop, at_least=False)

    def _check(self, ratio_ppm: int, repetitions: int) -> StoppingCheck:
        if ratio_ppm == PPM:
            return StoppingCheck(1.0, repetitions, None, reached=False)
        se = p90_expected_se(count_first_runs(self.store, ratio_ppm, repetitions))
        return StoppingCheck(ratio_ppm / PPM, repetitions, se, reached=se <= self.target)


def check_points(repetitions: int) -> Iterator[int]:
    """10, 13, 17, 22, ...: a quarter more each time, rounded up; the last is `repetitions` itself."""
    point = _FIRST_CHECK
    while point < repetitions:
        yield point
        point += -(-point // 4)
    yield repetitions


def check_has_se(campaign: Campaign) -> None:
    """Raise CampaignError where a campaign has no standard error of mem that a run could be ended by."""
    if campaign.subsets.design == "explicit":
        raise CampaignError("until_se: must be left out: explicit subsets are not random, so mem has no standard error")
    if campaign.subsets.replicates > 1:
        raise CampaignError("until_se: must be left out: standard errors of runs that share subsets are not planned")
