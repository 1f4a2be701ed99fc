"""Coverage of the confidence intervals by simulation, beside the Wald interval (estimate +- z SE).

    python -m benchmarks.coverage

A training example is in a uniform subset of m among N with probability m / N, independently in each run, so it is in a
binomial number of the runs. Shares are of the draws that have an estimate: where a group stays empty a score interval
can hardly miss and Wald's is NaN, which says nothing of either. Every point of the grid has its own draws; a share of
0.95 of 10,000 draws has a standard error of 0.002.

Memorization and influence are one statistic and one row. A C-score averages the profiles at these four ratios, or at
the nine of the published campaign; the mean correctness is the same at all ratios or rises with them.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.special import ndtri

from analysis import average_interval, difference_interval, mean_interval
from analysis.statistics.means import difference_se, group_mean, mean_se
from analysis.statistics.run_means import count_interval
from workers.common.arrays import Floats

MEANS = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
RUNS = (20, 60, 200, 2000)
RATIOS = (0.1, 0.5, 0.7, 0.9)
EVENTS = np.array([0.02, 0.2, 1.0, 4.0])
"""Forgetting events/run."""
_MAX_EVENTS = 200
"""Runs of which events are drawn one by one."""
ALL_RATIOS = tuple(tenths / 10 for tenths in range(1, 10))
SLOPES = (0.0, 0.1, 0.3, 0.6)
"""By how much the mean at the largest ratio is above that at the smallest."""
_SLACK = 1e-12
"""For limits that equal the truth but for rounding."""


@dataclass(frozen=True)
class Coverage:
    """Shares of draws whose interval holds the truth, float64, one per point of the grid; `width` is the mean width.

    Of the draws that have an estimate.
    """

    estimate: str
    runs: int
    score: Floats
    wald: Floats
    width: float
    wald_width: float


def difference_coverage(
    runs: int, ratio: float, confidence: float, draws: int, random: np.random.Generator
) -> Coverage:
    """Memorization and influence: all pairs of MEANS at one ratio."""
    p_in, p_out = (each.reshape(-1, 1) for each in np.meshgrid(MEANS, MEANS))
    n_in = random.binomial(runs, ratio, (len(p_in), draws))
    n_out = runs - n_in
    found_in = group_mean(random.binomial(n_in, p_in), n_in, "half")
    found_out = group_mean(random.binomial(n_out, p_out), n_out, "half")
    score = difference_interval(found_in, n_in, found_out, n_out, confidence)
    wald = _wald(found_in - found_out, difference_se(found_in, n_in, found_out, n_out), confidence)
    return _coverage("memorization, influence", runs, p_in - p_out, np.minimum(n_in, n_out) > 0, score, wald)


def profile_coverage(runs: int, ratio: float, confidence: float, draws: int, random: np.random.Generator) -> Coverage:
    """Consistency profile: all MEANS at one ratio."""
    truth = MEANS[:, None]
    n_out = random.binomial(runs, 1 - ratio, (len(truth), draws))
    means = group_mean(random.binomial(n_out, truth), n_out, "nan")
    score = mean_interval(means, n_out, confidence)
    wald = _wald(means, mean_se(means, n_out), confidence)
    return _coverage("consistency profile", runs, truth, n_out > 0, score, wald)


def cscore_coverage(
    runs: int, ratios: tuple[float, ...], confidence: float, draws: int, random: np.random.Generator
) -> Coverage:
    """C-score over the ratios: MEANS at their centre, with all SLOPES that stay within [0, 1].

    The truth is the average over the ratios at which the example was held out, of which the C-score is the estimate.
    """
    place = np.linspace(-0.5, 0.5, len(ratios))
    profiles = np.array(
        [mean + slope * place for mean in MEANS for slope in SLOPES if mean - slope / 2 >= 0 and mean + slope / 2 <= 1]
    )
    p = profiles.T[:, :, None]
    n_out = random.binomial(runs, 1 - np.array(ratios)[:, None, None], (len(ratios), len(profiles), draws))
    means = group_mean(random.binomial(n_out, p), n_out, "nan")
    valued = n_out > 0
    groups = np.where(valued.any(axis=0), valued.sum(axis=0), np.nan)
    truth = np.where(valued, p, 0.0).sum(axis=0) / groups
    se = np.sqrt(np.nansum(mean_se(means, n_out) ** 2, axis=0)) / groups
    score = average_interval(means, n_out, confidence)
    wald = _wald(np.nansum(means, axis=0) / groups, se, confidence)
    return _coverage(f"C-score, {len(ratios)} ratios", runs, truth, groups > 0, score, wald)


def count_coverage(runs: int, confidence: float, draws: int, random: np.random.Generator) -> Coverage:
    """Forgetting events: EVENTS a run on average, single (Poisson's), bounded, or in bursts (gamma-Poisson)."""
    size = (draws, runs)
    kinds = [
        each
        for mean in EVENTS
        for each in (random.poisson(mean, size), random.binomial(5, mean / 5, size), _bursts(mean, size, random))
    ]
    truth = np.repeat(EVENTS, 3)[:, None]
    means = np.array([kind.mean(axis=1) for kind in kinds])
    sd = np.array([kind.std(axis=1, ddof=1) for kind in kinds])
    n = np.full(means.shape, runs)
    score = count_interval(means, sd, n, confidence)
    wald = _wald(means, sd / np.sqrt(runs), confidence)
    return _coverage("forgetting events", runs, truth, np.full(means.shape, True), score, wald)


def _bursts(mean: float, size: tuple[int, int], random: np.random.Generator) -> npt.NDArray[np.int64]:
    return random.poisson(random.gamma(1.0, mean, size))


def measure(confidence: float, draws: int, seed: int = 0) -> Iterator[Coverage]:
    """Every estimate at every number of runs and every ratio; the C-score over several of them."""
    random = np.random.default_rng(seed)
    for runs in RUNS:
        for one_ratio in (difference_coverage, profile_coverage):
            for ratio in RATIOS:
                yield one_ratio(runs, ratio, confidence, draws, random)
        if runs <= _MAX_EVENTS:
            yield count_coverage(runs, confidence, draws, random)
        for ratios in (RATIOS, ALL_RATIOS):
            yield cscore_coverage(runs, ratios, confidence, draws, random)


def _wald(estimate: Floats, se: Floats, confidence: float) -> tuple[Floats, Floats]:
    z = -float(ndtri((1 - confidence) / 2))
    return estimate - z * se, estimate + z * se


def _coverage(
    estimate: str,
    runs: int,
    truth: Floats,
    estimated: npt.NDArray[np.bool_],
    score: tuple[Floats, Floats],
    wald: tuple[Floats, Floats],
) -> Coverage:
    held, widths = [], []
    for low, high in (score, wald):
        holds = (low <= truth + _SLACK) & (truth - _SLACK <= high)
        held.append((holds & estimated).sum(axis=1) / estimated.sum(axis=1))
        widths.append(float((high - low)[estimated].mean()))
    return Coverage(estimate, runs, *held, *widths)


def main() -> None:
    """Print a table for each level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--confidence", nargs="+", type=float, default=[0.95, 0.9])
    parser.add_argument("--draws", type=int, default=10_000)
    args = parser.parse_args()
    for confidence in args.confidence:
        near = (confidence - 0.02, confidence + 0.02)
        table = Table(
            *("estimate", "runs", "points", "mean", "least", f"in {near[0]:.0%}-{near[1]:.0%}", "width"),
            *("Wald mean", "least", f"in {near[0]:.0%}-{near[1]:.0%}", "width"),
            title=f"Coverage of {confidence:.0%} intervals",
        )
        rows = list(measure(confidence, args.draws))
        for name in dict.fromkeys(each.estimate for each in rows):
            of_it = [each for each in rows if each.estimate == name]
            for runs in (*dict.fromkeys(each.runs for each in of_it), None):
                table.add_row(name, str(runs or "all"), *_cells([e for e in of_it if runs in (e.runs, None)], near))
        Console(width=130).print(table)


def _cells(coverages: list[Coverage], near: tuple[float, float]) -> tuple[str, ...]:
    score, wald = (np.concatenate([getattr(each, kind) for each in coverages]) for kind in ("score", "wald"))
    cells = [str(len(score))]
    for shares, width in ((score, "width"), (wald, "wald_width")):
        within = ((near[0] <= shares) & (shares <= near[1])).mean()
        mean_width = np.mean([getattr(each, width) for each in coverages])
        cells += [f"{shares.mean():.4f}", f"{shares.min():.3f}", f"{within:.0%}", f"{mean_width:.3f}"]
    return tuple(cells)


if __name__ == "__main__":
    main()
