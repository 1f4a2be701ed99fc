"""Removal by rank of a score beside as many random examples: which removal costs more test accuracy."""

from collections.abc import Sequence

import pandas as pd

from benchmarks.replicate.lab import Lab, Record, records

RUNS = 20
"""At each share: half with the rule, half random."""
SHARES = (0.9, 0.7, 0.5)
"""What is left."""


def lowest_against_random(
    lab: Lab, scores: pd.DataFrame, column: str, shares: Sequence[float] = SHARES
) -> tuple[list[Record], str]:
    """Rows of the rule `lowest` by share removed, and the differences (random less lowest, Welch's limits) in words."""
    subsets = {
        "design": "explicit",
        "scores": {"file": lab.keep(scores[["example_id", column]], column), "column": column},
        "drop": ["lowest", "random"],
        "ratios": list(shares),
        "repetitions": RUNS,
        "seed": 3,
    }
    curve = lab.train(subsets=subsets, record={"presentations": False, "probabilities": False}).removal()
    rows = records(curve[curve["rule"] == "lowest"].sort_values("removed"))
    said = [
        f"{row['removed']:.0%} removed: {100 * row['difference']:+.2f} ({100 * row['difference_low']:+.2f} to "
        f"{100 * row['difference_high']:+.2f})"
        for row in rows
    ]
    return rows, f"points of accuracy lost by the removal less that lost at random: {'; '.join(said)}"
