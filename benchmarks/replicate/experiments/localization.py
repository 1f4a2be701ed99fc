"""Maini et al. (ICML 2023): gradients, rewound and retrained layers, units, example-tied dropout."""

from typing import Any

import pandas as pd

from analysis.estimators.localization.summary import localize
from benchmarks.replicate.lab import Lab, Outcome

ALMOST_ALL = 0.9
"""Of the noisy labels that are predicted at the end of training."""
P_GEN, P_MEM = 0.25, 0.1
"""Of example-tied dropout, at a width at which a tenth of the channels is one or more."""


def gradients(lab: Lab) -> Outcome:
    """Cosine of clean and noisy gradients by layer, and the norms' ratio, means over all epochs."""
    frame = _probe(lab, gradients=True)["gradient_means"]
    low, high = frame.loc[frame["cosine"].idxmin()], frame.loc[frame["cosine"].idxmax()]
    text = (
        f"cosine {_cell(low, 'cosine')} ({low['layer']}) to {_cell(high, 'cosine')} ({high['layer']}); "
        f"norm of noisy over that of clean gradients {frame['norm_ratio'].min():.2f} to {frame['norm_ratio'].max():.2f}"
    )
    opposed = bool((frame["cosine"] + 2 * frame["cosine_se"] < 0).all())
    numbers = {str(row["layer"]): float(row["cosine"]) for _, row in frame.iterrows()}
    return lab.judged(text, opposed, "gradients are opposed in every layer", numbers)


def rewinding(lab: Lab) -> Outcome:
    """Noisy accuracy with one layer rewound to a fifth of the epochs, statistics re-estimated."""
    epochs = lab.size.epochs or 50
    every = max(1, epochs // 5)
    frame = _probe(lab, rewinding={"every": every})["rewinding"]
    noisy = frame[(frame["rule"] == "reestimated") & (frame["group"] == "noisy")]
    rewound = noisy[noisy["epoch"] == every].set_index("layer")
    final = noisy[noisy["epoch"] == noisy["epoch"].max()]["accuracy"].max()
    kept = rewound[rewound["accuracy"] >= ALMOST_ALL * final]
    worst = rewound.loc[rewound["accuracy"].idxmin()]
    text = (
        f"rewound to epoch {every} of {epochs}, {len(kept)} of {len(rewound)} layers keep {ALMOST_ALL:.0%} of the "
        f"noisy labels; least {_cell(worst, 'accuracy')} ({worst.name})"
    )
    numbers = {str(layer): float(value) for layer, value in rewound["accuracy"].items()}
    return lab.judged(text, len(kept) > len(rewound) / 2, "most layers can be rewound", numbers)


def retraining(lab: Lab) -> Outcome:
    """Noisy accuracy after one layer was trained anew on clean examples alone."""
    frame = _probe(lab, retraining={"epochs": max(2, (lab.size.epochs or 50) * 2 // 5)})["retraining"]
    noisy = frame[frame["group"] == "noisy"]
    after = noisy[noisy["epoch"] == noisy["epoch"].max()].set_index("layer")
    high = after[after["accuracy"] > 0.5]
    worst, best = after.loc[after["accuracy"].idxmin()], after.loc[after["accuracy"].idxmax()]
    text = (
        f"noisy labels predicted after retraining: over half for {len(high)} of {len(after)} layers, "
        f"{_cell(worst, 'accuracy')} ({worst.name}) to {_cell(best, 'accuracy')} ({best.name})"
    )
    numbers = {str(layer): float(value) for layer, value in after["accuracy"].items()}
    return lab.judged(text, len(high) > len(after) / 2, "most layers are redundant", numbers)


def neurons(lab: Lab) -> Outcome:
    """Units to set to 0 until a prediction flips, of noisy and of clean examples."""
    most = {"examples": 200 if lab.size.examples is None else 40}
    found = _probe(lab, neurons=most | {"batch_size": lab.size.batch_size or 512})
    by_group = found["neurons"].set_index("group")
    auc = found["neurons_detection"].iloc[0]
    said = [
        f"{group} median {row['median']:.1f} units, {row['under_10']:.0%} need fewer than 10"
        for group, row in ((group, by_group.loc[group]) for group in ("noisy", "clean"))
    ]
    fewer = bool(by_group.loc["noisy", "median"] < by_group.loc["clean", "median"])
    numbers = {group: float(by_group.loc[group, "median"]) for group in ("noisy", "clean")}
    text = f"{'; '.join(said)}; AUC {_cell(auc, 'auc')}"
    return lab.judged(text, fewer, "noisy examples need fewer units", numbers | {"auc": float(auc["auc"])})


def tied_dropout(lab: Lab) -> Outcome:
    """Accuracies with the memorization units, and after they were dropped."""
    model = {"name": "resnet9", "width": 16 if lab.size.examples else 64}
    model["stage_dropout"] = {"name": "example-tied", "p_gen": P_GEN, "p_mem": P_MEM}
    rows = _probe(lab, model=model, dropout=True)["dropout"].set_index(["mode", "group"])
    said = [
        f"{group} {_cell(rows.loc[('own', group)], 'accuracy')} to {_cell(rows.loc[('drop', group)], 'accuracy')}"
        for group in ("noisy", "clean")
    ]
    noisy, clean = (float(rows.loc[("drop", group), "accuracy"]) for group in ("noisy", "clean"))
    text = f"with own units and after dropping: {'; '.join(said)}"
    holds = noisy < 0.2 and clean > noisy
    return lab.judged(text, holds, "noisy labels are forgotten", {"noisy": noisy, "clean": clean})


def _probe(lab: Lab, model: dict[str, Any] | None = None, **probes: Any) -> dict[str, pd.DataFrame]:
    """Means over runs of one probe of the row's preset, whose others are left out."""
    repetitions = lab.size.runs or 3
    changes = {} if model is None else {"model": model}
    return localize(lab.train(record={"probes": {"repetitions": repetitions, **probes}}, **changes).store).tables


def _cell(row: Any, name: str) -> str:
    return f"{row[name]:.2f} ± {row[f'{name}_se']:.2f}"
