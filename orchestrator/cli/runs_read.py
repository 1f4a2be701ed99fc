"""What a result rests on, in words: `from 640 of 3,000 runs at ratio 0.7, 2 diverged left out`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.campaigns.committed_runs import runs_by_ratio
from workers.campaign.campaign import PPM, ratio_to_ppm
from workers.campaign.plural import count_text

if TYPE_CHECKING:
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
class CommittedAtRatio:
    """The committed runs of a ratio, diverged ones among them, where a command does not tell them apart."""

    ratio_ppm: int
    runs: int
    diverged: int = 0


def committed_at_ratios(store: "Store", ratio: float | None = None) -> list[CommittedAtRatio]:
    """At one ratio, or at each committed one, ascending. One listing of the store."""
    chosen = None if ratio is None else ratio_to_ppm(ratio)
    runs = sorted(runs_by_ratio(store.shards()).items())
    return [CommittedAtRatio(each, number) for each, number in runs if chosen in (None, each)]


def requested_runs(store: "Store", ratio: float | None = None, *, held_out: bool = False) -> dict[int, int]:
    """Runs requested at one ratio or at each, by ratio in parts per million; `held_out`: only at ratios below 1."""
    chosen = None if ratio is None else ratio_to_ppm(ratio)
    targets = store.targets().items()
    return {each: number for each, number in targets if chosen in (None, each) and not (held_out and each == PPM)}


def runs_read_text(used: Iterable[UsedRuns], requested: Mapping[int, int]) -> str:
    """How many runs were used, of how many requested where those are more, and how many diverged ones are left out."""
    by_ratio = {at.ratio_ppm: at for at in used}
    runs, diverged = (sum(getattr(at, name) for at in by_ratio.values()) for name in ("runs", "diverged"))
    there = {each: at.runs + at.diverged for each, at in by_ratio.items()}
    of = sum(max(requested.get(each, 0), there.get(each, 0)) for each in {*requested, *there})
    text = f"from {runs:,} of {count_text(of, 'run')}" if runs < of else f"from {count_text(runs, 'run')}"
    where = f"ratio {min(by_ratio) / PPM:g}" if len(by_ratio) == 1 else f"{len(by_ratio)} ratios"
    return f"{text} at {where}" + (f", {diverged:,} diverged left out" if diverged else "")
