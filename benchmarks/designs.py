"""Variance of estimates over campaigns: the balanced design against the uniform design at equal cost.

    python -m benchmarks.designs planted --campaigns 300
    python -m benchmarks.designs digits --ratios 0.3 0.7 --repetitions 40 --campaigns 24

`planted` needs no training: an example is predicted right where its own membership, that of its neighbours, the run's
luck and chance add up to enough. `digits` trains the preset's campaign again and again, seed after seed, in this
process. Expected: the number of runs that trained on an example hardly varies, so that variance by luck falls by about
(1 - 3 r (1-r)) / (r (1-r) t) at t runs, most with few; consistency also loses part of the variance by which other
examples were in the subset; influence does not (see `workers.subsets.balanced`).

A variance is over campaigns, averaged over examples or pairs. "SE^2 / variance" is the mean squared standard error over
it: 1 is right, above 1 conservative; below 1 also where p (1 - p) / n is estimated from few runs.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.statistics.means import difference_se, group_mean, mean_of_finite, mean_se
from orchestrator.presets import preset_text
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.yaml_io import check_campaign, parse_campaign
from workers.common.arrays import Bools, Floats
from workers.subsets.draw import draw_subset

DESIGNS = ("uniform", "balanced")
MEMORIZED = 0.25


@dataclass(frozen=True)
class Results:
    """One campaign's runs at one ratio: subsets and train bool[K, N], test bool[K, T]."""

    subsets: Bools
    train: Bools
    test: Bools


@dataclass(frozen=True)
class Spread:
    """Of one quantity, elementwise over campaigns: mean, variance, and the mean squared standard error."""

    mean: Floats
    variance: Floats
    squared_se: Floats


def estimates(results: Results) -> dict[str, tuple[Floats, Floats]]:
    """Values and standard errors of every quantity: of N examples, and of T x N pairs for influence."""
    subsets, held_out = results.subsets.astype(float), (~results.subsets).astype(float)
    n_in, n_out = results.subsets.sum(axis=0), (~results.subsets).sum(axis=0)
    p_in = group_mean((results.subsets & results.train).sum(axis=0), n_in, "half")
    p_out = group_mean((~results.subsets & results.train).sum(axis=0), n_out, "half")
    q_in = group_mean(results.test.T @ subsets, n_in, "half")
    q_out = group_mean(results.test.T @ held_out, n_out, "half")
    return {
        "runs with the example": (n_in.astype(float), np.full(len(n_in), np.nan)),
        "mem": (p_in - p_out, difference_se(p_in, n_in, p_out, n_out)),
        "consistency": (np.where(n_out > 0, p_out, np.nan), mean_se(p_out, n_out)),
        "influence": (q_in - q_out, difference_se(q_in, n_in, q_out, n_out)),
    }


def spreads(campaigns: Iterable[Results]) -> dict[str, Spread]:
    """The spread of every quantity over two campaigns or more; an element without a value in one leaves it out."""
    sums: dict[str, list[Floats]] = {}
    for results in campaigns:
        for name, (value, se) in estimates(results).items():
            there, measured = np.isfinite(value), np.isfinite(se)
            filled = np.where(there, value, 0)
            terms = [there, filled, filled**2, measured, np.where(measured, se, 0) ** 2]
            sums[name] = [old + new for old, new in zip(sums.get(name, [0.0] * 5), terms, strict=True)]
    return {name: _spread(*each) for name, each in sums.items()}


def _spread(count: Floats, total: Floats, squares: Floats, measured: Floats, squared_se: Floats) -> Spread:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        return Spread(mean, (squares - count * mean**2) / (count - 1), squared_se / measured)


def rows(by_design: Mapping[str, Mapping[str, Spread]]) -> list[tuple[str, ...]]:
    """The table's cells: quantity, both variances, their ratio, and SE^2 / variance of both."""
    memorized = by_design["uniform"]["mem"].mean >= MEMORIZED
    chosen: list[tuple[str, str, Bools | slice]] = [
        ("runs with the example", "runs with the example", slice(None)),
        (f"mem, {memorized.sum()} memorized", "mem", memorized),
        (f"mem, {(~memorized).sum()} others", "mem", ~memorized),
        ("consistency", "consistency", slice(None)),
        ("influence", "influence", slice(None)),
    ]
    table_rows = []
    for title, name, where in chosen:
        variance = {design: mean_of_finite(by_design[design][name].variance[where]) for design in DESIGNS}
        cells = [f"{variance[design]:.3g}" for design in DESIGNS]
        cells.append(_quotient(variance["balanced"], variance["uniform"]))
        for design in DESIGNS:
            squared_se = mean_of_finite(by_design[design][name].squared_se[where])
            cells.append(_quotient(squared_se, variance[design]))
        table_rows.append((title, *cells))
    return table_rows


