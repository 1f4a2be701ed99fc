"""Text that states which runs a result is based on: `from 640 of 3,000 runs at ratio 0.7, 2 diverged left out`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from workers.campaign.campaign import PPM, ratio_to_ppm
from workers.campaign.keys import runs_by_ratio
from workers.campaign.plural import count_text
from workers.store import Store


class UsedRuns(Protocol):
    """The runs of one ratio that an estimate rests on."""

    @property
    def ratio_ppm(self) -> int:
        """Subset size in parts per million of the training set."""

    @property
    def runs(self) -> int:
        """Runs used."""

    @property
    def diverged(self) -> int:
        """Committed runs that are left out because they diverged."""


@dataclass(frozen=True)
class RunsAtRatio:
    """Runs that were used, where a command has no sums that tell them."""

    ratio_ppm: int
    runs: int
    diverged: int = 0


def committed_at_ratios(store: Store, ratio: float | None = None) -> list[RunsAtRatio]:
    """The committed runs, diverged ones among them, at one ratio or at each, ascending. One listing of the store."""
    chosen = None if ratio is None else ratio_to_ppm(ratio)
    runs = sorted(runs_by_ratio(store.shards()).items())
    return [RunsAtRatio(each, number) for each, number in runs if chosen in (None, each)]


def requested_runs(store: Store, ratio: float | None = None, *, held_out: bool = False) -> dict[int, int]:
    """Runs requested at one ratio or at each, by ratio in parts per million; `held_out`: only at ratios below 1."""
    chosen = None if ratio is None else ratio_to_ppm(ratio)
    targets = store.targets().items()
    return {each: number for each, number in targets if chosen in (None, each) and not (held_out and each == PPM)}


def runs_text(used: Iterable[UsedRuns], requested: Mapping[int, int]) -> str:
    """How many runs were used, and of how many where more are requested or committed: `640 of 3,000 runs`."""
    by_ratio = {counts.ratio_ppm: counts for counts in used}
    runs = sum(counts.runs for counts in by_ratio.values())
    committed = {ratio_ppm: counts.runs + counts.diverged for ratio_ppm, counts in by_ratio.items()}
    of = sum(max(requested.get(ratio_ppm, 0), committed.get(ratio_ppm, 0)) for ratio_ppm in {*requested, *committed})
    return f"{runs:,} of {count_text(of, 'run')}" if runs < of else count_text(runs, "run")


def one_ratio_text(store: Store, used: UsedRuns) -> str:
    """How many runs of a ratio were used, and of a store with several ratios which one: `from 60 runs at ratio 0.7`."""
    ratio = used.ratio_ppm / PPM
    several = len(committed_at_ratios(store)) > 1
    return f"from {runs_text([used], requested_runs(store, ratio))}" + (f" at ratio {ratio:g}" if several else "")


def runs_read_text(used: Iterable[UsedRuns], requested: Mapping[int, int]) -> str:
    """As `runs_text` with the ratio, or how many, and with the diverged runs that are left out."""
    ratios = list(used)
    diverged = sum(ratio.diverged for ratio in ratios)
    where = f"ratio {ratios[0].ratio_ppm / PPM:g}" if len(ratios) == 1 else f"{len(ratios)} ratios"
    left_out = f", {diverged:,} diverged left out" if diverged else ""
    return f"from {runs_text(ratios, requested)} at {where}{left_out}"
