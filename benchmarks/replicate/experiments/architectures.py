"""Feldman & Zhang (NeurIPS 2020), figure 7: what two architectures select, beside two campaigns of each."""

import math
from dataclasses import replace
from itertools import combinations

import pandas as pd

import analysis
from benchmarks.replicate.lab import Lab, Outcome, Record, records
from orchestrator.frame_files import write_frame

MEM = (0.1, 0.25, 0.5, 0.75)
"""Thresholds of memorization."""
INFL = (0.05, 0.1, 0.15, 0.25)
"""Thresholds of influence of pairs of one class with mem >= 0.25."""
DECIDING = 0.25
"""The threshold of memorization by which the statement is judged."""


def architectures(lab: Lab) -> Outcome:
    """Jaccard index of the memorized examples and of the pairs of two architectures, by threshold.

    Two campaigns of one architecture, which differ in their seed, are the ceiling. Decided at mem >= 0.25.
    """
    stores = {name: [_trained(lab, name, seed) for seed in (0, 1)] for name in lab.size.models}
    compared = {f"{name} twice": (a, b) for name, (a, b) in stores.items()}
    compared |= {f"{a} and {b}": (stores[a][0], stores[b][0]) for a, b in combinations(stores, 2)}
    curves = {what: _curves(*sides) for what, sides in compared.items()}
    at_deciding = {what: _jaccard(rows[f"mem >= {DECIDING:g}"]) for what, rows in curves.items()}
    said = [f"{what} {value:.2f} ± {se:.2f}" for what, (value, se) in at_deciding.items()]
    outcome = _judged(lab, at_deciding, f"Jaccard index of mem >= {DECIDING:g}: {', '.join(said)}")
    words = {what: {threshold: _words(row) for threshold, row in rows.items()} for what, rows in curves.items()}
    write_frame(_table(curves), lab.stores / f"{lab.row.id}-{lab.size_name}-curves.csv")
    return replace(outcome, curves=words)


def _trained(lab: Lab, name: str, seed: int) -> str:
    runs = lab.size.model_runs.get(name, lab.size.runs)
    subsets = {"seed": seed} | ({} if runs is None else {"repetitions": runs})
    return lab.train(model=lab.size.models[name], subsets=subsets).store.uri


def _curves(a: str, b: str) -> dict[str, Record]:
    """A row of CURVE_COLUMNS by threshold of memorization, then of influence."""
    mem = records(analysis.compare(a, b, thresholds=MEM).curve)
    infl = records(analysis.compare_pairs(a, b, thresholds=INFL).curve)
    rows = {f"mem >= {row['threshold']:g}": row for row in mem}
    return rows | {f"infl >= {row['threshold']:g}": row for row in infl}


def _judged(lab: Lab, jaccard: dict[str, tuple[float, float]], text: str) -> Outcome:
    """Whether two architectures stay below the lower ceiling of the two."""
    numbers = {what: value for what, (value, _) in jaccard.items()}
    gaps = []
    for a, b in combinations(lab.size.models, 2):
        ceiling, between = min(jaccard[f"{a} twice"], jaccard[f"{b} twice"]), jaccard[f"{a} and {b}"]
        gaps.append((ceiling[0] - between[0], math.hypot(ceiling[1], between[1])))
    if any(abs(gap) < 2 * se for gap, se in gaps):
        return Outcome(text, "undecided", "a pair is within two standard errors of its ceiling", numbers)
    claim = "two architectures agree less than two campaigns of one"
    return lab.judged(text, all(gap > 0 for gap, _ in gaps), claim, numbers)


def _jaccard(row: Record) -> tuple[float, float]:
    return float(row["jaccard"]), float(row["jaccard_se"])


def _words(row: Record) -> str:
    """The index with its standard error, and how many each side selects; a dash where neither selects any."""
    value, se = _jaccard(row)
    if math.isnan(value):
        return "-"
    error = "" if math.isnan(se) else f" ± {se:.2f}"
    return f"{value:.2f}{error} ({row['n_a']:,}, {row['n_b']:,})"


def _table(curves: dict[str, dict[str, Record]]) -> pd.DataFrame:
    """A line for each threshold of each comparison, with `selects` (mem or infl) before CURVE_COLUMNS."""
    return pd.DataFrame(
        [
            {"selects": name.split()[0]} | row | {"compared": what}
            for what, rows in curves.items()
            for name, row in rows.items()
        ]
    )
