"""False discovery rate of lists of influential pairs, in simulated campaigns with known influence.

    python -m benchmarks.discovery_rate

Training examples are in subsets as in a uniform campaign. Each test example is predicted right with a probability of
its own; some depend on a training example besides (influence 0.2 to 0.6). In half of the rows runs also differ in luck:
a good run gets more of all test examples right, as real ones do. A case of two ratios has the runs at each of 0.7 and
0.4, and one list over both. Printed are means over campaigns.
"""

import argparse
from dataclasses import dataclass
from itertools import product

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.influence.discoveries import influence_discoveries
from analysis.reading.bits import RatioBits, pack_bits, ratio_bits
from analysis.reading.examples import Labels

EXAMPLES, TESTS, TRUE_PAIRS = 1000, 200, 60
RATIOS = (0.7, 0.4)


@dataclass(frozen=True)
class Case:
    """Runs at each ratio, the rate requested, how much of their luck test examples share, and the number of ratios."""

    runs: int
    fdr: float
    luck: float
    ratios: int = 1


def simulate(case: Case, seed: int) -> list[RatioBits]:
    """Test example z < TRUE_PAIRS depends on training example z, at every ratio."""
    random = np.random.default_rng((seed, case.runs))
    return [_simulate(case, ratio, random) for ratio in RATIOS[: case.ratios]]


def _simulate(case: Case, ratio: float, random: np.random.Generator) -> RatioBits:
    subsets = np.argsort(random.random((case.runs, EXAMPLES)), axis=1) < ratio * EXAMPLES
    chance = np.tile(1 - random.beta(0.5, 3, size=TESTS), (case.runs, 1))
    effect = random.uniform(0.2, 0.6, size=TRUE_PAIRS)
    chance[:, :TRUE_PAIRS] = 0.3 + effect * subsets[:, :TRUE_PAIRS]
    odds = np.log(chance / (1 - chance + 1e-9)) + case.luck * random.standard_normal((case.runs, 1))
    correct = random.random(chance.shape) < 1 / (1 + np.exp(-odds))
    label = np.zeros(EXAMPLES, np.int64)
    labels = Labels(label, label, np.zeros(TESTS, np.int64))
    return ratio_bits(round(ratio * 1e6), 1, 0, labels, pack_bits(subsets), pack_bits(correct))


def measure(case: Case, campaigns: int) -> tuple[list[float], list[float]]:
    """For each campaign the share of discoveries that are false, and that of true pairs that are discovered."""
    false, power = [], []
    for seed in range(campaigns):
        pairs = influence_discoveries(simulate(case, seed), fdr=case.fdr)
        true = (pairs["test_example_id"] == pairs["example_id"]) & (pairs["example_id"] < TRUE_PAIRS)
        false.append(float(1 - true.mean()) if len(pairs) else 0.0)
        power.append(float(true.sum() / TRUE_PAIRS / case.ratios))
    return false, power


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=100, help="of each case")
    campaigns = parser.parse_args().campaigns
    table = Table(
        "ratios", "runs", "rate requested", "luck", "false", "se", "true pairs found", box=None, header_style="bold"
    )
    cases = [(1, runs) for runs in (100, 400, 2000)] + [(2, runs) for runs in (100, 400)]
    for (ratios, runs), fdr, luck in product(cases, (0.05, 0.2), (0.0, 0.5)):
        false, power = measure(Case(runs, fdr, luck, ratios), campaigns)
        se = np.std(false) / np.sqrt(campaigns)
        cells = (str(ratios), str(runs), f"{fdr:g}", f"{luck:g}", f"{np.mean(false):.3f}", f"{se:.3f}")
        table.add_row(*cells, f"{np.mean(power):.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
