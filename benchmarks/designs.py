"""How much less do estimates vary with balanced subsets than with uniform ones, at the same number of runs?

    python -m benchmarks.designs                # simulated runs
    python -m benchmarks.designs --digits 12    # and digits campaigns of 12 seeds for each design

Simulated: each example is right with one probability in runs that have it and with another in those that do not, and
runs differ in luck, which all examples of a run share. Each figure is the root mean square over the examples of a kind:
of the standard deviation over campaigns, and of the standard error that campaigns state for themselves.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from analysis import open_store
from analysis.means import difference_se, group_mean
from orchestrator import run_campaign
from orchestrator.presets import preset_text
from workers.campaign import Campaign
from workers.campaign_file import check_campaign, parse_campaign
from workers.runs import Run
from workers.subsets import draw_subset

DESIGNS = ("uniform", "balanced")
EXAMPLES = 300
KINDS = {"easy": (0.99, 0.95), "typical": (1.0, 0.8), "hard": (0.95, 0.4), "memorized": (1.0, 0.02)}
"""Probability of being right: in runs with the example, and without."""
LUCK = 0.7
"""Standard deviation of a run's log odds."""

Estimates = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""mem and its stated standard error, [N] each."""


def simulate(design: str, ratio: float, runs: int, seed: int) -> Estimates:
    """One campaign; the kinds take turns over the examples."""
    campaign = _campaign(design, seed, ratio, runs)
    parts = campaign.subsets.parts[0]
    subsets = np.stack([draw_subset(campaign, Run(parts, k), EXAMPLES) for k in range(runs)])
    random = np.random.default_rng((seed, runs, DESIGNS.index(design)))
    chance = np.where(subsets, *(np.resize(each, EXAMPLES) for each in zip(*KINDS.values(), strict=True)))
    odds = np.log(chance / (1 - chance + 1e-9)) + LUCK * random.standard_normal((runs, 1))
    right = random.random(chance.shape) < 1 / (1 + np.exp(-odds))
    n_in = subsets.sum(axis=0)
    p_in = group_mean((subsets & right).sum(axis=0), n_in, "half")
    p_out = group_mean((~subsets & right).sum(axis=0), runs - n_in, "half")
    return p_in - p_out, difference_se(p_in, n_in, p_out, runs - n_in)


def digits(design: str, runs: int, seed: int) -> Estimates:
    """One trained campaign."""
    with tempfile.TemporaryDirectory() as folder:
        run_campaign(_campaign(design, seed, 0.7, runs), Path(folder) / "store")
        table = open_store(Path(folder) / "store").memorization()
    return table["mem"].to_numpy(), table["se"].to_numpy()


def _campaign(design: str, seed: int, ratio: float, runs: int) -> Campaign:
    document = parse_campaign(preset_text("digits"), "digits").model_dump(mode="json")
    document["subsets"] = {"design": design, "seed": seed, "ratios": [ratio], "repetitions": runs}
    return check_campaign(document)


def _rows(name: str, ratio: float, runs: int, found: dict[str, list[Estimates]]) -> Iterator[tuple[str, ...]]:
    """A row per kind of example: where trained, the quarter whose mem varies most, and the others that vary."""
    spreads = {design: np.std([mem for mem, _ in each], axis=0, ddof=1) for design, each in found.items()}
    stated = {design: np.sqrt(np.nanmean([se**2 for _, se in each], axis=0)) for design, each in found.items()}
    if name == "simulated":
        groups = {kind: np.arange(EXAMPLES) % len(KINDS) == place for place, kind in enumerate(KINDS)}
    else:
        pooled = np.hypot(*spreads.values())
        hard = pooled >= np.quantile(pooled, 0.9)
        groups = {"tenth that varies most": hard, "others that vary": (pooled > 0) & ~hard}
    for kind, chosen in groups.items():
        sds = [float(np.sqrt((spreads[design][chosen] ** 2).mean())) for design in DESIGNS]
        ses = [float(np.sqrt(np.nanmean(stated[design][chosen] ** 2))) for design in DESIGNS]
        ratio_of_variances = (sds[1] / sds[0]) ** 2
        numbers = (sds[0], ses[0], sds[1], ses[1], ratio_of_variances)
        yield (name, f"{ratio:g}", str(runs), kind, *(f"{number:.3f}" for number in numbers))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=400, help="simulated ones of each kind")
    parser.add_argument("--digits", type=int, default=0, help="trained campaigns of each design")
    parser.add_argument("--runs", type=int, default=40, help="runs of a trained campaign")
    given = parser.parse_args()
    titles = (
        "runs are",
        "ratio",
        "runs",
        "examples",
        "sd uniform",
        "stated",
        "sd balanced",
        "stated",
        "variance ratio",
    )
    table = Table(*titles, box=None, header_style="bold", title="mem, with balanced subsets and with uniform ones")
    for ratio, runs in ((0.7, 20), (0.7, 200), (0.9, 40), (0.5, 40)):
        found = {d: [simulate(d, ratio, runs, seed) for seed in range(given.campaigns)] for d in DESIGNS}
        for row in _rows("simulated", ratio, runs, found):
            table.add_row(*row)
    if given.digits:
        found = {d: [digits(d, given.runs, seed) for seed in range(given.digits)] for d in DESIGNS}
        for row in _rows("trained", 0.7, given.runs, found):
            table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
