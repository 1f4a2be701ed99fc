"""Correlations of subset memberships, and false influence estimates that they cause.

    python -m benchmarks.correlations
    python -m benchmarks.correlations --examples 142 1437 --ratios 0.67 --campaigns 20

Each test example of a simulated campaign depends on one training example alone: it is right in 9 of 10 runs that
trained on it, in 1 of 10 others. The influence of every other training example is 0. Where memberships are correlated,
that one's influence is passed on. Printed for both designs, over the `--runs` runs of a campaign:

- squared: the mean squared correlation of two examples' memberships over a block, times L - 1, less what the common
  size of all subsets makes of it, (L - 1) / (N - 1)^2: 1 for independent memberships;
- largest: the largest |correlation| of two examples over all runs, mean over campaigns;
- null z: standard deviation of influence over its standard error, of the pairs without influence;
- false: the share of false ones among the discoveries at a false discovery rate of 5%, mean over campaigns;
- found: the share of the true pairs among the discoveries.
"""

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.influence.discoveries import influence_discoveries
from analysis.reading.bits import pack_bits, ratio_bits
from analysis.reading.examples import Labels
from analysis.statistics.means import difference_se
from benchmarks.designs import DESIGNS, designed
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats
from workers.subsets.balanced import block_length
from workers.subsets.draw import draw_subset

TESTS = 100
FDR = 0.05


@dataclass(frozen=True)
class Measured:
    """Of one campaign, or their mean: see above."""

    squared: float
    largest: float
    null_z: float
    false: float
    found: float


def measure(design: str, ratio: float, num_examples: int, runs: int, seed: int) -> Measured:
    """One simulated campaign."""
    campaign = designed(design, ratio, runs, seed)
    (ratio_ppm,) = campaign.subsets.ratios_ppm
    subsets = np.array([draw_subset(campaign, Run(ratio_ppm, repetition), num_examples) for repetition in range(runs)])
    random = np.random.default_rng((seed, 1))
    causes = np.arange(TESTS) % num_examples
    right = random.random((runs, TESTS)) < np.where(subsets[:, causes], 0.9, 0.1)
    label = np.zeros(num_examples, np.int64)
    labels = Labels(label, label, np.zeros(TESTS, np.int64))
    bits = ratio_bits(ratio_ppm, 1, 0, labels, pack_bits(subsets), pack_bits(right))
    pairs = influence_discoveries(bits, fdr=FDR)
    true = int((pairs["example_id"].to_numpy() == causes[pairs["test_example_id"]]).sum())
    null = np.arange(num_examples) != causes[:, None]
    return Measured(
        squared=squared_in_blocks(subsets[: runs - runs % block_length(ratio_ppm)], block_length(ratio_ppm)),
        largest=float(np.abs(correlations(subsets)).max()),
        null_z=float(np.nanstd(_z(subsets, right)[null])),
        false=1 - true / len(pairs) if len(pairs) else 0.0,
        found=true / TESTS,
    )


def squared_in_blocks(subsets: Bools, length: int) -> float:
    """The mean squared correlation over blocks of runs, bool[blocks x length, N], as told above."""
    blocks = subsets.reshape(-1, length, subsets.shape[1])
    squares = np.mean([(correlations(block) ** 2).mean() for block in blocks])
    return float((length - 1) * (squares - 1 / (subsets.shape[1] - 1) ** 2))


def correlations(subsets: Bools) -> Floats:
    """Of the memberships of every two different examples that both vary."""
    varying = subsets[:, subsets.any(axis=0) & ~subsets.all(axis=0)].astype(float)
    scaled = (varying - varying.mean(axis=0)) / (varying.std(axis=0) * np.sqrt(len(varying)))
    return np.asarray((scaled.T @ scaled)[~np.eye(varying.shape[1], dtype=bool)])


def _z(subsets: Bools, right: Bools) -> Floats:
    """float64[T, N]; NaN where there is no standard error, or it is 0."""
    n_in, n_out = subsets.sum(axis=0), (~subsets).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_in, p_out = right.T @ subsets.astype(float) / n_in, right.T @ (~subsets).astype(float) / n_out
        z = (p_in - p_out) / difference_se(p_in, n_in, p_out, n_out)
    return np.where(np.isfinite(z), z, np.nan)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure at every number of examples and ratio, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", nargs="+", type=int, default=[5, 20, 60, 142, 357, 1437, 2000])
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.07, 0.33, 0.5, 0.67, 0.97])
    parser.add_argument("--runs", type=int, default=500, help="of each campaign; at least 100")
    parser.add_argument("--campaigns", type=int, default=5, help="of each design, with seeds 0, 1, ...")
    options = parser.parse_args(arguments)
    if options.runs < 100 or not all(0 < ratio < 1 for ratio in options.ratios):
        parser.error("--runs must be at least 100, --ratios greater than 0 and less than 1")
    table = Table("examples", "ratio", "L", "design", *(field.name for field in fields(Measured)), box=None)
    for num_examples in options.examples:
        for ratio in options.ratios:
            if ratio * num_examples < 1:
                continue
            for design in DESIGNS:
                campaigns = [
                    astuple(measure(design, ratio, num_examples, options.runs, seed))
                    for seed in range(options.campaigns)
                ]
                cells = [str(num_examples), f"{ratio:g}", str(block_length(round(ratio * 1e6))), design]
                table.add_row(*cells, *(f"{mean:.3f}" for mean in np.mean(campaigns, axis=0)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