def _quotient(above: float, below: float) -> str:
    return f"{above / below:.3f}" if np.isfinite(above) and below > 0 else "-"


def designed(design: str, ratio: float, repetitions: int, seed: int) -> Campaign:
    """The digits campaign with other subsets."""
    plain = parse_campaign(preset_text("digits"), "digits").model_dump(mode="json")
    plain["subsets"] |= {"design": design, "ratios": [ratio], "repetitions": repetitions, "seed": seed}
    return check_campaign(plain)


class Planted:
    """Correctness that is made up: right where effects of memberships, luck of the run and chance sum to more than 0.

    Of `count` training examples a quarter are hard: right only by their own membership. Each example and each of the
    count / 4 test examples has ten training examples as neighbours, which help it by random amounts.
    """

    def __init__(self, count: int = 400) -> None:
        random = np.random.default_rng(0)
        self.count = count
        hard = np.arange(count) % 4 == 0
        self.ease = np.concatenate([np.where(hard, -1.5, 2.0), random.normal(0.5, 1, count // 4)])
        self.own = np.where(hard, 3.0, 0.5)
        self.neighbours = np.zeros((len(self.ease), count))
        for row in self.neighbours:
            row[random.choice(count, 10, replace=False)] = random.exponential(0.6, 10)

    def __call__(self, campaign: Campaign) -> Results:
        """The results of a campaign of one ratio."""
        (ratio_ppm,), repetitions = campaign.subsets.ratios_ppm, campaign.subsets.repetitions
        runs = [Run(ratio_ppm, repetition) for repetition in range(repetitions)]
        subsets = np.array([draw_subset(campaign, run, self.count) for run in runs])
        random = np.random.default_rng(campaign.subsets.seed)
        luck = random.normal(0, 0.5, (repetitions, 1)) + random.normal(0, 1, (repetitions, len(self.ease)))
        score = self.ease + luck + (subsets - campaign.subsets.ratios[0]) @ self.neighbours.T
        score[:, : self.count] += self.own * subsets
        return Results(subsets, score[:, : self.count] > 0, score[:, self.count :] > 0)


def trained(campaign: Campaign) -> Results:
    """The results of a campaign of one ratio, trained in this process."""
    import analysis
    from orchestrator import run_campaign

    with tempfile.TemporaryDirectory() as folder:
        run_campaign(campaign, f"{folder}/store", runner="local")
        view = analysis.open_store(f"{folder}/store")
        frames = (view.subsets(), view.correctness("train"), view.correctness("test"))
        return Results(*(frame.to_numpy(dtype=bool) for frame in frames))


def compare(
    source: Callable[[Campaign], Results], ratio: float, repetitions: int, campaigns: int
) -> list[tuple[str, ...]]:
    """The table's rows for campaigns with seeds 0, 1, ... under both designs."""
    by_design = {
        design: spreads(source(designed(design, ratio, repetitions, seed)) for seed in range(campaigns))
        for design in DESIGNS
    }
    return [(f"{ratio:g}", str(repetitions), *row) for row in rows(by_design)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare at every ratio and number of runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=("planted", "digits"))
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.3, 0.7])
    parser.add_argument("--repetitions", nargs="+", type=int, default=[10, 40, 200])
    parser.add_argument("--campaigns", type=int, default=10, help="of each design, with seeds 0, 1, ...; at least 2")
    args = parser.parse_args(arguments)
    if args.campaigns < 2:
        parser.error(f"--campaigns must be at least 2, got {args.campaigns}")
    if not all(0 < ratio < 1 for ratio in args.ratios):
        parser.error(f"--ratios must be greater than 0 and less than 1, got {args.ratios}")
    source = Planted() if args.source == "planted" else trained
    table = Table(title=f"{args.source}: variance over {args.campaigns} campaigns of each design")
    for name in ("ratio", "runs", "quantity"):
        table.add_column(name)
    for name in (*DESIGNS, "balanced / uniform", "SE²/variance, uniform", "SE²/variance, balanced"):
        table.add_column(name, justify="right")
    for ratio in args.ratios:
        for repetitions in args.repetitions:
            for row in compare(source, ratio, repetitions, args.campaigns):
                table.add_row(*row)
            table.add_section()
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
