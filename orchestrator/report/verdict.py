"""Verdict of a report: whether the models fit their subsets, what intervals support, and what to be careful about."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.report import Findings
from orchestrator.report.campaign_text import number
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text

MEMORIZED = 0.25
"""Feldman and Zhang's (2020) threshold of memorized examples."""
IRREGULAR = 0.5
FITTED, NEARLY_FITTED = 0.99, 0.9
"""Mean accuracy on the subsets: from FITTED on memorization is read as it is, under NEARLY_FITTED not at all. An
example that no model fits has a memorization of 0 whatever the data."""


@dataclass(frozen=True)
class Verdict:
    """`sentence` says whether memorization can be read, `cautions` what limits it.

    `readable` is False where there is no memorization, or the models do not fit their subsets. `numbers` are (what,
    number) pairs: counts of the examples whose whole interval is beyond a threshold.
    """

    readable: bool
    sentence: str
    cautions: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]


def verdict(findings: Findings, runs: pd.DataFrame) -> Verdict:
    """Of the final rows of a store's runs (`StoreView.runs`)."""
    readable, sentence = _fit(findings, runs)
    numbers = (("training examples", f"{findings.labels.num_train:,}"), *(_supported(findings) if readable else ()))
    return Verdict(readable, sentence, _cautions(findings, runs), ((_runs_text(runs), f"{len(runs):,}"), *numbers))


def _fit(findings: Findings, runs: pd.DataFrame) -> tuple[bool, str]:
    if findings.mem is None:
        return False, findings.missing.get("mem", findings.missing.get("subsets", ""))
    used = runs[(runs["ratio"] == findings.ratio) & (runs["status"] != "diverged")]
    fit = float(used["subset_accuracy"].astype(float).mean())
    if not np.isfinite(fit):
        return True, "Accuracy on the subsets is not known: whether the models fit them cannot be told."
    models = f"Models fit {_percent(fit)} of their subsets"
    if fit >= FITTED:
        return True, f"{models}: memorization is meaningful."
    if fit >= NEARLY_FITTED:
        return True, f"{models}: the memorization of the examples that they do not fit is underestimated."
    return False, f"{models}: they are not fitted. Do not read memorization yet; train for more epochs."


def _percent(share: float) -> str:
    """Rounded down, so that only all is 100%."""
    return f"{math.floor(round(share * 1e4, 6)) / 100:g}%"


def _runs_text(runs: pd.DataFrame) -> str:
    ratios = sorted(runs["ratio"].unique().tolist())
    shown = ", ".join(f"{ratio:g}" for ratio in ratios[:3]) + (", …" if len(ratios) > 3 else "")
    return f"{'run' if len(runs) == 1 else 'runs'} at {'ratio' if len(ratios) == 1 else 'ratios'} {shown}"


def _supported(findings: Findings) -> list[tuple[str, str]]:
    items = []
    if findings.mem is not None:
        mem = findings.mem[findings.mem["mem"].notna()]
        surely, value = int((mem["low"] > MEMORIZED).sum()), int((mem["mem"] >= MEMORIZED).sum())
        text = f"memorized: the whole interval above {MEMORIZED:g} ({value:,} by value)"
        items.append((text, f"{surely:,} of {len(mem):,}"))
    if findings.cscore is not None:
        cscore = findings.cscore[findings.cscore["cscore"].notna()]
        surely, value = int((cscore["high"] < IRREGULAR).sum()), int((cscore["cscore"] <= IRREGULAR).sum())
        text = f"irregular: the whole interval of the C-score under {IRREGULAR:g} ({value:,} by value)"
        items.append((text, f"{surely:,} of {len(cscore):,}"))
    return items


def _cautions(findings: Findings, runs: pd.DataFrame) -> tuple[str, ...]:
    cautions = []
    if findings.mem is not None:
        width = float((findings.mem["high"] - findings.mem["low"])[findings.mem["mem"].notna()].median())
        if width > MEMORIZED:
            behind = count_text(int((findings.mem["n_in"] + findings.mem["n_out"]).max()), "run")
            cautions.append(
                f"Intervals are wide, {number(width)} in the median, with {behind} at ratio {findings.ratio:g}: "
                "more repetitions make them narrower."
            )
    if diverged := int((runs["status"] == "diverged").sum()):
        share = f"{diverged / len(runs):.1%}"
        cautions.append(f"{diverged:,} of {count_text(len(runs), 'run')} diverged ({share}) and are left out.")
    targets = findings.store.targets()
    committed = runs.groupby("ratio").size()
    missing = [
        f"{committed.get(ppm / PPM, 0):,} of {requested:,} at ratio {ppm / PPM:g}"
        for ppm, requested in sorted(targets.items())
        if committed.get(ppm / PPM, 0) < requested
    ]
    if missing:
        cautions.append(f"The campaign is not finished: {', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}.")
    return tuple(cautions)
