"""Agreement of C-scores across training precisions on MNIST: float32 twice, and bfloat16.

    python -m benchmarks.precision_agreement --root FOLDER_WITH_MNIST --stores FOLDER

Campaigns A and B are float32 with seeds 0 and 1, C is bfloat16 with seed 1. What precision changes is harmless where A
and C agree as well as A and B do, whose models differ by their subsets and seeds only. Interrupted, it resumes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

import analysis
from orchestrator import run_campaign
from orchestrator.presets import preset_text
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import check_campaign, parse_campaign

CAMPAIGNS = {"A": ("float32", 0), "B": ("float32", 1), "C": ("bfloat16", 1)}


@dataclass(frozen=True)
class Agreement:
    """Of two campaigns' C-scores over all examples that both scored."""

    pearson: float
    spearman: float
    mean_absolute_difference: float


def agreement(first: pd.Series, second: pd.Series) -> Agreement:
    """Correlations and mean absolute difference of two series of C-scores, index example_id."""
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    pearson = float(both["first"].corr(both["second"]))
    spearman = float(both["first"].rank().corr(both["second"].rank()))
    return Agreement(pearson, spearman, float((both["first"] - both["second"]).abs().mean()))


def campaign(root: str, ratios: list[float], repetitions: int, precision: str, seed: int) -> Campaign:
    """The published MNIST campaign with other subsets, in a given precision."""
    plain = parse_campaign(preset_text("mnist-cscore"), "mnist-cscore").model_dump(mode="json")
    plain["dataset"] |= {"root": root, "download": False}
    plain["recipe"]["precision"] = precision
    plain["subsets"] |= {"ratios": ratios, "repetitions": repetitions, "seed": seed}
    return check_campaign(plain)


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds MNIST/")
    parser.add_argument("--stores", required=True, type=Path, help="folder for the three stores")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.2, 0.5])
    parser.add_argument("--repetitions", type=int, default=40)
    args = parser.parse_args()

    scores, accuracy = {}, {}
    for name, (precision, seed) in CAMPAIGNS.items():
        chosen = campaign(args.root, args.ratios, args.repetitions, precision, seed)
        run_campaign(chosen, args.stores / name, runner="ray")
        view = analysis.open_store(args.stores / name)
        scores[name] = view.cscore().set_index("example_id")["cscore"]
        accuracy[name] = float(view.runs()["heldout_accuracy"].mean())
    table = Table("pair", "Pearson", "Spearman", "mean |difference|", "held out")
    for first, second in (("A", "B"), ("A", "C"), ("B", "C")):
        comparison = agreement(scores[first], scores[second])
        numbers = (
            f"{comparison.pearson:.4f}",
            f"{comparison.spearman:.4f}",
            f"{comparison.mean_absolute_difference:.5f}",
        )
        names = " ".join(f"{name} ({CAMPAIGNS[name][0]}, seed {CAMPAIGNS[name][1]})" for name in (first, second))
        table.add_row(names, *numbers, f"{accuracy[first]:.4f} {accuracy[second]:.4f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
