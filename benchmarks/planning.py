"""Accuracy of plans made after small pilots: requested runs, beside the runs that were needed.

    python -m benchmarks.planning STORE --ratio 0.7 --target 0.03

Of a store with many runs at one ratio, random ones stand for a pilot. `needed` are the runs for a standard error of
mem of 90% of the examples, by the unbiased variances of all runs; planned are those by the pilot: as `longtail plan`
has it, with the range it gives, and by means smoothed one by one (Jeffreys), as it had them before. Shares are of the
pilots.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from analysis.estimators.pilots import planned_variance
from analysis.estimators.standard_errors import P90, percentile, runs_needed, unit_variance
from analysis.reading.bits import pack_columns
from analysis.reading.counts import RatioCounts
from analysis.reading.selection import select_ratio
from workers.common.arrays import Bools
from workers.store import Store

PILOTS = (10, 30, 100, 300)


@dataclass(frozen=True)
class Recorded:
    """All runs of a ratio: bool[runs, N] subsets, and what they get right of the training examples."""

    ratio_ppm: int
    subsets: Bools
    correct: Bools

    def counts(self, rows: npt.NDArray[np.int64]) -> RatioCounts:
        """The sums over some of them."""
        subsets, correct = self.subsets[rows], self.correct[rows]
        n_in, right = subsets.sum(axis=0, dtype=np.int64), correct.sum(axis=0, dtype=np.int64)
        correct_in = (subsets & correct).sum(axis=0, dtype=np.int64)
        return RatioCounts(self.ratio_ppm, len(rows), 0, 1, n_in, correct_in, len(rows) - n_in, right - correct_in)


@dataclass(frozen=True)
class Plans:
    """By pilots of so many runs: the runs planned now, those by smoothed means, and how many ranges held `needed`."""

    pilot: int
    planned: npt.NDArray[np.int64]
    smoothed: npt.NDArray[np.int64]
    held: float


def read(store: Store, ratio: float | None) -> Recorded:
    """The runs of a store at one ratio."""
    ratio_ppm = select_ratio(store, ratio)
    packed = pack_columns(store, ("subset", "train_correct"), ratio_ppm)
    return Recorded(ratio_ppm, *(packed.columns[name].unpacked() for name in ("subset", "train_correct")))


def needed(runs: Recorded, target: float) -> int:
    """The runs for the target by the unbiased variances p (1 - p) n / (n - 1) of all runs."""
    at = runs.counts(np.arange(len(runs.subsets)))
    share = float(at.n_in.mean() / at.runs)
    variance = np.zeros(len(at.n_in))
    for correct, count, part in ((at.correct_in, at.n_in, share), (at.correct_out, at.n_out, 1 - share)):
        mean = correct / np.maximum(count, 1)
        variance += mean * (1 - mean) * count / np.maximum(count - 1, 1) / part
    return runs_needed(percentile(variance, P90), share, target)


def measure(runs: Recorded, pilot: int, target: float, repeats: int, seed: int = 0) -> Plans:
    """Plans by random pilots."""
    random, truth = np.random.default_rng([seed, pilot]), needed(runs, target)
    planned, smoothed, held = [], [], []
    for _ in range(repeats):
        at = runs.counts(random.choice(len(runs.subsets), pilot, replace=False))
        share = float(at.n_in.mean() / at.runs)
        variance = planned_variance(at)
        if variance is None:
            continue
        low, most, high = (
            runs_needed(each, share, target) for each in (variance.p90_low, variance.p90, variance.p90_high)
        )
        planned.append(most)
        held.append(low <= truth <= high)
        smoothed.append(runs_needed(percentile(unit_variance(at), P90), share, target))
    return Plans(pilot, np.array(planned), np.array(smoothed), float(np.mean(held)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--ratio", type=float)
    parser.add_argument("--target", type=float, default=0.03)
    parser.add_argument("--repeats", type=int, default=20, help="pilots of each size")
    args = parser.parse_args()
    runs = read(Store.open(args.store), args.ratio)
    table = Table("pilot", "needed", "planned: mean", "sd", "range holds it", "by smoothed means", box=None)
    for pilot in PILOTS:
        measured = measure(runs, pilot, args.target, args.repeats)
        cells = (f"{measured.planned.mean():.0f}", f"{measured.planned.std():.0f}", f"{measured.held:.0%}")
        table.add_row(str(pilot), str(needed(runs, args.target)), *cells, f"{measured.smoothed.mean():.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
