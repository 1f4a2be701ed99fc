"""Removal by rank of scores beside as many random examples: which removal costs more test accuracy."""

from collections.abc import Sequence

import pandas as pd

from benchmarks.replicate.lab import Lab, Record, records

RUNS = 10
"""At each share by each score, and at random."""
SHARES = (0.9, 0.7, 0.5)
"""What is left."""


def lowest_against_random(
    lab: Lab, scores: pd.DataFrame, shares: Sequence[float] = SHARES
) -> tuple[dict[str, list[Record]], str]:
    """Rows of the removal of the lowest scores by share removed, for each column of `scores` but example_id.

    And the differences (random less lowest, Welch's limits) in words. All columns are in one campaign, beside one
    random control.
    """
    names = [str(name) for name in scores if name != "example_id"]
    file = lab.keep(scores, "-".join(names))
    subsets = {
        "design": "explicit",
        "scores": {name: {"file": file, "column": name} for name in names},
        "drop": [*({"lowest": name} for name in names), "random"],
        "ratios": list(shares),
        "repetitions": RUNS * (len(names) + 1),
        "seed": 3,
    }
    curve = lab.train(subsets=subsets, record={"presentations": False, "probabilities": False}).removal()
    by_name = {
        name: records(curve[curve["rule"] == f"{name} lowest"].sort_values("removed", kind="stable")) for name in names
    }
    said = [f"{name} {_differences(rows)}" if len(names) > 1 else _differences(rows) for name, rows in by_name.items()]
    return by_name, f"points of accuracy lost by the removal less that lost at random: {'; '.join(said)}"


def _differences(rows: Sequence[Record]) -> str:
    return ", ".join(
        f"{row['removed']:.0%} removed: {100 * row['difference']:+.2f} ({100 * row['difference_low']:+.2f} to "
        f"{100 * row['difference_high']:+.2f})"
        for row in rows
    )
